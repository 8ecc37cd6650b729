"""What `explore` shows is true of any image: the paths are there, the marks say what changed, the dead
bytes are those that `waste` tells."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.rootfs import Rootfs
from squashkit.layers.tar import scan_bytes
from squashkit.report.explore.changes import History, Mark, follow_layers
from squashkit.report.explore.outline import Outline
from squashkit.report.explore.tree import layer_tree, waste_tree, whole_tree
from tests.support.generate import random_image
from tests.support.laws import law


@st.composite
def images(draw: st.DrawFn) -> list[Changeset]:
    """The changesets of a random image, of which every second one has constructs that tools do not agree
    about."""
    rng = draw(st.randoms(use_true_random=False))
    assert isinstance(rng, random.Random)
    layers = random_image(rng, contested=draw(st.booleans()))
    return [parse_changeset(scan_bytes(data), len(data)) for data in layers]


def follow(changesets: list[Changeset]) -> History:
    return follow_layers(changesets, lambda layer: None)


def states(changesets: list[Changeset]) -> list[set[bytes]]:
    """The paths that the layers up to each one make."""
    rootfs = Rootfs()
    found = []
    for layer, changeset in enumerate(changesets):
        rootfs.apply(changeset, layer)
        found.append({path for path, _ in iter_nodes(rootfs.root)})
    return found


@given(images())
@law(300)
def test_the_whole_tree_has_the_paths_of_the_root_file_system(changesets: list[Changeset]) -> None:
    """Up to each layer the tree shows what these layers make, and what the last one removed."""
    history = follow(changesets)
    before: set[bytes] = set()
    for layer, there in enumerate(states(changesets)):
        rows = whole_tree(history, layer).rows
        removed = {path for path, row in rows.items() if row.mark is Mark.REMOVED}
        assert {*rows} - removed - {b""} == there
        assert removed == before - there
        before = there


@given(images())
@law(300)
def test_marks_say_what_a_layer_did(changesets: list[Changeset]) -> None:
    """Added is what was not there before and is now, removed what was and is not; what is changed was
    there, and is."""
    history = follow(changesets)
    before: set[bytes] = set()
    for layer, there in enumerate(states(changesets)):
        last = {item.path: item.mark for item in history.layers[layer] if item.path}
        marked = {mark: {path for path in last if last[path] is mark} for mark in Mark}
        assert marked[Mark.ADDED] & there == there - before
        assert marked[Mark.REMOVED] == before - there
        assert marked[Mark.CHANGED] <= before & there
        before = there


@given(images())
@law(200)
def test_dead_bytes_are_summed_up_alike_everywhere(changesets: list[Changeset]) -> None:
    """The dead bytes of each layer's tree are those of its entries that died; together they are those of
    the tree of waste."""
    history = follow(changesets)
    dead: Counter[int] = Counter()
    for one in history.rootfs.dropped:
        dead[one.layer] += one.entry.size
    trees = [layer_tree(history, layer) for layer in range(len(changesets))]
    assert [tree.root.dead for tree in trees] == [dead[layer] for layer in range(len(changesets))]
    assert waste_tree(history).root.dead == sum(dead.values())


@given(images(), st.sampled_from([None, *Mark]))
@law(100)
def test_a_filter_hides_nothing_that_it_shows(changesets: list[Changeset], only: Mark | None) -> None:
    """With all folders open every row with the mark is there once, below its folders; opening and closing
    folders leaves what was there."""
    history = follow(changesets)
    tree = whole_tree(history, len(changesets) - 1)
    outline = Outline(tree, only)
    top = list(outline.lines)
    for index in reversed(range(len(top))):
        outline.open_all(index)
    shown = [line.row.path for line in outline.lines]
    assert len(set(shown)) == len(shown)
    assert set(shown) == {path for path, row in tree.rows.items() if path and row.has(only)}
    assert [line.depth for line in outline.lines] == [path.count(b"/") for path in shown]
    for index in reversed(range(len(top))):
        outline.close(outline.index_of(top[index].row.path))
    assert outline.lines == top
