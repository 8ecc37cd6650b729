"""A risk of a rebase: what is at risk, where, what both sides have there, and what will be seen.

A layer was made against its old base. Databases, caches and accounts that it holds hide the new base's;
files that it copied up keep the old base's content. Nothing is told where the bases agree.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from squashkit.errors import show_path
from squashkit.layers.entry import SYMLINK
from squashkit.layers.rootfs import Directory, Inode, Node
from squashkit.values import frozen


class BaseNodes(NamedTuple):
    """What the two bases have at a path."""

    old: Node | None
    new: Node | None


class Kind(Enum):
    """What is at risk."""

    PLATFORM = "platform"
    TYPE = "type"
    PARENT = "parent"
    LINK = "link"
    PACKAGES = "packages"
    DEPENDS = "depends"
    CONTENT = "content"
    STALE = "stale"
    ACCOUNTS = "accounts"
    CACHES = "caches"


_ERRORS = frozenset({Kind.PLATFORM, Kind.TYPE, Kind.PARENT, Kind.LINK})
"""Kinds that are errors unless a risk says otherwise."""


@frozen
class Risk:
    """One thing that the other base makes wrong, or means otherwise."""

    kind: Kind
    path: bytes
    """Empty where it is about the image as a whole."""
    old: str
    """What the layers go by: what the old base has, or what they have themselves. For people."""
    new: str
    """What the new base has."""
    layer: int | None
    """The layer above the base that it is about, counted from the lowest."""
    effect: str
    """What will be seen."""
    is_error: bool | None = None
    package: str = ""
    """The package that it is about, where one is known."""

    @property
    def stops(self) -> bool:
        """Whether it is an error: a strict rebase stops here."""
        return self.kind in _ERRORS if self.is_error is None else self.is_error


class Copied(NamedTuple):
    """A file of the old base's that a layer above has copied up."""

    path: bytes
    layer: int
    """Counted from the lowest above the base."""
    same_content: bool
    """Only attributes were changed."""
    changed_below: bool
    """The new base has other content, or none."""


class Side(Enum):
    """Which image an inode is of: the old base, or the new one with the layers above."""

    OLD = "old"
    NEW = "new"


class Files(Protocol):
    """What files hold, fetched if need be."""

    def digest(self, side: Side, inode: Inode) -> bytes:
        """What two files of the same content have alike, and no others."""

    def text(self, side: Side, inode: Inode) -> bytes:
        """All that a file holds."""


ACCOUNTS = {b"etc/passwd": "user", b"etc/group": "group"}
"""The files of accounts, and what they list."""


def show_node(node: Node | None) -> str:
    """What a node is, for people."""
    if node is None:
        return "nothing"
    if isinstance(node, Directory):
        return "a directory"
    record = node.entry
    if record.typeflag == SYMLINK:
        return f"a symlink to {show_path(record.linkname)}"
    return "a file"
