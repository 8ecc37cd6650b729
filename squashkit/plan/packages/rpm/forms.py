"""rpm's database: headers of packages, in SQLite or in a hash of Berkeley DB (rpm's lib/header.c and
lib/backend/; Berkeley DB's dbinc/db_page.h). The third form, ndb, is not read."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from squashkit.plan.packages.rpm.header import KEY, RpmPackage, read_header
from squashkit.plan.packages.rpm.sqlite import MAGIC, opened

_HASH_MAGIC = 0x00061561
_HASH_PAGES, _OVERFLOW = (2, 13), 7
_PAGE_HEADER = 26
_COUNTER = 5
"""Bytes of the item that counts instances, which is no header."""
_OFF_PAGE = 3
"""The type of an item whose bytes are on pages of their own."""


def rpm_packages(data: bytes) -> dict[bytes, RpmPackage] | None:
    """The packages of a database by name, of several versions of one the last; None for a form that is not
    read, or a file that is not whole."""
    try:
        blobs = _sqlite_blobs(data) if data.startswith(MAGIC) else list(_hash_blobs(data))
        found = map(read_header, blobs)
        return {one.name: one for one in found if one is not None and one.name != KEY}
    except (struct.error, ValueError, IndexError):
        return None


def _sqlite_blobs(data: bytes) -> list[bytes]:
    """Raises ValueError for what SQLite cannot read."""
    with opened(data) as connection:
        rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum")
        return [bytes(row[0]) for row in rows]


def _hash_blobs(data: bytes) -> Iterator[bytes]:
    """The values of a hash, in the order of its pages. Raises ValueError for a file of another form."""
    for order in "<>":
        magic, _, size = struct.unpack_from(f"{order}III", data, 12)
        if magic == _HASH_MAGIC:
            break
    else:
        raise ValueError
    if not 512 <= size <= 65536 or size & (size - 1):
        raise ValueError
    for start in range(size, len(data) - size + 1, size):
        count, kind = struct.unpack_from(f"{order}H", data, start + 20)[0], data[start + 25]
        if kind not in _HASH_PAGES:
            continue
        offsets = struct.unpack_from(f"{order}{count}H", data, start + _PAGE_HEADER)
        for before, offset in zip(offsets[::2], offsets[1::2], strict=False):  # a key, and its value
            at = start + offset
            if data[at] == _OFF_PAGE:
                page, length = struct.unpack_from(f"{order}II", data, at + 4)
                yield _overflow(data, order, size, page, length)
            elif before - offset > _COUNTER:  # items fill a page from its end
                yield data[at + 1 : start + before]


def _overflow(data: bytes, order: str, size: int, page: int, length: int) -> bytes:
    """What lies on a chain of pages."""
    parts: list[bytes] = []
    have = 0
    while page and have < length:
        start = page * size
        (following,) = struct.unpack_from(f"{order}I", data, start + 16)
        (used,) = struct.unpack_from(f"{order}H", data, start + 22)
        if data[start + 25] != _OVERFLOW or not used:
            raise ValueError
        parts.append(data[start + _PAGE_HEADER : start + _PAGE_HEADER + used])
        have += used
        page = following
    return b"".join(parts)[:length]
