"""Fleets carved: the same root file systems, as many bytes as were told, never more than the best cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    Json,
    directory,
    docker_archive_25,
    file,
    hardlink,
    layer,
    noise,
    on_base,
    sparse,
    symlink,
)
from tests.support.carved import LIBRARY, RUNTIME, SYSTEM, always_carve, apps, next_release, write
from tests.support.random_fleets import alike_fleet
from tests.support.runner import run


@pytest.fixture
def always_carved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carve also where the best cut takes less."""
    always_carve(monkeypatch)


def carve(paths: list[Path], into: Path, *words: str | Path) -> Json:
    """Squash a fleet so; what is told."""
    done = run("fleet", "squash", *paths, "--into", f"oci:{into}", "--strategy", "carve", "--json", *words)
    assert done.code == 0, done.err
    return done.json


def bases_of(paths: list[Path], images: list[ImageSpec]) -> list[str | Path]:
    """Options that name the bases among them."""
    named: list[str | Path] = []
    for path, one in zip(paths, images, strict=True):
        named += ["--base", path] if one.tags[0].startswith("base") else []
    return named


def layers_of(reference: str) -> list[str]:
    """An image's diff_ids."""
    return [one["diff_id"] for one in run("inspect", reference, "--json").json["layers"]]


def row(paths: list[Path]) -> Json:
    """The row of the carved fleet."""
    done = run("fleet", "storage", *paths, "--strategies", "best,carve", "--json")
    assert done.code == 0, done.err
    rows = {one["strategy"]: one for one in done.json["strategies"]}
    assert rows["carved"]["registry_bytes"] <= rows["best cut"]["registry_bytes"]
    carved: Json = rows["carved"]
    return carved


@pytest.mark.usefixtures("always_carved")
@pytest.mark.parametrize("seed", range(40))
def test_a_carved_image_is_what_it_was(seed: int, tmp_path: Path) -> None:
    """Whatever images have in common: every root file system is the source's, and what was measured is what
    is written."""
    paths, images = alike_fleet(tmp_path, seed)
    bases = bases_of(paths, images)
    done = carve(paths, tmp_path / "out", *bases)
    for path, one in zip(paths, images, strict=True):
        checked = run("diff", path, f"oci:{tmp_path}/out:{one.tags[0]}")
        assert checked.code == 0, checked.out
    again = run("fleet", "storage", f"oci:{tmp_path}/out", "--strategies", "built", "--json")
    assert again.json["strategies"][0]["registry_bytes"] == done["registry_bytes"]["squashed"]


def test_what_several_images_have_is_stored_once(tmp_path: Path) -> None:
    """The library of three images and the runtime of two, each in a layer of its own; the base is kept."""
    paths = write(tmp_path, SYSTEM, *apps())
    done = carve(paths, tmp_path / "out")
    stacks = {name: layers_of(f"oci:{tmp_path}/out:{name}:1") for name in ("one", "other", "third")}
    base = layers_of(str(paths[0]))
    assert all(stack[: len(base)] == base for stack in stacks.values())
    assert set.intersection(*map(set, stacks.values())) > set(base)
    assert len(set(stacks["other"]) & set(stacks["third"])) == len(base) + 2
    squashed, built = done["registry_bytes"]["squashed"], done["registry_bytes"]["as_built"]
    assert built - squashed > 2 * len(LIBRARY) + len(RUNTIME)
    told = row(paths)
    assert told["registry_bytes"] == squashed
    assert told["lower_bound_bytes"] <= squashed <= 1.05 * told["lower_bound_bytes"]
    assert not told["is_best_cut"]


