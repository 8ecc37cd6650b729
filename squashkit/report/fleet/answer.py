"""What SQL found in a scan: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from squashkit.errors import show_path, show_text
from squashkit.report.text import Fit, table
from squashkit.values import frozen

_MOST = 1000
"""Rows of a table for people."""
_DIGEST = 32


@frozen
class SqlAnswer:
    """What SQL found. Of a BLOB 32 bytes that are no text are a digest, in hex; of all others those bytes
    that are no text are escaped, as `\\xff`."""

    names: tuple[str, ...]
    """Of the columns, as they were asked for."""
    rows: Iterable[tuple[object, ...]]
    """As DuckDB gives them to Python."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names, each once: where one stands twice, the second is `NAME_1`."""
        times: Counter[str] = Counter()
        unique: list[str] = []
        for name in self.names:
            while (one := f"{name}_{times[name]}" if times[name] else name) in unique:
                times[name] += 1
            unique.append(one)
        return tuple(unique)

    def json(self) -> list[dict[str, Any]]:
        """The rows, each with its values by the columns' names."""
        columns = self.columns
        return [dict(zip(columns, map(plain, row), strict=True)) for row in self.rows]

    def json_pieces(self) -> Iterator[str]:
        """The same as text, row by row."""
        columns = self.columns
        before = "[\n"
        for row in self.rows:
            yield before + json.dumps(dict(zip(columns, map(plain, row), strict=True)), ensure_ascii=True)
            before = ",\n"
        yield "[]\n" if before == "[\n" else "\n]\n"

    def csv_pieces(self) -> Iterator[str]:
        """The rows as CSV, below the columns' names. NULL is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(map(show_text, self.columns))
        for row in self.rows:
            writer.writerow("" if value is None else _shown(value) for value in row)
            yield out.getvalue()
            out.seek(0)
            out.truncate()
        yield out.getvalue()

    def lines(self) -> Iterator[str]:
        """A table for people, of the first 1,000 rows."""
        yield from self.fitted(None)

    def fitted(self, width: int | None) -> Iterator[str]:
        """The same on a terminal of so many columns."""
        rows = iter(self.rows)
        first = list(islice(rows, _MOST))
        numbers = [all(_is_number(row[at]) for row in first) for at in range(len(self.names))]
        texts = [at for at, is_number in enumerate(numbers) if not is_number]
        right = [at for at, is_number in enumerate(numbers) if is_number]
        shown = [["" if value is None else _shown(value) for value in row] for row in first]
        head = [show_text(name) for name in self.columns]
        yield from table(head, shown, right=right, fit=Fit(width, shorten=texts))
        if next(rows, None) is not None:
            yield f"... and more; these are the first {_MOST:,} rows, --csv and --json give all"


def plain(value: object) -> Any:
    """A value as JSON can have it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON knows no infinity
    if isinstance(value, Decimal):
        number = plain(float(value))
        return number if Decimal(str(number)) == value else format(value, "f")  # or digits would be lost
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(one) for one in value]
    return str(value)


def _bytes(value: bytes) -> str:
    if len(value) == _DIGEST:
        try:
            if value.decode().isprintable():
                return value.decode()
        except UnicodeDecodeError:
            pass
        return value.hex()
    return show_path(value)


def _shown(value: object) -> str:
    found = plain(value)
    if isinstance(found, str):
        return show_text(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, int | float) else json.dumps(found)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))
