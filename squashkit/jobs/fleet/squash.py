"""A whole fleet squashed into one place, by a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from squashkit.amounts import together
from squashkit.arguments import checked, texts
from squashkit.engine.carry_out import Task
from squashkit.engine.deliver import Delivery, carry_out_each, deliver, written_of
from squashkit.engine.layers import LayerStore
from squashkit.engine.write import Stock
from squashkit.errors import Interrupted, SquashkitError, UsageError, show_text
from squashkit.jobs.base.shared import add_blobs, blobs_of
from squashkit.jobs.choose import Chosen
from squashkit.jobs.ends import guard_tags
from squashkit.jobs.fleet.measure import GZIP, OpenFleet
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.replace import OwnTags
from squashkit.jobs.fleet.target import FleetTarget
from squashkit.jobs.held import Held
from squashkit.jobs.recipes import recipe_of, refuse_file, write_recipe
from squashkit.jobs.reports import MIXED, notes_on, reports_of, transferred
from squashkit.jobs.rollback import Rollback
from squashkit.layers.merge import SquashedLayer
from squashkit.oci.digests import Digest
from squashkit.oci.graph import StoredLayer
from squashkit.oci.media import Codec
from squashkit.oci.names import ImageName
from squashkit.options import STRATEGIES, FleetOptions, History, Merge, Read, Replace, Run, Write
from squashkit.plan.base import Base
from squashkit.plan.documents import is_base_kept
from squashkit.plan.fleet.carve import carve_planner
from squashkit.plan.fleet.strategies import ASK_NO_BASE, BUILT, CARVE, Carved, Strategy
from squashkit.plan.recipe.model import FLEET, fleet_of, fleet_options
from squashkit.plan.segments import Decision, Segment
from squashkit.plan.squash import squash_planner
from squashkit.progress import Note, Notify, Numbered, Progress, Silent, ignore
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.fleet.titles import show_segments
from squashkit.report.patch import PatchReport
from squashkit.report.squash import Report
from squashkit.transports.contracts import Sink, Written
from squashkit.transports.nowhere import Nowhere
from squashkit.transports.session import Session
from squashkit.transports.stored import digest_of, is_remote, nearest, size_of
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target, decide_target
from squashkit.wording import Option


@checked
def squash_fleet(
    references: Sequence[str] | str,
    into: Replace | str,
    strategy: str = "best",
    *,
    fleet: FleetOptions = FleetOptions(),
    force: bool = False,
    recipe: Path | str | None = None,
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> SquashedFleet:
    """Squash all images of a fleet by a strategy into one place: one of `built`, `all`, `base`,
    `trie`, `best` and `carve`.

    `into` is a layout's folder (`oci:DIR`) or an archive, where each image has its name, or
    `docker://HOST/PREFIX`, below which each has its name without a host; of one that `docker://HOST/P/`
    lists, what stands after `P/`. With `Replace` images of a registry go back where they were read: their
    tags move once all results are there, those that still mean what was read, and not those of images on
    which others of the fleet stand. Each image is squashed as `squash` does it: its root file system is its
    source's. Every layer is read once and every new one made once, however many images have it. An archive
    or a layout gets all images or none; in a registry each gets its tag once it is right. Before anything
    is written, `notify` gets what images that are not of the fleet share with it no longer.

    Raises BaseUnknown where no base is known of an image, unless the strategy asks for none; UsageError
    where images have no names or the same, or where a name is taken, unless `force` moves it; otherwise as
    `squash`.
    """
    file = None if recipe is None else Path(recipe)
    refuse_file(file)
    return _squash(
        references, into, strategy, fleet, force, run, recipe=file, progress=progress, notify=notify
    )


def squash_again(
    held: Held,
    references: Sequence[str],
    into: str | None,
    *,
    force: bool,
    run: Run,
    progress: Progress | None,
    notify: Notify,
) -> SquashedFleet:
    """Squash the fleet of a recipe again: all of its images, in whatever order; into nothing where they are
    only to be looked at. Raises CheckFailed where something else comes out, otherwise as `squash_fleet`."""
    strategy, options = fleet_of(held.recipe.options)
    return _squash(references, into, strategy, options, force, run, held, progress=progress, notify=notify)


def _squash(
    references: Sequence[str] | str,
    into: Replace | str | None,
    strategy: str,
    fleet: FleetOptions,
    force: bool,
    run: Run,
    held: Held | None = None,
    *,
    recipe: Path | None = None,
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> SquashedFleet:
    if strategy not in STRATEGIES:
        raise UsageError(f"no strategy is named {show_text(strategy)}: {', '.join(STRATEGIES)}")
    if fleet.clamp_mtime is not None and strategy != CARVE:
        raise UsageError(Option("FleetOptions.clamp_mtime"), " is for ", Option("strategy", CARVE))
    if fleet.published and strategy != CARVE:
        raise UsageError(Option("FleetOptions.stable_from"), " is for ", Option("strategy", CARVE))
    place = FleetTarget.parse(into) if isinstance(into, str) else None
    rollback = Rollback.named(into.rollback) if isinstance(into, Replace) else None
    if rollback is not None and force:
        raise UsageError(Option("force", True), " is for ", Option("into"), ": own tags move without it")
    numbered = Numbered(progress or Silent())
    with for_many_images(), Session(run, numbered) as session, LayerStore(session) as layers:
        opened = OpenFleet.of(layers, texts(references), fleet, estimate=fleet.estimate, earlier=rollback)
        goes: _Into | _Back | _Nowhere
        if into is None:
            goes = _Nowhere(len(opened.members))
        elif rollback is not None:
            chosen = fleet.platform is not None
            goes = _Back(OwnTags(session, opened.members, rollback, notify, chosen=chosen))
        else:
            assert place is not None
            goes = _Into.open(place, session, opened, chosen=fleet.platform is not None, force=force)
        if strategy not in ASK_NO_BASE:
            opened.refuse_unknown()
        opened.check_limit([strategy], fleet)
        # What images share that are carved is told by contents.
        opened = opened.read(estimate=fleet.estimate and strategy != CARVE)
        measured = opened.measure([BUILT, strategy], fleet)
        if fleet.clamp_mtime is not None and measured[-1].carved is not None:
            opened.fleet.notes.append(f"In carved layers times after {fleet.clamp_mtime} became that time.")
        report = opened.report(measured, fleet)
        session.progress.close()
        if gone := report.no_longer_shared(measured[-1]).lines():
            notify(Note("\n".join(gone)))
        work = _FleetWork(opened, layers, goes.sink, goes.how, Read(fleet.platform), held)
        done = goes.write(work, measured[-1], numbered)
        if recipe is not None:
            options = fleet_options(strategy, fleet)
            write_recipe(recipe, recipe_of(FLEET, options, work.done, work.tasks, work.targets))
        notes = [*report.notes, *goes.notes]
        if any(MIXED in one.notes for _, one in done):
            notes.append(MIXED)
        # In an archive or a layout what is there already was mostly written for an image before.
        deliveries = work.deliveries if goes.sink is None else []
        return SquashedFleet(
            replace(report, notes=tuple(notes)),
            measured[-1],
            tuple(done),
            transferred(session, deliveries, goes.title),
            goes.moves,
        )


@dataclass(slots=True)
class _Into:
    """Images go into one place, under names there."""

    place: FleetTarget
    names: Sequence[str]
    sink: Sink | None
    """What takes all of them; None where each has a repository of its own."""
    how: Write
    notes: Sequence[str]
    """What names there lose."""
    moves: PatchReport | None = None

    @classmethod
    def open(
        cls, place: FleetTarget, session: Session, opened: OpenFleet, *, chosen: bool, force: bool
    ) -> _Into:
        """Raises UsageError where images cannot go there, or would take something's place."""
        names = place.names(opened.members)
        place.protect([one.source for one in (*opened.members, *opened.bases)], names)
        guard = TagGuard(
            {place.tag(n): [one.image.platform] for n, one in zip(names, opened.members, strict=True)},
            chosen=chosen,
            elsewhere=(Option("into"), " another place keeps it"),
        )
        sink, lost = place.open(session, names, guard, force=force)
        return cls(place, names, sink, Write(compress=GZIP, force=force), lost)

    @property
    def title(self) -> str:
        return self.place.text

    def write(self, work: _FleetWork, strategy: Strategy, numbered: Numbered) -> list[tuple[str, Report]]:
        """Write all images: in an archive or a layout all get their names at the end, in a registry each
        once it is right."""
        into = self.title.removesuffix(":")
        done: list[tuple[str, Report]] = []
        numbered.total = len(self.names)
        for number, output in enumerate(map(self.place.output, self.names)):
            numbered.number = number + 1
            try:
                done.append((output, work.write(number, output, strategy)))
            except KeyboardInterrupt:
                if self.sink is not None or not done:
                    raise
                raise Interrupted(
                    f"interrupted; {len(done)} of {len(self.names)} images have their tags below {into},"
                    f" the last of them {done[-1][0]}",
                    reference=into,
                ) from None
            except (SquashkitError, OSError) as error:
                if self.sink is None and done:
                    error.add_note(f"{len(done)} of {len(self.names)} images have their tags below {into}")
                raise
        work.commit()
        return done


