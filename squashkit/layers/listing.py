"""A root file system as lines, the same for the same tree, and the digest of them: pure.

docs/provenance.md defines both, so that others can compute the digest; what is said here holds there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote_from_bytes

from squashkit.layers.compare import attributes_of, iter_nodes
from squashkit.layers.entry import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, REGULAR, SYMLINK
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs
from squashkit.oci.digests import Digest

VERSION: Final = "squashkit rootfs 1"
"""The first line. It is another one where the same tree would be listed otherwise."""
_LETTERS: Final = {
    REGULAR: "f", DIRECTORY: "d", SYMLINK: "l", FIFO: "p", CHARACTER: "c", BLOCK_DEVICE: "b",
}  # fmt: skip

ContentDigest = Callable[[Inode], bytes]
"""The sha256 of what a regular file holds, holes as zeros."""


def rootfs_digest(rootfs: Rootfs, content: ContentDigest) -> Digest:
    """The digest of a root file system: equal for trees that are equal, whatever layers made them."""
    digest = hashlib.sha256()
    for line in list_rootfs(rootfs, content):
        digest.update(line)
    return Digest(f"sha256:{digest.hexdigest()}")


def list_rootfs(rootfs: Rootfs, content: ContentDigest) -> Iterator[bytes]:
    """The lines of a root file system: one for each path, in the order of the paths' bytes. The root has
    one where a layer lists it."""
    yield f"{VERSION}\n".encode()
    if rootfs.root.entry is not None:
        yield _line(b"", rootfs.root, content)
    first: dict[Inode, bytes] = {}  # of inodes that have several names
    for path, node in sorted(iter_nodes(rootfs.root), key=lambda one: one[0]):
        if isinstance(node, Inode) and node.bindings is not None:
            if node in first:
                yield f"{_quoted(path)} h {_quoted(first[node])}\n".encode()
                continue
            first[node] = path
        yield _line(path, node, content)


def _line(path: bytes, node: Node, content: ContentDigest) -> bytes:
    """All that is said of an inode, at the first of its names."""
    kind = DIRECTORY if isinstance(node, Directory) else node.entry.typeflag
    mode, uid, gid, mtime, xattrs = attributes_of(node)
    mode = 0o777 if kind == SYMLINK else mode  # no file system keeps another (symlink(7))
    fields = [_quoted(path), _LETTERS[kind], f"{mode:04o}", f"{uid}", f"{gid}", f"{mtime}"]
    if isinstance(node, Inode):
        record = node.entry
        if kind == REGULAR:
            fields += f"{record.realsize}", content(node).hex()
        elif kind == SYMLINK:
            fields.append(quote_from_bytes(record.linkname))
        elif kind in (CHARACTER, BLOCK_DEVICE):
            fields.append(f"{record.devmajor}:{record.devminor}")
    for name, value in sorted(xattrs.items()):
        fields.append(f"{quote_from_bytes(name)}={quote_from_bytes(value)}")
    return (" ".join(fields) + "\n").encode()


def _quoted(path: bytes) -> str:
    """A path from the root, in the characters of a URI (RFC 3986): every byte is %XX that is no letter, no
    digit and none of `-._~/`."""
    return "/" + quote_from_bytes(path)
