"""Files as a tree of few nodes: what is small is folded into its directory. Pure.

A page can show some thousand rectangles, an image has a hundred thousand files. So the largest directory is
opened first, then the next, until there are as many nodes as the page may have. Of an open directory the
large children are nodes, the small ones together are one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from typing import NamedTuple

from squashkit.values import frozen

_SHARE = 200
"""A child is small that has less than this part of its directory."""
_ALWAYS, _MOST = 12, 60
"""Children that are nodes however small they are, and the most that are however large."""
_DEEP = 40
"""Directories in each other that are opened."""


class Sized(NamedTuple):
    """A file: its path, its bytes, and the layer that holds them."""

    path: bytes
    size: int
    layer: int


class What(Enum):
    """What a node stands for."""

    DIRECTORY = "directory"
    FILE = "file"
    SMALL = "small"
    """The small children of a directory together."""


@frozen
class Node:
    """A directory, a file, or what is small in a directory. Sizes are bytes."""

    what: What
    path: bytes
    """Relative to the root, without a slash at the start; of small ones that of their directory."""
    parent: int
    """The index of the node that this is in; -1 for the root."""
    size: int
    files: int
    layers: tuple[tuple[int, int], ...]
    """Layers and their bytes, the most bytes first."""
    is_open: bool = False
    """Whether what is in it are nodes, too."""


def fold(files: Iterable[Sized], limit: int) -> list[Node]:
    """At most so many nodes (at least one), each behind its parent, the root first. What is in an open
    directory adds up to its size; the sizes of all that is not open add up to those of the files.

    A directory that holds one thing and nothing else is one node with that.
    """
    root = _summed(files)
    nodes = [_node(What.DIRECTORY, b"", -1, [root])]
    waiting: list[tuple[int, bytes, int, int, _Directory]] = []
    heappush(waiting, (-root.size, b"", 0, 0, root))
    while waiting:
        _, _, at, depth, directory = heappop(waiting)
        children, small = _parted(directory, min(_MOST, limit - len(nodes) - 1))
        if len(nodes) + len(children) + bool(small) > limit or not children:
            continue
        nodes[at] = _node(What.DIRECTORY, nodes[at].path, nodes[at].parent, [directory], is_open=True)
        for child in children:
            inner = _innermost(child)
            if isinstance(inner, _Directory):
                if depth < _DEEP:
                    heappush(waiting, (-inner.size, inner.path, len(nodes), depth + 1, inner))
                nodes.append(_node(What.DIRECTORY, inner.path, at, [inner]))
            else:
                nodes.append(_node(What.FILE, inner.path, at, [inner]))
        if small:
            nodes.append(_node(What.SMALL, directory.path, at, small))
    return nodes


@dataclass(slots=True, eq=False)
class _Directory:
    path: bytes
    parent: _Directory | None
    size: int = 0
    count: int = 0
    by_layer: Counter[int] = field(default_factory=Counter)
    files: list[Sized] = field(default_factory=list)
    directories: list[_Directory] = field(default_factory=list)


def _summed(files: Iterable[Sized]) -> _Directory:
    """The root of all directories that hold these files, each with its sums."""
    by_directory: dict[bytes, list[Sized]] = defaultdict(list)
    for one in files:
        by_directory[one.path.rpartition(b"/")[0]].append(one)
    directories = {b"": _Directory(b"", None)}  # parents come first
    for path, own in by_directory.items():
        directory = _made(directories, path)
        directory.files = own
        directory.count = len(own)
        for one in own:
            directory.size += one.size
            directory.by_layer[one.layer] += one.size
    for directory in reversed(directories.values()):
        above = directory.parent
        if above is not None:
            above.size += directory.size
            above.count += directory.count
            for layer, size in directory.by_layer.items():
                above.by_layer[layer] += size
    return directories[b""]


def _made(directories: dict[bytes, _Directory], path: bytes) -> _Directory:
    """The directory of a path, made with those above it where it is not there yet."""
    missing: list[bytes] = []
    above = path
    while above not in directories:
        missing.append(above)
        above = above.rpartition(b"/")[0]
    directory = directories[above]
    for one in reversed(missing):
        inner = _Directory(one, directory)
        directory.directories.append(inner)
        directories[one] = directory = inner
    return directory


def _innermost(one: _Directory | Sized) -> _Directory | Sized:
    """Where a directory holds one thing and nothing else: that, and so on."""
    while isinstance(one, _Directory) and len(one.files) + len(one.directories) == 1:
        one = one.files[0] if one.files else one.directories[0]
    return one


def _parted(directory: _Directory, most: int) -> tuple[list[_Directory | Sized], list[_Directory | Sized]]:
    """The children that are nodes, at most so many, the largest first, and the small ones."""
    ordered: list[_Directory | Sized] = [*directory.directories, *directory.files]
    ordered.sort(key=lambda one: (-one.size, one.path, not isinstance(one, Sized)))
    large = sum(
        number < _ALWAYS or one.size * _SHARE >= directory.size
        for number, one in enumerate(ordered[: max(0, most)])
    )
    if large == len(ordered) - 1:
        large += 1
    return ordered[:large], ordered[large:]


def _node(
    what: What,
    path: bytes,
    parent: int,
    of: Sequence[_Directory | Sized],
    *,
    is_open: bool = False,
) -> Node:
    layers: Counter[int] = Counter()
    count = 0
    for one in of:
        if isinstance(one, Sized):
            layers[one.layer] += one.size
            count += 1
        else:
            layers.update(one.by_layer)
            count += one.count
    ordered = sorted(layers.items(), key=lambda item: (-item[1], item[0]))
    return Node(what, path, parent, sum(layers.values()), count, tuple(ordered), is_open)
