"""Inputs and outputs that cannot be: each is told before or without harm to what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.builders import (
    compress,
    digest,
    docker_archive_old,
    kaniko_archive,
    oci_layout,
)
from tests.support.faults import IS_ROOT
from tests.support.runner import (
    APP,
    BASE,
    COMMAND,
    KEEP_2,
    KEEP_BASE,
    Arg,
    Json,
    Result,
    assert_fails,
    blob_path,
    change_index,
    read_image,
    run,
    run_process,
    snapshot,
    squash,
)
from tests.support.runner import (
    listing_of as listing,
)


def privileged(*words: Arg) -> list[str]:
    """A command without the privilege to pass over permissions, which root has."""
    if not IS_ROOT:
        return [str(word) for word in words]
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not there")
    drop = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *map(str, words)]


def run_bare(*words: Arg) -> Result:
    """Run `squashkit squash` without the privilege to pass over permissions."""
    made = subprocess.run(
        privileged(*COMMAND, "squash", *words), capture_output=True, timeout=60, check=False
    )
    return Result(made.returncode, made.stdout, made.stderr.decode())


@pytest.mark.parametrize("name", ["nowhere.tar", "no/where.tar", "oci:nowhere", "docker-archive:nowhere"])
def test_a_missing_input_is_named(name: str, tmp_path: Path) -> None:
    """An input that is not there is an error of its medium (5) that names it."""
    result = run("squash", name, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(result, 5, name.rpartition(":")[2])
    assert listing(tmp_path) == []


def test_an_input_that_cannot_be_read_is_named(app: Path, tmp_path: Path) -> None:
    """Without permission to read an archive or a layout's blob the run fails with 5 and says so."""
    oci_layout(tmp_path / "layout", [APP])
    blob = next(path for path in (tmp_path / "layout/blobs/sha256").iterdir())
    for source, locked in ((app, app), (tmp_path / "layout", blob)):
        locked.chmod(0)
        words = (f"{source}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
        assert_fails(run_bare(*words), 5, str(locked), "ermission denied")
        assert not (tmp_path / "out.tar").exists()


def test_an_output_that_cannot_be_written_is_named(app: Path, tmp_path: Path) -> None:
    """Without permission to write in the output's folder, or in --tmp-dir, the run fails with one line
    that names it."""
    locked = tmp_path / "locked"
    locked.mkdir()
    oci_layout(tmp_path / "layout", [BASE])
    for path in (locked, tmp_path / "layout/blobs/sha256"):
        path.chmod(0o555)
    source = f"{app}:app:1"
    for output, named, code in (
        (locked / "out.tar", locked, 5),
        (f"oci:{locked}/out", locked, 1),
        (f"oci:{tmp_path}/layout", tmp_path / "layout", 5),
    ):
        assert_fails(run_bare(source, *KEEP_2, "-o", output), code, str(named))
    kaniko_archive(tmp_path / "packed.tar", [APP])
    packed = (tmp_path / "packed.tar", *KEEP_2, "-o", tmp_path / "out.tar", "--tmp-dir", locked)
    result = run_bare(*packed)
    assert_fails(result, 1, str(locked))
    assert listing(locked) == []
    assert not (tmp_path / "out.tar").exists()


def test_an_output_in_a_folder_that_is_not_there_is_named(app: Path, tmp_path: Path) -> None:
    """The folder of an archive is not made up."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "no/where/out.tar")
    assert_fails(run("squash", *words), 5, str(tmp_path / "no/where"))
    assert not (tmp_path / "no").exists()


def test_an_existing_output_needs_force(app: Path, tmp_path: Path) -> None:
    """An output that is there is a usage error (2) and stays; --force replaces it in one step, with the
    permissions of a new file."""
    output = tmp_path / "out.tar"
    output.write_bytes(b"old")
    words = (f"{app}:app:1", *KEEP_2, "-o", output)
    assert_fails(run("squash", *words), 2, str(output), "--force")
    assert output.read_bytes() == b"old"
    with output.open("rb") as old:
        squash(*words, "--force")
        assert old.read() == b"old"
    read_image(output)
    mask = os.umask(0)
    os.umask(mask)
    assert output.stat().st_mode & 0o777 == 0o666 & ~mask
    assert listing(tmp_path) == ["in", "in/app.tar", "out.tar"]


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_a_dangling_symlink_is_an_output_that_is_there(
    force: tuple[str, ...], app: Path, tmp_path: Path
) -> None:
    """A symlink to nothing is something: it needs --force like any other, and then gives way."""
    output = tmp_path / "out.tar"
    output.symlink_to("nowhere")
    result = run("squash", f"{app}:app:1", *KEEP_2, "-o", output, *force)
    if force:
        assert result.code == 0, result.err
        read_image(output)
    else:
        assert_fails(result, 2, str(output), "exists")
        assert output.is_symlink()


def same(app: Path, how: str) -> Path:
    """Another name of the input."""
    other = app.parent / "other.tar"
    if how == "symlink":
        other.symlink_to(app)
    elif how == "hard link":
        other.hardlink_to(app)
    else:
        return app.parent / "../in" / app.name
    return other


@pytest.mark.parametrize("how", ["path", "symlink", "hard link"])
def test_the_input_is_never_the_output(how: str, app: Path) -> None:
    """An output that is the input, under whatever name, is refused, also with --force."""
    output = same(app, how)
    before = app.read_bytes()
    for words in ((output,), (output, "--force"), (f"docker-archive:{output}", "--force")):
        assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", *words), 2, "input")
        assert app.read_bytes() == before
        assert output.samefile(app)


def test_standard_input_is_never_the_output(app: Path) -> None:
    """A file that is read as standard input is an input too."""
    before = app.read_bytes()
    with app.open("rb") as stdin:
        result = run_process("squash", *KEEP_BASE, "-o", app, "--force", stdin=stdin)
    assert_fails(result, 2, "input")
    assert app.read_bytes() == before


def test_standard_output_is_never_the_input(app: Path) -> None:
    """`squashkit squash app.tar -o - >> app.tar` is refused before a byte is added."""
    before = app.read_bytes()
    with app.open("ab") as stdout:
        words = ("squash", f"{app}:app:1", *KEEP_2, "-o", "-")
        result = run_process(*words, stdin=subprocess.DEVNULL, stdout=stdout)
    assert_fails(result, 2, "input")
    assert app.read_bytes() == before


def test_the_base_is_never_the_output(app: Path) -> None:
    """The archive that --keep-base names is read: it is an input too."""
    base = app.parent / "base.tar"
    docker_archive_old(base, [BASE])
    before = base.read_bytes()
    words = (f"{app}:app:1", "--keep-base", base, "-t", "new:1", "-o", base, "--force")
    assert_fails(run("squash", *words), 2, str(base), "input")
    assert base.read_bytes() == before


def test_nothing_is_written_into_an_input_layout_but_an_image(tmp_path: Path) -> None:
    """An archive is not written over a file of the layout that is read."""
    layout = tmp_path / "layout"
    oci_layout(layout, [APP])
    before = snapshot(layout)
    blob = next((layout / "blobs/sha256").iterdir())
    for output in (layout / "index.json", blob):
        result = run("squash", layout, *KEEP_2, "-o", output, "--force")
        assert_fails(result, 2, str(layout), "input")
    assert snapshot(layout) == before


def test_a_report_replaces_no_input_and_no_output(app: Path, tmp_path: Path) -> None:
    """--report FILE that is the input or the output is a usage error, before anything is written."""
    before = app.read_bytes()
    output = tmp_path / "out.tar"
    for report in (app, output):
        words = (f"{app}:app:1", *KEEP_2, "-o", output, "--report", report)
        assert_fails(run("squash", *words), 2, "--report")
    assert app.read_bytes() == before
    assert not output.exists()


@pytest.mark.parametrize("report", ["no/where.json", "."])
def test_a_report_that_cannot_be_written_is_told_first(report: str, app: Path, tmp_path: Path) -> None:
    """Where the report cannot be written, nothing else is."""
    output = tmp_path / "out.tar"
    words = (f"{app}:app:1", *KEEP_2, "-o", output, "--report", tmp_path / report)
    result = run("squash", *words)
    assert_fails(result, 2, str(tmp_path))
    assert not output.exists()


SPECIAL = {"a device": "/dev/null", "a folder": ".", "a folder of files": "files", "a pipe": "pipe"}


@pytest.mark.parametrize("name", SPECIAL)
def test_an_output_that_is_no_file_is_refused(name: str, app: Path, tmp_path: Path) -> None:
    """Devices, pipes by name, and folders that are no layouts are no outputs, with or without --force."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/notes").write_bytes(b"mine")
    os.mkfifo(tmp_path / "pipe")
    output = tmp_path / SPECIAL[name]
    for words in ((output,), (output, "--force")):
        assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", *words), 2, str(output))
    assert (tmp_path / "files/notes").read_bytes() == b"mine"
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/files"), 2)
    assert listing(tmp_path / "files") == ["notes"]


