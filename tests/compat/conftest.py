"""Fixtures that start the real tools, make the images, and read what each tool makes of them.

Where a tool cannot run, a person's tests are skipped with the reason; with CI=true they fail.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from tests.compat import images, services
from tests.compat.generated import Generated, contested_images, uncontested_images
from tests.compat.rootfs import Snapshot

T = TypeVar("T")

SQUASH = [sys.executable, "-m", "squashkit", "squash"]

Reading = dict[str, Future[dict[str, Snapshot]]]
"""What each tool makes of some archives: by tool, then by tag."""


def available(get: Callable[[], T]) -> T:
    """What `get` returns; where a tool is missing, the test ends here."""
    try:
        return get()
    except services.Unavailable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"unavailable: {reason}")
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """The folder of all tools' state."""
    with ExitStack() as stack:
        yield available(lambda: stack.enter_context(services.state_folder()))


@pytest.fixture(scope="session")
def tools(state: Path) -> Iterator[services.Services]:
    """The tools, each started when a test first asks for it."""
    with ExitStack() as stack:
        yield services.Services(stack, state)


@pytest.fixture(scope="session")
def docker(tools: services.Services) -> services.Docker:
    """A docker daemon of our own."""
    tool = available(lambda: tools.get("docker"))
    assert isinstance(tool, services.Docker)
    return tool


@pytest.fixture(scope="session")
def containerd(tools: services.Services) -> services.Containerd:
    """A containerd of our own."""
    tool = available(lambda: tools.get("containerd"))
    assert isinstance(tool, services.Containerd)
    return tool


@pytest.fixture(scope="session")
def umoci(tools: services.Services) -> services.Umoci:
    """umoci and skopeo."""
    tool = available(lambda: tools.get("umoci"))
    assert isinstance(tool, services.Umoci)
    return tool


@pytest.fixture(scope="session")
def nginx_archives(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> images.NginxArchives:
    """A real image as `docker save` wrote it, with its base and alone; no daemon if cached."""
    with images.cache_lock():
        cached = images.cached_nginx()
        if cached:
            return cached
        docker = request.getfixturevalue("docker")
        return available(lambda: images.build_nginx(docker, tmp_path_factory.mktemp("build")))


@pytest.fixture(scope="session")
def nginx_archive(nginx_archives: images.NginxArchives) -> Path:
    """The archive that holds both nginx:waste and its base debian:12."""
    return nginx_archives.with_base


@pytest.fixture(scope="session")
def nginx_squashed(nginx_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the real image after a squash that keeps its base."""
    output = tmp_path_factory.mktemp("nginx") / "squashed.tar"
    source = f"docker-archive:{nginx_archive}:{images.NGINX}"
    options = ["--keep-base", images.BASE, "-t", images.SQUASHED, "-o", str(output)]
    done = subprocess.run(
        [*SQUASH, source, *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def uncontested(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Generated images that all tools read alike, and their squashed forms."""
    return uncontested_images(tmp_path_factory.mktemp("uncontested"))


@pytest.fixture(scope="session")
def contested(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Generated images that tools read differently, squashed from bottom to top."""
    return contested_images(tmp_path_factory.mktemp("contested"))


@pytest.fixture(scope="session")
def readers() -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for tools: each tool works on one core alone."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as executor:
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def nginx_read(
    tools: services.Services,
    readers: ThreadPoolExecutor,
    nginx_archive: Path,
    nginx_squashed: Path,
) -> Reading:
    """What the tools make of the real image and its squashed form."""
    archives = [(nginx_archive, [images.NGINX]), (nginx_squashed, [images.SQUASHED])]
    return _read(tools, readers, archives)


@pytest.fixture(scope="session")
def uncontested_read(
    tools: services.Services, readers: ThreadPoolExecutor, uncontested: Generated
) -> Reading:
    """What the tools make of the uncontested images, before and after."""
    return _read(tools, readers, uncontested.archives)


@pytest.fixture(scope="session")
def contested_read(
    tools: services.Services, readers: ThreadPoolExecutor, contested: Generated
) -> Reading:
    """What the tools make of the contested images once they are squashed."""
    return _read(tools, readers, contested.archives)


def _read(
    tools: services.Services,
    readers: ThreadPoolExecutor,
    archives: Sequence[tuple[Path, Sequence[str]]],
) -> Reading:
    def read(name: str) -> dict[str, Snapshot]:
        tool = tools.get(name)
        found: dict[str, Snapshot] = {}
        for archive, tags in archives:
            found |= tool.rootfs(archive, tags)
        return found

    return {name: readers.submit(read, name) for name in services.STARTERS}
