"""Odd fleets: what is counted is still what is stored, and nothing that is read is lost or believed."""

from __future__ import annotations

import gc
import gzip
import json
import os
import resource
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import squashkit
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.squash import _FleetWork
from squashkit.oci.digests import Digest
from squashkit.plan.squash import plan_above, plan_squash
from squashkit.report.fleet.titles import TITLES
from squashkit.transports.archive.sink import ArchiveFile
from squashkit.transports.codecs import Compressor
from squashkit.transports.contracts import put
from squashkit.transports.layout.sink import Layout
from squashkit.transports.tags import TagGuard
from tests.support.builders import (
    ImageSpec,
    Json,
    char,
    docker_archive_25,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    noise,
    oci_layout,
    on_base,
    symlink,
    whiteout,
)
from tests.support.fleets import blob, damage, largest_blob, storage, write
from tests.support.runner import (
    COMMAND,
    assert_fails,
    blob_path,
    change_index,
    change_manifest,
    listing_of,
    put_blob,
    read_files,
    run,
    sha256,
    validate,
)


def loosely(tar: bytes) -> bytes:
    """A layer's blob of another compressor: gzip that compresses nothing."""
    return gzip.compress(tar, 0, mtime=0)


def squash(*words: object) -> Json:
    """The report of a `fleet squash` that must succeed."""
    done = run("fleet", "squash", *map(str, words), "--json")
    assert done.code == 0, done.err
    return done.json


def written(*words: object) -> int:
    """Bytes of all layers that a `fleet squash` wrote."""
    size = squash(*words)["written_bytes"]
    assert isinstance(size, int)
    return size


def layout_bytes(folder: Path) -> int:
    """Bytes of all blobs of a new layout."""
    return sum(path.stat().st_size for path in (folder / "blobs/sha256").iterdir())


def wasteful(name: str, size: int) -> ImageSpec:
    """An image of two layers, the upper of which deletes what the lower one has."""
    upper = layer(whiteout(name), file("b", noise(size, f"{name} b")))
    return ImageSpec([blob(name, size), upper], [f"{name}:1"])


# --- no way that is told to be better is worse -----------------------------------------------


def test_a_run_that_one_image_has_badly_compressed(tmp_path: Path) -> None:
    """A run that two images share is merged in both or in none, though it is worth it in one alone."""
    run_ = [layer(file("f", bytes(range(256)) * 40)), layer(file("g", bytes(range(255, -1, -1)) * 40))]
    base = ImageSpec([blob("base", 900)], ["base:1"])
    docker_archive_25(tmp_path / "base.tar", [base])
    shared = on_base(base, *run_)
    oci_layout(tmp_path / "one", [on_base(shared, blob("one", 900), tags=["one:1"])])
    docker_archive_25(
        tmp_path / "two.tar", [on_base(shared, blob("two", 900), tags=["two:1"])], compress="zstd"
    )

    def loosen(manifest: Json) -> None:
        for number, tar in enumerate(run_):
            manifest["layers"][number + 1].update(put_blob(tmp_path / "one", loosely(tar)))

    change_manifest(tmp_path / "one", loosen)
    sources = tmp_path / "one", tmp_path / "two.tar", tmp_path / "base.tar"
    found = storage(*sources, "--minimise", "host")
    for name in ("best cut", "along the trie"):
        assert found[name]["host_bytes"] <= found["as built"]["host_bytes"], name


def test_a_layer_in_a_run_and_elsewhere_too(tmp_path: Path) -> None:
    """A large layer that other stacks have as well is not merged, since it is stored anyway."""
    big = blob("big", 50_000)
    small = layer(file("s", noise(900, "s")), file("t", noise(900, "t")))
    images = [
        ImageSpec([big], ["big:1"]),
        ImageSpec([blob("x", 90)], ["x:1"]),
        ImageSpec([blob("x", 90), small, big, layer(whiteout("t"))], ["one:1"]),
        ImageSpec([blob("x", 90), blob("k", 500), big, layer(whiteout("k"))], ["two:1"]),
    ]
    found = storage(*write(tmp_path, *images))
    for name in ("best cut", "along the trie"):
        assert found[name]["registry_bytes"] <= found["as built"]["registry_bytes"], name