def test_images_on_different_bases_share_a_layer(tmp_path: Path) -> None:
    """Also where what is new in one takes the place of something in the other."""
    other = ImageSpec([layer(symlink("opt", "srv"), directory("srv"))], ["elsewhere:1"])
    paths = write(
        tmp_path,
        SYSTEM,
        other,
        *apps(),
        *(ImageSpec(one.layers, [f"x{one.tags[0]}"]) for one in apps(base=other)),
    )
    carve(paths, tmp_path / "out")
    first, second = (layers_of(f"oci:{tmp_path}/out:{name}:1") for name in ("third", "xthird"))
    assert first[0] != second[0]
    assert len(set(first) & set(second)) >= 2
    for path in paths[2:]:
        name = run("inspect", path, "--json").json["names"][0]
        assert run("diff", path, f"oci:{tmp_path}/out:{name}").code == 0


def test_the_best_cut_is_taken_where_it_takes_less(tmp_path: Path) -> None:
    """Images that have nothing in common above their base: it is said, and their layers stay."""
    base = SYSTEM
    images = [on_base(base, layer(file(name, noise(5000, name))), tags=[f"{name}:1"]) for name in "ab"]
    paths = write(tmp_path, base, *images)
    told = row(paths)
    assert told["is_best_cut"]
    done = run("fleet", "storage", *paths)
    assert "Carving it would save nothing more: carved is the best cut." in done.text
    carve(paths, tmp_path / "out")
    for path, one in zip(paths, [base, *images], strict=True):
        assert layers_of(str(path)) == layers_of(f"oci:{tmp_path}/out:{one.tags[0]}")


def test_no_image_has_more_layers_than_it_may(tmp_path: Path) -> None:
    """The base counted."""
    paths = write(tmp_path, SYSTEM, *apps())
    for most in (2, 3):
        carve(paths, tmp_path / str(most), "--max-layers", str(most))
        for name in ("one", "other", "third"):
            assert len(layers_of(f"oci:{tmp_path}/{most}:{name}:1")) <= most


def test_the_same_fleet_gives_the_same_bytes(tmp_path: Path) -> None:
    """Once more, and with its images in another order."""
    paths = write(tmp_path, SYSTEM, *apps())
    blobs = []
    for number, order in enumerate((paths, paths, [paths[0], *paths[:0:-1]])):
        carve(order, tmp_path / f"out{number}")
        blobs.append({one.name for one in (tmp_path / f"out{number}/blobs/sha256").iterdir()})
    assert blobs[0] == blobs[1] == blobs[2]


def test_an_image_with_room_for_one_layer_gets_all_in_it(tmp_path: Path) -> None:
    """What it shares with another, and a directory that has another time there."""
    images = [
        on_base(
            SYSTEM,
            layer(directory("opt", mtime=number), file("opt/library", LIBRARY)),
            tags=[f"n{number}:1"],
        )
        for number in range(2)
    ]
    paths = write(tmp_path, SYSTEM, *images)
    carve(paths, tmp_path / "out", "--max-layers", "2")
    for path, one in zip(paths, [SYSTEM, *images], strict=True):
        assert len(layers_of(f"oci:{tmp_path}/out:{one.tags[0]}")) <= 2
        assert run("diff", path, f"oci:{tmp_path}/out:{one.tags[0]}").code == 0


def test_a_carved_image_is_nobodys_base(tmp_path: Path) -> None:
    """One whose layers another image has too, since it has the same files, is carved once more with a new
    one: as much is shared as if all had been carved at once."""
    one, _, third = apps()
    lower = on_base(SYSTEM, layer(directory("opt"), file("opt/library", LIBRARY)), tags=["lower:1"])
    first = write(tmp_path, SYSTEM, lower, one)
    carve(first, tmp_path / "first")
    (tmp_path / "more").mkdir()
    more = write(tmp_path / "more", third)
    again = carve([Path(f"oci:{tmp_path}/first"), *more], tmp_path / "again")
    (tmp_path / "all").mkdir()
    at_once = carve(write(tmp_path / "all", SYSTEM, lower, one, third), tmp_path / "once")
    assert again["registry_bytes"]["squashed"] == at_once["registry_bytes"]["squashed"]


