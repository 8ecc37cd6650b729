"""`squashkit rebase`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from squashkit.cli import complete
from squashkit.cli.help import BASES, MANY, Command, option
from squashkit.cli.shared import show_report
from squashkit.cli.writing import (
    WriteReport,
    Writing,
    created_from_environment,
    recipe_option,
    writing_options,
)
from squashkit.errors import RebaseConflict, UsageError
from squashkit.jobs.patch import rebase_below
from squashkit.jobs.rebase import rebase as rebase_one
from squashkit.jobs.rebase import rebase_platforms
from squashkit.jobs.rollback import put_back
from squashkit.oci.documents import ALL
from squashkit.options import ALLOWABLE, MERGEABLE, MERGED, STOPPABLE, History, Patch, Rebase, Write
from squashkit.progress import Notify, Progress, shown
from squashkit.report.patch import PatchReport


@click.command(
    cls=Command,
    short_help="Put the layers of an image on another base.",
    epilog="""\b
Examples:
  squashkit rebase app.tar --old-base fedora:28 --new-base new.tar -o out.tar
  squashkit rebase app:1 --new-base debian:12-patched -t app:1-patched
  squashkit rebase app.tar --new-base fedora29.tar --dry-run --json
  squashkit rebase docker://registry.example/app:1 --new-base docker://registry.example/debian:12 -o docker://registry.example/app:1-patched
  squashkit rebase --from docker://registry.example/team/ --new-base debian.tar --replace --dry-run
""",
)
@click.argument("image", shell_complete=complete.images, required=False)
@option(
    "--old-base",
    section=BASES,
    metavar="REF",
    shell_complete=complete.bases,
    help="The base that the image was built on. An image in the same archive, a path or reference."
    " Default: as `squashkit base find` finds it.",
)
@option(
    "--new-base",
    section=BASES,
    metavar="REF",
    shell_complete=complete.bases,
    help="The base to put it on. The same forms.",
)
@option("--squash", section=BASES, is_flag=True, help="Merge the layers above the base into one.")
@option(
    "--config",
    section=BASES,
    type=click.Choice(["follow", "keep"]),
    default="follow",
    show_default=True,
    help="Settings inherited from the old base. Take the new base's, or leave them.",
)
@option(
    "--strict/--no-strict",
    section=BASES,
    default=True,
    show_default=True,
    help="Stop where layers do not fit the new base. The exit code is 3.",
)
@option(
    "--allow",
    section=BASES,
    multiple=True,
    metavar="KIND",
    type=click.Choice(ALLOWABLE),
    help=f"Go on at errors of this kind. One of {', '.join(ALLOWABLE)}, any number of times. Errors of kind"
    " link always stop: nothing can unpack such a layer.",
)
@option(
    "--stop-on",
    section=BASES,
    multiple=True,
    metavar="KIND",
    type=click.Choice(STOPPABLE),
    help=f"Stop at warnings of this kind, too. One of {', '.join(STOPPABLE)}, any number of times.",
)
@option(
    "--merge",
    section=BASES,
    metavar="KINDS",
    default=",".join(MERGED),
    help=f"Databases to merge with the new base's. Some of {', '.join(MERGEABLE)}, with commas, or none."
    " Default: all but rpm.",
)
@option(
    "--take-new",
    section=BASES,
    type=click.Choice(["content"]),
    metavar="content",
    multiple=True,
    help="Put the new base's content in the place of its packages' old one. As after a chmod in the layers;"
    " those are made anew without it. What a COPY or ADD brought stays.",
)
@option(
    "--from",
    "place",
    section=MANY,
    metavar="REF",
    help="Rebase every tag below docker://HOST/PREFIX/ instead of IMAGE. With --replace or --tag-suffix.",
)
@option(
    "--tag-suffix",
    section=MANY,
    metavar="TEXT",
    default="",
    help="With --from: leave the images' tags, and move or make others with this at the end.",
)
@option(
    "--select",
    section=MANY,
    type=click.Choice(["outdated"]),
    help="With --from: tell of the tags alone that are not on the new base.",
)
@option(
    "--rollback",
    section=MANY,
    metavar="FILE",
    default="",
    help="With --from: where to note what tags meant before they moved. Alone: put them back. Default:"
    " squashkit-rollback-TIME.jsonl.",
)
@recipe_option
@writing_options
def rebase(
    image: str | None,
    old_base: str | None,
    new_base: str | None,
    squash: bool,
    config: Any,
    strict: bool,
    allow: tuple[str, ...],
    stop_on: tuple[str, ...],
    merge: str,
    take_new: tuple[str, ...],
    place: str | None,
    tag_suffix: str,
    select: Any,
    rollback: str,
    recipe: Path | None,
    writing: Writing,
) -> None:
    """Put the layers of IMAGE above its base on another base, as if it had been built there.

    Nothing is built: the layers go over byte for byte. One is made anew only where it deletes something in
    a directory that the new base lacks, or relies on a directory that only the old base gave. What the
    image inherited from its base follows the new one. What the exchange may break is told before anything
    is written: databases, caches and accounts in the layers that hide the new base's, copies of the old
    base's files, and what does not fit at all.
    """
    if rollback and place is None:
        if image is not None or new_base is not None:
            raise UsageError("--rollback alone puts tags back; leave IMAGE and --new-base out")
        _show(put_back(rollback, run=writing.resources), writing)
        return
    if new_base is None:
        raise UsageError("no new base was given; pass --new-base REF")
    if place is None and (tag_suffix or select):
        raise UsageError("--tag-suffix and --select are for many images; name their place: --from REF")
    kinds = () if merge == "none" else tuple(merge.split(","))
    how = Rebase(new_base, old_base, squash, config, allow, strict, stop_on, kinds, take_new)

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> WriteReport:
        run = rebase_platforms if writing.platform == ALL else rebase_one
        return run(
            image,
            output,
            how,
            history=History(created_from_environment()),
            read=writing.reading,
            write=writing.write(recipe=recipe),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )

    if not strict and allow:
        raise UsageError("--no-strict allows everything; leave --allow out")
    if place is not None:
        if image is not None or writing.output is not None or writing.tags or recipe is not None:
            raise UsageError(
                "--from names all images and their tags; leave IMAGE, --output, --tag and --recipe out"
            )
        if writing.have:
            raise UsageError("--from moves tags of a registry; --have is for an archive: leave it out")
        if writing.provenance or writing.statement:
            raise UsageError("--provenance and --statement are of one image; leave --from out")
        reports = str(writing.report or "")
        patch = Patch(writing.replace, tag_suffix, select, rollback, reports)
        with shown(quiet=writing.quiet) as progress:
            done = rebase_below(
                place,
                how,
                patch=patch,
                history=History(created_from_environment()),
                write=Write(compress=writing.compress, check=writing.check, dry_run=writing.dry_run),
                run=writing.resources,
                progress=progress,
            )
        _show(done, writing)
        return
    try:
        writing.run(image, (old_base, new_base), work, recipe)
    except RebaseConflict as conflict:
        writing.show_refused(conflict.report)
        raise


def _show(done: PatchReport, writing: Writing) -> None:
    """Tell what became of many tags; the worst of them decides the exit code."""
    if not writing.quiet or writing.as_json or writing.as_markdown:
        show_report(done, as_json=writing.as_json, as_markdown=writing.as_markdown)
    if done.exit_code:
        raise click.exceptions.Exit(done.exit_code)
