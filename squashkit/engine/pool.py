"""Work in several threads: the first failure stops the rest.

Only one thread at a time runs Python, and none but the calling one scans and plans: while it does, as many
others as there are processors would only take its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from functools import partial
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from squashkit.errors import Cancelled

R = TypeVar("R")
FIRST = 1 << 63
"""The size of what others wait for."""


class _Call(NamedTuple):
    """Work that waits, the longest first, then in the order in which it came."""

    less: int
    serial: int
    future: Future[Any]
    function: Callable[[], Any]


class Pool:
    """Threads for what goes on beside the calling one, one fewer than `jobs`. When that one has nothing
    else to do, it takes part. The longest work is done first."""

    def __init__(self, jobs: int, cancelled: threading.Event) -> None:
        self._executor = ThreadPoolExecutor(max(1, jobs - 1))
        self._takes_part = jobs > 1
        self._cancelled = cancelled
        self._waiting: list[_Call] = []
        """What no thread has begun: a heap."""
        self._serial = count()
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., R], *args: Any, size: int = 0) -> Future[R]:
        """Have a function called by a thread; `size` are the bytes that it works on."""
        future: Future[R] = Future()
        with self._lock:
            heappush(self._waiting, _Call(-size, next(self._serial), future, partial(function, *args)))
        self._executor.submit(self._work)
        return future

    @staticmethod
    def do(function: Callable[..., R], *args: Any) -> Future[R]:
        """Call a function now, in the calling thread: so little work that to share it out costs more."""
        future: Future[R] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _work(self, among: Collection[Future[Any]] | None = None) -> bool:
        """Do what is first of what nobody has begun, if it is among these; whether it was."""
        future: Future[Any] | None = None
        try:
            with self._lock:
                if not self._waiting or (among is not None and self._waiting[0].future not in among):
                    return False
                *_, future, call = self._waiting[0]
                heappop(self._waiting)
            is_over = future.done() and not future.cancelled()  # an interrupt came before
            if not is_over and future.set_running_or_notify_cancel():
                future.set_result(call())
        except BaseException as error:
            if future is not None and not future.done():
                future.set_exception(error)
            if not isinstance(error, Exception):  # an interrupt is this thread's own
                raise
        return True

    def finish(self, futures: Iterable[Future[Any]], spared: tuple[type[Exception], ...] = ()) -> None:
        """Wait for work as `wait_all` does, and do meanwhile what no thread has begun, as long as nothing
        else comes first: whoever waits for little must not begin something long."""
        among = set(futures)
        for future in among:
            future.add_done_callback(partial(self._stop_rest, spared))
        try:
            while self._takes_part and not self._cancelled.is_set() and self._work(among):
                pass
        except BaseException:
            self._cancelled.set()
            for future in among:
                future.cancel()
            wait(among)
            raise
        wait_all(among, self._cancelled, spared)

    def _stop_rest(self, spared: tuple[type[Exception], ...], future: Future[Any]) -> None:
        if future.cancelled() or not isinstance(future.exception(), (*spared, type(None))):
            self._cancelled.set()

    def shutdown(self) -> None:
        """Wait for what still goes on."""
        self._executor.shutdown()


def wait_all(
    futures: Iterable[Future[Any]], cancelled: threading.Event, spared: tuple[type[Exception], ...] = ()
) -> None:
    """Wait for work; the first failure, or an interrupt, stops the rest and is raised. Of work that
    stopped since other work failed, the other's failure is raised. Failures of the kinds that are `spared`
    stop nothing: they stay with their work."""
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
            except spared:
                continue
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
