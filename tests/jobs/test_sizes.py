"""What reports say of sizes, beside what lies there: plain sizes and compressed ones are never compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    kaniko_archive,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import Json, Result, codec_of, read_image, run, validate

Codec = Literal["gzip", "zstd"] | None
BASE = ImageSpec([layer(directory("d"), file("d/a", b"a" * 9000))], ["base:1"])
APP = on_base(
    BASE, layer(file("x", b"x" * 70_000), file("y", b"y" * 9000)), layer(whiteout("x")), tags=["app:1"]
)
NEW = ImageSpec([layer(directory("d"), file("d/a", b"A" * 9000))], ["new:1"])
CRANE = "crane takes all for what the first one is"


def squashed(source: Path, output: str, *words: str) -> tuple[Json, str]:
    """The report of a squash above one layer, and its summary."""
    report = run("squash", source, "--keep-layers", "1", "-o", output, "--force", "--json", *words)
    assert report.code == 0, report.err
    told = run("squash", source, "--keep-layers", "1", "-o", output, "--force", *words)
    return report.json, told.text


@pytest.mark.parametrize("after", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("before", [None, "gzip", "zstd"])
def test_only_what_is_of_one_kind_is_compared(before: Codec, after: str, tmp_path: Path) -> None:
    """Stored bytes are those of the blobs. Of a saving nothing is said where plain layers became compressed
    or compressed ones plain; what always compares are the plain tars of what was merged."""
    oci_layout(tmp_path / "in", [APP], compress=before)
    report, told = squashed(tmp_path / "in", f"oci:{tmp_path}/out:a", "--compress", after)
    source, result = read_image(tmp_path / "in"), read_image(tmp_path / "out")
    sizes = [sum(map(len, image.blobs)) for image in (source, result)]
    merged = [sum(map(len, APP.layers[1:])), len(result.layers[1])]
    alike = (before is None) == (after == "none")
    assert report["stored_bytes"] == {
        "before": sizes[0],
        "after": sizes[1],
        "saved": sizes[0] - sizes[1] if alike else None,
    }
    assert report["merged_plain_bytes"] == {
        "before": merged[0],
        "after": merged[1],
        "saved": merged[0] - merged[1],
    }
    above = sum(map(len, source.blobs[1:]))
    assert report["update_bytes"] == {"before": above if alike else None, "after": len(result.blobs[1])}
    assert report["compression"] == {
        "before": [before or "none"],
        "after": sorted({before or "none", after}),
    }
    rows = {line.split("  ")[0]: line for line in told.splitlines()}
    assert ("saved" in rows["stored"]) == alike
    assert ("merged, as plain tars" in rows) != alike
    assert ("pulled by an update" in rows) == alike


@pytest.mark.parametrize("before", [None, "gzip"])
def test_a_dry_run_does_not_count_what_it_does_not_compress(before: Codec, tmp_path: Path) -> None:
    """The size of a layer that would be compressed is not known, and stands in no sum."""
    oci_layout(tmp_path / "in", [APP], compress=before)
    words = ("--compress", "gzip", "--dry-run")
    report, told = squashed(tmp_path / "in", f"oci:{tmp_path}/out:a", *words)
    base = len(read_image(tmp_path / "in").blobs[0])
    assert (report["stored_bytes"]["after"], report["stored_bytes"]["saved"]) == (None, None)
    assert report["shared_bytes"] == {"registry": base, "host": base}
    assert [one["size"] for one in report["result_layers"]] == [base, None]
    assert report["merged_plain_bytes"]["saved"] > 60_000
    assert "what compressed layers will take is not known" in told


def test_kept_layers_that_a_dry_run_would_compress_are_not_shared(tmp_path: Path) -> None:
    """A registry has no plain layers: those of an archive get other digests there."""
    docker_archive_25(tmp_path / "in.tar", [APP])
    report, _ = squashed(tmp_path / "in.tar", "docker://127.0.0.1:9/app:2", "--dry-run")
    assert report["shared_bytes"] == {"registry": 0, "host": None}
    assert [one["size"] for one in report["result_layers"]] == [None, None]


def test_a_blob_that_nobody_names_is_shared_all_the_same(tmp_path: Path) -> None:
    """Where an archive says no digests, kept layers are still the blobs that it has."""
    kaniko_archive(tmp_path / "in.tar", [APP])
    report, _ = squashed(tmp_path / "in.tar", f"{tmp_path}/out.tar")
    kept = len(read_image(tmp_path / "out.tar").blobs[0])
    assert report["shared_bytes"] == {"registry": kept, "host": kept}


def test_a_saving_is_asked_of_sizes_that_compare(tmp_path: Path) -> None:
    """--min-saving compares plain tars where compressed layers become plain: these would be larger."""
    oci_layout(tmp_path / "in", [APP], compress="gzip")
    for least, changed in (("85%", True), ("95%", False)):
        words = ("--compress", "none", "--min-saving", least)
        report, _ = squashed(tmp_path / "in", f"oci:{tmp_path}/out:a", *words)
        assert report["changed"] == changed


# --- docker archives --------------------------------------------------------------------------


def made(result: Result, output: Path) -> list[str]:
    """How the layers of a docker archive are stored that was written."""
    assert result.code == 0, result.err
    validate(output)
    return [codec_of(blob) for blob in read_image(output).blobs]


@pytest.mark.parametrize("base", [None, "gzip"])
@pytest.mark.parametrize("app", [None, "gzip"])
def test_new_layers_of_a_docker_archive_are_as_kept_ones(base: Codec, app: Codec, tmp_path: Path) -> None:
    """A new layer takes the compression of the base's layers below it, wherever it comes from: crane takes
    all layers for what the first one is."""
    oci_layout(tmp_path / "app", [APP], compress=app)
    oci_layout(tmp_path / "new", [NEW], compress=base)
    output = tmp_path / "out.tar"
    ends = ("-o", f"docker-archive:{output}", "--force")
    oci_layout(tmp_path / "old", [BASE])
    bases = ("--old-base", tmp_path / "old", "--new-base", tmp_path / "new")
    rebased = run("rebase", tmp_path / "app", *bases, "--squash", *ends)
    assert made(rebased, output) == [base or "none"] * 2
    assert CRANE not in rebased.text
    extracted = run("extract", tmp_path / "app", "/y", "--keep-base", tmp_path / "new", *ends)
    assert made(extracted, output) == [base or "none"] * 2
    assert CRANE not in extracted.text
    squashed = run("squash", tmp_path / "app", "--keep-layers", "1", *ends)
    assert made(squashed, output) == [app or "none"] * 2
    assert CRANE not in squashed.text


def test_crane_is_named_where_an_archive_has_both(tmp_path: Path) -> None:
    """What was asked for is done, and one line says who reads it wrongly; an OCI layout, which is read by
    its media types, needs none."""
    oci_layout(tmp_path / "in", [APP], compress="gzip")
    output = tmp_path / "out.tar"
    words = ("squash", tmp_path / "in", "--keep-layers", "1", "--compress", "none", "--force")
    told = run(*words, "-o", f"docker-archive:{output}")
    assert made(told, output) == ["gzip", "none"]
    assert told.text.count(CRANE) == 1
    assert CRANE not in run(*words, "-o", f"oci:{tmp_path}/out").text