def test_steps_that_come_again_and_again(tmp_path: Path) -> None:
    """However often the same layers stand in the images, the best cut takes no more than what was built."""
    pool = [
        layer(file("f0", b"same" * 500)),
        layer(file("f1", noise(2000, "1")), file("c0", noise(900, "c"))),
        layer(file("f2", noise(4800, "2")), whiteout("f3x")),
        layer(file("f3", bytes(9000)), whiteout("f2x"), file("c2", noise(400, "c2"))),
        layer(whiteout("f1"), file("k0", noise(5, "k0"))),
        layer(whiteout("f2"), file("k1", noise(5, "k1"))),
    ]
    steps = ["120115", "1201330023", "120133002413033", "120124"]
    images = [ImageSpec([pool[int(n)] for n in one], [f"a{k}:1"]) for k, one in enumerate(steps)]
    bases = [ImageSpec([pool[int(n)]], [f"base{n}:1"]) for n in "01"]
    found = storage(*write(tmp_path, *images, *bases))
    assert found["best cut"]["registry_bytes"] <= found["as built"]["registry_bytes"]


def test_the_best_cut_is_written_as_it_was_told(tmp_path: Path) -> None:
    """`storage`, which measures all strategies, and `squash`, which measures one, cut alike."""
    same = noise(3000, "same")
    base = ImageSpec([blob("base", 900)], ["base:1"])
    shared = on_base(base, layer(file("f", same)))
    apps = [on_base(shared, layer(file(f"g{n}", same)), tags=[f"app{n}:1"]) for n in range(2)]
    paths = write(tmp_path, base, *apps)
    told = storage(*paths)["best cut"]["registry_bytes"]
    assert written(*paths, "--into", f"oci:{tmp_path}/out") == told


