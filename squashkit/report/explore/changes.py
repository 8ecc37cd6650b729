"""What each layer of an image did to the root file system: added, changed, removed, and what of it is dead.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import attributes_of, iter_nodes
from squashkit.layers.entry import DIRECTORY, Entry
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Attributes, Directory, Node, Rootfs
from squashkit.values import frozen


class Mark(Enum):
    """What is told of a path by a letter."""

    ADDED = "A"
    CHANGED = "C"
    REMOVED = "R"
    DEAD = "D"


NAMES = {Mark.ADDED: "added", Mark.CHANGED: "changed", Mark.REMOVED: "removed", Mark.DEAD: "dead"}
"""What each letter means, in a word."""


class Item(NamedTuple):
    """What one layer did at one path."""

    path: bytes
    layer: int
    mark: Mark | None
    """None for a directory that the layer lists as it was; its time does not count."""
    entry: Entry | None
    """The layer's entry, or of what is removed the entry that was there; None for a directory that no layer
    lists."""

    @property
    def typeflag(self) -> bytes:
        return DIRECTORY if self.entry is None else self.entry.typeflag

    @property
    def size(self) -> int:
        """Bytes of payload, as they are stored in the tar."""
        return 0 if self.entry is None else self.entry.size


@frozen
class History:
    """What all layers did, base first."""

    layers: tuple[tuple[Item, ...], ...]
    """Of each layer every path that it touched, once."""
    lost: tuple[tuple[Item, ...], ...]
    """Of each layer the entries that it does not leave at their paths itself: the path comes again in its
    tar, or only other names of the content last."""
    rootfs: Rootfs
    """What all of them made."""
    killed: dict[int, int]
    """The layer that killed each dead entry, by the entry's `id`. Directories hold no bytes, and do not
    count."""

    def killed_by(self, item: Item) -> int | None:
        """The layer that killed what a layer added or changed; None for what lives, and for what is
        removed."""
        if item.mark is Mark.REMOVED or item.entry is None:
            return None
        return self.killed.get(id(item.entry))

    def state(self, layer: int) -> Iterator[Item]:
        """The paths of the root file system that the layers up to this one make, and those that this one
        removed: each as the last layer left it that touched it."""
        last: dict[bytes, Item] = {}
        for items in self.layers[: layer + 1]:
            last |= {item.path: item for item in items}
        return (one for one in last.values() if one.mark is not Mark.REMOVED or one.layer == layer)


def follow_layers(changesets: Sequence[Changeset], begin: Callable[[int], None]) -> History:
    """Apply layers one by one, and see what each does; `begin` hears of each. Raises InvalidLayer as
    `Rootfs.apply` does."""
    rootfs = Rootfs()
    there: set[bytes] = set()
    layers, lost = [], []
    for layer, changeset in enumerate(changesets):
        begin(layer)
        items, unseen = _items(rootfs, changeset, layer, there)
        layers.append(items)
        lost.append(unseen)
        there |= {item.path for item in items if item.mark is not Mark.REMOVED}
        there -= {item.path for item in items if item.mark is Mark.REMOVED}
    killed = {id(one.entry): one.by for one in rootfs.dropped if one.entry.traits.typeflag != DIRECTORY}
    return History(tuple(layers), tuple(lost), rootfs, killed)


def _items(
    rootfs: Rootfs, changeset: Changeset, layer: int, there: set[bytes]
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What a layer does, and what it has and does not leave at its path; it is applied. `there` are the
    paths below it."""
    hidden = list(_hidden(rootfs, changeset))
    listed = dict(_directories(rootfs, changeset))
    seen = len(rootfs.dropped)
    rootfs.apply(changeset, layer)

    def mark(path: bytes, node: Node | None) -> Mark | None:
        if path not in there:
            return Mark.ADDED
        before = listed.get(path)
        if before is None or not isinstance(node, Directory):
            return Mark.CHANGED
        return Mark.CHANGED if attributes_of(node)._replace(mtime=0) != before else None

    found: list[Item] = []
    elsewhere: dict[int, Entry] = {}
    for entry in changeset.entries:
        node = node_at(rootfs, entry.path)
        if node is not None and _has(rootfs, entry.path, node, entry):
            found.append(Item(entry.path, layer, mark(entry.path, node), entry))
        else:
            elsewhere[id(entry)] = entry
    lost: list[Item] = []
    is_odd = bool(elsewhere)
    if is_odd:  # put through a symlink, replaced by the layer itself, or a name that only links have
        moved = list(_moved(rootfs, layer, elsewhere))
        found += [Item(path, layer, mark(path, node), entry) for path, node, entry in moved]
        for _, _, entry in moved:
            del elsewhere[id(entry)]
        places = {id(one.entry): one.path for one in rootfs.dropped[seen:]}
        for key, entry in elsewhere.items():
            if entry.typeflag != DIRECTORY:
                lost.append(Item(places.get(key, entry.path), layer, Mark.ADDED, entry))
    paths = {item.path for item in found}
    for directory in _unlisted(rootfs, paths, layer):
        found.append(Item(directory.path, layer, mark(directory.path, directory), None))
    for path, node in _below(hidden):
        if path not in paths and path in there and node_at(rootfs, path) is None:
            paths.add(path)
            found.append(Item(path, layer, Mark.REMOVED, node.entry))
    if is_odd:  # what such entries took the place of is not known by their names
        found += [
            Item(path, layer, Mark.REMOVED, None)
            for path in there - paths
            if path and node_at(rootfs, path) is None
        ]
    return tuple(found), tuple(lost)


