"""`squashkit waste`: what its JSON says, its gates, and what it does with odd input."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit import Gates, Keep, squash, waste
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    layer,
    noise,
    oci_layout,
    on_base,
    sparse,
    whiteout,
)
from tests.support.runner import Json, assert_fails, run

BIG = noise(50_000, "big")
BASE = ImageSpec(
    [layer(directory("etc"), file("etc/a", b"a" * 1000), file("etc/b", b"b" * 500))], ["base:1"]
)
LISTS = directory("var"), directory("var/lib"), directory("var/lib/apt"), directory("var/lib/apt/lists")
APP = on_base(
    BASE,
    layer(*LISTS, file("var/lib/apt/lists/x", b"x" * 20_000), file("big", BIG), file("cache", b"c" * 7000)),
    layer(file("big", BIG, mode=0o755), whiteout("cache"), file("etc/a", b"A" * 1000)),
    layer(file("copy", BIG), hardlink("etc/c", "etc/b")),
    tags=["app:1"],
)
"""Dead: 50,000 by chmod and 7,000 deleted above the base, 1,000 of the base. Alive: lists and a copy."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("waste") / "app.tar"
    docker_archive_25(path, [APP, BASE])
    return path


def told(*args: str | Path) -> Json:
    result = run("waste", *args, "--json")
    assert result.code == 0, result.err
    return result.json


def test_the_json_says_all(archive: Path) -> None:
    """Each number is that of the layers as they were made, and paths are as in other reports."""
    found = told(f"{archive}:app:1")
    assert found["base"]["layers"] == 1
    assert [
        (one["index"], one["in_base"], one["content_size"], one["dead_size"]) for one in found["layers"]
    ] == [
        (0, True, 1500, 1000),
        (1, False, 77_000, 57_000),
        (2, False, 51_000, 0),
        (3, False, 50_000, 0),
    ]
    assert all(one["diff_size"] == len(APP.layers[one["index"]]) for one in found["layers"])
    dead = found["dead"]
    assert (dead["bytes"], dead["above_base"], dead["of_base"]) == (58_000, 57_000, 1000)
    assert dead["causes"] == {
        "attributes": 50_000, "identical": 0, "moved": 0, "overwritten": 1000, "deleted": 7000
    }  # fmt: skip
    assert [(one["path"], one["bytes"], one["cause"], one["layer"], one["killed_by"], one["changed"])
            for one in dead["paths"]] == [
        ("/big", 50_000, "attributes", 1, 2, ["mode"]),
        ("/cache", 7000, "deleted", 1, 2, []),
        ("/etc/a", 1000, "overwritten", 0, 2, []),
    ]  # fmt: skip
    assert [(one["rule"], one["bytes"], one["layer"], one["paths"]) for one in found["live"]] == [
        ("apt-lists", 20_000, 1, ["/var/lib/apt/lists/x"])
    ]
    assert found["duplicates"] == {
        "bytes": 50_000,
        "groups": [{"bytes": 50_000, "paths": ["/big", "/copy"]}],
    }
    assert [one["keep_layers"] for one in found["savings"]] == [0, 1, 2, 3]
    assert found["savings"][1]["copied"] == 500
    assert found["gates"] == []
    assert {one["kind"] for one in found["mends"]} >= {"join", "remove"}


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_what_is_promised_is_what_a_squash_saves(form: str, tmp_path: Path) -> None:
    """For each boundary, however layers are compressed: uncompressed sizes less what is written."""
    compress = {"plain": None, "gzip": "gzip", "zstd": "zstd"}[form]
    oci_layout(tmp_path / "app", [APP], compress=compress)  # type: ignore[arg-type]
    source = f"oci:{tmp_path}/app"
    for one in told(source)["savings"]:
        keep = one["keep_layers"]
        report = squash(source, f"oci:{tmp_path}/{keep}:x", keep=Keep(layers=keep))
        after = told(f"oci:{tmp_path}/{keep}")["layers"]
        assert one["bytes"] == sum(map(len, APP.layers[keep:])) - sum(
            layer["diff_size"] for layer in after[keep:]
        )
        assert one["bytes"] == one["dead"] - one["copied"] + one["overhead"]
        assert report.changed == (keep < 3)


