"""What a rebase may break in the tree: platform, types, parents and links, and what stops it.

Small images go through the command line; what is said comes from its JSON.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from squashkit.options import ALLOWABLE, STOPPABLE
from squashkit.plan.rebase.model import Kind
from tests.support.builders import (
    Json,
    config_of,
    digest,
    directory,
    file,
    hardlink,
    opaque,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers, table
from tests.support.moves import (
    BOTH,
    HOME,
    LIB,
    MERGED,
    NOTHING,
    Members,
    passes,
    place,
    stops,
    told,
    within,
)
from tests.support.runner import (
    Result,
    assert_fails,
    assert_same_rootfs,
    read_image,
    run,
    run_process,
    validate,
)

# --- platform -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"architecture": "amd64"}, {"architecture": "arm64"}),
        ({"architecture": "arm", "variant": "v7"}, {"architecture": "arm", "variant": "v6"}),
        ({"os": "linux"}, {"os": "freebsd"}),
        ({"os.version": "1"}, {"os.version": "2"}),
    ],
    ids=["architecture", "variant", "system", "its version"],
)
def test_another_platform_is_an_error(old: Json, new: Json, tmp_path: Path) -> None:
    """What was built for one kind of machine does not run on another; who knows better lets it through, and
    the image says then what it said."""
    moved = place(
        tmp_path, [file("a")], [file("b")], [file("x")], old_config=old, new_config=new, app_config=old
    )
    result = stops(moved, "platform")
    (risk,) = result.json["risks"]
    assert (risk["path"], risk["layer"]) == ("", None)
    assert next(iter(old.values())) in risk["old"]
    assert list(new.values())[-1] in risk["new"]
    passes(moved, "--allow", "platform")
    assert read_image(moved.out).config["architecture"] == old.get("architecture", "amd64")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"architecture": "arm64"}, {"architecture": "arm64", "variant": "v8"}),
        ({"architecture": "arm64", "variant": "v8"}, {"architecture": "arm64"}),
        ({"os.version": "1"}, {}),
    ],
    ids=["variant added", "variant gone", "version gone"],
)
def test_the_same_platform_is_none(old: Json, new: Json, tmp_path: Path) -> None:
    """What only one side states is no difference."""
    moved = place(
        tmp_path, [file("a")], [file("b")], [file("x")], old_config=old, new_config=new, app_config=old
    )
    assert told(passes(moved)) == []


# --- type -----------------------------------------------------------------------------------


def test_a_directory_that_became_a_symlink(tmp_path: Path) -> None:
    """On a base with /lib -> usr/lib, a layer's /lib would hide all of usr/lib behind it."""
    moved = place(tmp_path, LIB, MERGED, [directory("lib"), file("lib/own.so", b"own")])
    (risk,) = stops(moved, "type").json["risks"]
    assert (risk["path"], risk["old"], risk["new"]) == ("lib", "a directory", "a symlink to usr/lib")
    assert (risk["layer"], risk["severity"]) == (0, "error")
    assert told(passes(moved, "--allow", "type")) == [("type", "error", "lib")]
    found = table(apply_layers(read_image(moved.out).layers))
    assert found["lib"] == "dir 755"
    assert "lib/libc.so" not in found


def test_a_directory_that_became_a_symlink_and_is_not_listed(tmp_path: Path) -> None:
    """It is no other where the layer has only what lies in it."""
    moved = place(tmp_path, LIB, MERGED, [file("lib/own.so", b"own")])
    assert told(stops(moved, "type")) == [("type", "error", "lib")]


def test_a_symlink_that_became_a_directory(tmp_path: Path) -> None:
    """The other way round: a layer that made the symlink anew would hide the new base's directory."""
    moved = place(tmp_path, MERGED, LIB, [symlink("lib", "usr/lib", mtime=5)])
    assert told(stops(moved, "type")) == [("type", "error", "lib")]


def test_beside_a_directory_that_became_a_symlink(tmp_path: Path) -> None:
    """Layers that keep out of it may move."""
    moved = place(tmp_path, [*LIB, directory("usr")], MERGED, [directory("usr"), file("usr/own", b"own")])
    assert told(passes(moved)) == []


