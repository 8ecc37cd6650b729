"""The values of the OCI image-spec and of docker's schema 2, read from JSON with checks.

Each value keeps the JSON object that it was read from, so fields that squashkit does not know survive.
A bad field is an InvalidImage that names its place, as in `manifest.layers[3].digest`.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal

from squashkit.errors import DigestMismatch, InvalidImage, UnsupportedImage
from squashkit.oci.digests import DiffID, Digest, is_digest, parse_any_digest, parse_digest, sha256
from squashkit.oci.gojson import JSONObject, fold, load_json
from squashkit.oci.media import MANIFEST_TYPES, OCI_MANIFEST, Codec, distributable
from squashkit.oci.shapes import (
    CONFIG_SHAPE,
    INDEX_SHAPE,
    MANIFEST_SHAPE,
    exact_settings,
    odd_settings,
)
from squashkit.values import frozen


def dump_json(value: object) -> bytes:
    """The bytes that a JSON value is stored as: compact, keys in their order, always the same."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidImage(f"expected an object, found {type(value).__name__}", where=where)
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidImage(f"expected a list, found {type(value).__name__}", where=where)
    return value


@frozen
class Platform:
    """What an image runs on. `unknown/unknown` marks an attestation."""

    os: str
    """`linux`."""
    architecture: str
    """`amd64`, `arm64`: as Go names them."""
    variant: str = ""
    """`v7`; empty where there is none."""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From `os/architecture[/variant]`. Raises ValueError."""
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise ValueError(f"not a platform: {text!r} (expected os/architecture[/variant])")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def json(self) -> dict[str, str]:
        """As a config has it."""
        value = {"architecture": self.architecture, "os": self.os}
        return value | {"variant": self.variant} if self.variant else value

    def matches(self, wanted: Platform) -> bool:
        """Whether it is what was asked for; a variant counts only where both sides name one."""
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        return same and not (self.variant and wanted.variant and self.variant != wanted.variant)


ALL: Final = "all"
PlatformChoice = Platform | Literal["all"]
"""One platform, or every one that an index has."""


def parse_platform_choice(text: str) -> PlatformChoice:
    """From `os/architecture[/variant]` or `all`. Raises ValueError."""
    return ALL if text == ALL else Platform.parse(text)


@frozen
class Descriptor:
    """A pointer to a blob: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    raw: JSONObject = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, value: object, where: str) -> Descriptor:
        """Of a document that `load_json` has read by its shape. Raises InvalidImage where a field is wrong
        or `data` is not the blob, UnsupportedImage for a digest that is not sha256."""
        raw, digest = cls._begin(value, where)
        return cls._parse(raw, parse_digest(digest, f"{where}.digest"), where)

    @classmethod
    def parse_entry(cls, value: object, where: str) -> Descriptor:
        """An entry of an index: its digest may be of an algorithm that squashkit does not know."""
        raw, digest = cls._begin(value, where)
        return cls._parse(raw, parse_any_digest(digest, f"{where}.digest"), where)

    @classmethod
    def _begin(cls, value: object, where: str) -> tuple[dict[str, Any], object]:
        raw = _object(value, where)
        size = raw.get("size")
        if not isinstance(size, int) or size < 0:
            raise InvalidImage(f"expected a size, found {size!r}", where=f"{where}.size")
        return raw, raw.get("digest")

    @classmethod
    def _parse(cls, raw: dict[str, Any], digest: Digest, where: str) -> Descriptor:
        platform = raw.get("platform")
        _check_data(raw, digest, where)
        return cls(
            media_type=raw.get("mediaType") or "",
            digest=digest,
            size=raw["size"],
            annotations=_annotations_of(raw),
            platform=_platform_of(platform) if platform else None,
            raw=raw,
        )

    @property
    def codec(self) -> Codec:
        """What the media type says of the blob's compression. The blob's own first bytes know better."""
        for codec in (Codec.GZIP, Codec.ZSTD):
            if self.media_type.endswith(codec.value):
                return codec
        return Codec.NONE

    @property
    def distributable_type(self) -> str:
        """The media type; of a layer that must not be distributed the one that it would have else."""
        return distributable(self.media_type)

    @property
    def is_foreign(self) -> bool:
        """Whether it is a layer that must not be distributed, whose bytes may lie elsewhere."""
        return self.distributable_type != self.media_type

    @property
    def is_encrypted(self) -> bool:
        """Whether it is a layer whose bytes need a key."""
        return "+encrypted" in self.media_type

    def json(self) -> dict[str, Any]:
        """As JSON, with the fields that it was read with."""
        value = dict(self.raw)
        value |= {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        else:
            value.pop("annotations", None)
        if self.platform:
            value["platform"] = value.get("platform", {}) | self.platform.json()
        return value


def _check_data(raw: JSONObject, digest: Digest, where: str) -> None:
    """Raises InvalidImage where a descriptor embeds other bytes than the blob's (image-spec,
    descriptor.md): some tools take them instead of the blob."""
    stated = raw.get("data")
    if not stated:
        return
    where = f"{where}.data"
    try:
        data = b64decode(stated, validate=True)
    except ValueError as error:
        raise InvalidImage(f"not base64: {error}", where=where) from error
    if len(data) != raw["size"]:
        raise DigestMismatch(where, expected=f"{raw['size']} bytes", actual=f"{len(data)} bytes")
    if is_digest(digest) and sha256(data) != digest:
        raise DigestMismatch(where, expected=digest, actual=sha256(data))


def _annotations_of(raw: JSONObject) -> dict[str, str]:
    return {key: value or "" for key, value in (raw.get("annotations") or {}).items()}


def _platform_of(raw: JSONObject) -> Platform:
    return Platform(*(raw.get(key) or "" for key in ("os", "architecture", "variant")))


def _refuse_beside(raw: JSONObject, here: Sequence[str], others: Sequence[str], where: str) -> None:
    """Raises InvalidImage where a document is of two kinds at once: which of them a tool sees depends on
    what it takes the document for (CVE-2021-41190)."""
    there = {fold(key): key for key in raw}
    own = next((name for name in here if name in raw), None)
    for other in others:
        if own is not None and fold(other) in there:
            key = there[fold(other)]
            message = f"the key {key!a} beside {own!r}: tools differ in what they take this for"
            raise InvalidImage(message, where=where)


@frozen
class Manifest:
    """An image manifest (image-spec, manifest.md; docker's schema 2 is the same shape)."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    raw: JSONObject = field(repr=False)
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, where: str, media_type: str = "") -> Manifest:
        raw = _object(load_json(data, where, MANIFEST_SHAPE), where)
        _refuse_beside(raw, ("layers", "config"), ("manifests", "fsLayers"), where)
        if raw.get("schemaVersion") == 1:
            raise UnsupportedImage(f"{where}: docker's schema 1 is not supported", what="schema 1")
        media_type = raw.get("mediaType") or media_type or OCI_MANIFEST
        if media_type not in MANIFEST_TYPES:
            raise UnsupportedImage(f"{where}: {media_type} is no image manifest", what=media_type)
        layers = _list(raw.get("layers"), f"{where}.layers")
        return cls(
            media_type=media_type,
            config=Descriptor.parse(raw.get("config"), f"{where}.config"),
            layers=tuple(Descriptor.parse(layer, f"{where}.layers[{i}]") for i, layer in enumerate(layers)),
            annotations=_annotations_of(raw),
            raw=raw,
            data=data,
        )


@frozen
class Index:
    """An index, or a manifest list."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def parse_index(data: bytes, where: str) -> Index:
    """Digests of other algorithms than sha256 stand as they are: `is_digest` tells."""
    raw = _object(load_json(data, where, INDEX_SHAPE), where)
    _refuse_beside(raw, ("manifests",), ("layers", "config", "fsLayers"), where)
    if raw.get("mediaType") in MANIFEST_TYPES:
        raise InvalidImage(f"an index that says it is {raw['mediaType']}", where=f"{where}.mediaType")
    manifests = tuple(
        Descriptor.parse_entry(value, f"{where}.manifests[{i}]")
        for i, value in enumerate(_list(raw.get("manifests"), f"{where}.manifests"))
    )
    return Index(manifests, _annotations_of(raw))


@frozen
class HistoryEntry:
    """How a layer came about (image-spec, config.md)."""

    created_by: str
    empty_layer: bool
    raw: JSONObject = field(repr=False)


@frozen
class ImageConfig:
    """An image's config. `history` is None where the config has none."""

    diff_ids: tuple[DiffID, ...]
    history: tuple[HistoryEntry, ...] | None
    platform: Platform
    created: str | None
    raw: JSONObject = field(repr=False)
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, where: str = "config") -> ImageConfig:
        raw = _object(load_json(data, where, CONFIG_SHAPE), where)
        diff_ids = tuple(
            DiffID(parse_digest(value, f"{where}.rootfs.diff_ids[{i}]"))
            for i, value in enumerate((raw.get("rootfs") or {}).get("diff_ids") or [])
        )
        history = raw.get("history")
        return cls(
            diff_ids=diff_ids,
            history=tuple(_parse_history(value, f"{where}.history[{i}]") for i, value in enumerate(history))
            if history
            else None,
            platform=_platform_of(raw),
            created=raw.get("created"),
            raw=raw,
            data=data,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The `config` of the config, its keys spelled as docker and the image-spec spell them."""
        return exact_settings(self.raw.get("config") or {})

    @property
    def odd_settings(self) -> list[str]:
        """The keys of it that are spelled otherwise, as in `Healthcheck.test`."""
        return odd_settings(self.raw.get("config") or {})

    @property
    def layer_history(self) -> tuple[HistoryEntry, ...] | None:
        """The history entry of each layer; None where there is none, or not one for each layer."""
        entries = tuple(entry for entry in self.history or () if not entry.empty_layer)
        return entries if self.history and len(entries) == len(self.diff_ids) else None


def _parse_history(value: object, where: str) -> HistoryEntry:
    raw = _object(value, where)
    return HistoryEntry(raw.get("created_by") or "", raw.get("empty_layer") is True, raw)
