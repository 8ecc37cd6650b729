"""What the files of a rebase hold."""

from __future__ import annotations

import re
from dataclasses import field
from typing import TypeGuard

from squashkit.layers.entry import REGULAR
from squashkit.layers.rootfs import Inode, Node
from squashkit.plan.rebase.model import Files, Side
from squashkit.values import frozen

_MAX_TEXT = 64 << 20  # a package database of 60,000 packages


_TEXTS = re.compile(
    rb"(?:usr/)?lib/apk/db/(?:installed|triggers|scripts\.tar(?:\.gz)?)|etc/apk/world"
    rb"|var/lib/dpkg/(?:status|diversions|statoverride|arch|(?:status\.d|info|triggers|alternatives)/[^/]*)"
    rb"|var/lib/apt/extended_states|var/cache/debconf/[a-z]*\.dat|var/lib/ucf/(?:registry|hashfile)"
    rb"|etc/(?:passwd|group|shadow|gshadow|subuid|subgid|shells|ld\.so\.cache|ca-certificates\.conf)"
    rb"|etc/ssl/certs/ca-certificates\.crt|usr/share/ca-certificates/.*\.crt"
    rb"|etc/(?:ssl/cert\.pem|ssl/ca-bundle\.pem|pki/[^:]*\.pem|pki/tls/certs/ca-bundle\.crt)"
)


def is_text(path: bytes) -> bool:
    """Whether a file is one that a rebase reads, and does not only compare."""
    return _TEXTS.fullmatch(path) is not None


@frozen
class Contents:
    """What files hold. It is asked for only where sizes do not tell."""

    files: Files
    _digests: dict[tuple[Side, Inode], bytes] = field(default_factory=dict)

    def text(self, inode: Inode, side: Side = Side.NEW) -> bytes | None:
        """A file's content; None where the inode is no file, or it is too long."""
        if not is_file(inode) or inode.entry.realsize > _MAX_TEXT:
            return None
        return self.files.text(side, inode)

    def is_same(self, inode: Inode, other: Inode, side: Side = Side.NEW) -> bool:
        """Whether two inodes have the same content. The first is of this side, the other of the new
        image."""
        left, right = inode.entry, other.entry
        if (left.typeflag, left.linkname) != (right.typeflag, right.linkname):
            return False
        if left.realsize != right.realsize:
            return False
        if left.typeflag != REGULAR or not left.realsize:
            return True
        return self.digest(inode, side) == self.digest(other)

    def digest(self, inode: Inode, side: Side = Side.NEW) -> bytes:
        """What regular files of the same content have alike, found out once."""
        key = side, inode
        if key not in self._digests:
            self._digests[key] = self.files.digest(side, inode)
        return self._digests[key]

    def do_agree(self, old: Node | None, new: Node | None) -> bool:
        """Whether the two bases have the same at a path."""
        if isinstance(old, Inode) and isinstance(new, Inode):
            return self.is_same(old, new, Side.OLD)
        return type(old) is type(new)


def is_file(node: Node | None) -> TypeGuard[Inode]:
    """Whether a node is a regular file."""
    return isinstance(node, Inode) and node.entry.typeflag == REGULAR
