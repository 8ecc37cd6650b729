"""Threads beside the calling one: who does what, and how work ends that fails or is stopped."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from squashkit.engine.pool import FIRST, Pool
from squashkit.errors import Cancelled


def held_pool(cancelled: threading.Event) -> tuple[Pool, threading.Event, Future[Any]]:
    """A pool of two, whose one thread is busy until the event is set."""
    pool, release, begun = Pool(2, cancelled), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(20)

    held = pool.submit(hold)
    assert begun.wait(20)
    return pool, release, held


def test_the_waiting_thread_takes_part() -> None:
    """What no thread has begun is done by the one that waits, the longest first."""
    pool, release, held = held_pool(threading.Event())
    done: list[tuple[str, int]] = []
    futures = [
        pool.submit(lambda name=name: done.append((name, threading.get_ident())), size=size)
        for name, size in (("small", 1), ("large", 9), ("first", FIRST), ("middle", 5))
    ]
    pool.finish(futures)
    assert [name for name, _ in done] == ["first", "large", "middle", "small"]
    assert {thread for _, thread in done} == {threading.get_ident()}
    release.set()
    pool.finish([held])
    pool.shutdown()


def test_a_single_job_has_a_thread_and_no_more() -> None:
    """With one job the waiting thread waits."""
    pool = Pool(1, threading.Event())
    future = pool.submit(threading.get_ident)
    pool.finish([future])
    assert future.result() != threading.get_ident()
    pool.shutdown()


def test_a_failure_stops_the_rest() -> None:
    """It is raised, whoever meets it; what was stopped by it is not told in its place."""
    cancelled = threading.Event()
    pool, release, held = held_pool(cancelled)

    def fail() -> None:
        release.set()
        raise OSError("the reason")

    def stop() -> None:
        if cancelled.wait(20):
            raise Cancelled

    with pytest.raises(OSError, match="the reason"):
        pool.finish([held, pool.submit(stop, size=1), pool.submit(fail, size=2), pool.submit(stop)])
    pool.shutdown()


def test_an_interrupt_leaves_nothing_waiting() -> None:
    """Ctrl-C in work that the waiting thread does ends that thread's wait, and all other work."""
    cancelled = threading.Event()
    pool, release, held = held_pool(cancelled)

    def interrupted() -> None:
        release.set()
        raise KeyboardInterrupt

    other = pool.submit(cancelled.wait, 20)
    first = pool.submit(interrupted, size=9)
    with pytest.raises(KeyboardInterrupt):
        pool.finish([held, other, first])
    assert cancelled.is_set()
    assert held.done()
    assert other.done()
    pool.shutdown()


def test_who_waits_for_little_begins_nothing_long() -> None:
    """What is not waited for is left to the threads, though nobody has begun it."""
    pool, release, held = held_pool(threading.Event())
    long = pool.submit(threading.get_ident, size=9)
    quick = pool.submit(threading.get_ident, size=FIRST)
    pool.finish([quick])
    assert quick.result() == threading.get_ident()
    assert not long.done()
    small = pool.submit(threading.get_ident, size=1)
    threading.Timer(0.1, release.set).start()
    pool.finish([small])
    assert long.result() != threading.get_ident()
    pool.finish([held, long])
    pool.shutdown()
