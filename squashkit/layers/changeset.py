"""One layer as values: what it adds, and what it hides of the layers below it.

A layer is a tar of a changeset (OCI image-spec, layer.md). `parse_changeset` sorts a tar's records into
entries, whiteouts and opaque markers and normalises their paths; what they *do* is rootfs.py's business.

Paths are bytes, relative to the root, without `./` and without a slash at the end; the root itself is
the empty path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from squashkit.errors import InvalidLayer
from squashkit.layers.entry import DIRECTORY, GLOBAL, LEADS, REGULAR, SYMLINK, Entry, normalise
from squashkit.layers.links import LONGEST, StandingLinks
from squashkit.values import frozen

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS_LINKS = b".wh..wh.plnk"
"""AUFS keeps the inodes of hard links under this directory of the root; only links name them."""


@frozen
class Changeset:
    """A layer's changes. Whiteouts concern lower layers only, wherever they stand in the tar."""

    entries: tuple[Entry, ...]
    """In tar order, those under `.wh..wh.plnk/` included."""
    whiteouts: tuple[bytes, ...]
    """Paths that the layer hides, in tar order, its own symlinks followed on the way."""
    opaques: tuple[bytes, ...]
    """Directories whose lower children the layer hides, in tar order."""
    markers: tuple[Entry, ...]
    """The whiteouts and opaque markers as they stand in the tar, and what AUFS left behind."""
    diff_size: int
    """Bytes of the uncompressed tar."""
    end: int = 0
    """Where the last entry ends; zeros should follow."""
    junk: bool = False
    """Whether anything but zeros follows. No reader of layers sees it."""
    odd: tuple[tuple[str, bytes], ...] = ()
    """(what, path): headers that readers may understand differently, or refuse."""

    def __repr__(self) -> str:
        hidden = len(self.whiteouts) + len(self.opaques)
        return f"<Changeset: {len(self.entries):,} entries, {hidden:,} markers, {self.diff_size:,} bytes>"

    @property
    def members(self) -> Sequence[Entry]:
        """All that its tar has, but for global headers, in the order of the tar."""
        if not self.markers:
            return self.entries
        return sorted((*self.entries, *self.markers), key=attrgetter("start"))

    @property
    def count(self) -> int:
        """How many entries, whiteouts and opaque markers it has."""
        return len(self.entries) + len(self.whiteouts) + len(self.opaques)

    @property
    def content_size(self) -> int:
        """Bytes of its files, as docker counts a layer."""
        return sum(map(content_of, self.entries))

    @property
    def host_size(self) -> HostSize:
        """What it takes on a host."""
        folders = {b""}
        blocks = 0
        for entry in self.entries:
            blocks += blocks_of(entry)
            folders.add(entry.path if entry.typeflag == DIRECTORY else entry.directory)
        folders.update(path.rpartition(b"/")[0] for path in self.whiteouts)
        folders.update(self.opaques)
        for path in [*folders]:
            while (path := path.rpartition(b"/")[0]) not in folders:
                folders.add(path)
        return HostSize(self.content_size, blocks + DISK_BLOCK * len(folders))


class HostSize(NamedTuple):
    """Bytes that a layer takes on a host."""

    content: int
    """Of its files, as docker's graph driver counts them (moby, pkg/directory)."""
    blocks: int
    """Of all blocks, as containerd counts a snapshot (continuity, fs/du_unix.go), on a file system with
    blocks of DISK_BLOCK, such as ext4. That a directory of very many names takes several is not counted."""


DISK_BLOCK = 4096
_INLINE = 60
"""From so many bytes on a symlink's target does not fit into its inode (ext4)."""


def content_of(entry: Entry) -> int:
    """Bytes that an entry takes on a host, as docker counts: of a file its content, of a symlink its target
    (moby, pkg/directory, sums the sizes that lstat(2) gives)."""
    if entry.typeflag == REGULAR:
        return entry.realsize
    return len(entry.linkname) if entry.typeflag == SYMLINK else 0


