"""From references to images: `open_source` opens what a reference names and lists the images in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from squashkit.amounts import some
from squashkit.errors import InvalidImage, TransportError, UsageError, show_path, show_text
from squashkit.oci.digests import Digest
from squashkit.oci.documents import ALL, Platform, PlatformChoice
from squashkit.oci.graph import Image, Layer, LayerGraph
from squashkit.oci.media import Codec
from squashkit.progress import Progress, Silent
from squashkit.transports.archive import docker as docker_archive
from squashkit.transports.blobs import (
    Archive,
    Blob,
    Container,
    Folder,
    open_archive,
    read_blocks,
)
from squashkit.transports.layout import index as oci_layout
from squashkit.transports.layout.index import Faults, Listing
from squashkit.transports.reference import ARCHIVES, STORES, Reference
from squashkit.transports.registry.access import Registries, Remote
from squashkit.transports.room import Room, as_room
from squashkit.transports.stores.store import Store, StoredImage, bare_image, open_store


@dataclass(slots=True)
class Source:
    """An open container and the images in it."""

    reference: Reference
    container: Container
    images: list[Image]
    listing: Listing
    graph: LayerGraph
    is_docker: bool
    """Whether it has a manifest.json, and so is a docker archive."""
    folder: Path | None = None
    """The layout's folder, where it is one."""
    store: Store | None = None
    """The store that it was read from, where it was."""
    in_store: StoredImage | None = None
    """What that store says of the image."""
    remote: Remote | None = field(init=False)
    """The container, where its blobs lie elsewhere and are fetched when they are asked for."""

    def __post_init__(self) -> None:
        self.remote = self.container if isinstance(self.container, Remote) else None

    @property
    def title(self) -> str:
        if self.reference.is_stdio:
            return "standard input"
        if self.reference.is_file:
            return show_path(os.fsencode(self.reference.path))
        return str(self.reference)

    @property
    def example(self) -> str:
        """A reference to one of its images, as a person would type it."""
        return "docker-archive:-:REF" if self.reference.is_stdio else f"{self.title}:REF"

    @property
    def root(self) -> Digest | None:
        """The digest of what its reference means in a registry: of a manifest or an index."""
        return self.remote.root if self.remote is not None else None

    def is_file(self, there: os.stat_result) -> bool:
        """Whether this is the very file that it was opened from."""
        identity = getattr(self.container, "identity", None)
        return bool(identity == (there.st_dev, there.st_ino))

    def refuse_as_output(self, path: Path) -> None:
        """Raises UsageError where a path is this source, or lies within it: inputs are never written to."""
        if path.is_file() and self.is_file(path.stat()):
            raise UsageError(f"the output {path} is {self.title}, an input, which is never written to")
        if self.folder is not None:
            folder = self.folder.resolve()
            if folder in path.absolute().parents or folder in path.resolve().parents:
                raise UsageError(f"the output {path} lies within {self.title}, which is an input")

    def is_here(self, layer: Layer) -> bool:
        """Whether a layer's bytes are at hand, and need not be fetched."""
        if layer.member is None:
            return False
        return self.remote is None or self.remote.is_here(layer.member)

    def codec(self, layer: Layer) -> Codec:
        """How a layer is stored: by its first bytes, or where the blob is not at hand by its descriptor.
        Raises InvalidImage where there is neither."""
        if layer.descriptor is not None and not self.is_here(layer):
            return layer.descriptor.codec
        return self.blob(layer).codec()

    def digest(self, layer: Layer) -> Digest:
        """A blob's digest, as it is stated; a plain layer's is its diff_id. Empty where it is not known."""
        if layer.descriptor is not None:
            return layer.descriptor.digest
        return Digest(layer.diff_id if self.codec(layer) is Codec.NONE else "")

    def size(self, layer: Layer) -> int:
        """Bytes of a layer's blob, as they are stated, or as it lies here."""
        return layer.descriptor.size if layer.descriptor is not None else self.blob(layer).size

    def blob(self, layer: Layer) -> Blob:
        """Where a layer's blob lies; one that is elsewhere is fetched. Raises InvalidImage where it is not
        there."""
        blob = self.container.get(layer.member) if layer.member is not None else None
        if blob is None:
            digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
            raise InvalidImage(f"the blob {digest} is not in {self.title}", where=f"layer {layer.index}")
        return blob

    def blocks(self, layer: Layer, cancelled: threading.Event) -> Iterator[memoryview]:
        """A layer's stored bytes, in order. What lies elsewhere is not kept, and verified as it comes.

        Raises DigestMismatch where it ends early, TransportError where it cannot be fetched.
        """
        if self.remote is not None and layer.member is not None and not self.is_here(layer):
            return self.remote.blocks(layer.member, cancelled)
        return read_blocks(self.blob(layer), cancelled, layer.where)


def machine_platform() -> Platform:
    """This machine's platform; images are Linux's whatever the machine is."""
    names = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
    machine = os.uname().machine.lower()
    return Platform("linux", names.get(machine, machine), "v7" if machine == "armv7l" else "")


