"""What was counted is told at the end, and kept in build/kill/figures.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.kill import shim as shims

FIGURES = Path("build/kill/figures.json")


class Counts:
    """How often what was tried, by words."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def add(self, what: str, number: int = 1) -> None:
        self.counted[what] += number


_COUNTS = Counts()


@pytest.fixture(scope="session")
def counts() -> Counts:
    return _COUNTS


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail."""
    return shims.build(tmp_path_factory.mktemp("shim"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _COUNTS.counted:
        return
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(old | _COUNTS.counted, indent=1))
    terminalreporter.section("counts")
    for what, number in _COUNTS.counted.items():
        terminalreporter.write_line(f"{number:8,}  {what}")
