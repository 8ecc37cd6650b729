"""The one tar scanner: header blocks in, entries with byte spans out.

A layer is never unpacked. `scan` reads headers, jumps over data and says where everything lies, so that a
survivor can be copied as bytes. A header means what Go's archive/tar makes of it (reader.go:
`Reader.next`, `readHeader`, `parsePAX`, `mergePAX`, `readGNUSparsePAXHeaders`), since docker, containerd,
podman and umoci read layers with that: what squashkit judges is what they will judge.

Where other readers may understand a header chain differently, or refuse it, the entry says so in `odd`,
and headers.py writes it anew."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from squashkit.errors import InvalidLayer
from squashkit.layers.blocks import (
    BLOCK,
    Window,
    are_times,
    check_sum,
    gather_bytes,
    number,
    plain_number,
    total_of,
)
from squashkit.layers.entry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    GLOBAL,
    HARD_LINK,
    LEADS,
    REGULAR,
    SYMLINK,
    DirectoryHeader,
    Entry,
    Traits,
    place,
)
from squashkit.layers.pax import (
    MAX_EXTENSION,
    SPARSE_NAME,
    Chain,
    as_map,
    extended_fields,
    parse_pax,
    sparse_form,
    sparse_map_0,
    sparse_size,
)
from squashkit.layers.sparse import checked_sparse, old_sparse_map, sparse_map_1

END_OF_ARCHIVE = bytes(2 * BLOCK)

OLD_SPARSE, CONTIGUOUS = b"S", b"7"
USTAR, STAR_TRAILER, OLD_GNU = b"ustar\0", b"tar\0", b"ustar  \0"


_HEADER = struct.Struct("100s24s12s12s8sc100s255s")
_REST = struct.Struct("8s64x16s155s8x4s")
_TYPES = {
    b"\0": REGULAR, b"0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": HARD_LINK, b"2": SYMLINK,
    b"3": CHARACTER, b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO,
}  # fmt: skip
_EXTENSIONS = b"xgLK"
_LINKS = frozenset((HARD_LINK, SYMLINK))
_NO_SIZE = b"00000000000\0"
_WITHOUT_DATA = b"123456"
_ODD_OLD_SPARSE = "type S (an old GNU sparse file), which docker and umoci refuse"
_ODD_CONTIGUOUS = "type 7 (a contiguous file), which docker and umoci refuse"
_ODD_PREFIX = "a prefix in a GNU header, which only readers made with Go take for one"
_ODD_REST = "bytes in the place of a prefix, in a header of before ustar"
_ODD_TARGET = "a symlink to nothing, which no system can make"
_ODD_MODE = "a mode that says another type, on which umoci fails"
_TYPE_BITS = {CHARACTER: 0o020000, BLOCK_DEVICE: 0o060000, FIFO: 0o010000}  # inode(7)
_ODD_SIZE = "a size on a type that has no data"
_ODD_SPARSE = "GNU.sparse records that make no sparse file to readers made with Go"


def scan(window: Window) -> Iterator[Entry]:
    """Read a tar's members in order.

    The tar may end at any member's boundary: with no end blocks, one, or junk behind them. Data is not
    read. Raises InvalidLayer for an end inside a header or inside data, for a header that Go's reader
    refuses, and for types that no consumer of layers knows.
    """
    # Headers differ in name, size and time, and in little else: what was understood of one is not worked
    # out again of its like. That is done in place, since a call would cost as much again: 1 µs.
    likes: dict[bytes, _Like] = {}
    last, (total, prefix, kinds) = b"", _UNLIKE
    times: dict[bytes, int] = {}
    # Members come by directories: where one goes is known by what stands before its name's last slash.
    places: Places = {}
    before, (directory, written) = _NO_NAME, _NOWHERE
    unpack, expected, make = _HEADER.unpack_from, total_of, tuple.__new__
    buffer, base = window(0)
    at = end = 0  # offset of the header block to read; where the last payload ends
    name = b""
    chain = Chain()
    while True:
        i = at - base
        if i + BLOCK > len(buffer):
            buffer, base = window(at)
            i = at - base
            left = len(buffer) - i
            if left < BLOCK:
                if left > 0:
                    raise InvalidLayer(f"the tar ends inside the header at byte {at}")
                if left < 0 and base + len(buffer) < end:  # padding may be missing
                    raise InvalidLayer(f"the tar ends inside data, {-left} bytes short", path=name)
                return
        name, owner, size_field, mtime_field, checksum, typeflag, linkname, rest = unpack(buffer, i)
        if rest != last:
            last, (total, prefix, kinds) = rest, likes.get(rest, _UNLIKE)
        traits = kinds.get(typeflag, _NOBODY).get(owner)
        mtime = times.get(mtime_field)
        if mtime is None and traits is not None:
            mtime = _remember(mtime_field, times)
        # adler32's low half is 1 plus the sum of all bytes, modulo 65521.
        if (
            mtime is not None
            and traits is not None
            and (adler32(buffer[i : i + 257]) & 0xFFFF) + total == expected(checksum)
            and (linkname[0] > 0) is (typeflag in _LINKS)
            and not chain.kinds
        ):
            size = 0 if size_field == _NO_SIZE else plain_number(size_field)
            if size == 0 or (size is not None and typeflag == REGULAR):
                name = name.rstrip(b"\0")
                is_bare = b"\0" not in name
                if not is_bare:
                    name = name.split(b"\0", 1)[0]
                if typeflag != DIRECTORY:
                    if prefix:
                        name = prefix + name
                    linkname = linkname.split(b"\0", 1)[0] if linkname[0] else b""
                    above, _, own = name.rpartition(b"/")
                else:
                    header = traits.header
                    if (
                        not is_bare
                        or header.__class__ is not DirectoryHeader
                        or header[1:4] != (size_field, mtime_field[11:], checksum[6:])
                        or linkname != _NO_TARGET
                    ):
                        header = _directory_header(bytes(buffer[i : i + BLOCK]), prefix + name, mtime)
                        traits = traits._replace(header=header)
                    name = prefix + name
                    linkname = b""
                    inner, _, own = name.rpartition(b"/")
                    above, _, own = inner.rpartition(b"/") if not own else (b"", b"", b"")
                if above != before:
                    before = above
                    directory, written = places.get(above, _NOWHERE)
                if own in _NO_BASE or written is None:
                    before = _NO_NAME
                    directory, own, written = _placed(name, typeflag, places)
                elif typeflag == DIRECTORY:
                    places[inner] = inner[len(written) :], written
                yield make(Entry, (at, BLOCK, size, directory, own, linkname, mtime, traits, written))
                end = at + BLOCK + size
                at = (end + 511) & ~511
                continue

        half = i + 256
        total = (adler32(buffer[i:half]) & 0xFFFF) + (adler32(buffer[half : i + BLOCK]) & 0xFFFF)
        if total != expected(checksum):
            if checksum == b"\0\0\0\0\0\0\0\0" and not any(buffer[i : i + BLOCK]):
                behind, buffer, base = gather_bytes(window, buffer, base, at + BLOCK, at + 2 * BLOCK)
                if 0 < len(behind) < BLOCK:
                    raise InvalidLayer(f"the tar ends inside the header at byte {at + BLOCK}")
                if any(behind):
                    raise InvalidLayer(f"a lone zero block before more at byte {at}")
                return
            check_sum(buffer[i : i + BLOCK], checksum, at)
        parsed = _parse_block(bytes(buffer[i : i + BLOCK]))
        name, size = parsed.name, parsed.size
        if typeflag in _EXTENSIONS:
            if not 0 <= size <= MAX_EXTENSION:
                raise InvalidLayer(f"an extension header of {size} bytes at byte {at}", path=name)
            stop = at + BLOCK + ((size + 511) & ~511)
            payload, buffer, base = gather_bytes(window, buffer, base, at + BLOCK, stop)
            if len(payload) < size:
                raise InvalidLayer(f"the tar ends inside an extension header at byte {at}", path=name)
            if typeflag == GLOBAL:  # it stands alone, and ends what came before it
                parse_pax(payload[:size], name)
                yield Entry(at, stop - at, 0, b"", name, b"", 0, _GLOBAL, name)
                chain = Chain()
            else:
                chain.add(at, typeflag, parsed.block, payload, size, name)
            at = stop
            last = b""
            continue
        entry, name, buffer, base = _read_member(window, buffer, base, parsed, chain, at, places)
        yield entry
        end = entry.start + entry.headers + entry.size
        at = (end + 511) & ~511
        if chain.kinds:
            chain = Chain()
        elif typeflag in b"0125" and not entry.odd:
            if len(likes) >= _MAX_LIKES:
                likes.clear()
            like = likes.setdefault(rest, _Like(adler32(rest) & 0xFFFF, parsed.above, {}))
            like.kinds.setdefault(typeflag, {})[owner] = entry.traits
        last = b""


class _Like(NamedTuple):
    """What was understood of headers that are the same from the magic on."""

    total: int
    """The sum of those bytes, plus 1."""
    above: bytes
    """What stands before their names: the prefix and a slash."""
    kinds: dict[bytes, dict[bytes, Traits]]
    """By type, then by the fields of mode and owner."""


Places = dict[bytes, tuple[bytes, bytes | None]]
"""By what stands in a name before its last slash: the directory's path, and what comes before that."""
_NOWHERE: tuple[bytes, bytes | None] = b"", None
_NO_NAME = b"\0"
_NO_BASE = frozenset((b"", b".", b".."))


