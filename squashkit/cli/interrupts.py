"""Ctrl-C where it does no harm.

Python lets an interrupt rise between any two steps of the main thread, in the standard library's code too.
There it leaves a condition locked that another thread then waits for without end (bpo-29988), or something
open that nobody will close. So an interrupt that comes in the midst of that code is put off a little.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType

_RETRY = 0.002
"""Seconds."""
_FUTURES = os.path.join(os.path.dirname(threading.__file__), "concurrent", "futures", "")
_DELICATE = (threading.__file__, contextlib.__file__)


def hear_interrupts() -> None:
    """Have Ctrl-C raise KeyboardInterrupt only where no lock is left behind. Where it was told to be
    ignored, as it is for work in the background of a script, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back  # a second signal comes while the first one is looked at
    if frame is not None and _is_delicate(frame):
        signal.setitimer(signal.ITIMER_REAL, _RETRY)
    else:
        raise KeyboardInterrupt


def _is_delicate(frame: FrameType) -> bool:
    """Whether the main thread takes or gives back something at this moment. One that waits does not."""
    code = frame.f_code
    if code.co_filename not in _DELICATE and not code.co_filename.startswith(_FUTURES):
        return False
    # A condition that waits has given its lock back, and takes it again whatever happens.
    waits = code.co_name == "wait" and "saved_state" in frame.f_locals
    return not waits and code.co_name != "_wait_for_tstate_lock"
