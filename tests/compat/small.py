"""A small real base and an app on it, made without a network: docker runs their build steps.

The base has the shell and a few programs of this machine, so that a RUN step can run, and more bytes that
do not compress than the app adds. The app has a file deleted, one replaced and one changed in its mode.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from tests.compat import services
from tests.compat.services import CommandFailed, Unavailable, run
from tests.support.builders import ImageSpec, Member, directory, file, layer, on_base, whiteout

PROGRAMS = ("/bin/sh", "/bin/rm", "/bin/chmod", "/bin/cat")
MTIME = 1_500_000_000

DOCKERFILE = """\
FROM {base}
ENV APP=/app
COPY big /app/big
RUN chmod 750 /app/big
RUN cat /app/big /app/big > /app/cache
RUN rm /app/cache /etc/old
RUN echo new > /etc/changed
"""
PLATFORMS = ("linux/amd64", "linux/arm64")


def program_members(programs: Sequence[str]) -> list[Member]:
    """Programs of this machine and all that they load, with their folders."""
    wanted: dict[str, Path] = {}
    for program in programs:
        wanted[program] = Path(program).resolve()
        for found in re.findall(r"(/\S+) \(0x", run(["ldd", program])):
            wanted[found] = Path(found).resolve()
    folders = {parent for path in wanted for parent in map(str, Path(path).parents) if parent != "/"}
    members: list[Member] = [directory(path[1:], mtime=MTIME) for path in sorted(folders)]
    for path, real in sorted(wanted.items()):
        try:
            members.append(file(path[1:], real.read_bytes(), mode=0o755, mtime=MTIME))
        except OSError as error:
            raise Unavailable(f"no base can be made of this machine's programs: {error}") from error
    return members


def real_base() -> ImageSpec:
    """Two layers: the programs and all that they load, then some files and 2 MB of noise."""
    members = program_members(PROGRAMS)
    data = [
        directory("etc", mtime=MTIME),
        file("etc/old", b"old\n", mtime=MTIME),
        file("etc/changed", b"old\n", mtime=MTIME),
        file("etc/kept", b"kept\n", mode=0o640, mtime=MTIME),
        file("noise", random.Random("base").randbytes(2 << 20), mtime=MTIME),
        # Docker makes these for a step's container, and leaves them in its layer where they are new.
        *(directory(name, mtime=MTIME) for name in ("dev", "proc", "sys")),
    ]
    return ImageSpec([layer(*members), layer(*data)], ["base:1"])


def build_app(docker: services.Docker, base: str, tag: str, scratch: Path) -> None:
    """Build the app on a base that the daemon holds."""
    scratch.mkdir()
    (scratch / "big").write_bytes(random.Random("app").randbytes(200_000))
    (scratch / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    try:
        docker.run("build", "--quiet", "--network", "none", "--tag", tag, scratch)
    except CommandFailed as error:
        raise Unavailable(f"docker cannot run the steps of a build here: {error}") from error


def platform_bases() -> list[ImageSpec]:
    """A base of one layer for each platform."""
    return [
        ImageSpec([layer(file("base", one.encode()), file("old"))], ["base:1"], platform=one)
        for one in PLATFORMS
    ]


def platform_apps() -> list[ImageSpec]:
    """An app of two layers on each base."""
    return [
        on_base(
            base,
            layer(directory("app"), file("app/x", base.platform.encode() * 99)),
            layer(file("app/x", base.platform.encode(), mode=0o755), whiteout("old")),
            tags=["app:1"],
        )
        for base in platform_bases()
    ]


def repeating_app() -> list[ImageSpec]:
    """A base, and an app on it whose layers come twice: one of the base's, and one of its own."""
    first = layer(directory("d"), file("d/a", b"first"), file("b", b"b"))
    second = layer(directory("d"), file("d/a", b"second" * 99), whiteout("b"))
    base = ImageSpec([first, layer(file("c", b"c"))], ["base:1"])
    return [base, on_base(base, second, first, second, tags=["app:1"])]
