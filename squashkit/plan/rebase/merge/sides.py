"""The four trees of a merge, and what lies in them."""

from __future__ import annotations

from collections.abc import Iterator

from squashkit.layers.entry import REGULAR, SYMLINK
from squashkit.layers.lookup import node_at, resolve
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs
from squashkit.plan.rebase.contents import Contents, is_file
from squashkit.plan.rebase.model import Side
from squashkit.values import frozen


@frozen
class Tree:
    """One root file system, and what its files hold."""

    rootfs: Rootfs
    side: Side
    contents: Contents

    def node(self, path: bytes) -> Node | None:
        """What lies at a path, no symlinks followed."""
        return node_at(self.rootfs, path)

    def text(self, path: bytes) -> bytes | None:
        """A file's content; None where there is no file."""
        node = self.node(path)
        return self.contents.text(node, self.side) if isinstance(node, Inode) else None

    def names(self, folder: bytes) -> Iterator[bytes]:
        """What a folder holds, sorted; nothing where there is none."""
        directory = self.rootfs.directories.get(folder)
        yield from sorted(directory.children) if directory is not None else ()

    def real(self, path: bytes) -> bytes:
        """A path with the symlinks on the way to its last part followed: /lib is /usr/lib."""
        parent, _, name = path.rpartition(b"/")
        directory = resolve(self.rootfs, parent, follow=True)
        return directory.child_path(name) if isinstance(directory, Directory) else path

    def leads(self, path: bytes) -> bool:
        """Whether a path leads to something, symlinks followed."""
        return resolve(self.rootfs, path, follow=True) is not None

    def key(self, path: bytes) -> object:
        """What two trees have alike where a path holds the same in both: its type, and content or target.
        The content of files is compared by a digest."""
        node = self.node(path)
        if not isinstance(node, Inode):
            return type(node)
        record = node.entry
        if record.typeflag == REGULAR and record.realsize:
            return record.realsize, self.contents.digest(node, self.side)
        return record.typeflag, record.linkname if record.typeflag == SYMLINK else b""


@frozen
class Sides:
    """The old base, the image on it, the new base, and the image's layers on that one."""

    old: Tree
    app: Tree
    new: Tree
    result: Tree
    bottom: int
    """How many layers the new base has: what the result has from these is the new base's own."""

    def is_new_base(self, path: bytes) -> bool:
        """Whether the result shows the new base's own at a path."""
        node = self.result.node(path)
        return node is not None and node.layer < self.bottom

    def is_above(self, path: bytes) -> bool:
        """Whether a layer above the base has put a file there."""
        node = self.result.node(path)
        return is_file(node) and node.layer >= self.bottom

    def is_as_old(self, path: bytes) -> bool:
        """Whether the image has at a path what its old base had there, nothing included."""
        was, ours = self.old.node(path), self.app.node(path)
        if _is_one(was, ours):
            return True
        return _may_be_same(was, ours) and self.old.key(path) == self.app.key(path)

    def shows(self, tree: Tree, path: bytes) -> bool:
        """Whether the result has at a path what one of the trees has there."""
        if tree is self.new and self.is_new_base(path):
            return True
        ours, theirs = tree.node(path), self.result.node(path)
        return _may_be_same(ours, theirs) and tree.key(path) == self.result.key(path)


def _may_be_same(one: Node | None, other: Node | None) -> bool:
    """Whether two nodes may hold the same: their sizes do not tell them apart."""
    if isinstance(one, Inode) and isinstance(other, Inode):
        return one.entry.realsize == other.entry.realsize
    return type(one) is type(other)


def _is_one(one: Node | None, other: Node | None) -> bool:
    """Whether two trees of one image have the same entry: nobody wrote it in between."""
    if not isinstance(one, Inode) or not isinstance(other, Inode):
        return False
    return (one.layer, one.entry.start) == (other.layer, other.entry.start)
