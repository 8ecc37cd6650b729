"""What a small input can ask for: space and time have limits, and what exceeds them is told in a line."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    digest,
    directory,
    docker_archive_old,
    file,
    layer,
    oci_archive,
    on_base,
    sparse,
    symlink,
)
from tests.support.runner import (
    COMMAND,
    Arg,
    Result,
    assert_fails,
    docker_files,
    listing_of,
    run,
    write_archive,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZEROS = 300_000_000
KEEP = ("--keep-layers", "1", "-t", "new:1")
READ: dict[str, tuple[Arg, ...]] = {"verify": (), "inspect": (), "ls": (), "cat": ("/a",), "which": ("/a",)}


def bomb(codec: str, size: int = ZEROS) -> bytes:
    """A layer with a file of so many zeros, compressed to next to nothing."""
    head = layer(file("zeros", b""))[:512]
    digits = f"{size:011o}".encode()
    fields = head[:124] + digits + head[135:148] + b" " * 8 + head[156:]
    head = fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
    pieces = [head, *[bytes(1_000_000)] * (size // 1_000_000), bytes(-size % 512 + 1024)]
    if codec == "zstd":
        compressor = zstd.ZstdCompressor()
        return b"".join([*(compressor.compress(piece) for piece in pieces), compressor.flush()])
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packed.compress(piece) for piece in pieces), packed.flush()])


@pytest.fixture(scope="module", params=["gzip", "zstd"])
def bombed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose second layer inflates to 300 MB; the diff_ids are not asked for before."""
    image = ImageSpec([layer(file("a", b"a")), layer(file("zeros")), layer(file("b", b"b"))], ["app:1"])
    packed = {"1.tar": bomb(request.param)}
    return write_archive(tmp_path_factory.mktemp("bomb") / "app.tar", docker_files(image) | packed)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("command", list(READ))
def test_a_bomb_that_passes_through_is_bounded_by_max_size(command: str, bombed: Path) -> None:
    """Commands that only read stop at --max-size, which a line names; verify has it among its faults."""
    words = (command, bombed, *READ[command], "--max-size", "10MB")
    result = run(*words)
    if command == "verify":
        assert result.code == 4
        assert "layer 1" in result.out.decode()
        assert "--max-size" in result.out.decode()
        return
    assert_fails(result, 1, "layer 1", "--max-size", "10 MB")


def test_a_layer_beyond_max_size_is_a_place_of_what_must_be_absent(bombed: Path) -> None:
    """What could not be looked into proves nothing: it is listed, and absent is not said."""
    result = run("verify", bombed, "--absent", "/secret", "--max-size", "10MB")
    assert result.code == 4
    assert "could not be read" in result.out.decode()
    assert "is absent" not in result.out.decode()