def test_the_same_steps_on_two_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs that stand on both bases each is planned once at most to be priced, of those that reach into
    a base none, and of too many only the first."""
    steps = 12
    planned: list[set[int]] = []

    def counted(changesets: Any, *others: Any) -> Any:
        planned.append(set(changesets))
        return plan_squash(changesets, *others)

    def counted_above(below: Any, changesets: Any, *others: Any) -> Any:
        planned.append({0, *changesets})
        return plan_above(below, changesets, *others)

    def plans(name: str, upper: dict[str, str]) -> tuple[int, int]:
        """How many runs are planned, and how many of them with a base."""
        images = [
            ImageSpec([blob(base, 90), *(layer(file(f"{above}{n}")) for n in range(steps))], [f"e:{base}"])
            for base, above in upper.items()
        ]
        docker_archive_25(tmp_path / name, images, compress="gzip")
        planned.clear()
        bases = [word for base in upper for word in ("--base", tmp_path / f"{base}.tar")]
        storage(tmp_path / name, "--estimate", *bases)
        return len(planned), sum(0 in layers for layers in planned)

    for base in ("one", "two"):
        docker_archive_25(tmp_path / f"{base}.tar", [ImageSpec([blob(base, 90)], [f"{base}:1"])])
    monkeypatch.setattr("squashkit.jobs.fleet.prices.plan_squash", counted)
    monkeypatch.setattr("squashkit.jobs.fleet.prices.plan_above", counted_above)
    unlike = plans("unlike", {"one": "x", "two": "y"})
    longer = steps * (steps - 1)  # runs of two steps and more, on both bases
    same = plans("same", {"one": "x", "two": "x"})
    assert unlike[0] < same[0] <= unlike[0] + longer
    assert same[1] == unlike[1]
    monkeypatch.setattr("squashkit.jobs.fleet.prices._MOST_TWINS", steps)
    assert plans("capped", {"one": "x", "two": "x"})[0] <= unlike[0] + steps


# --- what is counted is what is stored -------------------------------------------------------


def test_an_image_that_was_squashed_before(tmp_path: Path) -> None:
    """A run that becomes, byte for byte, a layer that another image keeps is one blob with it."""
    docker_archive_25(tmp_path / "app.tar", [wasteful("app", 5000)], compress="gzip")
    squash(tmp_path / "app.tar", "--into", f"oci:{tmp_path}/first", "--strategy", "all")

    def rename(index: Json) -> None:
        index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "squashed"}

    change_index(tmp_path / "first", rename)
    sources = tmp_path / "app.tar", tmp_path / "first"
    row = storage(*sources)["squash all"]
    squash(*sources, "--into", f"oci:{tmp_path}/out", "--strategy", "all")
    assert layout_bytes(tmp_path / "out") == row["registry_bytes"] + row["documents_bytes"]


def test_two_histories_of_the_same_files(tmp_path: Path) -> None:
    """Runs of different layers that become the same bytes are one blob."""
    keep = file("keep", noise(9000, "keep"))
    images = [
        ImageSpec([layer(keep, file(name, name.encode())), layer(whiteout(name))], [f"{name}:1"])
        for name in ("x", "yy")
    ]
    paths = write(tmp_path, *images)
    row = storage(*paths)["squash all"]
    into = f"oci:{tmp_path}/out"
    assert written(*paths, "--into", into, "--strategy", "all") == row["registry_bytes"] < 18_000


def test_a_run_that_becomes_a_layer_of_another_image(tmp_path: Path) -> None:
    """On hosts, too, a run that becomes a layer that is there is one with it."""
    base = blob("base", 5000)
    paths = write(tmp_path, ImageSpec([base], ["base:1"]), ImageSpec([base, layer()], ["app:1"]))
    row = storage(*paths)["squash all"]
    told = squash(*paths, "--into", f"oci:{tmp_path}/out", "--strategy", "all")
    layers = {one["diff_id"] for image in told["images"].values() for one in image["result_layers"]}
    assert (len(layers), row["host_bytes"]) == (1, 5000)


@pytest.mark.parametrize("strategy", ["built", "trie"])
def test_one_layer_in_two_blobs_of_one_layout(strategy: str, tmp_path: Path) -> None:
    """A layer that two images of a layout have from different compressors is stored in both forms."""
    shared = ImageSpec([layer(file("a", bytes(range(256)) * 100))], ["base:1"])
    apps = [on_base(shared, blob(n, 500), blob(f"{n}2", 500), tags=[f"{n}:1"]) for n in ("one", "two")]
    oci_layout(tmp_path / "s", [*apps, shared])

    def loosen(manifest: Json) -> None:
        manifest["layers"][0].update(put_blob(tmp_path / "s", loosely(shared.layers[0])))

    change_manifest(tmp_path / "s", loosen, 1)
    row = storage(tmp_path / "s")[TITLES[strategy]]
    squash(tmp_path / "s", "--into", f"oci:{tmp_path}/out", "--strategy", strategy)
    assert layout_bytes(tmp_path / "out") == row["registry_bytes"] + row["documents_bytes"]


def test_a_blob_whose_digest_nobody_states_is_counted_once(tmp_path: Path) -> None:
    """A gzip blob of kaniko's archive is the same blob in a layout, where its digest is told."""
    base = ImageSpec([blob("base", 5000)], [])
    one, two = (on_base(base, blob(n, 50), tags=[f"{n}:1"]) for n in ("one", "two"))
    kaniko_archive(tmp_path / "k.tar", [one])
    oci_layout(tmp_path / "l", [two])
    sources = tmp_path / "k.tar", tmp_path / "l"
    row = storage(*sources)["as built"]
    into = f"oci:{tmp_path}/out"
    assert written(*sources, "--into", into, "--strategy", "built") == row["registry_bytes"]


def test_symlinks_count_their_targets(tmp_path: Path) -> None:
    """On a host a symlink takes the bytes of its target, as docker counts, merged or not."""
    image = ImageSpec([layer(file("a", b"a" * 100)), layer(symlink("l", "b" * 50))], ["app:1"])
    found = storage(*write(tmp_path, image))
    assert found["as built"]["host_bytes"] == found["squash all"]["host_bytes"] == 150


