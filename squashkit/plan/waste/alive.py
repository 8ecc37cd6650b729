"""Files of a root file system: each inode once, and those that hold the same bytes as others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.plan.waste.dead import Contents
from squashkit.plan.waste.model import LiveFile
from squashkit.values import frozen


class _Found(NamedTuple):
    """An inode by the path that tells it."""

    path: bytes
    layer: int
    entry: Entry
    others: tuple[bytes, ...] = ()


@frozen
class Duplicates:
    """Files that hold the same bytes, each inode once."""

    size: int
    """Bytes of the payload that storing them once would save."""
    paths: tuple[bytes, ...]


def live_files(rootfs: Rootfs) -> list[LiveFile]:
    """Every file of at least a byte, each inode once: by the path that its content came with, or if that
    name is gone by one that is left."""
    return [
        LiveFile(path, entry.size, entry.length, layer, others)
        for path, layer, entry, others in _inodes(rootfs)
    ]


def find_duplicates(rootfs: Rootfs, contents: Contents) -> list[Duplicates]:
    """Groups of files of the same bytes, whatever their attributes: those that cost most first. Content is
    asked for where sizes are equal, and most of it where the first bytes are, too."""
    groups = _grouped([list(_inodes(rootfs))], lambda one: one.entry.realsize)
    groups = _grouped(groups, lambda one: contents.head(one.layer, one.entry))
    groups = _grouped(groups, lambda one: contents.digest(one.layer, one.entry))
    found = [
        Duplicates(
            sum(sizes := [one.entry.size for one in group]) - max(sizes),
            tuple(sorted(one.path for one in group)),
        )
        for group in groups
    ]
    return sorted(found, key=lambda one: (-one.size, one.paths))


def _grouped(groups: Iterable[Sequence[_Found]], key: Callable[[_Found], Hashable]) -> list[list[_Found]]:
    """Files of one group that have the key alike, where they are at least two."""
    made: list[list[_Found]] = []
    for group in groups:
        by_key: dict[Hashable, list[_Found]] = defaultdict(list)
        for one in group:
            by_key[key(one)].append(one)
        made += [same for same in by_key.values() if len(same) > 1]
    return made


def _inodes(rootfs: Rootfs) -> Iterator[_Found]:
    for directory in rootfs.directories.values():
        above = directory.child_path(b"")
        for name, node in directory.children.items():
            if not isinstance(node, Inode):
                continue
            record = node.entry
            if not record.size or record.traits.typeflag != REGULAR:
                continue
            path = above + name
            if node.bindings is None:
                yield _Found(path, node.layer, node.entry)
                continue
            names = [binding.path for binding in node.bindings.values()]
            if path == (node.entry.path if node.entry.path in names else names[0]):
                names.remove(path)
                yield _Found(path, node.layer, node.entry, tuple(names))
