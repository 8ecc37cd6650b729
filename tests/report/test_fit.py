"""Tables fit a terminal; nothing is cut where there is none."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit.report.text import Fit, table
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, whiteout
from tests.support.runner import COMMAND, run

LONG = "usr/share/a-name-that-is-long/" + "x" * 70
BASE = ImageSpec([layer(file("b", bytes(900)))], ["registry.example/team/debian-with-a-long-name:12"])
APP = ImageSpec(
    [
        *BASE.layers,
        layer(file("cache", bytes(90_000)), file(LONG, b"1")),
        layer(whiteout("cache")),
        layer(file("cache", bytes(900))),
    ],
    ["registry.example/team/application:1"],
    history=[{"created_by": f"RUN install {'something that is long ' * 3} {n}"} for n in range(4)],
)
TABLES = {
    "inspect": ("inspect", "app.tar:registry.example/team/application:1"),
    "a tree": ("inspect", "app.tar"),
    "which": ("which", "app.tar:registry.example/team/application:1", "/cache"),
    "ls": ("ls", "app.tar:registry.example/team/application:1", "-lR"),
    "fleet storage": ("fleet", "storage", "app.tar"),
    "fleet advise": ("fleet", "advise", "app.tar"),
    "fleet pull": ("fleet", "pull", "app.tar"),
    "fleet freed": ("fleet", "freed", "app.tar"),
    "base list": ("base", "list"),
}
HEADS = re.compile(r"(layer|mode|strategy|repository|tag|image|base) ")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive, whose images are in the catalogue."""
    home = tmp_path_factory.mktemp("home")
    docker_archive_old(home / "app.tar", [APP, BASE])
    name = f"{home}/app.tar:{BASE.tags[0]}"
    assert run("base", "add", name, env={"XDG_DATA_HOME": str(home)}).code == 0
    return home


def shown(home: Path, words: tuple[str, ...], columns: int) -> list[str]:
    """What a command prints on a terminal of so many columns."""
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "XDG_DATA_HOME": str(home), "TERM": "dumb"}
    with subprocess.Popen(
        [*COMMAND, *words], cwd=home, env=env, stdout=terminal, stderr=subprocess.DEVNULL
    ):
        os.close(terminal)
        seen = b""
        try:
            while data := os.read(master, 65536):
                seen += data
        except OSError:  # the terminal's other end is closed
            pass
    os.close(master)
    return seen.decode().splitlines()


def rows(lines: list[str]) -> Iterator[str]:
    """The lines of the table, from its head to a blank line."""
    start = next(number for number, line in enumerate(lines) if HEADS.match(line))
    for line in lines[start:]:
        if not line:
            return
        yield line


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_tables_fit_the_terminal(name: str, columns: int, home: Path) -> None:
    """No line of a table is longer than the terminal is wide, and each has its rows."""
    found = list(rows(shown(home, TABLES[name], columns)))
    assert len(found) >= 2
    assert max(map(len, found)) <= columns, found


@pytest.mark.parametrize("name", TABLES)
def test_a_pipe_gets_whole_lines(name: str, home: Path) -> None:
    """Where standard output is no terminal, the width does not matter: nothing is left out."""
    words = (*TABLES[name],)
    made = [
        subprocess.run(
            [*COMMAND, *words], cwd=home, capture_output=True, text=True, check=True,
            env={**os.environ, "XDG_DATA_HOME": str(home), "COLUMNS": columns},
        ).stdout
        for columns in ("40", "200")
    ]  # fmt: skip
    assert made[0] == made[1]
    assert "…" not in made[0] or name in ("inspect", "a tree", "which")


def test_a_wrapped_path_is_whole(home: Path) -> None:
    """What goes on in the next line is not cut: put together it is the path."""
    lines = shown(home, TABLES["ls"], 60)
    at = next(
        number for number, line in enumerate(lines) if line.startswith("-") and "/usr/share/a" in line
    )
    start = lines[at].index("/usr/share/a")
    assert "".join(line[start:].rstrip() for line in lines[at : at + 12]).startswith("/" + LONG)


def test_columns_are_left_out_last_of_all() -> None:
    """First texts get narrower, then what is missed least goes; a width that suffices changes nothing."""
    head, row = ["a", "b", "c"], ["1" * 10, "2" * 10, "3" * 40]
    assert table(head, [row], fit=Fit(64, leave_out=[1], shorten=[2])) == table(head, [row])
    assert table(head, [row], fit=Fit(50, leave_out=[1], shorten=[2]))[1] == "  ".join(
        [*row[:2], "3" * 25 + "…"]
    )
    assert table(head, [row], fit=Fit(30, leave_out=[1], shorten=[2]))[1] == "  ".join(
        [row[0], "3" * 17 + "…"]
    )
    assert table(head, [row], fit=Fit(50, leave_out=[1], wrap=[2]))[2] == " " * 24 + "3" * 14
