"""`squashkit fleet scan`: every layer once, the same files by whatever way, and nothing lost."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squashkit.engine.processes import in_processes
from squashkit.errors import PlanError, SquashkitError, UsageError
from squashkit.jobs.fleet.scan.batches import MOST_BYTES, MOST_LAYERS, Place, batches_of, shard_of
from squashkit.oci.digests import DiffID, sha256
from squashkit.transports.reference import Reference
from tests.support.builders import (
    ImageSpec,
    block,
    char,
    directory,
    docker_archive_25,
    fifo,
    file,
    global_header,
    hardlink,
    layer,
    noise,
    oci_layout,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.fleets import blob
from tests.support.runner import assert_fails, blob_path, read_images, run, spawn
from tests.support.scans import contents, rows, scan, wide_fleet

# --- what the tables hold --------------------------------------------------------------------

LONG = b"opt/" + b"n" * 120
MEMBERS = layer(
    directory("./"),
    directory("./etc/", mode=0o755),
    file("./etc/a", b"content", uid=1000, gid=50, mode=0o640, mtime=1_500_000_000),
    file(b"etc/\xff\xfe", b"odd name"),
    file("etc/empty"),
    file(LONG, b"long"),
    file("bin/ping", b"p", xattrs={"security.capability": b"\x01\x00\x00\x02"}),
    symlink("l", "../etc/a"),
    hardlink("h", "./etc/a"),
    char("null", 1, 3),
    block("disk", 8, 0),
    fifo("pipe"),
    whiteout("var/cache"),
    opaque("srv"),
    sparse("holes", 5000, [(0, b"a" * 512), (4096, b"b" * 512)]),
    global_header({"comment": b"of nobody"}),
)


@pytest.fixture
def scanned(tmp_path: Path) -> Path:
    """A scan of an image with one member of each kind."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([MEMBERS], ["app:1"])])
    scan(tmp_path / "a.tar", "--into", tmp_path / "scan")
    return tmp_path / "scan"


def test_each_member_is_a_row(scanned: Path) -> None:
    """Paths are clean, types are told apart, and what is gone stands under its own name."""
    found = [(row["path"], row["type"], row["size"], row["link"]) for row in rows(scanned, "entries")]
    assert found == [
        (b"", "directory", 0, None),
        (b"etc", "directory", 0, None),
        (b"etc/a", "file", 7, None),
        (b"etc/\xff\xfe", "file", 8, None),
        (b"etc/empty", "file", 0, None),
        (LONG, "file", 4, None),
        (b"bin/ping", "file", 1, None),
        (b"l", "symlink", 0, b"../etc/a"),
        (b"h", "hardlink", 0, b"etc/a"),
        (b"null", "char", 0, None),
        (b"disk", "block", 0, None),
        (b"pipe", "fifo", 0, None),
        (b"var/cache", "whiteout", 0, None),
        (b"srv", "opaque", 0, None),
        (b"holes", "file", 5000, None),
    ]


def test_a_row_has_what_the_header_says(scanned: Path) -> None:
    """Owner, mode, nanoseconds, extended attributes, devices, and the digest of what the file holds."""
    by_path = {row["path"]: row for row in rows(scanned, "entries")}
    one = by_path[b"etc/a"]
    assert (one["mode"], one["uid"], one["gid"], one["mtime"]) == (0o640, 1000, 50, 1_500_000_000 * 10**9)
    assert one["digest"] == hashlib.sha256(b"content").digest()
    assert by_path[b"etc/empty"]["digest"] == hashlib.sha256(b"").digest()
    assert by_path[b"etc"]["digest"] is by_path[b"l"]["digest"] is by_path[b"h"]["digest"] is None
    holes = b"a" * 512 + bytes(4096 - 512) + b"b" * 512 + bytes(5000 - 4096 - 512)
    assert by_path[b"holes"]["digest"] == hashlib.sha256(holes).digest()
    assert by_path[b"bin/ping"]["xattrs"] == [(b"security.capability", b"\x01\x00\x00\x02")]
    assert by_path[b"etc/a"]["xattrs"] is None
    assert [
        (by_path[name]["device_major"], by_path[name]["device_minor"]) for name in (b"null", b"disk")
    ] == [
        (1, 3),
        (8, 0),
    ]
    assert one["device_major"] is None
    assert {row["diff_id"] for row in by_path.values()} == {hashlib.sha256(MEMBERS).digest()}


