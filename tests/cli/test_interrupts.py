"""An interrupt leaves no lock behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STORM = """
import signal, threading, time
from squashkit.cli.interrupts import hear_interrupts

hear_interrupts()
begun = threading.Event()
heard = 0

def storm():
    for _ in range(40):
        begun.wait()
        begun.clear()
        time.sleep(0.0005)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threading.Thread(target=storm, daemon=True).start()
while heard < 40:
    event = threading.Event()
    try:
        begun.set()
        while True:
            event.set()
            event.clear()
    except KeyboardInterrupt:
        heard += 1
    assert event._cond.acquire(blocking=False), f"the event stays locked after {heard} interrupts"
print(heard)
"""
WAITING = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from squashkit.cli.interrupts import hear_interrupts

hear_interrupts()
event, future = threading.Event(), ThreadPoolExecutor().submit(time.sleep, 60)
print(flush=True)
try:
    {waits}
except KeyboardInterrupt:
    print("heard", flush=True)
    import os
    os._exit(0)
"""


def test_an_interrupt_leaves_no_lock_behind(tmp_path: Path) -> None:
    """Forty of them, in the midst of code that does nothing but take locks and give them back."""
    done = subprocess.run(
        [sys.executable, "-c", STORM],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("40\n", "")


@pytest.mark.parametrize("waits", ["event.wait()", "event.wait(60)", "future.result()", "time.sleep(60)"])
def test_who_waits_hears_an_interrupt_at_once(waits: str, tmp_path: Path) -> None:
    """Whoever waits holds no lock."""
    words = [sys.executable, "-c", WAITING.format(waits=waits)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert out == b"heard\n"
