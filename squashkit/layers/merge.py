"""The one layer that a run of layers becomes: pure, linear in what the run touched.

It holds only what every consumer of layers applies alike:

* one entry a path, after all its ancestor directories, which have their effective attributes;
* a whiteout only for a path that the layers below have, under a directory that is one on both sides;
  never one under a new directory, never beside an entry for the same path;
* a directory that was removed and made again becomes its entry and one whiteout for each lower child that
  is gone (or, on request, the opaque marker and no whiteouts);
* no hard link to anything outside the layer: where the target lies below, a copy stands in its place;
* everything else verbatim: the header blocks of a survivor are copied as bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from operator import attrgetter
from typing import Any, NamedTuple

from squashkit.layers import headers, tar
from squashkit.layers.changeset import (
    DISK_BLOCK,
    OPAQUE,
    WHITEOUT,
    Changeset,
    HostSize,
    blocks_of,
    content_of,
)
from squashkit.layers.entry import DIRECTORY, HARD_LINK, REGULAR, Entry, HeaderOf
from squashkit.layers.lookup import Lower
from squashkit.layers.pieces import (
    Copy,
    Group,
    Member,
    Piece,
    SafeSubset,
    as_it_stands,
    as_members,
    join_pieces,
)
from squashkit.layers.rootfs import BELOW, Attributes, Binding, Directory, Dropped, Inode, Node, Rootfs
from squashkit.values import frozen, mutable


class CopiedLink(NamedTuple):
    """A hard link of a run to a file below it, which became a copy: so no link leads out of its layer."""

    path: bytes
    target: bytes
    size: int
    """Bytes of the payload."""


class LeftOut(NamedTuple):
    """A path of the source that the result does not have, or of the caches one that stays in it."""

    path: bytes
    size: int
    """Bytes of the payload that is no longer shipped: 0 of what is no file, of a further name of a file,
    and of what the base goes on shipping."""
    rule: str
    """What is to be left out, by its name, that this is a part of."""
    layer: int
    """The last layer of the run that it was left out of."""


_NOTHING = HostSize(0, 0)


@frozen
class SquashedLayer:
    """The layer that a run becomes, or one of them. Without pieces it holds nothing and is not written."""

    start: int
    stop: int
    pieces: tuple[Piece, ...]
    entries: int
    source_entries: int
    source_size: int
    dropped: tuple[Dropped, ...]
    copies: tuple[CopiedLink, ...]
    host_size: HostSize = _NOTHING
    """What it takes on a host."""
    key: str = ""
    """Of a layer that other images have, too, wherever they have it: equal keys are equal bytes."""

    @property
    def diff_size(self) -> int:
        """Bytes of the uncompressed tar, its end blocks included; 0 where there is no layer."""
        if not self.pieces:
            return 0
        payload = sum(
            piece.end - piece.start if isinstance(piece, Copy) else len(piece) for piece in self.pieces
        )
        return payload + len(tar.END_OF_ARCHIVE)


EMPTY = SquashedLayer(0, 0, (bytes(0),), 0, 0, 0, (), (), HostSize(0, DISK_BLOCK))
"""A layer without entries: the one of an image that would have none."""


@mutable
class _Run:
    """What a walk over a run's result found that must be written."""

    start: int
    directories: dict[Directory, None] = field(default_factory=dict)
    """In no order. A dict, since a set of so many takes twice the room."""
    whiteouts: dict[Directory, list[bytes]] = field(default_factory=dict)
    emptied: set[Directory] = field(default_factory=set)
    verbatim: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    """Files whose headers can stay as they are, by their layers."""
    renamed: list[tuple[bytes, Inode]] = field(default_factory=list)
    groups: dict[int, Inode] = field(default_factory=dict)

    def need(self, directory: Directory | None) -> None:
        """A directory, and all above it, must be in the layer."""
        while directory is not None and directory not in self.directories:
            self.directories[directory] = None
            directory = directory.parent


def merge_run(
    rootfs: Rootfs,
    changesets: Mapping[int, Changeset],
    header_of: HeaderOf,
    *,
    opaque: bool,
    walk_order: bool = False,
) -> SquashedLayer:
    """The layer that leads from what lies below a run to what the run made of it.

    Entries that are no directories stand in source order, so that spans join. In `walk_order` each
    directory is followed by all that it holds, as archivers want it: GNU tar sets a directory's time when
    it comes to the first entry outside.
    """
    start = rootfs.run
    found, copies, remade, directories = _compare(
        rootfs, header_of, opaque=opaque, order=_by_path if walk_order else _by_source
    )
    safe = SafeSubset(listed=not rootfs.unknown_below)
    groups: list[Group] = [(BELOW, directories), *_by_layer(found, remade)]
    if walk_order:
        members = sorted(as_members(groups), key=lambda one: one.path.split(b"/") if one.path else [])
        groups = [(BELOW, members)]
    pieces, entries = join_pieces((layer, safe.verified(members)) for layer, members in groups)
    safe.finish()
    return SquashedLayer(
        start=start,
        stop=start + len(changesets),
        pieces=pieces,
        entries=entries,
        source_entries=sum(changeset.count for changeset in changesets.values()),
        source_size=sum(c.diff_size for c in changesets.values()),
        dropped=tuple(dead for dead in rootfs.dropped if dead.layer >= start),
        copies=tuple(copies),
        host_size=_host_size(found),
    )


