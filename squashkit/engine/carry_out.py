"""A decision into a sink: read, plan, write.

Everything is decided before but the plan itself. Kept blobs are carried over while the planner works;
nothing has a name before all of it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field, replace

from squashkit.engine.copy import Carried, Copies
from squashkit.engine.layers import LayerStore
from squashkit.engine.space import Need, needs_after, needs_before
from squashkit.engine.write import NewLayers, Stock, copy_layer, write_layer
from squashkit.errors import Cancelled, CheckFailed, InvalidImage, InvalidLayer
from squashkit.layers.changeset import Changeset
from squashkit.layers.merge import EMPTY, SquashedLayer
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Image, Layer, RunPlace, StoredLayer
from squashkit.oci.media import Codec
from squashkit.options import History
from squashkit.plan.delta import find_left_out
from squashkit.plan.documents import Result, changed_annotations, image_manifest, squashed_config
from squashkit.plan.segments import Decision, Segment
from squashkit.plan.squash import KeptLayer, LayerPlan, Planner, needs_lower, unchanged
from squashkit.progress import Note
from squashkit.transports.contracts import Sink, Slot, WrittenImage, put
from squashkit.transports.stored import is_here, is_remote, stored_layer
from squashkit.transports.target import Target
from squashkit.values import frozen, mutable
from squashkit.wording import Option, Words, parts_of

_PASSES = 3
"""How often layers are merged at most that are changed while they are read."""


@frozen
class Task:
    """One image to be written: what is decided of it, and how what is new of it is planned."""

    decision: Decision
    plan: Planner
    history: History
    fitted: Mapping[int, Changeset] = field(default_factory=dict)
    """Changesets that count in place of what the layers hold: a plan of such is this image's alone."""
    why_unchanged: str = "there is nothing to squash"
    """Why an image without runs is written as it is."""
    needs_all: bool = False
    """Whether the plan needs every layer's entries."""
    sources: Sequence[Layer] | None = None
    """The layers that new ones are put together from, where they are others than the image's."""
    shared: Sequence[str] = ()
    """The keys of new layers that other images have, too."""
    base_kept: bool = False
    """Whether the base that the source's annotations name is still there."""
    recheck: Callable[[], None] = lambda: None
    """Called once layers were read anew that were written to. Raises where a plan that was made before does
    not hold for them."""
    image_id: Digest | None = None
    """What the result must be, where that is known before."""

    @property
    def has_new_config(self) -> bool:
        """Whether the config is another than the image that was read has."""
        image = self.decision.image
        return sha256(image.config.data) != image.image_id


@frozen
class Done:
    """A task that was carried out, with nothing named yet."""

    result: Result
    written: WrittenImage | None
    """What the sink has of it; None in a dry run."""
    changesets: Mapping[int, Changeset]
    """Those that were read for the plan."""


def carry_out(layers: LayerStore, task: Task, target: Target, sink: Sink | None, stock: Stock) -> Done:
    """Read, plan and write an image. Layers are hashed, and kept blobs carried over, while this thread
    scans headers and plans; what is returned is whole and right, and has no name yet. Without a sink
    nothing is written.

    Raises what reading and planning raise, InvalidImage where the source is written to again and again,
    TooLarge.
    """
    work = _Work(layers, task, target, sink, stock)
    try:
        return work.estimate() if sink is None else work.write(sink)
    except InvalidLayer:
        with suppress(Cancelled):  # what was stopped by this failure has nothing to tell
            layers.settle()  # damaged bytes are told as such
        raise
    except Cancelled:
        layers.settle(work.copying)  # one of them failed
        raise
    except BaseException:
        layers.session.cancelled.set()
        raise