def test_sizes_of_members_add_up_to_the_tar(scanned: Path) -> None:
    """Headers, data and padding follow one another, but for headers that are nobody's."""
    found = rows(scanned, "entries")
    for one, after in itertools.pairwise(found):
        stored = one["size"] if one["sparse_bytes"] is None else one["sparse_bytes"]
        assert one["start"] + one["header_bytes"] + (stored + 511) // 512 * 512 == after["start"]
    (layer_row,) = rows(scanned, "layers")
    assert layer_row["diff_size"] == len(MEMBERS)
    assert layer_row["entries"] == len(found)


def test_images_and_their_layers_are_what_their_documents_say(tmp_path: Path) -> None:
    """An image has its name, config and manifest, and a row for each of its layers, shared or not."""
    paths = wide_fleet(tmp_path, layers=2)
    told = scan(*paths, "--into", tmp_path / "scan")
    assert (told["images"], told["layer_references"], told["layers"]["different"]) == (3, 15, 9)
    images = rows(tmp_path / "scan", "images")
    listed = rows(tmp_path / "scan", "image_layers")
    for number, path in enumerate(paths):
        (image,) = read_images(path)
        assert images[number]["name"] == f"app{number}:1"
        assert images[number]["repository"] == f"app{number}"
        assert images[number]["config"] == image.config_data
        own = [row for row in listed if row["image"] == number]
        assert [row["diff_id"] for row in own] == [hashlib.sha256(one).digest() for one in image.layers]
        assert [row["digest"] for row in own] == [hashlib.sha256(one).digest() for one in image.blobs]
        assert [row["size"] for row in own] == [len(one) for one in image.blobs]
    read = rows(tmp_path / "scan", "layers")
    assert {row["diff_id"] for row in read} == {row["diff_id"] for row in listed}
    assert len(read) == 9


