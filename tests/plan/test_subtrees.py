"""How the runs of a fleet are shared out among workers."""

from __future__ import annotations

import random

import pytest

from squashkit.plan.fleet.subtrees import subtrees


@pytest.mark.parametrize("seed", range(50))
def test_each_run_is_in_one_group_that_is_small_enough(seed: int) -> None:
    """None is missing, none is there twice; a group that is too large is one run alone."""
    chance = random.Random(seed)
    paths = [tuple(chance.choices("ab", k=chance.randint(0, 6))) for _ in range(chance.randint(0, 30))]
    sizes = [chance.randint(0, 20) for _ in paths]
    groups = subtrees(paths, sizes, 25)
    assert sorted(number for group in groups for number in group) == list(range(len(paths)))
    for group in groups:
        assert len(group) == 1 or sum(sizes[number] for number in group) <= 25


def test_runs_on_the_same_layers_stay_together() -> None:
    """What branches below stays apart, as far as it is large; a run that ends where others go on is one of
    them."""
    paths = ["ax", "by", "axp", "byq", "axr"]
    assert subtrees(paths, [5] * 5, 16) == [[0, 2, 4], [1, 3]]
    assert subtrees(paths, [5] * 5, 5) == [[0], [2], [4], [1], [3]]
    assert subtrees(paths, [5] * 5, 100) == [[0, 1, 2, 3, 4]]


def test_a_very_deep_trie() -> None:
    """Its depth is no matter."""
    paths = [tuple(range(depth)) for depth in range(3000)]
    assert len(subtrees(paths, [1] * len(paths), 500)) < 40
