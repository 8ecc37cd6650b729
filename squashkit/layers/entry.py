"""Members of a tar as values: where one goes, what its header says, and where its bytes and its data lie.

Paths are bytes, relative to the root, without `./` and without a slash at the end; the root itself is the
empty path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from squashkit.errors import InvalidLayer
from squashkit.layers.blocks import sum_of
from squashkit.layers.sparse import Sparse

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6",
)  # fmt: skip
TYPE_NAMES = {
    DIRECTORY: "directory", REGULAR: "file", HARD_LINK: "hard link", SYMLINK: "symlink", FIFO: "fifo",
    CHARACTER: "character device", BLOCK_DEVICE: "block device",
}  # fmt: skip
"""A header's type in words."""
GLOBAL = b"g"
"""A global pax header: a record of its own, which is no member and changes none."""


_NO_TARGET = bytes(100)


class DirectoryHeader(NamedTuple):
    """A directory's only header block, but for name, time and checksum, in which alone the like of it
    differ."""

    owner: bytes
    """Mode, uid and gid."""
    size: bytes
    time_end: bytes
    sum_end: bytes
    rest: bytes
    """From the magic on."""

    def block(self, name: bytes, mtime: int) -> bytes:
        """The 512 bytes, for a time in nanoseconds. They are nobody's header where either does not fit."""
        owner, size, time_end, sum_end, rest = self
        time = b"%011o" % max(0, mtime // 1_000_000_000)
        before = name.ljust(100, b"\0") + owner + size + time + time_end
        total = sum_of(before) + 8 * 32 + DIRECTORY[0] + sum_of(rest)
        return before + b"%06o" % total + sum_end + DIRECTORY + _NO_TARGET + rest


class Traits(NamedTuple):
    """What many members of a layer have alike: they share one value."""

    typeflag: bytes
    mode: int
    uid: int
    gid: int
    devmajor: int
    devminor: int
    xattrs: dict[bytes, bytes] | None
    header: bytes | DirectoryHeader | None
    """A directory's header blocks, or what makes them."""
    sparse: Sparse | None
    odd: str


class Entry(NamedTuple):
    """One member of a tar. A tuple of few fields, not a dataclass: a layer has 100,000 of them.

    Sizes and offsets are bytes of the uncompressed tar, `mtime` is nanoseconds since the epoch.
    """

    start: int
    """Where its first header block begins, extension headers included."""
    headers: int
    """Bytes of its header blocks, behind which its payload begins. 0 of a directory that a layer is given
    and that stands in another one's tar."""
    size: int
    """Bytes of stored payload."""
    directory: bytes
    """The path of the directory that it goes into: one value for all that go there."""
    base: bytes
    """Its name in that directory; empty for the root."""
    linkname: bytes
    mtime: int
    traits: Traits
    written: bytes
    """How its name stands in the tar: empty where as its path, a directory's with a slash behind it; what
    stands before that, `./` or `/`; else the name itself."""

    @property
    def path(self) -> bytes:
        return self.directory + b"/" + self.base if self.directory else self.base

    @property
    def name(self) -> bytes:
        """As written, after pax and GNU long names."""
        if self.written not in LEADS:
            return self.written
        path = self.path
        return self.written + path + b"/" if path and self.typeflag == DIRECTORY else self.written + path

    @property
    def typeflag(self) -> bytes:
        """`0` to `6`, or `g`; the old, contiguous and GNU sparse forms of a file are `0`."""
        return self.traits.typeflag

    @property
    def mode(self) -> int:
        return self.traits.mode

    @property
    def uid(self) -> int:
        return self.traits.uid

    @property
    def gid(self) -> int:
        return self.traits.gid

    @property
    def devmajor(self) -> int:
        return self.traits.devmajor

    @property
    def devminor(self) -> int:
        return self.traits.devminor

    @property
    def xattrs(self) -> dict[bytes, bytes] | None:
        """From SCHILY.xattr.* records, None where there are none."""
        return self.traits.xattrs

    @property
    def header(self) -> bytes | None:
        """The header blocks of a directory: an ancestor can be written without its layer's bytes."""
        header = self.traits.header
        return header.block(self.name, self.mtime) if isinstance(header, DirectoryHeader) else header

    @property
    def sparse(self) -> Sparse | None:
        """Where a sparse file's content lies, None for all others."""
        return self.traits.sparse

    @property
    def odd(self) -> str:
        """Why readers may understand these headers differently or refuse them, in words; empty where they
        all read them alike."""
        return self.traits.odd

    @property
    def realsize(self) -> int:
        """The size of the file, which is not `size` where it is sparse."""
        sparse = self.traits.sparse
        return self.size if sparse is None else sparse.realsize

    @property
    def data(self) -> int:
        """Where its payload begins."""
        return self.start + self.headers

    @property
    def end(self) -> int:
        """Where the next one's first header block begins."""
        return self.start + self.headers + ((self.size + 511) & ~511)

    @property
    def length(self) -> int:
        """Bytes that it takes in the tar, headers and padding included."""
        return self.headers + ((self.size + 511) & ~511)

    @property
    def headers_end(self) -> int:
        """Where all ends that a reader of headers must see: behind a sparse map that stands in the data."""
        return self.sparse.at if self.sparse is not None else self.data


HeaderOf = Callable[[int, Entry], bytes]
"""Gives the header blocks of an entry of a layer (its bytes from `start` to `data`)."""


def stored_spans(entry: Entry) -> Iterator[tuple[int | None, int]]:
    """A file's content in order: (offset in the tar, bytes), None for the offset of a hole, which is zeros.
    The bytes add up to `realsize`."""
    if entry.sparse is None:
        if entry.size:
            yield entry.data, entry.size
        return
    at, done = entry.sparse.at, 0
    for offset, length in entry.sparse.extents:
        if offset > done:
            yield None, offset - done
        if length:
            yield at, length
        at, done = at + length, offset + length
    if entry.realsize > done:
        yield None, entry.realsize - done


LEADS = (b"", b"./", b"/")
"""What may stand before a path in a tar and means nothing."""


def place(name: bytes, typeflag: bytes) -> tuple[bytes, bytes, bytes]:
    """Where a member of this name goes: the fields `directory`, `base` and `written` of its entry. A name
    that leads out of the root goes nowhere, and stays as it is."""
    try:
        path = normalise(name)
    except InvalidLayer:
        return b"", name, name
    directory, _, base = path.rpartition(b"/")
    full = path + b"/" if path and typeflag == DIRECTORY else path
    return directory, base, next((lead for lead in LEADS if name == lead + full), name)


def normalise(name: bytes) -> bytes:
    """A member's name as a path inside the root, cleaned as docker and podman do before they look at
    anything (Go's path.Clean): `..` takes the name before it away. An absolute name counts from the root.

    Raises InvalidLayer for a relative name that leads out of the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts and not name.startswith(b"/"):
                raise InvalidLayer("it leads out of the root", path=name)
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def link_target(entry: Entry) -> bytes:
    """The path that a hard link names. Raises InvalidLayer where it leads out of the root."""
    return normalise(entry.linkname.lstrip(b"/"))


def directories_above(path: bytes) -> Iterator[bytes]:
    """The directories above a path, from the top, without the root."""
    at = path.find(b"/")
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def is_hard_link(entry: Entry) -> bool:
    return entry.typeflag == HARD_LINK
