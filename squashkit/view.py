"""An image's root file system as it is read: the tree, and the bytes behind it.

Nothing is unpacked. Compressed layers are read once, and so verified; of plain ones only headers are
read, and the data that somebody asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from squashkit.base import choose_image
from squashkit.changeset import Changeset
from squashkit.errors import PathNotFound, UnsupportedImage, UsageError, show_path
from squashkit.graph import Image
from squashkit.loader import Loader, Source, open_source, read_blocks
from squashkit.oci import DiffID, Platform
from squashkit.planner import apply_layer
from squashkit.progress import Progress
from squashkit.rootfs import Inode, Node, Rootfs, resolve
from squashkit.selection import machine_platform
from squashkit.transports import parse_reference
from squashkit.transports.container import Blob
from squashkit.transports.oci_layout import refuse_unsupported

_BLOCK = 1 << 20


@dataclass(slots=True)
class View:
    """One image, open to be looked at."""

    source: Source
    image: Image
    loader: Loader
    rootfs: Rootfs
    changesets: Mapping[int, Changeset]

    @staticmethod
    def name_of(path: str) -> bytes:
        """A path as people type it, in the form that layers have it in."""
        return b"/".join(p for p in os.fsencode(path).split(b"/") if p not in (b"", b"."))

    def changeset(self, index: int) -> Changeset:
        """One layer's changes. Raises UsageError where the image has no such layer."""
        if index not in self.changesets:
            last = len(self.image.layers) - 1
            raise UsageError(f"--layer {index}: {self.image.title} has the layers 0 to {last}, base first")
        return self.changesets[index]

    def find(self, path: str, *, follow: bool) -> Node:
        """What lies at a path of the root file system, symlinks followed inside it; the last part's too
        with `follow`. Raises PathNotFound."""
        node = resolve(self.rootfs, os.fsencode(path), follow=follow)
        if node is None:
            raise PathNotFound(f"not in {self.image.title}", path=self.name_of(path))
        return node

    def origin(self, inode: Inode) -> tuple[DiffID, int]:
        """Where a file's content comes from: equal origins have equal content."""
        return self.image.layers[inode.layer].diff_id, inode.entry.record.data

    def payload(self, inode: Inode) -> Iterator[memoryview]:
        """A file's stored bytes in blocks; a block is overwritten by the one after the next."""
        record = inode.entry.record
        blob = self.loader.bytes_of(inode.layer)
        where = show_path(inode.entry.path)
        span = Blob(blob.fd, blob.offset + record.data, record.size)
        return read_blocks(span, self.loader.cancelled, where, _BLOCK)

    def content(self, inode: Inode) -> Iterator[memoryview]:
        """A file's bytes, as `payload`. Raises UnsupportedImage for a sparse file, whose stored bytes are
        not its content."""
        record = inode.entry.record
        if record.realsize != record.size:
            raise UnsupportedImage(
                f"{show_path(inode.entry.path)} is stored as a sparse file; unpack the image to read it",
                what="sparse file",
            )
        return self.payload(inode)


def same_content(left: View, right: View, a: Inode, b: Inode) -> bool:
    """Whether two files of the same size hold the same bytes. Nothing is read where both come from the
    same place of the same layer. Sparse files are compared as they are stored."""
    if left.origin(a) == right.origin(b):
        return True
    if a.entry.record.size != b.entry.record.size:
        return False
    return all(x == y for x, y in zip(left.payload(a), right.payload(b), strict=True))


@contextmanager
def open_view(
    reference: str,
    *,
    platform: Platform | None,
    tmp_dir: Path,
    jobs: int,
    progress: Progress | None = None,
) -> Iterator[View]:
    """Open an image and build its tree.

    Raises what `open_source`, `choose_image`, `Loader.load` and `Rootfs.apply` raise.
    """
    with open_source(parse_reference(reference), tmp_dir, progress) as source:
        image = choose_image(
            source.images, source.reference.image, platform, machine_platform(), source.example,
            [descriptor.platform for descriptor in source.listing.absent if descriptor.platform],
        )  # fmt: skip
        refuse_unsupported(image)
        loader = Loader(source, image, tmp_dir, jobs)
        if progress is not None:
            loader.progress = progress
        try:
            rootfs = Rootfs()
            changesets = loader.load(range(len(image.layers)), data=lambda index: False)
            for index, changeset in changesets.items():
                apply_layer(rootfs, changeset, index)
            yield View(source, image, loader, rootfs, changesets)
        finally:
            loader.close()
