"""Whole fleets, from references to a report: `measure_fleet` says what images take under each strategy,
`squash_fleet` writes them accordingly."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from squashkit.amounts import count
from squashkit.engine.carry_out import Notify
from squashkit.engine.work import Batch, Work
from squashkit.engine.write import Made
from squashkit.errors import (
    BaseUnknown,
    Interrupted,
    SquashkitError,
    UsageError,
    show_text,
)
from squashkit.jobs.fleet.bases import FleetBases
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.prices import Pricing
from squashkit.jobs.selection import Chosen, Decision
from squashkit.oci.digests import DiffID, is_digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import MAX_LAYERS, Layer
from squashkit.oci.media import Codec
from squashkit.oci.names import ImageName
from squashkit.options import Options
from squashkit.plan.base import Base
from squashkit.plan.fleet.strategies import ASK_NO_BASE, BUILT, STRATEGIES, Goal, Strategy, measure
from squashkit.plan.fleet.trie import Trie
from squashkit.plan.squash import Segment
from squashkit.progress import OneOf, Progress, Silent
from squashkit.report.fleet.bases import WAYS_OUT, UnknownBase, list_unknown
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import show_segments
from squashkit.report.squash import Report
from squashkit.transports.archive.sink import ArchiveFile
from squashkit.transports.codecs import Compression
from squashkit.transports.contracts import Sink, Tag
from squashkit.transports.layout.sink import Layout
from squashkit.transports.reference import FILES, REGISTRY, Reference
from squashkit.transports.registry.access import Access, Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source, temporary_folder
from squashkit.transports.tags import TagGuard

GZIP = Compression.of(Codec.GZIP)
"""How new layers are stored, and plain ones in a registry."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """How to look at a fleet."""

    bases: tuple[str, ...] = ()
    """Bases that images are known to stand on, beside the catalogue's. They stay as they are."""
    minimise: Literal["registry", "host"] = "registry"
    max_layers: int = MAX_LAYERS
    estimate: bool = False
    """Compress nothing: stored sizes by the ratios at which the layers are compressed."""
    scan: bool = True
    """Read layers. Without, only what was built is told, and nothing of hosts."""
    platform: Platform | None = None
    access: Access = field(default_factory=Access)
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    tmp_dir: Path | None = None
    max_size: int | None = None
    """As in `Options`, for all images together; into a registry for each of them."""


def measure_fleet(
    references: Sequence[str],
    options: FleetOptions | None = None,
    *,
    progress: Progress | None = None,
) -> FleetReport:
    """What images take together as they are, squashed in each way, and cut where that takes least.

    References are those of single images; `docker-daemon:` and `containers-storage:` mean all that is
    there, `docker://HOST/PREFIX/` all tags of all repositories below, a path all images in it. Plain layers
    count as they would be compressed in a registry. Raises what opening and reading the images does, and
    PlanError where --max-layers cannot be kept.
    """
    options, progress = options or FleetOptions(), progress or Silent()
    with ExitStack() as stack:
        opened = _Open.of(stack, references, options, progress)
        if not options.scan:
            return opened.report(opened.measure([BUILT], options), options)
        opened.read(estimate=options.estimate)
        measured = opened.measure(STRATEGIES, options)
        return opened.report(measured, options, opened.layers.files_once())


