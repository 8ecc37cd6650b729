"""Two root file systems, entry by entry: pure; content is asked for when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Final

from squashkit.errors import show_path
from squashkit.layers.entry import DIRECTORY, REGULAR, SYMLINK, TYPE_NAMES
from squashkit.layers.rootfs import Attributes, Directory, Inode, Node, Rootfs
from squashkit.values import frozen

SameContent = Callable[[Inode, Inode], bool]
"""Says of two files of the same size, one of each side, whether they hold the same bytes."""

MayLack = Callable[[bytes], object]
"""Says of a path whether one side may be without it."""

Piece = bytes | int
"""A part of a file's content: bytes, or the length of a hole, which is zeros."""

_BLOCK: Final = 64 << 10
_ZEROS: Final = bytes(_BLOCK)

KINDS: Final = (
    "added",
    "removed",
    "type",
    "mode",
    "owner",
    "mtime",
    "xattrs",
    "target",
    "device",
    "size",
    "content",
    "hard links",
)
"""What can differ, in the order in which it is told."""
SPLIT: Final = "split hard links"
"""Names of one inode that the other side holds as several, cut between layers: no difference, since a
layer cannot link into another, but worth telling."""


@frozen
class Difference:
    """One thing in which two root file systems differ at a path."""

    path: bytes
    what: str
    """One of KINDS, or SPLIT."""
    left: str
    right: str


def iter_nodes(top: Directory, *, recursive: bool = True) -> Iterator[tuple[bytes, Node]]:
    """What a directory holds, sorted by name; with `recursive` each directory followed by what it holds."""
    stack = [(top, iter(sorted(top.children.items())))]
    while stack:
        directory, children = stack[-1]
        for name, node in children:
            yield directory.child_path(name), node
            if recursive and isinstance(node, Directory):
                stack.append((node, iter(sorted(node.children.items()))))
                break
        else:
            stack.pop()


def iter_differences(
    left: Rootfs, right: Rootfs, same_content: SameContent, *, may_lack: MayLack | None = None
) -> Iterator[Difference]:
    """What differs, sorted by path: presence, type, attributes, targets, devices, content, and which
    names share an inode. Content is asked for only where both sizes are equal.

    That a name is missing which one side `may_lack` is no difference to the other names of its inode."""
    if left.root.entry is not None and right.root.entry is not None:
        yield from _attributes(b"", attributes_of(left.root), attributes_of(right.root))
    regrouped: set[Inode] = set()  # inodes whose names are told to differ
    compared: set[tuple[Inode, Inode]] = set()  # inodes whose names were compared
    ours, theirs = dict(iter_nodes(left.root)), dict(iter_nodes(right.root))
    for path in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            what = "added" if a is None else "removed"
            yield Difference(path, what, kind_of(a) if a else "", kind_of(b) if b else "")
        elif kind_of(a) != kind_of(b):
            yield Difference(path, "type", kind_of(a), kind_of(b))
        else:
            yield from _attributes(path, attributes_of(a), attributes_of(b))
            if isinstance(a, Inode) and isinstance(b, Inode):
                yield from _inodes(path, a, b, same_content)
                several = a.bindings is not None or b.bindings is not None
                if several and (a, b) not in compared:
                    compared.add((a, b))
                    yield from _groups(path, a, b, regrouped, may_lack)


def is_same_content(left: Iterable[Piece], right: Iterable[Piece]) -> bool:
    """Whether two files hold the same bytes, whatever parts of them are stored as holes. Holes are
    compared by their length: a terabyte of them costs nothing."""
    ours, theirs = iter(left), iter(right)
    a: Piece = b""
    b: Piece = b""
    while True:
        more_a = a if _length(a) else next(ours, None)
        more_b = b if _length(b) else next(theirs, None)
        if more_a is None or more_b is None:
            return more_a is more_b
        count = min(_length(more_a), _length(more_b))
        head_a, a = _split(more_a, count)
        head_b, b = _split(more_b, count)
        if not _is_equal(head_a, head_b):
            return False


def content_digest(pieces: Iterable[Piece]) -> bytes:
    """What files have alike that hold the same bytes, and no others, whatever parts of them are stored as
    holes: a hash of all blocks that are not zeros, with their places. A terabyte of holes costs nothing."""
    digest = hashlib.sha256()
    block = bytearray()
    at = 0

    def end_block() -> None:
        nonlocal at
        if block != _ZEROS[: len(block)]:
            digest.update(at.to_bytes(8, "little"))
            digest.update(block)
        at += len(block)
        block.clear()

    for piece in pieces:
        rest = piece
        while _length(rest):
            if isinstance(rest, int) and not block:
                at += rest - rest % _BLOCK
                rest %= _BLOCK
            head, rest = _split(rest, min(_length(rest), _BLOCK - len(block)))
            block += bytes(head)
            if len(block) == _BLOCK:
                end_block()
    end_block()
    digest.update(at.to_bytes(8, "little"))
    return digest.digest()


