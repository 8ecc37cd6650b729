"""What has to be known of a shell command before another one is joined to it by `&&`. Pure.

This is no parser of the shell's language. Where it is in doubt it says so, or takes the command for the
kind that needs more care.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from squashkit.values import frozen

_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})
_LEAKING = frozenset(
    {
        ".", "alias", "bind", "break", "cd", "continue", "declare", "enable", "eval", "exec", "exit",
        "export", "for", "function", "getopts", "hash", "let", "local", "logout", "mapfile", "popd",
        "pushd", "read", "readarray", "readonly", "return", "select", "set", "shift", "shopt", "source",
        "times", "trap", "typeset", "ulimit", "umask", "unalias", "unset",
    }
)  # fmt: skip
"""Commands that change the shell which runs them, or end it."""
_BEFORE_COMMANDS = frozenset(
    {"!", "{", "if", "then", "elif", "else", "while", "until", "do", "time", "command", "builtin"}
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^]]*\])?\+?=")
_ERREXIT = re.compile(r"\bset\b[^;&|]*\s-[A-Za-z]*e|\berrexit\b|\btrap\b")
_EXPANDED = re.compile(r"\$\{\w+:?=|\$\(\(|\(\(")
_HAS_E = re.compile(r"-[A-Za-z]*e[A-Za-z]*")


@frozen
class ShellCommand:
    """What a command on one line is, as far as joining goes."""

    is_clear: bool
    """Whether something can follow it: its quotes are closed, it has no comment and no here-document."""
    is_plain: bool
    """Whether it is pipelines with `&&` between them, and nothing else."""
    leaks: bool
    """Whether what follows in the same shell may see that it ran: another directory, variables, options."""
    is_strict: bool
    """Whether it goes by `set -e` or a trap, which shells ignore on the left of `&&`."""
    has_end: bool
    """Whether it ends in `;` or `&`."""


def is_shell(words: Sequence[str]) -> bool:
    """Whether this is a shell in which `&&`, `{ }` and `( )` mean what they mean for sh."""
    return len(words) > 1 and words[0].rpartition("/")[2] in _SHELLS and words[-1].endswith("c")


def stops_at_faults(words: Sequence[str]) -> bool:
    """Whether a shell is started so that it ends where a command fails."""
    return any(map(_HAS_E.fullmatch, words[1:])) or "errexit" in words


def read_command(text: str) -> ShellCommand:
    """What a command is."""
    reader = _Reader()
    reader.read(text)
    has_quotes = "'" in text or '"' in text
    has_nested = "$(" in text or "`" in text
    last = reader.operators[-1] if reader.operators and not reader.after_operator else ""
    return ShellCommand(
        is_clear=reader.is_clear and last not in ("&&", "||", "|"),
        # Quotes within a substitution are not looked into.
        is_plain=not (has_quotes and has_nested) and all(one in ("&&", "|") for one in reader.operators),
        leaks=reader.leaks or _EXPANDED.search(text) is not None,
        is_strict=_ERREXIT.search(text) is not None,
        has_end=last in (";", "&"),
    )


class _Reader:
    """One pass over a command's characters."""

    def __init__(self) -> None:
        self.is_clear = True
        self.leaks = False
        self.operators: list[str] = []
        self.after_operator = ""
        """What stands after the last operator."""
        self._word = ""
        self._has_word = False
        self._at_command = True
        self._assigns = False

    def read(self, text: str) -> None:
        at = 0
        while at < len(text):
            at = self._next(text, at)
        self._end_command()

    def _next(self, text: str, at: int) -> int:
        """Take in what stands here, and say where to go on."""
        char = text[at]
        if char == "\\":
            self.is_clear &= at + 1 < len(text)
            return self._take(text[at + 1 : at + 2], at + 2)
        if char in "'\"":
            return self._quoted(text, at)
        if char.isspace() and char != "\n":
            self._end_word()
            return at + 1
        if char == "#" and not self._has_word:
            self.is_clear = False
        if text.startswith("<<", at) and not text.startswith("<<<", at):
            self.is_clear = False
        if text.startswith("<<<", at):
            return self._take("<<<", at + 3)
        if char == "&" and (text[at - 1 : at] in ("<", ">") or text[at + 1 : at + 2] == ">"):
            return self._take(char, at + 1)
        if char in ";&|()\n":
            double = text[at : at + 2]
            operator = double if double in ("&&", "||") else ";" if char == "\n" else char
            if operator == "(" and self._has_word and not self._word.endswith("$"):
                self.leaks = True  # a function, or an array
            self._operator(operator)
            return at + (2 if double in ("&&", "||", "|&", ";;") else 1)
        return self._take(char, at + 1)

    def _quoted(self, text: str, at: int) -> int:
        quote, at = text[at], at + 1
        self._take("", at)
        while at < len(text) and text[at] != quote:
            if quote == '"' and text[at] == "\\":
                at += 1
            self._take(text[at : at + 1], at)
            at += 1
        self.is_clear &= at < len(text)
        return at + 1

    def _take(self, char: str, at: int) -> int:
        self._word += char
        self._has_word = True
        self.after_operator += char or '"'
        return at

    def _operator(self, operator: str) -> None:
        self._end_command()
        # Parentheses bind by themselves.
        if operator not in "()":
            self.operators.append(operator)
            self.after_operator = ""
        else:
            self.after_operator += operator

    def _end_command(self) -> None:
        self._end_word()
        self.leaks |= self._assigns
        self._at_command, self._assigns = True, False

    def _end_word(self) -> None:
        if self._has_word and self._at_command:
            if _ASSIGNMENT.match(self._word):
                self._assigns = True
            elif self._word not in _BEFORE_COMMANDS:
                self.leaks |= self._word in _LEAKING or self._word.startswith("$")
                self._at_command, self._assigns = False, False
        self._word, self._has_word = "", False
