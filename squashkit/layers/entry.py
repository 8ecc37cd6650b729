"""One member of a layer: where it goes, and the record that says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from squashkit.errors import InvalidLayer
from squashkit.layers.record import HARD_LINK, Record


class Entry(NamedTuple):
    """One member of a changeset: where it goes, and the record that says what it is."""

    path: bytes
    record: Record


def normalise(name: bytes) -> bytes:
    """A member's name as a path inside the root, cleaned as docker and podman do before they look at
    anything (Go's path.Clean): `..` takes the name before it away. An absolute name counts from the root.

    Raises InvalidLayer for a relative name that leads out of the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts and not name.startswith(b"/"):
                raise InvalidLayer("it leads out of the root", path=name)
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def link_target(entry: Entry) -> bytes:
    """The path that a hard link names. Raises InvalidLayer where it leads out of the root."""
    return normalise(entry.record.linkname.lstrip(b"/"))


def directories_above(path: bytes) -> Iterator[bytes]:
    """The directories above a path, from the top, without the root."""
    at = path.find(b"/")
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def is_hard_link(entry: Entry) -> bool:
    return entry.record.typeflag == HARD_LINK
