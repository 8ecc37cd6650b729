"""Work in several processes: each does one task after another; one that is killed loses nothing else."""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar, cast

from squashkit.errors import PlanError, SquashkitError, first_line
from squashkit.values import frozen

T = TypeVar("T")
R = TypeVar("R")
_TRIES = 2
"""How often a task is begun whose process ends in the middle of it."""


@frozen
class Failure:
    """Why a task failed, as it goes from one process to another. Errors themselves do not travel."""

    message: str
    exit_code: int
    errno: int | None = None
    """Of an error of the system; the message is the system's then."""
    file: str | None = None
    """What that was about."""

    def error(self) -> SquashkitError | OSError:
        """What to raise for it."""
        if self.errno is not None:
            return OSError(self.errno, self.message, self.file)
        error = SquashkitError(self.message)
        error.exit_code = self.exit_code
        return error


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    task: int
    """The number of the one that it does."""


def in_processes(function: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Iterator[R]:
    """What a function makes of each task, as they become ready.

    A task whose process is killed is begun once more, in a new one. Raises PlanError where that one is
    killed, too, and for what a task raises a SquashkitError or an OSError that says the same. Whatever ends
    this ends all processes.
    """
    waiting = deque(range(len(tasks)))
    tries: Counter[int] = Counter()
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                connection, process = _start(function)
                workers[connection] = _Worker(process, -1)
                _give(connection, workers, waiting, tasks, tries)
            for ready in wait(list(workers), timeout=0.2):  # in turns, so that Ctrl-C is heard
                connection = cast(Connection, ready)
                worker = workers[connection]
                try:
                    value = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    _bury(connection, worker)
                    if tries[worker.task] >= _TRIES:
                        raise PlanError(
                            f"a process that reads layers was killed {_TRIES} times by the same ones (exit"
                            f" code {worker.process.exitcode}); is there too little memory?"
                        ) from None
                    waiting.appendleft(worker.task)
                    continue
                if isinstance(value, Failure):
                    raise value.error()
                _give(connection, workers, waiting, tasks, tries)
                yield cast(R, value)
    finally:
        for connection, worker in workers.items():
            worker.process.terminate()
            _bury(connection, worker)


def _start(function: Callable[[T], R]) -> tuple[Connection, SpawnProcess]:
    """A process of its own, not a copy of this one, which has threads."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, function), daemon=True)
    process.start()
    there.close()
    return here, process


def _give(
    connection: Connection,
    workers: dict[Connection, _Worker],
    waiting: deque[int],
    tasks: Sequence[T],
    tries: Counter[int],
) -> None:
    """Give a process its next task; where there is none it ends."""
    worker = workers[connection]
    if not waiting:
        del workers[connection]
        _bury(connection, worker)
        return
    worker.task = waiting.popleft()
    tries[worker.task] += 1
    with suppress(OSError):  # it is dead already, which `recv` tells
        connection.send(tasks[worker.task])


def _bury(connection: Connection, worker: _Worker) -> None:
    connection.close()
    worker.process.join()


def _work(connection: Connection, function: Callable[[T], R]) -> None:
    """Do tasks until there are no more, or nobody wants them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began this ends it
    with suppress(EOFError, OSError):
        while True:
            connection.send(outcome_of(function, connection.recv()))


def outcome_of(function: Callable[[T], R], task: T) -> R | Failure:
    """What a function makes of a task, or why it failed: what may go to another process."""
    try:
        return function(task)
    except SquashkitError as error:
        return Failure(first_line(error), error.exit_code)
    except OSError as error:
        if error.errno is None:
            return Failure(str(error), SquashkitError.exit_code)
        name = error.filename if isinstance(error.filename, str | bytes | None) else ""
        file = os.fsdecode(name) if name else None
        return Failure(error.strerror or str(error), SquashkitError.exit_code, error.errno, file)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"[:500]
        return Failure(f"this is a fault of squashkit, please report it: {told}", SquashkitError.exit_code)
