"""Inflate in a few lines, slow and plain: an answer of its own to where deflate blocks lie (RFC 1951)."""

from __future__ import annotations

from dataclasses import dataclass

STORED, FIXED, DYNAMIC = 0, 1, 2

_LENGTHS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
            163, 195, 227, 258)  # fmt: skip
_LENGTH_BITS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0)
_DISTANCES = (1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
              2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577)  # fmt: skip
_DISTANCE_BITS = (0, 0, 0, 0, *(number // 2 for number in range(2, 28)))
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


@dataclass(frozen=True, slots=True)
class Block:
    """A deflate block: bits in the stored stream, places in the plain one, and the lowest plain place that
    it looks back at."""

    member: int
    first_bit: int
    end_bit: int
    start: int
    end: int
    kind: int
    final: bool
    lowest: int


def puff(stored: bytes) -> tuple[bytes, list[Block]]:
    """All members of a sound gzip stream whose headers have no more than names."""
    plain = bytearray()
    blocks: list[Block] = []
    at = member = 0
    while at < len(stored):
        assert stored[at : at + 3] == b"\x1f\x8b\x08"
        named = stored[at + 3]
        at += 10
        if named & 8:
            at = stored.index(0, at) + 1
        reader = _Bits(stored, at * 8)
        while True:
            first_bit, start = reader.at, len(plain)
            final, kind = bool(reader.take(1)), reader.take(2)
            lowest = _block(reader, plain, kind)
            blocks.append(Block(member, first_bit, reader.at, start, len(plain), kind, final, lowest))
            if final:
                break
        at = (reader.at + 7) // 8 + 8
        member += 1
    return bytes(plain), blocks


class _Bits:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def take(self, count: int) -> int:
        value = 0
        for place in range(count):
            value |= (self._data[self.at >> 3] >> (self.at & 7) & 1) << place
            self.at += 1
        return value

    def symbol(self, codes: dict[tuple[int, int], int]) -> int:
        code = size = 0
        while (size, code) not in codes:
            assert size < 16
            code = code << 1 | self.take(1)
            size += 1
        return codes[size, code]


def _codes(lengths: list[int]) -> dict[tuple[int, int], int]:
    """Symbols by the lengths and values of their codes (3.2.2)."""
    codes = {}
    code = 0
    for size in range(1, 16):
        for symbol, length in enumerate(lengths):
            if length == size:
                codes[size, code] = symbol
                code += 1
        code <<= 1
    return codes


def _block(reader: _Bits, plain: bytearray, kind: int) -> int:
    lowest = len(plain)
    if kind == STORED:
        reader.at = (reader.at + 7) // 8 * 8
        size, inverse = reader.take(16), reader.take(16)
        assert size == inverse ^ 0xFFFF
        plain.extend(reader.take(8) for _ in range(size))
        return lowest
    if kind == FIXED:
        literals = _codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8)
        distances = _codes([5] * 30)
    else:
        literals, distances = _dynamic(reader)
    while (symbol := reader.symbol(literals)) != 256:
        if symbol < 256:
            plain.append(symbol)
            continue
        length = _LENGTHS[symbol - 257] + reader.take(_LENGTH_BITS[symbol - 257])
        symbol = reader.symbol(distances)
        distance = _DISTANCES[symbol] + reader.take(_DISTANCE_BITS[symbol])
        lowest = min(lowest, len(plain) - distance)
        for _ in range(length):
            plain.append(plain[-distance])
    return lowest


def _dynamic(reader: _Bits) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    literals, distances, count = reader.take(5) + 257, reader.take(5) + 1, reader.take(4) + 4
    sizes = [0] * 19
    for symbol in _ORDER[:count]:
        sizes[symbol] = reader.take(3)
    codes = _codes(sizes)
    lengths: list[int] = []
    while len(lengths) < literals + distances:
        symbol = reader.symbol(codes)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            lengths.extend([lengths[-1]] * (3 + reader.take(2)))
        else:
            lengths.extend([0] * (3 + reader.take(3) if symbol == 17 else 11 + reader.take(7)))
    return _codes(lengths[:literals]), _codes(lengths[literals:])
