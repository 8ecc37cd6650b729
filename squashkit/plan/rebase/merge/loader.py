"""The loader's cache of libraries, `/etc/ld.so.cache`: read, merged by its entries, written.

Its form is glibc's (sysdeps/generic/dl-cache.h, "glibc-ld.so.cache1.1"): a header, entries of 24 bytes
sorted as ldconfig sorts them (elf/cache.c, elf/dl-cache.c), strings, and an extension that says who wrote
it and which subfolders of glibc-hwcaps entries are for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from functools import cmp_to_key
from itertools import zip_longest
from typing import NamedTuple

from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.keyed import merge_keyed
from squashkit.plan.rebase.merge.sides import Sides
from squashkit.plan.rebase.model import Kind

CACHE = b"etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = struct.Struct("<20sIIB3xI12x"), struct.Struct("<iIIIQ")
_LITTLE = 2
"""The header's flag of little-endian caches; old ones have none."""
_EXTENSION, _SECTION = struct.Struct("<II"), struct.Struct("<IIII")
_EXTENSION_MAGIC = 0xEAA42174
_GENERATOR, _HWCAPS = 0, 1
_LONGEST = 4096
"""Bytes of a path (PATH_MAX)."""
_HAS_SUBFOLDER = 1 << 62
"""In an entry's hwcap: its low half is an index of the subfolders."""


class _Entry(NamedTuple):
    """A library by its soname, and where it is."""

    soname: bytes
    flags: int
    subfolder: bytes
    """Of glibc-hwcaps; empty for a library of all processors."""
    hwcap: int
    osversion: int
    path: bytes


class _Cache(NamedTuple):
    entries: tuple[_Entry, ...]
    generator: bytes
    flags: int


def merge_loader_cache(sides: Sides, changes: Changes) -> None:
    """Put the cache together where a layer above has one of its own: as if ldconfig had run at the end."""
    if not sides.is_above(CACHE):
        return
    texts = [tree.text(CACHE) for tree in (sides.old, sides.app, sides.new)]
    caches = [parse_cache(text) for text in texts if text is not None]
    if len(caches) != len(texts):
        return
    old, app, new = caches
    if old is None or app is None or new is None:
        return  # of another form: its risk is told
    was, ours, theirs = (dict.fromkeys(cache.entries, True) for cache in (old, app, new))
    merged = merge_keyed(was, ours, theirs)
    # One library in several folders stands in the order in which these are searched.
    places = {entry: place for place, entry in enumerate(app.entries)}
    ordered = sorted(merged, key=lambda entry: places.get(entry, len(places)))
    there = [entry for entry in ordered if changes.leads(entry.path.strip(b"/"))]
    changes.put(CACHE, write_cache(there, new.generator, new.flags), Kind.CACHES)


def parse_cache(data: bytes) -> _Cache | None:
    """None for a cache of another form, or one that is not whole."""
    try:
        magic, count, _, flags, extension = _HEADER.unpack_from(data)
        if magic != _MAGIC or flags & 3 not in (0, _LITTLE):
            return None
        generator, folders = _parse_extension(data, extension)
        entries = []
        for at in range(count):
            entry_flags, key, value, osversion, hwcap = _ENTRY.unpack_from(
                data, _HEADER.size + at * _ENTRY.size
            )
            subfolder = folders[hwcap & 0xFFFFFFFF] if hwcap & _HAS_SUBFOLDER else b""
            names = _string(data, key), _string(data, value)
            entries.append(
                _Entry(names[0], entry_flags, subfolder, hwcap * (not subfolder), osversion, names[1])
            )
    except (struct.error, IndexError, ValueError):
        return None
    return _Cache(tuple(entries), generator, flags)


def _parse_extension(data: bytes, at: int) -> tuple[bytes, list[bytes]]:
    """Who wrote it, and the subfolders. Raises ValueError for a part that is not known."""
    generator, folders = b"", list[bytes]()
    if not at:
        return generator, folders
    magic, count = _EXTENSION.unpack_from(data, at)
    if magic != _EXTENSION_MAGIC:
        raise ValueError
    for number in range(count):
        tag, _, start, size = _SECTION.unpack_from(data, at + _EXTENSION.size + number * _SECTION.size)
        if tag == _GENERATOR:
            generator = data[start : start + size]
        elif tag == _HWCAPS:
            folders = [
                _string(data, one) for (one,) in struct.iter_unpack("<I", data[start : start + size])
            ]
        else:
            raise ValueError
    return generator, folders


