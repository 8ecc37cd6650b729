"""The command line as a person meets it, and images read back without the product's help.

`run` calls the entry point in this process, with real files as its standard streams; `spawn` starts it
as a process of its own. What they wrote is read with tarfile and json alone: `read_images` says what
lies there, `validate` checks all that its digests, sizes and counts promise. At the end stand the image
that most tests squash, and the means to write archives and layouts with something wrong in them.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import click

from tests.support.builders import (
    ImageSpec,
    Member,
    config_of,
    directory,
    file,
    hardlink,
    layer,
    on_base,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers, differences

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Json = dict[str, Any]
Arg = str | Path

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
OCI_MANIFEST = f"{OCI}manifest.v1+json"
OCI_INDEX = f"{OCI}index.v1+json"
DOCKER_MANIFEST = f"{DOCKER}distribution.manifest.v2+json"
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
SOURCE_DIGEST = "dev.squashkit.source.digest"
BASE_CHAIN = "dev.squashkit.base.chain-id"
EMPTY_LAYER = bytes(1024)

# By media type of the manifest: those of its config, and of its layers with what decompresses them.
CONFIG_TYPE = {
    OCI_MANIFEST: f"{OCI}config.v1+json",
    DOCKER_MANIFEST: f"{DOCKER}container.image.v1+json",
}
LAYER_TYPES = {
    OCI_MANIFEST: {
        f"{OCI}layer.v1.tar": "none",
        f"{OCI}layer.v1.tar+gzip": "gzip",
        f"{OCI}layer.v1.tar+zstd": "zstd",
    },
    DOCKER_MANIFEST: {
        f"{DOCKER}image.rootfs.diff.tar": "none",
        f"{DOCKER}image.rootfs.diff.tar.gzip": "gzip",
    },
}


# --- running ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: its exit code, and what it said on standard output and standard error."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Json:
        """The report that `--json` printed."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def text(self) -> str:
        """Standard output as text, without temporary paths: these hold the names of tests."""
        return _without_paths(self.out.decode())


def _without_paths(text: str) -> str:
    return re.sub(r"\S*/pytest-of-\S*", "PATH", text)


@contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[Any, Any]]:
    """Files as the standard streams, since the product asks them for their descriptors."""
    old = sys.stdin, sys.stdout, sys.stderr
    with (
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        source.write(stdin)
        source.seek(0)
        sys.stdin = io.TextIOWrapper(source, encoding="utf-8")
        # A copy of the descriptor: after a failure the entry point points its own at nothing.
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(out.fileno()), "wb"), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            os.fdopen(os.dup(err.fileno()), "wb"), encoding="utf-8", errors="backslashreplace"
        )
        try:
            yield out, err
        finally:
            sys.stdout.close()
            sys.stderr.close()
            sys.stdin.detach()
            sys.stdin, sys.stdout, sys.stderr = old


