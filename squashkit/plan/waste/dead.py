"""Dead files: which layer made them, which killed them, and how. Pure; content is asked for where sizes
are equal, since size and time are not believed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Attributes, Dropped, Inode, Rootfs
from squashkit.plan.waste.model import Cause, DeadFile


class Contents(Protocol):
    """The bytes of files of an image's layers."""

    def same(self, layer: int, entry: Entry, other_layer: int, other: Entry) -> bool:
        """Whether two files of one size hold the same bytes."""

    def head(self, layer: int, entry: Entry) -> bytes:
        """The first bytes of a file, the same for files of the same bytes."""

    def digest(self, layer: int, entry: Entry) -> bytes:
        """What two files have alike if they hold the same bytes, and no others."""


class _New(NamedTuple):
    """A file that a layer made, where its path did not have that content."""

    path: bytes
    entry: Entry


def find_dead(changesets: Sequence[Changeset], contents: Contents) -> tuple[Rootfs, list[DeadFile]]:
    """The root file system of these layers, and every file of at least a byte that a layer holds and it
    does not: the largest first, then by layer and path.

    The sizes of dead files and of those of the root file system (each inode once) add up to the payload of
    all layers. Raises InvalidLayer as `Rootfs.apply` does.
    """
    rootfs = Rootfs()
    dead: list[DeadFile] = []
    for layer, changeset in enumerate(changesets):
        before = dict(_same_sized(rootfs, changeset)) if layer else {}
        seen = len(rootfs.dropped)
        rootfs.apply(changeset, layer)
        lost = [one for one in rootfs.dropped[seen:] if _has_payload(one.entry)]
        if lost:
            dead += _explained(rootfs, changeset, layer, lost, before, contents)
    dead.sort(key=lambda one: (-one.size, one.layer, one.path, one.killed_by))
    return rootfs, dead


def payload_of(changeset: Changeset) -> int:
    """Bytes of a layer's files, as they are stored in its tar."""
    return sum(entry.size for entry in changeset.entries)


def _has_payload(entry: Entry) -> bool:
    return entry.traits.typeflag == REGULAR and entry.size > 0


def _same_sized(rootfs: Rootfs, changeset: Changeset) -> Iterator[tuple[bytes, Inode]]:
    """Files that stand where a layer has files of the same size, by their paths."""
    for entry in changeset.entries:
        if entry.size and entry.traits.typeflag == REGULAR:
            node = node_at(rootfs, entry.path)
            if isinstance(node, Inode) and node.entry.realsize == entry.realsize:
                yield entry.path, node


def _explained(
    rootfs: Rootfs,
    changeset: Changeset,
    layer: int,
    lost: Sequence[Dropped],
    before: dict[bytes, Inode],
    contents: Contents,
) -> Iterator[DeadFile]:
    """The files that a layer killed, each with its cause. The tree is as that layer left it."""
    unexplained: list[Dropped] = []
    for one in lost:
        node = node_at(rootfs, one.last)
        if isinstance(node, Inode) and _is_same(one, node, contents):
            after = node.effective()
            changed = tuple(_changed(one.attributes or Attributes.of(one.entry), after))
            if changed:
                told = _dead(one, Cause.ATTRIBUTES, changed)
                yield told._replace(mode=after.mode, owner=(after.uid, after.gid))
            else:
                yield _dead(one, Cause.IDENTICAL)
        else:
            unexplained.append(one)
    moved = _moved(rootfs, changeset, layer, unexplained, before, contents)
    for one in unexplained:
        if id(one) in moved:
            yield _dead(one, Cause.MOVED, moved_to=moved[id(one)])
        else:
            is_there = node_at(rootfs, one.last) is not None
            yield _dead(one, Cause.OVERWRITTEN if is_there else Cause.DELETED)


def _dead(
    one: Dropped, cause: Cause, changed: tuple[str, ...] = (), moved_to: bytes | None = None
) -> DeadFile:
    record = one.entry
    return DeadFile(one.path, record.size, record.length, one.layer, one.by, cause, changed, moved_to)


def _is_same(one: Dropped, node: Inode, contents: Contents) -> bool:
    mine, other = one.entry, node.entry
    if other.typeflag != REGULAR or other.realsize != mine.realsize:
        return False
    return contents.same(one.layer, one.entry, node.layer, node.entry)


def _changed(before: Attributes, after: Attributes) -> Iterator[str]:
    if before.mode != after.mode:
        yield "mode"
    if (before.uid, before.gid) != (after.uid, after.gid):
        yield "owner"
    if before.xattrs != after.xattrs:
        yield "xattrs"


def _moved(
    rootfs: Rootfs,
    changeset: Changeset,
    layer: int,
    lost: Sequence[Dropped],
    before: dict[bytes, Inode],
    contents: Contents,
) -> dict[int, bytes]:
    """Where dead files went, by their identity. New files, in the order of their paths, take the first of
    the same content that none has taken, in the order of layers and paths."""
    sizes = {one.entry.realsize for one in lost}
    made = [new for new in _new_files(rootfs, changeset, layer) if new.entry.realsize in sizes]
    if not made:
        return {}
    sizes = {new.entry.realsize for new in made}
    waiting: dict[bytes, deque[Dropped]] = defaultdict(deque)
    for one in sorted(lost, key=lambda one: (one.layer, one.path)):
        if one.entry.realsize in sizes:
            waiting[contents.digest(one.layer, one.entry)].append(one)
    moved: dict[int, bytes] = {}
    for new in sorted(made):
        old = before.get(new.path)
        if old is not None and contents.same(old.layer, old.entry, layer, new.entry):
            continue
        same = waiting.get(contents.digest(layer, new.entry))
        if same:
            moved[id(same.popleft())] = new.path
    return moved


def _new_files(rootfs: Rootfs, changeset: Changeset, layer: int) -> Iterator[_New]:
    """The files of at least a byte that a layer made and left there, with the paths that they have."""
    elsewhere: set[int] = set()
    for entry in changeset.entries:
        if _has_payload(entry):
            node = node_at(rootfs, entry.path)
            if isinstance(node, Inode) and node.entry is entry:
                yield _New(entry.path, entry)
            else:
                elsewhere.add(id(entry))
    if not elsewhere:
        return
    # Put through a symlink of its own layer, or left with another of its names.
    for directory in rootfs.directories.values():
        for name, node in directory.children.items():
            if isinstance(node, Inode) and node.layer == layer and id(node.entry) in elsewhere:
                elsewhere.discard(id(node.entry))
                yield _New(directory.child_path(name), node.entry)
