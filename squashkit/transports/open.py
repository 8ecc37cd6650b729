"""From references to sources, of every medium."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from squashkit.amounts import some
from squashkit.errors import InvalidImage, TransportError, show_text
from squashkit.oci.documents import ALL, PlatformChoice
from squashkit.oci.graph import LayerGraph
from squashkit.transports.archive import docker as docker_archive
from squashkit.transports.archive.reader import Archive, open_archive
from squashkit.transports.blobs import Blob, Container
from squashkit.transports.layout import index as layout
from squashkit.transports.layout.folder import Folder
from squashkit.transports.layout.index import Faults, Listing
from squashkit.transports.reference import ARCHIVES, STORES, Reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source, machine_platform


def open_source(
    session: Session,
    reference: Reference,
    platform: PlatformChoice | None = ALL,
    faults: Faults | None = None,
) -> Source:
    """Open what a reference names until the session ends, and list its images. Of a registry's index only
    the images for `platform` (None: this machine's) are looked at, where it has such.

    Raises TransportError where it cannot be read, InvalidImage where it holds no images, TooLarge. With
    `faults`, what is wrong with single images goes there, and the others are listed.
    """
    if reference.transport in STORES:
        source = _from_store(session, reference)
    else:
        source = list_source(reference, _open(session, reference, platform), faults)
    session.sources.append(source)
    return source


def open_base(session: Session, reference: Reference, platform: PlatformChoice | None = ALL) -> Source:
    """As `open_source`, for an image whose layers' bytes nobody will ask for: a store tells enough of it
    without giving it."""
    if reference.transport not in STORES:
        return open_source(session, reference, platform)
    from squashkit.transports.stores.open import open_store
    from squashkit.transports.stores.store import bare_image

    store = session.keep(open_store(reference))
    found = store.inspect(reference.path)
    images = [bare_image(found)]
    source = Source(reference, _Nothing(), images, Listing(), LayerGraph(images), True, None, store, found)
    session.sources.append(source)
    return source


def _open(session: Session, reference: Reference, platform: PlatformChoice | None) -> Container:
    if (name := reference.in_registry) is not None:
        from squashkit.transports.registry.source import RegistryImages

        wanted = None if platform == ALL else platform or machine_platform()
        images = RegistryImages(name, session.registries, session.room, wanted)
        return session.keep(closing(images))
    return session.keep(closing(_open_file(session, reference)))


def _from_store(session: Session, reference: Reference) -> Source:
    from squashkit.transports.stores.open import open_store

    store = session.keep(open_store(reference))
    found = store.inspect(reference.path)
    session.progress.stage(f"Reading from {store.title}", None)  # it does not say how much will come
    container = session.keep(closing(store.save(found, session.room, session.progress.advance)))
    source = list_source(reference, container)
    source.store, source.in_store = store, found
    return source


def _open_file(session: Session, reference: Reference) -> Archive | Folder:
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
        session.progress.stage("Reading standard input", None)
    return open_archive(reference.path, session.room, session.progress.advance)


def list_source(reference: Reference, container: Container, faults: Faults | None = None) -> Source:
    """What lies in an open container. Raises, and collects, as `open_source` does."""
    source = Source(reference, container, [], Listing(), LayerGraph(), False)
    has_manifest = container.has(docker_archive.MANIFEST)
    has_index = container.has(layout.INDEX)
    is_folder = isinstance(container, Folder)
    wants_docker = reference.transport == "docker-archive"
    wants_oci = reference.transport in ("oci", "oci-archive")
    is_docker = has_manifest and not is_folder and not wants_oci
    if (wants_docker and not has_manifest) or (wants_oci and not has_index):
        missing = docker_archive.MANIFEST if wants_docker else layout.INDEX
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
    source.listing = layout.list_images(container, source.title, faults) if has_index else Listing()
    docker = docker_archive.list_images(container, source.title, faults) if is_docker else []
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
