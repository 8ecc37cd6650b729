"""`squashkit ls`."""

from __future__ import annotations

from functools import partial

import click

from squashkit.cli import complete
from squashkit.cli.help import Command, option
from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.errors import UsageError
from squashkit.jobs.look import each
from squashkit.jobs.paths import list_path


@click.command(
    cls=Command,
    short_help="List files of an image or of one layer.",
    epilog="""\b
Examples:
  squashkit ls app.tar
  squashkit ls app.tar:app:latest /etc -l
  squashkit ls app.tar --layer 2 --whiteouts
""",
)
@click.argument("image", shell_complete=complete.images)
@click.argument("path", default="/")
@option(
    "-l",
    "--long",
    is_flag=True,
    help="Print mode, names of the inode, owner, size in bytes and time (UTC) too.",
)
@option("-R", "--recursive", is_flag=True, help="List what directories hold, too.")
@option(
    "--layer",
    type=click.IntRange(0),
    metavar="N",
    help="List the entries of one layer, counted from the base, 0 first.",
)
@option("--whiteouts", is_flag=True, help="With --layer: list what the layer hides, too.")
@json_option("the entries")
@look_options
def ls(
    image: str,
    path: str,
    long: bool,
    recursive: bool,
    layer: int | None,
    whiteouts: bool,
    as_json: bool,
    looking: Looking,
) -> None:
    """List what the directory PATH of IMAGE's root file system holds, or PATH itself if it is none.

    With --layer, the entries of one layer at and below PATH, in the order of their tar.
    """
    if whiteouts and layer is None:
        raise UsageError("--whiteouts needs --layer: a root file system has none")

    look = partial(list_path, path=path, layer=layer, recursive=recursive, whiteouts=whiteouts, long=long)
    looking.show(looking.each(each, image, look), as_json=as_json)
