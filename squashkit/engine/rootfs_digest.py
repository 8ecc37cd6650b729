"""The digest of a root file system: of an image as it lies there, or as a plan makes it.

Layers of a plan need not be written anywhere: their headers are read from the pieces that they are put
together from, and contents where they lie in the source. Every layer's bytes pass once.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from squashkit.amounts import size
from squashkit.engine.layers import LayerStore
from squashkit.errors import Cancelled, DigestMismatch, InvalidImage, PlanError, show_path
from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import REGULAR, Entry, stored_spans
from squashkit.layers.listing import rootfs_digest as digest_of_tree
from squashkit.layers.pieces import Copy, Piece
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import Codec
from squashkit.plan.squash import KeptLayer, LayerPlan, unchanged
from squashkit.transports.blobs import WINDOW
from squashkit.transports.stored import codec_of
from squashkit.values import frozen

_ZEROS = memoryview(bytes(1 << 20))
_MOST_HOLES = 256 << 30
"""Bytes of the holes of all sparse files: a few bytes of a tar make any number of them, and all are hashed,
a GB or two a second."""


def rootfs_digest(layers: LayerStore, image: Image) -> Digest:
    """The digest of an image's root file system, as docs/provenance.md defines it. Raises what reading its
    layers raises, PlanError for more holes of sparse files than can be hashed."""
    return planned_digest(layers, image, unchanged((), len(image.layers)))


def planned_digest(
    layers: LayerStore, image: Image, plan: LayerPlan, sources: Sequence[Layer] | None = None
) -> Digest:
    """The same of what a plan makes of an image. `sources` are the layers that new ones are put together
    from, where they are others than the image's.

    Raises InvalidImage, too, where a file that layers are read from was written to meanwhile.
    """
    layers.session.progress.stage("Hashing the root file system", None)
    rootfs = Rootfs()
    stack = list(_stack(layers, image, plan, image.layers if sources is None else sources))
    for index, one in enumerate(stack):
        rootfs.apply(one.changeset, index)
    contents = _Contents(layers)
    inodes = dict.fromkeys(node for _, node in iter_nodes(rootfs.root) if isinstance(node, Inode))
    for inode in inodes:  # each once, whatever names it has
        if inode.entry.typeflag == REGULAR:
            contents.want(inode, stack[inode.layer])
    contents.read()
    layers.settle()
    if layers.changed is not None:
        raise InvalidImage("it was changed while it was read", where=layers.changed)
    return digest_of_tree(rootfs, contents.digests.__getitem__)


@frozen
class _Stacked:
    """A layer of a tree: what it changes, and where its bytes lie."""

    changeset: Changeset
    layer: Layer | None
    """That it is; None where it is put together from pieces."""
    pieces: _Pieces | None = None

    def made(self, entry: Entry) -> bytes | None:
        """What a file holds that is new; None where its bytes lie in a layer."""
        return self.pieces.made(entry) if self.pieces is not None and entry.size else None

    def place(self, at: int) -> tuple[Layer, int]:
        """The layer that a byte of the tar lies in, and where."""
        if self.pieces is not None:
            return self.pieces.place(at)
        assert self.layer is not None
        return self.layer, at


def _stack(
    layers: LayerStore, image: Image, plan: LayerPlan, sources: Sequence[Layer]
) -> Iterator[_Stacked]:
    """The layers that a plan makes, base first."""
    kept = [image.layers[one.index] for one in plan.layers if isinstance(one, KeptLayer)]
    read = layers.read(kept, lambda layer: layers.keeps(layer) and codec_of(layer) is not Codec.NONE)
    changesets = iter(zip(kept, read, strict=True))
    for planned in plan.layers:
        if isinstance(planned, KeptLayer):
            layer, changeset = next(changesets)
            yield _Stacked(changeset, layer)
        elif planned.pieces:
            pieces = _Pieces(layers, sources, planned.pieces)
            yield _Stacked(pieces.changeset(), None, pieces)


class _Pieces:
    """A tar that is put together from pieces, to be read without being written."""

    def __init__(self, layers: LayerStore, sources: Sequence[Layer], pieces: Sequence[Piece]) -> None:
        self._layers = layers
        self._sources = sources
        self._pieces = pieces
        lengths = (one.end - one.start if isinstance(one, Copy) else len(one) for one in pieces)
        self._starts = [0, *accumulate(lengths)]

    def changeset(self) -> Changeset:
        """What its headers say."""
        return parse_changeset(tar.scan(self._window), self._starts[-1] + len(tar.END_OF_ARCHIVE))

    def made(self, entry: Entry) -> bytes | None:
        """What a file holds that is written anew, as an extraction's package databases are; None where it
        is copied."""
        piece, offset = self._find(entry.data)
        if isinstance(piece, Copy) or entry.sparse is not None:
            return None
        return piece[offset : offset + entry.size]

    def place(self, at: int) -> tuple[Layer, int]:
        """The layer that a byte is copied from, and where it lies in that."""
        piece, offset = self._find(at)
        assert isinstance(piece, Copy)
        return self._sources[piece.layer], piece.start + offset

    def _find(self, at: int) -> tuple[Piece, int]:
        """The piece that a byte is of, and where in it."""
        index = bisect_right(self._starts, at) - 1
        return self._pieces[index], at - self._starts[index]

    def _window(self, at: int) -> tuple[memoryview, int]:
        """As `tar.scan` wants it: no piece ends within a header."""
        if at >= self._starts[-1]:
            return memoryview(b""), self._starts[-1]
        piece, offset = self._find(at)
        if isinstance(piece, bytes):
            return memoryview(piece)[offset:], at
        if self._layers.session.cancelled.is_set():
            raise Cancelled
        start = piece.start + offset
        blob = self._layers.bytes_of(self._sources[piece.layer])
        return memoryview(blob.read_at(start, min(WINDOW, piece.end - start))), at


@frozen
class _File:
    """A file whose digest is wanted: its inode, and where its bytes lie in a layer, None for where a hole
    does."""

    inode: Inode
    spans: tuple[tuple[int | None, int], ...]

    @property
    def start(self) -> int:
        """Where its first byte lies; 0 where it is nothing but a hole."""
        return next((start for start, _ in self.spans if start is not None), 0)


@dataclass(slots=True)
class _Contents:
    """The digests of files' contents. Each layer is read once."""

    layers: LayerStore
    digests: dict[Inode, bytes] = field(default_factory=dict)
    _wanted: dict[tuple[int, DiffID], tuple[Layer, list[_File]]] = field(default_factory=dict)
    """The files that are to be read, by the layer in which they lie."""
    _empty: list[Inode] = field(default_factory=list)
    """Those of which nothing is stored: they hold nothing, or one hole."""
    _holes: int = 0

    def want(self, inode: Inode, stacked: _Stacked) -> None:
        """Ask for the digest of a file of a layer. Raises PlanError for too many bytes of holes,
        TooLarge."""
        made = stacked.made(inode.entry)
        if made is not None:
            self.digests[inode] = hashlib.sha256(made).digest()
            return
        layer: Layer | None = None
        spans: list[tuple[int | None, int]] = []
        for start, length in stored_spans(inode.entry):
            if start is None:
                self._count_hole(inode, length)
            else:
                layer, start = stacked.place(start)
            spans.append((start, length))
        if layer is None:
            self._empty.append(inode)
            return
        _, files = self._wanted.setdefault((layer.index, layer.diff_id), (layer, []))
        files.append(_File(inode, tuple(spans)))

    def read(self) -> None:
        """Hash all that is wanted, several layers at a time."""
        for inode in self._empty:
            self._hash_zeros(inode, inode.entry.realsize)
        pool = self.layers.pool
        pool.finish(
            [
                pool.submit(
                    self._read, layer, files, size=sum(length for one in files for _, length in one.spans)
                )
                for layer, files in self._wanted.values()
            ]
        )

    def _read(self, layer: Layer, files: list[_File]) -> None:
        passing = _Passing(sorted(files, key=lambda one: one.start), self.digests, self._zeros)
        self.layers.pass_on(layer, passing.take)
        passing.finish(layer)

    def _count_hole(self, inode: Inode, length: int) -> None:
        self._holes += length
        shown = show_path(inode.entry.path)
        if self._holes > _MOST_HOLES:
            raise PlanError(
                f"{shown}: with this file the holes of sparse files are {size(self._holes)}, which take too"
                " long to be hashed for the digest of the root file system"
            )
        self.layers.session.room.inflate(length, shown)

    def _hash_zeros(self, inode: Inode, length: int) -> None:
        digest = hashlib.sha256()
        for zeros in self._zeros(length):
            digest.update(zeros)
        self.digests[inode] = digest.digest()

    def _zeros(self, length: int) -> Iterator[memoryview]:
        while length:
            if self.layers.session.cancelled.is_set():
                raise Cancelled
            part = _ZEROS[:length]
            yield part
            length -= len(part)