def run(*args: Arg, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
    """Run the entry point in this process. An exception that reaches the user reaches the test."""
    from squashkit.cli.main import main

    interval = sys.getswitchinterval()
    code = 0
    with (
        patch.dict(os.environ, env or {}),
        patch.object(sys, "argv", ["squashkit", *map(str, args)]),
        patch.object(os, "_exit", sys.exit),  # how it leaves, and the test must not
        _streams(stdin) as (out, err),
    ):
        try:
            main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
        finally:
            gc.enable()
            sys.setswitchinterval(interval)
        sys.stdout.flush()
        sys.stderr.flush()
        out.seek(0)
        err.seek(0)
        return Result(code, out.read(), err.read().decode())


COMMAND = (sys.executable, "-m", "squashkit")


def spawn(*args: Arg, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own, with pipes unless `options` say otherwise."""
    streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    streams["stdin"] = subprocess.DEVNULL
    return subprocess.Popen(
        [*COMMAND, *map(str, args)],
        env={**os.environ, **(env or {})},
        # What starts the tests in the background may have it ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (it takes no lock)
        **(streams | options),
    )


def run_process(
    *args: Arg,
    stdin: bytes | int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Result:
    """Run the command line as a process of its own; bytes as `stdin` go through a pipe."""
    sent = stdin if isinstance(stdin, bytes) else None
    if stdin is not None:
        options["stdin"] = stdin if sent is None else subprocess.PIPE
    with spawn(*args, env=env, **options) as process:
        out, err = process.communicate(sent, timeout=60)
    return Result(process.returncode, out or b"", (err or b"").decode())


def squash(*args: Arg, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
    """`squashkit squash` that must succeed."""
    result = run("squash", *args, stdin=stdin, env=env)
    assert result.code == 0, result.err
    return result


def assert_fails(result: Result, code: int, *words: str) -> None:
    """The run failed with this code and one clear line that holds these words.

    What a person can choose from may follow, each on a line of its own, and what was waited for in vain
    goes before. Bad options are told in the form that click gives them.
    """
    assert result.code == code, (result.code, result.err)
    assert "Traceback" not in result.err, result.err
    waited = re.compile(r"warning: .*; waiting \d+ s")
    lines = [line for line in result.err.splitlines() if line and not waited.fullmatch(line)]
    assert lines, "nothing was said"
    if lines[0].startswith("Usage: "):
        lines = [line for line in lines if line.startswith("Error: ")]
        assert len(lines) == 1, result.err
    else:
        assert lines[0].startswith("squashkit: "), result.err
        more = ("  ", "--", "Save it", "Get it", "Pass it", "Was the image")
        for number, line in enumerate(lines[1:], 2):
            assert line.startswith(more) or number == len(lines), result.err
    for word in words:
        text = result.err if "/pytest-of-" in word else _without_paths(result.err)
        assert word in text, (word, result.err)


def commands() -> list[click.Command]:
    """The commands below `squashkit`."""
    from squashkit.cli.main import cli

    group = cli
    assert isinstance(group, click.Group)
    context = click.Context(group)
    found = [group.get_command(context, name) for name in group.list_commands(context)]
    return [command for command in found if command is not None]


# --- reading back ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as its container states it: documents, blobs as stored, and layers as tars."""

    names: tuple[str, ...]
    """From RepoTags and annotations, as they stand."""
    config_data: bytes
    blobs: tuple[bytes, ...]
    layers: tuple[bytes, ...]
    manifest: Json = field(default_factory=dict)
    """Empty where the container has no manifests."""
    descriptors: tuple[Json, ...] = ()
    """The index's descriptors of the image, one a tag."""

    @property
    def config(self) -> Json:
        value = json.loads(self.config_data)
        assert isinstance(value, dict)
        return value

    @property
    def image_id(self) -> str:
        return sha256(self.config_data)

    @property
    def history(self) -> list[str]:
        """The steps' commands; `-` before those without a layer."""
        return [
            ("- " if entry.get("empty_layer") else "") + entry.get("created_by", "")
            for entry in self.config["history"]
        ]

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.manifest.get("annotations", {}))


def sha256(data: bytes) -> str:
    """The digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_files(container: Path | bytes) -> dict[str, bytes]:
    """The files of an archive (a path or its bytes) or of a layout folder, by their names in order."""
    if isinstance(container, Path) and container.is_dir():
        return {
            path.relative_to(container).as_posix(): path.read_bytes()
            for path in sorted(container.rglob("*"))
            if path.is_file()
        }
    data = container if isinstance(container, bytes) else container.read_bytes()
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if not member.isdir():
                content = archive.extractfile(member)
                assert content is not None
                files[member.name.removeprefix("./")] = content.read()
    return files


def unpack(blob: bytes) -> bytes:
    """A layer's tar, whatever its blob is compressed with."""
    codec = codec_of(blob)
    if codec == "gzip":
        return gzip.decompress(blob)
    return zstd.decompress(blob) if codec == "zstd" else blob


def blob_path(digest: str) -> str:
    """Where a layout keeps a blob."""
    return "blobs/" + digest.replace(":", "/")


def read_images(container: Path | bytes) -> list[StoredImage]:
    """The images of a container that squashkit wrote: those of its index, in order."""
    files = read_files(container)
    repo_tags = {
        entry["Config"]: entry["RepoTags"] or [] for entry in json.loads(files.get("manifest.json", b"[]"))
    }
    by_digest: dict[str, list[Json]] = {}
    for descriptor in json.loads(files["index.json"])["manifests"]:
        by_digest.setdefault(descriptor["digest"], []).append(descriptor)
    images = []
    for digest, descriptors in by_digest.items():
        manifest = json.loads(files[blob_path(digest)])
        blobs = tuple(files[blob_path(one["digest"])] for one in manifest["layers"])
        annotations = [one.get("annotations", {}) for one in descriptors]
        config_name = blob_path(manifest["config"]["digest"])
        names = [
            *repo_tags.get(config_name, []),
            *(one[key] for one in annotations for key in (FULL_NAME, REF_NAME) if key in one),
        ]
        images.append(
            StoredImage(
                tuple(dict.fromkeys(names)),
                files[config_name],
                blobs,
                tuple(unpack(blob) for blob in blobs),
                manifest,
                tuple(descriptors),
            )
        )
    return images


def read_image(container: Path | bytes) -> StoredImage:
    """The one image of a valid container."""
    images = validate(container)
    assert len(images) == 1
    return images[0]


def validate(container: Path | bytes) -> list[StoredImage]:
    """The images of a container that squashkit wrote, after all that can be checked of it.

    Every digest, size, diff_id, media type, platform and count; a legal archive with its members in
    their fixed order and nothing that no document names.
    """
    files = read_files(container)
    is_folder = isinstance(container, Path) and container.is_dir()
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == blob_path(sha256(data)), f"{name} is not what it says"
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert index["schemaVersion"] == 2
    assert index.get("mediaType", OCI_INDEX) == OCI_INDEX
    images = read_images(container)
    used = {"oci-layout", "index.json"}
    for image in images:
        used |= _validate_image(image, files)
    if "manifest.json" in files:
        used.add("manifest.json")
        _validate_docker(files, images)
    if not is_folder:
        _validate_archive(container)
        assert set(files) == used, "the archive holds what no document names"
    return images


def _validate_image(image: StoredImage, files: Mapping[str, bytes]) -> set[str]:
    """Check one image; returns the names of its blobs."""
    manifest, config = image.manifest, image.config
    kind = manifest["mediaType"]
    assert manifest["schemaVersion"] == 2
    assert kind in CONFIG_TYPE
    assert manifest["config"]["mediaType"] == CONFIG_TYPE[kind]
    used = set()
    for descriptor in [*image.descriptors, manifest["config"], *manifest["layers"]]:
        name = blob_path(descriptor["digest"])
        assert len(files[name]) == descriptor["size"], name
        used.add(name)
    for descriptor in image.descriptors:
        assert descriptor["mediaType"] == kind
        platform = descriptor["platform"]
        for key in ("os", "architecture"):
            assert platform[key] == config[key]
    assert len(image.layers) == len(config["rootfs"]["diff_ids"]) > 0
    for descriptor, blob, tar, diff_id in zip(
        manifest["layers"], image.blobs, image.layers, config["rootfs"]["diff_ids"], strict=True
    ):
        assert LAYER_TYPES[kind][descriptor["mediaType"]] == codec_of(blob)
        assert sha256(tar) == diff_id
    if config.get("history"):
        layers = [entry for entry in config["history"] if not entry.get("empty_layer")]
        assert len(layers) == len(image.layers)
    for stale in ("container", "container_config", "parent", "id"):
        assert stale not in config
    return used


def codec_of(blob: bytes) -> str:
    """What a blob is compressed with; a zstd stream may begin with a skippable frame."""
    if blob[1:4] == b"\x2a\x4d\x18" or blob[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    return "gzip" if blob[:2] == b"\x1f\x8b" else "none"


def _validate_docker(files: Mapping[str, bytes], images: Sequence[StoredImage]) -> None:
    """manifest.json says the same as the index."""
    entries = json.loads(files["manifest.json"])
    assert len(entries) == len(images)
    for entry, image in zip(entries, images, strict=True):
        assert entry["Config"] == blob_path(image.manifest["config"]["digest"])
        assert entry["Layers"] == [blob_path(one["digest"]) for one in image.manifest["layers"]]
        assert "zstd" not in [codec_of(blob) for blob in image.blobs], "docker cannot load zstd"
        annotations = [one.get("annotations", {}) for one in image.descriptors]
        full = [one[FULL_NAME] for one in annotations if FULL_NAME in one]
        short = [name.removeprefix("docker.io/").removeprefix("library/") for name in full]
        assert (entry["RepoTags"] or []) == short
        for one in annotations:
            if FULL_NAME in one:
                assert one[REF_NAME] == one[FULL_NAME].rpartition(":")[2]


def _validate_archive(container: Path | bytes) -> None:
    """Plain ustar members with constant attributes, blobs first, and a proper end."""
    data = container if isinstance(container, bytes) else container.read_bytes()
    names = []
    end = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            assert member.isreg(), member.name
            assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
            assert member.offset == end, "a gap between members"
            end = member.offset_data + -(-member.size // 512) * 512
            names.append(member.name)
    assert data[end:] == bytes(1024)
    assert len(names) == len(set(names)), "a member twice"
    documents = [name for name in names if not name.startswith("blobs/")]
    assert names[-len(documents) :] == documents == sorted(documents)


def assert_same_rootfs(before: Sequence[bytes], after: Sequence[bytes], keep: int = 0) -> None:
    """Two stacks of layers make the same root file system, and share their first `keep` layers.

    Above the base a hard-link group that reaches into it may be whole or cut there.
    """
    assert list(after[:keep]) == list(before[:keep])
    split = apply_layers(before, split_runs=[(keep, len(before))])
    assert differences(apply_layers(before), apply_layers(after), split=split) == []


# --- what the tests squash -------------------------------------------------------------------

D = directory("d", mode=0o711, mtime=5)
BASE = ImageSpec(
    [
        layer(D, file("d/a", b"A"), file("d/b", b"B"), symlink("l", "d")),
        layer(directory("e"), file("e/x", b"x" * 700, xattrs={"user.k": b"\xff"})),
    ],
    ["base:1"],
)
APP = on_base(
    BASE,
    layer(D, file("d/big", bytes(range(256)) * 200), file("d/n", b"n"), hardlink("h", "d/n")),
    layer(D, whiteout("d/big"), whiteout("d/a"), directory("s", mode=0o700), file("s/t", b"t")),
    layer(D, file("d/n", b"n", mode=0o755, mtime=1.5)),
    tags=["app:1"],
)
KEPT = len(BASE.layers)
KEEP_BASE = ("--keep-base", "base:1", "-t", "new:1")
KEEP_2 = ("--keep-layers", "2", "-t", "new:1")


def write_archive(path: Path, files: Mapping[str, bytes | Member]) -> Path:
    """An archive of these members; a Member stands for itself."""
    path.write_bytes(layer(*(c if isinstance(c, Member) else file(name, c) for name, c in files.items())))
    return path


def docker_files(image: ImageSpec = APP, **fields: Any) -> dict[str, bytes | Member]:
    """A plain docker archive's members: config.json, 0.tar, 1.tar and so on, and manifest.json with
    these fields changed."""
    names = [f"{index}.tar" for index in range(len(image.layers))]
    entry = {"Config": "config.json", "RepoTags": list(image.tags), "Layers": names, **fields}
    return {
        "config.json": config_of(image),
        **dict(zip(names, image.layers, strict=True)),
        "manifest.json": json.dumps([entry]).encode(),
    }


Change = Callable[[Json], bytes | None]
"""Changes a document in place, or returns the bytes that take its place."""


def _changed(data: bytes, change: Change) -> bytes:
    value = json.loads(data)
    made = change(value)
    return json.dumps(value).encode() if made is None else made


def put_blob(folder: Path, data: bytes) -> Json:
    """Store a blob in a layout; returns the digest and the size for its descriptor."""
    digest = sha256(data)
    (folder / blob_path(digest)).write_bytes(data)
    return {"digest": digest, "size": len(data)}


def change_index(folder: Path, change: Change) -> None:
    """Change a layout's index.json."""
    path = folder / "index.json"
    path.write_bytes(_changed(path.read_bytes(), change))


def change_manifest(folder: Path, change: Change, place: int = 0) -> None:
    """Change the manifest that one of the index's descriptors names, all digests kept right."""

    def put(index: Json) -> None:
        descriptor = index["manifests"][place]
        data = (folder / blob_path(descriptor["digest"])).read_bytes()
        descriptor.update(put_blob(folder, _changed(data, change)))

    change_index(folder, put)


def change_config(folder: Path, change: Change, place: int = 0) -> None:
    """Change an image's config, all digests kept right."""

    def put(manifest: Json) -> None:
        data = (folder / blob_path(manifest["config"]["digest"])).read_bytes()
        manifest["config"].update(put_blob(folder, _changed(data, change)))

    change_manifest(folder, put, place)


def listing_of(folder: Path) -> list[str]:
    """Everything in a folder, hidden files and empty folders too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """A folder's files: inode, time of change and content of each."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }
