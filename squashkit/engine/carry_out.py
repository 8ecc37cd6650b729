"""A squash under way: read, plan, write, commit, each in its turn or side by side.

Everything is decided before but the plan itself. Kept blobs are carried over while the planner works;
nothing has a name before all of it stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from squashkit.amounts import size
from squashkit.engine.layers import Loader, join, spool_need
from squashkit.engine.write import Made, Origin, Writer
from squashkit.errors import Cancelled, InvalidImage, InvalidLayer
from squashkit.layers.changeset import Changeset
from squashkit.layers.merge import SquashedLayer
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import BASE_DIGEST, Codec
from squashkit.oci.names import ImageName
from squashkit.options import Options
from squashkit.plan import documents as metadata
from squashkit.plan.base import Base
from squashkit.plan.documents import StoredLayer
from squashkit.plan.squash import KeptLayer, LayerPlan, Ready, Segment, needs_lower, plan_squash
from squashkit.report.squash import Report
from squashkit.transports.archive.sink import ArchiveFile
from squashkit.transports.contracts import Sink, Slot, WrittenImage, put
from squashkit.transports.layout.sink import Layout
from squashkit.transports.room import Room
from squashkit.transports.stores.sink import StoreSink
from squashkit.transports.target import Destination

_PASSES = 3
"""How often layers are merged at most that are changed while they are read."""
Notify = Callable[[str], None]
"""Gets messages for people while the work goes on."""
WARNING = "warning: "
"""How those begin that everybody should see."""


@dataclass(slots=True)
class Job:
    """A squash whose every choice is made; only the plan is still to come."""

    base: Base
    segments: Sequence[Segment]
    loader: Loader
    sink: Sink | None
    destination: Destination
    options: Options
    report: Report
    notify: Notify
    elsewhere: Mapping[DiffID, Origin] = field(default_factory=dict)
    """Kept layers that a registry has in a form of its own, and which."""
    ready: Ready | None = None
    """The plan, where it is made already."""
    made: Made = field(default_factory=Made)
    there: dict[Digest, int] = field(default_factory=dict)
    """Kept blobs that the destination had before, and their sizes in bytes."""
    changesets: dict[int, Changeset] = field(default_factory=dict)
    """Those that were read for the plan."""
    copies: list[Future[None]] = field(default_factory=list)
    """Kept blobs on their way."""

    @property
    def image(self) -> Image:
        return self.loader.image

    @property
    def runs(self) -> list[Segment]:
        return [segment for segment in self.segments if not segment.is_kept]

    @property
    def squashed(self) -> list[Layer]:
        return [self.image.layers[i] for run in self.runs for i in range(run.start, run.stop)]

    @property
    def kept(self) -> list[Layer]:
        squashed = {layer.index for layer in self.squashed}
        return [layer for layer in self.image.layers if layer.index not in squashed]

    def _origin(self, layer: Layer) -> Origin:
        return self.elsewhere.get(layer.diff_id) or Origin(layer, self.loader.source, layer)

    def _is_there(self, layer: Layer) -> bool:
        """Whether the destination has the blob already."""
        origin = self._origin(layer)
        if self.sink is None or (origin.blob.descriptor is None and origin.blob.member is None):
            return False
        known = origin.known
        return known is not None and self.sink.has(known.digest, known.size)

    @property
    def _has_new_config(self) -> bool:
        """Whether the config is another than the image that was read has: so it is in a rebase."""
        return sha256(self.image.config.data) != self.image.image_id

    @property
    def _why_unchanged(self) -> str:
        return "it lies on this base already" if self.ready else "there is nothing to squash"

    @property
    def _in_place(self) -> bool:
        folder = self.loader.source.folder
        return folder is not None and isinstance(self.sink, Layout) and folder.samefile(self.sink.path)

    def run(self) -> WrittenImage | None:
        """Read, plan and write. Layers are hashed, and kept blobs carried over, while this thread scans
        headers and plans; what is returned is whole and right, and has no name yet. None where nothing
        is to be written."""
        try:
            return self._run()
        except InvalidLayer:
            join(self.loader.checks, self.loader.cancelled)  # damaged bytes are told as such
            raise
        except Cancelled:
            join([*self.loader.checks, *self.copies], self.loader.cancelled)  # one of them failed
            raise
        except BaseException:
            self.loader.cancelled.set()
            raise

    def _run(self) -> WrittenImage | None:
        self._check_kept()
        self._check_space(0)
        if self.sink is None:
            self._estimate(self._plan(self._load(lambda: None)))
            join(self.loader.checks, self.loader.cancelled)
            return None
        writer = Writer(
            self.loader,
            self.sink,
            plain_zstd=self.destination.format == "docker",
            in_place=self._in_place,
            pack=self.destination.compression if self.destination.is_registry else None,
            made=self.made,
        )

        def keep() -> None:
            self.copies.extend(writer.keep(self.loader.pool, [self._origin(layer) for layer in self.kept]))

        plan = self._plan(self._load(keep if self.sink.parallel else lambda: None))
        self._check_space(self._new_size(plan))
        if not self.sink.parallel:
            # What a pipe has sent cannot be taken back: the plan must stand, on bytes that are right.
            join(self.loader.checks, self.loader.cancelled)
            keep()
        enough = self._is_stored_alike or self._saves_enough(*_plain_sizes(plan))
        new = self._write_runs(writer, plan) if enough else {}
        join([*self.loader.checks, *self.copies], self.loader.cancelled)
        for _ in range(_PASSES - 1):
            if not self.loader.is_changed:
                break
            _discard(new)
            plan = self._plan(self._load_again())
            new = self._write_runs(writer, plan) if enough else {}
            join(self.loader.checks, self.loader.cancelled)
        if self.loader.is_changed:
            raise InvalidImage(
                f"it was changed while it was read, in each of {_PASSES} passes; nothing was written",
                where=self.loader.source.title,
            )
        if self._is_stored_alike:
            size = sum(stored.size for stored, _ in new.values())
            enough = self._saves_enough(self._stored_size(self.squashed), size)
        if self.runs and not enough:
            _discard(new)
            rest = [self._origin(layer) for layer in self.squashed]
            join(writer.keep(self.loader.pool, rest), self.loader.cancelled)
            return self._pass_through(writer, "squashing would not save what --min-saving asks")
        if not self.runs:
            return self._pass_through(writer, self._why_unchanged)
        for stored, slot in new.values():
            if slot is not None:
                slot.finish(stored.digest)
        # A plan that is ready is made of more than these layers: for another image they may give another.
        for run in self.runs if self.ready is None else ():
            if run.start in new:
                self.made.runs[self.image.place(run.start, run.stop)] = new[run.start][0]
        return self._write_squashed(writer, plan, {k: v[0] for k, v in new.items()})

    def _check_kept(self) -> None:
        """Raises InvalidImage where a blob that is to be carried over is neither here nor there."""
        for layer in self.kept if self.sink is not None else ():
            if layer.member is not None:
                self.loader.check_size(layer)
            known = self._origin(layer).known if self._is_there(layer) else None
            if known is not None:
                self.there[known.digest] = known.size
            elif layer.member is None:
                self.loader.check_size(layer)

    def _load(self, keep: Callable[[], None]) -> dict[int, Changeset]:
        """The changesets of the runs and of what must be known around them. `keep` begins the copying
        of kept blobs, which goes on while the planner thinks.

        Plain layers below a run are scanned with it, since that costs next to nothing; compressed ones
        only if the run turns out to need them.
        """
        runs, layers, source = self.runs, self.image.layers, self.loader.source
        # Kept blobs that nobody will copy, and so nobody else will verify.
        there = {layer.index for layer in self.kept if self._is_there(layer)}
        self.loader.progress.stage("Reading", sum(b.size for b in self.report.before))
        squashed = {layer.index for layer in self.squashed}
        copied = {i for run in self.runs if not self._made(run) for i in range(run.start, run.stop)}
        last = max((segment.start for segment in runs), default=0)
        cheap = {layer.index for layer in layers[:last] if self.loader.is_cheap(layer)}
        changesets = self.loader.load(squashed | (cheap - there), data=lambda index: index in copied)
        keep()
        lower = max(
            (run.start for run in runs if needs_lower([changesets[i] for i in range(run.start, run.stop)])),
            default=0,
        )
        upper = runs[0].stop if runs else len(layers)
        around = {
            layer.index
            for layer in layers
            if layer.index not in changesets
            and (layer.index < lower or (layer.index >= upper and source.remote is None))
            and layer.member is not None
        }
        changesets |= self.loader.load(
            around, data=lambda index: index in there and source.is_here(layers[index])
        )
        if self.ready is not None:
            changesets |= self.ready.changesets
        self.changesets = dict(sorted(changesets.items()))
        return self.changesets

    def _load_again(self) -> dict[int, Changeset]:
        """After a change of the source: all that is read in place is verified and read anew. Raises
        InvalidImage where a plan that is ready was made of other layers than there are now."""
        loaders = [self.loader, *self.loader.beside]
        before = [loader.forget() for loader in loaders]
        changesets = self._load(lambda: None)
        for loader, known in zip(loaders, before, strict=True) if self.ready is not None else ():
            if loader.load(known, data=lambda index: True) != known:
                raise InvalidImage("it was changed while it was read", where=loader.source.title)
        self.loader.checks += (check for loader in self.loader.beside for check in loader.checks)
        return changesets

    def _plan(self, changesets: dict[int, Changeset]) -> LayerPlan:
        if not self.runs:
            return self.report.plan
        plan = (
            self.ready.plan
            if self.ready
            else plan_squash(
                changesets,
                self.segments,
                self.loader.header_of,
                opaque=self.options.whiteouts == "opaque",
                follow_lower_symlinks=self.options.symlink_parents == "follow",
                blind=self.options.blind,
            )
        )
        self.report.plan = plan
        return plan

    def _made(self, run: Segment | SquashedLayer) -> StoredLayer | None:
        """What a run became for another image, where the destination has that."""
        made = self.made.runs.get(self.image.place(run.start, run.stop))
        there = made is not None and self.sink is not None and self.sink.has(made.digest, made.size)
        return made if there else None

    def _write_runs(self, writer: Writer, plan: LayerPlan) -> dict[int, tuple[StoredLayer, Slot | None]]:
        """New layers by the layer that their run starts at; their places are still to be finished. There is
        none for those that were made before."""
        runs = [p for p in plan.layers if isinstance(p, SquashedLayer) and p.pieces]
        if runs:
            self.loader.progress.stage("Writing", sum(run.diff_size for run in runs))
        if self.runs and not any(isinstance(p, KeptLayer) or p.pieces for p in plan.layers):
            # `docker save` and podman fail on images without layers
            return {self.runs[0].start: writer.empty(self.destination.compression)}
        written: dict[int, tuple[StoredLayer, Slot | None]] = {}
        for run in runs:
            made = self._made(run)
            written[run.start] = (made, None) if made else self._write_run(writer, run, written)
        return written

    def _write_run(
        self, writer: Writer, run: SquashedLayer, written: Mapping[int, tuple[StoredLayer, Slot | None]]
    ) -> tuple[StoredLayer, Slot | None]:
        """Write a new layer. Two runs of an image may be the same bytes: then it has one place."""
        stored, slot = writer.squash(run, self.destination.compression)
        if any(stored.digest == other.digest for other, _ in written.values()):
            slot.discard()
            return stored, None
        return stored, slot

    @property
    def _is_stored_alike(self) -> bool:
        """Whether the stored sizes of squashed and new layers can be compared: not where plain ones become
        compressed, which saves bytes without any squash."""
        before = {self.report.before[layer.index].codec for layer in self.squashed}
        return self.destination.compression.codec is Codec.NONE or before != {Codec.NONE}

    def _saves_enough(self, before: int, after: int) -> bool:
        """Whether bytes of squashed layers that become so many save what --min-saving asks."""
        wanted = self.options.min_saving
        saved = before - after
        return wanted is None or (saved >= wanted.size and saved >= wanted.share * before)

    def _stored_size(self, layers: Sequence[Layer]) -> int:
        return sum(self.report.before[layer.index].size for layer in layers)

    def _estimate(self, plan: LayerPlan) -> None:
        """A dry run's layers: new ones with the size of their plain tars."""
        for planned in plan.layers:
            if isinstance(planned, KeptLayer):
                self.report.after.append(self.report.before[planned.index])
            elif planned.pieces:
                codec = self.destination.compression.codec
                self.report.after.append(StoredLayer(DiffID(""), Digest(""), planned.diff_size, codec))
        self.report.changed = bool(self.runs) or self._has_new_config
        if not self.report.changed:
            self.report.notes.append(f"It would be written unchanged: {self._why_unchanged}.")
        elif not self.runs:
            return
        elif self.destination.compression.codec is not Codec.NONE:
            self.report.notes.append(
                "A dry run compresses nothing: new layers are counted with the size of their plain tars."
            )
        elif not self._saves_enough(*_plain_sizes(plan)):
            self.report.notes.append(
                "It would be written unchanged: squashing would not save what --min-saving asks."
            )
            self.report.changed = False
            self.report.after = list(self.report.before)

    def _pass_through(self, writer: Writer, why: str) -> WrittenImage:
        """Write the image as it is, under its new names."""
        layers = [writer.stored[layer.diff_id] for layer in self.image.layers]
        self.report.plan = LayerPlan(tuple(self.segments), tuple(KeptLayer(i) for i in range(len(layers))))
        if not self._has_new_config:
            self.report.notes.append(f"Written unchanged: {why}.")
        return self._write_documents(self.image.config.data, layers, changed=self._has_new_config)

    def _write_squashed(self, writer: Writer, plan: LayerPlan, new: dict[int, StoredLayer]) -> WrittenImage:
        layers = [
            writer.stored[self.image.layers[planned.index].diff_id]
            if isinstance(planned, KeptLayer)
            else new[planned.start]
            for planned in plan.layers
            if isinstance(planned, KeptLayer) or planned.start in new
        ]
        config = metadata.squashed_config(
            self.image, plan, [layer.diff_id for layer in layers], self.options.history
        )
        return self._write_documents(config, layers, changed=True)

    def _write_documents(self, config: bytes, layers: list[StoredLayer], *, changed: bool) -> WrittenImage:
        """Write config and manifest."""
        assert self.sink is not None
        family = metadata.manifest_family(self.image, self.destination.family)
        manifest = metadata.image_manifest(
            self.image,
            family,
            config,
            layers,
            changed=changed,
            base=_base_annotation(self.base),
            base_kept=self.ready is None and _is_base_kept(self.image, self.base),
        )
        put(self.sink, config)
        digest = self.sink.manifest(family, manifest)
        source = self.image.manifest_descriptor
        stated = source.raw.get("platform") if source else None  # os.version and the like
        descriptor = Descriptor(
            family,
            digest,
            len(manifest),
            platform=self.image.platform,
            raw={"platform": stated} if stated else {},
        )
        self.report.after = layers
        self.report.changed = changed
        self.report.image_id = sha256(config)
        self.report.manifest_digest = digest
        return WrittenImage(
            descriptor,
            sha256(config),
            [layer.digest for layer in layers],
            [layer.diff_id for layer in layers],
        )

    def _new_size(self, plan: LayerPlan) -> int:
        """Bytes that the new layers will take: exact where they are plain, else by the ratio at which the
        squashed ones are compressed."""
        before, size_ = _plain_sizes(plan)
        if self.destination.compression.codec is Codec.NONE or not before:
            return size_
        return size_ * self._stored_size(self.squashed) // before

    def _check_space(self, new: int) -> None:
        """Compare the space that is needed with the space that there is: before anything is read what is
        certain, and once the plan stands the new layers too."""
        room = self.loader.room
        inflating = [one.index for one in self.squashed if not self.loader.is_inflated(one.index)]
        spool = spool_need(self.loader.source, self.image, inflating, certain=room.limit is not None)
        kept = self._stored_size([layer for layer in self.kept if not self._is_there(layer)])
        needs: list[tuple[Room, int]] = [(room, new or spool)]
        if isinstance(self.sink, StoreSink):
            needs = [(room, new or spool + kept)]
        elif isinstance(self.sink, ArchiveFile | Layout):
            output = self.sink.room
            if new:  # kept blobs are being written when the plan stands
                needs = [(output, new)]
            elif output is room:
                needs = [(room, spool + kept)]
            else:
                needs = [(output, kept), (room, spool)]
        for place, need in needs:
            there = os.statvfs(place.folder)
            free = there.f_bavail * there.f_frsize
            self.report.space_needed += need
            self.report.space_free = free
            place.check(need)
            if need:
                self.notify(f"Needs {size(need)} in {place.folder}; {size(free)} are free.")


