"""The last layer of a rebase: what was merged, as a tar that holds nothing else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from squashkit.layers import headers, tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import parse_changeset, whiteout_of
from squashkit.layers.entry import DIRECTORY, HARD_LINK, REGULAR, SYMLINK, Entry, HeaderOf
from squashkit.layers.merge import merge_run
from squashkit.layers.pieces import Copy, Piece
from squashkit.layers.rootfs import Rootfs
from squashkit.plan.rebase.merge.changes import Made


def plan_layer(
    tree: Rootfs, made: Mapping[bytes, Made | None], layer: int, header_of: HeaderOf
) -> tuple[Piece, ...]:
    """What the layer that makes these changes to a tree is written from; it is applied to the tree as the
    layer of this number. Directories above keep their attributes. Nothing where it changes nothing."""
    if not made:
        return ()
    draft = _Draft()
    for path, one in sorted(
        made.items(), key=lambda item: (item[1] is not None and bool(item[1].link), item[0])
    ):
        draft.add(_member(path, one, header_of))
    changeset = parse_changeset(tar.scan(draft.window), draft.size)
    tree.begin_run(layer)
    tree.apply(changeset, layer)

    def headers_of(index: int, entry: Entry) -> bytes:
        return draft.headers(entry) if index == layer else header_of(index, entry)

    merged = merge_run(tree, {layer: changeset}, headers_of, opaque=False)
    return tuple(part for piece in merged.pieces for part in draft.resolved(piece, layer))


@dataclass(slots=True)
class _Draft:
    """A tar that lies nowhere: headers, contents, and spans of layers."""

    parts: list[Piece] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, pieces: tuple[Piece, ...]) -> None:
        for piece in pieces:
            self.parts.append(piece)
            self.starts.append(self.size)
            self.size += len(piece) if isinstance(piece, bytes) else piece.end - piece.start

    def window(self, at: int) -> tuple[memoryview, int]:
        """The headers at an offset, for whoever scans it: contents are jumped over."""
        number = bisect_right(self.starts, at) - 1
        if at >= self.size:
            return memoryview(b""), at
        part = self.parts[number]
        assert isinstance(part, bytes)
        return memoryview(part), self.starts[number]

    def headers(self, entry: Entry) -> bytes:
        """The headers of one of its members."""
        buffer, base = self.window(entry.start)
        return bytes(buffer[entry.start - base : entry.data - base])

    def resolved(self, piece: Piece, layer: int) -> Iterator[Piece]:
        """A piece with the parts themselves in the place of spans of this tar."""
        if isinstance(piece, bytes) or piece.layer != layer:
            yield piece
            return
        first = bisect_right(self.starts, piece.start) - 1
        for start, part in zip(self.starts[first:], self.parts[first:], strict=True):
            if start >= piece.end:
                return
            low = max(piece.start - start, 0)
            if isinstance(part, bytes):
                yield part[low : piece.end - start]
            else:
                yield Copy(part.layer, part.start + low, min(part.end, part.start + piece.end - start))


def _member(path: bytes, made: Made | None, header_of: HeaderOf) -> tuple[Piece, ...]:
    if made is None:
        return (headers.header(whiteout_of(path), REGULAR, mode=0o644),)
    attributes, xattrs = made.attributes[:4], made.attributes.xattrs
    if made.source is not None and not made.link:
        entry, layer = made.source.entry, made.source.layer
        block = headers.rewrite(
            entry, header_of(layer, entry), name=path, attributes=attributes, xattrs=xattrs
        )
        return (block, Copy(layer, entry.data, entry.end)) if entry.size else (block,)
    typeflag = HARD_LINK if made.link else SYMLINK if made.target is not None else REGULAR
    if made.is_folder:
        path, typeflag = path + b"/", DIRECTORY
    content = made.content if typeflag == REGULAR else b""
    block = headers.header(path, typeflag, mode=0, size=len(content))
    (entry,) = tar.scan_bytes(block + _padded(content))
    if made.link or made.target is not None:
        entry = entry._replace(linkname=made.link or made.target or b"")
    block = headers.rewrite(entry, block, attributes=attributes, xattrs=xattrs)
    return (block, _padded(content)) if content else (block,)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)
