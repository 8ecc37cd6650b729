"""What several commands share: options, and the image that they look at."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click

from squashkit.errors import UsageError
from squashkit.oci import Platform
from squashkit.progress import shown
from squashkit.transports import parse_reference
from squashkit.view import View, open_view

Command = Callable[..., Any]


def parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback that reports a ValueError as a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from error

    return callback


def platform_option(command: Command) -> Command:
    return click.option(
        "--platform", metavar="OS/ARCH", callback=parsed(Platform.parse),
        help="The platform to take from an index. Default: this machine's.",
    )(command)  # fmt: skip


def tmp_dir_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--tmp-dir", type=click.Path(path_type=Path), metavar="DIR",
        help=f"Folder for temporary files. Default: {default}.",
    )  # fmt: skip


def json_option(what: str) -> Callable[[Command], Command]:
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def debug_option(command: Command) -> Command:
    """`main` looks for it; a command only lets it pass."""

    @functools.wraps(command)
    def without(*args: Any, debug: bool, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    return click.option("--debug", is_flag=True, help="Show a traceback when something fails.")(without)


@contextmanager
def viewed(*references: str, platform: Platform | None, tmp_dir: Path | None) -> Iterator[list[View]]:
    """The images that references name, open to be looked at. Raises UsageError where two of them are
    standard input, or the temporary folder is none."""
    if sum(parse_reference(reference).is_stdio for reference in references) > 1:
        raise UsageError("standard input holds one archive; name the other by its path")
    if tmp_dir is not None and not tmp_dir.is_dir():
        raise UsageError(f"--tmp-dir {tmp_dir} is no folder")
    with ExitStack() as stack:
        progress = stack.enter_context(shown())
        yield [
            stack.enter_context(
                open_view(
                    reference,
                    platform=platform,
                    tmp_dir=tmp_dir or Path(gettempdir()),
                    jobs=os.cpu_count() or 1,
                    progress=progress,
                )
            )
            for reference in references
        ]
