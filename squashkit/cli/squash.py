"""`squashkit squash`."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from squashkit.cli.shared import (
    access_options,
    debug_option,
    parsed,
    platform_options,
    tmp_dir_option,
)
from squashkit.compression import Compression
from squashkit.destination import parse_output
from squashkit.errors import UsageError
from squashkit.job import squash as squash_one
from squashkit.job import squash_platforms
from squashkit.metadata import HistoryOptions
from squashkit.oci import ALL, PlatformChoice, is_digest
from squashkit.options import MinSaving, Options
from squashkit.progress import shown
from squashkit.report.squash import IndexReport, Report
from squashkit.selection import Keep
from squashkit.transports import REGISTRY, STORES, Reference, parse_reference
from squashkit.transports.remote import Access

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_min_saving(text: str) -> MinSaving:
    """From `5%`, `10MB` or a number of bytes. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*(%|[a-zA-Z]*)", text.strip(), re.ASCII)
    if found is None or (found[2] != "%" and found[2].lower() not in _UNITS):
        raise ValueError(f"{text!r} is no share (5%) and no size (10MB)")
    if found[2] == "%":
        return MinSaving(share=float(found[1]) / 100)
    return MinSaving(size=int(float(found[1]) * _UNITS[found[2].lower()]))


def parse_created(text: str) -> str:
    """A time as RFC 3339. Raises ValueError."""
    from datetime import datetime

    try:
        if _RFC3339.fullmatch(text):
            datetime.fromisoformat(text[:19])
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no time like 2018-05-01T12:00:00Z")


def _created_from_environment() -> str | None:
    """SOURCE_DATE_EPOCH, as reproducible builds set it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    from datetime import UTC, datetime

    if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 11):
        raise UsageError(f"SOURCE_DATE_EPOCH is no number of seconds: {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@click.command(
    short_help="Merge the layers of an image above its base.",
    epilog="""\b
Examples:
  squashkit squash app.tar --keep-base fedora:28 -t app:squashed -o squashed.tar
  docker save app fedora:28 | squashkit squash --keep-base fedora:28 -t app:squashed | docker load
  squashkit squash oci:images:app --keep-layers 3 -o oci:images:app-squashed
  squashkit squash app.tar --segments =2,3,=1 --dry-run
  squashkit squash oci:images:app --keep-layers 1 --platform all -o oci:images:app-squashed
  squashkit squash app:latest --keep-base fedora:28 -t app:squashed
  squashkit squash docker://registry.example/app:1 --keep-base docker://registry.example/fedora:28 -o docker://registry.example/app:1-squashed
