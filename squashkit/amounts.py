"""Amounts as messages tell them: bytes, counts, the first of many."""

from __future__ import annotations

from collections.abc import Sequence


def size(value: int) -> str:
    """Bytes as `0 B`, `1.5 KB`, `271 MB`: powers of 1000, three digits at most."""
    number = float(value)
    for unit in ("B", "KB", "MB", "GB", "TB", "PB"):
        if abs(number) < 999.5 or unit == "PB":
            digits = 1 if unit != "B" and abs(number) < 9.95 else 0
            return f"{number:.{digits}f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def count(number: int, thing: str) -> str:
    """A number and what it counts: `1 layer`, `1,234 layers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def some(items: Sequence[str], limit: int | None) -> str:
    """The first of these, and how many more there are; all of them without a limit."""
    more = len(items) - len(items[:limit])
    return ", ".join(items[:limit]) + (f" and {more:,} more" if more else "")
