"""The laws of a rebase, over random images: what must hold whatever the layers and the bases hold.

The judge is the naive model, which applies the layers to both bases side by side, and the linter of layers.
"""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st

from tests.support.builders import (
    ImageSpec,
    Member,
    config_of,
    digest,
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    on_base,
    opaque,
    symlink,
    whiteout,
)
from tests.support.generate import one_in, random_image, same_attributes
from tests.support.harness import Rebased, rebase_layers, squash_layers
from tests.support.laws import law
from tests.support.linter import lint
from tests.support.model import (
    Illegal,
    Record,
    Rootfs,
    ancestors,
    apply_each,
    apply_layers,
    differences,
    join,
    listing,
    meaning,
    parent_of,
    read_members,
    rebased,
)
from tests.support.runner import (
    Json,
    Result,
    blob_path,
    change_manifest,
    put_blob,
    read_image,
    read_images,
    run,
    unpack,
)

# --- images and the bases that they move between ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """Layers on an old base, and the new one for them; shown as tables of members."""

    old: list[bytes]
    new: list[bytes]
    above: list[bytes]

    @property
    def image(self) -> list[bytes]:
        """All layers as they were."""
        return [*self.old, *self.above]

    def __repr__(self) -> str:
        parts = {"old": self.old, "new": self.new, "above": self.above}
        return "\n".join(f"{name}:\n{listing(layers)}" for name, layers in parts.items())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def cut_image(rng: random.Random, *, contested: bool) -> tuple[list[bytes], list[bytes]]:
    """A random image in two parts: its base, and what lies above."""
    layers = random_image(rng, contested=contested)
    at = rng.randint(1, len(layers) - 1)
    return layers[:at], layers[at:]


def patched(rng: random.Random, base: Sequence[bytes]) -> list[bytes]:
    """A base of which some entries are gone, a directory with all in it among them, and to which others may
    have come in a layer of their own."""
    directories = directories_of(base)
    layers = without(base, rng.choice(directories)) if directories and not one_in(rng, 3) else base
    layers = [
        joined(data, [record for record in read_members(data) if not one_in(rng, 8)]) for data in layers
    ]
    return layers + random_image(rng, contested=False)[:1] * one_in(rng, 2)


def directories_of(layers: Sequence[bytes]) -> list[bytes]:
    """The paths of all directories but the root."""
    found = apply_layers(layers)
    return sorted(path for path in found.nodes if found.kind(path) == "directory")


def without(base: Sequence[bytes], directory: bytes) -> list[bytes]:
    """These layers without any word of a directory and what lies in it."""
    return [
        joined(data, [
            record
            for record in read_members(data)
            if directory not in [*ancestors(meaning(record.name)[1]), meaning(record.name)[1]]
        ])
        for data in base
    ]  # fmt: skip


def joined(data: bytes, records: Sequence[Record]) -> bytes:
    """The tar of some members of another."""
    return b"".join(data[record.start : record.end] for record in records) + bytes(1024)


def is_legal(move: Move) -> bool:
    """Whether a root file system can be made of the layers on both bases."""
    try:
        apply_layers(move.new)
        rebased(move.old, move.new, move.above)
    except Illegal:  # a hard link has lost its target
        return False
    return True


@st.composite
def moves(draw: st.DrawFn, contested: bool = False) -> Move:
    """Layers made on a base, and a patched one of it or another one altogether."""
    rng = draw(st.randoms(use_true_random=False))
    old, above = cut_image(rng, contested=contested)
    new = random_image(rng, contested=False) if one_in(rng, 4) else patched(rng, old)
    move = Move(old, new, above)
    assume(is_legal(move))
    return move


@st.composite
def losses(draw: st.DrawFn) -> Move:
    """The new base lacks a directory in which a layer above deletes something, or puts something without
    listing it."""
    rng = draw(st.randoms(use_true_random=False))
    old, above = cut_image(rng, contested=False)
    above = above * one_in(rng, 2)  # layers above tend to make the directory anew
    image = [*old, *above]
    directories = directories_of(old)
    assume(directories)
    gone = rng.choice(directories)
    assume(gone in directories_of(image))
    rootfs = apply_layers(image)
    listed = [directory(path, **same_attributes(rootfs.nodes[path])) for path in [*ancestors(gone), gone]]
    number = rng.randint(1, 3)
    inside = rootfs.children(gone)
    choices = [
        [file(join(gone, b"new"), b"new")],
        [*listed[:-1], file(join(gone, b"new/deep"), b"new")],
        [opaque(gone)],
        [*listed, opaque(gone)],
        [*map(whiteout, inside[:number]), file(b"beside", b"beside")],
        [*listed, *map(whiteout, inside[:number])],
        [*map(whiteout, inside[:number])],
        [*map(whiteout, inside[:number]), file(join(gone, b"new"), b"new")],
    ]
    made = layer(*rng.choice(choices))
    at = rng.randint(0, len(above)) if one_in(rng, 4) else len(above)
    move = Move(old, without(old, gone), [*above[:at], made, *above[at:]])
    assume(is_legal(move))
    return move


