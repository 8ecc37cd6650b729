"""Work on a cluster of Dask: tasks go to its workers, and what they make of them comes back here.

A worker runs whatever it is sent. So a cluster is reached by TLS, with its certificates, or it is on this
machine alone; and what goes there are plain values, never a secret.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar, cast

from squashkit.amounts import count, some
from squashkit.engine.processes import Failure, outcome_of
from squashkit.errors import PlanError, SquashkitError, Unavailable, UsageError, gist_of, show_text
from squashkit.options import is_loopback, parse_scheduler
from squashkit.values import frozen
from squashkit.version import __version__

T = TypeVar("T")
R = TypeVar("R")
MISSING = "work on Dask needs it: pip install 'squashkit[cluster]'"
_CERTIFICATES = ("ca-file", "client.cert")
"""What a client needs, below distributed.comm.tls in Dask's configuration. The key may stand with the
certificate."""


@frozen
class Cluster:
    """Workers that can be given tasks."""

    title: str
    _client: Any

    @property
    def slots(self) -> int:
        """How many tasks its workers do at once, now."""
        return sum(self._client.nthreads().values())

    def results(
        self, function: Callable[[T], R], tasks: Sequence[T], at_once: int | None = None
    ) -> Iterator[R]:
        """What a function makes of each task, as they become ready; `at_once` tasks are under way, or as
        many as keep all workers busy.

        A task whose worker is killed is given to another. Raises PlanError where that happens again and
        again, Unavailable where the cluster goes away, and for what a task raises a SquashkitError or an
        OSError that says the same. Whatever ends this cancels what is not done.
        """
        distributed = _library()
        waiting = iter(tasks)
        under_way: dict[Any, None] = {}
        ready = distributed.as_completed([], loop=self._client.loop)
        try:
            while True:
                most = at_once or 2 * max(self.slots, 1)
                for task in waiting:
                    future = self._client.submit(_work, __version__, function, task, pure=False)
                    under_way[future] = None
                    ready.add(future)
                    if len(under_way) >= most:
                        break
                if not under_way:
                    return
                future = next(ready)
                del under_way[future]
                yield cast(R, self._result(future))
        finally:
            if under_way:
                with suppress(Exception):  # the cluster may be gone
                    self._client.cancel(list(under_way), force=True)

    def _result(self, future: Any) -> Any:
        distributed = _library()
        try:
            value = future.result()
        except distributed.KilledWorker:
            raise PlanError(
                "a worker that reads layers was killed again and again by the same ones; is there too"
                " little memory?"
            ) from None
        except (distributed.CancelledError, OSError) as error:
            raise Unavailable(f"{self.title} went away: {gist_of(error)}", reference=self.title) from error
        except Exception as error:
            told = f"{type(error).__name__}: {gist_of(error)}"
            raise SquashkitError(f"a worker of {self.title} cannot do what it is sent: {told}") from error
        if isinstance(value, Failure):
            raise value.error()
        return value

    def check(self, files: Sequence[Path]) -> None:
        """Raises Unavailable where it has no workers, UsageError where these can be reached by anybody,
        have not squashkit in this version, or not these files."""
        found = self._client.run(pkgutil.resolve_name, "squashkit.version:__version__", on_error="return")
        if not found:
            raise Unavailable(f"{self.title} has no workers", reference=self.title)
        for worker in found:
            scheme, _, where = worker.partition("://")
            if scheme != "tls" and not is_loopback(where.rpartition(":")[0]):
                raise UsageError(
                    f"{self.title} has a worker at {worker}, which is another machine and not encrypted: a"
                    " worker runs whatever it is sent, so that takes TLS"
                )
        versions = {one if isinstance(one, str) else "none" for one in found.values()}
        if others := sorted(versions - {__version__}):
            raise UsageError(
                f"the workers of {self.title} have another squashkit ({some(others, 3)}) than is here"
                f" ({__version__}): they need the same"
            )
        for path in map(os.path.abspath, files):
            have = self._client.run(os.path.exists, path)
            if not all(have.values()):
                lacking = f"{len(have) - sum(have.values()):,} of {count(len(have), 'worker')}"
                raise UsageError(
                    f"{show_text(path)} is not there for {lacking} of {self.title}, and each reads it"
                    " on its own machine"
                )


def _work(version: str, function: Callable[[T], R], task: T) -> R | Failure:
    """What a worker does of a task. One that came later than others may be of another version."""
    if version != __version__:
        return Failure(f"a worker has squashkit {__version__}, and here is {version}", UsageError.exit_code)
    return outcome_of(function, task)


@contextmanager
def connected(scheduler: str, files: Sequence[Path] = ()) -> Iterator[Cluster]:
    """A cluster that is there, by the address of its scheduler; its workers need `files`. Raises
    UsageError, Unavailable where it does not answer, and what `Cluster.check` raises."""
    distributed = _library()
    address = parse_scheduler(scheduler)
    is_encrypted = address.startswith("tls:")
    if is_encrypted:
        _check_certificates(address)
    with _quiet():
        try:
            security = distributed.Security(**({"require_encryption": True} if is_encrypted else {}))
            client = distributed.Client(address, security=security, set_as_default=False)
        except Exception as error:
            why = f"the Dask scheduler {address} does not answer: {gist_of(error)}"
            raise Unavailable(why, reference=address) from error
        with _closing(client):
            cluster = Cluster(address, client)
            cluster.check(files)
            yield cluster


@contextmanager
def made_here(workers: int, folder: Path | None) -> Iterator[Cluster]:
    """A cluster of so many processes on this machine, until the end. Their temporary files go to a
    folder. None but this process can give them tasks."""
    title = f"a cluster of {count(workers, 'worker')} on this machine"
    with _quiet(), ExitStack() as stack:
        with _uninterrupted():  # what is half made cannot be closed
            try:
                client = _start(workers, folder, stack)
            except Exception as error:
                raise SquashkitError(f"{title} does not start: {gist_of(error)}") from error
        yield Cluster(title, client)


def _start(workers: int, folder: Path | None, stack: ExitStack) -> Any:
    """A client of a cluster that is made; the stack closes both."""
    distributed = _library()
    made = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        security=distributed.Security.temporary(),
        dashboard_address=None,
        worker_dashboard_address=None,
        memory_limit=0,  # the system's
        local_directory=None if folder is None else str(folder),
        silence_logs=logging.CRITICAL,
    )
    stack.enter_context(_closing(made))
    client = distributed.Client(made, set_as_default=False)
    stack.enter_context(_closing(client))
    return client


def check_dask() -> None:
    """Raises UsageError where Dask is not installed."""
    _library()


def _library() -> Any:
    """dask.distributed. Raises UsageError where it is not installed."""
    try:
        import_module("cryptography")  # without it no certificates are made
        return import_module("distributed")
    except ImportError as error:
        raise UsageError(MISSING) from error


def _check_certificates(address: str) -> None:
    """Raises UsageError where Dask does not know with which certificates to come."""
    config = import_module("dask.config")
    given = {
        name: config.get(f"distributed.comm.tls.{name}", default=None)
        for name in (*_CERTIFICATES, "client.key")
    }
    for name, path in given.items():
        if path and "\n" not in path and not Path(path).is_file():
            raise UsageError(f"{show_text(path)}, Dask's distributed.comm.tls.{name}, is no file")
    if missing := [f"distributed.comm.tls.{name}" for name in _CERTIFICATES if not given[name]]:
        raise UsageError(
            f"{address} needs certificates, and Dask's configuration has none: {', '.join(missing)} (or"
            " variables: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT, ...__CLIENT__KEY)"
        )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off. Threads that are made inside never hear it, nor do processes that these make."""
    if threading.current_thread() is not threading.main_thread():
        yield  # whoever has threads has it raised in another one
        return
    came: list[int] = []
    resource_tracker.ensure_running()  # it would have them hear it again
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask writes of its own to standard error, of workers that go and connections that end. What matters
    is told as an error."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def _closing(opened: Any) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(Exception):  # what is gone already
            opened.close()
