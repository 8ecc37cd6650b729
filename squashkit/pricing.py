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

from squashkit.changeset import Changeset, content_of
from squashkit.compare import iter_nodes
from squashkit.compression import Compression, Compressor
from squashkit.entrycache import EntryCache, cache_folder
from squashkit.errors import InvalidImage, UnsupportedImage, show_text, told_of
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
from squashkit.oci import (
    ChainID,
    Codec,
    Descriptor,
    DiffID,
    Digest,
    ImageConfig,
    Platform,
    is_digest,
    sha256,
)
from squashkit.planner import (
    KeptLayer,
    LayerPlan,
    Segment,
    apply_layer,
    needs_lower,
    plan_squash,
    refuse_overlay_marks,
)
from squashkit.progress import Progress
from squashkit.rootfs import Inode, Rootfs
from squashkit.source import Source
from squashkit.tar import BLOCK, REGULAR, Record
from squashkit.transports.container import read_blocks
from squashkit.transports.joined import Joined, join_containers
from squashkit.writer import gather, place_of

_HEADER = 64
"""About what a header takes once it is compressed: it is mostly zeros."""
_MOST_TWINS = 2000
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
    elsewhere: Mapping[DiffID, Descriptor]
    """Layers of bases as a registry has them: so they are kept there."""
    merged: int = field(default=0, init=False)
    """Entries of the different runs that were merged."""
    _index: Mapping[DiffID, int]
    _repeats: Mapping[ChainID, int]
    """How many layers from the top down stand in the same order elsewhere."""
    _changesets: dict[DiffID, Changeset] = field(default_factory=dict)
    _made: dict[str, Blob] = field(default_factory=dict)
    """New blobs, by what they are put together from."""
    _layers: dict[tuple[int, str], Blob] = field(default_factory=dict)
    """Layers as each source has them."""
    _runs: dict[Place, Blob | None] = field(default_factory=dict)
    """What runs become that were merged, None where that is nothing."""
    _alive: dict[ChainID, _Alive] = field(default_factory=dict)
    _twins: int = 0
    """How many runs were planned to see whether they give the same bytes as others."""

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
        elsewhere: Mapping[DiffID, Descriptor] | None = None,
    ) -> Layers:
        """Everything is closed with the stack. `elsewhere` are layers of bases that a registry has."""
        sources = list({id(member.source): member.source for member in members}.values())
        parts = {id(source): part for part, source in enumerate(sources)}
        container = join_containers(*(source.container for source in sources))
        found: dict[DiffID, tuple[int, Layer]] = {}
        for member in members:
            for layer in member.image.layers:
                if layer.diff_id not in found or found[layer.diff_id][1].member is None:
                    found[layer.diff_id] = parts[id(member.source)], layer
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
        return cls(loader, members, compression, estimate, elsewhere or {}, index, _repeated(members))

    @property
    def entries(self) -> int:
        """Entries of all different layers."""
        return sum(changeset.count for changeset in self._changesets.values())

    def read(self) -> None:
        """Scan all different layers, once. Raises what `Loader.load` raises."""
        layers = self.loader.image.layers
        for layer in layers:
            self._refuse_missing(layer)
        size = sum(self.loader.source.size(layer) for layer in layers)
        self.loader.progress.stage("Reading", size)
        here = [self.loader.source.is_here(layer) or not self.estimate for layer in layers]
        try:
            found = self.loader.load(range(len(layers)), data=here.__getitem__)
            join(self.loader.checks, self.loader.cancelled)
        except InvalidImage as error:
            self._name(error)
            raise
        self._changesets = {layers[index].diff_id: changeset for index, changeset in found.items()}

    def _holder(self, layer: Layer) -> tuple[Member, Layer]:
        """The first image that has one of the fleet's layers, and that layer as it is there."""
        for member in self.members:
            for own in member.image.layers:
                if own.diff_id == layer.diff_id:
                    return member, own
        raise AssertionError("a layer of no image")

    def _refuse_missing(self, layer: Layer) -> None:
        """Raises InvalidImage where nobody has a layer's blob."""
        if layer.member is None:
            member, own = self._holder(layer)
            digest = own.descriptor.digest if own.descriptor else own.diff_id
            raise InvalidImage(
                f"the blob {digest} is not in {member.source.title}",
                where=f"{show_text(member.name)}, layer {own.index}",
            )

    def _name(self, error: InvalidImage) -> None:
        """Say of a layer's fault in which image it is: among all of the fleet its number means nothing."""
        for layer in self.loader.image.layers:
            if layer.where in str(error):
                member, own = self._holder(layer)
                told = str(error).replace(layer.where, own.where)
                error.args = (f"{show_text(member.name)} in {member.source.title}: {told}",)
                return

    def unmergeable(self) -> dict[DiffID, str]:
        """The layers that can only be kept, and why."""
        found = {}
        for diff_id, changeset in self._changesets.items():
            try:
                refuse_overlay_marks(changeset, self._index[diff_id])
            except UnsupportedImage as error:
                member, own = self._holder(self.loader.image.layers[self._index[diff_id]])
                told = str(error).partition(": ")[2]
                found[diff_id] = f"Kept in {show_text(member.name)}: layer {own.index}: {told}."
        return found

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
        changeset = self._changesets.get(layer.diff_id)
        content = changeset.content_size if changeset is not None else 0
        stored = self._elsewhere(source, layer)
        if stored is not None:
            return Blob(stored.digest, stored.size, content, layer.diff_id)
        if source.codec(layer) is not Codec.NONE or self.compression.codec is Codec.NONE:
            digest = source.digest(layer) or self._hashed(source, layer)
            return Blob(digest, source.size(layer), content, layer.diff_id)
        key = f"plain {layer.diff_id}"
        if key not in self._made:
            mine = self.loader.image.layers[self._index[layer.diff_id]]
            self._made[key] = (
                Blob(key, source.size(layer), content, layer.diff_id)
                if self.estimate
                else self._compressed(self._plain(mine), content)
            )
        return self._made[key]

    def _elsewhere(self, source: Source, layer: Layer) -> Descriptor | None:
        """A layer as a registry has it with its base; images that come from a registry keep their own."""
        return self.elsewhere.get(layer.diff_id) if source.remote is None else None

    def _hashed(self, source: Source, layer: Layer) -> Digest:
        """The digest of a blob that nobody states. Where nothing is read, what stands for it."""
        if not self._changesets:
            return Digest(f"{layer.diff_id} in {source.size(layer)} bytes")
        digest = hashlib.sha256()
        for block in read_blocks(source.blob(layer), self.loader.cancelled, layer.where):
            digest.update(block)
        return Digest(f"sha256:{digest.hexdigest()}")

    def _plain(self, layer: Layer) -> Iterator[memoryview]:
        """The bytes of one of the fleet's layers."""
        return read_blocks(self.loader.bytes_of(layer.index), self.loader.cancelled, layer.where)

    def unstated(self) -> dict[str, StoredLayer]:
        """Compressed layers whose digests nobody states, by where they lie, with those that they have."""
        found = {}
        for number, member in enumerate(self.members):
            for layer in member.image.layers:
                source = member.source
                if source.digest(layer) or source.codec(layer) is Codec.NONE:
                    continue
                digest = Digest(self.layer(number, layer).key)
                size, codec = source.size(layer), source.codec(layer)
                found[place_of(source, layer)] = StoredLayer(layer.diff_id, digest, size, codec)
        return found

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
        """The config and the manifest that an image partitioned so has in a registry, and their bytes.
        Where new layers are estimated, the digests are others than they will be."""
        member = self.members[number]
        image, source = member.image, member.source
        planned: list[KeptLayer | SquashedLayer] = []
        stored: list[StoredLayer] = []
        for segment, blobs in zip(segments, self.blobs(number, segments), strict=True):
            if segment.is_kept:
                for layer, blob in zip(image.layers[segment.start : segment.stop], blobs, strict=True):
                    planned.append(KeptLayer(layer.index))
                    is_plain = source.codec(layer) is Codec.NONE
                    described = self._elsewhere(source, layer) or (None if is_plain else layer.descriptor)
                    codec = self.compression.codec if is_plain else source.codec(layer)
                    codec = described.codec if described is not None else codec
                    digest = _as_digest(blob.key)
                    stored.append(StoredLayer(layer.diff_id, digest, blob.stored, codec, described))
                continue
            empty = not blobs or self._runs[image.place(segment.start, segment.stop)] is None
            pieces = () if empty else _EMPTY.pieces
            planned.append(replace(_EMPTY, start=segment.start, stop=segment.stop, pieces=pieces))
            for blob in blobs:
                diff_id, digest = DiffID(_as_digest(blob.tar)), _as_digest(blob.key)
                stored.append(StoredLayer(diff_id, digest, blob.stored, self.compression.codec))
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

        with told_of(image.title):
            return plan_squash(changesets, segments, header_of)

    def _squashed(self, image: Image, planned: SquashedLayer) -> Blob:
        key, pieces = self._identify(image, planned)
        if key not in self._made:
            content = planned.content_size
            self._made[key] = (
                Blob(key, self._estimated(pieces), content)
                if self.estimate
                else self._compressed(gather(self.loader, pieces), content)
            )
        return self._made[key]

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

    def _compressed(self, blocks: Iterator[memoryview], content: int) -> Blob:
        """What a tar is in a registry."""
        size = 0
        stored, plain = hashlib.sha256(), hashlib.sha256()

        def write(data: bytes) -> None:
            nonlocal size
            size += len(data)
            stored.update(data)

        compressor = Compressor(self.compression, write, self.loader.jobs)
        for block in blocks:
            compressor.feed(block)
            plain.update(block)
            self.loader.progress.advance(len(block))
        compressor.close()
        return Blob(f"sha256:{stored.hexdigest()}", size, content, f"sha256:{plain.hexdigest()}")

    def price(self, number: int, run: Run, *, host: bool) -> Priced:
        """What a run takes: exactly where it has been merged, else about, by what of its layers is alive at
        its top. Only runs that may give the same bytes as others elsewhere are planned for it, as long as
        these are not too many."""
        image = self.members[number].image
        segment = Segment(run.start, run.stop, False)
        if segment.is_kept or image.place(run.start, run.stop) in self._runs:
            ((*blobs,),) = self.blobs(number, [segment])
            blob = blobs[0] if blobs else _NOTHING
            return Priced(blob.key, blob.content if host else blob.stored)
        alive = self._alive_at(number, run.top.chain_id)
        cost = round((alive.content if host else alive.stored)[run.start])
        if len(run) <= self._repeats[run.top.chain_id] and self._twins < _MOST_TWINS:
            self._twins += 1
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
                    content[dead.layer] -= content_of(record)
                self._alive[layer.chain_id] = _Alive(_from_top(stored), _from_top(content))
        return self._alive[chain_id]



