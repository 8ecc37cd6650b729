"""One path through all layers: which hold it, which hide it, and what becomes of each copy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from squashkit.changeset import OPAQUE, WHITEOUT, Changeset, Entry
from squashkit.compare import iter_nodes
from squashkit.errors import show_path
from squashkit.rootfs import Cause, Directory, Inode, Rootfs
from squashkit.tar import DIRECTORY

_FATES = {
    Cause.OVERWRITTEN: "dead: overwritten by layer {}",
    Cause.DELETED: "dead: deleted by layer {}",
    Cause.ATTRIBUTES: "dead: copied by layer {}, which changes attributes only",
}


@dataclass(frozen=True, slots=True)
class Trace:
    """What one layer does at a path."""

    layer: int
    path: bytes
    """Of the entry, or of the marker as it stands in the layer's tar."""
    entry: Entry | None
    """None for a whiteout or an opaque marker."""
    fate: str
    """What becomes of an entry, or what is hidden, in words."""
    shown: bool = False
    """Whether it is what the root file system has at the path."""


def iter_traces(
    path: bytes, changesets: Mapping[int, Changeset], rootfs: Rootfs
) -> Iterator[Trace]:
    """Everything that layers hold at a path or hide there, base first. `rootfs` is what all of the layers
    made. Markers of directories above the path count, and so does what took a directory's place."""
    ends = {id(dead.entry): _FATES[dead.cause].format(dead.by) for dead in rootfs.dropped}
    above = _above(path)
    held: int | None = None  # the layer whose copy of the path is there
    for layer, changeset in changesets.items():
        for hidden in changeset.whiteouts:
            if hidden == path or hidden in above:
                parent, slash, name = hidden.rpartition(b"/")
                yield Trace(layer, parent + slash + WHITEOUT + name, None, _hides(held))
                held = None
        for directory in changeset.opaques:
            if directory in above:
                marker = directory + b"/" * bool(directory) + OPAQUE
                yield Trace(layer, marker, None, _hides(held))
                held = None
        for entry in changeset.entries:
            if entry.path == path:
                held = layer
                fate = ends.get(id(entry)) or _alive(entry, rootfs)
                yield Trace(layer, path, entry, fate, fate == "shown")
            elif entry.path in above and entry.record.typeflag != DIRECTORY:
                yield Trace(layer, entry.path, entry, f"no directory: {_hides(held)}")
                held = None


def _above(path: bytes) -> set[bytes]:
    """The directories that a path leads through, the root among them."""
    parts = path.split(b"/")
    return {b"/".join(parts[:end]) for end in range(len(parts))}


def _hides(held: int | None) -> str:
    return "hides nothing" if held is None else f"hides that of layer {held}"


def _alive(entry: Entry, rootfs: Rootfs) -> str:
    """What an entry that nothing ended is: there, or content whose first name is gone."""
    parent, _, name = entry.path.rpartition(b"/")
    directory = rootfs.directories.get(parent)
    node = directory.children.get(name) if directory else None
    if isinstance(node, Inode):
        binding = node.bindings.get((directory, name)) if node.bindings and directory else None
        if node.entry is entry or (binding and binding.entry is entry):
            return "shown"
    elif isinstance(node, Directory) and node.entry is entry:
        return "shown"
    for path, other in iter_nodes(rootfs.root):
        if isinstance(other, Inode) and other.entry is entry:
            return f"the name is gone, its content is shown as /{show_path(path)}"
    return "applied elsewhere"  # the way to it led through a symlink
