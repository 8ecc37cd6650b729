"""The README holds: its examples run, and it names every command, option, exit code and JSON field."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from squashkit import errors
from squashkit.jobs.squash import squash
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, on_base, whiteout
from tests.support.runner import commands

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text()
BASE = ImageSpec([layer(file("b", b"B" * 900))], ["debian:12"])
APP = on_base(BASE, layer(file("cache", bytes(9000))), layer(whiteout("cache")), tags=["nginx:waste"])


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_python_examples_run(block: str, tmp_path: Path) -> None:
    """Each library example runs as it stands, with the files that it names."""
    docker_archive_old(tmp_path / "nginx.tar", [APP, BASE])
    for name, data in zip(("base.tar", "cache.tar", "clean.tar"), APP.layers, strict=True):
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bytes" in done.stdout


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_command_and_option_is_named(command: click.Command) -> None:
    """The README names each command and each of its options, and the command's help has an example."""
    assert f"squashkit {command.name}" in TEXT
    assert f"squashkit {command.name}" in (command.epilog or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in TEXT, parameter.opts


def test_every_exit_code_is_named() -> None:
    """The table of exit codes has those that errors have."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SquashkitError)
    }
    for code in codes | {0, 130}:
        assert f"\n| {code} | " in TEXT


def test_every_field_is_documented(tmp_path: Path) -> None:
    """Each field of --json is in the README's table."""
    docker_archive_old(tmp_path / "nginx.tar", [APP, BASE])
    report = squash(str(tmp_path / "nginx.tar"), None, keep="debian:12")
    for name in report.json():
        assert f"`{name}`" in TEXT, name
