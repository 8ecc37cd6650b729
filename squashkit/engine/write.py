"""Plan to sink: the only place that makes layers, digests and manifests.

Kept blobs are copied as they are while the planner still thinks; new layers are put together from spans of
the source. What is hashed is what is written: a block on its way out. Nothing is committed before all of
it matches.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from squashkit.engine.layers import Loader, check_digest, join
from squashkit.errors import Cancelled
from squashkit.layers import tar
from squashkit.layers.merge import Copy, Piece, SquashedLayer
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Layer, RunPlace
from squashkit.oci.media import Codec
from squashkit.plan.documents import StoredLayer
from squashkit.transports.blobs import (
    READ_SIZE,
    Blob,
    fill_blocks,
    new_buffer,
    read_blocks,
    read_into,
)
from squashkit.transports.codecs import Compression, Compressor, decompress
from squashkit.transports.contracts import Sink, Slot
from squashkit.transports.source import Source


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the blob of a kept layer comes from: `source` has it as `blob`, which is `layer` itself, or
    that of the base in a registry, which stores the same layer in its own way."""

    layer: Layer
    source: Source
    blob: Layer

    @property
    def codec(self) -> Codec:
        return self.source.codec(self.blob)

    @property
    def size(self) -> int:
        return self.source.size(self.blob)

    @property
    def known(self) -> Descriptor | None:
        """What the destination may know the blob by. None where that is not known before it is read."""
        if self.blob.descriptor is not None:
            return self.blob.descriptor
        if self.codec is Codec.NONE:
            return Descriptor("", Digest(self.layer.diff_id), self.size)
        return None

    def fetch(self) -> None:
        """Have the blob at hand: only then its own bytes say how it is compressed."""
        self.source.blob(self.blob)

    def blocks(self, cancelled: threading.Event) -> Iterator[memoryview]:
        """The blob's bytes. One that lies elsewhere is fetched, and then is here for whoever scans it."""
        blob = self.source.blob(self.blob)
        return read_blocks(blob, cancelled, self.layer.where)

    def stored(self, digest: Digest, size: int) -> StoredLayer:
        """The layer as it was carried over."""
        return StoredLayer(self.layer.diff_id, digest, size, self.codec, self.blob.descriptor)


@dataclass(slots=True)
class Made:
    """Layers that were written for other images of the same destination, and are not written again where it
    has them."""

    runs: dict[RunPlace, StoredLayer] = field(default_factory=dict)
    kept: dict[str, StoredLayer] = field(default_factory=dict)
    """Kept ones that got another form, by their diff_ids; those whose digests nobody states by where they
    lie."""


