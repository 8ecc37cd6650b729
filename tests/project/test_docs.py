"""The documentation holds: its examples run, the site builds, every command and option is in it."""

from __future__ import annotations

import html
import json
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

from squashkit import errors
from tests.golden.record import GOLDEN
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


def test_titles_in_code_are_parts_of_messages() -> None:
    """The page for those who met an error quotes messages that squashkit has."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    titles = re.findall(r"(?m)^### `(.+)`$", page)
    code = "".join(path.read_text(encoding="utf-8") for path in (TOP / "squashkit").rglob("*.py"))
    assert len(titles) > 10
    printed = GOLDEN.read_text(encoding="utf-8")  # with what options are called on the command line
    assert [title for title in titles if title not in code + printed] == []


# --- the site ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails the build."""
    pytest.importorskip("mkdocs_click")
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(TOP / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "zensical", "build", "--strict"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "docs"), str(TOP)])}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/site"


def text_of(page: str) -> str:
    """What a built page says, without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_is_in_the_reference(command: click.Command, site: Path) -> None:
    """The reference has each command with its usage, all its options and its examples."""
    sections = (site / "reference.html").read_text(encoding="utf-8").split('<h3 id="')
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


def test_every_page_is_in_the_navigation() -> None:
    """The navigation names each page once."""
    settings = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"(?m)^ +- [^:]+: (\S+\.md)$", settings)
    assert sorted(named) == [page.name for page in PAGES]


def test_the_index_links_to_every_page() -> None:
    """From the first page each other one is one step away."""
    links = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert sorted({*links, "index.md"}) == [page.name for page in PAGES]


def test_pictures_have_a_title_and_a_description() -> None:
    """Each picture says in words what it shows, and a page shows it."""
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = sorted((DOCS / "images").glob("*.svg"))
    assert pictures
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "<title" in text, picture.name
        assert "<desc" in text, picture.name
        assert f"images/{picture.name}" in pages
    shown = re.findall(r"\]\(images/([^)]+)\)", pages)
    assert set(shown) == {picture.name for picture in pictures}


# --- the reference of exit codes and JSON -----------------------------------------------------


RESULTS = (DOCS / "results.md").read_text(encoding="utf-8")
DOCUMENTS = {
    "squash": [
        "squash app.tar --keep-base fedora:28 -o out.tar",
        "squash oci:multi:app --all --platform all -n",
    ],
    "rebase": ["rebase app.tar:app:latest --old-base fedora:28 --new-base patched.tar -o re.tar"],
    "extract": ["extract hello.tar:hello:builder /usr/local/bin/hello -o small.tar"],
    "fleet storage": ["fleet storage app.tar nginx.tar old.tar new.tar --estimate"],
    "fleet advise": ["fleet advise app.tar nginx.tar --estimate"],
    "fleet squash": ["fleet squash app.tar nginx.tar --into oci:squashed"],
    "fleet pull": ["fleet pull app.tar --have nginx.tar"],
    "fleet freed": ["fleet freed app.tar nginx.tar --tag app"],
    "fleet scan": ["fleet scan app.tar nginx.tar --into scan"],
    "fleet duplicates": ["fleet scan app.tar --into dup --json", "fleet duplicates dup"],
    "inspect": ["inspect app.tar:app:latest", "inspect app.tar"],
    "waste": [
        "waste app.tar:app:latest --max-wasted 1KB",
        "waste nginx.tar:nginx:waste --keep-layers 1",
    ],
    "which": ["which app.tar:app:latest /root/.token", "which app.tar:app:latest *.token"],
    "verify": ["verify app.tar --absent /root/.token"],
    "diff": ["diff old.tar new.tar"],
    "ls, cat and export": [
        "ls app.tar:app:latest /root --layer 4 --whiteouts",
        "cat app.tar:app:latest /etc/os-release",
        "export app.tar:app:latest -o rootfs.tar",
    ],
    "base find, check and list": [
        "base find app.tar:app:latest",
        "base check app.tar:app:latest --base fedora.tar",
        "base list",
    ],
}
"""Commands that print JSON, by the heading below which their fields are documented."""


def fields(document: object) -> Iterator[str]:
    """All names of fields of a JSON document; keys that name an image, a platform or a pattern are none."""
    if isinstance(document, list):
        for value in document:
            yield from fields(value)
    if isinstance(document, dict):
        for name, value in document.items():
            if not re.search("[:/]", name):
                yield name
            yield from fields(value)


@pytest.mark.parametrize("heading", DOCUMENTS)
def test_every_field_is_documented(
    heading: str, made: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Each field that `--json` prints stands below the command's heading, or one that it points to."""
    sections = dict(re.findall(r"(?ms)^### ([^\n]+)\n(.*?)(?=^##|\Z)", RESULTS))
    links = re.findall(r"\]\(#([\w-]+)\)", sections[heading])
    named = [title for title in sections if title.replace(",", "").replace(" ", "-") in links]
    text = "".join(sections[title] for title in (heading, *named))
    folder = tmp_path / "files"
    shutil.copytree(made, folder, copy_function=os.link)
    if heading.startswith("base"):
        subprocess.run(["squashkit", "base", "add", "fedora.tar"], cwd=folder, env=environment, check=True)
    for words in DOCUMENTS[heading]:
        command = ["squashkit", *words.split(), "--json"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr
        assert {name for name in fields(json.loads(done.stdout)) if f"`{name}`" not in text} == set()


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes has those that errors have."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SquashkitError)
    }
    for code in codes | {0, 130}:
        assert f"\n| {code} | " in RESULTS