class _Passing:
    """Files that are hashed while a layer's bytes pass. They lie one behind the other."""

    def __init__(
        self,
        files: Sequence[_File],
        digests: dict[Inode, bytes],
        zeros: Callable[[int], Iterator[memoryview]],
    ) -> None:
        self._digests = digests
        self._zeros = zeros
        self._spans = ((one, *span) for one in files for span in one.spans)
        self._at = self._start = self._length = 0
        """How many bytes have passed; what comes next of the file."""
        self._file: _File | None = None
        self._hash = hashlib.sha256()
        """Of the file that is passing, as far as it has."""
        self._next()

    def take(self, block: memoryview) -> None:
        """The next bytes of the layer."""
        base, self._at = self._at, self._at + len(block)
        while self._file is not None and self._start < self._at:
            stop = self._start + self._length
            self._hash.update(block[max(0, self._start - base) : stop - base])
            if stop > self._at:
                self._start, self._length = self._at, stop - self._at
                return
            self._next()

    def finish(self, layer: Layer) -> None:
        """Raises DigestMismatch where the layer ended before its files did."""
        if self._file is not None:
            raise DigestMismatch(
                f"{layer.where}: {show_path(self._file.inode.entry.path)}",
                expected=f"{self._length} more bytes",
                actual="the end of the layer",
                diff_id=layer.diff_id,
            )

    def _next(self) -> None:
        """Go to the next span that is stored, over holes and to the next file."""
        for one, start, length in self._spans:
            if one is not self._file:
                self._end()
                self._file, self._hash = one, hashlib.sha256()
            if start is not None:
                self._start, self._length = start, length
                return
            for zeros in self._zeros(length):
                self._hash.update(zeros)
        self._end()
        self._file = None

    def _end(self) -> None:
        if self._file is not None:
            self._digests[self._file.inode] = self._hash.digest()
