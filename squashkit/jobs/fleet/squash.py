"""A whole fleet squashed into one place, by a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from squashkit.jobs.fleet.target import FleetTarget
from squashkit.jobs.reports import MIXED, notes_on, reports_of, transferred
from squashkit.layers.merge import SquashedLayer
from squashkit.options import STRATEGIES, FleetOptions, History, Merge, Read, Run, Write
from squashkit.plan.base import Base
from squashkit.plan.documents import is_base_kept
from squashkit.plan.fleet.carve import carve_planner
from squashkit.plan.fleet.strategies import ASK_NO_BASE, BUILT, CARVE, Carved, Strategy
from squashkit.plan.segments import Decision, Segment
from squashkit.plan.squash import squash_planner
from squashkit.progress import Note, Notify, Numbered, Progress, Silent, ignore
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.fleet.titles import show_segments
from squashkit.report.squash import Report
from squashkit.transports.contracts import Sink, Written
from squashkit.transports.session import Session
from squashkit.transports.stored import is_remote
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target, decide_target
from squashkit.wording import Option


@checked
def squash_fleet(
    references: Sequence[str] | str,
    into: str,
    strategy: str = "best",
    *,
    fleet: FleetOptions = FleetOptions(),
    force: bool = False,
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> SquashedFleet:
    """Squash all images of a fleet by a strategy into one place: one of `built`, `all`, `base`,
    `trie`, `best` and `carve`.

    `into` is a layout's folder (`oci:DIR`) or an archive, where each image has its name, or
    `docker://HOST/PREFIX`, below which each has its name without a host; of one that `docker://HOST/P/`
    lists, what stands after `P/`. Each image is squashed as `squash` does it: its root file system is its
    source's. Every layer is read once and every new one made once, however many images have it. An archive
    or a layout gets all images or none; in a registry each gets its tag once it is right. Before anything
    is written, `notify` gets what images that are not of the fleet share with it no longer.

    Raises BaseUnknown where no base is known of an image, unless the strategy asks for none; UsageError
    where images have no names or the same, or where a name is taken, unless `force` moves it; otherwise as
    `squash`.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"no strategy is named {show_text(strategy)}: {', '.join(STRATEGIES)}")
    place = FleetTarget.parse(into)
    numbered = Numbered(progress or Silent())
    with for_many_images(), Session(run, numbered) as session, LayerStore(session) as layers:
        opened = OpenFleet.of(layers, texts(references), fleet, estimate=fleet.estimate)
        names = place.names(opened.members)
        place.protect([one.source for one in (*opened.members, *opened.bases)], names)
        if strategy not in ASK_NO_BASE:
            opened.refuse_unknown()
        sink, lost = place.open(session, names, _guard(opened, place, names, fleet), force=force)
        opened.fleet.notes.extend(lost)
        # What images share that are carved is told by contents.
        opened = opened.read(estimate=fleet.estimate and strategy != CARVE)
        measured = opened.measure([BUILT, strategy], fleet)
        report = opened.report(measured, fleet)
        session.progress.close()
        if gone := report.no_longer_shared(measured[-1]).lines():
            notify(Note("\n".join(gone)))
        work = _FleetWork(opened, layers, sink, Write(compress=GZIP, force=force), Read(fleet.platform))
        outputs = [place.output(name) for name in names]
        done: list[tuple[str, Report]] = []
        for number, output in enumerate(outputs):
            numbered.number, numbered.total = number + 1, len(outputs)
            try:
                done.append((output, work.write(number, output, measured[-1])))
            except KeyboardInterrupt:
                if sink is not None or not done:
                    raise
                raise Interrupted(
                    f"interrupted; {len(done)} of {len(outputs)} images have their tags below {into},"
                    f" the last of them {done[-1][0]}",
                    reference=into,
                ) from None
            except (SquashkitError, OSError) as error:
                if sink is None and done:
                    error.add_note(f"{len(done)} of {len(outputs)} images have their tags below {into}")
                raise
        work.commit()
        if any(MIXED in one.notes for _, one in done):
            report = replace(report, notes=(*report.notes, MIXED))
        # In an archive or a layout what is there already was mostly written for an image before.
        deliveries = work.deliveries if sink is None else []
        return SquashedFleet(report, measured[-1], tuple(done), transferred(session, deliveries, into))


def _guard(opened: OpenFleet, place: FleetTarget, names: Sequence[str], fleet: FleetOptions) -> TagGuard:
    """What no name of the fleet is to lose in silence."""
    return TagGuard(
        {place.tag(n): [one.image.platform] for n, one in zip(names, opened.members, strict=True)},
        chosen=fleet.platform is not None,
        elsewhere=(Option("into"), " another place keeps it"),
    )


class _FleetWork:
    """Images that are written one after another: what was made is not made again. Where they go into one
    archive or layout, nothing of it has a name before the last of them is right."""

    def __init__(
        self, opened: OpenFleet, layers: LayerStore, sink: Sink | None, write: Write, read: Read
    ) -> None:
        """`sink` takes all images; None where each has a repository of its own."""
        self._opened = opened
        self._layers = layers
        self._sink = sink
        self._write = write
        self._read = read
        self._stock = Stock(kept=opened.prices.unstated())
        self._bases = blobs_of(list(opened.in_registries.values()))
        self._written: list[Written] = []
        self.deliveries: list[Delivery] = []

    def write(self, number: int, output: str, strategy: Strategy) -> Report:
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
            layers = self._carved_layers(strategy.carved, number)
            task = replace(
                task,
                plan=carve_planner(segments, layers),
                sources=self._opened.layers.different,
                shared=[layer.key for layer in layers],
            )
        delivery = self._deliver(task, target, guard)
        self.deliveries.append(delivery)
        (report,) = reports_of(source, delivery, [target], [notes], None)
        return report

    @staticmethod
    def _carved_layers(carved: Carved, number: int) -> list[SquashedLayer]:
        """The layers that an image has in place of those above its base."""
        layers = zip(carved.carving.layers, carved.blobs, strict=True)
        new = [layer.as_new(blob.key) for layer, blob in layers]
        return [new[place] for place in carved.carving.stacks[number]]

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
