"""What squashkit does is what it did when golden.json was recorded: bytes, JSON, exit codes, words, help.

A difference that is meant is recorded with `python -m tests.golden`, and reviewed with the change.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest

from tests.golden.record import Record, comparable, load, names, record, show


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images, and room for the runs."""
    return tmp_path_factory.mktemp("golden").resolve()


@pytest.fixture(scope="module")
def golden() -> Record:
    """What was recorded."""
    return load()


@pytest.mark.parametrize("name", names(), ids=[f"{at}: {name[:70]}" for at, name in enumerate(names())])
def test_as_recorded(name: str, root: Path, golden: Record) -> None:
    """Each run writes, prints and returns what it did."""
    before, now = (
        show(comparable(name, one, golden["libraries"]))
        for one in (golden["runs"][name], record(name, root))
    )
    changes = "\n".join(unified_diff(before, now, "recorded", "now", lineterm=""))
    assert not changes, f"{name}\n{changes}"


def test_the_record_is_of_these_runs(golden: Record) -> None:
    """No run is recorded that is not made any more."""
    assert list(golden["runs"]) == names()
