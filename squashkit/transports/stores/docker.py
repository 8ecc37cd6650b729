"""The docker daemon, or whatever answers docker's API (`podman system service` does)."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import docker.errors
import requests
from docker.utils import version_lt
from urllib3.exceptions import HTTPError

from squashkit.amounts import together
from squashkit.errors import (
    InvalidImage,
    TransportError,
    Unavailable,
    gist_of,
    show_text,
)
from squashkit.oci.digests import DiffID, Digest, is_digest, parse_digest
from squashkit.oci.documents import Platform
from squashkit.oci.gojson import check
from squashkit.oci.have import HeldLayer, Keeper
from squashkit.oci.names import ImageName, split_tag
from squashkit.transports.archive.reader import Archive, open_stream
from squashkit.transports.blobs import Blob, Container
from squashkit.transports.contracts import Written
from squashkit.transports.layout.index import blob_name, list_images
from squashkit.transports.reference import Reference
from squashkit.transports.room import Room
from squashkit.transports.stores.connection import open_client
from squashkit.transports.stores.store import (
    STORED_SHAPE,
    Count,
    StoredImage,
    by_chain,
    not_there,
    not_whole,
)

_PIECE = 1 << 20
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_TELLS_MANIFESTS = "1.48"
"""The version of the API from which on an image is told with its manifests."""
_PODMAN = "Podman Engine"
"""How podman calls itself where it answers docker's API."""
_DOCUMENT = 4 << 20
"""Bytes of the largest manifest or config that containerd takes, and so of what may be one."""
_LACKING = re.compile(r"content digest (sha256:[0-9a-f]{64}): not found")
"""How containerd says that it lacks a blob."""


@contextmanager
def connect(reference: Reference) -> Iterator[Daemon]:
    """The daemon that the docker client would talk to. Raises Unavailable where none answers."""
    with open_client(reference) as (client, title):
        yield Daemon(client, title)