def test_a_symlink_on_both_sides_is_one_type(tmp_path: Path) -> None:
    """Where it leads is the layer's choice, as before."""
    moved = place(tmp_path, [symlink("l", "a")], [symlink("l", "b")], [symlink("l", "a", mtime=5)])
    assert told(passes(moved)) == []
    moved = place(tmp_path, [file("f")], [symlink("f", "b")], [symlink("f", "c")])
    assert told(passes(moved, "--force")) == []


@pytest.mark.parametrize(
    "before", [[NOTHING], [file("x")], [symlink("x", "z")]], ids=["new", "file", "link"]
)
def test_a_file_over_a_directory_of_the_new_base(before: Members, tmp_path: Path) -> None:
    """A file of the layer, where the new base alone has a directory, hides all that is in it."""
    moved = place(tmp_path, before, [directory("x"), file("x/y")], [file("x", b"own")])
    assert told(stops(moved, "type"))[0] == ("type", "error", "x")


def test_a_file_that_the_layer_put_over_a_directory(tmp_path: Path) -> None:
    """What it took the place of on the old base, it may take the place of on the new one."""
    moved = place(tmp_path, within("x/a"), within("x/b"), [file("x", b"own")])
    assert told(passes(moved)) == []


def test_a_directory_over_a_file_of_the_new_base(tmp_path: Path) -> None:
    """A directory of the layer, where the new base alone has a file."""
    moved = place(tmp_path, [NOTHING], [file("x", b"new")], [directory("x"), file("x/y")])
    assert told(stops(moved, "type")) == [("type", "error", "x")]
    moved = place(tmp_path, [file("x")], [file("x", b"new")], [directory("x"), file("x/y")])
    assert told(passes(moved)) == []


def test_a_deletion_of_what_is_something_else_now(tmp_path: Path) -> None:
    """A whiteout that was meant for a file would take a whole directory away."""
    moved = place(tmp_path, [file("x")], [directory("x"), file("x/y")], [whiteout("x")])
    assert told(stops(moved, "type")) == [("type", "error", "x")]
    for old, new in (
        (within("x/a"), within("x/b")),
        ([file("x")], [symlink("x", "z")]),
        ([file("x")], [NOTHING]),
        (within("x/a"), [NOTHING]),
        ([NOTHING], within("x/a")),
    ):
        moved = place(tmp_path, old, new, [whiteout("x")])
        assert told(passes(moved, "--force")) == []


# --- parent and what lies in it -------------------------------------------------------------


def test_a_directory_that_is_gone_and_not_listed(tmp_path: Path) -> None:
    """Files without their directory: an error, since the old base's is made for them."""
    moved = place(tmp_path, HOME, [NOTHING], [file("srv/data/new", b"new")])
    assert told(stops(moved, "parent")) == [("parent", "error", "srv")]
    result = passes(moved, "--allow", "parent")
    assert result.json["remade_layers"] == [0]
    found = table(apply_layers(read_image(moved.out).layers))
    assert found == {
        "z": "file 644",
        "srv": "dir 750",
        "srv/data": "dir 700",
        "srv/data/new": "file 644 new",
    }


def test_a_directory_that_is_gone_and_listed(tmp_path: Path) -> None:
    """The layer brings it along, and only its neighbours are gone: a warning, and the layer stays."""
    moved = place(tmp_path, HOME, [NOTHING], [*HOME[:2], file("srv/data/new", b"new")])
    result = passes(moved)
    assert told(result) == [("parent", "warning", "srv")]
    assert result.json["remade_layers"] == []


def test_an_empty_directory_that_is_gone_is_no_loss(tmp_path: Path) -> None:
    """Where nothing lay beside the layer's files, nothing is missed."""
    moved = place(tmp_path, [directory("srv")], [NOTHING], [directory("srv"), file("srv/new")])
    assert told(passes(moved)) == []


def test_a_directory_with_other_attributes_is_the_same(tmp_path: Path) -> None:
    """A directory need not look the same to be there."""
    moved = place(tmp_path, HOME, [directory("srv"), directory("srv/data")], [file("srv/data/new", b"new")])
    assert told(passes(moved)) == []


