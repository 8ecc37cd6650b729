"""The maps of sparse files, in the two forms that stand in blocks of their own; those of pax records are
read in pax.py."""

from __future__ import annotations

from typing import NamedTuple

from squashkit.errors import InvalidLayer
from squashkit.layers.blocks import BLOCK, Window, gather_bytes, number
from squashkit.layers.pax import MAX_EXTENSION, Extents, checked_integer


class Sparse(NamedTuple):
    """Where the content of a sparse file lies. What no extent covers is zeros."""

    at: int
    """Where in the tar the extents' bytes begin, one after another."""
    extents: tuple[tuple[int, int], ...]
    """(offset in the file, length), in order and within the file; the lengths add up to what is stored."""
    realsize: int
    """The size of the whole file."""


def sparse_map_1(
    window: Window, buffer: memoryview, base: int, data: int, size: int, path: bytes
) -> tuple[Extents, int, memoryview, int]:
    """The map of format 1.0, whole blocks of lines before the data: the extents, where the data follows,
    and the last window (`readGNUSparseMap1x0`)."""
    blocks: list[bytes] = []
    lines = stop = 0
    wanted = 1
    count: int | None = None
    while lines < wanted:
        if stop + BLOCK > min(size, MAX_EXTENSION):
            raise InvalidLayer("a sparse map that does not end", path=path)
        block, buffer, base = gather_bytes(window, buffer, base, data + stop, data + stop + BLOCK)
        if len(block) < BLOCK:
            raise InvalidLayer("the tar ends inside a sparse map", path=path)
        blocks.append(block)
        lines += block.count(b"\n")
        stop += BLOCK
        if lines and count is None:
            first = b"".join(blocks).split(b"\n", 1)[0]
            count = checked_integer(first, "a sparse map's count", path)
            if count < 0:
                raise InvalidLayer("a sparse map's count is negative", path=path)
            wanted += 2 * count
    tokens = b"".join(blocks).split(b"\n", wanted)[1:wanted]
    numbers = [checked_integer(token, "a sparse map's number", path) for token in tokens]
    return list(zip(numbers[::2], numbers[1::2], strict=True)), data + stop, buffer, base


def old_sparse_map(
    window: Window, buffer: memoryview, base: int, table: bytes, data: int, path: bytes
) -> tuple[Extents, int, memoryview, int]:
    """The map of the old GNU format, in the header and in blocks behind it: as `sparse_map_1`
    (`readOldGNUSparseMap`)."""
    extents: Extents = []
    first = data
    while True:
        entries = len(table) // 24
        for at in range(0, 24 * entries, 24):
            if not table[at]:
                break
            offset = number(table[at : at + 12], "a sparse map's offset", path)
            extents.append((offset, number(table[at + 12 : at + 24], "a sparse map's length", path)))
        if not table[24 * entries]:
            return extents, data, buffer, base
        if data - first >= MAX_EXTENSION:
            raise InvalidLayer("a sparse map that does not end", path=path)
        table, buffer, base = gather_bytes(window, buffer, base, data, data + BLOCK)
        if len(table) < BLOCK:
            raise InvalidLayer("the tar ends inside a sparse map", path=path)
        data += BLOCK


def checked_sparse(at: int, extents: Extents, realsize: int, stored: int, path: bytes) -> Sparse:
    """Raises InvalidLayer where extents overlap, lead out of the file, or are not as long as what is stored
    (`validateSparseEntries`, `sparseFileReader`)."""
    done = total = 0
    for offset, length in extents:
        if offset < done or length < 0:
            raise InvalidLayer("a sparse map out of order", path=path)
        done = offset + length
        total += length
    if done > realsize or realsize < 0:
        raise InvalidLayer("a sparse map that leads out of its file", path=path)
    if total != stored:
        raise InvalidLayer(f"a sparse map of {total} bytes for {stored} that are stored", path=path)
    return Sparse(at, tuple(extents), realsize)
