"""The config and the manifest of a squashed image: pure, from the source's and what was written.

The config's `config` object is never touched, and fields that squashkit does not know survive. What
described layers that are gone is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from squashkit.amounts import count
from squashkit.layers.merge import SquashedLayer
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import Descriptor, dump_json
from squashkit.oci.graph import Image, StoredLayer
from squashkit.oci.media import (
    BASE_CHAIN,
    BASE_DIGEST,
    BASE_NAME,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    SOURCE_DIGEST,
    Codec,
)
from squashkit.oci.names import ImageName
from squashkit.oci.shapes import STALE
from squashkit.options import History
from squashkit.plan.base import Base
from squashkit.plan.squash import KeptLayer, LayerPlan
from squashkit.values import frozen

EPOCH = "1970-01-01T00:00:00Z"


@frozen
class Result:
    """An image as it was written, or in a dry run would be. Sizes are bytes."""

    image: Image
    base: Base
    plan: LayerPlan
    before: tuple[StoredLayer, ...]
    """The source's layers as they are stored."""
    after: tuple[StoredLayer, ...]
    """In a dry run the digest of a new layer is empty, and one to be compressed is not counted."""
    changed: bool
    image_id: str = ""
    manifest: Descriptor | None = None
    rootfs_digest: str = ""
    """Of its root file system, where it was asked for."""
    there: Mapping[Digest, int] = field(default_factory=dict)
    """Blobs that the destination had before, and their sizes."""
    in_registry: frozenset[Digest] = frozenset()
    """Blobs by which a registry has the base."""
    needed: int = 0
    """What temporary files and the result take, as far as that is known before."""
    free: int = 0
    notes: tuple[str, ...] = ()
    """What people should know."""


@frozen
class Transfer:
    """Bytes to and from daemons and registries."""

    read: tuple[tuple[str, int], ...]
    """What came from where: the names of images in a daemon, the hosts of registries."""
    up: int
    not_moved: int
    """Of layers that were there already, or beside it in the same registry."""
    proof: int = 0
    """Bytes that a daemon gave out to show that it has what it was not sent; `down` is without them."""
    to: str = ""
    """Where `up` went."""

    @property
    def down(self) -> int:
        """What came from all places together."""
        return sum(count for _, count in self.read)


def squashed_config(image: Image, plan: LayerPlan, diff_ids: Sequence[DiffID], options: History) -> bytes:
    """The config of the squashed image."""
    created = options.created or image.config.created or EPOCH
    raw: dict[str, Any] = {k: v for k, v in image.config.raw.items() if k not in STALE}
    raw["created"] = created
    raw["rootfs"] = {**(raw.get("rootfs") or {"type": "layers"}), "diff_ids": list(diff_ids)}
    history = squashed_history(image, plan, created, options)
    if history is not None:
        raw["history"] = history
    return dump_json(raw)


def has_broken_history(image: Image) -> bool:
    """Whether there is a history that does not fit the layers."""
    return image.config.history is not None and image.config.layer_history is None


def squashed_history(
    image: Image, plan: LayerPlan, created: str, options: History
) -> list[dict[str, Any]] | None:
    """The kept layers' entries, the squashed ones' as empty layers, and one for each new layer.

    An image without history gets none. One whose history does not fit its layers gets one entry a
    layer; the old text goes into the last one's comment.
    """
    if image.config.history is None:
        return None
    empty_image = not any(not isinstance(p, SquashedLayer) or p.pieces for p in plan.layers)
    if image.config.layer_history is None:
        return _mended_history(image, plan, created, options, keep_empty=empty_image)
    by_layer: list[list[dict[str, Any]]] = [[]]
    for entry in image.config.history:
        by_layer[-1].append(dict(entry.raw))
        if not entry.empty_layer:
            by_layer.append([])
    trailing = by_layer.pop()
    history: list[dict[str, Any]] = []
    for planned in plan.layers:
        if isinstance(planned, KeptLayer):
            history += by_layer[planned.index]
            continue
        leaner = any(left.layer == planned.stop - 1 for left in plan.left_out)
        is_same = planned.stop - planned.start == 1 and not leaner and not plan.made_by
        if is_same and planned.pieces:  # made anew, and what it was
            history += by_layer[planned.start]
            continue
        if options.drop and planned.start < planned.stop:
            # The steps without a layer before the run's first belong to what lies below it.
            history += by_layer[planned.start][:-1]
        else:
            for index in range(planned.start, planned.stop):
                history += by_layer[index][:-1]
                history.append({**by_layer[index][-1], "empty_layer": True})
        history.append(_squash_entry(planned, created, options, empty=not planned.pieces))
        if plan.made_by:
            history[-1]["created_by"] = plan.made_by
    if empty_image and history:
        history[-1].pop("empty_layer", None)
    return history + trailing


def _squash_entry(planned: SquashedLayer, created: str, options: History, *, empty: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "created": created,
        "created_by": f"squashkit squash {count(planned.stop - planned.start, 'layer')}",
    }
    if options.message:
        entry["comment"] = options.message
    if empty:
        entry["empty_layer"] = True
    return entry


def _mended_history(
    image: Image, plan: LayerPlan, created: str, options: History, *, keep_empty: bool
) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = []
    for planned in plan.layers:
        if isinstance(planned, KeptLayer):
            history.append({"created": created, "created_by": f"layer {planned.index}"})
        else:
            empty = not planned.pieces and not keep_empty
            history.append(_squash_entry(planned, created, options, empty=empty))
    if not options.drop:
        old = "; ".join(entry.created_by for entry in image.config.history or ())
        history[-1]["comment"] = "; ".join(filter(None, (history[-1].get("comment"), old)))
    return history


