"""kill -9 at any moment: what has a name is whole, or as it was, and the next run puts all right."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.kill.conftest import Counts
from tests.kill.places import PLACES, Place, make_place
from tests.kill.shim import WRITES, Disk

MOMENTS = int(os.environ.get("MOMENTS", "100"))
RUNS = 5


@pytest.mark.parametrize("kind", ["archive", "layout"])
def test_a_run_that_is_killed_at_any_moment(kind: str, counts: Counts, tmp_path: Path) -> None:
    """A hundred moments, spread over the time that a run takes, each of which met a process at work."""
    places = [make_place(f"{age} {kind}", "large", tmp_path / age) for age in ("new", "old")]
    took = statistics.median(duration(places[0]) for _ in range(RUNS))
    met = done = 0
    attempts = 0
    while met < MOMENTS:
        assert attempts < 3 * MOMENTS, "runs end before they are met"
        place = places[attempts % 2]
        part = (attempts * 0.618034) % 1  # spread evenly, however many are met
        attempts += 1
        place.reset()
        with place.start() as process:
            time.sleep(took * part)
            if process.poll() is not None:
                continue
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        if process.returncode != -signal.SIGKILL:
            continue  # it ended in the instant before
        met += 1
        done += place.assert_whole_or_before(leftovers=True)
        place.assert_next_run()
    counts.add(f"kills by time, {kind}", met)
    counts.add(f"of these, the {kind} was whole already", done)


def duration(place: Place) -> float:
    """Seconds of one run."""
    place.reset()
    began = time.monotonic()
    result = place.run()
    assert result.code == 0, result.err
    return time.monotonic() - began


@pytest.mark.parametrize("name", PLACES)
def test_a_run_that_is_killed_before_any_call(
    name: str, shim: Path, counts: Counts, tmp_path: Path
) -> None:
    """Before each call that makes, writes, names or removes a file: also in the instants that no clock
    meets."""
    place = make_place(name, "small", tmp_path / "place")
    disk = Disk(shim, place.out, WRITES, tmp_path / "log")
    place.reset()
    assert place.run(disk.env()).code == 0
    calls = disk.count
    assert calls > 5
    for at in range(1, calls + 1):
        place.reset()
        assert place.run(disk.env(at)).code == -signal.SIGKILL
        place.assert_whole_or_before(leftovers=True)
        place.assert_next_run()
    counts.add("kills before a call", calls)
