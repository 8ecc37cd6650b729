"""`squashkit fleet`: what many images take together under each strategy, and squashing them accordingly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import click

from squashkit.cli import complete
from squashkit.cli.fleet_pull import freed, pull
from squashkit.cli.fleet_scan import (
    duplicates,
    exclude_option,
    platform_option,
    references_of,
    scan,
    sql,
)
from squashkit.cli.help import CUT, Group, option
from squashkit.cli.hints import flagged
from squashkit.cli.output import write_file, written
from squashkit.cli.report import page_options, refuse_terminal, send_page
from squashkit.cli.shared import (
    Function,
    access_options,
    check_alone,
    check_forms,
    debug_option,
    jobs_option,
    json_option,
    listed_option,
    markdown_option,
    max_size_option,
    notify,
    parsed,
    show_report,
    tmp_dir_option,
)
from squashkit.cli.writing import check_writable
from squashkit.errors import UsageError, show_text
from squashkit.jobs.ends import would_harm
from squashkit.jobs.fleet.advise import fleet_advise
from squashkit.jobs.fleet.manifests import measure_manifests
from squashkit.jobs.fleet.measure import measure_fleet
from squashkit.jobs.fleet.report import check_fleet_page, picture_fleet
from squashkit.jobs.fleet.scan.storage import measure_scan
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.jobs.fleet.squash import squash_fleet
from squashkit.oci.documents import Platform
from squashkit.options import STRATEGIES, Access, FleetOptions, Replace, Run, Spread, parse_scheduler
from squashkit.progress import Note, shown
from squashkit.report.fleet.chart import check_chart, write_chart
from squashkit.report.html.render import check_template, fleet_html


@click.group(
    cls=Group,
    short_help="Measure what many images take together, and squash them all.",
    epilog="""\b
Examples:
  squashkit fleet storage a.tar b.tar c.tar
  squashkit fleet storage docker-daemon:
  squashkit fleet storage docker://registry.example/team/ --json
""",
)
def fleet() -> None:
    """Say what squashing saves and costs for the images that a team really has.

    Squashing an image whole kills its dead bytes, and its sharing with others too. Counted over all images
    of a fleet, one or the other may weigh more; cutting each image where the fleet branches keeps the
    sharing.

    No base is guessed, as others may share it that are not of the fleet: it is known by --base, by the
    catalogue, by an image's annotations, or as an image of the fleet on which others stand. All bases stay
    as they are, and so do images whose base is not known, unless images are squashed whole.
    """


for command in (scan, sql, duplicates, pull, freed):
    fleet.add_command(command)


def _fleet_options(command: Function) -> Function:
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


_OPTIONS: list[Callable[[Function], Function]] = [
    listed_option,
    option(
        "--base",
        "bases",
        shell_complete=complete.bases,
        multiple=True,
        metavar="REF",
        help="A base that images stand on. Any number of times. Others are known by the catalogue, by"
        " images' annotations, or as images of the fleet.",
    ),
    exclude_option,
    option(
        "--minimise",
        section=CUT,
        type=click.Choice(["registry", "host", "update"]),
        default="registry",
        show_default=True,
        help="What the best cut and carving are to make least. Of updates: what a host that has a release"
        " of a repository downloads for the next one.",
    ),
    option(
        "--max-layers",
        section=CUT,
        type=click.IntRange(1),
        metavar="N",
        help="The most layers that an image may have. Default: in the best cut 125, carved 40.",
    ),
    option(
        "--estimate",
        is_flag=True,
        help="Compress nothing to measure. Stored sizes are by the ratios at which the layers are"
        " compressed, plain ones as they are.",
    ),
    platform_option,
    access_options,
    jobs_option("Threads"),
    tmp_dir_option("the system's"),
    max_size_option,
]


def _carve_options(command: Function) -> Function:
    return _stable_option(_clamp_option(command))


_stable_option = option(
    "--stable-from",
    section=CUT,
    multiple=True,
    metavar="REF",
    shell_complete=complete.images,
    help="Carved: images that were carved before, or a scan of them. An image that has all of one of their"
    " layers gets it as it is. Any number of times.",
)
_clamp_option = option(
    "--clamp-mtime",
    section=CUT,
    metavar="TIME",
    help="Carved: files that are later get this time, so that those of several builds are the same. As"
    " 2018-05-01T12:00:00Z, or in seconds since 1970.",
)


@fleet.command(
    short_help="What a fleet takes under each strategy.",
    epilog="""\b
