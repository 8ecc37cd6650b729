"""The start of the program: a command imports what it uses, and what needs no command imports nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.support.builders import ImageSpec, directory, docker_archive_25, file, layer
from tests.support.runner import run

PROGRAM = """
import os, sys
sys.argv = {argv!r}
leave = os._exit
def tell(code):
    print(*sys.modules, file=sys.stderr)
    sys.stderr.flush()
    leave(code)
os._exit = tell
from squashkit.__main__ import main
try:
    main()
except SystemExit as error:
    tell(error.code)
"""
UNUSED = {
    *("requests", "urllib3", "ssl", "http", "docker", "tqdm", "isal", "zlib_ng", "backports"),
    *("sqlite3", "subprocess", "tempfile", "shutil", "random", "fractions", "bz2", "lzma"),
    *("squashkit.transports.registry.http", "squashkit.transports.registry.credentials"),
    *(
        "squashkit.transports.stores.connection",
        "squashkit.transports.deflate",
        "squashkit.report.markdown",
    ),
    *("squashkit.report.html", "squashkit.report.fleet", "squashkit.plan.waste", "squashkit.plan.fleet"),
    *("squashkit.plan.rebase", "squashkit.plan.extract", "squashkit.jobs.fleet"),
}
"""What commands that read and write plain archives have no use for: each costs milliseconds."""


def start(
    *words: str, program: str = "squashkit", out: int | IO[str] = subprocess.PIPE
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command line as a process of its own: how it ended, and the modules that it had imported."""
    code = [sys.executable, "-c", PROGRAM.format(argv=[program, *words])]
    done = subprocess.run(code, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done, set(done.stderr.splitlines()[-1].split())


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image of two small layers, and no catalogue of bases."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    image = ImageSpec([layer(directory("app"), file("app/a", b"1")), layer(file("app/a", b"2"))], ["app:1"])
    docker_archive_25(tmp_path / "app.tar", [image])
    return tmp_path / "app.tar"


@pytest.mark.parametrize(
    "words",
    [
        ("squash", "{}", "--all", "-t", "app:2", "-o", "{}.new"),
        ("inspect", "{}"),
        ("ls", "{}", "/app"),
        ("verify", "{}", "--absent", "sha256:" + "0" * 64),
        ("diff", "{0}", "{0}"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_imports_what_it_uses(words: Sequence[str], archive: Path) -> None:
    """Plain archives need no library for networks, compression or databases, and no work of others."""
    done, loaded = start(*(word.format(archive) for word in words))
    assert done.returncode == 0, done.stderr
    assert "click" in loaded
    assert loaded & UNUSED == set()


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--version",)], ids=str)
def test_what_needs_no_command_is_said_at_once(words: Sequence[str]) -> None:
    """The same words as from the command line, which is not imported for them."""
    done, loaded = start(*words)
    assert done.returncode == 0
    assert done.stdout == run(*words).text
    assert not loaded & {"click", "typing", "dataclasses", "inspect", "squashkit.cli.main"}


def test_another_name_is_told_by_the_command_line() -> None:
    """Usage names the program as it was called."""
    done, _ = start("--help", program="/usr/local/bin/squashkit.pyz")
    assert done.stdout.startswith("Usage: squashkit.pyz [OPTIONS]")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_help_that_cannot_be_written_is_told() -> None:
    """A full disk is exit code 1 and one line, as for every command."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done, _ = start("--help", out=full)
    assert done.returncode == 1
    told = done.stderr.splitlines()[0]
    assert told == f"squashkit: standard output: {os.strerror(errno.ENOSPC)}; what it got is not whole"


def test_nobody_need_read_the_help() -> None:
    """A reader that went away is no fault."""
    reader, writer = os.pipe()
    os.close(reader)
    done, _ = start("--help", out=writer)
    os.close(writer)
    assert done.returncode == 141
    assert len(done.stderr.splitlines()) == 1
