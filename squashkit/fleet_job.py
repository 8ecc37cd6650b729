"""A fleet's storage under each strategy, reference to report: the function to read is `measure_fleet`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from squashkit.base import choose_image
from squashkit.catalogue import Catalogue
from squashkit.compression import Compression
from squashkit.errors import PlanError, UsageError
from squashkit.fleet import (
    MAX_LAYERS,
    Node,
    Priced,
    Run,
    Trie,
    best_cut,
    host_bytes,
    registry_bytes,
)
from squashkit.graph import Image, shared_prefix
from squashkit.job import squash
from squashkit.names import familiar_name
from squashkit.oci import ChainID, Codec, Platform
from squashkit.options import Options
from squashkit.planner import Segment
from squashkit.pricing import Layers, Member
from squashkit.progress import Progress
from squashkit.report.fleet import FleetReport, SquashedFleet, Strategy, show_segments
from squashkit.selection import Keep
from squashkit.source import Source, machine_platform, open_base, open_source, temporary_folder
from squashkit.transports import STORES, parse_reference
from squashkit.transports.remote import Access, Registries
from squashkit.transports.store import open_store


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """How to look at a fleet."""

    bases: tuple[str, ...] = ()
    """Bases that images are known to stand on, beside the catalogue's and the fleet's own images."""
    minimise: Literal["registry", "host"] = "registry"
    max_layers: int = MAX_LAYERS
    estimate: bool = False
    """Compress nothing: stored sizes by the ratios at which the layers are compressed."""
    scan: bool = True
    """Read layers. Without, only what was built is told, and nothing of hosts."""
    platform: Platform | None = None
    access: Access = field(default_factory=Access)
    jobs: int = 1
    tmp_dir: Path | None = None


def measure_fleet(
    references: Sequence[str], options: FleetOptions, progress: Progress
) -> FleetReport:
    """What images take together as they are, squashed in each way, and cut where that takes least.

    References are those of single images; `docker-daemon:` and `containers-storage:` mean all that is
    there, `docker://HOST/PREFIX/` all tags of all repositories below, a path all images in it. Layers are
    counted, not configs and manifests. Plain layers count as they would be compressed in a registry.
    """
    return _measure(references, options, progress)[0]


def _measure(
    references: Sequence[str], options: FleetOptions, progress: Progress
) -> tuple[FleetReport, list[str]]:
    """The report, and the references of the images by which each can be read again."""
    tmp_dir = temporary_folder(options.tmp_dir)
    with ExitStack() as stack:
        registries = stack.enter_context(closing(Registries(options.access)))
        fleet = _Opening(stack, tmp_dir, registries, progress, options.platform)
        members = [member for text in references for member in fleet.members(text)]
        if not members:
            raise UsageError("the fleet has no image")
        bases = [fleet.base(text) for text in options.bases]
        layers = Layers.open(
            stack, members, compression=Compression.of(Codec.GZIP),
            estimate=options.estimate or not options.scan, tmp_dir=tmp_dir, jobs=options.jobs,
            progress=progress,
        )  # fmt: skip
        trie = Trie([member.image for member in members])
        once = None
        if options.scan:
            layers.read()
            progress.stage("Compressing" if not options.estimate else "Planning", None)
            strategies = list(_strategies(trie, layers, bases, options))
            once = layers.files_once()
        else:
            stacks = [
                [layers.layer(number, layer) for layer in member.image.layers]
                for number, member in enumerate(members)
            ]
            kept = [tuple(_kept(0, len(stack))) for stack in stacks]
            strategies = [Strategy("as built", kept, [tuple(stack) for stack in stacks])]
        names = [member.name for member in members]
        report = FleetReport(
            names, trie.references, len(trie.nodes), layers.entries, strategies, options.minimise,
            options.estimate, once,
        )  # fmt: skip
        return report, [member.reference for member in members]


def squash_fleet(
    references: Sequence[str],
    into: str,
    strategy: str,
    options: FleetOptions,
    progress: Progress,
    *,
    force: bool = False,
) -> SquashedFleet:
    """Squash all images of a fleet along the trie, or by the best cut, into one place.

    `into` is a layout's folder (`oci:DIR`), where each image has its name, or `docker://HOST/PREFIX`, below
    which each has the last part of its name. Each image is squashed as `squash` does it: its root file
    system is its source's. Images that share a run share its new layer, since the same run gives the same
    bytes.
    """
    place, is_registry = _place(into)
    fleet, members = _measure(references, options, progress)
    chosen = fleet.strategy(strategy)
    outputs = [place + (_last_part(name) if is_registry else name) for name in fleet.names]
    twice = sorted({output for output in outputs if outputs.count(output) > 1})
    if twice:
        raise UsageError(f"several images of the fleet would be {', '.join(twice)}; squash them apart")
    done = []
    for reference, output, segments in zip(members, outputs, chosen.segments, strict=True):
        how = Options(
            keep=Keep(segments=show_segments(segments)) if segments else Keep(nothing=True),
            platform=options.platform, access=options.access, jobs=options.jobs, tmp_dir=options.tmp_dir,
            force=force,
        )  # fmt: skip
        done.append((output, squash(reference, output, how, progress=progress)))
    return SquashedFleet(fleet, strategy, done)


def _place(into: str) -> tuple[str, bool]:
    """What stands before the images' names, and whether that is a registry."""
    if into.startswith("docker://"):
        return into.rstrip("/") + "/", True
    reference = parse_reference(into)
    if reference.transport not in ("", "oci") or reference.image or not reference.is_file:
        raise UsageError(
            f"--into {into}: a fleet goes into a folder (oci:DIR), or below docker://HOST/PREFIX"
        )
    return f"oci:{reference.path}:", False


