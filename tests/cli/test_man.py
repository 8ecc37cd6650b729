"""The man pages come from the commands' own help, and leave nothing of it out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.runner import commands

DOCS = Path(__file__).parents[2] / "docs"


def write_pages(folder: Path) -> dict[str, str]:
    """All man pages, freshly written, by their files' names."""
    pytest.importorskip("click_man")
    subprocess.run(
        [sys.executable, str(DOCS / "man.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(DOCS), "SOURCE_DATE_EPOCH": "1525132800"},
        check=True,
    )
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are."""
    return tmp_path_factory.mktemp("man")


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, str]:
    """The pages by their files' names."""
    return write_pages(folder)


def plain(roff: str) -> str:
    """A page's text without roff's ways to write signs."""
    for written, sign in ((r"\-", "-"), (r"\(aq", "'"), (r"\(rs", "\\"), (r"\(ti", "~"), (r"\(ha", "^")):
        roff = roff.replace(written, sign)
    return re.sub(r"\\f[BRP]|\\&", "", roff)


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_has_a_page(command: click.Command, pages: dict[str, str]) -> None:
    """Each has all its options and examples, is dated by SOURCE_DATE_EPOCH, and has no backspace in it."""
    text = pages[f"squashkit-{command.name}.1"]
    assert "\b" not in text
    assert "2018-05-01" in text
    shown = plain(text)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in shown, parameter.opts
    for line in (command.epilog or "").replace("\b", "").splitlines():
        if line.strip().startswith("squashkit "):
            assert line.strip() in shown


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
def test_man_shows_every_page_without_a_warning(folder: Path, pages: dict[str, str]) -> None:
    """man and its formatter have nothing to complain of."""
    env = {**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    for name in pages:
        words = ["man", "--warnings", "--local-file", str(folder / name)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), name


def test_the_first_page_lists_the_commands(pages: dict[str, str]) -> None:
    """squashkit(1) names every command."""
    for command in commands():
        assert f"\\fB{command.name}\\fP" in pages["squashkit.1"]


def test_pages_are_the_same_every_time(pages: dict[str, str], tmp_path: Path) -> None:
    """The same sources and date give the same bytes."""
    assert write_pages(tmp_path) == pages
