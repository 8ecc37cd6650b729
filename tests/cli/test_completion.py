"""The shells themselves complete what a person begins to type."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from squashkit.cli.complete import PLATFORMS, TRANSPORTS
from squashkit.oci.documents import Platform
from squashkit.transports.reference import parse_reference
from tests.support.builders import ImageSpec, docker_archive_old, file, layer
from tests.support.runner import run

ENTRY = "import sys; sys.argv[0] = 'squashkit'; from squashkit.cli.main import main; main()"
WRAPPER = f"""#!/bin/sh
if [ "$_SQUASHKIT_COMPLETE" ]; then exec "{sys.executable}" -c "{ENTRY}" "$@"; fi
printf '%s\\n' "$@" > typed.new && mv typed.new typed
"""
"""A squashkit that answers shells, and otherwise writes the words that it got to a file."""

WORDS: dict[str, tuple[str, list[str]]] = {
    "a command": ("sq", ["squash"]),
    "a command below one": ("base ch", ["base", "check"]),
    "an option": ("squash --keep-b", ["squash", "--keep-base"]),
    "a path": ("inspect ap", ["inspect", "app.tar"]),
    "a path with a space": ("inspect my", ["inspect", "my app.tar"]),
    "a path in a folder": ("inspect fol", ["inspect", "folder/"]),
    "a path behind a transport": ("inspect oci:fol", ["inspect", "oci:folder/"]),
    "a transport": ("inspect docker-d", ["inspect", "docker-daemon:"]),
    "a base of the catalogue": ("squash --keep-base fed", ["squash", "--keep-base", "fedora:28"]),
    "a base after its colon": ("squash --keep-base fedora:2", ["squash", "--keep-base", "fedora:28"]),
    "a base behind a sign": ("squash --keep-base=fedora:2", ["squash", "--keep-base=fedora:28"]),
    "the base to leave": ("rebase --old-base fed", ["rebase", "--old-base", "fedora:28"]),
    "the base of a check": ("base check --base fed", ["base", "check", "--base", "fedora:28"]),
    "the base of a fleet": ("fleet storage --base fed", ["fleet", "storage", "--base", "fedora:28"]),
    "a base to remove": ("base remove fed", ["base", "remove", "fedora:28"]),
    "a codec": ("squash app.tar --compress z", ["squash", "app.tar", "--compress", "zstd"]),
    "a platform": ("ls --platform linux/pp", ["ls", "--platform", "linux/ppc64le"]),
    "a strategy": ("fleet squash --strategy bui", ["fleet", "squash", "--strategy", "built"]),
    "a kind": ("diff --ignore mt", ["diff", "--ignore", "mtime"]),
    "a second kind": ("diff --ignore mtime,ow", ["diff", "--ignore", "mtime,owner"]),
    "a file of an option": ("squash --report ap", ["squash", "--report", "app.tar"]),
}  # fmt: skip


HARD = [
    *("an option", "a path with a space", "a path behind a transport", "a base after its colon"),
    *("a base behind a sign", "a second kind"),
]
"""What shells have ways of their own with."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command, a catalogue of bases, and files to complete."""
    home = tmp_path_factory.mktemp("home")
    for name in ("bin", "folder", "data"):
        (home / name).mkdir()
    (home / "bin/squashkit").write_text(WRAPPER)
    (home / "bin/squashkit").chmod(0o755)
    docker_archive_old(home / "app.tar", [ImageSpec([layer(file("a", b"1"))], ["fedora:28"])])
    (home / "my app.tar").touch()
    assert run("base", "add", home / "app.tar", env={"XDG_DATA_HOME": str(home / "data")}).code == 0
    for shell in ("bash", "zsh", "fish"):
        (home / f"script.{shell}").write_bytes(run("completion", shell).out)
    return home


def environment(home: Path) -> dict[str, str]:
    """What the shell and the command see."""
    path = f"{home}/bin:{os.environ['PATH']}"
    python = str(Path(__file__).parents[2])
    return {
        "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "PATH": path, "PYTHONPATH": python,
        "TERM": "dumb", "LC_ALL": "C.UTF-8", "ZDOTDIR": str(home), "XDG_CONFIG_HOME": str(home),
    }  # fmt: skip


@pytest.fixture(scope="module")
def typing(request: pytest.FixtureRequest, home: Path) -> Iterator[Callable[[str], list[str]]]:
    """An interactive shell on a terminal: types a line, a tab and return; gives the words that it ran."""
    shell = request.param
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    start = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    before = {"bash": "", "zsh": "autoload -U compinit && compinit -u; "}[shell]
    master, terminal = pty.openpty()
    os.set_blocking(master, False)
    process = subprocess.Popen(
        [shell, *start], stdin=terminal, stdout=terminal, stderr=terminal,
        cwd=home, env=environment(home), start_new_session=True,
    )  # fmt: skip

    def typed(line: str) -> list[str]:
        seen = b""
        (home / "typed").unlink(missing_ok=True)
        os.write(master, line.encode())
        for _ in range(600):
            with suppress(BlockingIOError):
                seen += os.read(master, 65536)
            if (home / "typed").exists():
                return (home / "typed").read_text().splitlines()
            time.sleep(0.05)
        raise AssertionError(f"nothing was run: {seen!r}")

    assert typed(f"{before}. ./script.{shell}; squashkit ready\n") == ["ready"]
    yield lambda words: typed(f"squashkit {words}\t\n")
    os.write(master, b"\x03exit\n")
    os.close(terminal)
    os.close(master)
    process.kill()
    process.wait(20)


@pytest.mark.parametrize(
    ("typing", "name"),
    [*(("bash", name) for name in WORDS), *(("zsh", name) for name in HARD)],
    indirect=["typing"],
)
def test_a_tab_completes(name: str, typing: Callable[[str], list[str]]) -> None:
    """Commands, options, paths, transports, bases, codecs, platforms, strategies, kinds."""
    begun, meant = WORDS[name]
    assert typing(begun) == meant


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize("name", HARD)
def test_fish_completes(name: str, home: Path) -> None:
    """The same in fish, asked by its own command for that."""
    begun, meant = WORDS[name]
    script = f"source script.fish; complete -C 'squashkit {begun}'"
    words = ["fish", "--no-config", "-c", script]
    done = subprocess.run(
        words, cwd=home, env=environment(home), capture_output=True, text=True, check=False
    )
    found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert [one.replace("\\ ", " ") for one in found] == [meant[-1]], done.stderr


def test_a_catalogue_that_cannot_be_read_is_no_message(tmp_path: Path) -> None:
    """At a prompt there are then no bases, and nothing is said."""
    (tmp_path / "squashkit").mkdir()
    (tmp_path / "squashkit/bases.sqlite").write_text("{")
    env = {
        "_SQUASHKIT_COMPLETE": "bash_complete",
        "SQUASHKIT_LINE": "squashkit base remove ",
        "XDG_DATA_HOME": str(tmp_path),
    }
    words = [sys.executable, "-c", ENTRY]
    done = subprocess.run(words, env={**os.environ, **env}, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"", b"")


def test_what_is_proposed_is_right() -> None:
    """Every platform that is proposed is one, and every transport begins a reference."""
    assert [str(Platform.parse(text)) for text in PLATFORMS] == list(PLATFORMS)
    for transport in TRANSPORTS:
        end = "localhost:1/app:1" if transport == "docker://" else "app"
        assert str(parse_reference(transport + end).transport) in transport