class Daemon:
    """A daemon that answers."""

    def __init__(self, client: Any, title: str = "docker") -> None:
        self._client = client
        self._info: dict[str, Any] | None = None
        self.title = title

    def inspect(self, name: str) -> StoredImage:
        asked = name if is_digest(name) or "@" in name else ImageName.parse(name).familiar
        try:
            with self._told(f"inspect {name}"):
                found = self._inspect(asked) or (self._inspect(name) if asked != name else None)
                if found is None:
                    raise not_there(self.title, name, self.names())
        except docker.errors.ImageNotFound:
            raise not_there(self.title, name, self.names()) from None
        try:
            return self._stored(name, found)
        except (TypeError, ValueError, AttributeError) as error:
            raise Unavailable(
                f"{self.title} says of {name} what is not understood: {error}", reference=name
            ) from error

    def steps(self, image: StoredImage) -> list[str]:
        with self._told(f"tell the history of {image.asked}"):
            told = self._client.history(image.id)
        return [str(one.get("CreatedBy") or "") for one in reversed(told or ()) if isinstance(one, dict)]

    def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            found = self._client.inspect_image(name)
        except docker.errors.ImageNotFound:
            return None
        if not isinstance(found, dict):
            raise Unavailable(f"{self.title} says of {name} what is not understood", reference=name)
        return found

    def _stored(self, asked: str, found: dict[str, Any]) -> StoredImage:
        where = f"{asked} as {self.title} tells it"
        check(found, STORED_SHAPE, where)
        diff_ids = (found.get("RootFS") or {}).get("Layers") or []
        return StoredImage(
            asked=asked,
            id=_full_id(str(found.get("Id"))),
            names=tuple(found.get("RepoTags") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
            diff_ids=tuple(DiffID(parse_digest(d, f"{where}: RootFS.Layers")) for d in diff_ids),
            platform=Platform(
                str(found.get("Os") or ""),
                str(found.get("Architecture") or ""),
                str(found.get("Variant") or ""),
            ),
            size=int(found.get("Size") or 0),
            settings=found.get("Config") or {},
        )

    def names(self) -> list[str]:
        with self._told("list its images"):
            images = self._client.images()
        try:
            found = {tag for image in images for tag in image.get("RepoTags") or () if ":" in tag}
        except (TypeError, AttributeError):
            return []
        return sorted(tag for tag in found if not tag.startswith("<none>"))

    def platforms(self, name: str) -> list[Platform]:
        """containerd's image store has indexes, of which docker tells from API 1.47 on."""
        if self.is_classic():
            return []
        name = ImageName.parse(name).familiar
        with self._told(f"tell what {name} means"):
            url = self._client._url("/images/json")
            asked = {"manifests": "1", "filters": json.dumps({"reference": [name]})}
            listed = self._client._result(self._client._get(url, params=asked), True)
        found = []
        with suppress(TypeError, AttributeError):  # it is not understood, and so not known
            for image in listed:
                if name in (image.get("RepoTags") or ()):
                    found += [one for one in image.get("Manifests") or () if one.get("Available")]
            stated = [one["ImageData"]["Platform"] for one in found if one.get("Kind") == "image"]
            platforms = [
                Platform(str(p.get("os")), str(p.get("architecture")), str(p.get("variant") or ""))
                for p in stated
            ]
            return list(dict.fromkeys(platforms))
        return []

    def save(self, images: Sequence[StoredImage], tmp_dir: Room, progress: Count) -> Archive:
        asked = together([image.asked for image in images])

        def blocks() -> Iterator[bytes]:
            with self._saving(images) as response:
                for block in self._client._stream_raw_result(response, _PIECE, False):
                    progress(len(block))
                    yield block

        try:
            return open_stream(blocks(), tmp_dir, f"docker-daemon:{asked}")
        except Unavailable as error:
            _refuse_not_whole(self.title, images, error)
            raise

    def is_classic(self) -> bool:
        if self._info is None:
            with self._told("tell of itself"):
                self._info = self._client.info()
        return _SNAPSHOTTER not in json.dumps(self._info)

    def keeper(self) -> Keeper:
        if not self.is_classic():
            return Keeper.CONTAINERD
        with self._told("tell what it is"):
            version = json.dumps(self._client.version())
        return Keeper.PODMAN if _PODMAN in version else Keeper.GRAPHDRIVER

    def held(self, images: Sequence[StoredImage], progress: Count) -> list[HeldLayer]:
        """docker's own storage tells no blobs. Those of containerd's store docker tells only by giving an
        image with all its bytes: they pass, and only the documents are kept."""
        if self.is_classic():
            return by_chain(images, lambda diff_id: None)
        asked = together([image.asked for image in images])
        try:
            with self._saving(images) as response:
                documents = _Documents(_Counted(response.raw, progress), f"docker-daemon:{asked}")
        except Unavailable as error:
            _refuse_not_whole(self.title, images, error)
            raise
        # It gives out an image that is not whole, too; what is there of that is there.
        listed = list_images(documents, asked, faults=[]).images
        if not listed:
            raise not_whole(self.title, images, "what it saves is no image")
        layers = [layer for image in listed for layer in image.layers if layer.blobs]
        return [HeldLayer.of(layer, layer.descriptor.codec) for layer in layers if layer.descriptor]

    @contextmanager
    def _saving(self, images: Sequence[StoredImage]) -> Iterator[Any]:
        """The answer to the question for an archive of images."""
        url, names = self._client._url("/images/get"), [image.name for image in images]
        with (
            self._told(f"save {together([image.asked for image in images])}"),
            self._client._get(url, params={"names": names}, stream=True) as response,
        ):
            self._client._raise_for_status(response)
            yield response

    def is_whole(
        self, there: StoredImage, written: Written, left_out: Collection[Digest], progress: Count
    ) -> bool:
        """containerd's image store takes an archive without blobs that it lacks, too, and says nothing.

        From API 1.48 on docker tells whether all of a manifest's blobs are there. Before, what it saves
        shows it: the names of the blobs, up to the last one that is looked for.
        """
        if self.is_classic():
            return there.diff_ids == tuple(written.images[0].diff_ids)
        root = written.root.digest
        with self._told("tell what it has of the image"):
            if version_lt(self._client._version, _TELLS_MANIFESTS):
                return not left_out or self._saves(set(map(blob_name, left_out)), root, progress)
            url = self._client._url("/images/{0}/json", root)
            told = self._client._result(self._client._get(url, params={"manifests": "1"}), True)
            try:
                available = {one["Descriptor"]["digest"] for one in told["Manifests"] if one["Available"]}
            except (KeyError, TypeError) as error:
                raise Unavailable(
                    f"{self.title} says of {root} what is not understood", reference=self.title
                ) from error
        return available.issuperset(image.manifest.digest for image in written.images)

    def _saves(self, names: set[str], root: Digest, progress: Count) -> bool:
        url = self._client._url("/images/{0}/get", root)
        with self._client._get(url, stream=True) as response:
            self._client._raise_for_status(response)
            # A daemon that finds midway that it lacks a blob ends the archive there.
            with (
                suppress(tarfile.ReadError),
                tarfile.open(fileobj=_Counted(response.raw, progress), mode="r|") as archive,
            ):
                for member in archive:
                    names.discard(member.name)
                    if not names:
                        return True
        return False

    def load(self, archive: BinaryIO, progress: Count) -> None:
        def blocks() -> Iterator[bytes]:
            while block := archive.read(_PIECE):
                yield block
                progress(len(block))

        with self._told("load the image"):
            for line in self._client.load_image(blocks(), quiet=True) or ():
                if "error" in line:
                    raise Unavailable(
                        f"{self.title} refuses the image: {show_text(str(line['error']))}",
                        reference=self.title,
                    )

    def tag(self, image: str, name: str) -> None:
        repository, tag = split_tag(ImageName.parse(name).familiar)
        with self._told(f"tag {name}"):
            self._client.tag(image, repository, tag)

    def untag(self, name: str) -> None:
        with self._told(f"remove the tag {name}"):
            self._client.remove_image(ImageName.parse(name).familiar, noprune=True)

    def remove(self, image: str) -> None:
        with self._told("remove an image"), suppress(docker.errors.ImageNotFound):
            self._client.remove_image(image)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of the SDK and of its libraries as one clear line."""
        try:
            yield
        except (TransportError, InvalidImage):
            raise
        except docker.errors.ImageNotFound:
            raise
        except docker.errors.APIError as error:
            told = show_text(str(error.explanation or gist_of(error)))
            raise Unavailable(f"{self.title} does not {what}: {told}", reference=self.title) from error
        except (
            docker.errors.DockerException,
            requests.RequestException,
            HTTPError,
            ConnectionError,
        ) as error:
            raise Unavailable(
                f"{self.title} stopped while it was asked to {what}: {gist_of(error)}", reference=self.title
            ) from error


class _Counted(io.RawIOBase):
    """A stream that tells how much of it was read."""

    def __init__(self, stream: BinaryIO, progress: Count) -> None:
        self._stream = stream
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._progress(len(data))
        return data


class _Documents(Container):
    """The names of an archive that streams by, and of its members the small documents."""

    def __init__(self, stream: BinaryIO | io.RawIOBase, where: str) -> None:
        """Raises InvalidImage where the stream breaks off."""
        self._read: dict[str, bytes | None] = {}
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.size <= _DOCUMENT else None
                    data = file.read() if file is not None else b""
                    self._read[member.name] = data if data.startswith(b"{") else None
        except tarfile.TarError as error:
            raise InvalidImage(f"what docker saves breaks off: {error}", where=where) from error

    def has(self, name: str) -> bool:
        return name in self._read

    def get(self, name: str) -> Blob | None:
        return None

    def read(self, name: str) -> bytes | None:
        return self._read.get(name)

    def names(self) -> Iterable[str]:
        return self._read.keys()

    def close(self) -> None:
        self._read.clear()


def _refuse_not_whole(store: str, images: Sequence[StoredImage], error: Unavailable) -> None:
    """Raises ImageNotFound where an error of a store says that it lacks a blob of images."""
    if (lacking := _LACKING.search(error.message)) is not None:
        raise not_whole(store, images, f"the blob {lacking[1]} is not there") from error


def _full_id(text: str) -> str:
    """podman's API gives ids without their algorithm."""
    return text if ":" in text else f"sha256:{text}"
