"""Whether something is anywhere in an image: a path, a pattern of paths, or a content. Pure.

People squash to get rid of secrets, so this looks where nobody else does: at entries that layers above
have hidden, at whiteouts and what AUFS left, which tell names, and at all text of config, history and
manifest. What cannot be looked into is a place too: it proves nothing.
"""

from __future__ import annotations

import hashlib
import re
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from squashkit.errors import show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import HARD_LINK, SYMLINK, TYPE_NAMES, Entry
from squashkit.layers.links import MAX_SYMLINKS
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.oci.digests import is_digest
from squashkit.values import frozen

_MAX_ALIASES = 1000
_MAX_STEPS = 1_000_000
"""Of looking for symlinks on the way to a path: about a second."""
_PATH_MAX = 4096
_SPECIAL = re.compile(r"[*?\[\\]")
_ESCAPED = r"\\\g<0>"
_FREE_KEYS = frozenset({"Labels", "annotations", "Volumes", "ExposedPorts"})
"""Objects whose keys people choose; other keys are the format's own words."""


@frozen
class Pattern:
    """What must not be there, as it was asked for: a path, a glob, or the digest of a content."""

    text: str
    glob: str = field(compare=False, repr=False)
    """The path or the glob without slashes at its ends; a digest's 64 digits."""
    paths: re.Pattern[str] | Aliases | None = field(compare=False, repr=False)
    """Finds it among paths of layers; None for a digest."""
    words: re.Pattern[str] = field(compare=False, repr=False)
    """Finds it in text."""

    @property
    def is_content(self) -> bool:
        return self.paths is None


@frozen
class Sighting:
    """Where something still is, or cannot be looked for."""

    pattern: str
    where: str
    """A layer, or a field of a document."""
    what: str
    """What was found there, in words."""
    path: bytes | None = None
    """Of the entry, in a layer."""


def parse_pattern(text: str) -> Pattern:
    """From a path, a glob (`*` and `?` within a name, `**` across directories, `[abc]`, `\\*`) or
    `sha256:...`.

    A pattern without a slash inside means that name in every directory; another one counts from the root.
    What lies below a directory that is meant, is meant too. Raises ValueError for what is no pattern.
    """
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if is_digest(text):
        digits = text.removeprefix("sha256:")
        return Pattern(shown, digits, None, re.compile(digits))
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"{shown!r} looks like a digest; write sha256:{shown.lower()}")
    if re.match(r"sha\d+:", text, re.IGNORECASE):
        raise ValueError(f"{shown!r} is no digest: sha256: and 64 hex digits in lower case")
    path = _clean(text)
    if not path:
        raise ValueError(f"{shown!r} names nothing")
    start = "^" if "/" in text.rstrip("/") else "(?:^|/)"
    inner = path.strip("*")
    before = "" if path.startswith("*") else r"(?<![\w.-])"
    after = "" if path.endswith("*") else r"(?![\w-]|\.\w)"
    try:
        return Pattern(
            shown,
            path,
            re.compile(f"{start}{_translate(path)}(?:/|$)", re.DOTALL),
            re.compile(before + _translate(inner, star=r"[^/\s]{0,255}") + after, re.DOTALL),
        )
    except re.error as error:
        raise ValueError(f"{shown!r} is no glob: {error}") from error


def _translate(glob: str, star: str = "[^/]*") -> str:
    """A glob as a regular expression. Of several stars in a name each but the last takes the nearest
    match and keeps it, so that no name makes the search go back and forth."""
    parts = []
    for number, name in enumerate(glob.split("/")):
        if name == "**":
            parts.append("(?:.*/)?" if number < glob.count("/") else ".*")
            continue
        pieces = [_piece(piece) for piece in re.split(r"(?<!\\)\*+", name)]
        middle = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1])
        end = star + pieces[-1] if len(pieces) > 1 else ""
        parts.append(pieces[0] + middle + end + ("/" if number < glob.count("/") else ""))
    return "".join(parts)


