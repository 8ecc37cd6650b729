"""`--platform all`: every platform of an index, for squash and for the commands that look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.builders import ImageSpec, docker_archive_old, file, layer, oci_layout, whiteout
from tests.support.runner import (
    DOCKER_MANIFEST,
    Arg,
    Json,
    assert_fails,
    assert_same_rootfs,
    blob_path,
    change_index,
    change_manifest,
    put_blob,
    run,
    snapshot,
    squash,
    unpack,
)

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
BASES = [ImageSpec([layer(file("base", one.encode()))], ["base:1"], platform=one) for one in PLATFORMS]
APPS = [
    ImageSpec(
        [*base.layers, layer(file("cache", bytes(900)), file("a", one.encode())), layer(whiteout("cache"))],
        ["app:1"],
        platform=one,
    )
    for base, one in zip(BASES, PLATFORMS, strict=True)
]
ALL = ("--platform", "all")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An index of three platforms with attestations, and beside it the base's."""
    oci_layout(tmp_path / "app", APPS, nested=True, attestations=True)
    oci_layout(tmp_path / "base", BASES, nested=True)
    return tmp_path


NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


def read_index(folder: Path) -> tuple[Json, list[tuple[Json, Json, list[bytes]]]]:
    """The one index of a layout that index.json names, and its images: descriptor, config, layers."""
    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]

    def blob(descriptor: Json) -> bytes:
        data = (folder / blob_path(descriptor["digest"])).read_bytes()
        assert len(data) == descriptor["size"]
        return data

    found = []
    for descriptor in json.loads(blob(entry))["manifests"]:
        manifest = json.loads(blob(descriptor))
        layers = [unpack(blob(one)) for one in manifest["layers"]]
        found.append((descriptor, json.loads(blob(manifest["config"])), layers))
    return entry, found


@pytest.mark.parametrize("keep", ["path", "number", "check"])
def test_every_platform_is_squashed_on_its_own_base(keep: str, layout: Path) -> None:
    """A new index has every platform, each with its own base's layer kept and the rest in one; what is no
    image stays out."""
    words = {"path": ("--keep-base", f"oci:{layout}/base:base:1"), "number": ("--keep-layers", "1"),
             "check": ("--keep-layers", "1", "--check")}[keep]  # fmt: skip
    result = squash(layout / "app", *words, *ALL, "-t", "new:1", "-o", f"oci:{layout}/out", "--json")
    entry, found = read_index(layout / "out")
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/new:1"
    assert "platform" not in entry
    assert [config["architecture"] for _, config, _ in found] == ["amd64", "arm64", "arm"]
    for app, (descriptor, config, layers) in zip(APPS, found, strict=True):
        assert descriptor["platform"]["architecture"] == config["architecture"]
        assert layers[0] == app.layers[0]
        assert len(layers) == 2
        assert_same_rootfs(app.layers, layers, 1)
    report = result.json
    assert report["index_digest"] == entry["digest"]
    assert list(report["platforms"]) == list(PLATFORMS)
    assert any("Attestations" in note for note in report["platforms"]["linux/amd64"]["notes"])