def test_a_sparse_file_is_shared_with_nobody(tmp_path: Path) -> None:
    """podman unpacks a layer wrongly that has one, where it has the layer already on other ones."""
    bases = [SYSTEM, ImageSpec([layer(file("elsewhere", b"x"))], ["elsewhere:1"])]
    hole = sparse("opt/sparse", 200_000, [(0, LIBRARY[:4096]), (100_000, LIBRARY[:9000])])
    images = [
        on_base(
            base,
            layer(
                directory("opt"),
                hole,
                file("opt/runtime", RUNTIME),
                file("opt/own", noise(99, str(number))),
            ),
            tags=[f"n{number}:1"],
        )
        for number, base in enumerate(bases)
    ]
    paths = write(tmp_path, *bases, *images)
    carve(paths, tmp_path / "out")
    stacks = [layers_of(f"oci:{tmp_path}/out:n{number}:1") for number in range(2)]
    (shared,) = {*stacks[0]} & {*stacks[1]}
    listed = run("ls", f"oci:{tmp_path}/out:n0:1", "--layer", str(stacks[0].index(shared)))
    assert "/opt/runtime" in listed.text
    assert "sparse" not in listed.text


def test_contents_decide_what_is_the_same(tmp_path: Path) -> None:
    """Files of one name, size and time that hold other bytes lie in layers of their own; to estimate, when
    layers are read for their headers alone, they count as one."""
    images = [
        on_base(SYSTEM, layer(file("opt/x", noise(50_000, str(seed)))), tags=[f"n{seed}:1"])
        for seed in range(2)
    ]
    paths = write(tmp_path, SYSTEM, *images)
    carve(paths, tmp_path / "out", "--estimate")
    for path, one in zip(paths, [SYSTEM, *images], strict=True):
        assert run("diff", path, f"oci:{tmp_path}/out:{one.tags[0]}").code == 0


@pytest.mark.usefixtures("always_carved")
@pytest.mark.parametrize("seed", range(10))
def test_clamped_times_are_all_that_differs(seed: int, tmp_path: Path) -> None:
    """Directories have times of 0 to 2 seconds: `diff` with the same option accepts the result, and without
    it tells times alone."""
    paths, images = alike_fleet(tmp_path, seed)
    bases = bases_of(paths, images)
    done = carve(paths, tmp_path / "out", "--clamp-mtime", "1970-01-01T01:00:01+01:00", *bases)
    assert done["notes"] == ["In carved layers times after 1970-01-01T01:00:01+01:00 became that time."]
    for path, one in zip(paths, images, strict=True):
        result = f"oci:{tmp_path}/out:{one.tags[0]}"
        assert run("diff", path, result, "--clamp-mtime", "1").code == 0
        assert run("diff", path, result, "--clamp-mtime", "3").code == run("diff", path, result).code
        kinds = {what["what"] for what in run("diff", path, result, "--json").json["differences"]}
        assert kinds <= {"mtime"}


def test_files_of_several_builds_are_the_same_once_times_are_clamped(tmp_path: Path) -> None:
    """The library that each build installs anew, at another time, with a link to it and with xattrs."""
    images = [
        on_base(
            SYSTEM,
            layer(
                directory("opt", mtime=50 + number),
                file("opt/library", LIBRARY, mtime=100 + number + number / 10),
                hardlink("opt/again", "opt/library", mtime=100 + number + number / 10),
                file("opt/name", b"x" * 5000, mtime=200 + number, records={"SCHILY.xattr.user.a": b"b"}),
            ),
            tags=[f"app{number}:1"],
        )
        for number in range(3)
    ]
    paths = write(tmp_path, SYSTEM, *images)
    carve(paths, tmp_path / "apart")
    stacks = [layers_of(f"oci:{tmp_path}/apart:app{number}:1") for number in range(3)]
    assert len(set.intersection(*map(set, stacks))) == len(SYSTEM.layers)
    carve(paths, tmp_path / "out", "--clamp-mtime", "99")
    stacks = [layers_of(f"oci:{tmp_path}/out:app{number}:1") for number in range(3)]
    assert len(set.intersection(*map(set, stacks))) == len(SYSTEM.layers) + 1
    for path in paths[1:]:
        name = run("inspect", path, "--json").json["names"][0]
        assert run("diff", path, f"oci:{tmp_path}/out:{name}", "--clamp-mtime", "99").code == 0
    assert run("fleet", "squash", *paths, "--into", f"oci:{tmp_path}/x", "--clamp-mtime", "9").code == 2
    done = run("fleet", "storage", *paths, "--clamp-mtime", "yesterday")
    assert done.code == 2
    assert "'yesterday' is no time: 2018-05-01T12:00:00Z, or seconds since 1970" in done.err


