"""The real tools, started with all their state in one folder, listening on unix sockets alone.

Every tool answers one question: which root file systems does it make of these images of an archive?
A tool that this machine cannot run raises `Unavailable` with the reason.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from tests.compat.images import read_archive
from tests.compat.rootfs import ROOT, Snapshot, snapshot

START_SECONDS = 60
COMMAND_SECONDS = 400
STATE_BYTES = 10 << 30
"""What all the tools together may take up, with room to spare."""


class Unavailable(Exception):
    """This machine cannot run a tool; the text says why."""


class CommandFailed(Exception):
    """A tool was started and did not do what it was told."""


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> str:
    """Run `command` to its end and return what it wrote to standard output."""
    try:
        done = subprocess.run(
            [os.fspath(part) for part in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        said = (text + done.stderr.decode("utf-8", "replace"))[-3000:]
        raise CommandFailed(f"{' '.join(map(str, command))}: exit {done.returncode}\n{said}")
    return text


@contextmanager
def state_folder() -> Iterator[Path]:
    """A folder for the state of all tools; whatever they left mounted in it is unmounted at the end.

    It lies in memory where there is plenty: the tools wait for the disk after every single layer.
    """
    if os.geteuid() != 0:
        raise Unavailable("mounting root file systems needs root")
    folder = Path(tempfile.mkdtemp(prefix="squashkit-", dir=_state_parent()))
    try:
        yield folder
    finally:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        below = [line.split()[1] for line in mounts if f" {folder}/" in line]
        for mountpoint in reversed(below):
            subprocess.run(["umount", "--lazy", mountpoint], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _state_parent() -> Path:
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return Path(tempfile.gettempdir())
    available = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    if min(shutil.disk_usage(memory).free, available) < STATE_BYTES:
        return Path(tempfile.gettempdir())
    with tempfile.NamedTemporaryFile(dir=memory) as probe:
        try:
            os.setxattr(probe.fileno(), "user.probe", b"1")
        except OSError:
            return Path(tempfile.gettempdir())
    return memory


@contextmanager
def daemon(command: Sequence[str | Path], folder: Path, ready: str) -> Iterator[None]:
    """Keep `command` running; entered once its log says `ready`."""
    log = folder / "log"
    with log.open("wb") as output:
        try:
            # In a session of its own, so that an interrupt of the test run stops it here, in order.
            process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{command[0]} is not installed") from error
    try:
        limit = time.monotonic() + START_SECONDS
        while ready not in (said := log.read_text(errors="replace")):
            if process.poll() is not None:
                raise Unavailable(f"{command[0]} ended:\n{said[-3000:]}")
            if time.monotonic() > limit:
                raise Unavailable(f"{command[0]} is not ready:\n{said[-3000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


@contextmanager
def overlay(layers: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Mount `layers`, topmost first, read-only, as the kernel shows them to a container."""
    target, nothing = folder / "mounted", folder / "nothing"
    target.mkdir()
    # An empty folder lies below, since overlayfs takes two layers at least.
    nothing.mkdir()
    lower = ":".join(map(str, [*layers, nothing]))
    run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", target])
    try:
        yield target
    finally:
        run(["umount", target])
        target.rmdir()
        nothing.rmdir()


class Tool(Protocol):
    """Something that makes root file systems of the images in an archive.

    The root's own attributes are there only where the tool takes them from the image: docker,
    podman and containerd make the root themselves, whatever a layer says of it.
    """

    def rootfs(self, archive: Path, tags: Sequence[str]) -> dict[str, Snapshot]: ...


def _below_root(path: Path) -> Snapshot:
    found = snapshot(path)
    del found[ROOT]
    return found


