"""Images of which no base is known, and how to make one known."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.amounts import count
from squashkit.errors import show_text
from squashkit.report.text import code, markdown
from squashkit.values import frozen
from squashkit.wording import Option, Words, parts_of

LISTED = 20
"""Of how many images or runs a text tells one by one. The JSON has all."""


@frozen
class UnknownBase:
    """An image of which no base is known."""

    name: str
    layers: int
    hint: str
    """What may help to name it, empty where nothing does."""

    def line(self, *, as_markdown: bool = False) -> str:
        name = code(self.name) if as_markdown else show_text(self.name)
        line = f"{name} ({count(self.layers, 'layer')})"
        if not self.hint:
            return line
        return f"{line}: {markdown(self.hint)}" if as_markdown else Words(f"{line}: ", *parts_of(self.hint))


def list_unknown(unknown: Sequence[UnknownBase], *, as_markdown: bool = False) -> list[str]:
    """The images of which no base is known, a line each."""
    mark = "- " if as_markdown else "  "
    lines: list[str] = [
        Words(mark, *parts_of(one.line(as_markdown=as_markdown))) for one in unknown[:LISTED]
    ]
    more = len(unknown) - len(lines)
    return [*lines, f"{mark}and {more:,} more"] if more else lines


WAYS_OUT = Words(
    Option("FleetOptions.bases", example="REF"),
    " names it; `squashkit base add REF` remembers it; or add it to the fleet.",
)
"""How to make a base known."""
