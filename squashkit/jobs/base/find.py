"""Which base an image has, by all that is written of it. Every answer is held against its diff_ids.

From strongest to weakest: what a person says (lookup.py), the annotations or labels that name the base,
the buildpacks' note of their run image, BuildKit's provenance, the user's catalogue. The history alone
decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from squashkit.errors import InvalidImage, NotBasedOn, TransportError
from squashkit.jobs.base.catalogue import Catalogue, name_of
from squashkit.jobs.base.lookup import OpenBase
from squashkit.oci.digests import Digest, is_digest
from squashkit.oci.documents import Manifest
from squashkit.oci.graph import Image
from squashkit.oci.media import BASE_DIGEST, BASE_NAME
from squashkit.oci.names import ImageName, same_name
from squashkit.plan.base import Base, base_by_annotations, base_of, stated_base
from squashkit.plan.evidence import PREDICATE_TYPE, PROVENANCE, REFERENCE_DIGEST, base_images, run_image_of
from squashkit.transports.layout.index import blob_name
from squashkit.transports.reference import REGISTRY, Reference
from squashkit.transports.source import Source


def base_by_evidence(
    image: Image,
    source: Source,
    open_base: OpenBase,
    catalogue: Catalogue | None,
) -> Base | None:
    """The base that is known without being asked for, None where nothing says it.

    A base in a registry is fetched to verify it, where the image itself comes from one. Raises NotBasedOn
    where an annotation names a base that is available, and is wrong.
    """
    return (
        base_by_annotations(image, source.images)
        or _by_annotations(image, source, open_base)
        or _by_buildpacks(image, catalogue)
        or _by_provenance(image, source, open_base)
        or base_by_catalogue(image, catalogue)
    )


def _by_annotations(image: Image, source: Source, open_base: OpenBase) -> Base | None:
    """The base that an image names, fetched to verify it."""
    name, digest = stated_base(image)
    if not name or not is_digest(digest):
        return None
    base = _fetch(image, source, open_base, name, Digest(digest))
    return base and replace(base, evidence=f"{name}, by the annotation {BASE_DIGEST}")


def _by_buildpacks(image: Image, catalogue: Catalogue | None) -> Base | None:
    """The buildpacks' run image, by its top layer."""
    top, name = run_image_of(image.config)
    if top is None or top not in image.diff_ids:
        return None
    layers = image.diff_ids.index(top) + 1
    told = f"{name or top[:19]}, by the label io.buildpacks.lifecycle.metadata"
    known = catalogue.find(image.diff_ids, image.platform) if catalogue is not None else None
    same = known is not None and len(known.diff_ids) == layers
    return Base(layers, told, known.image() if known is not None and same else None, name or top, name)


def _by_provenance(image: Image, source: Source, open_base: OpenBase) -> Base | None:
    """The image with the most layers of those that its build took in and that it stands on."""
    found = []
    for statement in _provenance(image, source):
        for name, digest in base_images(statement):
            at_hand = next((i for i in source.images if _has_digest(i, digest)), None)
            try:
                base = (
                    base_of(image, at_hand, name)
                    if at_hand is not None
                    else _fetch(image, source, open_base, name, digest)
                )
            except NotBasedOn:
                continue  # a stage that only lent files
            if base is not None:
                told = f"{name}, by the provenance of its build"
                found.append(replace(base, evidence=told, image_name=name))
    return max(found, key=lambda base: base.layers, default=None)


def base_by_catalogue(
    image: Image, catalogue: Catalogue | None, names: Sequence[str] | None = None
) -> Base | None:
    """The base in the catalogue of which the image has the most layers; with `names` only one that has one
    of them."""
    known = catalogue.find(image.diff_ids, image.platform, names) if catalogue is not None else None
    if known is None:
        return None
    told = f"{known.reference}, seen {known.seen[:10]}, by the catalogue of bases"
    return Base(len(known.diff_ids), told, known.image(), known.reference, name_of(known), catalogued=True)


def version_of(
    image: Image, found: Base | None, catalogue: Catalogue | None, names: Sequence[str]
) -> Base | None:
    """The version of a base, by its names, that an image stands on: the base that was found, one of the
    catalogue, or, not held against the layers, the one that the image itself names. None for none."""
    if found is not None and same_name(found.image_name, *names):
        return found
    known = base_by_catalogue(image, catalogue, names)
    stated, _ = stated_base(image)
    if known is None and same_name(stated, *names):
        return Base(0, f"the annotation {BASE_NAME}", name=stated, image_name=stated)
    return known


def _fetch(
    image: Image,
    source: Source,
    open_base: OpenBase,
    name: str,
    digest: Digest,
) -> Base | None:
    """A base by its digest from its registry; None where it is no longer there, or is nobody's to read."""
    stated = ImageName.of(name)
    if source.remote is None or stated is None:
        return None
    try:
        other = open_base(Reference(REGISTRY, str(stated.with_digest(digest))), image.platform)
    except TransportError:
        return None
    fitting = [base for base in other.images if base.platform.matches(image.platform)]
    return replace(base_of(image, fitting[0], name), image_name=name) if fitting else None


def _has_digest(image: Image, digest: Digest) -> bool:
    return image.manifest_descriptor is not None and image.manifest_descriptor.digest == digest


def _provenance(image: Image, source: Source) -> Iterator[bytes]:
    """The provenance statements that lie beside an image. What cannot be read says nothing."""
    if image.manifest_descriptor is None:
        return
    for descriptor in source.listing.attestations:
        if descriptor.annotations.get(REFERENCE_DIGEST) != image.manifest_descriptor.digest:
            continue
        try:
            data = source.container.read(blob_name(descriptor.digest))
            manifest = Manifest.parse(data, "attestation", descriptor.media_type) if data else None
            for layer in manifest.layers if manifest is not None else ():
                if layer.annotations.get(PREDICATE_TYPE, "").startswith(PROVENANCE):
                    statement = source.container.read(blob_name(layer.digest))
                    if statement is not None:
                        yield statement
        except (InvalidImage, TransportError):
            continue