def _hidden(rootfs: Rootfs, changeset: Changeset) -> Iterator[tuple[bytes, Node]]:
    """What lies where a layer hides something, or has something that is no directory."""
    for path in changeset.whiteouts:
        node = node_at(rootfs, path)
        if node is not None:
            yield path, node
    for path in changeset.opaques:
        directory = rootfs.directories.get(path)
        if directory is not None:
            yield from [(directory.child_path(name), node) for name, node in directory.children.items()]
    for entry in changeset.entries:
        directory = rootfs.directories.get(entry.path)
        if directory is not None and entry.typeflag != DIRECTORY:
            yield entry.path, directory


def _below(tops: Iterable[tuple[bytes, Node]]) -> Iterator[tuple[bytes, Node]]:
    """These and all that they hold. A directory that was taken away still has its children."""
    for path, node in tops:
        yield path, node
        if isinstance(node, Directory):
            yield from iter_nodes(node)


def _directories(rootfs: Rootfs, changeset: Changeset) -> Iterator[tuple[bytes, Attributes]]:
    """The attributes, without their times, of directories that a layer may list again: they are gone when
    it is applied."""
    paths = {entry.path for entry in changeset.entries if entry.typeflag == DIRECTORY}
    above = {one for entry in changeset.entries for one in _above(entry.path, paths)}
    for path in paths | above:
        directory = rootfs.directories.get(path)
        if directory is not None:
            yield path, attributes_of(directory)._replace(mtime=0)


def _above(path: bytes, known: set[bytes]) -> Iterator[bytes]:
    """The directories that a path leads through, up to one that is known."""
    parent = path.rpartition(b"/")[0]
    while parent and parent not in known:
        yield parent
        parent = parent.rpartition(b"/")[0]


def _has(rootfs: Rootfs, path: bytes, node: Node, entry: Entry) -> bool:
    """Whether what lies at a path is what an entry put there."""
    if isinstance(node, Directory) or node.bindings is None:
        return node.entry is entry
    parent, _, name = path.rpartition(b"/")
    return node.bindings[rootfs.directories[parent], name].entry is entry


def _moved(rootfs: Rootfs, layer: int, wanted: dict[int, Entry]) -> Iterator[tuple[bytes, Node, Entry]]:
    """Where entries of a layer are that are not at their own paths."""
    for directory in rootfs.directories.values():
        if directory.entry_layer == layer and id(directory.entry) in wanted:
            yield directory.path, directory, wanted[id(directory.entry)]
        for name, node in directory.children.items():
            if not isinstance(node, Directory):
                many = node.bindings
                entry = node.entry if many is None else many[directory, name].entry
                if id(entry) in wanted:
                    yield directory.child_path(name), node, entry


def _unlisted(rootfs: Rootfs, paths: set[bytes], layer: int) -> Iterator[Directory]:
    """The directories that a layer made without listing them."""
    seen: set[Directory] = set()
    for path in paths:
        at = rootfs.directories.get(path.rpartition(b"/")[0])
        while at is not None and at not in seen and at.parent is not None:
            seen.add(at)
            if at.entry is None and at.layer == layer:
                yield at
            at = at.parent
