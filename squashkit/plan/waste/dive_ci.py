"""The rules of a `.dive-ci` file, and how an image does by them.

The file is YAML (README.md of github.com/wagoodman/dive, "CI Integration"). What is needed of it is a
mapping of three scalars:

    rules:
      lowestEfficiency: 0.95
      highestWastedBytes: 20MB
      highestUserWastedPercent: 0.20

That much is read, with comments, quotes and `---` before it. All else is refused, as are names that dive
does not know: it takes no notice of them, so that a limit with a slip of the pen is none.

How limits are read and kept is in runtime/ci/rule.go and evaluator.go of dive 0.13.1, and in
cmd/dive/cli/internal/command/ci/rules.go of the source after it, where `off` and `false` are `disabled`,
too, in any case. `dive --ci` exits with 1 where a rule fails, and where one is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from squashkit.errors import UsageError, show_text
from squashkit.plan.waste.dive import Dive
from squashkit.values import frozen

LOWEST_EFFICIENCY: Final = "lowestEfficiency"
HIGHEST_WASTED_BYTES: Final = "highestWastedBytes"
HIGHEST_USER_WASTED: Final = "highestUserWastedPercent"
RULES: Final = (LOWEST_EFFICIENCY, HIGHEST_WASTED_BYTES, HIGHEST_USER_WASTED)


@frozen
class Rules:
    """Limits; None where a rule is disabled. What a file does not say is as here (cmd/root.go of dive)."""

    lowest_efficiency: float | None = 0.9
    """From 0 to 1."""
    highest_wasted_bytes: int | None = None
    highest_user_wasted: float | None = 0.1
    """From 0 to 1, though dive calls it a percentage."""


class Verdict(NamedTuple):
    """What becomes of one rule."""

    rule: str
    """One of RULES."""
    passed: bool
    """True where it is disabled, too."""
    found: float
    limit: float | None
    """None where it is disabled."""


def judge(dive: Dive, rules: Rules) -> tuple[Verdict, ...]:
    """A verdict a rule. What equals its limit passes, although dive's README says that so many wasted bytes
    fail."""
    lowest, most, share = rules.lowest_efficiency, rules.highest_wasted_bytes, rules.highest_user_wasted
    efficiency, wasted, user = dive.efficiency, dive.wasted_bytes, dive.user_wasted
    return (
        Verdict(LOWEST_EFFICIENCY, lowest is None or efficiency >= lowest, efficiency, lowest),
        Verdict(HIGHEST_WASTED_BYTES, most is None or wasted <= most, wasted, most),
        Verdict(HIGHEST_USER_WASTED, share is None or user <= share, user, share),
    )


def parse_rules(text: str, name: str = ".dive-ci") -> Rules:
    """The rules of a file; `name` is what messages call it.

    Raises UsageError, one line that names the line at fault, for all that is not understood."""
    found: dict[str, float | None] = {}
    for line in _pairs(text, name):
        if line.key not in RULES:
            raise line.error(f"no rule is called {line.key}: there are {', '.join(RULES)}")
        if line.key in found:
            raise line.error(f"{line.key} is said twice")
        found[line.key] = _limit(line)
    default = Rules()
    most = found.get(HIGHEST_WASTED_BYTES, default.highest_wasted_bytes)
    return Rules(
        found.get(LOWEST_EFFICIENCY, default.lowest_efficiency),
        None if most is None else int(most),
        found.get(HIGHEST_USER_WASTED, default.highest_user_wasted),
    )


# --- lines -----------------------------------------------------------------------------------


class _Line(NamedTuple):
    """A line that says something."""

    file: str
    number: int
    indent: str
    key: str
    value: str

    def error(self, why: str) -> UsageError:
        return _refused(self.file, self.number, why)


def _refused(file: str, number: int, why: str) -> UsageError:
    return UsageError(f"{file}, line {number}: {show_text(why)}")


_BLANK = re.compile(r"[ \t]*(#.*)?")
_START = re.compile(r"---[ \t]*([ \t]#.*)?")
_PAIR = re.compile(
    r"""(?P<indent>\ *)
    (?P<quote>["']?)(?P<key>[A-Za-z][\w/.-]*)(?P=quote)
    \ *:(?=\s|$)
    [ \t]*(?:"(?P<double>[^"'\\]*)"|'(?P<single>[^"']*)'|(?P<plain>[A-Za-z0-9.][^"'#:\[\]{}&*!|>@`\t]*?))?
    (?:[ \t]+\#.*|[ \t]*)""",
    re.VERBOSE | re.ASCII,
)


def _lines(text: str, file: str) -> Iterator[_Line]:
    """Lines that say something, in order. Raises UsageError for one that is no `key: scalar`."""
    started = False
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if _BLANK.fullmatch(line):
            continue
        if not started and _START.fullmatch(line):
            started = True
            continue
        started = True
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise _refused(file, number, f"not understood: {_short(line.strip())}")
        value = pair["double"] or pair["single"] or pair["plain"] or ""
        yield _Line(file, number, pair["indent"], pair["key"], value)


def _pairs(text: str, file: str) -> Iterator[_Line]:
    """The lines of the mapping `rules`. Raises UsageError where anything stands beside it or is deeper."""
    indent: str | None = None
    rules = False
    for line in _lines(text, file):
        if not line.indent:
            if line.key != "rules":
                raise line.error(f"{line.key} stands outside of rules, where nothing is read")
            if rules:
                raise line.error("rules is said twice")
            if line.value:
                raise line.error("the rules stand below, a line each")
            rules = True
        elif not rules:
            raise line.error(f"{line.key} is indented, and stands below nothing")
        elif indent not in (None, line.indent):
            raise line.error(f"{line.key} is not indented as the rule before")
        else:
            indent = line.indent
            yield line


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."


# --- limits ----------------------------------------------------------------------------------

_DISABLED = ("disabled", "off", "false")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)
_SIZE = re.compile(
    rf"(?P<number>[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+|{_NUMBER.pattern}) *"
    r"(?P<unit>[kmgtpe]?)(?P<binary>i?)(?P<byte>b?)",
    re.ASCII | re.IGNORECASE,
)
_MOST = 2.0**64


def _limit(line: _Line) -> float | None:
    """The limit that a line sets, None where it disables its rule."""
    if line.value.lower() in _DISABLED:
        return None
    if line.key == HIGHEST_WASTED_BYTES:
        return _size(line)
    if not _NUMBER.fullmatch(line.value) or float(line.value) > 1:
        raise line.error(f"{line.key} is a number from 0 to 1, or disabled; not {_said(line)}")
    return float(line.value)


def _size(line: _Line) -> int:
    """Bytes. Units count by 1000, by 1024 where they have an `i`; `B` may be left out, upper and lower
    case are one, and a part of a byte is dropped (bytes.go of github.com/dustin/go-humanize)."""
    size = _SIZE.fullmatch(line.value)
    if size is None or (size["binary"] and not size["unit"]):
        raise line.error(f"{line.key} is a size like 20MB or 1.5GiB, or disabled; not {_said(line)}")
    power = "kmgtpe".find(size["unit"].lower()) + 1 if size["unit"] else 0
    value = float(size["number"].replace(",", "")) * float((1024 if size["binary"] else 1000) ** power)
    if value >= _MOST:
        raise line.error(f"{line.key} is more than a file system holds: {_said(line)}")
    return int(value)


def _said(line: _Line) -> str:
    return _short(line.value) or "empty"
