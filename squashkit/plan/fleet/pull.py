"""What a host downloads for an image, by what it has already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from squashkit.plan.fleet.storage import Stack, registry_bytes


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
            registry_bytes([stack]),
            registry_bytes([stack[kept:]]),
            registry_bytes([[blob for blob in stack if blob.key not in self._blobs]]),
        )


def _each_in_turn(stacks: Iterable[Stack], host: Have) -> Iterator[Pull]:
    """What a host downloads for each image that has those before it, too."""
    for stack in stacks:
        yield host.pull(stack)
        host.add(stack)


def pulled(stacks: Iterable[Stack]) -> list[int]:
    """Bytes that a host downloads for each image, one after another: layers that it has on the same parents
    are there (docker finds them by chain_id)."""
    return [one.by_chain for one in _each_in_turn(stacks, Have())]


def pulled_blobs(stacks: Iterable[Stack]) -> list[int]:
    """The same for a host that keeps blobs by digest (containerd)."""
    return [one.by_blob for one in _each_in_turn(stacks, Have())]


def pulls(have: Iterable[Stack], stacks: Sequence[Stack]) -> tuple[list[Pull], Pull]:
    """For each image what a host downloads that has these; and for all of them, one after another."""
    host = Have(have)
    each = [host.pull(stack) for stack in stacks]
    together = Pull(0, 0, 0)
    for one in _each_in_turn(stacks, host):
        together = Pull(*(a + b for a, b in zip(together, one, strict=True)))
    return each, together
