"""One run of the program: what it has open, how much it may take, and how it is stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import field
from pathlib import Path
from typing import Self, TypeVar

from squashkit.errors import UsageError
from squashkit.options import Limits, Run
from squashkit.progress import Notify, Progress, Silent, ignore
from squashkit.transports.reference import Reference
from squashkit.transports.registry.access import Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source
from squashkit.values import mutable
from squashkit.wording import Option

T = TypeVar("T")


class Cancellation(threading.Event):
    """Is set once work is to stop. A thread that waits for a socket does not see that; `wakes` are
    called when it is set, and make such waits end."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes: list[Callable[[], None]] = []

    def set(self) -> None:
        super().set()
        for wake in self.wakes:
            wake()


@mutable
class Session:
    """What all parts of a run share. Whatever it opens is closed when it ends, the last first.

    Temporary files go where `run` says, else into `beside`, a folder, else into the system's.
    """

    run: Run = field(default_factory=Run)
    """What it may use."""
    progress: Progress = field(default_factory=Silent)
    """Who hears of bytes as they pass."""
    notify: Notify = ignore
    """Who hears messages for people."""
    beside: Path | None = None
    """A folder for temporary files; None for the system's."""
    limits: Limits = field(default_factory=Limits)
    """What it may ask of registries."""
    room: Room = field(init=False)
    """Where temporary files go, and how much they may take."""
    registries: Registries = field(init=False)
    """The registries that were asked so far."""
    cancelled: Cancellation = field(init=False)
    """Is set once work is to stop."""
    sources: list[Source] = field(init=False)
    """Everything that was opened to be read, in that order."""
    saved: dict[Reference, Source] = field(init=False)
    """What stores gave together, before it is opened."""
    _stack: ExitStack = field(init=False)

    def __post_init__(self) -> None:
        self.room = Room.of(_temporary_folder(self.run.folder, self.beside), self.run.limit)
        self.registries = Registries(self.run.access, self.notify, self.limits)
        self.cancelled = Cancellation()
        self.cancelled.wakes.append(self.registries.interrupt)
        self.sources = []
        self.saved = {}
        self._stack = ExitStack()

    @property
    def jobs(self) -> int:
        """How many threads work at once."""
        return self.run.jobs

    def keep(self, opened: AbstractContextManager[T]) -> T:
        """Open something until the session ends."""
        return self._stack.enter_context(opened)

    def resume(self) -> None:
        """Go on after a failure that was told: what was stopped begins anew."""
        self.cancelled.clear()
        self.registries.resume()

    def __enter__(self) -> Self:
        self._stack.callback(self.registries.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancelled.set()
        self._stack.close()


def _temporary_folder(wanted: Path | None, beside: Path | None) -> Path | None:
    """None for the system's. Raises UsageError where what is asked for is no folder."""
    if wanted is not None and not wanted.is_dir():
        raise UsageError(Option("Run.tmp_dir", wanted), " is no folder")
    return wanted or beside


def writable_folder(output: Path) -> Path | None:
    """The folder of an output, or the output where it is one; None where nothing can be written there."""
    for folder in (output, output.parent):
        if folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return None
