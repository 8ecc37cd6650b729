"""What is known at a path: what a layer above put there, what each base has, and what these files hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from squashkit.errors import show_path
from squashkit.layers.compare import is_same_content
from squashkit.layers.record import REGULAR, SYMLINK
from squashkit.layers.rootfs import Inode, Node
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.risks.model import Kind, Read, Risk, Side

_MAX_TEXT = 64 << 20  # a package database of 60,000 packages
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Contents:
    """What files hold, as far as it is available."""

    read: Read

    def text(self, inode: Inode, side: Side = Side.NEW) -> bytes | None:
        """A file's content; None where it is not available, the inode is no file, or it is too long."""
        is_text = is_file(inode) and inode.entry.record.realsize <= _MAX_TEXT
        pieces = self.read(side, inode) if is_text else None
        return b"".join(map(bytes, pieces)) if pieces is not None else None

    def is_same(self, inode: Inode, other: Inode, side: Side = Side.NEW) -> bool:
        """Whether two files have the same content: by size and time where that is not available. The first
        is of this side, the other of the new image."""
        left, right = inode.entry.record, other.entry.record
        if (left.typeflag, left.linkname) != (right.typeflag, right.linkname):
            return False
        if left.realsize != right.realsize:
            return False
        if left.typeflag != REGULAR or not left.realsize:
            return True
        x, y = self.read(side, inode), self.read(Side.NEW, other)
        if x is None or y is None:
            return left.mtime == right.mtime
        return is_same_content(x, y)

    def do_agree(self, old: Node | None, new: Node | None) -> bool:
        """Whether the two bases have the same at a path."""
        if isinstance(old, Inode) and isinstance(new, Inode):
            return self.is_same(old, new, Side.OLD)
        return type(old) is type(new)


@dataclass(frozen=True, slots=True)
class Facts:
    """A path at which a layer above put something, and about which the bases do not agree."""

    fitted: Fitted
    contents: Contents
    path: bytes
    above: Inode
    """What the result has there."""
    old: Inode | None
    """What the old base has; None for a directory, too."""
    new: Inode | None
    """What the new base has."""
    same: bool
    """Whether the old base's file still has its content above."""

    def risk(self, kind: Kind, old: str, new: str, effect: str) -> Risk:
        """A risk at this path, of the layer that is seen there."""
        return Risk(kind, self.path, old, new, self.above.layer - self.fitted.bottom, effect)


Detector = Callable[[Facts], Iterator[Risk]]
"""What is at risk at a path."""
Detectors = tuple[tuple[Callable[[bytes], bool], Detector], ...]
"""Each with the paths that it is for; of several the first."""


def path_is(*paths: bytes) -> Callable[[bytes], bool]:
    """Whether a path is one of these."""
    return frozenset(paths).__contains__


def below(*folders: bytes) -> Callable[[bytes], bool]:
    """Whether a path lies in one of these folders, which end in a slash."""
    return lambda path: path.startswith(folders)


def is_file(node: Node | None) -> TypeGuard[Inode]:
    """Whether a node is a regular file."""
    return isinstance(node, Inode) and node.entry.record.typeflag == REGULAR


def show_have(inode: Inode | None) -> str:
    """Whether a side has something of its own."""
    return "its own" if inode is not None else "nothing"


def show_target(inode: Inode) -> str:
    """Where a symlink leads."""
    record = inode.entry.record
    return show_path(record.linkname) if record.typeflag == SYMLINK else "a file"


def show_some(items: Iterable[str]) -> str:
    """The first few of these, and how many more there are."""
    texts = list(items)
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