@pytest.mark.parametrize("output", ["out.tar", "oci:out"])
def test_a_bomb_that_would_be_kept_is_bounded(
    output: str, bombed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A squash that would keep more than --max-size fails with one line that names the way out; nothing is
    there afterwards."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = run("squash", bombed, *KEEP, "-o", output, "--max-size", "10MB")
    assert_fails(result, 1, "--max-size", "10 MB")
    assert listing_of(tmp_path / "here") == []


@pytest.mark.parametrize("into", ["out.tar", "oci:out", "oci:new/folders/out"])
def test_a_limit_holds_for_a_whole_fleet_and_for_folders_to_come(
    into: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fleet takes is counted in all, wherever it goes."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sources: list[Path] = []
    for name in "ab":
        sources.append(tmp_path / f"{name}.tar")
        content = random.Random(name).randbytes(1_000_000)
        docker_archive_old(sources[-1], [ImageSpec([layer(file(name, content))] * 2, [f"{name}:1"])])
    words: tuple[Arg, ...] = ("fleet", "squash", *sources, "--into", into, "--strategy", "all")
    assert_fails(run(*words, "--max-size", "1.5MB"), 1, "--max-size", "1.5 MB")
    assert listing_of(tmp_path / "here") == []
    assert run(*words, "--max-size", "3MB").code == 0


def test_a_bomb_leaves_room_on_the_disk(bombed: Path, disk: Path, tmp_path: Path) -> None:
    """Without an option the free space less 5 % is the limit: the line names the ways out, the space is
    given back, and the disk was never full."""
    result = run("squash", bombed, *KEEP, "-o", tmp_path / "out.tar", "--tmp-dir", disk)
    assert_fails(result, 1, "space", "--tmp-dir", "--max-size", "5 %")
    assert listing_of(disk) == []
    there = os.statvfs(disk)
    assert there.f_bfree == there.f_blocks
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.parametrize("form", ["archive", "layout", "export"])
def test_what_is_written_leaves_room_on_the_disk(form: str, disk: Path, tmp_path: Path) -> None:
    """An output that would take more than is free less 5 % is refused, though it would still fit."""
    content = random.Random(1).randbytes((os.statvfs(disk).f_bavail * 4096 * 98 // 100) & ~4095)
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a", content))], ["app:1"])])
    if form == "export":
        result = run("export", tmp_path / "app.tar", "-o", disk / "out.tar", "--tmp-dir", tmp_path)
    else:
        output = f"oci:{disk}/out" if form == "layout" else disk / "out.tar"
        result = run("squash", tmp_path / "app.tar", *KEEP, "-o", output, "--tmp-dir", tmp_path)
    assert_fails(result, 1, "--max-size")
    assert listing_of(disk) == []


def test_max_size_allows_what_is_free(disk: Path, tmp_path: Path) -> None:
    """A limit that is given holds instead of the free space less 5 %."""
    content = bytes((os.statvfs(disk).f_bavail * 4096 * 98 // 100) & ~4095)
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a", content))], ["app:1"])])
    words = ("squash", tmp_path / "app.tar", *KEEP, "-o", disk / "out.tar", "--tmp-dir", tmp_path)
    assert run(*words, "--max-size", "1GB").code == 0


def test_what_fits_max_size_is_read_and_written(tmp_path: Path) -> None:
    """The limit counts temporary files and output together, and nothing twice."""
    layers = [layer(file(name, random.Random(name).randbytes(1_000_000))) for name in "abc"]
    files = docker_files(ImageSpec(layers, ["app:1"])) | {"1.tar": gzip.compress(layers[1])}
    source = write_archive(tmp_path / "app.tar", files)
    words = ("squash", source, *KEEP, "-o", tmp_path / "out.tar", "--force")
    assert run(*words, "--max-size", "4.1MB").code == 0
    assert_fails(run(*words, "--max-size", "3.9MB"), 1, "--max-size")
    assert run("verify", source, "--max-size", "1.1MB").code == 0


@pytest.mark.parametrize("text", ["10", "10GB", "1.5 MiB", "0.5tb"])
def test_sizes_are_numbers_with_units(text: str, tmp_path: Path) -> None:
    """--max-size takes bytes, decimal and binary units, as --min-saving does."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a"))], ["app:1"])])
    assert run("verify", tmp_path / "app.tar", "--max-size", text).code == 0


@pytest.mark.parametrize("text", ["", "ten", "-1", "10%", "10XB", "1e9"])
def test_what_is_no_size_is_a_usage_error(text: str, tmp_path: Path) -> None:
    """Anything else is told as such."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a"))], ["app:1"])])
    assert run("verify", tmp_path / "app.tar", "--max-size", text).code == 2


# --- what is no archive ----------------------------------------------------------------------


ENDLESS = {
    "zeros": "cat /dev/zero",
    "noise": "cat /dev/urandom",
    "a line": "yes",
    "zeros, compressed": "cat /dev/zero | gzip -1",
}