def test_an_image_from_a_pipe_is_read_as_from_a_file(tmp_path: Path) -> None:
    """What no other process can open is read by this one, and gives the same rows."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=40)
    scan(path, "--into", tmp_path / "scan", "--jobs", 2)
    done = run("fleet", "scan", "-", "--into", tmp_path / "piped", stdin=gzip.compress(path.read_bytes()))
    assert done.code == 0, done.err
    one, other = (contents(tmp_path / name) for name in ("scan", "piped"))
    assert {name for name in one if name.startswith("entries")} == {
        n for n in other if n.startswith("entries")
    }
    assert all(other[name] == one[name] for name in one if name.startswith(("entries", "headers")))


# --- the same files by whatever way ----------------------------------------------------------


def test_processes_and_shards_give_the_files_of_one_process(tmp_path: Path) -> None:
    """To the byte; shards in whatever order, in one folder or put together from several."""
    paths = wide_fleet(tmp_path)
    one = tmp_path / "one"
    scan(*paths, "--into", one, "--jobs", 1)
    assert len(list((one / "layers").iterdir())) == 3
    scan(*paths, "--into", tmp_path / "two", "--jobs", 2)
    assert contents(tmp_path / "two") == contents(one)
    for shard in ("3/3", "1/3"):
        told = scan(*paths, "--into", tmp_path / "shared", "--shard", shard)
        assert told["layers"]["other_shards"]
    scan(*paths, "--into", tmp_path / "alone", "--shard", "2/3")
    assert contents(tmp_path / "shared").items() < contents(one).items()
    assert contents(tmp_path / "shared") | contents(tmp_path / "alone") == contents(one)


def test_a_second_scan_reads_nothing_and_one_of_more_images_only_these(tmp_path: Path) -> None:
    """Layers that are there are not read again; the tables of images are those of the last scan."""
    first, second, third = wide_fleet(tmp_path)
    into = tmp_path / "scan"
    read = scan(first, second, "--into", into)["layers"]["read"]
    before = contents(into)
    again = scan(first, second, "--into", into)["layers"]
    assert (again["read"], again["known"]) == (0, read)
    assert contents(into) == before
    more = scan(second, third, "--into", into)["layers"]
    assert (more["known"], more["read"]) == (28, 25)
    assert [row["name"] for row in rows(into, "images")] == ["app1:1", "app2:1"]
    read_now = rows(into, "layers")
    assert len({row["diff_id"] for row in read_now}) == len(read_now) == read + 25


# --- nothing is lost -------------------------------------------------------------------------


def test_a_scan_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL in the middle: what has its name is whole, the next scan reads the rest, and all files are
    those of a scan that nobody killed."""
    image = ImageSpec(
        [layer(*(file(f"{n}/{m}", noise(2000, f"{n}{m}")) for m in range(150))) for n in range(100)],
        ["a:1"],
    )
    docker_archive_25(tmp_path / "a.tar", [image])
    whole, into = tmp_path / "whole", tmp_path / "scan"
    scan(tmp_path / "a.tar", "--into", whole)
    with spawn("fleet", "scan", tmp_path / "a.tar", "--into", into, "--jobs", "1") as process:
        while not list((into / "layers").glob("*.parquet")) and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.wait() == -signal.SIGKILL
    there = len(rows(into, "layers"))
    assert 0 < there < 100
    told = scan(tmp_path / "a.tar", "--into", into)["layers"]
    assert (told["known"], told["read"]) == (there, 100 - there)
    assert contents(into) == contents(whole)


def test_what_a_killed_scan_left_of_a_batch_is_no_part_of_it(tmp_path: Path) -> None:
    """Entries whose layers never got their name are neither counted nor kept."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=3)
    into = tmp_path / "scan"
    scan(path, "--into", into)
    whole = contents(into)
    (entries,) = (into / "entries").iterdir()
    entries.with_name(f"{'0' * 32}.parquet").write_bytes(entries.read_bytes())
    (into / "entries" / f".{entries.name}.squashkit-0000").write_bytes(b"half")
    scan(path, "--into", into)
    assert {name: one for name, one in contents(into).items() if "/." not in name} == whole


def dies_once(marker: str) -> str:
    """Is killed the first time, as by a system that is out of memory."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker


