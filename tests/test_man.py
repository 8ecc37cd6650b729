"""The man pages come from the commands' own help, and leave nothing of it out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.test_readme import commands

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All man pages, freshly written."""
    pytest.importorskip("click_man")
    folder = tmp_path_factory.mktemp("man")
    subprocess.run(
        [sys.executable, str(DOCS / "man.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(DOCS), "SOURCE_DATE_EPOCH": "1525132800"},
        check=True,
    )
    return folder


def plain(roff: str) -> str:
    """A page's text without roff's ways to write signs."""
    for written, sign in ((r"\-", "-"), (r"\(aq", "'"), (r"\(rs", "\\"), (r"\(ti", "~"), (r"\(ha", "^")):
        roff = roff.replace(written, sign)
    return re.sub(r"\\f[BRP]|\\&", "", roff)


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_has_a_page(command: click.Command, pages: Path) -> None:
    """Each with all its options and examples, dated by SOURCE_DATE_EPOCH, and no backspace in it."""
    text = (pages / f"squashkit-{command.name}.1").read_text()
    assert "\b" not in text
    assert "2018-05-01" in text
    shown = plain(text)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in shown, parameter.opts
    for line in (command.epilog or "").replace("\b", "").splitlines():
        if line.strip().startswith("squashkit "):
            assert line.strip() in shown


def test_the_first_page_lists_the_commands(pages: Path) -> None:
    """squashkit(1) names every command."""
    text = (pages / "squashkit.1").read_text()
    for command in commands():
        assert f"\\fB{command.name}\\fP" in text
