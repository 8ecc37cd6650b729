"""Write the reference of the Python API, api.md: `python docs/api.py`.

All of it comes from the source: signatures, docstrings, and the texts below fields.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import squashkit
from squashkit import errors
from squashkit.oci.graph import MAX_LAYERS

PAGE = Path(__file__).parent / "api.md"
HEAD = """# Python reference

What `import squashkit` gives, as the source has it. [Use from Python](python.md) shows how it is used.

An image is named by a text, as on the command line: [Images and where they are](transports.md). Sizes are
bytes. Where an option takes a text for something else (`compress="gzip"`, `min_saving="5%"`), a wrong one
raises `UsageError`, whose message begins with the option's name; a value of a wrong type raises
`TypeError`. Options and results are frozen.
"""
SECTIONS = {
    "Squash, rebase, extract": """
        squash squash_platforms rebase rebase_platforms rebase_below put_back extract
        replay""",
    "Many images": """
        measure_fleet measure_manifests fleet_advise squash_fleet scan_fleet measure_scan fleet_duplicates
        fleet_sql fleet_pull fleet_freed fleet_page""",
    "Look at images": """
        inspect inspect_tree have_list waste report_page verify diff ls cat which which_glob export""",
    "Bases": "find_base check_base check_all base_list base_add base_remove",
    "Options": """
        Keep Merge History Rebase Patch Extract Read Which Write Gates FleetOptions Replace Run Access
        Spread Limits ByRecipe
        MinSaving Compression Platform""",
    "Results": """
        Report RebaseReport PatchReport ExtractReport IndexReport Provenance FleetReport ShapeReport
        AdviceReport SquashedFleet ScanReport DuplicatesReport SqlAnswer PullReport FreedReport
        InspectReport WasteReport Verdict ReplayedImage
        TreeReport DiffReport ListReport TraceReport TracesReport
        Exported Have FoundReport CurrentReport CheckedBases CatalogueReport KnownBase""",
    "Other forms of results": "markdown sarif",
    "Progress": "Progress Notify Note",
    "Parts": """
        parse_reference open_source Session Image Layer LayerGraph scan scan_bytes parse_changeset Changeset
        Rootfs Segment plan_squash LayerPlan""",
    "Errors": "SquashkitError",
}
"""The public names, by the headings that they stand under."""
PLAIN = {
    "PlatformChoice": 'Platform | Literal["all"]',
    "Format": 'Literal["docker", "oci"]',
    "ALL": '"all"',
    "MAX_LAYERS": str(MAX_LAYERS),
}
"""What a person would write for a name that is not public."""
WIDTH = 120


def page() -> str:
    """The whole page. Raises ValueError where a public name stands under no heading."""
    listed = [name for names in SECTIONS.values() for name in names.split()]
    if sorted(listed) != squashkit.__all__:
        raise ValueError(f"not in the reference, or not public: {set(listed) ^ set(squashkit.__all__)}")
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names.split():
            parts += [
                f"### `{name}`\n",
                *described(name, getattr(squashkit, name), fields=title == "Options"),
            ]
    parts += failures()
    return "\n".join(parts).rstrip() + "\n"


def described(name: str, value: Any, *, fields: bool) -> Iterator[str]:
    """A function with its signature, a class with what it has: with `fields` nothing else."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):  # an alias of a type
        yield from (f"`{plain_type(value)}`\n", "A function that gets messages for people.\n")
        return
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    if isinstance(node, ast.FunctionDef):
        yield f"```python\n{signature(node)}\n```\n"
    yield from paragraphs(value.__doc__ or "")
    if isinstance(node, ast.ClassDef):
        lines = [line for one in members(value, fields=fields) for line in one.splitlines()]
        yield "\n".join([*lines, ""] if lines else [])


def members(kind: type, *, fields: bool) -> Iterator[str]:
    """The public members of a class, those that it inherits first: each with its type and its text."""
    for owner in reversed([one for one in kind.__mro__ if one.__module__.startswith("squashkit")]):
        body = getattr(ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0], "body", [])
        for node, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign):
                shape = f"{shown(node.target)}: {shown(node.annotation)}{default(node.value)}"
                yield from entry(shape, text(following))
            elif isinstance(node, ast.FunctionDef) and not fields:
                is_property = any(shown(one) == "property" for one in node.decorator_list)
                given = ", ".join(parameters(node)[1:])
                shape = f": {shown(node.returns)}" if is_property else f"({given}) -> {shown(node.returns)}"
                yield from entry(node.name + shape, ast.get_docstring(node) or "")


def entry(shape: str, said: str) -> Iterator[str]:
    """A line of a list for what is public."""
    if not shape.startswith("_"):
        yield filled(f"- `{shape}`: {joined(said)}", "  ")


def text(node: ast.stmt | None) -> str:
    """The text below a field; empty where there is none."""
    said = node.value if isinstance(node, ast.Expr) else None
    return str(said.value) if isinstance(said, ast.Constant) else ""


def shown(node: ast.expr | None) -> str:
    """A part of the source as a person would write it."""
    plain = ast.unparse(node).replace("'", '"') if node is not None else "None"
    return re.sub(r"\w+", lambda found: PLAIN.get(found[0], found[0]), plain)


def default(node: ast.expr | None) -> str:
    """A field's default, empty where it has none."""
    made = re.fullmatch(r"field\((?:default_factory=(?:lambda: )?)?(.*)\)", shown(node))
    if node is None or (made is not None and made[1] == "init=False"):
        return ""
    return f" = {made[1] + '()' * made[1].isidentifier() if made is not None else shown(node)}"


def parameters(node: ast.FunctionDef) -> list[str]:
    """A function's parameters, one by one, each with its type and default."""
    given = node.args
    own = [
        f"{one.arg}: {shown(one.annotation)}{f' = {shown(value)}' if value is not None else ''}"
        for ones, values in (
            (given.args, [None] * (len(given.args) - len(given.defaults)) + given.defaults),
            (given.kwonlyargs, given.kw_defaults),
        )
        for one, value in zip(ones, values, strict=True)
    ]
    star = [f"*{given.vararg.arg}: {shown(given.vararg.annotation)}"] if given.vararg else ["*"]
    at = len(given.args)
    return [*own[:at], *(star if given.kwonlyargs or given.vararg else []), *own[at:]]


def signature(node: ast.FunctionDef) -> str:
    """A function's head with a parameter a line, where it does not fit on one."""
    given, returns = parameters(node), f") -> {shown(node.returns)}"
    line = f"{node.name}({', '.join(given)}{returns}"
    return (
        line
        if len(line) <= 88
        else "\n".join([f"{node.name}(", *(f"    {one}," for one in given), returns])
    )


def failures() -> Iterator[str]:
    """The other classes of errors, in the order of their tree."""
    tree = (errors.__doc__ or "").split("\n\n")
    yield "These are in `squashkit.errors`:\n"
    yield "```text\n" + textwrap.dedent(next(part for part in tree if "├" in part)) + "\n```\n"


def plain_type(value: Any) -> str:
    """A type without the modules that it is from."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", str(value))


def paragraphs(docstring: str) -> Iterator[str]:
    for part in inspect.cleandoc(docstring).split("\n\n"):
        yield filled(joined(part)) + "\n"


def joined(said: str) -> str:
    """A text on one line, as Markdown: outside of code nothing marks up."""
    pieces = re.split(r"(`[^`]*`)", " ".join(said.split()))
    return "".join(one if one.startswith("`") else re.sub(r"([*<])", r"\\\1", one) for one in pieces)


def filled(line: str, indent: str = "") -> str:
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
