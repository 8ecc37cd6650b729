"""A Dockerfile: its instructions, where they stand, and its stages, by BuildKit's rules
(frontend/dockerfile/parser of moby/buildkit). Pure.

A line goes on in the next one where it ends in the escape character, which `# escape=` may change. Comments
and empty lines between such lines are passed over. Here-documents follow the line that names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, NoReturn

from squashkit.errors import UsageError, show_text
from squashkit.values import frozen

KEYWORDS = frozenset(
    {
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
        "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }
)  # fmt: skip
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_WITH_ARGUMENTS = frozenset({"ADD", "COPY", "FROM", "RUN", "SHELL", "WORKDIR"})
_WITH_FLAGS = frozenset({"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"})
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"escape", "syntax", "check"})
_SPACE = " \t\v\f\r\n\ufeff"
"""With the mark that a file may begin with."""
_COMMENT = re.compile(rf"[{_SPACE}]*#")
_FLAG = re.compile(r"--[A-Za-z][\w-]*(?:=(?:\"[^\"]*\"|'[^']*'|\\.|[^\s\"'\\])*)?(?=\s|\Z)")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_WORD = re.compile(r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|\\.|[^\s\"'\\])+")
_QUOTES = re.compile(r"\\(.)|[\"']")
_DEFAULT_SHELL: tuple[str, ...] = ("/bin/sh", "-c")


class Heredoc(NamedTuple):
    """A here-document of an instruction."""

    name: str
    content: str
    """With its line ends; without the tabs that `<<-` takes away."""


class Place(NamedTuple):
    """Where a piece of an instruction's text stands in the file."""

    offset: int
    """Of its first character in the text."""
    line: int
    """Counted from 0."""
    column: int


@frozen
class DockerInstruction:
    """One instruction."""

    keyword: str
    """In capitals."""
    first: int
    """Its first line, counted from 1."""
    last: int
    stage: int
    """Counted from 0; less than 0 before the first FROM."""
    flags: tuple[str, ...]
    """As they were written, such as `--mount=type=cache,target=/root/.cache`."""
    text: str
    """What follows keyword and flags, with continued lines as one."""
    words: tuple[str, ...] | None
    """Of the exec form, a JSON list of words; None of the shell form."""
    heredocs: tuple[Heredoc, ...]
    shell: tuple[str, ...]
    """That runs shell forms here."""
    places: tuple[Place, ...]
    """Where the pieces of `text` stand, in order; the first begins it."""
    end: Place
    """Where `text` ends."""
    has_open_end: bool
    """Whether its last piece goes on in a line that has nothing."""


class Stage(NamedTuple):
    """A stage of a build."""

    base: str
    """What it is made FROM, as it was written."""
    name: str
    """In small letters; empty where it has none."""


@frozen
class Dockerfile:
    """A Dockerfile, with all its lines."""

    path: str
    lines: tuple[str, ...]
    """With their ends."""
    escape: str
    instructions: tuple[DockerInstruction, ...]
    stages: tuple[Stage, ...]

    def __repr__(self) -> str:
        return f"<Dockerfile: {self.path}, {len(self.instructions):,} instructions>"

    def of_stage(self, stage: int) -> list[DockerInstruction]:
        """The instructions that make the image of a stage, first those of the stages that it is FROM."""
        base = self.stages[stage].base.lower()
        below = [n for n in range(stage) if self.stages[n].name == base and base]
        own = [one for one in self.instructions if one.stage == stage]
        return [*(self.of_stage(below[-1]) if below else ()), *own]


def parse_dockerfile(text: str, path: str = "Dockerfile") -> Dockerfile:
    """A Dockerfile by its text, with the line ends that it has. Raises UsageError, with the line, where
    BuildKit would not know what is meant."""
    lines = tuple(_lines(text))
    escape = _escape(path, lines)
    instructions: list[DockerInstruction] = []
    stages: list[Stage] = []
    shell = _DEFAULT_SHELL
    for logical in _logical_lines(path, lines, escape):
        one = _instruction(path, logical, len(stages) - 1, shell)
        if one.keyword == "FROM":
            one = replace(one, stage=len(stages))
            stages.append(_stage(path, one))
            shell = _DEFAULT_SHELL
        elif not stages and one.keyword != "ARG":
            _fault(path, one.first, f"{one.keyword} stands before the first FROM")
        elif one.keyword == "SHELL":
            if not one.words:
                _fault(path, one.first, "SHELL takes a JSON list of words")
            shell = one.words
        instructions.append(one)
    if not stages:
        _fault(path, max(len(lines), 1), "there is no FROM")
    return Dockerfile(path, lines, escape, tuple(instructions), tuple(stages))


def command_of(one: DockerInstruction) -> str:
    """The command of a RUN as an image's history tells it, without the shell."""
    if one.words is not None:
        return " ".join(one.words)
    if not one.heredocs:
        return one.text
    (first, *_), is_whole = one.heredocs, _HEREDOC.fullmatch(one.text.strip())
    if is_whole and len(one.heredocs) == 1:
        # BuildKit gives such a document to the shell, or writes it to a file where it names its program.
        return f"/dev/pipes/{first.name}" if first.content.startswith("#!") else first.content
    return one.text + "".join(f"\n{doc.content}{doc.name}" for doc in one.heredocs)


def words_of(text: str) -> list[str]:
    """The words of a line, without their quotes."""
    return [_QUOTES.sub(lambda found: found[1] or "", word) for word in _WORD.findall(text)]


