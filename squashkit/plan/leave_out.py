"""What is left out of the new layers, though the source has it: caches of package managers, and what
somebody names. Pure.

A layer can only be without what it brings itself. What lies below the run is there all the same, unless a
whiteout hides it, which saves nothing: so a file that the base shows is hidden only where that is asked
for, and a directory that the base has stays always.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from squashkit.errors import UsageError, show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import SYMLINK, directories_above, is_hard_link, link_target
from squashkit.layers.lookup import Lower, is_symlink, resolve, way_from
from squashkit.layers.merge import LeftOut
from squashkit.layers.rootfs import Directory, Inode, Node, Place, Rootfs, bound_by
from squashkit.layers.search import Pattern, parse_pattern
from squashkit.plan.globs import Globs, any_of, decode_path, encode_path
from squashkit.plan.waste.live import Rule, own_rules
from squashkit.values import frozen
from squashkit.wording import Option

ALL_CACHES = "all"
"""The name for the caches of every package manager."""
_SHOWN = 10


@frozen
class Exclusion:
    """Paths that are to be left out, by the name that people know them by."""

    name: str
    """Of a cache that of its rule (`apt-lists`), else the glob as it was given."""
    globs: tuple[Pattern, ...]
    excepted: tuple[Pattern, ...] = ()
    """Globs, of which none may mean the path."""
    unless: tuple[Pattern, ...] = ()
    """Globs, of which none may mean anything in the tree."""
    is_cache: bool = False
    """Whether nobody named the path itself: then the base's own files stay."""


def cache_names() -> list[str]:
    """The package managers whose caches can be left out."""
    return sorted({rule.cache for rule in own_rules() if rule.cache})


def find_exclusions(caches: Sequence[str], globs: Sequence[str]) -> tuple[Exclusion, ...]:
    """Of names of package managers, and of globs as `parse_pattern` takes them. Raises UsageError for a
    name that is none, what is no glob, and a digest."""
    known = cache_names()
    for name in caches:
        if name not in known and name != ALL_CACHES:
            listed = ", ".join([*known, ALL_CACHES])
            raise UsageError(Option("drop_caches", name), f": there are {listed}")
    found = []
    for glob in dict.fromkeys(globs):
        try:
            pattern = parse_pattern(glob)
        except ValueError as error:
            raise UsageError(Option("exclude", glob), f": {error}") from error
        if pattern.is_content:
            raise UsageError(Option("exclude", glob), ": a digest names no path")
        found.append(Exclusion(pattern.text, (pattern,)))
    # What somebody named counts before what is a cache.
    asked = (rule for rule in own_rules() if rule.cache in caches or ALL_CACHES in caches)
    return (*found, *(_of_rule(rule) for rule in asked if rule.cache))


def _of_rule(rule: Rule) -> Exclusion:
    return Exclusion(rule.name, rule.paths, rule.excepted, rule.unless, is_cache=True)


class Meaning:
    """What exclusions mean in one tree. A glob goes through the tree's symlinks where it names them:
    `/bin/x` is `/usr/bin/x` where `bin` leads to `usr/bin`. Its stars and question marks mean no symlinks,
    since they would take what nobody named."""

    def __init__(
        self, exclusions: Sequence[Exclusion], rootfs: Rootfs, whole: Rootfs | None = None
    ) -> None:
        """`whole` is the tree of the whole image, where `rootfs` is that of some of its layers."""
        globs: list[tuple[tuple[int], Pattern]] = []
        self._exclusions = exclusions
        self._excepted = [any_of(one.excepted) for one in exclusions]
        for number, one in enumerate(exclusions):
            if one.unless and _is_anywhere(one.unless, whole or rootfs):
                continue
            for glob in one.globs:
                globs.append(((number,), glob))
                if not one.is_cache and (other := _through_symlinks(glob, rootfs)) is not None:
                    globs.append(((number,), other))
        self._globs = Globs(globs)

    def of(self, path: bytes) -> Exclusion | None:
        """The first exclusion that means a path, or a directory above it."""
        for (number,) in self._globs.roles_of(path):
            spared = self._excepted[number]
            if spared is None or not spared(decode_path(path)):
                return self._exclusions[number]
        return None