def dies(_: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def refuses(_: str) -> str:
    raise UsageError("it cannot be")


def test_a_killed_worker_loses_no_task(tmp_path: Path) -> None:
    """Its task is done by another process, and all others once."""
    tasks = [str(tmp_path / str(number)) for number in range(5)]
    for task in tasks[:4]:
        Path(task).touch()
    assert sorted(in_processes(dies_once, tasks, 2)) == tasks


def test_a_task_that_kills_its_process_again_ends_the_run(tmp_path: Path) -> None:
    """It is not tried for ever, and the error is told."""
    with pytest.raises(PlanError, match="killed 2 times"):
        list(in_processes(dies, ["a", "b"], 1))


def test_an_error_of_another_process_is_that_error() -> None:
    """Its message and its exit code travel."""
    with pytest.raises(SquashkitError, match="it cannot be") as caught:
        list(in_processes(refuses, ["a"], 1))
    assert caught.value.exit_code == 2


# --- bad layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_layer_is_a_row_and_read_again(jobs: int, tmp_path: Path) -> None:
    """It stops nothing; exit code 4; the next scan reads it alone, and its error is gone."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=40)
    layout = tmp_path / "layout"
    assert run("squash", path, "--segments", "=43", "-o", f"oci:{layout}").code == 0
    (image,) = read_images(layout)
    victim = image.manifest["layers"][5]["digest"]
    good = (layout / blob_path(victim)).read_bytes()
    (layout / blob_path(victim)).write_bytes(good[:-9] + b"\xff" * 9)
    into = tmp_path / "scan"
    told = scan(layout, "--into", into, "--jobs", jobs, code=4)
    assert (told["layers"]["read"], told["layers"]["bad"]) == (42, 1)
    (bad,) = told["bad_layers"]
    assert bad["diff_id"] == "sha256:" + hashlib.sha256(image.layers[5]).hexdigest()
    assert bad["exit_code"] == 4
    (row,) = [row for row in rows(into, "layers") if row["error"] is not None]
    assert (row["error"], row["exit_code"]) == (bad["error"], 4)
    assert row["diff_id"] == hashlib.sha256(image.layers[5]).digest()
    assert row["diff_id"] not in {entry["diff_id"] for entry in rows(into, "entries")}
    assert scan(layout, "--into", into, code=4)["layers"]["known"] == 42
    (layout / blob_path(victim)).write_bytes(good)
    told = scan(layout, "--into", into)
    assert (told["layers"]["known"], told["layers"]["read"]) == (42, 1)
    assert [row["error"] for row in rows(into, "layers")] == [None] * 43
    assert len(rows(into, "entries")) == sum(row["entries"] for row in rows(into, "layers"))


def test_a_blob_that_is_not_there_is_a_bad_layer(tmp_path: Path) -> None:
    """An image of a layout may lack one; its other layers are read."""
    oci_layout(tmp_path / "layout", [ImageSpec([blob("a", 100), blob("b", 100)], ["a:1"])])
    (image,) = read_images(tmp_path / "layout")
    (tmp_path / "layout" / blob_path(image.manifest["layers"][0]["digest"])).unlink()
    told = scan(tmp_path / "layout", "--into", tmp_path / "scan", code=4)
    assert (told["layers"]["read"], told["layers"]["bad"]) == (1, 1)
    assert "is not there" in told["bad_layers"][0]["error"]


def test_bad_layers_are_listed_for_people(tmp_path: Path) -> None:
    """One line each, which names the image."""
    oci_layout(tmp_path / "layout", [ImageSpec([b"no tar" * 200], ["a:1"])])
    done = run("fleet", "scan", tmp_path / "layout", "--into", tmp_path / "scan")
    assert done.code == 4
    assert done.err == ""
    assert "0 read (0 B stored, 0 entries), 1 not readable" in done.text
    assert "layer 0 (sha256:" in done.text


# --- batches ---------------------------------------------------------------------------------


def place(number: int, size: int, *, is_portable: bool = True) -> Place:
    digest = sha256(str(number).encode())
    where = Reference("", "a.tar")
    return Place(DiffID(digest), digest, size, "", "none", 0, where, "a", True, is_portable)


def test_batches_have_a_most() -> None:
    """Of layers and of bytes; what is larger than that is one for itself."""
    sizes = [1] * 40 + [MOST_BYTES + 1, 1, MOST_BYTES - 1, 1]
    found = list(batches_of(place(number, size) for number, size in enumerate(sizes)))
    assert [len(one.layers) for one in found] == [MOST_LAYERS, 8, 1, 2, 1]
    assert [one for batch in found for one in batch.layers] == [place(n, s) for n, s in enumerate(sizes)]


def test_shards_are_the_whole() -> None:
    """Each batch is the business of one shard; there may be more shards than batches."""
    batches = list(batches_of(place(number, 1) for number in range(200)))
    for count in (1, 2, 3, 50):
        parts = [shard_of(batches, number, count) for number in range(1, count + 1)]
        assert sorted(one.name for part in parts for one in part) == sorted(one.name for one in batches)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3", "٣/٤"])
def test_a_shard_counts_from_1(shard: str, tmp_path: Path) -> None:
    """Anything else than K/N is told, and nothing is made."""
    assert_fails(run("fleet", "scan", "a.tar", "--into", tmp_path / "s", "--shard", shard), 2, "no part")
    assert not (tmp_path / "s").exists()


def test_a_scan_is_written_into_a_folder_of_its_own(tmp_path: Path) -> None:
    """Neither a file, nor a folder with other things, nor an image that is read is touched."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=1)
    assert_fails(run("fleet", "scan", path, "--into", path), 2, "input")
    (tmp_path / "note").write_text("mine")
    assert_fails(run("fleet", "scan", path, "--into", tmp_path / "note"), 2, "is no folder")
    assert_fails(run("fleet", "scan", path, "--into", tmp_path), 2, "is no scan, and not empty")
    oci_layout(tmp_path / "layout", [ImageSpec([blob("a", 9)], ["a:1"])])
    assert_fails(run("fleet", "scan", tmp_path / "layout", "--into", tmp_path / "layout"), 2, "an input")
    inner = tmp_path / "layout" / "scan"
    assert_fails(run("fleet", "scan", tmp_path / "layout", "--into", inner), 2, "lies within")
    assert not inner.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"squashkit": "scan", "version": 2}', "[" * 100_000])
