"""Whether something is anywhere in an image: a path, a pattern of paths, or a content. Pure.

People squash to get rid of secrets, so this looks where nobody else does: at entries that layers above
have hidden, at whiteouts, which tell a name, and at all text of config, history and manifest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from squashkit.changeset import Changeset, Entry
from squashkit.compare import TYPE_NAMES
from squashkit.oci import is_digest
from squashkit.tar import REGULAR, SYMLINK

_MAX_ALIASES = 64


@dataclass(frozen=True, slots=True)
class Pattern:
    """What must not be there, as it was asked for: a path, a glob, or the digest of a content."""

    text: str
    paths: re.Pattern[bytes] | None = field(compare=False, repr=False)
    """Finds it among paths of layers; None for a digest."""
    words: re.Pattern[str] = field(compare=False, repr=False)
    """Finds it in text."""

    @property
    def is_content(self) -> bool:
        return self.paths is None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something still is."""

    pattern: str
    where: str
    """A layer, or a field of a document."""
    what: str
    """What was found there, in words."""
    path: bytes | None = None
    """Of the entry, in a layer."""


def parse_pattern(text: str) -> Pattern:
    """From a path, a glob (`*` and `?` within a name, `**` across directories, `[abc]`) or `sha256:...`.

    A pattern without a slash means that name in every directory; another one counts from the root. What
    lies below a directory that is meant, is meant too. Raises ValueError for a pattern of nothing.
    """
    if is_digest(text):
        return Pattern(text, None, re.compile(re.escape(text.removeprefix("sha256:"))))
    if text.startswith("sha256:"):
        raise ValueError(f"{text!r} is no digest: 64 hex digits follow sha256:")
    path = "/".join(part for part in text.split("/") if part not in ("", "."))
    if not path:
        raise ValueError(f"{text!r} names nothing")
    body = _translate(path)
    start = "^" if "/" in text else "(?:^|/)"
    paths = re.compile(_encode(f"{start}{body}(?:/|$)"), re.DOTALL)
    before = "" if path.startswith("*") else r"(?<![\w.-])"
    after = "" if path.endswith("*") else r"(?![\w.-])"
    return Pattern(text, paths, re.compile(before + body + after, re.DOTALL))


def _encode(text: str) -> bytes:
    """A pattern for paths, which are bytes."""
    return text.encode("utf-8", "surrogateescape")


def _translate(glob: str) -> str:
    """A glob as a regular expression."""
    out = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            out.append(".*")
            at += 2
        elif glob[at] == "*":
            out.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            out.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            inside = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            at = end + 1
        else:
            out.append(re.escape(glob[at]))
            at += 1
    return "".join(out)


def with_aliases(pattern: Pattern, changesets: Iterable[Changeset]) -> list[Pattern]:
    """The pattern, and those that mean the same through the symlinks that layers have: `/bin/x` is
    `/usr/bin/x` where `bin` leads to `usr/bin`."""
    if pattern.is_content or "/" not in pattern.text:
        return [pattern]
    links: dict[str, set[str]] = {}
    for changeset in changesets:
        for path, record in changeset.entries:
            if record.typeflag == SYMLINK:
                target = _decode(record.linkname)
                links.setdefault(_decode(path), set()).add(target)
    found = {_clean(pattern.text)}
    todo = list(found)
    while todo and len(found) < _MAX_ALIASES:
        parts = todo.pop().split("/")
        for end in range(1, len(parts)):
            parent = "/".join(parts[: end - 1])
            for target in links.get("/".join(parts[:end]), ()):
                base = target if target.startswith("/") else f"{parent}/{target}"
                other = _clean("/".join([base, *parts[end:]]))
                if other and other not in found:
                    found.add(other)
                    todo.append(other)
    others = sorted(found - {_clean(pattern.text)})
    return [pattern, *(Pattern(pattern.text, parse_pattern("/" + o).paths, pattern.words) for o in others)]


def _clean(path: str) -> str:
    """A path inside the root, without `.` and `..`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _decode(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def find_paths(
    patterns: Sequence[Pattern], changeset: Changeset, where: str, dead: set[int]
) -> Iterator[Place]:
    """The paths of a layer that patterns mean. `dead` has the `id` of every entry that nobody sees."""
    for pattern in patterns:
        if pattern.paths is None:
            continue
        search = pattern.paths.search
        for entry in changeset.entries:
            if search(entry.path):
                yield Place(pattern.text, where, describe(entry, dead), entry.path)
        for path in changeset.whiteouts:
            if search(path):
                yield Place(pattern.text, where, "a whiteout, which tells the name", path)


def describe(entry: Entry, dead: set[int]) -> str:
    """An entry in words."""
    kind = TYPE_NAMES[entry.record.typeflag]
    state = "dead: hidden by a layer above" if id(entry) in dead else "in the root file system"
    return f"{kind}, {state}"


def may_hold(patterns: Sequence[Pattern], entry: Entry) -> bool:
    """Whether an entry's content must be read to tell whether a pattern means it."""
    return entry.record.typeflag == REGULAR and any(pattern.is_content for pattern in patterns)


def find_text(patterns: Sequence[Pattern], document: Mapping[str, Any], where: str) -> Iterator[Place]:
    """The strings of a JSON document that patterns mean: that name a path, or are a content, whole or
    behind the `=` of an environment variable."""
    wanted = {pattern.text for pattern in patterns if pattern.is_content}
    for place, text in _strings(document, where):
        hit = [pattern.text for pattern in patterns if pattern.words.search(text)]
        if wanted:
            hit += [digest for digest in _digests_of(text) if digest in wanted]
        for found in dict.fromkeys(hit):
            yield Place(found, place, text)


def _strings(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Every string of a document with its place, keys included."""
    stack = [(where, value)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, Mapping):
            stack += [(f"{place}.{key}", value[key]) for key in reversed(list(value))]
            yield from ((place, key) for key in value if isinstance(key, str))
        elif isinstance(value, list):
            stack += [(f"{place}[{i}]", value[i]) for i in reversed(range(len(value)))]


def _digests_of(text: str) -> Iterator[str]:
    """Digests of what a text may be as a file's content: with and without the newline at its end."""
    for part in {text, text.partition("=")[2]}:
        for content in (part, part + "\n"):
            yield "sha256:" + hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
