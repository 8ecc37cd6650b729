"""Tar headers written anew: of members that squashkit makes, and of entries of which something changes.

What is written means one thing to every reader: one extension header at most, in pax form unless the
header is GNU's and needs none; names without a prefix; no data where the type has none."""

from __future__ import annotations

from squashkit.errors import InvalidLayer
from squashkit.layers.blocks import BLOCK
from squashkit.layers.entry import HARD_LINK, REGULAR, SYMLINK, Entry
from squashkit.layers.pax import (
    MAX_EXTENSION,
    SPARSE_NAME,
    SPARSE_PREFIX,
    XATTR_PREFIX,
    Pax,
    parse_pax,
)
from squashkit.layers.tar import OLD_GNU, OLD_SPARSE, STAR_TRAILER, USTAR

_NAME, _LINKNAME, _SIZE, _TYPE = slice(0, 100), slice(157, 257), slice(124, 136), slice(156, 157)
_PREFIX, _PREFIX_END, _STAR_PREFIX_END = 345, 500, 476


def header(name: bytes, typeflag: bytes, *, mode: int, size: int = 0) -> bytes:
    """A new header with constant owner and time: a whiteout (S8 has it regular and empty), an implied
    directory, a member of an archive. Long names take a pax record, sizes from 8 GiB on base-256."""
    block = bytearray(BLOCK)
    block[100:124] = b"%07o\0%07o\0%07o\0" % (mode, 0, 0)
    _set_size(block, size)
    block[136:148] = b"%011o\0" % 0
    block[_TYPE] = typeflag
    block[257:265] = USTAR + b"00"
    block[_NAME] = name[:100].ljust(100, b"\0")
    _seal(block)
    return _pax_header([(b"path", name)] if len(name) > 100 else []) + bytes(block)


def rewrite(
    entry: Entry,
    blocks: bytes,
    *,
    name: bytes | None = None,
    linkname: bytes | None = None,
    attributes: tuple[int, int, int, int] | None = None,
    xattrs: dict[bytes, bytes] | None = None,
) -> bytes:
    """An entry's headers as `scan` understood them, with some fields changed and all others carried over.

    `blocks` are the bytes from the entry's `start` to its `data`; `attributes` are mode, uid, gid and
    mtime in nanoseconds; `xattrs` replaces all of them. With a `linkname` a file becomes a hard link,
    without data of its own. An old GNU sparse file takes pax form 1.0, whose map stands at the end of
    what is returned; so for every file the bytes from the entry's `data` to its `end` follow. Pax
    records keep their order, repeated ones among them.

    Raises InvalidLayer where the extended header would be larger than readers take.
    """
    pax, block, old_map = _take_apart(blocks)
    name = entry.name if name is None else name
    becomes_link = linkname is not None and entry.typeflag != HARD_LINK
    target = entry.linkname if linkname is None else linkname
    sparse = None if becomes_link else entry.sparse
    sparse_map = b""
    block[_TYPE] = HARD_LINK if becomes_link else entry.typeflag  # of type NUL a slash would decide
    if entry.mode & ~0o7777:  # a type in it is the typeflag's business
        block[100:108] = b"%07o\0" % (entry.mode & 0o7777)
    if becomes_link or entry.typeflag != REGULAR:
        pax = _without(pax, b"size")
        _set_size(block, 0)
    if old_map:  # it stands where ustar has the prefix
        block[_PREFIX:] = bytes(BLOCK - _PREFIX)
    if sparse is None:
        pax = [(key, value) for key, value in pax if not key.startswith(SPARSE_PREFIX)]
    elif old_map:
        sparse_map = _map_of(sparse.extents)
        pax = _without(pax, b"size") + _sparse_records(name, entry.realsize)
        _set_size(block, len(sparse_map) + entry.size)
        block[257:265] = USTAR + b"00"
    if attributes is not None:
        pax = _set_attributes(block, pax, attributes)
    if xattrs is not None:
        pax = [(key, value) for key, value in pax if not key.startswith(XATTR_PREFIX)]
        pax += [(XATTR_PREFIX + key, value) for key, value in xattrs.items()]
    _clear_prefix(block)
    block[_NAME] = name[:100].ljust(100, b"\0")
    has_target = entry.typeflag in (HARD_LINK, SYMLINK) or becomes_link
    block[_LINKNAME] = (target[:100] if has_target else b"").ljust(100, b"\0")
    long = []
    if any(key == SPARSE_NAME for key, _ in pax):
        pax = [(key, name if key == SPARSE_NAME else value) for key, value in _without(pax, b"path")]
    elif len(name) > 100:
        long.append((b"path", name))
    if has_target and len(target) > 100:
        long.append((b"linkpath", target))
    rest = _without(_without(pax, b"path"), b"linkpath")
    if not rest and block[257:265] == OLD_GNU:
        extensions = b"".join(_gnu_long(value, key) for key, value in reversed(long))
    else:
        extensions = _pax_header(_replaced(pax, long))
    _seal(block)
    return extensions + bytes(block) + sparse_map


