"""What a registry would have room for again if tags or repositories were deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from squashkit.arguments import checked, texts
from squashkit.engine.layers import LayerStore
from squashkit.errors import ImageNotFound, SquashkitError, UsageError, show_text
from squashkit.jobs.fleet.below import Below
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.measure import GZIP, titles_of
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.prices import Pricing
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.scan.storage import scanned_fleet
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.oci.digests import sha256
from squashkit.oci.held import Held, held_by
from squashkit.oci.names import ImageName, fits, split_tag
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.freed import Blob, Tag
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.freed import FreedReport
from squashkit.transports.reference import REGISTRY, parse_reference
from squashkit.transports.session import Session

if TYPE_CHECKING:
    from squashkit.transports.registry.repository import Repository


@checked
def fleet_freed(
    references: Sequence[str] | str,
    *,
    tags: Sequence[str] | str = (),
    fleet: FleetOptions = FleetOptions(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> FreedReport:
    """For each tag and each repository the bytes of layers, configs and manifests that nothing else of the
    fleet holds; of `tags`, globs of names, what all that fit hold together.

    References are those of `measure_fleet`, and folders of scans. In a registry all of an index counts,
    each platform and what is no image; elsewhere images do. Only manifests are read. Raises UsageError
    where no tag fits a glob, and what opening the images does.
    """
    with for_many_images(), Session(run, progress or Silent()) as session, LayerStore(session) as store:
        walk = _Walk(session)
        found: dict[str, Tag] = {}
        elsewhere: list[str] = []
        for text in texts(references):
            if text.startswith(f"{REGISTRY}://"):
                found |= {tag.name: tag for tag in walk.tags(text)}
            elif (scan := scan_at(text)) is not None:
                with scanned_fleet(scan, fleet, session) as opened:
                    found |= {tag.name: tag for tag in tags_of(session, opened.prices, opened.members)}
                    walk.notes += opened.fleet.notes
            else:
                elsewhere.append(text)
        if elsewhere:
            fleet_ = Fleet(session, fleet.choice, notes=walk.notes)
            members = fleet_.members(elsewhere)
            prices = Pricing(FleetLayers(store, members), GZIP, estimate=True)
            found |= {tag.name: tag for tag in tags_of(session, prices, members)}
    every = list(found.values())
    return FreedReport(tuple(every), _fitting(every, texts(tags)), tuple(walk.notes))


def _fitting(tags: Sequence[Tag], globs: Sequence[str]) -> tuple[int, ...]:
    """The tags, by their places, that globs fit, with their tag or without. Raises UsageError where a glob
    fits none."""
    fitting: set[int] = set()
    for glob in globs:
        own = {number for number, tag in enumerate(tags) if fits(tag.name, glob)}
        if not own:
            raise UsageError(f"no tag of the {len(tags):,} fits {show_text(glob)}")
        fitting |= own
    return tuple(sorted(fitting))


def tags_of(session: Session, prices: Pricing, members: Sequence[Member]) -> Iterator[Tag]:
    """What a registry would hold of these images. Of an index in a registry all counts, as its manifests
    tell; elsewhere the image alone that is a member. Raises what reading manifests does."""
    walk = _Walk(session)
    for title, member in zip(titles_of(members), members, strict=True):
        name, root = member.source.reference.in_registry, member.source.root
        described = member.image.manifest_descriptor
        if name is not None and root is not None and (described is None or described.digest != root):
            tag = walk.tag(name.with_digest(root))
            yield replace(tag, name=title, repository=split_tag(title)[0])
        else:
            yield _tag_of(title, prices, member, name.host if name is not None else "")


def _tag_of(title: str, prices: Pricing, member: Member, host: str) -> Tag:
    """What a registry would hold of an image alone, wherever it lies."""
    image = member.image
    layers = (prices.layer_of(member, layer) for layer in image.layers)
    blobs: dict[Blob, int] = {(host, layer.key): layer.stored for layer in layers}
    blobs[host, image.image_id] = len(image.config.data)
    described = image.manifest_descriptor
    if described is not None:
        blobs[host, described.digest] = described.size
    root = described.digest if described is not None else image.image_id
    return Tag(title, split_tag(title)[0], root, blobs)


@dataclass(slots=True)
class _Walk:
    """A way through the manifests of registries."""

    session: Session
    notes: list[str] = field(default_factory=list)
    _held: dict[tuple[str, str], Held | None] = field(default_factory=dict, init=False)
    """By registry and digest; None for what an index names and is not there."""

    def tags(self, text: str) -> Iterator[Tag]:
        """Those that a reference means: one, or all below a place. Raises what reading it does, and where
        there is none why."""
        if not text.endswith("/"):
            name = parse_reference(text).in_registry
            assert name is not None
            yield self.tag(name)
            return
        place = Below.parse(text, self.session.registries)
        gone: list[str] = []
        missed: list[SquashkitError] = []
        count = 0
        for listed in place.names(every=True):
            try:
                yield self.tag(ImageName.parse(listed))
                count += 1
            except ImageNotFound as error:  # deleted, and listed still
                gone.append(listed)
                missed.append(error)
        if not count:
            raise missed[0] if missed else place.nothing()
        self.notes += place.notes(gone)

    def tag(self, name: ImageName) -> Tag:
        """What a name holds. Raises what reading its manifests does."""
        from squashkit.transports.registry.repository import Repository

        repository = Repository(self.session.registries.get(name), name.repository)
        data, _ = repository.manifest(name.reference)
        root = sha256(data)
        blobs: dict[Blob, int] = {(name.host, root): len(data)}
        self._held[name.host, root] = held_by(data, str(name))
        todo: list[str] = [root]
        while todo:
            held = self._held[name.host, todo.pop()]
            assert held is not None
            blobs |= {(name.host, digest): size for digest, size in held.blobs.items()}
            for digest, size in held.manifests.items():
                key = name.host, digest
                if key in blobs:
                    continue
                if key not in self._held:
                    self._held[key] = self._read(repository, digest)
                if self._held[key] is not None:
                    blobs[key] = size
                    todo.append(digest)
        return Tag(str(name), f"{name.host}/{name.repository}", root, blobs)

    @staticmethod
    def _read(repository: Repository, digest: str) -> Held | None:
        try:
            data, _ = repository.manifest(digest)
        except ImageNotFound:  # an index may name what is not there
            return None
        return held_by(data, f"{repository.title}@{digest}")
