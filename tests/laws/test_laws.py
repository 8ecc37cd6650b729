"""The laws of squashing, over random images: what must hold whatever the layers hold.

The judge is the naive model and the linter; the squasher is known only by `squash_layers`.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.builders import END_OF_ARCHIVE, digest, layer
from tests.support.cases import CASES, Case, member_names
from tests.support.generate import CONTESTED, UNCONTESTED, constructs, one_in, random_image
from tests.support.harness import export_layers, squash_layers
from tests.support.laws import law
from tests.support.linter import lint
from tests.support.model import (
    Illegal,
    SymlinkParents,
    apply_each,
    apply_layers,
    differences,
    listing,
    meaning,
    read_members,
)

Segments = list[tuple[int, int, bool]]

EMPTY = layer()


# --- images and the runs to squash -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers and how they are cut; shown as a table of members."""

    layers: list[bytes]
    segments: Segments

    def __repr__(self) -> str:
        return f"segments {self.segments}\n{listing(self.layers)}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def image(draw: st.DrawFn, contested: bool | None = None) -> tuple[random.Random, list[bytes]]:
    """A random image, and the source of chance for what is done with it."""
    rng = draw(st.randoms(use_true_random=False))
    if contested is None:
        contested = draw(st.booleans())
    return rng, random_image(rng, contested=contested)


@st.composite
def uncut(draw: st.DrawFn) -> Stack:
    """An image with all its layers kept."""
    _, layers = image(draw)
    return Stack(layers, [(0, len(layers), True)])


@st.composite
def small(draw: st.DrawFn) -> Stack:
    """An image of at most four layers, so that every partition can be tried."""
    _, layers = image(draw)
    return Stack(layers[:4], [])


@st.composite
def one_run(draw: st.DrawFn, contested: bool | None = None, bottom: bool = False) -> Stack:
    """An image with one run to squash, of two layers or more, and the rest kept."""
    rng, layers = image(draw, contested)
    start = 0 if bottom else rng.randint(0, len(layers) - 2)
    stop = rng.randint(start + 2, len(layers))
    return Stack(layers, only(start, stop, len(layers)))


@st.composite
def any_cut(draw: st.DrawFn) -> Stack:
    """An image, partitioned into runs of any length, each to be kept or squashed."""
    rng, layers = image(draw)
    segments: Segments = []
    start = 0
    while start < len(layers):
        stop = rng.randint(start + 1, len(layers))
        segments.append((start, stop, one_in(rng, 4)))
        start = stop
    return Stack(layers, segments)


def only(start: int, stop: int, count: int) -> Segments:
    """Squash one run, keep what is below and above."""
    cut = [(0, start, True), (start, stop, False), (stop, count, True)]
    return [segment for segment in cut if segment[0] < segment[1]]


def partitions(count: int) -> Iterator[Segments]:
    """Every way to cut layers into runs that are all squashed."""
    for cuts in range(2 ** (count - 1)):
        edges = [0, *(n for n in range(1, count) if cuts >> (n - 1) & 1), count]
        yield [(a, b, False) for a, b in pairwise(edges)]


# --- what is compared ------------------------------------------------------------------------


def squashed_runs(segments: Segments) -> list[tuple[int, int]]:
    """The runs that are written anew; one of a single layer stays as it is."""
    return [(start, stop) for start, stop, keep in segments if not keep and stop - start > 1]


def squash_run(layers: Sequence[bytes], start: int, stop: int) -> bytes | None:
    """The one layer that a run becomes, None where nothing is left of it."""
    result = squash_layers(list(layers[:stop]), only(start, stop, stop))
    return result[start] if len(result) > start else None


def boundaries(
    layers: Sequence[bytes], segments: Segments, result: Sequence[bytes]
) -> list[tuple[int, int]]:
    """The boundaries that both images have: layers below it in the source, and in the result."""
    gone = len(layers) - len(result) - sum(b - a - 1 for a, b in squashed_runs(segments))
    found = [(0, 0)]
    for start, stop, keep in segments:
        _, made = found[-1]
        if keep or stop - start == 1:
            found += [(start + n, made + n) for n in range(1, stop - start + 1)]
        else:
            # Only where a run has vanished must be found out which one it was.
            is_there = not gone or squash_run(layers, start, stop) is not None
            found.append((stop, made + is_there))
    assert found[-1] == (len(layers), len(result))
    return found


