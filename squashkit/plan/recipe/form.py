"""A recipe as bytes: one line of JSON, and behind it the new layers' pieces, deflated.

The line is the head: all of the recipe but the pieces, and the size and the digest of these. The pieces
are those of one layer after the other, zlib-compressed (RFC 1950). All numbers are unsigned, in LEB128: the
low seven bits first. A layer begins with how many pieces it has. Offsets and sizes count blocks of 512
bytes, of which all of a tar consists. A piece begins with a number:

* 0: bytes follow. A number says how many blocks, then they come.
* n: a span of the recipe's blob n-1 follows. A number says where it begins, counted from the end of the
  layer's last span of the same blob: 2d is d blocks further on, 2d-1 is d blocks back. Then one says how
  long it is.

docs/recipes.md says what the keys of the head are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from squashkit.amounts import size as shown_size
from squashkit.errors import InvalidImage, InvalidRecipe, UsageError
from squashkit.layers.blocks import BLOCK
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.digests import DiffID, Digest, is_digest, sha256
from squashkit.oci.documents import Platform, dump_json
from squashkit.oci.gojson import load_json
from squashkit.options import Format, History
from squashkit.plan.recipe.model import (
    FLEET,
    JOBS,
    REBASE,
    SQUASH,
    BaseNote,
    BlobNote,
    ImageNote,
    MadeLayer,
    Recipe,
    SourceNote,
    fleet_of,
    merge_of,
    rebase_of,
)

FORMAT = "squashkit recipe"
VERSION = 1
MOST_HEAD = 64 << 20
"""Bytes of the first line at most."""
MOST_BODY = 1 << 30
"""Bytes of the pieces at most, inflated."""
_MOST_DIGITS = 10  # a number has 64 bits at most


def pack(recipe: Recipe) -> bytes:
    """A recipe as its file holds it."""
    body = _pack_layers(recipe.layers)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": recipe.made_by,
        "job": recipe.job,
        "options": dict(recipe.options),
        "blobs": [asdict(blob) for blob in recipe.blobs],
        "sources": [{**asdict(one), "platform": str(one.platform)} for one in recipe.sources],
        "layers": [
            {
                "diff_id": one.diff_id,
                "digest": one.digest,
                "size": one.size,
                "compress": one.compress,
                "compressor": one.compressor,
            }
            for one in recipe.layers
        ],
        "images": [asdict(one) for one in recipe.images],
        "index": recipe.index,
        "body": {"size": len(body), "digest": sha256(body)},
    }
    return dump_json(head) + b"\n" + zlib.compress(body, 9)


def _pack_layers(layers: tuple[MadeLayer, ...]) -> bytes:
    packed = bytearray()
    for layer in layers:
        ends: dict[int, int] = {}
        _add(packed, len(layer.pieces))
        for piece in layer.pieces:
            if isinstance(piece, bytes):
                _add(packed, 0)
                _add(packed, len(piece) // BLOCK)
                packed += piece
                continue
            start, end = piece.start // BLOCK, piece.end // BLOCK
            ahead = start - ends.get(piece.layer, 0)
            _add(packed, piece.layer + 1)
            _add(packed, 2 * ahead if ahead >= 0 else -2 * ahead - 1)
            _add(packed, end - start)
            ends[piece.layer] = end
    return bytes(packed)


def _add(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def unpack(data: bytes, where: str) -> Recipe:
    """A recipe of its file's bytes. Everything is of its type and within its bounds; whether it is true, is
    not checked. Raises InvalidRecipe, which names the file."""
    line, newline, packed = data.partition(b"\n")
    if not newline or len(line) > MOST_HEAD or FORMAT.encode() not in line[:_BEGINNING]:
        raise InvalidRecipe("it is no recipe of squashkit", where=where)
    try:
        head = _Fields(load_json(line, "the head"), "the head")
        if head.text("format") != FORMAT:
            raise InvalidRecipe("it is no recipe of squashkit", where=where)
        if head.number("version") != VERSION:
            raise InvalidRecipe(
                f"it is of version {head.number('version')}, and this squashkit reads version {VERSION}",
                where=where,
            )
        return _read(head, packed)
    except InvalidRecipe as error:
        error.inside(where)
        raise
    except (InvalidImage, UsageError) as error:
        raise InvalidRecipe(error.message, where=where) from error


_BEGINNING = 64


class _Fields:
    """An object of the head, whose values must be of their types."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidRecipe(f"{where} is no object")
        self.value: dict[str, Any] = value
        self._where = where

    def _get(self, key: str, kind: type) -> Any:
        value = self.value.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidRecipe(f"{self._where}: {key} is no {_KINDS[kind]}")
        return value

    def text(self, key: str) -> str:
        found: str = self._get(key, str)
        return found

    def number(self, key: str) -> int:
        found: int = self._get(key, int)
        if not 0 <= found < 1 << 63:
            raise InvalidRecipe(f"{self._where}: {key} is {found}")
        return found

    def flag(self, key: str) -> bool:
        found: bool = self._get(key, bool)
        return found

    def items(self, key: str) -> list[Any]:
        found: list[Any] = self._get(key, list)
        return found

    def fields(self, key: str) -> _Fields:
        return _Fields(self.value.get(key), f"{self._where}: {key}")

    def each(self, key: str) -> Iterator[_Fields]:
        for number, value in enumerate(self.items(key)):
            yield _Fields(value, f"{key}[{number}]")

    def digest(self, key: str, *, needed: bool = True) -> str:
        found = self.text(key)
        if not is_digest(found) and (needed or found):
            raise InvalidRecipe(f"{self._where}: {key} is no sha256 digest")
        return found

    def format(self, key: str) -> Format:
        match found := self.text(key):
            case "docker" | "oci":
                return found
        raise InvalidRecipe(f"{self._where}: {key} is {found!r:.40}, and may be docker or oci")

    def place(self, key: str, count: int) -> int:
        """Which of so many."""
        return self._within(self.number(key), key, count)

    def places(self, key: str, count: int) -> tuple[int, ...]:
        """Which of so many, each."""
        return tuple(self._within(one, key, count) for one in self.items(key))

    def places_or_none(self, key: str, count: int) -> tuple[int | None, ...]:
        """The same, where there may be none."""
        return tuple(None if one is None else self._within(one, key, count) for one in self.items(key))

    def text_or_none(self, key: str) -> str | None:
        return None if self.value.get(key) is None else self.text(key)

    def _within(self, place: object, key: str, count: int) -> int:
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < count:
            raise InvalidRecipe(f"{self._where}: {key} has {place!r:.40}, of {count}")
        return place


