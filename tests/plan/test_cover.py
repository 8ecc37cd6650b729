"""Which sets of images get a layer: against an exact solver, and the limits."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import highspy
import pytest

from squashkit.plan.fleet.cover import ImageSet, choose_layers, images_of

Homes = Mapping[ImageSet, Sequence[ImageSet]]


def subsets(images: ImageSet) -> list[ImageSet]:
    """All that are not empty."""
    found, one = [], images
    while one:
        found.append(one)
        one = (one - 1) & images
    return found


def fleet(seed: int) -> dict[ImageSet, int]:
    """What the same images have, of up to 12: families that share much, and odd ones."""
    chance = random.Random(seed)
    images = chance.randint(2, 12)
    weights: dict[ImageSet, int] = {}
    for _ in range(chance.randint(2, 2 * images)):
        wide = chance.choice([0.15, 0.3, 0.6])
        if some := sum(1 << image for image in range(images) if chance.random() < wide):
            weights[some] = weights.get(some, 0) + int(10 ** chance.uniform(2, 7))
    return weights or {1: 1}


def taken(weights: Mapping[ImageSet, int], homes: Homes, a_layer: int) -> int:
    """What all of it takes."""
    layers = {layer for found in homes.values() for layer in found}
    stored = sum(weights[item] * len(found) for item, found in homes.items())
    return stored + a_layer * sum(layer.bit_count() for layer in layers)


def least(weights: Mapping[ImageSet, int], a_layer: int) -> float:
    """What a solver of integer programs proves to be a lower bound; the least itself where it has time."""
    model: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    model.setOptionValue("time_limit", 10.0)
    layers = sorted({one for item in weights for one in subsets(item)})
    opened = {one: model.addBinary(obj=a_layer * one.bit_count()) for one in layers}
    for item, weight in weights.items():
        lies = {one: model.addVariable(lb=0, ub=1, obj=weight) for one in subsets(item)}
        for one, there in lies.items():
            model.addConstr(there <= opened[one])
        for image in images_of(item):
            model.addConstr(sum(there for one, there in lies.items() if one >> image & 1) >= 1)
    model.run()
    return float(model.getInfo().mip_dual_bound)


@pytest.mark.parametrize("seed", range(50))
def test_near_the_least_there_is(seed: int) -> None:
    """At most 2 % more than what is proven to be needed."""
    weights = fleet(seed)
    if sum(len(subsets(item)) for item in weights) > 1200:
        weights = dict(sorted(weights.items(), key=lambda one: one[0].bit_count())[:8])
    homes = choose_layers(weights, [39] * 12, 4096)
    assert taken(weights, homes, 4096) <= 1.02 * least(weights, 4096)


@pytest.mark.parametrize("seed", range(40))
def test_every_image_has_what_it_should_and_no_more_layers_than_it_may(seed: int) -> None:
    """An item lies in layers of its own images alone, which reach all of them; also where there are many
    items, and where images may have one layer each."""
    chance = random.Random(seed)
    weights: dict[ImageSet, int] = {}
    for _ in range(chance.choice([0, 10, 100])):
        weights[chance.randrange(1, 1 << 20)] = chance.randint(0, 1000)
    room = [chance.choice([1, 2, 5, 40]) for _ in range(20)]
    a_layer = chance.choice([0, 50, 5000])
    homes = choose_layers(weights, room, a_layer)
    assert homes.keys() == weights.keys()
    for item, found in homes.items():
        reached = 0
        for layer in found:
            assert not layer & ~item
            reached |= layer
        assert reached == item
    layers = {layer for found in homes.values() for layer in found}
    for image, most in enumerate(room):
        assert sum(layer >> image & 1 for layer in layers) <= most
    assert homes == choose_layers(dict(reversed(weights.items())), room, a_layer)


def test_what_takes_less_together_is_not_kept_apart() -> None:
    """A set that would save less than its layer costs is had by each image for itself."""
    assert choose_layers({0b11: 10, 0b01: 100, 0b10: 100}, [9, 9], 1000)[0b11] == (0b01, 0b10)
    assert choose_layers({0b11: 9000, 0b01: 100, 0b10: 100}, [9, 9], 1000)[0b11] == (0b11,)