@dataclass(slots=True)
class Writer:
    """Writes the layers of one image into a sink."""

    loader: Loader
    sink: Sink
    plain_zstd: bool
    """Store kept zstd layers plain, for a docker archive, which cannot hold them."""
    in_place: bool
    """The destination is the source's own layout, whose blobs are there as they are."""
    pack: Compression | None = None
    """Compress kept plain layers, for a registry."""
    made: Made = field(default_factory=Made)
    stored: dict[DiffID, StoredLayer] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)
    _tail: Future[None] | None = None
    """Writes at the end of the sink, where nothing else may be written meanwhile."""

    def keep(self, pool: ThreadPoolExecutor, layers: Sequence[Origin]) -> list[Future[None]]:
        """Begin to carry these layers over. A blob that stands in the image twice goes once.

        Blobs whose size is known get their places at once, so that these do not depend on which thread
        is first; those that must be unpacked follow, one after another.
        """
        unique = {o.layer.diff_id: o for o in layers if o.layer.diff_id not in self.stored}
        absent = [origin for origin in unique.values() if not self._is_there(origin)]
        join([pool.submit(origin.fetch) for origin in absent], self.loader.cancelled)
        jobs: list[Callable[[], None]] = []
        in_order: list[Callable[[], None]] = []
        for origin in unique.values():
            known = origin.known
            if known is not None and origin not in absent:
                self._remember(origin.stored(known.digest, known.size))
                if self.loader.verify and not self.in_place:
                    jobs.append(partial(self.sink.verify, known.digest))
                continue
            made = self.made.kept.get(self._place(origin))
            if made is not None and self.sink.has(made.digest, made.size):
                self._remember(made)
            elif origin.codec is Codec.ZSTD and self.plain_zstd:
                in_order.append(partial(self._unpack, origin))
            elif origin.codec is Codec.NONE and self.pack is not None:
                jobs.append(partial(self._pack, origin, self.pack))
            elif self.sink.parallel:
                jobs.append(partial(self._copy, origin, self.sink.slot(origin.size)))
            else:
                in_order.append(partial(self._send, origin))
        futures = [pool.submit(job) for job in jobs]
        if in_order:
            self._tail = pool.submit(_run_all, in_order)
            futures.append(self._tail)
        return futures

    def _place(self, origin: Origin) -> str:
        """By which a kept layer is found again that was written in a form that was not known before."""
        if origin.codec is Codec.ZSTD and self.plain_zstd:
            return origin.layer.diff_id
        if origin.codec is Codec.NONE and self.pack is not None:
            return origin.layer.diff_id
        return place_of(origin.source, origin.blob)

    def _is_there(self, origin: Origin) -> bool:
        known = origin.known
        return known is not None and self.sink.has(known.digest, known.size)

    def _send(self, origin: Origin) -> None:
        digest = origin.known.digest if origin.known is not None else None
        self._copy(origin, self.sink.slot(origin.size, digest))

    def _copy(self, origin: Origin, slot: Slot) -> None:
        where = origin.layer.where
        size, digest = self._pump(origin.blocks(self.loader.cancelled), slot.write)
        if self.loader.verify:
            if origin.known is not None:
                check_digest(where, origin.known.digest, digest)
            if origin.codec is Codec.NONE:
                check_digest(where, origin.layer.diff_id, digest)
        if origin.blob is not origin.layer:
            self._check_content(origin)
        elif origin.known is None or self.loader.known.blobs:
            # Nothing else says what the blob must be, or others are believed to hold the same layer.
            self.loader.verify_content(origin.layer)
        slot.seal()
        slot.finish(digest)
        stored = origin.stored(digest, size)
        if origin.known is None:
            self.made.kept[self._place(origin)] = stored
        self._remember(stored)

    def _check_content(self, origin: Origin) -> None:
        """A blob that another image says to be this layer must be it."""
        digest = hashlib.sha256()
        where = origin.layer.where
        for piece in decompress(origin.codec, origin.blocks(self.loader.cancelled), where):
            self.loader.room.inflate(len(piece), where)
            digest.update(piece)
        check_digest(where, origin.layer.diff_id, f"sha256:{digest.hexdigest()}")

    def _unpack(self, origin: Origin) -> None:
        where = origin.layer.where
        slot = self.sink.slot(None)
        pieces = decompress(origin.codec, origin.blocks(self.loader.cancelled), where)
        size, digest = self._pump(fill_blocks(pieces), slot.write)
        check_digest(where, origin.layer.diff_id, digest)
        slot.seal()
        slot.finish(digest)
        stored = StoredLayer(origin.layer.diff_id, digest, size, Codec.NONE)
        self.made.kept[self._place(origin)] = stored
        self._remember(stored)

    def _pack(self, origin: Origin, compression: Compression) -> None:
        slot = self.sink.slot(None)
        stored = self._compress(origin.blocks(self.loader.cancelled), compression, slot)
        check_digest(origin.layer.where, origin.layer.diff_id, stored.diff_id)
        slot.finish(stored.digest)
        self.made.kept[self._place(origin)] = stored
        self._remember(stored)

    def _remember(self, stored: StoredLayer) -> None:
        with self._lock:
            self.stored[stored.diff_id] = stored

    def squash(self, planned: SquashedLayer, compression: Compression) -> tuple[StoredLayer, Slot]:
        """Write a new layer; its place is still to be finished or discarded."""
        if self._tail is not None:
            self._tail.result()
        plain = compression.codec is Codec.NONE
        slot = self.sink.slot(planned.diff_size if plain else None)
        blocks = gather(self.loader, planned.pieces)
        if plain:
            size, digest = self._pump(blocks, slot.write)
            slot.seal()
            return StoredLayer(DiffID(digest), digest, size, Codec.NONE), slot
        return self._compress(blocks, compression, slot), slot

    def _compress(self, blocks: Iterator[memoryview], compression: Compression, slot: Slot) -> StoredLayer:
        """Write a plain tar compressed, and seal its place."""
        stored = hashlib.sha256()
        size = 0

        def write(data: bytes) -> None:
            nonlocal size
            stored.update(data)
            slot.write(data)
            size += len(data)

        compressor = Compressor(compression, write, self.loader.jobs, self.loader.cancelled)
        _, diff_id = self._pump(blocks, compressor.feed)
        compressor.close()
        slot.seal()
        digest = Digest(f"sha256:{stored.hexdigest()}")
        return StoredLayer(DiffID(diff_id), digest, size, compression.codec)

    def empty(self, compression: Compression) -> tuple[StoredLayer, Slot]:
        """The one layer of an image that would have none."""
        planned = SquashedLayer(0, 0, (bytes(0),), 0, 0, 0, (), ())
        return self.squash(planned, compression)

    def _pump(
        self, blocks: Iterator[memoryview], write: Callable[[memoryview], None]
    ) -> tuple[int, Digest]:
        """Read and hash each block while the one before it is written."""
        digest = hashlib.sha256()
        size = 0
        writing: Future[None] | None = None
        with ThreadPoolExecutor(1) as pool:
            try:
                for block in blocks:
                    if writing is not None:
                        join([writing], self.loader.cancelled)  # in turns, so that Ctrl-C is heard
                    writing = pool.submit(write, block)
                    digest.update(block)
                    size += len(block)
                    self.loader.progress.advance(len(block))
                if writing is not None:
                    join([writing], self.loader.cancelled)
            except BaseException:
                self.loader.cancelled.set()  # the pool waits for a write that may wait for a server
                raise
        return size, Digest(f"sha256:{digest.hexdigest()}")


