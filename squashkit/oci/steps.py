"""What a step of a build was, from `created_by` of the image's history, as each builder spells it. Pure.

    docker, podman, buildah   /bin/sh -c make          /bin/sh -c #(nop) COPY file:<hash> in /srv
    BuildKit                  RUN /bin/sh -c make # buildkit         COPY a b /srv # buildkit
    kaniko                    RUN make                                COPY a b /srv
    tools without a mark      /bin/sh -c RUN make                     /bin/sh -c COPY a b /srv

No program has the name of an instruction in capitals, so the last are no commands of a shell.
Where a RUN had build arguments, their values stand before its shell, without quotes:
`|2 TOKEN=abc NAME=two words /bin/sh -c make`. They may be secrets, and nothing here shows them.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import NamedTuple

from squashkit.errors import show_text
from squashkit.values import frozen

HIDDEN = "…"
"""Stands for the value of a build argument, and for what cannot be told from one."""


class Instruction(Enum):
    """The instruction of a Dockerfile that a step is of."""

    RUN = "RUN"
    COPY = "COPY"
    ADD = "ADD"
    WORKDIR = "WORKDIR"
    OTHER = "other"
    """Another one, or a step that is not told in the words of a Dockerfile."""


COPIES = frozenset({Instruction.COPY, Instruction.ADD})


@frozen
class Parsed:
    """A step in its parts. None of them has the value of a build argument."""

    instruction: Instruction
    text: str
    """The whole step without what builders put around it. Spaces and line ends are as they were."""
    command: str = ""
    """Of RUN: what the shell was given. Empty where it cannot be told from the build arguments."""
    sources: tuple[str, ...] = ()
    """Of COPY and ADD: what was copied, or its hash."""
    destination: str = ""
    """Of COPY, ADD and WORKDIR, as it was written."""
    flags: tuple[tuple[str, str], ...] = ()
    """Such as (`--chown`, `app:app`), as far as the history tells them."""
    arguments: tuple[str, ...] = ()
    """The names of build arguments, as far as they are certain."""

    @property
    def is_hashed(self) -> bool:
        """Whether the history tells only a hash of what was copied."""
        return any(map(_HASH.fullmatch, self.sources))


_MARK = "#(nop)"
_BUILDKIT = " # buildkit"
_SHELL = (
    r"(?:/\S+/)?(?:ba|da|a|k|mk|z|c|tc|fi)?sh"
    r"(?: [-+][\w-]+| (?:pipefail|errexit|nounset|xtrace))*? -\w*c(?!\S)"
)
_STARTS_WITH_SHELL = re.compile(rf"\A{_SHELL}")
_ANY_SHELL = re.compile(rf"(?<!\S){_SHELL}")
_BEFORE_ARGUMENTS = re.compile(rf"\s*(?:RUN\s+)?(?:{_SHELL}\s+)?(?:#\(nop\)\s+)?\|(\d+)\s+")
_ARGUMENT = re.compile(r"(?<!\S)([^\s=]+)=")
_DECLARED = re.compile(rf"(?s)(\s*(?:{_SHELL}\s+)?(?:#\(nop\)\s+)?ARG\s+[^=]*=).*")
_HASH = re.compile(r"(?:file|dir|multi):[0-9a-f]+")
_HASHED = re.compile(r"(?s)(.*?)((?:file|dir|multi):[0-9a-f]+) in (.*)")
_FLAG = re.compile(r"(--[a-z][a-z-]*)(?:=(\"[^\"]*\"|'[^']*'|\S+))?(?:\s+|$)")
_WORD = re.compile(r"([A-Za-z]+)(?:\s+|$)")
_SHOWN_DIGITS = 12


def parse_step(created_by: str) -> Parsed:
    """The parts of a step, by its `created_by`."""
    declared = _DECLARED.fullmatch(created_by)
    split = _split(created_by if declared is None else declared[1] + HIDDEN)
    rest = split.rest.removesuffix(_BUILDKIT).strip()
    if split.has_arguments:
        return _run(rest, split.names)
    inner = without_shell(rest)
    has_shell, has_mark = inner != rest, inner.startswith(_MARK)
    rest = inner.removeprefix(_MARK).lstrip()
    word = _WORD.match(rest)
    instruction = _INSTRUCTIONS.get(word[1]) if word is not None else None
    if has_shell and not has_mark and instruction is None:
        return _run(rest)
    if word is None or instruction is None:
        return Parsed(Instruction.OTHER, rest)
    if instruction is Instruction.RUN:
        return _run(without_shell(rest[word.end() :]))
    if instruction is Instruction.WORKDIR:
        return Parsed(instruction, rest, destination=rest[word.end() :].strip())
    return _copy(instruction, rest, rest[word.end() :])


_INSTRUCTIONS = {one.value: one for one in Instruction if one is not Instruction.OTHER}


def without_shell(text: str) -> str:
    """A command without the shell that is to run it."""
    return _STARTS_WITH_SHELL.sub("", text, count=1).lstrip()


def after_shells(text: str) -> str:
    """What follows the last shell that a command names; all of it where it names none."""
    shells = list(_ANY_SHELL.finditer(text))
    return text[shells[-1].end() :].lstrip() if shells else text


def shown(created_by: str) -> str:
    """The whole step on one line, as people should see it: of RUN the command alone, with the names of its
    build arguments before it (`TOKEN=… make`), of the others the instruction too (`COPY a b /srv`)."""
    return show_parsed(parse_step(created_by))


def show_parsed(step: Parsed) -> str:
    """The same for a step in its parts."""
    text = step.text
    if step.instruction in COPIES:
        text = _HASH.sub(lambda found: f" {_short(found[0])}", text)
    names = "".join(f"{name}={HIDDEN} " for name in step.arguments)
    return show_text(names + " ".join(text.split()))


def hide_arguments(created_by: str) -> str:
    """The step as it stands in the history, but for the values of build arguments. Where it is not certain
    where a value ends, all that may be of it is hidden."""
    declared = _DECLARED.fullmatch(created_by)
    if declared is not None:
        return declared[1] + HIDDEN
    split = _split(created_by)
    if not split.has_arguments:
        return created_by
    values = "".join(f"{name}={HIDDEN} " for name in split.names) or f"{HIDDEN} "
    return split.head + values + split.shell + split.rest


class _Split(NamedTuple):
    """A step, cut where its build arguments are: what stands before them, and what after."""

    head: str
    names: tuple[str, ...]
    shell: str
    rest: str
    has_arguments: bool


def _split(created_by: str) -> _Split:
    before = _BEFORE_ARGUMENTS.match(created_by)
    if before is None:
        return _Split("", (), "", created_by.strip(), False)
    head, given = created_by[: before.end()], created_by[before.end() :]
    # A value may have a shell in it. What stands before the last one may be of a value.
    shells = list(_ANY_SHELL.finditer(given))
    if shells:
        shell = shells[-1]
        values, word, rest = given[: shell.start()], shell[0], given[shell.end() :]
    else:
        # Without a shell nothing tells a command from the last value.
        suffix = _BUILDKIT if given.endswith(_BUILDKIT) else ""
        values, word, rest = given.removesuffix(suffix), HIDDEN, suffix
    return _Split(head, _certain_names(values, before[1], "RUN" in head), word, rest, True)


def _certain_names(values: str, count: str, is_buildkit: bool) -> tuple[str, ...]:
    """The names of build arguments, without anything that may be of a value."""
    first = _ARGUMENT.match(values)
    if first is None:
        return ()
    names = tuple(_ARGUMENT.findall(values))
    # docker counts arguments, buildah words: where it may be either, later words may be of the first value.
    counts_arguments = is_buildkit or len(values.strip(" ").split(" ")) != _number(count)
    return names if counts_arguments and len(names) == _number(count) else names[:1]


def _number(digits: str) -> int:
    return int(digits[:9])


def _run(command: str, arguments: tuple[str, ...] = ()) -> Parsed:
    flags, command = _flags(command.strip())
    return Parsed(Instruction.RUN, command or HIDDEN, command, flags=flags, arguments=arguments)


def _copy(instruction: Instruction, text: str, given: str) -> Parsed:
    hashed = _HASHED.fullmatch(given)
    if hashed is not None:
        # docker 20.10 leaves out the space between the owner and the hash.
        flags, _ = _flags(hashed[1])
        return Parsed(instruction, text, "", (hashed[2],), hashed[3].strip(), flags)
    flags, rest = _flags(given)
    *sources, destination = _listed(rest) or rest.split() or [""]
    return Parsed(instruction, text, "", tuple(sources), destination, flags)


def _listed(text: str) -> list[str]:
    """The words of a JSON list; none where it is not one."""
    try:
        found = json.loads(text) if text.startswith("[") else []
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


def _flags(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """The flags that a text begins with, and what follows them."""
    flags: list[tuple[str, str]] = []
    while (found := _FLAG.match(text)) is not None:
        flags.append((found[1], found[2] or ""))
        text = text[found.end() :]
    return tuple(flags), text


def _short(hashed: str) -> str:
    kind, _, digits = hashed.partition(":")
    return f"{kind}:{digits[:_SHOWN_DIGITS]}"
