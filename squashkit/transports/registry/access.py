"""What lies in registries: how they are reached, and containers whose blobs are fetched when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from squashkit.oci.names import ImageName
from squashkit.options import Access
from squashkit.transports.registry.traffic import Traffic

if TYPE_CHECKING:
    from squashkit.transports.registry.http import Registry


@dataclass(slots=True)
class Registries:
    """The registries of one piece of work: one connection to each, for each user of it."""

    access: Access = field(default_factory=Access)
    _open: dict[object, Registry] = field(default_factory=dict)

    def get(self, name: ImageName) -> Registry:
        """The registry of a repository. Raises Unavailable where it does not answer, Unauthorized where
        credentials cannot be read."""
        from squashkit.transports.registry.credentials import find_credentials
        from squashkit.transports.registry.http import Registry

        credentials = find_credentials(name.host, name.repository, self.access.credentials)
        key = name.host, credentials
        if key not in self._open:
            self._open[key] = Registry(name.host, credentials, self.access)
        return self._open[key]

    @property
    def traffic(self) -> Traffic | None:
        """What went over the wire in all, None where no registry was asked."""
        if not self._open:
            return None
        counted = [registry.traffic for registry in self._open.values()]
        return Traffic(sum(one.down for one in counted), sum(one.up for one in counted))

    def interrupt(self) -> None:
        """End all waiting for the network, with Cancelled, and ask nothing more."""
        for registry in list(self._open.values()):
            registry.interrupt()

    def resume(self) -> None:
        """Work begins (anew)."""
        for registry in self._open.values():
            registry.resume()

    def close(self) -> None:
        for registry in self._open.values():
            registry.close()
