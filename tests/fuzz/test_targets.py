"""The targets of `make fuzz`, held to a few inputs each, and to what they once found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from squashkit import parse_reference
from squashkit.errors import InvalidLayer
from tests.fuzz.targets import TARGETS
from tests.fuzz.tars import SEPARATOR, header, mutate_stack, sealed, split
from tests.support.builders import directory, file, layer, symlink
from tests.support.harness import export_layers, squash_layers
from tests.support.runner import assert_fails, run

INPUTS = 12


def changed(data: bytes, longest: int) -> bytes:
    """A stand-in for what Atheris does to bytes."""
    return data[::-1][:longest]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_runs(name: str) -> None:
    """Each target takes its seeds and inputs made of them, and finds no fault."""
    target = TARGETS[name]
    rng = random.Random(7)
    seeds = target.seeds()
    for number in range(INPUTS):
        data = seeds[number % len(seeds)]
        target.check(data)
        target.check(
            target.mutate(data, rng, changed, target.longest)
            if target.mutate
            else rng.randbytes(len(data) % 700) + data[:100]
        )


def test_changed_tars_are_still_read() -> None:
    """Most tars that the fuzzer changes get beyond their checksums: else it would test nothing else."""
    rng = random.Random(1)
    stack = SEPARATOR.join([layer(file("a", b"a"), directory("d")), layer(symlink("l", "a"))])
    read = 0
    for _ in range(200):
        made = mutate_stack(stack, rng, changed, 8192)
        try:
            squash_layers(made.split(SEPARATOR), [(0, made.count(SEPARATOR) + 1, False)])
            read += 1
        except InvalidLayer as error:
            read += "checksum" not in str(error)
        except Exception:
            read += 1
    assert read > 150
    assert len(split(layer(file("a", b"a" * 600), directory("d")))) == 2


def test_a_wrong_root_file_system_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A squash that loses a file does not pass the target."""
    stack = [layer(file("a", b"a"), file("b", b"b")), layer(file("c", b"c"))]
    data = SEPARATOR.join(stack)
    TARGETS["layers"].check(data)
    lost = squash_layers([layer(file("a", b"a")), stack[1]], [(0, 2, False)])
    monkeypatch.setattr("tests.fuzz.targets.squash_layers", lambda *_: lost)
    with pytest.raises(AssertionError, match="another root file system"):
        TARGETS["layers"].check(data)


# --- what was found --------------------------------------------------------------------------


@pytest.mark.parametrize("target", [".wh.x", ".wh..wh.aufs", "d/.wh.x", "d/.wh..wh..opq"])
def test_no_way_leads_through_a_whiteout(target: str) -> None:
    """A path through a symlink to what would be a whiteout's name can be in no layer, and is refused: it
    was written as a whiteout, or lost."""
    stack = [layer(directory("d"), file("d/a")), layer(symlink("l", target), file("l/f", b"1"))]
    with pytest.raises(InvalidLayer):
        export_layers(stack)
    with pytest.raises(InvalidLayer):
        squash_layers(stack, [(0, 2, False)])


def test_a_header_written_anew_has_no_old_prefix() -> None:
    """The root's entry of before ustar, with a GNU name and bytes where a prefix would be, is `./` for
    readers that take a prefix whatever the magic is, too."""
    name = sealed(header(b"././@LongLink", b"L", 2, magic=b"ustar  \0")) + b"/\0" + bytes(510)
    old = bytearray(header(b".", b"5", 0, magic=bytes(8)))
    old[345:349] = b"../a"
    data = name + sealed(bytes(old)) + bytes(1024)
    (made,) = squash_layers([layer(), data], [(0, 2, False)])
    assert made[:3] == b"./\0"
    assert made[345:500] == bytes(155)


@pytest.mark.parametrize("form", ["{}", "oci:{}", "{}:tag", "docker-archive:{}"])
def test_a_name_that_is_too_long_is_told(form: str, tmp_path: Path) -> None:
    """No file has a name of 300 bytes: it is read as any other that is not there (5)."""
    text = form.format(tmp_path / ("N" * 300))
    parse_reference(text)
    assert_fails(run("inspect", text), 5)
