"""What is to be left out, by the words that people have for it. Most runs leave nothing out, and the rules
that say what a cache is are read only where one does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from squashkit.arguments import texts

if TYPE_CHECKING:
    from squashkit.plan.leave_out import Exclusion


def exclusions_of(drop_caches: Sequence[str] | str, exclude: Sequence[str] | str) -> Sequence[Exclusion]:
    """Of names of package managers (`"apt,pip"`, or several texts), and of paths and globs. Raises
    UsageError as `find_exclusions` does."""
    names = [part.strip() for text in texts(drop_caches) for part in text.split(",")]
    globs = texts(exclude)
    if not names and not globs:
        return ()
    from squashkit.plan.leave_out import find_exclusions

    return find_exclusions(names, globs)


def known_caches() -> list[str]:
    """What `drop_caches` takes."""
    from squashkit.plan.leave_out import ALL_CACHES, cache_names

    return [*cache_names(), ALL_CACHES]