@st.composite
def updates(draw: st.DrawFn) -> Move:
    """The new base has the same paths and types as the old one; contents and attributes are others."""
    rng = draw(st.randoms(use_true_random=False))
    old, above = cut_image(rng, contested=False)
    return Move(old, [updated(rng, data) for data in old], above)


def updated(rng: random.Random, data: bytes) -> bytes:
    """The same members, some of them with other contents and attributes."""
    members = []
    for record in read_members(data):
        member = again(record)
        if meaning(record.name)[0] == "entry" and one_in(rng, 2):
            content = member.data + b" updated" if record.kind == "file" else b""
            member = replace(member, data=content, mode=0o700, mtime=1_700_000_000)
        members.append(member)
    return layer(*members)


def again(record: Record) -> Member:
    """A member like the one that was read."""
    owned: dict[str, Any] = {"mode": record.mode, "uid": record.uid, "gid": record.gid}
    if record.kind == "directory":
        return directory(record.name or b"./", **owned)
    if record.kind == "symlink":
        return symlink(record.name, record.linkname, **owned)
    if record.kind == "hardlink":
        return hardlink(record.name, record.linkname, **owned)
    special = {"char": b"3", "block": b"4", "fifo": b"6"}
    member = file(record.name, record.content, **owned)
    if record.kind in special:
        major, minor = record.device
        return replace(member, type=special[record.kind], major=major, minor=minor)
    return member


def rebase(move: Move, *, squash: bool = False) -> Rebased:
    """What the product makes of it, unless it finds that a layer could not be unpacked."""
    result = rebase_layers(move.old, move.new, move.above, squash=squash)
    assume(not result.has("link"))
    return result


def digests(layers: Sequence[bytes | None]) -> list[str | None]:
    """What stands for the bytes in a comparison."""
    return [None if data is None else digest(data) for data in layers]


def unlike(right: Rootfs, layers: Sequence[bytes]) -> list[str]:
    """What of a root file system these layers make otherwise. Where a layer was made anew, hard links that
    reach into lower ones are copies."""
    return [line for line in differences(right, apply_layers(layers)) if ": names " not in line]


# --- the laws of the layers ------------------------------------------------------------------


@given(moves() | losses())
@law(200)
def test_the_root_file_system_is_the_new_base_with_the_layers_above(move: Move) -> None:
    """Where bases do not differ in types, the result is what the layers make of the new base: whiteouts in
    directories that it lacks do nothing, directories that only the old base gave are as they were there."""
    result = rebase(move)
    assume(not result.has("type"))
    assert unlike(rebased(move.old, move.new, move.above), result.layers) == []


@given(moves())
@law(100)
def test_conflicts_that_are_let_through_end_as_on_an_overlay(move: Move) -> None:
    """Where bases differ in types, the layers above win, path by path."""
    result = rebase(move)
    assume(result.has("type"))
    right, got = rebased(move.old, move.new, move.above), apply_layers(result.layers)
    for path in right.nodes.keys() | got.nodes.keys():
        assert got.kind(path) == right.kind(path)
        assert got.nodes[path].content == right.nodes[path].content


@pytest.mark.parametrize("contested", [False, True])
@given(data=st.data())
@law(60)
def test_a_rebase_onto_the_same_base_changes_nothing(contested: bool, data: st.DataObject) -> None:
    """Nothing is at risk, and every layer stays."""
    move = data.draw(moves(contested))
    result = rebase_layers(move.old, move.old, move.above)
    assert result.risks == []
    assert not result.remade
    assert digests(result.layers) == digests(move.image)


@pytest.mark.parametrize("contested", [False, True])
@given(data=st.data())
@law(80)
def test_layers_that_need_not_change_stay(contested: bool, data: st.DataObject) -> None:
    """The new base's layers are its own, and a layer above keeps its bytes unless it was made anew."""
    move = data.draw(moves(contested))
    result = rebase(move)
    assert digests(result.layers[: len(move.new)]) == digests(move.new)
    assert len(result.above) == len(move.above)
    for number, (before, after) in enumerate(zip(move.above, result.above, strict=True)):
        assert number in result.remade or digests([before]) == digests([after])


