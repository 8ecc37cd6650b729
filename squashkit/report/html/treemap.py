"""Rectangles within rectangles, whose areas are amounts: where each one lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, *, above: float, around: float) -> Box:
        """What is left of it within a margin, and below a title."""
        width, height = self.width - 2 * around, self.height - above - around
        return Box(self.x + around, self.y + above, max(width, 0.0), max(height, 0.0))

    def rounded(self) -> Box:
        """To a tenth, which nobody sees."""
        return Box(round(self.x, 1), round(self.y, 1), round(self.width, 1), round(self.height, 1))


def squarify(amounts: Sequence[int], box: Box) -> list[Box]:
    """A rectangle for each amount, none of which is 0, greatest first, that together fill the box. They
    are laid in rows, each as square as can be (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000)."""
    found: list[Box] = []
    left, total = box, sum(amounts)
    at = 0
    while at < len(amounts):
        if left.width <= 0 or left.height <= 0:
            found.extend(Box(left.x, left.y, 0.0, 0.0) for _ in amounts[at:])
            break
        scale = left.width * left.height / total
        short = min(left.width, left.height)
        stop, worst = at + 1, _worst(amounts[at : at + 1], scale, short)
        while stop < len(amounts):
            next_worst = _worst(amounts[at : stop + 1], scale, short)
            if next_worst > worst:
                break
            stop, worst = stop + 1, next_worst
        row = amounts[at:stop]
        thick = sum(row) * scale / short
        along = 0.0
        for amount in row:
            long = amount * scale / thick
            if left.width >= left.height:
                found.append(Box(left.x, left.y + along, thick, long))
            else:
                found.append(Box(left.x + along, left.y, long, thick))
            along += long
        if left.width >= left.height:
            left = Box(left.x + thick, left.y, left.width - thick, left.height)
        else:
            left = Box(left.x, left.y + thick, left.width, left.height - thick)
        total -= sum(row)
        at = stop
    return found


def _worst(row: Sequence[int], scale: float, short: float) -> float:
    """How far the least square one of a row is from a square."""
    area = sum(row) * scale
    side = short * short
    return max(side * max(row) * scale / area**2, area**2 / (side * min(row) * scale))
