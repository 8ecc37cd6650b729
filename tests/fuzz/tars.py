"""Changing tars as a fuzzer does, with header checksums that are right again afterwards.

A fuzzer that turns bytes of a tar learns nothing but that checksums are tested. This one knows where
headers lie, what their fields are and what odd writers put there.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.builders import BLOCK, END_OF_ARCHIVE

SEPARATOR = b"\0=layer=\0"
"""Between the layers of a stack that is one input."""

Change = Callable[[bytes, int], bytes]
"""What Atheris does to plain bytes, up to a length."""

_FIELDS = [
    (0, 100, "name"), (100, 8, "number"), (108, 8, "number"), (116, 8, "number"), (124, 12, "number"),
    (136, 12, "number"), (156, 1, "type"), (156, 1, "type"), (157, 100, "name"), (257, 8, "magic"),
    (265, 32, "name"), (297, 32, "name"), (329, 8, "number"), (337, 8, "number"), (345, 155, "name"),
    (345, 12, "number"), (357, 12, "number"), (386, 12, "number"), (398, 12, "number"), (482, 1, "flag"),
    (483, 12, "number"), (508, 4, "trailer"),
]  # fmt: skip
_NAMES = [
    b"", b"/", b".", b"./", b"..", b"a", b"a/", b"b", b"d", b"d/", b"d/a", b"d/b", b"./d/a", b"/d/a",
    b"d//a",
    b"d/./a", b"d/../a", b"../a", b"l", b"l/a", b"d/l/a", b".wh.a", b".wh.d", b"d/.wh.a", b"d/.wh.b",
    b".wh.",
    b".wh..", b".wh...", b".wh..wh..opq", b"d/.wh..wh..opq", b".wh..wh.aufs", b".wh..wh.plnk/1",
    b".wh..wh.orph", b"a.wh.b", b"\xff\xfe", b"d/\xc3\xa4", b"\x1b[31m", b"n" * 100, b"n" * 255, b"n" * 256,
    b"m/" * 60 + b"a", b"GNUSparseFile.0/a",
]  # fmt: skip
_NUMBERS = [
    0, 1, 2, 7, 511, 512, 513, 1024, 0o644, 0o755, 0o4755, 0o7777777, 1 << 21, 1 << 31, (1 << 32) - 1,
    1 << 33,
    (1 << 63) - 1, 1 << 63, 1 << 64,
]  # fmt: skip
_TYPES = b"\x000123456" * 3 + b"7SxgLKVMDNXA "
_MAGICS = [b"ustar\x0000", b"ustar  \0", b"\0" * 8, b"ustar\0\0\0", b"ustar 00", b"USTAR\x0000"]
_KEYS = [
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"ctime", b"uname", b"gname", b"",
    b"comment", b"hdrcharset", b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name",
    b"GNU.sparse.realsize", b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.numblocks",
    b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"SCHILY.xattr.user.k",
    b"SCHILY.xattr.user.overlay.opaque",
    b"SCHILY.xattr.trusted.overlay.origin", b"SCHILY.xattr.", b"SCHILY.xattr.security.capability",
    b"LIBARCHIVE.xattr.user.k", b"SCHILY.dev", b"MSWINDOWS.rawsd", b"Path", b"path\0", b"SCHILY.realsize",
]  # fmt: skip
_VALUES = [
    b"", b"0", b"1", b"-1", b"+1", b"007", b"1.5", b"-1.25", b"1.", b".5", b"1.5e3", b"0x10", b" 1", b"1 ",
    b"1_0", b"\xd9\xa1", b"9" * 19, b"9" * 5000, b"0,1", b"0,1,512,1", b"1,0", b"BINARY", b"a=b\nc", b"\0",
    b"4294967296", b"9223372036854775807", b"9223372036854775808", b"0.123456789123",
]  # fmt: skip


def mutate_stack(data: bytes, rng: Random, change: Change, limit: int) -> bytes:
    """Layers with one to four changes, most of them to one header of one layer."""
    layers = data.split(SEPARATOR)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(layers))
        kind = rng.randrange(24)
        if kind == 0 and len(layers) < 5:
            layers.insert(at, layers[rng.randrange(len(layers))])
        elif kind == 1 and len(layers) > 1:
            del layers[at]
        elif kind == 2:
            layers[at] = change(layers[at], max(1, limit // len(layers)))
        else:
            layers[at] = mutate(layers[at], rng, change)
    stack = SEPARATOR.join(layers)
    return stack if len(stack) <= limit else data


def mutate(data: bytes, rng: Random, change: Change) -> bytes:
    """A tar with one change, and right checksums (but once in thirty times)."""
    records = split(data)
    kind = rng.randrange(16)
    at = rng.randrange(len(records)) if records else 0
    if kind == 0 or not records:
        records.insert(at, member(rng))
    elif kind == 1 and len(records) > 1:
        del records[at]
    elif kind == 2:
        records.insert(rng.randrange(len(records) + 1), records[at])
    elif kind == 3:
        other = rng.randrange(len(records))
        records[at], records[other] = records[other], records[at]
    elif kind == 4:
        records.insert(at, pax(rng, global_=rng.randrange(6) == 0))
    elif kind == 5:
        records.insert(at, long_name(rng))
    elif kind == 6:
        records[at] = change(records[at], len(records[at]) + 64)
    elif kind == 7:
        end = b"".join(records)
        return (
            end[: rng.randrange(len(end) + 1)]
            if rng.randrange(2)
            else end + rng.randbytes(rng.randrange(1500))
        )
    else:
        records[at] = _set_field(records[at], rng)
    if rng.randrange(30):
        records = [sealed(record) for record in records]
    ending = (END_OF_ARCHIVE, END_OF_ARCHIVE, b"", bytes(BLOCK))[rng.randrange(4)]
    return b"".join(records) + ending


def split(data: bytes) -> list[bytes]:
    """Headers, each with its data, as far as their sizes are plain octal numbers; no more than 64."""
    records: list[bytes] = []
    at = 0
    while at < len(data) and len(records) < 64:
        header = data[at : at + BLOCK]
        if not header.strip(b"\0"):
            break
        digits = header[124:136].strip(b"\0 ")
        octal = digits.isdigit() and not set(digits) & set(b"89")
        size = min(int(digits, 8), len(data)) if octal else 0
        end = at + BLOCK + -size // BLOCK * -BLOCK
        records.append(data[at:end])
        at = end
    return records


def header(
    name: bytes, kind: bytes, size: int, linkname: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    """One header block without its checksum."""
    block = (
        name[:100].ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"%011o\0" % size
        + b"00000000000\0"
    )
    block += b" " * 8 + kind + linkname[:100].ljust(100, b"\0") + magic + bytes(64) + b"0000000\0" * 2
    return block.ljust(BLOCK, b"\0")


def member(rng: Random) -> bytes:
    """A record of any type under one of few names, so that records collide."""
    kind = bytes([rng.choice(_TYPES)])
    data = rng.choice([b"", b"x", b"y" * 600]) if kind in b"\x0007S" else b""
    return header(rng.choice(_NAMES), kind, len(data), rng.choice(_NAMES), rng.choice(_MAGICS)) + _padded(
        data
    )


def pax(rng: Random, *, global_: bool = False) -> bytes:
    """An extended header of one to four records, now and then with a wrong length."""
    payload = b""
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(_KEYS)
        value = rng.choice(_NAMES if key in (b"path", b"linkpath", b"GNU.sparse.name") else _VALUES)
        payload += record(key, value, wrong=rng.choice([0] * 15 + [1, -1, 1000]))
    return header(b"PaxHeaders/x", b"g" if global_ else b"x", len(payload)) + _padded(payload)


def record(key: bytes, value: bytes, wrong: int = 0) -> bytes:
    """A record with its length, or one that is `wrong` by some bytes."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % (length + wrong) + rest


