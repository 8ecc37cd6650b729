"""The layers of a fleet in batches: what one task reads, and one file of each table holds. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from squashkit.oci.digests import DiffID
from squashkit.transports.reference import Reference
from squashkit.values import frozen

MOST_LAYERS = 32
MOST_BYTES = 64_000_000
"""Of the blobs of a batch together; a layer that is larger is a batch of its own."""


@frozen
class Place:
    """One layer, and where to read it: plain values, which any process understands."""

    diff_id: DiffID
    digest: str
    """Of its blob; empty where nobody states it."""
    size: int
    media_type: str
    codec: str
    index: int
    """Its place in the image by which it was found."""
    reference: Reference
    """Of what lies there."""
    image: str
    """The image by which it was found, as people call it."""
    is_there: bool
    """Whether the blob is where the image is."""
    is_portable: bool
    """Whether another process can open what it lies in: neither standard input nor a daemon gives that
    again."""


@frozen
class Batch:
    """Layers that are read by one task."""

    layers: tuple[Place, ...]

    @property
    def name(self) -> str:
        """What its files are called: by its layers alone."""
        words = "".join(f"{one.diff_id} {one.digest}\n" for one in self.layers)
        return hashlib.sha256(words.encode()).hexdigest()[:32]

    @property
    def size(self) -> int:
        """Bytes of its layers as they are stored."""
        return sum(one.size for one in self.layers)

    @property
    def is_portable(self) -> bool:
        """Whether another process can open it."""
        return self.layers[0].is_portable

    @property
    def is_in_registries(self) -> bool:
        """Whether another machine can open it."""
        return self.is_portable and all(one.reference.in_registry is not None for one in self.layers)

    def without(self, known: Collection[DiffID]) -> Batch:
        """The layers of it that are not known."""
        return replace(self, layers=tuple(one for one in self.layers if one.diff_id not in known))


def batches_of(layers: Iterable[Place]) -> Iterator[Batch]:
    """Neighbours together, at most MOST_LAYERS and MOST_BYTES of them."""
    batch: list[Place] = []
    size = 0
    for one in layers:
        is_full = len(batch) == MOST_LAYERS or size + one.size > MOST_BYTES
        if batch and (is_full or one.is_portable != batch[0].is_portable):
            yield Batch(tuple(batch))
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield Batch(tuple(batch))


def shard_of(batches: Sequence[Batch], number: int, count: int) -> list[Batch]:
    """The part of all batches that is the business of one of `count` shards, which count from 1."""
    return list(batches[number - 1 :: count])
