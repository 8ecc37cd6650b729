"""Imports run down from room to room, what decides is pure, and each library has one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import squashkit

ROOT = Path(squashkit.__file__).parent
ROOMS = {
    "oci": set(),
    "layers": {"oci"},
    "plan": {"layers", "oci"},
    "transports": {"layers", "oci"},
    "report": {"plan", "layers", "oci"},
    "engine": {"transports", "plan", "layers", "oci"},
    "jobs": {"report", "engine", "transports", "plan", "layers", "oci"},
    "cli": {"jobs", "report", "oci"},
}
"""What each room may import, beside itself and the modules of the hall."""
HALL = {"arguments", "values", "errors", "progress", "amounts", "wording", "version"}
"""Modules beneath all rooms."""
OPTIONS = "options"
"""The groups of options: beneath all rooms but oci, whose values they hold."""
PURE = ["oci", "layers", "plan"]
PLACES = {
    "click": {"cli"},
    "tqdm": {"progress"},
    "textual": {"cli/explore"},
    "rich": {"cli/explore"},
    "docker": {"transports/stores/docker", "transports/stores/connection"},
    "requests": {"transports/stores", "transports/registry"},
    "urllib3": {"transports/stores", "transports/registry"},
    "elftools": {"engine/elf"},
    "duckdb": {"transports/tables"},
    "pyarrow": {"transports/tables"},
    "distributed": {"engine/cluster"},
    "isal": {"transports/codecs"},
    "zlib_ng": {"transports/codecs", "transports/deflate"},
    "backports": {"transports/codecs"},
    "jinja2": {"report/html/render"},
    "plotly": {"report/html/render"},
}
IMPURE = {"os", "pathlib", "time", "datetime", "random", "subprocess", "socket", "tempfile", "shutil", "io"}


def modules(room: str = "") -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


def name_of(path: Path) -> str:
    """A module's place in the package: `layers/tar`."""
    return path.relative_to(ROOT).with_suffix("").as_posix()


def imports(path: Path) -> set[str]:
    """The modules that a file imports, within functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str:
    """The room, or the module of the hall, that an import of the package names."""
    return module.split(".")[1]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_down(room: str) -> None:
    """A room imports itself, the rooms below it, the options and the hall."""
    allowed = {room, *HALL, *ROOMS[room], *({OPTIONS} if room != "oci" else ())}
    up = {
        (name_of(path), module)
        for path in modules(room)
        for module in imports(path)
        if module.startswith("squashkit.") and room_of(module) not in allowed
    }
    assert up == set()


def test_each_folder_is_a_room() -> None:
    """There are no rooms beside those whose floor is known."""
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"} == {
        *ROOMS
    }


def test_the_hall_knows_no_room() -> None:
    """Modules beneath all rooms import each other alone, and options the values of oci, too."""
    for name in (*HALL, OPTIONS):
        below = HALL if name in HALL else {*HALL, "oci"}
        for module in imports(ROOT / f"{name}.py"):
            assert not module.startswith("squashkit.") or room_of(module) in below, (name, module)


def test_no_imports_run_in_a_circle() -> None:
    """No module imports, by whatever way, one that imports it."""
    files = {"squashkit." + name_of(path).replace("/", "."): path for path in modules()}
    below = {
        name: {
            target
            for module in imports(path)
            for target in (module, module.rpartition(".")[0])
            if target in files and target != name
        }
        for name, path in files.items()
    }
    while leaves := [name for name, targets in below.items() if not targets & below.keys()]:
        for name in leaves:
            del below[name]
    assert not below


@pytest.mark.parametrize("room", PURE)
def test_rooms_that_decide_are_pure(room: str) -> None:
    """They import the standard library's pure part, and open nothing."""
    for path in modules(room):
        for module in imports(path):
            top = module.partition(".")[0]
            assert top == "squashkit" or (top in sys.stdlib_module_names and top not in IMPURE), module
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"open", "print", "input"}


def test_each_library_has_its_place() -> None:
    """click is the command line's, textual that of one command, tqdm the progress bars', compressors the
    codecs'."""
    for path in modules():
        for module in imports(path):
            places = PLACES.get(module.partition(".")[0])
            assert places is None or any(
                name_of(path) == place or name_of(path).startswith(place + "/") for place in places
            ), f"{name_of(path)} imports {module}"
