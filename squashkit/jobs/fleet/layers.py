"""The different layers of a fleet: every one is read once, however many images have it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, SquashkitError, show_path, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.trees import walk
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.rootfs import Inode
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Image, Layer
from squashkit.oci.names import ImageName
from squashkit.plan.squash import find_obstacle
from squashkit.transports.blobs import read_blocks
from squashkit.transports.stored import is_here, size_of


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

    def again(self) -> Iterator[tuple[ImageName | None, Layer]]:
        """Each layer that is to be used again, and the repository that it was read from."""
        for member, layer in self._again.values():
            yield member.source.reference.in_registry, layer

    @property
    def sources(self) -> list[Layer]:
        """Every layer that is read: the different ones, then those that are to be used again."""
        return [*self.different, *(layer for _, layer in self._again.values())]

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
        entries are remembered. Raises what `LayerStore.read` raises, and names the image."""
        try:
            sources = self.sources
            for layer in sources:
                _refuse_missing(layer)
            self.store.session.progress.stage("Reading", sum(map(size_of, sources)))
            found = self.store.read(sources, lambda layer: is_here(layer) or not estimate)
            self.store.settle()
        except InvalidImage as error:
            self.named(error)
            raise
        self.changesets |= {layer.diff_id: read for layer, read in zip(sources, found, strict=True)}

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
        if isinstance(error, InvalidImage) and error.diff_id in self._holders:
            member, _ = self._holders[DiffID(error.diff_id)]
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
        """Whether what files hold is known without fetching anything."""
        return all(map(is_here, self.different))

    def content_digest(self, diff_id: DiffID, entry: Entry) -> bytes:
        """The sha256 of what a file of a layer holds."""
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
