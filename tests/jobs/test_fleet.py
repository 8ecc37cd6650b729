"""`squashkit fleet`: what small fleets take is what is counted, and squashed fleets share their layers."""

from __future__ import annotations

import csv
import random
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from squashkit.amounts import size
from squashkit.engine import carry_out, deliver
from squashkit.engine.carry_out import carry_out as write_image
from squashkit.engine.write import write_layer
from squashkit.errors import PlanError, UsageError
from squashkit.jobs.fleet.squash import squash_fleet
from squashkit.report.fleet.titles import TITLES
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.fleets import blob, storage, write
from tests.support.runner import assert_fails, read_images, run

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
    """Three apps above a shared build layer, the waste of which each app deletes for itself. Their base
    lies in base.tar."""
    base = ImageSpec([blob("base", 40_000)], ["base:1"])
    docker_archive_25(tmp_path / "base.tar", [base])
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


def known(paths: list[Path]) -> list[object]:
    """Images whose base lies beside them, and that base."""
    return [*paths, "--base", paths[0].parent / "base.tar"]


def test_the_best_cut_beats_the_trie_and_what_was_built(tmp_path: Path) -> None:
    """Where dead bytes can be killed only above a branching point, merging down into the branches is
    cheaper than sharing: only the best cut does that and keeps the base shared."""
    found = storage(*known(wasteful(tmp_path)))
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
    name = TITLES[strategy]
    words = [*known(paths), "--into", f"oci:{tmp_path}/out", "--strategy", strategy, "--json"]
    predicted = storage(*known(paths))[name]["registry_bytes"]
    done = run("fleet", "squash", *map(str, words))
    assert done.code == 0, done.err
    written = read_images(tmp_path / "out")
    blobs = {blob for one in written for blob in one.blobs}
    assert sum(map(len, blobs)) == predicted == done.json["written_bytes"]
    for number, path in enumerate(paths):
        same = run("diff", path, f"oci:{tmp_path}/out:app{number}:1")
        assert same.code == 0, same.text


def test_plain_and_compressed_sources_share(tmp_path: Path) -> None:
    """The same layer is one layer to hosts, however each source stores it."""
    base = ImageSpec([blob("base", 9000)], ["base:1"])
    one, two = (on_base(base, blob(name, 900), tags=[f"{name}:1"]) for name in ("one", "two"))
    docker_archive_old(tmp_path / "one.tar", [one])
    oci_layout(tmp_path / "two", [two])
    done = run("fleet", "storage", tmp_path / "one.tar", tmp_path / "two", "--json")
    assert (done.json["layers"]["references"], done.json["layers"]["chains"]) == (4, 3)


def test_layers_are_counted_by_blobs_and_by_chains(tmp_path: Path) -> None:
    """One layer on two bases is one blob to registries, and two layers to hosts."""
    bases = [ImageSpec([blob(name, 900)], [f"{name}:1"]) for name in ("red", "blue")]
    apps = [on_base(base, blob("app", 300), tags=[f"app:{n}"]) for n, base in enumerate(bases)]
    words: list[str | Path] = ["fleet", "storage", *write(tmp_path, *bases, *apps)]
    assert run(*words, "--json").json["layers"] == {"references": 6, "blobs": 3, "chains": 4}
    assert run(*words, "--no-scan").text.splitlines()[0] == "4 images, 6 layers, 3 of them different"


def test_estimates_compress_nothing_and_say_so(tmp_path: Path) -> None:
    """With --estimate the table is marked, and close to what compressing gives where nothing shrinks."""
    paths = wasteful(tmp_path)
    exact, about = storage(*known(paths)), storage(*known(paths), "--estimate")
    for name, row in exact.items():
        assert abs(about[name]["registry_bytes"] - row["registry_bytes"]) < row["registry_bytes"] / 20
        assert about[name]["host_bytes"] == row["host_bytes"]
    assert "about" in run("fleet", "storage", *paths, "--estimate").text
    docker_archive_old(tmp_path / "plain.tar", [ImageSpec([blob("a", 900)], ["plain:1"])])
    for words, count in ((paths, 0), ([*paths, tmp_path / "plain.tar"], 1)):
        told = run("fleet", "storage", *words, "--estimate").text
        assert told.count("plain layers count as they are") == count


