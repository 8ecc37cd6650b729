"""`squashkit inspect`: layers, dead bytes, the base, what a squash gives, and the tree of shared layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit import inspect_tree
from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import APP, BASE, BASE_DIGEST, BASE_NAME, Json, change_manifest, run, squash

WASTE = on_base(
    ImageSpec([layer(file("b", b"B" * 900_000))], ["base:1"]),
    layer(file("cache", bytes(5_000_000)), file("app", b"a" * 100_000)),
    layer(whiteout("cache")),
    tags=["app:1"],
)


def facts(path: Path | str, *args: str) -> Json:
    result = run("inspect", path, "--json", *args)
    assert result.code == 0, result.err
    return result.json


def test_the_table(tmp_path: Path) -> None:
    """Each layer with its sizes, entries, dead bytes and step; where the base ends; what to do."""
    docker_archive_old(tmp_path / "app.tar", [WASTE, ImageSpec(WASTE.layers[:1], ["base:1"])])
    result = run("inspect", f"{tmp_path}/app.tar:app:1")
    assert result.code == 0
    lines = [line.rstrip() for line in result.text.splitlines()]
    assert lines[0] == "app:1"
    assert lines[1] == "linux/amd64, 3 layers, 6.0 MB stored, 4 entries"
    assert lines[2].startswith("image_id sha256:")
    table = [line.split() for line in lines[4:9]]
    assert table[0] == ["layer", "stored", "uncompressed", "entries", "dead", "diff_id", "created", "by"]
    assert table[1][:6] == ["0", "902", "KB", "902", "KB", "1"]
    assert lines[6] == "------ base: base:1, which lies beside it ------"
    assert table[3][:8] == ["1", "5.1", "MB", "5.1", "MB", "2", "5.0", "MB"]
    assert lines[10].startswith("The largest dead files; squashkit waste ")
    assert lines[11:13] == ["  5.0 MB  /cache of layer 1", ""]
    assert lines[13] == (
        "The 2 layers above the base are 5.1 MB stored; as one they would be about 103 KB (98.0 % less):"
    )
    assert lines[14].endswith(" --keep-base base:1 -t NAME -o OUTPUT")


def test_dead_bytes_are_payload(tmp_path: Path) -> None:
    """Of 900 bytes that are dead 900 are told, not the blocks that they take in a tar; the three largest
    files are named."""
    files = [file(name, b"x" * size) for name, size in zip("abcde", (900, 5, 70, 800, 0), strict=True)]
    image = ImageSpec([layer(*files), layer(*map(whiteout, "abcde"))], ["app:1"])
    docker_archive_old(tmp_path / "app.tar", [image])
    found = facts(tmp_path / "app.tar")
    assert found["layers"][0]["dead"] == {"entries": 5, "bytes": 1775}
    assert found["worst"] == [
        {"path": "/a", "bytes": 900, "layer": 0},
        {"path": "/d", "bytes": 800, "layer": 0},
        {"path": "/c", "bytes": 70, "layer": 0},
    ]


def test_candidates_for_an_unknown_base(tmp_path: Path) -> None:
    """Where nothing says it, the ends that the history and other images of the archive have are told, and
    never is it advised to squash all."""
    history: list[Json] = [
        {"created_by": "ADD rootfs.tar /"},
        {"created_by": '/bin/sh -c #(nop)  CMD ["bash"]', "empty_layer": True},
        {"created_by": "RUN |1 TOKEN=hush /bin/sh -c make # buildkit"},
        {"created_by": "COPY a b"},
        {"created_by": 'ENTRYPOINT ["/b"]', "empty_layer": True},
    ]
    image = ImageSpec(
        [layer(file("a", b"1")), layer(file("b", b"2")), layer(file("b", b"3"))], ["app:1"], history=history
    )
    docker_archive_old(tmp_path / "app.tar", [image])
    assert facts(tmp_path / "app.tar")["base_candidates"] == [
        {"layers": 1, "name": "", "evidence": 'there the history has CMD ["bash"]'}
    ]
    said = run("inspect", tmp_path / "app.tar", "-v").text
    assert '  --keep-layers 1   there the history has CMD ["bash"]' in said
    assert "--all" not in said
    assert "hush" not in said + run("inspect", tmp_path / "app.tar", "--json").text
    assert "TOKEN=…" in said


@pytest.mark.parametrize("write", [docker_archive_old, docker_archive_25, oci_archive])
def test_the_estimate_is_near(write: object, tmp_path: Path) -> None:
    """What a squash would give is what it gives, to a few blocks in plain layers."""
    assert callable(write)
    write(tmp_path / "app.tar", [WASTE])
    squashed = facts(tmp_path / "app.tar")["squash"]
    real = squash(tmp_path / "app.tar", "--all", "-o", tmp_path / "out.tar", "--json").json
    assert squashed["stored"]["before"] == real["stored_bytes"]["before"]
    about, after = squashed["stored"]["after_about"], real["stored_bytes"]["after"]
    if write is not oci_archive:
        assert abs(about - after) < 20_000


def test_json_names_everything(tmp_path: Path) -> None:
    """--json has whole digests, chain_ids and the dead entries of every layer."""
    oci_layout(tmp_path, [APP, BASE])
    report = facts(f"oci:{tmp_path}:app:1")
    assert [one["layer"] for one in report["layers"]] == [0, 1, 2, 3, 4]
    assert report["base"] == {"layers": 2, "name": "base:1", "evidence": "base:1, which lies beside it"}
    assert report["layers"][0]["dead"]["entries"] >= 1
    assert report["layers"][2]["compression"] == "gzip"
    for key in ("digest", "diff_id", "chain_id"):
        assert all(one[key].startswith("sha256:") for one in report["layers"])
    assert report["layers"][0]["chain_id"] == report["layers"][0]["diff_id"]
    assert (report["squash"]["from"], report["squash"]["to"]) == (2, 4)


def test_the_base_is_told_by_annotations(tmp_path: Path) -> None:
    """Where annotations name the base and its manifest is available, that is the evidence."""
    digests = oci_layout(tmp_path, [APP, BASE])
    change_manifest(tmp_path, lambda m: m.update(annotations={BASE_NAME: "x", BASE_DIGEST: digests[1]}))
    report = facts(f"oci:{tmp_path}:app:1")
    assert report["base"]["evidence"] == f"the annotation {BASE_DIGEST}"


def test_a_base_that_nobody_tells_is_not_known(tmp_path: Path) -> None:
    """A single image has no base that can be told: all layers count, and it is said what to pass."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    result = run("inspect", tmp_path / "app.tar")
    assert facts(tmp_path / "app.tar")["base"] is None
    assert "--keep-base REF or --keep-layers N" in result.text
    docker_archive_old(tmp_path / "one.tar", [ImageSpec(APP.layers[:1], ["one:1"])])
    assert "There is nothing to squash." in run("inspect", tmp_path / "one.tar").text


