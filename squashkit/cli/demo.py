"""`squashkit demo`: images made on the spot, squashed, checked and shown."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import click

from squashkit.amounts import size
from squashkit.cli.help import Command, option
from squashkit.cli.output import say
from squashkit.jobs.diff import diff
from squashkit.jobs.inspect import inspect
from squashkit.jobs.squash import squash
from squashkit.oci.documents import Platform
from squashkit.options import Run, Which, Write
from squashkit.report.text import table
from squashkit.values import frozen

PLATFORM = Platform("linux", "amd64")
CREATED = "2018-05-01T12:00:00Z"
_BASE = "fedora:28"
_APP = "nginx:latest"


@frozen
class Step:
    """A step of a Dockerfile and the layer that it made."""

    created_by: str
    layer: bytes


def steps() -> list[Step]:
    """The article's case at a tenth of its size; the first step is the base."""
    content = random.Random(28)
    base = {f"usr/lib/base/{i:03}": content.randbytes(100_000) for i in range(249)}
    server = {f"usr/share/nginx/{i:02}": content.randbytes(100_000) for i in range(21)}
    cache = {f"var/cache/dnf/{i:02}.rpm": content.randbytes(200_000) for i in range(60)}
    hidden = {f"var/cache/dnf/.wh.{i:02}.rpm": b"" for i in range(60)}
    big = {"srv/big.bin": content.randbytes(10_000_000)}
    return [
        Step("ADD fedora-28.tar.xz /", _layer(base)),
        Step("RUN dnf install -y nginx", _layer(server | cache)),
        Step("RUN dnf clean all", _layer(hidden)),
        Step("COPY big.bin /srv/", _layer(big)),
        Step("RUN chmod 755 /srv/big.bin", _layer(big, mode=0o755)),
    ]


def _layer(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    """A layer's tar: the files and, before them, their directories."""
    made = io.BytesIO()
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def write_archive(path: Path, images: dict[str, list[Step]]) -> None:
    """An archive of images, as `docker save` wrote them before docker 25."""
    manifest = []
    written: set[str] = set()
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes) -> None:
            if name not in written:
                written.add(name)
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

        for name, made in images.items():
            hexes = [hashlib.sha256(step.layer).hexdigest() for step in made]
            for hexdigest, step in zip(hexes, made, strict=True):
                add(f"{hexdigest}/layer.tar", step.layer)
            config = _config(hexes, made)
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            add(config_name, config)
            layers = [f"{hexdigest}/layer.tar" for hexdigest in hexes]
            manifest.append({"Config": config_name, "RepoTags": [name], "Layers": layers})
        add("manifest.json", json.dumps(manifest).encode())


def _config(hexes: list[str], made: list[Step]) -> bytes:
    config: dict[str, Any] = {
        **PLATFORM.json(),
        "created": CREATED,
        "config": {"Cmd": ["nginx", "-g", "daemon off;"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{h}" for h in hexes]},
        "history": [{"created": CREATED, "created_by": step.created_by} for step in made],
    }
    return json.dumps(config).encode()


@click.command(
    cls=Command,
    short_help="Show on small images what a squash does.",
    epilog="Example: squashkit demo --keep /tmp/demo",
)
@option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Leave the archives in this folder.",
)
def demo(keep: Path | None) -> None:
    """Make images with the usual waste, squash them keeping the base, check the result and show it.

    Nothing but a temporary folder is used: no daemon, no network.
    """
    with tempfile.TemporaryDirectory(prefix="squashkit-demo-") as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        app, squashed = folder / "app.tar", folder / "app-squashed.tar"
        made = steps()
        write_archive(app, {_APP: made, _BASE: made[:1]})
        say(
            "An nginx image on fedora:28 (at a tenth of its size): its package cache is deleted by a\n"
            "later step, and a big file gets another mode by a later step. Both still ship.\n"
        )
        command = f"squashkit squash {app} --keep-base {_BASE} -t nginx:squashed -o {squashed}"
        say(f"$ {command}")
        report = squash(str(app), str(squashed), keep=_BASE, write=Write(tags="nginx:squashed", force=True))
        say(report.text() + "\n")
        lines = table(["layer", _APP, "", "nginx:squashed"], _rows(app, squashed), right={1, 3})
        say("\n".join(lines) + "\n")
        problems = check(app, squashed)
        if problems:
            say("\n".join(problems), err=True)
            raise click.exceptions.Exit(1)
        say("Checked: both root file systems are the same, entry by entry, content included.")
        if keep:
            say(f"The archives are in {keep}.")


def _rows(app: Path, squashed: Path) -> list[list[str]]:
    """The layers of both images beside each other, the base's above."""
    before, after = _layers(app, _APP), _layers(squashed, None)
    rows = []
    for index, (created_by, stored) in enumerate(before):
        kept = index == 0
        rows.append([created_by, size(stored), "kept" if kept else "merged", size(stored) if kept else ""])
    rows.append([after[-1][0], "", "new", size(after[-1][1])])
    total = ["all", size(sum(s for _, s in before)), "", size(sum(s for _, s in after))]
    return [*rows, total]


def _layers(path: Path, name: str | None) -> list[tuple[str, int]]:
    """The step of each layer of an image, and its stored bytes."""
    reference = f"{path}:{name}" if name else str(path)
    found = inspect(reference, which=Which(PLATFORM))
    return [(facts.layer.created_by, facts.stored or 0) for facts in found.layers]


def check(before: Path, after: Path) -> list[str]:
    """What differs between the root file systems of the two images."""
    report = diff(f"{before}:{_APP}", str(after), which=Which(PLATFORM), run=Run(tmp_dir=before.parent))
    return [] if report.same else list(report.lines())
