"""Where a result goes and in which form: output reference and options to a sink, its tags and codec."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from squashkit.errors import InvalidReference, UsageError
from squashkit.oci.compression import Compression
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import (
    CONTAINERD_NAME,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    REF_NAME,
    Codec,
)
from squashkit.oci.names import ImageName, is_tag, same_name
from squashkit.options import Format, MinSaving, Write
from squashkit.transports.atomic import FORCE, refuse_special
from squashkit.transports.contracts import Tag
from squashkit.transports.layout.index import INDEX
from squashkit.transports.other import OtherSide
from squashkit.transports.reference import DAEMON, FILES, REGISTRY, STORES, Reference, parse_reference
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of
from squashkit.values import frozen
from squashkit.wording import Option

_OUTPUT = Option("output")
_TAGS = Option("Write.tags")
_REPLACE = Option("Write.replace")
_BY_DIGEST = Option("Write.push_by_digest")
_AS_OCI = Option("Write.format", "oci")


@frozen
class Target:
    """Where a result goes, under which names and in which form. It is decided, and nothing is opened."""

    reference: Reference | None
    """None for a dry run without an output."""
    format: Format
    tags: tuple[Tag, ...]
    compression: Compression
    """How new layers are stored."""
    family: str | None
    """The manifest's media type, None for the source's."""
    force: bool = False
    """Replace what is there."""
    replace: Digest | None = None
    """What the tag of a registry means now that is to be moved to the result."""
    min_saving: MinSaving | None = None
    """What a squash must save to be written."""
    writes: bool = True
    """Whether anything is to be written."""
    check: bool = False
    """Whether what was written is read back before it gets its name."""
    rootfs_digest: bool = False
    """Whether the digest of the result's root file system is wanted."""
    has_own_names: bool = False
    """Whether nobody said how the result is to be called."""
    several: bool = False
    """Whether it is an index, of images for several platforms."""
    other: OtherSide | None = None
    """Whom it is for that has layers already, which stay out of it; None for an archive that has all."""

    @property
    def repo_tags(self) -> list[str]:
        """The names for manifest.json: always with a tag, none where there is no name."""
        names = [
            ImageName.parse(tag.name)
            for tag in self.tags
            if tag.verbatim is None or (_is_full(tag.name) and _is_legal(tag.name))
        ]
        return [name.familiar for name in dict.fromkeys(names)]

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
    def place(self) -> Reference:
        """The reference of a result that is written."""
        assert self.reference is not None
        return self.reference

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
            and (self.reference.is_stdio or not self.is_layout)
        )

    @property
    def is_layout(self) -> bool:
        """Whether it is a layout's folder."""
        transport = self.place.transport
        return transport == "oci" or (not transport and Path(self.place.path).is_dir())


def decide_target(
    output: str | None, source: Source, image: Image, like: Sequence[Layer], write: Write, *, several: bool
) -> Target:
    """Where an image of a source goes, `several` of them in one index. Unless it is said how to compress
    new layers they are stored as the uppermost layer of `like` is, in a docker archive as the first.

    Raises UsageError where output, format and compression do not fit together, or the source's own tag
    would move without `replace`.
    """
    reference = parse_output(output) if output is not None else None
    chosen = _format(reference, source, write.format)
    _refuse_misfits(reference, source, chosen, write, several=several)
    family = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST, None: None}[write.format]
    if family is None and chosen == "oci" and source.remote is not None and reference and reference.is_file:
        family = OCI_MANIFEST  # skopeo reads no others in a layout, and a registry has both
    compress = write.compression
    if compress is not None and compress.codec is Codec.ZSTD and image.family(family) == DOCKER_MANIFEST:
        raise UsageError("docker's manifests know no zstd layers; pass ", _AS_OCI)
    if chosen == "oci" and image.family(family) == DOCKER_MANIFEST:
        _refuse_zstd(like)
    names = _names(reference, image, write)
    if reference is not None and not write.replace:
        _protect_tags(names, reference, source)
    compression = compress or _as_stored(like, docker=chosen == "docker")
    to_registry = reference is not None and reference.transport == REGISTRY
    if to_registry and compress is None and compression.codec is Codec.NONE:
        compression = Compression.of(Codec.GZIP)
    return Target(
        reference,
        chosen,
        names,
        compression,
        family,
        force=write.force,
        replace=source.root if write.replace else None,
        min_saving=write.least,
        writes=output is not None and not write.dry_run,
        check=write.check,
        rootfs_digest=write.provenance,
        has_own_names=not write.names,
        several=several,
    )


def _refuse_zstd(layers: Sequence[Layer]) -> None:
    """Raises UsageError for a layer that no docker manifest may name: there is no media type for it. One
    that stands under one already stays."""
    for layer in layers:
        blob = layer.descriptor
        if blob is not None and blob.codec is Codec.ZSTD and not blob.media_type.startswith(DOCKER_LAYER):
            raise UsageError(
                f"{layer.where} of {layer.source} is a zstd layer, which docker's manifests do not know;"
                " pass ",
                _AS_OCI,
            )