def _piece(glob: str) -> str:
    """A part of a name without stars."""
    out = []
    at = 0
    while at < len(glob):
        sign = glob[at]
        end = glob.find("]", at + 2) if sign == "[" else -1
        if sign == "?":
            out.append("[^/]")
        elif sign == "\\" and at + 1 < len(glob):
            at += 1
            out.append(re.escape(glob[at]))
        elif end > 0:
            inside = glob[at + 1 : end]
            negated = inside[0] in "!^" and len(inside) > 1
            body = re.sub(r"([\\\[\]&|~^])", r"\\\1", inside[1:] if negated else inside)
            out.append(f"[{'^' * negated}{body}]")
            at = end
        else:
            out.append(re.escape(sign))
        at += 1
    return "".join(out)


Symlinks = Mapping[str, Iterable[str]]
"""Paths of symlinks, each with all that it leads to, as it is written."""


def links_in_layers(changesets: Iterable[Changeset]) -> Symlinks:
    """The symlinks that layers have, those that are gone again too."""
    links: dict[str, dict[str, None]] = {}
    for changeset in changesets:
        for entry in changeset.entries:
            if entry.typeflag == SYMLINK:
                links.setdefault(_decode(entry.path), {})[_decode(entry.linkname)] = None
    return links


def with_aliases(pattern: Pattern, links: Symlinks) -> tuple[list[Pattern], bool]:
    """The pattern, and one for all paths that mean the same through symlinks: `/bin/x` is `/usr/bin/x`
    where `bin` leads to `usr/bin`. False where there are too many to follow all."""
    if pattern.is_content or "/" not in pattern.glob:
        return [pattern], True
    names = sorted(links)
    found = {pattern.glob: None}
    todo = deque([(pattern.glob, 0)])
    steps = 0
    while todo:
        glob, followed = todo.popleft()
        if followed == MAX_SYMLINKS:  # nobody follows more: a loop
            continue
        for slash in re.finditer("/", glob):
            head, rest = glob[: slash.start()], glob[slash.end() :]
            met = _links_at(head, links, names)
            steps += 1 + len(head) // 64 + len(met)
            if steps > _MAX_STEPS or len(found) > _MAX_ALIASES:
                return [pattern, _meaning(pattern, found)], False
            for link in met if not _is_glob(head) else filter(_meets(head), met):
                for target in links[link]:
                    base = target if target.startswith("/") else f"{link.rpartition('/')[0]}/{target}"
                    other = _clean(f"{_SPECIAL.sub(_ESCAPED, base)}/{rest}")
                    if len(other) > _PATH_MAX:
                        return [pattern, _meaning(pattern, found)], False
                    if other and other not in found:
                        found[other] = None
                        todo.append((other, followed + 1))
    return [pattern, _meaning(pattern, found)] if len(found) > 1 else [pattern], True


def _links_at(head: str, links: Symlinks, names: Sequence[str]) -> Sequence[str]:
    """The symlinks that a path, or a glob of paths, may mean: of a glob all that begin as it does."""
    if not _is_glob(head):
        return [head] if head in links else []
    start = head[: _SPECIAL.search(head).start()]  # type: ignore[union-attr]
    return names[bisect_left(names, start) : bisect_left(names, start + chr(sys.maxunicode))]


def _meets(head: str) -> Callable[[str], object]:
    return re.compile(_translate(head), re.DOTALL).fullmatch


def _meaning(pattern: Pattern, globs: Iterable[str]) -> Pattern:
    """The pattern for other paths."""
    return replace(pattern, paths=Aliases.of(globs))


@frozen
class Aliases:
    """Many globs at once. Each is a folder that is known by its name, and the rest; the rests are few."""

    whole: frozenset[str]
    """Paths that are no globs."""
    below: Mapping[str, Sequence[re.Pattern[str]]]
    """What is looked for in a folder, whose name ends in a slash but for the root's."""

    @classmethod
    def of(cls, globs: Iterable[str]) -> Aliases:
        whole: set[str] = set()
        below: dict[str, list[re.Pattern[str]]] = {}
        rests: dict[str, re.Pattern[str]] = {}
        for glob in globs:
            special = _SPECIAL.search(glob)
            if special is None:
                whole.add(glob)
                continue
            start = glob.rfind("/", 0, special.start()) + 1
            rest = glob[start:]
            if rest not in rests:
                rests[rest] = re.compile(f"{_translate(rest)}(?:/|$)", re.DOTALL)
            below.setdefault(glob[:start], []).append(rests[rest])
        return cls(frozenset(whole), below)

    def search(self, path: str) -> bool:
        """Whether one of them means this path, or a directory above it."""
        at = 0
        while True:
            end = path.find("/", at)
            if (path if end < 0 else path[:end]) in self.whole:
                return True
            if any(rest.match(path, at) for rest in self.below.get(path[:at], ())):
                return True
            if end < 0:
                return False
            at = end + 1


