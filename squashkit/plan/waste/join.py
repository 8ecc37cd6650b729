"""Adjacent RUNs of a Dockerfile as one, and that change as a unified diff. Pure.

The shell of each RUN began anew, and each failed by itself. So that it stays like that, a command that the
next one would see gets a subshell, and one in which `&&` would bind otherwise gets braces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import pairwise
from typing import NamedTuple

from squashkit.errors import show_text
from squashkit.plan.waste.dockerfile import Dockerfile, DockerInstruction
from squashkit.plan.waste.shell import ShellCommand, is_shell, read_command, stops_at_faults

_INDENT = "    "
_BETWEEN = " && "


def join_diff(dockerfile: Dockerfile, first: DockerInstruction, last: DockerInstruction) -> str | None:
    """The change that makes one RUN of two and all RUNs between them, as `patch -p0` applies it; None where
    they cannot be joined, as for `join_lines`."""
    joined = join_lines(dockerfile, first, last)
    return None if joined is None else unified(dockerfile.path, dockerfile.lines, joined)


def join_lines(
    dockerfile: Dockerfile, first: DockerInstruction, last: DockerInstruction
) -> list[str] | None:
    """The lines of the Dockerfile in which all RUNs from the first to the last are one.

    None where something else than comments stands between them, where one of them has the exec form, a
    here-document or other flags, or where it is not certain what its shell would make of it.
    """
    runs = [one for one in dockerfile.instructions if first.first <= one.first <= last.first]
    if (
        len(runs) < 2
        or not all(map(_is_joinable, runs))
        or any(a.flags != b.flags for a, b in pairwise(runs))
    ):
        return None
    commands = [read_command(one.text) for one in runs]
    if not all(one.is_clear for one in commands):
        return None
    lines = list(dockerfile.lines)
    end = dockerfile.lines[runs[0].end.line]
    line_end = "\r\n" if end.endswith("\r\n") else "\n"
    made: list[str] = []
    for number, (run, command) in enumerate(zip(runs, commands, strict=True)):
        is_last = number == len(runs) - 1
        around = _around(command, stops_at_faults(run.shell), is_last=is_last)
        going_on = "" if is_last else f"{_BETWEEN}{dockerfile.escape}{line_end}"
        _put(lines, run, around, going_on)
        if number:
            made += _comments(dockerfile.lines[runs[number - 1].last : run.places[0].line])
            indent = _indent(lines, runs[0])
            made.append(indent + around.before + lines[run.places[0].line][run.places[0].column :])
            made += lines[run.places[0].line + 1 : run.last]
        else:
            start = run.places[0]
            lines[start.line] = _inserted(lines[start.line], start.column, around.before)
            made += lines[run.first - 1 : run.last]
    return [*dockerfile.lines[: runs[0].first - 1], *made, *dockerfile.lines[runs[-1].last :]]


def unified(path: str, before: Sequence[str], after: Sequence[str]) -> str:
    """The difference of two files by their lines, which keep their ends."""
    name = show_text(path)
    if " " in name:
        name += "\t"  # else `patch` takes the first word for the name
    made = unified_diff(before, after, name, name)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made
    )


def _is_joinable(one: DockerInstruction) -> bool:
    is_plain_form = one.keyword == "RUN" and one.words is None and not one.heredocs
    return is_plain_form and not one.has_open_end and is_shell(one.shell)


class _Around(NamedTuple):
    before: str = ""
    after: str = ""


def _around(command: ShellCommand, stops: bool, *, is_last: bool) -> _Around:
    """What a command gets so that it is one link of a chain."""
    end = " " if command.has_end else "; "
    is_strict = command.is_strict or (stops and not command.is_plain)
    if not is_last and is_strict:
        # Shells ignore `set -e` on the left of `&&`, in a subshell too.
        return _Around("( ", " ); [ $? = 0 ]")
    if not is_last and command.leaks:
        return _Around("( ", " )")
    return _Around() if command.is_plain else _Around("{ ", f"{end}}}")


def _put(lines: list[str], run: DockerInstruction, around: _Around, going_on: str) -> None:
    """Write what follows a command behind it."""
    line, column = lines[run.end.line], run.end.column
    lines[run.end.line] = line[:column] + around.after + (going_on or line[column:])


def _inserted(line: str, column: int, text: str) -> str:
    return line[:column] + text + line[column:]


def _comments(lines: Sequence[str]) -> Iterator[str]:
    """What may stand within an instruction: an empty line may not, by newer versions of BuildKit."""
    return (line for line in lines if line.lstrip().startswith("#"))


def _indent(lines: Sequence[str], run: DockerInstruction) -> str:
    """As the first RUN has it, where it has more than one line."""
    inner = [lines[place.line] for place in run.places if place.line >= run.first]
    first = inner[0] if inner else ""
    return first[: len(first) - len(first.lstrip(" \t"))] or _INDENT
