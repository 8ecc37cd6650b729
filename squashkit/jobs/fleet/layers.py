"""The different layers of a fleet: every one is read once, however many images have it.

All of them are read through one loader, as if they were one image's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from squashkit.engine.entries import EntryCache, cache_folder
from squashkit.engine.layers import Loader, join
from squashkit.errors import InvalidImage, show_path, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.merge import HeaderOf
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.layers.tar import REGULAR, Record
from squashkit.oci.digests import DiffID
from squashkit.oci.documents import ImageConfig, Platform
from squashkit.oci.graph import Image, Layer, LayerGraph, stack_layers
from squashkit.plan.squash import apply_layer, find_obstacle
from squashkit.progress import Progress
from squashkit.transports.blobs import read_blocks
from squashkit.transports.joined import Joined, join_containers
from squashkit.transports.room import Room


@dataclass(slots=True)
class FleetLayers:
    """The different layers of a fleet's images."""

    loader: Loader
    members: Sequence[Member]
    index: Mapping[DiffID, int]
    """By which the loader knows each."""
    changesets: dict[DiffID, Changeset] = field(default_factory=dict)
    """What they hold, once they are read."""

    @classmethod
    def open(
        cls,
        stack: ExitStack,
        members: Sequence[Member],
        *,
        tmp_dir: Room,
        jobs: int,
        progress: Progress,
    ) -> FleetLayers:
        """Everything is closed with the stack."""
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
        return cls(loader, members, index)

    @property
    def entries(self) -> int:
        """Entries of all different layers."""
        return sum(changeset.count for changeset in self.changesets.values())

    def read(self, *, estimate: bool = False) -> None:
        """Scan all different layers, once; to `estimate`, what lies elsewhere need not be fetched where its
        entries are remembered. Raises what `Loader.load` raises, and names the image."""
        layers = self.loader.image.layers
        for layer in layers:
            self._refuse_missing(layer)
        size = sum(self.loader.source.size(layer) for layer in layers)
        self.loader.progress.stage("Reading", size)
        here = [self.loader.source.is_here(layer) or not estimate for layer in layers]
        try:
            found = self.loader.load(range(len(layers)), data=here.__getitem__)
            join(self.loader.checks, self.loader.cancelled)
        except InvalidImage as error:
            self._name(error)
            raise
        self.changesets = {layers[index].diff_id: changeset for index, changeset in found.items()}

    def _holder(self, layer: Layer) -> tuple[Member, Layer]:
        """The image that one of the fleet's layers is read from, and that layer as it is there; where its
        blob is nowhere, the first that has it."""
        holders = [
            (member, own)
            for member in self.members
            for own in member.image.layers
            if own.diff_id == layer.diff_id
        ]
        return next((one for one in holders if one[1].member is not None), holders[0])

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
        for diff_id, changeset in self.changesets.items():
            obstacle = find_obstacle(changeset)
            if obstacle is not None:
                member, own = self._holder(self.loader.image.layers[self.index[diff_id]])
                told = f"layer {own.index}: {show_path(obstacle.path)} {obstacle.message}"
                found[diff_id] = f"Kept in {show_text(member.name)}: {told}; it cannot be merged."
        return found

    def of(self, image: Image, indexes: range) -> dict[int, Changeset]:
        """Changesets of an image's layers."""
        return {index: self.changesets[image.diff_ids[index]] for index in indexes}

    def header_of(self, image: Image) -> HeaderOf:
        """Gives the header blocks of a record of one of an image's layers."""

        def header_of(index: int, record: Record) -> bytes:
            return self.loader.header_of(self.index[image.diff_ids[index]], record)

        return header_of

    def plain(self, diff_id: DiffID) -> Iterator[memoryview]:
        """The bytes of a layer's plain tar."""
        index = self.index[diff_id]
        blob, where = self.loader.bytes_of(index), self.loader.image.layers[index].where
        return read_blocks(blob, self.loader.cancelled, where)

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
                apply_layer(rootfs, self.changesets[layer.diff_id], layer.index)
            for _, node in iter_nodes(rootfs.root):
                if not isinstance(node, Inode) or node.entry.record.typeflag != REGULAR:
                    continue
                index = self.index[member.image.diff_ids[node.layer]]
                place = index, node.entry.record.start
                if place not in seen:
                    seen.add(place)
                    content = hashlib.sha256()
                    for piece in self.loader.content(index, node.entry):
                        content.update(piece)
                    sizes[content.digest()] = node.entry.record.realsize
        return sum(sizes.values())