def _placed(name: bytes, typeflag: bytes, places: Places) -> tuple[bytes, bytes, bytes]:
    """`place`, with a directory's path as the value that all have that go there."""
    directory, own, written = place(name, typeflag)
    if directory:
        directory, _ = places.setdefault(directory, (directory, b""))
    if written and written in LEADS and (directory or written != b"/"):
        places[written + directory if directory else b"."] = directory, written
    return directory, own, written


def _remember(field: bytes, times: dict[bytes, int]) -> int | None:
    """A plain time in nanoseconds."""
    seconds = plain_number(field)
    if seconds is None:
        return None
    if len(times) >= _MAX_TIMES:
        times.clear()
    times[field] = seconds = seconds * 1_000_000_000
    return seconds


_UNLIKE = _Like(0, b"", {})
_NOBODY: dict[bytes, Traits] = {}
_MAX_LIKES, _MAX_TIMES = 1 << 10, 1 << 13


_NO_TARGET = bytes(100)


class _Block(NamedTuple):
    """What a member's header block says, without the headers before it."""

    block: bytes
    name: bytes
    linkname: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    devmajor: int
    devminor: int
    above: bytes
    """What of the name stood in the prefix."""
    is_gnu: bool
    odd: str


def _parse_block(block: bytes) -> _Block:
    """Raises InvalidLayer for what is no number."""
    name, owner, size_field, mtime_field, _, _, linkname, rest = _HEADER.unpack(block)
    name = name.split(b"\0", 1)[0]
    try:
        size = number(size_field, "size")
        mode, uid, gid = _parse_owner(owner)
        mtime = number(mtime_field, "mtime") * 1_000_000_000
        devmajor, devminor, above, is_gnu, odd = _parse_rest(rest)
    except InvalidLayer as error:
        raise InvalidLayer(error.message, path=name) from None
    target = linkname.split(b"\0", 1)[0] if linkname[0] else b""
    return tuple.__new__(_Block, (
        block, above + name, target, mode, uid, gid, size, mtime, devmajor, devminor, above, is_gnu, odd,
    ))  # fmt: skip


