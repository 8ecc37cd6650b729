"""Images whose layers hold waste, built for real and small: those of the article "Building tiny container
images", with Debian in place of Fedora.

Their base has this machine's own apt and dpkg, and a folder of packages from which they install, so that
no build needs a network. What apt installs so leaves what it always leaves: lists, packages and logs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from tests.compat.debian_bases import PATH, Package, architecture, build_package
from tests.compat.services import CommandFailed, Docker, Unavailable, run
from tests.compat.small import MTIME, program_members
from tests.support.builders import ImageSpec, Member, directory, docker_archive_25, file, layer, noise

BASE = "debian:own"
PROGRAMS = (
    *("/bin/sh", "/bin/rm", "/bin/cat", "/bin/chmod", "/bin/chown", "/bin/mkdir", "/bin/cp", "/bin/tar"),
    *("/usr/bin/apt-get", "/usr/bin/dpkg", "/usr/bin/dpkg-deb", "/usr/bin/dpkg-split"),
    *("/usr/lib/apt/methods/copy", "/usr/lib/apt/methods/store", "/usr/lib/apt/methods/file"),
)
NOT_NEEDED = ("/sbin/ldconfig", "/sbin/start-stop-daemon", "/usr/bin/diff")
"""dpkg wants to see these, and the packages here do not call them."""
TABLES = ("/usr/share/dpkg/cputable", "/usr/share/dpkg/ostable", "/usr/share/dpkg/tupletable")
FOLDERS = (
    *(
        "tmp",
        "root",
        "srv",
        "dev",
        "proc",
        "sys",
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "repo",
        "usr/share/dpkg",
    ),
    *("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/apt/lists", "var/log/apt", "var/cache/apt"),
)
SETTINGS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n",
    "etc/group": "root:x:0:\napp:x:1000:\n",
    "etc/apt/sources.list": "deb [trusted=yes] copy:/repo ./\n",
    "etc/apt/apt.conf.d/own": 'APT::Sandbox::User "root";\nAcquire::Languages "none";\n',
    "var/lib/dpkg/status": "",
    "var/lib/dpkg/available": "",
}
PACKAGE_BYTES = 3_000_000
BIG_BYTES = 4_000_000
OTHERS = 3_000
"""Packages that the lists name and nobody installs: lists are long."""

FROM = f"FROM {BASE}\n"
INSTALL = "apt-get update && apt-get install -y --no-install-recommends server"
CLEAN, FORGET = "apt-get clean", "rm -rf /var/lib/apt/lists/*"
TREE = ("a", "b", "c")
"""Files of a folder that a build copies."""


def debian(scratch: Path) -> ImageSpec:
    """The base: one layer."""
    scratch.mkdir()
    package = Package(
        "server", "1.0-1", [file("/usr/sbin/server", noise(PACKAGE_BYTES, "server"), mode=0o755)]
    )
    deb = build_package(package, scratch).read_bytes()
    digest = hashlib.sha256(deb).hexdigest()
    entry = f"{package.control}Filename: ./server.deb\nSize: {len(deb)}\nSHA256: {digest}\n\n"
    others = "".join(
        f"Package: other{number}\nVersion: 1-{number}\nArchitecture: {architecture()}\n"
        f"Description: {noise(200, str(number)).hex()}\nFilename: ./other{number}.deb\nSize: 1\n\n"
        for number in range(OTHERS)
    )
    members = [
        *(directory(name, mtime=MTIME) for name in _with_parents(FOLDERS)),
        *(file(name, text.encode(), mtime=MTIME) for name, text in SETTINGS.items()),
        *(file(name[1:], b"#!/bin/sh\n", mode=0o755, mtime=MTIME) for name in NOT_NEEDED),
        *(file(name[1:], Path(name).read_bytes(), mtime=MTIME) for name in TABLES),
        file("repo/server.deb", deb, mtime=MTIME),
        file("repo/Packages", (entry + others).encode(), mtime=MTIME),
    ]
    config = {"config": {"Env": [f"PATH={PATH}"], "Cmd": ["sh"]}}
    return ImageSpec([layer(*_once([*program_members(PROGRAMS), *members]))], [BASE], config)


def _with_parents(folders: Iterable[str]) -> list[str]:
    paths = {str(parent) for folder in folders for parent in (Path(folder), *Path(folder).parents)}
    return sorted(paths - {"."})


def _once(members: Iterable[Member]) -> list[Member]:
    """Folders before what is in them, each path once."""
    return list({member.name: member for member in sorted(members, key=lambda one: one.name)}.values())


class Builds:
    """Builds images on the base with docker, each Dockerfile once."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.folder = folder
        self._made: dict[tuple[str, bool], Path] = {}
        context = folder / "context"
        (context / "tree").mkdir(parents=True)
        (context / "big").write_bytes(noise(BIG_BYTES, "big"))
        for name in TREE:
            (context / "tree" / name).write_bytes(noise(BIG_BYTES // 4, name))
        docker_archive_25(folder / "base.tar", [debian(folder / "packages")])
        docker.run("load", "--quiet", "--input", folder / "base.tar")

    def make(self, dockerfile: str, *, buildkit: bool = False) -> str:
        """A reference to the image in an archive that holds its base, too."""
        key = dockerfile, buildkit
        if key not in self._made:
            name = f"app:{len(self._made)}"
            archive = self.folder / f"{len(self._made)}.tar"
            (self.folder / "context/Dockerfile").write_text(dockerfile)
            self._build("--network", "none", "--tag", name, self.folder / "context", buildkit=buildkit)
            self.docker.run("save", "--output", archive, name, BASE)
            self._made[key] = archive.rename(archive.with_name(f"{name.replace(':', '-')}.tar"))
        path = self._made[key]
        return f"docker-archive:{path}:{path.stem.replace('-', ':')}"

    def _build(self, *options: str | Path, buildkit: bool) -> None:
        if not buildkit:
            try:
                self.docker.run("build", "--quiet", *options)
            except CommandFailed as error:
                raise Unavailable(f"docker cannot run the steps of a build here: {error}") from error
            return
        env = {**self.docker.env, "DOCKER_BUILDKIT": "1"}
        run([self._client, "build", "--quiet", *options], env=env)

    @cached_property
    def _client(self) -> Path:
        """The first docker on the PATH that has a BuildKit client: newer ones have it as a plugin."""
        scratch = self.folder / "empty"
        scratch.mkdir()
        (scratch / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        env = {**self.docker.env, "DOCKER_BUILDKIT": "1"}
        for folder in os.get_exec_path():
            client = Path(folder) / "docker"
            if client.exists():
                try:
                    run([client, "build", "--quiet", scratch], env=env)
                except CommandFailed:
                    continue
                return client
        raise Unavailable("no docker here has a client for BuildKit")
