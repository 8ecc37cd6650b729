"""A gzip stream inflated, and its deflate blocks taken down on the way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator

from squashkit.errors import InvalidImage
from squashkit.oci.media import Codec
from squashkit.transports.codecs import MAGIC_SIZE, detect, refuse_behind
from squashkit.transports.deflate.index import BlockIndex
from squashkit.transports.deflate.library import BUFFER, At, Inflater


def inflate(
    blocks: Iterable[bytes | memoryview],
    index: BlockIndex,
    where: str = "",
    padded: Callable[[int], None] = lambda size: None,
) -> Iterator[bytes]:
    """The uncompressed stream, as `codecs.decompress` gives that of gzip, in pieces of at most 1 MiB; the
    index is filled on the way.

    Zero bytes after the last member are padding: `padded` is told how many they are. Raises InvalidImage
    where the stream is damaged or ends too early, or other bytes lie behind it; PlanError where there
    is no zlib for it.
    """
    padding = taken = 0
    rest = b""
    with Inflater() as inflater:
        reader = _Reader(inflater, index, where)
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
    if reader.within:
        raise InvalidImage("the gzip stream ends too early", where=where)
    refuse_behind(Codec.GZIP, rest, where)
    if padding:
        padded(padding)


class _Reader:
    """Reads members and takes down their blocks."""

    def __init__(self, inflater: Inflater, index: BlockIndex, where: str) -> None:
        self._inflater = inflater
        self._index = index
        self._where = where
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
            try:
                at = inflater.step()
            except ValueError as error:
                raise InvalidImage(f"damaged gzip stream: {error}", where=self._where) from error
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