@lru_cache(1 << 10)
def _parse_owner(field: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid."""
    return number(field[:8], "mode"), number(field[8:16], "uid"), number(field[16:], "gid")


@lru_cache(1 << 8)
def _parse_rest(rest: bytes) -> tuple[int, int, bytes, bool, str]:
    """What a header says from the magic on: devmajor, devminor, what it puts before the name, whether it is
    GNU's, what is odd about it."""
    magic, device, prefix, trailer = _REST.unpack(rest)
    devmajor = devminor = 0
    above = b""
    odd = ""
    is_gnu = magic == OLD_GNU
    if magic[:6] == USTAR or is_gnu:
        devmajor, devminor = number(device[:8], "devmajor"), number(device[8:], "devminor")
    if is_gnu:
        if (prefix[0] or prefix[12]) and not are_times(prefix):
            # docker up to 1.13 wrote the prefix here, where GNU has times (golang/go#12594).
            prefix = prefix.split(b"\0", 1)[0]
            if prefix and prefix.isascii():
                above = prefix + b"/"
                odd = _ODD_PREFIX
    elif magic[:6] == USTAR:
        if trailer == STAR_TRAILER:  # star keeps times behind a shorter prefix
            number(prefix[131:143], "atime")
            number(prefix[143:], "ctime")
            prefix = prefix[:131]
        if prefix[0]:
            above = prefix.split(b"\0", 1)[0] + b"/"
    elif prefix[0]:
        odd = _ODD_REST
    return devmajor, devminor, above, is_gnu, odd


def _directory_header(block: bytes, name: bytes, mtime: int) -> bytes | DirectoryHeader:
    """A directory's header in as few bytes as it takes."""
    fields = block[100:124], block[124:136], block[147:148], block[154:156], block[257:]
    like = DirectoryHeader(*fields)
    return like if like.block(name, mtime) == block else block


def _read_member(
    window: Window, buffer: memoryview, base: int, parsed: _Block, chain: Chain, at: int, places: Places
) -> tuple[Entry, bytes, memoryview, int]:
    """The member whose own header block begins at `at`, its name, and the last window."""
    block, name, linkname, mode, uid, gid, size, mtime, devmajor, devminor, _, is_gnu, odd = parsed
    typeflag = block[156:157]
    if size < 0 and typeflag not in _WITHOUT_DATA:
        raise InvalidLayer(f"a size of {size} bytes", path=name)
    xattrs = sparse = None
    has_sparse = False
    start, data = at, at + BLOCK
    if chain.kinds:
        start = chain.start
        odd = odd or chain.odd
        records = as_map(chain.pax)
        more_size, more_uid, more_gid, more_mtime, xattrs, has_sparse = extended_fields(records, name)
        size = size if more_size is None else more_size
        uid = uid if more_uid is None else more_uid
        gid = gid if more_gid is None else more_gid
        mtime = mtime if more_mtime is None else more_mtime
        # An empty value leaves the header's own; a GNU long name wins over a pax path.
        name = chain.name or records.get(b"path") or name
        linkname = chain.linkname or records.get(b"linkpath") or linkname
    try:
        kind = _TYPES[typeflag]
    except KeyError:
        flag = chr(typeflag[0]) if 32 < typeflag[0] < 127 else f"0x{typeflag.hex()}"
        raise InvalidLayer(f"unknown type '{flag}'", path=name) from None
    if typeflag == b"\0" and name.endswith(b"/"):  # old archives know no other directories
        kind = DIRECTORY
    if kind != REGULAR:
        odd = odd or (_ODD_SIZE if size else "")
        size = 0
        if kind == SYMLINK and not linkname:
            odd = _ODD_TARGET
    elif size < 0:
        raise InvalidLayer(f"a size of {size} bytes", path=name)
    if typeflag == OLD_SPARSE:
        odd = _ODD_OLD_SPARSE
        if not is_gnu:
            raise InvalidLayer("type S in a header that is not GNU's", path=name)
        realsize = number(block[483:495], "real size", name)
        extents, data, buffer, base = old_sparse_map(window, buffer, base, block[386:483], data, name)
        sparse = checked_sparse(data, extents, realsize, size, name)
    elif has_sparse and (form := sparse_form(records)) is not None:
        if kind != REGULAR:
            raise InvalidLayer("GNU.sparse records on what is no file", path=name)
        name = records.get(SPARSE_NAME) or name
        if b"\0" in name:
            raise InvalidLayer("a NUL in a name", path=name)
        realsize = sparse_size(records, size, name)
        if form == 1:
            extents, packed, buffer, base = sparse_map_1(window, buffer, base, data, size, name)
        else:
            extents, packed = sparse_map_0(records, name), data
        sparse = checked_sparse(packed, extents, realsize, size - (packed - data), name)
    elif has_sparse:
        odd = odd or _ODD_SPARSE
    if typeflag == CONTIGUOUS:
        odd = _ODD_CONTIGUOUS
    header: bytes | DirectoryHeader | None = None
    if kind == DIRECTORY:
        header = b"".join((*chain.blocks, block))
        if not chain.kinds:
            header = _directory_header(block, name, mtime)
    elif kind in _TYPE_BITS and mode & 0o170000 not in (0, _TYPE_BITS[kind]):
        odd = odd or _ODD_MODE
    if kind not in (CHARACTER, BLOCK_DEVICE):
        devmajor = devminor = 0
    if xattrs is None and sparse is None and header is None:
        traits = _plain_traits(kind, mode, uid, gid, devmajor, devminor, odd)
    else:
        traits = Traits(kind, mode, uid, gid, devmajor, devminor, xattrs, header, sparse, odd)
    directory, own, written = _placed(name, kind, places)
    entry = Entry(start, data - start, size, directory, own, linkname, mtime, traits, written)
    return entry, name, buffer, base


@lru_cache(1 << 12)
def _plain_traits(
    typeflag: bytes, mode: int, uid: int, gid: int, devmajor: int, devminor: int, odd: str
) -> Traits:
    """One value for all that are alike."""
    return Traits(typeflag, mode, uid, gid, devmajor, devminor, None, None, None, odd)


_GLOBAL = _plain_traits(GLOBAL, 0, 0, 0, 0, 0, "")


def scan_bytes(data: bytes) -> Iterator[Entry]:
    """`scan` of a tar that is available as bytes."""
    view = memoryview(data)
    return scan(lambda offset: (view, 0))