@given(losses())
@law(120)
def test_layers_made_anew_hold_what_all_tools_apply_alike(move: Move) -> None:
    """A layer that had to change keeps to the safe subset, for what then lies below it."""
    result = rebase(move)
    below = list(move.new)
    for number, after in enumerate(result.above):
        if after is not None:
            assert number not in result.remade or lint(below, after) == []
            below.append(after)


@given(moves() | losses())
@law(150)
def test_no_whiteout_is_left_hanging(move: Move) -> None:
    """A whiteout that lay in a directory lies in one, or is gone: an overlay would show a broken name."""
    result = rebase(move)
    for number, after in enumerate(result.above):
        if after is not None:
            home = hanging([*move.old, *move.above[:number]], move.above[number])
            below = [*move.new, *filter(None, result.above[:number])]
            assert hanging(below, after) <= home, number


def hanging(below: Sequence[bytes], data: bytes) -> set[bytes]:
    """The whiteouts of a layer that do not lie in a directory, and the opaque markers of none."""
    lower = apply_layers(below)
    members = [(*meaning(record.name), record.kind) for record in read_members(data)]
    own = {path for what, path, kind in members if what == "entry" and kind == "directory"}
    return {
        path
        for what, path, _ in members
        if (what == "whiteout" and lower.kind(parent_of(path)) != "directory")
        or (what == "opaque" and lower.kind(path) != "directory" and path not in own)
    }


@given(moves() | losses())
@law(150)
def test_nothing_of_the_new_base_is_gone_without_a_word(move: Move) -> None:
    """Where nothing is told of types, a path of the new base is gone only where the layers hide it by name,
    or take it away at home too."""
    result = rebase(move)
    assume(not result.has("type"))
    new, after = apply_layers(move.new), apply_layers(result.layers)
    states = apply_each(move.image)[len(move.old) :]
    hidden = {
        path
        for data in move.above
        for what, path in (meaning(record.name) for record in read_members(data))
        if what in ("whiteout", "opaque")
    }

    def taken_away(path: bytes) -> bool:
        """Whether it was there and is gone, or has been a directory and something else."""
        met = {is_directory(state, path) for state in states}
        return len(met - {None}) > 1 or (len(met) > 1 and is_directory(states[0], path) is not None)

    for path in new.nodes:
        if is_directory(after, path) != is_directory(new, path):
            ways = [b"", *ancestors(path), path]
            assert any(way in hidden or taken_away(way) for way in ways), path


def is_directory(rootfs: Rootfs, path: bytes) -> bool | None:
    """None where nothing is."""
    kind = rootfs.kind(path)
    return None if kind is None else kind == "directory"


@given(moves() | losses())
@law(100)
def test_no_layer_is_made_anew_without_a_reason(move: Move) -> None:
    """A layer changes only where a whiteout of it lies in what is no directory any more, or where an entry
    goes into a directory that only the old base has."""
    result = rebase(move)
    for number in result.remade:
        old, new = (apply_layers([*base, *move.above[:number]]) for base in (move.old, move.new))
        members = [(*meaning(record.name), record) for record in read_members(move.above[number])]
        needed = {
            above
            for what, path, _ in members
            for above in (*ancestors(path), *([path] if what == "opaque" else []))
        }
        assert any(old.kind(above) == "directory" and new.kind(above) != "directory" for above in needed), (
            number
        )


@given(moves())
@law(80)
def test_there_and_back(move: Move) -> None:
    """Where no layer had to be made anew, the way back gives the same layers and needs no change either."""
    there = rebase(move)
    assume(not there.remade)
    back = rebase_layers(move.new, move.old, move.above)
    assert not back.has("link")
    assert not back.remade
    assert digests(back.layers) == digests(move.image)


@given(updates())
@law(60)
def test_an_update_of_the_same_paths_is_safe(move: Move) -> None:
    """A base of the same paths and types takes every layer as it is, and nothing is an error."""
    result = rebase_layers(move.old, move.new, move.above)
    assert result.risks == []
    assert digests(result.above) == digests(move.above)
    assert unlike(apply_layers([*move.new, *move.above]), result.layers) == []


@given(updates())
@law(80)
def test_squash_and_rebase_in_either_order(move: Move) -> None:
    """On a base of the same paths and types the layers can be merged before they move, or after."""
    bottom, top = len(move.old), len(move.image)
    squashed = squash_layers(move.image, [(0, bottom, True), (bottom, top, False)])
    first = rebase_layers(move.old, move.new, squashed[bottom:])
    last = rebase_layers(move.old, move.new, move.above, squash=True)
    assert unlike(apply_layers(first.layers), last.layers) == []


