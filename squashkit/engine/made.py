"""Layers that a job makes before anything is planned: they lie in files without names, as if they had been
read from somewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import closing

from squashkit.oci.digests import ChainID, DiffID, Digest
from squashkit.oci.graph import Layer
from squashkit.transports.blobs import Blob, Container, open_unnamed, write_all
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob


class _Made(Container):
    """One blob, whatever it is called: there is no other."""

    def __init__(self, fd: int) -> None:
        self.blob = Blob(fd, 0, 0)

    def has(self, name: str) -> bool:
        return True

    def get(self, name: str) -> Blob | None:
        return self.blob

    def read(self, name: str) -> bytes | None:
        return None

    def names(self) -> Iterable[str]:
        return []

    def close(self) -> None:
        os.close(self.blob.fd)


def made_layer(session: Session, blocks: Iterable[memoryview], created_by: str) -> Layer:
    """A layer of these bytes, a plain tar, which can be read until the session ends; on nothing yet. Raises
    TooLarge, and what getting the bytes raises."""
    fd = open_unnamed(session.room.folder)
    container = session.keep(closing(_Made(fd)))
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        session.room.keep(len(block), "a layer that is new")
        write_all(fd, block)
        digest.update(block)
        size += len(block)
    diff_id = DiffID(Digest(f"sha256:{digest.hexdigest()}"))
    container.blob = Blob(fd, 0, size)
    blobs = (StoredBlob(container, diff_id),)
    return Layer(0, diff_id, ChainID(diff_id), None, blobs, None, created_by, "what was merged")