Examples:
  squashkit fleet storage a.tar b.tar c.tar
  squashkit fleet storage docker-daemon: --minimise host
  squashkit fleet storage docker://registry.example/team/ --csv growth.csv
  squashkit fleet storage --manifests manifests --json
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@_fleet_options
@option(
    "--manifests",
    type=click.Path(path_type=str),
    multiple=True,
    metavar="PATH",
    help="Count by manifests alone, without an IMAGE: those of a file, or of all files below a folder. Any"
    " number of times.",
)
@option(
    "--strategies",
    metavar="NAMES",
    help=f"The rows, with commas: some of {', '.join(STRATEGIES)}. Default: every one, all estimated.",
)
@_carve_options
@option(
    "--workers",
    section=CUT,
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Compress merged layers in N processes of a Dask cluster that is made here. Needs"
    " 'squashkit[cluster]'.",
)
@option(
    "--scheduler",
    section=CUT,
    metavar="ADDRESS",
    callback=parsed(parse_scheduler),
    help="Compress those of registries' images on a Dask cluster, as for `fleet scan`.",
)
@option("--no-scan", is_flag=True, help="Read manifests and configs only, and tell what was built.")
@option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the first 1, 2, 3 and more images take under each strategy.",
)
@option(
    "--chart",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw that: an SVG, PNG or PDF. Needs matplotlib.",
)
@json_option("the report")
@markdown_option("the report")
@debug_option
def storage(
    images: Sequence[str],
    manifests: Sequence[str],
    strategies: str | None,
    workers: int | None,
    scheduler: str | None,
    no_scan: bool,
    csv_file: Path | None,
    chart: Path | None,
    as_json: bool,
    as_markdown: bool,
    **others: Any,
) -> None:
    """Tell what the IMAGEs take together, in a registry and on a host: as they are, squashed into one layer
    each, squashed above their bases, squashed along the trie of their layers, and cut where they take
    least.

    IMAGE is any reference; a path means all images in it, docker-daemon: and containers-storage: all that
    have a name there, docker://HOST/PREFIX/ all tags of all repositories below. The folder of a scan, named
    alone, means its images, of which no layer is read again. Sizes are of layers. Plain layers count as
    they are compressed in a registry. Every layer is read once. Images whose base is not known are listed,
    and count as built in all rows but the one of images squashed whole.

    With --manifests no image is opened, and what images share is counted by their manifests. A file holds
    one, as `skopeo inspect --raw` and `crane manifest` print it, a dump {"manifests": {TAG: manifest}}, or
    lines of {"reference": TEXT, "manifest": manifest}.
    """
    check_forms(as_json=as_json, as_markdown=as_markdown)
    if manifests:
        check_alone("manifests", "as_json", "as_markdown")
        with shown() as progress:
            counted = measure_manifests(manifests, progress=progress)
        for note in counted.notes if as_json else ():
            notify(Note(note))
        show_report(counted, as_json=as_json, as_markdown=as_markdown)
        return
    references, options, run = _read_options(images, **others)
    if strategies is not None:
        options = dataclasses.replace(options, strategies=[one.strip() for one in strategies.split(",")])
    if csv_file is not None and (csv_file.is_dir() or not csv_file.parent.is_dir()):
        raise UsageError(f"--csv {csv_file}: no file can be written there")
    if chart is not None:
        check_chart(chart)
    _protect(references, csv_file, chart)
    spread = Spread(workers=workers, scheduler=scheduler)
    with shown() as progress:
        folder = scan_at(references[0]) if len(references) == 1 else None
        if folder is not None:
            if spread != Spread():
                raise UsageError("workers compress merged layers, and those of a scan are estimated")
            report = measure_scan(folder, fleet=options, built_only=no_scan, run=run, progress=progress)
        else:
            report = measure_fleet(
                references, fleet=options, scan=not no_scan, spread=spread, run=run, progress=progress
            )
    if chart is not None:
        write_chart(report, chart)
    if csv_file is not None:
        write_file("--csv", csv_file, report.csv())
    show_report(report, as_json=as_json, as_markdown=as_markdown)


