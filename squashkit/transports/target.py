"""Where a result goes and in which form: output reference and options to a sink, its tags and codec."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from squashkit.errors import InvalidReference, TransportError, UsageError
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Image
from squashkit.oci.media import CONTAINERD_NAME, DOCKER_MANIFEST, OCI_MANIFEST, REF_NAME, Codec
from squashkit.oci.names import ImageName, is_tag, same_name
from squashkit.plan.documents import manifest_family
from squashkit.plan.squash import Segment
from squashkit.progress import Progress
from squashkit.transports.archive.sink import ArchiveFile, Pipe, check_free
from squashkit.transports.atomic import refuse_special
from squashkit.transports.blobs import Blob
from squashkit.transports.codecs import Compression
from squashkit.transports.contracts import Sink, Tag
from squashkit.transports.layout.index import INDEX
from squashkit.transports.layout.sink import Layout, check_layout_tags
from squashkit.transports.reference import FILES, REGISTRY, STORES, Reference, parse_reference
from squashkit.transports.registry.access import Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source
from squashkit.transports.stores.store import open_store
from squashkit.transports.tags import TagGuard

Format = Literal["docker", "oci"]


@dataclass(frozen=True, slots=True)
class AtHand:
    """What a daemon or a registry has already of an image that is on its way to it."""

    held: Mapping[Digest, Callable[[], Blob]] = field(default_factory=dict)
    """Blobs of layers that a store has on the same parents, and how to get them all the same."""
    beside: Mapping[Digest, str] = field(default_factory=dict)
    """Blobs that a registry has in another repository, and in which."""
    read_tags: Mapping[str, Digest] = field(default_factory=dict)
    """Tags of registries that were read (`team/app:1`), and what they meant."""
    replace: Digest | None = None
    """The manifest whose tag is to be moved to the result."""


@dataclass(frozen=True, slots=True)
class Destination:
    """An output that is decided and not yet opened. `reference` is None for a dry run."""

    reference: Reference | None
    format: Format
    tags: tuple[Tag, ...]
    compression: Compression
    family: str | None
    """The manifest's media type, None for the source's."""

    @property
    def repo_tags(self) -> list[str]:
        """The names for manifest.json: always with a tag, none where there is no name."""
        names = [
            ImageName.parse(tag.name)
            for tag in self.tags
            if tag.verbatim is None or (_is_full(tag.name) and _is_legal(tag.name))
        ]
        return [name.familiar for name in dict.fromkeys(names)]

    def open(
        self,
        stack: ExitStack,
        tmp_dir: Room,
        *,
        force: bool,
        registries: Registries,
        at_hand: AtHand,
        guard: TagGuard,
        cancelled: threading.Event,
        progress: Progress,
    ) -> Sink:
        """Where the result goes; a pipe that nobody reads is waited for until `cancelled` is set.

        Raises UsageError where something is there that must not be overwritten, TransportError where nobody
        answers.
        """
        assert self.reference is not None
        if self.reference.transport in STORES:
            from squashkit.transports.stores.sink import StoreSink

            store = stack.enter_context(open_store(self.reference))
            return StoreSink(store, tmp_dir, at_hand.held, progress.advance, guard)
        if (name := self.reference.in_registry) is not None:
            from squashkit.transports.registry.sink import RegistrySink

            tags = [ImageName.parse(tag.name).tag for tag in self.tags]
            return RegistrySink(
                name, registries, tmp_dir, at_hand.beside, tags, at_hand.read_tags, at_hand.replace, guard
            )
        docker = self.format == "docker"
        path = Path(self.reference.path)
        if self.reference.is_stdio:
            return Pipe(tmp_dir, docker=docker, cancelled=cancelled)
        if self._is_layout:
            return Layout(path, force=force, tags=self.tags, guard=guard, room=tmp_dir.at(path))
        return ArchiveFile(path, docker=docker, force=force, room=tmp_dir.at(path))

    def check_free(self, *, force: bool) -> None:
        """What `open` would refuse, without opening anything."""
        if self.is_path and not self._is_layout:
            assert self.reference is not None
            check_free(Path(self.reference.path), force=force)

    def check_tags(self, guard: TagGuard, registries: Registries, tmp_dir: Room) -> None:
        """What `open` would say of tags that lose platforms, without writing anything. A daemon or a
        registry that does not answer is not asked twice: the dry run is of the images."""
        if self.reference is None:
            return
        with suppress(TransportError):
            if self.reference.transport in STORES:
                with open_store(self.reference) as store:
                    for name in guard.results:
                        guard.check(name, store.platforms(name))
            elif self.reference.transport == REGISTRY:
                from squashkit.transports.registry.sink import tag_platforms

                for tag in guard.results:
                    guard.check(tag, tag_platforms(ImageName.parse(tag), registries, tmp_dir))
            elif self.is_path and self._is_layout:
                check_layout_tags(Path(self.reference.path), self.tags, guard)

    @property
    def is_path(self) -> bool:
        """Whether it is a file or a folder."""
        return self.reference is not None and self.reference.is_file and not self.reference.is_stdio

    @property
    def is_registry(self) -> bool:
        return self.in_registry is not None

    @property
    def in_registry(self) -> ImageName | None:
        """Its name in a registry; None where it goes elsewhere."""
        return self.reference.in_registry if self.reference is not None else None

    @property
    def is_stream(self) -> bool:
        """Whether it goes to standard output."""
        return self.reference is not None and self.reference.is_stdio

    @property
    def is_oci_archive(self) -> bool:
        """Whether it is an archive without manifest.json."""
        return (
            self.format == "oci"
            and self.reference is not None
            and self.reference.is_file
            and (self.reference.is_stdio or not self._is_layout)
        )

    @property
    def _is_layout(self) -> bool:
        assert self.reference is not None
        transport = self.reference.transport
        return transport == "oci" or (not transport and Path(self.reference.path).is_dir())


def decide_destination(
    output: str | None,
    source: Source,
    image: Image,
    segments: Sequence[Segment],
    *,
    tags: Sequence[str],
    format: Format | None,
    compress: Compression | None,
    several: bool = False,
    replace: bool = False,
    by_digest: bool = False,
) -> Destination:
    """Where an image goes, `several` of them in one index. Raises UsageError where output, format and
    compression do not fit together, or the source's own tag would move without `replace`."""
    reference = parse_output(output) if output is not None else None
    tags = sorted(set(tags))  # a set of names, whose order is to change no byte
    chosen = _format(reference, source, format)
    if several and chosen == "docker":
        raise UsageError(
            "a docker archive holds one platform (docker before 25 loads no more); pass --format oci"
        )
    if chosen == "docker" and compress is not None and compress.codec is Codec.ZSTD:
        raise UsageError(
            "a docker archive cannot hold zstd layers (docker before 23 fails on them); pass --format oci"
        )
    if by_digest and (reference is None or reference.transport != REGISTRY):
        raise UsageError("--push-by-digest is for registries: -o docker://HOST/NAME")
    if by_digest and reference is not None and (tags or replace or reference.has_tag):
        raise UsageError("--push-by-digest gives no tag: leave --replace, -t and the tag of -o out")
    if replace and not _is_own_place(reference, source):
        raise UsageError("--replace moves the source's own tag: leave -o out, or name just that tag")
    if replace and reference is not None and reference.is_file:
        raise UsageError("--replace moves a tag of a daemon or a registry; --force replaces an output")
    if reference is not None and reference.is_file and not reference.is_stdio:
        target = Path(reference.path)
        if reference.path.endswith("/") and reference.transport != "oci" and not target.is_dir():
            raise UsageError(f"{reference.path} is no file; oci:{reference.path} makes a layout folder")
        refuse_special(target)
    family = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST, None: None}[format]
    if family is None and chosen == "oci" and source.remote is not None and reference and reference.is_file:
        family = OCI_MANIFEST  # skopeo reads no others in a layout, and a registry has both
    zstd = compress is not None and compress.codec is Codec.ZSTD
    if zstd and manifest_family(image, family) == DOCKER_MANIFEST:
        raise UsageError("docker's manifests know no zstd layers; pass --format oci")
    if reference is not None and reference.transport in STORES:
        names = _store_tags(tags, reference)
    elif reference is not None and reference.in_registry is not None:
        names = () if by_digest else _registry_tags(tags, reference, reference.in_registry, replace=replace)
    else:
        names = _tags(tags, reference, image)
    if reference is not None and not replace:
        _protect_tags(names, reference, source)
    compression = compress or _like_the_kept(source, image, segments, docker=chosen == "docker")
    to_registry = reference is not None and reference.transport == REGISTRY
    if to_registry and compress is None and compression.codec is Codec.NONE:
        compression = Compression.of(Codec.GZIP)
    return Destination(reference, chosen, names, compression, family)