def _last_part(name: str) -> str:
    """The repository's own name and its tag, without what stands before."""
    return familiar_name(name).rpartition("/")[2]


@dataclass(slots=True)
class _Opening:
    """The images of a fleet, opened one reference after another."""

    stack: ExitStack
    tmp_dir: Path
    registries: Registries
    progress: Progress
    platform: Platform | None

    def members(self, text: str) -> Iterator[Member]:
        """The images that a reference of a fleet means."""
        whole = text.removesuffix(":")
        if text.endswith(":") and whole in STORES:
            with open_store(parse_reference(f"{whole}:any")) as store:
                names = store.names()
            for name in names:
                yield self._one(f"{whole}:{name}")
        elif text.startswith("docker://") and text.endswith("/"):
            for name in self._names_below(text.removeprefix("docker://")):
                yield self._one(f"docker://{name}")
        else:
            reference = parse_reference(text)
            if reference.is_file and reference.image is None:
                source = self._open(text)
                fitting = [i for i in source.images if i.platform.matches(self._wanted)] or source.images
                for image in {image.image_id: image for image in fitting}.values():
                    name = image.names[0] if image.names else image.image_id
                    yield Member(name, source, image, f"{text}:{name}")
            else:
                yield self._one(text)

    @property
    def _wanted(self) -> Platform:
        return self.platform or machine_platform()

    def _one(self, text: str) -> Member:
        source = self._open(text)
        reference = source.reference
        image = choose_image(
            source.images, reference.image, self.platform, machine_platform(), source.example
        )
        name = reference.image or (image.names[0] if reference.is_file and image.names else reference.path)
        return Member(name, source, image, text)

    def _open(self, text: str) -> Source:
        return self.stack.enter_context(
            open_source(
                parse_reference(text), self.tmp_dir, self.progress, None, self.registries, self.platform
            )
        )

    def base(self, text: str) -> Image:
        """A base that is named."""
        reference = parse_reference(text)
        source = self.stack.enter_context(
            open_base(reference, self.tmp_dir, self.registries, self.platform)
        )
        return choose_image(
            source.images, reference.image, self.platform, machine_platform(), source.example
        )

    def _names_below(self, place: str) -> list[str]:
        """Every tag of every repository whose name begins so, by the registry's catalogue."""
        from squashkit.transports.registry import Repository, RepositoryName, repositories

        host, _, prefix = place.partition("/")
        if not re.match(r"[^/]+$", host):
            raise UsageError(f"docker://{place} names no host")
        registry = self.registries.get(RepositoryName(host, prefix.rstrip("/") or "any", "latest"))
        found = [path for path in repositories(registry) if path.startswith(prefix)]
        return [f"{host}/{path}:{tag}" for path in found for tag in Repository(registry, path).tags()]


