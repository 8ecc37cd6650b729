"""What a registry would have room for again if tags were deleted: what nothing else holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from squashkit.values import frozen

Blob = tuple[str, str]
"""The registry that has it, and its digest."""


@frozen
class Tag:
    """A name in a registry, and what it holds."""

    name: str
    repository: str
    root: str
    """The digest of its manifest or index; of an image without one that of its config."""
    blobs: Mapping[Blob, int]
    """Layers, configs, manifests and indexes, with their bytes."""


class Freed(NamedTuple):
    """Blobs that only these tags hold."""

    blobs: int
    size: int


def freed(tags: Sequence[Tag], groups: Iterable[Collection[int]]) -> list[Freed]:
    """For each group of tags, told by their places, what is free once all of the group are deleted, and
    nothing else is."""
    sizes: dict[Blob, int] = {}
    holders: Counter[Blob] = Counter()
    for tag in tags:
        holders.update(tag.blobs.keys())
        for blob, size in tag.blobs.items():
            sizes[blob] = max(size, sizes.get(blob, 0))  # schema 1 tells none
    found = []
    for group in groups:
        own = Counter(blob for number in group for blob in tags[number].blobs)
        gone = [blob for blob, number in own.items() if holders[blob] == number]
        found.append(Freed(len(gone), sum(sizes[blob] for blob in gone)))
    return found