def test_two_images_of_one_name_are_both_told(tmp_path: Path) -> None:
    """Images that have the same name are told apart by where they are."""
    paths = write(tmp_path, *(ImageSpec([blob(n, 900)], ["app:1"]) for n in "ab"))
    told = run("fleet", "advise", *paths, "--json").json["images"]
    assert set(told) == {f"{path}:app:1" for path in paths}


# --- archives and layouts are whole ----------------------------------------------------------


def test_the_same_run_twice_in_one_image_stands_in_an_archive_once(tmp_path: Path) -> None:
    """No blob has two members, though an image may become the same new layer twice."""
    a, b = layer(file("f", noise(900, "1")), file("g", b"g")), layer(file("f", noise(800, "2")))
    c, d = layer(file("h", noise(900, "3"))), layer(whiteout("h"), file("i", b"i"))
    base, e = blob("base", 900), layer(file("e", b"e"))
    images = [
        ImageSpec([base, a, b, a, b, c, d], ["long:1"]),
        ImageSpec([base, a, b, e], ["a:1"]),
        ImageSpec([base, a, b, a, b, e], ["b:1"]),
        ImageSpec([base], ["base:1"]),
    ]
    docker_archive_25(tmp_path / "x.tar", images, compress="gzip")
    told = squash(tmp_path / "x.tar", "--into", tmp_path / "out.tar", "--strategy", "trie")
    digests = [one["digest"] for one in told["images"]["b:1"]["result_layers"]]
    assert len(digests) == 4 == len(set(digests)) + 1
    assert len(validate(tmp_path / "out.tar")) == 4


def test_a_kept_blob_without_a_stated_digest_stands_in_an_archive_once(tmp_path: Path) -> None:
    """What several images of kaniko's archive share is written for the first of them alone."""
    base = ImageSpec([blob("a", 900), blob("b", 800)], [])
    images = [on_base(base, blob(f"c{n}", 70), tags=[f"c{n}:1"]) for n in range(3)]
    kaniko_archive(tmp_path / "k.tar", images)
    squash(tmp_path / "k.tar", "--into", tmp_path / "out.tar", "--strategy", "built")
    assert len(validate(tmp_path / "out.tar")) == 3


def test_a_blob_that_comes_again_while_another_one_is_written(tmp_path: Path) -> None:
    """Its place is not given up once the next one has begun behind it: no archive has a hole."""
    path = tmp_path / "out.tar"
    sink = ArchiveFile(path, docker=True, force=False)
    put(sink, b"the same")
    again, next_ = sink.slot(len(b"the same")), sink.slot(None)
    for slot, data in ((again, b"the same"), (next_, b"another")):
        slot.write(data)
        slot.seal()
        slot.finish(Digest(sha256(data)))
    sink.commit([])
    sink.close()
    files = read_files(path)
    assert {"index.json", "manifest.json", "oci-layout"} <= set(files)
    assert files[blob_path(sha256(b"another"))] == b"another"


def test_another_run_into_the_same_new_layout_fails(tmp_path: Path) -> None:
    """A run that made a layout's folders and fails takes none away from another one that writes there."""
    first = Layout(tmp_path / "out", force=False, tags=[], guard=TagGuard({}))
    second = Layout(tmp_path / "out", force=False, tags=[], guard=TagGuard({}))
    put(second, b"a blob")
    first.close()
    second.commit([])
    second.close()
    assert (tmp_path / "out" / blob_path(sha256(b"a blob"))).read_bytes() == b"a blob"


