"""Words of messages. Options that they speak of are named as whoever reads them knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from squashkit.values import frozen


@frozen
class Option:
    """An option that a message speaks of: `Write.force` is a field of a group, `output` a parameter."""

    name: str
    value: object = None
    """The value that is meant; None where it is any."""
    example: str = ""
    """A word in the place of a value: `NAME`."""

    def __str__(self) -> str:
        """As Python knows it: `Write(force=True)`, `Write(tags=NAME)`, `Write.tags`, `output=PATH`."""
        value = self.example
        if self.value is not None:
            value = repr(self.value if isinstance(self.value, int) else str(self.value))
        if not value:
            return self.name
        group, _, field = self.name.rpartition(".")
        return f"{group}({field}={value})" if group else f"{field}={value}"


Text = tuple[str | Option, ...]
"""The parts of a message, of which some are options."""


def shown(text: Text, show: Callable[[Option], str] = str) -> str:
    """A message in words, with the options as they are called where it is read."""
    return "".join(part if isinstance(part, str) else show(part) for part in text)


class Words(str):
    """A text that speaks of options, and names them as Python knows them."""

    __slots__ = ("parts",)
    parts: Text

    def __new__(cls, *parts: str | Option) -> Self:
        words = super().__new__(cls, shown(parts))
        words.parts = parts
        return words


def parts_of(text: str) -> Text:
    """The parts of a text, for one that has it in itself."""
    return text.parts if isinstance(text, Words) else (text,)
