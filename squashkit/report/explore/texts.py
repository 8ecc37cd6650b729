"""The texts of the screens: layers, what a squash would give, the details of a path."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from unicodedata import east_asian_width

from squashkit.amounts import count, size
from squashkit.errors import show_path, show_text
from squashkit.oci.graph import Image
from squashkit.oci.steps import shown
from squashkit.plan.base import Base
from squashkit.plan.waste.savings import Saving
from squashkit.report.explore.changes import NAMES, History, Mark
from squashkit.report.explore.tree import Kind, Tree
from squashkit.report.listing import Listed
from squashkit.report.text import Fit, shorten, table
from squashkit.report.trace import TraceReport
from squashkit.values import frozen

_NAME = 11
"""Columns of the names in the details of a path."""


@frozen
class LayerLine:
    """One layer, in bytes."""

    index: int
    step: str
    """What made it, as people see it."""
    size: int
    """Of the uncompressed tar."""
    dead: int
    """Payload of its dead files."""
    in_base: bool

    def cells(self) -> list[str]:
        """Whether it is the base's, its number, its size and what of it is dead."""
        dead = size(self.dead) if self.dead else ""
        return ["B" if self.in_base else " ", str(self.index), size(self.size), dead]


@frozen
class Explored:
    """An image as it was read."""

    title: str
    platform: str
    base: Base | None
    reference: str
    """How a person names it on the command line."""
    layers: tuple[LayerLine, ...]
    """Base first."""
    history: History

    @property
    def base_layers(self) -> int:
        return self.base.layers if self.base is not None else 0

    @property
    def first(self) -> int:
        """The layer to begin with: the first above the base."""
        return min(self.base_layers, max(0, len(self.layers) - 1))

    def headline(self, width: int) -> str:
        """The image in a line, and of what is worth knowing as much as there is room for."""
        total, dead = sum(one.size for one in self.layers), sum(one.dead for one in self.layers)
        told = [
            show_text(self.title),
            f"{count(len(self.layers), 'layer')}, {size(total)}, {size(dead)} dead",
            f"base: {self._base()}",
            show_text(self.platform),
        ]
        while len(told) > 1 and sum(len(one) + 3 for one in told) - 3 > width:
            told.pop()
        return "   ".join(told)

    def _base(self) -> str:
        if self.base is None:
            return "not known"
        layers = count(self.base.layers, "layer")
        return f"{show_text(self.base.name)} ({layers})" if self.base.name else layers


def layer_lines(image: Image, sizes: Sequence[int], history: History, base: Base | None) -> list[LayerLine]:
    """The layers of an image; `sizes` are those of the uncompressed tars."""
    dead = [0] * len(sizes)
    for one in history.rootfs.dropped:
        dead[one.layer] += one.entry.size
    base_layers = base.layers if base is not None else 0
    return [
        LayerLine(layer.index, shown(layer.created_by), length, lost, layer.index < base_layers)
        for layer, length, lost in zip(image.layers, sizes, dead, strict=True)
    ]


def tree_title(tree: Tree, explored: Explored) -> str:
    """What a tree shows, in a line."""
    if tree.kind is Kind.WASTE:
        return f"Dead bytes of all layers by folder: {size(tree.root.dead)}"
    step = explored.layers[tree.layer].step
    if tree.kind is Kind.WHOLE:
        return f"Root file system up to layer {tree.layer}: {step}"
    return f"Layer {tree.layer}: {step}"


def tree_counts(tree: Tree) -> str:
    """How many paths have each mark."""
    numbers = {mark: tree.root.count(mark) for mark in Mark}
    return "  ".join(f"{mark.value} {number:,}" for mark, number in numbers.items() if number)


def nothing(tree: Tree, only: Mark | None) -> str:
    """What stands in the place of a tree that shows nothing."""
    if only is not None:
        return f"nothing is {NAMES[only]} here; Esc shows all again"
    return "nothing is dead" if tree.kind is Kind.WASTE else "the layer is empty"