def blocks_of(entry: Entry) -> int:
    """Bytes of the blocks that an entry takes on a host, but for directories."""
    if entry.typeflag == REGULAR:
        return -(-entry.realsize // DISK_BLOCK) * DISK_BLOCK
    return DISK_BLOCK if entry.typeflag == SYMLINK and len(entry.linkname) >= _INLINE else 0


def parse_changeset(members: Iterable[Entry], diff_size: int = 0) -> Changeset:
    """Sort a tar's members into a changeset.

    Raises InvalidLayer for a name that leads out of the root, for the names `.wh.`, `.wh..` and `.wh...`,
    and for an entry below a whiteout."""
    entries: list[Entry] = []
    marked: list[tuple[bytes, bytes, int]] = []
    markers: list[Entry] = []
    odd: list[tuple[str, bytes]] = []
    add = entries.append
    entry = None
    for entry in members:
        _, _, _, directory, base, _, _, traits, written = entry
        if traits.odd:
            odd.append((traits.odd, entry.name))
        if traits.typeflag == GLOBAL:
            odd.append(("a global pax header, which umoci refuses", entry.name))
            continue
        if written and written not in LEADS:
            normalise(written)  # it may lead out of the root
        if base[:4] == WHITEOUT or WHITEOUT in directory:
            marker = _parse_marker(entry.path)
            if marker is not None:
                markers.append(entry)
                kind, path = marker
                if kind is not None:
                    marked.append((kind, path, entry.start))
                continue
        add(entry)
    end = entry.end if entry else 0
    hidden = _hidden(marked, entries)
    return Changeset(tuple(entries), *hidden, tuple(markers), diff_size, end, odd=tuple(odd))


def _hidden(
    marked: Sequence[tuple[bytes, bytes, int]], entries: Sequence[Entry]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The paths that whiteouts hide, and the directories that opaque markers empty. A way to them through a
    symlink of the same layer that stands there when they are read is followed, as all consumers do."""
    whiteouts: list[bytes] = []
    opaques: list[bytes] = []
    links = StandingLinks(entries if marked and any(e.typeflag == SYMLINK for e in entries) else ())
    for kind, path, start in marked:
        links.advance(start)
        directory, _, name = (path, b"", b"") if kind == OPAQUE else path.rpartition(b"/")
        if links.targets and directory and len(directory) < LONGEST:
            directory = links.followed(directory)
            path = directory + b"/" * bool(directory and name) + name
        (whiteouts if kind == WHITEOUT else opaques).append(path)
    return tuple(whiteouts), tuple(opaques)


def _parse_marker(path: bytes) -> tuple[bytes | None, bytes] | None:
    """(WHITEOUT, hidden path), (OPAQUE, directory), (None, path) for what is to be ignored, or None
    for an ordinary entry."""
    parent, _, name = path.rpartition(b"/")
    if parent.startswith(WHITEOUT) or b"/" + WHITEOUT in parent:
        top = parent.split(b"/", 1)[0]
        if top == AUFS_LINKS:
            return None
        if top.startswith(b".wh..wh."):
            return None, path
        raise InvalidLayer("an entry below a whiteout", path=path)
    if not name.startswith(WHITEOUT):
        return None
    if name == OPAQUE:
        return OPAQUE, parent
    if name.startswith(b".wh..wh."):
        return None, path
    hidden = name[len(WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise InvalidLayer("a whiteout that names nothing", path=path)
    return WHITEOUT, (parent + b"/" + hidden if parent else hidden)


def whiteout_of(path: bytes) -> bytes:
    """The name in a tar of the whiteout that hides a path."""
    parent, slash, name = path.rpartition(b"/")
    return parent + slash + WHITEOUT + name


def opaque_of(directory: bytes) -> bytes:
    """The name in a tar of a directory's opaque marker."""
    return directory + b"/" * bool(directory) + OPAQUE
