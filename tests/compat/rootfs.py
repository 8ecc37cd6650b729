"""A root file system on disk as one value: every path, with everything about it that an image can say."""

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = b"."
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}
PHANTOM = "phantom"
"""A name that the directory lists and that cannot be looked up: a whiteout which hides nothing."""

OF_THE_HOST = ("security.selinux", "trusted.overlay.")
"""Extended attributes that the host adds: no image holds them."""


@dataclass(frozen=True, slots=True)
class Node:
    """What stands at one path; `links` are all the names of its inode, where it has several."""

    type: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    size: int = 0
    sha256: str = ""
    linkname: bytes = b""
    device: tuple[int, int] = (0, 0)
    links: frozenset[bytes] = frozenset()


Snapshot = dict[bytes, Node]


def snapshot(path: Path) -> Snapshot:
    """Read the tree at `path`, which nobody may change meanwhile; the root itself is at `ROOT`."""
    top = os.fsencode(path)
    found: dict[bytes, os.stat_result | None] = {ROOT: os.lstat(top)}
    names: dict[tuple[int, int], list[bytes]] = {}
    waiting = [ROOT]
    while waiting:
        folder = waiting.pop()
        for name in os.listdir(os.path.join(top, folder)):
            relative = name if folder == ROOT else folder + b"/" + name
            try:
                status = os.lstat(os.path.join(top, relative))
            except FileNotFoundError:
                found[relative] = None
                continue
            found[relative] = status
            if stat.S_ISDIR(status.st_mode):
                waiting.append(relative)
            else:
                names.setdefault((status.st_dev, status.st_ino), []).append(relative)
    contents: dict[tuple[int, int], str] = {}
    nodes: Snapshot = {}
    for relative, maybe in sorted(found.items()):
        if maybe is None:
            nodes[relative] = Node(PHANTOM)
            continue
        inode = (maybe.st_dev, maybe.st_ino)
        if stat.S_ISREG(maybe.st_mode) and inode not in contents:
            contents[inode] = _sha256(os.path.join(top, relative))
        group = names.get(inode, [])
        links = frozenset(group) if len(group) > 1 else frozenset()
        nodes[relative] = _node(os.path.join(top, relative), maybe, contents.get(inode, ""), links)
    return nodes


def differences(first: Snapshot, second: Snapshot) -> list[str]:
    """One line for each path and field in which the two are not the same; none where they are."""
    lines = []
    for path in sorted(first.keys() | second.keys()):
        a, b = first.get(path), second.get(path)
        if a == b:
            continue
        if a is None or b is None:
            side, node = ("first", a) if b is None else ("second", b)
            lines.append(f"{_shown(path)}: only in the {side}: {node}")
            continue
        for field in fields(Node):
            x, y = getattr(a, field.name), getattr(b, field.name)
            if x != y:
                lines.append(f"{_shown(path)}: {field.name} {_shown(x)} != {_shown(y)}")
    return lines


def _node(path: bytes, status: os.stat_result, sha256: str, links: frozenset[bytes]) -> Node:
    mode = status.st_mode
    special = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    xattrs = tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not name.startswith(OF_THE_HOST)
    )
    return Node(
        type=TYPES[stat.S_IFMT(mode)],
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        xattrs=xattrs,
        size=status.st_size if sha256 else 0,
        sha256=sha256,
        linkname=os.readlink(path) if stat.S_ISLNK(mode) else b"",
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if special else (0, 0),
        links=links,
    )


def _sha256(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(_shown, value))) + "}"
    return repr(value)


def assert_same(pairs: Iterable[tuple[str, Snapshot, Snapshot]]) -> None:
    """Both root file systems of each pair are the same; its name goes before what differs."""
    unlike = [f"{name}: {line}" for name, one, other in pairs for line in differences(one, other)]
    shown = [line[:300] for line in unlike[:20]]
    assert not unlike, "\n".join([f"{len(unlike)} differences", *shown])
