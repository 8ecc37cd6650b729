"""Daemons of Debian releases that are newer than this machine's, each from a root file system of its own.

A root file system is made once, of packages alone, and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compat import services
from tests.compat.images import cache_folder, cache_lock
from tests.compat.services import CommandFailed, Unavailable, run

SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
PACKAGES = (
    "ca-certificates,docker.io,docker-cli,docker-buildx,containerd,runc,iptables,podman,crun,netavark"
)
_ENTER = """\
root=$0
mount --bind "$root" "$root"
for folder in proc sys dev tmp; do mount --rbind /$folder "$root/$folder"; done
[ ! -d /dev/shm ] || mount --rbind /dev/shm "$root/dev/shm"
mount -t tmpfs tmpfs "$root/run"
cd "$root"
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt; exec "$@"' sh "$@"
"""
"""Makes a folder the root of a mount namespace: dockerd mounts / anew, which a chroot does not bear."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Debian, and options of apt that it takes."""

    name: str
    options: tuple[str, ...] = ()
    packages: str = PACKAGES


TRIXIE = Release("trixie")
FORKY = Release("forky", ("--aptopt=Acquire::Check-Valid-Until false",), f"{PACKAGES},crane")
"""Testing, whose list of packages may be weeks old; its signature is checked all the same."""


def root_of(release: Release) -> Path:
    """The root file system of a release, made where there is none."""
    if os.geteuid() != 0:
        raise Unavailable("a root file system of another release needs root")
    command = ["mmdebstrap", "--variant=minbase", f"--include={release.packages}", *release.options]
    key = hashlib.sha256(" ".join(command).encode()).hexdigest()[:12]
    with cache_lock():
        root = cache_folder() / f"{release.name}-{key}"
        if not root.exists():
            scratch = Path(tempfile.mkdtemp(dir=cache_folder()))
            try:
                run([*command, release.name, scratch / "root", mirror()])
                (scratch / "root").rename(root)
            except CommandFailed as error:
                raise Unavailable(f"no root file system of {release.name}: {error}") from error
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return root


def mirror() -> str:
    """Where this machine's own packages come from."""
    try:
        lines = SOURCES.read_text().splitlines()
    except OSError as error:
        raise Unavailable(f"{SOURCES} names no mirror: {error}") from error
    return next(line.split()[1] for line in lines if line.startswith("URIs:"))


def inside(release: Release) -> list[str | Path]:
    """What stands before a command that runs in a release's root file system. It sees this machine's /tmp
    and /dev, and what it mounts nobody else does."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, root_of(release)]


class NewDocker(services.Docker):
    """A daemon of such a release, in either of its stores."""

    def __init__(self, folder: Path, host: str, release: Release, *, by_manifest: bool) -> None:
        super().__init__(folder, host)
        self.release = release
        self.by_manifest = by_manifest
        """Whether it keeps images in containerd's store."""

    def build(self, dockerfile: str, *options: str) -> None:
        """Build an image with BuildKit, which is in the daemon; a Dockerfile is all that it gets."""
        context = Path(tempfile.mkdtemp(dir=self.folder))
        (context / "Dockerfile").write_text(dockerfile)
        command = ["env", f"DOCKER_HOST={self.env['DOCKER_HOST']}", "docker", "build", "--quiet"]
        run([*inside(self.release), *command, "--network", "host", *options, context])

    def ctr(self, *words: str) -> str:
        """Ask containerd, behind docker's back."""
        socket_path = self.folder / "exec" / "containerd" / "containerd.sock"
        return run(["ctr", "--address", socket_path, "--namespace", "moby", *words])

    def content(self, *words: str) -> str:
        """Ask its store of blobs."""
        return self.ctr("content", *words)

    def image_ids(self) -> set[str]:
        """Of all images, those without a name too."""
        return set(self.run("images", "--all", "--quiet", "--no-trunc").split())

    def exported(self, name: str) -> dict[str, Any]:
        """The files of an image as a container shows them, less what docker puts there."""
        container = self.run("create", name, "x").strip()
        archive = Path(tempfile.mkdtemp(dir=self.folder)) / "exported"
        try:
            self.run("export", "--output", archive, container)
            return services.listed(archive)
        finally:
            self.run("rm", container)
            shutil.rmtree(archive.parent)