def savings_lines(savings: Sequence[Saving], explored: Explored, width: int) -> list[str]:
    """What a squash would give at each boundary: a head, and a line for each number of kept layers."""
    rows = []
    for one in savings:
        layer = explored.layers[one.keep_layers]
        saved = "?" if one.size is None else size(one.size)
        dead = "?" if one.dead is None else size(one.dead) if one.dead else "-"
        if one.keep_layers == len(savings) - 1:
            saved = "-"
        base = "base" if one.keep_layers == explored.base_layers and explored.base is not None else ""
        first = f"{layer.index}: {layer.step}"
        rows.append([str(one.keep_layers), saved, dead, base, first])
    head = ["keep", "saved", "dead", "", "the first layer that is merged"]
    return table(head, rows, right={0, 1, 2}, fit=Fit(width, leave_out=[2], shorten=[4]))


def savings_notes(savings: Sequence[Saving], explored: Explored, width: int) -> list[str]:
    """What the table of savings means, and the command for the base."""
    meaning = (
        "Keeping N layers merges all others into one. Saved are bytes of uncompressed tars; dead is what"
        " the merged layers hold and nobody sees."
    )
    notes = [meaning]
    if any(one.size is None for one in savings):
        notes.append("? was not planned: of many layers those are that have most to save.")
    lines = [line for note in notes for line in wrap(note, width)]
    best = explored.base_layers
    if best < len(savings) - 1 and savings[best].size is not None:
        reference = show_text(explored.reference)
        lines += ["", *_wrapped(f"squashkit squash {reference} \\", width, 4)]
        lines += _wrapped(f"  --keep-layers {best} -t NAME -o OUTPUT", width, 4)
    return lines


@frozen
class Details:
    """A path: what lies there, and what layers did with it."""

    listed: Listed | None
    """None for a directory that no layer lists."""
    where: str
    """Of which layer that is."""
    trace: TraceReport

    def lines(self, width: int) -> list[str]:
        """What a person reads in so many columns."""
        return [*self._about(width), "", *self._fate(width)]

    def _about(self, width: int) -> list[str]:
        path = f"/{show_path(self.trace.path)}"
        lines = _wrapped(path, width)
        if self.listed is None:
            return [*lines, "", "A directory that no layer lists: 0755 and root's."]
        said = self.listed.json()
        mode, _, owner, _, time, _ = self.listed.cells()
        facts = {
            "kind": str(said["kind"]),
            "mode": f"{said['mode']}  {mode}",
            "owner": owner,
            "time": f"{time} UTC",
        }
        if self.listed.kind == "file":
            facts["size"] = f"{size(self.listed.size)}  ({count(self.listed.size, 'byte')})"
        if self.listed.target:
            facts["target"] = show_path(self.listed.target)
        if self.listed.device:
            facts["device"] = "{}, {}".format(*self.listed.device)
        if self.listed.links > 1:
            facts["names"] = str(self.listed.links)
        for name, value in said["xattrs"].items():
            facts[f"xattr {name}"] = str(value)
        facts["from"] = self.where
        for name, value in facts.items():
            lines += _fact(name, value, width)
        return lines

    def _fate(self, width: int) -> list[str]:
        """A paragraph for each copy and each marker: tables have no room for that in narrow terminals."""
        lines = ["In the layers:"]
        for row in self.trace.json()["layers"]:
            entry = row["entry"]
            what = entry["kind"] if entry else "marker"
            amount = f" of {size(entry['size'])}" if entry and what == "file" else ""
            step = shown(self.trace.created_by[row["layer"]])
            begin = f"{row['layer']:>3}  "
            lines += _wrapped(f"{begin}{what}{amount}, {row['fate']}", width, len(begin))
            lines += [" " * len(begin) + shorten(step, width - len(begin))] if step else []
        if not self.trace.traces:
            lines.append("  none lists it")
        elif not self.trace.there:
            lines += ["", "It is not in the image's root file system."]
        return lines


def _fact(name: str, value: str, width: int) -> list[str]:
    column = max(_NAME, len(name) + 2) if len(name) + 2 < width // 2 else 2
    if column == 2:
        return [*_wrapped(name, width), *_wrapped("  " + value, width, 2)]
    return _wrapped(f"{name:<{column}}{value}", width, column)


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    """A text cut into lines, at any place: names have no spaces. Lines after the first are indented."""
    lines = [""]
    room = width
    for sign in text:
        columns = 2 if east_asian_width(sign) in "WF" else 1
        if columns > room and lines[-1].strip():
            lines.append(" " * indent)
            room = width - indent
        lines[-1] += sign
        room -= columns
    return lines
