"""What `explore` shows, without a terminal: marks, sums, open folders, search, and the texts of pages."""

from __future__ import annotations

import pytest

from squashkit.layers.changeset import parse_changeset
from squashkit.layers.tar import scan_bytes
from squashkit.oci.documents import Platform
from squashkit.plan.base import Base
from squashkit.plan.waste.savings import Saving
from squashkit.report.explore.changes import History, Mark, follow_layers
from squashkit.report.explore.outline import Order, Outline
from squashkit.report.explore.texts import (
    Explored,
    LayerLine,
    nothing,
    savings_lines,
    savings_notes,
    tree_counts,
    tree_title,
)
from squashkit.report.explore.tree import Tree, layer_tree, waste_tree, whole_tree
from tests.support.builders import directory, file, hardlink, layer, opaque, symlink, whiteout

A, C, R, D = Mark.ADDED, Mark.CHANGED, Mark.REMOVED, Mark.DEAD
STACK = [
    layer(directory("etc"), file("etc/a", b"1"), file("etc/b", b"22"), file("old/x/f", b"333")),
    layer(
        directory("etc", mtime=9), file("etc/a", b"4444"), file("big", b"5" * 5000), symlink("l", "etc/a")
    ),
    layer(directory("etc", mode=0o700), whiteout("etc/b"), whiteout("old"), whiteout("big")),
]


def history_of(layers: list[bytes]) -> History:
    """What these layers did."""
    changesets = [parse_changeset(scan_bytes(data), len(data)) for data in layers]
    return follow_layers(changesets, lambda layer: None)


HISTORY = history_of(STACK)


def told(tree: Tree) -> dict[str, tuple[str, int, int]]:
    """Each path with its letters, its bytes and what of these is dead."""
    return {
        row.path.decode(): (row.letters.strip(), row.bytes, row.dead)
        for row in sorted(tree.rows.values(), key=lambda row: row.path)
        if row.path
    }


def names(outline: Outline) -> list[str]:
    """The lines as a person sees them, indented."""
    return ["  " * depth + row.label for row, depth in outline.lines]


def explored(base: Base | None, *layers: LayerLine) -> Explored:
    """An image of three layers."""
    lines = layers or tuple(LayerLine(i, f"RUN {i}", 1000 * i, i, i < 1) for i in range(3))
    return Explored("app:1", str(Platform("linux", "amd64")), base, "app.tar", lines, HISTORY)


def test_a_layer_is_told_by_what_it_added() -> None:
    """The first layer added all; what layers above replace or hide is dead, with the sums of the folders,
    of those too that no layer lists."""
    assert told(layer_tree(HISTORY, 0)) == {
        "etc": ("A", 3, 3),
        "etc/a": ("AD", 1, 1),
        "etc/b": ("AD", 2, 2),
        "old": ("A", 3, 3),
        "old/x": ("A", 3, 3),
        "old/x/f": ("AD", 3, 3),
    }


def test_a_directory_listed_again_is_no_change() -> None:
    """A new time alone changes no directory; the file in it that came again is changed."""
    assert told(layer_tree(HISTORY, 1)) == {
        "big": ("AD", 5000, 5000),
        "etc": ("", 4, 0),
        "etc/a": ("C", 4, 0),
        "l": ("A", 0, 0),
    }


def test_whiteouts_remove_all_below() -> None:
    """What a whiteout hides is removed with all that it holds, and its size is what it took; a directory
    with another mode is changed."""
    assert told(layer_tree(HISTORY, 2)) == {
        "big": ("R", 5000, 0),
        "etc": ("C", 0, 0),
        "etc/b": ("R", 2, 0),
        "old": ("R", 3, 0),
        "old/x": ("R", 3, 0),
        "old/x/f": ("R", 3, 0),
    }