@fleet.command(
    short_help="What to do with each image of a fleet.",
    epilog="""\b
Examples:
  squashkit fleet advise docker://registry.example/team/ --estimate
  squashkit fleet advise a.tar b.tar --json
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@_fleet_options
@json_option("the advice")
@markdown_option("the advice")
@debug_option
def advise(images: Sequence[str], as_json: bool, as_markdown: bool, **others: Any) -> None:
    """Tell which IMAGEs to squash so that all of them together take least, and why: what that saves and
    costs once, a row for each repository, and the command that does it for one image and for the next
    release. "Leave as is" where that is the answer, "name its base" where that is not known. A table on a
    terminal, elsewhere Markdown; --json has --segments for each image, too. The folder of a scan, named
    alone, means its images.
    """
    check_forms(as_json=as_json, as_markdown=as_markdown)
    references, options, run = _read_options(images, **others)
    with shown() as progress:
        report = fleet_advise(references, fleet=options, run=run, progress=progress)
    show_report(report, as_json=as_json, as_markdown=as_markdown)


@fleet.command(
    short_help="Show a fleet in a browser, as one HTML file.",
    epilog="""\b
Examples:
  squashkit fleet report a.tar b.tar c.tar -o fleet.html
  squashkit fleet report docker://registry.example/team/ --estimate -o fleet.html
  squashkit fleet report scan -o fleet.html --force
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@page_options
@_fleet_options
@debug_option
def report(images: Sequence[str], output: str, force: bool, **others: Any) -> None:
    """Write a page about the IMAGEs for a browser: what they take and what each strategy saves, a picture
    of their layers with what is dead and what is there more than once, what to do, what hosts download, and
    what deleting a tag or a repository would free. The folder of a scan, named alone, means its images.

    The page is one HTML file that loads nothing. Needs jinja2: pip install 'squashkit[report]'.
    """
    references, options, run = _read_options(images, **others)
    check_template()
    path = Path(output)
    if output == "-":
        refuse_terminal()
    else:
        check_writable("-o", path)
        _protect(references, path)
        check_fleet_page(path, force=force)
    with shown() as progress:
        picture = picture_fleet(references, fleet=options, run=run, progress=progress)
    text = fleet_html(dataclasses.replace(picture, advice=flagged(picture.advice)))
    send_page(text, output, force=force, about="a fleet")


@fleet.command(
    short_help="Squash a whole fleet, and keep what its images share.",
    epilog="""\b
Examples:
  squashkit fleet squash a.tar b.tar c.tar --into squashed.tar
  squashkit fleet squash a.tar b.tar --base debian.tar --into oci:squashed
  squashkit fleet squash docker://registry.example/team/ --into oci:squashed
  squashkit fleet squash docker://registry.example/team/ --into docker://registry.example/squashed
  squashkit fleet squash docker://registry.example/team/ --replace --rollback before.jsonl
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@option(
    "--into",
    metavar="REF",
    shell_complete=complete.images,
    help="Where the results go: a file or a reference. That is a docker archive, oci-archive:FILE,"
    " oci:DIR, or docker://HOST/PREFIX.",
)
@_carve_options
@option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="best",
    show_default=True,
    help="How to squash. Leave all as it was built, squash each image whole, above its base, along"
    " the trie, or where it takes least; or carve layers of what the same images have.",
)
@option("--force", is_flag=True, help="Replace an archive. Of a layout or a registry: move existing tags.")
@option(
    "--replace",
    is_flag=True,
    help="In place of --into: move the images' own tags in their registries, but not those of bases.",
)
@option(
    "--rollback",
    metavar="FILE",
    help="With --replace: where to note what tags meant before, for `squashkit rebase --rollback`. With the"
    " file of a run that was stopped that run goes on. Default: squashkit-rollback-TIME.jsonl.",
)
@option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the new layers are made of, by which squashkit replay makes the same images of the"
    " old ones.",
)
@_fleet_options
@json_option("the report")
@markdown_option("the report")
@debug_option
def squash(
    images: Sequence[str],
    into: str | None,
    strategy: str,
    force: bool,
    replace: bool,
    rollback: str | None,
    recipe: Path | None,
    as_json: bool,
    as_markdown: bool,
    **others: Any,
) -> None:
    """Squash the IMAGEs and write them to one place, or with --replace back where they were read. There
    they share the layers of what they share.

    Each result has its source's root file system. All images are cut at the same places, and the same
    layers merged give the same bytes, so each merged layer is stored once. Bases stay as they are. Where an
    image's base is not known nothing is written, but by the strategies built and all. Which layers are
    merged that images outside the fleet may share is told before anything is written.
    """
    check_forms(as_json=as_json, as_markdown=as_markdown)
    if (into is None) is not replace:
        raise UsageError("where do the results go? --into REF, or --replace for the images' own tags")
    if rollback is not None and not replace:
        raise UsageError("--rollback is for --replace; squashkit rebase --rollback FILE puts tags back")
    references, options, run = _read_options(images, **others)
    if recipe is not None:
        check_writable("--recipe", recipe, into, *references)
    with shown() as progress:
        done = squash_fleet(
            references,
            into if into is not None else Replace(rollback or ""),
            strategy,
            fleet=options,
            force=force,
            recipe=recipe,
            run=run,
            progress=progress,
            notify=notify,
        )
    written.append(f"the images were written to {show_text(into)}" if into else "tags were moved")
    show_report(done, as_json=as_json, as_markdown=as_markdown)
    if done.exit_code:
        raise click.exceptions.Exit(done.exit_code)


def _read_options(
    images: Sequence[str],
    *,
    listed: Sequence[IO[bytes]],
    bases: tuple[str, ...],
    exclude: tuple[str, ...],
    minimise: Any,
    max_layers: int | None,
    estimate: bool,
    platform: Platform | None,
    access: Access,
    jobs: int | None,
    tmp_dir: Path | None,
    max_size: int | None,
    clamp_mtime: str | None = None,
    stable_from: tuple[str, ...] = (),
) -> tuple[list[str], FleetOptions, Run]:
    """The references of the fleet, how to look at it, and what that may use."""
    references = references_of(images, listed)
    options = FleetOptions(
        bases, minimise, max_layers, estimate, platform, exclude, clamp_mtime, stable_from
    )
    return references, options, Run(jobs or os.cpu_count() or 1, tmp_dir, max_size, access)


def _protect(references: Sequence[str], *outputs: Path | None) -> None:
    """Raises UsageError where a file that is to be written is an image that is read."""
    for text in references:
        for output in outputs:
            if output is not None and would_harm(output, text.removesuffix(":")):
                raise UsageError(f"{text} is an image that is measured, and is not overwritten")
