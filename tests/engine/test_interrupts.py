"""A run that is stopped ends at once, and leaves nothing but what was there."""

from __future__ import annotations

import array
import fcntl
import os
import random
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    docker_archive_old,
    file,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.faults import LARGE, OK, needs_proc
from tests.support.runner import (
    APP,
    BASE,
    KEEP_2,
    Arg,
    snapshot,
    spawn,
)
from tests.support.runner import (
    listing_of as listing,
)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that takes seconds to squash with the highest level of gzip: eight letters in no
    order have matches everywhere."""
    path = tmp_path_factory.mktemp("slow") / "slow.tar"
    text = random.Random(3).randbytes(24_000_000).translate(bytes(b % 8 for b in range(256)))
    image = on_base(BASE, layer(file("text", text), file("w")), layer(whiteout("w")), tags=["app:1"])
    docker_archive_old(path, [image])
    return path


def start_slow(slow: Path, *output: Arg) -> subprocess.Popen[bytes]:
    """Start a squash of it that is sure to be still at work when it has begun to write."""
    words = ("squash", slow, *KEEP_2, "--format", "oci", "--compress", "gzip:9", "--jobs", "1")
    return spawn(*words, "-o", *output, start_new_session=True)


def wait_for_file(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the process has a file in this folder, named or not, with something in it."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        assert process.poll() is None, "it was done too soon"
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                inside = os.readlink(link).startswith(f"{folder}/")
                if inside and link.stat().st_size:
                    return
            except OSError:
                continue
        time.sleep(0.01)
    raise AssertionError("it never began to write")


@needs_proc
@pytest.mark.parametrize("place", ["new file", "old file", "new layout", "layout"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_run_that_is_stopped_leaves_nothing(
    number: signal.Signals, place: str, slow: Path, tmp_path: Path
) -> None:
    """Interrupted (130), terminated or killed while it works: the old output stays as it was, and no
    name is left, hidden ones included."""
    (tmp_path / "old.tar").write_bytes(b"old")
    oci_layout(tmp_path / "layout", [ImageSpec([OK], ["other:1"])])
    before = snapshot(tmp_path), listing(tmp_path)
    output: dict[str, tuple[Arg, ...]] = {
        "new file": (tmp_path / "new.tar",),
        "old file": (tmp_path / "old.tar", "--force"),
        "new layout": (f"oci:{tmp_path}/new",),
        "layout": (f"oci:{tmp_path}/layout",),
    }
    with start_slow(slow, *output[place]) as process:
        wait_for_file(process, tmp_path)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.strip() == b"squashkit: interrupted; nothing was written"
    else:
        assert process.returncode == -number
        assert err == b""
    assert snapshot(tmp_path) == before[0]
    made = [name for name in listing(tmp_path) if name not in before[1]]
    if number == signal.SIGINT:
        assert made == []
    else:  # empty folders of a layout that was to be are no harm
        assert set(made) <= {"new", "new/blobs", "new/blobs/sha256"}


def wait_for_work(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until the process has had a processor for so long."""
    limit = time.monotonic() + 60
    spent = 0.0
    while spent < seconds:
        assert process.poll() is None, "it was done too soon"
        assert time.monotonic() < limit, "it does not work"
        time.sleep(0.05)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_proc
def test_an_interrupt_is_heard_while_zstd_is_at_work(slow: Path, tmp_path: Path) -> None:
    """Ctrl-C in the midst of a compression that takes half a minute ends the run long before that, with
    130, and nothing is written."""
    words = ("squash", slow, *KEEP_2, "--compress", "zstd:19", "--jobs", "2", "-o", "oci:new")
    with spawn(*words, cwd=tmp_path, start_new_session=True) as process:
        wait_for_work(process, 1.5)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
    assert (process.returncode, err.strip()) == (130, b"squashkit: interrupted; nothing was written")
    assert listing(tmp_path) == []
    assert took < 15


def wait_until_full(process: subprocess.Popen[bytes], fd: int) -> None:
    """Until the pipe that the process writes to takes no more."""
    limit = time.monotonic() + 30
    waiting = array.array("i", [0])
    before = -1
    while not waiting[0] or waiting[0] != before:
        assert process.poll() is None, "it was done too soon"
        assert time.monotonic() < limit, "it never filled the pipe"
        before = waiting[0]
        time.sleep(0.05)
        fcntl.ioctl(fd, termios.FIONREAD, waiting)


@pytest.mark.parametrize("reader", [pytest.param("stays", marks=needs_proc), "goes"])
def test_an_interrupted_pipe_ends(reader: str, tmp_path: Path) -> None:
    """Ctrl-C while standard output is full ends the run with 130, whether its reader waits or is gone."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    words = ("squash", tmp_path / "app.tar", "--keep-layers", "2", "-o", "-")
    with spawn(*words, start_new_session=True) as process:
        assert process.stdout is not None
        wait_until_full(process, process.stdout.fileno())
        process.send_signal(signal.SIGINT)
        if reader == "goes":
            process.stdout.close()
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it waits for its reader")
    assert code == 130


@needs_proc
def test_an_interrupt_while_it_waits_for_input(tmp_path: Path) -> None:
    """Ctrl-C while standard input is waited for ends the run with 130 and one line."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    output = tmp_path / "out.tar"
    with spawn("squash", *KEEP_2, "-o", output, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write((tmp_path / "app.tar").read_bytes()[:9000])
        process.stdin.flush()
        wait_for_file(process, tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read()
        code = process.wait(20)
        process.stdin.close()
    assert (code, err.strip()) == (130, b"squashkit: interrupted; nothing was written")
    assert listing(tmp_path) == ["app.tar"]
