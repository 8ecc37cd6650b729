"""The layers of many images as one trie: where a fleet branches, ends, and stands on bases.

A node is a layer on its parents (a chain_id), and an image ends at a node. Cuts are nodes, common to all
images; an image's runs lie between those on its path, so that images share what they shared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from squashkit.oci.digests import ChainID, DiffID
from squashkit.oci.graph import Image
from squashkit.plan.segments import Segment

MADE_BY = "squashkit fleet squash --strategy carve"
"""What the history says of a layer that was carved."""


def _is_carved(image: Image) -> bool:
    """Whether an image's uppermost layer was carved: then other images have its layers since they have the
    same files, and it is nobody's base."""
    history = image.config.layer_history
    return history is not None and len(history) > 0 and history[-1].created_by == MADE_BY


@dataclass(slots=True, eq=False)
class TrieNode:
    """A layer on its parents."""

    chain_id: ChainID
    parent: TrieNode | None
    image: Image
    """One that holds it."""
    depth: int
    """How many layers lie below it."""
    children: list[TrieNode] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Images that end here, by their place in the fleet."""
    must_cut: bool = False
    """Whether no run goes over it: an image ends here, the layer belongs to a base or to an image that is
    left as it was built, or it or one on it cannot be merged."""
    is_fixed: bool = False
    """Whether it cannot be merged."""
    is_left: bool = False
    """Whether only images that are left as they were built have it: no limit of layers counts it."""

    @property
    def diff_id(self) -> DiffID:
        return self.image.layers[self.depth].diff_id

    @property
    def is_cut(self) -> bool:
        """Whether the fleet branches here, or must be cut."""
        return len(self.children) != 1 or self.must_cut


class LayerRun(NamedTuple):
    """Layers that lie on one another: those above `above` up to `top`."""

    above: TrieNode | None
    top: TrieNode

    @property
    def start(self) -> int:
        return self.above.depth + 1 if self.above is not None else 0

    @property
    def stop(self) -> int:
        return self.top.depth + 1

    def __len__(self) -> int:
        return self.stop - self.start


class Trie:
    """The layers of a fleet. `bases` are the uppermost layers of bases that are known; an image on which
    others stand is one of them. All layers of a base stay as they are, and `fixed` ones, whatever else is
    merged. With `leave_unknown` images of which no base is known are left as they were built, whatever
    the limit of layers."""

    def __init__(
        self,
        images: Sequence[Image],
        bases: Collection[ChainID] = (),
        *,
        fixed: Collection[DiffID] = (),
        leave_unknown: bool = False,
    ) -> None:
        self.images = images
        self.left: frozenset[int] = frozenset()
        """Images that are left as they were built, by their place in the fleet."""
        self.nodes: dict[ChainID, TrieNode] = {}
        self.roots: list[TrieNode] = []
        for number, image in enumerate(images):
            parent: TrieNode | None = None
            for layer in image.layers:
                node = self.nodes.get(layer.chain_id)
                if node is None:
                    node = TrieNode(layer.chain_id, parent, image, layer.index)
                    self.nodes[layer.chain_id] = node
                    (self.roots if parent is None else parent.children).append(node)
                parent = node
            if parent is not None:
                parent.ends.append(number)
                parent.must_cut = True
        grounds = {
            node.chain_id
            for node in self.nodes.values()
            if node.children and any(not _is_carved(images[number]) for number in node.ends)
        }
        self.bases = grounds.union(bases).intersection(self.nodes)
        for top in self.bases:
            self._keep(self.nodes[top])
        if leave_unknown:
            self._leave_unknown()
        for node in self.nodes.values():
            if node.diff_id in fixed:
                node.is_fixed = node.must_cut = True
                if node.parent is not None:
                    node.parent.must_cut = True

    @staticmethod
    def _keep(top: TrieNode) -> None:
        """Merge neither a layer nor any below it."""
        at: TrieNode | None = top
        while at is not None:
            at.must_cut = True
            at = at.parent

    @cached_property
    def unknown(self) -> list[int]:
        """Images with layers to merge of which no base is known: any of their layers may be a base's, which
        others share that are not in this fleet."""
        return [
            number
            for number, image in enumerate(self.images)
            if len(image.layers) > 1 and not self.base_layers(number)
        ]

    def _leave_unknown(self) -> None:
        self.left = frozenset(self.unknown)
        for number in self.left:
            self._keep(self.path(number)[-1])
        others = (number for number in range(len(self.images)) if number not in self.left)
        counted = {node.chain_id for number in others for node in self.path(number)}
        for node in self.nodes.values():
            node.is_left = node.chain_id not in counted

    def kept_layers(self, number: int) -> int:
        """How many layers of an image stay as they are, counted from the base."""
        return len(self.images[number].layers) if number in self.left else self.base_layers(number)

    def merged(self, number: int, start: int) -> list[Segment]:
        """An image's layers from one on as one segment, around those that are fixed."""
        segments: list[Segment] = []
        for node in self.path(number)[start:]:
            at = node.depth
            if not node.is_fixed and segments and not segments[-1].keep:
                segments[-1] = Segment(segments[-1].start, at + 1, False)
            else:
                segments.append(Segment(at, at + 1, node.is_fixed))
        return segments

    @property
    def references(self) -> int:
        """Layers of all images, those that they share counted for each."""
        return sum(len(image.layers) for image in self.images)

    @cached_property
    def order(self) -> list[TrieNode]:
        """Parents before children."""
        found = []
        stack = self.roots[::-1]
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(node.children[::-1])
        return found

    def path(self, number: int) -> list[TrieNode]:
        """The nodes of an image, base first."""
        return [self.nodes[layer.chain_id] for layer in self.images[number].layers]

    def base_layers(self, number: int) -> int:
        """How many layers of an image are its base's: of a base that is known, or of another image of the
        fleet; 0 where there is none. What others stand on is a base itself, as a whole."""
        tops = (node for node in self.path(number) if node.chain_id in self.bases)
        return max((node.depth + 1 for node in tops), default=0)

    @property
    def natural_cuts(self) -> set[ChainID]:
        """Where images branch or end, and where known bases are."""
        return {node.chain_id for node in self.order if node.is_cut}

    def runs(self, number: int, cuts: Set[ChainID]) -> list[LayerRun]:
        """An image's runs between cuts; its end is one."""
        path = self.path(number)
        marks = [node for node in path if node.chain_id in cuts or node is path[-1]]
        return [LayerRun(above, top) for above, top in pairwise([None, *marks]) if top is not None]

    def segments(self, number: int, cuts: Set[ChainID]) -> list[Segment]:
        """The same as the planner takes them."""
        return [Segment(run.start, run.stop, len(run) == 1) for run in self.runs(number, cuts)]
