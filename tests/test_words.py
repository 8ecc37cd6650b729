"""What runs say of themselves is true: what was written, where an error is, which names dangle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.builders import docker_archive_old
from tests.cli import APP, BASE, COMMAND, KEEP_2, Arg, Result, assert_fails, read_image, validate

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An archive with the app and its base."""
    docker_archive_old(tmp_path / "app.tar", [APP, BASE])
    return tmp_path / "app.tar"


def run_into(stdout: str, *words: Arg) -> Result:
    """Run as a process whose standard output is a device."""
    with open(stdout, "wb") as out:
        made = subprocess.run([*COMMAND, *map(str, words)], stdout=out, stderr=subprocess.PIPE, timeout=60)
    return Result(made.returncode, b"", made.stderr.decode())


# --- what was written ------------------------------------------------------------------------


@needs_full
@pytest.mark.parametrize(
    "words", [(), ("--json",), ("--report", "/dev/full"), ("--digest-file", "/dev/full")]
)
def test_an_image_that_was_written_is_told_of(words: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """Where the summary or a report finds no space the image is there, and the error says so."""
    stdout = "/dev/null" if "/dev/full" in words else "/dev/full"
    result = run_into(stdout, "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", *words)
    assert_fails(result, 1, "No space left", "the image was written to", f"{tmp_path}/out.tar")
    assert "nothing was written" not in result.err
    read_image(tmp_path / "out.tar")


@needs_full
@pytest.mark.parametrize(
    "words",
    [
        ("squash", "app.tar:app:1", *KEEP_2, "-o", "-"),
        ("export", "app.tar:app:1"),
        ("cat", "app.tar:app:1", "/d/n"),
        ("ls", "app.tar:app:1"),
        ("inspect", "app.tar", "--json"),
        ("verify", "app.tar"),
    ],
    ids=lambda words: words[0],
)
def test_a_stream_without_space_is_named(
    words: tuple[str, ...], app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output that takes no more is named as what is not whole."""
    monkeypatch.chdir(app.parent)
    result = run_into("/dev/full", *words)
    assert_fails(result, 1, "standard output", "No space left", "not whole")
    assert "was written" not in result.err


@needs_full
def test_other_things_that_were_written_are_told_of(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are a root file system, a fleet and a base of the catalogue."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = run_into("/dev/full", "export", f"{app}:app:1", "-o", tmp_path / "rootfs.tar")
    assert_fails(result, 1, f"{tmp_path}/rootfs.tar was written")
    words = ("fleet", "squash", app, "--strategy", "built", "--into", f"oci:{tmp_path}/to")
    result = run_into("/dev/full", *words)
    assert_fails(result, 1, "the images were written to")
    assert len(validate(tmp_path / "to")) == 2
    assert_fails(run_into("/dev/full", "base", "add", f"{app}:base:1"), 1, "base:1 was added")