class Folder(NamedTuple):
    """A directory that a run's layer lists."""

    header: bytes
    attributes: Attributes
    changed: bool
    """Whether the run made or changed it; else it is listed since something below it is."""


class Part(NamedTuple):
    """Something of a run that is no directory, with all its names: they must lie in one layer."""

    members: tuple[Member, ...]
    """The first holds the content, the others link to it."""
    entry: Entry
    """What the content came with."""
    layer: int
    """In which layer that is."""
    attributes: Attributes


class RunParts(NamedTuple):
    """What `merge_run` would put into one layer, apart."""

    folders: dict[bytes, Folder]
    """By their paths; the root's is the empty one."""
    whiteouts: list[Member]
    others: list[Part]


def parts_of_run(rootfs: Rootfs, header_of: HeaderOf, latest: int | None = None) -> RunParts:
    """What leads from what lies below a run to what the run made of it. The names of one inode are in the
    order of their paths: the first of them is the file, wherever the others came from. Times after the
    `latest` one, in nanoseconds, become that."""
    found = _walk(rootfs, opaque=False)
    others = []
    for layer, entries in found.verbatim.items():
        for entry in entries:
            attributes = Attributes.of(entry)
            pieces = as_it_stands(layer, entry)
            if latest is not None and entry.mtime > latest:
                attributes = attributes._replace(mtime=latest)
                pieces = _rewritten(layer, entry, entry.path, header_of, attributes)
            member = Member(layer, entry.start, entry.path, entry.typeflag, None, pieces)
            others.append(Part((member,), entry, layer, attributes))
    for path, inode in found.renamed:
        entry, changed = inode.entry, _changed(inode, latest)
        pieces = _rewritten(inode.layer, entry, path, header_of, changed)
        member = Member(inode.layer, entry.start, path, entry.typeflag, None, pieces)
        others.append(Part((member,), entry, inode.layer, changed or inode.effective()))
    for inode in found.groups.values():
        members = _group(inode, found, header_of, [], _by_path, latest)
        attributes = _changed(inode, latest) or inode.effective()
        others.append(Part(tuple(members), inode.entry, inode.layer, attributes))
    folders = {}
    whiteouts = []
    by_path = {directory.path: directory for directory in found.directories}
    for member in _directories(found, rootfs):
        if member.typeflag != DIRECTORY:
            whiteouts.append(member)
            continue
        directory = by_path[member.path]
        is_changed = max(directory.entry_layer, directory.layer) >= found.start
        if directory.entry is None:
            (header,) = member.pieces
            attributes = Attributes(0o755, 0, 0, 0, {})
        else:
            attributes, clamped = Attributes.of(directory.entry), None
            if latest is not None and is_changed and attributes.mtime > latest:
                attributes = clamped = attributes._replace(mtime=latest)
            header = _directory_header(directory, directory.entry, clamped)
        assert isinstance(header, bytes)
        folders[member.path] = Folder(header, attributes, is_changed)
    return RunParts(folders, whiteouts, others)


def measure_run(rootfs: Rootfs, header_of: HeaderOf) -> tuple[int, list[CopiedLink]]:
    """The bytes of the tar that `merge_run` makes, 0 where it would hold nothing, and the links in it that
    became copies."""
    found, copies, remade, directories = _compare(rootfs, header_of, opaque=False, order=_by_source)
    size = sum(entry.length for entries in found.verbatim.values() for entry in entries)
    for member in (*remade, *directories):
        size += sum(
            len(piece) if isinstance(piece, bytes) else piece.end - piece.start for piece in member.pieces
        )
    return size + len(tar.END_OF_ARCHIVE) if size else 0, copies


def _compare(
    rootfs: Rootfs, header_of: HeaderOf, *, opaque: bool, order: Callable[[Binding], Any]
) -> tuple[_Run, list[CopiedLink], list[Member], Iterator[Member]]:
    """What must be written, the links among it that became copies, all that cannot stay as it stands, and
    the directories with their whiteouts."""
    found = _walk(rootfs, opaque=opaque or rootfs.unknown_below)
    copies: list[CopiedLink] = []
    remade = _remade(found, header_of, copies, order)  # first: they say which directories are needed
    return found, copies, remade, _directories(found, rootfs)


