"""`squashkit export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click

from squashkit.cli.output import STREAMS, naming, say, sending, written
from squashkit.cli.shared import Looking, Opened, json_option, look_options
from squashkit.engine.view import View
from squashkit.engine.write import gather
from squashkit.errors import UsageError, show_path, show_text, told_of
from squashkit.oci.graph import Image
from squashkit.plan.squash import plan_export
from squashkit.transports.archive.sink import check_free
from squashkit.transports.atomic import AtomicFile, remove_leftovers
from squashkit.transports.blobs import read_blocks, write_all

_PLACE = "{platform}"


@click.command(
    short_help="Write the root file system of an image, or one layer, as a tar.",
    epilog="""\b
Examples:
  squashkit export app.tar -o rootfs.tar
  squashkit export app.tar:app:latest | tar -x -C rootfs
  squashkit export app.tar --layer 2 -o layer.tar
  squashkit export oci:images:app --platform all -o 'rootfs-{platform}.tar'
""",
)
@click.argument("image")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where the tar goes: a path, or - for standard output (the default where that is no terminal). {platform} in it stands for linux-amd64 and the like.",
)
@click.option(
    "--layer",
    type=click.IntRange(0),
    metavar="N",
    help="Write one layer's own tar, uncompressed, byte for byte. Counted from the base, 0 first.",
)
@click.option("--force", is_flag=True, help="Replace an existing output.")
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
            path = output.replace(_PLACE, show_text(str(one.platform)).replace("/", "-"))
            with told_of(str(one.platform) if looking.all_platforms else ""):
                size = _export(opened, one, path, layer, force=force)
            made[str(one.platform)] = {"output": path, "bytes": size}
            if output != "-" and not as_json:
                say(f"Wrote {size:,} bytes to {show_path(os.fsencode(path))}")
    if as_json:
        looking.show_json(made)


def _output(output: str | None, looking: Looking) -> str:
    if output is None:
        output = "-"
    if looking.all_platforms and _PLACE not in output:
        raise UsageError(f"--platform all writes several files; pass -o 'rootfs-{_PLACE}.tar'")
    if output == "-" and sys.stdout is None:
        raise UsageError("standard output is closed; pass -o FILE")
    if output == "-" and sys.stdout.isatty():
        raise UsageError("standard output is a terminal; pass -o FILE, or pipe it into tar -x")
    return output


def _export(opened: Opened, image: Image, output: str, layer: int | None, *, force: bool) -> int:
    """Write one tar and return its size. A file gets its name when all of it is right; what a pipe has
    sent cannot be taken back, so there all of it is right before the first byte."""
    if output == "-":
        with opened.view(image, verify=True) as view:
            view.settle()
            with sending():
                size = _copy(_blocks(view, layer), sys.stdout.fileno(), STREAMS[0], lambda size: None)
            view.refuse_changed()
            return size
    path = Path(output)
    opened.source.refuse_as_output(path)
    check_free(path, force=force)
    remove_leftovers(path)
    with opened.view(image, verify=True) as view, closing(AtomicFile(path)) as file:
        room = opened.tmp_dir.at(path)
        size = _copy(_blocks(view, layer), file.fd, output, lambda size: room.keep(size, "the output"))
        view.settle()
        view.refuse_changed()
        file.publish_output(force=force)
    written.append(f"{show_path(os.fsencode(path))} was written")
    return size


def _copy(blocks: Iterator[memoryview], fd: int, name: str, keep: Callable[[int], None]) -> int:
    size = 0
    for block in blocks:
        keep(len(block))
        with naming(name):
            write_all(fd, block)
        size += len(block)
    return size


def _blocks(view: View, layer: int | None) -> Iterator[memoryview]:
    """The tar that was asked for; a block is overwritten by the one after the next."""
    if layer is None:
        plan = plan_export(view.changesets, view.loader.header_of)
        view.loader.progress.stage("Writing", plan.diff_size)
        blocks = gather(view.loader, plan.pieces)
    else:
        view.changeset(layer)
        blob = view.loader.bytes_of(layer)
        view.loader.progress.stage("Writing", blob.size)
        blocks = read_blocks(blob, view.loader.cancelled, f"layer {layer}")
    for block in blocks:
        yield block
        view.loader.progress.advance(len(block))
