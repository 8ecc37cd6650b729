"""Which of two of Debian's versions is later (Debian policy, 5.6.12; deb-version(7))."""

from __future__ import annotations

import re
from collections.abc import Iterator

_RUNS = re.compile(rb"(\D*)(\d*)")
_LONGEST = 1000
"""Digits of an epoch, which dpkg holds to be one of a machine's numbers."""
_TILDE, _END = 0, 1
"""A tilde comes before the end of a run of other characters, and that before all of them."""


def is_later(version: bytes, other: bytes) -> bool:
    """Whether a version is later than another one."""
    return _key(version) > _key(other)


def _key(version: bytes) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Epoch, upstream version and revision, such that tuples compare as dpkg compares."""
    epoch, colon, rest = version.strip().partition(b":")
    whole = rest if colon and epoch.isdigit() else version.strip()
    upstream, _, revision = whole.rpartition(b"-") if b"-" in whole else (whole, b"", b"")
    number = int(epoch[:_LONGEST]) if colon and epoch.isdigit() else 0
    return number, tuple(_ranks(upstream)), tuple(_ranks(revision))


def _ranks(text: bytes) -> Iterator[int]:
    """A version's part as runs of other characters and numbers, in turns."""
    for letters, digits in _RUNS.findall(text):
        if letters or digits:
            yield from map(_rank, letters)
            yield _END
            bare = digits.lstrip(b"0")  # of any length: as many digits decide, then the digits
            yield len(bare)
            yield from bare
    yield _END


def _rank(character: int) -> int:
    if character == ord("~"):
        return _TILDE
    return character + _END if chr(character).isalpha() else character + 256
