"""The one layer that holds what was chosen of an image, alone or on a base."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from squashkit.errors import show_path
from squashkit.layers import headers, tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.compare import attributes_of, kind_of
from squashkit.layers.entry import DIRECTORY, REGULAR, SYMLINK, Entry, HeaderOf, directories_above
from squashkit.layers.lookup import node_at
from squashkit.layers.merge import SquashedLayer, merge_run
from squashkit.layers.pieces import Copy
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs
from squashkit.plan.segments import Segment
from squashkit.plan.squash import KeptLayer, LayerPlan, find_obstacle
from squashkit.values import frozen

SameContent = Callable[[Inode, Inode], bool]


@frozen
class MadeFile:
    """A file that the source does not have so, or a directory."""

    content: bytes | None
    """None of a directory."""
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    """Nanoseconds."""


@frozen
class Selection:
    """What the new layer is to hold, by paths without a slash at the start."""

    paths: frozenset[bytes]
    """Of the source, directories among them; those above come by themselves."""
    made: Mapping[bytes, MadeFile] = field(default_factory=dict)
    """What is new."""


@dataclass(slots=True)
class Fitted:
    """What a base already has of a selection, and what it has otherwise."""

    there: list[bytes] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def fit_on_base(
    source: Rootfs,
    base: Rootfs,
    paths: Collection[bytes],
    same: SameContent,
    through: Collection[tuple[bytes, bytes]] = (),
) -> Fitted:
    """Hold what was chosen against a base: left out is what that has with equal type, attributes and
    content, and a directory that it has stays as it is there. What it has with another type or content is a
    conflict.

    Where `lib` leads to `usr/lib` in the source and is a directory in the base, as in distributions of
    before and after the merge of the two, a file of `usr/lib` may lie in the base's `lib`. `through` are
    such symlinks, each with a path that is looked for by way of it and nowhere else: that must be there.
    """
    fitted = Fitted()
    parted = {path for path in paths if _is_parted(path, source, base)}
    for path in sorted(paths):
        node = node_at(source, path)
        if path in parted:
            fitted.there.append(path)
            continue
        top = path.removeprefix(b"usr/").partition(b"/")[0]
        if node_at(base, path) is None and path.startswith(b"usr/") and top in parted:
            other = node_at(base, path[len(b"usr/") :])
            if other is not None and node is not None:
                if told := _unlike(node, other, same):
                    fitted.conflicts.append(f"/{show_path(path)}: {told}, as /{show_path(path[4:])}")
                elif not isinstance(node, Directory):
                    fitted.there.append(path)
                continue
        for above in directories_above(path):
            there = node_at(base, above)
            if there is not None and not isinstance(there, Directory):
                fitted.conflicts.append(
                    f"/{show_path(path)}: in the base /{show_path(above)} is a {kind_of(there)}"
                )
                break
        else:
            there = node_at(base, path)
            if node is None or there is None:
                continue
            if told := _unlike(node, there, same):
                fitted.conflicts.append(f"/{show_path(path)}: {told}")
            elif isinstance(node, Directory) or attributes_of(node) == attributes_of(there):
                fitted.there.append(path)
    for link, path in sorted(through):
        if link in parted and path not in fitted.there:
            way = f"is looked for by way of /{show_path(link)}, in the base a directory without it"
            fitted.conflicts.append(f"/{show_path(path)} {way}")
    return fitted


def _is_parted(path: bytes, source: Rootfs, base: Rootfs) -> bool:
    """Whether this is a symlink of the root to the folder of its name in `usr`, and in the base a
    directory."""
    node = node_at(source, path) if b"/" not in path else None
    is_link = isinstance(node, Inode) and node.entry.linkname.strip(b"/") == b"usr/" + path
    return is_link and isinstance(node_at(base, path), Directory)


def _unlike(node: Node, there: Node, same: SameContent) -> str:
    """In what two nodes differ that no layer may put on one another; empty where in nothing."""
    if kind_of(node) != kind_of(there):
        return f"a {kind_of(node)}, in the base a {kind_of(there)}"
    if isinstance(node, Directory) or isinstance(there, Directory):
        return ""
    mine, theirs = node.entry, there.entry
    if mine.typeflag == SYMLINK and mine.linkname != theirs.linkname:
        return f"leads to {show_path(mine.linkname)}, in the base to {show_path(theirs.linkname)}"
    if (mine.devmajor, mine.devminor) != (theirs.devmajor, theirs.devminor):
        return "another device in the base"
    if mine.typeflag == REGULAR and (mine.realsize != theirs.realsize or not same(node, there)):
        return "the base has it with other content"
    return ""


def plan_extract(
    changesets: Mapping[int, Changeset], base: int, selection: Selection, header_of: HeaderOf, made_by: str
) -> LayerPlan:
    """The plan that keeps the first `base` layers and makes one of all others: what was chosen of the tree
    that they make by themselves. `made_by` is what the history says.

    Raises UnsupportedImage for what no layer can hold, InvalidLayer as `Rootfs.apply` does.
    """
    total = len(changesets)
    rootfs = Rootfs()
    rootfs.begin_run(base)
    for index in range(base, total):
        rootfs.apply(changesets[index], index)
    _keep_only(rootfs, selection.paths)
    _refuse_obstacles(rootfs)
    made = _tar_of(selection.made, rootfs)
    rootfs.apply(parse_changeset(tar.scan_bytes(made), len(made)), total)
    if base:
        _lie_on(rootfs, base, changesets)

    def headers_of(index: int, entry: Entry) -> bytes:
        return made[entry.start : entry.data] if index == total else header_of(index, entry)

    run = {index: changesets[index] for index in range(base, total)}
    merged = merge_run(rootfs, run, headers_of, opaque=False)
    kept = [KeptLayer(index) for index in range(base)]
    segments = [Segment(0, base, keep=True), Segment(base, total, keep=False, remake=True)]
    layers: list[KeptLayer | SquashedLayer] = [*kept, _with_bytes(merged, total, made)]
    return LayerPlan(tuple(one for one in segments if len(one)), tuple(layers), made_by=made_by)


def _keep_only(rootfs: Rootfs, paths: Collection[bytes]) -> None:
    """Take away all that was not chosen and is above nothing that was."""
    for directory in reversed(list(rootfs.directories.values())):  # what it holds has gone before
        for name, node in list(directory.children.items()):
            is_empty = not isinstance(node, Directory) or not node.children
            if is_empty and directory.child_path(name) not in paths:
                rootfs.take_out(directory, name)


def _refuse_obstacles(rootfs: Rootfs) -> None:
    """Raises UnsupportedImage for what no layer may hold."""
    for directory in rootfs.directories.values():
        inodes = [node for node in directory.children.values() if isinstance(node, Inode)]
        for inode in inodes:
            found = find_obstacle(Changeset((inode.entry,), (), (), (), 0))
            if found is not None:
                raise found.error(inode.layer)


def _lie_on(rootfs: Rootfs, base: int, changesets: Mapping[int, Changeset]) -> None:
    """Give the directories that the base has the attributes that they have there."""
    lower = Rootfs()
    for index in range(base):
        lower.apply(changesets[index], index)
    for path, directory in rootfs.directories.items():
        below = lower.directories.get(path)
        if below is not None:
            directory.entry, directory.entry_layer = below.entry, below.entry_layer
            directory.layer = below.layer


def _with_bytes(merged: SquashedLayer, layer: int, data: bytes) -> SquashedLayer:
    """With the bytes themselves in the place of spans of a layer that lies nowhere."""
    pieces = (
        data[piece.start : piece.end] if isinstance(piece, Copy) and piece.layer == layer else piece
        for piece in merged.pieces
    )
    return replace(merged, pieces=tuple(pieces))


def _tar_of(made: Mapping[bytes, MadeFile], rootfs: Rootfs) -> bytes:
    """What is new, as a tar."""
    parts: list[bytes] = []
    for path in sorted(made):
        one = made[path]
        is_directory = one.content is None
        if is_directory and path in rootfs.directories:
            continue
        typeflag = DIRECTORY if is_directory else REGULAR
        content = one.content or b""
        name = path + b"/" * is_directory
        block = headers.header(name, typeflag, mode=one.mode, size=len(content))
        (entry,) = tar.scan_bytes(block + content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0"))
        block = headers.rewrite(entry, block, attributes=(one.mode, one.uid, one.gid, one.mtime))
        parts += [block, content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")]
    return b"".join(parts)