def _strategies(
    trie: Trie, layers: Layers, bases: Sequence[Image], options: FleetOptions
) -> Iterator[Strategy]:
    """Each way to keep the fleet, and what it takes."""
    sizes = [len(image.layers) for image in trie.images]
    yield _strategy("as built", [_kept(0, size) for size in sizes], layers)
    yield _strategy("squash all", [[Segment(0, size, False)] if size else [] for size in sizes], layers)
    stands_on = [_base_layers(number, trie, bases) for number in range(len(sizes))]
    above = [
        [*_kept(0, base), *([Segment(base, size, False)] if size > base else [])]
        for base, size in zip(stands_on, sizes, strict=True)
    ]
    yield _strategy("keep base", above, layers)
    along = _cut(trie, layers, trie.natural_cuts, "along the trie")
    yield along
    yield _best(trie, layers, along, options)


_ROUNDS = 4


def _best(trie: Trie, layers: Layers, along: Strategy, options: FleetOptions) -> Strategy:
    """The best cut. What a run takes is estimated until it is measured: the runs of each best cut are, and
    then looked for a better one, until the best has none that is not. The trie's own are measured before.

    Raises PlanError where no cut keeps to the limit of layers.
    """
    host = options.minimise == "host"
    price = _price(trie, layers, host=host)
    measure = host_bytes if host else registry_bytes
    crowded = any(len(image.layers) > options.max_layers for image in trie.images)
    found = []
    if max(map(len, along.stacks), default=0) <= options.max_layers:
        found.append(along)
    for _ in range(_ROUNDS):
        try:
            cut = best_cut(trie, price, by_blob=not host, max_layers=options.max_layers)
        except ValueError as error:
            raise PlanError(f"--max-layers {options.max_layers}: {error}; allow more") from error
        before = layers.measured
        found.append(_cut(trie, layers, cut.nodes, "best cut", merge_all=crowded))
        if layers.measured == before:
            break
    best = min(found, key=lambda one: measure(one.stacks))
    return Strategy("best cut", best.segments, best.stacks)


def _strategy(name: str, segments: Sequence[Sequence[Segment]], layers: Layers) -> Strategy:
    stacks = [layers.stack(number, one) for number, one in enumerate(segments)]
    return Strategy(name, [tuple(one) for one in segments], stacks)


def _kept(start: int, stop: int) -> list[Segment]:
    return [Segment(index, index + 1, True) for index in range(start, stop)]


def _cut(
    trie: Trie, layers: Layers, cuts: Set[ChainID], name: str, *, merge_all: bool = False
) -> Strategy:
    """The fleet cut so. A run that would not become smaller stays as it is, unless there would be too many
    layers then."""
    partitions = []
    for number in range(len(trie.images)):
        segments: list[Segment] = []
        runs = trie.segments(number, cuts)
        for run, made in zip(runs, layers.blobs(number, runs), strict=True):
            kept = _kept(run.start, run.stop)
            ((*before,),) = zip(*layers.blobs(number, kept), strict=True)
            smaller = sum(blob.stored for blob in made) < sum(blob.stored for blob in before)
            segments += [run] if merge_all or smaller else kept
        partitions.append(segments)
    return _strategy(name, partitions, layers)


def _price(trie: Trie, layers: Layers, *, host: bool) -> _Pricing:
    holders: dict[ChainID, int] = {}
    for number in range(len(layers.members)):
        for node in trie.path(number):
            holders.setdefault(node.chain_id, number)
    return _Pricing(layers, holders, host)


@dataclass(frozen=True, slots=True)
class _Pricing:
    """Prices runs where some image holds them."""

    layers: Layers
    holders: dict[ChainID, int]
    host: bool

    def __call__(self, run: Run) -> Priced:
        top: Node = run.top
        return self.layers.price(self.holders[top.chain_id], run, host=self.host)


def _base_layers(number: int, trie: Trie, bases: Sequence[Image]) -> int:
    """How many layers of an image are its base's: of a base that is named, of one in the catalogue, or of
    another image of the fleet; 0 where none is known. What is a base itself is one as a whole."""
    image = trie.images[number]
    path = trie.path(number)
    if path and path[-1].children:
        return len(path)
    stands_on = [node.depth + 1 for node in path[:-1] if node.ends]
    for base in bases:
        if shared_prefix(base.diff_ids, image.diff_ids) == len(base.diff_ids):
            stands_on.append(len(base.diff_ids))
    known = Catalogue.of_user().find(image.diff_ids, image.platform)
    if known is not None:
        stands_on.append(len(known.diff_ids))
    return max(stands_on, default=0)
