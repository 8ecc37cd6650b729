"""An image of a registry as a container: its documents make it a layout, whose blobs are fetched when they
are asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from squashkit.errors import ImageNotFound, InvalidImage
from squashkit.oci.digests import Digest, is_digest, sha256
from squashkit.oci.documents import Descriptor, Manifest, Platform, dump_json, parse_index
from squashkit.oci.gojson import load_json
from squashkit.oci.media import CONTAINERD_NAME, INDEX_TYPES, MANIFEST_TYPES, SCHEMA_1
from squashkit.oci.names import ImageName
from squashkit.transports.blobs import Blob, Remote, fill_blocks, open_unnamed, write_all
from squashkit.transports.layout.index import INDEX, blob_name, index_json, is_attestation
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.repository import Repository
from squashkit.transports.room import Room

_BLOBS = "blobs/sha256/"


class RegistryImages(Remote):
    """What a name means in a registry, an index with all its images included.

    With a platform, what an index states of others is not looked at.
    """

    def __init__(
        self,
        name: ImageName,
        registries: Registries,
        tmp_dir: Room,
        platform: Platform | None = None,
    ) -> None:
        self.name = name
        self.registry = registries.get(name)
        self.repository = Repository(self.registry, name.repository)
        self._tmp_dir = tmp_dir
        self._platform = platform
        self._documents: dict[Digest, bytes] = {}
        self._sizes: dict[Digest, int] = {}
        self._manifests: set[Digest] = set()
        self._configs: set[Digest] = set()
        self._blobs: dict[str, Blob] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._index = self._begin()

    def _begin(self) -> bytes:
        data, media_type = self.repository.manifest(self.name.reference)
        if media_type not in INDEX_TYPES | MANIFEST_TYPES:
            stated = load_json(data, "manifest")
            values = stated if isinstance(stated, dict) else {}
            is_old = media_type in SCHEMA_1 or values.get("schemaVersion") == 1
            media_type = str(values.get("mediaType") or (min(SCHEMA_1) if is_old else ""))
        names = {} if self.name.digest else {CONTAINERD_NAME: str(self.name)}
        self.root = sha256(data)
        root = Descriptor(media_type, self.root, len(data), names)
        self._take(root, data)
        return dump_json(index_json([root.json()], None))

    def _take(self, descriptor: Descriptor, data: bytes) -> None:
        """Remember a document, and what it says of others."""
        self._documents[descriptor.digest] = data
        value = load_json(data, "manifest")
        if not isinstance(value, dict):
            return
        if "manifests" in value:
            named = parse_index(data, "index").manifests
            found = any(self._is_wanted(d) for d in named if not is_attestation(d))
            for below in [d for d in named if self._is_wanted(d)] if found else named:
                if not is_digest(below.digest):
                    continue
                self._manifests.add(below.digest)
                self._sizes[below.digest] = below.size
        elif "layers" in value and value.get("schemaVersion") == 2:
            manifest = Manifest.parse(data, "manifest", descriptor.media_type)
            self._configs.add(manifest.config.digest)
            for blob in (manifest.config, *manifest.layers):
                if not blob.is_foreign or self.repository.has(blob.digest, blob.size):
                    self._sizes[blob.digest] = blob.size

    def _is_wanted(self, descriptor: Descriptor) -> bool:
        stated = descriptor.platform
        if self._platform is None or is_attestation(descriptor):
            return True
        return stated is not None and stated.matches(self._platform)

    def has(self, name: str) -> bool:
        return name == INDEX or self._digest(name) in self._sizes

    def read(self, name: str) -> bytes | None:
        if name == INDEX:
            return self._index
        digest = self._digest(name)
        if digest is None:
            return None
        if digest not in self._documents:
            if digest not in self._sizes:  # of an index, and for another platform
                return None
            if digest in self._manifests:
                try:
                    data, media_type = self.repository.manifest(digest)
                except ImageNotFound:  # an index may name what is not there
                    return None
                self._take(Descriptor(media_type, digest, len(data)), data)
            else:
                found = self.repository.document(digest)
                if found is None and digest in self._configs:
                    raise InvalidImage(self.repository.lacks(digest), where="config")
                if found is None:
                    return None
                self._documents[digest] = found
        return self._documents[digest]

    def get(self, name: str) -> Blob | None:
        digest = self._digest(name)
        if digest is None or digest not in self._sizes:
            return None
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._blobs:
                self._blobs[name] = self._fetch(digest)
        return self._blobs[name]

    def _fetch(self, digest: Digest) -> Blob:
        size = self._sizes[digest]
        self._tmp_dir.keep(size, f"the blob {digest}")
        fd = open_unnamed(self._tmp_dir.folder)
        try:
            for piece in self.repository.blob(digest, size, threading.Event()):
                write_all(fd, piece)
        except BaseException:
            os.close(fd)
            self._tmp_dir.give_back(size)
            raise
        return Blob(fd, 0, size)

    def is_here(self, name: str) -> bool:
        return name in self._blobs

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        digest = self._digest(name)
        if digest is None or digest not in self._sizes:
            raise InvalidImage("no such blob", where=name)
        return fill_blocks(self.repository.blob(digest, self._sizes[digest], cancelled))

    def interrupt(self) -> None:
        self.registry.interrupt()

    def resume(self) -> None:
        self.registry.resume()

    def names(self) -> list[str]:
        return [blob_name(digest) for digest in self._documents]

    def close(self) -> None:
        for blob in self._blobs.values():
            os.close(blob.fd)
            self._tmp_dir.give_back(blob.size)
        self._blobs.clear()

    @staticmethod
    def _digest(name: str) -> Digest | None:
        return Digest("sha256:" + name.removeprefix(_BLOBS)) if name.startswith(_BLOBS) else None