# Parts of a header


def _take_apart(blocks: bytes) -> tuple[Pax, bytearray, bool]:
    """The last `x` header's records, the member's own block, and whether it is an old GNU sparse one."""
    at = 0
    pax: Pax = []
    while (kind := blocks[at + 156 : at + 157]) in (b"x", b"L", b"K"):
        size = _octal_size(blocks[at + 124 : at + 136])
        if kind == b"x":
            pax = parse_pax(blocks[at + BLOCK : at + BLOCK + size])
        at += BLOCK + ((size + 511) & ~511)
    block = bytearray(blocks[at : at + BLOCK])
    if block[257:263] != USTAR and block[257:265] != OLD_GNU:  # of before ustar: all behind is nobody's
        block[257:] = (USTAR + b"00").ljust(BLOCK - 257, b"\0")
    return pax, block, block[_TYPE] == OLD_SPARSE


def _octal_size(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b"\0 ").split(b"\0", 1)[0] or b"0", 8)


def _without(pax: Pax, key: bytes) -> Pax:
    return [record for record in pax if record[0] != key]


def _replaced(pax: Pax, new: Pax) -> Pax:
    """Records with new values for path and linkpath, each where it stood, or at the end."""
    values = dict(new)
    kept = []
    for key, value in pax:
        if key not in (b"path", b"linkpath"):
            kept.append((key, value))
        elif key in values:
            kept.append((key, values.pop(key)))
    return kept + list(values.items())


def _clear_prefix(block: bytearray) -> None:
    """A name stands in its field or in an extension header. Star's times stay, and GNU's, unless a prefix
    stood in their place."""
    if block[257:263] == USTAR:
        end = _STAR_PREFIX_END if block[508:512] == STAR_TRAILER else _PREFIX_END
        block[_PREFIX:end] = bytes(end - _PREFIX)
    elif block[257:265] == OLD_GNU:
        block[_PREFIX : _PREFIX + 24] = bytes(24)  # atime and ctime, which nobody applies


def _set_size(block: bytearray, size: int) -> None:
    block[_SIZE] = b"%011o\0" % size if size < 1 << 33 else _base256(size, 12)


def _set_attributes(block: bytearray, pax: Pax, attributes: tuple[int, int, int, int]) -> Pax:
    """Write mode, uid, gid and mtime into a block, and what does not fit there into the records."""
    mode, uid, gid, mtime = attributes
    gnu = block[257:265] == OLD_GNU
    block[100:108] = b"%07o\0" % mode
    more: Pax = []
    for at, width, value, key in (
        (108, 8, uid, b"uid"),
        (116, 8, gid, b"gid"),
        (136, 12, mtime // 1_000_000_000, b"mtime"),
    ):
        pax = _without(pax, key)
        fits = 0 <= value < 8 ** (width - 1)
        if gnu and not fits:
            block[at : at + width] = _base256(value, width)
            continue
        block[at : at + width] = b"%0*o\0" % (width - 1, value if fits else 0)
        if not fits:
            more.append((key, b"%d" % value))
    if mtime % 1_000_000_000:
        more = [*_without(more, b"mtime"), (b"mtime", _decimal_time(mtime))]
    return pax + more


def _sparse_records(name: bytes, realsize: int) -> Pax:
    return [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (SPARSE_NAME, name),
        (b"GNU.sparse.realsize", b"%d" % realsize),
    ]


def _map_of(extents: tuple[tuple[int, int], ...]) -> bytes:
    """A sparse map in pax form 1.0."""
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    return _padded(b"".join(b"%d\n" % number for number in numbers))


def _seal(block: bytearray) -> None:
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % (sum(block) & 0o777777)


def _pax_header(records: Pax) -> bytes:
    if not records:
        return b""
    payload = b"".join(_pax_record(key, value) for key, value in records)
    if len(payload) > MAX_EXTENSION:
        message = f"its extended header would be {len(payload):,} bytes; readers take {MAX_EXTENSION:,}"
        raise InvalidLayer(message)
    return header(b"PaxHeader", b"x", mode=0o644, size=len(payload)) + _padded(payload)


def _pax_record(key: bytes, value: bytes) -> bytes:
    length = bare = len(key) + len(value) + 3
    while length != (longer := bare + len(str(length))):
        length = longer
    return b"%d %s=%s\n" % (length, key, value)


def _gnu_long(value: bytes, key: bytes) -> bytes:
    payload = value + b"\0"
    kind = b"L" if key == b"path" else b"K"
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
