"""Layers that a job makes before anything is planned: they lie in files without names, as if they had been
read from somewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from squashkit.oci.digests import ChainID, DiffID, sha256
from squashkit.oci.graph import Layer
from squashkit.transports.blobs import Blob, Container, open_unnamed, write_all
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob


@dataclass(frozen=True, eq=False)
class _Made(Container):
    """One blob, by the digest of what it holds."""

    name: str
    blob: Blob

    def has(self, name: str) -> bool:
        return name == self.name

    def get(self, name: str) -> Blob | None:
        return self.blob if name == self.name else None

    def read(self, name: str) -> bytes | None:
        return None

    def names(self) -> Iterable[str]:
        return [self.name]

    def close(self) -> None:
        os.close(self.blob.fd)


def made_layer(session: Session, data: bytes, created_by: str) -> Layer:
    """A layer of these bytes, a plain tar, which can be read until the session ends; on nothing yet. Raises
    TooLarge."""
    session.room.keep(len(data), "a layer that is new")
    fd = open_unnamed(session.room.folder)
    write_all(fd, data)
    diff_id = DiffID(sha256(data))
    container = session.keep(closing(_Made(diff_id, Blob(fd, 0, len(data)))))
    blobs = (StoredBlob(container, diff_id),)
    return Layer(0, diff_id, ChainID(diff_id), None, blobs, None, created_by, "what was merged")
