"""What is remembered of a layer is what reading it again would give."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from squashkit.engine import entries as entrycache
from squashkit.engine.entries import EntryCache
from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.oci.digests import DiffID
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    symlink,
    whiteout,
)
from tests.support.runner import run


def pax_layer() -> bytes:
    """Global and extended headers, a name that is long, xattrs and a time with a fraction."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "for all"}
    ) as archive:
        info = tarfile.TarInfo("d/" + "n" * 200)
        info.size, info.mtime = 3000, 1.5
        info.pax_headers = {"SCHILY.xattr.user.x": "1"}
        archive.addfile(info, io.BytesIO(b"x" * 3000))
        archive.addfile(tarfile.TarInfo("last"))
    return out.getvalue()


LAYERS = {
    "every kind of entry": layer(
        directory("etc"), file("etc/a", b"a" * 1000), symlink("etc/b", "a"), hardlink("etc/c", "etc/a"),
        whiteout("etc/gone"), file("srv/.wh..wh..opq", b""),
    ),
    "pax headers": pax_layer(),
    "nothing": bytes(1024),
    "no end blocks": layer(file("a", b"12345"), directory("b"))[:2048],
    "junk behind the end": layer(file("a", b"12345")) + b"junk" * 128,
}  # fmt: skip


def direct(data: bytes) -> Changeset:
    return parse_changeset(tar.scan_bytes(data), len(data))


def remember(cache: EntryCache, data: bytes) -> DiffID:
    """Record a layer as the loader does while it scans."""
    diff_id = DiffID(f"sha256:{hashlib.sha256(data).hexdigest()}")
    recorder = cache.recorder(diff_id)
    assert recorder is not None
    records = recorder.recorded(tar.scan_bytes(data), lambda start, stop: data[start:stop])
    recorder.finish(parse_changeset(records, len(data)))
    recorder.close()
    return diff_id


@pytest.mark.parametrize("name", LAYERS)
def test_a_remembered_layer_is_the_layer(name: str, tmp_path: Path) -> None:
    """Every entry, marker, size and offset comes back as the layer itself gives it."""
    cache = EntryCache(tmp_path / "cache")
    diff_id = remember(cache, LAYERS[name])
    assert cache.has(diff_id)
    assert cache.get(diff_id) == direct(LAYERS[name])


def test_a_layer_is_recorded_once(tmp_path: Path) -> None:
    """What is known is not recorded again."""
    cache = EntryCache(tmp_path)
    diff_id = remember(cache, LAYERS["pax headers"])
    assert cache.recorder(diff_id) is None


@pytest.mark.parametrize("at", [0, 25, 60, 100, 150, -33, -1])
def test_a_bad_file_is_thrown_away(at: int, tmp_path: Path) -> None:
    """A file in which one byte is wrong is as good as none, and makes room for a right one."""
    cache = EntryCache(tmp_path)
    diff_id = remember(cache, LAYERS["every kind of entry"])
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert cache.get(diff_id) is None
    assert not path.exists()
    remember(cache, LAYERS["every kind of entry"])
    assert cache.get(diff_id) == direct(LAYERS["every kind of entry"])


def test_a_short_file_is_thrown_away(tmp_path: Path) -> None:
    """A file that ends early is as good as none, wherever it ends."""
    cache = EntryCache(tmp_path)
    diff_id = remember(cache, LAYERS["pax headers"])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for end in (0, 10, 80, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert cache.get(diff_id) is None


def test_another_layers_entries_are_not_taken(tmp_path: Path) -> None:
    """A file under another layer's name is not believed."""
    cache = EntryCache(tmp_path)
    remember(cache, LAYERS["pax headers"])
    (path,) = tmp_path.iterdir()
    other = DiffID("sha256:" + "0" * 64)
    path.rename(tmp_path / ("0" * 64))
    assert cache.get(other) is None


def test_what_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    """A run that stops in the middle of a layer leaves no file."""
    cache = EntryCache(tmp_path)
    recorder = cache.recorder(DiffID("sha256:" + "0" * 64))
    assert recorder is not None
    next(iter(recorder.recorded(tar.scan_bytes(LAYERS["pax headers"]), lambda start, stop: b"")))
    recorder.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """Where nothing can be kept, nothing is kept."""
    (tmp_path / "file").write_bytes(b"")
    cache = EntryCache(tmp_path / "file" / "cache")
    assert cache.recorder(DiffID("sha256:" + "0" * 64)) is None
    assert cache.get(DiffID("sha256:" + "0" * 64)) is None


def test_the_cache_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the limit, what was not used for longest goes first."""
    cache = EntryCache(tmp_path)
    old = remember(cache, LAYERS["pax headers"])
    used = remember(cache, LAYERS["every kind of entry"])
    for diff_id, age in ((old, 1000), (used, 2000)):
        path = tmp_path / diff_id.removeprefix("sha256:")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert cache.get(used) is not None
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(entrycache, "_LIMIT", size + 50)
    new = remember(cache, LAYERS["junk behind the end"])
    assert [cache.has(diff_id) for diff_id in (old, used, new)] == [False, True, True]


def test_layers_that_are_read_for_their_entries_alone_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed layer below those that are squashed is known to the next run, wherever it was read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = layer(directory("d"), file("d/a"))
    image = ImageSpec([base, layer(whiteout("d/a")), layer(file("d/b"))], ["app:1"])
    oci_layout(tmp_path / "app", [image], compress="gzip")
    assert run("squash", tmp_path / "app", "--keep-layers", "1", "-o", tmp_path / "out.tar").code == 0
    kept = [path.name for path in (tmp_path / "cache/squashkit/entries").iterdir()]
    assert kept == [hashlib.sha256(base).hexdigest()]


def imported_by(*words: str, folder: Path) -> set[str]:
    """The modules that a run of the command line imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "squashkit", *words],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_a_squash_of_files_imports_nothing_of_the_network(tmp_path: Path) -> None:
    """Nor databases, nor what only other commands have a use for: a small squash is over at once."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file(n)) for n in "abc"], ["app:1"])])
    imported = imported_by("squash", "app.tar", "--keep-layers", "1", "-o", "out.tar", folder=tmp_path)
    assert "squashkit.engine.carry_out" in imported
    unwanted = {"requests", "urllib3", "docker", "ssl", "sqlite3", "tarfile", "squashkit.jobs.look"}
    assert not imported & {*unwanted, "squashkit.engine.check", "squashkit.transports.registry.http"}


def test_looking_at_an_image_imports_nothing_that_writes(tmp_path: Path) -> None:
    """Nor what only a squash plans, nor what only other looks have a use for."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file(n)) for n in "abc"], ["app:1"])])
    imported = imported_by("inspect", "app.tar", folder=tmp_path)
    assert "squashkit.jobs.inspect" in imported
    writing = {"transports.sinks", "transports.target", "transports.archive.sink", "transports.layout.sink"}
    others = {"plan.squash", "layers.merge", "jobs.paths", "layers.trace", "report.listing", "report.trace"}
    assert not imported & {f"squashkit.{name}" for name in writing | others}
