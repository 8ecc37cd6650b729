"""The lowest versions of its dependencies that squashkit declares are to be had, and enough."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = (
    "compat/test_registry_access.py",
    "engine/test_entries.py",
    "jobs/test_inspect.py",
    "jobs/test_verify.py",
    "layers/test_compare.py",
    "plan/test_documents.py",
    "plan/test_selection.py",
    "transports/test_codecs.py",
    "transports/test_containers.py",
)
"""What touches every dependency: compressors, the command line, registries and credentials."""


def floors() -> list[str]:
    """The dependencies, each at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [text.replace(">=", "==") for text in project["dependencies"]]
    assert all(re.match(r"[\w.-]+==[\d.]+(;|$)", text) for text in found), found
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with squashkit and the lowest versions; what pip says of a yanked one is an error."""
    folder = tmp_path_factory.mktemp("floors")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    extra = ["pytest>=8.2", "pytest-timeout>=2.3", "hypothesis>=6.100", "PyYAML>=6.0"]
    made = subprocess.run(
        [python, "-m", "pip", "install", "--disable-pip-version-check", ROOT, *floors(), *extra],
        capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    assert "yanked" not in made.stdout + made.stderr, made.stderr
    return python


def test_the_lowest_versions_go_together(python: Path) -> None:
    """pip finds no dependency that contradicts another."""
    subprocess.run([python, "-m", "pip", "check"], check=True)


@pytest.mark.timeout(1800)
def test_the_lowest_versions_are_enough(python: Path) -> None:
    """Tests that touch every dependency pass with them."""
    words: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"tests/{name}" for name in SUITE),
    ]
    made = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stdout.decode()[-3000:]