def _host_size(found: _Run) -> HostSize:
    """A group of hard links counts once."""
    entries = [entry for entries in found.verbatim.values() for entry in entries]
    entries += [inode.entry for _, inode in found.renamed]
    entries += [inode.entry for inode in found.groups.values()]
    folders = sum(directory.parent is not None for directory in found.directories) + 1
    return HostSize(sum(map(content_of, entries)), sum(map(blocks_of, entries)) + DISK_BLOCK * folders)


def _walk(rootfs: Rootfs, *, opaque: bool) -> _Run:
    """Compare what the run left with what lay below it, in the directories that it touched.

    Each directory of the result comes with its twin, the directory that the lower layers have at its
    path: itself where it survived, another where it was made again, none where it is new.
    """
    start = rootfs.run
    found = _Run(start)
    verbatim = found.verbatim
    stack: list[tuple[Directory, Directory | None]] = [(rootfs.root, rootfs.root)]
    while stack:
        directory, twin = stack.pop()
        if directory.entry_layer >= start:
            found.need(directory)
        lower = Lower.of(directory, twin, rootfs).names
        if twin is not None:
            remade = directory.remade or directory is not twin
            if remade and opaque and (lower or rootfs.unknown_below):
                found.emptied.add(directory)
                found.need(directory)
                lower = {}
            elif gone := [name for name in lower if name not in directory.children]:
                found.whiteouts[directory] = sorted(gone)
                found.need(directory)
        above = directory.path
        holds_files = False
        for name, node in directory.children.items():
            if isinstance(node, Directory):
                if node.layer >= start:
                    found.need(node)
                    stack.append((node, _twin(node, name, lower, rootfs)))
                elif node.touched == start:
                    stack.append((node, node))
            elif node.bindings is None:
                if node.layer >= start:
                    holds_files = True
                    entry = node.entry
                    _, _, _, written_in, base, _, _, traits, written = entry
                    if base == name and written_in == above and not written and not traits.odd:
                        verbatim[node.layer].append(entry)
                    else:
                        found.renamed.append((directory.child_path(name), node))
            elif node.changed >= start or next(reversed(node.bindings.values())).layer >= start:
                found.groups[id(node)] = node
        if holds_files:
            found.need(directory)
    return found


_UNKNOWN = Directory(b"", None, None, BELOW)
"""The twin of a directory that took the place of something that cannot be known."""


def _twin(
    directory: Directory, name: bytes, lower: Mapping[bytes, Node | None], rootfs: Rootfs
) -> Directory | None:
    """What the lower layers have in the place of a directory that the run made, if a directory."""
    if name not in lower:
        return directory if rootfs.unknown_below else None
    below = lower[name]
    if below is None:
        return _UNKNOWN
    return below if isinstance(below, Directory) else None


def _directories(found: _Run, rootfs: Rootfs) -> Iterator[Member]:
    """The root's entry, then each directory followed at once by its whiteouts, sorted by path."""
    for directory in sorted(found.directories, key=lambda directory: directory.path):
        pieces = _directory_pieces(directory, found.start, invent=not rootfs.unknown_below)
        if pieces:
            yield Member(BELOW, 0, directory.path, DIRECTORY, None, pieces)
        hidden = [WHITEOUT + name for name in found.whiteouts.get(directory, ())]
        for name in [OPAQUE] if directory in found.emptied else hidden:
            path = directory.child_path(name)
            header = headers.header(path, REGULAR, mode=0o644)
            yield Member(BELOW, 0, path, REGULAR, None, (header,))


def _directory_pieces(directory: Directory, start: int, *, invent: bool) -> tuple[Piece, ...]:
    """What a directory's entry is written from: where it stands in the run, or its header."""
    is_of_run = directory.entry_layer >= start
    if directory.parent is None and not is_of_run:
        return ()  # the root's own entry is never invented
    if directory.entry is None:
        return (headers.header(directory.path + b"/", DIRECTORY, mode=0o755),) if invent else ()
    entry = directory.entry
    if is_of_run and entry.headers and _is_verbatim(directory, entry):
        return as_it_stands(directory.entry_layer, entry)
    return (_directory_header(directory, entry),)


def _directory_header(directory: Directory, entry: Entry, attributes: Attributes | None = None) -> bytes:
    """The header of a directory that some layer lists, with other attributes where they are given."""
    assert entry.header is not None
    if attributes is None and _is_verbatim(directory, entry):
        return entry.header
    return headers.rewrite(
        entry, entry.header, name=_as_named(directory), attributes=attributes and attributes[:4]
    )