def _string(data: bytes, at: int) -> bytes:
    """Raises ValueError for one that is longer than any path."""
    return data[at : data.index(b"\0", at, at + _LONGEST)]


def write_cache(entries: Iterable[_Entry], generator: bytes, flags: int) -> bytes:
    """A cache of these entries, as ldconfig sorts them."""
    ordered = sorted(entries, key=cmp_to_key(_compare))
    folders = sorted({entry.subfolder for entry in ordered if entry.subfolder})
    texts = {text for entry in ordered for text in (entry.soname, entry.path)} | {*folders}
    places, strings = _table(texts, _HEADER.size + len(ordered) * _ENTRY.size)
    rows = [
        _ENTRY.pack(
            one.flags,
            places[one.soname],
            places[one.path],
            one.osversion,
            _HAS_SUBFOLDER | folders.index(one.subfolder) if one.subfolder else one.hwcap,
        )
        for one in ordered
    ]
    numbers = [places[folder] for folder in folders]
    body = b"".join(rows) + strings
    end = _HEADER.size + len(body)
    padding = bytes(-end % 4)
    sections = [(_GENERATOR, generator)] * bool(generator)
    sections += [(_HWCAPS, struct.pack(f"<{len(numbers)}I", *numbers))] * bool(numbers)
    extension = end + len(padding) if sections else 0
    header = _HEADER.pack(_MAGIC, len(ordered), len(strings), flags, extension)
    return header + body + (padding + _extension(sections, extension) if sections else b"")


def _table(texts: Iterable[bytes], start: int) -> tuple[dict[bytes, int], bytes]:
    """Where each text stands, and all of them: one that another ends with stands in that one
    (elf/stringtable.c)."""
    places: dict[bytes, int] = {}
    strings = bytearray()
    last = b""
    # By their last bytes; of two that end alike the longer one first.
    for text in sorted(texts, key=lambda text: text[::-1], reverse=True):
        if last and last.endswith(text):
            places[text] = places[last] + len(last) - len(text)
        else:
            places[text] = start + len(strings)
            strings += text + b"\0"
        last = text
    return places, bytes(strings)


def _extension(sections: list[tuple[int, bytes]], at: int) -> bytes:
    at += _EXTENSION.size + len(sections) * _SECTION.size
    head, tail = _EXTENSION.pack(_EXTENSION_MAGIC, len(sections)), b""
    starts = {}
    for tag, data in sorted(sections, reverse=True):  # numbers first: they are aligned
        starts[tag] = at + len(tail)
        tail += data
    for tag, data in sections:
        head += _SECTION.pack(tag, 0, starts[tag], len(data))
    return head + tail


def _compare(one: _Entry, other: _Entry) -> int:
    """In what order ldconfig has two entries: the later soname first."""
    if order := _compare_names(other.soname, one.soname):
        return order
    if one.flags != other.flags:
        return 1 if one.flags < other.flags else -1
    if bool(one.subfolder) != bool(other.subfolder):
        return -1 if one.subfolder else 1
    if one.subfolder != other.subfolder:
        return -1 if one.subfolder < other.subfolder else 1
    return (other.hwcap > one.hwcap) - (other.hwcap < one.hwcap)


_PARTS = re.compile(rb"\d+|\D")


def _compare_names(one: bytes, other: bytes) -> int:
    """Runs of digits count as numbers, and come after all else."""
    for ours, theirs in zip_longest(_PARTS.findall(one), _PARTS.findall(other), fillvalue=b""):
        if ours.isdigit() != theirs.isdigit():
            return 1 if ours.isdigit() else -1
        if ours.isdigit():
            number, other_number = (part.lstrip(b"0") for part in (ours, theirs))
            if number != other_number:
                return 1 if (len(number), number) > (len(other_number), other_number) else -1
        if not ours.isdigit() and ours != theirs:
            return 1 if ours > theirs else -1
    return 0
