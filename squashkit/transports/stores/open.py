"""From a reference to a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from squashkit.transports.reference import DAEMON, Reference
from squashkit.transports.stores.store import Store


@contextmanager
def open_store(reference: Reference) -> Iterator[Store]:
    """The store that a reference names. Raises Unavailable where it does not answer."""
    if reference.transport == DAEMON:
        from squashkit.transports.stores.docker import connect

        with connect(reference) as daemon:
            yield daemon
    else:
        from squashkit.transports.stores.podman import Podman

        yield Podman()