def test_published_layers_are_used_again(tmp_path: Path) -> None:
    """A new release of one image, alone, gets the layers of the fleet that it has all of: the same bytes,
    though it shares them with no other image of its own fleet, and its directories have other times."""
    paths = write(tmp_path, SYSTEM, *apps())
    carve(paths, tmp_path / "first")
    before = set(layers_of(f"oci:{tmp_path}/first:third:1"))
    release = tmp_path / "release.tar"
    docker_archive_25(release, [next_release()], compress="gzip")
    both = [paths[0], release]
    done = carve(both, tmp_path / "next", "--stable-from", f"oci:{tmp_path}/first")
    after = layers_of(f"oci:{tmp_path}/next:third:2")
    assert len(before.intersection(after)) == len(SYSTEM.layers) + 2
    assert run("diff", release, f"oci:{tmp_path}/next:third:2").code == 0
    first, new = (
        {one.name for one in (tmp_path / name / "blobs/sha256").iterdir()} for name in ("first", "next")
    )
    assert len(first & new) == len(SYSTEM.layers) + 2 + 2  # the base's config and manifest
    told = run("fleet", "storage", f"oci:{tmp_path}/next", "--strategies", "built", "--json").json
    assert told["strategies"][0]["registry_bytes"] == done["registry_bytes"]["squashed"]
    carve(both, tmp_path / "alone")
    assert len(before.intersection(layers_of(f"oci:{tmp_path}/alone:third:2"))) == len(SYSTEM.layers)


@pytest.mark.usefixtures("always_carved")
@pytest.mark.parametrize("seed", range(15))
def test_any_published_layers_give_what_the_image_was(seed: int, tmp_path: Path) -> None:
    """The published ones of a fleet whose files are often the same."""
    paths, images = alike_fleet(tmp_path, seed)
    tags = [one.tags[0] for one in images]
    bases = bases_of(paths, images)
    some = [path for path, tag in zip(paths, tags, strict=True) if tag not in ("app0:1", "app1:1")]
    carve(some, tmp_path / "first", *bases)
    done = carve(paths, tmp_path / "out", "--stable-from", f"oci:{tmp_path}/first", *bases)
    for path, tag in zip(paths, tags, strict=True):
        assert run("diff", path, f"oci:{tmp_path}/out:{tag}").code == 0
    again = run("fleet", "storage", f"oci:{tmp_path}/out", "--strategies", "built", "--json")
    assert again.json["strategies"][0]["registry_bytes"] == done["registry_bytes"]["squashed"]


def test_strategies_are_compared_in_the_measure_that_is_asked_for(tmp_path: Path) -> None:
    """Carving takes no more than the best cut on hosts, and for updates, where these are asked for."""
    paths = write(tmp_path, SYSTEM, *apps())
    for minimise, field in (("host", "host_bytes"), ("registry", "registry_bytes")):
        done = run("fleet", "storage", *paths, "--minimise", minimise, "--json").json["strategies"]
        taken = {one["strategy"]: one[field] for one in done}
        assert taken["carved"] <= taken["best cut"]
