"""Holding images to all that they promise, and telling every fault, not only the first.

Each blob is hashed once, whatever number of images share it; plain layers are scanned in place while
others hash them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field, replace
from typing import TYPE_CHECKING

from squashkit.arguments import checked, texts
from squashkit.engine.layers import LayerStore, Reading
from squashkit.errors import (
    CheckFailed,
    ImageNotFound,
    InvalidImage,
    SquashkitError,
    TooLarge,
    UnsupportedImage,
    UsageError,
    shortened,
    show_path,
    show_text,
)
from squashkit.jobs.absent import AbsenceSearch
from squashkit.jobs.have import open_other, with_layers
from squashkit.jobs.look import Opened, open_images
from squashkit.layers.changeset import Changeset
from squashkit.layers.rootfs import Rootfs
from squashkit.layers.search import (
    Pattern,
    Sighting,
    parse_pattern,
)
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ALL
from squashkit.oci.gojson import is_time
from squashkit.oci.graph import Image, Layer, crowded
from squashkit.oci.have import Keeper
from squashkit.oci.media import Codec
from squashkit.oci.shapes import odd_settings_told
from squashkit.options import ByRecipe, Run, Which
from squashkit.plan.delta import find_needed
from squashkit.plan.recipe.model import FLEET
from squashkit.plan.squash import find_obstacle
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.verify import Finding, Loading, ReplayedImage, Verdict
from squashkit.transports.archive.reader import Archive
from squashkit.transports.blobs import Blob, read_blocks
from squashkit.transports.codecs import decompress
from squashkit.transports.layout.index import refuse_unsupported
from squashkit.transports.other import OtherSide
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of, digest_of, nearest, size_of
from squashkit.values import mutable
from squashkit.wording import Words

if TYPE_CHECKING:
    from squashkit.jobs.held import Held

_BLOBS = "blobs/sha256/"
Stored = tuple[Blob, DiffID]
"""A layer as it lies in its source, whatever name it has there, and what it is said to hold."""


@mutable
class _Tally:
    """What was looked at and found so far."""

    source: str
    images: Sequence[Image]
    patterns: Sequence[Pattern]
    layers: int = 0
    blobs: int = 0
    size: int = 0
    entries: int = 0
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    places: list[Sighting] = field(default_factory=list)

    def verdict(self) -> Verdict:
        """All of it, each thing once."""
        return Verdict(
            self.source,
            tuple(self.images),
            self.layers,
            self.blobs,
            self.size,
            self.entries,
            tuple(dict.fromkeys(self.faults)),
            tuple(dict.fromkeys(self.warnings)),
            tuple(self.patterns),
            tuple(dict.fromkeys(self.places)),
        )


@checked
def verify(
    image: str,
    *,
    absent: Sequence[str] | str = (),
    by: ByRecipe | None = None,
    have: Sequence[str] | str = (),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Verdict:
    """Look at everything that an image promises, and for what must be absent: paths, globs of paths,
    contents (`sha256:…`). Without a REF and a platform every image in the archive or layout is meant.

    With `by`, the image must be one that a recipe makes, as `replay` would make it. Raises CheckFailed
    where it is another.

    A delta is held against what its reader has: `have` are have-lists, archives, layouts or references.
    What is whole needs nothing of it. Raises UsageError for a pattern that is none; what opening the image
    raises.
    """
    try:
        patterns = parse_patterns(texts(absent))
    except ValueError as error:
        raise UsageError(f"absent: {error}") from error
    faults: list[SquashkitError] = []
    others = texts(have)
    with open_images([image], which, run, progress, notify, faults, deltas=bool(others)) as (opened,):
        source = opened.source
        other = open_other(opened.session, others) if others else None
        whole = source.reference.image is None and which.choice is None
        every = whole or (source.is_delta and which.choice == ALL)
        images = source.images if every and (source.images or faults) else _meant(opened, faults)
        different = list({one.identity: one for one in images}.values())
        here = {image.image_id: [digest_of(layer) for layer in image.layers] for image in different}
        loading = None
        if other is not None and source.is_delta:
            loading = _find_loading(different, other, is_docker=source.is_docker)
            different = [with_layers(one, source, other, as_far=True) for one in different]
        verdict = _verify(opened, different, faults, patterns, whole=whole)
        if other is not None and loading is None and not verdict.faults:
            loading = Loading(other.title, other.have.keeper, (), "", is_proof=True)
        verdict = replace(verdict, loading=loading)
    if by is None or verdict.faults:
        return verdict
    from squashkit.jobs.replay import prove  # it can all that writes, which most checks have no use for

    held = prove(by, run, progress)
    return replace(verdict, replayed=_hold_against(held, here))


def _hold_against(held: Held, here: Mapping[Digest, Sequence[str]]) -> tuple[ReplayedImage, ...]:
    """The images `here`, by image_id with the digests of their layers, each of which a recipe must make: of
    a fleet some of its images, else all. Raises CheckFailed."""
    made = {Digest(done.result.image_id): done.result for done in held.done}
    if not here or not here.keys() <= made.keys():
        others = ", ".join(sorted(here.keys() - made.keys())) or "no image"
        raise CheckFailed(f"the recipe makes {', '.join(made)}; here is {others}")
    if held.recipe.job != FLEET and (lacking := made.keys() - here.keys()):
        raise CheckFailed(f"the recipe makes {', '.join(sorted(lacking))}, too, which is not here")
    return tuple(
        ReplayedImage(
            image_id,
            made[image_id].image.title,
            [layer.digest for layer in made[image_id].after] == layers,
        )
        for image_id, layers in here.items()
    )


def _find_loading(images: Sequence[Image], other: OtherSide, *, is_docker: bool) -> Loading:
    """Whether the images of a delta will load where the other side is."""
    needed = tuple((image, one) for image in images for one in find_needed(image, other.have))
    keeper = other.have.keeper
    why_not = ""
    if keeper is Keeper.GRAPHDRIVER and not is_docker:
        why_not = "docker's own storage loads no deltas in OCI's form"
    return Loading(other.title, keeper, needed, why_not, is_proof=other.is_host)


def parse_patterns(texts: Sequence[str]) -> list[Pattern]:
    """What must be absent. Raises ValueError for what is no pattern."""
    return [parse_pattern(text) for text in texts]


def _meant(opened: Opened, faults: Sequence[SquashkitError]) -> Sequence[Image]:
    """The image that is meant; none where what is wrong in the source is why it is not found."""
    try:
        return opened.images()
    except ImageNotFound:
        if not faults:
            raise
        return []


def _verify(
    opened: Opened,
    images: Sequence[Image],
    listed: Sequence[SquashkitError],
    patterns: Sequence[Pattern],
    *,
    whole: bool,
) -> Verdict:
    """`listed` are faults that were found when the images were listed; `whole` says that the images are all
    that the source holds, so that blobs of no image count too."""
    session, source = opened.session, opened.source
    tally = _Tally(source.title, images, patterns)
    tally.faults += [Finding("", str(error)) for error in listed]
    for descriptor in source.listing.absent if whole else ():
        subject = descriptor.platform or descriptor.media_type
        message = f"the index names {descriptor.digest} ({subject}), whose blobs are not there"
        tally.warnings.append(Finding("", message))
        places = [Sighting(pattern.text, str(subject), "its blobs are not there") for pattern in patterns]
        tally.places += places
    container = source.container
    for name in container.replaced() if whole and isinstance(container, Archive) else ():
        message = "it stands there twice: docker reads the last one, podman the first"
        tally.warnings.append(Finding(show_text(name), message))
    for passed in source.listing.passed_over() if whole else ():
        tally.warnings.append(Finding("", passed))
        tally.places += [Sighting(pattern.text, passed, "it is not looked into") for pattern in patterns]
    for pattern in patterns if listed else ():
        tally.places.append(Sighting(pattern.text, source.title, "an image that could not be read"))
    work = _Verifier(source, tally, session, AbsenceSearch(patterns, session))
    session.progress.stage("Verifying", sum(map(size_of, _distinct(images))))
    try:
        for image in images:
            work.image(image)
        if whole:
            work.other_blobs()
    finally:
        work.close()
    return tally.verdict()


def _distinct(images: Sequence[Image]) -> list[Layer]:
    """Every layer that is there, once."""
    layers = [layer for image in images for layer in image.layers if layer.blobs]
    return list({layer.diff_id: layer for layer in layers}.values())


@mutable
class _Verifier:
    """The work under way."""

    source: Source
    tally: _Tally
    session: Session
    search: AbsenceSearch
    cancelled: threading.Event = field(default_factory=threading.Event)
    _read: dict[Stored, Changeset | None] = field(default_factory=dict)
    """The layers that were read; None where that failed."""

    def close(self) -> None:
        self.cancelled.set()

    def fault(self, error: SquashkitError) -> None:
        self.tally.faults.append(Finding("", Words(*error.parts, error.details)))

    def image(self, image: Image) -> None:
        """One image: its documents, its layers, and how these go together."""
        self._documents(image)
        with LayerStore(self.session, cached=False, apart=True) as layers:
            self._image(layers, image)

    def _image(self, layers: LayerStore, image: Image) -> None:
        changesets = self._layers(layers, image)
        rootfs = Rootfs()
        for index, changeset in changesets.items():
            if changeset is None:
                break  # what lies above it cannot be applied
            try:
                rootfs.apply(changeset, index)
            except InvalidImage as error:
                self.fault(error)
                if index + 1 < len(changesets):
                    message = "not applied, since one below it is at fault"
                    self.tally.warnings.append(Finding(f"layer {index + 1} and above", message))
                break
        self._warn_of_layers(image, changesets, rootfs)
        if self.tally.patterns:
            self.tally.places += self.search.image(layers, image, changesets, rootfs)

    # Documents

    def _documents(self, image: Image) -> None:
        tally, config = self.tally, image.config
        try:
            refuse_unsupported(image)
        except UnsupportedImage as error:
            tally.warnings.append(Finding(image.title, f"{error} (squashkit cannot squash it)"))
        if said := crowded(len(image.layers)):
            tally.warnings.append(Finding(image.title, said))
        if config.history is not None and config.layer_history is None:
            entries = sum(not entry.empty_layer for entry in config.history)
            message = f"the history tells of {entries} layers, there are {len(image.layers)}"
            if entries > len(image.layers):
                tally.faults.append(Finding(image.title, f"{message}; docker refuses that"))
            else:
                tally.warnings.append(Finding(image.title, message))
        if odd := config.odd_settings:
            tally.warnings.append(Finding(image.title, odd_settings_told(odd)))
        if any("created" not in entry.raw for entry in config.history or ()):
            message = "a history entry without `created`, on which umoci fails"
            tally.warnings.append(Finding(image.title, message))
        times = [config.created, *(entry.raw.get("created") for entry in config.history or ())]
        if wrong := [time for time in times if time is not None and not is_time(time)]:
            message = f"`created` is no time, on which docker fails: {wrong[0][:60]!r}"
            tally.warnings.append(Finding(image.title, message))
        descriptor = image.manifest_descriptor
        stated = descriptor.platform if descriptor else None
        if stated and not image.platform.matches(stated):
            tally.faults.append(
                Finding(image.title, f"the index says {stated}, the config says {image.platform}")
            )
        for layer in image.layers:
            if layer.descriptor is None or not layer.blobs:
                continue
            codec = codec_of(layer)
            if layer.descriptor.codec is not codec:
                told = layer.descriptor.media_type
                tally.warnings.append(
                    Finding(layer.where, f"the media type is {told}, the blob is {_compressed(codec)}")
                )

    # Layers

    def _layers(self, store: LayerStore, image: Image) -> dict[int, Changeset | None]:
        """Read every layer that was not read for another image."""
        layers = image.layers
        keep = any(pattern.is_content for pattern in self.tally.patterns)
        begun: dict[Stored, Reading] = {}
        stored: dict[int, Stored] = {}
        self.tally.layers += len(layers)
        for layer in layers:
            if not layer.blobs and layer.descriptor is not None and layer.descriptor.is_foreign:
                continue  # it may lie elsewhere, which is told
            if not layer.blobs and self.source.is_delta:
                continue  # it was left out, and what is told of that is told apart
            try:
                blob = nearest(layer).open()
                key = stored[layer.index] = blob, layer.diff_id
                if key not in self._read and key not in begun:
                    plain = blob.codec() is Codec.NONE
                    begun[key] = store.begin(layer, wanted=keep or plain)
                    self.tally.blobs += 1
                    self.tally.size += blob.size
            except InvalidImage as error:
                self.fault(error)
        inflating = [reading.inflating for reading in begun.values() if reading.inflating is not None]
        store.pool.finish(inflating, (InvalidImage, TooLarge))
        for key, reading in begun.items():
            self._read[key] = None
            try:
                self._read[key] = changeset = store.finish(reading)
                self.tally.entries += changeset.count
            except (InvalidImage, TooLarge) as error:
                self.fault(error)
        checks = [reading.check for reading in begun.values() if reading.check is not None]
        store.pool.finish(checks, (InvalidImage,))
        for reading in begun.values():
            try:
                if reading.check is not None:
                    reading.check.result()
            except InvalidImage as error:
                self.fault(error)
        return {
            layer.index: self._read.get(stored[layer.index]) if layer.index in stored else None
            for layer in layers
        }

    def _warn_of_layers(
        self, image: Image, changesets: dict[int, Changeset | None], rootfs: Rootfs
    ) -> None:
        warnings = self.tally.warnings
        kinds: dict[tuple[int, str], list[bytes]] = {}
        for contested in rootfs.contested:
            kinds.setdefault((contested.layer, contested.construct), []).append(contested.path)
        for index, changeset in changesets.items():
            for what, path in changeset.odd if changeset is not None else ():
                kinds.setdefault((index, what), []).append(path)
        for (layer, construct), paths in kinds.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            warnings.append(
                Finding(image.layers[layer].where, f"{construct}: /{show_path(shortened(paths[0]))}{more}")
            )
        for index, changeset in changesets.items():
            if changeset is None:
                continue
            where = image.layers[index].where
            if changeset.junk:
                message = "bytes behind the end of the tar, which no tool applies"
                warnings.append(Finding(where, message))
            if padding := self._padding(image.layers[index], changeset):
                message = (
                    f"{padding:,} zeros behind the gzip stream: docker and containerd take it, podman,"
                    " skopeo and umoci refuse it"
                )
                warnings.append(Finding(where, message))
            absolute = [one.name for one in changeset.entries if one.name.startswith(b"/")]
            if absolute:
                warnings.append(Finding(where, f"an absolute name: {show_path(absolute[0])}"))
            obstacle = find_obstacle(changeset)
            if obstacle is not None:
                message = f"{show_path(obstacle.path)} {obstacle.message}; it can be kept, not merged"
                warnings.append(Finding(where, message))

    def _padding(self, layer: Layer, changeset: Changeset) -> int:
        """How many zeros lie behind a layer's gzip stream. Where its last four bytes are the size of what
        it holds (RFC 1952) there are none; else it has several members, or is padded."""
        blob = nearest(layer).open()
        if blob.codec() is not Codec.GZIP:
            return 0
        stated = int.from_bytes(blob.read_at(max(0, blob.size - 4), 4), "little")
        if stated and stated == changeset.diff_size % (1 << 32):
            return 0
        found: list[int] = []
        blocks = read_blocks(blob, self.cancelled, layer.where)
        for _ in decompress(Codec.GZIP, blocks, layer.where, found.append):
            pass
        return sum(found)

    # Other blobs

    def other_blobs(self) -> None:
        """Blobs that no layer is: their name says what they must be."""
        layers = {blob for blob, _ in self._read}
        known = {document for image in self.tally.images for document in _documents_of(image)}
        with ThreadPoolExecutor(self.session.jobs) as pool:
            hashing: dict[str, Future[str]] = {}
            for name in self.source.container.names():
                blob = self.source.container.get(name)
                if blob is None or blob in layers or not (self.tally.patterns or _is_blob(name)):
                    continue
                hashing[name] = pool.submit(self._hash, name, blob)
                if _is_blob(name):
                    self.tally.blobs += 1
                    self.tally.size += blob.size
            for name, future in hashing.items():
                digest = name.removeprefix(_BLOBS)
                if _is_blob(name) and future.result() != digest:
                    message = f"expected sha256:{digest}, found sha256:{future.result()}"
                    self.tally.faults.append(Finding(name, message))
                if self.tally.patterns and digest not in known:
                    data = self.source.container.read(name) or b""
                    self.tally.places += self.search.stray(name, future.result(), data)

    def _hash(self, name: str, blob: Blob) -> str:
        digest = hashlib.sha256()
        for block in read_blocks(blob, self.cancelled, name):
            digest.update(block)
        return digest.hexdigest()


def _is_blob(name: str) -> bool:
    """Whether a file's name says what its digest must be."""
    return name.startswith(_BLOBS) and len(name) == len(_BLOBS) + 64


def _documents_of(image: Image) -> Iterator[str]:
    """The hex digests of the documents that make an image."""
    yield image.image_id.removeprefix("sha256:")
    if image.manifest_descriptor is not None:
        yield image.manifest_descriptor.digest.removeprefix("sha256:")


def _compressed(codec: Codec) -> str:
    return "not compressed" if codec is Codec.NONE else codec.value
