"""What a fleet takes as it is, and under each strategy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from squashkit.amounts import count, some
from squashkit.arguments import checked, texts
from squashkit.engine.layers import LayerStore
from squashkit.errors import BaseUnknown, SquashkitError, UsageError, first_line, show_text
from squashkit.jobs.fleet.bases import FleetBases
from squashkit.jobs.fleet.elsewhere import workers_of
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.prices import Pricing
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.published import published_members
from squashkit.jobs.rollback import Rollback
from squashkit.oci.compression import GZIP_LEVEL, Compression
from squashkit.oci.digests import ChainID, DiffID
from squashkit.oci.graph import Layer
from squashkit.oci.media import Codec
from squashkit.options import FleetOptions, Run, Spread
from squashkit.plan.fleet.storage import releases
from squashkit.plan.fleet.strategies import ALL, BUILT, Goal, Strategy, check_limit, measure
from squashkit.plan.fleet.trie import Trie
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.bases import WAYS_OUT, UnknownBase, list_unknown
from squashkit.report.fleet.storage import FleetReport
from squashkit.transports.session import Session
from squashkit.values import frozen
from squashkit.wording import Option, Words, parts_of

GZIP = Compression(Codec.GZIP, GZIP_LEVEL)
"""How new layers are stored, and plain ones in a registry: all deflated anew, so that a run of layers
becomes the same blob for all images, however each of them stores these layers."""
_NAMED = 5
"""The most images that a note names."""


@checked
def measure_fleet(
    references: Sequence[str] | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    scan: bool = True,
    spread: Spread = Spread(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> FleetReport:
    """What images take together as they are, squashed in each way, and cut where that takes least.

    References are those of single images; `docker-daemon:` and `containers-storage:` mean all that is
    there, `docker://HOST/PREFIX/` all tags of all repositories below, a path all images in it. Plain layers
    count as they would be compressed in a registry. Strategies are those of `fleet`. Without `scan` no
    layer is read: only what was built is told, and nothing of hosts. An image with a layer that cannot be
    read is left out, and a note names both. Raises what opening the images does, and what reading does
    where no image is left; UsageError where the most layers that are allowed are too few.

    With workers or a cluster (`spread`, which has no parts here) merged layers are compressed there, each
    as far as it can read what that is made of. All figures are the same.
    """
    if spread.part != (1, 1):
        raise UsageError(Option("Spread.shard"), " is for scans: a fleet is measured as a whole")
    if (spread.workers or spread.scheduler) and (fleet.estimate or not scan):
        raise UsageError("workers compress merged layers, and an estimate compresses none")
    with (
        for_many_images(),
        Session(run, progress or Silent(), limits=spread.limits) as session,
        workers_of(spread, session) as workers,
        LayerStore(session) as layers,
    ):
        opened = OpenFleet.of(layers, texts(references), fleet, estimate=fleet.estimate or not scan)
        if not scan:
            return opened.report(opened.measure([BUILT], fleet), fleet, scan=False)
        opened.check_limit(fleet.rows, fleet)
        opened = opened.without_bad_layers(fleet).read(estimate=fleet.estimate)
        opened.prices.workers = workers
        measured = opened.measure(fleet.rows, fleet, fleet.estimated)
        return opened.report(measured, fleet, once=opened.layers.files_once())


@frozen
class OpenFleet:
    """A fleet whose images are open."""

    fleet: Fleet
    members: Sequence[Member]
    bases: Sequence[Member]
    in_registries: Mapping[DiffID, Layer]
    """Layers of named bases as registries have them."""
    layers: FleetLayers
    prices: Pricing
    trie: Trie
    unknown: Sequence[UnknownBase]
    base_names: Mapping[ChainID, str]
    """References of bases, by their uppermost layers."""

    @classmethod
    def of(
        cls,
        layers: LayerStore,
        references: Sequence[str],
        options: FleetOptions,
        *,
        estimate: bool,
        earlier: Rollback | None = None,
    ) -> OpenFleet:
        """Open the images that references mean, and find their bases. No layer is read. Tags that `earlier`
        runs moved count as what they were."""
        fleet = Fleet(layers.session, options.choice, texts(options.exclude), earlier=earlier)
        members = fleet.members(references)
        different = FleetLayers(layers, members, published=published_members(fleet, options.published))
        return cls.over(different, fleet, options, estimate=estimate)

    @classmethod
    def over(
        cls, different: FleetLayers, fleet: Fleet, options: FleetOptions, *, estimate: bool
    ) -> OpenFleet:
        """The same for images that are open already."""
        members = different.members
        platforms = [member.image.platform for member in members]
        bases = [base for text in options.named for base in fleet.bases(text, platforms)]
        known = FleetBases(fleet, members, bases)
        for base in known.unused():
            note = Words("No image stands on ", Option("FleetOptions.bases", show_text(base)), ".")
            if note not in fleet.notes:
                fleet.notes.append(note)
        in_registries = {
            layer.diff_id: layer
            for base in bases
            if base.source.remote is not None
            for layer in base.image.layers
        }
        stored = {d: layer.descriptor for d, layer in in_registries.items() if layer.descriptor}
        prices = Pricing(different, GZIP, estimate, stored, options.latest)
        trie = Trie([member.image for member in members], known.tops, leave_unknown=True)
        names = titles_of(members)
        unknown = [
            UnknownBase(names[number], len(trie.images[number].layers), hint)
            for number, hint in zip(trie.unknown, known.hints(trie.unknown), strict=True)
        ]
        base_names = dict(known.tops)
        for number, member in enumerate(members):
            if member.image.layers and trie.path(number)[-1].children:
                base_names.setdefault(member.image.layers[-1].chain_id, member.reference)
        return cls(fleet, members, bases, in_registries, different, prices, trie, unknown, base_names)

    def refuse_unknown(self) -> None:
        """Raises BaseUnknown where no base is known of an image: it would be merged into the image."""
        if self.unknown:
            images = f"{len(self.unknown):,} of {count(len(self.members), 'image')}"
            lines = [part for line in list_unknown(self.unknown) for part in (*parts_of(line), "\n")]
            raise BaseUnknown(
                f"no base is known of {images}, and nothing was written:\n",
                *lines,
                *WAYS_OUT.parts,
                "\n",
                Option("strategy", BUILT),
                " leaves all as it was built, ",
                Option("strategy", ALL),
                " merges bases, too.",
            )

    def without_bad_layers(self, options: FleetOptions) -> OpenFleet:
        """Read all layers, and leave those images out of which one cannot be read; notes say which. Raises
        what is wrong where no image is left."""
        opened = self
        while bad := opened.layers.read_each(estimate=options.estimate):
            opened = opened._without(bad, options)
        return opened

    def _without(self, bad: Mapping[DiffID, SquashkitError], options: FleetOptions) -> OpenFleet:
        """The same without images that have these layers where they were read from; those that have one
        elsewhere may be whole."""
        faulty = [layer for layer in self.layers.different if layer.diff_id in bad]
        having = [self.layers.have(layer.diff_id) for layer in faulty]
        kept = self.layers.without({number for numbers in having for number in numbers})
        if not kept.members:
            raise self.layers.named(bad[faulty[0].diff_id])
        titles = titles_of(self.members)
        for layer, numbers in zip(faulty, having, strict=True):
            names = some([show_text(titles[number]) for number in numbers], _NAMED)
            why = first_line(bad[layer.diff_id]).removeprefix(f"{layer.where}: ")
            self.fleet.notes.append(f"Left out: {names}: {layer.where}: {why}.")
        return OpenFleet.over(kept, self.fleet, options, estimate=options.estimate)

    def read(self, *, estimate: bool) -> OpenFleet:
        """Read all layers. Returns the fleet with those fixed that can only be kept."""
        self.layers.read(estimate=estimate)
        self.prices.has_bytes = not estimate
        fixed = self.layers.unmergeable()
        trie = Trie(self.trie.images, self.trie.bases, fixed=fixed.keys(), leave_unknown=True)
        self.fleet.notes.extend(fixed.values())
        self.fleet.session.progress.stage("Planning" if estimate else "Compressing", None)
        return replace(self, trie=trie)

    def measure(
        self, wanted: Sequence[str], options: FleetOptions, estimated: Sequence[str] = ()
    ) -> list[Strategy]:
        """What the fleet takes as it was built, and under the strategies that are wanted, in the order of
        the reports."""
        return measure(self.trie, self.names, self.prices, self._goal(options), {BUILT, *wanted}, estimated)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    def _goal(self, options: FleetOptions) -> Goal:
        return Goal(options.minimise, options.max_layers, releases(titles_of(self.members)))

    def check_limit(self, wanted: Sequence[str], options: FleetOptions) -> None:
        """Raises UsageError, before any layer is read, where a strategy cannot keep the limit of layers."""
        check_limit(self.trie, self.names, wanted, self._goal(options))

    def report(
        self,
        measured: Sequence[Strategy],
        options: FleetOptions,
        *,
        scan: bool = True,
        once: int | None = None,
    ) -> FleetReport:
        return FleetReport(
            tuple(titles_of(self.members)),
            self.trie.references,
            len(self.trie.nodes),
            self.layers.entries,
            self.prices.merged,
            tuple(measured),
            options.minimise,
            options.estimate,
            scan,
            once,
            (*self.fleet.notes, *([_PLAIN] if self.prices.has_plain else [])),
            tuple(self.unknown),
            frozenset(options.rows if scan else [BUILT]),
        )


_PLAIN = (
    "Nothing was compressed: plain layers count as they are, and would take less in a registry, beside what"
    " is compressed already."
)


def titles_of(members: Sequence[Member]) -> list[str]:
    """The members' names; by their references where several have one."""
    times = Counter(member.name for member in members)
    return [member.name if times[member.name] == 1 else member.reference for member in members]
