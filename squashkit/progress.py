"""How long work reports itself: a callback, and its adapter to tqdm's bars.

A `Progress` is called with bytes as they pass, from any thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from squashkit.errors import show_text
from squashkit.values import frozen


@frozen
class Note:
    """A message for people while work goes on."""

    text: str
    """The message, of one line or several."""
    is_warning: bool = False
    """Whether everybody should see it."""

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.is_warning else self.text


Notify = Callable[[Note], None]


def ignore(note: Note) -> None:
    """Nobody is told."""


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


@dataclass(slots=True)
class Numbered:
    """The stages of several pieces of work: once there is a number, each says of which."""

    whole: Progress
    number: int = 0
    total: int = 0

    def stage(self, title: str, total: int | None) -> None:
        of = f" {self.number} of {self.total}" if self.number else ""
        self.whole.stage(title + of, total)

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
