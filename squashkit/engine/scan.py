"""A layer as rows of a scan's tables: what stands in its tar, and what its files hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from squashkit.amounts import size
from squashkit.engine.entries import pack_headers
from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, InvalidLayer
from squashkit.layers.changeset import OPAQUE, WHITEOUT, Changeset
from squashkit.layers.entry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    Entry,
    link_target,
)
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Layer
from squashkit.transports.blobs import Blob, read_blocks
from squashkit.transports.stored import codec_of, digest_of, nearest, size_of
from squashkit.transports.tables.schema import Row, raw_digest
from squashkit.values import frozen

_TYPES = {
    REGULAR: "file",
    DIRECTORY: "directory",
    SYMLINK: "symlink",
    HARD_LINK: "hardlink",
    CHARACTER: "char",
    BLOCK_DEVICE: "block",
    FIFO: "fifo",
}
_DEVICES = (CHARACTER, BLOCK_DEVICE)
_SMALL = 1 << 20
"""Bytes of a file that is read at once."""
_MOST_ZEROS = 256 << 30
"""Bytes of a sparse file's holes: all are hashed, a GB or two a second."""
_INT64 = 1 << 63


@frozen
class ScannedLayer:
    """What the tables get of one layer."""

    layer: Row
    entries: list[Row]
    headers: Row


def scan_layer(store: LayerStore, layer: Layer, reference: str) -> ScannedLayer:
    """Read a layer and the contents of its files, and verify it. `reference` says by what it was found.

    Raises what `LayerStore.read` and `LayerStore.content` raise, and InvalidImage where the file that it
    lies in was written to meanwhile.
    """
    [changeset] = store.read([layer], lambda _: True)
    blob = store.bytes_of(layer)
    diff_id = raw_digest(layer.diff_id)
    entries = [(diff_id, *row) for row in _rows(store, layer, changeset, blob)]
    headers = pack_headers(changeset, lambda start, stop: blob.read_at(start, stop - start))
    digest, codec = digest_of(layer) or _hashed(store, layer), codec_of(layer)
    store.settle()
    if store.changed:
        raise InvalidImage(f"{store.changed} was written to while it was read", where=layer.where)
    row = (
        *(diff_id, raw_digest(digest), size_of(layer), codec.value),
        *(changeset.diff_size, changeset.content_size, len(entries)),
        *(reference, None, None),
    )
    return ScannedLayer(row, entries, (diff_id, headers))


def bad_layer(layer: Row, reference: str, error: str, exit_code: int) -> Row:
    """The row of a layer that could not be read. `layer` has its diff_id, digest, size and compression."""
    return (*layer, None, None, None, reference, error, exit_code)


def _hashed(store: LayerStore, layer: Layer) -> Digest:
    """The digest of a blob that no manifest names."""
    digest = hashlib.sha256()
    for block in read_blocks(nearest(layer).open(), store.session.cancelled, layer.where):
        digest.update(block)
    return Digest(f"sha256:{digest.hexdigest()}")


def _rows(store: LayerStore, layer: Layer, changeset: Changeset, blob: Blob) -> Iterator[Row]:
    """A row for each member, in the order of the tar."""
    hidden, emptied = iter(changeset.whiteouts), iter(changeset.opaques)
    markers = {marker.start for marker in changeset.markers}
    for member in changeset.members:
        path, traits = member.path, member.traits  # many members have the same traits
        kind, length, digest = _TYPES[traits.typeflag], 0, None
        if member.start in markers and (marker := _marker(path)):
            kind, path = marker, next(hidden if marker == "whiteout" else emptied)
        elif traits.typeflag == REGULAR:
            length, digest = member.realsize, _content(store, layer, member, blob)
        is_device = traits.typeflag in _DEVICES
        yield (
            path,
            kind,
            length,
            digest,
            traits.mode,
            traits.uid,
            traits.gid,
            member.mtime if -_INT64 <= member.mtime < _INT64 else _nearest(member.mtime),
            _link(member) if member.linkname else None,
            traits.devmajor if is_device else None,
            traits.devminor if is_device else None,
            [*traits.xattrs.items()] if traits.xattrs else None,
            member.start,
            member.headers,
            member.size if traits.sparse is not None else None,
        )


def _marker(path: bytes) -> str:
    """What a marker does; nothing where it is only what AUFS left behind."""
    parent, _, name = path.rpartition(b"/")
    if parent.startswith(WHITEOUT) or b"/" + WHITEOUT in parent:
        return ""
    if name == OPAQUE:
        return "opaque"
    return "" if name.startswith(WHITEOUT * 2) else "whiteout"


def _link(member: Entry) -> bytes | None:
    """Where a link leads: of a symlink as it is written, of a hard link the path that it names."""
    if member.typeflag == SYMLINK:
        return member.linkname
    if member.typeflag != HARD_LINK:
        return None
    try:
        return link_target(member)
    except InvalidLayer:
        return member.linkname


def _content(store: LayerStore, layer: Layer, member: Entry, blob: Blob) -> bytes:
    """The digest of what a file holds."""
    if member.realsize > _MOST_ZEROS + member.size:
        stated = size(member.realsize)
        raise InvalidLayer(
            f"a sparse file of {stated}, whose holes take too long to be hashed", path=member.path
        )
    if member.sparse is None and member.size <= _SMALL:
        return hashlib.sha256(blob.read_at(member.data, member.size)).digest()
    digest = hashlib.sha256()
    for piece in store.content(layer, member):
        digest.update(piece)
    return digest.digest()


def _nearest(nanoseconds: int) -> int:
    """A time that is none of 64 bits, as pax records may name it, as near as 64 bits come."""
    return max(-_INT64, min(nanoseconds, _INT64 - 1))