def _is_verbatim(directory: Directory, entry: Entry) -> bool:
    """Whether a directory's header can stay as it is."""
    name = entry.name
    return not entry.odd and bool(name) and name in (_as_named(directory), directory.path)


def _as_named(directory: Directory) -> bytes:
    """A directory's name in a tar."""
    return directory.path + b"/" if directory.parent else b"./"


def _by_source(binding: Binding) -> tuple[int, int]:
    return binding.layer, binding.entry.start


def _by_path(binding: Binding) -> list[bytes]:
    return binding.path.split(b"/")


def _remade(
    found: _Run,
    header_of: HeaderOf,
    copies: list[CopiedLink],
    order: Callable[[Binding], Any],
) -> list[Member]:
    """Everything that is no directory and cannot stay as it stands, or has several names."""
    members: list[Member] = []
    for path, inode in found.renamed:
        entry = inode.entry
        pieces = _rewritten(inode.layer, entry, path, header_of, inode.attributes)
        members.append(Member(inode.layer, entry.start, path, entry.typeflag, None, pieces))
    for inode in found.groups.values():
        members += _group(inode, found, header_of, copies, order)
    return members


def _by_layer(found: _Run, remade: Sequence[Member]) -> Iterator[Group]:
    """Everything that is no directory, in source order."""
    others: dict[int, list[Member]] = defaultdict(list)
    for member in remade:
        others[member.layer].append(member)
    for layer in sorted({*found.verbatim, *others}):
        yield layer, sorted([*found.verbatim[layer], *others[layer]], key=attrgetter("start"))


def _group(
    inode: Inode,
    found: _Run,
    header_of: HeaderOf,
    copies: list[CopiedLink],
    order: Callable[[Binding], Any],
    latest: int | None = None,
) -> list[Member]:
    """The names of one inode: the first becomes the file, the others link to it.

    An inode from below the run gives only the names that the run made for it, as a copy; where the run
    changed its attributes, it gives all of its names.
    """
    assert inode.bindings is not None
    names = list(inode.bindings.values())
    if inode.layer < found.start:
        made = [binding for binding in names if binding.layer >= found.start]
        copied = (made or names)[0]  # its attributes may be changed by a link that is gone again
        copies.append(CopiedLink(copied.path, inode.entry.path, inode.entry.size))
        if inode.changed < found.start:
            names = made
    names.sort(key=order)
    first = names[0]
    first_path = first.path
    entry, changed = inode.entry, _changed(inode, latest)
    members = []
    for binding in names:
        found.need(binding.directory)
        path = binding.path
        own = binding.entry
        if binding is first:
            verbatim = own is entry and entry.name == path and not entry.odd
            if verbatim and changed is None:
                pieces = as_it_stands(inode.layer, entry)
            else:
                pieces = _rewritten(inode.layer, entry, path, header_of, changed)
            typeflag, target = entry.typeflag, None
        else:
            is_link = own.typeflag == HARD_LINK and own.linkname == first_path
            if is_link and own.name == path and changed is None and not own.odd:
                pieces = as_it_stands(binding.layer, own)
            else:
                pieces = (_as_link(binding, first_path, header_of, changed),)
            typeflag, target = HARD_LINK, first_path
        members.append(Member(binding.layer, own.start, path, typeflag, target, pieces))
    return members


def _changed(inode: Inode, latest: int | None) -> Attributes | None:
    """The attributes of an inode where they are to be others than its entry's."""
    if latest is not None and (effective := inode.effective()).mtime > latest:
        return effective._replace(mtime=latest)
    return inode.attributes


def _rewritten(
    layer: int, entry: Entry, path: bytes, header_of: HeaderOf, attributes: Attributes | None
) -> tuple[Piece, ...]:
    """An inode under another name than its header's, or with other attributes, and with its own extended
    records."""
    header = headers.rewrite(
        entry,
        header_of(layer, entry),
        name=path,
        attributes=attributes and attributes[:4],
        xattrs=attributes and attributes.xattrs,
    )
    return (header, Copy(layer, entry.data, entry.end)) if entry.size else (header,)


def _as_link(binding: Binding, target: bytes, header_of: HeaderOf, effective: Attributes | None) -> bytes:
    """A further name of an inode. Its header repeats the inode's attributes, since the last header of a
    group decides about them; its xattrs too, since a change of owner takes file capabilities away."""
    own = binding.entry
    return headers.rewrite(
        own,
        header_of(binding.layer, own),
        name=binding.path,
        linkname=target,
        attributes=effective and effective[:4],
        xattrs=effective and effective.xattrs,
    )
