"""What layers and runs of a fleet take: every layer is read once, every run is compressed once.

All different layers of all images are read through one loader, as if they were one image's. A run is
planned where an image holds it; two runs of the same bytes have the same key, wherever they lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from squashkit.changeset import Changeset
from squashkit.compare import iter_nodes
from squashkit.compression import Compression, Compressor
from squashkit.entrycache import EntryCache, cache_folder
from squashkit.fleet import Blob, Priced, Run
from squashkit.graph import Image, Layer, LayerGraph, stack_layers
from squashkit.loader import Loader, join
from squashkit.merge import Copy, Piece, SquashedLayer
from squashkit.oci import Codec, DiffID, ImageConfig, Platform
from squashkit.planner import KeptLayer, LayerPlan, Segment, apply_layer, plan_squash
from squashkit.progress import Progress
from squashkit.rootfs import Inode, Rootfs
from squashkit.source import Source
from squashkit.tar import REGULAR, Record
from squashkit.transports.container import read_blocks
from squashkit.transports.joined import Joined, join_containers
from squashkit.writer import gather


@dataclass(frozen=True, slots=True)
class Member:
    """An image of a fleet."""

    name: str
    source: Source
    image: Image
    reference: str
    """By which it can be read again."""


@dataclass(slots=True)
class Layers:
    """The different layers of a fleet's images, and what they and their runs take.

    With `estimate` nothing is compressed: a run takes what its bytes take at the ratios of their layers.
    """

    loader: Loader
    members: Sequence[Member]
    compression: Compression
    estimate: bool
    _index: Mapping[DiffID, int]
    _changesets: dict[DiffID, Changeset] = field(default_factory=dict)
    _stored: dict[str, int] = field(default_factory=dict)
    """Bytes in a registry, by key."""
    _plans: dict[tuple[int, tuple[Segment, ...]], tuple[Blob, ...]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        stack: ExitStack,
        members: Sequence[Member],
        *,
        compression: Compression,
        estimate: bool,
        tmp_dir: Path,
        jobs: int,
        progress: Progress,
    ) -> Layers:
        """Everything is closed with the stack."""
        parts = list(dict.fromkeys(id(member.source) for member in members))
        sources = {id(member.source): member.source for member in members}
        container = join_containers(*(sources[part].container for part in parts))
        found: dict[DiffID, tuple[int, Layer]] = {}
        for member in members:
            for layer in member.image.layers:
                if layer.diff_id not in found or found[layer.diff_id][1].member is None:
                    found[layer.diff_id] = parts.index(id(member.source)), layer
        config = ImageConfig(tuple(found), None, Platform("", ""), None, {}, b"")
        names = [layer.member and Joined.name(part, layer.member) for part, layer in found.values()]
        layers = stack_layers(config, names, [layer.descriptor for _, layer in found.values()], "the fleet")
        image = replace(members[0].image, names=(), config=config, layers=layers)
        source = replace(
            members[0].source, container=container, images=[image], graph=LayerGraph(), folder=None
        )
        loader = stack.enter_context(
            Loader(source, image, tmp_dir, jobs, progress=progress, cache=EntryCache(cache_folder()))
        )
        index = {diff_id: number for number, diff_id in enumerate(found)}
        return cls(loader, members, compression, estimate, index)

    @property
    def entries(self) -> int:
        """Entries of all different layers."""
        return sum(changeset.count for changeset in self._changesets.values())

    def read(self) -> None:
        """Scan all different layers, once. Raises what `Loader.load` raises."""
        layers = self.loader.image.layers
        size = sum(self.loader.source.size(layer) for layer in layers)
        self.loader.progress.stage("Reading", size)
        here = [self.loader.source.is_here(layer) or not self.estimate for layer in layers]
        found = self.loader.load(range(len(layers)), data=here.__getitem__)
        self._changesets = {layers[index].diff_id: changeset for index, changeset in found.items()}
        join(self.loader.checks, self.loader.cancelled)

    def files_once(self) -> int | None:
        """Bytes of all different contents of files that the images show: less can nobody store without
        compressing. None where layers are not at hand."""
        layers = self.loader.image.layers
        if not all(self.loader.source.is_here(layer) for layer in layers):
            return None
        sizes: dict[bytes, int] = {}
        seen: set[tuple[int, int]] = set()
        for member in self.members:
            rootfs = Rootfs()
            for layer in member.image.layers:
                apply_layer(rootfs, self._changesets[layer.diff_id], layer.index)
            for _, node in iter_nodes(rootfs.root):
                if not isinstance(node, Inode) or node.entry.record.typeflag != REGULAR:
                    continue
                index = self._index[member.image.diff_ids[node.layer]]
                place = index, node.entry.record.start
                if place not in seen:
                    seen.add(place)
                    content = hashlib.sha256()
                    for piece in self.loader.payload(index, node.entry):
                        content.update(piece)
                    sizes[content.digest()] = node.entry.record.realsize
        return sum(sizes.values())

    def layer(self, number: int, layer: Layer) -> Blob:
        """A layer of an image as it is: in a registry its own blob, a plain one compressed. Two images may
        have the same layer in blobs of different compressors."""
        source = self.members[number].source
        mine = self.loader.image.layers[self._index[layer.diff_id]]
        changeset = self._changesets.get(layer.diff_id)
        content = changeset.content_size if changeset is not None else 0
        if source.codec(layer) is not Codec.NONE or self.compression.codec is Codec.NONE:
            size = source.size(layer)
            key = source.digest(layer) or f"{layer.diff_id} in {size} bytes"
            return Blob(key, size, content, layer.diff_id)
        key = f"packed {mine.diff_id}"
        if key not in self._stored:
            self._stored[key] = source.size(layer) if self.estimate else self._packed(mine)
        return Blob(key, self._stored[key], content, layer.diff_id)

    def _packed(self, layer: Layer) -> int:
        """Bytes that one of the fleet's layers takes where squashkit compresses it."""
        blob = self.loader.bytes_of(layer.index)
        return self._compressed(read_blocks(blob, self.loader.cancelled, layer.where))

    def stack(self, number: int, segments: Sequence[Segment]) -> tuple[Blob, ...]:
        """The layers of an image that is partitioned so. Raises what `plan_squash` raises."""
        place = number, tuple(segments)
        if place not in self._plans:
            self._plans[place] = tuple(self._blobs(number, self.plan(number, segments)))
        return self._plans[place]

    def plan(self, number: int, segments: Sequence[Segment]) -> LayerPlan:
        """How an image would be squashed."""
        image = self.members[number].image
        changesets = {layer.index: self._changesets[layer.diff_id] for layer in image.layers}

        def header_of(index: int, record: Record) -> bytes:
            return self.loader.header_of(self._index[image.diff_ids[index]], record)

        return plan_squash(changesets, segments, header_of)

    def _blobs(self, number: int, plan: LayerPlan) -> list[Blob]:
        image = self.members[number].image
        blobs = []
        for planned in plan.layers:
            if isinstance(planned, KeptLayer):
                blobs.append(self.layer(number, image.layers[planned.index]))
            elif planned.pieces:
                blobs.append(self._squashed(image, planned))
        return blobs

    def _squashed(self, image: Image, planned: SquashedLayer) -> Blob:
        key, pieces = self._identify(image, planned)
        if key not in self._stored:
            self._stored[key] = (
                self._estimated(pieces) if self.estimate else self._compressed(gather(self.loader, pieces))
            )
        return Blob(key, self._stored[key], planned.content_size)

    def _identify(self, image: Image, planned: SquashedLayer) -> tuple[str, tuple[Piece, ...]]:
        """A new layer's key, and its pieces by the fleet's layers. The key is of what it is put together
        from: the same pieces are the same bytes."""
        pieces = tuple(
            piece._replace(layer=self._index[image.diff_ids[piece.layer]])
            if isinstance(piece, Copy)
            else piece
            for piece in planned.pieces
        )
        key = hashlib.sha256()
        for piece in pieces:
            key.update(repr(piece).encode())
        return f"squashed {key.hexdigest()}", pieces

    def _estimated(self, pieces: Sequence[Piece]) -> int:
        total = 0.0
        for piece in pieces:
            if isinstance(piece, bytes):
                total += len(piece) / 8  # headers are mostly zeros
                continue
            layer = self.loader.image.layers[piece.layer]
            whole = self._changesets[layer.diff_id].diff_size
            total += (piece.end - piece.start) * self.loader.source.size(layer) / max(whole, 1)
        return round(total)

    def _compressed(self, blocks: Iterator[memoryview]) -> int:
        """Bytes that a tar takes in a registry."""
        size = 0

        def write(data: bytes) -> None:
            nonlocal size
            size += len(data)

        compressor = Compressor(self.compression, write, self.loader.jobs)
        for block in blocks:
            compressor.feed(block)
            self.loader.progress.advance(len(block))
        compressor.close()
        return size

    def run(self, number: int, run: Run) -> Blob | None:
        """What one run of an image becomes; None where it becomes nothing."""
        image = self.members[number].image
        if len(run) == 1:
            return self.layer(number, image.layers[run.start])
        stack = self.stack(number, self._alone(run))
        return stack[run.start] if len(stack) > run.start else None

    def price(self, number: int, run: Run, *, host: bool) -> Priced:
        """About what a run takes, without compressing anything."""
        image = self.members[number].image
        if len(run) == 1:
            blob = self.layer(number, image.layers[run.start])
            return Priced(blob.key, blob.content if host else blob.stored)
        planned = self.plan(number, self._alone(run)).layers[-1]
        assert isinstance(planned, SquashedLayer)
        key, pieces = self._identify(image, planned)
        return Priced(key, planned.content_size if host else self._estimated(pieces))

    @staticmethod
    def _alone(run: Run) -> list[Segment]:
        before = [Segment(0, run.start, True)] if run.start else []
        return [*before, Segment(run.start, run.stop, False)]
