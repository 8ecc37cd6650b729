"""Containers whose blobs lie elsewhere and are fetched when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from squashkit.transports.container import Container


@dataclass(frozen=True, slots=True)
class Access:
    """How registries are reached."""

    authfile: Path | None = None
    """Where credentials are, in docker's form. None: where the docker client has them."""
    tls_verify: bool | None = None
    """None: yes, but not for this very machine (localhost), as docker has it."""
    cert_dir: Path | None = None
    """A folder with CAs (*.crt) and client certificates (*.cert with *.key)."""


@dataclass(slots=True)
class Traffic:
    """Bytes that went over the wire, of documents and blobs."""

    down: int = 0
    up: int = 0


@runtime_checkable
class Remote(Container, Protocol):
    """A container over the network. `get` fetches a whole blob, once, to a file without a name."""

    traffic: Traffic

    def is_here(self, name: str) -> bool:
        """Whether a blob has been fetched."""

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        """A blob's bytes as they come, verified and not kept."""

    def interrupt(self) -> None:
        """End all waiting for the network now, with Cancelled."""
