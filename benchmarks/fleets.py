"""Seeded fleets of images, in one OCI layout each: the same bytes on every machine.

As in one company few bases are for all: stored once, such a fleet takes four times less than each image by
itself (public.py makes those that share as images of public registries do). Images have about eight layers,
most of them small and of one image alone (Zhao et al., Large-Scale Analysis of the Docker Hub Dataset,
CLUSTER 2019). Runtimes on the bases are shared by some apps, apps come in releases that share their
dependencies, and some bytes are dead: updates overwrite, caches are deleted, in the same run or above a
branch, modes are changed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCH = 1_700_000_000
Files = Mapping[str, int]
"""Sizes in bytes by path."""
NOTHING: Files = {}
OWN: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Scale:
    """How big the parts of a fleet are: numbers of files, and their mean size in bytes."""

    system: int = 800
    runtime: int = 300
    dependencies: int = 200
    code: int = 30
    size: int = 16_000
    steps: int = 0
    """Small layers that each app has besides."""


SMALL = Scale(system=150, runtime=80, dependencies=60, code=20, size=600, steps=12)
"""For very many images: small files, and as many layers as an image may well have."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers on one another: descriptors and diff_ids, base first; and the files that can be seen."""

    descriptors: tuple[dict[str, Any], ...] = ()
    diff_ids: tuple[str, ...] = ()
    files: Files = field(default_factory=dict)


@dataclass(slots=True)
class Fleet:
    """A layout that is being written."""

    folder: Path
    seed: int
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def add(
        self,
        below: Stack,
        name: str,
        files: Files = NOTHING,
        gone: Sequence[str] = (),
        owners: Mapping[str, str] = OWN,
    ) -> Stack:
        """One more layer: files, and whiteouts for what is gone. The same name means the same content; a
        file that has an owner goes by the owner's name."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            folders: set[str] = set()
            for path in sorted({*files, *gone}):
                parts = path.split("/")[:-1]
                for depth in range(1, len(parts) + 1):
                    folder = "/".join(parts[:depth])
                    if folder not in folders:
                        folders.add(folder)
                        tar.addfile(_member(folder + "/", tarfile.DIRTYPE))
                if path in files:
                    data = self._content(owners.get(path, name), path, files[path])
                    tar.addfile(_member(path, size=len(data)), io.BytesIO(data))
                else:
                    tar.addfile(_member("/".join([*parts, ".wh." + path.rpartition("/")[2]])))
        data = out.getvalue()
        descriptor = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            **self.blob(gzip.compress(data, 6, mtime=0)),
        }
        seen = {path: size for path, size in below.files.items() if path not in gone} | dict(files)
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return Stack((*below.descriptors, descriptor), (*below.diff_ids, diff_id), seen)

    def _content(self, name: str, path: str, size: int) -> bytes:
        """Half of it does not compress."""
        noise = random.Random(f"{self.seed} {name} {path}").randbytes(size // 2)
        return noise + path.encode().ljust(size - len(noise), b".")

    def tag(self, stack: Stack, name: str) -> None:
        """Make an image of a stack."""
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": list(stack.diff_ids)},
            "history": [{"created_by": f"step {number}"} for number in range(len(stack.diff_ids))],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                **self.blob(json.dumps(config).encode()),
            },
            "layers": list(stack.descriptors),
        }
        descriptor = {"mediaType": manifest["mediaType"], **self.blob(json.dumps(manifest).encode())}
        annotations = {"io.containerd.image.name": f"docker.io/library/{name}"}
        self.manifests.append({**descriptor, "annotations": annotations})

    def close(self) -> None:
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.folder / "index.json").write_text(json.dumps(index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime = kind, size, EPOCH
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return member


def make(folder: Path, images: int, scale: Scale | None = None, seed: int = 1) -> None:
    """Write a fleet of so many images."""
    scale = scale or Scale()
    (folder / "blobs/sha256").mkdir(parents=True)
    fleet, chance = Fleet(folder, seed), random.Random(seed)

    def some(place: str, number: int) -> dict[str, int]:
        return {
            f"{place}/{n % 20:02}/{n:04}": round(scale.size * chance.lognormvariate(-0.7, 1.2))
            for n in range(max(1, number))
        }

    grounds: list[Stack] = []
    for number in range(max(2, images // 12)):
        base = fleet.add(Stack(), f"base{number}", some("usr", scale.system))
        fixed = dict(chance.sample(sorted(base.files.items()), len(base.files) // 20))
        base = fleet.add(base, f"base{number} updates", fixed)
        fleet.tag(base, f"base{number}:1")
        grounds.append(base)
        for kind in range(3):
            name = f"runtime{number}.{kind}"
            cache = some("var/cache", scale.runtime // 6)
            stack = fleet.add(base, name, {**some(f"opt/{name}", scale.runtime), **cache})
            if kind == 0:  # its own cache is deleted where it is shared
                stack = fleet.add(stack, f"{name} clean", gone=sorted(cache))
            grounds.append(fleet.add(stack, f"{name} settings", some("etc", 3)))
    app = 0
    while len(fleet.manifests) < images:
        app += 1
        name = f"app{app}"
        stack = chance.choice(grounds)
        stack = fleet.add(stack, f"{name} dependencies", some(f"srv/{name}/lib", scale.dependencies))
        left = [path for path in stack.files if path.startswith("var/cache/")]
        if left and chance.random() < 0.7:
            stack = fleet.add(stack, f"{name} clean", gone=left)
        for step in range(chance.randint(0, 2 * scale.steps)):
            stack = fleet.add(stack, f"{name} step {step}", some(f"etc/{name}", 2))
        for release in range(1, chance.choice((1, 1, 2, 3)) + 1):
            code = some(f"srv/{name}/bin", scale.code)
            made = fleet.add(stack, f"{name} {release}", code)
            if chance.random() < 0.3:  # a chmod: the same content again
                made = fleet.add(made, f"{name} {release}", dict(sorted(code.items())[: len(code) // 2]))
            if len(fleet.manifests) < images:
                fleet.tag(made, f"{name}:{release}")
    fleet.close()
