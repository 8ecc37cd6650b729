"""Options that do not fit are a usage error; what is said goes where it belongs; the small commands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    on_base,
    symlink,
    whiteout,
)
from tests.support.faults import LAST, OK
from tests.support.runner import (
    APP,
    KEEP_2,
    KEEP_BASE,
    D,
    Json,
    assert_fails,
    docker_files,
    read_image,
    run,
    run_process,
    squash,
    validate,
    write_archive,
)
from tests.support.runner import (
    listing_of as listing,
)

# --- options --------------------------------------------------------------------------------


USAGE: dict[str, tuple[str, ...]] = {
    "an unknown option": ("--nope",),
    "two images": ("another.tar",),
    "an unknown format": ("--format", "tar"),
    "an unknown codec": ("--compress", "lz4"),
    "a level of nothing": ("--compress", "none:1"),
    "a level too high": ("--compress", "gzip:10"),
    "a level of none": ("--compress", "zstd:0"),
    "a level that is no number": ("--compress", "gzip:x"),
    "a level that is no digit": ("--compress", "gzip:\xb2"),
    "half a platform": ("--platform", "linux"),
    "too much of a platform": ("--platform", "a/b/c/d"),
    "no threads": ("--jobs", "0"),
    "too many threads": ("--jobs", "65"),
    "unknown whiteouts": ("--whiteouts", "none"),
    "unknown parents": ("--symlink-parents", "x"),
    "an unknown history": ("--history", "x"),
    "a time that is none": ("--created", "yesterday"),
    "a time without a zone": ("--created", "2018-05-01T12:00:00"),
    "a day that is none": ("--created", "2018-02-30T12:00:00Z"),
    "an hour that is none": ("--created", "2018-05-01T25:00:00Z"),
    "digits of another script": ("--created", "٢٠١٨-05-01T12:00:00Z"),
    "a temporary folder that is none": ("--tmp-dir", "/nowhere/at/all"),
    "a name in capitals": ("-t", "APP:1"),
    "a name of nothing": ("-t", ""),
    "a tag of nothing": ("-t", "app:"),
    "a tag that is none": ("-t", "app:a b"),
    "a name with a digest": ("-t", "app@sha256:" + "0" * 64),
    "an output of nothing": ("-o", ""),
    "an output without a path": ("-o", "oci:"),
    "an output to a daemon in another form": ("-o", "docker-daemon:app:1", "--format", "oci"),
    "an output to a daemon by digest": ("-o", f"docker-daemon:app@sha256:{'0' * 64}"),
    "an output to no registry's name": ("-o", "docker://App"),
    "an output to a registry by digest": ("-o", f"docker://localhost:1/app@sha256:{'0' * 64}"),
    "a tag in another repository": ("-o", "docker://localhost:1/app:1", "-t", "localhost:1/other:1"),
    "a tag to replace in a file": ("-o", "x.tar", "--replace"),
    "a digest alone for a file": ("-o", "x.tar", "--push-by-digest"),
    "an archive in two forms": ("-o", "oci-archive:x.tar", "--format", "docker"),
    "a layout in docker's form": ("-o", "oci:x", "--format", "docker"),
}  # fmt: skip


@pytest.mark.parametrize("name", USAGE)
def test_bad_options_are_a_usage_error(
    name: str, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that are wrong or do not fit together are a usage error (2), before anything is written."""
    monkeypatch.chdir(tmp_path)
    output = () if "-o" in USAGE[name] else ("-o", "out.tar")
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2, *output, *USAGE[name]), 2)
    assert listing(tmp_path) == ["in", "in/app.tar"]