def _discard(new: Mapping[int, tuple[StoredLayer, Slot | None]]) -> None:
    """Give up the places of new layers, the last first."""
    for _, slot in reversed(list(new.values())):
        if slot is not None:
            slot.discard()


def _plain_sizes(plan: LayerPlan) -> tuple[int, int]:
    """Bytes of the squashed layers' plain tars, and of those that they become."""
    runs = [planned for planned in plan.layers if isinstance(planned, SquashedLayer)]
    return sum(run.source_size for run in runs), sum(run.diff_size for run in runs)


def _base_annotation(base: Base) -> tuple[str, Digest] | None:
    """The base's name and digest, only from a manifest that was read."""
    if base.image is None or base.image.manifest_descriptor is None:
        return None
    name = ImageName.of(base.image_name) or base.image_name  # layouts and archives may give any name
    return str(name), base.image.manifest_descriptor.digest


def _is_base_kept(image: Image, base: Base) -> bool:
    """Whether the base that the source's annotations name is still there. Where its manifest was not
    read, only a base that was asked for by name says so."""
    annotated = image.manifest.annotations.get(BASE_DIGEST) if image.manifest else None
    if base.image is not None and base.image.manifest_descriptor is not None:
        return annotated == base.image.manifest_descriptor.digest
    return base.layers > 0 and bool(base.name)
