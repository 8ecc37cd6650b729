"""`squashkit which`."""

from __future__ import annotations

from functools import partial

import click

from squashkit.cli import complete
from squashkit.cli.help import Command
from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.jobs.look import each
from squashkit.jobs.paths import trace


@click.command(
    cls=Command,
    short_help="Show which layers hold or hide a path.",
    epilog="""\b
Examples:
  squashkit which app.tar /usr/lib/os-release
  squashkit which app.tar:app:latest /root/.ssh/id_ed25519
  squashkit which app.tar '*.pem'
""",
)
@click.argument("image", shell_complete=complete.images)
@click.argument("path")
@json_option("what each layer does at the path")
@look_options
def which(image: str, path: str, as_json: bool, looking: Looking) -> None:
    """Tell every layer of IMAGE that holds PATH or hides it, copies that nobody sees included.

    Where a directory of PATH is a symlink in the image, what it leads to is meant. PATH may be a glob: `*`
    and `?` within a name, `**` across directories; without a slash it is a name in every directory.
    """
    looking.show(looking.each(each, image, partial(trace, text=path)), as_json=as_json)