@contextmanager
def new_docker(state: Path, release: Release, *, by_manifest: bool) -> Iterator[NewDocker]:
    """Start dockerd of a release, with containerd's image store or its own overlay2."""
    kind = "containerd" if by_manifest else "overlay2"
    folder = Path(tempfile.mkdtemp(prefix=f"{release.name}-{kind}-", dir=state))
    config = folder / "daemon.json"
    config.write_text(json.dumps({"features": {"containerd-snapshotter": by_manifest}}))
    host = f"unix://{folder}/sock"
    command: list[str | Path] = [
        *inside(release),
        *("dockerd", "--config-file", config),
        *("--data-root", folder / "root", "--exec-root", folder / "exec"),
        *("--host", host, "--pidfile", folder / "pid"),
        *("--iptables=false", "--ip6tables=false", "--bridge=none"),
    ]
    with services.daemon(command, folder, "API listen"):
        tool = NewDocker(folder, host, release, by_manifest=by_manifest)
        tool.run("version")
        yield tool


class NewPodman(services.Podman):
    """podman of such a release."""

    def __init__(self, folder: Path, release: Release) -> None:
        super().__init__(folder)
        self._inside = inside(release)
        self._podman = self.command
        self.command = [*self._inside, *self._podman]

    def files(self, name: str) -> dict[str, Any]:
        """The files of an image as podman mounts it."""
        mount = [*self._podman, "image", "mount", name]
        script = 'cd "$("$@")" && tar --create .'
        return _packed(self._inside, ["sh", "-c", script, "sh", *mount], self.folder)

    def environment(self) -> dict[str, str]:
        """What to set for a program that is to call this podman, with this storage."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        command = shlex.join(map(str, [*self._inside, "/usr/bin/podman"]))
        (folder / "podman").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / "podman").chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        return {
            "PATH": path,
            "CONTAINERS_STORAGE_CONF": str(self.storage_conf),
            "TMPDIR": str(self.folder),
        }


def new_podman(state: Path, release: Release) -> NewPodman:
    """podman of a release, with a storage of its own."""
    return NewPodman(Path(tempfile.mkdtemp(prefix=f"{release.name}-podman-", dir=state)), release)


class NewContainerd(services.Containerd):
    """containerd of such a release, and its own ctr."""

    def __init__(self, folder: Path, release: Release) -> None:
        super().__init__(folder)
        self._inside = inside(release)
        self._ctr = self.command
        self.command = [*map(str, self._inside), *self._ctr]

    def files(self, name: str) -> dict[str, Any]:
        """The files of an image as its snapshotter shows them."""
        target = Path(tempfile.mkdtemp(dir=self.folder))
        mount = [*self._ctr, "images", "mount", "--snapshotter", "overlayfs", name, str(target)]
        script = 'target=$0; "$@" >/dev/null && cd "$target" && tar --create .'
        return _packed(self._inside, ["sh", "-c", script, target, *mount], self.folder)


@contextmanager
def new_containerd(state: Path, release: Release) -> Iterator[NewContainerd]:
    """Start containerd of a release."""
    folder = Path(tempfile.mkdtemp(prefix=f"{release.name}-containerd-", dir=state))
    config = folder / "config.toml"
    off = ["grpc.v1.cri", "cri.v1.images", "cri.v1.runtime"]
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f"disabled_plugins = {[f'io.containerd.{name}' for name in off]}\n"
        f'[grpc]\naddress = "{folder}/sock"\n'
    )
    command = [*inside(release), "containerd", "--config", config]
    with services.daemon(command, folder, "successfully booted"):
        tool = NewContainerd(folder, release)
        tool.run("version")
        yield tool


def _packed(inside: list[str | Path], command: list[str | Path], folder: Path) -> dict[str, Any]:
    """What a command packs in a release's root file system into its standard output."""
    archive = folder / "packed.tar"
    run([*inside, "sh", "-c", 'archive=$0; "$@" >"$archive"', archive, *command])
    return services.listed(archive)
