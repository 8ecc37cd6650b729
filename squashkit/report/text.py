"""Shares, times, tables and other people's words, as terminals and pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import floor
from typing import TYPE_CHECKING, Any

from squashkit.amounts import size
from squashkit.errors import show_path, show_text
from squashkit.values import frozen

if TYPE_CHECKING:
    from decimal import Decimal

    from squashkit.layers.merge import LeftOut


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def show_time(seconds: Decimal) -> str:
    """Seconds since the epoch as `2018-05-01 12:00:00.5`, in UTC; as a number where no calendar has it."""
    from datetime import UTC, datetime  # tables of times alone have a use for it

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


def code(text: str, *, in_table: bool = True) -> str:
    """The same as code: as many backticks stand around it as it does not hold. In a table, and there
    alone, a backslash before `|` is an escape."""
    shown = show_text(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    marks = "`" * (longest + 1)
    space = " " if longest else ""
    made = f"{marks}{space}{shown}{space}{marks}"
    return made.replace("|", "\\|") if in_table else made


def shorten(text: str, width: int) -> str:
    """A text that somebody else wrote, on one line of at most this width."""
    return _cut(show_text(" ".join(text.split())), width)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def brief(text: str) -> str:
    """As much of a name as the `repr` of a report shows."""
    return shorten(text, 40)


def shorten_step(created_by: str, width: int) -> str:
    """A step of a build as people should see it (`shown`), in so many columns."""
    from squashkit.oci.steps import shown  # many reports tell of no step

    return _cut(shown(created_by), width)


def wrapped(text: str, width: int | None) -> list[str]:
    """A sentence as lines of a terminal of so many columns; without a width, as it is."""
    if width is None or len(text) <= width:
        return [text]
    from textwrap import wrap

    return wrap(text, width, break_long_words=False, break_on_hyphens=False)


_LEAST, _NARROWEST = 16, 8
"""Columns of text that a narrow column has where there is room for it, and in any case."""


@frozen
class Fit:
    """How a table is made to fit a width. Columns are counted from 0."""

    width: int | None
    """Of a terminal; None for as wide as the table is."""
    leave_out: Sequence[int] = ()
    """What a person misses least, first: left out where others would have too little room."""
    shorten: Sequence[int] = ()
    """What may end in an ellipsis."""
    wrap: Sequence[int] = ()
    """What may go on in the next line."""


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    fit: Fit = Fit(None),
) -> list[str]:
    """Lines of a table; the columns in `right` hold numbers."""
    widths = _fitted([max(len(row[i]) for row in [head, *rows]) for i in range(len(head))], fit)

    def lines(row: Sequence[str]) -> Iterator[str]:
        parts = {i: _parts(row[i], width, wrap=i in fit.wrap) for i, width in widths.items()}
        for number in range(max(map(len, parts.values()))):
            cells = (
                cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
                for i, part in parts.items()
                for cell in [part[number] if number < len(part) else ""]
            )
            yield "  ".join(cells).rstrip()

    return [line for row in (head, *rows) for line in lines(row)]


def _fitted(natural: Sequence[int], fit: Fit) -> dict[int, int]:
    """The columns that are shown, and their widths."""
    widths = dict(enumerate(natural))
    if fit.width is None:
        return widths
    flexible = [*fit.shorten, *fit.wrap]

    def over(least: int) -> int:
        """How many columns of text are too many, where flexible ones have no more than this."""
        taken = [min(width, least) if i in flexible else width for i, width in widths.items()]
        return sum(taken) + 2 * (len(taken) - 1) - (fit.width or 0)

    for column in fit.leave_out:
        if over(_LEAST) > 0:
            del widths[column]
    for least in (_LEAST, _NARROWEST):
        for column in flexible:
            surplus = max(0, min(over(max(natural)), widths[column] - least))
            widths[column] -= surplus
    return widths


def _parts(cell: str, width: int, *, wrap: bool) -> list[str]:
    """The lines of a cell: several where it may be wrapped, else one that is shortened."""
    if len(cell) <= width:
        return [cell]
    if not wrap:
        return [shorten(cell, width)]
    from textwrap import wrap as wrap_text  # few tables have a use for it

    return wrap_text(cell, width, break_on_hyphens=False)


def left_out_rows(paths: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """What was left out, as JSON has it."""
    return [{"path": show_path(one.path), "bytes": one.size, "rule": one.rule} for one in paths]


def summed_by_rule(paths: Iterable[LeftOut]) -> list[list[str]]:
    """Rows of a rule, how many paths it means and their bytes, the most bytes first."""
    sums: dict[str, list[int]] = {}
    for one in paths:
        sums.setdefault(one.rule, []).append(one.size)
    ordered = sorted(sums.items(), key=lambda item: (-sum(item[1]), item[0]))
    return [[rule, f"{len(sizes):,}", size(sum(sizes))] for rule, sizes in ordered]
