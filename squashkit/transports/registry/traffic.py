"""What went over the wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes that went over the wire, of documents and blobs."""

    down: int = 0
    up: int = 0