def test_a_limit_of_layers_is_kept(tmp_path: Path) -> None:
    """With --max-layers no image has more."""
    found = storage(*known(wasteful(tmp_path)), "--max-layers", "2")
    assert found["along the trie"]["most_layers"] == 3
    assert found["best cut"]["most_layers"] == 2


def test_a_limit_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """An image that others stand on ends on their way: with one layer allowed there is no cut, which takes
    no layer to know."""
    base = ImageSpec([blob("a", 900)], ["base:1"])
    paths = write(tmp_path, base, on_base(base, blob("app", 900), tags=["app:1"]))
    for command in ("storage", "advise"):
        assert_fails(run("fleet", command, *paths, "--max-layers", "1"), 2, "--max-layers 1: app:1 needs 2")
    words = ("--max-layers", "1", "--into", tmp_path / "out.tar")
    for strategy in ("best", "carve"):
        done = run("fleet", "squash", *paths, *words, "--strategy", strategy)
        assert_fails(done, 2, "--max-layers 1: app:1 needs 2")
    assert not (tmp_path / "out.tar").exists()
    assert run("fleet", "storage", *paths, "--max-layers", "1", "--strategies", "base").code == 0


def test_bases_that_are_named_are_kept(tmp_path: Path) -> None:
    """--base names bases for the strategy that keeps them."""
    paths = wasteful(tmp_path)
    found = storage(*known(paths))
    assert set(found["keep base"]["segments"].values()) == {"=1,2"}
    assert set(storage(*paths)["keep base"]["segments"].values()) == {"=3"}


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
    found = storage(*known(paths), "--csv", tmp_path / "growth.csv")
    rows = list(csv.DictReader((tmp_path / "growth.csv").read_text().splitlines()))
    assert len(rows) == 3 * len(found)
    for name, row in found.items():
        (last,) = [one for one in rows if (one["strategy"], one["images"]) == (name, "3")]
        assert int(last["registry_bytes"]) == row["registry_bytes"]
        assert int(last["host_bytes"]) == row["host_bytes"]


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    """It has a title, each strategy with what it saves, squashing all in a panel of its own, a description;
    and its bytes are the same each time."""
    pytest.importorskip("matplotlib")
    paths = known(wasteful(tmp_path))
    for name in ("a.svg", "b.svg", "c.png"):
        found = storage(*paths, "--chart", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "a.svg").read_text()
    drawn = re.findall(r"<!-- (.*?) -->", text, re.DOTALL)
    built = found["as built"]["registry_bytes"]
    title = f"What squashing 3 images saves in a registry, of {size(built)} as built"
    assert title in drawn
    assert f"<title>{title}</title>" in text
    assert {"above bases that stay", "squash all", "as built", "% saved"} <= {*drawn}
    saved = built - found["best cut"]["registry_bytes"]
    share = f"{100 * saved / built:.1f} %"
    assert f"saves {size(saved)} ({share})" in drawn
    assert any("best cut" in one for one in drawn)
    assert_fails(run("fleet", "storage", *map(str, paths), "--chart", tmp_path / "c.txt"), 2, ".svg")


@pytest.mark.parametrize("words", [["--no-scan"], ["--strategies", "built"], ["--strategies", "all"]])
def test_a_chart_of_few_rows(words: list[str], tmp_path: Path) -> None:
    """Of one image, as built alone, or with one strategy there is a chart, too."""
    pytest.importorskip("matplotlib")
    path = write(tmp_path, ImageSpec([blob("x", 900), blob("y", 900)], ["x:1"]))[0]
    done = run("fleet", "storage", path, *words, "--chart", tmp_path / "a.svg")
    assert done.code == 0, done.err
    assert "1 image" in (tmp_path / "a.svg").read_text()


def test_releases_of_one_repository_are_updates(tmp_path: Path) -> None:
    """What an update downloads is what its layers do not share with the release before: by chain with all
    above the first that differs, by blob without what is the same there."""
    base = ImageSpec([blob("base", 9000)], ["base:1"])
    releases = [on_base(base, blob(f"app{n}", 500), blob("same", 700), tags=[f"app:{n}"]) for n in range(3)]
    found = storage(*write(tmp_path, *releases))
    updates = found["as built"]["updates"]
    assert [(one["from"], one["to"]) for one in updates] == [("app:0", "app:1"), ("app:1", "app:2")]
    assert all(1200 < one["pulled"] < 2200 for one in updates)
    assert all(500 < one["pulled_by_blob"] < 1200 for one in updates)
    assert all(one["pulled"] > 9000 for one in found["squash all"]["updates"])


