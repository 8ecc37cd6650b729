"""Where the deflate blocks of a gzip stream lie, and which of them a range of its plain bytes has."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from squashkit.transports.codecs import WINDOW


class Run(NamedTuple):
    """Consecutive blocks of one member of a source layer's gzip stream."""

    layer: int
    first_bit: int
    end_bit: int
    """In the stored stream, from the low bits of a byte to its high ones (RFC 1951, 3.1.1)."""
    final_bit: int | None
    """Where the block begins that ends its member, if the run has that."""
    start: int
    end: int
    """In the plain stream."""
    checksum: int
    """CRC-32 of the plain bytes."""


@dataclass(slots=True)
class BlockIndex:
    """The blocks of a gzip stream: 20 bytes each. It has the members that were read to their end.

    The last block of each member is the final one, and no other is. Types of blocks are not kept: what is
    copied keeps its place in its bytes, so that even stored blocks, which are padded to whole bytes, stay
    as they are.
    """

    ends: array[int] = field(default_factory=lambda: array("Q"))
    """Where each block ends in the stored stream, in bits."""
    plain_ends: array[int] = field(default_factory=lambda: array("Q"))
    checksums: array[int] = field(default_factory=lambda: array("I"))
    """CRC-32 of each block's plain bytes."""
    member_ends: array[int] = field(default_factory=lambda: array("Q"))
    """The number of blocks up to the end of each member."""
    member_starts: array[int] = field(default_factory=lambda: array("Q"))
    """Where the first block of each member starts in the stored stream, in bits."""
    member_plain_ends: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return self.member_ends[-1] if self.member_ends else 0

    def runs(self, layer: int, start: int, end: int) -> Iterator[Run]:
        """The longest runs of blocks that stay as they are where nothing but a range of the plain stream is
        left: each block and the 32 KiB before it (RFC 1951, 2), or all that its member has, are in it."""
        member = bisect_right(self.member_plain_ends, start)
        while member < len(self.member_ends):
            first = self.member_ends[member - 1] if member else 0
            behind_last = self.member_ends[member]
            plain = self.member_plain_ends[member - 1] if member else 0
            if plain >= end:
                return
            begin, first_bit = first, self.member_starts[member]
            if plain < start:
                before = bisect_left(self.plain_ends, start + WINDOW, first, behind_last)
                if before >= behind_last - 1:
                    member += 1
                    continue
                begin, first_bit, plain = before + 1, self.ends[before], self.plain_ends[before]
            behind = bisect_right(self.plain_ends, end, first, behind_last)
            if begin < behind and plain < self.plain_ends[behind - 1]:
                final_bit = None
                if behind == behind_last:
                    final_bit = self.ends[behind - 2] if behind - 1 > first else self.member_starts[member]
                yield Run(
                    layer,
                    first_bit,
                    self.ends[behind - 1],
                    final_bit,
                    plain,
                    self.plain_ends[behind - 1],
                    self._checksum(plain, begin, behind),
                )
            member += 1

    def sample(self, at: int, length: int) -> tuple[int, int, int]:
        """Blocks from a place of the plain stream on that have at least so many plain bytes, if there are
        so many: where they start and end in the plain stream, and their bits in the stored one."""
        first = bisect_right(self.plain_ends, at)
        last = min(bisect_left(self.plain_ends, at + length), len(self.plain_ends) - 1)
        start = self.plain_ends[first - 1] if first else 0
        begin = self.ends[first - 1] if first else self.member_starts[0]
        return start, self.plain_ends[last], self.ends[last] - begin

    def _checksum(self, plain: int, begin: int, behind: int) -> int:
        from zlib_ng import zlib_ng

        checksum = 0
        for block in range(begin, behind):
            size = self.plain_ends[block] - plain
            plain += size
            checksum = zlib_ng.crc32_combine(checksum, self.checksums[block], size)
        return checksum
