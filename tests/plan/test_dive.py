"""dive's numbers of small images, what they are made of, and the limits of a `.dive-ci` file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from squashkit.errors import UsageError
from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.plan.waste.dive import Dive, DiveFacts, dive_numbers, explain
from squashkit.plan.waste.dive_ci import Rules, judge, parse_rules
from squashkit.plan.waste.model import Cause, DeadFile
from tests.support.builders import directory, file, global_header, hardlink, layer, opaque, whiteout
from tests.support.dive_cases import CASES, KB, TREE, Case


def changesets(layers: Sequence[bytes]) -> list[Changeset]:
    """These layers, read."""
    return [parse_changeset(tar.scan_bytes(data), len(data)) for data in layers]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_numbers_are_dives(case: Case) -> None:
    """Each number of the small images is what dive told of them."""
    assert dive_numbers(changesets(case.layers)) == Dive(case.efficiency, case.wasted, case.user)


def test_an_image_without_layers_wastes_nothing() -> None:
    """No layer, no waste."""
    assert dive_numbers([]) == Dive(1.0, 0, 0)


def test_a_global_header_is_no_file() -> None:
    """What dive refuses to read is passed over."""
    assert dive_numbers(changesets([layer(global_header({"comment": b"x"}), file("a", KB))])) == Dive(
        1.0, 0, 0
    )


@pytest.mark.parametrize(
    ("dive", "share"),
    [
        (Dive(0.5, 20, 10), 2.0),
        (Dive(0.5, 20, 0), float("inf")),
        (Dive(1.0, 0, 0), 0.0),
    ],
)
def test_users_share_of_waste(dive: Dive, share: float) -> None:
    """It is of the bytes above the first layer, also where there are none."""
    assert dive.user_wasted == share


# --- what they are made of -------------------------------------------------------------------


def dead(path: str, size: int, layer: int, killed_by: int) -> DeadFile:
    """A dead file."""
    return DeadFile(path.encode(), size, size + 512, layer, killed_by, Cause.DELETED)


def facts(**said: int | tuple[int, ...]) -> DiveFacts:
    """Facts that are nothing but for these."""
    nothing: dict[str, int | tuple[int, ...]] = {
        "told": 0, "counted_double": 0, "alive": 0, "unseen": 0, "below_deleted": 0, "empty_paths": 0,
        "broken_off": (),
    }  # fmt: skip
    return DiveFacts(**(nothing | said))  # type: ignore[arg-type]


EXPLAINED = {
    "nothing": ([TREE], [], facts()),
    "the shown copy is counted, too": (
        [TREE, layer(file("f", KB * 2)), layer(file("f", KB * 4))],
        [dead("f", 1000, 0, 1), dead("f", 2000, 1, 2)],
        facts(told=3000, counted_double=4000),
    ),
    "a deleted file is counted once": (
        [TREE, layer(whiteout("f"))],
        [dead("f", 1000, 0, 1)],
        facts(told=1000),
    ),
    "files of a deleted directory are not seen": (
        [TREE, layer(whiteout("d"))],
        [dead("d/a", 1000, 0, 1), dead("d/e/b", 2000, 0, 1)],
        facts(unseen=3000, below_deleted=3000),
    ),
    "nor are those of an emptied one": (
        [TREE, layer(opaque("d"))],
        [dead("d/a", 1000, 0, 1), dead("d/e/b", 2000, 0, 1)],
        facts(unseen=3000, below_deleted=3000),
    ),
    "nor is a file that becomes a directory": (
        [TREE, layer(directory("f"), file("f/a", KB))],
        [dead("f", 1000, 0, 1)],
        facts(unseen=1000),
    ),
    "nor what the same layer has again": (
        [layer(file("f", KB), file("f", KB * 2)), layer(file("f", KB * 3))],
        [dead("f", 1000, 0, 0), dead("f", 2000, 0, 1)],
        facts(told=2000, counted_double=3000, unseen=1000),
    ),
    "nor a file that lives on by a link where its name is taken": (
        [
            layer(file("f", KB), hardlink("g", "f"), file("f", KB * 2)),
            layer(whiteout("g"), file("f", KB * 3)),
        ],
        [dead("f", 1000, 0, 1), dead("f", 2000, 0, 1)],
        facts(told=2000, counted_double=3000, unseen=1000, empty_paths=1),
    ),
    "a directory deleted twice is counted with its files": (
        [TREE, layer(whiteout("d")), TREE, layer(whiteout("d"))],
        [
            dead("d/a", 1000, 0, 1), dead("d/e/b", 2000, 0, 1), dead("f", 1000, 0, 2),
            dead("d/a", 1000, 2, 3), dead("d/e/b", 2000, 2, 3),
        ],
        facts(told=7000, counted_double=7000),
    ),
    "a file with another name lives": (
        [layer(file("a", KB), hardlink("b", "a")), layer(whiteout("a"))],
        [],
        facts(alive=1000),
    ),
    "an empty directory twice is waste of nothing": (
        [layer(directory("d")), layer(directory("d", mode=0o700))],
        [],
        facts(empty_paths=1),
    ),
    "a whiteout of nothing ends a layer": (
        [TREE, layer(whiteout("e"), file("f", KB))],
        [dead("f", 1000, 0, 1)],
        facts(unseen=1000, broken_off=(1,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "files", "expected"), EXPLAINED.values(), ids=EXPLAINED.keys())
def test_facts_add_up_to_the_numbers(
    layers: list[bytes], files: list[DeadFile], expected: DiveFacts
) -> None:
    """What dive counts is what it tells of dead files, what it counts again and what lives; the dead files
    are told or not."""
    read = changesets(layers)
    told, found = explain(read, files)
    assert told == dive_numbers(read)
    assert found == expected
    assert found.told + found.counted_double + found.alive == dive_numbers(read).wasted_bytes
    assert found.told + found.unseen == sum(each.size for each in files)


# --- .dive-ci --------------------------------------------------------------------------------


PLAIN = """\
rules:
  lowestEfficiency: 0.95
  highestWastedBytes: 20MB
  highestUserWastedPercent: 0.20