def _length(piece: Piece) -> int:
    return piece if isinstance(piece, int) else len(piece)


def _split(piece: Piece, at: int) -> tuple[Piece, Piece]:
    if isinstance(piece, int):
        return at, piece - at
    return (piece, b"") if at == len(piece) else (piece[:at], piece[at:])


def _is_equal(a: Piece, b: Piece) -> bool:
    """Of two pieces of the same length."""
    if isinstance(a, bytes):
        return a == b if isinstance(b, bytes) else a.count(0) == len(a)
    return isinstance(b, int) or b.count(0) == len(b)


def kind_of(node: Node) -> str:
    """What a node is, in a word."""
    return TYPE_NAMES[DIRECTORY if isinstance(node, Directory) else node.entry.typeflag]


def attributes_of(node: Node) -> Attributes:
    """The effective attributes; a directory that no layer lists is 0755 and root's."""
    if isinstance(node, Inode):
        return node.effective()
    if node.entry is None:
        return Attributes(0o755, 0, 0, 0, {})
    return Attributes.of(node.entry)


def names_of(inode: Inode, path: bytes) -> dict[bytes, int]:
    """The paths that share an inode, each with the layer that made it; `path` is one of them. Its entry may
    have another, which a symlink led there."""
    if inode.bindings is None:
        return {path: inode.layer}
    return {binding.path: binding.layer for binding in inode.bindings.values()}


def links_of(inode: Inode) -> int:
    """How many names an inode has."""
    return 1 if inode.bindings is None else len(inode.bindings)


def _inodes(path: bytes, a: Inode, b: Inode, same_content: SameContent) -> Iterator[Difference]:
    ra, rb = a.entry, b.entry
    if ra.typeflag == SYMLINK and ra.linkname != rb.linkname:
        yield Difference(path, "target", show_path(ra.linkname), show_path(rb.linkname))
    if (ra.devmajor, ra.devminor) != (rb.devmajor, rb.devminor):
        yield Difference(path, "device", f"{ra.devmajor}:{ra.devminor}", f"{rb.devmajor}:{rb.devminor}")
    if ra.typeflag == REGULAR:
        if ra.realsize != rb.realsize:
            yield Difference(path, "size", str(ra.realsize), str(rb.realsize))
        elif ra.realsize and not same_content(a, b):
            yield Difference(path, "content", "", "")


def _groups(
    path: bytes, a: Inode, b: Inode, regrouped: set[Inode], may_lack: MayLack | None
) -> Iterator[Difference]:
    """Which names share an inode, told once a group; every part of a cut group must be a part."""
    ours, theirs = names_of(a, path), names_of(b, path)
    if may_lack is not None:
        for lacking in filter(may_lack, ours.keys() ^ theirs.keys()):
            ours.pop(lacking, None)
            theirs.pop(lacking, None)
    if ours.keys() == theirs.keys() or a in regrouped or b in regrouped:
        return
    left, right = (", ".join(show_path(name) for name in sorted(names)) for names in (ours, theirs))
    if not _is_part(ours, theirs) and not _is_part(theirs, ours):
        regrouped |= {a, b}
        yield Difference(path, "hard links", left, right)
    elif path == min(*ours, *theirs):
        yield Difference(path, SPLIT, left, right)


def _is_part(part: dict[bytes, int], whole: dict[bytes, int]) -> bool:
    """Whether some names of a group are all of those that a stretch of its layers made."""
    if not part.keys() <= whole.keys():
        return False
    layers = [whole[name] for name in part]
    stretch = {name for name, layer in whole.items() if min(layers) <= layer <= max(layers)}
    return stretch == part.keys()


def _attributes(path: bytes, a: Attributes, b: Attributes) -> Iterator[Difference]:
    if a == b:
        return
    if a.mode != b.mode:
        yield Difference(path, "mode", f"{a.mode:04o}", f"{b.mode:04o}")
    if (a.uid, a.gid) != (b.uid, b.gid):
        yield Difference(path, "owner", f"{a.uid}:{a.gid}", f"{b.uid}:{b.gid}")
    if a.mtime != b.mtime:
        yield Difference(path, "mtime", _time(a.mtime), _time(b.mtime))
    if a.xattrs != b.xattrs:
        common = a.xattrs.items() & b.xattrs.items()
        yield Difference(path, "xattrs", _xattrs(a.xattrs, common), _xattrs(b.xattrs, common))


def _xattrs(xattrs: dict[bytes, bytes], common: Set[tuple[bytes, bytes]]) -> str:
    items = [f"{show_path(name)}={show_path(value)}" for name, value in sorted(xattrs.items() - common)]
    return ", ".join(items) or "none"


def _time(nanoseconds: int) -> str:
    """Decimal seconds since the epoch, as pax has them."""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return "-" * (nanoseconds < 0) + f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".")
