"""The folder of a scan: a folder for each table, and in that a file for each batch of layers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from squashkit.errors import InvalidImage, TransportError, UsageError, is_full, show_path, why
from squashkit.transports.atomic import AtomicFile
from squashkit.transports.blobs import write_all
from squashkit.transports.tables.schema import ENTRIES, HEADERS, LAYERS, TABLES
from squashkit.values import frozen

_MARK = "scan.json"
_FORM = {"squashkit": "scan", "version": 1}
_END = ".parquet"
_BAD = "bad-"
"""What the names of files begin with whose layers could not be read."""


@frozen
class ScanFolder:
    """Where a scan lies. What is in it was whole when it got its name: hidden files are not looked at."""

    path: Path

    def __str__(self) -> str:
        return show_path(os.fsencode(self.path))

    @classmethod
    def make(cls, path: Path) -> ScanFolder:
        """A scan that there is, or an empty one. Raises UsageError where something else is there,
        TransportError where it cannot be written, OSError where there is no space."""
        folder = cls(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{folder} is no folder, as a scan is")
        try:
            if path.is_dir() and not is_scan(path) and any(path.iterdir()):
                raise UsageError(f"{folder} is no scan, and not empty; a scan has a folder of its own")
            folder._check()
            for table in TABLES:
                (path / table).mkdir(parents=True, exist_ok=True)
            if not is_scan(path):
                folder._mark()
        except OSError as error:
            if is_full(error):
                raise
            raise TransportError(f"cannot write {folder}: {why(error)}", reference=str(path)) from error
        return folder

    @classmethod
    def open(cls, path: Path) -> ScanFolder:
        """A scan that there is. Raises TransportError where none is, or it cannot be read, InvalidImage
        where it has another form."""
        folder = cls(path)
        if not is_scan(path):
            what = "is no scan" if path.exists() else "does not exist"
            raise TransportError(
                f"{folder} {what}; `squashkit fleet scan IMAGE... --into DIR` makes one",
                reference=str(path),
            )
        try:
            folder._check()
        except OSError as error:
            raise TransportError(f"cannot read {folder}: {why(error)}", reference=str(path)) from error
        return folder

    def _check(self) -> None:
        """Raises InvalidImage where the scan has a form that is not known here."""
        if not is_scan(self.path):
            return
        try:
            found = json.loads((self.path / _MARK).read_bytes())
        except (ValueError, RecursionError):
            found = None
        if found != _FORM:
            raise InvalidImage(
                f"{_MARK} names no form of a scan that is known here; a newer squashkit may have made it",
                where=str(self),
            )

    def _mark(self) -> None:
        _write(self.path / _MARK, json.dumps(_FORM).encode() + b"\n", sync=False)

    def write(self, table: str, name: str, data: bytes, *, bad: bool = False) -> None:
        """Write the part of a table that a batch of this name fills, in place of one that is there. Raises
        OSError and TransportError."""
        _write(self.file(table, name, bad=bad), data, sync=True)

    def file(self, table: str, name: str, *, bad: bool = False) -> Path:
        """Where the part of a table lies that a batch of this name fills."""
        return self.path / table / f"{_BAD * bad}{name}{_END}"

    def names(self, table: str) -> set[str]:
        """The batches of which a table has files, without those whose layers could not be read. Raises
        TransportError."""
        listed = self._listed(table)
        return {name.removesuffix(_END) for name in listed if not name.startswith(_BAD)}

    def files(self, table: str) -> list[Path]:
        """The files of a table that are whole, in order. Raises TransportError."""
        return [self.path / table / name for name in sorted(self._listed(table))]

    def _listed(self, table: str) -> list[str]:
        try:
            found = os.listdir(self.path / table)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TransportError(
                f"cannot read {self}: {why(error)}", reference=str(self.path / table)
            ) from error
        return [name for name in found if name.endswith(_END) and not name.startswith(".")]

    def sweep(self) -> None:
        """Remove what killed runs left: entries and headers of batches whose layers never got there. No
        other run may be at work."""
        whole = self.names(LAYERS)
        for table in (ENTRIES, HEADERS):
            for name in self.names(table) - whole:
                self.file(table, name).unlink(missing_ok=True)


def _write(path: Path, data: bytes, *, sync: bool) -> None:
    """Write a file that has no name until it is whole, and replaces one of its name."""
    file = AtomicFile(path)
    try:
        write_all(file.fd, data)
        file.publish(replace=True, sync=sync)
    finally:
        file.close()


def is_scan(path: Path) -> bool:
    """Whether there is a scan at a path."""
    return os.path.isfile(path / _MARK)