def layer_descriptor(layer: StoredLayer, family: str) -> Descriptor:
    """The descriptor of a written layer. A kept blob keeps its annotations; a media type that lies
    about its compression, or is of the other family, is put right. One that must not be distributed is an
    ordinary layer from now on: its bytes are there, and skopeo and podman would look at its `urls`."""
    prefix = DOCKER_LAYER if family == DOCKER_MANIFEST else OCI_LAYER
    separator = "." if family == DOCKER_MANIFEST else "+"
    media_type = prefix if layer.codec is Codec.NONE else prefix + separator + layer.codec.value
    if layer.source is not None:
        foreign = layer.source.is_foreign
        raw = {k: v for k, v in layer.source.raw.items() if not (foreign and k == "urls")}
        return Descriptor(media_type, layer.digest, layer.size, layer.source.annotations, None, raw)
    return Descriptor(media_type, layer.digest, layer.size)


def index_type(manifests: Sequence[Descriptor]) -> str:
    """The media type of the index that holds these manifests: docker's list where all are docker's."""
    docker = all(manifest.media_type == DOCKER_MANIFEST for manifest in manifests)
    return DOCKER_LIST if docker else OCI_INDEX


def image_index(manifests: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    """The index of one image for several platforms. Docker's list takes no annotations."""
    media_type = index_type(manifests)
    raw = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [manifest.json() for manifest in manifests],
    }
    if annotations and media_type != DOCKER_LIST:
        raw["annotations"] = dict(annotations)
    return dump_json(raw)


def index_annotations(results: Sequence[Result]) -> dict[str, str]:
    """The annotations of the index of these images: what all say that were read. Of a base that is another
    now, or may be, the name alone, where all have it."""
    read = [dict(result.image.index_annotations) for result in results]
    said = {key: text for key, text in read[0].items() if all(one.get(key) == text for one in read)}
    if any(one.changed and not is_base_kept(one.image, one.base) for one in results):
        names = {(_stated(result.base) or {}).get(BASE_NAME, "") for result in results}
        has_name = said.pop(BASE_NAME, "") != ""
        said.pop(BASE_DIGEST, None)
        if has_name and len(names) == 1 and (name := names.pop()):
            said[BASE_NAME] = name
    return said


def image_manifest(
    image: Image,
    family: str,
    config: bytes,
    layers: Sequence[StoredLayer],
    annotations: Mapping[str, str] | None,
) -> bytes:
    """The manifest of a written image, with these annotations; None for one that is not changed.

    An unchanged image of the same family keeps its own, byte for byte.
    """
    source = image.manifest
    changed = annotations is not None
    descriptors = [layer_descriptor(layer, family) for layer in layers]
    config_type = DOCKER_CONFIG if family == DOCKER_MANIFEST else OCI_CONFIG
    raw: dict[str, Any] = {"schemaVersion": 2, "mediaType": family}
    gone = {*raw, "subject"}
    raw |= {k: v for k, v in (source.raw if source else {}).items() if k not in gone}
    config_raw = source.config.raw if source and not changed else {}
    raw |= {
        "config": Descriptor(config_type, sha256(config), len(config), raw=config_raw).json(),
        "layers": [descriptor.json() for descriptor in descriptors],
    }
    if not changed:
        if (
            source
            and source.media_type == family
            and tuple((d.digest, d.distributable_type) for d in source.layers)
            == tuple((d.digest, d.media_type) for d in descriptors)
        ):
            return source.data
        return dump_json(raw)
    raw.pop("annotations", None)
    if annotations and family != DOCKER_MANIFEST:
        raw["annotations"] = dict(annotations)
    return dump_json(raw)


def changed_annotations(image: Image, base: Base | None, *, base_kept: bool) -> dict[str, str]:
    """The annotations of an image that is changed. Its base is named by a manifest that was read; what the
    source says of it goes unless that base is still there."""
    annotations = dict(image.manifest.annotations if image.manifest else {})
    noted = annotations.pop(BASE_CHAIN, None)
    top = _top_of_base(image, base, noted) if base is not None and base.layers else None
    stated = _stated(base) if base is not None else None
    if stated is not None or not (base_kept or (noted is not None and noted == top)):
        annotations.pop(BASE_NAME, None)
        annotations.pop(BASE_DIGEST, None)
    annotations |= stated or {}
    if top is not None:
        annotations[BASE_CHAIN] = top
    descriptor = image.manifest_descriptor
    annotations[SOURCE_DIGEST] = descriptor.digest if descriptor else image.image_id
    return annotations


def _top_of_base(image: Image, base: Base, noted: str | None) -> str | None:
    """The chain_id of the base that stays: where it is an image's, or where it was noted before."""
    kept = [layer.chain_id for layer in image.layers[: base.layers]]
    if base.image is not None:
        return kept[-1]
    return noted if noted in kept else None


def _stated(base: Base) -> dict[str, str] | None:
    """What annotations say of a base; None where its manifest was not read."""
    if base.image is None or base.image.manifest_descriptor is None:
        return None
    name = str(ImageName.of(base.image_name) or base.image_name)  # layouts and archives may give any name
    digest = base.image.manifest_descriptor.digest
    return {BASE_NAME: name, BASE_DIGEST: digest} if name else {BASE_DIGEST: digest}


def is_base_kept(image: Image, base: Base) -> bool:
    """Whether the base that the source's annotations name is still there in a squash. Where its manifest
    was not read, only a base that was asked for by name says so."""
    annotated = image.manifest.annotations.get(BASE_DIGEST) if image.manifest else None
    if base.image is not None and base.image.manifest_descriptor is not None:
        return annotated == base.image.manifest_descriptor.digest
    return base.layers > 0 and bool(base.name)
