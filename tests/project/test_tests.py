"""What the tests promise of themselves: each says what it holds, stands alone, and can fail."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
NODES = [
    (path.relative_to(TESTS).as_posix(), list(ast.walk(ast.parse(path.read_bytes()))))
    for path in sorted(TESTS.rglob("*.py"))
]
FUNCTIONS = [
    (f"{name}: {node.name}", node)
    for name, nodes in NODES
    for node in nodes
    if isinstance(node, ast.FunctionDef)
]
CASES = [(where, node) for where, node in FUNCTIONS if node.name.startswith("test_")]


def called_in(function: ast.FunctionDef) -> set[str]:
    """The names of what a function calls, and `assert` where it has an assertion."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            found.add("assert")
        elif isinstance(node, ast.Call):
            what = node.func
            found.add(what.id if isinstance(what, ast.Name) else getattr(what, "attr", ""))
    return found


def test_every_test_says_what_it_holds() -> None:
    """The docstring of a test is its promise."""
    assert [where for where, node in CASES if not ast.get_docstring(node)] == []


def test_every_test_can_fail() -> None:
    """In each test is an assertion, or it calls what has one."""
    calls = [(where, node.name, called_in(node)) for where, node in FUNCTIONS]
    failing = {"assert", "raises", "fail"}
    while more := {name for _, name, called in calls if called & failing} - failing:
        failing |= more
    assert [
        where for where, name, called in calls if name.startswith("test_") and not called & failing
    ] == []


def test_no_test_imports_another() -> None:
    """What tests share stands in tests/support, or beside the tests with real tools."""
    shared = [
        f"{name}: {node.module}"
        for name, nodes in NODES
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    ]
    assert shared == []


def test_no_assertion_takes_either_of_two_texts() -> None:
    """`"a b" in text or "b" in text` says no more than its weaker half."""
    void = [
        f"{name}:{node.lineno}"
        for name, nodes in NODES
        for node in nodes
        if isinstance(node, ast.Assert)
        and isinstance(node.test, ast.BoolOp)
        and isinstance(node.test.op, ast.Or)
        and all(
            isinstance(part, ast.Compare) and isinstance(part.ops[0], ast.In) for part in node.test.values
        )
    ]
    assert void == []
