"""A recipe's layer is taken where it is right, and never where it is not: whatever anybody made of it.

The judge is the naive model and the linter, which know nothing of recipes.
"""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from squashkit.errors import CheckFailed
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy, Piece
from squashkit.plan.recipe.prove import plan_by_recipe
from squashkit.plan.segments import Segment
from squashkit.plan.squash import LayerPlan
from tests.support.builders import directory, file, hardlink, layer, whiteout
from tests.support.generate import random_image
from tests.support.harness import plan_layers, read_changeset, render
from tests.support.laws import law
from tests.support.linter import lint
from tests.support.model import apply_layers, differences

Run = tuple[int, int]


def cut(start: int, stop: int, count: int) -> list[tuple[int, int, bool]]:
    """Squash one run, keep what is below and above."""
    parts = [(0, start, True), (start, stop, False), (stop, count, True)]
    return [part for part in parts if part[0] < part[1]]


def proven(layers: Sequence[bytes], run: Run, pieces: Sequence[Piece]) -> LayerPlan:
    """The plan by a recipe of these pieces. Raises CheckFailed."""
    return plan_by_recipe(
        {index: read_changeset(data) for index, data in enumerate(layers)},
        [Segment(*part) for part in cut(*run, len(layers))],
        [tuple(pieces)],
        lambda index, start, end: bytes_of(Copy(index, start, end), layers),
        {index: list(layers).index(data) for index, data in enumerate(layers)},
    )


def planned(layers: Sequence[bytes], run: Run) -> SquashedLayer:
    (made,) = plan_layers(layers, cut(*run, len(layers))).runs
    return made


def stack_of(rng: random.Random) -> tuple[list[bytes], Run]:
    """A random image, and a run of it."""
    layers = random_image(rng, contested=rng.random() < 0.2)
    start = rng.randint(0, len(layers) - 2)
    return layers, (start, rng.randint(start + 2, len(layers)))


@given(st.randoms(use_true_random=False))
@law(150)
def test_what_a_squash_plans_is_right(rng: random.Random) -> None:
    """It is taken, and stays as it is."""
    layers, run = stack_of(rng)
    made = planned(layers, run)
    (again,) = proven(layers, run, made.pieces).runs
    assert again.pieces == made.pieces
    assert again.diff_size == made.diff_size
    assert again.entries == made.entries


@given(st.randoms(use_true_random=False))
@law(400)
def test_what_is_taken_is_right(rng: random.Random) -> None:
    """Pieces that somebody changed are refused, unless what they make is the same in all that counts."""
    layers, run = stack_of(rng)
    pieces = list(planned(layers, run).pieces)
    for _ in range(rng.randint(1, 2)):
        change(rng, pieces, layers)
    try:
        (made,) = proven(layers, run, pieces).runs
    except CheckFailed:
        return
    start, stop = run
    result = [*layers[:start], *([render(layers, made)] if made.pieces else []), *layers[stop:]]
    right = apply_layers(layers)
    split = apply_layers(layers, split_runs=[run])
    assert differences(right, apply_layers(result), split=split) == []
    if made.pieces:
        found = lint(layers[:start], render(layers, made))
        assert [line for line in found if "\\x00" not in line] == []  # what follows a NUL, nobody reads


def change(rng: random.Random, pieces: list[Piece], layers: Sequence[bytes]) -> None:
    """Change something in them."""
    if not pieces:
        pieces.append(layer(file("new", b"new"), end=False))
        return
    place = rng.randrange(len(pieces))
    piece = pieces[place]
    match rng.randrange(8):
        case 0:
            del pieces[place]
        case 1:
            pieces.insert(rng.randrange(len(pieces)), piece)
        case 2:
            other = rng.randrange(len(pieces))
            pieces[place], pieces[other] = pieces[other], piece
        case 3 if isinstance(piece, Copy):
            ahead = rng.choice([-512, 512, 1024])
            if piece.start + ahead >= 0:
                pieces[place] = Copy(piece.layer, piece.start + ahead, piece.end + ahead)
        case 4 if isinstance(piece, Copy):
            end = piece.end + rng.choice([-512, 512])
            if end > piece.start:
                pieces[place] = Copy(piece.layer, piece.start, end)
        case 5 if isinstance(piece, Copy):
            pieces[place] = bytes_of(piece, layers)
        case 6:
            extra = rng.choice([file("x", b"x"), whiteout("a"), directory("a"), hardlink("y", "a")])
            pieces.insert(place, layer(extra, end=False))
        case _:
            pieces[place] = with_another_header(rng, bytes_of(piece, layers))


def bytes_of(piece: Piece, layers: Sequence[bytes]) -> bytes:
    if isinstance(piece, bytes):
        return piece
    return layers[piece.layer][piece.start : piece.end].ljust(piece.end - piece.start, b"\0")


def with_another_header(rng: random.Random, data: bytes) -> bytes:
    """A byte of the first header is another, and its checksum fits."""
    block = bytearray(data[:512])
    at = rng.choice([rng.randrange(100), rng.randrange(100, 148), rng.randrange(156, 258)])
    # In a number Go, and so docker, passes over a NUL, and Python's tarfile, the judge, ends there.
    block[at] = rng.choice(b"01234567ab/." if 100 <= at < 148 else b"01234567ab/.\0")
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + data[512:]