def temporary_folder(wanted: Path | None) -> Path:
    """Where temporary files go: where they are asked for, else the system's folder for them."""
    if wanted is not None and not wanted.is_dir():
        raise UsageError(f"--tmp-dir {wanted} is no folder")
    return wanted or Path(gettempdir())


@contextmanager
def open_source(
    reference: Reference,
    tmp_dir: Path | Room,
    progress: Progress | None = None,
    faults: Faults | None = None,
    registries: Registries | None = None,
    platform: PlatformChoice | None = ALL,
) -> Iterator[Source]:
    """Open what a reference names, and list its images. Of a registry's index only the images for
    `platform` (None: this machine's) are looked at, where it has such. In a mere folder for temporary
    files these may take what is free there.

    Raises TransportError where it cannot be read, InvalidImage where it holds no images, TooLarge. With
    `faults`, what is wrong with single images goes there, and the others are listed.
    """
    progress = progress or Silent()
    tmp_dir = as_room(tmp_dir)
    if reference.transport in STORES:
        with _from_store(reference, tmp_dir, progress) as source:
            yield source
        return
    container: Container
    if (name := reference.in_registry) is not None:
        from squashkit.transports.registry.source import RegistryImages

        wanted = None if platform == ALL else platform or machine_platform()
        container = RegistryImages(name, registries or Registries(), tmp_dir, wanted)
    else:
        container = _open_file(reference, tmp_dir, progress)
    try:
        yield list_source(reference, container, faults)
    finally:
        container.close()


@contextmanager
def open_base(
    reference: Reference,
    tmp_dir: Path | Room,
    registries: Registries | None = None,
    platform: PlatformChoice | None = ALL,
) -> Iterator[Source]:
    """As `open_source`, for an image whose layers' bytes nobody will ask for: a store tells enough of it
    without giving it."""
    if reference.transport not in STORES:
        with open_source(reference, tmp_dir, registries=registries, platform=platform) as source:
            yield source
        return
    with open_store(reference) as store:
        found = store.inspect(reference.path)
        images = [bare_image(found)]
        yield Source(reference, _Nothing(), images, Listing(), LayerGraph(images), True, None, store, found)


@contextmanager
def _from_store(reference: Reference, tmp_dir: Room, progress: Progress) -> Iterator[Source]:
    with open_store(reference) as store:
        found = store.inspect(reference.path)
        progress.stage(f"Reading from {store.title}", None)  # it does not say how much will come
        container = store.save(found, tmp_dir, progress.advance)
        try:
            source = list_source(reference, container)
            source.store, source.in_store = store, found
            yield source
        finally:
            container.close()


def _open_file(reference: Reference, tmp_dir: Room, progress: Progress) -> Archive | Folder:
    path = Path(reference.path)
    if not reference.is_stdio and os.path.isdir(path):
        if reference.transport not in ("", "oci"):
            raise TransportError(
                f"{path} is a folder; {reference.transport} is a file", reference=str(reference)
            )
        return Folder(path)
    if reference.transport == "oci":
        what = "is a file, not an OCI layout folder" if os.path.exists(path) else "does not exist"
        raise TransportError(f"{path} {what}", reference=str(reference))
    if reference.is_stdio:
        progress.stage("Reading standard input", None)
    return open_archive(reference.path, tmp_dir, progress.advance)


def list_source(reference: Reference, container: Container, faults: Faults | None = None) -> Source:
    """What lies in an open container. Raises, and collects, as `open_source` does."""
    source = Source(reference, container, [], Listing(), LayerGraph(), False)
    has_manifest = container.has(docker_archive.MANIFEST)
    has_index = container.has(oci_layout.INDEX)
    is_folder = isinstance(container, Folder)
    wants_docker = reference.transport == "docker-archive"
    wants_oci = reference.transport in ("oci", "oci-archive")
    is_docker = has_manifest and not is_folder and not wants_oci
    if (wants_docker and not has_manifest) or (wants_oci and not has_index):
        missing = docker_archive.MANIFEST if wants_docker else oci_layout.INDEX
        raise InvalidImage(
            f"not what {reference.transport}: promises; it has no {missing}", where=source.title
        )
    if not is_docker and not has_index:
        names = container.names() if not is_folder else ()  # what lies below a folder may be anything
        inner = [name for name in names if name.endswith(ARCHIVES)]
        within = f"; it holds {some(list(map(show_text, inner)), 3)}: unpack that" if inner else ""
        raise InvalidImage(
            "no image archive: it has neither manifest.json nor index.json"
            f" (`docker save` writes one, `docker export` does not){within}",
            where=source.title,
        )
    source.listing = oci_layout.list_images(container, faults) if has_index else Listing()
    docker = docker_archive.list_images(container, faults) if is_docker else []
    source.images = docker_archive.merge(docker, source.listing)
    source.graph = LayerGraph(source.images)
    source.is_docker = is_docker
    source.folder = container.path if isinstance(container, Folder) else None
    return source


@dataclass(frozen=True, slots=True)
class _Nothing:
    """A container without anything: of a base that was only inspected."""

    def has(self, name: str) -> bool:
        return False

    def get(self, name: str) -> Blob | None:
        return None

    def read(self, name: str) -> bytes | None:
        return None

    def names(self) -> list[str]:
        return []

    def close(self) -> None:
        pass
