"""Files as a tree of few nodes: nothing is lost, and the large is what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squashkit.report.html.fold import Node, Sized, What, fold

PARTS = st.sampled_from([b"a", b"b", b"c", b"usr", b"lib"])
FILES = st.lists(
    st.builds(
        Sized,
        st.lists(PARTS, min_size=1, max_size=5).map(b"/".join),
        st.integers(1, 10**6),
        st.integers(0, 5),
    ),
    max_size=60,
)


def named(nodes: list[Node]) -> list[tuple[str, str, int]]:
    return [(node.what.value, node.path.decode(), node.size) for node in nodes]


@given(FILES, st.integers(1, 40))
def test_nothing_is_lost(files: list[Sized], limit: int) -> None:
    """Whatever the limit, there are no more nodes; what is in an open one adds up to it, by bytes, files
    and layers; and what is not open adds up to the whole."""
    nodes = fold(files, limit)
    assert 1 <= len(nodes) <= limit
    total = sum(one.size for one in files)
    assert (nodes[0].size, nodes[0].files) == (total, len(files))
    assert sum(node.size for node in nodes if not node.is_open) == total
    for index, node in enumerate(nodes):
        assert node.parent < index
        assert sum(size for _, size in node.layers) == node.size
        inside = [one for one in nodes if one.parent == index]
        assert bool(inside) == node.is_open
        if inside:
            assert sum(one.size for one in inside) == node.size
            assert sum(one.files for one in inside) == node.files


def test_small_files_are_one_node() -> None:
    """A large file is a node of its own, 37 small ones are one."""
    small = [Sized(b"d/%03d" % number, 1, 0) for number in range(12 + 37)]
    nodes = fold([Sized(b"d/large", 100_000, 1), Sized(b"x", 5, 0), *small], 100)
    assert [(node.size, node.files) for node in nodes if node.what is What.SMALL] == [(38, 38)]
    assert ("file", "d/large", 100_000) in named(nodes)


def test_the_largest_directory_is_opened_first() -> None:
    """Where there is room for one more, the larger directory is the one that is open."""
    files = [Sized(b"a/%d" % number, 10, 0) for number in range(3)]
    files += [Sized(b"b/%d" % number, 20, 0) for number in range(3)]
    nodes = fold(files, 6)
    assert [node.path for node in nodes if node.is_open] == [b"", b"b"]


def test_a_chain_is_one_node() -> None:
    """Directories that hold one thing each are named together with it, however many."""
    deep = b"/".join([b"d"] * 2000)
    nodes = fold([Sized(deep + b"/f", 1, 0), Sized(b"g", 1, 0)], 10)
    assert named(nodes)[1:] == [("file", (deep + b"/f").decode(), 1), ("file", "g", 1)]


def test_the_order_of_files_does_not_matter() -> None:
    """The same files give the same nodes."""
    files = [Sized(b"%d/%d" % (number % 7, number), number % 5 + 1, number % 3) for number in range(200)]
    assert fold(files, 50) == fold(files[::-1], 50)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_file_and_a_directory_may_have_one_name(limit: int) -> None:
    """As dead files of two layers may."""
    assert fold([Sized(b"a", 1, 0), Sized(b"a/b", 2, 1), Sized(b"a", 3, 1)], limit)[0].size == 6
