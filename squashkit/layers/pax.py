"""What stands before a tar's member and says more of it: pax records and GNU long names, as Go reads them.

Pure over bytes: archive/tar's `parsePAX`, `parsePAXRecord`, `mergePAX` and `readGNUSparsePAXHeaders`.
"""

from __future__ import annotations

import re

from squashkit.errors import InvalidLayer

SPARSE_NAME, SPARSE_MAP = b"GNU.sparse.name", b"GNU.sparse.map"
SPARSE_PREFIX = b"GNU.sparse."
XATTR_PREFIX = b"SCHILY.xattr."
MAX_EXTENSION = 1 << 20
"""Bytes of an extension header's payload, and of a sparse map: Go's limit for both (maxSpecialFileSize)."""
Pax = list[tuple[bytes, bytes]]
"""The records of a pax header in their order: (key, value). A key may repeat (GNU sparse 0.0)."""
Extents = list[tuple[int, int]]
"""What is stored of a sparse file: (offset in the file, length)."""
INT64 = 1 << 63
ODD_CHAIN = "several headers that name it, which readers do not understand alike"


class Chain:
    """The extension headers that stand before a member, as Go reads them: of several `x` headers the last
    stands alone, a GNU long name holds until the member comes."""

    __slots__ = ("blocks", "kinds", "linkname", "name", "pax", "start")

    def __init__(self) -> None:
        self.start = 0
        """Where the first of them begins."""
        self.kinds = b""
        self.blocks: list[bytes] = []
        self.pax: Pax = []
        self.name = b""
        self.linkname = b""

    def add(self, at: int, typeflag: bytes, block: bytes, payload: bytes, size: int, path: bytes) -> None:
        """Take in one header: its block and its padded payload. Raises InvalidLayer as `parse_pax`."""
        if not self.kinds:
            self.start = at
        self.kinds += typeflag
        self.blocks += block, payload
        if typeflag == b"x":
            self.pax = parse_pax(payload[:size], path)
        elif typeflag == b"L":
            self.name = payload[:size].split(b"\0", 1)[0]
        else:
            self.linkname = payload[:size].split(b"\0", 1)[0]

    @property
    def odd(self) -> str:
        return "" if self.kinds in (b"x", b"L", b"K", b"LK", b"KL") else ODD_CHAIN


_NO_NUL = frozenset({b"path", b"linkpath", b"uname", b"gname"})
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


def parse_pax(payload: bytes, path: bytes = b"") -> Pax:
    """The records of a pax extended header ("length key=value\\n", POSIX.1-2001), in order.

    Raises InvalidLayer for what Go's `parsePAXRecord` refuses, and where offsets and sizes of a GNU sparse
    0.0 map do not take turns.
    """
    records: Pax = []
    at = pairs = 0
    while at < len(payload):
        space = payload.find(b" ", at)
        digits = payload[at:space] if space >= 0 else b""
        length = int(digits) if len(digits) < 8 and digits.isdigit() else _integer(digits)
        if length is None:
            raise InvalidLayer("a pax record without a length", path=path)
        stop = at + length
        key, equals, value = payload[space + 1 : max(stop - 1, space + 1)].partition(b"=")
        fits = length >= 5 and space + 1 < stop <= len(payload) and payload[stop - 1 : stop] == b"\n"
        if not fits or not equals:
            raise InvalidLayer("a pax record with a wrong length", path=path)
        if not key or b"\0" in key:
            raise InvalidLayer("a pax record whose key is empty or holds a NUL", path=path)
        if key in _NO_NUL and b"\0" in value:
            raise InvalidLayer(f"a NUL in the pax record {key.decode()}", path=path)
        if key in _SPARSE_PAIR:
            if key != _SPARSE_PAIR[pairs % 2] or b"," in value:
                raise InvalidLayer("a GNU sparse map out of order", path=path)
            pairs += 1
        records.append((key, value))
        at = stop
    return records


