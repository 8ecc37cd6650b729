"""Work that mostly waits for registries, done several pieces at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from squashkit.transports.registry.access import Registries

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
"""Enough to hide the way to a registry, and few enough for those that count what is asked at once."""
_TURN = 0.2
"""Seconds: an interrupt that comes just before a wait begins is seen only after it."""


@contextmanager
def side_by_side(
    registries: Registries, function: Callable[[T], R], items: Iterable[T]
) -> Iterator[Iterator[Future[R]]]:
    """Have a function called for each item, some at a time; gives what came of them, each when it is over,
    in the order of the items. Where whoever asks fails or is interrupted, waiting for registries ends."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield map(_finished, [pool.submit(function, item) for item in items])
    except BaseException:
        registries.interrupt()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(future: Future[R]) -> Future[R]:
    while not future.done():
        wait([future], _TURN)
    return future
