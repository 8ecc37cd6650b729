"""Labels and annotations that name layers which an image no longer has. Pure.

Buildpacks note the diff_ids of all their layers (`io.buildpacks.lifecycle.metadata`), ostree that of its
last one (`ostree.final-diffid`), others digests of blobs. What they mean is theirs: so no label is changed,
and those that a squash or a rebase leaves dangling are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from squashkit.oci.digests import chain_ids
from squashkit.oci.graph import Image, Layer, StoredLayer
from squashkit.oci.media import BASE_CHAIN, BASE_DIGEST, BASE_NAME, SOURCE_DIGEST
from squashkit.plan.base import labels_of

_HEX = re.compile(r"[0-9a-f]{64}")
_OWN = frozenset({BASE_CHAIN, BASE_DIGEST, BASE_NAME, SOURCE_DIGEST})
"""Annotations that squashkit sets."""


def dangling_names(image: Image, before: Iterable[Layer], after: Sequence[StoredLayer]) -> list[str]:
    """The labels and annotations of a result that name layers, by diff_id, chain_id or digest, which were
    there before and are not after."""
    gone = {digest for layer in before for digest in _digests(layer)}
    kept: set[str] = {layer.diff_id for layer in after} | {layer.digest for layer in after}
    kept.update(chain_ids([layer.diff_id for layer in after]))
    lost = {digest.rpartition(":")[2] for digest in gone - kept}
    named: dict[str, None] = {}
    annotations = image.manifest.annotations if image.manifest is not None else {}
    for told in (labels_of(image.config), annotations):
        named |= dict.fromkeys(_naming(told, lost))
    return list(named)


def _digests(layer: Layer) -> list[str]:
    stored = [layer.descriptor.digest] if layer.descriptor is not None else []
    return [layer.diff_id, layer.chain_id, *stored]


def _naming(told: Mapping[str, Any], digests: set[str]) -> Iterable[str]:
    for key, value in told.items():
        if key not in _OWN and not digests.isdisjoint(_HEX.findall(f"{key} {value}")):
            yield key