def as_map(pax: Pax) -> dict[bytes, bytes]:
    """What records say when all are read: the last of each key; a GNU sparse 0.0 map in the form of 0.1
    (`parsePAX`)."""
    known = dict(pax)
    if _SPARSE_PAIR[0] in known:
        known = {key: value for key, value in pax if key not in _SPARSE_PAIR}
        known[SPARSE_MAP] = b",".join(value for key, value in pax if key in _SPARSE_PAIR)
    return known


def extended_fields(
    records: dict[bytes, bytes], path: bytes
) -> tuple[int | None, int | None, int | None, int | None, dict[bytes, bytes] | None, bool]:
    """What pax records say besides names (`mergePAX`): size, uid, gid and mtime, each None where they say
    nothing, xattrs, and whether there are records of sparse files. An empty value says nothing."""
    size = uid = gid = mtime = None
    xattrs: dict[bytes, bytes] = {}
    has_sparse = False
    for key, value in records.items():
        if key.startswith(XATTR_PREFIX):
            xattrs[key[len(XATTR_PREFIX) :]] = value
        elif key.startswith(SPARSE_PREFIX):
            has_sparse = True
        elif not value:
            continue
        elif key == b"mtime":
            mtime = _pax_time(value, "mtime", path)
        elif key in (b"atime", b"ctime"):  # must be one, though nobody applies it
            _pax_time(value, key.decode(), path)
        elif key == b"size":
            size = checked_integer(value, "pax size", path)
        elif key == b"uid":
            uid = checked_integer(value, "pax uid", path)
        elif key == b"gid":
            gid = checked_integer(value, "pax gid", path)
    return size, uid, gid, mtime, xattrs or None, has_sparse


_INTEGER = re.compile(rb"[+-]?0*([0-9]{1,19})")


def _integer(text: bytes) -> int | None:
    """A decimal number with or without a sign and leading zeros, None where it is none or does not fit into
    64 bits (Go's strconv.ParseInt)."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    value = -int(match[1]) if text.startswith(b"-") else int(match[1])
    return value if -INT64 <= value < INT64 else None


def checked_integer(value: bytes, what: str, path: bytes) -> int:
    number = _integer(value)
    if number is None:
        raise InvalidLayer(f"{what} is no number: {shown_value(value)}", path=path)
    return number


def _pax_time(value: bytes, what: str, path: bytes) -> int:
    """Decimal seconds to nanoseconds; further digits are cut, as Go does."""
    seconds, _, fraction = value.partition(b".")
    whole = _integer(seconds)
    if whole is None or (fraction and not fraction.isdigit()):
        raise InvalidLayer(f"pax {what} is no time: {shown_value(value)}", path=path)
    part = int(fraction[:9].ljust(9, b"0"))
    return whole * 1_000_000_000 + (-part if seconds.startswith(b"-") else part)


def shown_value(value: bytes) -> str:
    return f"'{value[:40].decode('utf-8', 'backslashreplace')}'"


def sparse_form(records: dict[bytes, bytes]) -> int | None:
    """1 for GNU's pax format 1.0, 0 for 0.0 and 0.1, None where records make no sparse file."""
    version = records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b"")
    if version in ((b"0", b"0"), (b"0", b"1")):
        return 0
    if version == (b"1", b"0"):
        return 1
    # 0.0 and 0.1 were written without a version too.
    return 0 if version == (b"", b"") and records.get(SPARSE_MAP) else None


def sparse_size(records: dict[bytes, bytes], size: int, path: bytes) -> int:
    """The size of the whole file."""
    value = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
    return checked_integer(value, "the size of a sparse file", path) if value else size


def sparse_map_0(records: dict[bytes, bytes], path: bytes) -> Extents:
    """The map of formats 0.0 and 0.1, which stands in the records (`readGNUSparseMap0x1`)."""
    count = checked_integer(records.get(b"GNU.sparse.numblocks", b""), "GNU.sparse.numblocks", path)
    text = records.get(SPARSE_MAP, b"")
    numbers = [checked_integer(n, "a sparse map's number", path) for n in text.split(b",")] if text else []
    if len(numbers) != 2 * count:
        raise InvalidLayer(f"a sparse map of {len(numbers)} numbers for {count} extents", path=path)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
