"""Members of a tar as values: what a header says, and where its bytes and its data lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

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


class Traits(NamedTuple):
    """What many members of a layer have alike: they share one value."""

    typeflag: bytes
    mode: int
    uid: int
    gid: int
    devmajor: int
    devminor: int
    xattrs: dict[bytes, bytes] | None
    header: bytes | tuple[bytes, bytes] | None
    """A directory's header blocks. Where these are one, and nothing stands in it but what is understood, of
    its 512 bytes those from the mode to the type, and those from the magic on, which others have, too."""
    sparse: Sparse | None
    odd: str


class Record(NamedTuple):
    """One member of a tar. A tuple of few fields, not a dataclass: a layer has 100,000 of them.

    Sizes and offsets are bytes of the uncompressed tar, `mtime` is nanoseconds since the epoch.
    """

    start: int
    """Where its first header block begins, extension headers included."""
    headers: int
    """Bytes of its header blocks, behind which its payload begins."""
    size: int
    """Bytes of stored payload."""
    name: bytes
    """As written, after pax and GNU long names."""
    linkname: bytes
    mtime: int
    traits: Traits

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
        if not isinstance(header, tuple):
            return header
        fields, rest = header
        return self.name.ljust(100, b"\0") + fields + bytes(100) + rest

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
        """Where the next record's first header block begins."""
        return self.start + self.headers + ((self.size + 511) & ~511)

    @property
    def length(self) -> int:
        """Bytes that it takes in the tar, headers and padding included."""
        return self.headers + ((self.size + 511) & ~511)

    @property
    def headers_end(self) -> int:
        """Where all ends that a reader of headers must see: behind a sparse map that stands in the data."""
        return self.sparse.at if self.sparse is not None else self.data


HeaderOf = Callable[[int, Record], bytes]
"""Gives the header blocks of a record of a layer (its bytes from `start` to `data`)."""


def stored_spans(record: Record) -> Iterator[tuple[int | None, int]]:
    """A file's content in order: (offset in the tar, bytes), None for the offset of a hole, which is zeros.
    The bytes add up to `realsize`."""
    if record.sparse is None:
        if record.size:
            yield record.data, record.size
        return
    at, done = record.sparse.at, 0
    for offset, length in record.sparse.extents:
        if offset > done:
            yield None, offset - done
        if length:
            yield at, length
        at, done = at + length, offset + length
    if record.realsize > done:
        yield None, record.realsize - done