def test_nothing_is_compressed_after_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is reported is known before images get their names: nothing fails once they have them."""
    committed = []
    commit = _FleetWork.commit

    def noted(batch: _FleetWork) -> None:
        commit(batch)
        committed.append(batch)

    def compressor(*args: Any) -> Compressor:
        assert not committed
        return Compressor(*args)

    monkeypatch.setattr(_FleetWork, "commit", noted)
    monkeypatch.setattr("squashkit.jobs.fleet.elsewhere.Compressor", compressor)
    docker_archive_25(tmp_path / "a.tar", [wasteful("a", 900)])
    squash(tmp_path / "a.tar", "--into", tmp_path / "out.tar", "--strategy", "all")
    assert committed


# --- nothing is believed that was not read ---------------------------------------------------


@pytest.mark.parametrize("strategy", ["built", "trie"])
def test_a_second_form_of_a_layer_that_is_another_layer(strategy: str, tmp_path: Path) -> None:
    """A blob that is not the layer of its config is refused, though another image has that layer."""
    base = ImageSpec([blob("a", 900)], ["a:1"])
    other = on_base(base, layer(file("x", b"x"), file("y", b"y")), layer(whiteout("x")), tags=["b:1"])
    oci_layout(tmp_path / "a", [base])
    oci_layout(tmp_path / "b", [other])

    def lie(manifest: Json) -> None:
        evil = gzip.compress(blob("evil", 700), mtime=0)
        manifest["layers"][0].update(put_blob(tmp_path / "b", evil))

    change_manifest(tmp_path / "b", lie)
    words = ("--into", f"oci:{tmp_path}/out", "--strategy", strategy)
    assert_fails(run("fleet", "squash", tmp_path / "a", tmp_path / "b", *words), 4, "layer 0")
    assert not (tmp_path / "out").exists()


def test_a_source_that_changes_after_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain layer is verified again as it is merged."""
    path = tmp_path / "a.tar"
    docker_archive_25(path, [wasteful("a", 5000)])
    read = FleetLayers.read

    def change(layers: FleetLayers, **how: bool) -> None:
        read(layers, **how)
        at = path.read_bytes().index(noise(5000, "a b"))
        with path.open("r+b") as archive:
            archive.seek(at + 100)
            archive.write(b"EVIL")

    monkeypatch.setattr(FleetLayers, "read", change)
    done = run("fleet", "squash", path, "--into", tmp_path / "out.tar", "--strategy", "all")
    assert_fails(done, 4, "layer 1")
    assert listing_of(tmp_path) == ["a.tar"]


def test_a_new_layer_that_a_layout_has_damaged(tmp_path: Path) -> None:
    """A blob that is there under a new layer's digest is not taken for it before its bytes were read."""
    docker_archive_25(tmp_path / "a.tar", [wasteful("a", 5000)])
    words = (tmp_path / "a.tar", "--into", f"oci:{tmp_path}/out", "--strategy", "all")
    (made,) = squash(*words)["images"]["a:1"]["result_layers"]
    damage(tmp_path / "out" / blob_path(made["digest"]), 100)
    assert_fails(run("fleet", "squash", *words, "--force"), 4, made["digest"])


def test_a_missing_blob_is_told_of_the_image_that_lacks_it(tmp_path: Path) -> None:
    """The message names the layout without the blob, and not the fleet's first image."""
    write(tmp_path, ImageSpec([blob("o", 900)], ["other:1"]))
    oci_layout(tmp_path / "lay", [ImageSpec([blob("a", 3000)], ["app:1"])])
    largest_blob(tmp_path / "lay").unlink()
    words = (tmp_path / "0.tar", tmp_path / "lay", "--into", tmp_path / "out.tar")
    done = run("fleet", "squash", *words)
    assert_fails(done, 4, "app:1 in ", f"{tmp_path}/lay: layer 0", "is not there")
    assert "0.tar" not in done.err


def test_a_damaged_blob_is_told_of_its_image(tmp_path: Path) -> None:
    """The message counts the layer within its own image, and names that."""
    write(tmp_path, ImageSpec([blob("o", 900)], ["other:1"]))
    oci_layout(tmp_path / "lay", [ImageSpec([blob("a", 3000)], ["app:1"])])
    damage(largest_blob(tmp_path / "lay"), 1000)
    words = (tmp_path / "0.tar", tmp_path / "lay", "--into", tmp_path / "out.tar")
    assert_fails(run("fleet", "squash", *words), 4, "app:1 in ", f"{tmp_path}/lay: layer 0")
    assert not (tmp_path / "out.tar").exists()
    alone = run("fleet", "storage", tmp_path / "lay")
    assert_fails(alone, 4, "app:1 in ", f"{tmp_path}/lay: layer 0")


