"""The other side: what is known of the layers of a host, or a place, that a delta is for."""

from __future__ import annotations

from collections.abc import Mapping

from squashkit.oci.digests import Digest
from squashkit.oci.have import Have
from squashkit.transports.stored import StoredBlob
from squashkit.values import frozen


@frozen
class OtherSide:
    """What the other side has, and where that can be read here."""

    title: str
    """How people call what tells it."""
    have: Have
    blobs: Mapping[Digest, StoredBlob]
    """Those of its layers' blobs whose bytes can be read. A have-list has none."""
    is_host: bool
    """Whether what tells it is the very place that keeps the layers, or its have-list."""
