"""A place that keeps nothing: for whoever wants the digests alone."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.oci.digests import Digest, sha256
from squashkit.transports.contracts import Check, Loading, Slot, Written
from squashkit.transports.room import Room


class Nowhere:
    """A sink that has all blobs whose digests are stated, and drops all others."""

    parallel = True
    title = "nowhere"
    room: Room | None = None
    loading: Loading | None = None
    notes: Sequence[str] = ()

    def has(self, digest: Digest, size: int) -> bool:
        return True

    def verify(self, digest: Digest) -> None:
        pass

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        return _Hole()

    def manifest(self, media_type: str, data: bytes) -> Digest:
        return sha256(data)

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        pass

    def close(self) -> None:
        pass


class _Hole:
    """Takes a blob, and drops it."""

    def write(self, data: bytes | memoryview) -> None:
        pass

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        pass

    def discard(self) -> None:
        pass
