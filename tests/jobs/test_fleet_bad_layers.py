"""A layer of a fleet that cannot be read: its images are left out, and the rest is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builders import oci_layout, on_base
from tests.support.fleets import SYSTEM, blob, damage, largest_blob, wasteful, write
from tests.support.runner import run

NOT_A_TAR = b"no tar at all".ljust(4096, b"x")


def damaged(folder: Path, how: str) -> Path:
    """A layout of an app with one layer that cannot be read; beside it lies what is well."""
    own = NOT_A_TAR if how == "no tar" else blob("own", 30_000)
    app = on_base(SYSTEM, own, tags=["app:1"])
    oci_layout(
        folder / "lay", [app, on_base(SYSTEM, own, blob("top", 100), tags=["app:2"])], compress="gzip"
    )
    if how == "missing":
        largest_blob(folder / "lay").unlink()
    elif how != "no tar":
        damage(largest_blob(folder / "lay"), 1000)
    return folder / "lay"


@pytest.mark.parametrize("how", ["damaged", "missing", "no tar"])
@pytest.mark.parametrize("words", [["storage"], ["storage", "--estimate"], ["advise"]], ids=" ".join)
def test_a_bad_layer_leaves_its_images_out(how: str, words: list[str], tmp_path: Path) -> None:
    """A note names them and the layer, and the rest is told as it is told alone."""
    paths = write(tmp_path, SYSTEM, wasteful(SYSTEM, "well"))
    alone = run("fleet", *words, *paths, "--json").json
    done = run("fleet", *words, *paths, damaged(tmp_path, how), "--json")
    assert done.code == 0, done.err
    (note,) = [note for note in done.json["notes"] if note not in alone["notes"]]
    assert note.startswith("Left out: app:1, app:2: layer 2 (sha256:")
    assert {**done.json, "notes": alone["notes"]} == alone


@pytest.mark.parametrize("first", [True, False])
def test_a_layer_that_is_whole_elsewhere_is_read_there(first: bool, tmp_path: Path) -> None:
    """An archive whose copy of a base is damaged leaves its own images out alone, whichever comes first."""
    bad, well = tmp_path / "bad", tmp_path / "well"
    for folder, name in ((bad, "one"), (well, "other")):
        oci_layout(folder, [wasteful(SYSTEM, name)], compress="gzip")
    damage(largest_blob(bad), 1000)
    order = [bad, well] if first else [well, bad]
    told = run("fleet", "storage", *order, "--json").json
    assert told["images"] == (["other:1"] if first else ["other:1", "one:1"])
