"""Manifests without their blobs, as tools and crawlers keep them: each in a file, many in a dump, or lines.

Pure: the text of a document or a line goes in; out come images, and of all else what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from reprlib import repr as short
from sys import intern
from typing import Any, NamedTuple

from squashkit.errors import InvalidImage, show_text
from squashkit.oci.digests import is_any_digest
from squashkit.oci.gojson import Leaf, ListOf, Struct, check, object_of
from squashkit.oci.media import INDEX_TYPES, distributable
from squashkit.oci.names import split_tag
from squashkit.values import frozen


class Kind(Enum):
    """What is no image that can be counted: the word for one, and for several."""

    INDEX = "index", "indexes"
    SCHEMA_1 = "schema 1 image", "schema 1 images"
    FOREIGN = "image with foreign layers", "images with foreign layers"
    CONFIG = "config", "configs"
    OTHER = "other document", "other documents"
    NO_FILE = "link to nothing, pipe or device", "links to nothing, pipes or devices"
    NOT_JSON = "file of broken JSON", "files of broken JSON"
    BROKEN = "broken manifest", "broken manifests"
    BROKEN_LINE = "broken line", "broken lines"


BROKEN = (Kind.NOT_JSON, Kind.BROKEN, Kind.BROKEN_LINE)
"""Those of which it is told what is wrong."""


class ListedLayer(NamedTuple):
    """A layer as a manifest names it."""

    digest: str
    size: int


@frozen
class ListedImage:
    """An image of which nothing is there but its manifest."""

    layers: tuple[ListedLayer, ...]
    """Base first."""
    repository: str = ""
    """By its reference; empty where it has none, and its folder tells it."""


@frozen
class Unlisted:
    """Something else."""

    kind: Kind
    why: str = ""
    """What is wrong with what is broken, and where in its file that is."""


_MANIFEST = Struct(
    {
        "mediaType": Leaf.TEXT,
        "layers": ListOf(Struct({"mediaType": Leaf.TEXT, "digest": Leaf.TEXT, "size": Leaf.NUMBER})),
    }
)
"""What of a manifest tells its layers. All else may be as it likes."""


def parse_manifest(value: object, where: str = "") -> ListedImage | Unlisted:
    """What a JSON value is. Of a broken one it is told `where` in its file it stands."""
    if not isinstance(value, dict):
        return Unlisted(Kind.OTHER)
    if "fsLayers" in value:
        return Unlisted(Kind.SCHEMA_1)
    media_type = value.get("mediaType")
    if isinstance(value.get("manifests"), list) or (
        isinstance(media_type, str) and media_type in INDEX_TYPES
    ):
        return Unlisted(Kind.INDEX)
    if "layers" not in value:
        return Unlisted(Kind.CONFIG if "rootfs" in value else Kind.OTHER)
    try:
        check(value, _MANIFEST, "manifest")
        raw = value["layers"] or ()
        layers = tuple(_layer(one, n) for n, one in enumerate(raw))
    except InvalidImage as error:
        error.inside(where)
        return Unlisted(Kind.BROKEN, str(error))
    if any(_is_foreign(one.get("mediaType") or "") for one in raw):
        return Unlisted(Kind.FOREIGN)
    return ListedImage(layers)


def _layer(value: Any, index: int) -> ListedLayer:
    where = f"manifest.layers[{index}]"
    if value is None:
        raise InvalidImage("expected an object, found null", where=where)
    digest, size = value.get("digest"), value.get("size")
    if digest is None or not is_any_digest(digest):
        raise InvalidImage(f"expected a digest, found {short(digest)}", where=f"{where}.digest")
    if size is None or size < 0:
        raise InvalidImage(f"expected a size, found {short(size)}", where=f"{where}.size")
    return ListedLayer(intern(digest), size)


@lru_cache(1024)
def _is_foreign(media_type: str) -> bool:
    return distributable(media_type) != media_type


# --- texts -------------------------------------------------------------------------------------


def is_line(data: bytes) -> bool:
    """Whether a file that begins so has a reference and a manifest in each line."""
    return b'"manifest"' in data and _object_of(data) is not None


def parse_line(data: bytes, number: int) -> ListedImage | Unlisted:
    """One of these lines, counted from 1."""
    where = f"line {number:,}"
    value = _object_of(data)
    if value is None:
        return Unlisted(Kind.BROKEN_LINE, f"{where}: expected an object with a reference and a manifest")
    return _referenced(value, where)


def _object_of(data: bytes) -> dict[str, Any] | None:
    """The object of a line, where it is one with a reference and a manifest."""
    try:
        value = _READ.decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.keys() >= _LINE else None


def _referenced(value: dict[str, Any], where: str) -> ListedImage | Unlisted:
    found = parse_manifest(value["manifest"], where)
    reference = value["reference"]
    named = reference.partition("@")[0] if isinstance(reference, str) else ""
    repository, _ = split_tag(named)
    if not repository:
        why = f"{where}: reference: expected the name of an image, found {short(reference)}"
        return Unlisted(Kind.BROKEN_LINE, why.removeprefix(": "))
    return replace(found, repository=repository) if isinstance(found, ListedImage) else found


def parse_document(data: bytes) -> list[ListedImage | Unlisted]:
    """What a file holds that is one document: a manifest, or a dump of many with a tag for each. Of two
    with one tag the last counts, as in JSON elsewhere.

    Values are read one after the other: a dump takes little more memory than its text and what it names.
    Raises ValueError where it is no JSON object.
    """
    text = _Text(data.decode("utf-8-sig"))
    members: list[tuple[str, Any]] = []
    try:
        for key in text.members():
            if text.next() != "{" or key not in _OF_A_DUMP:
                members.append((key, text.value(_READ)))
            elif key == "manifests":
                members.append((key, {tag: _tagged(tag, text.value(_READ)) for tag in text.members()}))
            else:
                for _ in text.members():
                    text.value(_SKIP)
    except RecursionError as error:
        raise ValueError("objects or lists too deep in each other") from error
    if text.next():
        raise ValueError("more than one document")
    value = object_of(members)
    if isinstance(found := value.get("manifests"), dict):
        return list(found.values())
    return [_referenced(value, "") if value.keys() >= _LINE else parse_manifest(value)]


def _tagged(tag: str, value: object) -> ListedImage | Unlisted:
    return parse_manifest(value, f"tag {show_text(tag)}")


@dataclass(slots=True)
class _Text:
    """The text of a JSON object, read from one place to the next."""

    text: str
    at: int = 0

    def next(self) -> str:
        """The next character that is no space; nothing at the end."""
        while self.text[self.at : self.at + 1] in _SPACES:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here. The value of each is to be read before the next."""
        self._take("{")
        if self.next() == "}":
            self.at += 1
            return
        while True:
            key = self.value(_READ)
            if not isinstance(key, str):
                raise ValueError("a key that is no string")
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The value that begins here."""
        self.next()
        value, self.at = decoder.raw_decode(self.text, self.at)
        return value

    def _take(self, wanted: str) -> str:
        """The next character, which must be one of these."""
        found = self.next()
        if not found or found not in wanted:
            raise ValueError(f"expected {' or '.join(wanted)} (char {self.at})")
        self.at += 1
        return found


def _whole_number(digits: str) -> float:
    """A number that a size may be, else one that is no integer: Python refuses to read very long ones."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


_DIGITS = 20
"""More than any size has."""
_SPACES = frozenset(" \t\n\r")
_LINE = {"reference", "manifest"}
_OF_A_DUMP = {"manifests", "configs"}
"""Objects with a member for each tag. What crawlers store beside them is small."""
_READ = json.JSONDecoder(parse_int=_whole_number, parse_constant=_no_number, object_pairs_hook=object_of)
_SKIP = json.JSONDecoder(parse_int=float, parse_constant=_no_number)
"""For what is not looked at."""
