"""HTTP over what is no TCP: a unix socket, and the standard input and output of ssh."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import IO, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.response import BaseHTTPResponse

from squashkit.transports.stores.endpoint import SSH

_ENDING = 3  # seconds that ssh is given to end
_LAST_WORDS = 4096


class _SocketAdapter(HTTPAdapter):
    """Sends all requests to one place, whatever host they name."""

    def __init__(self, connection: type[HTTPConnection]) -> None:
        class Pool(HTTPConnectionPool):
            ConnectionCls = connection

        self._pool = Pool
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": self._pool}


class UnixAdapter(_SocketAdapter):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        class Connection(HTTPConnection):
            def connect(self) -> None:
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                made.settimeout(self.timeout)
                try:
                    made.connect(path)
                except BaseException:
                    made.close()
                    raise
                self.sock = made

        super().__init__(Connection)


class SSHAdapter(_SocketAdapter):
    """HTTP over ssh, which runs `docker system dial-stdio` on the other side: a process for each
    connection. It ends when its socket is closed here, and at the latest with the adapter."""

    def __init__(self, address: SSH) -> None:
        command = ssh_command(address)
        started: list[_SSH] = []

        class Connection(HTTPConnection):
            _ssh: _SSH

            def connect(self) -> None:
                self._ssh = _SSH(command)
                started.append(self._ssh)
                self._ssh.socket.settimeout(self.timeout)
                self.sock = self._ssh.socket

            def getresponse(self) -> BaseHTTPResponse:  # type: ignore[override]
                try:
                    return super().getresponse()
                except (OSError, HTTPException) as error:
                    fault = error
                # Not within the handler: what is told is the cause, and not its consequence.
                raise self._ssh.cause_of(fault)

        self._started = started
        super().__init__(Connection)

    def close(self) -> None:
        super().close()
        while self._started:
            self._started.pop().end()


def ssh_command(address: SSH) -> list[str]:
    """The command line by which docker's own client goes there."""
    there = [f"--host=unix://{address.path}"] if address.path else []
    return [
        "ssh",
        *(["-l", address.user] if address.user else []),
        *(["-p", str(address.port)] if address.port is not None else []),
        *("-o", "ConnectTimeout=30", "-T", "--", address.host),
        shlex.join(["docker", *there, "system", "dial-stdio"]),
    ]


class _SSH:
    """One process of ssh, and the socket that it reads from and writes to."""

    def __init__(self, command: Sequence[str]) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                # In a session of its own, as docker has it: it asks for no password on the terminal, and
                # Ctrl-C leaves it to whoever reads from it.
                end = theirs.fileno()
                self._process = subprocess.Popen(
                    command, stdin=end, stdout=end, stderr=self._said, start_new_session=True
                )
        except BaseException:
            self.socket.close()
            self._said.close()
            raise

    def cause_of(self, fault: Exception) -> Exception:
        """The fault with the words of ssh, where it has ended."""
        if isinstance(fault, TimeoutError):
            return fault
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return fault
        self._said.seek(0)
        lines = self._said.read()[-_LAST_WORDS:].decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        # What goes before is warnings and banners.
        last = words[-1].removeprefix("ssh: ") if words else f"ended with exit code {code}"
        return ConnectionError(f"ssh: {last}")

    def end(self) -> None:
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING)
        self._said.close()
