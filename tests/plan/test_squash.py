"""Planning where the laws do not reach: what a run needs, merging blindly, what is refused."""

from __future__ import annotations

import random

import pytest

from squashkit.errors import InvalidLayer, PlanError, UnsupportedImage
from squashkit.layers import tar
from squashkit.layers.changeset import parse_changeset
from squashkit.layers.entry import REGULAR
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.rootfs import Cause
from squashkit.plan.squash import needs_lower
from tests.support.builders import (
    char,
    directory,
    file,
    hardlink,
    layer,
    opaque,
    symlink,
    whiteout,
)
from tests.support.generate import random_image
from tests.support.harness import plan_layers, render, squash_layers

BASE = layer(directory("d", mode=0o711), file("d/a", b"A"), file("f", b"F"))


def names(data: bytes) -> list[bytes]:
    """The members of a tar, types marked by a slash for directories."""
    return [record.name for record in tar.scan_bytes(data)]


def needs(*layers: bytes) -> bool:
    return needs_lower([parse_changeset(tar.scan_bytes(data)) for data in layers])


@pytest.mark.parametrize(
    "layers",
    [
        [layer(whiteout("x"))],
        [layer(directory("d"), opaque("d"))],
        [layer(file("d/n"))],
        [layer(hardlink("l", "elsewhere"))],
        [layer(directory("d")), layer(file("d")), layer(directory("d"))],
        [layer(file("d")), layer(directory("d"))],
        [layer(symlink("l", "d"), file("l/x"))],
    ],
    ids=["whiteout", "opaque", "parent", "link", "remade", "type", "symlink"],
)
def test_runs_that_need_what_lies_below(layers: list[bytes]) -> None:
    """Removals, missing ancestors, changes of type and links out of the run take the lower layers."""
    assert needs(*layers)


def test_a_run_that_stands_alone_needs_nothing() -> None:
    """New files under listed directories can be merged without knowing what lies below."""
    assert not needs(
        layer(directory("d"), file("d/a"), hardlink("d/b", "d/a")), layer(directory("d"), file("d/a"))
    )


def test_what_lies_below_changes_no_byte_where_it_is_not_needed() -> None:
    """Where a run does not need them, hiding the lower layers gives the very same layer."""
    rng = random.Random(5)
    met = 0
    while met < 40:
        layers = random_image(rng, contested=False)
        run = layers[1:]
        if len(run) > 1 and not needs(*run):
            segments = [(0, 1, True), (1, len(layers), False)]
            known, hidden = (plan_layers(layers, segments, hidden=h) for h in ((), (0,)))
            for one, other in zip(known.layers[1:], hidden.layers[1:], strict=True):
                assert isinstance(one, SquashedLayer)
                assert isinstance(other, SquashedLayer)
                assert one.pieces == other.pieces
            assert hidden.guaranteed
            met += 1


def test_missing_lower_layers_stop_the_plan() -> None:
    """Without the layers below a plan that needs them is a PlanError that names the way out."""
    with pytest.raises(PlanError, match="layer 0 are not available.*blind=True"):
        plan_layers([BASE, layer(whiteout("f")), layer()], [(0, 1, True), (1, 3, False)], hidden=[0])


def blind(*run: bytes) -> list[bytes]:
    """The members of a run over a base that is not seen."""
    layers = [BASE, *run]
    plan = plan_layers(layers, [(0, 1, True), (1, len(layers), False)], hidden=[0], blind=True)
    assert not plan.guaranteed
    return [name for p in plan.layers[1:] for name in names(render(layers, p))]


def test_a_blind_merge_keeps_whiteouts() -> None:
    """What a run hides stays hidden, what it made and removed too, since the base may have it."""
    assert blind(layer(whiteout("f")), layer(file("d/n"))) == [b".wh.f", b"d/n"]
    assert blind(layer(file("n")), layer(whiteout("n"))) == [b".wh.n"]
    assert blind(layer(directory("e"), file("e/n")), layer(whiteout("e/n"))) == [b"e/", b"e/.wh.n"]


def test_a_blind_merge_marks_remade_directories_opaque() -> None:
    """A directory that was removed and made again must not let the unseen base show through."""
    assert blind(layer(whiteout("d")), layer(directory("d"), file("d/n"))) == [
        b"d/", b"d/.wh..wh..opq", b"d/n",
    ]  # fmt: skip
    assert blind(layer(whiteout("d"), whiteout("x")), layer(file("d"))) == [b".wh.x", b"d"]


def test_a_blind_merge_invents_no_directory() -> None:
    """An ancestor that no layer lists is left out: nobody knows its mode."""
    assert blind(layer(file("d/n")), layer(whiteout("d/a"))) == [b"d/.wh.a", b"d/n"]


def test_a_blind_merge_cannot_follow_a_link_out() -> None:
    """A hard link to what is not seen is a PlanError naming the path."""
    with pytest.raises(PlanError, match="l is a hard link to f"):
        blind(layer(hardlink("l", "f")), layer(whiteout("x")))


