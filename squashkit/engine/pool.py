"""Work in several threads: the first failure stops the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, wait
from queue import Empty, SimpleQueue
from typing import Any

from squashkit.errors import Cancelled


def wait_all(futures: Iterable[Future[Any]], cancelled: threading.Event) -> None:
    """Wait for work; the first failure, or an interrupt, stops the rest and is raised. Of work that
    stopped since other work failed, the other's failure is raised."""
    waiting = set(futures)
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    stopped: Exception | None = None
    try:
        for future in waiting:
            future.add_done_callback(done.put)
        while waiting:
            try:
                # In turns: an interrupt that comes just before a wait begins is seen only after it.
                future = done.get(timeout=0.2)
            except Empty:
                continue
            waiting.remove(future)
            try:
                future.result()
            except (Cancelled, CancelledError) as error:
                stopped = error
                cancelled.set()
        if stopped is not None:
            raise Cancelled from stopped
    except BaseException:
        cancelled.set()
        for future in waiting:
            future.cancel()
        wait(waiting)
        raise
