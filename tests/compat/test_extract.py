"""`squashkit extract` for real: what is taken out of an image with compilers runs on docker without a
network, and scanners see the packages of what stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat import images, services
from tests.compat.conftest import available
from tests.support.runner import Json, read_images, run


@pytest.fixture(scope="session")
def builder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the image with compilers."""

    def daemon() -> services.Docker:
        docker: services.Docker = request.getfixturevalue("docker")
        return docker

    with images.cache_lock():
        return available(lambda: images.built_tools(daemon, tmp_path_factory.mktemp("tools")))


def take(builder: Path, output: Path, *words: str) -> Json:
    done = run("extract", builder, *words, "-o", output, "--json", "--force")
    assert done.code == 0, done.err
    return done.json


def started(docker: services.Docker, image: str, *command: str, user: str = "") -> str:
    """What a container of an image prints: without a network."""
    words = ["run", "--rm", "--network", "none", *(["--user", user] if user else []), image, *command]
    return docker.run(*words)


CASES = {
    "static": (["/usr/local/bin/hello-static"], ["/usr/local/bin/hello-static"], "static says hello", 2e6),
    "entrypoint": (["--from-entrypoint"], [], "dynamic says hello", 4e6),
    "musl": (["/usr/local/bin/hello-musl"], ["/usr/local/bin/hello-musl"], "musl says hello", 2e6),
    "python": (
        ["/usr/bin/python3", "/usr/lib/python3.11", "--with", "ca-certificates,tzdata"],
        [
            "python3",
            "-c",
            "import ssl, sqlite3; print(ssl.get_default_verify_paths().capath)",
        ],
        "/usr/lib/ssl/certs",
        60e6,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_runs(name: str, builder: Path, docker: services.Docker, tmp_path: Path) -> None:
    """Each program runs from its own image, as the user that the image names, and the image is small."""
    words, command, printed, most = CASES[name]
    report = take(builder, tmp_path / "small.tar", *words, "-t", f"small:{name}")
    assert report["stored_bytes"]["after"] < most
    docker.run("load", "--input", tmp_path / "small.tar")
    assert started(docker, f"small:{name}", *command).strip() == printed


def test_nginx_starts(builder: Path, docker: services.Docker, tmp_path: Path) -> None:
    """nginx with its folders holds its own configuration for right."""
    folders = ["/etc/nginx", "/usr/share/nginx", "/var/lib/nginx", "/var/log/nginx", "/run"]
    report = take(
        builder, tmp_path / "n.tar", "/usr/sbin/nginx", *folders, "--with", "passwd", "-t", "small:nginx"
    )
    assert report["stored_bytes"]["after"] < 20e6
    docker.run("load", "--input", tmp_path / "n.tar")
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--user", "0", "small:nginx", "nginx", "-t"],
        env={"PATH": "/usr/bin:/bin:/usr/sbin", **docker.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test is successful" in done.stderr, done.stderr


def test_onto_a_base(builder: Path, nginx_archive: Path, docker: services.Docker, tmp_path: Path) -> None:
    """On a Debian that has the loader and the libraries, the program alone is new; it runs there."""
    words = ["/usr/local/bin/hello", "--keep-base", f"docker-archive:{nginx_archive}:{images.BASE}"]
    report = take(builder, tmp_path / "b.tar", *words, "-t", "small:base")
    new = [one["path"] for one in report["paths"] if one["bytes"]]
    assert new == ["usr/local/bin/hello"]
    docker.run("load", "--input", tmp_path / "b.tar")
    assert started(docker, "small:base", "hello").strip() == "dynamic says hello"
    assert started(docker, "small:base", "id", "-un").strip() == "app"
    assert started(docker, "small:base", "dpkg", "--audit", user="0") == ""


def _syft() -> str:
    found = shutil.which("syft", path=str(Path(sys.executable).parent)) or shutil.which("syft")
    if found is None:
        raise services.Unavailable("syft is not installed")
    return found


def test_scanners_see_the_packages_of_what_stays(builder: Path, tmp_path: Path) -> None:
    """syft lists exactly those that the report names."""
    report = take(
        builder, tmp_path / "s.tar", "/usr/local/bin/hello", "/usr/sbin/nginx", "-t", "small:syft"
    )
    syft = available(_syft)
    done = subprocess.run(
        [syft, "scan", f"docker-archive:{tmp_path}/s.tar", "-o", "json", "-q"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SYFT_CHECK_FOR_APP_UPDATE": "false"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = {
        (one["name"], one["version"])
        for one in json.loads(done.stdout)["artifacts"]
        if one["type"] == "deb"
    }
    told = {(one["name"], one["version"]) for one in report["packages"]}
    assert listed == told
    assert {"libc6", "nginx", "zlib1g"} <= {name for name, _ in told}


def test_what_is_taken_is_what_the_source_has(builder: Path, tmp_path: Path) -> None:
    """Every file of the result is the source's, by its bytes and attributes, or told to be new."""
    take(builder, tmp_path / "c.tar", "/usr/bin/python3", "/usr/lib/python3.11", "-t", "small:c")
    differences = run(
        "diff", f"{builder}:{images.BUILDER}", tmp_path / "c.tar", "--ignore", "removed", "--json"
    )
    added = {one["path"] for one in differences.json["differences"]}
    made = {
        path
        for path in added
        if path.startswith("var/lib/dpkg/status.d") or path in ("etc/passwd", "etc/group")
    }
    assert added == made
    (result,) = read_images(tmp_path / "c.tar")
    assert result.config["config"]["User"] == "app"
