"""Fixtures that start the real tools, make the images, and read what each tool makes of them.

Where a tool cannot run, a person's tests are skipped with the reason; with CI=true they fail.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tests.compat import images, registries, services, small
from tests.compat.generated import Generated, contested_images, uncontested_images
from tests.compat.rootfs import Snapshot
from tests.support.builders import docker_archive_25, oci_archive
from tests.support.runner import Json, Result, run

T = TypeVar("T")

SQUASH = [sys.executable, "-m", "squashkit", "squash"]

Reading = dict[str, Future[dict[str, Snapshot]]]
"""What each tool makes of some archives: by tool, then by tag."""


class Person:
    """Calls squashkit with settings and caches of their own, below one folder, and no daemon."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "docker"
        self.cache = home / "cache"
        self.config.mkdir(parents=True)
        self.env = {
            "HOME": str(home),
            "DOCKER_CONFIG": str(self.config),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_DATA_HOME": str(home / "data"),
            "DOCKER_HOST": f"unix://{home}/no-daemon",
            "REQUESTS_CA_BUNDLE": "",
            "CURL_CA_BUNDLE": "",
        }
        self.use_proxies(http_proxy="", https_proxy="", all_proxy="", no_proxy="")

    def run(self, *args: object) -> Result:
        """Run squashkit to its end, whatever that is, in this process: starting one takes longer than most
        runs."""
        with chdir(self.home):
            return run(*map(str, args), env=self.env)

    def squash(self, *args: object) -> Json:
        """A squash that must succeed; its report."""
        done = self.run("squash", *args, "--json")
        assert done.code == 0, f"{' '.join(map(str, args))}: exit {done.code}\n{done.err}"
        return done.json

    def forget(self) -> None:
        """Empty the cache."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def log_in(self, host: str, name: str, password: str) -> None:
        """Keep credentials where docker does."""
        auth = base64.b64encode(f"{name}:{password}".encode()).decode()
        (self.config / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    def use_daemon(self, daemon: services.Docker | str) -> None:
        """Talk to this daemon from now on."""
        self.env["DOCKER_HOST"] = daemon if isinstance(daemon, str) else daemon.env["DOCKER_HOST"]

    def use_proxies(self, **proxies: str) -> None:
        """Set these variables in both cases, as programs differ in which one they read first."""
        for name, value in proxies.items():
            self.env |= {name.lower(): value, name.upper(): value}


def available(get: Callable[[], T]) -> T:
    """What `get` returns; where a tool is missing, the test ends here."""
    try:
        return get()
    except services.Unavailable as reason:
        _missing(reason)


def _missing(reason: services.Unavailable) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"unavailable: {reason}")
    pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """A tool that a fixture misses ends the test, too."""
    with _ended_by_what_is_missing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A tool that is found missing midway ends the test, too."""
    with _ended_by_what_is_missing():
        return (yield)


@contextmanager
def _ended_by_what_is_missing() -> Iterator[None]:
    try:
        yield
    except services.Unavailable as error:
        _missing(error)


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
def podman(tools: services.Services) -> services.Podman:
    """podman with a storage of our own."""
    tool = available(lambda: tools.get("podman"))
    assert isinstance(tool, services.Podman)
    return tool


@pytest.fixture(scope="session")
def authority(state: Path) -> registries.Authority:
    """Who signs the certificates of our registries."""
    return available(lambda: registries.Authority(state / "authority"))


@pytest.fixture(scope="session")
def images_registry(
    state: Path, docker: services.Docker, umoci: services.Umoci, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[registries.Registry]:
    """A registry that holds the small images; nothing is written to it but by this fixture.

    base:1, which the daemon has pulled from it, and app:1, built there, are docker's schema 2; base-oci:1
    and app-oci:1 are the same blobs as OCI images. multi-base:1 and multi:1 are OCI indexes of two
    platforms, multi-base-docker:1 and multi-docker:1 docker's. The daemon knows base:1 and app:1, too.
    attested:1 is multi:1 with attestations; repeating-gzip:1 and repeating-zstd:1 have layers twice, and
    are based on repeating-base-gzip:1 and repeating-base-zstd:1.
    """
    folder = tmp_path_factory.mktemp("small")
    with ExitStack() as stack:
        registry = available(lambda: stack.enter_context(registries.registry(state)))
        host = registry.host

        def copy(source: str, repository: str, *options: str) -> None:
            target = f"docker://{host}/{repository}:1"
            umoci.copy(source, target, "--dest-tls-verify=false", "--src-tls-verify=false", *options)

        docker_archive_25(folder / "base.tar", [available(small.real_base)], compress="gzip")
        copy(f"oci-archive:{folder}/base.tar", "base", "--format", "v2s2")
        docker.run("pull", "--quiet", f"{host}/base:1")
        available(lambda: small.build_app(docker, f"{host}/base:1", f"{host}/app:1", folder / "build"))
        docker.run("push", "--quiet", f"{host}/app:1")
        for name in ("base", "app"):
            docker.run("tag", f"{host}/{name}:1", f"{name}:1")
            copy(f"docker://{host}/{name}:1", f"{name}-oci", "--format", "oci")
        for name, specs in (("multi-base", small.platform_bases()), ("multi", small.platform_apps())):
            oci_archive(folder / f"{name}.tar", specs, nested=True)
            copy(f"oci-archive:{folder}/{name}.tar", name, "--all")
            copy(f"oci-archive:{folder}/{name}.tar", f"{name}-docker", "--all", "--format", "v2s2")
        oci_archive(folder / "attested.tar", small.platform_apps(), nested=True, attestations=True)
        copy(f"oci-archive:{folder}/attested.tar", "attested", "--all")
        for name, spec in zip(("repeating-base", "repeating"), small.repeating_app(), strict=True):
            for how in ("gzip", "zstd"):
                oci_archive(folder / f"{name}-{how}.tar", [spec], compress=how)
                copy(f"oci-archive:{folder}/{name}-{how}.tar", f"{name}-{how}", "--format", "oci")
        yield registry


@pytest.fixture
def registry(state: Path, images_registry: registries.Registry) -> Iterator[registries.Registry]:
    """A registry of the test's own that holds the small images."""
    with registries.registry(state, like=images_registry) as made:
        yield made


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody who has just sat down before this machine: no settings, no caches, no daemon."""
    return Person(tmp_path / "home")


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
def contested_read(tools: services.Services, readers: ThreadPoolExecutor, contested: Generated) -> Reading:
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


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that squashkit would wait between tries, which here are over in a twentieth of them."""
    found: list[float] = []
    wait_for = threading.Condition.wait_for

    def shorter(self: threading.Condition, met: Callable[[], bool], timeout: float | None = None) -> bool:
        if timeout is None:
            return wait_for(self, met)
        found.append(timeout)
        return wait_for(self, met, timeout / 20)

    monkeypatch.setattr(threading.Condition, "wait_for", shorter)
    return found
