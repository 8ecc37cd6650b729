"""The rule of floors: the modules that decide are pure, and each library has one place."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import squashkit

ROOT = Path(squashkit.__file__).parent
PURE = [
    "gojson", "oci", "pax", "tar", "headers", "changeset", "rootfs", "graph", "names", "base", "merge",
    "planner", "compare", "trace", "absent", "metadata", "fitting", "risks", "inherit",
    "provenance", "fleet", "dangling",
]  # fmt: skip
PLACES = {
    "click": {"cli"},
    "tqdm": {"progress"},
    "docker": {"transports/docker_daemon", "transports/credentials"},
    "requests": {"transports/docker_daemon", "transports/registry", "transports/registry_client"},
    "urllib3": {"transports/docker_daemon", "transports/registry_client"},
    "isal": {"compression"},
    "zlib_ng": {"compression"},
    "backports": {"compression"},
}
IMPURE = {"os", "pathlib", "time", "datetime", "random", "subprocess", "socket", "tempfile", "shutil", "io"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, within functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= names if module == "squashkit" else {module}
    return found


@pytest.mark.parametrize("name", PURE)
def test_modules_that_decide_are_pure(name: str) -> None:
    """They import the standard library's pure part, errors and each other, and open nothing."""
    allowed = {f"squashkit.{pure}" for pure in [*PURE, "errors"]}
    path = ROOT / f"{name}.py"
    for module in imports(path):
        top = module.partition(".")[0]
        if top == "squashkit":
            assert module in allowed, module
        else:
            assert top in sys.stdlib_module_names and top not in IMPURE, module
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input"}


def test_each_library_has_its_place() -> None:
    """click is the command line's, tqdm the progress bars', compressors compression's."""
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).with_suffix("").as_posix()
        for module in imports(path):
            places = PLACES.get(module.partition(".")[0])
            assert places is None or any(
                here == place or here.startswith(place + "/") for place in places
            ), f"{here} imports {module}"