""",
)
@click.argument("image", required=False)
@click.option("-o", "--output", metavar="REF", help="Where the result goes: a path, -, docker-archive:PATH[:REF], oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME, containers-storage:NAME or docker://HOST/NAME. Default for an image of a daemon: that daemon.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="A name for the result; any number of times. Without it: the source's own.")
@click.option("--keep-base", metavar="REF", help="Keep the layers of this base: an image in the same archive, a path or reference, or a digest.")
@click.option("--keep-layers", type=int, metavar="N", help="Keep N layers, counted from the base.")
@click.option("--from-step", metavar="TEXT", help="Squash from the one step whose command contains TEXT.")
@click.option("--all", "squash_all", is_flag=True, help="Squash all layers into one.")
@click.option("--segments", metavar="RUNS", help="Partition the layers into runs, base first, as in =2,3,=1: those with = are kept, each other becomes one layer.")
@click.option("--format", type=click.Choice(["docker", "oci"]), help="Form of the result. Default: the source's.")
@click.option("--compress", metavar="CODEC", callback=parsed(Compression.parse), help="Store new layers as none, gzip[:LEVEL] or zstd[:LEVEL]. Default: as the kept ones are.")
@platform_options
@click.option("--min-saving", metavar="AMOUNT", callback=parsed(parse_min_saving), help="Write the image unchanged unless squashing saves this much: a share of the squashed layers' stored bytes (5%) or a size (10MB).")
@click.option("--whiteouts", type=click.Choice(["explicit", "opaque"]), default="explicit", show_default=True, help="How a directory that was removed and made again hides what it had.")
@click.option("--symlink-parents", type=click.Choice(["overlay", "follow"]), default="overlay", show_default=True, help="A path through a lower layer's symlink: replace the symlink by a directory, as overlay file systems do, or follow it.")
@click.option("--blind", is_flag=True, help="Go on where layers below are needed and not at hand. The result is not guaranteed.")
@click.option("--history", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="What becomes of the squashed layers' history entries.")
@click.option("--message", metavar="TEXT", help="A comment for the new layer's history entry.")
@click.option("--created", metavar="TIME", callback=parsed(parse_created), help="The result's creation time (RFC 3339). Default: SOURCE_DATE_EPOCH, else the source's.")
@click.option("--force", is_flag=True, help="Replace an existing output, or move an existing tag of a layout.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; write nothing.")
@click.option("--no-verify", is_flag=True, help="Do not check digests of what is read.")
@click.option("--replace", is_flag=True, help="Move the source's own tag, in a daemon or a registry, to the result.")
@click.option("--push-by-digest", is_flag=True, help="Give the result no tag in a registry.")
@click.option("--digest-file", type=click.Path(path_type=Path), metavar="FILE", help="Write the digest of the result's manifest (or index) to a file.")
@click.option("--no-fetch-base", is_flag=True, help="Do not read a base that lies in a registry; fail where its entries are needed and not remembered.")
@click.option("--check", is_flag=True, help="Read back what was written and compare it with the source, at every kept layer, before it gets its name.")
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N", help="Threads. Default: one a processor. The result does not depend on it.")
@tmp_dir_option("the output's")
@access_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as JSON to a file.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print more: every contested path.")
@debug_option
def squash(
    image: str | None,
    output: str | None,
    tags: tuple[str, ...],
    keep_base: str | None,
    keep_layers: int | None,
    from_step: str | None,
    squash_all: bool,
    segments: str | None,
    format: Any,
    compress: Compression | None,
    platform: PlatformChoice | None,
    skip_missing: bool,
    min_saving: MinSaving | None,
    whiteouts: Any,
    symlink_parents: Any,
    blind: bool,
    history: str,
    message: str | None,
    created: str | None,
    force: bool,
    dry_run: bool,
    no_verify: bool,
    replace: bool,
    push_by_digest: bool,
    digest_file: Path | None,
    no_fetch_base: bool,
    check: bool,
    jobs: int | None,
    tmp_dir: Path | None,
    access: Access,
    as_json: bool,
    report: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Merge the layers of IMAGE above its base into one, and write the result.

    IMAGE is a path to an archive or an OCI layout, - for standard input (the default where that is no
    terminal), docker-archive:PATH[:REF], oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME,
    containers-storage:NAME or docker://HOST/NAME; a bare name that is no path is the docker daemon's. The
    base layers stay byte for byte as they are, so that images go on sharing them; the root file system of
    the result is exactly the source's, or nothing is written.
    """
    image, output = _ends(image, output, tags, dry_run=dry_run, replace=replace)
    piped_out = output is not None and parse_output(output).is_stdio and not dry_run
    if piped_out and as_json and report is None:
        raise UsageError("the image goes to standard output; write the report to a file: --report FILE")
    for option, path in (("--report", report), ("--digest-file", digest_file)):
        if path is not None:
            _check_writable(option, path, image, output, keep_base)
    options = Options(
        keep=Keep(keep_base, keep_layers, from_step, squash_all, segments),
        tags=tags,
        format=format,
        compress=compress,
        platform=platform,
        skip_missing=skip_missing,
        whiteouts=whiteouts,
        symlink_parents=symlink_parents,
        blind=blind,
        min_saving=min_saving,
        history=HistoryOptions(created or _created_from_environment(), message, history == "drop"),
        force=force,
        replace=replace,
        push_by_digest=push_by_digest,
        access=access,
        fetch_base=not no_fetch_base,
        verify=not no_verify,
        check=check,
        dry_run=dry_run,
        jobs=jobs or os.cpu_count() or 1,
        tmp_dir=tmp_dir,
    )

    def notify(text: str) -> None:
        if verbose and not quiet:
            click.echo(text, err=True)

    with shown(quiet=quiet) as progress:
        run = squash_platforms if platform == ALL else squash_one
        done = run(image, output, options, progress=progress, notify=notify)
    if digest_file is not None and not dry_run:
        digest_file.write_text(_digest(done) + "\n", encoding="utf-8")
    document = json.dumps(done.json(), indent=2, ensure_ascii=False)
    if report is not None:
        report.write_text(document + "\n", encoding="utf-8")
    if as_json and not piped_out:
        click.echo(document)
    elif not quiet:
        click.echo(done.text(verbose=verbose), err=piped_out)


def _digest(done: Report | IndexReport) -> str:
    return done.index_digest if isinstance(done, IndexReport) else done.manifest_digest


def _check_writable(option: str, target: Path, *references: str | None) -> None:
    """Raises UsageError where a file cannot be written, or would replace an input or the output."""
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(f"{option} {target}: no file can be written there")
    for text in references:
        if text is None or is_digest(text) or not (reference := parse_reference(text)).is_file:
            continue
        path = Path(reference.path)
        if target.resolve() == path.resolve() or (target.exists() and path.exists() and target.samefile(path)):
            raise UsageError(f"{option} {target} is an input or the output")


def _ends(
    image: str | None, output: str | None, tags: tuple[str, ...], *, dry_run: bool, replace: bool
) -> tuple[str, str | None]:
    """Where the image comes from and goes to, where that is left out."""
    if image is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("no IMAGE was given; pass a path, or pipe an archive into squashkit")
        image = "-"
    source = parse_reference(image)
    to_terminal = sys.stdout is None or sys.stdout.isatty()
    if output is None and not source.is_file:
        return image, _output_beside(source, tags, replace=replace, dry_run=dry_run)
    if dry_run:
        return image, output
    if output is None:
        if not source.is_stdio:
            raise UsageError("no output was given; pass -o PATH, -o - for a pipe, or --dry-run")
        if to_terminal:
            raise UsageError("standard output is a terminal; pass -o PATH, or pipe it into docker load")
        return image, "-"
    if parse_output(output).is_stdio and to_terminal:
        raise UsageError("standard output is a terminal; pipe it into docker load, or pass -o PATH")
    return image, output


def _output_beside(
    source: Reference, tags: tuple[str, ...], *, replace: bool, dry_run: bool
) -> str | None:
    """Where the result goes that stays where its source is: under the source's own name, or another."""
    if replace:
        return f"docker://{source.path}" if source.transport == REGISTRY else f"{source.transport}:{source.path}"
    if source.transport in STORES and tags:
        return f"{source.transport}:{tags[0]}"
    if dry_run:
        return None
    if source.transport == REGISTRY:
        raise UsageError(f"no output was given; pass -o docker://HOST/NAME, or --replace to move {source}")
    raise UsageError(f"the result needs a name; pass -t NAME, or --replace to move {source.path} to it")
