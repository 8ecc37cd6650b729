"""Tar headers byte by byte, right or wrong in any field: what no tool and no library would write.

A tar is a row of parts that are joined; nothing is closed, so the end is written as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)

USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
STAR = b"tar\0"
"""What ends a header of Schily's star, behind the magic of ustar."""

FIELDS = {
    "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12),
    "mtime": (136, 12), "checksum": (148, 8), "typeflag": (156, 1), "linkname": (157, 100),
    "magic": (257, 8), "uname": (265, 32), "gname": (297, 32), "devmajor": (329, 8),
    "devminor": (337, 8), "prefix": (345, 155), "star_prefix": (345, 131), "gnu_atime": (345, 12),
    "gnu_ctime": (357, 12), "sparse": (386, 96), "more": (482, 1), "realsize": (483, 12),
    "star_atime": (476, 12), "star_ctime": (488, 12), "trailer": (508, 4),
}  # fmt: skip
"""Where a field lies in a header block, and its width."""


def block(
    name: bytes = b"file",
    typeflag: bytes = b"0",
    *,
    size: int | bytes = 0,
    magic: bytes = USTAR,
    checksum: bytes | None = None,
    **fields: bytes,
) -> bytes:
    """A header block; `fields` stand in it as they are, filled with NULs.

    Without a `checksum` that field is right.
    """
    values = {
        "mode": b"0000644", "uid": b"0000000", "gid": b"0000000", "mtime": b"00000000000",
        "name": name, "typeflag": typeflag, "magic": magic,
        "size": octal(size, 12) if isinstance(size, int) else size,
    } | fields  # fmt: skip
    header = bytearray(BLOCK)
    for key, value in values.items():
        put(header, key, value)
    if checksum is None:
        return sealed(header)
    put(header, "checksum", checksum)
    return bytes(header)


def put(header: bytearray, field: str, value: bytes) -> None:
    """Write a field of a header, whose checksum stays as it is."""
    at, width = FIELDS[field]
    assert len(value) <= width, f"{field} holds {width} bytes"
    header[at : at + width] = value.ljust(width, b"\0")


def sums(header: bytes | bytearray) -> tuple[int, int]:
    """The sum of a header's bytes as they are, and as signed ones, which old systems wrote."""
    blank = bytes(header[:148]) + b" " * 8 + bytes(header[156:])
    return sum(blank), sum(blank) - 256 * sum(byte > 127 for byte in blank)


def sealed(header: bytes | bytearray, *, signed: bool = False) -> bytes:
    """The header with a right checksum."""
    total = sums(header)[signed]
    assert total >= 0, "no octal number is negative"
    return bytes(header[:148]) + b"%06o\0 " % total + bytes(header[156:])


def octal(value: int, width: int) -> bytes:
    """A number as most headers have it, in GNU's form where it has too many digits."""
    return b"%0*o\0" % (width - 1, value) if value < 8 ** (width - 1) else base256(value, width)


def base256(value: int, width: int) -> bytes:
    """A number as GNU has it where octal digits do not reach."""
    field = bytearray(value.to_bytes(width, "big", signed=True))
    field[0] |= 0x80
    return bytes(field)


def padded(payload: bytes) -> bytes:
    """A payload filled up to whole blocks."""
    return payload + bytes(-len(payload) % BLOCK)


def member(name: bytes = b"file", content: bytes = b"", **fields: bytes) -> bytes:
    """A header and its data."""
    return block(name, size=len(content), **fields) + padded(content)


def extension(typeflag: bytes, payload: bytes, name: bytes = b"extension", **fields: bytes) -> bytes:
    """A header that says more of the next one."""
    return block(name, typeflag, size=len(payload), **fields) + padded(payload)


def measured(body: bytes, sign: bytes = b"") -> bytes:
    """A pax record's body behind its length, before which stands a sign or zeros."""
    length = bare = len(sign) + 1 + len(body)
    while length != (longer := bare + len(str(length))):
        length = longer
    return b"%s%d %s" % (sign, length, body)


def record(key: bytes, value: bytes) -> bytes:
    """A pax record."""
    return measured(b"%s=%s\n" % (key, value))


def pax(*records: tuple[bytes, bytes], typeflag: bytes = b"x", **fields: bytes) -> bytes:
    """A pax header of these records, in their order; a key may stand in it more than once."""
    return extension(typeflag, b"".join(record(*pair) for pair in records), **fields)


def long_name(name: bytes) -> bytes:
    """GNU's header for a long name."""
    return extension(b"L", name + b"\0", b"././@LongLink", magic=GNU)


def long_link(target: bytes) -> bytes:
    """GNU's header for a long link target."""
    return extension(b"K", target + b"\0", b"././@LongLink", magic=GNU)


Piece = tuple[int, bytes]
"""Where data lies in a sparse file, and the data."""


def sparse_records(size: int, pieces: Iterable[Piece]) -> list[tuple[bytes, bytes]]:
    """The records of GNU's sparse format 0.0, in which keys repeat."""
    pieces = list(pieces)
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(pieces))]
    for offset, data in pieces:
        records.append((b"GNU.sparse.offset", b"%d" % offset))
        records.append((b"GNU.sparse.numbytes", b"%d" % len(data)))
    return records


def sparse_map(pieces: Iterable[Piece], separator: bytes = b",") -> bytes:
    """Offsets and lengths in one row."""
    return separator.join(b"%d%s%d" % (offset, separator, len(data)) for offset, data in pieces)


def sparse_gnu(name: bytes, size: int, pieces: Iterable[Piece], **fields: bytes) -> bytes:
    """A sparse file of GNU's old format: four pieces in its header, 21 in each block behind it."""
    pieces = list(pieces)
    content = b"".join(data for _, data in pieces)
    spans = [octal(offset, 12) + octal(len(data), 12) for offset, data in pieces]
    header = block(
        name, b"S", size=len(content), magic=GNU, sparse=b"".join(spans[:4]),
        more=bytes([len(spans) > 4]), realsize=octal(size, 12), **fields,
    )  # fmt: skip
    spans = spans[4:]
    while spans:
        some, spans = spans[:21], spans[21:]
        header += (b"".join(some).ljust(504, b"\0") + bytes([bool(spans)])).ljust(BLOCK, b"\0")
    return header + padded(content)


def sparse_1_0(name: bytes, size: int, pieces: Iterable[Piece]) -> bytes:
    """A sparse file of GNU's format 1.0, whose map stands before its data."""
    pieces = list(pieces)
    numbers = [len(pieces), *(n for offset, data in pieces for n in (offset, len(data)))]
    head = padded(b"".join(b"%d\n" % number for number in numbers))
    return pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ) + member(b"GNUSparseFile.0/sparse", head + b"".join(data for _, data in pieces))  # fmt: skip