# --- what can be done is done ----------------------------------------------------------------


def test_a_layer_that_cannot_be_merged_stays(tmp_path: Path) -> None:
    """It is kept under every strategy, all else is squashed around it, and that is told with its image."""
    base = ImageSpec([blob("base", 500)], ["base:1"])
    marked = layer(char("dev0", 0, 0))
    odd = on_base(base, blob("o", 100), marked, *wasteful("p", 900).layers, tags=["odd:1"])
    app = on_base(base, *wasteful("app", 900).layers, tags=["app:1"])
    paths = write(tmp_path, odd, app, base)
    told = run("fleet", "storage", *paths, "--json").json
    assert any("odd:1: layer 2" in note for note in told["notes"])
    segments = {one["strategy"]: one["segments"] for one in told["strategies"]}
    assert segments["squash all"] == {"odd:1": "2,=1,2", "app:1": "3", "base:1": "=1"}
    assert segments["keep base"] == {"odd:1": "=3,2", "app:1": "=1,2", "base:1": "=1"}
    for strategy in TITLES:
        squash(*paths, "--into", tmp_path / f"{strategy}.tar", "--strategy", strategy)
        (kept,) = [one for one in validate(tmp_path / f"{strategy}.tar") if marked in one.layers]
        assert "odd:1" in kept.names


def test_space_that_is_not_needed_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that lie inflated in the temporary folder already need no room beside the output."""
    image = ImageSpec([blob("a", 900_000), layer(whiteout("a"), file("b", noise(600_000, "b")))], ["app:1"])
    (path,) = write(tmp_path, image)
    statvfs = os.statvfs

    def little(place: Any) -> Any:
        size = statvfs(place).f_frsize
        return SimpleNamespace(f_bavail=1_500_000 // size, f_frsize=size)

    monkeypatch.setattr("squashkit.engine.space.os.statvfs", little)
    squash(path, "--into", tmp_path / "out.tar", "--strategy", "all")


def test_more_blobs_than_a_process_may_open_at_first(tmp_path: Path) -> None:
    """Of 300 layers each is an open file, which a low soft limit does not forbid: it is raised."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 1024:
        pytest.skip(f"the hard limit of open files is {most}")
    base = ImageSpec([blob("base", 50)], ["base:1"])
    images = [
        on_base(base, *(blob(f"{n}-{k}", 50) for k in range(60)), tags=[f"app:{n}"]) for n in range(5)
    ]
    oci_layout(tmp_path / "s", [*images, base])
    for words in (("storage",), ("squash", "--into", f"oci:{tmp_path}/out")):
        command = [*COMMAND, "fleet", words[0], str(tmp_path / "s"), *words[1:]]
        done = subprocess.run(
            ["sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_a_fleet_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Called from Python, the limit of open files and the collector are as before, failed or not."""
    docker_archive_old(tmp_path / "s.tar", [ImageSpec([blob("base", 50)], ["base:1"])])
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), most))
    gc.disable()
    try:
        squashkit.measure_fleet([str(tmp_path / "s.tar")])
        with pytest.raises(squashkit.SquashkitError):
            squashkit.measure_fleet([str(tmp_path / "nowhere.tar")])
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(soft, 256), most)
        assert not gc.isenabled()
    finally:
        gc.enable()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def test_a_path_of_a_list_may_hold_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a # at a line's begin or after a space begins a comment."""
    monkeypatch.chdir(tmp_path)
    docker_archive_25(tmp_path / "img", [ImageSpec([blob("a", 900)], ["one:1"])])
    docker_archive_25(tmp_path / "img#2", [ImageSpec([blob("b", 900)], ["two:1"])])
    (tmp_path / "list").write_text("img#2 # the second\n")
    assert run("fleet", "storage", "--from", "list", "--json").json["images"] == ["two:1"]


# --- names, and what is read -----------------------------------------------------------------


def repo_tags(archive: Path) -> list[str]:
    """All names that an archive's images have for docker."""
    return [tag for entry in json.loads(read_files(archive)["manifest.json"]) for tag in entry["RepoTags"]]