_KINDS = {str: "text", int: "number", bool: "truth value", list: "list"}


def _read(head: _Fields, packed: bytes) -> Recipe:
    job = head.text("job")
    if job not in JOBS:
        raise InvalidRecipe(f"it is of a job {job!r:.40}, which this squashkit does not know")
    blobs = tuple(
        BlobNote(DiffID(one.digest("diff_id")), one.digest("digest", needed=False), one.number("size"))
        for one in head.each("blobs")
    )
    sources = tuple(_source(one, len(blobs)) for one in head.each("sources"))
    pieces = _unpack_layers(head, packed, len(blobs))
    layers = tuple(
        MadeLayer(
            spans,
            DiffID(one.digest("diff_id")),
            Digest(one.digest("digest")),
            one.number("size"),
            one.text("compress"),
            one.text("compressor"),
        )
        for one, spans in zip(head.each("layers"), pieces, strict=True)
    )
    images = tuple(_image(one, len(sources), len(layers)) for one in head.each("images"))
    if not images:
        raise InvalidRecipe("it is of no image")
    index, options = head.digest("index", needed=False), head.fields("options").value
    if job == SQUASH:
        merge_of(options)
    elif job == REBASE:
        rebase_of(options, "", None)
    else:
        fleet_of(options)
    if job != FLEET and len(images) > 1 and not index:
        raise InvalidRecipe("it is of several images, which are in no index")
    return Recipe(job, head.text("made_by"), options, blobs, sources, layers, images, index)


