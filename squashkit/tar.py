"""The one tar scanner: header blocks in, records with byte spans out; and the few headers written anew.

A layer is never unpacked. `scan` reads headers, jumps over data and says where everything lies, so that
a survivor can be copied as bytes. It understands ustar, pax, GNU (old sparse files too) and v7 headers,
and reads them as Go's archive/tar does, since every consumer of layers is built on that: a type that has
no data has none whatever its size field says, and a global pax header changes nothing.

`rewrite` changes chosen fields of an existing header and carries everything else over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from squashkit.errors import InvalidLayer

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6",
)  # fmt: skip

Window = Callable[[int], tuple[memoryview, int]]
"""Called with an offset that never decreases; returns (buffer, offset of the buffer's first byte).

The buffer holds at least 512 bytes from the offset on, fewer only where the stream ends. It is valid
until the next call.
"""


class Record(NamedTuple):
    """One member of a tar. A tuple, not a dataclass: a layer has 100,000 of them.

    Sizes and offsets are bytes of the uncompressed tar, `mtime` is nanoseconds since the epoch.
    """

    start: int
    """Where its first header block begins, extension headers included."""
    data: int
    """Where its payload begins."""
    size: int
    """Bytes of stored payload."""
    name: bytes
    """As written, after pax and GNU long names."""
    typeflag: bytes
    """`0` to `6`; the old, contiguous and GNU sparse forms of a file are `0`."""
    linkname: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    devmajor: int
    devminor: int
    xattrs: dict[bytes, bytes] | None
    """From SCHILY.xattr.* records, None where there are none."""
    realsize: int
    """The size of the file, which is not `size` where it is sparse."""
    header: bytes | None
    """The header blocks of a directory, so that an ancestor can be written without its layer's bytes."""

    @property
    def end(self) -> int:
        """Where the next record's first header block begins."""
        return self.data + ((self.size + 511) & ~511)

    @property
    def length(self) -> int:
        """Bytes that it takes in the tar, headers and padding included."""
        return self.end - self.start


_HEADER = struct.Struct("100s24s12s12s8sc100s6s66x16s155s8x4s")
_TYPES = {
    b"\0": REGULAR, b"0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": HARD_LINK, b"2": SYMLINK,
    b"3": CHARACTER, b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO,
}  # fmt: skip
_EXTENSIONS = b"xgLK"
_MAX_EXTENSION = 8 << 20  # 1 MiB is Go's own limit for pax records; a name or an xattr is far smaller


def scan(window: Window) -> Iterator[Record]:
    """Read a tar's records in order.

    The tar may end at any record boundary: with no end blocks, one, or junk behind them. Data is not
    read. Raises InvalidLayer for an end inside a header or inside data, a header whose checksum or
    number fields are wrong, and types that no consumer of layers knows.
    """
    owners: dict[bytes, tuple[int, int, int]] = {}
    devices: dict[bytes, tuple[int, int]] = {bytes(16): (0, 0)}
    times: dict[bytes, int] = {}
    unpack, types, expected, make = _HEADER.unpack_from, _TYPES, _adler_of, tuple.__new__
    buffer, base = window(0)
    at = data = size = 0  # offset of the header block to read; where the last payload lies
    name = b""
    start = 0  # offset of the record's first block
    extensions: list[bytes] = []
    pax: dict[bytes, bytes] = {}
    while True:
        i = at - base
        if i + BLOCK > len(buffer):
            buffer, base = window(at)
            i = at - base
            left = len(buffer) - i
            if left < BLOCK:
                if left > 0 and any(buffer[i:]):
                    raise InvalidLayer(f"the tar ends inside the header at byte {at}")
                if extensions:
                    raise InvalidLayer(f"the tar ends after an extension header at byte {at}")
                if left < 0 and base + len(buffer) < data + size:  # padding may be missing
                    raise InvalidLayer(f"the tar ends inside data, {-left} bytes short", path=name)
                return
        (
            name, owner, size_field, mtime_field, checksum, typeflag,
            linkname, magic, device, prefix, trailer,
        ) = unpack(buffer, i)  # fmt: skip
        if adler32(buffer[i : i + BLOCK]) & 0xFFFF != expected(checksum):
            if checksum == b"\0\0\0\0\0\0\0\0" and not any(buffer[i : i + BLOCK]):
                if extensions:
                    raise InvalidLayer(f"the tar ends after an extension header at byte {at}")
                behind, buffer, base = _gather(window, buffer, base, at + BLOCK, at + 2 * BLOCK)
                if len(behind) == BLOCK and any(behind):  # as Go's reader has it
                    raise InvalidLayer(f"a lone zero block before more at byte {at}")
                return
            _check(buffer[i : i + BLOCK], checksum, at)

        name = name.split(b"\0", 1)[0]
        digits = size_field[:11]
        if digits.isdigit() and size_field[11] in b"\0 " and b"8" not in digits and b"9" not in digits:
            size = int(digits, 8)
        else:
            size = _number(size_field, "size", name)
        data = at + BLOCK

        if typeflag in _EXTENSIONS:
            if size > _MAX_EXTENSION:
                raise InvalidLayer(f"an extension header of {size} bytes at byte {at}", path=name)
            if not extensions:
                start = at
            header = bytes(buffer[i : i + BLOCK])
            stop = data + ((size + 511) & ~511)
            payload, buffer, base = _gather(window, buffer, base, data, stop)
            if len(payload) < size:
                raise InvalidLayer(f"the tar ends inside an extension header at byte {at}")
            extensions.append(header)
            extensions.append(payload)
            if typeflag == b"x":
                pax.update(parse_pax(payload[:size], name))
            elif typeflag == b"L":
                pax[b"path"] = payload[:size].split(b"\0", 1)[0]
            elif typeflag == b"K":
                pax[b"linkpath"] = payload[:size].split(b"\0", 1)[0]
            else:  # a global header stands alone and is no part of the record that follows
                del extensions[-2:]
                if not extensions:
                    start = stop
            at = stop
            continue

        if prefix[0] and magic == b"ustar\0":
            if trailer == b"tar\0":  # star keeps times behind a shorter prefix
                prefix = prefix[:131]
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        linkname = linkname.split(b"\0", 1)[0] if linkname[0] else b""
        try:
            kind = types[typeflag]
        except KeyError:
            raise InvalidLayer(f"unknown type {typeflag!r}", path=pax.get(b"path", name)) from None
        try:
            mode, uid, gid = owners[owner]
        except KeyError:
            mode, uid, gid = owners[owner] = (
                _number(owner[:8], "mode", name),
                _number(owner[8:16], "uid", name),
                _number(owner[16:], "gid", name),
            )
        try:
            mtime = times[mtime_field]
        except KeyError:
            mtime = _number(mtime_field, "mtime", name, signed=True) * 1_000_000_000
            times[mtime_field] = mtime
        if kind in b"34":
            try:
                devmajor, devminor = devices[device]
            except KeyError:
                devmajor, devminor = devices[device] = (
                    _number(device[:8], "devmajor", name),
                    _number(device[8:], "devminor", name),
                )
        else:
            devmajor = devminor = 0
        xattrs = None
        realsize = size
        if extensions:
            extended = _Extended.read(pax, name)
            # An empty value leaves the header's own (POSIX.1-2001), and no name holds a NUL.
            name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
            linkname = pax.get(b"linkpath") or linkname
            if b"\0" in name or b"\0" in linkname:
                raise InvalidLayer("a NUL in a name", path=name)
            xattrs = extended.xattrs
            size = size if extended.size is None else extended.size
            realsize = size if extended.realsize is None else extended.realsize
            uid = uid if extended.uid is None else extended.uid
            gid = gid if extended.gid is None else extended.gid
            mtime = mtime if extended.mtime is None else extended.mtime
        else:
            start = at
        if kind == REGULAR:
            if name.endswith(b"/") and (typeflag == b"\0" or magic[:5] != b"ustar"):
                kind = DIRECTORY
            elif typeflag == b"S":
                realsize = _number(bytes(buffer[i + 483 : i + 495]), "real size", name)
                more = buffer[i + 482]
                while more:  # the sparse map goes on in blocks of its own (old GNU format)
                    block, buffer, base = _gather(window, buffer, base, data, data + BLOCK)
                    if len(block) < BLOCK:
                        raise InvalidLayer("the tar ends inside a sparse map", path=name)
                    more = block[504]
                    data += BLOCK
        if kind != REGULAR:
            size = realsize = 0
        block_header = None
        if kind == DIRECTORY:
            extensions.append(bytes(buffer[i : i + BLOCK]))
            block_header = b"".join(extensions)
        yield make(Record, (
            start, data, size, name, kind, linkname, mode, uid, gid, mtime, devmajor, devminor,
            xattrs, realsize, block_header,
        ))  # fmt: skip
        at = data + ((size + 511) & ~511)
        if extensions:
            extensions = []
            pax = {}


def scan_bytes(data: bytes) -> Iterator[Record]:
    """`scan` of a tar that is at hand as bytes."""
    view = memoryview(data)
    return scan(lambda offset: (view, 0))


def parse_pax(payload: bytes, path: bytes = b"") -> dict[bytes, bytes]:
    """The records of a pax extended header ("length key=value\\n", POSIX.1-2001)."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(payload):
        space = payload.find(b" ", at, at + 20)
        digits = payload[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise InvalidLayer("a pax record without a length", path=path)
        stop = at + int(digits)
        key, equals, value = payload[space + 1 : stop - 1].partition(b"=")
        if stop > len(payload) or stop <= space or payload[stop - 1 : stop] != b"\n" or not equals:
            raise InvalidLayer("a pax record with a wrong length", path=path)
        records[key] = value
        at = stop
    return records


class _Extended(NamedTuple):
    """What pax records say of a record, None where they say nothing."""

    size: int | None = None
    realsize: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    xattrs: dict[bytes, bytes] | None = None

    @classmethod
    def read(cls, pax: dict[bytes, bytes], path: bytes) -> _Extended:
        def integer(key: bytes) -> int | None:
            value = pax.get(key)
            if not value:
                return None
            if not value.isdigit() or len(value) > 19 or int(value) >> 63:
                raise InvalidLayer(f"pax {key.decode()} is no number: {value[:40]!r}", path=path)
            return int(value)

        xattrs = {
            key[13:]: value for key, value in pax.items() if key.startswith(b"SCHILY.xattr.")
        }
        mtime = pax.get(b"mtime")
        realsize = integer(b"GNU.sparse.realsize")
        return cls(
            size=integer(b"size"),
            realsize=integer(b"GNU.sparse.size") if realsize is None else realsize,
            uid=integer(b"uid"),
            gid=integer(b"gid"),
            mtime=_pax_time(mtime, path) if mtime else None,
            xattrs=xattrs or None,
        )


def _pax_time(value: bytes, path: bytes) -> int:
    """Decimal seconds to nanoseconds; further digits are cut, as Go does."""
    seconds, _, fraction = value.partition(b".")
    sign = -1 if seconds.startswith(b"-") else 1
    whole = seconds[1:] if sign < 0 else seconds
    if not (whole.isdigit() and (not fraction or fraction.isdigit())) or len(whole) > 18:
        raise InvalidLayer(f"pax mtime is no time: {value[:40]!r}", path=path)
    return sign * (int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _number(field: bytes, what: str, path: bytes, *, signed: bool = False) -> int:
    """An octal field, or GNU's base-256 form (its first byte has the high bit set)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if (value < 0 and not signed) or value.bit_length() > 63:
            raise InvalidLayer(f"{what} out of range", path=path)
        return value
    digits = field.strip(b"\0 ").split(b"\0", 1)[0]
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise InvalidLayer(f"{what} is no octal number: {digits!r}", path=path)
    return int(digits, 8)


@lru_cache(1 << 14)
def _adler_of(checksum: bytes) -> int:
    """The low half of the adler32 of a header block with this checksum field, -1 where the field is no
    number. It is 1 plus the sum of all bytes, modulo 65521: a checksum at C speed."""
    digits = checksum[:6]
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        return -1
    return (1 + int(digits, 8) - 256 + sum(checksum)) % 65521


def _check(block: memoryview, checksum: bytes, at: int) -> None:
    """The slow, exact test of a header's checksum; old writers summed signed bytes."""
    stored = checksum.strip(b"\0 ").split(b"\0", 1)[0]
    if stored.isdigit() and b"8" not in stored and b"9" not in stored:
        others = bytes(block[:148]) + bytes(block[156:])
        unsigned = sum(others) + 256
        signed = unsigned - 256 * sum(byte > 127 for byte in others)
        if int(stored, 8) in (unsigned, signed):
            return
    raise InvalidLayer(f"no tar header at byte {at} (wrong checksum)")


def _gather(
    window: Window, buffer: memoryview, base: int, start: int, stop: int
) -> tuple[bytes, memoryview, int]:
    """Bytes [start, stop) over as many windows as they take, fewer at the end; and the last window."""
    parts: list[bytes] = []
    while start < stop:
        if start - base >= len(buffer):
            buffer, base = window(start)
            if start - base >= len(buffer):
                break
        part = bytes(buffer[start - base : stop - base])
        parts.append(part)
        start += len(part)
    return b"".join(parts), buffer, base


def header(name: bytes, typeflag: bytes, *, mode: int, size: int = 0) -> bytes:
    """A new header with constant owner and time: a whiteout (S8 has it regular and empty), an implied
    directory, a member of an archive. Long names take a pax record, sizes from 8 GiB on base-256."""
    block = bytearray(BLOCK)
    block[100:124] = b"%07o\0%07o\0%07o\0" % (mode, 0, 0)
    block[124:136] = b"%011o\0" % size if size < 1 << 33 else _base256(size, 12)
    block[136:148] = b"%011o\0" % 0
    block[156:157] = typeflag
    block[257:265] = b"ustar\x0000"
    block[0:100] = name[:100].ljust(100, b"\0")
    _seal(block)
    return _pax_header({b"path": name} if len(name) > 100 else {}) + bytes(block)


def rewrite(
    blocks: bytes,
    *,
    name: bytes | None = None,
    linkname: bytes | None = None,
    attributes: tuple[int, int, int, int] | None = None,
    xattrs: dict[bytes, bytes] | None = None,
) -> bytes:
    """A record's header blocks with some fields changed and all others carried over.

    `blocks` are the bytes from a record's `start` to its `data`; `attributes` are mode, uid, gid and
    mtime in nanoseconds; `xattrs` replaces all of them. With a `linkname` a file becomes a hard link,
    without data of its own. The form of the header stays: GNU long names in a GNU header, pax records
    elsewhere.
    """
    at, pax, has_pax = 0, {}, False
    while blocks[at + 156 : at + 157] in (b"x", b"g", b"L", b"K"):
        kind = blocks[at + 156 : at + 157]
        size = _number(blocks[at + 124 : at + 136], "size", b"")
        payload = blocks[at + BLOCK : at + BLOCK + size]
        if kind == b"x":
            has_pax = True
            pax.update(parse_pax(payload))
        elif kind in b"LK":
            key = b"path" if kind == b"L" else b"linkpath"
            pax[key] = payload.split(b"\0", 1)[0]
        at += BLOCK + ((size + 511) & ~511)
    block = bytearray(blocks[at : at + BLOCK])
    sparse_map = blocks[at + BLOCK :]
    gnu = block[257:263] != b"ustar\0" and not has_pax

    if linkname is not None and block[156:157] != HARD_LINK:
        block[156:157] = HARD_LINK
        block[124:136] = b"%011o\0" % 0
        sparse_map = b""
        pax = {k: v for k, v in pax.items() if k != b"size" and not k.startswith(b"GNU.sparse.")}
        if block[257:263] != b"ustar\0":  # the old sparse form keeps its map here
            block[345:500] = bytes(155)
    if name is not None:
        pax.pop(b"path", None)
        block[0:100] = name[:100].ljust(100, b"\0")
        if block[257:263] == b"ustar\0":
            block[345:500 if block[508:512] != b"tar\0" else 476] = bytes(
                155 if block[508:512] != b"tar\0" else 131
            )
        if b"GNU.sparse.name" in pax:
            pax[b"GNU.sparse.name"] = name
        elif len(name) > 100:
            pax[b"path"] = name
    if linkname is not None:
        pax.pop(b"linkpath", None)
        block[157:257] = linkname[:100].ljust(100, b"\0")
        if len(linkname) > 100:
            pax[b"linkpath"] = linkname
    if attributes is not None:
        mode, uid, gid, mtime = attributes
        for at, width, value, key in (
            (100, 8, mode, b""), (108, 8, uid, b"uid"), (116, 8, gid, b"gid"),
            (136, 12, mtime // 1_000_000_000, b"mtime"),
        ):  # fmt: skip
            pax.pop(key, None)
            if 0 <= value < 8 ** (width - 1):
                block[at : at + width] = b"%0*o\0" % (width - 1, value)
            elif gnu:
                block[at : at + width] = _base256(value, width)
            else:
                block[at : at + width] = b"%0*o\0" % (width - 1, 0)
                pax[key] = b"%d" % value
        if mtime % 1_000_000_000:
            pax[b"mtime"] = _decimal_time(mtime)
    if xattrs is not None:
        pax = {k: v for k, v in pax.items() if not k.startswith(b"SCHILY.xattr.")}
        pax.update({b"SCHILY.xattr." + key: value for key, value in xattrs.items()})
    _seal(block)
    extensions = b""
    if gnu:
        for key, kind in ((b"linkpath", b"K"), (b"path", b"L")):
            if key in pax:
                extensions += _gnu_long(pax.pop(key), kind)
    return extensions + _pax_header(pax) + bytes(block) + sparse_map


def _seal(block: bytearray) -> None:
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % (sum(block) & 0o777777)


def _pax_header(records: dict[bytes, bytes]) -> bytes:
    if not records:
        return b""
    payload = b"".join(_pax_record(key, records[key]) for key in sorted(records))
    return header(b"PaxHeader", b"x", mode=0o644, size=len(payload)) + _padded(payload)


def _pax_record(key: bytes, value: bytes) -> bytes:
    length = bare = len(key) + len(value) + 3
    while length != (longer := bare + len(str(length))):
        length = longer
    return b"%d %s=%s\n" % (length, key, value)


def _gnu_long(value: bytes, kind: bytes) -> bytes:
    payload = value + b"\0"
    return header(b"././@LongLink", kind, mode=0, size=len(payload)) + _padded(payload)


def _padded(payload: bytes) -> bytes:
    return payload + bytes(-len(payload) % BLOCK)


def _base256(value: int, width: int) -> bytes:
    field = bytearray(value.to_bytes(width, "big", signed=True))
    field[0] |= 0x80
    return bytes(field)


def _decimal_time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return sign + (b"%d.%09d" % (seconds, fraction)).rstrip(b"0").rstrip(b".")