@pytest.mark.parametrize("listed", [False, True])
def test_a_whiteout_in_a_directory_that_is_gone_is_left_out(listed: bool, tmp_path: Path) -> None:
    """There it hides nothing and would be a broken name. The rest of the layer stays, and other layers keep
    their bytes."""
    gone = [*(HOME[:2] * listed), whiteout("srv/data/old"), file("beside", b"b")]
    moved = place(tmp_path, HOME, [NOTHING], [file("first")], gone, [file("last")])
    result = passes(moved)
    assert result.json["remade_layers"] == [1]
    image = read_image(moved.out)
    assert image.layers[1::2] == (moved.app.layers[1], moved.app.layers[3])
    assert b".wh." not in image.layers[2]
    assert_same_rootfs([*moved.new.layers, *moved.app.layers[1:]], image.layers)


def test_a_layer_of_which_nothing_is_left_is_left_out(tmp_path: Path) -> None:
    """The history tells of its step without a layer."""
    moved = place(tmp_path, HOME, [NOTHING], [whiteout("srv/data/old")], [file("last")])
    assert passes(moved).json["layers"] == {"before": 3, "after": 2}
    image = read_image(moved.out)
    assert list(image.layers) == [moved.new.layers[0], moved.app.layers[2]]
    steps = [step for step in image.history if not step.startswith("- ")]
    assert steps == ["RUN step 0", "RUN step 2"]
    assert "- RUN step 1" in image.history


def test_a_whiteout_of_nothing_in_a_directory_stays(tmp_path: Path) -> None:
    """Where its directory is there, a whiteout that hides nothing is harmless: the layer stays."""
    moved = place(tmp_path, HOME, HOME[:2], [whiteout("srv/data/old")])
    assert passes(moved).json["remade_layers"] == []


def test_an_opaque_marker_in_a_directory_that_is_gone(tmp_path: Path) -> None:
    """It goes as a whiteout does, unless the layer has the directory itself."""
    moved = place(tmp_path, HOME, [NOTHING], [opaque("srv/data"), file("beside")])
    assert passes(moved).json["remade_layers"] == [0]
    moved = place(tmp_path, HOME, [NOTHING], [*HOME[:2], opaque("srv/data"), file("srv/data/new")])
    assert passes(moved, "--force").json["remade_layers"] == []


# --- hard links -----------------------------------------------------------------------------


def test_a_hard_link_to_what_is_gone(tmp_path: Path) -> None:
    """Such a layer cannot be unpacked, and nothing allows that."""
    moved = place(tmp_path, [file("a", b"a")], [NOTHING], [hardlink("b", "a")])
    assert told(stops(moved, "link")) == [("link", "error", "b")]
    for words in (("--no-strict",), *(("--allow", kind) for kind in ("type", "parent"))):
        assert moved.run(*words).code == 3
        assert not moved.out.exists()
    assert moved.run("--allow", "link").code == 2
    assert "Errors of kind link always stop" in " ".join(run("rebase", "--help-all").text.split())


def test_a_lost_hard_link_hides_nothing_else(tmp_path: Path) -> None:
    """Links to it are lost, too, in its layer and above; what else does not fit is told beside."""
    bug = [directory("bin"), file("bin/su", b"bug")]
    fix = [directory("bin"), file("bin/su", b"fix")]
    first = [hardlink("b", "a"), hardlink("c", "b"), file("own"), hardlink("own2", "own")]
    second = [hardlink("d", "b"), file("bin/su", b"bug", mode=0o755)]
    moved = place(tmp_path, [*bug, file("a", b"a")], fix, first, second)
    links = [("link", "error", name) for name in "bcd"]
    assert told(stops(moved, "link", "content")) == [*links, ("content", "error", "bin/su")]


def test_a_hard_link_to_what_is_there(tmp_path: Path) -> None:
    """It links to the new base's file, or to the layer's own."""
    moved = place(tmp_path, [file("a", b"a")], [file("a", b"A")], [hardlink("b", "a")])
    assert told(passes(moved)) == []
    assert table(apply_layers(read_image(moved.out).layers))["b"] == "file 644 A =a,b"
    moved = place(tmp_path, [file("a", b"a")], [NOTHING], [file("a", b"own"), hardlink("b", "a")])
    kinds = {kind for kind, _, _ in told(passes(moved, "--force"))}
    assert kinds == {"content"}


