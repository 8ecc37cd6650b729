"""The strategies by which a fleet may be kept: which layers its images have under each, measured.

A strategy partitions every image into segments. Those along the trie and of the best cut come from one set
of places to cut at, common to all images, so that images share what they shared. What layers and runs take
is asked of `Prices`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import Literal, Protocol, Self

from squashkit.errors import PlanError, UsageError, show_text
from squashkit.oci.digests import ChainID, Digest
from squashkit.oci.graph import MAX_LAYERS, RunPlace
from squashkit.options import STRATEGIES
from squashkit.plan.fleet.carve import Carving
from squashkit.plan.fleet.cut import Priced, best_cut
from squashkit.plan.fleet.estimate import Bounds
from squashkit.plan.fleet.pull import pulled
from squashkit.plan.fleet.storage import (
    Stack,
    StackLayer,
    containerd_bytes,
    growth,
    host_bytes,
    registry_bytes,
)
from squashkit.plan.fleet.trie import LayerRun, Trie
from squashkit.plan.segments import Segment
from squashkit.values import frozen
from squashkit.wording import Option

BUILT, ALL, BASE, TRIE, BEST, CARVE = STRATEGIES
ASK_NO_BASE = (BUILT, ALL)
"""Those that are the same whatever the images stand on."""

Partition = Sequence[Segment]
CARVED_LAYERS = 40
"""The most layers of an image that is carved, unless more are allowed."""
_ROUNDS = 4
"""How often a better cut is looked for once runs of the last one are measured."""
_NEAR = 0.001
"""The share of bytes below which savings are ignored: another layer costs about as much, and every change
costs new digests."""


@dataclass(frozen=True)
class Strategy:
    """One way to keep a fleet: for every image its segments, and the layers that it then has."""

    name: str
    """One of STRATEGIES."""
    segments: tuple[tuple[Segment, ...], ...]
    stacks: tuple[tuple[StackLayer, ...], ...]
    documents: int
    """Bytes of different configs and manifests in a registry."""
    is_estimated: bool = False
    """Whether its runs were not measured, though those of others were."""
    carved: Carved | None = None
    """Of a fleet that is carved its new layers; None where the best cut took its place."""
    least: int | None = None
    """Of a fleet that is carved: what no layers of the same files would take less than, in a registry."""
    saves: Bounds | None = None
    """Between what lies what it saves in a registry, where new layers are estimated."""

    @property
    def is_unsure(self) -> bool:
        """Whether nobody knows before it is measured if it saves or costs, in a registry."""
        return self.saves is not None and self.saves.least < 0 < self.saves.most

    def __repr__(self) -> str:
        return f"<Strategy: {self.name}, {len(self.stacks):,} images>"

    @cached_property
    def registry(self) -> int:
        """Bytes of different blobs."""
        return registry_bytes(self.stacks)

    @cached_property
    def host(self) -> int:
        """Bytes of files in different layers, as docker counts them."""
        return host_bytes(self.stacks)

    @cached_property
    def containerd(self) -> int:
        """Bytes of different blobs, and of the blocks of different snapshots, as containerd counts them."""
        return containerd_bytes(self.stacks)

    def taken(self, minimise: str, updates: Sequence[tuple[int, int]] = ()) -> int:
        """What is to be least: bytes in a registry, on a host, or of updates from one image to another,
        told by their places."""
        if minimise == "update":
            return sum(self.update(before, after) for before, after in updates)
        return self.registry if minimise == "registry" else self.host

    @cached_property
    def pulled(self) -> list[int]:
        """Bytes that a host downloads for each next image."""
        return pulled(self.stacks)

    @cached_property
    def growth(self) -> list[tuple[int, int]]:
        """Bytes in a registry and on a host of the first 1, 2, 3... images."""
        return growth(self.stacks)

    def update(self, before: int, after: int) -> int:
        """Bytes that a host which has one image downloads for another."""
        return pulled([self.stacks[before], self.stacks[after]])[1]

    @property
    def layers(self) -> int:
        """Layers of all images, those that they share counted once for each."""
        return sum(len(stack) for stack in self.stacks)


@frozen
class Carved:
    """Layers that were carved, measured."""

    carving: Carving
    blobs: tuple[StackLayer, ...]
    """What each of them becomes."""
    least: int
    """What no layers of the same atoms would take less than, in a registry."""

    @property
    def published(self) -> int:
        """Bytes in a registry of the layers that were there before."""
        pairs = zip(self.carving.layers, self.blobs, strict=True)
        return sum(blob.stored for layer, blob in pairs if layer.published is not None)

    def stack(self, number: int) -> tuple[StackLayer, ...]:
        """The layers that an image has above its base."""
        return tuple(self.blobs[layer] for layer in self.carving.stacks[number])


class Prices(Protocol):
    """What layers and runs of a fleet take. Images are told by their place in the fleet."""

    @property
    def merged(self) -> int:
        """Entries of the different runs that were measured so far."""

    def prepare(self, partitions: Iterable[Sequence[Segment]]) -> None:
        """Measure the runs of all images, of which each has one of these partitions, if that is faster than
        one after the other."""

    def blobs(self, number: int, segments: Sequence[Segment]) -> list[tuple[StackLayer, ...]]:
        """The layers that each segment of an image becomes, measured: of a run one, or none."""

    def documents(
        self, number: int, segments: Sequence[Segment], blobs: Sequence[tuple[StackLayer, ...]]
    ) -> dict[Digest, int]:
        """The config and the manifest of an image whose segments become these blobs, and their bytes."""

    def price(self, number: int, run: LayerRun, *, host: bool) -> Priced:
        """What a run takes: exactly where it was measured, else about."""

    def carve(self, kept: Sequence[int], room: Sequence[int]) -> Carved:
        """The layers that the fleet should have had above those that each image keeps, at most so many an
        image, measured."""

    def bounds(self, built: Sequence[Stack], stacks: Sequence[Stack]) -> Bounds | None:
        """Between what lies what these stacks save in a registry, of what was built; None where all of
        their layers were measured."""

    def rough(self) -> Self:
        """The same, which measures no further run: it takes about what its bytes take now."""


@frozen
class Goal:
    """What the best cut is for."""

    minimise: Literal["registry", "host", "update"] = "registry"
    max_layers: int | None = None
    """The most that an image may have, those that are left as they were built apart; None for what docker
    takes, and where it is carved for CARVED_LAYERS."""
    updates: Sequence[tuple[int, int]] = ()
    """From which image to which hosts are updated, by their places in the fleet."""

    @property
    def most(self) -> int:
        """The most layers that an image may have in the best cut."""
        return self.max_layers or MAX_LAYERS

    @property
    def most_carved(self) -> int:
        """The same where it is carved."""
        return min(self.max_layers or CARVED_LAYERS, MAX_LAYERS)

    def cost(self, strategy: Strategy) -> int:
        """What is to be least."""
        return strategy.taken(self.minimise, self.updates)


def measure(
    trie: Trie,
    names: Sequence[str],
    prices: Prices,
    goal: Goal,
    wanted: Collection[str] = STRATEGIES,
    estimated: Collection[str] = (),
) -> list[Strategy]:
    """What a fleet takes under strategies, in the order of the reports. `names` are the images'; of those
    that are `estimated` (only ALL may be) no run is measured.

    Runs are measured only for the strategies that are wanted. The best cut is looked for once those along
    the trie are measured, and before all others: estimates give way to what is measured, and the same fleet
    is to be cut alike whatever else is asked for. Raises what `check_limit` does, before anything is
    measured, and what measuring raises.
    """
    cuts = {BEST, CARVE}.intersection(wanted)
    check_limit(trie, names, wanted, goal)
    work = _Measuring(trie, prices)
    found = {}
    if cuts or {BUILT, TRIE}.intersection(wanted):
        found[BUILT] = built = work.partition(BUILT, (_kept(range(size)) for size in work.sizes))
    if cuts or TRIE in wanted:
        found[TRIE] = trie_ = work.along_trie(built)
    if cuts:
        found[BEST] = work.best(built, trie_, goal)
    if CARVE in wanted:
        found[CARVE] = work.carve(found[BEST], goal)
    if ALL in wanted:
        whole = (trie.merged(n, 0) for n in range(len(work.sizes)))
        if ALL in estimated:
            rough = _Measuring(trie, prices.rough())
            found[ALL] = replace(rough.partition(ALL, whole), is_estimated=True)
            found[ALL] = rough.bounded(found[ALL], found.get(BUILT))
        else:
            found[ALL] = work.partition(ALL, whole)
    if BASE in wanted:
        kept = [trie.kept_layers(n) for n in range(len(work.sizes))]
        above = ([*_kept(range(base)), *trie.merged(n, base)] for n, base in enumerate(kept))
        found[BASE] = work.partition(BASE, above)
    return [work.bounded(found[name], found.get(BUILT)) for name in STRATEGIES if name in wanted]


def check_limit(trie: Trie, names: Sequence[str], wanted: Collection[str], goal: Goal) -> None:
    """Raises UsageError where one of the strategies that are wanted cannot keep to the limit of layers:
    bases, and images that end on others' way, need more. PlanError where that is so since layers cannot be
    merged, which only reading them tells."""
    if not {BEST, CARVE}.intersection(wanted):
        return
    for number, name in enumerate(names):
        path = trie.path(number)
        fewest = sum(node.must_cut for node in path)
        if fewest > goal.most and number not in trie.left:
            error = PlanError if any(node.is_fixed for node in path) else UsageError
            raise error(
                Option("FleetOptions.max_layers", goal.most),
                f": {show_text(name)} needs {fewest}: other images"
                " end on its way, or layers of its base stay; allow more",
            )


@dataclass(frozen=True)
class _Measuring:
    """Partitions of a fleet's images, measured."""

    trie: Trie
    prices: Prices

    @cached_property
    def sizes(self) -> list[int]:
        """How many layers each image has."""
        return [len(image.layers) for image in self.trie.images]

    def partition(self, name: str, partitions: Iterable[Partition]) -> Strategy:
        """A strategy by the segments of every image."""
        parts = [tuple(one) for one in partitions]
        self.prices.prepare(parts)
        stacks: list[tuple[StackLayer, ...]] = []
        documents: dict[Digest, int] = {}
        for number, one in enumerate(parts):
            blobs = self.prices.blobs(number, one)
            stacks.append(tuple(chain.from_iterable(blobs)))
            documents |= self.prices.documents(number, one, blobs)
        return Strategy(name, tuple(parts), tuple(stacks), sum(documents.values()))

    def bounded(self, strategy: Strategy, built: Strategy | None) -> Strategy:
        """The same with the bounds of what it saves, if it has none yet."""
        if built is None or strategy.saves is not None:
            return strategy
        return replace(strategy, saves=self.prices.bounds(built.stacks, strategy.stacks))

    def along_trie(self, built: Strategy) -> Strategy:
        """Cut where the fleet branches or an image ends."""
        along = self._cut(TRIE, self.trie.natural_cuts)
        # A layer that stands in a run, and elsewhere too, is paid for anyway; merged it is stored again.
        return along if along.registry <= built.registry else replace(built, name=TRIE)

    def best(self, built: Strategy, along_trie: Strategy, goal: Goal) -> Strategy:
        """The best cut. What a run takes is estimated until it is measured: the runs of each best cut are,
        and then a better one is looked for, until the best has none that is not. Of cuts that take nearly
        the same the one with the fewest layers is taken."""
        host = goal.minimise == "host"
        crowded = self._most(self.sizes) > goal.most
        found = [built, along_trie]
        for _ in range(_ROUNDS):
            price = partial(self._price, host=host)
            cut = best_cut(self.trie, price, by_blob=not host, max_layers=goal.most)
            before = self.prices.merged
            found.append(self._cut(BEST, cut.nodes, merge_all=crowded))
            if self.prices.merged == before:
                break
        found = [one for one in found if self._most(map(len, one.stacks)) <= goal.most]
        costs = [goal.cost(one) for one in found]
        enough = min([min(costs) * (1 + _NEAR), *costs[:2]])
        near = [n for n, cost in enumerate(costs) if cost <= enough]
        best = min(near, key=lambda n: (found[n].layers, costs[n]))
        return replace(found[best], name=BEST)

    def carve(self, best: Strategy, goal: Goal) -> Strategy:
        """What the same images have above their bases in layers of its own; the best cut where this takes
        no more."""
        kept = [self._kept_below(number) for number in range(len(self.sizes))]
        room = [max(1, goal.most_carved - base) for base in kept]
        carved = self.prices.carve(kept, room)
        segments: list[tuple[Segment, ...]] = []
        stacks: list[tuple[StackLayer, ...]] = []
        documents: dict[Digest, int] = {}
        for number, (base, size) in enumerate(zip(kept, self.sizes, strict=True)):
            below = _kept(range(base))
            above = [Segment(base, size, False, remake=True)] if base < size else []
            blobs = [*self.prices.blobs(number, below), *(carved.stack(number) for _ in above)]
            segments.append((*below, *above))
            stacks.append(tuple(chain.from_iterable(blobs)))
            documents |= self.prices.documents(number, segments[-1], blobs)
        found = Strategy(CARVE, tuple(segments), tuple(stacks), sum(documents.values()), carved=carved)
        least = (
            registry_bytes(stack[:base] for stack, base in zip(stacks, kept, strict=True)) + carved.least
        )
        # What is there before costs nothing more, but on hosts.
        there = carved.published if goal.minimise != "host" else 0
        if goal.cost(best) * (1 - _NEAR) <= goal.cost(found) - there:
            found = replace(best, name=CARVE)
        return replace(found, least=min(least, found.registry))

    def _kept_below(self, number: int) -> int:
        """How many layers of an image stay where it is carved: its base's, and those up to the last one
        that cannot be merged. A layer that has no known base is left alone."""
        path = self.trie.path(number)
        if len(path) == 1:
            return 1
        fixed = max((node.depth + 1 for node in path if node.is_fixed), default=0)
        return max(self.trie.kept_layers(number), fixed)

    def _most(self, layers: Iterable[int]) -> int:
        """The most layers that an image has, those that are left as they were built apart."""
        return max((size for n, size in enumerate(layers) if n not in self.trie.left), default=0)

    def _cut(self, name: str, cuts: Set[ChainID], *, merge_all: bool = False) -> Strategy:
        """The fleet cut so. A run that would not become smaller by a thousandth stays as it is, in all
        images that have it, unless there would be too many layers then."""
        merged: dict[RunPlace, bool] = {}
        partitions = []
        all_runs = [self.trie.segments(number, cuts) for number in range(len(self.trie.images))]
        self.prices.prepare(all_runs)
        for number, (image, runs) in enumerate(zip(self.trie.images, all_runs, strict=True)):
            segments: list[Segment] = []
            for run, made in zip(runs, self.prices.blobs(number, runs), strict=True):
                kept = _kept(range(run.start, run.stop))
                place = image.place(run.start, run.stop)
                if place not in merged:
                    before = self.prices.blobs(number, kept)
                    least = sum(blob.stored for blobs in before for blob in blobs) * (1 - _NEAR)
                    merged[place] = merge_all or sum(blob.stored for blob in made) < least
                segments += [run] if merged[place] else kept
            partitions.append(segments)
        return self.partition(name, partitions)

    def _price(self, run: LayerRun, *, host: bool) -> Priced:
        return self.prices.price(self._holders[run.top.chain_id], run, host=host)

    @cached_property
    def _holders(self) -> dict[ChainID, int]:
        """For each node an image that holds it."""
        holders: dict[ChainID, int] = {}
        for number in range(len(self.trie.images)):
            for node in self.trie.path(number):
                holders.setdefault(node.chain_id, number)
        return holders


def _kept(layers: range) -> list[Segment]:
    return [Segment(index, index + 1, True) for index in layers]
