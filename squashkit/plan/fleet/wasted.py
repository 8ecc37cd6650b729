"""What of a fleet's layers no image shows, and what they hold more than once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from squashkit.oci.digests import ChainID, DiffID
from squashkit.values import frozen


class DeadFile(NamedTuple):
    """A file that a layer holds, and no image that has the layer shows."""

    path: bytes
    size: int
    layer: ChainID
    """The layer that holds it."""
    killed_by: ChainID
    """One that deletes or replaces it."""


@frozen
class Wasted:
    """Bytes of files in the different layers of a fleet, by the layers on their parents."""

    content: Mapping[ChainID, int]
    dead: Mapping[ChainID, int]
    """Of files that no image shows."""
    twice: Mapping[DiffID, int] | None
    """Of files that live, and of which another layer, or the same one, has the content, too; the first of
    each content not counted. None where contents are not known."""
    files: tuple[DeadFile, ...]
    """Dead files, those first that are largest."""