@pytest.mark.parametrize("what", list(ENDLESS))
@pytest.mark.parametrize("command", ["squash", "verify"])
def test_an_endless_pipe_of_no_tar_is_refused_at_once(what: str, command: str, tmp_path: Path) -> None:
    """What does not begin as a tar is not read on, nor kept."""
    words = ["-", *KEEP, "-o", str(tmp_path / "out.tar")] if command == "squash" else ["-"]
    made = ["sh", "-c", ENDLESS[what]]
    with subprocess.Popen(made, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as pipe:
        words = [*COMMAND, command, *words]
        done = subprocess.run(words, stdin=pipe.stdout, capture_output=True, timeout=60, check=False)
        assert pipe.stdout is not None
        pipe.stdout.close()
        pipe.kill()
    assert_fails(Result(done.returncode, done.stdout, done.stderr.decode()), 4, "standard input")
    assert listing_of(tmp_path) == []


@pytest.mark.parametrize("what", ["/dev/zero", "sparse", "sparse, compressed"])
def test_an_archive_that_begins_with_zeros_is_refused_at_once(what: str, tmp_path: Path) -> None:
    """A device of zeros, a hole of a terabyte: neither is read."""
    path = tmp_path / "zeros.tar"
    if what == "sparse":
        with path.open("wb") as hole:
            hole.truncate(1 << 40)
    elif what != "/dev/zero":
        path.write_bytes(gzip.compress(bytes(100_000_000)))
    result = run("verify", "/dev/zero" if what == "/dev/zero" else path)
    assert_fails(result, 4, "begins with zeros")


def test_an_xz_stream_that_wants_gigabytes_is_refused(tmp_path: Path) -> None:
    """The header of an xz stream says how much memory it takes to read it: 4 GiB are not given."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a"))], ["app:1"])])
    packed = bytearray(lzma.compress((tmp_path / "app.tar").read_bytes()))
    header = slice(12, 12 + packed[12] * 4)  # of the block, whose one filter is LZMA2 (0x21, one byte)
    assert packed[14:16] == b"\x21\x01"
    packed[16] = 40
    packed[header.stop : header.stop + 4] = zlib.crc32(packed[header]).to_bytes(4, "little")
    (tmp_path / "app.tar.xz").write_bytes(packed)
    assert_fails(run("verify", tmp_path / "app.tar.xz"), 4, "needs more memory than 600 MiB")


def test_an_archive_without_an_end_stops_at_the_limit(tmp_path: Path) -> None:
    """A pipe that begins as a tar, and never ends, is spooled no further than --max-size."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file("a"))], ["app:1"])])
    command = f"cat {tmp_path}/app.tar /dev/zero"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as pipe:
        words = [*COMMAND, "inspect", "-", "--max-size", "50MB"]
        done = subprocess.run(words, stdin=pipe.stdout, capture_output=True, timeout=60, check=False)
        assert pipe.stdout is not None
        pipe.stdout.close()
    result = Result(done.returncode, done.stdout, done.stderr.decode())
    assert_fails(result, 1, "standard input", "--max-size", "50 MB")


def test_holes_beyond_max_size_are_not_looked_into(tmp_path: Path) -> None:
    """A sparse file may be a terabyte of zeros: --absent of a content fails beyond --max-size, which names
    the file as a place, and what else is there is still looked into."""
    members = [sparse("hole", 1 << 40, [(0, b"x" * 512)]), file("secret", b"secret")]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(*members)], ["app:1"])])
    for content in (b"secret", b"other"):
        words = ("--absent", digest(content), "--max-size", "1MB", "--json")
        result = run("verify", tmp_path / "app.tar", *words)
        assert result.code == 3
        found = result.json["absent"][digest(content)]
        places = {place["path"].lstrip("/"): place["what"] for place in found}
        assert "--max-size" in places["hole"]
        assert ("secret" in places) is (content == b"secret")
    assert_fails(run("cat", tmp_path / "app.tar", "/hole", "--max-size", "1MB"), 1, "hole", "--max-size")


def test_holes_without_end_are_not_looked_through(tmp_path: Path) -> None:
    """A few bytes can make a file of exabytes: its content is not said to be absent, at once."""
    members = [sparse("huge", 1 << 60, [(512, b"x")]), file("small", b"x")]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(*members)], ["app:1"])])
    result = run("verify", tmp_path / "app.tar", "--absent", digest(b"nowhere"))
    assert result.code == 3
    assert "not looked into" in result.out.decode()


def test_a_folder_that_is_no_layout_is_not_searched(tmp_path: Path) -> None:
    """A folder without index.json is no image, whatever lies below it."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below/app.tar").write_bytes(b"x")
    assert_fails(run("verify", tmp_path), 4, "neither manifest.json nor index.json")


def test_lists_and_credentials_have_an_end(tmp_path: Path) -> None:
    """A list of references, or a file with credentials, that never ends is refused in a line."""
    with Path("/dev/zero").open("rb") as zeros:
        words = [*COMMAND, "fleet", "storage", "--from", "-"]
        done = subprocess.run(words, stdin=zeros, capture_output=True, timeout=60, check=False)
    assert_fails(Result(done.returncode, done.stdout, done.stderr.decode()), 2, "no list of references")
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        result = run("inspect", "docker://registry.invalid/x", "--authfile", path)
        assert_fails(result, 2, "credentials")


# --- symlinks that multiply ------------------------------------------------------------------


def test_symlinks_that_multiply_are_followed_as_far_as_is_quick(tmp_path: Path) -> None:
    """Where more paths than can be followed mean what must be absent, that is told soon as a place that
    could not be looked into."""
    one, two = ([symlink(f"l{n}", f"l{n + 1}/{side}") for n in range(40)] for side in "xy")
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(*one), layer(*two)], ["app:1"])])
    result = run("verify", tmp_path / "app.tar", "--absent", "l0/" + "/".join("abcdef"))
    assert result.code == 3
    assert "more symlinks than can be followed lead there" in result.out.decode()


def test_symlinks_whose_targets_grow_come_to_an_end(tmp_path: Path) -> None:
    """A symlink that leads into itself means longer and longer paths, of which no end is seen."""
    members = [symlink("a", "a/a/b"), *(symlink("/".join("d" * n), "e/" * 20 + "e") for n in range(1, 300))]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(*members)], ["app:1"])])
    for path in ("a/c", "/".join("d" * 1000), "**/x*/y"):
        result = run("verify", tmp_path / "app.tar", "--absent", path)
        assert result.code == 4, path


@pytest.mark.parametrize("target", ["a[b", "a*b", "a?", "a\\b", "[a]"])
def test_targets_of_symlinks_are_no_globs(target: str, tmp_path: Path) -> None:
    """A symlink's target means the path that it names, whatever signs are in it."""
    members = [symlink("link", target), directory(target), file(f"{target}/secret", b"x")]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(*members)], ["app:1"])])
    for pattern in ("link/secret", "l*k/secret", "link/s*t"):
        result = run("verify", tmp_path / "app.tar", "--absent", pattern, "--json")
        assert result.code == 3, pattern
        paths = [place["path"].lstrip("/") for place in result.json["absent"][pattern]]
        assert f"{target}/secret" in paths


