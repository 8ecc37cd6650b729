"""Docker archives: `docker save` before 25 and from 25 on, and what other tools write in that form.

`manifest.json` lists the images. Layers lie anywhere, under any name, compressed or not; the config's
diff_ids say what they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from squashkit.errors import DigestMismatch, InvalidImage
from squashkit.oci.digests import sha256
from squashkit.oci.documents import ImageConfig
from squashkit.oci.gojson import TEXTS, Leaf, ListOf, MapOf, Struct, load_json
from squashkit.oci.graph import Image, stack_layers
from squashkit.oci.shapes import DESCRIPTOR_SHAPE
from squashkit.transports.blobs import Container
from squashkit.transports.layout.index import Faults, Listing, collected
from squashkit.transports.stored import StoredBlob
from squashkit.values import frozen

MANIFEST = "manifest.json"
_SHAPE = ListOf(
    Struct(
        {"Config": Leaf.TEXT, "RepoTags": TEXTS, "Layers": TEXTS},
        {"Parent": Leaf.TEXT, "LayerSources": MapOf(DESCRIPTOR_SHAPE)},
    )
)
_CONFIG_NAME = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")


def list_images(container: Container, source: str, faults: Faults | None = None) -> list[Image]:
    """Read manifest.json and the configs that it names; `source` is how people call the archive.

    Raises InvalidImage for bad JSON, a config that is not there or not what its name promises, and
    wrong counts; with `faults`, those of single images go there and the others are listed.
    """
    images: list[Image] = []
    with collected(faults):
        listed = container.read(MANIFEST)
        if listed is None:
            raise InvalidImage("no manifest.json", where=MANIFEST)
        for i, entry in enumerate(parse_manifest(listed)):
            where = f"{MANIFEST}[{i}]"
            with collected(faults):
                images.append(_load_image(container, Item.parse(entry, where), where, source))
    return images


@frozen
class Item:
    """An image as manifest.json lists it: its tags, and the names of the members that it is made of."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]

    @classmethod
    def parse(cls, entry: dict[str, Any] | None, where: str) -> Item:
        """Raises InvalidImage where a name is missing."""
        if entry is None:
            raise InvalidImage("expected an object", where=where)
        config, layers = entry.get("Config"), entry.get("Layers")
        if not config:
            raise InvalidImage("expected the name of a config", where=f"{where}.Config")
        if layers is None or None in layers:
            raise InvalidImage("expected a list of names", where=f"{where}.Layers")
        return cls(config, tuple(tag or "" for tag in entry.get("RepoTags") or ()), tuple(layers))


def parse_manifest(data: bytes) -> list[dict[str, Any] | None]:
    """The entries of a manifest.json, for `Item.parse`. Raises InvalidImage."""
    entries: list[dict[str, Any] | None] | None = load_json(data, MANIFEST, _SHAPE)
    if not entries:
        raise InvalidImage("expected a list of images", where=MANIFEST)
    return entries


def _load_image(container: Container, item: Item, where: str, source: str) -> Image:
    config_name, layers = item.config, item.layers
    data = container.read(config_name)
    if data is None:
        raise InvalidImage(f"the config {config_name!r} is not there", where=f"{where}.Config")
    image_id = sha256(data)
    named = _CONFIG_NAME.fullmatch(config_name)
    if named and image_id != f"sha256:{named[1]}":
        raise DigestMismatch(f"{where}.Config", expected=f"sha256:{named[1]}", actual=image_id)
    config = ImageConfig.parse(data, config_name)
    return Image(
        names=item.tags,
        image_id=image_id,
        config=config,
        layers=stack_layers(
            config,
            [StoredBlob.find(container, name) for name in layers],
            [None] * len(layers),
            where,
            source,
        ),
        manifest=None,
        manifest_descriptor=None,
    )


def merge(docker: list[Image], listing: Listing) -> list[Image]:
    """The images of an archive that is both: names of manifest.json, manifests of index.json.

    They are matched by their config's digest and the blobs of their layers; the tags of manifest.json come
    first.
    """
    stored: dict[tuple[object, ...], Image] = {}
    names: dict[tuple[object, ...], list[str]] = {}
    for image in listing.images:
        stored[image.identity] = image
        names.setdefault(image.identity, []).extend(image.names)  # one image may have 10,000 tags
    merged: list[Image] = []
    for image in docker:
        twin = stored.pop(image.identity, image)
        merged.append(replace(twin, names=(*image.names, *names.pop(image.identity, ()))))
    merged += [replace(image, names=tuple(names[key])) for key, image in stored.items()]
    return [replace(image, names=tuple(dict.fromkeys(image.names))) for image in merged]


def manifest_json(config: str, tags: list[str], layers: list[str]) -> list[dict[str, Any]]:
    return [{"Config": config, "RepoTags": tags or None, "Layers": layers}]
