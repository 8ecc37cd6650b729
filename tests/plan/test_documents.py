"""Config, history, manifest and annotations of a squashed image: what stays, what goes, what is new."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from squashkit.oci.digests import DiffID, chain_ids
from tests.support.builders import (
    CREATED,
    ImageSpec,
    config_of,
    digest,
    docker_archive_25,
    docker_archive_old,
    file,
    image_id,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import (
    APP,
    BASE,
    BASE_CHAIN,
    BASE_DIGEST,
    BASE_NAME,
    EMPTY_LAYER,
    KEEP_2,
    KEEP_BASE,
    KEPT,
    SOURCE_DIGEST,
    Json,
    StoredImage,
    change_config,
    change_index,
    change_manifest,
    put_blob,
    read_files,
    read_image,
    read_images,
    run_process,
    sha256,
    squash,
)

TOTAL = len(APP.layers)
WHEN = "2001-02-03T04:05:06Z"


def squashed(image: ImageSpec, tmp_path: Path, *words: str) -> StoredImage:
    """The image that comes of a squash that keeps two layers, unless `words` say otherwise."""
    docker_archive_old(tmp_path / "source.tar", [image])
    keep = () if {"--all", "--segments", "--keep-layers"} & set(words) else ("--keep-layers", "2")
    squash(tmp_path / "source.tar", *keep, *words, "-o", tmp_path / "out.tar", "--force")
    return read_image(tmp_path / "out.tar")


def spec(**config: object) -> ImageSpec:
    """The usual image with these fields in its config."""
    return ImageSpec(APP.layers, ["app:1"], config)


# --- config ----------------------------------------------------------------------------------


CONFIG: Json = {
    "Env": ["PATH=/bin", "SECRET=s3cret"],
    "Cmd": None,
    "Entrypoint": ["/é", "--x"],
    "Labels": {"b": "2", "a": "1", "": ""},
    "ExposedPorts": {"80/tcp": {}},
    "OnBuild": [],
    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30000000000},
    "future": {"deep": [1, 2.5, None, True, "\u2028", 12345678901234567890]},
}


def test_the_config_object_is_untouched(tmp_path: Path) -> None:
    """What a container is started with comes through as it was, in its order, known fields or not."""
    config = squashed(spec(config=CONFIG), tmp_path).config
    assert json.dumps(config["config"]) == json.dumps(CONFIG)


def test_other_fields_survive_and_stale_ones_go(tmp_path: Path) -> None:
    """Fields outside stay, unknown ones included; those that describe layers that are gone are
    dropped, and rootfs keeps its other fields."""
    stay = {
        "author": "someone", "docker_version": "19.03", "os.version": "1", "os.features": ["x"],
        "variant": "v8", "moby.other": {"k": [1]}, "x-unknown": None,
    }  # fmt: skip
    stale = {
        "container": "abc", "container_config": {"Image": "x"}, "parent": "sha256:0", "id": "abc",
        "moby.buildkit.cache.v0": "AAAA", "moby.buildkit.buildinfo.v1": "BBBB",
    }  # fmt: skip
    rootfs = {"type": "layers", "diff_ids": [digest(one) for one in APP.layers], "note": 1}
    image = squashed(spec(**stay, **stale, rootfs=rootfs), tmp_path)
    config = image.config
    assert {key: config[key] for key in stay} == stay
    assert not set(stale) & set(config)
    diff_ids = [digest(one) for one in image.layers]
    assert config["rootfs"] == {"type": "layers", "diff_ids": diff_ids, "note": 1}


def test_an_unchanged_image_keeps_its_config_to_the_byte(tmp_path: Path) -> None:
    """An image that is written through keeps its image_id, odd spacing and stale fields included."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(layout, [APP])
    odd = json.dumps({**json.loads(config_of(APP)), "x-\xe9": 1.50}, indent=3).encode() + b"\n"
    change_config(layout, lambda config: odd)
    for words in (("--keep-layers", str(TOTAL)), ("--keep-layers", "2", "--min-saving", "100%")):
        for place in (output, f"oci:{layout}", f"docker-archive:{output}"):
            squash(f"{layout}:app:1", *words, "-t", "new:1", "-o", place, "--force")
            written = read_image(output) if str(output) in str(place) else read_images(layout)[-1]
            assert written.config_data == odd


