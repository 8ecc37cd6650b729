"""Whether a path is that of a scan."""

from __future__ import annotations

from pathlib import Path

from squashkit.transports.tables.folder import is_scan


def scan_at(path: Path | str) -> Path | None:
    """The path where a scan lies there, else None."""
    return Path(path) if path and is_scan(Path(path)) else None