def _source(one: _Fields, blobs: int) -> SourceNote:
    try:
        platform = Platform.parse(one.text("platform"))
    except ValueError as error:
        raise InvalidRecipe(str(error)) from error
    image_id = Digest(one.digest("image_id"))
    return SourceNote(image_id, one.digest("manifest", needed=False), platform, one.places("layers", blobs))


def _image(one: _Fields, sources: int, layers: int) -> ImageNote:
    base, history = one.fields("base"), one.fields("history")
    return ImageNote(
        source=one.place("source", sources),
        segments=one.text("segments"),
        base=BaseNote(
            base.number("layers"),
            base.text("name"),
            base.text("image_name"),
            base.digest("manifest", needed=False),
            base.digest("image_id", needed=False),
        ),
        history=History(
            history.text_or_none("created"), history.text_or_none("message"), history.flag("drop")
        ),
        made=one.places_or_none("made", layers),
        format=one.format("format"),
        image_id=Digest(one.digest("image_id")),
        manifest=Digest(one.digest("manifest")),
    )


def _unpack_layers(head: _Fields, packed: bytes, blobs: int) -> list[tuple[Piece, ...]]:
    """The pieces of each layer."""
    stated = head.fields("body")
    body = _Body(_inflated(packed, stated.number("size")), blobs)
    if sha256(body.data) != stated.digest("digest"):
        raise InvalidRecipe("its pieces are not those that it was written with")
    found = [tuple(body.pieces()) for _ in head.items("layers")]
    if body.at != len(body.data):
        raise InvalidRecipe("there is more in it than it tells of")
    return found


def _inflated(packed: bytes, size: int) -> bytes:
    """Exactly so many bytes."""
    if size > MOST_BODY:
        raise InvalidRecipe(f"its pieces take {shown_size(size)}; the limit is {shown_size(MOST_BODY)}")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise InvalidRecipe(f"its pieces are damaged ({error})") from error
    if len(body) != size or not inflater.eof or inflater.unused_data:
        raise InvalidRecipe("its pieces are not as many bytes as it says")
    return body


class _Body:
    """The pieces of all layers, one after the other."""

    def __init__(self, data: bytes, blobs: int) -> None:
        self.data = data
        self.at = 0
        self._blobs = blobs

    def pieces(self) -> Iterator[Piece]:
        """Those of the next layer."""
        ends: dict[int, int] = {}
        for _ in range(self._number()):
            blob, ahead = self._number(), self._number()
            if not blob:
                yield self._bytes(ahead * BLOCK)
                continue
            if blob > self._blobs:
                raise InvalidRecipe(f"a span of blob {blob - 1}, of {self._blobs}")
            start = ends.get(blob, 0) + (-(ahead + 1) // 2 if ahead & 1 else ahead // 2)
            end = ends[blob] = start + self._number()
            if not 0 <= start < end < 1 << 54:
                raise InvalidRecipe(f"a span from block {start} to block {end}")
            yield Copy(blob - 1, start * BLOCK, end * BLOCK)

    def _bytes(self, size: int) -> bytes:
        end = self.at + size
        if not size or end > len(self.data):
            raise InvalidRecipe("its pieces end too early")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def _number(self) -> int:
        number = 0
        for digit in range(_MOST_DIGITS):
            if self.at >= len(self.data):
                raise InvalidRecipe("its pieces end too early")
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << 7 * digit
            if byte < 0x80:
                return number
        raise InvalidRecipe("a number in its pieces has no end")