# --- many layers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 127 layers."""
    path = tmp_path_factory.mktemp("crowded") / "app.tar"
    docker_archive_old(path, [ImageSpec([layer(file(f"f{n}")) for n in range(127)], ["app:1"])])
    return path


def test_more_layers_than_docker_takes_are_warned_of(crowded: Path) -> None:
    """verify and inspect tell of more than 125 layers, and it is no fault."""
    for command in ("verify", "inspect"):
        result = run(command, crowded)
        assert result.code == 0
        assert "127 layers: docker takes at most 125" in result.out.decode()


@pytest.mark.parametrize(("keep", "told"), [(125, True), (124, False)])
def test_a_result_of_too_many_layers_is_told_before_it_is_written(
    keep: int, told: bool, crowded: Path, tmp_path: Path
) -> None:
    """A warning on standard error and a note say that docker will not take what is made; it is made."""
    result = run("squash", crowded, "--keep-layers", str(keep), "-t", "new:1", "-o", tmp_path / "out.tar")
    assert result.code == 0
    assert (f"warning: the result has {keep + 1} layers" in result.err) is told
    assert (f"The result has {keep + 1} layers" in result.out.decode()) is told
    assert (tmp_path / "out.tar").exists()


def test_a_rebase_onto_too_many_layers_is_told(crowded: Path, tmp_path: Path) -> None:
    """So it is where the new base brings the layers."""
    below = ImageSpec([layer(file("old"))], ["old:1"])
    docker_archive_old(tmp_path / "app.tar", [below, on_base(below, layer(file("app")), tags=["own:1"])])
    words = ("--old-base", "old:1", "--new-base", crowded, "-t", "new:1", "-o", tmp_path / "out.tar")
    result = run("rebase", f"{tmp_path}/app.tar:own:1", *words, "--json")
    assert result.code == 0
    assert "warning: the result has 128 layers" in result.err
    assert any("The result has 128 layers" in note for note in result.json["notes"])


def test_an_error_lists_twenty_layers(crowded: Path) -> None:
    """Where nothing says which layers are the base the first and the last are listed, and how many more
    there are."""
    result = run("squash", crowded, "--dry-run")
    assert_fails(result, 2, "and 107 more")
    listed = [line.split()[0] for line in result.err.splitlines() if line.startswith("  ")]
    numbers = [int(word) for word in listed if word.isdigit()]
    assert numbers == [*range(1, 11), *range(118, 128)]


def test_a_fleet_is_cut_into_no_more_layers_than_docker_takes(crowded: Path) -> None:
    """The most layers of an image in the best cut are those of docker, unless others are given."""
    assert run("fleet", "storage", crowded, "--no-scan").code == 0
    told = " ".join(run("fleet", "storage", "--help-all").text.split())
    assert "Default: in the best cut 125, carved 40." in told


# --- many of a kind --------------------------------------------------------------------------


def test_ten_thousand_tags_cost_no_more_than_each_of_them(tmp_path: Path) -> None:
    """An index that names one image 10,000 times is read in seconds: tags are not compared in pairs."""
    tags = [f"app{number}:1" for number in range(10_000)]
    oci_archive(tmp_path / "app.tar", [ImageSpec([layer(file("a"))], tags)])
    result = run("inspect", tmp_path / "app.tar")
    assert result.code == 0
    assert "app9999:1" in result.out.decode()


def test_images_are_verified_one_after_another(tmp_path: Path) -> None:
    """The threads of one image's verification are gone before the next begins."""
    images = [ImageSpec([layer(file(f"f{number}"))], [f"app:{number}"]) for number in range(400)]
    docker_archive_old(tmp_path / "app.tar", images)
    words = (*COMMAND, "verify", str(tmp_path / "app.tar"))
    limited = ["sh", "-c", 'ulimit -v 2500000; exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Good: 400 images" in done.stdout
