"""Strategies over prices that need no image: what is measured, in which order, and what the best cut is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Self

import pytest

from squashkit.errors import PlanError, UsageError
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import ImageConfig, Platform
from squashkit.oci.graph import Image, RunPlace, stack_layers
from squashkit.options import STRATEGIES
from squashkit.plan.fleet.carve import Carving
from squashkit.plan.fleet.cut import Priced
from squashkit.plan.fleet.storage import Stack, StackLayer
from squashkit.plan.fleet.strategies import ALL, BEST, BUILT, TRIE, Carved, Goal, measure
from squashkit.plan.fleet.trie import LayerRun, Trie
from squashkit.plan.segments import Segment


def image(layers: str) -> Image:
    """An image whose layers are named by letters."""
    diff_ids = tuple(DiffID(sha256(name.encode())) for name in layers)
    config = ImageConfig(diff_ids, None, Platform("linux", "amd64"), None, {}, b"")
    nothing = [None] * len(layers)
    return Image(
        (), sha256(layers.encode()), config, stack_layers(config, nothing, nothing, ""), None, None
    )


class MadeUp:
    """Prices by names: a run takes a share of its layers that is known once it is measured."""

    def __init__(self, images: Sequence[Image], seed: int) -> None:
        self.images = images
        self.seed = seed
        self.measured: dict[RunPlace, int] = {}

    @property
    def merged(self) -> int:
        """Bytes for entries: they too only grow."""
        return sum(self.measured.values())

    def rough(self) -> Self:
        """The same prices, of which nobody knows what was asked for."""
        other = type(self)(self.images, self.seed)
        other.measured = dict(self.measured)
        return other

    def prepare(self, partitions: Iterable[Sequence[Segment]]) -> None:
        """Nothing is faster together."""

    def bounds(self, built: Sequence[Stack], stacks: Sequence[Stack]) -> None:
        """All is measured."""

    def carve(self, kept: Sequence[int], room: Sequence[int]) -> Carved:
        """Nothing above the bases."""
        return Carved(Carving((), tuple(() for _ in self.images)), (), 0)

    def share(self, place: RunPlace) -> float:
        """What of a run is alive."""
        return random.Random(f"{self.seed} {place}").uniform(0.1, 1.1)

    def layer(self, number: int, index: int) -> StackLayer:
        """A layer as it is."""
        diff_id = self.images[number].diff_ids[index]
        size = random.Random(f"{self.seed} {diff_id}").randint(1000, 9000)
        return StackLayer(diff_id, size, size)

    def run(self, number: int, start: int, stop: int) -> StackLayer:
        """What a run becomes."""
        place = self.images[number].place(start, stop)
        whole = sum(self.layer(number, index).stored for index in range(start, stop))
        size = round(whole * self.share(place))
        return StackLayer(str(place), size, size)

    def blobs(self, number: int, segments: Sequence[Segment]) -> list[tuple[StackLayer, ...]]:
        """Runs are measured when they are asked for."""
        found: list[tuple[StackLayer, ...]] = []
        for one in segments:
            if one.is_kept:
                found.append(tuple(self.layer(number, index) for index in range(one.start, one.stop)))
            else:
                run = self.run(number, one.start, one.stop)
                self.measured[self.images[number].place(one.start, one.stop)] = run.stored
                found.append((run,))
        return found

    def documents(
        self, number: int, segments: Sequence[Segment], blobs: Sequence[tuple[StackLayer, ...]]
    ) -> dict[Digest, int]:
        """A config of some bytes for each image."""
        return {self.images[number].image_id: 100}

    def price(self, number: int, run: LayerRun, *, host: bool) -> Priced:
        """Before a run is measured it is thought to take more or less than it does."""
        found = self.run(number, run.start, run.stop)
        place = self.images[number].place(run.start, run.stop)
        if len(run) == 1:
            return Priced(*self.layer(number, run.start)[:2])
        if place in self.measured:
            return Priced(found.key, found.stored)
        guess = random.Random(f"guess {self.seed} {place}").uniform(0.5, 4)
        return Priced(found.key, round(found.stored * guess))


def fleet(seed: int) -> list[Image]:
    """Some images that share lower layers."""
    chance = random.Random(seed)
    stacks: list[str] = []
    for _ in range(chance.randint(1, 5)):
        stem = chance.choice(stacks) if stacks else ""
        stacks.append(
            stem[: chance.randint(0, len(stem))] + "".join(chance.sample("abcdefgh", chance.randint(1, 4)))
        )
    return [image(one) for one in dict.fromkeys(stacks)]


@pytest.mark.parametrize("seed", range(150))
def test_a_strategy_is_the_same_whatever_else_is_measured(seed: int) -> None:
    """What is measured for one strategy changes no other, the best cut's estimates included."""
    images = fleet(seed)
    trie, names = Trie(images), [str(number) for number in range(len(images))]
    together = measure(trie, names, MadeUp(images, seed), Goal())
    assert [one.name for one in together] == list(STRATEGIES)
    for one in together:
        alone = measure(trie, names, MadeUp(images, seed), Goal(), [BUILT, one.name])
        assert [each.name for each in alone] == list(dict.fromkeys([BUILT, one.name]))
        assert (alone[-1].segments, alone[-1].stacks) == (one.segments, one.stacks)


@pytest.mark.parametrize("seed", range(150))
def test_the_best_cut_takes_no_more_than_what_it_was_chosen_from(seed: int) -> None:
    """The best cut takes no more than what was built, or than what is cut along the trie."""
    images = fleet(seed)
    trie, names = Trie(images), [str(number) for number in range(len(images))]
    for goal in (Goal("registry"), Goal("host")):
        found = {
            one.name: one.taken(goal.minimise) for one in measure(trie, names, MadeUp(images, 0), goal)
        }
        assert found[BEST] <= min(found[BUILT], found[TRIE])


def test_only_what_is_wanted_is_measured() -> None:
    """To say what a fleet takes as it was built no run is merged."""
    images = [image("abc"), image("abd")]
    prices = MadeUp(images, 1)
    (built,) = measure(Trie(images), ["x", "y"], prices, Goal(), [BUILT])
    assert (built.layers, prices.measured) == (6, {})
    measure(Trie(images), ["x", "y"], prices, Goal(), [ALL])
    wholes = {one.place(0, 3) for one in images}
    assert prices.measured.keys() == wholes
    prices = MadeUp(images, 1)
    (whole,) = measure(Trie(images), ["x", "y"], prices, Goal(), [ALL], [ALL])
    assert (whole.is_estimated, prices.measured) == (True, {})


def test_a_limit_that_nothing_keeps_to_is_told_before_anything_is_measured() -> None:
    """Images that end on the way of another one must be cut there."""
    images = [image("a"), image("ab"), image("abc")]
    prices = MadeUp(images, 1)
    with pytest.raises(UsageError, match=r"max_layers=2\): third needs 3"):
        measure(Trie(images), ["first", "second", "third"], prices, Goal(max_layers=2))
    assert prices.measured == {}
    fixed = Trie([image("abc")], fixed=[image("b").diff_ids[0]])
    with pytest.raises(PlanError, match=r"max_layers=1\): only needs 3"):
        measure(fixed, ["only"], MadeUp([image("abc")], 1), Goal(max_layers=1))