def _through_symlinks(glob: Pattern, rootfs: Rootfs) -> Pattern | None:
    """The glob for where the directory lies that it begins with; None where that is what it says."""
    names = glob.glob.split("/")
    literal = 0
    while literal < len(names) - 1 and not _SIGNS.search(names[literal]):
        literal += 1
    start = b"/".join(encode_path(_ESCAPED.sub(r"\1", name)) for name in names[:literal])
    at = resolve(rootfs, start, follow=True) if start else None
    if not isinstance(at, Directory) or at.path == start:
        return None
    real = _SPECIAL.sub(r"\\\g<0>", decode_path(at.path))
    return parse_pattern("/".join(["", *filter(None, [real]), *names[literal:]]))


_SIGNS = re.compile(r"(?<!\\)(?:\\\\)*[*?\[]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[*?\[\\]")


def _is_anywhere(globs: Sequence[Pattern], rootfs: Rootfs) -> bool:
    means = any_of(globs)
    return means is not None and any(means(decode_path(path)) for path, _ in iter_nodes(rootfs.root))


class _Found(NamedTuple):
    """A name in the tree that an exclusion means."""

    directory: Directory
    name: bytes
    node: Node
    by: Exclusion
    below: bool
    """Whether the layers below the run have something at its path."""
    replaced: bool
    """Whether that is another thing, which the run took the place of."""

    @property
    def path(self) -> bytes:
        return self.directory.child_path(self.name)


@dataclass(slots=True)
class Leaving:
    """Leaves out of each run of an image what exclusions mean, from the base on."""

    exclusions: Sequence[Exclusion]
    also_base: bool = False
    """Whether what the base shows is hidden."""
    left: list[LeftOut] = field(default_factory=list)
    """What was left out of the runs so far."""
    staying: list[LeftOut] = field(default_factory=list)
    """Caches that stay: the base's own, those of kept layers, what a symlink leads to."""
    refused: list[str] = field(default_factory=list)
    """What cannot be left out as it was asked for, a line each."""

    def leave(self, rootfs: Rootfs, layer: int, above: Sequence[Changeset], whole: Rootfs) -> bool:
        """Take what is meant out of the tree, whose last run ends with this layer. False where there is
        nothing of it. `above` are the layers that follow, and `whole` is the tree that all make."""
        found = list(_find(rootfs, Meaning(self.exclusions, rootfs, whole)))
        pinned = self._pinned(whole, above) if any(one.by.is_cache for one in found) else set()
        gone: list[tuple[_Found, Inode | None]] = []
        for one in reversed(found):  # what a directory holds stands behind it
            if isinstance(one.node, Directory) and one.node.children:
                continue
            if one.by.is_cache and one.path in pinned:
                self._stay(one, layer)
            elif not one.below or self.also_base:
                rootfs.take_out(one.directory, one.name)
                is_new = not one.below or one.replaced
                inode = one.node if isinstance(one.node, Inode) and is_new else None
                gone.append((one, inode))
            elif one.replaced:
                self.refused.append(f"/{show_path(one.path)} replaces what the base has there")
            elif one.by.is_cache:
                self._stay(one, layer)
            else:
                self.refused.append(f"/{show_path(one.path)} is the base's")
        counted: set[int] = set()
        for one, inode in sorted(gone, key=lambda item: item[0].path):
            size = 0
            if inode is not None and not inode.bindings and id(inode) not in counted:
                counted.add(id(inode))
                size = inode.entry.size
            self.left.append(LeftOut(one.path, size, one.by.name, layer))
        return bool(gone)

    def _pinned(self, tree: Rootfs, above: Iterable[Changeset]) -> set[bytes]:
        """The caches that must stay: what symlinks of the image lead to, and what layers above rely on."""
        meaning = Meaning(self.exclusions, tree)
        pinned = _led_to(tree, meaning)
        for changeset in above:
            needed = [link_target(entry) for entry in changeset.entries if is_hard_link(entry)]
            needed += [*changeset.whiteouts, *changeset.opaques]
            pinned.update(needed)
            for path in (*(entry.path for entry in changeset.entries), *needed):
                pinned.update(directories_above(path))
        return pinned

    def _stay(self, one: _Found, layer: int) -> None:
        if isinstance(one.node, Inode):
            size = one.node.entry.size
            self.staying.append(LeftOut(one.path, size, one.by.name, layer))

    def allow_above(self, changeset: Changeset, layer: int, *, kept: bool) -> None:
        """Look at a layer above a run. Raises UsageError where it needs what was left out; a `kept` one may
        not hide it either, since a whiteout of nothing is a broken name on overlay file systems."""
        gone = {one.path for one in self.left}
        for path in changeset.whiteouts if kept and gone else ():
            if path in gone or not gone.isdisjoint(directories_above(path)):
                raise UsageError(
                    f"layer {layer} deletes {show_path(path)}, which is to be left out of a layer below it;"
                    " merge that layer, too"
                )
        own: set[bytes] = set()
        for entry in changeset.entries:
            path = entry.path
            if is_hard_link(entry):
                target = link_target(entry)
                if target in gone and target not in own:
                    raise UsageError(
                        f"layer {layer}: {show_path(path)} is a hard link to {show_path(target)}, which"
                        " is to be left out of a layer below it"
                    )
            if any(above in gone and above not in own for above in directories_above(path)):
                raise UsageError(
                    f"layer {layer}: {show_path(path)} lies in a directory that is to be left out of a"
                    " layer below it"
                )
            own.add(entry.path)

    def finish(self, rootfs: Rootfs, kept: Collection[int]) -> None:
        """Look for what is meant in kept layers above a run, which nothing hides. Raises UsageError for all
        that cannot be left out as it was asked for."""
        if kept:
            self._look_above(rootfs, kept)
        if self.refused:
            raise self._refusal()

    def _look_above(self, rootfs: Rootfs, kept: Collection[int]) -> None:
        meaning = Meaning(self.exclusions, rootfs)
        for directory, name in _places(rootfs):
            node = directory.children[name]
            layer = bound_by(directory, name, node)
            if isinstance(node, Directory) or layer not in kept:
                continue
            path = directory.child_path(name)
            by = meaning.of(path)
            if by is None:
                continue
            if by.is_cache:
                self.staying.append(LeftOut(path, node.entry.size, by.name, layer))
            else:
                self.refused.append(f"/{show_path(path)} is in layer {layer}, which is kept")

    def _refusal(self) -> UsageError:
        lines = sorted(set(self.refused))
        more = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        return UsageError(
            "what other layers have cannot be left out of the new one; ",
            Option("Merge.also_base", True),
            " hides what the base has, which saves nothing",
            details="".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more]),
        )


