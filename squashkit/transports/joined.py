"""Two containers as one: a base's layers from where the base is, the others from where the image is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from squashkit.oci.digests import Digest
from squashkit.transports.blobs import Blob, Container, read_blocks
from squashkit.transports.registry.access import Remote


@dataclass(frozen=True, slots=True)
class Joined:
    """Containers side by side. The blobs of each have its number before their names; whoever opened them
    closes them."""

    parts: Sequence[Container]

    @staticmethod
    def name(part: int, name: str) -> str:
        """How a blob of one of the parts is called here."""
        return f"{part}/{name}"

    def _find(self, name: str) -> tuple[Container, str]:
        number, _, inner = name.partition("/")
        return self.parts[int(number)], inner

    def has(self, name: str) -> bool:
        part, inner = self._find(name)
        return part.has(inner)

    def get(self, name: str) -> Blob | None:
        part, inner = self._find(name)
        return part.get(inner)

    def read(self, name: str) -> bytes | None:
        part, inner = self._find(name)
        return part.read(inner)

    def names(self) -> list[str]:
        return [self.name(i, name) for i, part in enumerate(self.parts) for name in part.names()]

    def close(self) -> None:
        """Nothing: the parts are others'."""


@dataclass(frozen=True, slots=True)
class JoinedRemote(Joined):
    """The same where at least one of them is over the network. It has no root: no tag means both."""

    root: Digest | None = field(default=None)

    def is_here(self, name: str) -> bool:
        part, inner = self._find(name)
        return part.is_here(inner) if isinstance(part, Remote) else True

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        part, inner = self._find(name)
        if isinstance(part, Remote):
            return part.blocks(inner, cancelled)
        blob = part.get(inner)
        assert blob is not None
        return read_blocks(blob, cancelled, name)

    def interrupt(self) -> None:
        for part in self._remotes():
            part.interrupt()

    def resume(self) -> None:
        for part in self._remotes():
            part.resume()

    def _remotes(self) -> list[Remote]:
        return [part for part in self.parts if isinstance(part, Remote)]


def join_containers(*parts: Container) -> Joined:
    remote = any(isinstance(part, Remote) for part in parts)
    return (JoinedRemote if remote else Joined)(parts)
