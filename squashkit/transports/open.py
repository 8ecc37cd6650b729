"""From references to sources, of every medium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from squashkit.amounts import count, some
from squashkit.errors import ImageNotFound, InvalidImage, TransportError, UnsupportedImage, show_text
from squashkit.oci.digests import Digest
from squashkit.oci.documents import ALL, PlatformChoice
from squashkit.oci.graph import LayerGraph
from squashkit.transports.archive import docker as docker_archive
from squashkit.transports.archive.reader import Archive, open_archive
from squashkit.transports.blobs import Blob, Container
from squashkit.transports.layout import index as layout
from squashkit.transports.layout.folder import Folder
from squashkit.transports.layout.index import Faults, Listing, blob_name
from squashkit.transports.reference import ARCHIVES, STORES, Reference
from squashkit.transports.session import Session
from squashkit.transports.side_by_side import side_by_side
from squashkit.transports.source import Source, machine_platform
from squashkit.wording import Option

if TYPE_CHECKING:
    from squashkit.transports.stores.store import Store, StoredImage


def open_source(
    session: Session,
    reference: Reference,
    platform: PlatformChoice | None = ALL,
    faults: Faults | None = None,
    *,
    deltas: bool = False,
) -> Source:
    """Open what a reference names until the session ends, and list its images. Of a registry's index only
    the images for `platform` (None: this machine's) are looked at, where it has such.

    Raises TransportError where it cannot be read, InvalidImage where it holds no images, TooLarge, and
    UnsupportedImage for a delta unless `deltas` are taken. With `faults`, what is wrong with single images
    goes there, and the others are listed.
    """
    if reference in session.saved:
        source = session.saved[reference]
    elif reference.transport in STORES:
        source = _from_store(session, reference)
    else:
        source = list_source(reference, _open(session, reference, platform), faults)
    whole = all(image.is_whole for image in source.images)
    source.is_delta = source.listing.needs is not None and not whole
    if source.is_delta and not deltas:
        raise _is_delta(source)
    session.sources.append(source)
    return source


def _is_delta(source: Source) -> UnsupportedImage:
    """Why a delta is of no use alone."""
    lacking = {layer.diff_id for image in source.images for layer in image.layers if not layer.blobs}
    told = count(len(lacking), "layer")
    return UnsupportedImage(
        f"{source.title} is a delta: {told} stayed out of it that its host has; squash it with ",
        Option("Read.have", example="OLD"),
        ", an image that has them, to make it whole",
        what="delta",
    )


@contextmanager
def open_each(
    session: Session, references: Sequence[Reference], platform: PlatformChoice | None
) -> Iterator[Iterator[Callable[[], Source]]]:
    """As `open_source` for images of registries, several at a time. Gives for each in its turn what returns
    its source, or raises what opening it raised."""

    def listed(reference: Reference) -> Source:
        return list_source(reference, _open(session, reference, platform))

    def taken(opening: Future[Source]) -> Source:
        session.sources.append(source := opening.result())
        return source

    with side_by_side(session.registries, listed, references) as openings:
        yield (partial(taken, opening) for opening in openings)


def open_base(session: Session, reference: Reference, platform: PlatformChoice | None = ALL) -> Source:
    """As `open_source`, for an image whose layers' bytes nobody will ask for: a store tells enough of it
    without giving it."""
    if reference.transport not in STORES:
        return open_source(session, reference, platform)
    from squashkit.transports.stores.open import open_store
    from squashkit.transports.stores.store import bare_image, not_whole

    store = session.keep(open_store(reference))
    found = store.inspect(reference.path)
    if not found.diff_ids and not found.platform.os:
        raise not_whole(store.title, [found], "its config is not there")
    images = [bare_image(found, store.steps(found))]
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


def save_together(session: Session, references: Sequence[Reference]) -> None:
    """Let each store give all of its images among these in one archive, in which the layers that several
    have stand once. `open_source` finds them there.

    Where one is not there, or not all of it, whoever opens it is told. Raises Unavailable where a store
    does not answer.
    """
    for transport in STORES:
        wanted = [one for one in references if one.transport == transport]
        if len(wanted) > 1:
            _save_together(session, wanted)


def _save_together(session: Session, references: Sequence[Reference]) -> None:
    from squashkit.transports.stores.open import open_store

    store = session.keep(open_store(references[0]))
    found: list[tuple[Reference, StoredImage]] = []
    for reference in references:
        with suppress(ImageNotFound):
            found.append((reference, store.inspect(reference.path)))
    different = {image.id: image for _, image in reversed(found)}
    if len(found) < 2:
        return
    with suppress(ImageNotFound):
        archive = _save(session, store, list(reversed(different.values())))
        for reference, image in found:
            source = _list_saved(reference, store, image, archive)
            # What is kept by its config is known by that; whatever has another id is asked for alone.
            if store.is_classic():
                source.images = [one for one in source.images if one.image_id == image.id]
                source.graph = LayerGraph(source.images)
            if source.images:
                session.saved[reference] = source


def _from_store(session: Session, reference: Reference) -> Source:
    from squashkit.transports.stores.open import open_store

    store = session.keep(open_store(reference))
    image = store.inspect(reference.path)
    return _list_saved(reference, store, image, _save(session, store, [image]))


def _save(session: Session, store: Store, images: Sequence[StoredImage]) -> Archive:
    session.progress.stage(f"Reading from {store.title}", None)  # it does not say how much will come
    return session.keep(closing(store.save(images, session.room, session.progress.advance)))


def _list_saved(reference: Reference, store: Store, image: StoredImage, archive: Archive) -> Source:
    """What a store gave. containerd's image store has images by what stands in the archive's index. Raises
    ImageNotFound where blobs are not there."""
    from squashkit.transports.stores.store import not_whole

    source = list_source(reference, archive, root=None if store.is_classic() else Digest(image.id))
    source.store, source.in_store = store, image
    absent = [one.digest for one in source.listing.absent]
    if not source.images and (absent or source.listing == Listing()):
        digest = absent[0] if absent else image.id
        # docker leaves out all that a manifest names where it lacks one of that, and does not say which.
        some = f"a blob that its manifest {digest} names is not there"
        gone = f"the blob {digest} is not there"
        raise not_whole(store.title, [image], some if archive.has(blob_name(Digest(digest))) else gone)
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


def list_source(
    reference: Reference, container: Container, faults: Faults | None = None, root: Digest | None = None
) -> Source:
    """What lies in an open container; with `root` only what this entry of its index leads to. Raises, and
    collects, as `open_source` does."""
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
        if is_folder and reference.guessed:
            name = show_text(reference.path)
            raise InvalidImage(
                "a folder of this name is here, and no image layout (it has no index.json); an image of"
                f" docker is docker-daemon:{name}, one of podman containers-storage:{name}",
                where=source.title,
            )
        raise InvalidImage(
            "no image archive: it has neither manifest.json nor index.json"
            f" (`docker save` writes one, `docker export` does not){within}",
            where=source.title,
        )
    source.listing = layout.list_images(container, source.title, faults, root) if has_index else Listing()
    if root is not None:  # manifest.json may be of other images, and name blobs that are not there
        faults = []
    docker = docker_archive.list_images(container, source.title, faults) if is_docker else []
    if root is not None:
        listed = {image.identity for image in source.listing.images}
        docker = [image for image in docker if image.identity in listed]
    source.images = docker_archive.merge(docker, source.listing)
    source.graph = LayerGraph(source.images)
    source.is_docker = is_docker
    source.folder = container.path if isinstance(container, Folder) else None
    return source


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
