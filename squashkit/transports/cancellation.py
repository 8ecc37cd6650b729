"""Stopping work that several threads do: an event, and what wakes those that wait elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