@mutable
class _Work:
    """One task under way."""

    layers: LayerStore
    task: Task
    target: Target
    sink: Sink | None
    stock: Stock
    decision: Decision = field(init=False)
    image: Image = field(init=False)
    before: Sequence[StoredLayer] = field(init=False)
    """The source's layers as they are stored."""
    there: dict[int, Descriptor] = field(default_factory=dict)
    """The kept layers that the destination had before, and by what it knows them."""
    copying: list[Future[None]] = field(default_factory=list)
    """Kept blobs on their way."""
    left_out: Mapping[DiffID, Descriptor] = field(default_factory=dict)
    """The layers that a delta leaves out, and by which blobs it names them."""
    needs: list[Need] = field(default_factory=list)
    """What file systems were asked for."""

    def __post_init__(self) -> None:
        self.decision, self.image = self.task.decision, self.task.decision.image
        self.before = [stored_layer(layer) for layer in self.image.layers]

    def estimate(self) -> Done:
        """A dry run: what would be compressed is not counted."""
        self._require(needs_before(self.layers, None, self.decision.squashed, 0, splice=False))
        changesets = self._read_around(self._read_runs())
        plan = self._plan(changesets)
        self.layers.settle()
        self._leave_out(plan.kept, _lowest_kept(plan))
        codec = self.target.compression.codec
        after: list[StoredLayer] = []
        for planned in plan.layers:
            if isinstance(planned, KeptLayer):
                after.append(self._carried(planned.index))
            elif planned.pieces:
                after.append(_planned(planned, codec))
        if plan.runs and not after:  # an image has a layer
            after.append(_planned(EMPTY, codec))
        result = self._result(plan, after, changed=bool(plan.runs) or self.task.has_new_config)
        if not result.changed:
            result = replace(result, notes=(f"It would be written unchanged: {self.task.why_unchanged}.",))
        elif any(layer.is_uncounted for layer in after):
            note = "A dry run compresses nothing: what compressed layers will take is not known."
            result = replace(result, notes=(note,))
        elif plan.runs and not self._saves_enough(*_plain_sizes(plan)):
            note = Words("It would be written unchanged: ", *_TOO_LITTLE.parts, ".")
            result = replace(result, notes=(note,), changed=False, after=tuple(self.before))
        return Done(result, None, changesets)

    def _carried(self, index: int) -> StoredLayer:
        """A kept layer as it would be stored."""
        before = self.before[index]
        one = self._to_carry(self.image.layers[index])
        if one.is_left_out and one.known is not None:
            self.there[index] = one.known
        if one.blob is None:
            return one.stored(one.known.digest, one.known.size) if one.is_left_out and one.known else before
        if (codec := one.codec_in(self.target)) is not one.there.codec:
            return StoredLayer(before.diff_id, Digest(""), before.size, codec, is_uncounted=True)
        return before if one.known is None else one.stored(one.known.digest, one.known.size)

    def write(self, sink: Sink) -> Done:
        """Read, plan and write, side by side as far as the sink allows it."""
        layers, decision = self.layers, self.decision
        kept = frozenset(layer.index for layer in decision.kept)
        self._leave_out(kept, decision.runs[0].start if decision.runs else len(kept))
        self._look_into(sink)
        copied = [self.before[one.index].size for one in decision.kept if one.index not in self.there]
        self._require(needs_before(layers, sink, decision.squashed, sum(copied), splice=self._splices))
        copies = Copies(layers, sink, self.target, self.stock, futures=self.copying)
        copies.leave_out(self.left_out)
        changesets = self._read_runs()
        if sink.parallel:
            copies.begin(decision.kept)
        changesets = self._read_around(changesets)
        plan = self._plan(changesets)
        self._require(needs_after(layers, sink, self._new_size(plan)))
        if not sink.parallel:
            # What a pipe has sent cannot be taken back: the plan must stand, on bytes that are right.
            layers.settle()
            copies.begin(decision.kept)
        copies.leave_out(self._leave_out(plan.kept, _lowest_kept(plan)))
        copies.begin([layer for layer in self.image.layers if layer.index in plan.kept])
        new = self._write_new(copies, plan)
        layers.settle(copies.futures)
        for _ in range(_PASSES - 1):
            if layers.changed is None:
                break
            new.discard()
            layers.forget()
            changesets = self._read_around(self._read_runs())
            self.task.recheck()
            plan = self._plan(changesets)
            new = self._write_new(copies, plan)
            layers.settle()
        if layers.changed is not None:
            raise InvalidImage(
                f"it was changed while it was read, in each of {_PASSES} passes; nothing was written",
                where=layers.changed,
            )
        if plan.runs and self._is_enough(plan, new):
            return self._squashed(sink, copies, plan, new.finish(), changesets)
        new.discard()
        every = range(len(self.image.layers))
        copies.leave_out(self._leave_out(every, len(every)))
        copies.begin(self.image.layers)
        layers.settle(copies.futures)
        return self._unchanged(sink, copies, plan, changesets)

    def _leave_out(self, kept: Collection[int], stay: int) -> Mapping[DiffID, Descriptor]:
        """Say which layers a delta leaves out of those that are kept, where the lowest `stay` are the
        result's lowest. What the source does not hold is not left out either: that would be a fault."""
        if (other := self.target.other) is not None:
            own = [
                (layer, Carried.to(self.target, layer).known)
                for layer in self.image.layers
                if layer.index in kept and layer.blobs
            ]
            self.left_out = find_left_out(own, stay, other.have, self.image.family(self.target.family))
        return self.left_out

    def _to_carry(self, layer: Layer) -> Carried:
        return Carried.to(self.target, layer, self.left_out.get(layer.diff_id))

    def _look_into(self, sink: Sink) -> None:
        """See what the sink has of the kept layers. Raises InvalidImage where a blob that is to be carried
        over is neither here nor there."""
        for layer in self.decision.kept:
            if layer.blobs:
                self.layers.check_size(layer)
            one = self._to_carry(layer)
            if (known := one.known) is not None and one.is_in(sink):
                self.there[layer.index] = known
            elif not layer.blobs:
                self.layers.check_size(layer)

    def _require(self, needs: Sequence[Need]) -> None:
        """Raises TooLarge where there is less than is needed."""
        for need in needs:
            self.needs.append(need)
            need.require()
            if need.size:
                self.layers.session.notify(Note(str(need)))

    # Reading

    def _read_runs(self) -> dict[int, Changeset]:
        """The changesets of the runs, and of layers below them that cost next to nothing: plain ones, and
        those that are remembered. Of kept ones that are there already all will be read."""
        layers, decision = self.layers, self.decision
        layers.session.progress.stage("Reading", sum(one.size for one in self.before))
        copied = {
            i for run in decision.runs if not self._made(self._key(run)) for i in range(run.start, run.stop)
        }
        last = max((segment.start for segment in decision.runs), default=0)
        cheap = [layer for layer in self.image.layers[:last] if layers.is_cheap(layer)]
        wanted = {layer.index for layer in cheap if layer.index not in self.there}
        wanted |= {layer.index for layer in decision.squashed}
        return self._read(wanted, lambda layer: layer.index in copied)

    def _read_around(self, changesets: Mapping[int, Changeset]) -> dict[int, Changeset]:
        """With what must be known around the runs: compressed layers below one only if it turns out to
        need them; and kept blobs that nobody copies, and so nobody else will verify."""
        runs, layers = self.decision.runs, self.image.layers
        lower = max(
            (run.start for run in runs if needs_lower([changesets[i] for i in range(run.start, run.stop)])),
            default=0,
        )
        upper = runs[0].stop if runs else len(layers)
        around = {
            layer.index
            for layer in layers
            if layer.index not in changesets
            and layer.blobs
            and (
                self.task.needs_all
                or layer.index < lower
                or (layer.index >= upper and not is_remote(layer))
            )
        }
        read = self._read(around, lambda layer: layer.index in self.there and is_here(layer))
        return dict(sorted({**changesets, **read, **self.task.fitted}.items()))

    def _read(self, indexes: Collection[int], wanted: Callable[[Layer], bool]) -> dict[int, Changeset]:
        chosen = [layer for layer in self.image.layers if layer.index in indexes]
        read = self.layers.read(chosen, wanted, splice=self._splices)
        return {layer.index: changeset for layer, changeset in zip(chosen, read, strict=True)}

    def _plan(self, changesets: Mapping[int, Changeset]) -> LayerPlan:
        if not self.decision.runs and not self.task.needs_all:
            return unchanged(self.decision.segments, len(self.image.layers))
        return self.task.plan(changesets, self.layers.header_of(self.image))

    # Writing

    def _write_new(self, copies: Copies, plan: LayerPlan) -> NewLayers:
        """The new layers, unless it is known before that they save too little."""
        if not self._is_stored_alike and not self._saves_enough(*_plain_sizes(plan)):
            return NewLayers()
        runs = {place: one for place, one in enumerate(plan.layers) if isinstance(one, SquashedLayer)}
        new = {place: run for place, run in runs.items() if run.pieces}
        if new:
            self.layers.session.progress.stage("Writing", sum(run.diff_size for run in new.values()))
        elif runs and not plan.kept:
            # `docker save` and podman fail on images without layers.
            new = {next(iter(runs)): EMPTY}
        written: dict[int, tuple[StoredLayer, Slot | None]] = {}
        for place, run in new.items():
            made = self._made(self._key(run))
            if made is not None:
                written[place] = made, None
                continue
            copies.settle_tail()
            stored, slot = self._write(run, copies.sink)
            twin = any(stored.digest == other.digest for other, _ in written.values())
            if twin:  # two runs of an image may be the same bytes: then they have one place
                slot.discard()
            written[place] = stored, None if twin else slot
        return NewLayers(written)

    def _write(self, run: SquashedLayer, sink: Sink) -> tuple[StoredLayer, Slot]:
        there = self.stock.stored.get(self._key(run) or "")
        if there is None:
            return write_layer(self.layers, self._sources, run, self.target.compression, sink)
        stored = self.stock.runs[run.key]
        return stored, copy_layer(self.layers, there, stored, sink)

    @property
    def _sources(self) -> Sequence[Layer]:
        return self.image.layers if self.task.sources is None else self.task.sources

    def _key(self, run: Segment | SquashedLayer) -> RunPlace | str | None:
        """By what the stock knows what a run becomes; None for what it does not hold."""
        if isinstance(run, SquashedLayer) and run.key:
            return run.key
        is_run = run.start < run.stop and not self.task.fitted and self.task.sources is None
        return self.image.place(run.start, run.stop) if is_run else None

    def _made(self, key: RunPlace | str | None) -> StoredLayer | None:
        """What was made for another image, where the destination has that."""
        if key is None or self.sink is None:
            return None
        made = self.stock.runs.get(key)
        return made if made is not None and self.sink.has(made.digest, made.size) else None

    def _squashed(
        self,
        sink: Sink,
        copies: Copies,
        plan: LayerPlan,
        new: Mapping[int, StoredLayer],
        changesets: Mapping[int, Changeset],
    ) -> Done:
        after = []
        for place, planned in enumerate(plan.layers):
            if isinstance(planned, KeptLayer):
                after.append(copies.stored[self.image.layers[planned.index].diff_id])
            elif place in new:
                after.append(new[place])
                if (key := self._key(planned)) is not None:
                    self.stock.runs[key] = new[place]
        diff_ids = [layer.diff_id for layer in after]
        config = squashed_config(self.image, plan, diff_ids, self.task.history)
        return self._describe(sink, self._result(plan, after, changed=True), config, changesets)

    def _unchanged(
        self, sink: Sink, copies: Copies, made: LayerPlan, changesets: Mapping[int, Changeset]
    ) -> Done:
        """The image as it is, under its new names, whatever the plan would have made of it."""
        after = [copies.stored[layer.diff_id] for layer in self.image.layers]
        plan = unchanged(self.decision.segments, len(after))
        result = self._result(plan, after, changed=self.task.has_new_config)
        if not result.changed:
            why = _TOO_LITTLE if made.runs else self.task.why_unchanged
            result = replace(result, notes=(Words("Written unchanged: ", *parts_of(why), "."),))
        return self._describe(sink, result, self.image.config.data, changesets)

    def _describe(
        self, sink: Sink, result: Result, config: bytes, changesets: Mapping[int, Changeset]
    ) -> Done:
        """Write config and manifest. Raises CheckFailed where the result is another than it must be."""
        if self.task.image_id not in (None, sha256(config)):
            raise CheckFailed(
                f"the result would be {sha256(config)} and must be {self.task.image_id}, so it is not"
                " written"
            )
        family = self.image.family(self.target.family)
        base_kept = self.task.base_kept
        annotations = changed_annotations(self.image, result.base, base_kept=base_kept)
        manifest = image_manifest(
            self.image, family, config, result.after, annotations if result.changed else None
        )
        put(sink, config)
        digest = sink.manifest(family, manifest)
        source = self.image.manifest_descriptor
        stated = source.raw.get("platform") if source else None  # os.version and the like
        descriptor = Descriptor(
            family,
            digest,
            len(manifest),
            platform=self.image.platform,
            raw={"platform": stated} if stated else {},
        )
        result = replace(result, image_id=sha256(config), manifest=descriptor)
        written = WrittenImage(
            descriptor,
            sha256(config),
            [layer.digest for layer in result.after],
            [layer.diff_id for layer in result.after],
        )
        return Done(result, written, changesets)

    def _result(self, plan: LayerPlan, after: Sequence[StoredLayer], *, changed: bool) -> Result:
        carried = [self._to_carry(layer) for layer in self.image.layers]
        return Result(
            image=self.image,
            base=self.decision.base,
            plan=plan,
            before=tuple(self.before),
            after=tuple(after),
            changed=changed,
            there={known.digest: known.size for known in self.there.values()},
            in_registry=frozenset(
                one.known.digest for one in carried if not one.is_own and one.known is not None
            ),
            needed=sum(need.size for need in self.needs),
            free=self.needs[-1].free if self.needs else 0,
        )

    @property
    def _splices(self) -> bool:
        """Whether deflate blocks of gzip layers are copied into new ones."""
        return self.sink is not None and self.target.compression.splice

    # What it saves

    @property
    def _is_stored_alike(self) -> bool:
        """Whether the stored sizes of squashed and new layers can be compared: not where plain ones become
        compressed, or compressed ones plain, which changes their size without any squash."""
        are_plain = self.target.compression.codec is Codec.NONE
        return all(self.before[layer.index].is_plain == are_plain for layer in self.decision.squashed)

    def _is_enough(self, plan: LayerPlan, new: NewLayers) -> bool:
        """Whether the new layers save what was asked."""
        if not self._is_stored_alike:
            return self._saves_enough(*_plain_sizes(plan))
        return self._saves_enough(self._stored_squashed, new.size)

    def _saves_enough(self, before: int, after: int) -> bool:
        least = self.target.min_saving
        return least is None or least.is_met(before, after)

    @property
    def _stored_squashed(self) -> int:
        return sum(self.before[layer.index].size for layer in self.decision.squashed)

    def _new_size(self, plan: LayerPlan) -> int:
        """Bytes that the new layers will take: exact where they are plain, else by the ratio at which the
        squashed ones are compressed."""
        before, after = _plain_sizes(plan)
        if self.target.compression.codec is Codec.NONE or not before:
            return after
        return after * self._stored_squashed // before


_TOO_LITTLE = Words("squashing would not save what ", Option("Write.min_saving"), " asks")


def _planned(run: SquashedLayer, codec: Codec) -> StoredLayer:
    """A new layer that nobody writes."""
    return StoredLayer(DiffID(""), Digest(""), run.diff_size, codec, is_uncounted=codec is not Codec.NONE)


def _lowest_kept(plan: LayerPlan) -> int:
    """How many of the image's lowest layers are the result's lowest."""
    lowest = 0
    for planned in plan.layers:
        if not isinstance(planned, KeptLayer) or planned.index != lowest:
            break
        lowest += 1
    return lowest


def _plain_sizes(plan: LayerPlan) -> tuple[int, int]:
    """Bytes of the squashed layers' plain tars, and of those that they become."""
    return sum(run.source_size for run in plan.runs), sum(run.diff_size for run in plan.runs)