GATES: list[tuple[list[str], bool]] = [
    (["--max-wasted", "57000"], True),
    (["--max-wasted", "56999"], False),
    (["--max-wasted", "57KB", "--max-layers", "4"], True),
    (["--max-layers", "3"], False),
    (["--max-wasted-percent", "32.1"], True),
    (["--max-wasted-percent", "32"], False),
    (["--min-efficiency", "68.2"], True),
    (["--min-efficiency", "68.3"], False),
    (["--max-wasted-percent", "1", "--min-efficiency", "99", "--waste-floor", "57001"], True),
    (["--max-wasted-percent", "1", "--waste-floor", "57000"], False),
    (["--max-wasted", "60000", "--count-live"], False),
    (["--max-wasted", "77000", "--count-live"], True),
    (["--max-wasted", "1", "--waste-floor", "1GB"], False),
]


@pytest.mark.parametrize(("gates", "passes"), GATES)
def test_gates_pass_up_to_their_limit(gates: list[str], passes: bool, archive: Path) -> None:
    """57,000 of 178,000 bytes above the base are dead, 57,000 of 179,500 in all. What is dead of the base
    counts in no gate. Where one fails the worst is named."""
    result = run("waste", f"{archive}:app:1", *gates)
    assert result.code == (0 if passes else 3), result.text
    assert ("The worst: /big, 50 KB, made by layer 1, stored again by layer 2" in result.text) != passes
    judged = run("waste", f"{archive}:app:1", "--json", *gates).json["gates"]
    assert all(one["passed"] for one in judged) == passes


def test_a_gate_has_its_limit_as_typed(archive: Path) -> None:
    """Bytes for sizes, the number for shares and layers."""
    found = run(
        "waste",
        f"{archive}:app:1",
        "--json",
        "--max-wasted",
        "1KB",
        "--min-efficiency",
        "68.5",
        "--max-layers",
        "9",
    ).json["gates"]
    assert [(one["gate"], one["limit"], one["passed"]) for one in found] == [
        ("max-wasted", 1000, False), ("min-efficiency", 68.5, False), ("max-layers", 9, True)
    ]  # fmt: skip
    assert (found[0]["value"], found[2]["value"]) == (57_000, 4)
    assert found[1]["value"] == pytest.approx(100 - 100 * 57 / 179.5)


def test_gates_from_python(archive: Path) -> None:
    """The same groups of options, and a report that says whether all passed."""
    assert waste(f"{archive}:app:1", keep="base:1", gates=Gates(max_wasted="60KB")).passed
    assert not waste(f"{archive}:app:1", gates=Gates(max_wasted=1)).passed


def test_dive_s_own_gates(archive: Path, tmp_path: Path) -> None:
    """A .dive-ci is judged by dive's numbers; what it does not say has dive's defaults."""
    rules = tmp_path / ".dive-ci"
    rules.write_text(
        "rules:\n  lowestEfficiency: 0.1\n  highestWastedBytes: 1GB\n  highestUserWastedPercent: 0.99\n"
    )
    assert run("waste", f"{archive}:app:1", "--dive-ci", rules).code == 0
    rules.write_text("rules:\n  highestWastedBytes: 1B\n")
    assert run("waste", f"{archive}:app:1", "--dive-ci", rules).code == 3


def test_without_a_base_all_counts(tmp_path: Path) -> None:
    """Nothing is guessed: every layer is the image's own."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    found = told(tmp_path / "app.tar")
    assert found["base"] is None
    assert (found["dead"]["above_base"], found["dead"]["of_base"]) == (58_000, 0)
    kept = told(tmp_path / "app.tar", "--keep-layers", "1")
    assert kept["dead"]["above_base"] == 57_000


ODD: dict[str, ImageSpec] = {
    "one layer": ImageSpec([layer(file("a", b"x"))], ["app:1"]),
    "an empty layer": ImageSpec([layer()], ["app:1"]),
    "no history": ImageSpec([layer(file("a", b"x")), layer(whiteout("a"))], ["app:1"], history=None),
    "less history than layers": ImageSpec(
        [layer(file("a", b"x")), layer(whiteout("a"))], ["app:1"], history=[{"created_by": "RUN a"}]
    ),
    "nothing lives": ImageSpec([layer(file("a", b"x" * 700)), layer(whiteout("a"))], ["app:1"]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images(name: str, tmp_path: Path) -> None:
    """There is a report, for people and for programs."""
    docker_archive_25(tmp_path / "app.tar", [ODD[name]])
    assert told(tmp_path / "app.tar")["dive"]["efficiency"] <= 1
    assert run("waste", tmp_path / "app.tar", "-v").code == 0


def test_all_base(archive: Path) -> None:
    """Of an image that is its base nothing is above it, and no gate fails."""
    found = told(f"{archive}:app:1", "--keep-layers", "4")
    assert (found["dead"]["above_base"], found["dead"]["of_base"]) == (0, 58_000)
    gates = ["--max-wasted", "0", "--max-wasted-percent", "0", "--min-efficiency", "100"]
    assert run("waste", f"{archive}:app:1", "--keep-layers", "4", *gates).code == 0


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--rules", "[[rule]\n", "not TOML"),
        ("--rules", '[[rule]]\nname = "x"\n', "paths"),
        ("--dockerfile", "RUN <<EOF\n", "line 1"),
        ("--dive-ci", "rules:\n  lowest: 1\n", "line 2"),
        ("--rules", b"\xff", "UTF-8"),
        ("--rules", "a = " + "[" * 20_000, "not TOML"),
        ("--dockerfile", None, "No such file"),
    ],
)
def test_a_bad_file_is_one_line(
    option: str, content: str | bytes | None, words: str, archive: Path, tmp_path: Path
) -> None:
    """Exit code 2, and what is wrong where."""
    path = tmp_path / "rules.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_fails(run("waste", f"{archive}:app:1", option, path), 2, words)


def test_rules_of_your_own_come_first(archive: Path, tmp_path: Path) -> None:
    """They take what squashkit's would have found."""
    path = tmp_path / "own.toml"
    path.write_text(
        '[[rule]]\nname = "own"\npaths = ["/var/lib/apt"]\n'
        'reason = "It is."\nmend = "Do it."\nkind = "remove"\n'
    )
    assert [one["rule"] for one in told(f"{archive}:app:1", "--rules", path)["live"]] == ["own"]


