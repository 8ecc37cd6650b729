"""The lines of a tree that are to be seen: open folders, what is left out, what is sought. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from squashkit.errors import show_path
from squashkit.layers.search import parse_pattern
from squashkit.report.explore.changes import Mark
from squashkit.report.explore.tree import Row, Tree

_GLOB = re.compile(r"[*?\[]")


class Order(Enum):
    """How the names of a folder are sorted."""

    NAME = "name"
    SIZE = "size"
    DEAD = "dead"


_KEYS: dict[Order, Callable[[Row], tuple[int, bytes]]] = {
    Order.NAME: lambda row: (0, row.path),
    Order.SIZE: lambda row: (-row.bytes, row.path),
    Order.DEAD: lambda row: (-row.dead, row.path),
}


class Line(NamedTuple):
    """A row as it stands in the list, and how many folders it is in."""

    row: Row
    depth: int


class Outline:
    """A tree as a list of lines. A folder's children are looked at when it is opened."""

    def __init__(
        self, tree: Tree, only: Mark | None = None, order: Order = Order.NAME, opened: Iterable[bytes] = ()
    ) -> None:
        self.tree = tree
        self.only = only
        self.order = order
        self.opened = set(opened)
        """Paths of open folders; those that the tree has not stay, for the next one may have them."""
        self.lines = list(self._lines(tree.root, 0))

    def children(self, row: Row) -> list[Row]:
        """What a folder shows, in order."""
        below = [one for one in row.children or () if one.has(self.only)]
        return sorted(below, key=_KEYS[self.order])

    def _lines(self, row: Row, depth: int) -> Iterator[Line]:
        stack = [iter(self.children(row))]
        while stack:
            for one in stack[-1]:
                yield Line(one, depth + len(stack) - 1)
                if one.path in self.opened and one.children:
                    stack.append(iter(self.children(one)))
                    break
            else:
                stack.pop()

    def is_open(self, row: Row) -> bool:
        return row.path in self.opened

    def open(self, index: int) -> bool:
        """Show what a folder holds; where that is nothing but one folder, that one's too. False where it is
        no folder, or open."""
        row, depth = self.lines[index]
        if not row.children or self.is_open(row):
            return False
        self.opened.add(row.path)
        only = self.children(row)
        while len(only) == 1 and only[0].children:
            self.opened.add(only[0].path)
            only = self.children(only[0])
        self.lines[index + 1 : index + 1] = list(self._lines(row, depth + 1))
        return True

    def close(self, index: int) -> bool:
        """Hide what a folder holds. False where it is not open."""
        row, depth = self.lines[index]
        if not row.children or not self.is_open(row):
            return False
        self.opened.discard(row.path)
        end = index + 1
        while end < len(self.lines) and self.lines[end].depth > depth:
            end += 1
        del self.lines[index + 1 : end]
        return True

    def open_all(self, index: int) -> None:
        """Show all that a folder holds, however deep."""
        row, depth = self.lines[index]
        self.close(index)
        stack = [row]
        while stack:
            one = stack.pop()
            if one.children:
                self.opened.add(one.path)
                stack += one.children
        if row.children:
            self.lines[index + 1 : index + 1] = list(self._lines(row, depth + 1))

    def close_all(self) -> None:
        """Show the names in the root alone."""
        self.opened.clear()
        self.lines = list(self._lines(self.tree.root, 0))

    def above(self, index: int) -> int:
        """The line of the folder that a line is in; its own in the root."""
        depth = self.lines[index].depth
        while index and self.lines[index].depth >= depth > 0:
            index -= 1
        return index

    def index_of(self, path: bytes) -> int:
        """The line of a path, or of the nearest folder above it that has one; the first where none has."""
        places = {line.row.path: index for index, line in enumerate(self.lines)}
        while path and path not in places:
            path = path.rpartition(b"/")[0]
        return places.get(path, 0)

    def reveal(self, path: bytes) -> int:
        """Open all folders above a path. Returns its line."""
        parent = path.rpartition(b"/")[0]
        above = set()
        while parent:
            above.add(parent)
            parent = parent.rpartition(b"/")[0]
        if not above <= self.opened:
            self.opened |= above
            self.lines = list(self._lines(self.tree.root, 0))
        return self.index_of(path)

    def find(self, text: str) -> list[bytes]:
        """The paths that a text means, in the order in which they are shown. Raises ValueError for what is
        no glob."""
        is_meant = parse_search(text)
        found = []
        stack = [self.tree.root]
        while stack:
            row = stack.pop()
            if row.path and is_meant(row.path):
                found.append(row.path)
            if row.children:
                stack += reversed(self.children(row))
        return found


def parse_search(text: str) -> Callable[[bytes], bool]:
    """Says of a path whether a text means it: a glob as `verify --absent` has them, or any part of the path
    as it is shown, in capitals or not. Raises ValueError for what is no glob."""
    if not _GLOB.search(text):
        part = text.casefold()
        return lambda path: part in f"/{show_path(path)}".casefold()
    pattern = parse_pattern(text).paths
    if not isinstance(pattern, re.Pattern):
        raise ValueError(f"{text!r} is no glob")

    def is_meant(path: bytes) -> bool:
        name = path.decode("utf-8", "surrogateescape")
        # What lies below a path is found with it, and its own name may be what was found last.
        matches = (*pattern.finditer(name), pattern.search(name, max(0, name.rfind("/"))))
        return any(found is not None and found.end() == len(name) for found in matches)

    return is_meant
