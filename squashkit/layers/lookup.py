"""What lies at a path of a root file system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from squashkit.layers.entry import SYMLINK
from squashkit.layers.links import MAX_SYMLINKS
from squashkit.layers.rootfs import Directory, Inode, Node, Place, Rootfs, bound_by
from squashkit.values import frozen


def node_at(rootfs: Rootfs, path: bytes) -> Node | None:
    """What lies at a path, no symlinks followed."""
    if not path:
        return rootfs.root
    parent, _, name = path.rpartition(b"/")
    directory = rootfs.directories.get(parent)
    return directory.children.get(name) if directory is not None else None


def resolve(rootfs: Rootfs, path: bytes, *, follow: bool) -> Node | None:
    """What a path of the finished tree means, symlinks on the way followed inside the root, the last part's
    too with `follow`. None where nothing is there, or the way leads in a circle."""
    parts = path.split(b"/")[::-1]
    at: Node = rootfs.root
    parent = rootfs.root
    followed = 0
    while parts:
        part = parts.pop()
        if not isinstance(at, Directory):
            return None
        if part in (b"", b"."):
            continue
        if part == b"..":
            at = at.parent or at
            continue
        parent = at
        child = parent.children.get(part)
        if child is None:
            return None
        at = child
        if isinstance(at, Inode) and at.entry.typeflag == SYMLINK and (follow or any(parts)):
            followed += 1
            if followed > MAX_SYMLINKS:
                return None
            target = at.entry.linkname
            parts.extend(target.split(b"/")[::-1])
            at = rootfs.root if target.startswith(b"/") else parent
    return at


class Way(NamedTuple):
    """The way to what a path leads to."""

    passed: list[Place]
    """What was passed, in order: symlinks, directories, and last what it leads to."""
    node: Node | None
    """None where it leads nowhere."""

    @property
    def links(self) -> Iterator[Place]:
        """The symlinks on it."""
        return (place for place in self.passed if is_symlink(*place))

    @property
    def path(self) -> bytes:
        """Of what it leads to."""
        if isinstance(self.node, Directory):
            return self.node.path
        directory, name = self.passed[-1]
        return directory.child_path(name)


def way_from(rootfs: Rootfs, directory: Directory, path: bytes) -> Way:
    """The way of a path that begins in a directory, symlinks followed inside the root, the last part's
    too."""
    passed: list[Place] = []
    parts = path.split(b"/")[::-1]
    at: Node = directory
    followed = 0
    while parts:
        part = parts.pop()
        if part in (b"", b"."):
            continue
        if not isinstance(at, Directory):
            return Way(passed, None)
        if part == b"..":
            at = at.parent or at
            continue
        child = at.children.get(part)
        if child is None:
            return Way(passed, None)
        passed.append((at, part))
        if isinstance(child, Inode) and child.entry.typeflag == SYMLINK:
            followed += 1
            if followed > MAX_SYMLINKS:
                return Way(passed, None)
            target = child.entry.linkname
            parts.extend(target.split(b"/")[::-1])
            at = rootfs.root if target.startswith(b"/") else at
        else:
            at = child
    return Way(passed, at)


def is_symlink(directory: Directory, name: bytes) -> bool:
    """Whether a name in a directory is one."""
    node = directory.children[name]
    return isinstance(node, Inode) and node.entry.typeflag == SYMLINK


def lower_children(directory: Directory, run: int) -> Iterator[tuple[bytes, Node | None]]:
    """What a directory from below the run held when the run began: the names that it still has from
    there, and those that the run took away."""
    for name, node in directory.children.items():
        if isinstance(node, Inode) and node.bindings is not None:
            binding = node.bindings.get((directory, name))  # none where the directory was removed
            if binding is not None and binding.layer < run:
                yield name, node
        elif node.layer < run:
            yield name, node
    if directory.displaced is not None:
        yield from directory.displaced.items()


@frozen
class Lower:
    """What lay below a run at the names of one directory of the result."""

    names: Mapping[bytes, Node | None]
    """Those that the run took away, or if it made the directory anew, all that its twin had; None where it
    cannot be known."""
    kept: Directory | None
    """The directory itself, where its other names from below are still there."""
    run: int

    @classmethod
    def of(cls, directory: Directory, twin: Directory | None, rootfs: Rootfs) -> Lower:
        """`twin` is what the layers below have at the directory's path, if a directory: itself where it
        survived."""
        run = rootfs.run
        if twin is None:
            return cls({}, None, run)
        if directory.remade or directory is not twin:
            return cls(dict(lower_children(twin, run)), None, run)
        return cls(directory.displaced or {}, directory, run)

    def at(self, name: bytes, node: Node) -> Node | None:
        """What lay at a name where this is now: itself where it is from below."""
        if name in self.names:
            return self.names[name]
        return node if self.kept is not None and bound_by(self.kept, name, node) < self.run else None
