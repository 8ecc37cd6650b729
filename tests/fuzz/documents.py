"""JSON documents of images with a few things wrong: fields gone, of another type, twice, oddly spelt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Json = Any


class Pairs(list[tuple[str, Json]]):
    """An object as what it is in text: keys in their order, which may repeat."""


def pairs(value: Json) -> Json:
    """A value whose objects are `Pairs`."""
    if isinstance(value, dict):
        return Pairs((key, pairs(inner)) for key, inner in value.items())
    return [pairs(inner) for inner in value] if isinstance(value, list) else value


def text_of(value: Json) -> str:
    """The JSON of a value."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text_of(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value)


DIGEST = "sha256:" + "0" * 64
TEXTS = st.sampled_from(
    [
        "", "a", DIGEST, "sha256:" + "A" * 64, "sha512:" + "0" * 128, "sha256:0", "linux", "windows",
        "unknown",
        "amd64", "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "\ud800", "\x1b[2J", "\u202e", "\0",
        "docker.io/library/app:1", "1970-01-01T00:00:00Z", "../../etc/passwd", "/", "bGF5ZXI=",
    ]
) | st.text(max_size=8)  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(Pairs),
    max_leaves=6,
)
SPELL: list[Callable[[str], str]] = [
    str.upper, str.lower, str.title, lambda key: key.replace("s", "\u017f"), lambda key: key.replace("k",
    "\u212a"),
    lambda key: key + " ",
]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, document: Json, most: int = 3) -> str:
    """The text of a document with up to `most` changes, each somewhere in it."""
    value = pairs(document)
    for _ in range(draw(st.integers(0, most))):
        value = _change(draw, value)
    text = text_of(value)
    if draw(st.integers(0, 19)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=3)) + text[at + draw(st.integers(0, 5)) :]
    return text


def _change(draw: st.DrawFn, value: Json) -> Json:
    """Go down some steps, and change what is there."""
    if not isinstance(value, list) or not value or draw(st.integers(0, 5)) == 0:
        return draw(ODD)
    at = draw(st.integers(0, len(value) - 1))
    how = draw(st.integers(0, 9))
    if not isinstance(value, Pairs):
        changed = list(value)
        if how == 0:
            del changed[at]
        elif how == 1:
            changed.insert(at, value[draw(st.integers(0, len(value) - 1))])
        else:
            changed[at] = _change(draw, value[at])
        return changed
    members = Pairs(value)
    key, inner = members[at]
    if how == 0:
        del members[at]
    elif how == 1:
        members.append((draw(st.sampled_from(SPELL))(key), draw(ODD)))
    elif how == 2:
        members.append((key, draw(ODD)))
    elif how == 3:
        members[at] = (draw(st.sampled_from(SPELL))(key), inner)
    elif how == 4:
        members.append((draw(TEXTS), draw(ODD)))
    else:
        members[at] = (key, _change(draw, inner))
    return members
