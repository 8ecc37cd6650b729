"""What stacks of layers take: in a registry, and on a host.

A strategy gives every image a stack; all strategies are counted here in one way. A registry keeps a blob
once, whatever it lies on. A host keeps a layer once for each stack of layers that it lies on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from squashkit.oci.names import split_tag

PLAIN = "plain "
"""How the keys of plain layers begin that were not compressed."""


class StackLayer(NamedTuple):
    """One layer of a result. Equal keys are equal bytes."""

    key: str
    stored: int
    """Bytes in a registry."""
    content: int
    """Bytes of the files, as docker counts a layer."""
    diff_id: str = ""
    """Equal ones are equal tars, however they are compressed; the key where it is not given."""
    blocks: int = 0
    """Bytes of the files' blocks, as containerd counts a snapshot."""
    made: str = ""
    """What a new layer is put together from, where it was not compressed; empty of all others."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain layer that counts as it is, since nothing was compressed."""
        return self.key.startswith(PLAIN)

    @property
    def tar(self) -> str:
        return self.diff_id or self.key


Stack = Sequence[StackLayer]
"""The layers of one image's result, base first."""


def registry_bytes(stacks: Iterable[Stack]) -> int:
    """What a registry stores: every blob once, whatever it lies on."""
    return sum({blob.key: blob.stored for stack in stacks for blob in stack}.values())


def host_bytes(stacks: Iterable[Stack]) -> int:
    """What a host stores: a layer once for each stack of layers that it lies on."""
    return sum(blob.content for layers in _layers(stacks) for blob, new in layers if new)


def containerd_bytes(stacks: Sequence[Stack]) -> int:
    """What a host stores that has containerd's store: a snapshot for each stack of layers that a layer
    lies on, and beside it the blob as it was pulled, once. A blob is not pulled where its snapshot is: that
    of the same layer from another compressor."""
    new = [blob for layers in _layers(stacks) for blob, is_new in layers if is_new]
    return sum({blob.key: blob.stored for blob in new}.values()) + sum(blob.blocks for blob in new)


def _layers(stacks: Iterable[Stack]) -> Iterator[list[tuple[StackLayer, bool]]]:
    """Each image's layers, and whether each is new to a host that has the images before: it finds layers by
    what they lie on. Stacks of parents are numbered as they come."""
    numbers: dict[tuple[int, str], int] = {}
    for stack in stacks:
        at, layers = 0, []
        for blob in stack:
            place = at, blob.tar
            layers.append((blob, place not in numbers))
            at = numbers.setdefault(place, len(numbers) + 1)
        yield layers


def growth(stacks: Sequence[Stack]) -> list[tuple[int, int]]:
    """What the first 1, 2, 3... images take: in a registry, and on a host."""
    stored: set[str] = set()
    registry = host = 0
    grown = []
    for layers in _layers(stacks):
        for blob, new in layers:
            if blob.key not in stored:
                stored.add(blob.key)
                registry += blob.stored
            host += blob.content * new
        grown.append((registry, host))
    return grown


def releases(names: Sequence[str]) -> list[tuple[int, int]]:
    """Which images are releases of one repository, one after the other in this order: by their places."""
    last: dict[str, int] = {}
    found = []
    for number, name in enumerate(names):
        repository, _ = split_tag(name)
        if repository in last:
            found.append((last[repository], number))
        last[repository] = number
    return found


class Loss(NamedTuple):
    """Layers of one image, [start, stop), that are in no image of a result."""

    image: int
    start: int
    stop: int
    stored: int
    """Bytes in a registry."""


def lost_layers(before: Sequence[Stack], after: Sequence[Stack]) -> list[Loss]:
    """The layers that a result does not have, each told of the first image that had it: a registry shares
    them no longer with whoever else has them."""
    have = {blob.key for stack in after for blob in stack}
    found: list[Loss] = []
    for number, stack in enumerate(before):
        for index, blob in enumerate(stack):
            if blob.key in have:
                continue
            have.add(blob.key)
            last = found[-1] if found else None
            if last is not None and (last.image, last.stop) == (number, index):
                found[-1] = last._replace(stop=index + 1, stored=last.stored + blob.stored)
            else:
                found.append(Loss(number, index, index + 1, blob.stored))
    return found


def lost_on_hosts(before: Sequence[Stack], after: Sequence[Stack]) -> int:
    """Bytes of layers that a host shares no longer with others: those above a new layer, too."""
    return host_bytes([*after, *before]) - host_bytes(after)
