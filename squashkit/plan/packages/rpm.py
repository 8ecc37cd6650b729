"""rpm's database: headers of packages, in SQLite or in a hash of Berkeley DB (rpm's lib/header.c and
lib/backend/; Berkeley DB's dbinc/db_page.h). The third form, ndb, is not read."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

SQLITE = b"SQLite format 3\0"
_HASH_MAGIC = 0x00061561
_HASH_PAGES, _OVERFLOW = (2, 13), 7
_PAGE_HEADER = 26
_COUNTER = 5
"""Bytes of the item that counts instances, which is no header."""
_OFF_PAGE = 3
"""The type of an item whose bytes are on pages of their own."""
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118
_INT32, _STRINGS = 4, (6, 8, 9)
_MOST_ENTRIES = 1 << 16
_RUN = re.compile(rb"\d+|[a-zA-Z]+|~|\^")


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """What a header says."""

    name: bytes
    version: bytes
    """`EPOCH:VERSION-RELEASE`, without an epoch of 0."""
    files: tuple[bytes, ...]
    """Paths without a slash at the start."""


def rpm_packages(data: bytes) -> dict[bytes, RpmPackage] | None:
    """The packages of a database by name, of several versions of one the last; None for a form that is not
    read, or a file that is not whole."""
    try:
        blobs = _sqlite_blobs(data) if data.startswith(SQLITE) else list(_hash_blobs(data))
        found = map(_package, blobs)
        return {one.name: one for one in found if one is not None and one.name != b"gpg-pubkey"}
    except (struct.error, ValueError, IndexError):
        return None


def _sqlite_blobs(data: bytes) -> list[bytes]:
    """Raises ValueError for what SQLite cannot read."""
    import sqlite3  # few images have such a database

    # A write-ahead log that is empty is none: in memory there is no place for one.
    plain = data[:18] + b"\x01\x01" + data[20:]
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(plain)
        rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum").fetchall()
    except sqlite3.Error as error:
        raise ValueError(str(error)) from error
    finally:
        connection.close()
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


def _package(blob: bytes) -> RpmPackage | None:
    """What a header says; None where it has no name."""
    entries, size = struct.unpack_from(">II", blob)
    if entries > _MOST_ENTRIES or 8 + entries * 16 + size > len(blob):
        raise ValueError
    store = 8 + entries * 16
    found: dict[int, list[bytes]] = {}
    numbers: dict[int, tuple[int, ...]] = {}
    for at in range(8, store, 16):
        tag, kind, offset, count = struct.unpack_from(">IIII", blob, at)
        if kind == _INT32 and tag in (_EPOCH, _DIR_INDEXES):
            numbers[tag] = struct.unpack_from(f">{count}I", blob, store + offset)
        elif kind in _STRINGS and tag in (_NAME, _VERSION, _RELEASE, _BASE_NAMES, _DIR_NAMES):
            found[tag] = blob[store + offset : store + size].split(b"\0", count)[:count]
    if _NAME not in found:
        return None
    name, version, release = (found.get(tag, [b""])[0] for tag in (_NAME, _VERSION, _RELEASE))
    epoch = numbers.get(_EPOCH, (0,))[0]
    folders = found.get(_DIR_NAMES, [])
    files = tuple(
        (folders[number] + base).strip(b"/")
        for number, base in zip(numbers.get(_DIR_INDEXES, ()), found.get(_BASE_NAMES, ()), strict=False)
    )
    return RpmPackage(name, b"%d:" % epoch * bool(epoch) + version + b"-" + release, files)


def is_later_rpm(version: bytes, other: bytes) -> bool:
    """Whether a version is later than another one (rpm's rpmio/rpmvercmp.c)."""
    return _key(version) > _key(other)


def _key(version: bytes) -> tuple[object, ...]:
    epoch, colon, rest = version.partition(b":")
    upstream, _, release = (rest if colon else version).partition(b"-")
    number = int(epoch) if colon and epoch.isdigit() and len(epoch) < 11 else 0
    return number, _ranks(upstream), _ranks(release)


def _ranks(text: bytes) -> list[tuple[int, int, bytes]]:
    """Runs of digits and of letters: a tilde before the end, a caret behind it, letters, then numbers."""
    ranks = []
    for run in _RUN.findall(text):
        if run == b"~":
            ranks.append((0, 0, b""))
        elif run == b"^":
            ranks.append((2, 0, b""))
        elif run.isdigit():
            bare = run.lstrip(b"0")
            ranks.append((4, len(bare), bare))
        else:
            ranks.append((3, 0, run))
    return [*ranks, (1, 0, b"")]
