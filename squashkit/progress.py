"""How long work reports itself: a callback, and its adapter to tqdm's bars.

A `Progress` is called with bytes as they pass, from any thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from squashkit.errors import show_text


class Progress(Protocol):
    """Reports work. Stages follow one another; within one, bytes are counted."""

    def stage(self, title: str, total: int | None) -> None:
        """Begin a stage of `total` bytes, None where that is not known."""

    def advance(self, size: int) -> None:
        """Count bytes of the current stage. Called from several threads."""

    def close(self) -> None:
        """End the current stage: something is about to be printed."""


class Silent:
    """Reports nothing."""

    def stage(self, title: str, total: int | None) -> None:
        pass

    def advance(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class OneOf:
    """The stages of one of several pieces of work: each says which it is of."""

    whole: Progress
    number: int
    total: int

    def stage(self, title: str, total: int | None) -> None:
        self.whole.stage(f"{title} {self.number} of {self.total}", total)

    def advance(self, size: int) -> None:
        self.whole.advance(size)

    def close(self) -> None:
        self.whole.close()


class Bars:
    """A tqdm bar on standard error for each stage, gone when the stage is done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._lock = threading.Lock()

    def stage(self, title: str, total: int | None) -> None:
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(
            desc=show_text(title),
            total=total,
            unit="B",
            unit_scale=True,
            leave=False,
            delay=0.3,
            dynamic_ncols=True,
        )

    def advance(self, size: int) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.update(size)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Progress]:
    """Bars where standard error is a terminal, silence elsewhere and with `quiet`."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield Silent()
        return
    progress = Bars()
    try:
        yield progress
    finally:
        progress.close()