def parse_output(text: str) -> Reference:
    """An output's reference. A bare path is taken whole: it need not exist, and may hold a colon."""
    transport = text.partition(":")[0]
    if ":" in text and transport in FILES:
        reference = parse_reference(text)
        if reference.transport == "oci" and reference.is_stdio:
            raise UsageError("an OCI layout is a folder; oci-archive:- writes to standard output")
        return reference
    if ":" in text and (transport in (*STORES, "dir") or text.startswith("docker:/")):
        return parse_reference(text)
    return Reference("", text)


def refuse_mistaken_file(output: str, source: Reference) -> None:
    """Raises UsageError where an image that comes from a daemon or a registry is to go into a file that has
    the form of an image's name: that was hardly meant."""
    if parse_output(output).transport or source.is_file or not parse_reference(output).guessed:
        return
    raise UsageError(
        f"-o {output} would be a file; pass docker-daemon:{output}, docker://{output} or ./{output}"
    )


def _format(reference: Reference | None, source: Source, format: Format | None) -> Format:
    transport = reference.transport if reference else ""
    if transport == REGISTRY:
        return "oci"  # blobs by digest, whatever the family of the manifest that is asked for
    if transport in STORES:
        if format == "oci":
            raise UsageError(f"{transport}: takes docker archives; leave --format oci out")
        return "docker"
    path = Path(reference.path) if reference and not reference.is_stdio else None
    implied: Format | None = None
    if transport:
        implied = "docker" if transport == "docker-archive" else "oci"
    elif path is not None and path.is_dir():
        if not (path / INDEX).exists():
            raise UsageError(f"{path} is a folder that is no OCI layout; pass oci:{path} to make one")
        implied = "oci"
    if format and implied and format != implied:
        raise UsageError(f"--format {format} does not fit the output {reference}")
    return format or implied or ("docker" if source.is_docker else "oci")


