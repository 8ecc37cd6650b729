"""A small app, its base, and another base that shares a layer with that: what a rebase of it asks of a
daemon."""

from __future__ import annotations

from pathlib import Path

from tests.compat.conftest import Person
from tests.compat.registries import Proxy
from tests.support.builders import (
    ImageSpec,
    digest,
    directory,
    docker_archive_25,
    file,
    layer,
    noise,
    on_base,
)

SIZE = 1 << 20
SAVE = r"/images/get"
"""The request for images; what a result is proved by is another."""


def rebase_specs(seed: str) -> dict[str, ImageSpec]:
    """By their names: SEED:1 on SEED-old:1, and SEED-new:1. Both bases have the same lowest layer, of
    `SIZE` bytes that do not compress."""
    lowest = layer(file("noise", noise(SIZE, seed)), directory("d"))
    old = ImageSpec([lowest, layer(file("d/release", b"old"))], [f"{seed}-old:1"])
    new = ImageSpec([lowest, layer(file("d/release", b"new"))], [f"{seed}-new:1"])
    app = on_base(old, layer(file("app", seed.encode())), tags=[f"{seed}:1"])
    return {spec.tags[0]: spec for spec in (old, new, app)}


def rebased_layers(seed: str) -> list[str]:
    """The diff_ids of the app on its new base."""
    specs = rebase_specs(seed)
    return [digest(one) for one in (*specs[f"{seed}-new:1"].layers, specs[f"{seed}:1"].layers[-1])]


def rebased_from_files(person: Person, folder: Path, seed: str) -> str:
    """The id of what a rebase makes of the same images, each in an archive of its own."""
    files = {}
    for name, spec in rebase_specs(seed).items():
        files[name] = folder / f"{name.replace(':', '-')}.tar"
        docker_archive_25(files[name], [spec])
    done = person.run(
        *("rebase", files[f"{seed}:1"], "--old-base", files[f"{seed}-old:1"]),
        *(
            "--new-base",
            files[f"{seed}-new:1"],
            "-o",
            folder / "out.tar",
            "-t",
            f"{seed}:rebased",
            "--json",
        ),
    )
    assert done.code == 0, done.err
    return str(done.json["image_id"]["after"])


def assert_comes_once(person: Person, proxy: Proxy, seed: str, image: str, new_base: str) -> str:
    """A rebase of an image in the daemon behind the proxy, and there onto another, asks for both in one
    archive, which has what both have once. The id of the result, which is `SEED:rebased` there."""
    before = len(proxy.seen("GET", SAVE))
    done = person.run(
        *("rebase", image, "--old-base", f"{seed}-old:1", "--new-base", new_base),
        *("-t", f"{seed}:rebased", "--json"),
    )
    assert done.code == 0, done.err
    (save,) = proxy.seen("GET", SAVE)[before:]
    assert SIZE < save.down < 1.5 * SIZE
    assert done.json["transfer"]["down"] == save.down
    return str(done.json["image_id"]["after"])