def test_a_hard_link_of_a_layer_made_anew_is_a_copy(tmp_path: Path) -> None:
    """No new layer links out of itself."""
    old = [file("a", b"a"), *within("d/gone")]
    moved = place(tmp_path, old, [file("a", b"A")], [hardlink("b", "a"), whiteout("d/gone")])
    assert passes(moved).json["remade_layers"] == [0]
    found = table(apply_layers(read_image(moved.out).layers))
    assert (found["a"], found["b"]) == ("file 644 A", "file 644 A")


# --- what stops, and what is said -----------------------------------------------------------


def test_errors_are_let_through_kind_by_kind(tmp_path: Path) -> None:
    """Each needs its own permission; without strictness none is needed."""
    moved = place(tmp_path, *BOTH)
    stops(moved, "parent", "type")
    for kind, other in (("type", "parent"), ("parent", "type")):
        result = moved.run("--allow", kind)
        assert result.code == 3
        assert f"--allow {other}" in result.err
        assert f"--allow {kind}" not in result.err
        assert {r["kind"]: r["stops"] for r in result.json["risks"]} == {kind: False, other: True}
    passes(moved, "--allow", "type", "--allow", "parent")
    result = passes(moved, "--no-strict", "--force")
    assert {risk["severity"] for risk in result.json["risks"]} == {"error"}
    assert not any(risk["stops"] for risk in result.json["risks"])


def test_to_allow_all_and_some_is_one_too_many(tmp_path: Path) -> None:
    """A usage error, before anything is read."""
    moved = place(tmp_path, *BOTH)
    assert_fails(moved.run("--no-strict", "--allow", "type"), 2, "--no-strict allows everything")


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_only_what_can_stop_may_be_allowed(kind: str, tmp_path: Path) -> None:
    """There is nothing to allow where nothing stops."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
    assert moved.run("--allow", kind).code == (0 if kind in ALLOWABLE else 2)


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_whoever_wants_to_stops_at_warnings(kind: str, tmp_path: Path) -> None:
    """At those of one kind, which nothing lets through; not at those of others."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
    done = moved.run("--stop-on", kind)
    assert done.code == (3 if kind == "content" else 0 if kind in STOPPABLE else 2)
    if kind == "content":
        assert_fails(Result(3, b"", done.err), 3, "1 byte -> 1 other byte")
        assert "--allow" not in done.err
        assert_fails(moved.run("--stop-on", kind, "--allow", kind), 2, "exclude one another")


def test_warnings_stop_nothing(tmp_path: Path) -> None:
    """They are told on the way."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
    result = run("rebase", *moved.arguments, "-o", moved.out)
    assert result.code == 0
    assert "At risk (1 warning), what the layers go by -> what the new base has:\n" in result.text
    assert "content   /f: 1 byte -> 1 other byte (in layer 1, the 1st above the base)\n" in result.text


def test_a_layer_is_named_by_its_number_and_its_place(tmp_path: Path) -> None:
    """In the image as it was, and above either base."""
    above = [[file(f"f{number:02}", b"c")] for number in range(23)]
    names = [f"f{number:02}" for number in range(23)]
    moved = place(tmp_path, *([file(name, text) for name in names] for text in (b"a", b"b")), *above)
    text = run("rebase", *moved.arguments, "-n", "-v").text
    for number, place_ in ((2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (23, "23rd")):
        assert f"(in layer {number}, the {place_} above the base)" in text


def test_bases_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By the digests of their configs, and when they were made."""
    moved = place(
        tmp_path, [file("f", b"a")], [file("f", b"b")], [file("x")],
        old_config={"created": "2018-05-01T12:00:00Z"}, new_config={"created": "2026-11-26T12:00:00Z"},
    )  # fmt: skip
    result = run("rebase", *moved.arguments, "-n")
    bases = {"Old": (moved.old, "2018-05-01"), "New": (moved.new, "2026-11-26")}
    for name, (image, made) in bases.items():
        which = f"({digest(config_of(image))[:19]}, made {made})"
        assert re.search(rf"(?m)^{name} base: .*{re.escape(which)}$", result.text)
    report = moved.run("-n").json
    assert report["old_base"]["image_id"] == digest(config_of(moved.old))
    assert report["new_base"]["image_id"] == digest(config_of(moved.new))