def _tags(wanted: Sequence[str], reference: Reference | None, image: Image) -> tuple[Tag, ...]:
    tags = []
    if reference is not None and reference.image:
        name = reference.image
        tags.append(Tag(name, name if reference.transport == "oci" else None))
        if reference.transport != "oci":
            ImageName.parse(name)
    for name in wanted:
        if "@" in name:
            raise InvalidReference(f"a tag cannot hold a digest: {name!r}")
        ImageName.parse(name)
        tags.append(Tag(name))
    return tuple(_distinct(tags)) or _own_tags(image)


def _store_tags(wanted: Sequence[str], reference: Reference) -> tuple[Tag, ...]:
    names = []
    for text in [reference.path, *wanted]:
        if "@" in text or text.startswith("sha256:"):
            raise UsageError(f"an image gets a name, not a digest: {text!r}")
        names.append(ImageName.parse(text))
    return tuple(_distinct([Tag(name.familiar) for name in names]))


def _registry_tags(
    wanted: Sequence[str], reference: Reference, own: ImageName, *, replace: bool
) -> tuple[Tag, ...]:
    """Tags of one repository: the reference's own, and others as `TAG` or by their full names."""
    if own.digest:
        raise UsageError(
            f"{reference} names a digest, which nobody can choose; --push-by-digest gives no tag"
        )
    names = [own] if reference.has_tag or replace or not wanted else []
    for text in wanted:
        if is_tag(text):
            names.append(own.with_tag(text))
            continue
        name = ImageName.parse(text.removeprefix("docker://"))
        if name.full_repository != own.full_repository:
            raise UsageError(f"-t {text} is not in {own.full_repository}, where the result goes")
        names.append(name)
    return tuple(_distinct([Tag(str(name)) for name in names]))


def _is_own_place(reference: Reference | None, source: Source) -> bool:
    """Whether an output is the very name that the source was read by."""
    if reference is None or reference.is_file or source.reference.transport != reference.transport:
        return False
    name = source.reference.name
    return name is not None and not name.digest and same_name(reference.path, source.reference.path)


def _protect_tags(tags: Sequence[Tag], reference: Reference, source: Source) -> None:
    """Raises UsageError where a name of the source's would come to mean the result."""
    own: Sequence[str] = ()
    if source.reference.transport == reference.transport == REGISTRY:
        own = [source.reference.path]
    elif source.in_store is not None and source.reference.transport == reference.transport:
        own = source.in_store.names
    for tag in tags:
        if same_name(tag.name, *own):
            raise UsageError(
                f"{tag.name} is the source's own name; --replace moves it to the result, -t NAME or -o"
                " gives another"
            )


def _distinct(tags: Sequence[Tag]) -> list[Tag]:
    """Each name once: `app` and `app:latest` are one. A bare REF that another name brings along goes:
    skopeo finds no image where two descriptors have the same."""
    by_names = {frozenset(tag.annotations().items()): tag for tag in tags}
    return [tag for names, tag in by_names.items() if not any(names < others for others in by_names)]


def _own_tags(image: Image) -> tuple[Tag, ...]:
    """The source's names. A bare ref.name (`v1`) names no repository and is carried over as it is."""
    descriptor = image.manifest_descriptor
    annotations = descriptor.annotations if descriptor else {}
    ref_name = annotations.get(REF_NAME)
    only_ref = ref_name if CONTAINERD_NAME not in annotations else None
    full = [name for name in image.names if _is_full(name) or descriptor is None]
    legal = [name for name in full if _is_legal(name) or name == only_ref]
    if legal:
        return tuple(_distinct([Tag(name, name if name == only_ref else None) for name in legal]))
    if full:
        return ()
    return tuple(Tag(name, name) for name in image.names)


def _is_legal(name: str) -> bool:
    found = ImageName.of(name)
    return found is not None and not found.digest


def _is_full(name: str) -> bool:
    return ":" in name or "/" in name


def _like_the_kept(
    source: Source, image: Image, segments: Sequence[Segment], *, docker: bool
) -> Compression:
    """New layers are stored as the kept ones are; with none kept, as the squashed ones were."""
    kept = [
        image.layers[index]
        for segment in segments
        if segment.keep
        for index in range(segment.start, segment.stop)
    ]
    for layer in reversed(kept or image.layers):
        codec = source.codec(layer)
        if codec in (Codec.XZ, Codec.BZIP2) or (docker and codec is Codec.ZSTD):
            codec = Codec.NONE
        return Compression.of(codec)
    return Compression.of(Codec.NONE)
