"""Images that install the same files in layers of their own, and the next release of one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit.plan.fleet.strategies import CARVE, Goal
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    noise,
    on_base,
    whiteout,
)

SYSTEM = ImageSpec([layer(directory("opt"), file("opt/old", noise(3000, "old")))], ["system:1"])
LIBRARY, RUNTIME = noise(60_000, "library"), noise(40_000, "runtime")


def apps(*, base: ImageSpec = SYSTEM) -> list[ImageSpec]:
    """Three that install the same library, two of them the same runtime, in layers of their own."""
    library = file("opt/library", LIBRARY)
    runtime = file("opt/runtime", RUNTIME)

    def app(name: str, *members: list[object]) -> ImageSpec:
        steps = [layer(directory("opt", mtime=len(name)), *one) for one in members]  # type: ignore[arg-type]
        return on_base(base, *steps, tags=[f"{name}:1"])

    return [
        app("one", [library, file("opt/one", noise(9000, "one"))]),
        app("other", [file("opt/tmp", LIBRARY)], [whiteout("opt/tmp"), library, runtime]),
        app("third", [runtime, library]),
    ]


def next_release() -> ImageSpec:
    """Of the third: the same library and runtime, in a directory of another time and mode, and a file of
    its own."""
    library, runtime = file("opt/library", LIBRARY), file("opt/runtime", RUNTIME)
    return on_base(
        SYSTEM,
        layer(directory("opt", mtime=77, mode=0o711), library, file("opt/new", noise(9000, "new"))),
        layer(runtime, whiteout("opt/old"), file("opt/library", LIBRARY)),
        tags=["third:2"],
    )


def write(folder: Path, *images: ImageSpec) -> list[Path]:
    """Each image in an archive of its own."""
    paths = [folder / f"{number}.tar" for number in range(len(images))]
    for path, one in zip(paths, images, strict=True):
        docker_archive_25(path, [one], compress="gzip")
    return paths


def always_carve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carve also where the best cut takes less."""
    cost = Goal.cost
    monkeypatch.setattr(Goal, "cost", lambda goal, one: -1 if one.name == CARVE else cost(goal, one))