class Docker:
    """dockerd with its overlay2 driver, without any network of its own."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.env = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}

    def run(self, *arguments: str | Path) -> str:
        return run(["docker", *arguments], env=self.env)

    def rootfs(self, archive: Path, tags: Sequence[str]) -> dict[str, Snapshot]:
        self.run("load", "--quiet", "--input", archive)
        return self.snapshots(*tags)

    def snapshots(self, *tags: str) -> dict[str, Snapshot]:
        """The root file systems of images that the daemon holds, by the names that they are asked by."""
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        found = {}
        for tag, image in zip(tags, json.loads(self.run("image", "inspect", *tags)), strict=True):
            data = image["GraphDriver"]["Data"]
            lower = data.get("LowerDir", "")
            layers = [data["UpperDir"], *filter(None, lower.split(":"))]
            with overlay([Path(layer) for layer in layers], scratch) as mounted:
                found[tag] = _below_root(mounted)
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """What the daemon says of one image."""
        (image,) = json.loads(self.run("image", "inspect", name))
        assert isinstance(image, dict)
        return image

    def layers(self, name: str) -> list[str]:
        """The diff_ids of an image, base first."""
        return list(self.inspect(name)["RootFS"]["Layers"])

    def tags(self) -> dict[str, str]:
        """Every name that the daemon gives to an image, and the image's ID."""
        listing = self.run("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        pairs = [line.split() for line in listing.splitlines()]
        return {name: image for name, image in pairs if "<none>" not in name}

    def kill(self) -> None:
        """End the daemon at once, as a power cut does."""
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)


@contextmanager
def docker(
    state: Path, name: str = "docker", *, mirror: str | None = None, options: Sequence[str | Path] = ()
) -> Iterator[Docker]:
    """Start dockerd in the folder `name` under `state`, on what an earlier one may have left there.

    mirror: the host of a registry that is asked for the Docker Hub's images; options: further ones of
    dockerd.
    """
    folder = state / name
    folder.mkdir(exist_ok=True)
    # A daemon that was killed leaves the numbers of its processes, which may stand for others now.
    (folder / "pid").unlink(missing_ok=True)
    shutil.rmtree(folder / "exec", ignore_errors=True)
    host = f"unix://{folder}/sock"
    command: list[str | Path] = [
        *("dockerd", "--data-root", folder / "root", "--exec-root", folder / "exec"),
        *("--host", host, "--pidfile", folder / "pid", "--storage-driver", "overlay2"),
        *("--iptables=false", "--bridge=none"),
        *(["--registry-mirror", f"http://{mirror}"] if mirror else []),
        *options,
    ]
    with daemon(command, folder, "API listen"):
        tool = Docker(folder, host)
        tool.run("version")
        yield tool


def free_port() -> int:
    """A port of 127.0.0.1 for a program that cannot choose its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SSHServer:
    """sshd on 127.0.0.1, which lets root in by key. At `bare_port` its shell finds no commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.bare_port = free_port(), free_port()
        self.commands = folder / "bin"
        """A folder for PATH, with an ssh that knows the server and has the key."""

    def prepare(self, environment: str) -> Path:
        """Make keys and settings; the server's."""
        for name in ("host_key", "key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name])
        shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
        host_key = (self.folder / "host_key.pub").read_text()
        known = self.folder / "known_hosts"
        known.write_text("".join(f"[127.0.0.1]:{port} {host_key}" for port in (self.port, self.bare_port)))
        (self.folder / "ssh_config").write_text(
            f"IdentityFile {self.folder}/key\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n"
            "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n"
            f"Host there\n  HostName 127.0.0.1\n  User root\n  Port {self.port}\n"
        )
        self.commands.mkdir()
        (self.commands / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.config} "$@"\n')
        (self.commands / "ssh").chmod(0o755)
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nListenAddress 127.0.0.1:{self.bare_port}\n"
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {self.folder}/authorized_keys\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"SetEnv {environment}\n"
            f"Match LocalPort {self.bare_port}\n  SetEnv PATH=/nowhere\n"
        )
        return settings

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    def clients(self) -> list[int]:
        """The processes of ssh that use its settings."""
        return processes(str(self.config))


