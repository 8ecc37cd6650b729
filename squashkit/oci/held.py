"""What a manifest or an index makes a registry keep, whatever it is of: an image, an index, an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from squashkit.oci.digests import is_any_digest
from squashkit.oci.gojson import load_json
from squashkit.oci.media import distributable


class Held(NamedTuple):
    """Digests, with the bytes that are stated of each."""

    blobs: dict[str, int]
    """Configs, layers, and what else is stored. What docker's schema 1 names has no size: 0."""
    manifests: dict[str, int]
    """Those that an index names."""


def held_by(data: bytes, where: str) -> Held:
    """What a document makes a registry keep beside itself. Layers that must not be distributed are not
    kept. Raises InvalidImage where it is no JSON."""
    value = load_json(data, where)
    document = value if isinstance(value, dict) else {}
    old = document.get("fsLayers")
    layers = {
        str(one["blobSum"]): 0
        for one in (old if isinstance(old, list) else [])
        if isinstance(one, dict) and _is_digest(one.get("blobSum"))
    }
    stated = (one for name in ("config", "layers", "blobs") for one in _descriptors(document.get(name)))
    return Held(layers | dict(stated), dict(_descriptors(document.get("manifests"))))


def _descriptors(value: object) -> Iterator[tuple[str, int]]:
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            continue
        digest, size, media_type = (one.get(name) for name in ("digest", "size", "mediaType"))
        is_kept = not isinstance(media_type, str) or distributable(media_type) == media_type
        if _is_digest(digest) and isinstance(size, int) and size >= 0 and is_kept:
            yield str(digest), size


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and is_any_digest(value)
