"""An image that is open to be explored: what it tells agrees with the commands that print."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit.errors import UsageError
from squashkit.jobs.explore import open_exploration
from squashkit.jobs.inspect import inspect
from squashkit.jobs.paths import which
from squashkit.jobs.waste import waste
from squashkit.options import Keep, Which
from squashkit.progress import Silent
from squashkit.report.explore.tree import layer_tree, waste_tree
from tests.support.builders import Compress, docker_archive_old, oci_layout
from tests.support.runner import APP, BASE


@pytest.fixture(params=[None, "gzip", "zstd"])
def layout(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The app in a layout, its layers stored plain or compressed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    compress: Compress = request.param
    oci_layout(tmp_path / "layout", [APP, BASE], compress=compress)
    return f"{tmp_path / 'layout'}:app:1"


def test_savings_and_dead_bytes_are_those_of_waste(layout: str) -> None:
    """Each boundary saves what `waste` says, each layer has the dead bytes that it and `inspect` tell."""
    expected, inspected = waste(layout), inspect(layout)
    with open_exploration(layout) as found:
        assert found.savings() == expected.savings
        dead = [layer.dead for layer in found.explored.layers]
        assert dead == [layer.dead for layer in expected.layers]
        assert dead == [layer.dead_bytes for layer in inspected.layers]
        history = found.explored.history
        assert [layer_tree(history, index).root.dead for index in range(len(dead))] == dead
        assert waste_tree(history).root.dead == sum(one.size for one in expected.dead)
        assert found.explored.base_layers == len(BASE.layers)


def test_details_are_those_of_which(layout: str) -> None:
    """Every path that a layer touched has the copies and fates that `which` tells."""
    with open_exploration(layout) as found:
        paths = {item.path: item for items in found.explored.history.layers for item in items if item.path}
        assert len(paths) > 10
        for path, item in paths.items():
            assert found.details(path, item).trace == which(layout, path.decode())


def test_the_base_is_the_one_that_is_named(layout: str) -> None:
    """`keep` says which layers are the base; a base that is not there is told as `waste` tells it."""
    for keep, layers in ((Keep(layers=1), 1), (Keep("base:1"), 2), (Keep(), 2)):
        with open_exploration(layout, keep) as found:
            assert found.explored.base_layers == layers
            assert [one.in_base for one in found.explored.layers].count(True) == layers
    with pytest.raises(UsageError, match="has 5 layers"), open_exploration(layout, Keep(layers=9)):
        pass


def test_the_keyboard_is_no_archive() -> None:
    """Standard input is refused, and so are all platforms at once."""
    with pytest.raises(UsageError, match="name the archive by its path"), open_exploration("-"):
        pass
    with pytest.raises(UsageError, match="name one platform"), open_exploration("x", which=Which("all")):
        pass


class Stopping(Silent):
    """Stops the work when the layers are applied."""

    def advance(self, size: int) -> None:
        raise RuntimeError("enough")


def test_the_work_can_be_stopped(tmp_path: Path) -> None:
    """What hears of progress can end it: nothing goes on in the background."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    opening = open_exploration(str(tmp_path / "app.tar"), progress=Stopping())
    with pytest.raises(RuntimeError, match="enough"), opening:
        pass