# --- what does not work ----------------------------------------------------------------------


def test_a_fleet_needs_images() -> None:
    """Without an image there is nothing to measure."""
    assert_fails(run("fleet", "storage"), 2, "--from")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    """Nothing is overwritten by another image of the same fleet; both are named."""
    paths = wasteful(tmp_path)
    docker_archive_25(tmp_path / "other.tar", [ImageSpec([blob("other", 900)], ["app0:1"])])
    done = run("fleet", "squash", paths[0], tmp_path / "other.tar", "--into", f"oci:{tmp_path}/out")
    assert_fails(done, 2, "several images of the fleet")
    assert "other.tar" in done.err
    assert "0.tar" in done.err
    assert not (tmp_path / "out").exists()
    assert_fails(run("fleet", "squash", *paths, "--into", "docker-daemon:x"), 2, "oci:DIR")


def test_an_image_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    """The same image of the same file is one, however it is named; and that is said."""
    paths = wasteful(tmp_path)
    done = run("fleet", "storage", paths[0], f"{paths[0]}:app0:1", paths[1], "--json")
    assert done.json["images"] == ["app0:1", "app1:1"]
    assert "app0:1" in done.json["notes"][0]


def test_an_image_without_a_name_gets_none(tmp_path: Path) -> None:
    """It is measured, and a squash of it is refused with what to do."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([blob("a", 900)], [])])
    assert run("fleet", "storage", tmp_path / "a.tar").code == 0
    assert_fails(run("fleet", "squash", tmp_path / "a.tar", "--into", tmp_path / "b.tar"), 2, "docker tag")


def test_a_platform_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Of an index one platform is taken, and that is said; one that is not there is an error."""
    system = ImageSpec([blob("base", 900)], ["base:1"])
    arm = ImageSpec([blob("arm", 900)], ["base:1"], platform="linux/arm64")
    oci_layout(tmp_path / "both", [system, arm])
    done = run("fleet", "storage", tmp_path / "both", "--platform", "linux/arm64", "--json")
    assert len(done.json["images"]) == 1
    assert "2 platforms" in done.json["notes"][0]
    missing = run("fleet", "storage", tmp_path / "both", "--platform", "linux/s390x")
    assert_fails(missing, 5, "no image for linux/s390x")