def test_several_images_are_a_tree(tmp_path: Path) -> None:
    """An archive of several images shows which layers they share, and where each ends."""
    other = on_base(BASE, layer(file("o")), tags=["other:1"])
    docker_archive_old(tmp_path / "all.tar", [APP, BASE, other])
    lines = run("inspect", tmp_path / "all.tar").text.splitlines()
    assert lines[0].endswith(" 3 images, 6 different layers, 72 KB stored")
    rows = lines[3:9]
    assert [row[:3] for row in rows] == ["sha", "sha", "├─ ", "│  ", "│  ", "└─ "]
    assert rows[1].rstrip().endswith("base:1 (linux/amd64)")
    assert rows[4].rstrip().endswith("app:1 (linux/amd64)")
    assert rows[5].rstrip().endswith("other:1 (linux/amd64)")
    report = facts(tmp_path / "all.tar")
    assert [len(one["layers"]) for one in report["images"]] == [5, 2, 3]
    assert len(report["layers"]) == 6


def test_the_tree_from_python(tmp_path: Path) -> None:
    """`inspect_tree` gives what the command prints of an archive of several images."""
    path = tmp_path / "all.tar"
    docker_archive_old(path, [on_base(BASE, layer(file(name)), tags=[f"{name}:1"]) for name in "ab"])
    report = inspect_tree(str(path), verify=True)
    assert [image.names for image in report.images] == [("a:1",), ("b:1",)]
    assert report.json() == facts(path)


def test_the_tree_for_graphviz(tmp_path: Path) -> None:
    """--dot draws an edge from each layer to those on it, and to the images that end there."""
    docker_archive_old(tmp_path / "all.tar", [APP, ImageSpec(BASE.layers, ['b"\\:1'])])
    dot = run("inspect", tmp_path / "all.tar", "--dot").text
    assert dot.startswith("digraph layers {")
    assert dot.rstrip().endswith("}")
    assert dot.count(" -> ") == 4 + 2
    assert '\\"' in dot


def test_verbose_and_verify(tmp_path: Path) -> None:
    """-v has whole identities; --verify reads every byte, and refuses a wrong one."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    text = run("inspect", tmp_path / "app.tar", "-v", "--verify").text
    assert text.count("chain_id  ") == 5
    assert "Verified" in text
    data = (tmp_path / "app.tar").read_bytes()
    at = data.index(bytes(range(256)) * 2)
    (tmp_path / "app.tar").write_bytes(data[:at] + b"x" + data[at + 1 :])
    assert run("inspect", tmp_path / "app.tar").code == 0
    assert run("inspect", tmp_path / "app.tar", "--verify").code == 4


def test_layers_that_are_not_there_are_told(tmp_path: Path) -> None:
    """An image whose blobs are elsewhere can be looked at as far as it is known."""
    oci_layout(tmp_path, [APP])
    change_manifest(tmp_path, lambda m: m["layers"][1].update(digest="sha256:" + "2" * 64))
    report = facts(tmp_path)
    assert report["layers"][1]["stored"] is None
    assert report["squash"] is None
    assert "Not there: the blobs of layer 1" in run("inspect", tmp_path).text
