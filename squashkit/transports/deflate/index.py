"""Where the deflate blocks of a gzip stream lie, told while it is inflated."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from squashkit.errors import InvalidImage
from squashkit.oci.media import Codec
from squashkit.transports.codecs import MAGIC_SIZE, WINDOW, detect, refuse_behind
from squashkit.transports.deflate.library import BUFFER, At, Inflater


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive blocks of a source's member, which do not end it."""

    source: int
    first_bit: int
    end_bit: int
    """In the stored stream, from the low bits of a byte to its high ones (RFC 1951, 3.1.1)."""
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

    def runs(self, source: int, start: int, end: int) -> Iterator[Run]:
        """The longest runs of blocks that stay as they are where nothing but a range of the plain stream is
        left: each block and the 32 KiB before it (RFC 1951, 2), or all that its member has, are in it."""
        member = bisect_right(self.member_plain_ends, start)
        while member < len(self.member_ends):
            first = self.member_ends[member - 1] if member else 0
            final = self.member_ends[member] - 1
            plain = self.member_plain_ends[member - 1] if member else 0
            if plain >= end:
                return
            if plain >= start:
                begin, first_bit = first, self.member_starts[member]
            else:
                before = bisect_left(self.plain_ends, start + WINDOW, first, final)
                if before == final:
                    member += 1
                    continue
                begin, first_bit, plain = before + 1, self.ends[before], self.plain_ends[before]
            behind = bisect_right(self.plain_ends, end, first, final)
            if begin < behind and plain < self.plain_ends[behind - 1]:
                checksum = self._checksum(plain, begin, behind)
                yield Run(
                    source, first_bit, self.ends[behind - 1], plain, self.plain_ends[behind - 1], checksum
                )
            member += 1

    def _checksum(self, plain: int, begin: int, behind: int) -> int:
        from zlib_ng import zlib_ng

        checksum = 0
        for block in range(begin, behind):
            size = self.plain_ends[block] - plain
            plain += size
            checksum = zlib_ng.crc32_combine(checksum, self.checksums[block], size)
        return checksum


def inflate(
    blocks: Iterable[bytes | memoryview],
    index: BlockIndex,
    where: str = "",
    padded: Callable[[int], None] = lambda size: None,
) -> Iterator[bytes]:
    """The uncompressed stream, as `codecs.decompress` gives that of gzip, in pieces of at most 1 MiB; the
    index is filled on the way.

    Zero bytes after the last member are padding: `padded` is told how many they are. Raises InvalidImage
    where the stream is damaged or ends too early, or other bytes lie behind it; Unavailable.
    """
    padding = taken = 0
    rest = b""
    with Inflater() as inflater:
        reader = _Reader(inflater, index)
        try:
            for block in blocks:
                data = memoryview(rest + bytes(block))
                rest = b""
                while data:
                    if not reader.within:
                        if taken:
                            if padding or data[0] == 0:
                                padding += len(data)
                                refuse_behind(Codec.GZIP, bytes(data).strip(b"\0"), where)
                                break
                            if len(data) < MAGIC_SIZE:
                                rest = bytes(data)  # what follows tells what it is
                                break
                            if detect(bytes(data[:MAGIC_SIZE])) is not Codec.GZIP:
                                refuse_behind(Codec.GZIP, bytes(data), where)
                        reader.begin(taken)
                    used = yield from reader.read(data[:BUFFER])
                    taken += used
                    data = data[used:]
        except (OSError, EOFError, ValueError) as error:
            raise InvalidImage(f"damaged gzip stream: {error}", where=where) from error
    if reader.within:
        raise InvalidImage("the gzip stream ends too early", where=where)
    refuse_behind(Codec.GZIP, rest, where)
    if padding:
        padded(padding)


class _Reader:
    """Reads members and takes down their blocks."""

    def __init__(self, inflater: Inflater, index: BlockIndex) -> None:
        self._inflater = inflater
        self._index = index
        self._base = 0
        self._plain = 0
        self._checksum = 0
        self._first_bit = -1
        self.within = False

    def begin(self, taken: int) -> None:
        """A member comes, behind so many stored bytes."""
        self._inflater.restart()
        self._base = taken * 8
        self._first_bit = -1
        self._checksum = 0
        self.within = True

    def read(self, data: memoryview) -> Generator[bytes, None, int]:
        """What stored bytes give, to the end of the member at most. How many of them were used."""
        from zlib_ng import zlib_ng

        inflater, index = self._inflater, self._index
        inflater.give(data)
        seen = 0
        while True:
            at = inflater.step()
            filled = inflater.written
            self._checksum = zlib_ng.crc32(inflater.output[seen:filled], self._checksum)
            self._plain += filled - seen
            seen = filled
            if at is At.END:
                self.within = False
                index.member_ends.append(len(index.ends))
                index.member_starts.append(self._first_bit)
                index.member_plain_ends.append(self._plain)
                break
            if at is not At.AMID:
                end = self._base + inflater.bits
                if self._first_bit < 0:  # before the first block
                    self._first_bit = end
                else:
                    index.ends.append(end)
                    index.plain_ends.append(self._plain)
                    index.checksums.append(self._checksum)
                    self._checksum = 0
            elif inflater.wants_input:
                break
            if inflater.is_full:
                yield bytes(inflater.output)
                inflater.make_room()
                seen = 0
        if seen:
            yield bytes(inflater.output[:seen])
            inflater.make_room()
        return len(data) - inflater.unused
