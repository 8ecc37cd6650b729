"""What holds for all tests: nothing of the machine's own is read or written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.support")  # before anything of it is imported

from tests.support.builders import docker_archive_old  # noqa: E402
from tests.support.runner import APP, BASE  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No daemon answers unless a test starts one; credentials, cache and catalogue are empty folders."""
    folder: Path = tmp_path_factory.mktemp("home")
    (folder / "docker").mkdir()
    (folder / "docker" / "config.json").write_text("{}")
    own = {
        "DOCKER_HOST": f"unix://{folder}/nobody.sock",
        "DOCKER_CONFIG": str(folder / "docker"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    unset = ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE")  # docker-registry reads the latter, empty too
    before = {name: os.environ.get(name) for name in (*own, *unset)}
    os.environ.update(own)
    for name in unset:
        os.environ.pop(name, None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def no_bases() -> None:
    """The catalogue is empty: what was written before has no base in it."""
    shutil.rmtree(Path(os.environ["XDG_DATA_HOME"]) / "squashkit", ignore_errors=True)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A docker archive of the image and its base, in a folder of its own."""
    (tmp_path / "in").mkdir()
    docker_archive_old(tmp_path / "in/app.tar", [APP, BASE])
    return tmp_path / "in/app.tar"
