"""Which lines of a Dockerfile made the layers of an image. Pure.

The steps above the base are laid beside the instructions of a stage, in order: a RUN fits by its command,
COPY and ADD by their destination, better by their sources too, WORKDIR by its path. What a variable stands
for is not known; any text fits it. Of the stages the one that fits best is taken, the last of equals.

A Dockerfile is one of another image where less than half of the stage's RUN, COPY and ADD fit, or, where
the base is known, less than half of the steps above it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from posixpath import normpath
from typing import NamedTuple

from squashkit.oci.steps import COPIES, Instruction, Parsed, after_shells, parse_step, without_shell
from squashkit.plan.waste.dockerfile import Dockerfile, DockerInstruction, command_of, words_of
from squashkit.plan.waste.model import Step
from squashkit.values import frozen

_MADE = frozenset({"RUN", "COPY", "ADD"})
_VARIABLE = re.compile(r"(?<!\\)\$(?:\w+|\{[^}]*\})")
_SURE, _LIKELY, _MAYBE = 4, 3, 1


@frozen
class Match:
    """The steps of an image in a Dockerfile."""

    instructions: Mapping[int, DockerInstruction]
    """By layer."""
    missing: tuple[int, ...]
    """Layers above the base whose RUN, COPY or ADD is not in it."""
    is_other: bool
    """Whether it is the Dockerfile of another image. Then no instruction is told."""


def match_steps(dockerfile: Dockerfile, steps: Sequence[Step]) -> Match:
    """The lines that made each layer, as far as they can be told."""
    above = [(one.layer, parse_step(one.created_by)) for one in steps if not one.in_base]
    wanted = [layer for layer, parsed in above if parsed.instruction.value in _MADE]
    best: _Fit | None = None
    for stage in range(len(dockerfile.stages)):
        fit = _fit(above, _in_folders(dockerfile.of_stage(stage)))
        if best is None or fit.score >= best.score:
            best = fit
    found = best.found if best is not None else {}
    has_base = len(above) < len(steps)
    fitting = sum(one.keyword in _MADE for one in found.values())
    is_other = best is None or not fitting or fitting * 2 < best.made
    is_other = is_other or (has_base and fitting * 2 < len(wanted))
    if is_other:
        return Match({}, tuple(wanted), True)
    return Match(found, tuple(layer for layer in wanted if layer not in found), False)


class _Placed(NamedTuple):
    one: DockerInstruction
    folder: str | None
    """The WORKDIR that it stands in; None where that is the base's."""


class _Fit(NamedTuple):
    score: int
    found: dict[int, DockerInstruction]
    made: int
    """Instructions of the stage that make a layer."""


def _in_folders(instructions: Sequence[DockerInstruction]) -> list[_Placed]:
    folder: str | None = None
    placed = []
    for one in instructions:
        if one.keyword == "WORKDIR":
            folder = _absolute(one.text.strip("\"'"), folder)
            placed.append(_Placed(one, folder))
        elif one.keyword in _MADE:
            placed.append(_Placed(one, folder))
    return placed


def _absolute(path: str, folder: str | None) -> str | None:
    if path.startswith(("/", "$")):
        return path
    return None if folder is None else f"{folder.rstrip('/')}/{path}"


def _fit(above: Sequence[tuple[int, Parsed]], placed: Sequence[_Placed]) -> _Fit:
    """The best way to lay steps beside instructions, in the order of both."""
    tests = [_test(one) for one in placed]
    scores = [[test(parsed) for test in tests] for _, parsed in above]
    # best[i][j]: what the steps from i and the instructions from j can have.
    best = [[0] * (len(placed) + 1) for _ in range(len(above) + 1)]
    for i in range(len(above) - 1, -1, -1):
        for j in range(len(placed) - 1, -1, -1):
            both = scores[i][j] + best[i + 1][j + 1] if scores[i][j] else 0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    found: dict[int, DockerInstruction] = {}
    i = j = 0
    while i < len(above) and j < len(placed) and best[i][j]:
        if scores[i][j] and best[i][j] == scores[i][j] + best[i + 1][j + 1]:
            found[above[i][0]] = placed[j].one
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return _Fit(best[0][0], found, sum(one.one.keyword in _MADE for one in placed))


_Test = Callable[[Parsed], int]
"""How well a step fits an instruction: 0 if not at all."""


def _test(placed: _Placed) -> _Test:
    if placed.one.keyword == "RUN":
        return _test_run(placed.one)
    return _test_path(placed)


def _test_run(one: DockerInstruction) -> _Test:
    command = _plain(command_of(one))
    # buildah tells the exec form as it was written.
    same = {command, _plain(without_shell(command)), _plain(one.text)} - {""}
    inner = _plain(after_shells(command))

    def test(step: Parsed) -> int:
        if step.instruction is Instruction.OTHER:
            return _LIKELY if one.words is not None and _plain(step.text) == command else 0
        if step.instruction is not Instruction.RUN:
            return 0
        if not step.command:
            return _MAYBE if one.words is not None else 0
        told = _plain(step.command)
        if told in same:
            return _SURE
        return _LIKELY if step.arguments and told == inner else 0

    return test


def _test_path(placed: _Placed) -> _Test:
    one, folder = placed
    *sources, written = (one.words or words_of(one.text)) or [""]
    if one.keyword == "WORKDIR":
        sources, written = [], one.text.strip("\"'")
    patterns = [_pattern(written)]
    absolute = _absolute(written, folder)
    if absolute is not None:
        patterns.append(_pattern(absolute))
    elif not written.startswith("/"):
        rest = _pattern(written).parts
        patterns.append(_Pattern(("/", f"/{rest[0]}" if rest[0] else "", *rest[1:])))
    origins = [_pattern(source) for source in sources if not source.startswith("--")]

    def test(step: Parsed) -> int:
        if step.instruction.value != one.keyword:
            return 0
        destination = _clean(step.destination)
        if not any(pattern.fits(destination) for pattern in patterns):
            return 0
        if step.instruction not in COPIES or step.is_hashed or len(step.sources) != len(origins):
            return _LIKELY - 1
        pairs = zip(origins, step.sources, strict=True)
        return _SURE if all(origin.fits(_clean(source)) for origin, source in pairs) else _MAYBE

    return test


def _plain(text: str) -> str:
    return " ".join(text.split())


def _clean(path: str) -> str:
    """A path without what does not change it; empty for the folder that one is in."""
    cleaned = normpath(path) if path else ""
    return "" if cleaned == "." else cleaned.replace("//", "/")


class _Pattern(NamedTuple):
    """A path, cut at its variables, each of which may have become anything."""

    parts: tuple[str, ...]

    def fits(self, text: str) -> bool:
        first, *inner = self.parts
        if not inner:
            return text == first
        last = inner.pop()
        if not text.startswith(first) or not text[len(first) :].endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in inner:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def _pattern(path: str) -> _Pattern:
    return _Pattern(tuple(part.replace(r"\$", "$") for part in _VARIABLE.split(_clean(path))))
