"""A root file system, or one layer, as a tar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from squashkit.arguments import checked
from squashkit.engine.stream import gather
from squashkit.engine.view import View
from squashkit.errors import Interrupted, inside, show_text
from squashkit.jobs.look import Opened, one_platform, open_images
from squashkit.oci.documents import ALL
from squashkit.oci.graph import Image
from squashkit.options import Run, Which
from squashkit.plan.squash import plan_export
from squashkit.progress import Notify, Progress, ignore
from squashkit.transports.archive.sink import check_free
from squashkit.transports.atomic import AtomicFile, remove_leftovers
from squashkit.transports.blobs import read_blocks, write_all
from squashkit.values import frozen

PLACE = "{platform}"
"""What in an output's name stands for the platform."""
STREAM = "standard output"


@frozen
class Exported:
    """A tar that was written, and its size in bytes."""

    output: str
    """Where the tar went."""
    size: int
    """Bytes."""


@checked
def export(
    image: str,
    output: str,
    *,
    layer: int | None = None,
    force: bool = False,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Exported:
    """Write the root file system of an image as one tar, or one layer's own tar, to a path, or to standard
    output (`-`). Every digest is checked before a file has its name.

    Raises UsageError where something is there already, unless `force` replaces it; what reading the image
    raises; OSError as it is.
    """
    with open_images([image], one_platform(which), run, progress, notify) as (opened,):
        (one,) = opened.images()
        return export_image(opened, one, output, layer, force=force)


def export_image(opened: Opened, image: Image, output: str, layer: int | None, *, force: bool) -> Exported:
    """The same of one image of an open source; with all platforms each has a file of its own."""
    path = output.replace(PLACE, show_text(str(image.platform)).replace("/", "-"))
    with inside(str(image.platform) if opened.which.choice == ALL else ""):
        write = _write_stream if path == "-" else _write_file
        return Exported(path, write(opened, image, path, layer, force=force))


def _write_stream(opened: Opened, image: Image, path: str, layer: int | None, *, force: bool) -> int:
    """What a pipe has sent cannot be taken back, so all of it is right before the first byte."""
    with opened.view(image, verify=True) as view:
        view.settle()
        try:
            size = _copy(_blocks(view, layer), sys.stdout.fileno(), STREAM, lambda size: None)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; what {STREAM} got is not whole", reference=STREAM) from None
        view.refuse_changed()
        return size


def _write_file(opened: Opened, image: Image, output: str, layer: int | None, *, force: bool) -> int:
    """A file gets its name when all of it is right."""
    path = Path(output)
    opened.source.refuse_as_output(path)
    check_free(path, force=force)
    remove_leftovers(path)
    with opened.view(image, verify=True) as view, closing(AtomicFile(path)) as file:
        room = opened.session.room.at(path)
        size = _copy(_blocks(view, layer), file.fd, output, lambda size: room.keep(size, "the output"))
        view.settle()
        view.refuse_changed()
        file.publish_output(force=force)
    return size


def _copy(blocks: Iterator[memoryview], fd: int, name: str, keep: Callable[[int], None]) -> int:
    size = 0
    for block in blocks:
        keep(len(block))
        with _naming(name):
            write_all(fd, block)
        size += len(block)
    return size


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors from inside are those of a file, and name it."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


def _blocks(view: View, layer: int | None) -> Iterator[memoryview]:
    """The tar that was asked for; a block is overwritten by the one after the next."""
    layers, image = view.layers, view.image
    progress = layers.session.progress
    if layer is None:
        plan = plan_export(view.changesets, layers.header_of(image))
        progress.stage("Writing", plan.diff_size)
        blocks = gather(layers, image.layers, plan.pieces)
    else:
        view.changeset(layer)
        blob = layers.bytes_of(image.layers[layer])
        progress.stage("Writing", blob.size)
        blocks = read_blocks(blob, layers.session.cancelled, f"layer {layer}")
    for block in blocks:
        yield block
        progress.advance(len(block))