"""
DECORATED = """\
--- # the first of all

rules: # all of them\r

    'lowestEfficiency' : "disabled"
  # none
    highestUserWastedPercent: Off # neither"""


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", Rules(0.9, None, 0.1)),
        ("# nothing\n\nrules:\n", Rules(0.9, None, 0.1)),
        (PLAIN, Rules(0.95, 20_000_000, 0.2)),
        (DECORATED, Rules(None, None, None)),
        ("rules:\n lowestEfficiency: .5\n highestUserWastedPercent: 1.", Rules(0.5, None, 1.0)),
    ],
)
def test_rules_are_read(text: str, rules: Rules) -> None:
    """What a file says of the three rules; what it does not say is as in dive."""
    assert parse_rules(text) == rules


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("0", 0), ("1999", 1999), ("1,999", 1999), ("1.9kB", 1900), ("1.96KiB", 2007), ("20Mb", 20_000_000),
        ("20 MB", 20_000_000), ("'.5m'", 500_000), ("1GI", 1 << 30), ("2tb", 2 * 10**12), ("7 B", 7),
        ("1.9", 1), ("15EiB", 15 << 60), ("disabled", None), ("false", None),
    ],
)  # fmt: skip
def test_sizes_are_read_as_dive_reads_them(said: str, size: int | None) -> None:
    """Units are decimal unless they have an i."""
    assert parse_rules(f"rules:\n  highestWastedBytes: {said}\n").highest_wasted_bytes == size


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("plugins:\n  - one\nrules:\n", 1, "plugins stands outside of rules"),
        ("lowestEfficiency: 1", 1, "lowestEfficiency stands outside of rules"),
        ("\n  lowestEfficiency: 1", 2, "stands below nothing"),
        ("rules: {lowestEfficiency: 1}", 1, "not understood: rules: {"),
        ("rules: none", 1, "the rules stand below"),
        ("rules:\nrules:\n", 2, "rules is said twice"),
        ("rules:\n  other: 3", 2, "no rule is called other: there are lowestEfficiency, "),
        ("rules:\n  lowestefficiency: 1", 2, "no rule is called lowestefficiency"),
        ("rules:\n\tlowestEfficiency: 1", 2, "not understood: lowestEfficiency: 1"),
        ("rules:\n  - lowestEfficiency", 2, "not understood: - lowestEfficiency"),
        ("rules:\n  lowestEfficiency:1", 2, "not understood: lowestEfficiency:1"),
        ("rules:\n  lowestEfficiency: 1\n   highestWastedBytes: 1", 3, "not indented as the rule before"),
        ("rules:\n  lowestEfficiency: 1\n  lowestEfficiency: 1", 3, "lowestEfficiency is said twice"),
        ("rules:\n  lowestEfficiency: 95%", 2, "is a number from 0 to 1, or disabled; not 95%"),
        ("rules:\n  lowestEfficiency: 1.01", 2, "not 1.01"),
        ("rules:\n  lowestEfficiency: nan", 2, "not nan"),
        ("rules:\n  highestUserWastedPercent:", 2, "not empty"),
        ("rules:\n  highestUserWastedPercent: -1", 2, "not understood"),
        ("rules:\n  highestWastedBytes: 20 mbyte", 2, "like 20MB or 1.5GiB, or disabled; not 20 mbyte"),
        ("rules:\n  highestWastedBytes: 1,5MB", 2, "not 1,5MB"),
        ("rules:\n  highestWastedBytes: 010", 2, "not 010"),
        ("rules:\n  highestWastedBytes: 1iB", 2, "not 1iB"),
        ("rules:\n  highestWastedBytes: 20EB", 2, "more than a file system holds"),
        ("rules:\n  highestWastedBytes: '5MB", 2, "not understood"),
        ("rules:\n  highestWastedBytes: 5MB#x", 2, "not understood"),
        ("rules:\n  highestWastedBytes: &a 5MB", 2, "not understood"),
        ("rules:\n---\n", 2, "not understood: ---"),
        ("rules:\n  highestWastedBytes: \x1b[2J", 2, r"\x1b[2J"),
        (f"rules:\n  lowestEfficiency: {'x' * 500}", 2, "x..."),
    ],
)  # fmt: skip
def test_all_else_is_refused(text: str, line: int, message: str) -> None:
    """One line says which line is at fault, and why."""
    with pytest.raises(UsageError) as raised:
        parse_rules(text, "ci/.dive-ci")
    told = str(raised.value)
    assert told.startswith(f"ci/.dive-ci, line {line}: ")
    assert message in told
    assert told.isprintable()
    assert len(told) < 200


@pytest.mark.parametrize(
    ("dive", "rules", "passed"),
    [
        (Dive(0.9, 2000, 20_000), Rules(0.9, 2000, 0.1), (True, True, True)),
        (Dive(0.8999999, 2001, 20_000), Rules(0.9, 2000, 0.1), (False, False, False)),
        (Dive(0.0, 2000, 0), Rules(0.0, None, 1.0), (True, True, False)),
        (Dive(1.0, 0, 0), Rules(1.0, 0, 0.0), (True, True, True)),
        (Dive(0.0, 2000, 1), Rules(None, None, None), (True, True, True)),
    ],
)
def test_what_equals_a_limit_passes(dive: Dive, rules: Rules, passed: tuple[bool, ...]) -> None:
    """And what a disabled rule would be about passes, too."""
    assert tuple(verdict.passed for verdict in judge(dive, rules)) == passed