@given(moves())
@law(100)
def test_a_rebase_that_squashes(move: Move) -> None:
    """Merged into one layer of the safe subset, the layers above make the root file system that they make
    one by one."""
    apart, merged = rebase(move), rebase(move, squash=True)
    assert len(merged.above) == 1
    assert merged.risks == apart.risks
    assert unlike(apply_layers(apart.layers), merged.layers) == []
    (made,) = merged.above
    if made is not None and (len(move.above) > 1 or apart.remade):
        assert lint(move.new, made) == []


@given(moves(contested=True))
@law(40)
def test_determinism(move: Move) -> None:
    """The same layers and bases give the same bytes, however often."""
    first = rebase(move)
    copies = ([bytes(bytearray(data)) for data in part] for part in (move.old, move.new, move.above))
    second = rebase_layers(*copies)
    assert digests(second.layers) == digests(first.layers)
    assert second.risks == first.risks


@given(moves(contested=True))
@law(40)
def test_what_lies_above_does_not_matter(move: Move) -> None:
    """What a layer becomes depends on the layers below it alone."""
    whole = rebase(move)
    part = rebase_layers(move.old, move.new, move.above[:-1])
    assert digests(part.above) == digests(whole.above[:-1])


@pytest.mark.parametrize("outcome", ["type", "parent", "remade", "vanished", "clean"])
def test_every_outcome_is_met(outcome: str) -> None:
    """The laws hold for moves that, together, meet all that can become of a layer."""

    def meets(move: Move) -> bool:
        result = rebase_layers(move.old, move.new, move.above)
        return {
            "type": result.has("type"),
            "parent": result.has("parent"),
            "remade": bool(result.remade) and None not in result.above,
            "vanished": None in result.above,
            "clean": bool(move.above) and not result.risks and not result.remade,
        }[outcome]

    quick = settings(law(500), phases=[Phase.generate])
    assert find(moves() | losses(), meets, settings=quick).above


