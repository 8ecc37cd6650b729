"""What the work on many images asks of the process."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def for_many_images() -> Iterator[None]:
    """Collect cycles and allow as many open files as the system does, while inside.

    The trees of images come and go, and are full of cycles: the command line, which runs for one image at
    a time without the collector, would keep all of them. Every archive and every layer that is read is an
    open file, and the usual soft limit of 1,024 (macOS: 256) is less than a fleet has.
    """
    collected = gc.isenabled()
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.enable()
    with suppress(ValueError, OSError):  # macOS takes no infinite number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        if not collected:
            gc.disable()
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
