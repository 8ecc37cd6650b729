"""What waste is told in: dead files, findings among those that live, and mends. Sizes are bytes.

Paths are bytes, relative to the root, without a slash at the start; layers are counted from the base.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from squashkit.values import frozen


class Cause(Enum):
    """Why a file is dead. The first that holds."""

    ATTRIBUTES = "attributes"
    """The layer that killed it has the same content at its path, with another mode, owner or xattrs."""
    IDENTICAL = "identical"
    """The same, and these are equal, too."""
    MOVED = "moved"
    """That layer has the same content as a new file at another path."""
    OVERWRITTEN = "overwritten"
    """Something else is at its path."""
    DELETED = "deleted"
    """Nothing is there."""


class DeadFile(NamedTuple):
    """A file whose content a layer holds and the root file system does not."""

    path: bytes
    """Of the entry that carries the content."""
    size: int
    """Of the payload, as it is stored in the tar."""
    length: int
    """Of the payload with its headers and padding."""
    layer: int
    killed_by: int
    """The layer that took its last name; its own, where that has the path twice."""
    cause: Cause
    changed: tuple[str, ...] = ()
    """Of ATTRIBUTES: `mode`, `owner`, `xattrs`."""
    moved_to: bytes | None = None
    mode: int | None = None
    """Of ATTRIBUTES: what the file has after it."""
    owner: tuple[int, int] | None = None
    """The same: user and group."""


class LiveFile(NamedTuple):
    """A file of the root file system: one inode, counted once."""

    path: bytes
    """Of the entry that carries the content, or of a name that is left."""
    size: int
    """Of the payload, as it is stored in the tar."""
    length: int
    """Of the payload with its headers and padding."""
    layer: int
    """That holds the content."""
    others: tuple[bytes, ...] = ()
    """Its further names."""


class Kind(Enum):
    """What a mend does."""

    JOIN = "join"
    CHOWN = "chown"
    CHMOD = "chmod"
    CACHE_MOUNT = "cache-mount"
    MULTI_STAGE = "multi-stage"
    NO_RECOMMENDS = "no-recommends"
    REMOVE = "remove"
    IGNORE = "ignore"


@frozen
class Finding:
    """What one rule found in one layer, among files of the root file system."""

    rule: str
    size: int
    layer: int
    paths: tuple[bytes, ...]
    """The largest first."""
    reason: str
    """Why it is not needed, as a sentence."""
    mend: str
    """What to write instead, as a sentence."""
    kind: Kind
    """Of the mend."""


@frozen
class Step:
    """A step of the build that made a layer, as the image's history tells it."""

    layer: int
    created_by: str
    """Verbatim; empty where nothing tells it."""
    in_base: bool


@frozen
class Mend:
    """A change to the Dockerfile that avoids waste."""

    kind: Kind
    layers: tuple[int, ...]
    """Those that it is about."""
    size: int | None
    """What it saves; None where that is not promised."""
    text: str
    line: int | None = None
    """In the Dockerfile, where one was given."""
    diff: str | None = None
    """A unified diff that `patch` applies, where one can be told."""
