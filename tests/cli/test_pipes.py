"""Where a reader goes away, a listing or a report ends in silence, and an image says it is not whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.builders import kaniko_archive
from tests.support.runner import APP, KEEP_2, Arg, Result, assert_fails, listing_of, read_image, run_process

READ_ENOUGH = 128 + 13
"""What a shell shows where SIGPIPE ended a command."""

TOLD: dict[str, tuple[str, ...]] = {
    "ls": ("ls", "IMAGE", "-lR"),
    "ls as JSON": ("ls", "IMAGE", "--json"),
    "inspect": ("inspect", "IMAGE"),
    "inspect as JSON": ("inspect", "IMAGE", "--json"),
    "which": ("which", "IMAGE", "/d/n"),
    "diff": ("diff", "IMAGE", "IMAGE"),
    "verify": ("verify", "IMAGE"),
    "base find": ("base", "find", "IMAGE"),
    "base list": ("base", "list"),
    "fleet storage": ("fleet", "storage", "IMAGE"),
    "fleet scan": ("fleet", "scan", "IMAGE", "--into", "FOLDER"),
    "fleet advise": ("fleet", "advise", "IMAGE", "--json"),
    "a file's attributes": ("cat", "IMAGE", "/d/n", "--json"),
    "a dry run": ("squash", "IMAGE", *KEEP_2, "--dry-run"),
    "help": ("squash", "--help"),
    "all help": ("squash", "--help-all"),
    "the version": ("--version",),
    "a script": ("completion", "zsh"),
}
SENT: dict[str, tuple[str, ...]] = {
    "an image": ("squash", "IMAGE", *KEEP_2, "-o", "-"),
    "a root file system": ("export", "IMAGE"),
    "a file": ("cat", "IMAGE", "/d/n"),
}


def unread(*words: Arg, **env: str) -> Result:
    """A run whose standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run_process(*words, stdout=writer, env=env)
    finally:
        os.close(writer)


@pytest.mark.parametrize("name", TOLD)
def test_a_report_that_nobody_reads_ends_in_silence(name: str, app: Path, tmp_path: Path) -> None:
    """The code is that of tools which SIGPIPE ends, nothing is said, and no temporary file stays."""
    (tmp_path / "tmp").mkdir()
    places = {"IMAGE": f"{app}:app:1", "FOLDER": str(tmp_path / "folder")}
    words = [places.get(word, word) for word in TOLD[name]]
    result = unread(*words, TMPDIR=str(tmp_path / "tmp"), XDG_DATA_HOME=str(tmp_path))
    assert (result.code, result.err) == (READ_ENOUGH, "")
    assert listing_of(tmp_path / "tmp") == []


@pytest.mark.parametrize("name", SENT)
def test_a_stream_that_nobody_reads_is_told(name: str, app: Path) -> None:
    """What was to be whole is not, and one line says so (1)."""
    words = [f"{app}:app:1" if word == "IMAGE" else word for word in SENT[name]]
    assert_fails(unread(*words), 1, "standard output", "not whole")


def test_a_summary_that_nobody_reads_harms_nothing(app: Path, tmp_path: Path) -> None:
    """The image and the files beside it are whole though the reader of the summary went away."""
    words = ("-o", tmp_path / "out.tar", "--digest-file", tmp_path / "digest")
    result = unread("squash", f"{app}:app:1", *KEEP_2, *words)
    assert (result.code, result.err) == (READ_ENOUGH, "")
    assert read_image(tmp_path / "out.tar").names
    assert (tmp_path / "digest").read_text().startswith("sha256:")


def test_what_was_unpacked_is_removed(tmp_path: Path) -> None:
    """Layers that were unpacked for a listing do not stay where its reader went away."""
    kaniko_archive(tmp_path / "app.tar", [APP])
    (tmp_path / "tmp").mkdir()
    assert unread("ls", tmp_path / "app.tar", "-R", "--tmp-dir", tmp_path / "tmp").code == READ_ENOUGH
    assert listing_of(tmp_path / "tmp") == []
