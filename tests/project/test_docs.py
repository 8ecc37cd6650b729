"""The documentation holds: its examples run, the site builds, every command and option is in it."""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.support.docs_images import write_files
from tests.support.runner import commands

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NOT_RUN = re.compile(r"(?:^|\|)\s*(?:cosign|ctr|docker|dot|notation|podman|skopeo)\s", re.MULTILINE)
"""An example with one of these is shown and not run: it needs a daemon, a registry or more tools."""
DIGEST = re.compile(r"[0-9a-f]{12,}")
REAL_IMAGE = {"index"}
"""Pages that show what commands print for a real image, and not for the one of the tests."""


# --- the examples run -------------------------------------------------------------------------


def examples(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of a page's console blocks, with its continuation lines, and what it prints."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^( *)```console\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", textwrap.dedent(block[2]), flags=re.MULTILINE)[1:]:
            found = re.match(r"(?:[^\n]*\\\n)*[^\n]*", part)
            assert found is not None
            yield found[0], part[found.end() + 1 :]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images; each page works on a copy of it."""
    folder = tmp_path_factory.mktemp("examples")
    write_files(folder)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the examples run in: `squashkit` is this tree's, and nothing of the machine shows."""
    program = tmp_path / "bin/squashkit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m squashkit "$@"\n')
    program.chmod(0o755)
    changed = ("SOURCE_DATE_EPOCH", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in changed}
    path = f"{program.parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(TOP), "XDG_DATA_HOME": str(tmp_path / "data")}
    return {**kept, **own, "LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize("page", [p for p in PAGES if any(examples(p))], ids=lambda page: page.stem)
def test_examples_run(page: Path, made: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """The commands of a page run in order and print what the page shows, but for digests."""
    folder = tmp_path / "files"
    shutil.copytree(made, folder)
    for command, shown in examples(page):
        if NOT_RUN.search(command) or ("jq " in command and not shutil.which("jq")):
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        code = re.search(r"# exit code (\d+)$", command)
        assert done.returncode == (int(code[1]) if code else 0), f"$ {command}\n{done.stdout}"
        assert "Traceback" not in done.stdout
        if page.stem not in REAL_IMAGE:
            assert DIGEST.sub("…", done.stdout).split("\n") == DIGEST.sub("…", shown).split("\n"), command


def test_python_examples_are_the_readmes() -> None:
    """The Python examples are the README's, which are tested."""
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n.*?```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert block in readme


# --- the site ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails the build."""
    pytest.importorskip("mkdocs_click")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    # A newer mkdocs-material tells at length of plans of mkdocs, which is no warning about this site.
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=TOP, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: str) -> str:
    """What a built page says, without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_is_in_the_reference(command: click.Command, site: Path) -> None:
    """The reference has each command with its usage, all its options and its examples."""
    sections = (site / "reference.html").read_text(encoding="utf-8").split('<h2 id="')
    text = next(text_of(s) for s in sections if s.startswith(f'squashkit-{command.name}"'))
    assert f"squashkit {command.name} [OPTIONS]" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(name in text for name in parameter.opts), parameter.opts
    for line in (command.epilog or "").replace("\b", "").splitlines():
        assert line.strip().removeprefix("Example: ") in text


def test_the_site_is_whole(site: Path) -> None:
    """Each page is built, loads nothing from elsewhere, and no source file is published."""
    for page in PAGES:
        built = (site / f"{page.stem}.html").read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="?([^" >]*)', built)
        assert loaded
        assert not [place for place in loaded if re.match(r"(?:https?:)?//", place)], page.name
    assert not [path for path in site.rglob("*") if path.suffix in (".py", ".pyc", ".md")]


def test_exit_codes_and_fields_are_the_readmes(site: Path) -> None:
    """The page of exit codes and JSON fields has the README's tables."""
    page = text_of((site / "results.html").read_text(encoding="utf-8"))
    for word in ("130", "image_id", "result_layers", "contested"):
        assert word in page


def test_every_page_is_in_the_navigation() -> None:
    """The navigation names each page once."""
    settings = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"(?m)^ +- [^:]+: (\S+\.md)$", settings)
    assert sorted(named) == [page.name for page in PAGES]


def test_pictures_have_a_title_and_a_description() -> None:
    """Each picture says in words what it shows, and a page shows it."""
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = sorted((DOCS / "images").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "<title" in text and "<desc" in text, picture.name
        assert f"images/{picture.name}" in pages
