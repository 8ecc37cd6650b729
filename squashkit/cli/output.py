"""What the commands print, and what they have written by then. All that is for people goes through `say`,
and every document through `show_json`: text of images never steers a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from squashkit.errors import Interrupted, SquashkitError, show_lines, show_text, why
from squashkit.report.text import json_text

STREAMS = ("standard output", "standard error")
"""What errors of these have for the name of their file."""


class ReaderGone(Exception):
    """Nobody reads the listing or the report any more, as in `squashkit ls app.tar | head`."""


written: list[str] = []
"""What this run has written so far, in words: an error that comes later says so."""


def say(text: str, *, err: bool = False) -> None:
    """Print lines for people, to standard output or standard error."""
    with naming(STREAMS[1]) if err else telling():
        click.echo(show_lines(text), err=err)


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or a pipe, where nothing is cut."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size  # what is piped has no use for it

    return get_terminal_size().columns


_AT_ONCE = 1000
"""Pieces of a text that are printed together: each time costs a write."""


def send_text(pieces: Iterable[str]) -> None:
    """Print a text that comes in pieces, which are safe for a terminal as they are."""
    rest = iter(pieces)
    while some := "".join(islice(rest, _AT_ONCE)):
        with telling():
            click.echo(some, nl=False)


def show_json(document: Any) -> None:
    """Print a document for programs."""
    with telling():
        click.echo(json_text(document))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_file(option: str, path: Path, text: str, write: Callable[[Path, str], object] = _write) -> None:
    """Write a file beside what a command is about. Raises SquashkitError where that fails."""
    shown = show_text(str(path))
    try:
        write(path, text)
    except OSError as error:
        raise SquashkitError(f"{option} {shown}: {why(error)}") from error
    written.append(f"{shown} was written")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors from inside are those of a stream, and name it."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


@contextmanager
def telling() -> Iterator[None]:
    """What goes to standard output inside is no image and no file: where its reader goes away, that one has
    read enough. Raises ReaderGone for that; other errors name the stream."""
    try:
        with naming(STREAMS[0]):
            yield
    except BrokenPipeError:
        raise ReaderGone from None


@contextmanager
def sending() -> Iterator[None]:
    """What goes to standard output inside cannot be taken back: an interrupt says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; what {STREAMS[0]} got is not whole", reference=STREAMS[0]
        ) from None


def outcome() -> str:
    """What stands of the work of a run that failed."""
    return "; ".join(written) or "nothing was written"