def _is_glob(text: str) -> bool:
    return _SPECIAL.search(text) is not None


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
) -> Iterator[Sighting]:
    """The paths of a layer that patterns mean: of entries, of what they link to, of whiteouts and other
    markers. `dead` has the `id` of every entry that nobody sees."""
    for pattern in patterns:
        if pattern.paths is None:
            continue
        search = pattern.paths.search
        for entry in changeset.entries:
            path = entry.path
            if search(_decode(path)):
                yield Sighting(pattern.text, where, describe(entry, dead), path)
            elif entry.typeflag in (SYMLINK, HARD_LINK) and search(_clean(_decode(entry.linkname))):
                yield Sighting(pattern.text, where, f"a link to /{show_path(entry.linkname)}", path)
        for path in changeset.whiteouts:
            if search(_decode(path)):
                yield Sighting(pattern.text, where, "a whiteout, which tells the name", path)
        for path in [marker.path for marker in changeset.markers]:
            if b"/.wh..wh." in b"/" + path and search(_decode(path)):
                yield Sighting(pattern.text, where, "a marker, which tells the name", path)


def find_applied(patterns: Sequence[Pattern], rootfs: Rootfs, where: Sequence[str]) -> Iterator[Sighting]:
    """Paths of the root file system, present and past, under which layers do not list them: what a layer
    put through a symlink. `where` names the layers."""
    moved = [
        (path, node.layer, "in the root file system")
        for path, node in iter_nodes(rootfs.root)
        if isinstance(node, Inode) and node.bindings is None and node.entry.path != path
    ]
    moved += [
        (dropped.path, dropped.layer, "dead: hidden by a layer above")
        for dropped in rootfs.dropped
        if dropped.path != dropped.entry.path
    ]
    for pattern in patterns:
        for path, layer, state in moved:
            if pattern.paths is not None and pattern.paths.search(_decode(path)):
                yield Sighting(pattern.text, where[layer], f"put there through a symlink, {state}", path)


def describe(entry: Entry, dead: set[int]) -> str:
    """An entry in words."""
    kind = TYPE_NAMES[entry.typeflag]
    state = "dead: hidden by a layer above" if id(entry) in dead else "in the root file system"
    return f"{kind}, {state}"


def find_text(patterns: Sequence[Pattern], document: object, where: str) -> Iterator[Sighting]:
    """The strings of a JSON document that patterns mean: that name a path, or are a content, whole or
    in part: a word, or what stands behind a `=`."""
    wanted = {pattern.text for pattern in patterns if pattern.is_content}
    for place, text in _strings(document, where):
        flat = re.sub("/+", "/", text)
        hit = [pattern.text for pattern in patterns if pattern.words.search(flat)]
        if wanted:
            hit += [digest for digest in digests_of(text) if digest in wanted]
        for found in dict.fromkeys(hit):
            yield Sighting(found, place, text)


def _strings(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Every string of a document with its place, keys included where people choose them."""
    stack = [(where, value, False)]
    while stack:
        place, value, free = stack.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, Mapping):
            stack += [(f"{place}.{key}", value[key], key in _FREE_KEYS) for key in reversed(list(value))]
            if free:
                yield from ((place, key) for key in value)
        elif isinstance(value, list):
            stack += [(f"{place}[{i}]", value[i], False) for i in reversed(range(len(value)))]


def digests_of(text: str) -> Iterator[str]:
    """Digests of what a text, and each part of it, may be as a file's content: with and without the
    newline at its end, with and without quotes."""
    parts = {text}
    for word in [text, *text.split()]:
        parts.add(word)
        while "=" in word:
            word = word.partition("=")[2]
            parts.add(word)
    for part in parts | {part.strip("\"';") for part in parts}:
        for content in (part, part + "\n"):
            yield "sha256:" + hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
