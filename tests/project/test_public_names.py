"""What `import squashkit` gives: one pinned list of names, typed, documented, imported when first used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import squashkit

NAMES = [
    "Access",
    "AdviceReport",
    "ByRecipe",
    "CatalogueReport",
    "CheckedBases",
    "Changeset",
    "Compression",
    "CurrentReport",
    "DiffReport",
    "DuplicatesReport",
    "Exported",
    "Extract",
    "ExtractReport",
    "FleetOptions",
    "Replace",
    "ReplayedImage",
    "FleetReport",
    "FoundReport",
    "FreedReport",
    "Gates",
    "Have",
    "History",
    "Image",
    "IndexReport",
    "InspectReport",
    "Keep",
    "KnownBase",
    "Layer",
    "LayerGraph",
    "LayerPlan",
    "Limits",
    "ListReport",
    "Merge",
    "MinSaving",
    "Note",
    "Notify",
    "Patch",
    "Provenance",
    "PatchReport",
    "Platform",
    "Progress",
    "PullReport",
    "Read",
    "Rebase",
    "RebaseReport",
    "Report",
    "Rootfs",
    "Run",
    "ScanReport",
    "Segment",
    "Session",
    "Spread",
    "ShapeReport",
    "SqlAnswer",
    "SquashedFleet",
    "SquashkitError",
    "TraceReport",
    "TracesReport",
    "TreeReport",
    "Verdict",
    "WasteReport",
    "Which",
    "Write",
    "base_add",
    "base_list",
    "base_remove",
    "cat",
    "check_all",
    "check_base",
    "diff",
    "export",
    "extract",
    "find_base",
    "fleet_advise",
    "fleet_duplicates",
    "fleet_freed",
    "fleet_page",
    "fleet_pull",
    "fleet_sql",
    "have_list",
    "inspect",
    "inspect_tree",
    "ls",
    "markdown",
    "measure_fleet",
    "measure_manifests",
    "measure_scan",
    "open_source",
    "parse_changeset",
    "parse_reference",
    "plan_squash",
    "put_back",
    "rebase",
    "rebase_below",
    "rebase_platforms",
    "replay",
    "report_page",
    "sarif",
    "scan",
    "scan_bytes",
    "scan_fleet",
    "squash",
    "squash_fleet",
    "squash_platforms",
    "verify",
    "waste",
    "which",
    "which_glob",
]
"""All public names. One that goes, or is named anew, breaks programs: the changelog says so."""
FUNCTIONS = {name: value for name in NAMES if inspect.isfunction(value := getattr(squashkit, name))}
ENDS = {"image", "scan", "output", "into", "a", "b", "references", "sources", "place", "progress", "notify"}
"""Parameters that every reader knows: images, where the result goes, who hears of the work."""
HEAVY = ("click", "requests", "urllib3", "docker", "tqdm", "isal", "zlib_ng", "sqlite3", "jinja2", "plotly")


def typed_imports() -> list[str]:
    """The names that a type checker sees, each by the module that has it."""
    tree = ast.parse(Path(squashkit.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return [
        f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def python(code: str) -> str:
    """What a program prints that begins afresh."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_names_are_pinned() -> None:
    """The public names are the ones of the list, and each is there."""
    assert squashkit.__all__ == sorted(NAMES)
    assert all(hasattr(squashkit, name) for name in NAMES)


def test_every_list_of_names_agrees() -> None:
    """What is looked up, what type checkers see and what `dir` shows are the same names."""
    looked_up = [
        f"squashkit.{module}.{name}" for module, names in squashkit._NAMES.items() for name in names
    ]
    assert sorted(typed_imports()) == sorted(looked_up)
    assert sorted(name.rpartition(".")[2] for name in looked_up) == squashkit.__all__
    assert {*NAMES, "__version__"} <= {*dir(squashkit)}


def test_an_unknown_name_is_told() -> None:
    """A name that is not there raises what Python raises."""
    with pytest.raises(AttributeError, match="module 'squashkit' has no attribute 'Options'"):
        _ = squashkit.Options


def test_every_name_is_documented() -> None:
    """Each function and class has a docstring of its own."""
    for name in NAMES:
        value = getattr(squashkit, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), f"{name} has what dataclass wrote"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_typed(name: str) -> None:
    """Each parameter and each result has a type that can be looked up."""
    function = FUNCTIONS[name]
    hints = get_type_hints(function)
    assert {*inspect.signature(function).parameters, "return"} == {*hints}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_signature_is_read_at_a_glance(name: str) -> None:
    """Beside images, where the result goes, progress and notify, there are at most six parameters."""
    assert len({*inspect.signature(FUNCTIONS[name]).parameters} - ENDS) <= 6


def test_choices_are_named() -> None:
    """What is no image is passed by its name, but for the one thing that the function is about."""
    first = {"rebase": "how", "rebase_platforms": "how", "squash_fleet": "strategy", "check_base": "base"}
    first |= {
        "measure_manifests": "places",
        "ls": "path",
        "cat": "path",
        "which": "path",
        "which_glob": "glob",
    }
    first |= {"base_remove": "reference", "extract": "what", "rebase_below": "how", "put_back": "file"}
    first |= {"fleet_sql": "question", "replay": "recipe"}
    for name, function in FUNCTIONS.items():
        if function.__module__.startswith("squashkit.jobs"):
            assert (
                positional(function) - ENDS == {first[name]} - ENDS
                if name in first
                else not (positional(function) - ENDS)
            ), name


def positional(function: Callable[..., Any]) -> set[str]:
    """The parameters that need not be named."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY}


def test_an_import_costs_little() -> None:
    """`import squashkit` loads no library, none of the rooms, and not what its names stand for."""
    code = "import sys; before = {*sys.modules}; import squashkit; print(*({*sys.modules} - before))"
    loaded = python(code).split()
    assert {one for one in loaded if one.startswith("squashkit")} == {"squashkit", "squashkit.version"}
    assert not {one.partition(".")[0] for one in loaded} & {*HEAVY}


@pytest.mark.parametrize("name", ["squash", "inspect", "FleetOptions", "Report", "parse_changeset"])
def test_a_name_is_imported_when_it_is_used(name: str) -> None:
    """A part can be had at once, and brings neither the command line nor a network library."""
    code = f"import sys, squashkit; squashkit.{name}; print(*sys.modules)"
    loaded = {one.partition(".")[0] for one in python(code).split()}
    assert not loaded & {"click", "requests", "docker", "tqdm"}
