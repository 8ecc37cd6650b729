"""A fleet merges no base that it does not know: what makes one known, what is said where nothing does."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from squashkit.report.fleet.titles import TITLES
from tests.support.builders import (
    ImageSpec,
    Json,
    digest,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.fleets import SYSTEM, blob, storage, wasteful, write
from tests.support.runner import BASE_DIGEST, BASE_NAME, assert_fails, listing_of, read_images, run

ASK = ("base", "trie", "best")
"""Strategies that keep bases, and so must know them."""


def saying(image: ImageSpec, **labels: str) -> ImageSpec:
    return replace(image, config={**image.config, "config": {"Labels": labels}})


def told(*words: object) -> Json:
    """The document of `fleet storage`."""
    done = run("fleet", "storage", *map(str, words), "--json")
    assert done.code == 0, done.err
    return done.json


def segments(report: Json, name: str) -> dict[str, str]:
    """What a strategy makes of each image."""
    (found,) = [one["segments"] for one in report["strategies"] if one["strategy"] == TITLES[name]]
    assert isinstance(found, dict)
    return found


def assert_known(base_layers: int, *words: object) -> None:
    """The one wasteful app is squashed above so many layers of its base, and nothing is asked."""
    report = told(*words)
    assert report["unknown_base"] == []
    for strategy in ASK:
        assert segments(report, strategy)["app:1"] == f"={base_layers},2", strategy


def assert_unknown(hint: str, *words: object) -> None:
    """The one wasteful app is left as it was built, and the hint is told of it."""
    report = told(*words)
    assert report["unknown_base"] == ["app:1"]
    assert hint in report["base_hints"].get("app:1", "")
    built = segments(report, "built")["app:1"]
    assert {segments(report, strategy)["app:1"] for strategy in ASK} == {built}
    assert segments(report, "all")["app:1"] == built.removeprefix("=")


# --- without a base that is known ------------------------------------------------------------


@pytest.mark.parametrize("strategy", ASK)
def test_a_base_that_is_not_known_is_not_merged(strategy: str, tmp_path: Path) -> None:
    """Nothing is written; every image is listed, with the ways out."""
    paths = write(tmp_path, wasteful(SYSTEM, "app"), wasteful(SYSTEM, "tool"))
    before = listing_of(tmp_path)
    for into in (tmp_path / "out.tar", f"oci:{tmp_path}/out"):
        done = run("fleet", "squash", *paths, "--into", into, "--strategy", strategy)
        assert_fails(done, 2, "2 of 2 images", "app:1 (4 layers)", "tool:1 (4 layers)")
        assert "--base REF" in done.err
        assert "squashkit base add REF" in done.err
    assert listing_of(tmp_path) == before


def test_two_strategies_ask_for_no_base(tmp_path: Path) -> None:
    """As it was built nothing is merged, and whoever says `all` means the bases, too."""
    (path,) = write(tmp_path, wasteful(SYSTEM, "app"))
    for strategy, layers in (("built", 4), ("all", 1)):
        into = tmp_path / f"{strategy}.tar"
        done = run("fleet", "squash", path, "--into", into, "--strategy", strategy, "--json")
        assert done.code == 0, done.err
        assert done.json["unknown_base"] == ["app:1"]
        (written,) = read_images(into)
        assert len(written.layers) == layers


def test_what_images_share_is_no_known_base(tmp_path: Path) -> None:
    """Two images with the same lowest layers are both left as they were built: who else has these?"""
    report = told(*write(tmp_path, wasteful(SYSTEM, "app"), wasteful(SYSTEM, "tool")))
    assert report["unknown_base"] == ["app:1", "tool:1"]
    built = report["strategies"][0]
    for one in report["strategies"][2:]:
        assert {name: one[name] for name in built} == {**built, "strategy": one["strategy"]}


def test_images_without_a_known_base_are_told(tmp_path: Path) -> None:
    """`storage` and `advise` list them, and call what squashing them whole takes no saving."""
    alone = ImageSpec([blob("x", 90_000), layer(whiteout("x"))], ["alone:1"])
    paths = write(tmp_path, SYSTEM, wasteful(SYSTEM, "app"), alone)
    text = run("fleet", "storage", *paths).text
    assert "No base is known of 1 image:\n  alone:1 (2 layers)\n" in text
    assert "less still" not in text
    advice = run("fleet", "advise", *paths).text
    assert "| `alone:1` | 1 |  | name its base | its base is not known |" in advice
    assert "- `alone:1` (2 layers)" in advice
    assert "does all of it" not in advice
    document = run("fleet", "advise", *paths, "--json").json
    assert document["unknown_base"] == ["alone:1"]
    assert document["images"]["alone:1"]["squash"] is False
    assert document["images"]["alone:1"]["squash_all_costs_bytes"] is None
    assert document["images"]["app:1"]["squash"] is True


def test_a_fleet_of_unknown_bases_is_not_said_to_be_best_as_built(tmp_path: Path) -> None:
    """Where no base is known, nobody knows whether squashing would save."""
    text = run("fleet", "storage", *write(tmp_path, wasteful(SYSTEM, "app"))).text
    assert "With the bases that are known there is nothing to squash." in text
    assert "Do not squash" not in text


def test_a_little_that_is_saved_is_said_of_the_bases_that_are_known(tmp_path: Path) -> None:
    """Next to images whose base is not known, what the others save may be little: no reason to advise."""
    alone = ImageSpec([blob("x", 2_000_000), blob("y", 90)], ["alone:1"])
    done = run("fleet", "storage", *write(tmp_path, SYSTEM, wasteful(SYSTEM, "app"), alone))
    assert "With the bases that are known the best cut would save" in done.text
    assert "outside the fleet" not in done.text


def test_a_chart_tells_how_many_are_left_alone(tmp_path: Path) -> None:
    """The axis of images says of how many no base is known."""
    pytest.importorskip("matplotlib")
    paths = write(tmp_path, SYSTEM, wasteful(SYSTEM, "app"), wasteful(ImageSpec([blob("o", 9)]), "tool"))
    told(*paths, "--chart", tmp_path / "a.svg")
    assert "1 of unknown base" in (tmp_path / "a.svg").read_text()


def test_without_a_scan_they_are_listed_too(tmp_path: Path) -> None:
    """--no-scan reads no layer, and knows bases all the same."""
    paths = write(tmp_path, wasteful(SYSTEM, "app"), wasteful(ImageSpec([blob("o", 9)]), "tool"))
    docker_archive_25(tmp_path / "base.tar", [SYSTEM])
    report = told(*paths, "--base", tmp_path / "base.tar", "--no-scan")
    assert report["unknown_base"] == ["tool:1"]


def test_where_nothing_can_be_merged_no_base_is_asked_for(tmp_path: Path) -> None:
    """An image of one layer stays as it is, and so does one of none."""
    paths = write(tmp_path, ImageSpec([blob("a", 900)], ["one:1"]), ImageSpec([], ["none:1"]))
    assert told(*paths)["unknown_base"] == []
    for strategy in TITLES:
        into = tmp_path / f"{strategy}.tar"
        done = run("fleet", "squash", *paths, "--into", into, "--strategy", strategy)
        assert done.code == 0, done.err


def test_an_image_that_is_left_alone_may_have_more_layers(tmp_path: Path) -> None:
    """--max-layers bounds what is squashed, and is no reason to merge an unknown base, or to fail."""
    paths = write(
        tmp_path, SYSTEM, on_base(SYSTEM, *(blob(f"s{n}", 50) for n in range(5)), tags=["app:1"]),
        ImageSpec([blob(f"l{n}", 50) for n in range(9)], ["long:1"]),
    )  # fmt: skip
    found = storage(*paths, "--max-layers", "3")["best cut"]["segments"]
    assert (found["app:1"], found["long:1"], found["system:1"]) == ("=2,5", "=9", "=2")


# --- what makes a base known -----------------------------------------------------------------


def test_a_base_is_known_by_its_name(tmp_path: Path) -> None:
    """--base names it; one that no image stands on is told, and changes nothing."""
    (path,) = write(tmp_path, wasteful(SYSTEM, "app"))
    docker_archive_old(tmp_path / "base.tar", [SYSTEM])
    docker_archive_25(tmp_path / "other.tar", [ImageSpec([SYSTEM.layers[0], blob("o", 90)], ["other:1"])])
    assert_known(2, path, "--base", tmp_path / "base.tar")
    assert_known(2, path, "--base", tmp_path / "other.tar", "--base", tmp_path / "base.tar")
    assert_unknown("it has 1 of the 2 layers", path, "--base", tmp_path / "other.tar")
    (note,) = told(path, "--base", tmp_path / "other.tar")["notes"]
    assert note.startswith("No image stands on --base ")


def test_a_base_is_known_by_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was added is known in every run, for images of its platform."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    arm = replace(wasteful(SYSTEM, "app"), platform="linux/arm64")
    paths = write(tmp_path, wasteful(SYSTEM, "app"), arm)
    docker_archive_25(tmp_path / "base.tar", [SYSTEM])
    assert_unknown("", paths[0])
    assert run("base", "add", tmp_path / "base.tar").code == 0
    assert_known(2, paths[0])
    assert_unknown("", paths[1])


def test_a_base_is_known_by_another_image_of_the_fleet(tmp_path: Path) -> None:
    """An image on which others stand is a base, and stays whole, whatever of it is dead."""
    server = replace(wasteful(SYSTEM, "server"), tags=["server:1"])
    report = told(*write(tmp_path, server, wasteful(server, "app"), wasteful(server, "tool")))
    assert report["unknown_base"] == []
    for strategy in ASK:
        assert segments(report, strategy) == {"server:1": "=4", "app:1": "=4,2", "tool:1": "=4,2"}


def test_an_image_is_no_base_of_itself_under_another_name(tmp_path: Path) -> None:
    """Two names of one image, and two images of the same layers, make no base of one another."""
    app = wasteful(SYSTEM, "app")
    both = replace(app, tags=["app:1", "app:2"])
    paths = write(tmp_path, both, replace(app, tags=["same:1"], config={"author": "another"}))
    assert told(*paths)["unknown_base"] == ["app:1", "app:2", "same:1"]


def test_a_base_is_known_by_what_an_image_says(tmp_path: Path) -> None:
    """Labels name an available base that is not of the fleet; then it is one for all images."""
    (named,) = oci_layout(tmp_path / "base", [SYSTEM])
    app = saying(wasteful(SYSTEM, "app"), **{BASE_NAME: "system:1", BASE_DIGEST: named})
    oci_layout(tmp_path / "both", [app, SYSTEM, wasteful(SYSTEM, "tool")])
    assert_known(2, f"{tmp_path}/both:app:1")
    report = told(f"{tmp_path}/both:app:1", f"{tmp_path}/both:tool:1")
    assert segments(report, "best") == {"app:1": "=2,2", "tool:1": "=2,2"}


def test_a_base_beside_it_is_only_advised(tmp_path: Path) -> None:
    """As with squash, an image beside it on which it stands is no base before a person says so."""
    docker_archive_25(tmp_path / "both.tar", [SYSTEM, wasteful(SYSTEM, "app")])
    app, base = f"{tmp_path}/both.tar:app:1", f"{tmp_path}/both.tar:system:1"
    assert_unknown(f"it stands on system:1, which lies beside it: --base {base}", app)
    assert_known(2, app, "--base", base)
    assert_known(2, tmp_path / "both.tar")


def test_what_an_image_says_wrongly_makes_nothing_known(tmp_path: Path) -> None:
    """A label that names a base which the image does not have is told, and stops no other image."""
    other = ImageSpec([blob("other", 90)], ["other:1"])
    (named,) = oci_layout(tmp_path / "base", [other])
    app = saying(wasteful(SYSTEM, "app"), **{BASE_NAME: "other:1", BASE_DIGEST: named})
    oci_layout(tmp_path / "both", [app, other])
    assert_unknown("it names other:1 as its base, whose layers it does not have", tmp_path / "both")


def test_a_base_that_is_not_at_hand_is_not_looked_for(tmp_path: Path) -> None:
    """Of an archive's image nothing is fetched; how to name its base is told."""
    name, at = "registry.example/system:1", "sha256:" + "0" * 64
    (path,) = write(tmp_path, saying(wasteful(SYSTEM, "app"), **{BASE_NAME: name, BASE_DIGEST: at}))
    assert_unknown(f"--base docker://registry.example/system@{at}", path)


