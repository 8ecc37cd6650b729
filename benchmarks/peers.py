"""The tools that are measured: how each is installed, which version it is, and how it is called.

Every tool gets the same job (squash `app:latest` above `base:latest`) and is called as its manual
says, with its defaults. Peers from PyPI live each in a virtual environment of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = {
    "docker-squash": ("docker-squash==1.2.2", "docker==7.2.0"),
    "oci-squash": ("oci-squash==0.1.0",),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One squash: where the images are, how many history steps are above the base, where to write.

    `archive` is the plain archive of the corpus, `source` the form that this job reads: the same
    archive, its gzip, or an OCI layout.
    """

    archive: Path
    source: Path
    steps: int
    output: Path
    work: Path

    @property
    def is_layout(self) -> bool:
        return self.source.is_dir()

    @property
    def output_reference(self) -> str:
        return f"oci:{self.output}" if self.is_layout else f"docker-archive:{self.output}"


def squashkit_command(job: Job) -> list[str]:
    command = [sys.executable, "-m", "squashkit", "squash"]
    if job.is_layout:
        images = [f"oci:{job.source}:app", "--keep-base", f"oci:{job.source}:base"]
        return [*command, *images, "-o", f"oci:{job.output}:squashed"]
    images = [f"docker-archive:{job.source}:app:latest", "--keep-base", "base:latest"]
    return [*command, *images, "-t", "app:squashed", "-o", str(job.output)]


def yardstick_command(job: Job) -> list[str]:
    """The floor for a tool that must read, hash and write every byte."""
    script = 'cp "$1" "$2" && openssl dgst -sha256 "$1"'
    return ["sh", "-c", script, "yardstick", str(job.source), str(job.output)]


def oci_squash_command(job: Job) -> list[str]:
    options = ["-f", str(job.steps), "-t", "app:squashed", "-o", str(job.output)]
    return [str(program("oci-squash", job.work)), *options, str(job.source)]


def docker_squash_command(job: Job) -> list[str]:
    options = ["-f", str(job.steps), "-t", "app:squashed", "--output-path", str(job.output)]
    return [str(program("docker-squash", job.work)), *options, "app:latest"]


def skopeo_command(job: Job) -> list[str]:
    """Compresses every layer of the unsquashed image: what a layout costs without a squash."""
    source = f"docker-archive:{job.archive}:app:latest"
    return ["skopeo", "--insecure-policy", "copy", "-q", source, f"oci:{job.output}:app"]


COMMANDS: dict[str, Callable[[Job], list[str]]] = {
    "squashkit": squashkit_command,
    "yardstick": yardstick_command,
    "oci-squash": oci_squash_command,
    "docker-squash": docker_squash_command,
    "skopeo": skopeo_command,
}


def program(name: str, work: Path) -> Path:
    return work / "peers" / name / "bin" / name


def install(name: str, work: Path) -> None:
    """Make the peer's virtual environment, unless it is there."""
    if name not in REQUIREMENTS or program(name, work).exists():
        return
    folder = work / "peers" / name
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *REQUIREMENTS[name]], check=True)


def version(name: str) -> str:
    if name in REQUIREMENTS:
        text = " ".join(REQUIREMENTS[name]).replace("==", " ")
        return f"{text}, {first_line('dockerd', '--version')}" if name == "docker-squash" else text
    if name == "yardstick":
        return f"{first_line('cp', '--version')}, {first_line('openssl', 'version')}"
    if name == "skopeo":
        return first_line("skopeo", "--version")
    return first_line(sys.executable, "-m", "squashkit", "--version")


def first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    except OSError as error:
        return f"no {command[0]}: {error.strerror}"
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def environment(job: Job) -> dict[str, str]:
    """No tool may profit from what it kept of an earlier run, and all use the same disk."""
    state = job.work / "state"
    names = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")
    folders = {name: state / name.lower() for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **{name: str(folder) for name, folder in folders.items()},
        "DOCKER_HOST": f"unix://{socket_of(job.work)}",
    }


def socket_of(work: Path) -> Path:
    return work / "dockerd" / "docker.sock"


@contextmanager
def docker_daemon(work: Path, archive: Path) -> Iterator[None]:
    """A daemon of its own that has loaded the archive; needs root."""
    folder = work / "dockerd"
    folder.mkdir(parents=True, exist_ok=True)
    socket = socket_of(work)
    address = f"unix://{socket}"
    places = ["--data-root", folder / "root", "--exec-root", folder / "exec"]
    options = ["-H", address, "--iptables=false", "--bridge=none", "--pidfile", folder / "pid"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", *map(str, places + options)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(daemon, address)
        subprocess.run(["docker", "-H", address, "load", "-q", "-i", str(archive)], check=True)
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        shutil.rmtree(folder / "root", ignore_errors=True)


def wait_for(daemon: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(120):
        ping = ["docker", "-H", address, "info"]
        if subprocess.run(ping, check=False, capture_output=True).returncode == 0:
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError("dockerd did not start; see dockerd/log in the work folder")
