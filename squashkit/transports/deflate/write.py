"""One gzip member of copied deflate blocks and of new ones between them.

A block that is copied begins at the same bit of its byte as in its source: before it stand empty blocks, as
many as that takes. So nothing needs to be shifted, and stored blocks keep their padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from squashkit.layers.pieces import Copy
from squashkit.transports.codecs import CHUNK, GZIP_HEADER, WINDOW, deflate
from squashkit.transports.deflate.index import Run
from squashkit.transports.deflate.splice import Part

Read = Callable[[int, int, int], bytes]
"""Bytes of a source layer, by its number, from a place to another: all of them."""

_END = b"\x03\x00"
"""An empty final block with fixed codes (RFC 1951, 3.2.6)."""
_EMPTY_STORED = b"\x00\x00\xff\xff"
"""The sizes of an empty stored block (RFC 1951, 3.2.4), which stand at the start of a byte."""


def write(
    parts: Iterable[Part], plain: Read, stored: Read, level: int, jobs: int
) -> Generator[bytes, None, None]:
    """A gzip stream, in pieces of about 1 MiB at most. The same sources and parts give the same bytes, with
    any number of jobs.

    `plain` reads what source layers give, for what is between runs and the 32 KiB before it; `stored` reads
    them as they are. Both are called by whoever asks for the next piece.
    """
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        writer = _Writer(pool, plain, stored, level, 2 * max(1, jobs))
        yield GZIP_HEADER
        for part in parts:
            if isinstance(part, Run):
                yield from writer.copy(part)
            elif isinstance(part, Copy):
                for at in range(part.start, part.end, CHUNK):
                    yield from writer.add(plain(part.layer, at, min(at + CHUNK, part.end)))
            else:
                yield from writer.add(part)
        yield from writer.close()


class _Writer:
    """Puts runs and newly deflated chunks in order. Its methods give what is ready by then."""

    def __init__(self, pool: ThreadPoolExecutor, plain: Read, stored: Read, level: int, limit: int) -> None:
        self._pool = pool
        self._plain = plain
        self._stored = stored
        self._level = level
        self._limit = limit
        self._pending: deque[Future[bytes] | Run] = deque()
        self._buffer = bytearray()
        self._dictionary = b""
        self._checksum = 0
        self._size = 0

    def add(self, data: bytes) -> Iterator[bytes]:
        """Plain bytes that are deflated anew."""
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            self._submit(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]
            yield from self._drain(self._limit)

    def copy(self, run: Run) -> Iterator[bytes]:
        """Blocks that are copied."""
        from zlib_ng import zlib_ng

        self._finish_seam()
        self._checksum = zlib_ng.crc32_combine(self._checksum, run.checksum, run.end - run.start)
        self._size += run.end - run.start
        tail = self._plain(run.layer, max(run.start, run.end - WINDOW), run.end)
        self._dictionary = (self._dictionary + tail)[-WINDOW:]
        self._pending.append(run)
        yield from self._drain(self._limit)

    def close(self) -> Iterator[bytes]:
        self._finish_seam()
        yield from self._drain(0)
        size = self._size & 0xFFFFFFFF
        yield _END + self._checksum.to_bytes(4, "little") + size.to_bytes(4, "little")

    def _finish_seam(self) -> None:
        if self._buffer:
            self._submit(bytes(self._buffer))
            self._buffer.clear()

    def _submit(self, chunk: bytes) -> None:
        from zlib_ng import zlib_ng

        self._checksum = zlib_ng.crc32(chunk, self._checksum)
        self._size += len(chunk)
        self._pending.append(self._pool.submit(deflate, chunk, self._dictionary, self._level, False))
        self._dictionary = (self._dictionary + chunk)[-WINDOW:]

    def _drain(self, limit: int) -> Iterator[bytes]:
        """What is done, and all but so many in any case."""
        while self._pending:
            part = self._pending[0]
            if isinstance(part, Run):
                yield from _copy(part, self._stored)
            elif len(self._pending) > limit or part.done():
                yield part.result()
            else:
                return
            self._pending.popleft()


def _copy(run: Run, stored: Read) -> Iterator[bytes]:
    """Blocks as they are, behind empty blocks and before one, so that all begins and ends with whole bytes.
    None of them ends the stream."""
    shift, used = run.first_bit & 7, run.end_bit & 7
    at, end = run.first_bit >> 3, (run.end_bit + 7) >> 3
    padding, bits = _PADDING[shift]
    while at < end:
        block = stored(run.layer, at, min(at + CHUNK, end))
        if run.final_bit is not None and at <= run.final_bit >> 3 < at + len(block):
            block = _without_bit(block, run.final_bit - at * 8)  # BFINAL (RFC 1951, 3.2.3)
        at += len(block)
        if at == end and used:
            # An empty stored block: three zero bits, and zero bits to the end of their byte.
            last = block[-1] & ((1 << used) - 1)
            block = block[:-1] + bytes((last,) if used <= 5 else (last, 0)) + _EMPTY_STORED
        if bits:
            first = padding | block[0] >> shift << bits
            yield first.to_bytes((bits - shift) // 8 + 1, "little")
            block = block[1:]
            bits = 0
        yield block


def _without_bit(block: bytes, bit: int) -> bytes:
    """A block with one bit 0, counted from the low ones of its first byte."""
    changed = bytearray(block)
    changed[bit >> 3] &= ~(1 << (bit & 7))
    return bytes(changed)


def _bits(*values: tuple[int, int]) -> tuple[int, int]:
    """Values of so many bits each, the first in the lowest; and how many bits they are in all."""
    together = size = 0
    for value, bits in values:
        together |= value << size
        size += bits
    return together, size


def _paddings() -> dict[int, tuple[int, int]]:
    """For each bit of a byte, empty blocks that end before it, and how many bits they are.

    One with fixed codes has ten bits (RFC 1951, 3.2.6). One with dynamic codes can have an odd number of
    them (3.2.7). All its codes are complete, as the strictest decoders want them: the bytes 0 and the end
    of the block have one bit each, so have two distances.
    """
    fixed = ((0, 1), (1, 2), (0, 7))
    zero, one, repeat = (0, 1), (0b01, 2), (0b11, 2)
    """Codes of the lengths 0 and 1 and of a repetition of 0, the high bit first."""
    lengths = {18: 2, 0: 1, 1: 2}
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    dynamic = (
        *((0, 1), (2, 2), (0, 5), (1, 5), (len(order) - 4, 4)),
        *((lengths.get(symbol, 0), 3) for symbol in order),
        *(one, repeat, (138 - 11, 7), repeat, (116 - 11, 7), zero, one),  # literals and the end: 257
        *(one, one),  # distances: 2
        (1, 1),  # the end of the block
    )
    found = {0: (0, 0)}
    for before in ((), dynamic):
        for count in range(4):
            together, size = _bits(*before, *fixed * count)
            found.setdefault(size % 8, (together, size))
    return found


_PADDING = _paddings()
