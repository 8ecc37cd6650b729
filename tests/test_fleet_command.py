"""`squashkit fleet`: what small fleets take is what is counted, and squashed fleets share their layers."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from squashkit.cli.fleet import STRATEGIES
from tests.builders import (
    ImageSpec,
    Json,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.cli import assert_fails, read_images, run


def noise(size: int, seed: str) -> bytes:
    """Bytes that no compressor makes smaller, the same ones every time."""
    return random.Random(seed).randbytes(size)


def blob(name: str, size: int) -> bytes:
    """A layer of one file."""
    return layer(file(name, noise(size, name)))


def write(folder: Path, *images: ImageSpec) -> list[Path]:
    """Each image in an archive of its own."""
    paths = [folder / f"{number}.tar" for number in range(len(images))]
    for path, one in zip(paths, images, strict=True):
        docker_archive_25(path, [one], compress="gzip")
    return paths


def storage(*words: object) -> dict[str, Json]:
    """The strategies of `fleet storage`, by name."""
    done = run("fleet", "storage", *map(str, words), "--json")
    assert done.code == 0, done.err
    return {one["strategy"]: one for one in done.json["strategies"]}


# --- the question that started it ------------------------------------------------------------


def test_two_apps_on_one_server_on_one_system(tmp_path: Path) -> None:
    """A system of 249, a server of 21, apps of 5 and 6: 281 with shared layers, 551 if each is squashed."""
    unit = 10_000
    system = ImageSpec([blob("system", 249 * unit)], ["fedora:28"])
    server = on_base(system, blob("server", 21 * unit))
    apps = [
        on_base(server, blob(name, size * unit), tags=[f"{name}:1"])
        for name, size in (("app1", 5), ("app2", 6))
    ]
    done = run("fleet", "storage", *write(tmp_path, *apps), "--minimise", "host", "--json")
    found = {one["strategy"]: one for one in done.json["strategies"]}
    assert found["as built"]["host_bytes"] == 281 * unit
    assert found["squash all"]["host_bytes"] == 551 * unit
    assert found["best cut"]["host_bytes"] == 281 * unit
    assert done.json["squash_all_costs_more_from"] == 2
    assert found["as built"]["pulled"]["by_chain"][1] < 7 * unit
    assert found["squash all"]["pulled"]["by_chain"][1] > 275 * unit


# --- planted fleets --------------------------------------------------------------------------


def wasteful(tmp_path: Path) -> list[Path]:
    """Three apps above a shared build layer, the waste of which each app deletes for itself."""
    base = ImageSpec([blob("base", 40_000)], ["base:1"])
    shared = on_base(
        base,
        layer(
            directory("opt"), file("opt/tool", noise(3000, "tool")), file("opt/waste", noise(50_000, "w"))
        ),
    )
    apps = [
        on_base(
            shared,
            layer(directory("opt"), whiteout("opt/waste"), file(f"app{n}", noise(2000, f"app{n}"))),
            tags=[f"app{n}:1"],
        )
        for n in range(3)
    ]
    return write(tmp_path, *apps)


def test_the_best_cut_beats_the_trie_and_what_was_built(tmp_path: Path) -> None:
    """Where dead bytes can be killed only above a branching point, merging down into the branches is
    cheaper than sharing: only the best cut does that and keeps the base shared."""
    found = storage(*wasteful(tmp_path))
    best = found["best cut"]["registry_bytes"]
    for other in ("as built", "along the trie", "squash all"):
        assert best < found[other]["registry_bytes"], other
    assert set(found["best cut"]["segments"].values()) == {"=1,2"}


def test_where_squashing_is_wrong_it_is_said(tmp_path: Path) -> None:
    """A fleet without waste, all of it shared: nothing is to be squashed."""
    base = ImageSpec([blob("a", 30_000), blob("b", 20_000)], ["base:1"])
    apps = [on_base(base, blob(f"app{n}", 1000), tags=[f"app{n}:1"]) for n in range(3)]
    paths = write(tmp_path, base, *apps)
    done = run("fleet", "advise", *paths)
    assert done.code == 0, done.err
    assert "Do not squash" in done.text
    told = run("fleet", "advise", *paths, "--json").json
    assert not any(image["squash"] for image in told["images"].values())


def test_the_trie_never_stores_more_than_as_built(tmp_path: Path) -> None:
    """A run that would not become smaller stays as it is."""
    for seed in range(12):
        chance = random.Random(seed)
        images: list[ImageSpec] = [ImageSpec([blob("base", 5000)], ["base:1"])]
        for number in range(4):
            steps = [
                layer(
                    *(file(f"f{chance.randint(0, 5)}", noise(chance.randint(1, 4000), str(chance.random())))
                      for _ in range(1)),
                )
                for _ in range(chance.randint(1, 4))
            ]  # fmt: skip
            images.append(on_base(chance.choice(images), *steps, tags=[f"app{number}:1"]))
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = storage(*write(folder, *images))
        built = found["as built"]["registry_bytes"]
        assert found["along the trie"]["registry_bytes"] <= built
        assert found["best cut"]["registry_bytes"] <= found["along the trie"]["registry_bytes"]


# --- what is counted is what is stored -------------------------------------------------------


@pytest.mark.parametrize("strategy", ["built", "all", "base", "trie", "best"])
def test_a_squashed_fleet_is_what_was_predicted(strategy: str, tmp_path: Path) -> None:
    """The layers of the layout take the bytes that the table had, and shared runs are one blob."""
    paths = wasteful(tmp_path)
    name = STRATEGIES[strategy]
    predicted = storage(*paths)[name]["registry_bytes"]
    done = run("fleet", "squash", *paths, "--into", f"oci:{tmp_path}/out", "--strategy", strategy, "--json")
    assert done.code == 0, done.err
    written = read_images(tmp_path / "out")
    blobs = {blob for one in written for blob in one.blobs}
    assert sum(map(len, blobs)) == predicted == done.json["stored_bytes"]["written"]
    for number, path in enumerate(paths):
        same = run("diff", path, f"oci:{tmp_path}/out:app{number}:1")
        assert same.code == 0, same.text


def test_plain_and_compressed_sources_share(tmp_path: Path) -> None:
    """The same layer is one layer, however each source stores it."""
    base = ImageSpec([blob("base", 9000)], ["base:1"])
    one, two = (on_base(base, blob(name, 900), tags=[f"{name}:1"]) for name in ("one", "two"))
    docker_archive_old(tmp_path / "one.tar", [one])
    oci_layout(tmp_path / "two", [two])
    done = run("fleet", "storage", tmp_path / "one.tar", tmp_path / "two", "--json")
    assert (done.json["layers"], done.json["layer_references"]) == (3, 4)


def test_estimates_compress_nothing_and_say_so(tmp_path: Path) -> None:
    """With --estimate the table is marked, and close to what compressing gives where nothing shrinks."""
    paths = wasteful(tmp_path)
    exact, about = storage(*paths), storage(*paths, "--estimate")
    for name, row in exact.items():
        assert abs(about[name]["registry_bytes"] - row["registry_bytes"]) < row["registry_bytes"] / 20
        assert about[name]["host_bytes"] == row["host_bytes"]
    assert "about" in run("fleet", "storage", *paths, "--estimate").text


def test_a_limit_of_layers_is_kept(tmp_path: Path) -> None:
    """With --max-layers no image has more."""
    found = storage(*wasteful(tmp_path), "--max-layers", "1")
    assert found["best cut"]["most_layers"] == 1


def test_a_limit_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """An image that others stand on ends on their way: with one layer allowed there is no cut."""
    base = ImageSpec([blob("a", 900)], ["base:1"])
    paths = write(tmp_path, base, on_base(base, blob("app", 900), tags=["app:1"]))
    assert_fails(run("fleet", "storage", *paths, "--max-layers", "1"), 1, "--max-layers 1")


def test_bases_that_are_named_are_kept(tmp_path: Path) -> None:
    """--base names bases for the strategy that keeps them."""
    paths = wasteful(tmp_path)
    docker_archive_25(tmp_path / "base.tar", [ImageSpec([blob("base", 40_000)], ["base:1"])])
    found = storage(*paths, "--base", tmp_path / "base.tar")
    assert set(found["keep base"]["segments"].values()) == {"=1,2"}
    assert set(storage(*paths)["keep base"]["segments"].values()) == {"3"}


def test_every_file_once_is_a_bound(tmp_path: Path) -> None:
    """The bytes of all different contents that the images show: dead ones do not count, equal ones once."""
    same, dead = noise(3000, "same"), noise(9000, "dead")
    base = ImageSpec([layer(file("a", same), file("dead", dead))], ["base:1"])
    apps = [
        on_base(base, layer(whiteout("dead"), file("b", same), file("c", noise(500, n))), tags=[f"{n}:1"])
        for n in "12"
    ]
    done = run("fleet", "storage", *write(tmp_path, *apps), "--json")
    assert done.json["files_once_bytes"] == 3000 + 500 + 500
    assert "every file once" in run("fleet", "storage", *write(tmp_path, *apps)).text


def test_without_a_scan_only_manifests_are_read(tmp_path: Path) -> None:
    """--no-scan tells what was built, though not one layer is there."""
    oci_layout(tmp_path / "layout", [ImageSpec([blob("a", 900), blob("b", 500)], ["app:1"])])
    whole = storage(tmp_path / "layout")["as built"]["registry_bytes"]
    for path in (tmp_path / "layout/blobs/sha256").iterdir():
        if path.stat().st_size > 480 and not path.read_bytes().startswith(b"{"):
            path.unlink()
    done = run("fleet", "storage", tmp_path / "layout", "--no-scan", "--json")
    assert done.code == 0, done.err
    (built,) = done.json["strategies"]
    assert (built["strategy"], built["registry_bytes"]) == ("as built", whole)
    assert "--no-scan" in run("fleet", "storage", tmp_path / "layout", "--no-scan").text


# --- lists, tables, charts -------------------------------------------------------------------


def test_images_come_from_a_list(tmp_path: Path) -> None:
    """--from names images a line each; # begins a comment."""
    paths = wasteful(tmp_path)
    (tmp_path / "list").write_text(f"# all\n{paths[0]}\n\n{paths[1]}  # the second\n")
    done = run("fleet", "storage", "--from", tmp_path / "list", paths[2], "--json")
    assert done.json["images"] == ["app2:1", "app0:1", "app1:1"]


