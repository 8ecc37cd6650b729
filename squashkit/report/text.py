"""Shares, times, tables and other people's words, as terminals and pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import floor
from typing import Any

from squashkit.errors import show_text


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def show_time(seconds: Decimal) -> str:
    """Seconds since the epoch as `2018-05-01 12:00:00.5`, in UTC; as a number where no calendar has it."""
    whole = floor(seconds)
    fraction = f"{seconds - whole:f}"[1:].rstrip("0") if seconds != whole else ""
    try:
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}{fraction}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def json_text(document: Any) -> str:
    """A document as JSON text. What is no visible sign is escaped there, too: programs read the same, and a
    terminal obeys nothing."""
    lines = json.dumps(document, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(line if line.isprintable() else _UNSEEN.sub(_escaped, line) for line in lines)


_UNSEEN = re.compile(r"[^ -~]")


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


_MARKDOWN = re.compile(r"[\\`*_\[\]<>|&~$]")


def markdown(text: str) -> str:
    """A text that somebody else wrote, for Markdown: nothing in it marks up, also in a table."""
    return _MARKDOWN.sub(r"\\\g<0>", show_text(text))


def code(text: str) -> str:
    """The same as code in a table: in it only a backslash before `|` is an escape, and as many backticks
    stand around it as it does not hold."""
    shown = show_text(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    marks = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{marks}{space}{shown}{space}{marks}".replace("|", "\\|")


def shorten(text: str, width: int) -> str:
    """A text that somebody else wrote, on one line of at most this width."""
    line = show_text(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def brief(text: str) -> str:
    """As much of a name as the `repr` of a report shows."""
    return shorten(text, 40)


def shorten_step(created_by: str, width: int) -> str:
    """A history entry's command without what docker puts around it."""
    bare = created_by.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").removesuffix(" # buildkit")
    return shorten(bare.replace("RUN /bin/sh -c ", "RUN ", 1), width)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Lines of a table; the columns in `right` hold numbers."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(head), *(line(row) for row in rows)]
