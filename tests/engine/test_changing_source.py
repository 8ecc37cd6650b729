"""A source that somebody writes to while it is read gives a right result or none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squashkit.engine import carry_out
from squashkit.engine.write import write_layer
from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    noise,
    oci_layout,
)
from tests.support.runner import Arg, assert_fails, run, squash

CONTENT = noise(5000, "content")
IMAGE = ImageSpec(
    [layer(file("base")), layer(file("f", CONTENT), file("dead")), layer(file("dead", b"new"))], ["app:1"]
)
KEEP_1: tuple[Arg, ...] = ("--keep-layers", "1", "--check")
FORMS: dict[str, Callable[[Path], Path]] = {}


def form(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    FORMS[make.__name__] = make
    return make


@form
def archive(folder: Path) -> Path:
    docker_archive_old(folder / "app.tar", [IMAGE])
    return folder / "app.tar"


@form
def archive_of_docker_25(folder: Path) -> Path:
    docker_archive_25(folder / "app.tar", [IMAGE])
    return folder / "app.tar"


@form
def layout(folder: Path) -> Path:
    oci_layout(folder / "app", [IMAGE], compress=None)
    return folder / "app"


def place_of(source: Path) -> tuple[Path, int]:
    """The file, and where in it, that holds the content of `f`."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    (found,) = [(path, at) for path in files if (at := path.read_bytes().find(CONTENT)) >= 0]
    return found


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def meddle(
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[int], object],
    after: Callable[[int], object] = lambda number: None,
) -> list[int]:
    """Have something done to the source around each writing of a new layer: when its layers were hashed and
    scanned, and are copied from. What was called with the number of the pass."""
    passes: list[int] = []

    def squashed(*args: Any) -> Any:
        time.sleep(0.3)  # hashing a few kB is done by then
        passes.append(len(passes) + 1)
        before(passes[-1])
        try:
            return write_layer(*args)
        finally:
            after(passes[-1])

    monkeypatch.setattr(carry_out, "write_layer", squashed)
    return passes


@pytest.mark.parametrize("name", FORMS)
def test_a_change_that_is_taken_back_does_no_harm(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that were others while they were copied are read again: the result is the source's."""
    source = FORMS[name](tmp_path)
    squash(source, *KEEP_1, "-o", tmp_path / "right.tar")
    path, at = place_of(source)
    passes = meddle(
        monkeypatch,
        lambda number: write_at(path, at, b"OTHER") if number == 1 else None,
        lambda number: write_at(path, at, CONTENT[:5]) if number < 3 else None,
    )
    squash(source, *KEEP_1, "-o", tmp_path / "out.tar")
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "right.tar").read_bytes()
    assert passes == [1, 2, 3]  # the second pass was written to, too


@pytest.mark.parametrize("name", FORMS)
def test_a_change_that_stays_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are others when they are verified again are told, and nothing is written."""
    source = FORMS[name](tmp_path)
    path, at = place_of(source)
    meddle(monkeypatch, lambda number: write_at(path, at, b"OTHER"))
    result = run("squash", source, *KEEP_1, "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "expected sha256:")
    assert not (tmp_path / "out.tar").exists()


def test_a_source_without_rest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes in each of three passes is given up on, in one line, and a file that was there stays."""
    source = archive(tmp_path)
    (tmp_path / "out.tar").write_bytes(b"old")
    passes = meddle(monkeypatch, lambda number: os.utime(source))
    result = run("squash", source, *KEEP_1, "-o", tmp_path / "out.tar", "--force")
    assert_fails(result, 4, str(source), "changed while it was read")
    assert (tmp_path / "out.tar").read_bytes() == b"old"
    assert passes == [1, 2, 3]


def test_an_export_of_what_changes_is_refused(tmp_path: Path) -> None:
    """An export has no second pass: a source that is touched meanwhile gives no file."""
    source = tmp_path / "big.tar"
    docker_archive_old(source, [ImageSpec([layer(file("f", noise(30 << 20, "big")))], ["big:1"])])
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.005):
            os.utime(source)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        assert_fails(run("export", source, "-o", tmp_path / "rootfs.tar"), 4, "changed while it was read")
    finally:
        done.set()
        thread.join()
    assert not (tmp_path / "rootfs.tar").exists()


def test_a_rebase_of_what_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebase's plan is made before it is written: layers that are the same when they are read again
    stand."""
    docker_archive_old(tmp_path / "new.tar", [ImageSpec([layer(file("base", b"new"))], ["base:2"])])
    docker_archive_old(tmp_path / "old.tar", [ImageSpec(IMAGE.layers[:1], ["base:1"])])
    source = archive(tmp_path)
    bases: tuple[Arg, ...] = ("--old-base", tmp_path / "old.tar", "--new-base", tmp_path / "new.tar")
    words: tuple[Arg, ...] = (source, *bases, "--squash", "--check", "-t", "app:2")
    assert run("rebase", *words, "-o", tmp_path / "right.tar").code == 0
    path, at = place_of(source)
    passes = meddle(
        monkeypatch,
        lambda number: write_at(path, at, b"OTHER") if number == 1 else None,
        lambda number: write_at(path, at, CONTENT[:5]) if number == 1 else None,
    )
    result = run("rebase", *words, "-o", tmp_path / "out.tar")
    assert result.code == 0, result.err
    assert passes == [1, 2]
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "right.tar").read_bytes()
