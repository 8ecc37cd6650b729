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

from squashkit import tar
from squashkit.compression import Compression, Compressor, decompress
from squashkit.errors import Cancelled
from squashkit.graph import Layer
from squashkit.loader import (
    READ_SIZE,
    Loader,
    check_digest,
    fill_blocks,
    read_blocks,
    read_into,
)
from squashkit.merge import Copy, Piece, SquashedLayer
from squashkit.metadata import StoredLayer
from squashkit.oci import Codec, Descriptor, DiffID, Digest
from squashkit.transports.container import Blob, new_buffer
from squashkit.transports.sink import Sink, Slot


@dataclass(slots=True)
class Writer:
    """Writes the layers of one image into a sink."""

    loader: Loader
    sink: Sink
    plain_zstd: bool
    """Store kept zstd layers plain, for a docker archive, which cannot hold them."""
    in_place: bool
    """The destination is the source's own layout, whose blobs are there as they are."""
    stored: dict[DiffID, StoredLayer] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)
    _tail: Future[None] | None = None
    """Writes at the end of the sink, where nothing else may be written meanwhile."""

    def keep(self, pool: ThreadPoolExecutor, layers: Sequence[Layer]) -> list[Future[None]]:
        """Begin to carry these layers over. A blob that stands in the image twice goes once.

        Blobs whose size is known get their places at once, so that these do not depend on which thread
        is first; those that must be unpacked follow, one after another.
        """
        unique = {layer.diff_id: layer for layer in layers if layer.diff_id not in self.stored}
        jobs: list[Callable[[], None]] = []
        in_order: list[Callable[[], None]] = []
        for layer in unique.values():
            descriptor = layer.descriptor
            if descriptor is not None and self.sink.has(descriptor.digest, descriptor.size):
                self._remember_there(layer, descriptor)
                if self.loader.verify and not self.in_place:
                    jobs.append(partial(self.sink.verify, descriptor.digest))
                continue
            blob = self.loader.source.blob(layer)
            if blob.codec() is Codec.ZSTD and self.plain_zstd:
                in_order.append(partial(self._unpack, layer, blob))
                continue
            digest = descriptor.digest if descriptor else None
            if digest is None and blob.codec() is Codec.NONE:
                digest = Digest(layer.diff_id)
            if self.sink.parallel:
                jobs.append(partial(self._copy, layer, blob, digest, self.sink.slot(blob.size)))
            else:
                in_order.append(partial(self._send, layer, blob, digest))
        futures = [pool.submit(job) for job in jobs]
        if in_order:
            self._tail = pool.submit(_run_all, in_order)
            futures.append(self._tail)
        return futures

    def _remember_there(self, layer: Layer, descriptor: Descriptor) -> None:
        codec = self.loader.source.codec(layer)
        self._remember(
            StoredLayer(layer.diff_id, descriptor.digest, descriptor.size, codec, descriptor)
        )

    def _send(self, layer: Layer, blob: Blob, digest: Digest | None) -> None:
        self._copy(layer, blob, digest, self.sink.slot(blob.size, digest))

    def _copy(self, layer: Layer, blob: Blob, expected: Digest | None, slot: Slot) -> None:
        where = layer.where
        size, digest = self._pump(read_blocks(blob, self.loader.cancelled, where), slot.write)
        codec = blob.codec()
        if self.loader.verify:
            if expected is not None:
                check_digest(where, expected, digest)
            if codec is Codec.NONE:
                check_digest(where, layer.diff_id, digest)
        if layer.descriptor is None:  # nothing else says what the blob must be
            self.loader.verify_content(layer)
        slot.seal()
        slot.finish(digest)
        self._remember(StoredLayer(layer.diff_id, digest, size, codec, layer.descriptor))

    def _unpack(self, layer: Layer, blob: Blob) -> None:
        where = layer.where
        slot = self.sink.slot(None)
        pieces = decompress(blob.codec(), read_blocks(blob, self.loader.cancelled, where), where)
        size, digest = self._pump(fill_blocks(pieces), slot.write)
        check_digest(where, layer.diff_id, digest)
        slot.seal()
        slot.finish(digest)
        self._remember(StoredLayer(layer.diff_id, digest, size, Codec.NONE))

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
        stored = hashlib.sha256()
        size = 0

        def write(data: bytes) -> None:
            nonlocal size
            stored.update(data)
            slot.write(data)
            size += len(data)

        compressor = Compressor(compression, write, self.loader.jobs)
        _, diff_id = self._pump(blocks, compressor.feed)
        compressor.close()
        slot.seal()
        digest = Digest(f"sha256:{stored.hexdigest()}")
        return StoredLayer(DiffID(diff_id), digest, size, compression.codec), slot

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
            for block in blocks:
                if writing is not None:
                    writing.result()
                writing = pool.submit(write, block)
                digest.update(block)
                size += len(block)
                self.loader.progress.advance(len(block))
            if writing is not None:
                writing.result()
        return size, Digest(f"sha256:{digest.hexdigest()}")


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