def test_a_base_is_known_by_the_buildpacks_label(tmp_path: Path) -> None:
    """Its run image's top layer says where the base ends."""
    text = json.dumps({"runImage": {"topLayer": digest(SYSTEM.layers[-1]), "reference": "run:1"}})
    app = saying(wasteful(SYSTEM, "app"), **{"io.buildpacks.lifecycle.metadata": text})
    assert_known(2, *write(tmp_path, app))


def test_the_base_with_the_most_layers_is_kept(tmp_path: Path) -> None:
    """Where the catalogue knows the system and the image names the server on it, the server stays."""
    server = on_base(SYSTEM, blob("server", 900), tags=["server:1"])
    (named,) = oci_layout(tmp_path / "server", [server])
    app = saying(wasteful(server, "app"), **{BASE_NAME: "server:1", BASE_DIGEST: named})
    oci_layout(tmp_path / "both", [app, server])
    docker_archive_25(tmp_path / "base.tar", [SYSTEM])
    assert_known(3, f"{tmp_path}/both:app:1", "--base", tmp_path / "base.tar")


def test_a_base_that_is_known_in_part_is_kept_as_far_as_it_is(tmp_path: Path) -> None:
    """Above the base that is known all may be merged, and what others may share of it is said."""
    server = wasteful(SYSTEM, "server")
    paths = write(tmp_path, SYSTEM, wasteful(server, "app"))
    report = told(*paths)
    assert segments(report, "best") == {"system:1": "=2", "app:1": "=2,4"}
    (best,) = [one for one in report["strategies"] if one["strategy"] == "best cut"]
    assert best["no_longer_shared"]["runs"][0]["layers"] == [2, 3, 4, 5]


