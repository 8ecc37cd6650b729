"""Paragraphs of fields, as dpkg's databases have them (deb822(5)); apk's differ in their fields alone."""

from __future__ import annotations

import re
from collections.abc import Iterable


def paragraphs(text: bytes) -> list[bytes]:
    """The paragraphs, each with one line end."""
    return [part.strip(b"\n") + b"\n" for part in re.split(rb"\n[ \t]*\n", text) if part.strip()]


def joined(parts: Iterable[bytes]) -> bytes:
    """Paragraphs as a database: each with an empty line after it."""
    return b"".join(part + b"\n" for part in parts)


def fields_of(paragraph: bytes) -> dict[bytes, bytes]:
    """The first lines of a paragraph's fields."""
    lines = (line.partition(b":") for line in paragraph.splitlines() if line[:1] not in (b" ", b"\t", b""))
    return {key: value.strip() for key, sign, value in lines if sign}


def lines_of(paragraph: bytes, field: bytes) -> list[bytes]:
    """The lines of a field after its first one, without the space before them."""
    found = re.search(rb"(?m)^" + re.escape(field) + rb":.*\n((?:[ \t].*\n?)*)", paragraph)
    return [line.strip() for line in found[1].splitlines()] if found else []