def long_name(rng: Random) -> bytes:
    """A GNU long name or long link target."""
    name = rng.choice(_NAMES) + b"\0" * rng.randrange(2)
    return header(b"././@LongLink", rng.choice([b"L", b"K"]), len(name), magic=b"ustar  \0") + _padded(name)


def _set_field(record: bytes, rng: Random) -> bytes:
    start, size, kind = rng.choice(_FIELDS)
    field = record[start : start + size]
    if kind == "name":
        field = rng.choice(_NAMES)
    elif kind == "type":
        field = bytes([rng.choice(_TYPES)])
    elif kind == "magic":
        field = rng.choice(_MAGICS)
    elif kind == "flag":
        field = bytes([rng.randrange(3)])
    elif kind == "trailer":
        field = rng.choice([b"tar\0", bytes(4)])
    else:
        number = rng.choice(_NUMBERS)
        form = rng.randrange(8)
        if form == 0:
            field = (number | 1 << (8 * size - 1)).to_bytes(max(size, 9), "big")[-size:]
        elif form == 1:
            field = (-number % (1 << 8 * size)).to_bytes(size, "big")
        elif form == 2:
            field = rng.choice(
                [b"8", b"-1", b"", b" 7 ", b"\0" * 3 + b"7", b"7\0x", b"\x80", b"\xff" * 12, b"1_0"]
            )
        else:
            field = b"%0*o" % (size - 1, number) + rng.choice([b"\0", b" ", b""])
    return record[:start] + field[:size].ljust(size, b"\0") + record[start + size :]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def sealed(record: bytes) -> bytes:
    """A record whose first block has the right checksum."""
    if len(record) < BLOCK:
        return record
    total = sum(record[:148]) + sum(record[156:BLOCK]) + 8 * 0x20
    return record[:148] + b"%06o\0 " % total + record[156:]
