"""`squashkit export`."""

from __future__ import annotations

import os
import sys

import click

from squashkit.cli import complete
from squashkit.cli.help import Command, option
from squashkit.cli.output import say, written
from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.errors import UsageError, show_path
from squashkit.jobs.export import PLACE, export_image


@click.command(
    cls=Command,
    short_help="Write the root file system of an image, or one layer, as a tar.",
    epilog="""\b
Examples:
  squashkit export app.tar -o rootfs.tar
  squashkit export app.tar:app:latest | tar -x -C rootfs
  squashkit export app.tar --layer 2 -o layer.tar
  squashkit export oci:images:app --platform all -o 'rootfs-{platform}.tar'
""",
)
@click.argument("image", shell_complete=complete.images)
@option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete.files,
    help="Where the tar goes: a path, or - for standard output. The latter is the default where"
    " that is no terminal. {platform} in a path stands for linux-amd64 and the like.",
)
@option(
    "--layer",
    type=click.IntRange(0),
    metavar="N",
    help="Write one layer's own tar, uncompressed, byte for byte. Counted from the base, 0 first.",
)
@option("--force", is_flag=True, help="Replace an existing output.")
@json_option("where the tar went and its size")
@look_options
def export(
    image: str, output: str | None, layer: int | None, force: bool, as_json: bool, looking: Looking
) -> None:
    """Write the root file system of IMAGE as one tar, as `docker export` would, without a daemon.

    Entries are the source's own bytes, but for headers that must be written anew (a hard link whose first
    name is gone). Every digest is checked before the output has its name, or its first byte on standard
    output.
    """
    output = _output(output, looking)
    if output == "-" and as_json:
        raise UsageError("the tar goes to standard output; pass -o FILE to have --json there")
    made = {}
    with looking.open(image) as (opened,):
        for one in opened.images():
            done = export_image(opened, one, output, layer, force=force)
            made[str(one.platform)] = {"output": done.output, "bytes": done.size}
            shown = show_path(os.fsencode(done.output))
            if output != "-":
                written.append(f"{shown} was written")
            if output != "-" and not as_json:
                say(f"Wrote {done.size:,} bytes to {shown}")
    if as_json:
        looking.show_json(made)


def _output(output: str | None, looking: Looking) -> str:
    if output is None:
        output = "-"
    if looking.all_platforms and PLACE not in output:
        raise UsageError(f"--platform all writes several files; pass -o 'rootfs-{PLACE}.tar'")
    if output == "-" and sys.stdout is None:
        raise UsageError("standard output is closed; pass -o FILE")
    if output == "-" and sys.stdout.isatty():
        raise UsageError("standard output is a terminal; pass -o FILE, or pipe it into tar -x")
    return output