def squash_fleet(
    references: Sequence[str],
    into: str,
    strategy: str = "best",
    options: FleetOptions | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> SquashedFleet:
    """Squash all images of a fleet by a strategy (one of STRATEGIES) into one place.

    `into` is a layout's folder (`oci:DIR`) or an archive, where each image has its name, or
    `docker://HOST/PREFIX`, below which each has the last part of its name. Each image is squashed as
    `squash` does it: its root file system is its source's. Every layer is read once and every new one made
    once, however many images have it. An archive or a layout gets all images or none; in a registry each
    gets its tag once it is right. Before anything is written, `notify` gets what images that are not of the
    fleet share with it no longer.

    Raises BaseUnknown where no base is known of an image, unless the strategy asks for none; UsageError
    where images have no names or the same, or where a name is taken, unless `force` moves it; otherwise as
    `squash`.
    """
    options, progress = options or FleetOptions(), progress or Silent()
    if strategy not in STRATEGIES:
        raise UsageError(f"no strategy is named {show_text(strategy)}: {', '.join(STRATEGIES)}")
    place = _Place.parse(into)
    with ExitStack() as stack:
        opened = _Open.of(stack, references, options, progress)
        names = place.names(opened.members)
        place.protect([one.source for one in (*opened.members, *opened.bases)], names)
        if strategy not in ASK_NO_BASE:
            opened.refuse_unknown()
        guard = TagGuard(
            {place.tag(n): [one.image.platform] for n, one in zip(names, opened.members, strict=True)},
            chosen=options.platform is not None,
            elsewhere="--into another place keeps it",
        )
        sink = place.open(stack, opened, names, guard, force=force)
        opened.fleet.notes.extend(guard.notes())
        opened.read(estimate=options.estimate)
        measured = opened.measure([BUILT, strategy], options)
        chosen, report = measured[-1], opened.report(measured, options)
        progress.close()
        lost = report.no_longer_shared(chosen).lines()
        if lost:
            notify("\n".join(lost))
        made = Made(kept=opened.pricing.unstated())
        batch = Batch(sink, opened.layers.loader.known_now(), opened.in_registries, made)
        how = Options(
            compress=GZIP,
            access=options.access,
            jobs=options.jobs,
            tmp_dir=options.tmp_dir,
            max_size=options.max_size,
            force=force,
            platform=options.platform,
        )
        outputs = [place.output(name) for name in names]
        done = []
        for number, output in enumerate(outputs):
            member, segments = opened.members[number], chosen.segments[number]
            told = OneOf(progress, number + 1, len(outputs))
            try:
                done.append((output, _squash(member, output, segments, how, told, batch)))
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
        batch.commit()
        return SquashedFleet(report, chosen, done)


def _squash(
    member: Member,
    output: str,
    segments: Sequence[Segment],
    how: Options,
    progress: Progress,
    batch: Batch,
) -> Report:
    """Write one image of a fleet."""
    kept = next((one.start for one in segments if not one.is_kept), len(member.image.layers))
    decision = Decision(member.image, Base(kept, f"the fleet's {show_segments(segments)}"), segments)
    with ExitStack() as stack:
        work = Work(
            stack,
            member.reference,
            output,
            how,
            progress,
            lambda message: None,
            source=member.source,
            batch=batch,
        )
        work.decide([decision])
        work.begin([decision], Chosen([member.image]))
        work.finish()
        return work.reports[0]


@dataclass(frozen=True, slots=True)
class _Open:
    """A fleet whose images are open."""

    fleet: Fleet
    members: Sequence[Member]
    bases: Sequence[Member]
    in_registries: Mapping[DiffID, tuple[Source, Layer]]
    """Layers of named bases as registries have them."""
    layers: FleetLayers
    pricing: Pricing
    trie: Trie
    unknown: Sequence[UnknownBase]

    @classmethod
    def of(
        cls, stack: ExitStack, references: Sequence[str], options: FleetOptions, progress: Progress
    ) -> _Open:
        tmp_dir = Room.of(temporary_folder(options.tmp_dir), options.max_size)
        registries = stack.enter_context(closing(Registries(options.access)))
        fleet = Fleet(stack, tmp_dir, registries, progress, options.platform)
        members = fleet.members(references)
        platforms = [member.image.platform for member in members]
        bases = [base for text in options.bases for base in fleet.bases(text, platforms)]
        known = FleetBases(fleet, members, bases)
        fleet.notes += [f"No image stands on --base {show_text(base)}." for base in known.unused()]
        in_registries = {
            layer.diff_id: (base.source, layer)
            for base in bases
            if base.source.remote is not None
            for layer in base.image.layers
        }
        layers = FleetLayers.open(stack, members, tmp_dir=tmp_dir, jobs=options.jobs, progress=progress)
        stored = {d: layer.descriptor for d, (_, layer) in in_registries.items() if layer.descriptor}
        pricing = Pricing(layers, GZIP, options.estimate or not options.scan, stored)
        trie = Trie([member.image for member in members], known.tops)
        trie.leave_unknown()
        names = _told_apart(members)
        unknown = [
            UnknownBase(names[number], len(trie.images[number].layers), hint)
            for number, hint in zip(trie.unknown, known.hints(trie.unknown), strict=True)
        ]
        return cls(fleet, members, bases, in_registries, layers, pricing, trie, unknown)

    def refuse_unknown(self) -> None:
        """Raises BaseUnknown where no base is known of an image: it would be merged into the image."""
        if self.unknown:
            images = f"{len(self.unknown):,} of {count(len(self.members), 'image')}"
            raise BaseUnknown(
                "\n".join(
                    [
                        f"no base is known of {images}, and nothing was written:",
                        *list_unknown(self.unknown),
                        WAYS_OUT,
                        "--strategy built leaves all as it was built, --strategy all merges bases, too.",
                    ]
                )
            )

    def read(self, *, estimate: bool) -> None:
        """Read all layers, and see which of them can only be kept."""
        self.layers.read(estimate=estimate)
        fixed = self.layers.unmergeable()
        self.trie.fix(fixed.keys())
        self.fleet.notes.extend(fixed.values())
        self.fleet.progress.stage("Planning" if estimate else "Compressing", None)

    def measure(self, wanted: Sequence[str], options: FleetOptions) -> list[Strategy]:
        """What the fleet takes under strategies, in the order of the reports."""
        names = [member.name for member in self.members]
        goal = Goal(options.minimise, options.max_layers)
        return measure(self.trie, names, self.pricing, goal, wanted)

    def report(
        self, measured: Sequence[Strategy], options: FleetOptions, once: int | None = None
    ) -> FleetReport:
        return FleetReport(
            _told_apart(self.members),
            self.trie.references,
            len(self.trie.nodes),
            self.layers.entries,
            self.pricing.merged,
            measured,
            options.minimise,
            options.estimate,
            options.scan,
            once,
            self.fleet.notes,
            self.unknown,
        )


def _told_apart(members: Sequence[Member]) -> list[str]:
    """The members' names; by their references where several have one."""
    times = Counter(member.name for member in members)
    return [member.name if times[member.name] == 1 else member.reference for member in members]


def _full(name: str) -> str:
    """A name in full, as far as it is one: two that mean the same are the same then."""
    return str(ImageName.of(name) or name)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a squashed fleet goes."""

    text: str
    reference: Reference | None
    """An archive or a layout; None for a registry."""

    @classmethod
    def parse(cls, into: str) -> _Place:
        """Raises UsageError for what cannot hold a fleet."""
        expected = "a fleet goes into an archive, a folder (oci:DIR), or below docker://HOST/PREFIX"
        if into.startswith("docker://"):
            if not into.removeprefix("docker://").strip("/"):
                raise UsageError(f"--into {into}: {expected}")
            return cls(into.rstrip("/") + "/", None)
        transport = into.partition(":")[0]
        if ":" not in into:
            reference = Reference("oci" if Path(into).is_dir() else "docker-archive", into)
        elif transport in FILES:
            reference = Reference(transport, into.removeprefix(f"{transport}:"))
        else:
            raise UsageError(f"--into {into}: {expected}")
        if not reference.path or ":" in reference.path or reference.is_stdio:
            raise UsageError(f"--into {into}: {expected}, without an image's name")
        return cls(f"{reference.transport}:{reference.path}:", reference)

    def output(self, name: str) -> str:
        """Where an image goes."""
        return self.text + name

    def names(self, members: Sequence[Member]) -> list[str]:
        """The names that the images get. Raises UsageError where they have none, or the same, or are named
        by what will not be theirs."""
        takers: dict[str, list[str]] = {}
        names = []
        for member in members:
            if is_digest(member.name) or "@" in member.name:
                raise UsageError(
                    f"an image of {member.source.title} has no name and would get none"
                    f" ({show_text(member.name[:60])}); leave it out, or give it a name (docker tag)"
                )
            name = member.name
            if self.reference is None:
                name = ImageName.parse(name).familiar.rpartition("/")[2]
            names.append(name)
            takers.setdefault(_full(name), []).append(member.reference)
        for name, references in takers.items():
            if len(references) > 1:
                raise UsageError(
                    f"several images of the fleet would be {show_text(name)}:"
                    f" {', '.join(map(show_text, references))}; squash them apart"
                )
        return names

    def protect(self, sources: Sequence[Source], names: Sequence[str]) -> None:
        """Raises UsageError where an image or a base that is read would be overwritten."""
        for source in sources:
            if self.reference is not None:
                path = Path(self.reference.path)
                source.refuse_as_output(path)
                if source.folder is not None and path.is_dir() and path.samefile(source.folder):
                    raise UsageError(
                        f"the layout {path} is read, and its images have these names; --into another folder"
                    )
            elif source.reference.transport == REGISTRY:
                read = _full(source.reference.path)
                if any(_full(self.output(name).removeprefix("docker://")) == read for name in names):
                    raise UsageError(
                        f"docker://{source.reference.path} is read, and is not overwritten; --into another"
                        " PREFIX keeps it"
                    )

    def open(
        self, stack: ExitStack, opened: _Open, names: Sequence[str], guard: TagGuard, *, force: bool
    ) -> Sink | None:
        """What takes all images, None for a registry. Raises UsageError where a name is taken, or would
        lose platforms."""
        if self.reference is None:
            self._check_tags(opened.fleet, names, guard, force=force)
            return None
        path = Path(self.reference.path)
        room = opened.fleet.tmp_dir.at(path)
        sink: Sink
        if self.reference.transport == "oci":
            tags = [Tag(name, name) for name in names]
            sink = Layout(path, force=force, tags=tags, guard=guard, room=room)
        else:
            docker = self.reference.transport == "docker-archive"
            sink = ArchiveFile(path, docker=docker, force=force, room=room)
        stack.callback(sink.close)
        return sink

    def tag(self, name: str) -> str:
        """The name that the image of this name gets in full: in a registry, with its repository."""
        return name if self.reference is not None else _full(self.output(name).removeprefix("docker://"))

    def _check_tags(self, fleet: Fleet, names: Sequence[str], guard: TagGuard, *, force: bool) -> None:
        from squashkit.transports.registry.repository import Repository
        from squashkit.transports.registry.sink import index_platforms

        for output, tag in zip(map(self.output, names), map(self.tag, names), strict=True):
            name = ImageName.parse(output.removeprefix("docker://"))
            there = Repository(fleet.registries.get(name), name.repository)
            means = there.meaning(name.reference)
            if means is None:
                continue
            if not force:
                raise UsageError(f"{output} is there already; --force moves the tags that are")
            guard.check(tag, index_platforms(means, name, there, fleet.registries, fleet.tmp_dir))