def _places(rootfs: Rootfs) -> Iterator[Place]:
    return ((directory, name) for directory in rootfs.directories.values() for name in directory.children)


def _find(rootfs: Rootfs, meaning: Meaning) -> Iterator[_Found]:
    """All that is meant, each directory before what it holds: but for directories that the base has."""
    stack: list[tuple[Directory, Directory | None]] = [(rootfs.root, rootfs.root)]
    while stack:
        directory, twin = stack.pop()
        lower = Lower.of(directory, twin, rootfs)
        for name, node in sorted(directory.children.items()):
            by = meaning.of(directory.child_path(name))
            below = lower.at(name, node)
            if isinstance(node, Directory):
                stack.append((node, below if isinstance(below, Directory) else None))
                if isinstance(below, Directory):
                    continue
            if by is not None:
                yield _Found(directory, name, node, by, below is not None, below is not node)


def _led_to(rootfs: Rootfs, meaning: Meaning) -> set[bytes]:
    """The paths of caches through which symlinks lead that stay, and all that they lead to: uv, conda and
    pnpm can be told to link so, and then what is in the cache is what runs."""

    def is_cache(path: bytes) -> bool:
        by = meaning.of(path)
        return by is not None and by.is_cache

    led: set[bytes] = set()
    todo = [place for place in _places(rootfs) if is_symlink(*place) and meaning.of(_path(place)) is None]
    while todo:
        passed, at = way_from(rootfs, *todo.pop())
        for place in passed:
            path = _path(place)
            if path not in led and is_cache(path):
                led.add(path)
                if is_symlink(*place):
                    todo.append(place)
        if not isinstance(at, Directory) or not is_cache(at.path):
            continue
        for path, node in iter_nodes(at):
            if path in led:
                continue
            led.add(path)
            if isinstance(node, Inode) and node.entry.typeflag == SYMLINK:
                parent, _, name = path.rpartition(b"/")
                todo.append((rootfs.directories[parent], name))
    return led


def _path(place: Place) -> bytes:
    directory, name = place
    return directory.child_path(name)