@dataclass(slots=True)
class _Back:
    """Images go back where they were read: tags move once all results are there."""

    tags: OwnTags
    moves: PatchReport | None = None
    """What became of each."""
    sink = None
    how = Write(compress=GZIP, push_by_digest=True)

    @property
    def title(self) -> str:
        return together([f"docker://{host}" for host in dict.fromkeys(n.host for n in self.tags.names)])

    @property
    def notes(self) -> Sequence[str]:
        return self.tags.lost

    def write(self, work: _FleetWork, strategy: Strategy, numbered: Numbered) -> list[tuple[str, Report]]:
        """Write the images that change, each by its digest; then move their tags."""
        done: list[tuple[str, Report]] = []
        numbered.total = len(self.tags.names)
        try:
            for number, name in enumerate(self.tags.names):
                numbered.number = number + 1
                if self.tags.stays(number, strategy.segments[number], work.bases):
                    continue
                report = work.write(number, f"docker://{name.full_repository}", strategy)
                if self.tags.has_layers(number, [layer.diff_id for layer in report.after]):
                    continue
                self.tags.results[number] = Digest(report.manifest_digest)
                done.append((f"docker://{name}", report))
        except (SquashkitError, OSError) as error:
            error.add_note("no tag was moved")
            raise
        self.tags.move()
        self.moves = self.tags.report()
        return done


