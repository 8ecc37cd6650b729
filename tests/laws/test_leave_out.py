"""What is left out is missing from a squashed image, and nothing else is: over random images.

The judge is the naive model, which knows of globs no more than what a path begins with.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from squashkit.errors import UsageError
from squashkit.plan.leave_out import find_exclusions
from tests.support.generate import random_image
from tests.support.harness import squash_layers
from tests.support.laws import law
from tests.support.linter import lint
from tests.support.model import Node, Rootfs, apply_layers, differences, listing


@dataclass(frozen=True, slots=True)
class Wish:
    """A glob, and what it means in plain words."""

    glob: str
    means: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Case:
    """An image whose layers from `start` to `stop` are squashed, and what is left out."""

    layers: list[bytes]
    start: int
    stop: int
    wishes: list[Wish]
    also_base: bool

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        globs = [wish.glob for wish in self.wishes]
        return f"[{self.start}:{self.stop}] without {globs} {self.also_base=}\n{listing(self.layers)}"

    def means(self, path: bytes) -> bool:
        return any(wish.means(path) for wish in self.wishes)

    def squashed(self) -> list[bytes]:
        segments = [(0, self.start, True), (self.start, self.stop, False)]
        segments.append((self.stop, len(self.layers), True))
        globs = [wish.glob for wish in self.wishes]
        return squash_layers(
            self.layers,
            [one for one in segments if one[0] < one[1]],
            exclusions=find_exclusions([], globs),
            also_base=self.also_base,
        )


def wish(rng: random.Random, paths: list[bytes]) -> Wish:
    """A path, all in a directory, or a name in every directory."""
    path = rng.choice(paths)
    quoted = re.sub(r"([*?\[\\])", r"\\\1", path.decode("utf-8", "surrogateescape"))
    parent, _, name = path.rpartition(b"/")
    kind = rng.choice(["path", "inside", "name"])
    if kind == "inside" and parent:
        return Wish(f"{quoted.rpartition('/')[0]}/*", lambda other: other.startswith(parent + b"/"))
    if kind == "name":
        return Wish(quoted.rpartition("/")[2], lambda other: name in other.split(b"/"))
    return Wish("/" + quoted, lambda other: (other + b"/").startswith(path + b"/"))


@st.composite
def cases(draw: st.DrawFn, *, above: bool = False) -> Case:
    rng = draw(st.randoms(use_true_random=False))
    layers = random_image(rng, contested=rng.random() < 0.5)
    start = rng.randint(0, len(layers) - 1)
    stop = rng.randint(start + 1, len(layers)) if above else len(layers)
    paths = sorted(apply_layers(layers[:stop]).nodes)
    assume(paths)
    wishes = [wish(rng, paths) for _ in range(rng.randint(1, 3))]
    return Case(layers, start, stop, wishes, also_base=rng.random() < 0.5)


def without(tree: Rootfs, gone: set[bytes]) -> Rootfs:
    """The tree, less some of its names."""

    def less(node: Node) -> Node:
        return replace(node, names=node.names - gone)

    return Rootfs({path: less(node) for path, node in tree.nodes.items() if path not in gone}, tree.root)


def to_go(case: Case, base: Rootfs, tree: Rootfs) -> tuple[set[bytes], set[bytes]]:
    """The names that must go, and those among them that the base has in some form."""
    gone: set[bytes] = set()
    below: set[bytes] = set()
    for path in sorted(tree.nodes, reverse=True):  # what a directory holds comes before it
        is_directory = tree.kind(path) == "directory"
        if not case.means(path) or (is_directory and base.kind(path) == "directory"):
            continue
        if is_directory and not gone.issuperset(tree.children(path)):
            continue
        gone.add(path)
        if base.kind(path) is not None:
            below.add(path)
    return gone, below


@given(cases())
@law(120)
def test_what_is_left_out_is_missing_and_nothing_else(case: Case) -> None:
    """The tree is the source's, less the names that are meant. Where the base has something at one of them
    nothing is made, unless it is to be hidden. The new layer holds only what all tools apply alike."""
    base, tree = apply_layers(case.layers[: case.start]), apply_layers(case.layers)
    gone, below = to_go(case, base, tree)
    try:
        result = case.squashed()
    except UsageError as error:
        assert below
        assert not case.also_base
        told = error.details
        assert any(path.decode("utf-8", "backslashreplace") in told for path in below)
        return
    assert not below or case.also_base
    split = apply_layers(case.layers, split_runs=[(case.start, case.stop)])
    assert differences(without(tree, gone), apply_layers(result), split=without(split, gone)) == []
    assert result[: case.start] == case.layers[: case.start]
    if len(result) > case.start and result[case.start] != case.layers[case.start]:
        assert lint(case.layers[: case.start], result[case.start]) == []


@given(cases(above=True))
@law(80)
def test_layers_above_stay_what_they_are(case: Case) -> None:
    """With kept layers above the run either all that is meant is missing at the top, and nothing else, or
    nothing is made."""
    tree = apply_layers(case.layers)
    try:
        result = case.squashed()
    except UsageError:
        return
    gone = tree.nodes.keys() - apply_layers(result).nodes.keys()
    assert all(map(case.means, gone))
    split = apply_layers(case.layers, split_runs=[(case.start, case.stop)])
    assert (
        differences(without(tree, set(gone)), apply_layers(result), split=without(split, set(gone))) == []
    )
    left = [path for path in tree.nodes.keys() - gone if case.means(path)]
    assert {tree.kind(path) for path in left} <= {"directory"}