def unequal(
    layers: Sequence[bytes],
    segments: Segments,
    result: Sequence[bytes],
    symlink_parents: SymlinkParents = "overlay",
) -> list[str]:
    """What differs at any boundary; a hard-link group may be cut where a run was squashed."""
    right = apply_each(layers, symlink_parents=symlink_parents)
    cut = apply_each(layers, symlink_parents=symlink_parents, split_runs=squashed_runs(segments))
    got = apply_each(result, symlink_parents=symlink_parents)
    return [
        f"above layer {stop - 1}: {line}"
        for stop, made in boundaries(layers, segments, result)
        for line in differences(right[stop], got[made], split=cut[stop])
    ]


def digests(layers: Sequence[bytes]) -> list[str]:
    """What stands for the bytes in a comparison, as nobody wants to read those of a tar."""
    return [digest(data) for data in layers]


def too_large(layers: Sequence[bytes], start: int, stop: int, squashed: bytes) -> list[str]:
    """By how much a squashed layer exceeds what its run gives reason for."""
    run = layers[start:stop]
    state = apply_layers(layers[:stop])
    known: dict[bytes, int] = {}
    for record in (record for data in run for record in read_members(data)):
        what, path = meaning(record.name)
        if what == "entry" and record.kind != "hardlink":
            size = record.data_start - record.start
            known[path] = min(size, known.get(path, size))
    allowed = sum(map(len, run)) + len(END_OF_ARCHIVE)
    data = data_allowed = 0
    seen = set()
    for record in read_members(squashed):
        what, path = meaning(record.name)
        header = record.data_start - record.start
        allowed += max(0, header - known.get(path, 0)) if what == "entry" else header
        data += record.end - record.data_start
        node = state.nodes.get(path)
        if what == "entry" and node and node.inode not in seen:
            seen.add(node.inode)
            padded = -len(node.content) // 512 * -512
            data_allowed += padded
            allowed += padded if node.made_in < start else 0
    found = [f"{len(squashed)} bytes, not {allowed}"] if len(squashed) > allowed else []
    return found + ([f"{data} bytes of data, not {data_allowed}"] if data > data_allowed else [])


def has_whiteout(data: bytes) -> bool:
    return any(meaning(record.name)[0] in ("whiteout", "opaque") for record in read_members(data))


# --- the laws --------------------------------------------------------------------------------


@given(small())
@law(60)
def test_equivalence(stack: Stack) -> None:
    """However an image is cut into runs, its root file system stays what it was."""
    right = apply_layers(stack.layers)
    for segments in partitions(len(stack.layers)):
        result = squash_layers(stack.layers, segments)
        cut = apply_layers(stack.layers, split_runs=squashed_runs(segments))
        assert differences(right, apply_layers(result), split=cut) == []


@given(uncut())
@law(120)
def test_an_export_is_the_root_file_system(stack: Stack) -> None:
    """One tar, each directory followed by what it holds, that makes what all layers made; and no marker."""
    data = export_layers(stack.layers)
    right = apply_layers(stack.layers)
    assert differences(right, apply_layers([data])) == []
    assert not has_whiteout(data)
    names = [record.name.rstrip(b"/").removeprefix(b"./") for record in read_members(data)]
    assert names == sorted(names, key=lambda name: name.split(b"/") if name not in (b"", b".") else [])


@given(any_cut())
@law(120)
def test_equality_at_every_kept_boundary(stack: Stack) -> None:
    """The stack up to each kept layer makes the same root file system as it did."""
    result = squash_layers(stack.layers, stack.segments)
    assert unequal(stack.layers, stack.segments, result) == []


@given(any_cut())
@law(60)
def test_keep(stack: Stack) -> None:
    """A kept layer, and a run of one layer, has the same bytes at its place in the result."""
    result = squash_layers(stack.layers, stack.segments)
    places = boundaries(stack.layers, stack.segments, result)
    made_at = dict(places)
    for start, stop, keep in stack.segments:
        if keep or stop - start == 1:
            kept = result[made_at[start] : made_at[stop]]
            assert digests(kept) == digests(stack.layers[start:stop])