@dataclass(slots=True)
class _Nowhere:
    """Images are made, and not kept."""

    images: int
    sink: Sink = field(default_factory=Nowhere)
    how = Write(compress=GZIP)
    title = ""
    notes: Sequence[str] = ()
    moves: PatchReport | None = None

    def write(self, work: _FleetWork, strategy: Strategy, numbered: Numbered) -> list[tuple[str, Report]]:
        numbered.total = self.images
        done = []
        for number in range(self.images):
            numbered.number = number + 1
            done.append(("", work.write(number, None, strategy)))
        return done


class _FleetWork:
    """Images that are written one after another: what was made is not made again. Where they go into one
    archive or layout, nothing of it has a name before the last of them is right."""

    def __init__(
        self,
        opened: OpenFleet,
        layers: LayerStore,
        sink: Sink | None,
        write: Write,
        read: Read,
        held: Held | None,
    ) -> None:
        """`sink` takes all images; None where each has a repository of its own. With `held` they must be
        what a recipe says."""
        self._held = held
        self._opened = opened
        self._layers = layers
        self._sink = sink
        self._write = write
        self._read = read
        self._sources = opened.layers.sources
        self._stock = Stock(kept=opened.prices.unstated())
        self._bases = blobs_of(list(opened.in_registries.values()))
        self._written: list[Written] = []
        self._again: dict[Digest, ImageName | None] | None = None
        """Published blobs that images get, and where they lie in registries; None before that is asked."""
        self.bases = opened.trie.bases
        """The uppermost layers of all bases."""
        self.deliveries: list[Delivery] = []
        self.tasks: list[Task] = []
        self.targets: list[Target] = []

    @property
    def done(self) -> Delivery:
        """All that was written, together."""
        return Delivery([done for one in self.deliveries for done in one.done], None, None)

    def write(self, number: int, output: str | None, strategy: Strategy) -> Report:
        """Write an image of the fleet by a strategy."""
        segments = strategy.segments[number]
        member = self._opened.members[number]
        source = member.source
        decision = _decide(member, segments)
        kept = [
            layer for run in segments if run.keep for layer in member.image.layers[run.start : run.stop]
        ]
        like = kept or member.image.layers
        target = decide_target(output, source, member.image, like, self._write, several=False)
        guard = guard_tags(source, [decision], target, self._read)
        if target.is_registry and not any(map(is_remote, member.image.layers)):
            stacked = add_blobs(member.image.layers, self._bases)
            decision = replace(decision, image=replace(member.image, layers=stacked))
        notes = notes_on(source, decision, target, Chosen([member.image]), History())
        task = Task(
            decision,
            squash_planner(segments, Merge()),
            History(),
            base_kept=is_base_kept(member.image, decision.base),
        )
        if strategy.carved is not None and decision.runs:
            self._know_published(strategy.carved, target)
            layers = self._carved_layers(strategy.carved, number)
            task = replace(
                task,
                plan=carve_planner(segments, layers),
                sources=self._sources,
                shared=[layer.key for layer in layers],
            )
        if self._held is not None:
            task = self._held.task(task, self._held.note_of(member.image))
        delivery = self._deliver(task, target, guard)
        self.deliveries.append(delivery)
        self.tasks.append(task)
        self.targets.append(target)
        if self._held is not None:
            self._held.done += delivery.done
        (report,) = reports_of(source, delivery, [target], [notes], None)
        return report

    def _know_published(self, carved: Carved, target: Target) -> None:
        """Layers that are published stay as they are stored, if that is how new ones are: where they are in
        the same registry they are mounted, otherwise copied. What comes out as one of them is mounted,
        too."""
        if self._again is None:
            self._again = self._find_published(carved, target.compression.codec)
        for digest, repository in self._again.items():
            if repository and target.in_registry and repository.host == target.in_registry.host:
                self._stock.repositories.setdefault(digest, repository.repository)

    def _find_published(self, carved: Carved, codec: Codec) -> dict[Digest, ImageName | None]:
        """The published blobs that images get, and which of them lie in registries, and where."""
        layers = self._opened.layers
        new = {blob.key for blob in carved.blobs}
        found = {digest: layer for layer in layers.again() if (digest := digest_of(layer)) in new}
        for one, blob in zip(carved.carving.layers, carved.blobs, strict=True):
            if one.published is not None and nearest(self._sources[one.published]).codec is codec:
                found[Digest(blob.key)] = self._stock.stored[blob.key] = self._sources[one.published]
        for digest, layer in found.items():
            layers.verify_blob(layer)
            self._stock.runs[digest] = StoredLayer(layer.diff_id, digest, size_of(layer), codec)
        return {
            digest: layers.held(layer.diff_id)[0].source.reference.in_registry
            for digest, layer in found.items()
        }

    @staticmethod
    def _carved_layers(carved: Carved, number: int) -> list[SquashedLayer]:
        """The layers that an image has in place of those above its base."""
        layers, blobs = carved.carving.layers, carved.blobs
        return [layers[place].as_new(blobs[place].key) for place in carved.carving.stacks[number]]

    def _deliver(self, task: Task, target: Target, guard: TagGuard) -> Delivery:
        if self._sink is None:
            return deliver(self._layers, [task], [target], guard, self._stock)
        done = carry_out_each(self._layers, [task], [target], self._sink, self._stock)
        self._written.append(written_of(done, target, self._sink))
        return Delivery(done, self._sink.title, None)

    def commit(self) -> None:
        """Give all images their names."""
        if self._sink is not None:
            self._sink.commit(self._written)


def _decide(member: Member, segments: Sequence[Segment]) -> Decision:
    kept = next((one.start for one in segments if not one.is_kept), len(member.image.layers))
    return Decision(member.image, Base(kept, f"the fleet's {show_segments(segments)}"), segments)
