"""The README is a first meeting: it names every command, its examples run, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.builders import ImageSpec, docker_archive_old, file, layer, on_base, whiteout
from tests.support.runner import commands

TOP = Path(__file__).parents[2]
README = TOP / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = (TOP / "docs/python.md").read_text(encoding="utf-8")
BASE = ImageSpec([layer(file("b", b"B" * 900))], ["debian:12"])
NEW = ImageSpec([layer(file("b", b"C" * 900))], ["debian:13"])
APP = on_base(BASE, layer(file("cache", bytes(9000))), layer(whiteout("cache")), tags=["nginx:waste"])


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT + PYTHON, re.DOTALL))
def test_python_examples_run(block: str, tmp_path: Path) -> None:
    """Each library example, also of the page on Python, runs as it stands, with the files that it names."""
    docker_archive_old(tmp_path / "nginx.tar", [APP, BASE])
    docker_archive_old(tmp_path / "debian13.tar", [NEW])
    for name, data in zip(("base.tar", "cache.tar", "clean.tar"), APP.layers, strict=True):
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout), "it prints what it found"
    for said in re.findall(r"print\(.+\)  # (.+)", block):
        assert said in done.stdout.splitlines()


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_is_named(command: click.Command) -> None:
    """The README names each command, and the command's help has an example."""
    assert f"squashkit {command.name}" in TEXT
    assert f"squashkit {command.name}" in (command.epilog or "")


def test_outputs_are_those_of_the_pages() -> None:
    """What a command prints in the README stands in a page, whose examples are run."""
    pages = [(TOP / "docs" / name).read_text(encoding="utf-8") for name in ("index.md", "bytes.md")]
    shown = {line for page in pages for line in page.splitlines()}
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", TEXT)
    printed = [line for block in blocks for line in block.splitlines() if not line.startswith("$ ")]
    assert len(printed) > 15
    assert [line for line in printed if line not in shown | {"..."}] == []


def test_it_stays_short() -> None:
    """The README is read in one sitting: at most 200 lines."""
    assert len(TEXT.splitlines()) <= 200


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Each link to a file of the tree names one that is there, and a heading of it where it names one."""
    links = re.findall(r"\]\(([^)\s]+)\)", (TOP / name).read_text(encoding="utf-8"))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        if not path.startswith("https://"):
            assert (TOP / path).is_file(), link
            assert not anchor or anchor in anchors(TOP / path), link
