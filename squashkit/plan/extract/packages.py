"""The package metadata of what stays, as scanners read it: dpkg's in the form that distroless images have
(a file a package in `var/lib/dpkg/status.d`), apk's as the paragraphs of its database.

A package counts where a path that stays and is no directory is in its list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from squashkit.plan.packages.owners import (
    APK,
    INFO,
    STATUS,
    STATUS_D,
    Read,
    apk_paths,
    listed_paths,
    one_place,
    summed_paths,
)
from squashkit.plan.packages.paragraphs import fields_of, paragraphs
from squashkit.values import frozen


@frozen
class Package:
    """A package of which something stays."""

    kind: str
    """`dpkg` or `apk`."""
    name: str
    version: str
    paragraph: bytes
    """What its database says of it."""


def find_packages(read: Read, names: Collection[bytes], kept: Collection[bytes]) -> list[Package]:
    """The packages of which something stays: `names` are all paths of the tree below the folders of dpkg,
    `kept` those that stay and are no directories."""
    places = {one_place(path) for path in kept}
    return [*_dpkg(read, names, places), *_apk(read, places)]


def _dpkg(read: Read, names: Collection[bytes], places: Collection[bytes]) -> Iterator[Package]:
    for paragraph in paragraphs(read(STATUS) or b""):
        found = fields_of(paragraph)
        name = found.get(b"Package", b"")
        status = found.get(b"Status")
        if not name or (status is not None and not status.endswith(b" installed")):
            continue
        wide = name + b":" + found.get(b"Architecture", b"")
        lists = (read(INFO + b"/" + one + b".list") for one in (wide, name))
        text = next((one for one in lists if one is not None), b"")
        if any(path in places for path in listed_paths(text)):
            yield _package("dpkg", name, found.get(b"Version", b""), paragraph)
    for path in sorted(names):  # of a source that is distroless itself
        if path.startswith(STATUS_D + b"/") and not path.endswith(b".md5sums"):
            sums = read(path + b".md5sums") or b""
            if any(one in places for one in summed_paths(sums)):
                paragraph = read(path) or b""
                found = fields_of(paragraph)
                yield _package("dpkg", found.get(b"Package", b""), found.get(b"Version", b""), paragraph)


def _apk(read: Read, places: Collection[bytes]) -> Iterator[Package]:
    for database in APK:
        for paragraph in paragraphs(read(database) or b""):
            if any(path in places for path in apk_paths(paragraph)):
                found = fields_of(paragraph)
                yield _package("apk", found.get(b"P", b""), found.get(b"V", b""), paragraph)


def _package(kind: str, name: bytes, version: bytes, paragraph: bytes) -> Package:
    return Package(kind, name.decode("utf-8", "replace"), version.decode("utf-8", "replace"), paragraph)


def status_files(packages: Collection[Package]) -> dict[bytes, bytes]:
    """The files of `status.d` for dpkg's packages, by their paths."""
    files: dict[bytes, bytes] = {}
    for package in packages:
        if package.kind == "dpkg":
            name = re.sub(r"[^\w.+-]", "_", package.name).encode()
            path = STATUS_D + b"/" + name
            if path in files:
                path += b"_" + re.sub(
                    rb"[^\w.+-]", b"_", fields_of(package.paragraph).get(b"Architecture", b"")
                )
            files[path] = package.paragraph
    return files


def apk_database(packages: Collection[Package], base: bytes = b"") -> bytes:
    """apk's database of the packages, added to those of a base; empty where there are none of its kind."""
    own = [package.paragraph for package in packages if package.kind == "apk"]
    if not own:
        return b""
    known = paragraphs(base)
    new = [paragraph for paragraph in own if paragraph not in known]
    return b"\n".join([*known, *new]) + b"\n"
