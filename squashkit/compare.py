"""Two root file systems, entry by entry: pure; content comes as digests that are asked for when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from squashkit.rootfs import Attributes, Directory, Inode, Node, Rootfs
from squashkit.tar import REGULAR

DigestOf = Callable[[Inode], str]
"""Gives the digest of a file's content."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two root file systems differ at a path."""

    path: bytes
    what: str
    left: str
    right: str


def iter_nodes(rootfs: Rootfs) -> Iterator[tuple[bytes, Node]]:
    """Every path of a root file system but the root itself, directories before what they hold."""
    stack = [rootfs.root]
    while stack:
        directory = stack.pop()
        for name, node in sorted(directory.children.items()):
            yield directory.child_path(name), node
            if isinstance(node, Directory):
                stack.append(node)


def iter_differences(
    left: Rootfs, right: Rootfs, left_digest: DigestOf, right_digest: DigestOf
) -> Iterator[Difference]:
    """What differs: presence, type, mode, owner, mtime, xattrs, targets, devices, content, and which
    names share an inode. Content is asked for only where sizes are equal."""
    ours, theirs = dict(iter_nodes(left)), dict(iter_nodes(right))
    for path in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            yield Difference(path, "presence", _presence(a), _presence(b))
        elif isinstance(a, Directory) or isinstance(b, Directory):
            if type(a) is not type(b):
                yield Difference(path, "type", _presence(a), _presence(b))
            else:
                yield from _attributes(path, attributes_of(a), attributes_of(b))
        else:
            yield from _inodes(path, a, b, left_digest, right_digest)


def attributes_of(node: Node) -> Attributes:
    """The effective attributes; a directory that no layer lists is 0755 and root's."""
    if isinstance(node, Inode):
        return node.effective()
    if node.entry is None:
        return Attributes(0o755, 0, 0, 0, {})
    return Attributes.of(node.entry.record)


def group_of(inode: Inode) -> frozenset[bytes]:
    """The names that share an inode; empty where it has one only."""
    bindings = inode.bindings or {}
    return frozenset(b.path for b in bindings.values()) if len(bindings) > 1 else frozenset()


def _inodes(
    path: bytes, a: Inode, b: Inode, left_digest: DigestOf, right_digest: DigestOf
) -> Iterator[Difference]:
    ra, rb = a.entry.record, b.entry.record
    if ra.typeflag != rb.typeflag:
        yield Difference(path, "type", ra.typeflag.decode(), rb.typeflag.decode())
        return
    yield from _attributes(path, a.effective(), b.effective())
    if ra.linkname != rb.linkname:
        yield Difference(path, "target", repr(ra.linkname), repr(rb.linkname))
    if (ra.devmajor, ra.devminor) != (rb.devmajor, rb.devminor):
        yield Difference(
            path, "device", f"{ra.devmajor}:{ra.devminor}", f"{rb.devmajor}:{rb.devminor}"
        )
    if group_of(a) != group_of(b):
        yield Difference(path, "hard links", repr(sorted(group_of(a))), repr(sorted(group_of(b))))
    if ra.typeflag == REGULAR:
        if ra.realsize != rb.realsize:
            yield Difference(path, "size", str(ra.realsize), str(rb.realsize))
        elif ra.realsize and (left := left_digest(a)) != (right := right_digest(b)):
            yield Difference(path, "content", left, right)


def _attributes(path: bytes, a: Attributes, b: Attributes) -> Iterator[Difference]:
    for name, left, right in zip(Attributes._fields, a, b, strict=True):
        if left != right:
            yield Difference(path, name, str(left), str(right))


def _presence(node: Node | None) -> str:
    if node is None:
        return "absent"
    return "directory" if isinstance(node, Directory) else "present"
