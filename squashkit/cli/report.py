"""`squashkit report`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from squashkit.amounts import count
from squashkit.cli import complete
from squashkit.cli.help import Command, option
from squashkit.cli.hints import flagged
from squashkit.cli.output import say, telling, written
from squashkit.cli.shared import Function, Looking, look_options, waste_options
from squashkit.cli.writing import check_writable
from squashkit.errors import UsageError, show_path
from squashkit.jobs.report import check_page, reported_images, write_page
from squashkit.jobs.waste import Given
from squashkit.options import Keep
from squashkit.report.html.render import check_html, page_html


def page_options(command: Function) -> Function:
    """Where a page goes."""
    force = option("--force", is_flag=True, help="Replace an existing output.")
    return option(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        shell_complete=complete.files,
        help="Where the page goes: a path, or - for standard output.",
    )(force(command))


@click.command(
    cls=Command,
    short_help="Show in a browser where the bytes went, as one HTML file.",
    epilog="""\b
Examples:
  squashkit report app.tar:app:latest -o report.html
  squashkit report app:latest --keep-base debian:12 -o report.html
  squashkit report a.tar b.tar c.tar -o report.html --force
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, required=True, metavar="IMAGE...")
@page_options
@waste_options
@look_options
def report(
    images: Sequence[str],
    output: str,
    force: bool,
    keep_base: str | None,
    keep_layers: int | None,
    dockerfile: Path | None,
    rules: Path | None,
    looking: Looking,
) -> None:
    """Write a page about the IMAGEs for a browser: layers and what is dead of them, the root file system
    as a picture, findings in a table, what to write in the Dockerfile instead, and what a squash saves.

    The page is one HTML file that loads nothing. Its numbers are those of `squashkit waste`, and the base
    is found as there. Needs jinja2 and plotly: pip install 'squashkit[report]'.
    """
    if output == "-":
        check_html()
        refuse_terminal()
    else:
        given = (str(one) if one is not None else None for one in (keep_base, dockerfile, rules))
        check_writable("-o", Path(output), *images, *given)
        check_page(Path(output), force=force)
    found = looking.each(
        reported_images,
        images,
        keep=Keep(keep_base, keep_layers),
        given=Given.read(rules, dockerfile, None),
    )
    pages = [replace(one, waste=flagged(one.waste)) for _, one in found]
    send_page(page_html(pages), output, force=force, about=count(len(pages), "image"))


def refuse_terminal() -> None:
    """Raises UsageError where a page would go to a terminal."""
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("standard output is a terminal or closed; pass -o FILE")


def send_page(text: str, output: str, *, force: bool, about: str) -> None:
    """Write a page to a path, or print it for `-`."""
    if output == "-":
        with telling():
            sys.stdout.buffer.write(text.encode())
        return
    write_page(text, Path(output), force=force)
    shown = show_path(os.fsencode(output))
    written.append(f"{shown} was written")
    say(f"Wrote a page about {about} to {shown}")
