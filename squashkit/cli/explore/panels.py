"""The two panels: the layers, and the tree of what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message

from squashkit.amounts import size
from squashkit.cli.explore.lines import Lines
from squashkit.report.explore.changes import Mark
from squashkit.report.explore.outline import Outline
from squashkit.report.explore.texts import LayerLine, nothing
from squashkit.report.explore.tree import Kind, Row

STYLES = {
    "A": "bold #5fd75f",
    "C": "bold #ffd75f",
    "R": "bold #ff5f5f",
    "D": "bold #d787ff",
    "B": "bold #5fd7ff",
}
"""A colour for each letter; the letter says it where colours do not."""
_AMOUNT = 7
_ROOMY = 60
"""Columns of the tree from which on each folder is indented by two."""


class LayersPanel(Lines):
    """The layers, base first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,right,l", "enter_tree", "to the tree", show=False),
    ]
    told: Sequence[LayerLine] = ()

    def count(self) -> int:
        return len(self.told)

    def head(self) -> str:
        """The titles of the columns."""
        digits = self._digits
        return f"{'#':>{digits + 1}}{'size':>{_AMOUNT}}{'dead':>{_AMOUNT}}  step"

    @property
    def _digits(self) -> int:
        return len(str(max(0, len(self.told) - 1)))

    def line(self, index: int, width: int) -> Text:
        layer = self.told[index]
        base, number, amount, dead = layer.cells()
        text = Text()
        text.append(base, STYLES["B"])
        text.append(f"{number:>{self._digits}}", "dim" if layer.in_base else "")
        text.append(f"{amount:>{_AMOUNT}}")
        text.append(f"{dead:>{_AMOUNT}}", STYLES["D"])
        text.append("  " + layer.step, "dim" if layer.in_base else "")
        return text

    def action_enter_tree(self) -> None:
        self.screen.query_one(TreePanel).focus()


class TreePanel(Lines):
    """The tree: letters, sizes, names."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "open or close a folder, show a file", show=False),
        Binding("right,l", "open", "open a folder", show=False),
        Binding("left,h", "close", "close a folder, or go to the one above", show=False),
        Binding("asterisk", "open_all", "open all below", show=False),
        Binding("minus", "close_all", "close all folders", show=False),
        Binding("i", "details", "details", show=False),
    ]
    outline: Outline | None = None

    class Chosen(Message):
        """Somebody wants to know all of a path."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def count(self) -> int:
        return len(self.outline.lines) if self.outline else 0

    @property
    def row(self) -> Row | None:
        """What the cursor is on."""
        return self.outline.lines[self.cursor].row if self.outline and self.count() else None

    def show(self, outline: Outline, path: bytes = b"") -> None:
        """Show another tree, with the cursor on a path or the nearest folder above it."""
        self.outline = outline
        self.reload(outline.index_of(path))

    def head(self) -> str:
        """The titles of the columns."""
        second = "files" if self.outline and self.outline.tree.kind is Kind.WASTE else "size"
        return f"  {second:>{_AMOUNT}}{'dead':>{_AMOUNT}}    name"

    def line(self, index: int, width: int) -> Text:
        assert self.outline is not None
        row, depth = self.outline.lines[index]
        text = Text()
        for letter in row.letters:
            text.append(letter, STYLES.get(letter, ""))
        is_waste = self.outline.tree.kind is Kind.WASTE
        first = f"{row.count(Mark.DEAD):,}" if is_waste else size(row.bytes) if row.bytes else ""
        text.append(f"{first:>{_AMOUNT}}", "dim" if row.mark is Mark.REMOVED else "")
        text.append(f"{size(row.dead) if row.dead else '':>{_AMOUNT}}", STYLES["D"])
        sign = " "
        if row.children:
            sign = "▾" if self.outline.is_open(row) else "▸"
        step = 2 if width >= _ROOMY else 1
        indent = min(depth * step, max(4, width - 40))  # a name has some columns, however deep it lies
        text.append(" " * indent + f" {sign} ", "dim")
        style = STYLES.get(row.letters[0], "").removeprefix("bold ")
        text.append(row.label, f"bold {style}".strip() if row.is_folder else style)
        if is_waste and row.fate:
            text.append(f"  {row.fate}", "dim")
        return text

    def render_empty(self, only: Mark | None) -> str:
        """What is said where no line is."""
        return nothing(self.outline.tree, only) if self.outline else ""

    def action_choose(self) -> None:
        if self.row is None or self.outline is None:
            return
        if not self.row.children:
            self.action_details()
        elif not self.outline.close(self.cursor):
            self.action_open()
        else:
            self.reload()

    def action_open(self) -> None:
        if self.row is not None and self.outline is not None:
            if self.outline.open(self.cursor):
                self.reload()
            elif self.row.children:
                self.move_to(self.cursor + 1)

    def action_close(self) -> None:
        if self.row is not None and self.outline is not None:
            if self.outline.close(self.cursor):
                self.reload()
            elif self.outline.lines[self.cursor].depth:
                self.move_to(self.outline.above(self.cursor))
            else:
                self.screen.query_one(LayersPanel).focus()

    def action_open_all(self) -> None:
        if self.row is not None and self.outline is not None:
            self.outline.open_all(self.cursor)
            self.reload()

    def action_close_all(self) -> None:
        if self.row is not None and self.outline is not None:
            top = self.row.path.partition(b"/")[0]
            self.outline.close_all()
            self.reload(self.outline.index_of(top))

    def action_details(self) -> None:
        if self.row is not None:
            self.post_message(self.Chosen(self.row))