def test_a_base_that_is_not_at_the_bottom_is_none(tmp_path: Path) -> None:
    """The layers of a base above another layer are not that base."""
    odd = ImageSpec([blob("below", 90), *wasteful(SYSTEM, "app").layers], ["app:1"])
    path, base = write(tmp_path, odd, SYSTEM)
    assert_unknown("", path, "--base", base)


def test_an_image_that_is_its_base_stays(tmp_path: Path) -> None:
    """One that --base names is known, and as it was built."""
    (path,) = write(tmp_path, wasteful(SYSTEM, "app"))
    report = told(path, "--base", path)
    assert report["unknown_base"] == []
    assert {segments(report, strategy)["app:1"] for strategy in ASK} == {"=4"}


def test_a_base_of_several_platforms_is_one_for_each(tmp_path: Path) -> None:
    """Of an index that --base names, every image of the fleet finds that for its own platform."""
    arm = ImageSpec([blob("arm", 900), blob("more", 90)], ["system:1"], platform="linux/arm64")
    oci_layout(tmp_path / "index", [SYSTEM, arm], nested=True)
    paths = write(tmp_path, wasteful(SYSTEM, "app"), wasteful(arm, "tool"))
    report = told(*paths, "--base", tmp_path / "index")
    assert segments(report, "best") == {"app:1": "=2,2", "tool:1": "=2,2"}
    docker_archive_25(tmp_path / "s390x.tar", [replace(SYSTEM, platform="linux/s390x")])
    done = run("fleet", "storage", *paths, "--base", tmp_path / "s390x.tar")
    assert_fails(done, 5, "no image for linux/amd64")


