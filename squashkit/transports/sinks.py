"""From targets to sinks, of every medium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from squashkit.errors import TransportError
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Image, Layer
from squashkit.transports.archive.sink import ArchiveFile, Pipe, check_free
from squashkit.transports.contracts import Sink
from squashkit.transports.layout.sink import Layout, lost_in_layout
from squashkit.transports.reference import REGISTRY, STORES
from squashkit.transports.session import Session
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target


def open_sink(
    session: Session,
    target: Target,
    guard: TagGuard,
    images: Sequence[Image],
    kept: Sequence[Layer],
    lent: Mapping[Digest, str] | None = None,
) -> Sink:
    """Where these images go, open until the session ends; a pipe that nobody reads is waited for until the
    session is cancelled. A store need not be sent those of the `kept` layers of a single image that it has.
    `lent` are blobs that other repositories of the registry have.

    Raises UsageError where something is there that must not be overwritten, TransportError where nobody
    answers.
    """
    return session.keep(closing(_sink(session, target, guard, images, kept, lent or {})))


def _sink(
    session: Session,
    target: Target,
    guard: TagGuard,
    images: Sequence[Image],
    kept: Sequence[Layer],
    lent: Mapping[Digest, str],
) -> Sink:
    place = target.place
    if place.transport in STORES:
        from squashkit.transports.stores.open import open_store
        from squashkit.transports.stores.sink import StoreSink, held_blobs, refuse_platforms

        store = session.keep(open_store(place))
        refuse_platforms(store, target)
        held = held_blobs(session.sources, place.transport, kept, by_chain=store.is_classic())
        return StoreSink(store, session.room, held, session.progress.advance, guard)
    if place.transport == REGISTRY:
        from squashkit.transports.registry.sink import RegistrySink, mountable

        return RegistrySink(session, target, guard, {**lent, **mountable(target, images)})
    docker = target.format == "docker"
    if place.is_stdio:
        return Pipe(session.room, docker=docker, cancelled=session.cancelled)
    path = Path(place.path)
    room = session.room.at(path)
    if target.is_layout:
        return Layout(path, force=target.force, tags=target.tags, guard=guard, room=room)
    return ArchiveFile(path, docker=docker, force=target.force, room=room)


def claim(session: Session, target: Target) -> None:
    """For work that reads much before it opens a sink: raises Unauthorized now where it must not write."""
    if target.writes and target.in_registry is not None:
        from squashkit.transports.registry.sink import claim_repository

        claim_repository(session, target.in_registry)


def try_sink(session: Session, target: Target, guard: TagGuard) -> list[str]:
    """What `open_sink` would refuse, without writing anything, and what it would say of tags that lose
    platforms. A daemon or a registry that does not answer is not asked twice: a dry run is of the
    images."""
    if target.reference is None:
        return []
    if target.is_path and not target.is_layout:
        check_free(Path(target.reference.path), force=target.force)
    with suppress(TransportError):
        if target.reference.transport in STORES:
            from squashkit.transports.stores.open import open_store
            from squashkit.transports.stores.sink import lost_in_store, refuse_platforms

            with open_store(target.reference) as store:
                refuse_platforms(store, target)
                return lost_in_store(store, guard)
        if target.is_registry:
            from squashkit.transports.registry.sink import lost_in_registry

            return lost_in_registry(session, target, guard)
        if target.is_path and target.is_layout:
            return lost_in_layout(Path(target.reference.path), target.tags, guard)
    return []
