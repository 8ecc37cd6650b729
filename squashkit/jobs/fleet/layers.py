"""The different layers of a fleet: every one is read once, however many images have it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, SquashkitError, inside, show_path, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.trees import walk
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import REGULAR, Entry, HeaderOf
from squashkit.layers.rootfs import Inode
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Image, Layer
from squashkit.plan.squash import find_obstacle
from squashkit.transports.blobs import read_blocks
from squashkit.transports.stored import digest_of, is_here, nearest, size_of

if TYPE_CHECKING:
    from squashkit.jobs.fleet.scan.known import ScannedLayers


@dataclass(slots=True)
class FleetLayers:
    """The different layers of a fleet's images."""

    store: LayerStore
    members: Sequence[Member]
    changesets: dict[DiffID, Changeset] = field(default_factory=dict)
    """What they hold, once they are read."""
    published: Sequence[Member] = ()
    """Other images, whose layers are to be used again where the fleet is carved."""
    _contents: dict[tuple[DiffID, int], bytes] = field(default_factory=dict, init=False)
    """The digests of files that were asked for, by their layers and offsets."""
    _again: dict[DiffID, tuple[Member, Layer]] = field(default_factory=dict, init=False)
    """Those of their layers that the fleet's images have not."""
    _holders: Mapping[DiffID, tuple[Member, Layer]] = field(init=False)
    """Of each the first image that has its blob, or the first at all, and the layer there."""

    def __post_init__(self) -> None:
        holders: dict[DiffID, tuple[Member, Layer]] = {}
        for member in self.members:
            for layer in member.image.layers:
                if layer.diff_id not in holders or not holders[layer.diff_id][1].blobs:
                    holders[layer.diff_id] = member, layer
        self._holders = holders
        for member in self.published:
            for layer in member.image.layers:
                if layer.diff_id not in holders:
                    self._again.setdefault(layer.diff_id, (member, layer))

    def holder(self, diff_id: DiffID) -> Layer:
        """A layer as it is in the image that it is read from."""
        return self.held(diff_id)[1]

    def held(self, diff_id: DiffID) -> tuple[Member, Layer]:
        """The image that a layer is read from, and the layer there."""
        return self._holders[diff_id] if diff_id in self._holders else self._again[diff_id]

    def again(self) -> list[Layer]:
        """Each layer that is to be used again."""
        return [layer for _, layer in self._again.values()]

    @property
    def sources(self) -> list[Layer]:
        """Every layer that is read: the different ones, then those that are to be used again."""
        return [*self.different, *self.again()]

    @property
    def different(self) -> list[Layer]:
        """Every different layer, as it is in the image that it is read from."""
        return [layer for _, layer in self._holders.values()]

    @property
    def entries(self) -> int:
        """Entries of all different layers."""
        return sum(self.changesets[layer.diff_id].count for layer in self.different if self.changesets)

    def read(self, *, estimate: bool = False) -> None:
        """Scan all different layers, once; to `estimate`, what lies elsewhere need not be fetched where its
        entries are remembered. Those that a scan knows are taken from there. Raises what `LayerStore.read`
        raises, and names the image."""
        self.changesets |= self._scanned()
        compare = self.has_contents
        try:
            sources = [layer for layer in self.sources if self._scan(layer.diff_id) is None]
            for layer in sources:
                _refuse_missing(layer)
            self.store.session.progress.stage("Reading", sum(map(size_of, sources)))
            found = self.store.read(
                sources,
                lambda layer: is_here(layer) or not estimate or (compare and layer.diff_id in self._again),
            )
            self.store.settle()
        except InvalidImage as error:
            self.named(error)
            raise
        self.changesets |= {layer.diff_id: read for layer, read in zip(sources, found, strict=True)}

    def _scan(self, diff_id: DiffID) -> ScannedLayers | None:
        """What tells of a layer in place of its bytes."""
        return self.held(diff_id)[0].scan

    def _scanned(self) -> dict[DiffID, Changeset]:
        """What scans tell of layers. Raises InvalidImage where a scan is not whole."""
        wanted: dict[int, tuple[ScannedLayers, set[DiffID]]] = {}
        for layer in self.sources:
            if (scan := self._scan(layer.diff_id)) is not None:
                wanted.setdefault(id(scan), (scan, set()))[1].add(layer.diff_id)
        found: dict[DiffID, Changeset] = {}
        for scan, diff_ids in wanted.values():
            found |= scan.changesets(diff_ids)
        return found

    def verify_blob(self, layer: Layer) -> None:
        """See that a layer's blob holds it, where a scan has read it from another one, and nothing but
        an image's word says so. Raises DigestMismatch."""
        scan = self._scan(layer.diff_id)
        if scan is not None and not scan.has_read(layer.diff_id, digest_of(layer)):
            member, _ = self.held(layer.diff_id)
            with inside(show_text(member.reference)):
                self.store.verify_content(layer, nearest(layer))

    def header(self, layer: Layer, entry: Entry) -> bytes:
        """The header blocks of an entry of a layer."""
        scan = self._scan(layer.diff_id)
        return self.store.header(layer, entry) if scan is None else scan.header(layer.diff_id, entry)

    def header_of(self, image: Image) -> HeaderOf:
        """Gives the header blocks of an entry of one of an image's layers."""
        return lambda index, entry: self.header(image.layers[index], entry)

    def read_each(self, *, estimate: bool) -> dict[DiffID, SquashkitError]:
        """As `read` for those that are not read yet; what is wrong with one layer stops no other, and is
        returned."""
        bad: dict[DiffID, SquashkitError] = {}
        there = []
        for layer in (layer for layer in self.different if layer.diff_id not in self.changesets):
            try:
                _refuse_missing(layer)
                there.append(layer)
            except InvalidImage as error:
                bad[layer.diff_id] = error
        self.store.session.progress.stage("Reading", sum(map(size_of, there)))
        for diff_id, found in self.store.read_each(
            there, lambda layer: is_here(layer) or not estimate
        ).items():
            if isinstance(found, Changeset):
                self.changesets[diff_id] = found
            else:
                bad[diff_id] = found
        return bad

    def have(self, diff_id: DiffID) -> list[int]:
        """The images that have a layer where it is read from."""
        read_from = _place(*self._holders[diff_id])
        return [
            number
            for number, member in enumerate(self.members)
            if any(
                layer.diff_id == diff_id and _place(member, layer) == read_from
                for layer in member.image.layers
            )
        ]

    def without(self, numbers: Collection[int]) -> FleetLayers:
        """The same without some of the images."""
        kept = [member for number, member in enumerate(self.members) if number not in numbers]
        theirs = {layer.diff_id for member in kept for layer in member.image.layers}
        known = {diff_id: read for diff_id, read in self.changesets.items() if diff_id in theirs}
        return FleetLayers(self.store, kept, known, self.published)

    def named(self, error: SquashkitError) -> SquashkitError:
        """Of a layer's fault it is said in which image it is: among all of the fleet its number means
        nothing."""
        if isinstance(error, InvalidImage) and {*self._holders, *self._again} & {error.diff_id}:
            member, _ = self.held(DiffID(error.diff_id))
            error.inside(f"{show_text(member.name)} in {member.source.title}")
        return error

    def unmergeable(self) -> dict[DiffID, str]:
        """The layers that can only be kept, and why."""
        found = {}
        for diff_id, changeset in self.changesets.items():
            obstacle = find_obstacle(changeset) if diff_id in self._holders else None
            if obstacle is not None:
                member, own = self._holders[diff_id]
                why = f"layer {own.index}: {show_path(obstacle.path)} {obstacle.message}"
                found[diff_id] = f"Kept in {show_text(member.name)}: {why}; it cannot be merged."
        return found

    def of(self, image: Image, indexes: range) -> dict[int, Changeset]:
        """Changesets of an image's layers."""
        return {index: self.changesets[image.diff_ids[index]] for index in indexes}

    def plain(self, diff_id: DiffID) -> Iterator[memoryview]:
        """The bytes of a layer's plain tar."""
        layer = self.holder(diff_id)
        return read_blocks(self.store.bytes_of(layer), self.store.session.cancelled, layer.where)

    def files_once(self) -> int | None:
        """Bytes of all different contents of files that the images show: a store of whole files that does
        not compress takes at least that. None where layers are not available."""
        if not self.has_contents:
            return None
        sizes: dict[bytes, int] = {}
        seen: set[tuple[DiffID, int]] = set()
        images = [member.image for member in self.members]
        tops = {image.layers[-1].chain_id for image in images if image.layers}
        for number, layer, tree in walk(images, self.changesets):
            if layer.chain_id not in tops:
                continue
            for _, node in iter_nodes(tree.root):
                if not isinstance(node, Inode) or node.entry.typeflag != REGULAR:
                    continue
                diff_id = images[number].diff_ids[node.layer]
                place = diff_id, node.entry.start
                if place not in seen:
                    seen.add(place)
                    sizes[self.content_digest(diff_id, node.entry)] = node.entry.realsize
        return sum(sizes.values())

    @property
    def has_contents(self) -> bool:
        """Whether what the files of the fleet hold is known without fetching anything."""
        return all(self._scan(layer.diff_id) is not None or is_here(layer) for layer in self.different)

    def content_digest(self, diff_id: DiffID, entry: Entry) -> bytes:
        """The sha256 of what a file of a layer holds."""
        if (scan := self._scan(diff_id)) is not None:
            return scan.content_digest(diff_id, entry)
        place = diff_id, entry.start
        if place not in self._contents:
            content = hashlib.sha256()
            for piece in self.store.content(self.holder(diff_id), entry):
                content.update(piece)
            self._contents[place] = content.digest()
        return self._contents[place]


def _place(member: Member, layer: Layer) -> object:
    """Where an image has a layer's blob, which may be damaged there alone; None where it has none."""
    if not layer.blobs:
        return None
    name = member.source.reference.in_registry
    return name.full_repository if name is not None else id(member.source.container)


def _refuse_missing(layer: Layer) -> None:
    """Raises InvalidImage where nobody has a layer's blob."""
    if not layer.blobs:
        digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
        raise InvalidImage(f"the blob {digest} is not there", where=layer.where, diff_id=layer.diff_id)
