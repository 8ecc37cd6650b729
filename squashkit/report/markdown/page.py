"""What pages of Markdown are made of: texts of others that mark up nothing, tables, folds, and a limit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from squashkit.errors import show_path, show_text
from squashkit.report.text import code, markdown
from squashkit.values import frozen

LIMIT = 60_000
"""Bytes of a page. GitHub refuses a comment of more than 65,536 characters."""
_NAME, _STEP, _TEXT = 160, 160, 1000
"""Characters of a name or path, of a step's command and of a sentence that are shown."""
_QUOTED = re.compile(r"`([^`]*[^`\s][^`]*)`")
_REACHES_OUT = re.compile(r"(?<=[@#!])(?=\w)|(?<=:)(?=//)|(?<=[Ww]{3})(?=\.)")
"""Where hosts make a mention, a reference or a link of plain text."""
_SHORTENED = "This page is shortened. `--json` has all of it."


@frozen
class Part:
    """A paragraph, a list or a table of a page, in the order of their weight."""

    rows: Sequence[str] = ()
    """What may be left out, from the end: each is whole in itself."""
    head: str = ""
    """What stands above the rows, and always is there."""
    folded: str = ""
    """The line to which it is folded, in our own words; empty where it is open."""
    more: int = 0
    """How many rows are left out already."""

    def shown(self, rows: int) -> str:
        """With its first so many rows."""
        lines = ["\n".join(filter(None, [self.head, *self.rows[:rows]]))]
        if left := self.more + len(self.rows) - rows:
            lines.append(f"… and {left:,} more")
        if self.folded:
            lines = [f"<details>\n<summary>{self.folded}</summary>", *lines, "</details>"]
        return "\n\n".join(lines)


def page(parts: Iterable[Part], limit: int = LIMIT) -> str:
    """The parts below each other, as much of them as fits into so many bytes of UTF-8."""
    room = limit - len(_SHORTENED) - 2
    shown: list[str] = []
    is_short = False
    for part in parts:
        rows = _fitting(part, room)
        if rows < len(part.rows):
            is_short = True
        if rows < 0 or (part.rows and not rows):
            is_short = True
            continue
        text = part.shown(rows)
        room -= _bytes(text) + 2
        shown.append(text)
    return "\n\n".join([*shown, *([_SHORTENED] if is_short else [])])


def _fitting(part: Part, room: int) -> int:
    """How many of its rows fit; less than 0 where not even its head does."""
    room -= _bytes(part.shown(0)) + 2 + len("… and 1,000,000 more\n\n")
    for number, row in enumerate(part.rows):
        room -= _bytes(row) + 1
        if room < 0:
            return number
    return len(part.rows) if room >= 0 else -1


def _bytes(text: str) -> int:
    return len(text.encode())


def table(head: Sequence[str], right: Collection[int] = ()) -> str:
    """The head of a table; the columns in `right` hold numbers."""
    return "\n".join([row(head), row(["--:" if i in right else "---" for i in range(len(head))])])


def row(cells: Sequence[str]) -> str:
    """A row of a table, of Markdown."""
    return f"| {' | '.join(cells)} |"


def name(text: str) -> str:
    """A name as code, also in a table; of a long one its beginning and its end."""
    return code(_cut(show_text(text), _NAME)) if text else ""


def path(path: bytes) -> str:
    """The same of a path of an image."""
    return name(f"/{show_path(path)}")


def step(command: str, *, in_table: bool = True) -> str:
    """A step's command as code, of a long one the beginning."""
    shown = show_text(" ".join(command.split()))
    return code(shown if len(shown) <= _STEP else shown[:_STEP] + "…", in_table=in_table) if shown else ""


def prose(text: str) -> str:
    """A sentence with words of others in it, also in a table: it marks up nothing, and calls nobody."""
    return _REACHES_OUT.sub("<!-- -->", markdown(_cut(show_text(text), _TEXT)))


def told(text: str, commands: Iterable[str] = ()) -> str:
    """A sentence outside of tables that quotes commands between backticks: these are code. Commands that
    are named here may have backticks themselves."""
    for command in commands:
        before, quoted, after = text.partition(f"`{command}`")
        if command and quoted:
            return f"{told(before, commands)}{step(command, in_table=False)}{told(after, commands)}"
    parts = _QUOTED.split(show_text(text))
    return "".join(
        step(part, in_table=False) if number % 2 else prose(part) for number, part in enumerate(parts)
    )


def fence(text: str, language: str) -> str:
    """Lines as a block of code that none of them ends."""
    lines = [show_text(line) for line in text.splitlines()]
    longest = max((len(found) for line in lines for found in re.findall("`+", line)), default=0)
    marks = "`" * max(3, longest + 1)
    return "\n".join([f"{marks}{language}", *lines, marks])


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[-(width // 2) :]}"
