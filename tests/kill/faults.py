"""Disks that fail: an error at any call is one line, and costs nothing that was there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kill.conftest import Counts
from tests.kill.places import PLACES, files_of, make_place
from tests.kill.shim import READS, WRITES, Disk
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, oci_layout
from tests.support.runner import APP, KEEP_2, Result, run_process

FULL = tuple(call for call in WRITES if call not in ("unlink", "rmdir"))
"""What a full disk refuses."""
ERRORS = {
    "EIO": (errno.EIO, WRITES),
    "ENOSPC": (errno.ENOSPC, FULL),
    "EDQUOT": (errno.EDQUOT, FULL),
}


def assert_told(result: Result) -> None:
    """A failure of the system is one line, and an exit code that says so."""
    assert result.code in (1, 5), result.err
    (line,) = result.err.strip().split("\n")
    assert line.startswith("squashkit: ")
    assert "fault of squashkit" not in line


@pytest.mark.parametrize("once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", PLACES)
def test_any_call_of_the_output_fails(
    name: str, error: str, once: bool, shim: Path, counts: Counts, tmp_path: Path
) -> None:
    """The disk of the output fails, is full or at its quota, at any call or from it on: the run
    says so, what was there is as it was, and the next run makes it right."""
    number, calls = ERRORS[error]
    place = make_place(name, "small", tmp_path / "place")
    disk = Disk(shim, place.out, calls, tmp_path / "log")
    place.reset()
    assert place.run(disk.env()).code == 0
    for at in range(1, disk.count + 1):
        place.reset()
        result = place.run(disk.env(at, number, once=once))
        # A disk that takes no name away any more keeps the hidden ones; so may one that did not once.
        done = place.assert_whole_or_before(leftovers=error == "EIO")
        if result.code == 0:
            assert done
        else:
            assert_told(result)
        counts.add(f"{error} of an output")
        place.assert_next_run()


@pytest.mark.parametrize("form", ["archive", "layout"])
def test_any_reading_of_the_input_fails(form: str, shim: Path, counts: Counts, tmp_path: Path) -> None:
    """EIO at any opening or reading of the image: one line, and nothing is written."""
    source = tmp_path / "in"
    source.mkdir()
    if form == "archive":
        docker_archive_25(source / "app.tar", [APP], compress="gzip")
        image = str(source / "app.tar")
    else:
        oci_layout(source / "app", [APP])
        image = f"oci:{source}/app"
    output = tmp_path / "out.tar"
    words = ("squash", image, *KEEP_2, "-o", output)
    disk = Disk(shim, source, READS, tmp_path / "log")
    assert run_process(*words, env=disk.env()).code == 0
    right = output.read_bytes()
    for at in range(1, disk.count + 1):
        output.unlink(missing_ok=True)
        result = run_process(*words, env=disk.env(at, errno.EIO, once=True))
        if result.code == 0:
            assert output.read_bytes() == right
        else:
            assert_told(result)
            assert os.listdir(tmp_path) == ["in"] or not output.exists()
        counts.add("EIO of an input")


def test_any_call_of_the_catalogue_fails(shim: Path, counts: Counts, tmp_path: Path) -> None:
    """The disk of the catalogue fails at any call, or the process is killed there: the bases that were in
    it are in it still, and the next one is added."""
    docker_archive_25(tmp_path / "one.tar", [ImageSpec([layer(file("a"))], ("one:1",))])
    docker_archive_25(tmp_path / "two.tar", [ImageSpec([layer(file("b"))], ("two:1",))])
    data, before = tmp_path / "data", tmp_path / "before"
    home = {"XDG_DATA_HOME": str(data)}
    assert run_process("base", "add", tmp_path / "one.tar", env=home).code == 0
    data.rename(before)
    disk = Disk(shim, data, WRITES, tmp_path / "log")
    shutil.copytree(before, data)
    assert run_process("base", "add", tmp_path / "two.tar", env=home | disk.env()).code == 0
    calls = disk.count
    assert calls
    for number in (errno.EIO, errno.ENOSPC, 0):
        for at in range(1, calls + 1):
            shutil.rmtree(data)
            shutil.copytree(before, data)
            result = run_process("base", "add", tmp_path / "two.tar", env=home | disk.env(at, number))
            if number and result.code:
                assert_told(result)
            assert bases(home) >= {"one:1"}
            assert run_process("base", "add", tmp_path / "two.tar", env=home).code == 0
            assert bases(home) == {"one:1", "two:1"}
            counts.add("faults of the catalogue")


def bases(home: dict[str, str]) -> set[str]:
    """The bases of a catalogue, by name."""
    result = run_process("base", "list", "--json", env=home)
    assert result.code == 0, result.err
    return {base["reference"] for base in result.json["bases"]}


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of this size."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", PLACES)
def test_a_disk_of_any_size(name: str, counts: Counts, tmp_path: Path) -> None:
    """From too small for a byte to large enough, 8 KB at a time: it does, or is told to be full."""
    place = make_place(name, "small", tmp_path / "place")
    need = sum(map(len, [*place.files("right").values(), *place.files("before").values()])) >> 10
    worked = 0
    for kilobytes in range(need // 2, 3 * need, 8):
        shutil.rmtree(place.out, ignore_errors=True)
        with small_disk(place.out, kilobytes):
            try:
                shutil.copytree(place.folder / "before", place.out, dirs_exist_ok=True)
            except shutil.Error:
                continue  # it does not even hold what was there before
            result = place.run()
            done = place.assert_whole_or_before(leftovers=False)
            assert done == (result.code == 0)
            if not done:
                assert_told(result)
            worked += done
            counts.add("disks of a size")
    assert worked


@pytest.mark.parametrize("blocks", range(0, 220, 8))
def test_a_limit_on_the_size_of_files(blocks: int, counts: Counts, tmp_path: Path) -> None:
    """`ulimit -f` at any size stops a run with one line, or not at all."""
    place = make_place("old archive", "small", tmp_path / "place")
    place.reset()
    script = f'ulimit -f {blocks}; exec "$@"'
    words = ["sh", "-c", script, "sh", "python3", "-c", ""]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    from tests.support.runner import COMMAND

    made = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *place.words],
        capture_output=True,
        timeout=60,
        check=False,
    )
    done = place.assert_whole_or_before(leftovers=False)
    assert done == (made.returncode == 0)
    if not done:
        assert_told(Result(made.returncode, made.stdout, made.stderr.decode()))
    assert files_of(place.folder / "in")
    counts.add("limits on the size of files")