LAYOUTS: dict[str, bytes] = {
    "no JSON": b"{", "no object": b"[]", "manifests that are none": b'{"manifests":null}',
    "an entry that is none": b'{"manifests":["x"]}',
    "annotations that are none": b'{"manifests":[{"annotations":"x"}]}',
    "depth without end": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_broken_layout_is_not_written_into(name: str, app: Path, tmp_path: Path) -> None:
    """An index.json that cannot be understood is invalid (4), named, and left as it is."""
    layout = tmp_path / "layout"
    oci_layout(layout, [BASE])
    (layout / "index.json").write_bytes(LAYOUTS[name])
    before = snapshot(layout)
    result = run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{layout}")
    assert_fails(result, 4, str(layout / "index.json"))
    assert snapshot(layout) == before


def test_names_of_others_in_a_layout_are_left_alone(app: Path, tmp_path: Path) -> None:
    """What other tools wrote as names, and documents that are odd but legal, do not keep a run from
    adding to a layout."""
    layout = tmp_path / "layout"
    oci_layout(layout, [BASE])
    odd = {"io.containerd.image.name": "BAD Name", "org.opencontainers.image.ref.name": "1"}

    def change(index: Json) -> None:
        index["manifests"][0]["annotations"] = odd
        index["annotations"] = {"a": "é"}

    change_index(layout, change)
    squash(f"{app}:app:1", *KEEP_2, "-o", f"oci:{layout}")
    assert json.loads((layout / "index.json").read_bytes())["manifests"][0]["annotations"] == odd


@pytest.mark.parametrize("how", ["cut", "turned"])
def test_a_damaged_blob_in_the_output_layout_is_told(how: str, tmp_path: Path) -> None:
    """A kept blob that the output layout has already, but damaged, is not taken for good: the run fails
    (4), names it, and does not alter it."""
    source, layout = tmp_path / "source", tmp_path / "layout"
    oci_layout(source, [APP])
    oci_layout(layout, [BASE])
    name = digest(compress(BASE.layers[0], "gzip"))
    blob = layout / blob_path(name)
    data = bytearray(blob.read_bytes())
    data[-9] ^= 1
    blob.write_bytes(data[:-1] if how == "cut" else data)
    before = snapshot(layout)
    result = run("squash", source, *KEEP_2, "-o", f"oci:{layout}")
    assert_fails(result, 4, name)
    assert snapshot(layout) == before
