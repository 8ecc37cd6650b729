"""Which sets of images get a layer of their own, so that a fleet takes least: `choose_layers`.

What the same images have is an item: a set of images, and what it weighs. An item lies in one layer or in
several that together reach all of its images; a layer is had by all images of its set, so that it holds
only what all of these have. An item is stored once for each layer that it lies in, and a layer costs each
image that has it something, too.

That is a set cover with costs for what is opened, and limits: hard to solve exactly. It is begun with a
layer for each item. Layers are closed, what they held going to others, as long as that takes less, or an
image has more than it may; then ones are opened that would save, of those items, and of what two of them
have in common. Each step takes less than the one before, except for those that limits ask for.

Sets are ints: image n is bit n.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

ImageSet = int
"""A bit for each image, by its place in the fleet."""
_MOST_COMMON = 60
"""Of how many of the heaviest items what two have in common is looked at."""
_MOST_ROUNDS = 20
_FEW = 64
"""Items of a small fleet, of which more is tried."""
_MOST_SETS = 200
_MOST_TRIES = 10_000
_MOST_VAIN = 40
_STRIDE = 7919
"""A prime, so that steps so wide come by all places of a list."""


def images_of(images: ImageSet) -> Iterator[int]:
    """The places of the images in a set, ascending."""
    while images:
        lowest = images & -images
        yield lowest.bit_length() - 1
        images ^= lowest


def choose_layers(
    weights: Mapping[ImageSet, int], room: Sequence[int], a_layer: int
) -> dict[ImageSet, tuple[ImageSet, ...]]:
    """For each item the layers that it lies in, told by their sets of images.

    `weights` are what the items take, `room` says how many layers each image may have, at least one, and
    `a_layer` what one costs each image that has it. The same input gives the same layers.
    """
    weights = dict(sorted(weights.items()))
    cover = _Cover(weights, room, a_layer)
    cover.close_all()
    cover.make_room()
    cover.settle()
    if len(weights) <= _FEW:
        return _Search(weights, room, a_layer).improve(cover.homes)
    return dict(cover.homes)


@dataclass(slots=True)
class _Cover:
    """Layers, and what lies in them."""

    weights: Mapping[ImageSet, int]
    room: Sequence[int]
    a_layer: int
    homes: dict[ImageSet, tuple[ImageSet, ...]] = field(default_factory=dict, init=False)
    """The layers that each item lies in."""
    held: dict[ImageSet, set[ImageSet]] = field(default_factory=dict, init=False)
    """The items in each layer."""
    layers: list[int] = field(default_factory=list, init=False)
    """How many each image has."""

    def __post_init__(self) -> None:
        self.layers = [0] * len(self.room)
        for item in sorted(self.weights):
            self._settle(item, (item,))

    @property
    def cost(self) -> int:
        stored = sum(self.weights[item] * len(homes) for item, homes in self.homes.items())
        return stored + self.a_layer * sum(self.layers)

    def _settle(self, item: ImageSet, homes: tuple[ImageSet, ...]) -> None:
        """Put an item into these layers, and close those that hold nothing then."""
        before = self.homes.get(item, ())
        self.homes[item] = homes
        for layer in homes:
            if layer not in self.held:
                self.held[layer] = set()
                self._count(layer, 1)
            self.held[layer].add(item)
        for layer in before:
            if layer not in homes:
                self.held[layer].remove(item)
                if not self.held[layer]:
                    del self.held[layer]
                    self._count(layer, -1)

    def _count(self, layer: ImageSet, by: int) -> None:
        for image in images_of(layer):
            self.layers[image] += by

    # Closing

    def close_all(self) -> None:
        """Close layers as long as that takes less, the lightest first."""
        closed = True
        while closed:
            closed = False
            for layer in sorted(self.held, key=lambda one: (self._weight(one), one)):
                if layer not in self.held:
                    continue
                cost, moves = self._without(layer)
                if cost < 0:
                    self._move(moves)
                    closed = True

    def make_room(self) -> None:
        """Close layers of images that have more than they may, those first that cost least for what they
        relieve."""
        while over := {n for n, most in enumerate(self.room) if self.layers[n] > most}:
            best: tuple[float, ImageSet, dict[ImageSet, tuple[ImageSet, ...]]] | None = None
            for layer in self.held:
                relieved = sum(image in over and (layer != 1 << image) for image in images_of(layer))
                if not relieved:
                    continue
                cost, moves = self._without(layer)
                opened = {home for homes in moves.values() for home in homes if home not in self.held}
                relieved -= sum(home.bit_length() - 1 in over for home in opened)
                if relieved > 0 and (best is None or (cost / relieved, layer) < best[:2]):
                    best = cost / relieved, layer, moves
            if best is None:  # what is left are layers of one image each, and what opening them would cost
                self._merge_down(min(over))
                continue
            self._move(best[2])

    def _merge_down(self, image: int) -> None:
        """Close the lightest layer that an image shares: what it holds is had by each for itself then."""
        shared = [layer for layer in self.held if layer >> image & 1 and layer != 1 << image]
        lightest = min(shared, key=lambda one: (self._weight(one), one))
        self._move(self._without(lightest)[1])

    def _weight(self, layer: ImageSet) -> int:
        return sum(self.weights[item] for item in self.held[layer])

    def _without(self, gone: ImageSet) -> tuple[int, dict[ImageSet, tuple[ImageSet, ...]]]:
        """What it would take more to do without a layer, and where what it holds would lie."""
        cost = -self.a_layer * gone.bit_count()
        moves: dict[ImageSet, tuple[ImageSet, ...]] = {}
        opened: set[ImageSet] = set()
        others = [layer for layer in self.held if layer != gone]
        for item in sorted(self.held[gone]):
            rest = tuple(home for home in self.homes[item] if home != gone)
            moves[item] = homes = rest + _reach(item, _missing(item, rest), others)
            cost += self.weights[item] * (len(homes) - len(self.homes[item]))
            opened.update(home for home in homes if home not in self.held or home == gone)
        cost += self.a_layer * sum(home.bit_count() for home in opened)
        return cost, moves

    def _move(self, moves: Mapping[ImageSet, tuple[ImageSet, ...]]) -> None:
        for item, homes in moves.items():
            self._settle(item, homes)

    def settle(self) -> None:
        """Open and close layers until neither takes less."""
        for _ in range(_MOST_ROUNDS):
            before = self.cost
            self.open_all()
            self.close_all()
            if self.cost >= before:
                break

    # Opening

    def open_all(self) -> None:
        """Lay what lies in several layers into fewer, and open layers that save more than they cost."""
        for item in sorted(self.homes):
            self._settle(item, min(self.homes[item], _reach(item, item, self.held), key=len))
        for layer in self._candidates():
            if layer in self.held or any(self.layers[n] >= self.room[n] for n in images_of(layer)):
                continue
            moves = {}
            saved = -self.a_layer * layer.bit_count()
            for item, homes in self.homes.items():
                if len(homes) > 1 and not layer & ~item:
                    fewer = self._with(item, layer)
                    if len(fewer) < len(homes):
                        moves[item] = fewer
                        saved += self.weights[item] * (len(homes) - len(fewer))
            if saved > 0:
                self._move(moves)

    def _with(self, item: ImageSet, layer: ImageSet) -> tuple[ImageSet, ...]:
        """Where an item would lie if this layer were open."""
        kept: list[ImageSet] = []
        missing = item & ~layer
        for home in sorted(self.homes[item], key=lambda one: (-one.bit_count(), one)):
            if home & missing:
                kept.append(home)
                missing &= ~home
        return (layer, *kept)

    def _candidates(self) -> list[ImageSet]:
        """Sets that may be worth a layer: of items that have none of their own, and what two have in
        common."""
        split = [item for item, homes in self.homes.items() if len(homes) > 1]
        split.sort(key=lambda one: (-self.weights[one], one))
        common = {a & b for a, b in combinations(split[:_MOST_COMMON], 2)}
        return [*split, *sorted(one for one in common if one.bit_count() > 1)]


def _reach(item: ImageSet, missing: ImageSet, layers: Iterable[ImageSet]) -> tuple[ImageSet, ...]:
    """In which layers an item reaches those of its images that are missing: of these ones the widest first,
    then ones of one image each."""
    able = [one for one in layers if not one & ~item and one & missing]
    found: list[ImageSet] = []
    while able:
        best = max(able, key=lambda one: ((one & missing).bit_count(), -one))
        found.append(best)
        missing &= ~best
        able = [one for one in able if one & missing]
    return (*found, *(1 << image for image in images_of(missing)))


def _missing(item: ImageSet, homes: Sequence[ImageSet]) -> ImageSet:
    """The images of an item that none of these layers reaches."""
    for home in homes:
        item &= ~home
    return item


class _Search:
    """A local search for few items: one layer more, one less, or another in the place of one, as long as
    that takes less; then from somewhere near, as long as there are tries."""

    def __init__(self, weights: Mapping[ImageSet, int], room: Sequence[int], a_layer: int) -> None:
        self.weights, self.room, self.a_layer = weights, room, a_layer
        self._tries = 0
        self._sets = _worth_a_layer(weights)
        self._holding: dict[ImageSet, list[ImageSet]] = {}

    def improve(
        self, homes: Mapping[ImageSet, tuple[ImageSet, ...]]
    ) -> dict[ImageSet, tuple[ImageSet, ...]]:
        """What takes least of all that was looked at."""
        best = self._descend(_State(self, {one for found in homes.values() for one in found}))
        best = min(best, self._descend(_State(self, ())), key=lambda one: one.cost)
        vain = 0
        while self._sets and self._tries < _MOST_TRIES and vain < _MOST_VAIN:
            other = self._descend(_State(self, best.layers.symmetric_difference(self._some(vain))))
            vain = 0 if other.cost < best.cost else vain + 1
            best = min(best, other, key=lambda one: one.cost)
        return best.homes

    def _some(self, number: int) -> set[ImageSet]:
        """One to three of the sets, others each time, the same ones for a number."""
        at = number * _STRIDE
        return {self._sets[(at + n * _STRIDE // 2) % len(self._sets)] for n in range(1 + number % 3)}

    def _descend(self, state: _State) -> _State:
        improved = True
        while improved:
            improved = False
            for gone, new in self._steps(sorted(state.layers)):
                if self._tries >= _MOST_TRIES:
                    return state
                if (gone and gone not in state.layers) or new in state.layers:
                    continue
                self._tries += 1
                other = state.step(gone, new)
                if other.cost < state.cost:
                    state, improved = other, True
        return state

    def _steps(self, layers: Sequence[ImageSet]) -> Iterator[tuple[ImageSet, ImageSet]]:
        """Layers to close and to open, 0 for none: each with one image more or less, one less, one more,
        and one in the place of another."""
        for layer in layers:
            yield layer, 0
            for image in range(len(self.room)):
                if (layer ^ 1 << image).bit_count() > 1:
                    yield layer, layer ^ 1 << image
        for layer in self._sets:
            yield 0, layer
        for one in layers:
            for other in self._sets:
                yield one, other

    def holding(self, layer: ImageSet) -> Sequence[ImageSet]:
        """The items that may lie in a layer."""
        if layer not in self._holding:
            self._holding[layer] = [item for item in self.weights if not layer & ~item]
        return self._holding[layer]


class _State:
    """Layers of several images, where items lie in them and in ones of one image, and what that costs."""

    def __init__(self, search: _Search, layers: Iterable[ImageSet]) -> None:
        self._search = search
        self.layers = {layer for layer in layers if layer.bit_count() > 1}
        self.homes = {item: _reach(item, item, self.layers) for item in search.weights}
        self.cost = self._count()

    def step(self, gone: ImageSet, new: ImageSet) -> _State:
        """The same with one layer closed and one opened, 0 for none."""
        other = object.__new__(_State)
        other._search = self._search
        other.layers = self.layers - {gone} | ({new} if new else set())
        other.homes = dict(self.homes)
        for layer in (gone, new):
            for item in self._search.holding(layer) if layer else ():
                other.homes[item] = _reach(item, item, other.layers)
        other.cost = other._count()
        return other

    def _count(self) -> int:
        search = self._search
        used = {home for found in self.homes.values() for home in found}
        stored = sum(search.weights[item] * len(found) for item, found in self.homes.items())
        members = 0
        layers = [0] * len(search.room)
        for one in used:
            members += one.bit_count()
            for image in images_of(one):
                layers[image] += 1
        excess = sum(have - most for have, most in zip(layers, search.room, strict=True) if have > most)
        return stored + search.a_layer * members + (excess << 80)


def _worth_a_layer(weights: Iterable[ImageSet]) -> list[ImageSet]:
    """Sets that may be worth a layer: items, what several of them have in common, pairs."""
    items = [item for item in weights if item.bit_count() > 1]
    found = new = set(items)
    while new and len(found) < _MOST_SETS:
        new = {a & b for a in new for b in items if (a & b).bit_count() > 1} - found
        found = found | set(sorted(new)[: _MOST_SETS - len(found)])
    pairs = {1 << a | 1 << b for item in items for a, b in combinations(images_of(item), 2)}
    return sorted(found | set(sorted(pairs)[:_MOST_SETS]))
