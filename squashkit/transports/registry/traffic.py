"""How much goes over the wire. It stands alone: who only counts needs no network library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes that went over the wire, of documents and blobs."""

    down: int = 0
    up: int = 0