def _refuse_misfits(
    reference: Reference | None, source: Source, format: Format, write: Write, *, several: bool
) -> None:
    """Raises UsageError where a form, a place and options exclude one another."""
    to_daemon = reference is not None and reference.transport == DAEMON
    if several and format == "docker" and not to_daemon:  # a daemon may keep images as containerd does
        raise UsageError(
            "a docker archive holds one platform (docker before 25 loads no more); pass ", _AS_OCI
        )
    compress = write.compression
    if format == "docker" and compress is not None and compress.codec is Codec.ZSTD:
        raise UsageError(
            "a docker archive cannot hold zstd layers (docker before 23 fails on them); pass ", _AS_OCI
        )
    if write.push_by_digest and (reference is None or reference.transport != REGISTRY):
        raise UsageError(_BY_DIGEST, " is for registries: ", Option("output", example="docker://HOST/NAME"))
    if write.push_by_digest and (
        write.names or write.replace or (reference is not None and reference.has_tag)
    ):
        raise UsageError(
            _BY_DIGEST, " gives no tag: leave ", _REPLACE, ", ", _TAGS, " and the tag of ", _OUTPUT, " out"
        )
    if write.replace and not _is_own_place(reference, source):
        raise UsageError(
            _REPLACE, " moves the source's own tag: leave ", _OUTPUT, " out, or name just that tag"
        )
    if write.replace and reference is not None and reference.is_file:
        raise UsageError(_REPLACE, " moves a tag of a daemon or a registry; ", FORCE, " replaces an output")
    if reference is not None and reference.is_file and not reference.is_stdio:
        path = Path(reference.path)
        if reference.path.endswith("/") and reference.transport != "oci" and not path.is_dir():
            raise UsageError(f"{reference.path} is no file; oci:{reference.path} makes a layout folder")
        refuse_special(path)


def _names(reference: Reference | None, image: Image, write: Write) -> tuple[Tag, ...]:
    """The names that the result gets."""
    if reference is not None and reference.transport in STORES:
        return _store_tags(write.names, reference)
    if reference is not None and reference.in_registry is not None:
        if write.push_by_digest:
            return ()
        return _registry_tags(write.names, reference, reference.in_registry, replace=write.replace)
    return _tags(write.names, reference, image)


def refuse_vain_check(target: Target) -> None:
    """Raises UsageError where there will be nothing to read back."""
    if target.check and target.is_stream:
        raise UsageError(
            Option("Write.check"),
            " reads back what was written, which a pipe cannot give; write to a file or a layout",
        )
    if target.check and not target.writes:
        raise UsageError(Option("Write.check"), " reads back what was written; a dry run writes nothing")


def protect_inputs(target: Target, sources: Sequence[Source]) -> None:
    """Raises UsageError where the output is something that is read, or lies within it."""
    reference = target.reference
    if reference is None or not reference.is_file:
        return
    for source in sources:
        if not reference.is_stdio:
            source.refuse_as_output(Path(reference.path))
        elif sys.stdout is not None and source.is_file(os.fstat(sys.stdout.fileno())):
            raise UsageError(f"standard output is {source.title}, an input, which is never written to")


def protect_names(target: Target, bases: Sequence[Source]) -> None:
    """Raises UsageError where the result would get a name that a base has in a daemon or a registry."""
    reference = target.reference
    if reference is None or reference.is_file:
        return
    for base in bases:
        if base.reference.transport != reference.transport:
            continue
        names = base.in_store.names if base.in_store else [base.reference.path]
        for tag in target.tags:
            if same_name(tag.name, *names):
                raise UsageError(
                    f"{tag.name} is the base, whose name is not moved; ",
                    _TAGS,
                    " or ",
                    _OUTPUT,
                    " gives another",
                )


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
        Option("output", output),
        f" would be a file; pass docker-daemon:{output}, docker://{output} or ./{output}",
    )


def _format(reference: Reference | None, source: Source, format: Format | None) -> Format:
    transport = reference.transport if reference else ""
    if transport == REGISTRY:
        return "oci"  # blobs by digest, whatever the family of the manifest that is asked for
    if transport in STORES:
        if format == "oci":
            raise UsageError(f"{transport}: takes docker archives; leave ", _AS_OCI, " out")
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
        raise UsageError(Option("Write.format", format), f" does not fit the output {reference}")
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
            f"{reference} names a digest, which nobody can choose; ", _BY_DIGEST, " gives no tag"
        )
    names = [own] if reference.has_tag or replace or not wanted else []
    for text in wanted:
        if is_tag(text):
            names.append(own.with_tag(text))
            continue
        name = ImageName.parse(text.removeprefix("docker://"))
        if name.full_repository != own.full_repository:
            raise UsageError(
                Option("Write.tags", text), f" is not in {own.full_repository}, where the result goes"
            )
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
                f"{tag.name} is the source's own name; ",
                _REPLACE,
                " moves it to the result, ",
                Option("Write.tags", example="NAME"),
                " or ",
                _OUTPUT,
                " gives another",
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


def _as_stored(layers: Sequence[Layer], *, docker: bool) -> Compression:
    """As the uppermost of these layers is stored; in a docker archive as the first, since crane takes what
    that is for what all are."""
    for layer in layers if docker else reversed(layers):
        codec = codec_of(layer)
        if codec in (Codec.XZ, Codec.BZIP2) or (docker and codec is Codec.ZSTD):
            codec = Codec.NONE
        return Compression.of(codec)
    return Compression.of(Codec.NONE)
