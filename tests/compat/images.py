"""The images that the real tools are tried on, and what an archive says of the images in it."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tests.compat.services import Docker

BASE = "debian:12"
NGINX = "nginx:waste"
SQUASHED = "nginx:squashed"

BOOTSTRAP = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm"]

DOCKERFILE = f"""\
FROM {BASE}
RUN apt-get update && apt-get install -y --no-install-recommends nginx
RUN apt-get clean
RUN rm -rf /var/lib/apt/lists/*
RUN dd if=/dev/urandom of=/big bs=1M count=100
RUN chmod u+x /big
"""
"""The usual waste: a package cache removed a layer later, a big file stored twice for its mode."""


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive: the digest of its config, and those of its layers as stored."""

    image_id: str
    layers: tuple[str, ...]


def read_archive(path: Path) -> dict[str, ArchivedImage]:
    """The images that the manifest.json of an archive lists, by tag."""
    found = {}
    hashes: dict[int, str] = {}
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive}

        def digest(name: str) -> str:
            member = members[name]
            while member.issym():
                target = os.path.join(os.path.dirname(member.name), member.linkname)
                member = members[os.path.normpath(target)]
            if member.offset not in hashes:
                with path.open("rb") as file:
                    file.seek(member.offset_data)
                    hashes[member.offset] = _sha256(file, member.size)
            return hashes[member.offset]

        for image in _json(archive, "manifest.json"):
            layers = tuple(digest(name) for name in image["Layers"])
            for tag in image["RepoTags"] or ():
                found[tag] = ArchivedImage(digest(image["Config"]), layers)
    return found


def merge_archives(archives: Iterable[Path], output: Path) -> None:
    """Write one archive that holds all images of these small ones, which are OCI layouts too."""
    images: list[Any] = []
    manifests: list[Any] = []
    written: set[str] = set()
    with tarfile.open(output, "w") as merged:
        for path in archives:
            with tarfile.open(path) as archive:
                images += _json(archive, "manifest.json")
                manifests += _json(archive, "index.json")["manifests"]
                for member in archive:
                    blob = member.name.startswith("blobs/") or member.name == "oci-layout"
                    if blob and member.name not in written:
                        written.add(member.name)
                        merged.addfile(member, archive.extractfile(member))
        index = {"schemaVersion": 2, "manifests": manifests}
        for name, value in (("index.json", index), ("manifest.json", images)):
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            merged.addfile(member, io.BytesIO(data))


def _sha256(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        data = file.read(min(size, 1 << 20))
        assert data, "the archive ends inside a member"
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def _json(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None, name
    return json.load(file)


def cache_folder() -> Path:
    """Where archives that take long to make stay between test runs."""
    chosen = os.environ.get("SQUASHKIT_TEST_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "squashkit-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class NginxArchives:
    """Archives as `docker save` wrote them: the image with its base, and the image alone."""

    with_base: Path
    alone: Path


@contextmanager
def cache_lock() -> Iterator[None]:
    """Let one test run at a time look into the cache and fill it."""
    with (cache_folder() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached_nginx() -> NginxArchives | None:
    """The archives that an earlier run of the same recipe left, if both are there."""
    archives = _nginx_archives()
    return archives if archives.with_base.exists() and archives.alone.exists() else None


def build_nginx(docker: "Docker", scratch: Path) -> NginxArchives:
    """Make the base from packages alone and nginx on top of it, and save both archives."""
    from tests.compat.services import CommandFailed, Unavailable

    archives = _nginx_archives()
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    try:
        docker.run("import", _bootstrapped(scratch), BASE)
        docker.run("build", "--quiet", "--network", "host", "--tag", NGINX, context)
    except CommandFailed as error:
        # The packages come over the network, which a machine need not have.
        raise Unavailable(f"the real image cannot be built: {error}") from error
    for images, path in (([NGINX, BASE], archives.with_base), ([NGINX], archives.alone)):
        docker.run("save", "--output", scratch / "saved.tar", *images)
        _settle(scratch / "saved.tar", path)
    return archives


BUILDER = "tools:builder"
HELLO = """\
#include <pwd.h>
#include <stdio.h>
#include <zlib.h>
int main(int count, char **words) {
    char seen[] = VIA " says hello";
    printf("%s%s\\n", seen, count > 1 ? zlibVersion() : "");
    return 0;
}
"""
BUILDER_FILE = f"""\
FROM {BASE}
RUN apt-get update && apt-get install -y --no-install-recommends \\
    gcc libc6-dev zlib1g-dev musl-tools python3 nginx-light ca-certificates tzdata
COPY hello.c plain.c /src/
RUN gcc -static -O2 -DVIA='"static"' -o /usr/local/bin/hello-static /src/plain.c \\
 && gcc -O2 -DVIA='"dynamic"' -o /usr/local/bin/hello /src/hello.c -lz \\
 && musl-gcc -O2 -DVIA='"musl"' -o /usr/local/bin/hello-musl /src/plain.c
RUN useradd --system --no-create-home app
USER app
WORKDIR /srv
CMD ["hello"]
"""
"""What people have whose image also builds: compilers beside three programs, Python and nginx."""


def built_tools(docker: "Callable[[], Docker]", scratch: Path) -> Path:
    """An archive with that image, from an earlier run or made now."""
    from tests.compat.services import CommandFailed, Unavailable

    path = cache_folder() / f"tools-{_key(*BOOTSTRAP, HELLO, BUILDER_FILE)}.tar"
    if path.exists():
        return path
    daemon = docker()
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(BUILDER_FILE)
    (context / "hello.c").write_text(HELLO)
    plain = HELLO.replace("#include <zlib.h>\n", "").replace("zlibVersion()", '"!"')
    (context / "plain.c").write_text(plain)
    try:
        daemon.run("import", _bootstrapped(scratch), BASE)
        daemon.run("build", "--quiet", "--network", "host", "--tag", BUILDER, context)
    except CommandFailed as error:
        raise Unavailable(f"the image with compilers cannot be built: {error}") from error
    daemon.run("save", "--output", scratch / "saved.tar", BUILDER)
    _settle(scratch / "saved.tar", path)
    return path


def _bootstrapped(scratch: Path) -> Path:
    """Debian from packages alone."""
    from tests.compat.services import run

    base = cache_folder() / f"debian-{_key(*BOOTSTRAP)}.tar"
    if not base.exists():
        run([*BOOTSTRAP, scratch / "base.tar"])
        _settle(scratch / "base.tar", base)
    return base


def _nginx_archives() -> NginxArchives:
    key = _key(*BOOTSTRAP, DOCKERFILE)
    folder = cache_folder()
    return NginxArchives(folder / f"nginx-{key}.tar", folder / f"nginx-alone-{key}.tar")


def _key(*recipe: str) -> str:
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]


def _settle(made: Path, path: Path) -> None:
    """Move a whole file to its place at once, so that a run that was killed leaves none there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.move(made, partial)
    partial.replace(path)