def processes(word: str) -> list[int]:
    """The processes that have this word in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@contextmanager
def ssh_server(state: Path, environment: str) -> Iterator[SSHServer]:
    """Start sshd; what runs in it has this variable (NAME=VALUE)."""
    folder = state / "ssh"
    folder.mkdir()
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"  # it starts itself anew, by its whole path
    run(["ssh", "-V"])
    Path("/run/sshd").mkdir(exist_ok=True)
    server = SSHServer(folder)
    command: list[str | Path] = [sshd, "-D", "-e", "-f", server.prepare(environment)]
    with daemon(command, folder, f"port {server.bare_port}"):
        yield server


def listed(archive: Path) -> dict[str, tuple[object, ...]]:
    """What `docker export` gives, by path: attributes and the hash of the content. Less what docker puts
    into every container."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.split("/")[0] in ("dev", ".dockerenv") or member.name in _OF_CONTAINERS:
                continue
            file = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else ""
            kept = (member.type, member.mode, member.uid, member.gid, member.linkname, content)
            found[member.name] = kept if member.isdir() else (*kept, member.mtime)
    return found


_OF_CONTAINERS = frozenset(f"etc/{name}" for name in ("hosts", "hostname", "resolv.conf", "mtab")) | {
    "etc",
    "proc",
    "sys",
}


class Podman:
    """The podman command and its overlay driver; it needs no daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

        self.command: list[str | Path] = [
            *("podman", "--root", self.folder / "root", "--runroot", self.folder / "run"),
            *("--tmpdir", self.folder / "tmp", "--storage-driver", "overlay"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        ]

    def run(self, *arguments: str | Path) -> str:
        return run([*self.command, *arguments], env={"TMPDIR": str(self.folder)})

    def rootfs(self, archive: Path, tags: Sequence[str]) -> dict[str, Snapshot]:
        self.run("load", "--quiet", "--input", archive)
        # By image ID: podman writes the names of an archive anew, and an ID is what it read.
        ids = {tag: image.image_id for tag, image in read_archive(archive).items()}
        return self._snapshots({tag: ids[tag] for tag in tags})

    def snapshots(self, *names: str) -> dict[str, Snapshot]:
        """The root file systems of images that podman holds, by the names that they are asked by."""
        return self._snapshots({name: str(self.inspect(name)["Id"]) for name in names})

    def _snapshots(self, ids: dict[str, str]) -> dict[str, Snapshot]:
        wanted = sorted(set(ids.values()))
        mounts = json.loads(self.run("image", "mount", "--format", "json", *wanted))
        try:
            seen = {image["id"]: _below_root(Path(image["mountpoint"])) for image in mounts}
        finally:
            self.run("image", "umount", *wanted)
        return {tag: seen[image] for tag, image in ids.items()}

    def inspect(self, name: str) -> dict[str, Any]:
        """What podman says of one image."""
        (image,) = json.loads(self.run("image", "inspect", name))
        assert isinstance(image, dict)
        return image

    @property
    def storage_conf(self) -> Path:
        """The same storage, for programs that find theirs through CONTAINERS_STORAGE_CONF."""
        path = self.folder / "storage.conf"
        roots = f'graphroot = "{self.folder}/root"\nrunroot = "{self.folder}/run"\n'
        path.write_text(f'[storage]\ndriver = "overlay"\n{roots}')
        return path

    @contextmanager
    def service(self) -> Iterator[str]:
        """Podman's API on a socket, which speaks docker's dialect too; the value for DOCKER_HOST."""
        folder = self.folder / "service"
        folder.mkdir(exist_ok=True)
        host = f"unix://{folder}/sock"
        options = ["--log-level", "info", "system", "service", "--time", "0", host]
        command: list[str | Path] = ["env", f"TMPDIR={self.folder}", *self.command, *options]
        with daemon(command, folder, "API service listening"):
            yield host


@contextmanager
def podman(state: Path) -> Iterator[Podman]:
    """Give podman a folder of its own under `state`."""
    folder = state / "podman"
    folder.mkdir()
    tool = Podman(folder)
    try:
        tool.run("info")
    except CommandFailed as error:
        raise Unavailable(str(error)) from error
    yield tool


class Containerd:
    """containerd with its overlayfs snapshotter, asked through ctr."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = ["ctr", "--address", str(folder / "sock"), "--namespace", "squashkit"]

    def run(self, *arguments: str | Path) -> str:
        return run([*self.command, *arguments])

    def rootfs(self, archive: Path, tags: Sequence[str]) -> dict[str, Snapshot]:
        self.run("images", "import", "--no-unpack", archive)
        target = Path(tempfile.mkdtemp(dir=self.folder))
        found = {}
        for tag in tags:
            name = f"docker.io/library/{tag}"
            self.run("images", "mount", "--snapshotter", "overlayfs", name, target)
            try:
                found[tag] = _below_root(target)
            finally:
                self.run("images", "unmount", "--rm", "--snapshotter", "overlayfs", target)
        return found