def test_two_names_that_mean_the_same(tmp_path: Path) -> None:
    """A short name and the same one in full are one name, which two images cannot get."""
    for number, name in enumerate(("app:1", "docker.io/library/app:1")):
        docker_archive_old(tmp_path / f"{number}.tar", [ImageSpec([blob(f"{number}", 900)], [name])])
    done = run("fleet", "squash", tmp_path / "0.tar", tmp_path / "1.tar", "--into", tmp_path / "out.tar")
    assert_fails(done, 2, "several images of the fleet", "app:1")
    assert not (tmp_path / "out.tar").exists()


def test_an_images_other_names_stay(tmp_path: Path) -> None:
    """An image of several names has all of them in the result."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([blob("a", 900)], ["app:1", "app:latest"])])
    squash(tmp_path / "a.tar", "--into", tmp_path / "out.tar")
    assert sorted(repo_tags(tmp_path / "out.tar")) == ["app:1", "app:latest"]


def test_a_name_that_a_layout_has_in_full(tmp_path: Path) -> None:
    """A tag is taken where the layout has the same full name, whatever stands as its ref.name."""
    oci_layout(tmp_path / "out", [ImageSpec([blob("old", 900)], ["app:1"])])
    (path,) = write(tmp_path, ImageSpec([blob("a", 900)], ["app:1"]))
    assert_fails(run("fleet", "squash", path, "--into", f"oci:{tmp_path}/out"), 2, "app:1", "--force")


def test_a_base_is_not_overwritten(tmp_path: Path) -> None:
    """The archive of a named base is read, and so no output, not even with --force."""
    base = ImageSpec([blob("a", 900)], ["base:1"])
    paths = write(tmp_path, base, on_base(base, blob("b", 90), tags=["app:1"]))
    before = paths[0].read_bytes()
    done = run("fleet", "squash", paths[1], "--base", paths[0], "--into", paths[0], "--force")
    assert_fails(done, 2, "never written to")
    assert paths[0].read_bytes() == before


def test_the_layout_that_is_read_keeps_its_names(tmp_path: Path) -> None:
    """A fleet does not go into the layout that it comes from, not even with --force."""
    oci_layout(tmp_path / "s", [wasteful("app", 900)])
    before = listing_of(tmp_path / "s"), (tmp_path / "s/index.json").read_bytes()
    done = run("fleet", "squash", tmp_path / "s", "--into", f"oci:{tmp_path}/s", "--force")
    assert_fails(done, 2, "is read")
    assert (listing_of(tmp_path / "s"), (tmp_path / "s/index.json").read_bytes()) == before


@pytest.mark.parametrize("option", ["--csv", "--chart"])
def test_a_table_does_not_replace_an_image(option: str, tmp_path: Path) -> None:
    """A file that is measured is not overwritten with what is told of it."""
    if option == "--chart":
        pytest.importorskip("matplotlib")
    path = tmp_path / "image.svg"
    docker_archive_25(path, [ImageSpec([blob("a", 900)], ["a:1"])])
    before = path.read_bytes()
    assert_fails(run("fleet", "storage", path, option, path), 2, "not overwritten")
    assert path.read_bytes() == before


def test_a_host_that_is_none() -> None:
    """A prefix without a host's name is a usage error, and no fault of squashkit."""
    assert_fails(run("fleet", "storage", "docker://[/"), 2, "[")


def test_a_place_without_a_host_is_told(tmp_path: Path) -> None:
    """--into docker:// is told with what could stand there."""
    (path,) = write(tmp_path, ImageSpec([blob("a", 900)], ["a:1"]))
    assert_fails(run("fleet", "squash", path, "--into", "docker://"), 2, "docker://HOST/PREFIX")


def test_a_place_that_is_empty_is_not_the_images_own(tmp_path: Path) -> None:
    """`--into "$PLACE"` of a script whose variable is not set: nothing moves, and nothing is written."""
    (path,) = write(tmp_path, ImageSpec([blob("system", 90)], ["system:1"]))
    done = run("fleet", "squash", path, "--into", "")
    assert (done.code, "--into" in done.err, "--replace" in done.err) == (2, True, False)