def test_a_flat_index_becomes_one(tmp_path: Path) -> None:
    """Images that stand side by side in index.json under one name are one image's platforms, too."""
    oci_layout(tmp_path / "app", APPS)
    squash(tmp_path / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{tmp_path}/out:x")
    assert len(read_index(tmp_path / "out")[1]) == 3


def test_docker_manifests_stay_a_list(layout: Path) -> None:
    """Where all manifests are docker's, the index is docker's manifest list."""

    def change(index: Json) -> None:
        (entry,) = index["manifests"]
        inner = json.loads((layout / "app" / blob_path(entry["digest"])).read_bytes())
        kept = []
        for one in inner["manifests"][:3]:
            manifest = json.loads((layout / "app" / blob_path(one["digest"])).read_bytes())
            manifest["mediaType"] = DOCKER_MANIFEST
            manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
            for descriptor in manifest["layers"]:
                descriptor["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
            data = json.dumps(manifest).encode()
            kept.append({**one, **put_blob(layout / "app", data), "mediaType": DOCKER_MANIFEST})
        entry.update(put_blob(layout / "app", json.dumps({**inner, "manifests": kept}).encode()))

    change_index(layout / "app", change)
    squash(layout / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{layout}/out")
    entry, _ = read_index(layout / "out")
    assert entry["mediaType"] == "application/vnd.docker.distribution.manifest.list.v2+json"


def test_a_docker_archive_holds_one(layout: Path) -> None:
    """Several platforms do not fit into a docker archive, and the way out is told."""
    words = ("--keep-layers", "1", *ALL, "--format", "docker", "-o", layout / "out.tar")
    assert_fails(run("squash", layout / "app", *words), 2, "--format oci")


def test_missing_blobs_are_named_or_skipped(tmp_path: Path) -> None:
    """A platform that the index names and whose blobs are not there is an error, unless it is skipped."""
    oci_layout(tmp_path / "app", APPS[:2], nested=True, absent=["linux/s390x"])
    words = (tmp_path / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{tmp_path}/out")
    assert_fails(run("squash", *words), 5, "linux/s390x", "--skip-missing")
    report = squash(*words, "--skip-missing", "--json").json
    assert report["missing"] == ["linux/s390x"]
    assert len(read_index(tmp_path / "out")[1]) == 2
    result = run("ls", tmp_path / "app", *ALL, "--skip-missing", "--json")
    assert list(result.json) == ["linux/amd64", "linux/arm64"]
    assert "linux/s390x" in result.err


def test_a_fault_of_one_platform_stops_all(layout: Path) -> None:
    """An error names the platform, and nothing is written."""
    other = ImageSpec([layer(file("other"))], ["base:1"], platform="linux/arm64")
    oci_layout(layout / "wrong", [BASES[0], other, BASES[2]], nested=True)
    words = ("--keep-base", f"oci:{layout}/wrong:base:1", *ALL, "-o", f"oci:{layout}/out")
    assert_fails(run("squash", layout / "app", *words), 1, "linux/arm64", "not based on")
    assert not (layout / "out").exists()


def test_two_images_of_one_platform_are_ambiguous(tmp_path: Path) -> None:
    """All platforms of what is a question, and the choices are listed."""
    twin = ImageSpec([layer(file("x"))], ["other:1"], platform=PLATFORMS[0])
    oci_layout(tmp_path / "app", [*APPS, twin])
    result = run("ls", tmp_path / "app", *ALL)
    assert_fails(result, 2, "linux/amd64", "app:1", "other:1")
    assert run("ls", f"oci:{tmp_path}/app:app:1", *ALL).code == 0


def test_commands_that_look_show_each(layout: Path) -> None:
    """ls, cat, which, inspect, verify and export take all platforms, each under its heading or name."""
    app = layout / "app"
    assert run("ls", app, *ALL).text.splitlines()[:3] == ["==> linux/amd64 <==", "/a", "/base"]
    assert run("cat", app, "/a", *ALL, "--json").json["linux/arm64"]["text"] == "linux/arm64"
    assert b"==> linux/arm/v7 <==\nlinux/arm/v7" in run("cat", app, "/a", *ALL).out
    assert len(run("which", app, "/cache", *ALL, "--json").json["linux/arm64"]["layers"]) == 2
    assert list(run("inspect", app, *ALL, "--json").json) == list(PLATFORMS)
    assert len(run("verify", app, *ALL, "--json").json["images"]) == 3
    assert_fails(run("export", app, *ALL, "-o", layout / "x.tar"), 2, "{platform}")
    assert run("export", app, *ALL, "-o", f"{layout}/x-{{platform}}.tar").code == 0
    assert sorted(path.name for path in layout.glob("x-*")) == [
        "x-linux-amd64.tar", "x-linux-arm-v7.tar", "x-linux-arm64.tar",
    ]  # fmt: skip


def test_diff_pairs_platforms(layout: Path) -> None:
    """diff compares platform with platform; one that only one side has is a difference."""
    squash(layout / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{layout}/out")
    result = run("diff", layout / "app", layout / "out", *ALL, "--json")
    assert result.code == 0
    assert all(one["same"] for one in result.json.values())
    oci_layout(layout / "two", APPS[:2], nested=True)
    result = run("diff", layout / "app", layout / "two", *ALL, "--json")
    assert result.code == 3
    assert result.json["linux/arm/v7"]["only_in"]
    text = run("diff", layout / "app", layout / "two", *ALL).text
    assert text.splitlines()[-1].startswith("Different: only")


def test_all_of_a_single_image(tmp_path: Path) -> None:
    """A docker archive of one image has one platform, which is all."""
    docker_archive_old(tmp_path / "app.tar", [APPS[0]])
    assert run("ls", tmp_path / "app.tar", *ALL).text.splitlines()[0] == "==> linux/amd64 <=="
    words = ("--keep-layers", "1", *ALL, "--format", "oci", "-o", f"oci:{tmp_path}/out")
    squash(tmp_path / "app.tar", *words)
    assert len(read_index(tmp_path / "out")[1]) == 1


@pytest.mark.parametrize("words", [(), ("--check",), ("--min-saving", "99%")])
def test_platforms_that_share_a_layer(words: tuple[str, ...], tmp_path: Path) -> None:
    """A base layer that two platforms have is stored once in a new layout."""
    base = layer(file("shared", b"s" * 5000))
    images = [
        ImageSpec([base, layer(file("c", bytes(900))), layer(whiteout("c"))], ["app:1"], platform=one)
        for one in PLATFORMS
    ]
    oci_layout(tmp_path / "app", images, nested=True)
    squash(tmp_path / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{tmp_path}/out", *words)
    assert all(layers[0] == base for _, _, layers in read_index(tmp_path / "out")[1])


def test_images_of_other_names_are_no_platforms(tmp_path: Path) -> None:
    """Without a name, images that have different ones are not taken for one."""
    other = ImageSpec(APPS[1].layers, ["db:1"], platform=PLATFORMS[1])
    oci_layout(tmp_path / "app", [APPS[0], other])
    words = ("--keep-layers", "1", *ALL, "-o", f"oci:{tmp_path}/out")
    assert_fails(run("squash", tmp_path / "app", *words), 2, "db:1")


def test_what_the_index_says_of_a_platform_stays(tmp_path: Path) -> None:
    """os.version and the like are in the new index, too."""
    oci_layout(tmp_path / "app", APPS[:1])
    change_index(tmp_path / "app", lambda i: i["manifests"][0]["platform"].update({"os.version": "10"}))
    squash(tmp_path / "app", "--keep-layers", "1", *ALL, "-o", f"oci:{tmp_path}/out")
    assert read_index(tmp_path / "out")[1][0][0]["platform"]["os.version"] == "10"


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (["--keep-layers", "1"], {"org.example.team": "web"}),
        (
            ["--keep-base", "oci:{}/base:base:1"],
            {"org.example.team": "web", NAME: "docker.io/library/base:1"},
        ),
    ],
    ids=["layers", "base"],
)
def test_what_the_index_says_of_itself_stays(keep: list[str], expected: Json, layout: Path) -> None:
    """Its annotations are in the new index, too, but for those of a base that may be another now."""
    digest = f"sha256:{'0' * 64}"
    said = {"org.example.team": "web", NAME: "docker.io/library/old:1", DIGEST: digest}
    change_manifest(layout / "app", lambda index: index.update({"annotations": said}))
    squash(layout / "app", *(word.format(layout) for word in keep), *ALL, "-o", f"oci:{layout}/out")
    (entry,) = json.loads((layout / "out" / "index.json").read_bytes())["manifests"]
    assert json.loads((layout / "out" / blob_path(entry["digest"])).read_bytes())["annotations"] == expected
    squash(layout / "app", "--keep-layers", "3", *ALL, "-o", f"oci:{layout}/same")
    (entry,) = json.loads((layout / "same" / "index.json").read_bytes())["manifests"]
    assert json.loads((layout / "same" / blob_path(entry["digest"])).read_bytes())["annotations"] == said


def test_what_is_taken_of_several_platforms_is_told(layout: Path) -> None:
    """Commands that look say on standard error which platform they took, and those that write in their
    notes, unless one was asked for; what is not there is no other."""
    taken = "The image for linux/amd64 was taken; there are others, for linux/arm64, linux/arm/v7 "
    for words in (("ls",), ("inspect",), ("verify",), ("which", "/a"), ("export", "-o", f"{layout}/x.tar")):
        command, *rest = words
        source = f"oci:{layout}/app:app:1"
        for asked in ((), ("--platform", "linux/amd64"), ("--platform", "linux/arm64")):
            result = run(command, source, *rest, *asked, *(["--force"] if command == "export" else []))
            assert result.code == 0, result.err
            assert (taken in result.err) == (not asked)
    written = ("-o", f"oci:{layout}/new:x", "--json")
    done = run("squash", layout / "app", "--keep-layers", "1", *written)
    assert [note for note in done.json["notes"] if taken in note]
    oci_layout(layout / "one", APPS[:1], nested=True, attestations=True, absent=["linux/s390x"])
    assert run("ls", layout / "one").err == ""


# --- a tag that means several platforms ------------------------------------------------------

ONE = ("--keep-layers", "1")


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_tag_of_several_platforms_is_not_narrowed(
    dry: tuple[str, ...], own: bool, nested: bool, tmp_path: Path
) -> None:
    """--force does not move a layout's tag that means several platforms to one of them: the list is told,
    and nothing is written."""
    oci_layout(tmp_path / "there", APPS, nested=nested, attestations=True)
    docker_archive_old(tmp_path / "one.tar", [APPS[0]])
    before = snapshot(tmp_path / "there")
    source = f"oci:{tmp_path}/there:app:1" if own else tmp_path / "one.tar"
    words = ("squash", source, *ONE, "--force", "-o", f"oci:{tmp_path}/there:app:1", *dry)
    told = [*PLATFORMS, "--platform linux/amd64", "-t or -o", *(["--platform all"] if own else [])]
    result = run(*words)
    assert_fails(result, 2, *told)
    assert own or "--platform all" not in result.err
    assert snapshot(tmp_path / "there") == before


def test_a_tag_is_narrowed_where_a_platform_is_chosen(layout: Path) -> None:
    """With --platform OS/ARCH it moves, and a note lists what it loses."""
    own = f"oci:{layout}/app:app:1"
    result = squash(own, *ONE, "--force", "-o", own, "--platform", "linux/arm64", "--json")
    assert [n for n in result.json["notes"] if "linux/amd64, linux/arm/v7" in n]
    index = json.loads((layout / "app" / "index.json").read_bytes())
    assert [one["platform"]["architecture"] for one in index["manifests"] if "platform" in one] == ["arm64"]


def test_all_platforms_narrow_no_tag(layout: Path) -> None:
    """--platform all moves a tag that means no other platforms, and not one that does."""
    own = f"oci:{layout}/app:app:1"
    squash(own, *ONE, "--force", "-o", own, *ALL)
    assert len(read_index(layout / "app")[1]) == 3
    oci_layout(layout / "two", APPS[:2], nested=True)
    result = run("squash", layout / "two", *ONE, "--force", "-o", own, *ALL)
    assert_fails(result, 2, "would lose linux/arm/v7")
    assert len(read_index(layout / "app")[1]) == 3


def test_what_is_not_there_is_no_platform_of_a_tag(tmp_path: Path) -> None:
    """Platforms whose blobs a layout lacks, and attestations, are no platforms that a tag could lose."""
    oci_layout(tmp_path / "app", APPS[:1], nested=True, attestations=True, absent=["linux/s390x"])
    squash(tmp_path / "app", *ONE, "--force", "-o", f"oci:{tmp_path}/app:app:1")


def test_a_lost_layer_is_a_lost_platform(layout: Path) -> None:
    """A platform one of whose layers is not there does not keep a tag from moving."""
    _, found = read_index(layout / "app")
    for descriptor, _, _ in found[1:3]:
        manifest = json.loads((layout / "app" / blob_path(descriptor["digest"])).read_bytes())
        (layout / "app" / blob_path(manifest["layers"][-2]["digest"])).unlink()
    own = f"oci:{layout}/app:app:1"
    squash(own, *ONE, "--force", "-o", own)


def test_a_rebase_narrows_no_tag(layout: Path) -> None:
    """What holds of a squash holds of a rebase."""
    new = [ImageSpec([layer(file("base", b"new"))], ["new:1"], platform=one) for one in PLATFORMS]
    oci_layout(layout / "new", new, nested=True)
    own = f"oci:{layout}/app:app:1"
    bases = ("--old-base", f"oci:{layout}/base:base:1", "--new-base", f"oci:{layout}/new:new:1")
    words = ("rebase", own, *bases)
    assert_fails(run(*words, "--force", "-o", own), 2, *PLATFORMS, "--platform all")
    assert run(*words, "--force", "-o", own, *ALL).code == 0
    assert len(read_index(layout / "app")[1]) == 3


def test_a_fleet_narrows_no_tag(layout: Path) -> None:
    """`fleet squash` moves no tag that means several platforms, unless one was chosen."""
    docker_archive_old(layout / "fleet.tar", [APPS[1]])
    source = ("fleet", "squash", layout / "fleet.tar", "--into", f"oci:{layout}/app")
    words: tuple[Arg, ...] = (*source, "--force", "--strategy", "built")
    before = snapshot(layout / "app")
    assert_fails(run(*words), 2, *PLATFORMS, "--into another place")
    assert snapshot(layout / "app") == before
    done = run(*words, "--platform", "linux/arm64")
    assert done.code == 0, done.err
    assert "linux/amd64, linux/arm/v7" in done.text