@pytest.mark.parametrize("epoch", ["-1", "x", "1.5", "99999999999999", "9" * 30, "\xb2"])
def test_a_bad_epoch_is_a_usage_error(epoch: str, app: Path, tmp_path: Path) -> None:
    """A SOURCE_DATE_EPOCH that is no number of seconds, or no time that a calendar has, is refused."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
    result = run("squash", *words, env={"SOURCE_DATE_EPOCH": epoch})
    assert_fails(result, 2, "SOURCE_DATE_EPOCH")


@pytest.mark.parametrize("image", ["", "docker:/x", "docker-daemon:", "docker-archive:", "oci:"])
def test_a_bad_reference_is_a_usage_error(image: str, tmp_path: Path) -> None:
    """A reference that names nothing, or a transport that is not there, is refused with what there is."""
    word = "NAME" if image == "docker-daemon:" else "PATH" if image else "path"
    assert_fails(run("squash", image, *KEEP_2, "-o", tmp_path / "out.tar"), 2, word)


def test_no_output_says_what_to_pass(app: Path) -> None:
    """A file without -o names -o and --dry-run."""
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2), 2, "-o PATH", "--dry-run")


def test_an_image_is_never_written_to_a_terminal(app: Path) -> None:
    """Where standard output or input is a terminal, a usage error says what to do instead."""
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    with app.open("rb") as archive:
        for words, stdin in (
            ((f"{app}:app:1", "-o", "-"), subprocess.DEVNULL),
            ((f"{app}:app:1", "-o", "docker-archive:-"), subprocess.DEVNULL),
            (("-",), archive),
        ):
            result = run_process("squash", *words, *KEEP_BASE, stdin=stdin, stdout=terminal)
            assert_fails(result, 2, "terminal", "-o PATH")
    assert_fails(run_process("squash", *KEEP_BASE, stdin=terminal), 2, "IMAGE")
    os.close(terminal)
    os.close(master)


# --- what is said ---------------------------------------------------------------------------


def test_json_goes_to_standard_output(app: Path, tmp_path: Path) -> None:
    """--json prints the report and nothing else; --report writes the same to a file."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", "--report", tmp_path / "report.json")
    result = squash(*words, "--json")
    assert result.json == json.loads((tmp_path / "report.json").read_bytes())
    assert result.err == ""


@pytest.mark.parametrize("output", [("-o", "-"), ("-o", "docker-archive:-"), ("-o", "oci-archive:-")])
def test_json_and_the_image_do_not_share_standard_output(
    output: tuple[str, ...], app: Path, tmp_path: Path
) -> None:
    """With the image on standard output --json needs --report; without it nothing is written."""
    words = (f"{app}:app:1", *KEEP_2, *output, "--json")
    refused = run("squash", *words)
    assert_fails(refused, 2, "--report")
    assert refused.out == b""
    result = squash(*words, "--report", tmp_path / "report.json")
    image = read_image(result.out)
    assert json.loads((tmp_path / "report.json").read_bytes())["image_id"]["after"] == image.image_id


def test_messages_go_to_standard_error(app: Path, tmp_path: Path) -> None:
    """The summary goes to standard output with a file, and to standard error with the image there; -q
    says nothing at all, and no bar is drawn where there is no terminal."""
    words = (f"{app}:app:1", *KEEP_2)
    with_file = squash(*words, "-o", tmp_path / "1.tar")
    assert "Wrote new:1" in with_file.text
    assert with_file.err == ""
    assert "Wrote new:1" in squash(*words, "-o", "-").err
    for quiet in ("-q", "--quiet"):
        result = squash(*words, "-o", tmp_path / f"{quiet}.tar", quiet)
        assert (result.out, result.err) == (b"", "")
        assert squash(*words, "-o", "-", quiet).err == ""


CONTESTED = on_base(
    ImageSpec([layer(D, file("d/a"), symlink("l", "d"))], ["base:1"]),
    layer(*(file(f"l/{n}") for n in range(9))),
    layer(directory("d"), whiteout("d/a")),
    tags=["app:1"],
)


def test_verbose_says_more(tmp_path: Path) -> None:
    """-v lists every contested path, and the space that is needed and free, on standard error."""
    docker_archive_old(tmp_path / "app.tar", [CONTESTED])
    words = (tmp_path / "app.tar", "--keep-layers", "1", "-t", "new:1", "--dry-run")
    report = squash(*words, "--json").json
    brief, verbose = squash(*words), squash(*words, "-v")
    assert len(report["contested"]) >= 1
    for one in report["contested"]:
        assert one["path"] in verbose.text
    assert len(verbose.text) >= len(brief.text)
    real = squash(*words[:-1], "-o", tmp_path / "out.tar", "-v")
    assert "free" in real.err


