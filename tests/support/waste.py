"""Waste of layers available as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from squashkit.layers.entry import Entry, stored_spans
from squashkit.layers.rootfs import Rootfs
from squashkit.plan.waste.dead import find_dead
from squashkit.plan.waste.model import DeadFile
from squashkit.plan.waste.savings import Saving, find_savings
from tests.support.harness import read_changeset


class Bytes(NamedTuple):
    """Contents of layers, whole."""

    layers: Sequence[bytes]

    def of(self, layer: int, entry: Entry) -> bytes:
        parts = [
            bytes(length) if start is None else self.layers[layer][start : start + length]
            for start, length in stored_spans(entry)
        ]
        return b"".join(parts)

    def same(self, layer: int, entry: Entry, other_layer: int, other: Entry) -> bool:
        return self.of(layer, entry) == self.of(other_layer, other)

    def head(self, layer: int, entry: Entry) -> bytes:
        return self.of(layer, entry)[:4096]

    def digest(self, layer: int, entry: Entry) -> bytes:
        return self.of(layer, entry)


def dead_in(layers: Sequence[bytes]) -> tuple[Rootfs, list[DeadFile]]:
    """The tree of these layers and their dead files."""
    return find_dead([read_changeset(one) for one in layers], Bytes(layers))


def savings_of(layers: Sequence[bytes], base_layers: int = 0) -> list[Saving]:
    """What a squash of these layers saves, for each boundary."""
    return find_savings(
        [read_changeset(one) for one in layers],
        lambda index, record: layers[index][record.start : record.data],
        dead_in(layers)[1],
        base_layers,
    )
