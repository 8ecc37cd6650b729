"""The ways to keep a fleet: which layers its images have under each, measured.

A strategy partitions every image into segments. Those along the trie and of the best cut come from one set
of places to cut at, common to all images, so that images share what they shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal

from squashkit.errors import PlanError, show_text
from squashkit.jobs.fleet.prices import Pricing
from squashkit.oci.digests import ChainID, Digest
from squashkit.oci.graph import Place
from squashkit.plan.fleet.trie import Blob, Priced, Run, Trie, best_cut
from squashkit.plan.squash import Segment
from squashkit.report.fleet import NAMES, Strategy

Partition = Sequence[Segment]
_ROUNDS = 4
"""How often a better cut is looked for once runs of the last one are measured."""
_NEAR = 0.001
"""The share of bytes that is worth neither another layer, whose descriptor and history take some, too, nor
new digests."""


@dataclass(frozen=True)
class Strategies:
    """Each of them is measured when it is asked for, once. The best cut depends on what was measured before
    it: ask for it before those that it has no need of."""

    trie: Trie
    pricing: Pricing
    minimise: Literal["registry", "host"]
    max_layers: int

    @cached_property
    def built(self) -> Strategy:
        """Every layer as it is."""
        return self._measure(NAMES["built"], [_kept(0, size) for size in self._sizes])

    @cached_property
    def whole(self) -> Strategy:
        """Every image as one layer, as far as its layers can be merged."""
        return self._measure(NAMES["all"], [self.trie.merged(n, 0) for n in range(len(self._sizes))])

    @cached_property
    def above_bases(self) -> Strategy:
        """Every base as it is, and all above it as one layer; as it was built where no base is known."""
        kept = [self.trie.kept_layers(number) for number in range(len(self._sizes))]
        partitions = [[*_kept(0, base), *self.trie.merged(n, base)] for n, base in enumerate(kept)]
        return self._measure(NAMES["base"], partitions)

    @cached_property
    def along_trie(self) -> Strategy:
        """Cut where the fleet branches or an image ends."""
        along = self._cut(NAMES["trie"], self.trie.natural_cuts)
        # A layer that stands in a run, and elsewhere too, is paid for anyway; merged it is stored again.
        return along if along.registry <= self.built.registry else replace(self.built, name=NAMES["trie"])

    @cached_property
    def best(self) -> Strategy:
        """The best cut. What a run takes is estimated until it is measured: the runs of each best cut are,
        and then a better one is looked for, until the best has none that is not. Measured before are those
        along the trie alone, so that the same fleet is cut alike whatever else is asked for. Of cuts that
        take nearly the same the one with the fewest layers is taken.

        Raises PlanError where no cut keeps to the limit of layers.
        """
        self._check_limit()
        crowded = self._most(self._sizes) > self.max_layers
        found = [self.built, self.along_trie]
        for _ in range(_ROUNDS):
            cut = best_cut(
                self.trie, self._price, by_blob=self.minimise == "registry", max_layers=self.max_layers
            )
            before = self.pricing.merged
            found.append(self._cut(NAMES["best"], cut.nodes, merge_all=crowded))
            if self.pricing.merged == before:
                break
        found = [one for one in found if self._most(map(len, one.stacks)) <= self.max_layers]
        costs = [one.taken(self.minimise) for one in found]
        enough = min([min(costs) * (1 + _NEAR), *costs[:2]])
        near = [n for n, cost in enumerate(costs) if cost <= enough]
        best = min(near, key=lambda n: (found[n].layers, costs[n]))
        return replace(found[best], name=NAMES["best"])

    def _most(self, layers: Iterable[int]) -> int:
        """The most layers that an image has, those that are left as they were built apart."""
        return max((size for n, size in enumerate(layers) if n not in self.trie.left), default=0)

    def _check_limit(self) -> None:
        for number, member in enumerate(self.pricing.members):
            fewest = sum(node.must_cut for node in self.trie.path(number))
            if fewest > self.max_layers and number not in self.trie.left:
                raise PlanError(
                    f"--max-layers {self.max_layers}: {show_text(member.name)} needs {fewest}: other images"
                    " end on its way, or layers of its base stay; allow more"
                )

    @property
    def all(self) -> list[Strategy]:
        """All of them, in the order of the reports."""
        best = self.best
        return [self.built, self.whole, self.above_bases, self.along_trie, best]

    @property
    def _sizes(self) -> list[int]:
        return [len(image.layers) for image in self.trie.images]

    def _measure(self, name: str, partitions: Sequence[Partition]) -> Strategy:
        stacks: list[tuple[Blob, ...]] = []
        documents: dict[Digest, int] = {}
        for number, one in enumerate(partitions):
            blobs = self.pricing.blobs(number, one)
            stacks.append(tuple(chain.from_iterable(blobs)))
            documents |= self.pricing.documents(number, one, blobs)
        return Strategy(name, [tuple(one) for one in partitions], stacks, sum(documents.values()))

    def _cut(self, name: str, cuts: Set[ChainID], *, merge_all: bool = False) -> Strategy:
        """The fleet cut so. A run that would not become smaller by a thousandth stays as it is, in all
        images that have it, unless there would be too many layers then."""
        merged: dict[Place, bool] = {}
        partitions = []
        for number, image in enumerate(self.trie.images):
            segments: list[Segment] = []
            runs = self.trie.segments(number, cuts)
            for run, made in zip(runs, self.pricing.blobs(number, runs), strict=True):
                kept = _kept(run.start, run.stop)
                place = image.place(run.start, run.stop)
                if place not in merged:
                    before = self.pricing.blobs(number, kept)
                    least = sum(blob.stored for blobs in before for blob in blobs) * (1 - _NEAR)
                    merged[place] = merge_all or sum(blob.stored for blob in made) < least
                segments += [run] if merged[place] else kept
            partitions.append(segments)
        return self._measure(name, partitions)

    def _price(self, run: Run) -> Priced:
        return self.pricing.price(self._holders[run.top.chain_id], run, host=self.minimise == "host")

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
ASK_NO_BASE = ("built", "all")
"""Those that are the same whatever the images stand on."""


def _kept(start: int, stop: int) -> list[Segment]:
    return [Segment(index, index + 1, True) for index in range(start, stop)]
