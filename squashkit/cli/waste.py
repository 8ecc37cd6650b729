"""`squashkit waste`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from squashkit.cli import complete
from squashkit.cli.help import GATES, MESSAGES, Command, option
from squashkit.cli.hints import flagged
from squashkit.cli.output import show_json, write_file
from squashkit.cli.shared import (
    Looking,
    check_forms,
    json_option,
    look_options,
    markdown_option,
    parsed,
    show_markdown,
    waste_options,
)
from squashkit.cli.writing import check_writable
from squashkit.errors import UsageError
from squashkit.jobs.waste import Given, waste_platforms
from squashkit.options import Gates, Keep, parse_size
from squashkit.report.sarif import sarif
from squashkit.report.text import json_text

FAILED = 3


@click.command(
    cls=Command,
    short_help="Tell where the bytes went, why, and what to write instead.",
    epilog="""\b
Examples:
  squashkit waste app.tar:app:latest
  squashkit waste app:latest --keep-base debian:12 --dockerfile Dockerfile
  squashkit waste app.tar --max-wasted 20MB --max-wasted-percent 5
""",
)
@click.argument("image", shell_complete=complete.images)
@waste_options
@option("-v", "--verbose", is_flag=True, help="Print all rows, and patches, too.")
@json_option("it")
@markdown_option("it")
@option(
    "--sarif",
    "as_sarif",
    is_flag=True,
    help="Print it as SARIF 2.1.0; needs --dockerfile.",
)
@option(
    "--report",
    section=MESSAGES,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it as JSON to a file, whatever is printed.",
)
@option(
    "--max-wasted",
    section=GATES,
    metavar="SIZE",
    callback=parsed(parse_size),
    help="The most that may be dead.",
)
@option(
    "--max-wasted-percent",
    section=GATES,
    type=click.FloatRange(0, 100),
    metavar="N",
    help="The most of what is above the base that may be dead.",
)
@option(
    "--min-efficiency",
    section=GATES,
    type=click.FloatRange(0, 100),
    metavar="N",
    help="The least share of the whole image that must not be dead.",
)
@option(
    "--max-layers",
    section=GATES,
    type=click.IntRange(0),
    metavar="N",
    help="The most layers, the base's counted.",
)
@option(
    "--waste-floor",
    section=GATES,
    metavar="SIZE",
    default="0",
    callback=parsed(parse_size),
    help="Below so much that is dead, the two shares fail nobody.",
)
@option("--count-live", section=GATES, is_flag=True, help="Count what lives and is not needed as dead.")
@option(
    "--dive-ci",
    section=GATES,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="dive's rules, as this .dive-ci has them, by dive's numbers.",
)
@look_options
def waste(
    image: str,
    keep_base: str | None,
    keep_layers: int | None,
    dockerfile: Path | None,
    rules: Path | None,
    verbose: bool,
    as_json: bool,
    as_markdown: bool,
    as_sarif: bool,
    report: Path | None,
    looking: Looking,
    **limits: Any,
) -> None:
    """Tell where the bytes of IMAGE went: what of its layers is dead and why, what a squash would save,
    caches and leftovers that live, and what to write in the Dockerfile instead.

    Dead is a file that a layer holds and the root file system does not. Without --keep-base and
    --keep-layers the base is what the image says of it, or the catalogue; where nothing says it, all layers
    count. Exit code 3 where a gate (--max-wasted and the like) fails.
    """
    check_forms(as_json=as_json, as_markdown=as_markdown, as_sarif=as_sarif)
    if as_sarif and dockerfile is None:
        raise UsageError("--sarif tells the lines of a Dockerfile: name that with --dockerfile FILE")
    if report is not None:
        check_writable("--report", report, image, keep_base, *map(_named, (dockerfile, rules)))
    gates = Gates(**limits)
    found = looking.each(
        waste_platforms,
        image,
        keep=Keep(keep_base, keep_layers),
        given=Given.read(rules, dockerfile, gates.dive_ci),
        gates=gates,
    )
    made = {platform: flagged(replace(one, verbose=verbose)) for platform, one in found}
    if report is not None:
        document = looking.document({str(platform): one.json() for platform, one in made.items()})
        write_file("--report", report, json_text(document) + "\n")
    if as_markdown:
        show_markdown(*made.values())
    elif as_sarif:
        show_json(sarif(*made.values()))
    else:
        looking.show(made.items(), as_json=as_json)
    if not all(one.passed for one in made.values()):
        raise click.exceptions.Exit(FAILED)


def _named(path: Path | None) -> str | None:
    """A file that is read, as images are named."""
    return None if path is None else str(path)
