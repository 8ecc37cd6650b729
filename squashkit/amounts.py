"""Amounts as messages tell them: bytes, counts, the first of many."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def size(value: int) -> str:
    """Bytes as `0 B`, `1.5 KB`, `271 MB`: powers of 1000, three digits at most."""
    number = float(value)
    for unit in _UNITS:
        if abs(number) < 999.5 or unit == "PB":
            digits = 1 if unit != "B" and abs(number) < 9.95 else 0
            return f"{number:.{digits}f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def sizes(values: Sequence[int]) -> list[str]:
    """The same of values that are to be compared: all in the unit of the greatest, three digits where that
    leaves no more than three behind the point."""
    greatest = max(map(abs, values), default=0)
    power = next(n for n in range(len(_UNITS)) if greatest < 999.5 * 1000**n or n == len(_UNITS) - 1)
    return [
        f"{_three_digits(value / 1000**power, power) if value else 0} {_UNITS[power]}" for value in values
    ]


def _three_digits(number: float, places: int) -> str:
    before = len(f"{abs(number):.0f}") if abs(number) >= 0.95 else 0
    return f"{number:.{min(3 - min(before, 3), places * 3)}f}"


def count(number: int, thing: str) -> str:
    """A number and what it counts: `1 layer`, `1,234 layers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def together(items: Sequence[str]) -> str:
    """`a and b`; of more than three the first, and how many more there are."""
    return " and ".join(items) if len(items) < 4 else some(items, 1)


def some(items: Sequence[str], limit: int | None) -> str:
    """The first of these, and how many more there are; all of them without a limit."""
    more = len(items) - len(items[:limit])
    return ", ".join(items[:limit]) + (f" and {more:,} more" if more else "")
