"""`squashkit fleet advise`: sums, repositories, reasons, and commands that hold for a next release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.builders import ImageSpec, Json, file, layer, noise, on_base, whiteout
from tests.support.fleets import SYSTEM, blob, wasteful, write
from tests.support.runner import run


def advise(*words: object) -> Json:
    done = run("fleet", "advise", *map(str, words), "--json")
    assert done.code == 0, done.err
    document: Json = done.json
    return document


def release(base: ImageSpec, name: str, *above: bytes) -> ImageSpec:
    """A release that brings a cache and deletes it, with other layers between."""
    cache = layer(file("cache", noise(30_000, f"cache of {name}")))
    code = layer(whiteout("cache"), file("code", noise(900, name)))
    return on_base(base, cache, *above, code, tags=[name])


def test_the_rows_are_repositories(tmp_path: Path) -> None:
    """Releases with the same advice are one row, and an odd one has its own; what is summed up is what the
    whole advice saves."""
    odd = on_base(SYSTEM, blob("plain", 70_000), blob("other", 60_000), tags=["app:3"])
    releases = [release(SYSTEM, f"app:{n}") for n in (1, 2)]
    told = advise(*write(tmp_path, SYSTEM, *releases, odd))
    rows = {(one["repository"], *one["images"]): one for one in told["repositories"]}
    assert set(rows) == {("system", "system:1"), ("app", "app:1", "app:2"), ("app", "app:3")}
    squashed = rows["app", "app:1", "app:2"]
    assert squashed["squash"] is True
    saved = told["registry_bytes"]["as_built"] - told["registry_bytes"]["advised"]
    assert squashed["saved_bytes"] == saved > 50_000
    assert rows["app", "app:3"]["reason"] == "nothing above its base is dead"
    assert rows["system", "system:1"]["reason"] == "other images stand on it"
    for words in ((), ("--markdown",)):
        text = run("fleet", "advise", *map(str, sorted(tmp_path.glob("*.tar"))), *words).text
        assert "Squash 2 of 4 images: that saves " in text
        assert "| `app (some)` | 2 | " in text
        assert "| `app:3` | 1 |  | leave as is | nothing above its base is dead |" in text


@pytest.mark.parametrize("steps", [0, 3])
def test_the_command_holds_for_the_next_release(steps: int, tmp_path: Path) -> None:
    """It names the base: a release that was not built yet, of more layers, on a base of more layers, is
    squashed by it to what it is in the fleet."""
    known = tmp_path / "known"
    known.mkdir()
    paths = write(known, SYSTEM, *(release(SYSTEM, f"app:{n}") for n in (1, 2)))
    recipe = next(one["recipe"] for one in advise(*paths)["repositories"] if one["squash"])
    assert recipe == f"squashkit squash IMAGE --keep-base {paths[0]}:system:1"
    patched = on_base(SYSTEM, *(blob(f"patch{n}", 90) for n in range(steps)), tags=["system:1"])
    following = release(patched, "app:3", *(blob(f"step{n}", 90) for n in range(steps)))
    base, image = write(known, patched, following)
    out = tmp_path / "out"
    words = recipe.replace("IMAGE", str(image)).split()[1:]
    done = run(*words, "-o", f"oci:{out}:app:3", "--compress", "gzip:6", "--json")
    assert done.code == 0, done.err
    together = run("fleet", "squash", str(base), str(image), "--into", f"oci:{tmp_path}/fleet", "--json")
    assert together.code == 0, together.err
    alone = [one["digest"] for one in done.json["result_layers"]]
    assert alone == [one["digest"] for one in together.json["images"]["app:3"]["result_layers"]]
    assert len(alone) == len(patched.layers) + 1


def test_where_no_command_does_it_that_is_said(tmp_path: Path) -> None:
    """Two repositories share a runtime with dead bytes of its own: above the base as one layer it would be
    stored twice."""
    runtime = on_base(
        SYSTEM, layer(file("tmp", noise(9000, "t"))), layer(whiteout("tmp"), file("r", noise(90_000, "r")))
    )
    apps = [release(runtime, f"{name}:1") for name in ("one", "two")]
    paths = write(tmp_path, SYSTEM, *apps)
    told = advise(*paths)
    squashed = [one for one in told["repositories"] if one["squash"]]
    assert [one["recipe"] for one in squashed] == [None, None]
    assert (
        "- `two:1`, `one:1`: none alone: `squashkit fleet squash`"
        in run("fleet", "advise", *map(str, paths)).text
    )


def test_a_step_tells_where_the_own_layers_begin(tmp_path: Path) -> None:
    """Where a runtime is kept that others share, the command names the first step that is merged."""
    runtime = on_base(SYSTEM, layer(file("r", noise(90_000, "r"))))
    images = []
    for name in ("one", "two"):
        steps = ["FROM", "settings", "RUN runtime", "RUN fetch", "COPY . /"]
        history: list[Json] = [{"created_by": step} for step in steps]
        images.append(replace(release(runtime, f"{name}:1"), history=history))
    paths = write(tmp_path, SYSTEM, *images)
    squashed = [one for one in advise(*paths)["repositories"] if one["squash"]]
    assert [one["recipe"] for one in squashed] == ["squashkit squash IMAGE --from-step 'RUN fetch'"] * 2


REASONS = {
    "too little": (
        [layer(file("a", noise(20, "a"))), layer(file("a", noise(30, "b"))), blob("big", 900_000)],
        "only 20 B above its base are dead",
    ),
    "one layer": ([blob("x", 900)], "it has one layer above its base, or none"),
    "nothing dead": ([blob("x", 90_000), blob("y", 90_000)], "nothing above its base is dead"),
}


@pytest.mark.parametrize("case", REASONS)
def test_why_an_image_is_left_as_it_is(case: str, tmp_path: Path) -> None:
    """Each image that is not to be squashed has its reason, in the table and in the JSON."""
    above, reason = REASONS[case]
    paths = write(tmp_path, SYSTEM, on_base(SYSTEM, *above, tags=["app:1"]))
    told = advise(*paths)["images"]["app:1"]
    assert (told["squash"], told["reason"]) == (False, reason)
    assert f"| `app:1` | 1 |  | leave as is | {reason} |" in run("fleet", "advise", *map(str, paths)).text


def test_what_would_be_stored_twice(tmp_path: Path) -> None:
    """A layer that two images share, of which each deletes a little: merged it would be there twice."""
    shared = on_base(SYSTEM, layer(file("big", noise(90_000, "big")), file("old", noise(40, "old"))))
    apps = [on_base(shared, layer(whiteout("old"), file(n, b"x")), tags=[f"{n}:1"]) for n in ("one", "two")]
    told = advise(*write(tmp_path, SYSTEM, *apps))["images"]
    assert told["one:1"]["reason"] == "merged, what it shares would be stored twice"


def test_a_layer_that_deletes_is_counted(tmp_path: Path) -> None:
    """The reason has how many layers delete, how many bytes, and whether anything is shared."""
    told = advise(*write(tmp_path, SYSTEM, wasteful(SYSTEM, "app"), wasteful(SYSTEM, "tool")))["images"]
    reason = "1 layer deletes or replaces 5.0 KB; shares nothing above its base"
    assert told["app:1"]["reason"] == told["tool:1"]["reason"] == reason


def test_a_thousand_images_are_a_few_rows(tmp_path: Path) -> None:
    """Many repositories with the same advice are told in one row; JSON has all of them."""
    images = [on_base(SYSTEM, blob(f"x{n}", 90), tags=[f"app{n}:1"]) for n in range(60)]
    images += [wasteful(SYSTEM, f"waste{n}") for n in range(60)]
    paths = [str(path) for path in write(tmp_path, SYSTEM, *images)]
    text = run("fleet", "advise", *paths, "--estimate").text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 40 + 1 + 1 + 10 + 1
    assert "| and 50 more | 50 |  | leave as is |" in text
    assert " and 55 more: `squashkit squash IMAGE --keep-base " in text
    assert len(advise(*paths, "--estimate")["repositories"]) == 121
