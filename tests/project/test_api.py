"""The Python API has what the commands have, and its reference is what the source says."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import click
import pytest

import squashkit
from squashkit.cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"
FUNCTIONS = {
    "squash": "squash",
    "rebase": "rebase",
    "extract": "extract",
    "replay": "replay",
    "inspect": "inspect",
    "waste": "waste",
    "report": "report_page",
    "verify": "verify",
    "diff": "diff",
    "ls": "ls",
    "cat": "cat",
    "which": "which",
    "export": "export",
    "base find": "find_base",
    "base check": "check_base",
    "base list": "base_list",
    "base add": "base_add",
    "base remove": "base_remove",
    "fleet storage": "measure_fleet",
    "fleet advise": "fleet_advise",
    "fleet squash": "squash_fleet",
    "fleet scan": "scan_fleet",
    "fleet duplicates": "fleet_duplicates",
    "fleet sql": "fleet_sql",
    "fleet pull": "fleet_pull",
    "fleet report": "fleet_page",
    "fleet freed": "fleet_freed",
}
"""Each command and its function."""
NO_FUNCTION = {"completion", "demo", "explore"}
"""Commands for a person at a terminal alone."""
TERMINAL = {
    "as_json": "a report has json()",
    "as_csv": "an answer has csv_pieces()",
    "as_markdown": "markdown() of a report",
    "as_sarif": "sarif() of a report",
    "report": "a report has json()",
    "digest_file": "a report has manifest_digest",
    "statement": "a report has provenance",
    "quiet": "nothing is printed",
    "verbose": "text(verbose=True) of a report",
    "debug": "an exception has its traceback",
    "limit": "a report has all",
    "stat": "a report has counts",
    "long": "a report has all",
    "dot": "Image and LayerGraph are values",
    "csv_file": "FleetReport has csv()",
    "chart": "FleetReport has the numbers",
    "listed": "a program has a list of its own",
}
"""Options that have no parameter, and what a program has instead."""
NAMED = {
    "keep_base": "base",
    "keep_layers": "layers",
    "squash_all": "nothing",
    "history": "drop",
    "no_verify": "verify",
    "no_fetch_base": "fetch_base",
    "new_base": "onto",
    "ignore": "ignoring",
    "no_scan": "scan",
    "images": "references",
    "manifests": "places",
}
"""Options whose parameter has another name."""


def all_commands() -> dict[str, click.Command]:
    """Every command that does something, by its words."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {}
    assert isinstance(cli, click.Group)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in command.commands.items()}
        else:
            found[name] = command
    return found


COMMANDS = all_commands()


def taken(function: Any) -> set[str]:
    """What a function takes: its parameters, and the fields of its groups."""
    found: set[str] = set()
    for name, hint in get_type_hints(function).items():
        groups = [one for one in (hint, *get_args(hint)) if dataclasses.is_dataclass(one)]
        if name == "return" or not groups:
            found |= {name} - {"return"}
        for group in groups:
            assert isinstance(group, type)
            found |= taken_by(group)
    return found


def taken_by(group: type) -> set[str]:
    """The fields of a group, and of the groups in it."""
    hints = get_type_hints(group)
    inner = {
        name
        for name, hint in hints.items()
        if hint in (squashkit.Access, squashkit.Limits, squashkit.Merge)
    }
    return {*hints} - inner | {field for name in inner for field in get_type_hints(hints[name])}


def test_every_command_has_a_function() -> None:
    """What a command does can be done from Python, but for what only a person at a terminal needs."""
    assert {*COMMANDS} == {*FUNCTIONS, *NO_FUNCTION}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_option_has_a_parameter(command: str) -> None:
    """Each option of a command is a parameter of its function or a field of a group that it takes, but for
    what only a terminal needs."""
    options = {one.name or "" for one in COMMANDS[command].params} - {*TERMINAL}
    names = {NAMED.get(name, name) for name in options}
    if command == "base check":  # of one image, or of several
        names -= {"references", "listed"}
        names = {"base" if name == "reference" else name for name in names}
    if command == "inspect":  # one image, or which layers several have
        names -= {*taken(squashkit.have_list), "have_list"}
    if command == "rebase":  # of one image, or of all below a place
        names -= taken(squashkit.rebase_below)
    if command == "fleet squash":  # the place, or Replace in its stead
        names -= {"into", "replace"}
    if command == "fleet storage":  # of images, or by manifests alone
        names -= taken(squashkit.measure_manifests)
    if command in ("report", "fleet report"):
        names -= {"output", "force"}  # the function returns the page
    if command == "base remove":
        names = {"reference" if name == "references" else name for name in names}
    assert names - taken(getattr(squashkit, FUNCTIONS[command])) == set()


def test_what_is_left_out_is_there_to_leave_out() -> None:
    """Every option that is left out, or has another name, is one of a command."""
    options = {one.name for command in COMMANDS.values() for one in command.params}
    assert {*TERMINAL, *NAMED} - options == set()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/api.py as a module."""
    spec = importlib.util.spec_from_file_location("squashkit_docs_api", DOCS / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_source_says(script: ModuleType) -> None:
    """docs/api.md is what `python docs/api.py` writes."""
    assert (DOCS / "api.md").read_text(encoding="utf-8") == script.page(), "run: python docs/api.py"


def test_every_signature_is_in_the_reference() -> None:
    """Each public function is there with its parameters, each field of a public value with a text."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in squashkit.__all__:
        section = text.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]
        assert section, name
        value = getattr(squashkit, name)
        if inspect.isfunction(value):
            for parameter in inspect.signature(value).parameters:
                assert f"{parameter}: " in section.partition("```\n")[0], (name, parameter)
        elif dataclasses.is_dataclass(value):
            for one in dataclasses.fields(value):
                assert f"- `{one.name}: " in section or one.name.startswith("_"), (name, one.name)
    assert [line for line in text.splitlines() if line.startswith("- ") and line.endswith("`:")] == []