@contextmanager
def containerd(state: Path) -> Iterator[Containerd]:
    """Start containerd in a folder of its own under `state`."""
    folder = state / "containerd"
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/sock"\n'
    )
    with daemon(["containerd", "--config", config], folder, "successfully booted"):
        tool = Containerd(folder)
        tool.run("version")
        yield tool


class Umoci:
    """umoci, which applies layers in user space, on an OCI layout that skopeo makes of the archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, source: str, destination: str, *options: str) -> None:
        """Copy with skopeo, which packs plain layers for a layout; umoci reads no other."""
        options = ("--quiet", "--dest-compress-level", "1", *options)
        run(["skopeo", "--insecure-policy", "copy", *options, source, destination])

    def snapshot(self, source: str, *options: str) -> Snapshot:
        """The root file system of any image that skopeo can read."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            gzip = ("--dest-compress-format", "gzip")  # umoci knows no zstd
            self.copy(source, f"oci:{scratch}/layout:image", *gzip, *options)
            run(["umoci", "raw", "unpack", "--image", f"{scratch}/layout:image", f"{scratch}/rootfs"])
            return snapshot(Path(scratch) / "rootfs")

    def layout(self, archive: Path) -> Path:
        """The layout that holds the images of an archive once their rootfs has been read."""
        return self.folder / hashlib.sha256(bytes(archive)).hexdigest()[:12]

    def rootfs(self, archive: Path, tags: Sequence[str]) -> dict[str, Snapshot]:
        layout = self.layout(archive)
        found = {}
        for tag in tags:
            name = layout_name(tag)
            self.copy(f"docker-archive:{archive}:{tag}", f"oci:{layout}:{name}")
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                target = Path(scratch) / "rootfs"
                run(["umoci", "raw", "unpack", "--image", f"{layout}:{name}", target])
                found[tag] = snapshot(target)
        return found


def layout_name(tag: str) -> str:
    """The name in a layout of the image that has this tag in an archive: umoci wants no colon."""
    return tag.replace(":", "-")


@contextmanager
def umoci(state: Path) -> Iterator[Umoci]:
    """Give umoci and skopeo a folder of their own under `state`."""
    folder = state / "umoci"
    folder.mkdir()
    for command in ("umoci", "skopeo"):
        run([command, "--version"])
    yield Umoci(folder)


STARTERS: dict[str, Callable[[Path], AbstractContextManager[Tool]]] = {
    "docker": docker,
    "podman": podman,
    "containerd": containerd,
    "umoci": umoci,
}


class Services:
    """The tools of one test run: each started when first asked for, all stopped at the end."""

    def __init__(self, stack: ExitStack, state: Path) -> None:
        self.state = state
        self._stack = stack
        self._started: dict[str, Tool | Unavailable] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Tool:
        with self._lock:
            if name not in self._started:
                try:
                    self._started[name] = self._stack.enter_context(STARTERS[name](self.state))
                except Unavailable as reason:
                    self._started[name] = reason
            tool = self._started[name]
        if isinstance(tool, Unavailable):
            raise tool
        return tool
