"""An image's root file system as it is read: the tree, and the bytes behind it.

Nothing is unpacked. Compressed layers are read once, and so verified; of plain ones only headers are
read, and the data that somebody asks for, unless all of it is to be verified.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, PathNotFound, UsageError
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import (
    Difference,
    MayLack,
    Piece,
    content_digest,
    is_same_content,
    iter_differences,
)
from squashkit.layers.entry import Entry, stored_spans
from squashkit.layers.lookup import resolve
from squashkit.layers.rootfs import Inode, Node, Rootfs
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Image
from squashkit.oci.media import Codec
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of
from squashkit.values import mutable
from squashkit.wording import Option

_HEAD = 4096


@mutable
class View:
    """One image, open to be looked at."""

    title: str
    """The image's name, and its platform where there are others of that name."""
    image: Image
    layers: LayerStore
    changesets: Mapping[int, Changeset]
    _rootfs: Rootfs | None = None

    @property
    def rootfs(self) -> Rootfs:
        """The tree of all layers, made when it is first asked for. Raises what `Rootfs.apply` raises."""
        if self._rootfs is None:
            self._rootfs = Rootfs()
            for index, changeset in self.changesets.items():
                self._rootfs.apply(changeset, index)
        return self._rootfs

    @staticmethod
    def name_of(path: str) -> bytes:
        """A path as people type it, in the form that layers have it in."""
        return b"/".join(p for p in os.fsencode(path).split(b"/") if p not in (b"", b"."))

    def changeset(self, index: int) -> Changeset:
        """One layer's changes. Raises UsageError where the image has no such layer."""
        if index not in self.changesets:
            last = len(self.image.layers) - 1
            raise UsageError(
                Option("layer", index), f": {self.title} has the layers 0 to {last}, base first"
            )
        return self.changesets[index]

    def settle(self) -> None:
        """Wait until all that was to be verified is. Raises DigestMismatch."""
        self.layers.settle()

    def refuse_changed(self) -> None:
        """Raises InvalidImage where a file that layers were read from was written to meanwhile: then what
        was verified may not be what was copied."""
        if self.layers.changed is not None:
            raise InvalidImage("it was changed while it was read", where=self.layers.changed)

    def find(self, path: str, *, follow: bool) -> Node:
        """What lies at a path of the root file system, symlinks followed inside it; the last part's too
        with `follow`. Raises PathNotFound."""
        node = resolve(self.rootfs, os.fsencode(path), follow=follow)
        if node is None:
            raise PathNotFound(f"not in {self.title}", path=self.name_of(path))
        return node

    def origin(self, inode: Inode) -> tuple[DiffID, int]:
        """Where a file's content comes from: equal origins have equal content."""
        return self.image.layers[inode.layer].diff_id, inode.entry.data

    def pieces(self, inode: Inode) -> Iterator[Piece]:
        """A file's content, as `LayerStore.pieces` gives it."""
        return self.pieces_of(inode.layer, inode.entry)

    def pieces_of(self, layer: int, entry: Entry) -> Iterator[Piece]:
        """The content of a file of one of the layers, hidden or not."""
        return self.layers.pieces(self.image.layers[layer], entry)

    def same(self, layer: int, entry: Entry, other_layer: int, other: Entry) -> bool:
        """Whether two files, each of a layer, hold the same bytes."""
        if entry.realsize != other.realsize:
            return False
        mine, theirs = self.image.layers[layer].diff_id, self.image.layers[other_layer].diff_id
        if (mine, entry.data) == (theirs, other.data):
            return True
        return is_same_content(self.pieces_of(layer, entry), self.pieces_of(other_layer, other))

    def read_at(self, inode: Inode, offset: int, size: int) -> bytes:
        """Bytes of a file from an offset on; fewer where it ends. The zeros of holes are among them."""
        parts: list[bytes] = []
        at, end = 0, offset + size
        blob = self.layers.bytes_of(self.image.layers[inode.layer])
        for start, length in stored_spans(inode.entry):
            low, high = max(offset, at), min(end, at + length)
            if low < high:
                zeros = bytes(high - low)
                parts.append(zeros if start is None else blob.read_at(start + low - at, high - low))
            at += length
            if at >= end:
                break
        return b"".join(parts)

    def head(self, layer: int, entry: Entry) -> bytes:
        """The first bytes of a file of a layer, 4 KiB at most; the zeros of a hole, too."""
        head = bytearray()
        for piece in self.pieces_of(layer, entry):
            room = _HEAD - len(head)
            head += bytes(min(piece, room)) if isinstance(piece, int) else piece[:room]
            if len(head) == _HEAD:
                break
        return bytes(head)

    def digest(self, layer: int, entry: Entry) -> bytes:
        """What files of layers have alike that hold the same bytes, and no others."""
        return content_digest(self.pieces_of(layer, entry))

    def content(self, inode: Inode) -> Iterator[bytes]:
        """A file's bytes in pieces, the zeros of holes too. Raises DigestMismatch where its layer ends
        before it does."""
        return self.layers.content(self.image.layers[inode.layer], inode.entry)


def _same_content(left: View, right: View, a: Inode, b: Inode) -> bool:
    """Whether two files of the same size hold the same bytes. Nothing is read where both come from the
    same place of the same layer."""
    return left.origin(a) == right.origin(b) or is_same_content(left.pieces(a), right.pieces(b))


def view_differences(left: View, right: View, may_lack: MayLack | None = None) -> Iterator[Difference]:
    """What differs between two images, content included, as `iter_differences` tells it."""
    same = partial(_same_content, left, right)
    return iter_differences(left.rootfs, right.rootfs, same, may_lack=may_lack)


@contextmanager
def open_view(
    session: Session, source: Source, image: Image, *, verify: bool = False, keep: bool = False
) -> Iterator[View]:
    """Open an image of a source. With `verify` every digest and diff_id is checked while the work goes on;
    `View.settle` says how that ended. With `keep` compressed layers are kept inflated, for whoever asks for
    the content of many files.

    Raises what `LayerStore.read` raises.
    """
    with LayerStore(session, cached=source.remote is not None and not verify) as layers:
        session.progress.stage("Reading", None)
        changesets = layers.read(
            image.layers, lambda layer: verify or (keep and codec_of(layer) is not Codec.NONE)
        )
        session.progress.close()
        twins = [
            one for one in source.images if one.names == image.names and one.platform != image.platform
        ]
        title = f"{image.title} ({image.platform})" if twins else image.title
        yield View(title, image, layers, dict(enumerate(changesets)))
