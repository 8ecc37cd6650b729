"""`squashkit cat`."""

from __future__ import annotations

import sys

import click

from squashkit.cli import complete
from squashkit.cli.help import Command
from squashkit.cli.output import STREAMS, naming
from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.errors import UsageError
from squashkit.jobs.look import as_it_is, each
from squashkit.jobs.paths import find_file
from squashkit.report.listing import Listed, file_json

_MAX_JSON = 256 << 20


@click.command(
    cls=Command,
    short_help="Print a file of an image.",
    epilog="""\b
Examples:
  squashkit cat app.tar /etc/os-release
  squashkit cat app.tar /usr/bin/env > env
""",
)
@click.argument("image", shell_complete=complete.images)
@click.argument("path")
@json_option("the file's attributes and its content, in base64 where it is no text,")
@look_options
def cat(image: str, path: str, as_json: bool, looking: Looking) -> None:
    """Print the file PATH of IMAGE's root file system. Symlinks are followed inside the image.

    With --platform all, the files of all platforms, each under a heading.
    """
    documents = {}
    for number, (platform, view) in enumerate(looking.each(each, image, as_it_is)):
        node = find_file(view, path)
        if as_json:
            if node.entry.realsize > _MAX_JSON:
                raise UsageError("the file is too large for JSON; leave --json out")
            content = b"".join(view.content(node))
            documents[str(platform)] = file_json(Listed.of_node(node.entry.path, node), content)
            continue
        if sys.stdout is None:
            raise UsageError("standard output is closed")
        looking.heading(number, platform)
        sys.stdout.flush()
        for block in view.content(node):
            with naming(STREAMS[0]):
                sys.stdout.buffer.write(block)
        with naming(STREAMS[0]):
            sys.stdout.buffer.flush()
    if as_json:
        looking.show_json(documents)
