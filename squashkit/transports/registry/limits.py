"""What all of a run may ask of registries at once, and how often: connections, requests a second.

One `Gate` stands before all registries of a run, their token servers, and the storage that they lead to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from squashkit.errors import Cancelled
from squashkit.options import Limits

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection


class Gate:
    """Holds requests back as long as the limits want it. Safe to use from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.connections
        self._gap = 1 / limits.rate if limits.rate else 0.0
        # Whoever asked before this run, as the last task of this process, may have done so just now.
        self._next = time.monotonic() + self._gap
        self._changed = threading.Condition()
        self._out: set[HTTPConnection] = set()
        """Connections that somebody uses."""
        self._idle: dict[HTTPConnection, None] = {}
        """Open ones that wait to be used again, the oldest first."""
        self.stopped = False

    def delay(self) -> float:
        """Take the next turn to ask: the seconds until then."""
        if not self._gap:
            return 0.0
        with self._changed:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
            return turn - now

    def take(self, get: Callable[[], HTTPConnection]) -> HTTPConnection:
        """A connection, once there may be one more. Idle ones are closed where they would be too many.
        Raises Cancelled where all waiting is ended."""
        if self._most is None:
            return get()
        with self._changed:
            self._changed.wait_for(self._may_take)
            if self.stopped:
                raise Cancelled
            connection = get()
            self._idle.pop(connection, None)
            self._out.add(connection)
            while self._idle and len(self._out) + len(self._idle) > self._most:
                oldest = next(iter(self._idle))
                del self._idle[oldest]
                oldest.close()
            return connection

    def _may_take(self) -> bool:
        return self.stopped or self._most is None or len(self._out) < self._most

    def give_back(self, connection: HTTPConnection | None, put: Callable[[], None] = lambda: None) -> None:
        """Nobody uses it any more. It may be open still: then `put` puts it where `take` finds it, and
        nobody takes it before it is known to be idle."""
        if connection is None or self._most is None:
            put()
            return
        with self._changed:
            put()
            self._out.discard(connection)
            if connection.sock is not None:
                self._idle[connection] = None
            self._changed.notify_all()

    def interrupt(self) -> None:
        """End all waiting for a connection."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Work begins (anew)."""
        self.stopped = False
