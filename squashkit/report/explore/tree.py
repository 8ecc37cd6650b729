"""Trees of what layers did, with the sums of each folder. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from squashkit.errors import show_path
from squashkit.layers.entry import DIRECTORY, HARD_LINK, SYMLINK
from squashkit.report.explore.changes import History, Item, Mark
from squashkit.values import frozen

_BITS = 32
_PLACE = {mark: _BITS * number for number, mark in enumerate(Mark)}
"""Where the number of paths with a mark begins in a row's counts, in bits."""


class Kind(Enum):
    """What a tree shows."""

    LAYER = "layer"
    """What one layer did."""
    WHOLE = "whole"
    """The root file system up to a layer, and what that one removed."""
    WASTE = "waste"
    """What is dead of all layers."""


class Row:
    """A path of a tree, and the sums of all that lies below it. Bytes are payload. A tree has 140,000 of
    them."""

    __slots__ = (
        "children",
        "counts",
        "dead",
        "gone",
        "item",
        "killed_by",
        "mark",
        "parent",
        "path",
        "size",
    )

    def __init__(self, path: bytes, parent: Row | None) -> None:
        self.path = path
        self.parent = parent
        self.item: Item | None = None
        """What the last layer did that touched it; None where only its children are told of."""
        self.mark: Mark | None = None
        """What the chosen layer did."""
        self.killed_by: int | None = None
        """The layer that killed the last dead copy at this very path."""
        self.children: list[Row] | None = None
        """None for what has none."""
        self.size = 0
        """What is there."""
        self.dead = 0
        """What of that is dead."""
        self.gone = 0
        """What is removed."""
        self.counts = 0
        """How many paths have each mark, this one among them, beside each other in one number: that takes
        half of a list's memory, and is summed up at once."""

    def __repr__(self) -> str:
        return f"<Row: /{show_path(self.path)}>"

    @property
    def is_folder(self) -> bool:
        """Whether it is shown as something that holds others."""
        return self.children is not None or self.item is None or self.item.typeflag == DIRECTORY

    def count(self, mark: Mark) -> int:
        """How many paths have a mark: of these and of what lies below."""
        return (self.counts >> _PLACE[mark]) & ((1 << _BITS) - 1)

    @property
    def bytes(self) -> int:
        """What it takes; of what is removed, what it took."""
        return self.gone if self.mark is Mark.REMOVED else self.size

    @property
    def letters(self) -> str:
        """Two columns: what the layer did, and whether it is dead."""
        return (self.mark.value if self.mark else " ") + ("D" if self.killed_by is not None else " ")

    @property
    def label(self) -> str:
        """Its name as a person may see it, with a slash for a directory and with where a link leads."""
        name = show_path(self.path.rpartition(b"/")[2]) or "/"
        record = self.item.entry if self.item and self.item.entry else None
        if record is not None and record.typeflag == SYMLINK:
            return f"{name} -> {show_path(record.linkname)}"
        if record is not None and record.typeflag == HARD_LINK:
            return f"{name} link to /{show_path(record.linkname.lstrip(b'/'))}"
        return name + "/" * (self.is_folder and name != "/")

    @property
    def fate(self) -> str:
        """Of a dead file the layer that has it and the one that killed it."""
        if self.killed_by is None or self.item is None:
            return ""
        return f"layer {self.item.layer}, by {self.killed_by}"

    def has(self, mark: Mark | None) -> bool:
        """Whether it, or something below it, has a mark. Everything has None."""
        return mark is None or self.count(mark) > 0


@frozen
class Tree:
    """All rows of what is shown."""

    kind: Kind
    layer: int
    rows: dict[bytes, Row]
    """By their paths; the root's is empty."""

    @property
    def root(self) -> Row:
        return self.rows[b""]

    def take_apart(self) -> None:
        """Give its memory back at once: rows know each other in circles."""
        for row in self.rows.values():
            row.children = row.parent = None


def layer_tree(history: History, layer: int) -> Tree:
    """What a layer did."""
    return _tree(Kind.LAYER, layer, history, (*history.lost[layer], *history.layers[layer]))


def whole_tree(history: History, layer: int) -> Tree:
    """The root file system up to a layer, with the marks of what that one did."""
    return _tree(Kind.WHOLE, layer, history, history.state(layer))


def waste_tree(history: History) -> Tree:
    """All that is dead."""
    layers = zip(history.lost, history.layers, strict=True)
    items = (one for lost, left in layers for one in (*lost, *left))
    dead = (one for one in items if history.killed_by(one) is not None)
    return _tree(Kind.WASTE, len(history.layers) - 1, history, dead)


def _tree(kind: Kind, layer: int, history: History, items: Iterable[Item]) -> Tree:
    rows = {b"": Row(b"", None)}
    for item in items:
        row = rows.get(item.path) or _add(rows, item.path)
        row.item = item
        if item.mark is Mark.REMOVED:
            row.gone += item.size
        else:
            row.size += item.size
        if item.mark is not None and item.layer == layer and kind is not Kind.WASTE:
            row.mark = item.mark
        killed_by = history.killed_by(item)
        if killed_by is not None:
            row.dead += item.size
            row.killed_by = killed_by
    for row in rows.values():
        if row.mark is not None:
            row.counts += 1 << _PLACE[row.mark]
        if row.killed_by is not None:
            row.counts += 1 << _PLACE[Mark.DEAD]
    for row in reversed(rows.values()):  # parents stand before their children
        above = row.parent
        if above is not None:
            above.size += row.size
            above.dead += row.dead
            above.gone += row.gone
            above.counts += row.counts
    return Tree(kind, layer, rows)


def _add(rows: dict[bytes, Row], path: bytes) -> Row:
    """A new row, and one for each directory above it that has none."""
    missing = [path]
    parent = path.rpartition(b"/")[0]
    while parent not in rows:
        missing.append(parent)
        parent = parent.rpartition(b"/")[0]
    above = rows[parent]
    for one in reversed(missing):
        row = Row(one, above)
        if above.children is None:
            above.children = []
        above.children.append(row)
        rows[one] = above = row
    return above
