"""OCI layouts (image-spec, image-layout.md), as a folder or inside an archive: reading and naming.

An index leads to manifests, through nested indexes too. What is no image (attestations, artifacts) and
what is not there (an export names all platforms and holds one) is set aside and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from squashkit.errors import (
    DigestMismatch,
    InvalidImage,
    SquashkitError,
    UnsupportedImage,
    show_text,
)
from squashkit.oci.digests import Digest, algorithm_of, is_digest, sha256
from squashkit.oci.documents import Descriptor, ImageConfig, Index, Manifest, parse_index
from squashkit.oci.gojson import fold, load_json
from squashkit.oci.graph import Image, stack_layers
from squashkit.oci.media import (
    CONFIG_TYPES,
    CONTAINERD_NAME,
    DELTA_NEEDS,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    REF_NAME,
)
from squashkit.oci.names import names_of
from squashkit.oci.shapes import LAYOUT_SHAPE
from squashkit.transports.blobs import Container
from squashkit.transports.stored import StoredBlob

INDEX = "index.json"
LAYOUT = "oci-layout"
LAYOUT_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_DEPTH = 8
_MAX_VISITS = 10_000
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(slots=True)
class Listing:
    """The images of a container, and what was set aside."""

    images: list[Image] = field(default_factory=list)
    absent: list[Descriptor] = field(default_factory=list)
    unnamed: list[Descriptor] = field(default_factory=list)
    """Entries with a digest of another algorithm than sha256, which are not looked at."""
    attestations: list[Descriptor] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    """The types of manifests that are no images."""
    needs: frozenset[Digest] | None = None
    """Of a delta: the blobs of layers that were left out of it; None for what is none."""

    def passed_over(self) -> list[str]:
        """What of an index is not looked at, in words."""
        told = []
        for one in self.unnamed:
            title = ", ".join(names_of(one.annotations)) or str(one.platform or "an entry")
            algorithm = algorithm_of(one.digest)
            told.append(
                f"{show_text(title)}: the index names it by a {algorithm} digest, which is not supported"
            )
        return told


def blob_name(digest: Digest) -> str:
    return "blobs/" + digest.replace(":", "/")


def read_verified(container: Container, descriptor: Descriptor, where: str) -> bytes | None:
    """A JSON blob, checked against its descriptor; None where it is not there."""
    data = container.read(blob_name(descriptor.digest))
    if data is None:
        return None
    if len(data) != descriptor.size:
        raise DigestMismatch(where, expected=f"{descriptor.size} bytes", actual=f"{len(data)} bytes")
    if (actual := sha256(data)) != descriptor.digest:
        raise DigestMismatch(where, expected=descriptor.digest, actual=actual)
    return data


Faults = list[SquashkitError]
"""Where faults go that are to be told all, not raised one at a time."""


def list_images(
    container: Container, source: str, faults: Faults | None = None, root: Digest | None = None
) -> Listing:
    """Read index.json and all that it leads to, layers excepted; with `root` only what that entry leads to.
    `source` is how people call the layout.

    Raises InvalidImage for bad JSON, digests that do not match and wrong counts; with `faults`, those of
    single images go there and the others are listed.
    """
    walk = _Walk(container, source, Listing(), faults)
    with collected(faults):
        layout = container.read(LAYOUT)
        if layout is not None:
            load_json(layout, LAYOUT, LAYOUT_SHAPE)
        index = container.read(INDEX)
        if index is None:
            raise InvalidImage("no index.json", where=INDEX)
        whole = parse_index(index, INDEX)
        walk.listing.needs = _needs(whole.annotations.get(DELTA_NEEDS))
        meant = tuple(one for one in whole.manifests if root in (None, one.digest))
        walk.index(Index(meant, {}), INDEX, {}, ())  # what a layout says of itself is about no image
    return walk.listing


def _needs(said: str | None) -> frozenset[Digest] | None:
    """What an index says that a delta needs. What is no digest there cannot be of use to anybody."""
    return None if said is None else frozenset(Digest(word) for word in said.split(",") if is_digest(word))


@contextmanager
def collected(faults: Faults | None) -> Iterator[None]:
    """What is wrong with an image goes to `faults`, where there are such."""
    try:
        yield
    except (InvalidImage, UnsupportedImage) as error:
        if faults is None:
            raise
        faults.append(error)


@dataclass(slots=True)
class _Walk:
    """A way through the documents of a layout."""

    container: Container
    source: str
    listing: Listing
    faults: Faults | None
    visited: int = 0

    def index(
        self,
        index: Index,
        where: str,
        names: Mapping[str, str],
        above: tuple[Digest, ...],
    ) -> None:
        for i, descriptor in enumerate(index.manifests):
            named = replace(descriptor, annotations={**names, **descriptor.annotations})
            with collected(self.faults):
                image = self._visit(named, f"{where}.manifests[{i}]", above)
                if image is not None:
                    self.listing.images.append(
                        replace(image, index_annotations=tuple(index.annotations.items()))
                    )

    def _visit(self, descriptor: Descriptor, place: str, above: tuple[Digest, ...]) -> Image | None:
        """The image that an entry of an index names; None for what is none."""
        listing = self.listing
        self.visited += 1
        if self.visited > _MAX_VISITS:
            raise UnsupportedImage(f"{place}: over {_MAX_VISITS:,} images", what="index")
        if is_attestation(descriptor):
            listing.attestations.append(descriptor)
            return None
        if not is_digest(descriptor.digest):
            listing.unnamed.append(descriptor)
            return None
        data = read_verified(self.container, descriptor, place)
        if data is None:
            listing.absent.append(descriptor)
            return None
        media_type = descriptor.media_type or _guess_type(data)
        if media_type not in INDEX_TYPES | MANIFEST_TYPES:
            listing.artifacts.append(media_type)  # image-spec: an unknown type is no error
            return None
        if media_type in INDEX_TYPES:
            if descriptor.digest in above or len(above) >= _MAX_DEPTH:
                raise InvalidImage("indexes nested too deep", where=place)
            annotations = descriptor.annotations.items()
            names = {k: v for k, v in annotations if k in (REF_NAME, CONTAINERD_NAME)}
            self.index(parse_index(data, place), place, names, (*above, descriptor.digest))
            return None
        manifest = Manifest.parse(data, place, descriptor.media_type)
        kind = str(manifest.raw.get("artifactType") or "")
        if manifest.config.media_type not in CONFIG_TYPES:
            listing.artifacts.append(kind or manifest.config.media_type)
            return None
        config = read_verified(self.container, manifest.config, f"{place}.config")
        if config is None:
            if any(self.container.has(blob_name(layer.digest)) for layer in manifest.layers):
                raise InvalidImage("the config blob is not there", where=f"{place}.config")
            listing.absent.append(descriptor)  # an export of one platform may hold the manifests of all
            return None
        if kind and not _is_image(manifest, config):
            listing.artifacts.append(kind)
            return None
        return _load_image(self.container, self.source, manifest, descriptor, config, place)


def _guess_type(data: bytes) -> str:
    """What a document is that a descriptor gives no type."""
    try:
        value = load_json(data, "")
    except InvalidImage:
        return "unknown"
    keys = {fold(key) for key in value} if isinstance(value, dict) else set()
    if "manifests" in keys:
        return OCI_INDEX
    return OCI_MANIFEST if "layers" in keys else "unknown"


def _is_image(manifest: Manifest, config: bytes) -> bool:
    """Whether what is called an artifact is an image all the same: its config has a root file system, and
    what the manifest lists are tars."""
    try:
        value = load_json(config, "")
    except InvalidImage:
        return False
    has_rootfs = isinstance(value, dict) and any(fold(key) == "rootfs" for key in value)
    return has_rootfs and all(".tar" in layer.media_type for layer in manifest.layers)


def is_attestation(descriptor: Descriptor) -> bool:
    if _ATTESTATION in descriptor.annotations:
        return True
    platform = descriptor.platform
    return platform is not None and platform.os == platform.architecture == "unknown"


def _load_image(
    container: Container, source: str, manifest: Manifest, descriptor: Descriptor, data: bytes, where: str
) -> Image:
    config = ImageConfig.parse(data, f"{where}.config")
    blobs = [StoredBlob.find(container, blob_name(layer.digest), layer) for layer in manifest.layers]
    return Image(
        names=names_of(descriptor.annotations),
        image_id=manifest.config.digest,
        config=config,
        layers=stack_layers(config, blobs, manifest.layers, where, source),
        manifest=manifest,
        manifest_descriptor=descriptor,
    )


def refuse_unsupported(image: Image) -> None:
    """Raises UnsupportedImage for images that cannot be squashed."""
    if image.platform.os == "windows":
        raise UnsupportedImage(
            "Windows images cannot be squashed: their layers are no changesets of this kind",
            what="windows",
        )
    for layer in image.layers:
        media_type = layer.descriptor.media_type if layer.descriptor else ""
        if layer.descriptor is not None and layer.descriptor.is_encrypted:
            raise UnsupportedImage(
                f"layer {layer.index} is encrypted; decrypt the image first (skopeo copy --decryption-key)",
                what="encrypted layer",
            )
        if not layer.blobs and layer.descriptor is not None and layer.descriptor.is_foreign:
            raise UnsupportedImage(
                f"layer {layer.index} is a foreign layer ({media_type}), whose bytes lie elsewhere",
                what="foreign layer",
            )
        if media_type and not (
            media_type.startswith(("application/vnd.oci.image.layer.", "application/vnd.docker.image."))
            and ".tar" in media_type
        ):
            raise UnsupportedImage(
                f"layer {layer.index} has the unknown media type {media_type!r}", what=media_type
            )


def index_json(descriptors: list[dict[str, Any]], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """An index of these descriptors, with the other fields of the one that it replaces."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, **(before or {}), "manifests": descriptors}