def _fault(path: str, line: int, what: str) -> NoReturn:
    raise UsageError(f"{show_text(path)}, line {line}: {what}")


def _lines(text: str) -> Iterator[str]:
    # No other sign ends a line for BuildKit, whatever Unicode says.
    *whole, rest = text.split("\n")
    for line in whole:
        yield line + "\n"
    if rest:
        yield rest


def _escape(path: str, lines: Sequence[str]) -> str:
    """The escape character, by the directives that a file may begin with."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.fullmatch(line.strip(_SPACE))
        if match is None:
            break
        name = match[1].lower()
        if name in _DIRECTIVES:
            if name in found:
                _fault(path, number, f"the directive {name} stands twice")
            found[name] = match[2]
            if name == "escape" and match[2] not in ("\\", "`"):
                _fault(path, number, "the escape character is \\ or `")
    return found.get("escape", "\\")


class _Logical(NamedTuple):
    """A line with those that it goes on in."""

    text: str
    places: tuple[Place, ...]
    first: int
    last: int
    has_open_end: bool
    heredocs: tuple[Heredoc, ...]


def _logical_lines(path: str, lines: Sequence[str], escape: str) -> Iterator[_Logical]:
    mark = re.escape(escape)
    goes_on = re.compile(rf"(?:(?<=[^{mark}])|\A){mark}[ \t]*\Z")
    number = 0
    while number < len(lines):
        if not lines[number].strip(_SPACE) or _COMMENT.match(lines[number]):
            number += 1
            continue
        first, text, places, is_open = number, "", [], True
        while is_open and number < len(lines):
            line = lines[number].rstrip("\r\n")
            if number == first or (line.strip(_SPACE) and not _COMMENT.match(line)):
                column = len(line) - len(line.lstrip(_SPACE)) if number == first else 0
                piece = line[column:]
                continued = goes_on.search(piece)
                is_open = continued is not None
                piece = piece[: continued.start()] if continued is not None else piece
                if piece.strip(_SPACE):
                    places.append(Place(len(text), number, column))
                text += piece
            number += 1
        heredocs, number = _read_heredocs(path, lines, text, number)
        if text.strip(_SPACE):
            yield _Logical(text, tuple(places), first + 1, number, is_open, heredocs)


def _read_heredocs(
    path: str, lines: Sequence[str], text: str, number: int
) -> tuple[tuple[Heredoc, ...], int]:
    """The documents that follow a line, and the number of the line after them."""
    words = text.split(None, 2)
    keyword = words[0].upper() if words else ""
    if keyword == "ONBUILD" and len(words) > 1:
        keyword = words[1].upper()
    if keyword not in _WITH_HEREDOCS or "<<" not in text:
        return (), number
    documents = []
    named_in = number
    for word in _WORD.findall(text):
        found = _HEREDOC.fullmatch(word)
        if found is None:
            continue
        name = "".join(words_of(found[2]))
        content: list[str] = []
        while True:
            if number >= len(lines):
                _fault(path, named_in, f"the here-document {show_text(name)} has no end")
            line = lines[number].lstrip("\t") if found[1] else lines[number]
            number += 1
            if line.rstrip("\r\n") == name:
                break
            content.append(line)
        documents.append(Heredoc(name, "".join(content)))
    return tuple(documents), number


def _instruction(path: str, logical: _Logical, stage: int, shell: tuple[str, ...]) -> DockerInstruction:
    text = logical.text
    keyword = text.split(None, 1)[0]
    start = _skip(text, len(keyword))
    name = keyword.upper()
    if name not in KEYWORDS:
        _fault(path, logical.first, f"there is no instruction {show_text(keyword[:40])}")
    flags: list[str] = []
    while name in _WITH_FLAGS and (flag := _FLAG.match(text, start)) is not None:
        flags.append(flag[0])
        start = _skip(text, flag.end())
    end = len(text.rstrip(_SPACE))
    if start >= end and name in _WITH_ARGUMENTS:
        _fault(path, logical.first, f"{name} takes an argument")
    given = text[start:end]
    return DockerInstruction(
        keyword=name,
        first=logical.first,
        last=logical.last,
        stage=stage,
        flags=tuple(flags),
        text=given,
        words=_json_words(given),
        heredocs=logical.heredocs,
        shell=shell,
        places=_places(logical.places, min(start, end)),
        end=_place_at(logical.places, end),
        has_open_end=logical.has_open_end,
    )


def _skip(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip(_SPACE))


def _place_at(places: Sequence[Place], offset: int) -> Place:
    """Where a text ends, of which a character stands before `offset`."""
    at = max((one for one in places if one.offset < offset), key=lambda one: one.offset)
    return Place(offset, at.line, at.column + offset - at.offset)


def _places(places: Sequence[Place], start: int) -> tuple[Place, ...]:
    """The same places for a text that begins at `start`."""
    before = max((one for one in places if one.offset <= start), key=lambda one: one.offset)
    first = Place(0, before.line, before.column + start - before.offset)
    return first, *(one._replace(offset=one.offset - start) for one in places if one.offset > start)


def _json_words(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    is_list = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return tuple(found) if is_list else None


def _stage(path: str, one: DockerInstruction) -> Stage:
    words = one.text.split()
    if len(words) == 1:
        return Stage(words[0], "")
    if len(words) == 3 and words[1].upper() == "AS":
        return Stage(words[0], words[2].lower())
    return _fault(path, one.first, "FROM takes an image, and a name after AS")
