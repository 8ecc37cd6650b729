"""What lies at a path of a root file system."""

from __future__ import annotations

from collections.abc import Iterator

from squashkit.layers.links import MAX_SYMLINKS
from squashkit.layers.record import SYMLINK
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs


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
        if isinstance(at, Inode) and at.entry.record.typeflag == SYMLINK and (follow or any(parts)):
            followed += 1
            if followed > MAX_SYMLINKS:
                return None
            target = at.entry.record.linkname
            parts.extend(target.split(b"/")[::-1])
            at = rootfs.root if target.startswith(b"/") else parent
    return at


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
