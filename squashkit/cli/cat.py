"""`squashkit cat`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from squashkit.cli.shared import debug_option, platform_option, tmp_dir_option, viewed
from squashkit.compare import kind_of
from squashkit.errors import PathNotFound
from squashkit.oci import Platform
from squashkit.rootfs import Inode
from squashkit.tar import REGULAR


@click.command(
    short_help="Print a file of an image.",
    epilog="Example: squashkit cat app.tar /etc/os-release",
)
@click.argument("image")
@click.argument("path")
@platform_option
@tmp_dir_option("the system's")
@debug_option
def cat(image: str, path: str, platform: Platform | None, tmp_dir: Path | None) -> None:
    """Print the file PATH of IMAGE's root file system. Symlinks are followed inside the image."""
    with viewed(image, platform=platform, tmp_dir=tmp_dir) as (view,):
        node = view.find(path, follow=True)
        if not isinstance(node, Inode) or node.entry.record.typeflag != REGULAR:
            raise PathNotFound(f"is a {kind_of(node)}, not a file", path=view.name_of(path))
        for block in view.content(node):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
