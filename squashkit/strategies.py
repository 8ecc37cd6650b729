"""The ways to keep a fleet: which layers its images have under each, measured.

A strategy partitions every image into segments. Those along the trie and of the best cut come from one set
of places to cut at, common to all images, so that images share what they shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from squashkit.errors import PlanError, show_text
from squashkit.fleet import Priced, Run, Trie, best_cut, host_bytes, registry_bytes
from squashkit.oci import ChainID, Digest
from squashkit.planner import Segment
from squashkit.pricing import Layers
from squashkit.report.fleet import NAMES, Strategy

Partition = Sequence[Segment]
_ROUNDS = 4
_NEAR = 0.001
"""The share of all bytes that is not worth another layer, whose descriptor and history take some, too."""


@dataclass(frozen=True)
class Strategies:
    """Each of them is measured when it is asked for, once."""

    trie: Trie
    layers: Layers
    minimise: Literal["registry", "host"]
    max_layers: int

    @cached_property
    def built(self) -> Strategy:
        """Every layer as it is."""
        return self._measure(NAMES["built"], [_kept(0, size) for size in self._sizes])

    @cached_property
    def whole(self) -> Strategy:
        """Every image as one layer."""
        return self._measure(NAMES["all"], [_merged(0, size) for size in self._sizes])

    @cached_property
    def above_bases(self) -> Strategy:
        """Every base as it is, and all above it as one layer."""
        bases = map(self.trie.base_layers, range(len(self._sizes)))
        partitions = [
            [*_kept(0, base), *_merged(base, size)] for base, size in zip(bases, self._sizes, strict=True)
        ]
        return self._measure(NAMES["base"], partitions)

    @cached_property
    def along_trie(self) -> Strategy:
        """Cut where the fleet branches or an image ends."""
        return self._cut(NAMES["trie"], self.trie.natural_cuts)

    @cached_property
    def best(self) -> Strategy:
        """The best cut. What a run takes is estimated until it is measured: the runs of each best cut are,
        and then a better one is looked for, until the best has none that is not. The trie's own are
        measured before. Of cuts that take nearly the same the one with the fewest layers is taken.

        Raises PlanError where no cut keeps to the limit of layers.
        """
        self._check_limit()
        crowded = any(size > self.max_layers for size in self._sizes)
        found = []
        if max(map(len, self.along_trie.stacks), default=0) <= self.max_layers:
            found.append(self.along_trie)
        for _ in range(_ROUNDS):
            cut = best_cut(
                self.trie, self._price, by_blob=self.minimise == "registry", max_layers=self.max_layers
            )
            before = self.layers.merged
            found.append(self._cut(NAMES["best"], cut.nodes, merge_all=crowded))
            if self.layers.merged == before:
                break
        costs = [self.cost(one) for one in found]
        enough = min(min(costs) * (1 + _NEAR), costs[0])
        near = [one for one, cost in zip(found, costs, strict=True) if cost <= enough]
        best = min(near, key=lambda one: (one.layers, self.cost(one)))
        return replace(best, name=NAMES["best"])

    def _check_limit(self) -> None:
        for number, member in enumerate(self.layers.members):
            fewest = sum(node.must_cut for node in self.trie.path(number))
            if fewest > self.max_layers:
                raise PlanError(
                    f"--max-layers {self.max_layers}: {show_text(member.name)} needs {fewest}: other images"
                    " end on its way, or layers of its base stay; allow more"
                )

    def cost(self, strategy: Strategy) -> int:
        """What the best cut makes least."""
        measure = registry_bytes if self.minimise == "registry" else host_bytes
        return measure(strategy.stacks)

    @property
    def _sizes(self) -> list[int]:
        return [len(image.layers) for image in self.trie.images]

    def _measure(self, name: str, partitions: Sequence[Partition]) -> Strategy:
        stacks = [self.layers.stack(number, one) for number, one in enumerate(partitions)]
        documents: dict[Digest, int] = {}
        for number, one in enumerate(partitions):
            documents |= self.layers.documents(number, one)
        return Strategy(name, [tuple(one) for one in partitions], stacks, sum(documents.values()))

    def _cut(self, name: str, cuts: Set[ChainID], *, merge_all: bool = False) -> Strategy:
        """The fleet cut so. A run that would not become smaller stays as it is, unless there would be too
        many layers then."""
        partitions = []
        for number in range(len(self.trie.images)):
            segments: list[Segment] = []
            runs = self.trie.segments(number, cuts)
            for run, made in zip(runs, self.layers.blobs(number, runs), strict=True):
                kept = _kept(run.start, run.stop)
                before = self.layers.stack(number, kept)
                smaller = sum(blob.stored for blob in made) < sum(blob.stored for blob in before)
                segments += [run] if merge_all or smaller else kept
            partitions.append(segments)
        return self._measure(name, partitions)

    def _price(self, run: Run) -> Priced:
        return self.layers.price(self._holders[run.top.chain_id], run, host=self.minimise == "host")

    @cached_property
    def _holders(self) -> dict[ChainID, int]:
        """For each node an image that holds it."""
        holders: dict[ChainID, int] = {}
        for number in range(len(self.trie.images)):
            for node in self.trie.path(number):
                holders.setdefault(node.chain_id, number)
        return holders


STRATEGIES: dict[str, Callable[[Strategies], Strategy]] = {
    "built": lambda all_: all_.built,
    "all": lambda all_: all_.whole,
    "base": lambda all_: all_.above_bases,
    "trie": lambda all_: all_.along_trie,
    "best": lambda all_: all_.best,
}
"""How to get each, by what a person calls it."""


def _kept(start: int, stop: int) -> list[Segment]:
    return [Segment(index, index + 1, True) for index in range(start, stop)]


def _merged(start: int, stop: int) -> list[Segment]:
    return [Segment(start, stop, False)] if stop > start else []
