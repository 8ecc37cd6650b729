"""Errors have fields and speak Python; the command line puts its flags for what they call options."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

import squashkit
from squashkit import options
from squashkit.cli.hints import FLAGS, flag, flagged, told
from squashkit.errors import BaseUnknown, InvalidLayer, NotBasedOn, SquashkitError, UsageError, inside
from squashkit.progress import Note
from squashkit.wording import Option, Words
from tests.support.builders import ImageSpec, file, layer, skopeo_archive
from tests.support.runner import commands, run

ROOT = Path(squashkit.__file__).parent


def named() -> Iterator[str]:
    """The options that messages in the package speak of."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Option":
                assert isinstance(node.args[0], ast.Constant), path
                yield str(node.args[0].value)


def flags() -> set[str]:
    """What commands, and commands of groups, take."""
    found: set[str] = set()
    below = commands()
    while below:
        one = below.pop()
        if isinstance(one, click.Group):
            below += one.commands.values()
        for parameter in one.params:
            found |= {*parameter.opts, *parameter.secondary_opts}
    return found


def test_every_option_of_a_message_has_its_flag() -> None:
    """What messages call options are fields of the groups, and each has a flag that a command takes."""
    names = set(named())
    assert names == set(FLAGS)
    assert set(FLAGS.values()) <= flags()
    for name in names - {"error.report"}:
        group, _, field = name.rpartition(".")
        assert not group or field in {one.name for one in fields(getattr(options, group))}, name


@pytest.mark.parametrize(
    ("option", "python", "line"),
    [
        (Option("Write.force", True), "Write(force=True)", None),
        (Option("force", True), "force=True", "--force"),
        (Option("Write.tags"), "Write.tags", "-t"),
        (Option("Write.tags", example="NAME"), "Write(tags=NAME)", "-t NAME"),
        (Option("Keep.layers", 0), "Keep(layers=0)", "--keep-layers 0"),
        (Option("Access.tls_verify", False), "Access(tls_verify=False)", "--tls-verify=false"),
        (Option("Read.fetch_base", False), "Read(fetch_base=False)", "--no-fetch-base"),
        (Option("Run.tmp_dir", Path("/x")), "Run(tmp_dir='/x')", "--tmp-dir /x"),
        (Option("output", "-"), "output='-'", "-o -"),
    ],
)
def test_an_option_has_two_spellings(option: Option, python: str, line: str | None) -> None:
    """Python reads an option as it would be passed there, the command line as it is passed here."""
    assert str(option) == python
    assert line is None or flag(option) == line


def test_context_is_a_field() -> None:
    """What an error is about is told before its message, the widest first, and can be asked for."""
    with pytest.raises(UsageError) as caught, inside("linux/arm64"), inside(""), inside("app:1"):
        raise UsageError("leave ", Option("Write.tags"), " out", details="\n  more")
    error = caught.value
    assert error.context == ("linux/arm64", "app:1")
    assert str(error) == "linux/arm64: app:1: leave Write.tags out\n  more"
    assert told(error, "squash") == "linux/arm64: app:1: leave -t out\n  more"
    assert error.options == (Option("Write.tags"),)


def test_a_fault_of_a_layer_carries_it() -> None:
    """Where a fault was found is said once, and which layer that is can be asked for."""
    error = InvalidLayer("no name", path=b"a")
    error.in_layer("layer 1", "sha256:1")
    error.in_layer("layer 2", "sha256:2")
    assert (str(error), error.where, error.diff_id) == ("layer 1: a: no name", "layer 1", "sha256:1")


def test_notes_speak_of_flags_at_the_command_line() -> None:
    """A text within a text keeps its options."""
    inner = Words("what ", Option("Write.min_saving"), " asks")
    note = Note(Words("Unchanged: ", *inner.parts, "."))
    assert str(note) == "Unchanged: what Write.min_saving asks."
    assert str(flagged(note)) == "Unchanged: what --min-saving asks."


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """An image, and one that it shares a layer with and is not based on."""
    layers = [layer(file(name, b"")) for name in "abc"]
    path = tmp_path / "both.tar"
    images = [ImageSpec(layers[:2], ["app:1"]), ImageSpec([layers[0], layers[2]], ["other:1"])]
    skopeo_archive(path, images)
    return path


def test_what_to_pass_is_the_commands(both: Path, tmp_path: Path) -> None:
    """A base that is none is told with the fields; what to pass instead depends on the command."""
    with pytest.raises(NotBasedOn) as caught:
        squashkit.squash(f"{both}:app:1", str(tmp_path / "out.tar"), keep="other:1")
    error = caught.value
    assert (error.shared, error.wanted, len(error.steps)) == (1, 2, 2)
    assert "--" not in str(error)
    assert "--keep-layers 1 keeps" in told(error, "squash")
    assert told(error, "rebase").endswith("Pass that: --old-base REF.")
    assert told(error, "inspect") == str(error)
    said = run("squash", f"{both}:app:1", "--keep-base", "other:1", "-o", tmp_path / "out.tar")
    assert said.err == f"squashkit: {told(error, 'squash')}\n"


def test_no_flag_reaches_python(both: Path, tmp_path: Path) -> None:
    """Who calls from Python reads how options are passed there."""
    out = tmp_path / "out.tar"
    out.touch()
    with pytest.raises(BaseUnknown) as unknown:
        squashkit.squash(f"{both}:app:1", str(tmp_path / "new.tar"))
    with pytest.raises(SquashkitError, match=r"force=True replaces it$") as taken:
        squashkit.squash(f"{both}:app:1", str(out), keep=options.Keep(nothing=True))
    assert "--" not in f"{unknown.value} {taken.value}"