def test_an_unchanged_image_keeps_its_manifest_to_the_byte(tmp_path: Path) -> None:
    """Written through into the same form, the manifest keeps its digest, unknown fields included."""
    layout, output = tmp_path / "layout", tmp_path / "out"
    oci_layout(layout, [APP])
    change_manifest(layout, lambda m: json.dumps({**m, "note": "é", "annotations": {}}, indent=2).encode())
    before = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    squash(layout, "--keep-layers", str(TOTAL), "-o", f"oci:{output}")
    after = json.loads((output / "index.json").read_bytes())["manifests"][0]
    assert after["digest"] == before["digest"]


def test_the_same_squash_gives_the_same_image_id_everywhere(tmp_path: Path) -> None:
    """Neither the environment's locale, time zone or hash seed, nor the folder, nor the number of
    threads shows in the result."""
    ids = set()
    for number, env in enumerate(
        [
            {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"},
            {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "PYTHONUTF8": "1"},
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        docker_archive_old(folder / "app.tar", [spec(config=CONFIG)])
        words = (*KEEP_2, "--jobs", str(number + 1), "-o", "out.tar")
        result = run_process("squash", "app.tar", *words, env=env, cwd=folder)
        assert result.code == 0, result.err
        ids.add(sha256((folder / "out.tar").read_bytes()))
    assert len(ids) == 1


# --- history ---------------------------------------------------------------------------------


def test_history_stays_readable(tmp_path: Path) -> None:
    """Squashed steps stay in order as steps without a layer, whole; one entry for the new layer comes
    after them, and kept steps are not touched."""
    history = [
        {
            "created": f"2020-01-0{n + 1}T00:00:00Z", "created_by": f"step {n}", "comment": f"c{n}",
            "author": "me", "x": n, **({"empty_layer": True} if n in (1, 3, 5, 7) else {}),
        }
        for n in range(9)
    ]  # fmt: skip
    image = squashed(ImageSpec(APP.layers, ["app:1"], history=history), tmp_path)
    made = image.config["history"]
    new = {"created": CREATED, "created_by": f"squashkit squash {TOTAL - 2} layers"}
    assert made[:3] == history[:3]
    assert made[3:9] == [{**entry, "empty_layer": True} for entry in history[3:9]]
    assert made[9:] == [new]


def test_history_of_several_runs(tmp_path: Path) -> None:
    """Each run's new entry comes after its own steps, and kept steps above keep their layer."""
    image = squashed(APP, tmp_path, "--segments", "2,=1,2")
    assert image.history == [
        "- RUN step 0", "- ENV N=0", "- RUN step 1", "squashkit squash 2 layers",
        "RUN step 2", "- ENV N=2",
        "- RUN step 3", "- RUN step 4", "squashkit squash 2 layers", "- ENV N=4",
    ]  # fmt: skip


def test_dropped_history_is_the_run_s_alone(tmp_path: Path) -> None:
    """--history drop drops the run's entries and the empty ones between them, not the base's, and
    warns of what Env and labels may still hold."""
    image = squashed(APP, tmp_path, "--history", "drop")
    kept = ["RUN step 0", "- ENV N=0", "RUN step 1"]
    assert image.history[:3] == kept
    assert not [step for step in image.history[3:] if "RUN step" in step or "ENV N=2" in step]
    assert "squashkit squash 3 layers" in image.history
    result = squash(tmp_path / "source.tar", *KEEP_2, "--history", "drop", "-o", tmp_path / "o.tar")
    assert "Env" in result.text
    assert "labels" in result.text


def test_no_history_stays_none(tmp_path: Path) -> None:
    """An image without history gets none."""
    image = squashed(ImageSpec(APP.layers, ["app:1"], history=None), tmp_path)
    assert "history" not in image.config


@pytest.mark.parametrize("count", [1, TOTAL - 1, TOTAL + 2])
def test_a_broken_history_is_mended_and_told(count: int, tmp_path: Path) -> None:
    """Where the entries are not as many as the layers, one entry a layer is written, the old text goes
    into the new entry's comment, and the summary says so."""
    history = [{"created": CREATED, "created_by": f"old step {n}"} for n in range(count)]
    image = ImageSpec(APP.layers, ["app:1"], history=history)
    made = squashed(image, tmp_path).config["history"]
    assert len(made) == 3
    assert all("created" in entry and not entry.get("empty_layer") for entry in made)
    assert made[2]["created_by"] == "squashkit squash 3 layers"
    for n in range(count):
        assert f"old step {n}" in made[2]["comment"]
    result = squash(tmp_path / "source.tar", *KEEP_2, "-o", tmp_path / "o.tar")
    assert "history does not fit" in result.text


def test_history_entries_without_created_get_one(tmp_path: Path) -> None:
    """umoci fails on an entry without `created`: the new entry always has one."""
    history: list[Json] = [{"created_by": f"step {n}"} for n in range(TOTAL)]
    config = {"created": None}
    image = squashed(ImageSpec(APP.layers, ["app:1"], config, history=history), tmp_path)
    assert image.config["history"][-1]["created"]


def test_message_is_the_new_entry_s_comment(tmp_path: Path) -> None:
    """--message is the comment of the new layer's entry, and of that one alone."""
    image = squashed(APP, tmp_path, "--message", "smaller é")
    assert [entry.get("comment") for entry in image.config["history"]][-3:-1].count("smaller é") == 1
    new = [one for one in image.config["history"] if "squashkit" in one["created_by"]]
    assert [one["comment"] for one in new] == ["smaller é"]


# --- created ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "epoch", "expected"),
    [
        ((), "", CREATED),
        ((), "981173106", WHEN),
        ((), "0", "1970-01-01T00:00:00Z"),
        (("--created", WHEN), "", WHEN),
        (("--created", WHEN), "5", WHEN),
        (("--created", "2001-02-03T04:05:06.123456789+02:00"), "", "2001-02-03T04:05:06.123456789+02:00"),
    ],
)
def test_created_comes_from_the_first_that_says_it(
    words: tuple[str, ...], epoch: str, expected: str, tmp_path: Path
) -> None:
    """--created, else SOURCE_DATE_EPOCH, else the source's own time is the image's and the new entry's."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    env = {"SOURCE_DATE_EPOCH": epoch}
    squash(tmp_path / "app.tar", *KEEP_2, *words, "-o", tmp_path / "out.tar", env=env)
    config = read_image(tmp_path / "out.tar").config
    assert config["created"] == expected
    new = [one for one in config["history"] if "squashkit" in one["created_by"]]
    assert [one["created"] for one in new] == [expected]
    assert config["history"][0]["created"] == CREATED


# --- annotations -----------------------------------------------------------------------------


def annotated(tmp_path: Path, annotations: dict[str, str], *words: str) -> dict[str, str]:
    """The annotations of the squash of an image that has these; its layout holds the base too."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(layout, [APP, BASE])
    change_manifest(layout, lambda manifest: manifest.update(annotations=annotations))
    squash(f"{layout}:app:1", *words, "-t", "new:1", "-o", output)
    return read_image(output).annotations


def base_digest(tmp_path: Path) -> str:
    """The digest that the base's manifest has in every layout."""
    return oci_layout(tmp_path / "other", [BASE])[0]


def test_annotations_are_carried_over(tmp_path: Path) -> None:
    """The manifest's own annotations stay, and the source's manifest digest is added."""
    mine = {"org.opencontainers.image.source": "here", "x": "é"}
    made = annotated(tmp_path, mine, "--keep-layers", "2")
    source = json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"][0]["digest"]
    assert made == {**mine, SOURCE_DIGEST: source}


def test_the_base_is_named_from_its_manifest(tmp_path: Path) -> None:
    """base.name and base.digest are set where the base's manifest was read in a layout."""
    made = annotated(tmp_path, {}, "--keep-base", "base:1")
    assert made[BASE_NAME] == "docker.io/library/base:1"
    assert made[BASE_DIGEST] == base_digest(tmp_path)


def test_a_base_without_a_name_is_told_by_its_digest(tmp_path: Path) -> None:
    """A path is no image's name: for a base that has no other, base.digest stands alone."""
    nameless, app = tmp_path / "nameless", tmp_path / "app"
    (digest,) = oci_layout(nameless, [replace(BASE, tags=())])
    oci_layout(app, [APP])
    squash(app, "--keep-base", f"oci:{nameless}", "-t", "new:1", "-o", tmp_path / "out.tar")
    made = read_image(tmp_path / "out.tar").annotations
    assert made[BASE_DIGEST] == digest
    assert BASE_NAME not in made


def test_the_base_is_not_named_without_a_manifest(tmp_path: Path) -> None:
    """From a docker archive without manifests there is no digest to name, so none is: its layers are."""
    docker_archive_old(tmp_path / "both.tar", [APP, BASE])
    squash(f"{tmp_path}/both.tar:app:1", *KEEP_BASE, "-o", tmp_path / "out.tar")
    made = read_image(tmp_path / "out.tar").annotations
    top = chain_ids([DiffID(digest(one)) for one in BASE.layers])[-1]
    assert made == {SOURCE_DIGEST: image_id(APP), BASE_CHAIN: top}
    docker_archive_25(tmp_path / "new.tar", [APP, BASE])
    squash(f"{tmp_path}/new.tar:app:1", *KEEP_BASE, "-o", tmp_path / "out2.tar")
    assert BASE_DIGEST in read_image(tmp_path / "out2.tar").annotations


@pytest.mark.parametrize("words", [("--all",), ("--keep-layers", "1"), ("--segments", "1,4")])
def test_a_base_that_is_no_longer_kept_is_not_named(words: tuple[str, ...], tmp_path: Path) -> None:
    """Where the annotated base's layers are squashed, its annotations go."""
    stated = {BASE_NAME: "base:1", BASE_DIGEST: base_digest(tmp_path), "x": "1"}
    made = annotated(tmp_path, stated, *words)
    assert BASE_NAME not in made
    assert BASE_DIGEST not in made
    assert made["x"] == "1"


def test_annotations_of_a_base_that_is_kept_stay(tmp_path: Path) -> None:
    """Found by its annotations or given by name, the base is still named as it was."""
    stated = {BASE_NAME: "docker.io/library/base:1", BASE_DIGEST: base_digest(tmp_path)}
    for number, words in enumerate([(), ("--keep-base", "base:1")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = annotated(folder, stated, *words)
        assert {key: made[key] for key in stated} == stated


def test_docker_manifests_have_no_annotations(tmp_path: Path) -> None:
    """docker's schema 2 has no annotations, so none are written into it."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(layout, [APP, BASE])
    change_manifest(layout, lambda manifest: manifest.update(annotations={"x": "1"}))
    squash(f"{layout}:app:1", *KEEP_BASE, "--format", "docker", "-o", output)
    assert "annotations" not in read_image(output).manifest


def test_a_subject_is_dropped_and_told(tmp_path: Path) -> None:
    """A manifest's subject no longer fits: it is dropped with a line that says so; unknown fields of
    the manifest stay."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(layout, [APP])
    subject = {"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1}
    change_manifest(layout, lambda manifest: manifest.update(subject=subject, note=[1]))
    result = squash(layout, *KEEP_2, "-o", output)
    manifest = read_image(output).manifest
    assert "subject" not in manifest
    assert manifest["note"] == [1]
    assert "subject" in result.text


def test_signatures_are_told_of(tmp_path: Path) -> None:
    """A signature beside the image is not carried over, and a line says that it no longer fits."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    manifest = oci_layout(layout, [APP])[0]

    def sign(index: Json) -> None:
        config = put_blob(layout, b"{}")
        payload = put_blob(layout, b"payload")
        kind = "application/vnd.oci.image.manifest.v1+json"
        signature = {
            "schemaVersion": 2,
            "mediaType": kind,
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", **config},
            "layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", **payload}],
            "subject": {"mediaType": kind, "digest": manifest, "size": 1},
        }
        blob = put_blob(layout, json.dumps(signature).encode())
        index["manifests"].append({"mediaType": kind, **blob})

    change_index(layout, sign)
    result = squash(layout, *KEEP_2, "-o", output)
    assert len(read_images(output)) == 1
    assert "Signatures" in result.text


# --- images that lose everything -------------------------------------------------------------


GONE = [layer(file("a", b"a")), layer(whiteout("a"))]


@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_an_image_that_loses_everything_has_one_empty_layer(compress: str, tmp_path: Path) -> None:
    """An image of which nothing is left gets one empty layer of 1,024 zero bytes, and its history
    counts one."""
    image = squashed(ImageSpec(GONE, ["app:1"]), tmp_path, "--all", "--compress", compress)
    assert image.layers == (EMPTY_LAYER,)
    assert [step for step in image.history if not step.startswith("- ")] == ["squashkit squash 2 layers"]


def test_a_run_that_loses_everything_gives_no_layer(tmp_path: Path) -> None:
    """Above a base such a run gives no layer, and its entry is one without a layer."""
    image = squashed(on_base(BASE, *GONE, tags=["app:1"]), tmp_path)
    assert image.layers == tuple(BASE.layers)
    assert "- squashkit squash 2 layers" in image.history


def test_a_run_that_loses_everything_below_a_kept_layer(tmp_path: Path) -> None:
    """A middle run of which nothing is left gives no layer, and the kept one above stays."""
    top = layer(file("z", b"z"))
    image = squashed(on_base(BASE, *GONE, top, tags=["app:1"]), tmp_path, "--segments", "=2,2,=1")
    assert image.layers == (*BASE.layers, top)


def test_empty_layers_are_squashed_away(tmp_path: Path) -> None:
    """Layers without entries, of any length, leave nothing behind."""
    empty = [b"", EMPTY_LAYER, bytes(10240), layer(end=False)]
    image = squashed(on_base(BASE, *empty, tags=["app:1"]), tmp_path)
    assert image.layers == tuple(BASE.layers)
    kept = squashed(on_base(BASE, *empty, tags=["app:1"]), tmp_path, "--keep-layers", "6")
    assert kept.layers == (*BASE.layers, *empty)


# --- the report ------------------------------------------------------------------------------


def test_the_report_says_what_was_written(tmp_path: Path) -> None:
    """--json has the digests, sizes and counts of what lies in the output."""
    docker_archive_25(tmp_path / "both.tar", [APP, BASE], "gzip")
    words = (*KEEP_BASE, "-o", tmp_path / "out.tar", "--json")
    report = squash(f"{tmp_path}/both.tar:app:1", *words).json
    image = read_image(tmp_path / "out.tar")
    assert report["image_id"] == {"before": image_id(APP), "after": image.image_id}
    assert report["manifest_digest"] == image.descriptors[0]["digest"]
    assert report["layers"] == {"before": TOTAL, "after": KEPT + 1}
    assert report["base"] == {
        "layers": KEPT, "name": "base:1", "evidence": report["base"]["evidence"],
    }  # fmt: skip
    assert report["tags"] == ["new:1"]
    assert report["output"] == str(tmp_path / "out.tar")
    assert report["platform"] == "linux/amd64"
    assert [
        (one["digest"], one["diff_id"], one["size"], one["compression"]) for one in report["result_layers"]
    ] == [
        (sha256(blob), sha256(data), len(blob), "gzip")
        for blob, data in zip(image.blobs, image.layers, strict=True)
    ]
    kept = sum(len(blob) for blob in image.blobs[:KEPT])
    assert report["shared_bytes"] == {"registry": kept, "host": kept}
    source = read_files(tmp_path / "both.tar")
    manifest = json.loads(source["manifest.json"])[0]
    assert report["stored_bytes"]["before"] == sum(len(source[name]) for name in manifest["Layers"])
    assert report["stored_bytes"]["after"] == sum(len(blob) for blob in image.blobs)
    assert report["dropped"]["deleted"]["entries"] == 1
    assert (report["changed"], report["dry_run"], report["guaranteed"]) == (True, False, True)


def test_registry_and_host_sharing_are_told_apart(tmp_path: Path) -> None:
    """A kept layer above a squashed run is shared in registries and not on hosts."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    words = ("--segments", "=1,3,=1", "-t", "new:1", "-o", tmp_path / "out.tar", "--json")
    report = squash(tmp_path / "app.tar", *words).json
    low, top = len(APP.layers[0]), len(APP.layers[-1])
    assert report["shared_bytes"] == {"registry": low + top, "host": low}


def test_the_report_documents_its_fields(tmp_path: Path) -> None:
    """Every field of the report stands in the reference's table, and but for the digest that only
    provenance asks for nothing else does."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    report = squash(tmp_path / "app.tar", *KEEP_2, "-o", tmp_path / "out.tar", "--json").json
    page = (Path(__file__).parents[2] / "docs/results.md").read_text(encoding="utf-8")
    section = page.partition("\n### squash\n")[2].partition("\n### ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name.strip("` ") for row in rows for name in row.split(",")}
    assert documented == {*report, "rootfs_digest"}
