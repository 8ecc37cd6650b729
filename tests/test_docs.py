"""The site is built without a warning, its examples run, and its reference has every option."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.test_readme import commands

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
RELEASE = layer(directory("etc"), file("etc/os-release", b"ID=fedora\n"))
FEDORA = ImageSpec([RELEASE, layer(file("x"))], ["fedora:28"])
APP = on_base(
    FEDORA,
    layer(directory("root"), file("root/.netrc", b"secret"), directory("var"), directory("var/cache"),
          file("var/cache/big", b"b" * 200_000)),
    layer(whiteout("root/.netrc"), file("app", b"a" * 9000)),
    layer(whiteout("var/cache/big")),
    tags=["app:latest"],
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("mkdocs_click")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    """Each page of the folder is in the site and in its navigation."""
    index = (site / "index.html").read_text()
    for page in PAGES:
        assert (site / f"{page.stem}.html").exists()
        assert f'href="{page.stem}.html"' in index


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_the_reference_has_every_option(command: click.Command, site: Path) -> None:
    """Each command stands there with all its options and its examples."""
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "reference.html").read_text()))
    assert f"squashkit {command.name}" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in text, parameter.opts
    for line in (command.epilog or "").replace("\b", "").splitlines():
        if line.strip().startswith("squashkit "):
            assert line.strip() in text


def examples(page: Path) -> list[tuple[str, int]]:
    """The commands of a page's console blocks that need nothing but squashkit, with their exit codes."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ squashkit ") and "|" not in line:
                command, _, comment = line[2:].partition("   # ")
                code = re.fullmatch(r"exit code (\d+)", comment)
                found.append((command, int(code[1]) if code else 0))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """One after the other, on images as the page has them, with the exit codes that it states."""
    docker_archive_old(tmp_path / "app.tar", [APP, FEDORA])
    platforms = [
        ImageSpec(APP.layers, ["app:1"], platform=platform) for platform in ("linux/amd64", "linux/arm64")
    ]
    oci_layout(tmp_path / "multi", platforms, nested=True)
    index = (tmp_path / "multi/index.json").read_text()
    (tmp_path / "multi/index.json").write_text(index.replace('"1"', '"app"').replace("app:1", "app:app"))
    for command, code in examples(page):
        words = [sys.executable, "-m", "squashkit", *shlex.split(command)[1:]]
        out = None
        if ">" in words:
            at = words.index(">")
            out = (tmp_path / words[at + 1]).open("wb")
            del words[at : at + 2]
        streams = {"stdout": out or subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(words, cwd=tmp_path, check=False, **streams)  # type: ignore[call-overload]
        assert done.returncode == code, (command, done.stderr.decode())
        if out is not None:
            out.close()
