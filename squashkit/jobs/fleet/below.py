"""What a registry lists below `docker://HOST/PREFIX/`: which of it may be images, and what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from squashkit.amounts import count, some
from squashkit.errors import (
    ImageNotFound,
    InvalidReference,
    TransportError,
    Unauthorized,
    UsageError,
    show_text,
)
from squashkit.oci.artifacts import OTHER, kind_by_tag
from squashkit.oci.names import ImageName
from squashkit.transports.registry.access import Registries
from squashkit.transports.side_by_side import side_by_side

if TYPE_CHECKING:
    from squashkit.transports.registry.http import Registry

_NAMED = 20
"""The most names in a note."""


@dataclass(slots=True)
class Below:
    """A place in a registry, and what was found there."""

    host: str
    prefix: str
    """With its slash at the end; empty for all that the registry has."""
    whole: str
    """The repository that the prefix itself may be; empty where there is none."""
    registries: Registries
    kinds: Counter[str] = field(default_factory=Counter, init=False)
    """What is no image, counted."""
    _bad_names: list[str] = field(default_factory=list, init=False)
    _repositories: list[str] = field(default_factory=list, init=False)
    _unread: dict[str, TransportError] = field(default_factory=dict, init=False)
    """Repositories whose tags cannot be listed."""
    _refused: TransportError | None = field(default=None, init=False)
    """Why the registry does not list its repositories."""

    @classmethod
    def parse(cls, text: str, registries: Registries) -> Below:
        """From `docker://HOST/PREFIX/`. Raises UsageError where it names no host."""
        host, _, prefix = text.removeprefix("docker://").partition("/")
        bare = prefix.rstrip("/")
        asked = ImageName.parse(f"{host}/{bare or 'any'}")
        if asked.host != host:
            raise UsageError(f"{text} names no host: docker://HOST/PREFIX/")
        return cls(host, f"{bare}/" if bare else "", asked.repository if bare else "", registries)

    @property
    def title(self) -> str:
        return f"docker://{self.host}/{self.prefix}"

    def names(self, *, every: bool = False) -> list[str]:
        """Every tag that may be an image's, or `every` one, with its host and repository: older releases
        first, as far as tags tell them. A repository that cannot be listed is left out."""
        from squashkit.transports.registry.repository import Repository

        registry = self.registries.get(ImageName.parse(f"{self.host}/{self.whole or 'any'}"))
        self._repositories = self._find(registry)
        names = []
        with side_by_side(
            self.registries, lambda path: Repository(registry, path).tags(), self._repositories
        ) as listed:
            for path, tags in zip(self._repositories, listed, strict=True):
                try:
                    names += self._named(path, tags.result(), every=every)
                except (ImageNotFound, Unauthorized) as error:
                    self._unread[f"{self.host}/{path}"] = error
        return names

    def _find(self, registry: Registry) -> list[str]:
        """The repositories whose names begin so. Where the registry lists none, the prefix may be one."""
        from squashkit.transports.registry.repository import repositories

        listed: Sequence[str] = ()
        try:
            listed = repositories(registry)
        except (ImageNotFound, Unauthorized) as error:
            self._refused = error
        found = sorted(path for path in listed if path.startswith(self.prefix) or path == self.whole)
        return found or ([self.whole] if self.whole else [])

    def _named(self, path: str, tags: Sequence[str], *, every: bool) -> list[str]:
        names = []
        for tag in sorted(tags, key=_release):
            if not every and (kind := kind_by_tag(tag)):
                self.kinds[kind] += 1
                continue
            name = f"{self.host}/{path}:{tag}"
            try:
                ImageName.parse(name)
                names.append(name)
            except InvalidReference as error:
                self._bad_names.append(f"Left out: {show_text(name)}: {error}.")
        return names

    def notes(self, gone: Sequence[str]) -> list[str]:
        """What a person should know of what was left out. `gone` are tags that were listed and are not
        there."""
        notes = list(self._bad_names)
        if self._refused is not None:
            notes.append(
                f"{self.host} does not list its repositories:"
                f" {self.title} means the tags of {self.host}/{self.whole} alone."
            )
        total = f"{len(self._repositories):,} repositories"
        for kind, why in ((ImageNotFound, "without a list of tags"), (Unauthorized, "without access")):
            found = [show_text(path) for path, error in self._unread.items() if isinstance(error, kind)]
            if found:
                of = f"{len(found):,} of {total} {why} ({some(found, _NAMED)})"
                notes.append(f"Left out: {of} below {self.title}.")
        if gone:
            there = (
                f"{count(len(gone), 'tag')} without a manifest ({some(list(map(show_text, gone)), _NAMED)})"
            )
            notes.append(f"Left out: {there} below {self.title}.")
        if self.kinds:
            notes.append(f"Left out: {self._others()} below {self.title}.")
        return notes

    def _others(self) -> str:
        """What is no image, in words."""
        kinds = sorted(self.kinds, key=lambda kind: (kind == OTHER, -self.kinds[kind], kind))
        return ", ".join(count(self.kinds[kind], kind) for kind in kinds)

    def nothing(self) -> TransportError:
        """What to raise where no image was found."""
        if self._refused is not None and not self.kinds:
            itself = f", and {self.host}/{self.whole} is none whose tags it lists" if self.whole else ""
            kind = Unauthorized if isinstance(self._refused, Unauthorized) else ImageNotFound
            way = f"; docker://{self.host}/REPO/ names one repository, which takes no such list{itself}"
            return kind(*self._refused.parts, way, reference=self.title)
        for error in self._unread.values():
            if isinstance(error, Unauthorized):
                return error
        why = f" but {self._others()}" if self.kinds else ""
        return ImageNotFound(f"the registry lists nothing below {self.title}{why}", reference=self.title)

    def rest(self, name: str) -> str:
        """What of a name stands below this place; of a repository that is the place itself, its last
        part."""
        path = ImageName.parse(name).repository
        if path == self.whole:
            return name.rpartition("/")[2]
        return name.removeprefix(f"{self.host}/{self.prefix}")


def _release(tag: str) -> list[tuple[int, int | str]]:
    """By which tags sort as releases do: 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", tag) if part]
