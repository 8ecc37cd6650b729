"""What builders say of an image's base: BuildKit's provenance, and the note of buildpacks. Pure.

An attestation is an in-toto statement; SLSA provenance in it lists what the build took in: v0.2 as
`predicate.materials`, v1 as `predicate.buildDefinition.resolvedDependencies`. Images are among them as
package URLs (`pkg:docker/debian@12?platform=linux%2Famd64`) with their digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from squashkit.errors import InvalidImage
from squashkit.oci.digests import DiffID, Digest, is_digest
from squashkit.oci.documents import ImageConfig
from squashkit.oci.gojson import Leaf, ListOf, MapOf, Struct, load_json
from squashkit.plan.base import labels_of

REFERENCE_DIGEST = "vnd.docker.reference.digest"
"""An attestation's annotation: the manifest that it is about."""
PREDICATE_TYPE = "in-toto.io/predicate-type"
PROVENANCE = "https://slsa.dev/provenance/"
_MATERIALS = ListOf(Struct({"uri": Leaf.TEXT, "digest": MapOf(Leaf.TEXT)}))
_STATEMENT = Struct(
    {
        "predicate": Struct(
            {
                "materials": _MATERIALS,
                "buildDefinition": Struct({"resolvedDependencies": _MATERIALS}),
            }
        )
    }
)


def base_images(statement: bytes) -> list[tuple[str, Digest]]:
    """The images that a build took in, by name and digest, in the order that it names them. The base is one
    of them; which one, only the layers say. What is not understood is passed over."""
    try:
        found = load_json(statement, "provenance", _STATEMENT)
        predicate = found["predicate"]
        materials = predicate.get("materials") or predicate["buildDefinition"]["resolvedDependencies"]
        return list(_images(materials))
    except (InvalidImage, TypeError, KeyError, AttributeError):
        return []


def _images(materials: Any) -> Iterator[tuple[str, Digest]]:
    for material in materials:
        uri = str(material.get("uri") or "")
        digest = f"sha256:{(material.get('digest') or {}).get('sha256')}"
        if uri.startswith("pkg:docker/") and is_digest(digest):
            name, _, _ = uri.removeprefix("pkg:docker/").partition("?")
            name, _, tag = unquote(name).partition("@")
            yield (f"{name}:{tag}" if tag and not is_digest(tag) else name), Digest(digest)


BUILDPACKS = "io.buildpacks.lifecycle.metadata"
"""The label in which buildpacks note what they made an image of."""
BUILDPACKS_SHAPE = Struct({"runImage": Struct({"topLayer": Leaf.TEXT, "reference": Leaf.TEXT})})


def run_image_of(config: ImageConfig) -> tuple[DiffID | None, str]:
    """What buildpacks noted of an image's base: its top layer's diff_id, and its name."""
    return run_image(labels_of(config))


def run_image(labels: Mapping[str, Any]) -> tuple[DiffID | None, str]:
    """The same by an image's labels. What is not understood says nothing."""
    try:
        stated = (labels.get(BUILDPACKS) or "").encode()
        found = load_json(stated, BUILDPACKS, BUILDPACKS_SHAPE)["runImage"]
        return DiffID(str(found["topLayer"])), str(found.get("reference") or "")
    except (InvalidImage, TypeError, KeyError, AttributeError):
        return None, ""
