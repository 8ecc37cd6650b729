"""The bases that squashes and rebases used, noted for who looks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from squashkit.errors import Unavailable
from squashkit.plan.base import Base
from squashkit.transports.reference import PLACES


def remember(bases: Iterable[Base]) -> None:
    """Note the bases of images that were written: those that were read from where a name can be looked up
    again. Where that fails nothing is said: nobody asked for it."""
    named = [one for one in bases if one.name.startswith(PLACES) and not one.catalogued]
    if not named:
        return
    from squashkit.jobs.base.catalogue import note_used  # most runs need no SQLite

    for base in named:
        with suppress(Unavailable, OSError):
            note_used(base)
