"""The values of the OCI image-spec and of docker's schema 2, read from JSON with checks.

Each value keeps the JSON object that it was read from, so fields that squashkit does not know survive.
A bad field is an InvalidImage that names its place, as in `manifest.layers[3].digest`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any, Final, Literal, NewType

from squashkit.errors import InvalidImage, UnsupportedImage

Digest = NewType("Digest", str)
"""`sha256:` and 64 hex digits: the hash of a blob as it is stored."""
DiffID = NewType("DiffID", str)
"""The digest of a layer's uncompressed tar."""
ChainID = NewType("ChainID", str)
"""The digest of a stack of layers (image-spec, config.md, "Layer ChainID")."""

JSONObject = Mapping[str, Any]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

REF_NAME = "org.opencontainers.image.ref.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
CONTAINERD_NAME = "io.containerd.image.name"
SOURCE_DIGEST = "dev.squashkit.source.digest"


class Codec(Enum):
    """How a blob is compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_digest(text: object, where: str) -> Digest:
    """Check a digest. Only sha256 is supported, which is all that registries serve for layers."""
    if not isinstance(text, str):
        raise InvalidImage(f"expected a digest, found {text!r}", where=where)
    if not _DIGEST.fullmatch(text):
        algorithm = text.partition(":")[0]
        if algorithm in ("sha384", "sha512", "blake3"):
            raise UnsupportedImage(f"{where}: {algorithm} digests are not supported", what=algorithm)
        raise InvalidImage(f"not a sha256 digest: {text!r}", where=where)
    return Digest(text)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def chain_ids(diff_ids: Sequence[DiffID]) -> tuple[ChainID, ...]:
    """The chain_id of every prefix of a stack of layers, base first."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        chain.append(ChainID(sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id))
    return tuple(chain)


def dump_json(value: object) -> bytes:
    """The bytes that a JSON value is stored as: compact, keys in their order, always the same."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def load_json(data: bytes, where: str) -> Any:
    """JSON that can be written again as it was: UTF-8, finite numbers, no lone surrogates."""
    try:
        value = json.loads(data.decode(), parse_constant=_no_number, parse_float=_finite)
        if b"\\u" in data:
            dump_json(value)
        return value
    except (ValueError, RecursionError) as error:
        raise InvalidImage(f"not JSON: {error}", where=where) from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _no_number(text)


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidImage(f"expected an object, found {type(value).__name__}", where=where)
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidImage(f"expected a list, found {type(value).__name__}", where=where)
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidImage(f"expected a string, found {value!r}", where=where)
    return value


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on. `unknown/unknown` marks an attestation."""

    os: str
    architecture: str
    variant: str = ""

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


@dataclass(frozen=True, slots=True)
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
        raw = _object(value, where)
        size = raw.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidImage(f"expected a size, found {size!r}", where=f"{where}.size")
        platform = raw.get("platform")
        return cls(
            media_type=_text(raw.get("mediaType", ""), f"{where}.mediaType"),
            digest=parse_digest(raw.get("digest"), f"{where}.digest"),
            size=size,
            annotations=_parse_annotations(raw, where),
            platform=_parse_platform(platform, f"{where}.platform") if platform else None,
            raw=raw,
        )

    @property
    def codec(self) -> Codec:
        """What the media type says of the blob's compression. The blob's own first bytes know better."""
        for codec in (Codec.GZIP, Codec.ZSTD):
            if self.media_type.endswith(codec.value):
                return codec
        return Codec.NONE

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


def _parse_annotations(raw: JSONObject, where: str) -> dict[str, str]:
    annotations = _object(raw.get("annotations") or {}, f"{where}.annotations")
    return {k: _text(v, f"{where}.annotations[{k}]") for k, v in annotations.items()}


def _parse_platform(value: object, where: str) -> Platform:
    raw = _object(value, where)
    return Platform(
        _text(raw.get("os", ""), f"{where}.os"),
        _text(raw.get("architecture", ""), f"{where}.architecture"),
        _text(raw.get("variant") or "", f"{where}.variant"),
    )


@dataclass(frozen=True, slots=True)
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
        raw = _object(load_json(data, where), where)
        if raw.get("schemaVersion") == 1:
            raise UnsupportedImage(f"{where}: docker's schema 1 is not supported", what="schema 1")
        media_type = _text(raw.get("mediaType") or media_type or OCI_MANIFEST, f"{where}.mediaType")
        if media_type not in MANIFEST_TYPES:
            raise UnsupportedImage(f"{where}: {media_type} is no image manifest", what=media_type)
        layers = _list(raw.get("layers"), f"{where}.layers")
        return cls(
            media_type=media_type,
            config=Descriptor.parse(raw.get("config"), f"{where}.config"),
            layers=tuple(
                Descriptor.parse(layer, f"{where}.layers[{i}]") for i, layer in enumerate(layers)
            ),
            annotations=_parse_annotations(raw, where),
            raw=raw,
            data=data,
        )


def parse_index(data: bytes, where: str) -> tuple[Descriptor, ...]:
    """The descriptors of an index or a manifest list."""
    raw = _object(load_json(data, where), where)
    return tuple(
        Descriptor.parse(value, f"{where}.manifests[{i}]")
        for i, value in enumerate(_list(raw.get("manifests"), f"{where}.manifests"))
    )


@dataclass(frozen=True, slots=True)
class History:
    """How a layer came about (image-spec, config.md)."""

    created_by: str
    empty_layer: bool
    raw: JSONObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config. `history` is None where the config has none."""

    diff_ids: tuple[DiffID, ...]
    history: tuple[History, ...] | None
    platform: Platform
    created: str | None
    raw: JSONObject = field(repr=False)
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, where: str = "config") -> ImageConfig:
        raw = _object(load_json(data, where), where)
        rootfs = _object(raw.get("rootfs") or {"diff_ids": []}, f"{where}.rootfs")
        diff_ids = tuple(
            DiffID(parse_digest(value, f"{where}.rootfs.diff_ids[{i}]"))
            for i, value in enumerate(_list(rootfs.get("diff_ids") or [], f"{where}.rootfs.diff_ids"))
        )
        history = raw.get("history")
        created = raw.get("created")
        return cls(
            diff_ids=diff_ids,
            history=tuple(
                _parse_history(value, f"{where}.history[{i}]")
                for i, value in enumerate(_list(history, f"{where}.history"))
            )
            if history
            else None,
            platform=_parse_platform(raw, where),
            created=None if created is None else _text(created, f"{where}.created"),
            raw=raw,
            data=data,
        )

    @property
    def layer_history(self) -> tuple[History, ...] | None:
        """The history entry of each layer; None where there is none, or not one for each layer."""
        entries = tuple(entry for entry in self.history or () if not entry.empty_layer)
        return entries if self.history and len(entries) == len(self.diff_ids) else None


def _parse_history(value: object, where: str) -> History:
    raw = _object(value, where)
    created_by = _text(raw.get("created_by") or "", f"{where}.created_by")
    return History(created_by, raw.get("empty_layer") is True, raw)
