"""What layers and runs of a fleet take: every run is compressed once, however many images have it.

A run is planned where an image holds it. It is the same wherever the same layers lie on the same ones; two
runs of the same bytes are the same blob, wherever they lie.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

from squashkit.engine.stream import gather
from squashkit.errors import inside
from squashkit.jobs.fleet.carve import carver_of, ranks_of
from squashkit.jobs.fleet.elsewhere import Compressed, NewLayer, Workers, compress
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.scan.places import place_of
from squashkit.jobs.fleet.trees import FleetTrees, walk
from squashkit.jobs.fleet.twins import Twins
from squashkit.layers.changeset import Changeset, HostSize, content_of
from squashkit.layers.merge import EMPTY, SquashedLayer
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import ChainID, DiffID, Digest, is_digest, sha256
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Image, Layer, RunPlace, StoredLayer
from squashkit.oci.media import Codec
from squashkit.options import History
from squashkit.plan.base import Base
from squashkit.plan.documents import changed_annotations, image_manifest, squashed_config
from squashkit.plan.fleet.carve import Atom, CarvedLayer, in_place_of
from squashkit.plan.fleet.cut import Priced
from squashkit.plan.fleet.estimate import Bounds, Made, PackedLayer, about, bounds_of_saving
from squashkit.plan.fleet.storage import PLAIN, Stack, StackLayer
from squashkit.plan.fleet.strategies import Carved
from squashkit.plan.fleet.trie import MADE_BY, LayerRun
from squashkit.plan.segments import Segment
from squashkit.plan.squash import KeptLayer, LayerPlan, needs_lower, plan_above, plan_squash
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob, codec_of, digest_of, nearest, size_of

_MOST_TWINS = 2000
"""How many runs are planned to see whether they give the same bytes as others."""
_NOTHING = StackLayer("nothing", 0, 0)


class _Alive(NamedTuple):
    """What of an image's layers is alive at a node, summed from the layer of each index up: bytes in a
    registry, about, and of files. A file that a hard link copies up counts once."""

    stored: list[float]
    content: list[float]


@dataclass(slots=True)
class Pricing:
    """What the layers and runs of a fleet take.

    With `estimate` nothing is compressed: a run takes what its bytes take at the ratios of their layers.
    With `estimate_runs` that is so of runs that were not measured before, and of nothing else.
    """

    layers: FleetLayers
    compression: Compression
    estimate: bool = False
    elsewhere: Mapping[DiffID, Descriptor] = field(default_factory=dict)
    """Layers of bases as a registry has them: so they are kept there."""
    latest: int | None = None
    """The latest time of a file in carved layers, in nanoseconds; later ones become that."""
    estimate_runs: bool = False
    workers: Workers | None = None
    """Who else compresses new layers."""
    has_bytes: bool = field(default=False, init=False)
    """Whether the bytes of all layers were read, not their headers alone."""
    merged: int = field(default=0, init=False)
    """Entries of the different runs that were merged."""
    _trees: FleetTrees = field(init=False)
    _repeats: Mapping[ChainID, int] = field(init=False)
    """How many layers from the top down stand in the same order elsewhere."""
    _packed_by: dict[DiffID, PackedLayer] = field(default_factory=dict, init=False)
    """Layers that pieces were estimated by."""
    _guessed: dict[str, StackLayer] = field(default_factory=dict, init=False)
    """New blobs that were estimated, by what they are put together from."""
    _parts: dict[str, Made] = field(default_factory=dict, init=False)
    """And what of which layers they have."""
    _have: Twins = field(init=False)
    _made: dict[str, StackLayer] = field(default_factory=dict, init=False)
    """New blobs, by what they are put together from."""
    _kept: dict[tuple[int, object], tuple[StackLayer, StoredLayer]] = field(
        default_factory=dict, init=False
    )
    """Layers as each source has them: how they count, and how they are described."""
    _runs: dict[RunPlace, StackLayer | None] = field(default_factory=dict, init=False)
    """What runs become that were merged, None where that is nothing."""
    _alive: dict[ChainID, _Alive] = field(default_factory=dict, init=False)
    _twins: dict[RunPlace, str] = field(default_factory=dict, init=False)
    """The keys of runs that may give the same bytes as others elsewhere."""

    def __post_init__(self) -> None:
        self._have = Twins(self.layers, lambda diff_id: self._packed_layer(diff_id).members)
        self._trees = FleetTrees(self.layers.changesets)
        self._repeats = _repeated(self.members)

    @property
    def members(self) -> Sequence[Member]:
        return self.layers.members

    def rough(self) -> Pricing:
        """The same, which measures no further run."""
        other = replace(self, estimate_runs=True)
        other._made, other._kept = self._made, self._kept
        return other

    def layer(self, number: int, layer: Layer) -> StackLayer:
        """A layer of an image as it is: in a registry its own blob, a plain one compressed. Two images may
        have the same layer in blobs of different compressors."""
        return self.layer_of(self.members[number], layer)

    def layer_of(self, member: Member, layer: Layer) -> StackLayer:
        """The same of an image of the fleet."""
        return self._as_it_is(member, layer)[0]

    def _as_it_is(self, member: Member, layer: Layer) -> tuple[StackLayer, StoredLayer]:
        source = member.source
        place = id(source), layer.blobs or layer.diff_id
        if place not in self._kept:
            self._kept[place] = self._keep(source, layer)
        return self._kept[place]

    def _keep(self, source: Source, layer: Layer) -> tuple[StackLayer, StoredLayer]:
        """A layer as a registry has it with its base, unless the image comes from a registry itself; as its
        own blob; or as what its plain tar becomes."""
        changeset = self.layers.changesets.get(layer.diff_id)
        host = changeset.host_size if changeset is not None else HostSize(0, 0)
        described = self.elsewhere.get(layer.diff_id) if source.remote is None else None
        codec = codec_of(layer)
        if described is not None:
            codec = described.codec
            blob = _stacked(described.digest, described.size, host, layer.diff_id)
        elif codec is not Codec.NONE:
            digest = digest_of(layer) or self._hashed(layer)
            blob = _stacked(digest, size_of(layer), host, layer.diff_id)
        else:
            codec = self.compression.codec
            blob = self._packed(layer.diff_id, size_of(layer), host)
        return blob, StoredLayer(layer.diff_id, _as_digest(blob.key), blob.stored, codec, described)

    def _described(self, number: int, layer: Layer) -> StoredLayer:
        """A kept layer, with what the image's own manifest says of it where its blob is kept."""
        stored, own = self._as_it_is(self.members[number], layer)[1], layer.descriptor
        is_own = stored.source is None and own is not None and own.digest == stored.digest
        return replace(stored, source=own) if is_own else stored

    @property
    def has_plain(self) -> bool:
        """Whether plain layers count as they are, since nothing is compressed."""
        return self.estimate and any(key.startswith(PLAIN) for key in self._made)

    def _packed(self, diff_id: DiffID, size: int, host: HostSize) -> StackLayer:
        """What a plain layer of so many bytes becomes."""
        key = f"{PLAIN}{diff_id}"
        if key not in self._made:
            self._made[key] = (
                _stacked(key, size, host, diff_id)
                if self.estimate
                else self._compressed(self.layers.plain(diff_id), host)
            )
        return self._made[key]

    def _hashed(self, layer: Layer) -> Digest:
        """The digest of a blob that no manifest names; a placeholder before layers are read."""
        if not self.layers.changesets:
            return Digest(f"{layer.diff_id} in {size_of(layer)} bytes")
        digest = hashlib.sha256()
        for block in nearest(layer).blocks(self.layers.store.session.cancelled, layer.where):
            digest.update(block)
        return Digest(f"sha256:{digest.hexdigest()}")

    def unstated(self) -> dict[DiffID | StoredBlob, StoredLayer]:
        """Compressed layers whose digests nobody states, by where they lie, with those that they have."""
        return {
            nearest(layer): self._as_it_is(member, layer)[1]
            for member in self.members
            for layer in member.image.layers
            if layer.blobs and not digest_of(layer)
        }

    def blobs(self, number: int, segments: Sequence[Segment]) -> list[tuple[StackLayer, ...]]:
        """The layers that each segment of an image becomes: of a run one, or none. Raises what
        `plan_squash` raises."""
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
            found[0] = (self._new(image.layers, EMPTY.pieces, EMPTY.host_size),)
        return found

    def documents(
        self, number: int, segments: Sequence[Segment], blobs: Sequence[tuple[StackLayer, ...]]
    ) -> dict[Digest, int]:
        """The config and the manifest that an image has in a registry whose segments become these blobs,
        and their bytes. Where new layers are estimated, the digests are others than they will be."""
        image = self.members[number].image
        planned: list[KeptLayer | SquashedLayer] = []
        stored: list[StoredLayer] = []
        for segment, made in zip(segments, blobs, strict=True):
            if segment.is_kept:
                layers = image.layers[segment.start : segment.stop]
                planned += [KeptLayer(layer.index) for layer in layers]
                stored += [self._described(number, layer) for layer in layers]
                continue
            run = replace(EMPTY, start=segment.start, stop=segment.stop)
            planned += in_place_of(run, [EMPTY] * len(made))
            for blob in made:
                diff_id, digest = DiffID(_as_digest(blob.tar)), _as_digest(blob.key)
                stored.append(StoredLayer(diff_id, digest, blob.stored, self.compression.codec))
        changed = not all(segment.is_kept for segment in segments)
        kept = next((segment.start for segment in segments if not segment.is_kept), len(image.layers))
        config = image.config.data
        if changed:
            by = MADE_BY if segments[-1].remake else ""
            plan = LayerPlan(tuple(segments), tuple(planned), made_by=by)
            config = squashed_config(image, plan, [one.diff_id for one in stored], History())
        manifest = image_manifest(
            image,
            image.family(None),
            config,
            stored,
            changed_annotations(image, Base(kept, ""), base_kept=False) if changed else None,
        )
        return {sha256(config): len(config), sha256(manifest): len(manifest)}

    def carve(self, kept: Sequence[int], room: Sequence[int]) -> Carved:
        """The layers that the fleet should have had above those that each image keeps, measured. `room`
        says how many each image may have there. Raises what reading raises."""
        sources = self.layers.sources
        compare = self.has_bytes or self.layers.has_contents
        carver = carver_of(self.layers, self._trees, kept, compare=compare, latest=self.latest)

        def weigh(atom: Atom) -> int:
            return self._estimated(sources, [piece for one in atom.members for piece in one.pieces])

        ranks = ranks_of(self.members)
        carving = carver.carve([most for _, most in sorted(zip(ranks, room, strict=True))], weigh)
        carving = replace(carving, stacks=tuple(carving.stacks[rank] for rank in ranks))
        there = [self._published(sources, one) for one in carving.layers]
        if self.workers is not None and not self.estimate:
            new = [one for one, blob in zip(carving.layers, there, strict=True) if blob is None]
            keys = [identify(sources, one.pieces) for one in new]
            layers = zip(keys, new, strict=True)
            self._make({key: (NewLayer(key, one.pieces), one.host_size) for key, one in layers})
        blobs = [
            blob or self._new(sources, one.pieces, one.host_size)
            for one, blob in zip(carving.layers, there, strict=True)
        ]
        return Carved(carving, tuple(blobs), carving.least([blob.stored for blob in blobs]))

    def _published(self, sources: Sequence[Layer], carved: CarvedLayer) -> StackLayer | None:
        """The blob of a layer that is published, where that can stay as it is: others are compressed anew,
        as all new layers are."""
        if carved.published is None:
            return None
        layer = sources[carved.published]
        if nearest(layer).codec is not self.compression.codec:
            return None
        digest = digest_of(layer) or self._hashed(layer)
        return _stacked(digest, size_of(layer), carved.host_size, layer.diff_id)

    def prepare(self, partitions: Iterable[Sequence[Segment]]) -> None:
        """Have workers measure the runs of all images that no image had before, where there are workers.
        Raises as `blobs` does."""
        if self.workers is None or self.estimate or self.estimate_runs:
            return
        keys: dict[RunPlace, str] = {}
        known = {*self._runs}
        new: dict[str, tuple[NewLayer, HostSize]] = {}
        numbers = {layer.diff_id: number for number, layer in enumerate(self.layers.sources)}
        for image, segments in zip((member.image for member in self.members), partitions, strict=True):
            for planned in self._planned(image, segments, known):
                key = identify(image.layers, planned.pieces) if planned.pieces else ""
                place = image.place(planned.start, planned.stop)
                keys[place] = key
                known.add(place)
                if key and key not in new and key not in self._made:
                    pieces = tuple(
                        one._replace(layer=numbers[image.diff_ids[one.layer]])
                        if isinstance(one, Copy)
                        else one
                        for one in planned.pieces
                    )
                    path = tuple(layer.chain_id for layer in image.layers[: planned.stop])
                    new[key] = NewLayer(key, pieces, path), planned.host_size
        self._make(new)
        self._runs |= {place: self._made[key] if key else None for place, key in keys.items()}

    def _make(self, new: Mapping[str, tuple[NewLayer, HostSize]]) -> None:
        """Measure new layers, by their keys: by workers as far as these can read what they are made of."""
        sources = self.layers.sources
        places = [place_of(*self.layers.held(layer.diff_id)) for layer in sources]
        if self.workers is not None and new:
            can = [self.workers.reach(place) for place in places]
            far = [one for one, _ in new.values() if all(can[number] for number in one.sources)]
            for key, compressed in self.workers.compressed(places, far, self.compression).items():
                self._made[key] = _made_of(compressed, new[key][1])
        for one, host in new.values():
            self._new(sources, one.pieces, host)

    def _merge(self, image: Image, segments: Sequence[Segment]) -> None:
        """Plan and measure the runs of an image that no image had before."""
        for planned in self._planned(image, segments, self._runs):
            blob = self._of_run(image, planned)
            self._runs[image.place(planned.start, planned.stop)] = blob

    def _planned(
        self, image: Image, segments: Sequence[Segment], known: Container[RunPlace]
    ) -> Iterator[SquashedLayer]:
        """The runs of an image that are not known, planned."""
        new = [not one.is_kept and image.place(one.start, one.stop) not in known for one in segments]
        last = max((number for number, is_new in enumerate(new) if is_new), default=-1)
        wanted = [
            one if is_new else replace(one, keep=True)
            for one, is_new in zip(segments[: last + 1], new, strict=False)
        ]
        for planned in self._plan(image, wanted).layers if wanted else ():
            if isinstance(planned, SquashedLayer):
                self.merged += planned.source_entries
                yield planned

    def _plan(self, image: Image, segments: Sequence[Segment]) -> LayerPlan:
        """How an image's lower layers, as far as the segments go, would be squashed; at least one run is
        among them. What lies below a run is looked at only where the run's own layers do not tell enough:
        a base has many entries, and many images."""
        changesets: dict[int, Changeset] = {}
        runs = [one for one in segments if not one.is_kept]
        first = runs[0].start
        needs_tree = False
        for run in runs:
            own = self.layers.of(image, range(run.start, run.stop))
            if needs_lower(list(own.values())):
                needs_tree = True
                changesets |= self.layers.of(image, range(first, run.start))
            changesets |= own
        header_of = self.layers.header_of(image)
        with inside(image.title):
            if not needs_tree:
                return plan_squash(changesets, segments, header_of)
            return plan_above(self._trees.at(image.layers[:first]), changesets, segments, header_of)

    def _of_run(self, image: Image, planned: SquashedLayer) -> StackLayer | None:
        return self._new(image.layers, planned.pieces, planned.host_size) if planned.pieces else None

    def _new(self, sources: Sequence[Layer], pieces: Sequence[Piece], host: HostSize) -> StackLayer:
        """A layer that is put together from these layers' pieces."""
        key = identify(sources, pieces)
        if key in self._made:
            return self._made[key]
        if self.estimate or self.estimate_runs:
            if key not in self._guessed:
                self._guessed[key] = self._guess(key, sources, pieces, host)
            return self._guessed[key]
        self._made[key] = self._compressed(gather(self.layers.store, sources, pieces), host)
        return self._made[key]

    def _guess(
        self, key: str, sources: Sequence[Layer], pieces: Sequence[Piece], host: HostSize
    ) -> StackLayer:
        """The same without compressing it: a layer that the fleet has, or about so much."""
        packed = self._packed_layers(sources, pieces)
        same = self._have.find(sources, pieces)
        twin = self._as_it_is(*self.layers.held(same))[0] if same is not None else None
        self._parts[key] = Made.of(packed, pieces, twin)
        if twin is not None:
            return twin._replace(content=host.content, blocks=host.blocks, made=key)
        return StackLayer(key, round(about(packed, pieces)), host.content, "", host.blocks, made=key)

    def _estimated(self, sources: Sequence[Layer], pieces: Sequence[Piece]) -> int:
        return round(about(self._packed_layers(sources, pieces), pieces))

    def _packed_layers(self, sources: Sequence[Layer], pieces: Sequence[Piece]) -> dict[int, PackedLayer]:
        """The layers that pieces come from, by their numbers there."""
        numbers = sorted({piece.layer for piece in pieces if isinstance(piece, Copy)})
        return {number: self._packed_layer(sources[number].diff_id) for number in numbers}

    def _packed_layer(self, diff_id: DiffID) -> PackedLayer:
        """A layer as it is stored: a plain one as a registry has it, or as it is once compressed, if any of
        that is known."""
        if diff_id not in self._packed_by:
            layer, changeset = self.layers.holder(diff_id), self.layers.changesets[diff_id]
            stored, codec = size_of(layer), codec_of(layer)
            described = self.elsewhere.get(diff_id)
            if codec is Codec.NONE and described is not None:
                stored, codec = described.size, described.codec
            elif codec is Codec.NONE and not self.estimate:
                stored, codec = self._packed(diff_id, stored, changeset.host_size).stored, Codec.GZIP
            self._packed_by[diff_id] = PackedLayer.of(diff_id, changeset, stored, codec)
        return self._packed_by[diff_id]

    def bounds(self, built: Sequence[Stack], stacks: Sequence[Stack]) -> Bounds | None:
        """Between what lies what is saved in a registry; None where all layers were measured."""
        if not any(blob.made for stack in stacks for blob in stack):
            return None
        return bounds_of_saving(built, stacks, self._parts)

    def _compressed(self, blocks: Iterator[memoryview], host: HostSize) -> StackLayer:
        """What a tar is in a registry."""
        return _made_of(compress(self.layers.store.session, blocks, self.compression), host)

    def price(self, number: int, run: LayerRun, *, host: bool) -> Priced:
        """What a run takes: exactly where it has been merged, else about, by what of its layers is alive at
        its top. Only runs that may give the same bytes as others elsewhere are planned for it, as long as
        these are not too many."""
        image = self.members[number].image
        start = run.start
        segment = Segment(start, run.stop, False)
        if segment.is_kept or image.place(start, run.stop) in self._runs:
            blobs = self.blobs(number, [segment])[0]
            blob = blobs[0] if blobs else _NOTHING
            return Priced(blob.key, blob.content if host else blob.stored)
        alive = self._alive_at(run.top.chain_id)
        cost = round((alive.content if host else alive.stored)[start])
        if len(segment) <= self._repeats[run.top.chain_id]:
            return Priced(self._twin_key(image, segment), cost)
        return Priced(f"{run.top.chain_id} from {start}", cost)

    def _twin_key(self, image: Image, segment: Segment) -> str:
        """The key of a run that may give the same bytes as others elsewhere; of too many only the first are
        planned for it."""
        place = image.place(segment.start, segment.stop)
        if place not in self._twins:
            if len(self._twins) >= _MOST_TWINS:
                return f"{image.layers[segment.stop - 1].chain_id} from {segment.start}"
            below = [Segment(0, segment.start, True)] if segment.start else []
            planned = self._plan(image, [*below, segment]).layers[-1]
            assert isinstance(planned, SquashedLayer)
            self._twins[place] = identify(image.layers, planned.pieces)
        return self._twins[place]

    def _alive_at(self, chain_id: ChainID) -> _Alive:
        """What is alive at a place of the fleet, whose layers are applied once for all places."""
        if not self._alive:
            self._survey()
        return self._alive[chain_id]

    def _survey(self) -> None:
        """Find what is alive at every place of the fleet."""
        stacks: dict[ChainID | None, tuple[list[float], list[int], list[tuple[float, float]]]]
        stacks = {None: ([], [], [])}
        images = [member.image for member in self.members]
        for _, layer, tree in walk(images, self.layers.changesets):
            below = stacks[layer.parent]
            stored, content, rates = [*below[0]], [*below[1]], [*below[2]]
            changeset = self.layers.changesets[layer.diff_id]
            packed = self._packed_layer(layer.diff_id)
            payload = sum(entry.size for entry in changeset.entries)
            rates.append((packed.block, packed.ratio))
            stored.append(packed.block * len(changeset.entries) + packed.ratio * payload)
            content.append(changeset.content_size)
            for dead in tree.dropped:
                record = dead.entry
                a_block, ratio = rates[dead.layer]
                stored[dead.layer] -= a_block + ratio * record.size
                content[dead.layer] -= content_of(record)
            stacks[layer.chain_id] = stored, content, rates
            self._alive[layer.chain_id] = _Alive(_from_top(stored), _from_top(content))


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


def _made_of(new: Compressed, host: HostSize) -> StackLayer:
    return _stacked(new.digest, new.size, host, new.diff_id)


def _stacked(key: str, stored: int, host: HostSize, diff_id: str) -> StackLayer:
    return StackLayer(key, stored, host.content, diff_id, host.blocks)


def identify(sources: Sequence[Layer], pieces: Sequence[Piece]) -> str:
    """A new layer's key, of what it is put together from: the same pieces are the same bytes."""
    key = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, Copy):
            key.update(f"{sources[piece.layer].diff_id} {piece.start} {piece.end}\n".encode())
        else:
            key.update(b"%d\n%b" % (len(piece), piece))
    return f"squashed {key.hexdigest()}"


def _as_digest(key: str) -> Digest:
    """A blob's digest; where it is not known, one of the same length that stands for it."""
    return Digest(key) if is_digest(key) else sha256(key.encode())


def _from_top(values: Sequence[float]) -> list[float]:
    """The sums of a list's ends: of all values, of all but the first, and so on."""
    return list(accumulate(reversed(values)))[::-1]