def test_an_error_lists_no_more_than_twenty(tmp_path: Path) -> None:
    """The others are counted; JSON has them all."""
    names = [f"d{number:02}" for number in range(23)]
    moved = place(tmp_path, [directory(name) for name in names], [file(name) for name in names],
                  [file(f"{name}/x") for name in names])  # fmt: skip
    result = stops(moved, "type")
    assert "/d19: " in result.err
    assert "/d20: " not in result.err
    assert "\n  and 3 more (--json lists them)\n" in result.err
    assert len(result.json["risks"]) == 23


def test_an_old_output_survives_a_conflict(tmp_path: Path) -> None:
    """Even one that was to be replaced; a digest file is not written."""
    moved = place(tmp_path, *BOTH)
    moved.out.write_bytes(b"old")
    assert moved.run("--force", "--digest-file", str(tmp_path / "digest")).code == 3
    assert moved.out.read_bytes() == b"old"
    assert not (tmp_path / "digest").exists()


def test_a_report_is_written_of_a_conflict(tmp_path: Path) -> None:
    """It is what `--json` prints, so that a pipeline knows why."""
    moved = place(tmp_path, *BOTH)
    report = tmp_path / "report.json"
    result = moved.run("--report", str(report))
    assert result.code == 3
    assert json.loads(report.read_bytes()) == result.json
    report.unlink()
    assert run("rebase", *moved.arguments, "-o", moved.out, "-q", "--report", report).out == b""
    assert json.loads(report.read_bytes()) == result.json
    assert result.json["output"] is None
    assert result.json["image_id"]["after"] is None
    assert result.json["result_layers"] == []


def test_a_pipe_gets_no_byte_of_a_conflict(tmp_path: Path) -> None:
    """What comes after it in a pipeline sees nothing."""
    place(tmp_path, *BOTH)
    words = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar", "-t", "x:1")
    result = run_process("rebase", *words, stdin=(tmp_path / "app.tar").read_bytes())
    assert (result.code, result.out) == (3, b"")


