"""Clusters of Dask: a scheduler and workers as processes of their own, on 127.0.0.1, by TLS or plain."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.compat.registries import HOST, Authority

SECONDS = 60
"""In which each of them is ready."""


@dataclass(slots=True)
class Cluster:
    """A scheduler; workers come and go. Each is one process with one thread, which nobody starts again."""

    folder: Path
    authority: Authority | None = None
    address: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    scheduler: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def env(self) -> dict[str, str]:
        """What a client is told by, as Dask has it; it does not wait long for one that is not there."""
        found = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
        if self.authority is not None:
            certificate, key = self.authority.sign("client", HOST)
            found |= {
                "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(self.authority.certificate),
                "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": str(certificate),
                "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": str(key),
            }
        return found

    def start(self) -> None:
        """Start the scheduler."""
        host = f"tls://{HOST}" if self.authority is not None else HOST
        self.scheduler, said = self._begin("scheduler", "Scheduler at:", "--host", host, "--port", "0")
        found = re.search(r"Scheduler at:\s+(\S+)", said)
        assert found is not None
        self.address = found[1]

    def add_worker(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one more worker, with these variables besides."""
        scratch = self.folder / "scratch"
        words = (
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--host",
            HOST,
            "--local-directory",
            str(scratch),
        )
        process, _ = self._begin("worker", "Registered to:", *words, env=env)
        self.workers.append(process)
        return process

    def _begin(
        self, what: str, ready: str, *words: str, env: Mapping[str, str] | None = None
    ) -> tuple[subprocess.Popen[bytes], str]:
        tls: list[str] = []
        if self.authority is not None:
            certificate, key = self.authority.sign(what, HOST)
            tls = ["--tls-ca-file", str(self.authority.certificate)]
            tls += ["--tls-cert", str(certificate), "--tls-key", str(key)]
        log = self.folder / f"{what}-{next(self._numbers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *words, *tls, "--no-dashboard"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                cwd=self.folder,  # it comes before PYTHONPATH
                start_new_session=True,
            )
        limit = time.monotonic() + SECONDS
        while ready not in (said := log.read_text(errors="replace")):
            assert process.poll() is None, said[-3000:]
            assert time.monotonic() < limit, said[-3000:]
            time.sleep(0.05)
        return process, said

    def end(self) -> None:
        """Stop all of it."""
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            process.kill()  # nothing of it is wanted
            process.wait(30)


@contextmanager
def cluster(folder: Path, authority: Authority | None = None) -> Iterator[Cluster]:
    """A scheduler without workers, until the end."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, authority)
    try:
        made.start()
        yield made
    finally:
        made.end()
