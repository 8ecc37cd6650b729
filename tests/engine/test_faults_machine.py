"""Full disks, limits, readers that go away, closed streams: one clear line, and nothing half written."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
)
from tests.support.faults import IS_ROOT, LARGE, OK, assert_refused
from tests.support.runner import (
    COMMAND,
    KEEP_2,
    KEEP_BASE,
    Arg,
    Result,
    assert_fails,
    docker_files,
    read_image,
    run,
    run_process,
    spawn,
    squash,
    write_archive,
)
from tests.support.runner import (
    listing_of as listing,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


# Its last member is short, so what it unpacks to is not what its last bytes promise.
UNPACKED = layer(file("b", bytes(3_000_000)))


SURPRISE = gzip.compress(UNPACKED[:-1024]) + gzip.compress(UNPACKED[-1024:])


def test_space_is_compared_before_the_start(small_disk: Path, tmp_path: Path) -> None:
    """Where the space cannot be enough the run fails (1) before it starts, and says how much it needs
    and how much there is."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    (small_disk / "old.tar").write_bytes(b"old")
    for words in ((small_disk / "new.tar",), (small_disk / "old.tar", "--force"), (f"oci:{small_disk}/x",)):
        result = run("squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", *words)
        assert_fails(result, 1, "MB are needed", "1.0 MB are free")
    assert listing(small_disk) == ["old.tar"]
    assert (small_disk / "old.tar").read_bytes() == b"old"


@pytest.mark.parametrize("place", ["output", "layout", "tmp-dir", "standard input"])
def test_a_full_disk_is_told(place: str, small_disk: Path, tmp_path: Path) -> None:
    """A disk that fills while the run works is one line (1) that says so; the old output stays, and
    nothing is left behind."""
    layers = [layer(file("a", bytes(3_000_000))), UNPACKED, OK]
    files = docker_files(ImageSpec(layers, ["app:1"]))
    packed = {"0.tar": zstd.compress(layers[0]), "1.tar": SURPRISE}
    source = write_archive(tmp_path / "app.tar", files | packed)
    (small_disk / "old.tar").write_bytes(b"old")
    words: tuple[Arg, ...] = ("--keep-layers", "1", "-t", "new:1")
    if place == "output":  # the kept layer must be stored plain there; its frame says how large that is
        words = (*words, "-o", small_disk / "old.tar", "--force", "--tmp-dir", tmp_path)
    elif place == "layout":
        words = (*words, "-o", f"oci:{small_disk}/layout", "--tmp-dir", tmp_path)
    else:
        words = (*words, "-o", tmp_path / "out.tar", "--tmp-dir", small_disk)
    if place in ("standard input", "layout"):
        docker_archive_old(source, [LARGE])
    if place == "standard input":
        result = run_process("squash", *words, stdin=source.read_bytes())
    else:
        result = run("squash", source, *words)
    early = place in ("output", "layout")  # what is needed is known before the start
    assert_fails(result, 1, "MB are free" if early else "no space left")
    assert listing(small_disk) == ["old.tar"]
    assert (small_disk / "old.tar").read_bytes() == b"old"
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("command", ["scan", "squash"])
def test_a_fleet_that_fills_a_disk_is_told(
    command: str, jobs: str, small_disk: Path, tmp_path: Path
) -> None:
    """As any other run, by a scan as by a squash, in whatever process: one line (1), with the option that
    names another place."""
    small = [layer(*(file(f"{n}/{i}", f"{n}{i}".encode()) for i in range(900))) for n in range(40)]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec(small, ["app:1"])])
    (small_disk / "full").write_bytes(bytes(900_000))
    words: list[Arg] = ["fleet", command, tmp_path / "app.tar", "--jobs", jobs, "--tmp-dir", tmp_path]
    if command == "squash":
        words += ["--strategy", "built", "--max-size", "1GB"]
    result = run(*words, "--into", small_disk / "out")
    assert_fails(result, 1, "no space left", "Free some, or pass --tmp-dir or another --into")
    assert command == "squash" or "the same scan goes on from there" in result.err


def test_without_an_output_no_other_one_is_advised(small_disk: Path, tmp_path: Path) -> None:
    """`fleet storage` writes temporary files alone."""
    docker_archive_25(tmp_path / "app.tar", [ImageSpec([UNPACKED, OK], ["app:1"])], compress="gzip")
    result = run("fleet", "storage", tmp_path / "app.tar", "--tmp-dir", small_disk)
    assert_fails(result, 1, "no space left", "write elsewhere (--tmp-dir), or")


def test_a_limit_on_files_is_told(tmp_path: Path) -> None:
    """A file that may not grow further (ulimit -f) is one line (1), and nothing is left behind."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    (tmp_path / "out").mkdir()
    script = 'ulimit -f 1024; exec "$@"'
    words = (*COMMAND, "squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", tmp_path / "out/x.tar")
    made = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60, check=False
    )
    assert_fails(Result(made.returncode, b"", made.stderr.decode()), 1, "File too large")
    assert listing(tmp_path / "out") == []


def test_a_reader_that_goes_away_is_told(tmp_path: Path) -> None:
    """A closed pipe is one line (1): the image is not whole."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    with spawn("squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", "-") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.wait(60)
    assert_fails(Result(process.returncode, b"", err), 1, "standard output")


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_closed_streams_harm_nothing(stream: str, app: Path, tmp_path: Path) -> None:
    """A run whose standard input, output or error is closed writes its file and exits with 0."""
    words = (*COMMAND, "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
    script = f'exec "$@" {stream}'
    made = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60, check=False
    )
    assert (made.returncode, made.stderr) == (0, b"")
    read_image(tmp_path / "out.tar")


@pytest.mark.parametrize(("stream", "word", "code"), [("<&-", "-", 5), (">&-", "app.tar", 2)])
def test_closed_streams_that_are_needed_are_told(stream: str, word: str, code: int, app: Path) -> None:
    """Standard input that is to be read, and standard output that is to be written, must be open."""
    words = (*COMMAND, "squash", word if word == "-" else f"{app}:app:1", *KEEP_2, "-o", "-")
    script = f'exec "$@" {stream}'
    made = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60, check=False
    )
    assert_fails(Result(made.returncode, b"", made.stderr.decode()), code)


def test_a_system_without_unnamed_files_gets_the_same(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be made without a name, hidden ones give the same bytes, replace an old output
    as well, and are gone after a run that fails."""
    words = (f"{app}:app:1", *KEEP_2)
    squash(*words, "-o", tmp_path / "with.tar")
    # What an older kernel makes of the flag: an ordinary open of the folder, which fails.
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY, raising=False)
    squash(*words, "-o", tmp_path / "without.tar")
    squash(*words, "-o", tmp_path / "without.tar", "--force")
    squash(*KEEP_BASE, "-o", tmp_path / "piped.tar", stdin=app.read_bytes())
    squash(*words, "-o", f"oci:{tmp_path}/layout")
    assert (tmp_path / "without.tar").read_bytes() == (tmp_path / "with.tar").read_bytes()
    assert read_image(tmp_path / "layout").layers == read_image(tmp_path / "with.tar").layers
    read_image(tmp_path / "piped.tar")
    assert not [name for name in listing(tmp_path) if "/." in f"/{name}"]
    for path in ("with.tar", "without.tar", "piped.tar"):
        (tmp_path / path).unlink()
    shutil.rmtree(tmp_path / "layout")
    write_archive(app, docker_files() | {"3.tar": OK})
    assert_refused(app, tmp_path, 4, "layer 3")
