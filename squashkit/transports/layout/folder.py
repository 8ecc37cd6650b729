"""A folder that blobs lie in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from squashkit.errors import TransportError, why
from squashkit.transports.blobs import Blob, check_document, clean_name


class Folder:
    """The files of a folder. A blob's file is opened once, when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, Blob] = {}

    def get(self, name: str) -> Blob | None:
        if name not in self._open:
            path = self.path / clean_name(os.fsencode(name))
            if not path.is_file():  # a pipe would wait for ever
                return None
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise TransportError(
                    f"cannot read {self.path / name}: {why(error)}", reference=str(self.path)
                ) from error
            self._open[name] = Blob(fd, 0, os.fstat(fd).st_size)
        return self._open[name]

    def has(self, name: str) -> bool:
        return (self.path / clean_name(os.fsencode(name))).is_file()

    def read(self, name: str) -> bytes | None:
        path = self.path / clean_name(os.fsencode(name))
        if not path.is_file():
            return None
        try:
            check_document(name, path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise TransportError(
                f"cannot read {path}: {error.strerror}", reference=str(self.path)
            ) from error

    def names(self) -> Iterable[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)

    def close(self) -> None:
        for blob in self._open.values():
            os.close(blob.fd)
        self._open.clear()