# --- what others may share -------------------------------------------------------------------


def test_what_is_merged_is_told_before_it_is_written(tmp_path: Path) -> None:
    """Which layers images outside the fleet may share, and how many bytes they are."""
    paths = write(tmp_path, SYSTEM, wasteful(SYSTEM, "app"), wasteful(SYSTEM, "tool"))
    done = run("fleet", "squash", *paths, "--into", f"oci:{tmp_path}/out", "--json")
    assert done.code == 0, done.err
    assert "layers are merged that images outside the fleet may share" in done.err
    assert "layers 2 to 3 of app:1" in done.err
    assert "together 4 layers" in done.err
    lost = done.json["no_longer_shared"]
    apps = [wasteful(SYSTEM, name) for name in ("app", "tool")]
    before = {digest(one) for spec in apps for one in spec.layers}
    after = {digest(one) for image in read_images(tmp_path / "out") for one in image.layers}
    assert lost["layers"] == len(before - after) == 4
    assert lost["registry_bytes"] == sum(run["registry_bytes"] for run in lost["runs"])
    row = next(one for one in told(*paths)["strategies"] if one["strategy"] == "best cut")
    assert row["no_longer_shared"] == lost
    again = run("fleet", "squash", *paths, "--into", f"oci:{tmp_path}/new", "--strategy", "built")
    assert "outside the fleet" not in again.err


