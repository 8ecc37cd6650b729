"""What lies in registries: how they are reached, and containers whose blobs are fetched when asked for."""

from __future__ import annotations

import threading
from dataclasses import field
from typing import TYPE_CHECKING

from squashkit.errors import Cancelled, Unavailable
from squashkit.oci.names import ImageName
from squashkit.options import Access, Limits
from squashkit.progress import Notify, ignore
from squashkit.transports.registry.limits import Gate
from squashkit.transports.registry.traffic import Traffic
from squashkit.values import mutable
from squashkit.wording import Text

if TYPE_CHECKING:
    from squashkit.transports.registry.credentials import CredentialSources
    from squashkit.transports.registry.http import Registry


@mutable
class Registries:
    """The registries of one piece of work: one connection to each, for each user of it. Safe to use from
    several threads."""

    access: Access = field(default_factory=Access)
    notify: Notify = ignore
    """Who hears of credentials that cannot be used, and of waiting for them."""
    limits: Limits = field(default_factory=Limits)
    """What all of them together may be asked for."""
    _open: dict[object, Registry] = field(default_factory=dict)
    _gate: Gate = field(init=False)
    _silent: dict[str, Text] = field(default_factory=dict, init=False)
    """Hosts that do not answer, and why: each is waited for once."""
    _sources: CredentialSources | None = field(default=None, init=False)
    """Where credentials are looked for, once a registry is asked."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    """One at a time looks for credentials, and is the first to reach a registry."""

    def __post_init__(self) -> None:
        self._gate = Gate(self.limits)

    def get(self, name: ImageName) -> Registry:
        """The registry of a repository. Raises Unavailable where it does not answer, UsageError where a
        file with credentials that was asked for cannot be read."""
        from squashkit.transports.registry.http import Registry

        with self._lock:
            if self._gate.stopped:
                raise Cancelled
            found = self._credentials().find(name.host, name.repository)
            key = name.host, found
            if why := self._silent.get(name.host):
                raise Unavailable(*why, reference=name.host)
            if key not in self._open:
                try:
                    self._open[key] = Registry(
                        name.host, found.credentials, self.access, found.faults, self.notify, self._gate
                    )
                except Unavailable as error:
                    self._silent[name.host] = error.parts
                    raise
            return self._open[key]

    def _credentials(self) -> CredentialSources:
        from squashkit.transports.registry.credentials import CredentialSources

        if self._sources is None:
            self._sources = CredentialSources(self.access.credentials, self.notify)
            self._sources.stopped = self._gate.stopped  # an interrupt does not wait for what goes on here
        return self._sources

    @property
    def traffic(self) -> Traffic | None:
        """What went over the wire in all, None where no registry was asked."""
        if not self._open:
            return None
        counted = [registry.traffic for registry in self._open.values()]
        return Traffic(sum(one.down for one in counted), sum(one.up for one in counted))

    def interrupt(self) -> None:
        """End all waiting for the network and for helpers, with Cancelled, and ask nothing more."""
        self._gate.interrupt()
        if self._sources is not None:
            self._sources.stopped = True
        for registry in list(self._open.values()):
            registry.interrupt()

    def resume(self) -> None:
        """Work begins (anew)."""
        self._gate.resume()
        if self._sources is not None:
            self._sources.stopped = False
        self._silent.clear()
        for registry in self._open.values():
            registry.resume()

    def close(self) -> None:
        """Close all connections. Who asks for something makes new ones."""
        for registry in self._open.values():
            registry.close()