def test_a_pipe_gets_the_image(tmp_path: Path) -> None:
    """From standard input to standard output, as other commands do it; the summary goes elsewhere."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [whiteout("f")])
    words = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar", "-t", "x:1")
    result = run_process("rebase", *words, stdin=(tmp_path / "app.tar").read_bytes())
    assert result.code == 0, result.err
    (image,) = validate(result.out)
    assert list(image.layers) == [*moved.new.layers, *moved.app.layers[1:]]
    assert "New base: 1 layer, new:1" in result.err


@pytest.mark.parametrize("fits", [True, False])
def test_a_dry_run_tells_and_writes_nothing(fits: bool, tmp_path: Path) -> None:
    """With all that would be told, and the exit code that there would be."""
    moved = (
        place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
        if fits
        else place(tmp_path, *BOTH)
    )
    before = sorted(tmp_path.iterdir())
    dry = moved.run("--dry-run")
    assert sorted(tmp_path.iterdir()) == before
    real = moved.run()
    assert dry.code == real.code == (0 if fits else 3)
    if fits:
        assert dry.json["dry_run"]
        assert not real.json["dry_run"]
        assert dry.json["output"] is None
        assert dry.json["changed"] is True
    for name in (
        "risks",
        "copied_up",
        "config",
        "remade_layers",
        "old_base",
        "new_base",
        "layers",
        "platform",
    ):
        assert dry.json[name] == real.json[name]


FIELDS = (
    "source output dry_run checked changed tags platform old_base new_base image_id manifest_digest"
    " store_id layers"
    " remade_layers merged conflicts risks copied_up config stored_bytes result_layers transfer delta notes"
)


def test_the_report_in_json(tmp_path: Path) -> None:
    """Every field, with what was read, what was written and what was found."""
    moved = place(
        tmp_path,
        [*HOME, file("f", b"a")],
        [file("f", b"b")],
        [file("f", b"c"), whiteout("srv/data/old")],
        [file("g")],
        old_config={"config": {"Env": ["A=1"], "Cmd": ["x"]}},
        new_config={"config": {"Env": ["A=2"], "Cmd": ["x"]}},
        app_config={"config": {"Env": ["A=1"], "Cmd": ["y"]}},
    )  # fmt: skip
    report = moved.run("--check").json
    assert report.keys() == set(FIELDS.split())
    image = read_image(moved.out)
    assert report["source"] == str(tmp_path / "app.tar")
    assert report["output"] == str(moved.out)
    assert (report["dry_run"], report["checked"], report["changed"]) == (False, True, True)
    assert report["tags"] == ["app:2"]
    assert report["platform"] == "linux/amd64"
    assert (report["old_base"]["layers"], report["old_base"]["name"]) == (1, "old:1")
    assert (report["new_base"]["layers"], report["new_base"]["name"]) == (1, "new:1")
    assert report["image_id"]["after"] == image.image_id != report["image_id"]["before"]
    assert report["layers"] == {"before": 3, "after": 3}
    assert report["remade_layers"] == [0]
    assert report["config"] == [{"field": "Env.A", "before": "1", "after": "2"}]
    assert report["copied_up"] == [{"path": "f", "layer": 0, "same_content": False, "changed_below": True}]
    (risk,) = report["risks"]
    assert risk.keys() == {"kind", "severity", "stops", "path", "package", "old", "new", "layer", "effect"}
    assert report["stored_bytes"] == sum(map(len, image.blobs))
    assert [one["diff_id"] for one in report["result_layers"]] == image.config["rootfs"]["diff_ids"]
    assert report["transfer"] is report["delta"] is None


def test_the_table_of_settings(tmp_path: Path) -> None:
    """A person sees what follows the new base, before and after."""
    moved = place(
        tmp_path,
        [file("a")],
        [file("b")],
        [file("x")],
        old_config={"config": {"Env": ["PATH=/bin"], "User": "1"}},
        new_config={"config": {"Env": ["PATH=/sbin"]}},
        app_config={"config": {"Env": ["PATH=/x:/bin"], "User": "1"}},
    )  # fmt: skip
    result = run("rebase", *moved.arguments, "-n")
    lines = [line.split() for line in result.text.splitlines()]
    assert ["Env.PATH", "/x:/bin", "/x:/sbin"] in lines
    assert ["User", "1", "(not", "set)"] in lines
    kept = run("rebase", *moved.arguments, "-n", "--config", "keep")
    assert "Env.PATH" not in kept.text


def test_many_risks_are_listed_on_request(tmp_path: Path) -> None:
    """Eight and a count, or all with -v."""
    names = [f"d{number:02}/f" for number in range(11)]
    moved = place(
        tmp_path,
        *([part for name in names for part in within(name, text)] for text in (b"a", b"b", b"c")),
    )
    result = run("rebase", *moved.arguments, "-n")
    assert "At risk (11 warnings)," in result.text
    assert "and 3 more (-v lists them)" in result.text
    assert "/d10/f" not in result.text
    assert "/d10/f" in run("rebase", *moved.arguments, "-n", "-v").text


def test_nothing_at_risk_is_said(tmp_path: Path) -> None:
    """No news is told as such."""
    moved = place(tmp_path, [file("a")], [file("b")], [file("x")])
    assert (
        "Nothing in the layers above depends on what differs between the bases."
        in run("rebase", *moved.arguments, "-n").text
    )


def test_names_that_terminals_take_for_orders(tmp_path: Path) -> None:
    """A path of a layer is shown with its control signs escaped."""
    name = b"a\x1b[31m\n\xff"
    moved = place(tmp_path, [file(name, b"a")], [file(name, b"b")], [file(name, b"c")])
    result = run("rebase", *moved.arguments, "-n")
    assert "\x1b" not in result.text
    assert "a\\x1b[31m\\n\\xff" in result.text
    assert moved.run("-n").json["risks"][0]["path"] == "a\\x1b[31m\\n\\xff"


def test_merged_layers_are_told_of_alike(tmp_path: Path) -> None:
    """What is at risk does not depend on how the layers go over."""
    moved = place(
        tmp_path, [*HOME, file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [whiteout("srv/data/old")]
    )
    apart, merged = moved.run(), moved.run("--squash", "--force", "--check")
    assert merged.code == 0, merged.err
    for name in ("risks", "copied_up", "config", "remade_layers"):
        assert merged.json[name] == apart.json[name]
    assert len(read_image(moved.out).layers) == merged.json["layers"]["after"] == 2
