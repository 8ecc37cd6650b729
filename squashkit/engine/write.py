"""New layers: pieces to bytes to digests. What is hashed is what is written: a block on its way out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from squashkit.engine.inflate import check_digest
from squashkit.engine.layers import LayerStore
from squashkit.engine.splice import find_parts, write_spliced
from squashkit.engine.stream import gather, pump
from squashkit.layers.merge import SquashedLayer
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Layer, RunPlace, StoredLayer
from squashkit.oci.media import Codec
from squashkit.transports.codecs import Compressor
from squashkit.transports.contracts import Sink, Slot
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob, nearest
from squashkit.values import frozen, mutable


@mutable
class Stock:
    """Layers that a run has made so far. They are not made again where the destination has them."""

    runs: dict[RunPlace | str, StoredLayer] = field(default_factory=dict)
    """What runs became, by their places; layers that images share which are carved, by their keys."""
    kept: dict[DiffID | StoredBlob, StoredLayer] = field(default_factory=dict)
    """Kept ones that got another form, by their diff_ids; those whose digests nobody states by where they
    lie."""
    stored: dict[RunPlace | str, Layer] = field(default_factory=dict)
    """Layers that others have stored as they are to be, by their keys: they are copied."""
    repositories: dict[Digest, str] = field(default_factory=dict)
    """For each blob of the images that were written to a registry a repository that has it."""


@frozen
class NewLayers:
    """New layers by their place in the plan. Their places are still to be finished; those that were made
    before have none."""

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
        return {place: stored for place, (stored, _) in self.written.items()}

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
    parts = find_parts(layers, sources, planned.pieces) if compression.splice else []
    slot = sink.slot(planned.diff_size if plain else None)
    if parts:
        return write_spliced(layers, sources, planned.pieces, parts, compression, slot), slot
    blocks = gather(layers, sources, planned.pieces)
    if not plain:
        return compress(session, blocks, compression, slot), slot
    size, digest = pump(session, blocks, slot.write)
    slot.seal()
    return StoredLayer(DiffID(digest), digest, size, Codec.NONE), slot


def copy_layer(layers: LayerStore, layer: Layer, stored: StoredLayer, sink: Sink) -> Slot:
    """Write a layer that is stored as it is to be; its place is still to be finished or discarded. Raises
    DigestMismatch."""
    session = layers.session
    slot = sink.slot(stored.size)
    blocks = nearest(layer).blocks(session.cancelled, layer.where)
    _, digest = pump(session, blocks, slot.write)
    check_digest(layer, stored.digest, digest)
    slot.seal()
    return slot


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