def test_a_scan_of_another_form_is_left_alone(text: str, tmp_path: Path) -> None:
    """A newer version may have made it."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=1)
    into = tmp_path / "scan"
    into.mkdir()
    (into / "scan.json").write_text(text)
    assert_fails(run("fleet", "scan", path, "--into", into), 4, "no form of a scan")
    assert [one.name for one in into.iterdir()] == ["scan.json"]


def test_a_broken_file_of_a_scan_is_told(tmp_path: Path) -> None:
    """It is named, and nothing is read over it."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=1)
    scan(path, "--into", tmp_path / "scan")
    (broken,) = (tmp_path / "scan" / "layers").iterdir()
    broken.write_bytes(b"PAR1 and no more")
    done = run("fleet", "scan", path, "--into", tmp_path / "scan")
    assert_fails(done, 4, "delete that file")
    assert broken.name in done.err


@pytest.mark.parametrize("table", ["entries", "headers", "layers"])
def test_a_file_that_was_deleted_comes_again(table: str, tmp_path: Path) -> None:
    """The next scan reads its layers, whichever table it was of, and the folder is as before."""
    paths = wide_fleet(tmp_path, images=2, layers=2)
    scan(*paths, "--into", tmp_path / "scan")
    before = contents(tmp_path / "scan")
    next((tmp_path / "scan" / table).iterdir()).unlink()
    scan(*paths, "--into", tmp_path / "scan")
    assert contents(tmp_path / "scan") == before


def test_a_sparse_file_without_end(tmp_path: Path) -> None:
    """Its layer is a row with its error: the holes of a few bytes take days to be hashed."""
    huge = layer(sparse("s", 1 << 45, [(0, b"x"), (1 << 44, b"y")]))
    oci_layout(tmp_path / "a", [ImageSpec([layer(file("f")), huge], ["a:1"])])
    done = run("fleet", "scan", tmp_path / "a", "--into", tmp_path / "scan", "--json")
    assert done.code == 4
    (bad,) = done.json["bad_layers"]
    assert "sparse file of 35 TB" in bad["error"]


@pytest.mark.parametrize("missing", ["duckdb", "pyarrow"])
def test_without_the_extra_it_is_named(missing: str, tmp_path: Path) -> None:
    """Nothing is written, and the command that installs it is told."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=1)
    code = f"import sys; sys.modules[{missing!r}] = None; from squashkit.__main__ import main; main()"
    words = ["fleet", "scan", str(path), "--into", str(tmp_path / "scan")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "squashkit: scans need duckdb and pyarrow: pip install 'squashkit[fleet]'\n",
    )
    assert not (tmp_path / "scan").exists()