@pytest.mark.parametrize("whiteouts", ["explicit", "opaque"])
@given(stack=one_run())
@law(80)
def test_safe_subset(stack: Stack, whiteouts: str) -> None:
    """A squashed layer holds only what all tools apply alike."""
    ((start, stop),) = squashed_runs(stack.segments)
    result = squash_layers(stack.layers, stack.segments, whiteouts=whiteouts)
    if len(result) == len(stack.layers) - (stop - start) + 1:
        assert lint(stack.layers[:start], result[start]) == []


@given(any_cut())
@law(40)
def test_determinism(stack: Stack) -> None:
    """The same layers and segments give the same bytes, however often."""
    first = squash_layers(stack.layers, stack.segments)
    copies = [bytes(bytearray(data)) for data in stack.layers]
    assert digests(squash_layers(copies, list(stack.segments))) == digests(first)


@given(any_cut())
@law(40)
def test_determinism_of_a_run(stack: Stack) -> None:
    """A squashed run depends on its layers and those below, not on how the rest is cut."""
    result = squash_layers(stack.layers, stack.segments)
    made_at = dict(boundaries(stack.layers, stack.segments, result))
    for start, stop in squashed_runs(stack.segments):
        alone = squash_run(stack.layers, start, stop)
        here = result[made_at[start] : made_at[stop]]
        assert digests(here) == digests([] if alone is None else [alone])


@given(any_cut())
@law(40)
def test_idempotence(stack: Stack) -> None:
    """Squashing what was squashed, cut at the same places, changes nothing."""
    result = squash_layers(stack.layers, stack.segments)
    again: Segments = [(n, n + 1, False) for n in range(len(result))]
    assert digests(squash_layers(result, again)) == digests(result)


@pytest.mark.parametrize("whiteouts", ["explicit", "opaque"])
@given(stack=one_run())
@law(50)
def test_idempotence_of_the_form(stack: Stack, whiteouts: str) -> None:
    """A squashed layer, squashed with an empty one, comes out byte for byte."""
    ((start, stop),) = squashed_runs(stack.segments)
    below = stack.layers[:start]
    result = squash_layers(stack.layers[:stop], only(start, stop, stop), whiteouts=whiteouts)
    if len(result) > start:
        twice = [*below, result[start], EMPTY]
        segments = only(start, start + 2, start + 2)
        again = squash_layers(twice, segments, whiteouts=whiteouts)
        assert digests(again) == digests(result)


@given(one_run(), st.randoms(use_true_random=False))
@law(80)
def test_associativity(stack: Stack, rng: random.Random) -> None:
    """It makes no difference to the root file system which part of a run is squashed first."""
    ((start, stop),) = squashed_runs(stack.segments)
    layers = stack.layers[:stop]
    middle = rng.randint(start + 1, stop - 1)
    right = apply_layers(layers)
    for first in ((start, middle), (middle, stop)):
        once = squash_layers(layers, only(*first, stop))
        twice = squash_layers(once, only(start, len(once), len(once)))
        cut = apply_layers(layers, split_runs=[first, (start, stop)])
        assert differences(right, apply_layers(twice), split=cut) == []


@given(uncut())
@law(40)
def test_identity(stack: Stack) -> None:
    """Keeping all layers, or cutting them into runs of one, gives the same layers."""
    ones: Segments = [(n, n + 1, False) for n in range(len(stack.layers))]
    for segments in (stack.segments, ones):
        assert digests(squash_layers(stack.layers, segments)) == digests(stack.layers)


@pytest.mark.parametrize("whiteouts", ["explicit", "opaque"])
@given(stack=one_run(bottom=True))
@law(40)
def test_no_whiteouts_at_the_bottom(stack: Stack, whiteouts: str) -> None:
    """A run with nothing below it holds no whiteout, as there is nothing to hide."""
    result = squash_layers(stack.layers, stack.segments, whiteouts=whiteouts)
    ((_, stop),) = squashed_runs(stack.segments)
    if len(result) > len(stack.layers) - stop:
        assert not has_whiteout(result[0])


@given(one_run())
@law(80)
def test_size_bound(stack: Stack) -> None:
    """A squashed layer holds each inode's data once, and is no larger than its run, but for headers
    that the run did not have and copies of what hard links named below it."""
    ((start, stop),) = squashed_runs(stack.segments)
    squashed = squash_run(stack.layers, start, stop)
    assert too_large(stack.layers, start, stop, squashed or b"") == []


