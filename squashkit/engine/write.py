"""New layers: pieces to bytes to digests. What is hashed is what is written: a block on its way out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from squashkit.engine.layers import LayerStore
from squashkit.engine.pool import wait_all
from squashkit.errors import Cancelled
from squashkit.layers import tar
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Layer, RunPlace, StoredLayer
from squashkit.oci.media import Codec
from squashkit.transports.blobs import READ_SIZE, Blob, new_buffer, read_into
from squashkit.transports.codecs import Compressor
from squashkit.transports.contracts import Sink, Slot
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob

EMPTY = SquashedLayer(0, 0, (bytes(0),), 0, 0, 0, (), ())
"""The one layer of an image that would have none."""


@dataclass(slots=True)
class Stock:
    """Layers that a run has made so far. They are not made again where the destination has them."""

    runs: dict[RunPlace, StoredLayer] = field(default_factory=dict)
    kept: dict[DiffID | StoredBlob, StoredLayer] = field(default_factory=dict)
    """Kept ones that got another form, by their diff_ids; those whose digests nobody states by where they
    lie."""
    repositories: dict[Digest, str] = field(default_factory=dict)
    """For each blob of the images that were written to a registry a repository that has it."""


@dataclass(frozen=True, slots=True)
class NewLayers:
    """New layers by the layer that their run starts at. Their places are still to be finished; those that
    were made before have none."""

    written: Mapping[int, tuple[StoredLayer, Slot | None]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Stored bytes."""
        return sum(stored.size for stored, _ in self.written.values())

    def finish(self) -> dict[int, StoredLayer]:
        """Give them their places."""
        for stored, slot in self.written.values():
            if slot is not None:
                slot.finish(stored.digest)
        return {start: stored for start, (stored, _) in self.written.items()}

    def discard(self) -> None:
        """Give up their places, the last first."""
        for _, slot in reversed(list(self.written.values())):
            if slot is not None:
                slot.discard()


def write_layer(
    layers: LayerStore,
    sources: Sequence[Layer],
    planned: SquashedLayer,
    compression: Compression,
    sink: Sink,
) -> tuple[StoredLayer, Slot]:
    """Write a new layer from spans of an image's layers; its place is still to be finished or
    discarded."""
    session = layers.session
    plain = compression.codec is Codec.NONE
    slot = sink.slot(planned.diff_size if plain else None)
    blocks = gather(layers, sources, planned.pieces)
    if not plain:
        return compress(session, blocks, compression, slot), slot
    size, digest = pump(session, blocks, slot.write)
    slot.seal()
    return StoredLayer(DiffID(digest), digest, size, Codec.NONE), slot


def compress(
    session: Session, blocks: Iterator[memoryview], compression: Compression, slot: Slot
) -> StoredLayer:
    """Write a plain tar compressed, and seal its place."""
    stored = hashlib.sha256()
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        stored.update(data)
        slot.write(data)
        size += len(data)

    compressor = Compressor(compression, write, session.jobs, session.cancelled)
    _, diff_id = pump(session, blocks, compressor.feed)
    compressor.close()
    slot.seal()
    digest = Digest(f"sha256:{stored.hexdigest()}")
    return StoredLayer(DiffID(diff_id), digest, size, compression.codec)


def pump(
    session: Session, blocks: Iterator[memoryview], write: Callable[[memoryview], None]
) -> tuple[int, Digest]:
    """Hash each block while it is written and the next one is read: hashing takes longest, and cannot be
    shared. How many bytes, and their digest."""
    digest = hashlib.sha256()
    size = 0

    def write_and_read(block: memoryview | None) -> memoryview | None:
        if block is not None:
            write(block)
        return next(blocks, None)

    with ThreadPoolExecutor(1) as pool:
        try:
            block = None
            while True:
                coming = pool.submit(write_and_read, block)
                if block is not None:
                    digest.update(block)
                    size += len(block)
                    session.progress.advance(len(block))
                wait_all([coming], session.cancelled)  # in turns, so that Ctrl-C is heard
                block = coming.result()
                if block is None:
                    break
        except BaseException:
            session.cancelled.set()  # the pool waits for a write that may wait for a server
            raise
    return size, Digest(f"sha256:{digest.hexdigest()}")


def gather(layers: LayerStore, sources: Sequence[Layer], pieces: Sequence[Piece]) -> Iterator[memoryview]:
    """A new tar from spans of an image's layers and new headers, in blocks that are overwritten by the
    one after the next."""
    buffers = [new_buffer(READ_SIZE) for _ in range(2)]
    used = 0
    blobs: dict[int, Blob] = {}
    for piece in (*pieces, tar.END_OF_ARCHIVE):
        blob = None
        if isinstance(piece, Copy):
            if piece.layer not in blobs:
                blobs[piece.layer] = layers.bytes_of(sources[piece.layer])
            blob = blobs[piece.layer]
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
                if layers.session.cancelled.is_set():
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
