"""What the words of a command line may be completed to, for the options and arguments that ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from squashkit.errors import SquashkitError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FILES = ("docker-archive:", "oci-archive:", "oci:")
"""Ways to an image that begin a path."""
TRANSPORTS = (*FILES, "docker-daemon:", "containers-storage:", "docker://")
PLATFORMS = (
    *("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386"),
    *("linux/ppc64le", "linux/riscv64", "linux/s390x"),
)
"""Those that common images have; any other can be typed."""
CODECS = ("gzip", "zstd", "none")


def images(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Paths, behind the ways to an image too, and these ways."""
    return _items([*_starting(TRANSPORTS, word), *_image_paths(word)])


def bases(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """What the catalogue of bases has, and what an image may be."""
    return _items([*_starting(_catalogue(), word), *_starting(TRANSPORTS, word), *_image_paths(word)])


def known_bases(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """What the catalogue of bases has."""
    return _items(_starting(_catalogue(), word))


def platforms(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Common platforms, and all of them."""
    return _items(_starting((*PLATFORMS, "all"), word))


def one_platform(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Common platforms."""
    return _items(_starting(PLATFORMS, word))


def files(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Paths."""
    return _items(paths(word))


def codecs(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """What new layers can be stored as."""
    return _items(_starting(CODECS, word))


def kinds(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Kinds of differences that are not in the list yet."""
    from squashkit.jobs.diff import KNOWN_KINDS

    before, comma, last = word.rpartition(",")
    left = [kind for kind in KNOWN_KINDS.split(", ") if kind not in before.split(",")]
    return _items(before + comma + kind for kind in _starting(left, last))


def caches(ctx: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    """Package managers whose caches can be left out, that are not in the list yet."""
    from squashkit.jobs.leave_out import known_caches

    before, comma, last = word.rpartition(",")
    left = [name for name in known_caches() if name not in before.split(",")]
    return _items(before + comma + name for name in _starting(left, last))


def paths(word: str, *, only_folders: bool = False) -> Iterator[str]:
    """The files and folders that a path begins to name, these with a slash; hidden ones after a dot."""
    folder, slash, start = word.rpartition("/")
    with suppress(OSError), os.scandir(os.path.expanduser(folder + slash) or ".") as found:
        for entry in sorted(found, key=lambda one: one.name):
            is_shown = start.startswith(".") or not entry.name.startswith(".")
            if is_shown and entry.name.startswith(start) and (entry.is_dir() or not only_folders):
                yield folder + slash + entry.name + "/" * entry.is_dir()


def _image_paths(word: str) -> Iterator[str]:
    way = next((one for one in FILES if word.startswith(one)), "")
    return (way + path for path in paths(word.removeprefix(way)))


def _catalogue() -> list[str]:
    """The names of the catalogue of bases; none where it cannot be read: a prompt is no place for that."""
    from squashkit.jobs.base.tell import base_list

    with suppress(OSError, SquashkitError):
        return list(dict.fromkeys(base.reference for base in base_list().bases))
    return []


def _starting(words: Iterable[str], start: str) -> list[str]:
    """Those that begin so; no way to an image that is typed already."""
    return [word for word in words if word.startswith(start) and not (word == start and word in TRANSPORTS)]


def _items(words: Iterable[str]) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words]
