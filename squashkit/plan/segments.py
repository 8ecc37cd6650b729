"""Which layers of an image stay, and which become one: the decision that all else carries out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from squashkit.errors import UsageError
from squashkit.oci.graph import Image, Layer
from squashkit.plan.base import Base
from squashkit.values import frozen
from squashkit.wording import Option


@frozen
class Segment:
    """A run of layers [start, stop), counted from the base."""

    start: int
    """The first layer."""
    stop: int
    """The one behind the last."""
    keep: bool
    """Whether its layers stay; else they become one."""
    remake: bool = False
    """A run of one layer is made anew, too; else that is kept."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_kept(self) -> bool:
        """Whether its layers are carried over as they are."""
        return self.keep or (len(self) == 1 and not self.remake)


@frozen
class Decision:
    """An image, where its base ends, and what becomes of its layers."""

    image: Image
    base: Base
    segments: Sequence[Segment]

    @property
    def runs(self) -> list[Segment]:
        """The segments that become one layer each."""
        return [segment for segment in self.segments if not segment.is_kept]

    @property
    def squashed(self) -> list[Layer]:
        """The layers of the runs."""
        return [self.image.layers[i] for run in self.runs for i in range(run.start, run.stop)]

    @property
    def kept(self) -> list[Layer]:
        """The layers that are carried over."""
        squashed = {layer.index for layer in self.squashed}
        return [layer for layer in self.image.layers if layer.index not in squashed]

    def remade(self) -> Decision:
        """The same with runs of one layer made anew, too."""
        segments = [one if one.keep else replace(one, remake=True) for one in self.segments]
        return replace(self, segments=segments)

    @property
    def count(self) -> int:
        """How many layers the result has, at most."""
        return len(self.kept) + len(self.runs)


def parse_segments(text: str, total: int) -> list[Segment]:
    """From `=2,3,=1`: runs of layers, base first, that add up to the image's. Raises UsageError."""
    segments: list[Segment] = []
    at = 0
    for part in text.split(","):
        part = part.strip()
        keep = part.startswith("=")
        digits = part[keep:].strip()
        if not digits.isascii() or not digits.isdigit() or len(digits) > 6 or not int(digits):
            raise UsageError(
                Option("Keep.segments", text), f": {part!r} is no number of layers (as in =2,3,=1)"
            )
        segments.append(Segment(at, at + int(digits), keep))
        at += int(digits)
    if at != total:
        raise UsageError(
            Option("Keep.segments", text), f": it adds up to {at} layers, the image has {total}"
        )
    return segments