def test_a_dry_run_writes_nothing(app: Path, tmp_path: Path) -> None:
    """--dry-run leaves no file, needs no output, and says so."""
    before = listing(tmp_path)
    for words in ((), ("-o", tmp_path / "out.tar"), ("-o", "-"), ("-o", f"oci:{tmp_path}/layout")):
        for flag in ("--dry-run", "-n"):
            result = squash(f"{app}:app:1", *KEEP_2, *words, flag)
            assert "nothing was written" in result.text
            assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "keep", [("--keep-layers", "2"), ("--all",), ("--segments", "=1,2,2"), ("--keep-layers", "5")]
)
def test_a_dry_run_s_numbers_are_the_real_ones(keep: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """For plain output a dry run reports what the real run then does: layers, bytes, what is dropped."""
    words = (f"{app}:app:1", *keep, "-t", "new:1", "--json")
    planned = squash(*words, "--dry-run").json
    done = squash(*words, "-o", tmp_path / "out.tar").json
    same = (
        "source", "changed", "base", "tags", "platform", "layers", "stored_bytes", "shared_bytes",
        "new_layers", "dropped", "contested", "copied_links", "links_into_new_layers", "guaranteed",
    )  # fmt: skip
    assert {key: planned[key] for key in same} == {key: done[key] for key in same}
    assert [one["size"] for one in planned["result_layers"]] == [
        one["size"] for one in done["result_layers"]
    ]
    assert (planned["dry_run"], planned["output"]) == (True, None)


def test_a_dry_run_knows_its_output(app: Path, tmp_path: Path) -> None:
    """With -o a dry run is of that output: its form decides what may be asked for, and its reference
    names the result."""
    words = (f"{app}:app:1", "--keep-layers", "2", "--compress", "zstd", "--json")
    output = ("-o", f"oci:{tmp_path}/layout:v2")
    planned, done = squash(*words, *output, "--dry-run").json, squash(*words, *output).json
    assert planned["tags"] == done["tags"]
    refused = run("squash", *words, "-o", tmp_path / "x.tar", "--dry-run")
    assert_fails(refused, 2, "--format oci")


def test_a_dry_run_finds_the_same_faults(tmp_path: Path) -> None:
    """A layer that does not match its digest fails in a dry run too."""
    write_archive(tmp_path / "app.tar", docker_files() | {"3.tar": OK})
    assert_fails(run("squash", tmp_path / "app.tar", *KEEP_2, "--dry-run"), 4, "layer 3")


def test_the_temporary_folder_is_left_empty(tmp_path: Path) -> None:
    """--tmp-dir is used for what must be unpacked, and nothing stays there; nor in the output's folder."""
    kaniko_archive(tmp_path / "app.tar", [APP])
    for name in ("tmp", "out"):
        (tmp_path / name).mkdir()
    words = (*KEEP_2, "--tmp-dir", tmp_path / "tmp")
    squash(tmp_path / "app.tar", *words, "-o", tmp_path / "out/x.tar")
    squash(*words, "-o", tmp_path / "out/y.tar", stdin=(tmp_path / "app.tar").read_bytes())
    assert listing(tmp_path / "tmp") == []
    assert listing(tmp_path / "out") == ["x.tar", "y.tar"]


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(place: str, tmp_path: Path) -> None:
    """--debug, before or after the command, shows where it failed, and keeps the exit code."""
    words = ["squash", str(tmp_path / "nowhere.tar"), "--all", "-o", str(tmp_path / "out.tar")]
    words = ["--debug", *words] if place == "before" else [*words, "--debug"]
    result = run_process(*words)
    assert "Traceback (most recent call last)" in result.err
    assert "nowhere.tar" in result.err
    assert result.code == 5


def test_debug_as_a_value_is_no_option(tmp_path: Path) -> None:
    """Where --debug is the value of another option, no traceback is shown."""
    words = ("--all", "-o", tmp_path / "out.tar", "--message", "--debug")
    assert_fails(run("squash", tmp_path / "nowhere.tar", *words), 5, "No such file")


def test_paths_that_are_no_text_are_carried(app: Path, tmp_path: Path) -> None:
    """Input and output names that are no UTF-8 are read, written and reported under a strict encoding."""
    odd = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.tar")
    try:
        os.link(app, odd)
    except OSError:
        pytest.skip("this file system has only names that are text")
    env = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
    for number, words in enumerate([(), ("--json",), ("--report", str(tmp_path / "report.json"))]):
        output = os.fsdecode(bytes(tmp_path) + b"/\xe9%d.tar" % number)
        result = run_process("squash", f"{odd}:app:1", *KEEP_2, "-o", output, *words, env=env)
        assert result.code == 0, result.err
        assert os.path.exists(output)
    assert json.loads((tmp_path / "report.json").read_bytes())["layers"]["after"] == 3


def test_a_summary_fits_any_encoding(tmp_path: Path) -> None:
    """What a terminal cannot show is replaced, not a crash."""
    image = on_base(
        ImageSpec([layer(directory("é"), symlink("é/l", "."))], ["base:1"]),
        layer(file("é/l/x")),
        layer(whiteout("é/l/y")),
        tags=["app:1"],
    )
    docker_archive_old(tmp_path / "app.tar", [image])
    for words in ((), ("--json",), ("-v",)):
        result = run_process(
            "squash", tmp_path / "app.tar", "--keep-layers", "1", "--dry-run", *words,
            env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )  # fmt: skip
        assert result.code == 0, result.err


def test_control_signs_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """Names and steps from an image cannot move a terminal's cursor or colour it."""
    evil = "\x1b[2J\r\x07evil"
    history: list[Json] = [{"created_by": f"{evil} {n}"} for n in range(len(APP.layers))]
    source = tmp_path / "app.tar"
    docker_archive_old(source, [ImageSpec(APP.layers, ["app:1"], history=history)])
    results = [run("squash", source, "--keep-layers", "9", "-o", tmp_path / "out.tar")]
    bad = layer(file(f"{evil}/../../x"))
    docker_archive_old(source, [ImageSpec([*APP.layers[:LAST], bad], ["app:1"])])
    results.append(run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar"))
    write_archive(source, docker_files(RepoTags=[f"{evil}:1"]))
    results.append(run("squash", f"{source}:x", *KEEP_2, "-o", tmp_path / "out.tar"))
    write_archive(source, docker_files(Config=evil))
    results.append(run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar"))
    for result in results:
        assert result.code != 0
        assert "evil" in result.err
        for sign in "\x1b\r\x07":
            assert sign not in result.err


# --- the other commands ---------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """`completion` prints a script for each shell, and refuses others."""
    result = run("completion", shell)
    assert result.code == 0
    assert "_SQUASHKIT_COMPLETE" in result.text
    assert_fails(run("completion", "cmd"), 2)


@pytest.mark.parametrize("words", [(), ("squash",), ("demo",), ("completion",)])
def test_every_help_has_an_example(words: tuple[str, ...]) -> None:
    """--help and -h of every command show how it is called."""
    for flag in ("--help", "-h"):
        result = run(*words, flag)
        assert result.code == 0
        assert "Example" in result.text
        assert "squashkit " + " ".join(words) in result.text


def test_no_command_and_unknown_ones_are_usage_errors() -> None:
    """Without a command there is help, with an unknown one a usage error."""
    shown = run()
    assert (shown.code, shown.out) == (2, b"")
    assert "squashkit squash" in shown.err
    assert_fails(run("squish"), 2, "squish")


def test_the_version_is_told() -> None:
    """--version prints it."""
    import squashkit

    assert squashkit.__version__ in run("--version").text


def test_the_demo_leaves_what_it_is_asked_to(tmp_path: Path) -> None:
    """`demo --keep DIR` leaves archives there that are what it showed."""
    result = run("demo", "--keep", tmp_path / "demo")
    assert result.code == 0, result.err
    assert "Checked" in result.text
    assert len(validate(tmp_path / "demo/app-squashed.tar")) == 1
