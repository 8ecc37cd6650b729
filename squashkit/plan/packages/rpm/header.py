"""The header of a package, as rpm's database keeps it: a table of tags, and their values (rpm's
docs/manual/format_header.md)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from squashkit.values import frozen

_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES, _FILE_FLAGS = 1116, 1117, 1118, 1037
_CONFIG = 1
"""The flag of a file of settings: rpm leaves one alone that need not change."""
_PROVIDES, _REQUIRES, _CONFLICTS = (1047, 1112, 1113), (1049, 1048, 1050), (1054, 1053, 1055)
"""Names, flags and versions."""
_TAGS = {_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES}
_TAGS |= {_FILE_FLAGS, *_PROVIDES, *_REQUIRES, *_CONFLICTS}
_INT32, _STRINGS = 4, (6, 8, 9)
_MOST_ENTRIES = 1 << 16
_MOST_TEXT = 1 << 26
"""Bytes of the paths of one package: few folders can stand before many names."""
KEY = b"gpg-pubkey"
"""The name of keys, which stand in the database as packages do."""


class Relation(NamedTuple):
    """What a package needs, gives or must not have beside it: a name, and maybe in which versions."""

    name: bytes
    flags: int
    version: bytes


@frozen
class RpmPackage:
    """What a header says."""

    name: bytes
    version: bytes
    """`EPOCH:VERSION-RELEASE`, without an epoch of 0."""
    architecture: bytes
    files: tuple[bytes, ...]
    """Paths without a slash at the start."""
    settings: tuple[bytes, ...]
    """Those of them that are configuration."""
    provides: tuple[Relation, ...]
    requires: tuple[Relation, ...]
    conflicts: tuple[Relation, ...]


def read_header(blob: bytes) -> RpmPackage | None:
    """What a header says; None where it has no name. Raises ValueError or struct.error for what is none."""
    entries, size = struct.unpack_from(">II", blob)
    if entries > _MOST_ENTRIES or 8 + entries * 16 + size > len(blob):
        raise ValueError
    store = 8 + entries * 16
    texts: dict[int, list[bytes]] = {}
    numbers: dict[int, tuple[int, ...]] = {}
    for at in range(8, store, 16):
        tag, kind, offset, count = struct.unpack_from(">IIII", blob, at)
        if tag not in _TAGS or tag in texts or tag in numbers:
            continue
        if kind == _INT32:
            numbers[tag] = struct.unpack_from(f">{count}I", blob, store + offset)
        elif kind in _STRINGS:
            texts[tag] = blob[store + offset : store + size].split(b"\0", count)[:count]
    if _NAME not in texts:
        return None

    def relations(names: int, flags: int, versions: int) -> tuple[Relation, ...]:
        columns = texts.get(names, ()), numbers.get(flags, ()), texts.get(versions, ())
        return tuple(map(Relation, *columns))

    name, version, release, architecture = (
        texts.get(tag, [b""])[0] for tag in (_NAME, _VERSION, _RELEASE, _ARCHITECTURE)
    )
    epoch = numbers.get(_EPOCH, (0,))[0]
    folders = texts.get(_DIR_NAMES, [])
    indexes, bases = numbers.get(_DIR_INDEXES, ()), texts.get(_BASE_NAMES, ())
    if (
        sum(len(folders[number]) + len(base) for number, base in zip(indexes, bases, strict=False))
        > _MOST_TEXT
    ):
        raise ValueError
    files = tuple(
        (folders[number] + base).strip(b"/") for number, base in zip(indexes, bases, strict=False)
    )
    return RpmPackage(
        name,
        b"%d:" % epoch * bool(epoch) + version + b"-" + release,
        architecture,
        files,
        tuple(
            path
            for path, flags in zip(files, numbers.get(_FILE_FLAGS, ()), strict=False)
            if flags & _CONFIG
        ),
        *(relations(*tags) for tags in (_PROVIDES, _REQUIRES, _CONFLICTS)),
    )