def test_the_whole_root_file_system_has_the_marks_of_its_last_layer() -> None:
    """Up to a layer all is there that this and the ones below left; marked is what this one did."""
    assert told(whole_tree(HISTORY, 1)) == {
        "big": ("AD", 5000, 5000),
        "etc": ("", 6, 2),
        "etc/a": ("C", 4, 0),
        "etc/b": ("D", 2, 2),
        "l": ("A", 0, 0),
        "old": ("", 3, 3),
        "old/x": ("", 3, 3),
        "old/x/f": ("D", 3, 3),
    }


def test_an_opaque_marker_removes_what_the_layer_does_not_add() -> None:
    """Below an opaque directory what comes again is changed, the rest removed, and a hard link's name with
    it."""
    history = history_of(
        [
            layer(directory("d"), file("d/a", b"1"), file("d/b", b"2"), hardlink("h", "d/b")),
            layer(directory("d"), opaque("d"), file("d/a", b"3"), file("d/c", b"4")),
        ]
    )
    assert told(layer_tree(history, 1)) == {
        "d": ("", 2, 0),
        "d/a": ("C", 1, 0),
        "d/b": ("R", 1, 0),
        "d/c": ("A", 1, 0),
    }
    assert told(layer_tree(history, 0))["d/b"] == ("A", 1, 0)


def test_a_path_twice_in_a_layer_is_one_row() -> None:
    """The first of two files of one path is dead within its layer; the row has the bytes of both."""
    history = history_of([layer(file("a", b"1"), file("a", b"22"))])
    assert told(layer_tree(history, 0)) == {"a": ("AD", 3, 1)}


def test_waste_is_sorted_by_its_size() -> None:
    """The folders of all layers' dead bytes stand largest first, and each dead file says who killed it."""
    outline = Outline(waste_tree(HISTORY), None, Order.DEAD, [b"etc"])
    assert names(outline) == ["big", "etc/", "  b", "  a", "old/"]
    assert [line.row.dead for line in outline.lines] == [5000, 3, 2, 1, 3]
    assert outline.lines[3].row.fate == "layer 0, by 1"
    assert tree_counts(outline.tree) == "D 4"


@pytest.mark.parametrize(
    ("only", "shown"),
    [
        (None, ["big", "etc/", "  a", "  b", "l -> etc/a", "old/"]),
        (A, ["big", "l -> etc/a"]),
        (C, ["etc/", "  a"]),
        (D, ["big", "etc/", "  b", "old/"]),
        (R, []),
    ],
)
def test_a_filter_leaves_folders_that_lead_somewhere(only: Mark | None, shown: list[str]) -> None:
    """Only rows with the mark are shown, and the folders above them."""
    assert names(Outline(whole_tree(HISTORY, 1), only, Order.NAME, [b"etc"])) == shown


def test_folders_open_and_close() -> None:
    """A folder with nothing but a folder in it opens that one, too; closed it hides all; what is a file, or
    open, does not open."""
    outline = Outline(layer_tree(HISTORY, 0))
    assert names(outline) == ["etc/", "old/"]
    assert outline.open(1)
    assert names(outline) == ["etc/", "old/", "  x/", "    f"]
    assert not outline.open(1)
    assert not outline.open(3)
    assert [outline.above(index) for index in (3, 2, 1)] == [2, 1, 1]
    assert outline.close(1)
    assert names(outline) == ["etc/", "old/"]
    outline.open_all(0)
    assert names(outline) == ["etc/", "  a", "  b", "old/"]
    outline.close_all()
    assert names(outline) == ["etc/", "old/"]