@pytest.mark.parametrize(
    "mark",
    [
        char("c", 0, 0),
        directory("e", xattrs={"trusted.overlay.opaque": b"y"}),
        file("e", xattrs={"user.overlay.whiteout": b""}),
    ],
    ids=["device", "trusted", "user"],
)
def test_overlay_marks_are_refused_in_a_run_and_kept_elsewhere(mark: object) -> None:
    """Devices 0:0 and overlay xattrs cannot be merged; a kept layer may have them."""
    layers = [BASE, layer(mark), layer(file("z"))]  # type: ignore[arg-type]
    with pytest.raises(UnsupportedImage, match="can be kept, not merged"):
        squash_layers(layers, [(0, 1, True), (1, 3, False)])
    assert squash_layers(layers, [(0, 2, True), (2, 3, False)]) == layers


def test_links_to_lower_layers_are_listed_as_copies() -> None:
    """A hard link to a base file becomes a copy, and the plan says of what."""
    layers = [BASE, layer(hardlink("l", "f")), layer(file("z"))]
    plan = plan_layers(layers, [(0, 1, True), (1, 3, False)])
    run = plan.layers[1]
    assert isinstance(run, SquashedLayer)
    assert run.copies == ((b"l", b"f", 1),)
    made = next(r for r in tar.scan_bytes(render(layers, run)) if r.name == b"l")
    assert (made.typeflag, made.size) == (REGULAR, 1)


def test_a_link_that_changes_a_lower_file_is_listed_as_a_copy() -> None:
    """With other attributes the lower file itself is written anew: its content is stored again."""
    layers = [
        layer(file("f", b"x" * 900)), layer(hardlink("l", "f", mode=0o600)), layer(file("z"))
    ]  # fmt: skip
    run = plan_layers(layers, [(0, 1, True), (1, 3, False)]).layers[1]
    assert isinstance(run, SquashedLayer)
    assert run.copies == ((b"l", b"f", 900),)
    layers[2] = layer(whiteout("l"))
    run = plan_layers(layers, [(0, 1, True), (1, 3, False)]).layers[1]
    assert isinstance(run, SquashedLayer)
    assert run.copies == ((b"f", b"f", 900),)


def test_links_of_kept_layers_into_a_run_are_listed() -> None:
    """A kept layer that links to a file of the run below it is named."""
    layers = [BASE, layer(file("n")), layer(file("m")), layer(hardlink("l", "n"))]
    plan = plan_layers(layers, [(0, 1, True), (1, 3, False), (3, 4, True)])
    assert plan.links_into_runs == ((3, b"l"),)


def test_dropped_bytes_are_told_apart() -> None:
    """Deleted, overwritten and re-moded entries are counted under their own causes."""
    layers = [
        BASE,
        layer(file("del", b"x"), file("over", b"x"), file("mode", b"x")),
        layer(whiteout("del"), file("over", b"yy"), file("mode", b"x", mode=0o755)),
    ]
    run = plan_layers(layers, [(0, 1, True), (1, 3, False)]).layers[1]
    assert isinstance(run, SquashedLayer)
    causes = {dead.path: dead.cause for dead in run.dropped}
    assert causes == {
        b"del": Cause.DELETED, b"over": Cause.OVERWRITTEN, b"mode": Cause.ATTRIBUTES,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "construct"),
    [
        ([BASE, layer(whiteout("d"), directory("d"))], "whiteout and entry for one path"),
        ([BASE, layer(directory("d"), opaque("d"), whiteout("d/a"))], "opaque marker and whiteout"),
        ([BASE, layer(whiteout("n/x"))], "parent is no directory"),
        ([BASE, layer(whiteout("d"), whiteout("d/a"))], "whiteout below a whiteout"),
        ([BASE, layer(file("x"), file("x"))], "one path twice"),
        ([BASE, layer(file("d/n"))], "not listed"),
        ([BASE, layer(hardlink("l", "f"))], "hard link to a lower layer"),
        ([layer(symlink("l", "d")), layer(file("l/x"))], "through a symlink of a lower layer"),
        ([BASE, layer(file("f/x"))], "through a file of a lower layer"),
    ],
)
def test_contested_constructs_are_listed(layers: list[bytes], construct: str) -> None:
    """Everything on which consumers disagree is reported with its path and layer."""
    plan = plan_layers([*layers, layer()], [(0, 1, True), (1, len(layers) + 1, False)])
    assert [c.layer for c in plan.contested if construct in c.construct] == [1]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("f"), file("f/x")], "through a file of the same layer"),
        ([symlink("a", "b"), symlink("b", "a"), file("a/x")], "loop of symlinks"),
        ([hardlink("l", "nowhere")], "not there"),
        ([hardlink("l", "d")], "the directory d"),
        ([file("../x")], "leads out of the root"),
        ([file(".wh.")], "names nothing"),
        ([file(".wh..")], "names nothing"),
        ([file(".wh...")], "names nothing"),
        ([directory(".wh.x"), file(".wh.x/y")], "below a whiteout"),
    ],
)
def test_illegal_layers_are_refused(members: list[object], message: str) -> None:
    """What no reading gives a meaning is an InvalidLayer."""
    layers = [BASE, layer(*members), layer()]  # type: ignore[arg-type]
    with pytest.raises(InvalidLayer, match=message):
        squash_layers(layers, [(0, 1, True), (1, 3, False)])
