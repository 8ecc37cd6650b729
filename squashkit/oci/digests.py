"""Digests: the hash that names a blob, a layer's content, or a stack of layers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NewType

from squashkit.errors import InvalidImage, UnsupportedImage

Digest = NewType("Digest", str)
"""`sha256:` and 64 hex digits: the hash of a blob as it is stored."""
DiffID = NewType("DiffID", str)
"""The digest of a layer's uncompressed tar."""
ChainID = NewType("ChainID", str)
"""The digest of a stack of layers (image-spec, config.md, "Layer ChainID")."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ANY_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
"""Of any algorithm (image-spec, descriptor.md, "Digests")."""


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_digest(text: object, where: str) -> Digest:
    """Check a digest. Only sha256 is supported, which is all that registries serve for layers."""
    if not isinstance(text, str):
        raise InvalidImage(f"expected a digest, found {text!r}", where=where)
    if not _DIGEST.fullmatch(text):
        algorithm = algorithm_of(text)
        if algorithm in ("sha384", "sha512", "blake3"):
            raise UnsupportedImage(f"{where}: {algorithm} digests are not supported", what=algorithm)
        raise InvalidImage(f"not a sha256 digest: {text!r}", where=where)
    return Digest(text)


def parse_any_digest(text: object, where: str) -> Digest:
    """Check a digest that may be of an algorithm which squashkit does not know: `is_digest` tells."""
    if isinstance(text, str) and not text.startswith("sha256:") and _ANY_DIGEST.fullmatch(text):
        return Digest(text)
    return parse_digest(text, where)


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 digest."""
    return _DIGEST.fullmatch(text) is not None


def is_any_digest(text: str) -> bool:
    """Whether a text has the form of a digest, of whatever algorithm and length."""
    return _ANY_DIGEST.fullmatch(text) is not None


def algorithm_of(digest: str) -> str:
    """The hash that a digest is of: `sha256`."""
    return digest.partition(":")[0]


def chain_ids(diff_ids: Sequence[DiffID]) -> tuple[ChainID, ...]:
    """The chain_id of every prefix of a stack of layers, base first."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        chain.append(ChainID(sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id))
    return tuple(chain)
