"""Files with manifests, one by one or all of a folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import chain

from squashkit.errors import TransportError, show_text, why
from squashkit.oci.manifests import Kind, ListedImage, Unlisted, is_line, parse_document, parse_line
from squashkit.values import frozen

MAX_DOCUMENT = 512 << 20
"""The most bytes of a file that is one document, and of a line. To read it takes up to three times as much
memory."""
_BOM = b"\xef\xbb\xbf"


@frozen
class ManifestFile:
    """A file that may hold manifests."""

    path: str
    folder: tuple[int, int]
    """The device and the inode of the folder in which it stands, whatever name that was found by."""
    size: int

    def read(self) -> Iterator[ListedImage | Unlisted]:
        """What it holds. Raises TransportError where it cannot be read."""
        try:
            with open(self.path, "rb") as file:
                yield from _read(file)
        except OSError as error:
            raise _unreadable(self.path, error) from error


def manifest_files(place: str) -> Iterator[ManifestFile | Unlisted]:
    """A file, or all those below a folder in the order of their names; what is no file below it. Links are
    followed, and each folder is entered once. Raises TransportError for what cannot be read."""
    about = _stat(place)
    if not stat.S_ISDIR(about.st_mode):
        yield ManifestFile(place, _key(_stat(os.path.dirname(place) or ".")), about.st_size)
        return
    entered = set()
    waiting = [(place, _key(about))]
    while waiting:
        folder, key = waiting.pop()
        if key in entered:
            continue
        entered.add(key)
        folders = []
        for path in _names(folder):
            try:
                about = _stat(path)
            except _LeadsNowhere:
                yield Unlisted(Kind.NO_FILE)
                continue
            if stat.S_ISDIR(about.st_mode):
                folders.append((path, _key(about)))
            elif stat.S_ISREG(about.st_mode):
                yield ManifestFile(path, key, about.st_size)
            else:
                yield Unlisted(Kind.NO_FILE)
        waiting += reversed(folders)


class _LeadsNowhere(TransportError):
    """A link to what is not there, or to itself."""


def _names(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except OSError as error:
        raise _unreadable(folder, error) from error


def _stat(path: str) -> os.stat_result:
    """Of what a path leads to."""
    try:
        return os.stat(path)
    except OSError as error:
        nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and os.path.islink(path)
        raise _unreadable(path, error, _LeadsNowhere if nowhere else TransportError) from error


def _key(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _unreadable(path: str, error: OSError, kind: type[TransportError] = TransportError) -> TransportError:
    return kind(f"{show_text(path) or repr(path)}: {why(error)}", reference=path)


def _read(file: BufferedReader) -> Iterator[ListedImage | Unlisted]:
    """What a file holds. Most others are told by their first byte, and not read."""
    start = file.peek().removeprefix(_BOM).lstrip()
    if start and not start.startswith(b"{"):
        yield Unlisted(Kind.OTHER)
        return
    first = file.readline(MAX_DOCUMENT + 1)
    if is_line(first):
        yield from _lines(chain([first], iter(lambda: file.readline(MAX_DOCUMENT), b"")))
        return
    data = first + file.read(MAX_DOCUMENT + 1 - len(first))
    if not data.strip():
        yield Unlisted(Kind.OTHER)
    elif len(data) > MAX_DOCUMENT:
        yield Unlisted(Kind.NOT_JSON, f"over {MAX_DOCUMENT >> 20} MB in one document")
    else:
        yield from _document(data)


def _document(data: bytes) -> Iterator[ListedImage | Unlisted]:
    try:
        found = parse_document(data)
    except ValueError as error:
        lines = data.split(b"\n")
        if any(map(is_line, lines)):  # but not the first
            yield from _lines(lines)
        else:
            yield Unlisted(Kind.NOT_JSON, str(error))
    else:
        yield from found


def _lines(lines: Iterable[bytes]) -> Iterator[ListedImage | Unlisted]:
    return (parse_line(line, number) for number, line in enumerate(lines, 1) if line.strip())
