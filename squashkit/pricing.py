"""What layers and runs of a fleet take: every layer is read once, every run is compressed once.

All different layers of all images are read through one loader, as if they were one image's. A run is
planned where an image holds it; two runs of the same bytes have the same key, wherever they lie.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from squashkit.changeset import Changeset
from squashkit.compare import iter_nodes
from squashkit.compression import Compression, Compressor
from squashkit.entrycache import EntryCache, cache_folder
from squashkit.fleet import Blob, Priced, Run
from squashkit.graph import Image, Layer, LayerGraph, Place, stack_layers
from squashkit.loader import Loader, join
from squashkit.members import Member
from squashkit.merge import Copy, Piece, SquashedLayer
from squashkit.metadata import (
    HistoryOptions,
    StoredLayer,
    image_manifest,
    manifest_family,
    squashed_config,
)
from squashkit.oci import ChainID, Codec, DiffID, Digest, ImageConfig, Platform, sha256
from squashkit.planner import (
    KeptLayer,
    LayerPlan,
    Segment,
    apply_layer,
    needs_lower,
    plan_squash,
)
from squashkit.progress import Progress
from squashkit.rootfs import Inode, Rootfs
from squashkit.source import Source
from squashkit.tar import BLOCK, REGULAR, Record
from squashkit.transports.container import read_blocks
from squashkit.transports.joined import Joined, join_containers
from squashkit.writer import gather

_HEADER = 64
"""About what a header takes once it is compressed: it is mostly zeros."""
_NOTHING = Blob("nothing", 0, 0)
_EMPTY = SquashedLayer(0, 0, (bytes(0),), 0, 0, 0, (), ())
class _Alive(NamedTuple):
    """What of an image's layers is alive at a node, summed from the layer of each index up: bytes in a
    registry, about, and of files. A file that a hard link copies up counts once."""

    stored: list[float]
    content: list[float]


@dataclass(slots=True)
class Layers:
    """The different layers of a fleet's images, and what they and their runs take.

    With `estimate` nothing is compressed: a run takes what its bytes take at the ratios of their layers.
    """

    loader: Loader
    members: Sequence[Member]
    compression: Compression
    estimate: bool
    merged: int = field(default=0, init=False)
    """Entries of the different runs that were merged."""
    _index: Mapping[DiffID, int]
    _pairs: Counter[tuple[DiffID, DiffID]]
    """Layers that lie on one another, and how often they do, on different ones below."""
    _changesets: dict[DiffID, Changeset] = field(default_factory=dict)
    _stored: dict[str, int] = field(default_factory=dict)
    """Bytes in a registry, by key."""
    _layers: dict[tuple[int, str], Blob] = field(default_factory=dict)
    """Layers as each source has them."""
    _runs: dict[Place, Blob | None] = field(default_factory=dict)
    """What runs become that were merged, None where that is nothing."""
    _alive: dict[ChainID, _Alive] = field(default_factory=dict)

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
        sources = list({id(member.source): member.source for member in members}.values())
        parts = {id(source): part for part, source in enumerate(sources)}
        container = join_containers(*(source.container for source in sources))
        found: dict[DiffID, tuple[int, Layer]] = {}
        pairs: dict[ChainID, tuple[DiffID, DiffID]] = {}
        for member in members:
            below = DiffID("")
            for layer in member.image.layers:
                if layer.diff_id not in found or found[layer.diff_id][1].member is None:
                    found[layer.diff_id] = parts[id(member.source)], layer
                pairs[layer.chain_id] = below, layer.diff_id
                below = layer.diff_id
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
        return cls(loader, members, compression, estimate, index, Counter(pairs.values()))

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
        place = id(source), layer.member or layer.diff_id
        if place not in self._layers:
            self._layers[place] = self._as_it_is(source, layer)
        return self._layers[place]

    def _as_it_is(self, source: Source, layer: Layer) -> Blob:
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
        return tuple(blob for blobs in self.blobs(number, segments) for blob in blobs)

    def blobs(self, number: int, segments: Sequence[Segment]) -> list[tuple[Blob, ...]]:
        """The layers that each segment of an image becomes: of a run one, or none."""
        image = self.members[number].image
        self._merge(image, segments)
        found = []
        for segment in segments:
            if segment.is_kept:
                layers = image.layers[segment.start : segment.stop]
                found.append(tuple(self.layer(number, layer) for layer in layers))
            else:
                made = self._runs[image.place(segment.start, segment.stop)]
                found.append((made,) if made is not None else ())
        is_whole = sum(map(len, segments)) == len(image.layers) > 0
        if is_whole and not any(found):  # an image has a layer, if an empty one
            found[0] = (self._squashed(image, _EMPTY),)
        return found

    def documents(self, number: int, segments: Sequence[Segment]) -> dict[Digest, int]:
        """The config and the manifest that an image partitioned so has in a registry, and their bytes. Of
        those with new layers, whose digests nobody knows yet, the digests are others than they will be."""
        member = self.members[number]
        image, source = member.image, member.source
        planned: list[KeptLayer | SquashedLayer] = []
        stored: list[StoredLayer] = []
        for segment, blobs in zip(segments, self.blobs(number, segments), strict=True):
            if segment.is_kept:
                for layer, blob in zip(image.layers[segment.start : segment.stop], blobs, strict=True):
                    planned.append(KeptLayer(layer.index))
                    is_plain = source.codec(layer) is Codec.NONE
                    codec = self.compression.codec if is_plain else source.codec(layer)
                    digest = sha256(blob.key.encode()) if is_plain else source.digest(layer)
                    described = None if is_plain else layer.descriptor
                    stored.append(
                        StoredLayer(layer.diff_id, digest or sha256(b""), blob.stored, codec, described)
                    )
                continue
            empty = not blobs or self._runs[image.place(segment.start, segment.stop)] is None
            pieces = () if empty else _EMPTY.pieces
            planned.append(replace(_EMPTY, start=segment.start, stop=segment.stop, pieces=pieces))
            for blob in blobs:
                digest = sha256(blob.key.encode())
                stored.append(StoredLayer(DiffID(digest), digest, blob.stored, self.compression.codec))
        changed = not all(segment.is_kept for segment in segments)
        config = image.config.data
        if changed:
            plan = LayerPlan(tuple(segments), tuple(planned))
            config = squashed_config(image, plan, [one.diff_id for one in stored], HistoryOptions())
        manifest = image_manifest(
            image, manifest_family(image, None), config, stored, changed=changed, base=None, base_kept=False
        )
        return {sha256(config): len(config), sha256(manifest): len(manifest)}

    def _merge(self, image: Image, segments: Sequence[Segment]) -> None:
        """Plan and measure the runs of an image that no image had before."""
        new = [not one.is_kept and image.place(one.start, one.stop) not in self._runs for one in segments]
        last = max((number for number, is_new in enumerate(new) if is_new), default=-1)
        wanted = [
            one if is_new else replace(one, keep=True)
            for one, is_new in zip(segments[: last + 1], new, strict=False)
        ]
        if not wanted:
            return
        for planned in self._plan(image, wanted).layers:
            if isinstance(planned, SquashedLayer):
                self.merged += planned.source_entries
                blob = self._squashed(image, planned) if planned.pieces else None
                self._runs[image.place(planned.start, planned.stop)] = blob

    def _plan(self, image: Image, segments: Sequence[Segment]) -> LayerPlan:
        """How an image's lower layers, as far as the segments go, would be squashed. What lies below a run
        is looked at only where the run's own layers do not tell enough: a base has many entries, and many
        images."""
        changesets: dict[int, Changeset] = {}
        for run in (one for one in segments if not one.is_kept):
            own = {i: self._changesets[image.diff_ids[i]] for i in range(run.start, run.stop)}
            if needs_lower(list(own.values())):
                changesets |= {i: self._changesets[image.diff_ids[i]] for i in range(run.start)}
            changesets |= own

        def header_of(index: int, record: Record) -> bytes:
            return self.loader.header_of(self._index[image.diff_ids[index]], record)

        return plan_squash(changesets, segments, header_of)

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
                total += len(piece) // BLOCK * _HEADER
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

    def price(self, number: int, run: Run, *, host: bool) -> Priced:
        """What a run takes: exactly where it has been merged, else about, by what of its layers is alive at
        its top. Only runs that may give the same bytes as others elsewhere are planned for it."""
        image = self.members[number].image
        segment = Segment(run.start, run.stop, False)
        if segment.is_kept or image.place(run.start, run.stop) in self._runs:
            ((*blobs,),) = self.blobs(number, [segment])
            blob = blobs[0] if blobs else _NOTHING
            return Priced(blob.key, blob.content if host else blob.stored)
        alive = self._alive_at(number, run.top.chain_id)
        cost = round((alive.content if host else alive.stored)[run.start])
        pair = image.diff_ids[run.stop - 2], image.diff_ids[run.stop - 1]
        if self._pairs[pair] > 1:
            below = [Segment(0, run.start, True)] if run.start else []
            planned = self._plan(image, [*below, segment]).layers[-1]
            assert isinstance(planned, SquashedLayer)
            return Priced(self._identify(image, planned)[0], cost)
        return Priced(f"{run.top.chain_id} from {run.start}", cost)

    def _alive_at(self, number: int, chain_id: ChainID) -> _Alive:
        """What is alive at a node of an image, whose layers are applied once for all of its nodes."""
        if chain_id not in self._alive:
            image = self.members[number].image
            rootfs = Rootfs()
            stored: list[float] = []
            content: list[int] = []
            ratios = []
            for layer in image.layers:
                changeset = self._changesets[layer.diff_id]
                seen = len(rootfs.dropped)
                apply_layer(rootfs, changeset, layer.index)
                headers = _HEADER * changeset.count
                payload = sum(record.size for _, record in changeset.entries)
                packed = self.layer(number, layer).stored - headers
                ratios.append(min(1.0, max(0.0, packed / max(payload, 1))))
                stored.append(_HEADER * len(changeset.entries) + ratios[-1] * payload)
                content.append(changeset.content_size)
                for dead in rootfs.dropped[seen:]:
                    record = dead.entry.record
                    stored[dead.layer] -= _HEADER + ratios[dead.layer] * record.size
                    content[dead.layer] -= record.realsize if record.typeflag == REGULAR else 0
                self._alive[layer.chain_id] = _Alive(_from_top(stored), _from_top(content))
        return self._alive[chain_id]



def _from_top(values: Sequence[float]) -> list[float]:
    """The sums of a list's ends: of all values, of all but the first, and so on."""
    return list(accumulate(reversed(values)))[::-1]
