"""`squashkit diff`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from squashkit.cli.shared import (
    debug_option,
    json_option,
    parsed,
    platform_option,
    tmp_dir_option,
    viewed,
)
from squashkit.compare import KINDS, iter_differences
from squashkit.oci import Platform
from squashkit.report.diff import DiffReport
from squashkit.view import same_content

DIFFERENT = 3
_KNOWN = ", ".join(kind.replace(" ", "-") for kind in KINDS)


def parse_kinds(text: str) -> tuple[str, ...]:
    """From `mtime,owner`: kinds of differences, a hyphen for the space. Raises ValueError."""
    kinds = tuple(part.strip().replace("-", " ") for part in text.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no kind of difference: {', '.join(unknown)}; there are {_KNOWN}")
    return kinds


@click.command(
    short_help="Compare the root file systems of two images.",
    epilog="""\b
Examples:
  squashkit diff app.tar:app:latest app-squashed.tar
  squashkit diff old.tar new.tar --ignore mtime,owner --stat
""",
)
@click.argument("a")
@click.argument("b")
@click.option("--ignore", metavar="KINDS", callback=parsed(parse_kinds), help=f"Leave out these kinds of differences: {_KNOWN}.")
@click.option("--stat", is_flag=True, help="Print only how many paths differ in what.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, metavar="N", help="Print at most N paths; 0 prints all. JSON has all.")
@platform_option
@json_option("the differences")
@tmp_dir_option("the system's")
@debug_option
def diff(
    a: str,
    b: str,
    ignore: tuple[str, ...] | None,
    stat: bool,
    limit: int,
    platform: Platform | None,
    as_json: bool,
    tmp_dir: Path | None,
) -> None:
    """Compare the root file systems of the images A and B, entry by entry.

    Exit code 0 where they are the same, 3 where they differ. Files of one size are read and compared,
    unless both lie at one place of the same layer. A group of hard links that one side holds in several
    layers, and so as several files, is no difference, and is told. Sparse files are compared as they are
    stored.
    """
    with viewed(a, b, platform=platform, tmp_dir=tmp_dir) as (left, right):
        entries = sum(
            len(directory.children) for directory in right.rootfs.directories.values()
        )
        report = DiffReport(a, b, entries, ignore or ())
        report.take(iter_differences(left.rootfs, right.rootfs, partial(same_content, left, right)))
    click.echo(
        json.dumps(report.json(), indent=2, ensure_ascii=False)
        if as_json
        else report.text(stat=stat, limit=limit)
    )
    if not report.same:
        raise click.exceptions.Exit(DIFFERENT)
