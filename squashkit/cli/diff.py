"""`squashkit diff`."""

from __future__ import annotations

import click

from squashkit.cli import complete
from squashkit.cli.help import OPTIONS, Command, option
from squashkit.cli.shared import Looking, json_option, leave_out_options, look_options, parsed
from squashkit.jobs.diff import KNOWN_KINDS, diff_platforms, parse_kinds
from squashkit.jobs.leave_out import exclusions_of
from squashkit.options import parse_time
from squashkit.report.diff import DiffReport

DIFFERENT = 3


@click.command(
    cls=Command,
    short_help="Compare the root file systems of two images.",
    epilog="""\b
Examples:
  squashkit diff app.tar:app:latest app-squashed.tar
  squashkit diff old.tar new.tar --ignore mtime,owner --stat
""",
)
@click.argument("a", shell_complete=complete.images)
@click.argument("b", shell_complete=complete.images)
@option(
    "--ignore",
    metavar="KINDS",
    shell_complete=complete.kinds,
    callback=parsed(parse_kinds),
    help=f"Leave out these kinds of differences: {KNOWN_KINDS}.",
)
@leave_out_options(OPTIONS, "Let one side lack")
@option(
    "--clamp-mtime",
    "latest",
    metavar="TIME",
    callback=parsed(parse_time),
    help="Take times for the same that are not before this one, as of a fleet that was carved so.",
)
@option("--stat", is_flag=True, help="Print only how many paths differ in what.")
@option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="Print at most N paths. 0 prints all. JSON has all.",
)
@json_option("the differences")
@look_options
def diff(
    a: str,
    b: str,
    ignore: tuple[str, ...] | None,
    stat: bool,
    limit: int,
    as_json: bool,
    drop_caches: tuple[str, ...],
    exclude: tuple[str, ...],
    latest: int | None,
    looking: Looking,
) -> None:
    """Compare the root file systems of the images A and B, entry by entry. Exit code 0 where they
    are the same, 3 where they differ.

    Files of one size are read and compared,
    unless both lie at one place of the same layer. A group of hard links that one side holds in several
    layers, and so as several files, is no difference, and is told. Holes of sparse files are
    zeros.
    """
    report = DiffReport(a, b, ignored=ignore or (), stat=stat, limit=limit, latest=latest)
    reports = list(looking.each(diff_platforms, a, b, report, exclusions_of(drop_caches, exclude)))
    looking.show(reports, as_json=as_json)
    if not all(report.same for _, report in reports):
        raise click.exceptions.Exit(DIFFERENT)
