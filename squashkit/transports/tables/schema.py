"""The tables of a scan: their columns and types. docs/scan.md says what each means, and in which unit.

Names of files and of extended attributes are bytes, as layers have them, and so are digests: 32 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from squashkit.errors import show_text

BLOB, TEXT, INTEGER, BOOLEAN, BLOBS = "BLOB", "VARCHAR", "BIGINT", "BOOLEAN", "MAP(BLOB, BLOB)"

IMAGES, IMAGE_LAYERS, LAYERS, ENTRIES, HEADERS = "images", "image_layers", "layers", "entries", "headers"


class Column(NamedTuple):
    """One column of a table; the type is one of DuckDB's."""

    name: str
    type: str


BATCH = Column("batch", TEXT)
"""By which file the row came. Views leave it out."""

TABLES: dict[str, Sequence[Column]] = {
    IMAGES: (
        Column("image", INTEGER),
        Column("name", TEXT),
        Column("repository", TEXT),
        Column("reference", TEXT),
        Column("image_id", BLOB),
        Column("manifest_digest", BLOB),
        Column("os", TEXT),
        Column("architecture", TEXT),
        Column("variant", TEXT),
        Column("layers", INTEGER),
        Column("in_registry", BOOLEAN),
        Column("config", BLOB),
        Column("manifest", BLOB),
    ),
    IMAGE_LAYERS: (
        Column("image", INTEGER),
        Column("position", INTEGER),
        Column("diff_id", BLOB),
        Column("chain_id", BLOB),
        Column("digest", BLOB),
        Column("size", INTEGER),
        Column("media_type", TEXT),
        Column("compression", TEXT),
        Column("created_by", TEXT),
    ),
    LAYERS: (
        Column("diff_id", BLOB),
        Column("digest", BLOB),
        Column("size", INTEGER),
        Column("compression", TEXT),
        Column("diff_size", INTEGER),
        Column("content_size", INTEGER),
        Column("entries", INTEGER),
        Column("reference", TEXT),
        Column("error", TEXT),
        Column("exit_code", INTEGER),
        BATCH,
    ),
    ENTRIES: (
        Column("diff_id", BLOB),
        Column("path", BLOB),
        Column("type", TEXT),
        Column("size", INTEGER),
        Column("digest", BLOB),
        Column("mode", INTEGER),
        Column("uid", INTEGER),
        Column("gid", INTEGER),
        Column("mtime", INTEGER),
        Column("link", BLOB),
        Column("device_major", INTEGER),
        Column("device_minor", INTEGER),
        Column("xattrs", BLOBS),
        Column("start", INTEGER),
        Column("header_bytes", INTEGER),
        Column("sparse_bytes", INTEGER),
        BATCH,
    ),
    HEADERS: (Column("diff_id", BLOB), Column("headers", BLOB), BATCH),
}
Row = tuple[object, ...]
"""The values of one row, in the order of the columns."""


def raw_digest(digest: str) -> bytes | None:
    """A digest as tables have it; None where there is none."""
    return bytes.fromhex(digest.removeprefix("sha256:")) if digest else None


def digest_text(raw: bytes) -> str:
    """A digest as documents write it."""
    return f"sha256:{raw.hex()}"


def clean(text: str) -> str:
    """A text as UTF-8 can have it: what of a name is no text is escaped."""
    return show_text(text.encode("utf-8", "backslashreplace").decode())