def test_layers_above_a_merged_run_are_lost_to_hosts(tmp_path: Path) -> None:
    """A layer that is kept above a new one is the same blob, and another layer to a host."""
    shared = wasteful(SYSTEM, "shared")
    images = [on_base(shared, blob(n, 700), tags=[f"{n}:1"]) for n in ("app", "tool")]
    paths = write(tmp_path, SYSTEM, *images)
    (row,) = [one for one in told(*paths)["strategies"] if one["strategy"] == "along the trie"]
    lost = row["no_longer_shared"]
    assert lost["layers"] == 2
    assert lost["host_bytes"] == 5000 + 1 + 700 + 700


@pytest.mark.parametrize("seed", range(8))
def test_bases_stay_byte_for_byte(seed: int, tmp_path: Path) -> None:
    """Whatever the fleet, the layers of known bases are in the results, and root file systems are equal."""
    chance = random.Random(seed)
    stacks = [ImageSpec([blob(f"base{n}", 900)], [f"base{n}:1"]) for n in range(3)]
    for number in range(6):
        name = f"n{number}"
        steps = [
            layer(file(f"{name}.{k}", noise(chance.randint(1, 3000), name)), file(f"s{k % 2}", b"s"))
            for k in range(chance.randint(1, 4))
        ]
        stacks.append(on_base(chance.choice(stacks), *steps, tags=[f"{name}:1"]))
    fleet = chance.sample(stacks, 6)
    bases = chance.sample(stacks, 2)
    for number, one in enumerate(bases):
        docker_archive_25(tmp_path / f"base{number}.tar", [one])
    options = [word for n in range(2) for word in ("--base", tmp_path / f"base{n}.tar")]
    paths = write(tmp_path, *fleet)
    report = told(*paths, *options)
    unknown = report["unknown_base"]
    known = [path for path, one in zip(paths, fleet, strict=True) if one.tags[0] not in unknown]
    for strategy in ASK if known else ():
        into = tmp_path / f"{strategy}.tar"
        done = run("fleet", "squash", *known, *options, "--into", into, "--strategy", strategy)
        assert done.code == 0, done.err
        written = {one.names[0]: one.layers for one in read_images(into)}
        for one in (one for one in fleet if one.tags[0] not in unknown):
            others = [list(o.layers) for o in fleet if o.tags[0] not in unknown]
            stack = list(one.layers)
            grounds = [o for o in others if len(o) > len(stack) and o[: len(stack)] == stack]
            below = [len(o) for o in others if len(o) < len(stack) and stack[: len(o)] == o]
            below += [len(b.layers) for b in bases if stack[: len(b.layers)] == list(b.layers)]
            kept = len(stack) if grounds else max(below, default=len(stack))
            result = next(layers for name, layers in written.items() if name.endswith(one.tags[0]))
            assert list(result[:kept]) == stack[:kept], (strategy, one.tags)
            same = run("diff", tmp_path / f"{fleet.index(one)}.tar", f"{into}:{one.tags[0]}")
            assert same.code == 0, same.text


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_the_new_base_is_known_after_a_rebase(form: str, tmp_path: Path) -> None:
    """By the images themselves, whatever file the base came from; and after they were squashed still."""
    docker_archive_old(tmp_path / "old.tar", [SYSTEM])
    new = ImageSpec([blob("new", 5000), blob("er", 10), blob("est", 10)], ["system:2"])
    docker_archive_old(tmp_path / "new.tar", [new])
    rebased = []
    for number, path in enumerate(write(tmp_path, wasteful(SYSTEM, "one"), wasteful(SYSTEM, "two"))):
        rebased.append(f"{form}:{tmp_path}/rebased{number}")
        words = ("--old-base", tmp_path / "old.tar", "--new-base", tmp_path / "new.tar", "-o", rebased[-1])
        done = run("rebase", path, *words)
        assert done.code == 0, done.err
    report = told(*rebased)
    assert report["unknown_base"] == []
    assert segments(report, "base") == {"one:1": "=3,2", "two:1": "=3,2"}
    squashed = f"oci:{tmp_path}/squashed"
    done = run("fleet", "squash", *rebased, "--strategy", "base", "--into", squashed)
    assert done.code == 0, done.err
    assert segments(told(squashed), "base") == {"one:1": "=4", "two:1": "=4"}
    done = run("fleet", "squash", *rebased, "--strategy", "all", "--into", f"oci:{tmp_path}/whole")
    assert done.code == 0, done.err
    assert not any("base" in name for one in read_images(tmp_path / "whole") for name in one.annotations)