def _repeated(members: Sequence[Member]) -> dict[ChainID, int]:
    """For each layer on its parents how many layers, counted down from it, stand in the same order under
    another one: 0 where it stands nowhere else."""
    nodes = {layer.chain_id: layer for member in members for layer in member.image.layers}
    lengths = dict.fromkeys(nodes, 0)
    rows: dict[ChainID, object] = {chain_id: layer.diff_id for chain_id, layer in nodes.items()}
    length = 0
    while rows:
        length += 1
        times = Counter(rows.values())
        again = {chain_id: row for chain_id, row in rows.items() if times[row] > 1}
        lengths.update(dict.fromkeys(again, length))
        numbers: dict[object, int] = {}
        rows = {}
        for chain_id in again:
            layer = nodes[chain_id]
            if layer.parent in again:
                row = again[layer.parent], layer.diff_id
                rows[chain_id] = numbers.setdefault(row, len(numbers))
    return lengths


def _as_digest(key: str) -> Digest:
    """A blob's digest; where it is not known, one of the same length that stands for it."""
    return Digest(key) if is_digest(key) else sha256(key.encode())


def _from_top(values: Sequence[float]) -> list[float]:
    """The sums of a list's ends: of all values, of all but the first, and so on."""
    return list(accumulate(reversed(values)))[::-1]