# --- the laws of the images ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["docker", "oci"])
@given(move=moves())
@law(12)
def test_an_image_on_its_own_base_stays_what_it_is(form: str, move: Move) -> None:
    """A rebase onto the same base gives the same config, byte for byte, and in an OCI layout the same
    manifest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = ImageSpec(move.old, ["old:1"])
        app = on_base(base, *move.above, tags=["app:1"])
        if form == "docker":
            docker_archive_old(folder / "in", [app, base])
        else:
            (manifest, _) = oci_layout(folder / "in", [app, base])
        out = folder / "out"
        words = ("--old-base", "old:1", "--new-base", "old:1", "--check", "--json")
        result = run("rebase", f"{folder}/in:app:1", *words, "-o", f"oci:{out}" if form == "oci" else out)
        assert result.code == 0, result.err
        report, image = result.json, read_image(out)
        assert not report["changed"]
        assert report["risks"] == report["remade_layers"] == report["config"] == []
        assert image.config_data == config_of(app)
        assert digests(image.layers) == digests(move.image)
        if form == "oci":
            assert report["manifest_digest"] == manifest


@given(losses() | moves())
@law(25)
def test_what_was_written_is_what_the_layers_make(move: Move) -> None:
    """Read back from an archive, which `--check` finds right, an image is what it was told to be."""
    with tempfile.TemporaryDirectory() as name:
        words = ("--no-strict", "--merge", "none", "--check", "--json")  # what is merged is in no layer
        result, out = rebased_archive(Path(name), move, *words)
        assume(result.code != 3)  # a layer that could not be unpacked
        assert result.code == 0, result.err
        expected = rebase_layers(move.old, move.new, move.above)
        assert digests(read_image(out).layers) == digests(expected.layers or [layer()])
        told = [(risk["kind"], risk["severity"]) for risk in result.json["risks"]]
        for kind, _, is_error in expected.risks:
            assert (kind, "error" if is_error else "warning") in told
        assert result.json["remade_layers"] == sorted(expected.remade)


@given(losses() | moves())
@law(10)
def test_the_same_archive_however_often(move: Move) -> None:
    """Any number of threads writes the same bytes."""
    written = []
    for jobs in ("1", "4"):
        with tempfile.TemporaryDirectory() as name:
            result, out = rebased_archive(Path(name), move, "--no-strict", "--jobs", jobs)
            assume(result.code != 3)
            written.append(out.read_bytes())
    assert written[0] == written[1]


def rebased_archive(folder: Path, move: Move, *words: str) -> tuple[Result, Path]:
    """What the command line makes of archives of the image and its new base."""
    base = ImageSpec(move.old, ["old:1"])
    docker_archive_old(folder / "app.tar", [on_base(base, *move.above, tags=["app:1"]), base])
    docker_archive_old(folder / "new.tar", [ImageSpec(move.new, ["new:1"])])
    bases = ("--old-base", "old:1", "--new-base", folder / "new.tar")
    out = folder / "out.tar"
    return run("rebase", f"{folder}/app.tar:app:1", *bases, "-t", "new:2", "-o", out, *words), out


OLD = ImageSpec(
    [layer(directory("d"), file("d/a", b"a"), file("d/b", b"b")), layer(file("e", b"e"))],
    ["old:1"],
    {"config": {"Env": ["PATH=/bin", "V=1"], "Cmd": ["sh"], "Labels": {"of": "old"}}},
)
NEW = ImageSpec(
    [layer(directory("d"), file("d/a", b"A"), file("d/b", b"b")), layer(file("n", b"n"))],
    ["new:1"],
    {"config": {"Env": ["PATH=/usr/bin:/bin", "V=2"], "Cmd": ["bash"], "Labels": {"of": "new"}}},
    history=[{"created_by": "new 0"}, {"created_by": "new 1"}, {"created_by": "CMD", "empty_layer": True}],
)
APP = ImageSpec(
    [*OLD.layers, layer(directory("d"), whiteout("d/b"), file("d/x", b"x")), layer(file("y", b"y"))],
    ["app:1"],
    {"config": {"Env": ["PATH=/x:/bin", "V=1", "A=1"], "Cmd": ["x"], "Labels": {"of": "old", "own": "1"}}},
)


def test_there_and_back_is_the_same_image(tmp_path: Path) -> None:
    """What an image inherits follows the new base, and on the way back the old one: config and layers are
    those that it had."""
    oci_layout(tmp_path / "all", [APP, OLD, NEW])
    where = f"oci:{tmp_path}/all"
    ways = (("app:1", "old:1", "new:1", "there:1"), ("there:1", "new:1", "old:1", "back:1"))
    for source, old, new, tag in ways:
        words = ("--old-base", old, "--new-base", new, "-t", tag, "-o", where, "--check")
        result = run("rebase", f"{where}:{source}", *words)
        assert result.code == 0, result.err
    images = {image.names[0].rpartition("/")[2]: image for image in read_images(tmp_path / "all")}
    there, back = images["there:1"], images["back:1"]
    assert there.config["config"] == {
        "Env": ["PATH=/x:/usr/bin:/bin", "V=2", "A=1"], "Cmd": ["x"], "Labels": {"of": "new", "own": "1"},
    }  # fmt: skip
    assert there.history[:3] == ["new 0", "new 1", "- CMD"]
    assert back.config == images["app:1"].config
    assert back.blobs == images["app:1"].blobs


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("whose", ["old", "new"])
def test_a_base_that_was_compressed_anew_is_the_same(whose: str, level: int, tmp_path: Path) -> None:
    """Bases are told by what their layers hold; the result has the blobs of the base that was asked for."""
    for name, spec in (("app", APP), ("old", OLD), ("new", NEW)):
        oci_layout(tmp_path / name, [spec])
    before = recompress(tmp_path / whose, level)
    bases = ("--old-base", f"oci:{tmp_path}/old", "--new-base", f"oci:{tmp_path}/new")
    result = run("rebase", tmp_path / "app", *bases, "-o", f"oci:{tmp_path}/out:x", "--check")
    assert result.code == 0, result.err
    image = read_image(tmp_path / "out")
    assert digests(image.layers) == digests([*NEW.layers, *APP.layers[2:]])
    stored = [blob for one in read_images(tmp_path / "new") for blob in one.blobs]
    assert digests(image.blobs[:2]) == digests(stored)
    assert digests(image.blobs[2:]) == digests(read_image(tmp_path / "app").blobs[2:])
    assert before != [one["digest"] for one in read_image(tmp_path / whose).manifest["layers"]]


def recompress(folder: Path, level: int) -> list[str]:
    """Store the layers of a layout's one image with another level; returns the digests that they had."""
    before: list[str] = []

    def change(manifest: Json) -> None:
        for one in manifest["layers"]:
            path = folder / blob_path(one["digest"])
            before.append(one["digest"])
            one.update(put_blob(folder, gzip.compress(unpack(path.read_bytes()), level, mtime=1)))

    change_manifest(folder, change)
    return before
