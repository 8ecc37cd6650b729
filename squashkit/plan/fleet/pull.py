"""What a host downloads for an image, by what it has already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from squashkit.plan.fleet.storage import Stack


class Pull(NamedTuple):
    """Bytes of layers, as they are stored. A blob that an image has twice is downloaded once."""

    whole: int
    """Of the image."""
    by_chain: int
    """What is downloaded by a host that knows a layer by all that lies below it, too: docker with its own
    storage."""
    by_blob: int
    """What is downloaded by a host that finds blobs by their digests: containerd, docker on it, podman."""


class Have:
    """What a host has."""

    def __init__(self, stacks: Iterable[Stack] = ()) -> None:
        self._blobs: set[str] = set()
        self._chains: dict[tuple[int, str], int] = {}
        for stack in stacks:
            self.add(stack)

    def add(self, stack: Stack) -> None:
        """One image more."""
        self._blobs.update(blob.key for blob in stack)
        at = 0
        for blob in stack:
            at = self._chains.setdefault((at, blob.tar), len(self._chains) + 1)

    def pull(self, stack: Stack) -> Pull:
        """What it downloads for an image."""
        kept, at = 0, 0
        for blob in stack:
            if (at, blob.tar) not in self._chains:
                break
            at = self._chains[at, blob.tar]
            kept += 1
        return Pull(
            _stored(stack),
            _stored(stack[kept:]),
            _stored([blob for blob in stack if blob.key not in self._blobs]),
        )


def _stored(stack: Stack) -> int:
    return sum({blob.key: blob.stored for blob in stack}.values())


def pulls(have: Iterable[Stack], stacks: Sequence[Stack]) -> tuple[list[Pull], Pull]:
    """For each image what a host downloads that has these; and for all of them, one after another."""
    host = Have(have)
    each = [host.pull(stack) for stack in stacks]
    together = Pull(0, 0, 0)
    for stack in stacks:
        one = host.pull(stack)
        together = Pull(*(a + b for a, b in zip(together, one, strict=True)))
        host.add(stack)
    return each, together
