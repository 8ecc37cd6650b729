"""The last layer of a rebase: what was merged, as a tar that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from squashkit.layers import headers, tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import parse_changeset, whiteout_of
from squashkit.layers.merge import merge_run
from squashkit.layers.pieces import Copy
from squashkit.layers.record import REGULAR, SYMLINK, HeaderOf, Record
from squashkit.layers.rootfs import Rootfs
from squashkit.plan.rebase.merge.changes import Made


def write_layer(tree: Rootfs, made: Mapping[bytes, Made | None], layer: int, header_of: HeaderOf) -> bytes:
    """The plain tar of the layer that makes these changes to a tree; it is applied to the tree as the layer
    of this number. Directories above keep their attributes. Empty where it changes nothing."""
    if not made:
        return b""
    data = b"".join(_member(path, one) for path, one in sorted(made.items()))
    changeset = parse_changeset(tar.scan_bytes(data), len(data))
    tree.begin_run(layer)
    tree.apply(changeset, layer)

    def headers_of(index: int, record: Record) -> bytes:
        return data[record.start : record.data] if index == layer else header_of(index, record)

    merged = merge_run(tree, {layer: changeset}, headers_of, opaque=False)
    parts = []
    for piece in merged.pieces:
        assert isinstance(piece, bytes) or piece.layer == layer  # nothing of another layer is copied
        parts.append(data[piece.start : piece.end] if isinstance(piece, Copy) else piece)
    return b"".join(parts) + tar.END_OF_ARCHIVE if parts else b""


def _member(path: bytes, made: Made | None) -> bytes:
    if made is None:
        return headers.header(whiteout_of(path), REGULAR, mode=0o644)
    content = b"" if made.is_link else made.content
    block = headers.header(path, SYMLINK if made.is_link else REGULAR, mode=0, size=len(content))
    (record,) = tar.scan_bytes(block + _padded(content))
    block = headers.rewrite(
        record,
        block,
        linkname=made.content if made.is_link else None,
        attributes=made.attributes[:4],
        xattrs=made.attributes.xattrs,
    )
    return block + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)
