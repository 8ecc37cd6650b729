"""A tar as blocks: windows over them, and the numbers and checksums in a header block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from zlib import adler32

from squashkit.errors import InvalidLayer
from squashkit.layers.pax import INT64, shown_value

BLOCK = 512


Window = Callable[[int], tuple[memoryview, int]]
"""Called with an offset that never decreases; returns (buffer, offset of the buffer's first byte).

The buffer holds at least 512 bytes from the offset on, fewer only where the stream ends. It is valid
until the next call.
"""


def number(field: bytes, what: str, path: bytes = b"") -> int:
    """An octal field, or GNU's base-256 form (its first byte has the high bit set): a signed number of 64
    bits (Go's `parseNumeric`)."""
    parsed = parse_number(field)
    if parsed is None:
        raise InvalidLayer(f"{what} is no number: {shown_value(field)}", path=path)
    return parsed


@lru_cache(1 << 12)
def parse_number(field: bytes) -> int | None:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value if -INT64 <= value < INT64 else None
    digits = field.strip(b"\0 ")
    if not digits:
        return 0
    digits = digits.split(b"\0", 1)[0]
    return int(digits, 8) if digits.isdigit() and b"8" not in digits and b"9" not in digits else None


def plain_number(field: bytes) -> int | None:
    """A field of 12 bytes as most writers fill it: eleven octal digits, then NUL or a space. None for all
    others."""
    digits = field[:11]
    if field[11] not in _NUMBER_ENDS or not digits.isdigit():
        return None
    try:
        return int(digits, 8)
    except ValueError:  # an 8 or a 9
        return None


_NUMBER_ENDS = frozenset(b"\0 ")


def are_times(prefix: bytes) -> bool:
    """Whether GNU's atime and ctime stand where ustar has its prefix."""
    return all(not field[0] or parse_number(field) is not None for field in (prefix[:12], prefix[12:24]))


@lru_cache(1 << 14)
def total_of(checksum: bytes) -> int:
    """The sum of all bytes of a header block with this checksum field, plus 2; -1 where the field is no
    plain number. The adler32 of each half gives it at C speed."""
    digits = checksum[:6]
    if not digits.isdigit() or b"8" in digits or b"9" in digits or checksum[6:] not in _SUM_ENDS:
        return -1
    return 2 + int(digits, 8) - 256 + sum(checksum)


def sum_of(fields: bytes) -> int:
    """The sum of at most 257 bytes, at C speed: adler32's low half is 1 plus it, modulo 65521."""
    return (adler32(fields) & 0xFFFF) - 1


def check_sum(block: memoryview, checksum: bytes, at: int) -> None:
    """The slow, exact test of a header's checksum; old writers summed signed bytes."""
    stored = None if checksum[0] & 0x80 else parse_number(checksum)
    if stored is not None:
        others = bytes(block[:148]) + bytes(block[156:])
        unsigned = sum(others) + 256
        signed = unsigned - 256 * sum(byte > 127 for byte in others)
        if stored in (unsigned, signed):
            return
    raise InvalidLayer(f"no tar header at byte {at} (wrong checksum)")


def gather_bytes(
    window: Window, buffer: memoryview, base: int, start: int, stop: int
) -> tuple[bytes, memoryview, int]:
    """Bytes [start, stop) over as many windows as they take, fewer at the end; and the last window."""
    parts: list[bytes] = []
    while start < stop:
        if start - base >= len(buffer):
            buffer, base = window(start)
            if start - base >= len(buffer):
                break
        part = bytes(buffer[start - base : stop - base])
        parts.append(part)
        start += len(part)
    return b"".join(parts), buffer, base


_SUM_ENDS: Sequence[bytes] = (b"\0 ", b" \0", b"\0\0", b"  ")