@pytest.mark.parametrize(
    "words",
    [
        ["--max-wasted", "much"],
        ["--max-wasted-percent", "101"],
        ["--max-layers", "-1"],
        ["--min-efficiency", "nan"],
    ],
)
def test_a_gate_that_is_none(words: list[str], archive: Path) -> None:
    """A usage error, before anything is read."""
    assert run("waste", f"{archive}:app:1", *words).code == 2


def test_values_of_build_arguments_are_not_shown(tmp_path: Path) -> None:
    """Not in the table, not in mends, not in the JSON."""
    history = [
        {"created_by": "RUN |1 TOKEN=hushhush /bin/sh -c make # buildkit"},
        {"created_by": "|1 TOKEN=hushhush /bin/sh -c rm /a"},
    ]
    image = ImageSpec([layer(file("a", b"x" * 9000)), layer(whiteout("a"))], ["app:1"], history=history)
    docker_archive_25(tmp_path / "app.tar", [image])
    for more in ([], ["-v"], ["--json"]):
        said = run("waste", tmp_path / "app.tar", *more).text
        assert "hushhush" not in said
        assert "TOKEN=…" in said
    for command in (["inspect"], ["inspect", "-v"], ["inspect", "--json"]):
        assert "hushhush" not in run(*command, tmp_path / "app.tar").text
    assert "hushhush" not in run("which", tmp_path / "app.tar", "/a", "--json").text


def test_sparse_and_whole_files_are_duplicates(tmp_path: Path) -> None:
    """The bytes count, not how they are stored; what once costs least is kept."""
    data = noise(900, "d")
    members = [sparse("a", 9000, [(3000, data)], form="old"), file("b", bytes(3000) + data + bytes(5100))]
    docker_archive_25(tmp_path / "app.tar", [ImageSpec([layer(*members)], ["app:1"])])
    assert told(tmp_path / "app.tar")["duplicates"] == {
        "bytes": 900, "groups": [{"bytes": 900, "paths": ["/a", "/b"]}]
    }  # fmt: skip
    assert "Squashing" not in run("waste", tmp_path / "app.tar").text


def test_a_squash_that_saves_nothing_is_not_advised(tmp_path: Path) -> None:
    """Folders that no layer lists are written by a squash, and may cost more than it saves."""
    deep = "a/b/c/d/e/f"
    layers = [layer(file(f"{deep}/g"), file("k", b"k")), layer(file(f"{deep}/h"), whiteout("k"))]
    docker_archive_25(tmp_path / "app.tar", [ImageSpec(layers, ["app:1"])])
    assert told(tmp_path / "app.tar")["savings"][0]["bytes"] == -512
    said = run("waste", tmp_path / "app.tar").text
    assert "Squashing the layers of the image would save nothing." in said
    assert "squashkit squash" not in said


def test_the_base_is_named_as_the_command_line_has_it(archive: Path) -> None:
    """In JSON, too."""
    assert told(f"{archive}:app:1", "--keep-layers", "1")["base"]["evidence"] == "--keep-layers 1"