@given(one_run())
@law(80)
def test_opaque_mode(stack: Stack) -> None:
    """Opaque markers in place of explicit whiteouts make the same root file system."""
    result = squash_layers(stack.layers, stack.segments, whiteouts="opaque")
    cut = apply_layers(stack.layers, split_runs=squashed_runs(stack.segments))
    got = apply_layers(result)
    assert differences(apply_layers(stack.layers), got, split=cut) == []


@given(any_cut())
@law(80)
def test_following_symlinks(stack: Stack) -> None:
    """In the reading that follows lower symlinks, too, the root file system stays what it was."""
    try:
        right = apply_layers(stack.layers, symlink_parents="follow")
    except Illegal:
        assume(False)
    result = squash_layers(stack.layers, stack.segments, symlink_parents="follow")
    runs = squashed_runs(stack.segments)
    cut = apply_layers(stack.layers, symlink_parents="follow", split_runs=runs)
    got = apply_layers(result, symlink_parents="follow")
    assert differences(right, got, split=cut) == []


@given(one_run())
@law(40)
def test_the_root_is_never_invented(stack: Stack) -> None:
    """The root's own entry is in a squashed layer if and only if one of its run has it."""
    ((start, stop),) = squashed_runs(stack.segments)
    squashed = squash_run(stack.layers, start, stop)
    listed = [has_root(data) for data in stack.layers[start:stop]]
    assert has_root(squashed or b"") == any(listed)


def has_root(data: bytes) -> bool:
    return ("entry", b"") in [meaning(record.name) for record in read_members(data)]


@given(one_run(contested=False))
@law(60)
def test_survivors_are_verbatim(stack: Stack) -> None:
    """An entry that need not change keeps its very bytes, extended headers and all."""
    ((start, stop),) = squashed_runs(stack.segments)
    squashed = squash_run(stack.layers, start, stop)
    state = apply_layers(stack.layers[:stop])
    sources = {}
    for index in range(start, stop):
        for record in read_members(stack.layers[index]):
            what, path = meaning(record.name)
            plain = record.kind != "hardlink" and not record.name.startswith(b"./")
            if what == "entry" and plain:
                source = stack.layers[index][record.start : record.end]
                sources[index, path] = source
    for record in read_members(squashed or b""):
        what, path = meaning(record.name)
        node = state.nodes.get(path) if what == "entry" else None
        # A hard link that became the file, and a path through a symlink, must change.
        if squashed and node and node.kind == record.kind and (node.named_in, path) in sources:
            same = squashed[record.start : record.end] == sources[node.named_in, path]
            assert same, f"{path!r} was written anew"


# --- golden cases ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hard_merges(case: Case) -> None:
    """Each hard case squashes to its root file system, with exactly the members that it needs."""
    layers = case.tars()
    start, stop = case.run
    result = squash_layers(layers, only(start, stop, len(layers)))
    cut = apply_layers(layers, split_runs=[case.run] if stop - start > 1 else [])
    assert differences(apply_layers(layers), apply_layers(result), split=cut) == []
    if case.squashed is None:
        assert digests(result) == digests(layers)
    else:
        squashed = result[start] if len(result) > len(layers) - (stop - start) else b""
        assert member_names(squashed) == case.squashed


# --- what was tried --------------------------------------------------------------------------


@pytest.mark.parametrize("contested", [False, True])
def test_every_construct_is_met(contested: bool) -> None:
    """The laws hold for images that, together, hold every construct on purpose and not by luck."""
    rng = random.Random(2718)
    found: Counter[str] = Counter()
    for _ in range(300):
        layers = random_image(rng, contested=contested)
        start = rng.randint(0, len(layers) - 2)
        stop = rng.randint(start + 2, len(layers))
        found += constructs(layers, start, stop)
        segments = only(start, stop, len(layers))
        result = squash_layers(layers, segments)
        wrong = unequal(layers, segments, result)
        if len(result) > len(layers) - (stop - start):
            wrong += lint(layers[:start], result[start])
            wrong += too_large(layers, start, stop, result[start])
        assert not wrong, f"{wrong}\n{Stack(layers, segments)}"
    names = UNCONTESTED + CONTESTED * contested
    assert [name for name in names if not found[name]] == []