def test_a_found_path_is_revealed() -> None:
    """All folders above it are opened, also one that was closed with open ones in it; a path that is not
    there leads to the nearest folder."""
    outline = Outline(layer_tree(HISTORY, 0))
    assert outline.reveal(b"old/x/f") == 3
    outline.close(1)
    assert outline.index_of(b"old/x/f") == 1
    assert outline.reveal(b"old/x/f") == 3
    assert outline.index_of(b"nowhere/at/all") == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("X/F", [b"old/x/f"]),
        ("etc", [b"etc", b"etc/a", b"etc/b"]),
        ("/old/x/f", [b"old/x/f"]),
        ("?", [b"etc/a", b"etc/b", b"l", b"old/x", b"old/x/f"]),
        ("etc/*", [b"etc/a", b"etc/b"]),
        ("**/f", [b"old/x/f"]),
        ("nothing", []),
    ],
)
def test_search_takes_parts_and_globs(text: str, found: list[bytes]) -> None:
    """A part of a path is found whatever its capitals are, a glob means what it means to `verify --absent`;
    both in the order of the lines."""
    assert Outline(whole_tree(HISTORY, 1)).find(text) == found


def test_a_bad_glob_is_told() -> None:
    """What is no glob raises ValueError, which says so."""
    with pytest.raises(ValueError, match="is no glob"):
        Outline(layer_tree(HISTORY, 0)).find("[z-a]")


EVIL = b"x\x1b[31m\xc2\x9b2J\xe2\x80\xae\xff[bold]\nY"


def test_names_are_shown_escaped() -> None:
    """A label has visible signs alone; markup stays as it is, and what is typed as it is shown is found."""
    tree = layer_tree(history_of([layer(file(EVIL, b"1"), symlink("s", EVIL))]), 0)
    labels = [line.row.label for line in Outline(tree).lines]
    assert all(label.isprintable() for label in labels)
    assert labels[1] == r"x\x1b[31m\x9b2J\u202e\xff[bold]\nY"
    assert Outline(tree).find(r"\x9b2j\u202e") == [EVIL]


def test_titles_say_what_is_shown() -> None:
    """The tree's title names the layer and its step, or all layers' waste."""
    image = explored(None)
    assert tree_title(layer_tree(HISTORY, 1), image) == "Layer 1: RUN 1"
    assert tree_title(whole_tree(HISTORY, 1), image) == "Root file system up to layer 1: RUN 1"
    assert tree_title(waste_tree(HISTORY), image) == "Dead bytes of all layers by folder: 5.0 KB"
    assert tree_counts(layer_tree(HISTORY, 1)) == "A 2  C 1  D 1"
    assert nothing(layer_tree(HISTORY, 1), R) == "nothing is removed here; Esc shows all again"


def test_the_headline_fits() -> None:
    """The image is told with its base and platform, and of these as much as there is room for."""
    image = explored(Base(1, "told", name="debian:12"))
    assert (
        image.headline(80) == "app:1   3 layers, 3.0 KB, 3 B dead   base: debian:12 (1 layer)   linux/amd64"
    )
    assert image.headline(75) == "app:1   3 layers, 3.0 KB, 3 B dead   base: debian:12 (1 layer)"
    assert image.headline(9) == "app:1"
    assert "base: not known" in explored(None).headline(80)


SAVINGS = (
    Saving(0, 3_000_000, 2_900_000, 0, 100_000),
    Saving(1, None, None, None, None),
    Saving(2, 0, 0, 0, 0),
)


@pytest.mark.parametrize("width", [36, 60, 100])
def test_savings_fit_their_page(width: int) -> None:
    """Each number of kept layers has a line, no line is too long, and what was not planned says so."""
    image = explored(Base(1, "told", name="debian:12"))
    lines = savings_lines(SAVINGS, image, width)
    notes = savings_notes(SAVINGS, image, width)
    assert [line.split()[:2] for line in lines[1:]] == [["0", "3.0"], ["1", "?"], ["2", "-"]]
    assert "base" in lines[2]
    assert max(map(len, [*lines, *notes])) <= width
    assert "not planned" in " ".join(notes)
    assert not any("squashkit squash" in line for line in notes)


def test_the_command_for_the_base_is_told() -> None:
    """Where a squash above the base was planned, the page says how to make it."""
    image = explored(Base(0, "told"))
    assert savings_notes(SAVINGS, image, 80)[-2:] == [
        "squashkit squash app.tar \\",
        "  --keep-layers 0 -t NAME -o OUTPUT",
    ]