def test_lists_that_are_none_are_told(tmp_path: Path) -> None:
    """A binary file, an empty list, and one on standard input."""
    paths = wasteful(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xb4\x00")
    assert_fails(run("fleet", "storage", "--from", tmp_path / "binary"), 2, "no list of references")
    (tmp_path / "empty").write_text("# nothing\n")
    assert_fails(run("fleet", "storage", "--from", tmp_path / "empty"), 2, "names none")
    piped = "".join(f"{path}\n" for path in paths).encode()
    (tmp_path / "one").write_text(f"{paths[0]}\n")
    done = run("fleet", "storage", "--from", tmp_path / "one", "--from", "-", "--json", stdin=piped)
    assert done.json["images"] == ["app0:1", "app1:1", "app2:1"]


# --- whole fleets ----------------------------------------------------------------------------


def test_a_known_base_stays_as_it_is(tmp_path: Path) -> None:
    """A base of two layers with waste in it is merged in no row but one, whether it is named or not."""
    base = ImageSpec([blob("a", 9000), layer(whiteout("a"), file("b", noise(9000, "b")))], ["base:1"])
    apps = [
        on_base(base, blob(f"{n}", 900), layer(whiteout(f"{n}"), file("x", n.encode())), tags=[f"{n}:1"])
        for n in ("one", "two")
    ]
    paths = write(tmp_path, *apps)
    docker_archive_25(tmp_path / "base.tar", [base])
    unknown, named = storage(*paths), storage(*known(paths))
    for name in ("along the trie", "best cut", "keep base"):
        assert set(unknown[name]["segments"].values()) == {"=4"}, name
        assert set(named[name]["segments"].values()) == {"=2,2"}, name
    assert set(unknown["squash all"]["segments"].values()) == {"4"}


@pytest.mark.parametrize("kind", ["docker-archive:", "oci-archive:", ""])
def test_a_fleet_goes_into_an_archive(kind: str, tmp_path: Path) -> None:
    """All images by their names, each its source's root file system, every layer once."""
    paths = wasteful(tmp_path)
    into = tmp_path / "all.tar"
    words = [*map(str, known(paths)), "--into", f"{kind}{into}"]
    done = run("fleet", "squash", *words, "--json")
    assert done.code == 0, done.err
    for number, path in enumerate(paths):
        same = run("diff", path, f"{into}:app{number}:1")
        assert same.code == 0, same.text
    with tarfile.open(into) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    layers = {one["digest"] for image in done.json["images"].values() for one in image["result_layers"]}
    assert {f"blobs/{digest.replace(':', '/')}" for digest in layers} <= set(names)
    assert_fails(run("fleet", "squash", *words), 2, "--force")


def test_what_images_share_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that three images have is written for the first of them."""
    written = []

    def counted(layers: Any, sources: Any, planned: Any, *others: Any) -> Any:
        written.append(planned)
        return write_layer(layers, sources, planned, *others)

    monkeypatch.setattr(carry_out, "write_layer", counted)
    base = ImageSpec([blob("base", 900)], ["base:1"])
    shared = on_base(base, blob("a", 9000), layer(whiteout("a"), file("b", noise(9000, "b"))))
    apps = [on_base(shared, blob(f"app{n}", 900), tags=[f"app{n}:1"]) for n in range(3)]
    paths = write(tmp_path, *apps, base)
    done = run("fleet", "squash", *paths, "--into", f"oci:{tmp_path}/out", "--strategy", "trie")
    assert done.code == 0, done.err
    assert len(written) == 1
    for number, path in enumerate(paths[:3]):
        same = run("diff", path, f"oci:{tmp_path}/out:app{number}:1")
        assert same.code == 0, same.text


@pytest.mark.parametrize("into", ["all.tar", "oci:out"])
def test_a_fleet_is_written_whole_or_not_at_all(
    into: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that fails as the last one leaves nothing of the others."""
    words = [*map(str, known(wasteful(tmp_path))), "--into", into]
    monkeypatch.chdir(tmp_path)
    there = set(tmp_path.iterdir())
    written: list[object] = []

    def fail(*args: Any) -> Any:
        if len(written) == 2:
            raise PlanError("the last one fails")
        written.append(write_image(*args))
        return written[-1]

    monkeypatch.setattr(deliver, "carry_out", fail)
    assert_fails(run("fleet", "squash", *words), 1, "the last one fails")
    assert set(tmp_path.iterdir()) == there


def test_an_image_whose_files_are_all_gone_counts_its_empty_layer(tmp_path: Path) -> None:
    """docker wants a layer, and so one is written, and counted."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([blob("a", 900), layer(whiteout("a"))], ["a:1"])])
    predicted = storage(tmp_path / "a.tar")["squash all"]["registry_bytes"]
    into = f"oci:{tmp_path}/out"
    done = run("fleet", "squash", tmp_path / "a.tar", "--into", into, "--strategy", "all", "--json")
    assert done.json["written_bytes"] == predicted > 0


def test_a_strategy_that_there_is_not_is_named_with_those_that_there_are() -> None:
    """From Python too a wrong strategy is told before anything is opened."""
    expected = "no strategy is named cheapest: built, all, base, trie, best"
    with pytest.raises(UsageError, match=expected):
        squash_fleet(["absent.tar"], "out.tar", "cheapest")


# --- which images ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (["web"], ["api:1", "team/web:1"]),
        (["web:1"], ["api:1", "team/web:1", "web:2"]),
        (["*web"], ["api:1"]),
        (["*:1"], ["web:2"]),
        (["team*", "ap?"], ["web:1", "web:2"]),
        (["WEB", "web:", "eb"], ["api:1", "team/web:1", "web:1", "web:2"]),
    ],
)
def test_images_are_left_out_by_their_names(globs: list[str], left: list[str], tmp_path: Path) -> None:
    """A glob fits a name with its tag or without, and its star slashes, too; how many went is told, by all
    commands of fleets."""
    names = ["api:1", "team/web:1", "web:1", "web:2"]
    images = [ImageSpec([blob("base", 900), blob(name, 900)], [name]) for name in names]
    oci_layout(tmp_path / "all", images)
    words = [word for glob in globs for word in ("--exclude", glob)]
    place = f"oci:{tmp_path}/all"
    done = run("fleet", "storage", place, *words, "--json")
    assert sorted(done.json["images"]) == left
    assert len([note for note in done.json["notes"] if note.startswith("Left out by --exclude ")]) == len(
        globs
    )
    assert sorted(run("fleet", "advise", place, *words, "--json").json["images"]) == left
    assert run("fleet", "scan", place, *words, "--into", tmp_path / "some").code == 0
    assert sorted(run("fleet", "storage", tmp_path / "some", "--json").json["images"]) == left
    assert run("fleet", "scan", place, "--into", tmp_path / "scan").code == 0
    assert sorted(run("fleet", "storage", tmp_path / "scan", *words, "--json").json["images"]) == left
    into = f"oci:{tmp_path}/out"
    done = run("fleet", "squash", place, *words, "--strategy", "all", "--into", into, "--json")
    assert done.code == 0, done.err
    written = {name for image in read_images(tmp_path / "out") for name in image.names}
    assert sorted(written & {*names}) == left


def test_a_fleet_of_which_all_is_left_out(app: Path) -> None:
    """There is nothing to measure."""
    assert_fails(run("fleet", "storage", app, "--exclude", "*"), 2, "no image that is not left out")


# --- which rows ------------------------------------------------------------------------------


def test_rows_are_chosen(tmp_path: Path) -> None:
    """Only those are told, in the order of the reports, in every form; each as it is among all."""
    paths = known(wasteful(tmp_path))
    every = storage(*paths)
    words = (*map(str, paths), "--strategies", "best, base")
    told = run("fleet", "storage", *words, "--csv", tmp_path / "rows.csv", "--json").json
    assert told["strategies"] == [every["keep base"], every["best cut"]]
    assert told["squash_all_costs_more_from"] is None
    rows = {row["strategy"] for row in csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())}
    assert rows == {"keep base", "best cut"}
    text = run("fleet", "storage", *words).text
    assert "along the trie" not in text
    least = min(("keep base", "best cut"), key=lambda name: every[name]["registry_bytes"])
    assert f"The least of these: {least}, " in text
    for name in ("built", "all", "base", "trie", "best"):
        (one,) = run("fleet", "storage", *map(str, paths), "--strategies", name, "--json").json[
            "strategies"
        ]
        assert one == every[one["strategy"]]


def test_squash_all_is_estimated_unless_it_is_named(tmp_path: Path) -> None:
    """What no one should take is not compressed for; all else is as it is with it."""
    paths = known(wasteful(tmp_path))
    exact = storage(*paths)
    told = run("fleet", "storage", *map(str, paths), "--json").json["strategies"]
    about = {one["strategy"]: one for one in told}
    whole, measured = about.pop("squash all"), exact.pop("squash all")
    assert about == exact
    assert (whole["estimated"], measured["estimated"]) == (True, False)
    assert whole["host_bytes"] == measured["host_bytes"]
    assert whole["registry_bytes"] != measured["registry_bytes"]
    assert abs(whole["registry_bytes"] - measured["registry_bytes"]) < measured["registry_bytes"] / 20
    (line,) = (
        line
        for line in run("fleet", "storage", *map(str, paths)).text.splitlines()
        if "squash all  " in line
    )
    assert line.count("~") == 2


@pytest.mark.parametrize("names", ["", "carved", "built,,best", "BEST"])
def test_rows_that_there_are_not(names: str, app: Path) -> None:
    """They are refused, with those that there are."""
    done = run("fleet", "storage", app, "--strategies", names)
    assert_fails(done, 2, "--strategies", "is none of built, all, base, trie, best")


def test_what_advice_costs_once(tmp_path: Path) -> None:
    """The layers that it makes, which no registry has yet; nothing where nothing is advised."""
    words = ("fleet", "advise", *map(str, known(wasteful(tmp_path))))
    told = run(*words, "--json").json
    kept = read_images(tmp_path / "0.tar")[0].blobs[0]
    assert told["once"] == {"layers": 3, "bytes": told["registry_bytes"]["advised"] - len(kept)}
    for form in ((), ("--markdown",)):
        assert "It costs once: 3 new layers (" in run(*words, *form).text
    (tmp_path / "plain").mkdir()
    base = ImageSpec([blob("a", 30_000)], ["base:1"])
    paths = write(tmp_path / "plain", base, on_base(base, blob("b", 1000), tags=["b:1"]))
    done = run("fleet", "advise", *paths, "--json")
    assert done.json["once"] == {"layers": 0, "bytes": 0}
    assert "It costs once" not in run("fleet", "advise", *paths).text
