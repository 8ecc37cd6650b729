"""Blobs of one repository by their digests alone: for whoever knows from before what they are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from squashkit.errors import InvalidImage
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.names import ImageName
from squashkit.transports.blobs import Blob, Remote, fill_blocks
from squashkit.transports.layout.index import blob_name
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.repository import Repository
from squashkit.transports.stored import StoredBlob


class RegistryBlobs(Remote):
    """Blobs that are read as they come, and not kept. No manifest is asked for."""

    def __init__(self, name: ImageName, registries: Registries) -> None:
        self._registry = registries.get(name)
        self._repository = Repository(self._registry, name.repository)
        self._known: dict[str, Descriptor] = {}

    def blob(self, descriptor: Descriptor) -> StoredBlob:
        """A blob that this describes."""
        name = blob_name(descriptor.digest)
        self._known[name] = descriptor
        return StoredBlob(self, name, descriptor)

    def has(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes | None:
        return None

    def get(self, name: str) -> Blob | None:
        raise InvalidImage("only the layers themselves are read", where=name)

    def is_here(self, name: str) -> bool:
        return False

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        known = self._known[name]
        return fill_blocks(self._repository.blob(Digest(known.digest), known.size, cancelled))

    def interrupt(self) -> None:
        self._registry.interrupt()

    def resume(self) -> None:
        self._registry.resume()

    def names(self) -> Iterable[str]:
        return self._known

    def close(self) -> None:
        self._known.clear()