def test_growth_is_written_as_csv(tmp_path: Path) -> None:
    """One line for each strategy and number of images, the last of which is the table's."""
    paths = wasteful(tmp_path)
    found = storage(*paths, "--csv", tmp_path / "growth.csv")
    rows = list(csv.DictReader((tmp_path / "growth.csv").open()))
    assert len(rows) == 3 * len(found)
    for name, row in found.items():
        (last,) = [one for one in rows if (one["strategy"], one["images"]) == (name, "3")]
        assert int(last["registry_bytes"]) == row["registry_bytes"]
        assert int(last["host_bytes"]) == row["host_bytes"]


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    """The chart names the strategies, and its bytes are the same each time."""
    pytest.importorskip("matplotlib")
    paths = wasteful(tmp_path)
    for name in ("a.svg", "b.svg"):
        storage(*paths, "--chart", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert_fails(run("fleet", "storage", *paths, "--chart", tmp_path / "c.txt"), 2, ".svg")


def test_releases_of_one_repository_are_updates(tmp_path: Path) -> None:
    """What an update downloads is what its layers do not share with the release before."""
    base = ImageSpec([blob("base", 9000)], ["base:1"])
    releases = [on_base(base, blob(f"app{n}", 500), tags=[f"app:{n}"]) for n in range(3)]
    found = storage(*write(tmp_path, *releases))
    updates = found["as built"]["updates"]
    assert [(one["from"], one["to"]) for one in updates] == [("app:0", "app:1"), ("app:1", "app:2")]
    assert all(one["pulled"] < 1500 for one in updates)
    assert all(one["pulled"] > 9000 for one in found["squash all"]["updates"])


# --- what does not work ----------------------------------------------------------------------


def test_a_fleet_needs_images() -> None:
    """Without an image there is nothing to measure."""
    assert_fails(run("fleet", "storage"), 2, "--from")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    """Nothing is overwritten by another image of the same fleet."""
    paths = wasteful(tmp_path)
    done = run("fleet", "squash", paths[0], paths[0], "--into", f"oci:{tmp_path}/out")
    assert_fails(done, 2, "several images of the fleet")
    assert not (tmp_path / "out").exists()
    assert_fails(run("fleet", "squash", *paths, "--into", "docker-daemon:x"), 2, "oci:DIR")