def place_of(source: Source, layer: Layer) -> str:
    """What tells a blob from others whose digest nobody states: where it lies."""
    return f"{id(source.container)} {layer.member}"


def gather(loader: Loader, pieces: Sequence[Piece]) -> Iterator[memoryview]:
    """A new tar from spans of the source's layers and new headers, in blocks that are overwritten by the
    one after the next."""
    buffers = [new_buffer(READ_SIZE) for _ in range(2)]
    used = 0
    for piece in (*pieces, tar.END_OF_ARCHIVE):
        blob = loader.bytes_of(piece.layer) if isinstance(piece, Copy) else None
        at, end = (piece.start, piece.end) if isinstance(piece, Copy) else (0, len(piece))
        while at < end:
            view = buffers[0][used : used + end - at]
            if isinstance(piece, bytes):
                view[:] = piece[at : at + len(view)]
            elif blob is not None:
                _read_padded(blob, at, view, f"layer {piece.layer}")
            used += len(view)
            at += len(view)
            if used == READ_SIZE:
                yield buffers[0]
                if loader.cancelled.is_set():
                    raise Cancelled
                buffers.reverse()
                used = 0
    if used:
        yield buffers[0][:used]


def _read_padded(blob: Blob, at: int, view: memoryview, where: str) -> None:
    """Fill a buffer; what is missing of the padding at a tar's very end counts as zeros."""
    there = min(len(view), blob.size - at)
    read_into(blob.fd, blob.offset + at, view[:there], where)
    view[there:] = bytes(len(view) - there)


def _run_all(jobs: Sequence[Callable[[], None]]) -> None:
    for job in jobs:
        job()
