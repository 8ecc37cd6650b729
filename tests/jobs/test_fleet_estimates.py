"""`fleet storage --estimate`: near what is measured, never the other way round, else unsure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import fleets, public
from squashkit.jobs.fleet.measure import measure_fleet
from squashkit.jobs.fleet.scan.scan import scan_fleet
from squashkit.jobs.fleet.scan.storage import measure_scan
from squashkit.options import STRATEGIES, FleetOptions, Run
from squashkit.plan.fleet.strategies import Strategy
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    layer,
    noise,
    on_base,
    whiteout,
)
from tests.support.fleets import blob, write
from tests.support.random_fleets import alike_fleet, random_fleet
from tests.support.runner import run

ONE = Run(jobs=1)


def strategies(references: Sequence[str], *, estimate: bool) -> dict[str, Strategy]:
    """What a fleet takes under every one, measured or estimated."""
    options = FleetOptions(estimate=estimate, strategies=STRATEGIES)
    return {one.name: one for one in measure_fleet(references, fleet=options, run=ONE).strategies}


def made(kind: str, folder: Path, seed: int) -> list[str]:
    """A fleet of some kind."""
    if kind == "random":
        return random_fleet(folder, seed)
    if kind == "alike":
        return [str(path) for path in alike_fleet(folder, seed)[0]]
    if kind == "company":
        fleets.make(folder / "fleet", 8, fleets.SMALL, seed=seed)
    else:
        public.make(folder / "fleet", 8, scale=4000, seed=seed)
    return [f"oci:{folder}/fleet"]


SEEDS = [
    *(("random", seed) for seed in range(12)),
    *(("alike", seed) for seed in range(8)),
    *(("company", seed) for seed in range(1)),
    *(("public", seed) for seed in (88,)),
]


@pytest.mark.parametrize(("kind", "seed"), SEEDS)
def test_an_estimate_never_contradicts_what_is_measured(kind: str, seed: int, tmp_path: Path) -> None:
    """What is measured lies within the bounds where files are not the same, so it is a saving where the
    estimate says so, and a loss where it says that; else the estimate is called unsure."""
    references = made(kind, tmp_path, seed)
    exact, about = (strategies(references, estimate=estimate) for estimate in (False, True))
    assert about["built"].saves is None
    for name, measured in exact.items():
        saved = exact["built"].registry - measured.registry
        bounds = about[name].saves
        if bounds is None:
            assert about[name].stacks == about["built"].stacks
            continue
        if about[name].is_unsure:
            continue
        assert (saved >= 0) if bounds.least >= 0 else (saved <= 0), name
        if kind != "alike" and measured.segments == about[name].segments and measured.carved is None:
            assert bounds.least <= saved <= bounds.most, name
            assert bounds.least <= about["built"].registry - about[name].registry <= bounds.most


def test_what_compresses_best_may_be_what_is_stored_twice(tmp_path: Path) -> None:
    """Two fleets that look the same to who reads headers: in one the dead file does not compress, in the
    other the living one. Squashing whole saves in one and costs in the other; so the estimate is unsure."""
    size, saved = 40_000, []
    for number, flat in enumerate(("dead", "alive")):
        names = {name: bytes(size) if name == flat else noise(size, name) for name in ("dead", "alive")}
        shared = layer(*(file(name, data) for name, data in names.items()))
        apps = [
            on_base(
                ImageSpec([shared]), layer(whiteout("dead"), file(name, name.encode())), tags=[f"{name}:1"]
            )
            for name in ("one", "two")
        ]
        folder = tmp_path / str(number)
        folder.mkdir()
        paths = [str(path) for path in write(folder, *apps)]
        exact = strategies(paths, estimate=False)
        saved.append(exact["built"].registry - exact["all"].registry)
        words = ["fleet", "storage", *paths, "--estimate", "--strategies", "built,all"]
        told = run(*words)
        row = next(line for line in told.text.splitlines() if line.startswith("squash all"))
        assert "unsure" in row
        assert "%" not in row.split("unsure")[0]
        assert "unsure: an estimate cannot tell" in told.text
        bounds = run(*words, "--json").json["strategies"][1]["saves_bytes"]
        assert bounds["least"] < 0 < bounds["most"]
    assert saved[0] < 0 < saved[1]


# --- runs that exist -------------------------------------------------------------------------


def releases() -> list[ImageSpec]:
    """Two images on one base, with directories of other modes, whiteouts, hard links and long names."""
    base = ImageSpec([blob("base", 9000)], ["base:1"])
    apps = []
    for name in ("one", "two"):
        steps = [
            layer(
                directory("opt"), file("opt/cache", noise(5000, name)), file("opt/tool", noise(900, name))
            ),
            layer(directory("opt", mode=0o700), hardlink("opt/again", "opt/tool"), file("base", b"x")),
            layer(whiteout("opt/cache"), file(f"long/{'n' * 120}", noise(300, f"{name}.long"))),
        ]
        apps.append(on_base(base, *steps, tags=[f"{name}:1"]))
    return [base, *apps]


def squashed_beside(tmp_path: Path) -> list[str]:
    """Images, and what `fleet squash` made of them."""
    paths = [str(path) for path in write(tmp_path, *releases())]
    done = run("fleet", "squash", *paths, "--strategy", "base", "--into", f"oci:{tmp_path}/out")
    assert done.code == 0, done.err
    return [*paths, f"oci:{tmp_path}/out"]


def test_a_run_that_was_squashed_before_is_recognised(tmp_path: Path) -> None:
    """The estimate takes it for the layer that the fleet has already: it gives the bytes that are measured.
    On a host the layer is shared, too."""
    references = squashed_beside(tmp_path)
    exact, about = (strategies(references, estimate=estimate) for estimate in (False, True))
    for name in ("built", "base", "trie", "best"):
        assert about[name].registry == exact[name].registry, name
        assert about[name].containerd == exact[name].containerd, name
        assert about[name].pulled == exact[name].pulled, name
    assert exact["base"].registry < exact["built"].registry


def test_a_scan_recognises_a_run_by_digests_of_files(tmp_path: Path) -> None:
    """Of a scan there are no bytes, but digests of files."""
    references = squashed_beside(tmp_path)
    scan_fleet(references, tmp_path / "scan", run=ONE)
    exact = strategies(references, estimate=False)
    options = FleetOptions(strategies=STRATEGIES)
    found = {one.name: one for one in measure_scan(tmp_path / "scan", fleet=options, run=ONE).strategies}
    assert found["base"].registry == exact["base"].registry


@pytest.mark.parametrize("scanned", [False, True], ids=["read", "scanned"])
def test_a_run_that_only_looks_like_a_layer_is_not_taken_for_it(scanned: bool, tmp_path: Path) -> None:
    """All names, sizes and times are those of a layer that exists; one file holds other bytes."""
    base = ImageSpec([blob("base", 900)], ["base:1"])
    steps = [layer(file("a", noise(700, "a"))), layer(file("b", noise(800, "b")))]
    for other, is_same in (("b", True), ("other", False)):
        folder = tmp_path / other
        folder.mkdir()
        one = on_base(base, layer(file("a", noise(700, "a")), file("b", noise(800, other))), tags=["x:2"])
        paths = [str(path) for path in write(folder, base, on_base(base, *steps, tags=["x:1"]), one)]
        options = FleetOptions(estimate=True, strategies=["built", "base"])
        if scanned:
            scan_fleet(paths, folder / "scan", run=ONE)
            report = measure_scan(folder / "scan", fleet=options, run=ONE)
        else:
            report = measure_fleet(paths, fleet=options, run=ONE)
        built, merged = report.strategies
        assert (merged.host < built.host) is is_same


def test_a_plain_run_that_exists_counts_once(tmp_path: Path) -> None:
    """A plain archive that `squash` wrote has the layer already."""
    base, app, _ = releases()
    docker_archive_old(tmp_path / "base.tar", [base])
    docker_archive_old(tmp_path / "app.tar", [app])
    words = ("--keep-base", tmp_path / "base.tar", "-o", tmp_path / "new.tar")
    assert run("squash", tmp_path / "app.tar", *words).code == 0
    references = [str(tmp_path / name) for name in ("base.tar", "app.tar", "new.tar")]
    about = strategies(references, estimate=True)
    kept = [blob.stored for blob in about["built"].stacks[2]]
    assert about["base"].registry == sum(kept)
    exact = strategies(references, estimate=False)
    assert exact["base"].stacks[1] == exact["base"].stacks[2]
    assert about["base"].saves is not None
    saved = exact["built"].registry - exact["base"].registry
    assert 0 <= about["base"].saves.least <= saved <= about["base"].saves.most


@pytest.mark.parametrize("seed", range(6))
def test_sources_of_zstd_are_estimated_too(seed: int, tmp_path: Path) -> None:
    """What is deflated anew takes more than it took as zstd: the bounds know."""
    chance = random.Random(seed)
    words = [chance.randbytes(3).hex().encode() for _ in range(300)]

    def text(size: int) -> bytes:
        return b" ".join(chance.choices(words, k=size))

    base = ImageSpec([layer(file("base", text(900)))], ["base:1"])
    app = on_base(base, *(layer(file(f"f{n % 3}", text(1500))) for n in range(5)), tags=["app:1"])
    paths = [tmp_path / "base.tar", tmp_path / "app.tar"]
    for path, image in zip(paths, (base, app), strict=True):
        docker_archive_25(path, [image], compress="zstd")
    exact, about = (strategies([str(p) for p in paths], estimate=estimate) for estimate in (False, True))
    bounds = about["base"].saves
    assert bounds is not None
    assert bounds.least <= exact["built"].registry - exact["base"].registry <= bounds.most
