"""Whose the files of an image are: the packages that list them, by dpkg's and apk's databases, and by the
lists of distroless images.

`/lib` and `/usr/lib` are one place: packages name the one, and images have the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from squashkit.plan.packages.paragraphs import fields_of, lines_of, paragraphs
from squashkit.plan.packages.rpm.forms import rpm_packages
from squashkit.values import frozen

STATUS, STATUS_D, INFO = b"var/lib/dpkg/status", b"var/lib/dpkg/status.d", b"var/lib/dpkg/info"
APK = (b"lib/apk/db/installed", b"usr/lib/apk/db/installed")
"""Where apk keeps its database; the second since version 3."""
RPM = tuple(
    folder + name
    for folder in (b"var/lib/rpm/", b"usr/lib/sysimage/rpm/")
    for name in (b"Packages", b"rpmdb.sqlite")
)
"""Where rpm keeps its database: a hash of Berkeley DB, or SQLite; the second folder since Fedora 36."""
_MERGED = re.compile(rb"usr/(?=(?:lib|lib32|lib64|libx32|bin|sbin)/)")
Read = Callable[[bytes], bytes | None]
"""The content of a file of the tree; None where there is none."""


def one_place(path: bytes) -> bytes:
    """A path without the `usr/` before folders that are one with those of the root."""
    return _MERGED.sub(b"", path, count=1)


@frozen
class Owners:
    """The packages of an image by the files that they list."""

    packages: Mapping[bytes, str]
    """By paths in one place (`one_place`)."""
    conffiles: frozenset[bytes]
    """Files that belong to whoever changed them: dpkg leaves such alone."""

    def of(self, path: bytes) -> str | None:
        """The package whose file this is."""
        return self.packages.get(one_place(path))

    def is_conffile(self, path: bytes) -> bool:
        return one_place(path) in self.conffiles


def find_owners(read: Read, names: Collection[bytes]) -> Owners:
    """What the databases of a tree say; `names` are the paths of its files."""
    packages: dict[bytes, str] = {}
    for path in sorted(names):
        folder, _, name = path.rpartition(b"/")
        if folder == INFO and name.endswith(b".list"):
            _take(packages, name.removesuffix(b".list"), listed_paths(read(path) or b""))
        elif folder == STATUS_D and name.endswith(b".md5sums"):
            _take(packages, name.removesuffix(b".md5sums"), summed_paths(read(path) or b""))
    for database in APK:
        for paragraph in paragraphs(read(database) or b""):
            _take(packages, fields_of(paragraph).get(b"P", b""), apk_paths(paragraph))
    for path in RPM:
        for one in (rpm_packages(read(path) or b"") or {}).values() if path in names else ():
            _take(packages, one.name, map(one_place, one.files))
    return Owners(packages, frozenset(_conffiles(read(STATUS) or b"")))


def _take(packages: dict[bytes, str], name: bytes, paths: Iterable[bytes]) -> None:
    shown = name.partition(b":")[0].decode("utf-8", "replace")  # a list's name may have an architecture
    for path in paths:
        packages.setdefault(path, shown)


def listed_paths(text: bytes) -> Iterator[bytes]:
    """What one of dpkg's lists names, in one place."""
    return (one_place(line.strip(b"/")) for line in text.splitlines())


def summed_paths(text: bytes) -> Iterator[bytes]:
    """What a file of md5sums names, in one place."""
    lines = (line.split(None, 1) for line in text.splitlines())
    return (one_place(line[1].removeprefix(b"./").strip(b"/")) for line in lines if len(line) == 2)


def apk_paths(paragraph: bytes) -> Iterator[bytes]:
    """The files of a paragraph of apk's database, in one place."""
    return map(one_place, apk_files(paragraph))


def apk_files(paragraph: bytes) -> Iterator[bytes]:
    """The same as they stand there."""
    folder = b""
    for line in paragraph.splitlines():
        if line.startswith(b"F:"):
            folder = line[2:]
        elif line.startswith(b"R:"):
            yield folder + b"/" * bool(folder) + line[2:]


def _conffiles(status: bytes) -> Iterator[bytes]:
    for paragraph in paragraphs(status):
        for line in lines_of(paragraph, b"Conffiles"):
            yield one_place(line.partition(b" ")[0].strip(b"/"))


@frozen
class Built:
    """What a package is, and what it was built from."""

    version: bytes
    source: bytes
    source_version: bytes


def installed(status: bytes) -> dict[bytes, Built]:
    """dpkg's installed packages, by name."""
    found = {}
    for paragraph in paragraphs(status):
        fields = fields_of(paragraph)
        name, version = fields.get(b"Package", b""), fields.get(b"Version", b"")
        if name and fields.get(b"Status", b" installed").endswith(b" installed"):
            source, _, stated = fields.get(b"Source", name).partition(b" ")
            found[name] = Built(version, source, stated.strip(b"()") or version)
    return found
