"""The trees that a fleet's layers make: a layer that many images have at the same place is applied once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from squashkit.layers.changeset import Changeset
from squashkit.layers.rootfs import Rootfs
from squashkit.oci.digests import ChainID, DiffID
from squashkit.oci.graph import Image, Layer

_ROOM = 200_000
"""Directories of trees that are held, about half a kilobyte each."""


def walk(
    images: Sequence[Image], changesets: Mapping[DiffID, Changeset]
) -> Iterator[tuple[int, Layer, Rootfs]]:
    """Every different place of a layer, after its parent: the number of the first image that has it, the
    layer there, and the tree that the layers up to there make.

    The tree is valid until the next one is asked for. Its `dropped` are what this one layer ended. Trees
    are copied where images part, and held until the last one that goes on from there.
    """
    above: dict[ChainID | None, dict[ChainID, tuple[int, Layer]]] = {}
    for number, image in enumerate(images):
        for layer in image.layers:
            above.setdefault(layer.parent, {}).setdefault(layer.chain_id, (number, layer))
    todo: list[tuple[int, Layer, Rootfs, bool]] = []

    def go_on(parent: ChainID | None, tree: Rootfs) -> None:
        children = above.get(parent, {}).values()
        todo.extend((*child, tree, place > 0) for place, child in enumerate(children))

    go_on(None, Rootfs())
    while todo:
        number, layer, tree, shared = todo.pop()  # the one that may change its parent's tree comes last
        if shared:
            tree = tree.copy()
        tree.dropped.clear()
        tree.apply(changesets[layer.diff_id], layer.index)
        yield number, layer, tree
        if layer.chain_id in above:
            go_on(layer.chain_id, tree)
        else:
            tree.take_apart()


@dataclass(slots=True)
class FleetTrees:
    """What lies below the runs of a fleet: as many trees as there is room for are held, those that were
    asked for last."""

    changesets: Mapping[DiffID, Changeset]
    _held: dict[ChainID, Rootfs] = field(default_factory=dict)

    def at(self, layers: Sequence[Layer]) -> Rootfs:
        """The tree that the first layers of an image make. Nothing may be applied to it: it is held."""
        known = len(layers)
        while known and layers[known - 1].chain_id not in self._held:
            known -= 1
        tree = Rootfs()
        if known:
            top = layers[known - 1].chain_id
            tree = self._held[top] = self._held.pop(top)  # the last one to be given up
        if known == len(layers):
            return tree
        tree = tree.copy()
        for layer in layers[known:]:
            tree.apply(self.changesets[layer.diff_id], layer.index)
        tree.dropped.clear()
        self._hold(layers[-1].chain_id, tree)
        return tree

    def _hold(self, top: ChainID, tree: Rootfs) -> None:
        room = _ROOM - len(tree.directories)
        taken = sum(len(one.directories) for one in self._held.values())
        while self._held and taken > room:
            oldest = self._held.pop(next(iter(self._held)))
            taken -= len(oldest.directories)
            oldest.take_apart()
        self._held[top] = tree
