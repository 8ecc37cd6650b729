"""Credential helpers: programs docker-credential-NAME that keep passwords for docker and podman.

One is called with `get`, gets the registry's address on standard input, and answers with JSON on standard
output. What it says may hold secrets, so no message and no traceback repeats any of it.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from squashkit.errors import Cancelled, show_text
from squashkit.progress import Note, Notify
from squashkit.values import frozen

if TYPE_CHECKING:
    import subprocess

_NOT_FOUND = b"credentials not found in native keychain"
"""What docker's helpers say, with exit code 1, of a registry that they do not know."""
_MAX_ANSWER = 1 << 20
_STEP = 0.1  # seconds between two looks at whether it still runs


@frozen
class Patience:
    """How long a helper may take, in seconds: somebody may have to unlock a keyring first."""

    until_told: float = 20
    until_ended: float = 120


class HelperFailed(Exception):
    """What a helper did instead of answering, as a message."""


@frozen
class Answer:
    """What a helper knows of a registry."""

    username: str
    secret: str


def ask_helper(
    name: str, server: str, notify: Notify, is_stopped: Callable[[], bool], patience: Patience
) -> Answer | None:
    """What the helper docker-credential-NAME knows of a server; None where that is nothing.

    All that it started ends with it, also where waiting ends early. Raises HelperFailed where it does not
    answer, Cancelled once work is stopped.
    """
    gone = threading.Event()

    def stopped() -> bool:
        return gone.is_set() or is_stopped()

    # In a thread, which no Ctrl-C interrupts between the helper's start and the place that ends it.
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_ask, name, server, notify, stopped, patience)
        try:
            return asked.result()
        except BaseException:
            gone.set()
            raise


def _ask(
    name: str, server: str, notify: Notify, is_stopped: Callable[[], bool], patience: Patience
) -> Answer | None:
    import subprocess  # few hosts have a helper
    from shutil import which

    program = f"docker-credential-{name}"
    shown = f"the helper {show_text(program)}"
    path = which(program)
    if path is None:
        raise HelperFailed(f"{shown} is not on the PATH")
    try:
        process = subprocess.Popen(
            [path, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise HelperFailed(f"{shown} cannot be run ({error.strerror})") from None
    with process:
        try:
            said = _hear(process, server, shown, notify, is_stopped, patience)
        finally:
            with suppress(ProcessLookupError, PermissionError):  # so macOS says of a group of zombies
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode < 0:
        raise HelperFailed(f"{shown} was ended by signal {-process.returncode}")
    if process.returncode:
        if said.strip() == _NOT_FOUND:
            return None
        raise HelperFailed(f"{shown} failed (exit code {process.returncode})")
    answer = _parse(said)
    if answer is None:
        raise HelperFailed(f"{shown} does not answer in docker's form")
    return answer if answer.username or answer.secret else None


def _hear(
    process: subprocess.Popen[bytes],
    server: str,
    shown: str,
    notify: Notify,
    is_stopped: Callable[[], bool],
    patience: Patience,
) -> bytes:
    """What a helper says until it ends. Others that it started may hold its output open for longer; they
    are not waited for."""
    from subprocess import TimeoutExpired

    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError), process.stdin:  # it need not read that
        process.stdin.write(server.encode())
    os.set_blocking(process.stdout.fileno(), False)
    said = bytearray()
    begun, told = time.monotonic(), False
    while True:
        with suppress(TimeoutExpired):
            process.wait(_STEP)
        ended = process.returncode is not None
        while len(said) <= _MAX_ANSWER and (piece := process.stdout.read(64 << 10)):
            said += piece
        if len(said) > _MAX_ANSWER:
            raise HelperFailed(f"{shown} does not answer in docker's form")
        if ended:
            return bytes(said)
        if is_stopped():
            raise Cancelled
        passed = time.monotonic() - begun
        if passed >= patience.until_ended:
            raise HelperFailed(f"{shown} did not answer within {patience.until_ended:g} seconds")
        if passed >= patience.until_told and not told:
            told = True
            notify(Note(f"waiting for {shown} ..."))


def _parse(said: bytes) -> Answer | None:
    """None where it is not in docker's form."""
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    username, secret = value.get("Username"), value.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        return None
    return Answer(username, secret)
