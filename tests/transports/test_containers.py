"""Every container form goes in and comes out through the command line, whole and under its right names."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import json
import lzma
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.builders import (
    Compress,
    ImageSpec,
    Member,
    compress,
    digest,
    docker_archive_25,
    docker_archive_old,
    file,
    image_id,
    kaniko_archive,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    skopeo_archive,
    whiteout,
)
from tests.support.runner import (
    APP,
    BASE,
    DOCKER,
    DOCKER_MANIFEST,
    FULL_NAME,
    KEEP_2,
    KEEP_BASE,
    KEPT,
    OCI,
    OCI_MANIFEST,
    REF_NAME,
    Json,
    assert_fails,
    assert_same_rootfs,
    change_index,
    change_manifest,
    codec_of,
    docker_files,
    put_blob,
    read_files,
    read_image,
    read_images,
    run,
    run_process,
    sha256,
    snapshot,
    spawn,
    squash,
    validate,
    write_archive,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Write = Callable[[Path, Sequence[ImageSpec]], object]


def ctr_archive(path: Path, images: Sequence[ImageSpec]) -> None:
    """`ctr images export`: an index a name, which lists platforms whose blobs are not there, and a
    manifest.json."""
    files: dict[str, bytes] = {}
    manifests: list[Json] = []
    entries = []
    for image in images:
        oci_archive(path, [image], nested=True, absent=["linux/arm64", "linux/s390x"])
        files |= read_files(path)
        manifests += json.loads(files["index.json"])["manifests"]
        layers = [f"blobs/sha256/{sha256(compress(one, 'gzip'))[7:]}" for one in image.layers]
        config = f"blobs/sha256/{image_id(image)[7:]}"
        entries.append({"Config": config, "RepoTags": list(image.tags), "Layers": layers})
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    files["manifest.json"] = json.dumps(entries).encode()
    write_archive(path, files)


def docker_schema_2(path: Path, images: Sequence[ImageSpec]) -> None:
    """A layout whose manifests are docker's, as skopeo copies them with --preserve-digests."""
    oci_layout(path, images)

    def change(manifest: Json) -> None:
        manifest["mediaType"] = DOCKER_MANIFEST
        manifest["config"]["mediaType"] = f"{DOCKER}container.image.v1+json"
        for one in manifest["layers"]:
            one["mediaType"] = f"{DOCKER}image.rootfs.diff.tar.gzip"

    for place in range(len(json.loads((path / "index.json").read_bytes())["manifests"])):
        change_manifest(path, change, place)

        def retype(index: Json, place: int = place) -> None:
            index["manifests"][place]["mediaType"] = DOCKER_MANIFEST

        change_index(path, retype)


def nested_layout(path: Path, images: Sequence[ImageSpec]) -> None:
    """A layout with an index for each name, and in it the image and its attestation."""
    for number, image in enumerate(images):
        oci_layout(path, [image], nested=True, attestations=True)
        index = json.loads((path / "index.json").read_bytes())
        before = json.loads((path / "before").read_bytes()) if number else []
        (path / "before").write_text(json.dumps(before + index["manifests"]))
    manifests = json.loads((path / "before").read_bytes())
    (path / "before").unlink()
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


@dataclass(frozen=True)
class Form:
    """How a tool stores images: what writes it, and the codec that its layers have."""

    write: Write
    codec: Compress = None
    is_docker: bool = True


FORMS = {
    "docker save before 25": Form(docker_archive_old),
    "docker save from 25 on": Form(docker_archive_25),
    "docker save, gzip": Form(lambda p, i: docker_archive_25(p, i, "gzip"), "gzip"),
    "docker save, zstd": Form(lambda p, i: docker_archive_25(p, i, "zstd"), "zstd"),
    "unpacked and packed by tar": Form(
        lambda p, i: docker_archive_old(p, i, prefix=b"./", repeat="hardlink")
    ),
    "skopeo": Form(skopeo_archive),
    "podman": Form(lambda p, i: skopeo_archive(p, i, names="localhost/")),
    "kaniko": Form(kaniko_archive, "gzip"),
    "ctr": Form(ctr_archive, "gzip"),
    "oci archive": Form(oci_archive, "gzip", False),
    "oci archive, plain": Form(lambda p, i: oci_archive(p, i, compress=None), None, False),
    "layout": Form(oci_layout, "gzip", False),
    "layout, zstd": Form(lambda p, i: oci_layout(p, i, compress="zstd"), "zstd", False),
    "layout, docker manifests": Form(docker_schema_2, "gzip", False),
    "nested layout": Form(nested_layout, "gzip", False),
}
TWICE = on_base(BASE, BASE.layers[0], *[layer(file("n", b"n"))] * 2, tags=["app:1"])


# --- forms in and out ------------------------------------------------------------------------


@pytest.mark.parametrize("image", [APP, TWICE], ids=["app", "repeated layers"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_image(name: str, image: ImageSpec, tmp_path: Path) -> None:
    """Whatever form an image comes in, the result is valid, keeps the base's blobs byte for byte, has
    the same root file system and, stored plain, the same image_id."""
    form = FORMS[name]
    source = tmp_path / "source"
    form.write(source, [image, BASE])
    made = {}
    for kind in ("docker", "oci"):
        output = tmp_path / f"{kind}.tar"
        squash(f"{source}:app:1", *KEEP_BASE, "--format", kind, "-o", output)
        made[kind] = read_image(output)
        assert ("manifest.json" in read_files(output)) == (kind == "docker")
        codec = None if kind == "docker" and form.codec == "zstd" else form.codec
        assert made[kind].blobs[:KEPT] == tuple(compress(one, codec) for one in BASE.layers)
        assert [codec_of(blob) for blob in made[kind].blobs] == [codec or "none"] * (KEPT + 1)
        assert_same_rootfs(image.layers, made[kind].layers, KEPT)
    layout = tmp_path / "layout"
    squash(f"{source}:app:1", *KEEP_BASE, "-o", f"oci:{layout}")
    assert read_image(layout).layers == made["oci"].layers
    reference = tmp_path / "reference.tar"
    docker_archive_old(tmp_path / "plain.tar", [image, BASE])
    squash(f"{tmp_path}/plain.tar:app:1", *KEEP_BASE, "-o", reference)
    assert {one.image_id for one in made.values()} == {read_image(reference).image_id}


@pytest.mark.parametrize("name", FORMS)
def test_the_form_stays_unless_another_is_asked_for(name: str, tmp_path: Path) -> None:
    """Without --format a docker archive gives a docker archive and a layout an OCI one, with the
    source's type of manifest."""
    form = FORMS[name]
    source, output = tmp_path / "source", tmp_path / "out.tar"
    form.write(source, [APP, BASE])
    squash(f"{source}:app:1", *KEEP_BASE, "-o", output)
    assert ("manifest.json" in read_files(output)) == form.is_docker
    docker = name == "layout, docker manifests"
    assert read_image(output).manifest["mediaType"] == (DOCKER_MANIFEST if docker else OCI_MANIFEST)


@pytest.mark.parametrize(
    ("format", "kind"), [("docker", DOCKER_MANIFEST), ("oci", OCI_MANIFEST)], ids=["docker", "oci"]
)
def test_format_decides_the_type_of_manifest(format: str, kind: str, tmp_path: Path) -> None:
    """--format docker writes docker's schema 2, --format oci the OCI's, whatever the source has."""
    for name in ("layout", "layout, docker manifests", "docker save before 25"):
        source, output = tmp_path / name, tmp_path / "out.tar"
        FORMS[name].write(source, [APP])
        squash(source, *KEEP_2, "--format", format, "-o", output, "--force")
        assert read_image(output).manifest["mediaType"] == kind


def test_an_image_goes_to_the_other_form_and_back(tmp_path: Path) -> None:
    """An image with nothing to squash goes from docker's form to OCI's and back with its image_id and
    its blobs."""
    kept = ("--keep-layers", str(len(APP.layers)))
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP])
    squash(source, *kept, "-o", f"oci:{tmp_path}/layout")
    squash(f"oci:{tmp_path}/layout", *kept, "-o", f"docker-archive:{tmp_path}/back.tar")
    for name in ("layout", "back.tar"):
        image = read_image(tmp_path / name)
        assert image.image_id == image_id(APP)
        assert image.blobs == tuple(APP.layers)
        assert "docker.io/library/app:1" in image.names


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci"])
def test_a_transport_reads_its_own_form_only(transport: str, tmp_path: Path) -> None:
    """`docker-archive:`, `oci-archive:` and `oci:` read what they promise, and name what is missing
    in anything else."""
    docker_archive_old(tmp_path / "docker-archive", [APP])
    oci_archive(tmp_path / "oci-archive", [APP])
    oci_layout(tmp_path / "oci", [APP])
    for other in ("docker-archive", "oci-archive", "oci"):
        output = tmp_path / f"{other}.tar"
        result = run("squash", f"{transport}:{tmp_path}/{other}:app:1", *KEEP_2, "-o", output)
        if other == transport:
            assert result.code == 0, result.err
        else:
            code = 4 if transport != "oci" and other != "oci" else 5
            assert_fails(result, code, str(tmp_path / other))
            assert not output.exists()


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz", "bzip2"])
def test_whole_archives_may_be_compressed(codec: str, tmp_path: Path) -> None:
    """A compressed archive is read from a file and from standard input alike, and gives what the plain
    one gives."""
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zstd": zstd.compress,
        "xz": lzma.compress,
        "bzip2": bz2.compress,
    }
    plain, packed = tmp_path / "plain.tar", tmp_path / "packed"
    docker_archive_old(plain, [APP, BASE])
    packed.write_bytes(pack[codec](plain.read_bytes()))
    outputs = [tmp_path / f"{number}.tar" for number in range(3)]
    squash(f"{plain}:app:1", *KEEP_BASE, "-o", outputs[0])
    squash(f"{packed}:app:1", *KEEP_BASE, "-o", outputs[1])
    squash("-", *KEEP_BASE, "-o", outputs[2], stdin=packed.read_bytes())
    piped = run_process("squash", *KEEP_BASE, stdin=packed.read_bytes())
    assert piped.out == outputs[0].read_bytes()
    assert outputs[1].read_bytes() == outputs[2].read_bytes() == outputs[0].read_bytes()
    read_image(piped.out)


def test_standard_input_may_be_a_file_or_a_pipe(tmp_path: Path) -> None:
    """IMAGE left out, `-` and `docker-archive:-` all mean standard input, be it a file or a pipe."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP, BASE])
    data = source.read_bytes()
    made = [
        squash("-", *KEEP_BASE, stdin=data).out,
        squash(*KEEP_BASE, stdin=data).out,
        squash("docker-archive:-:app:1", *KEEP_BASE, "-o", "-", stdin=data).out,
        run_process("squash", "-", *KEEP_BASE, stdin=data).out,
    ]
    assert len(set(made)) == 1
    assert_same_rootfs(APP.layers, read_image(made[0]).layers, KEPT)


@pytest.mark.parametrize("name", FORMS)
def test_standard_output_gets_what_a_file_would(name: str, tmp_path: Path) -> None:
    """The same archive goes to standard output as to a file, and nothing but the archive."""
    source, output = tmp_path / "source", tmp_path / "out.tar"
    FORMS[name].write(source, [APP, BASE])
    squash(f"{source}:app:1", *KEEP_BASE, "-o", output)
    result = squash(f"{source}:app:1", *KEEP_BASE, "-o", "-")
    assert result.out == output.read_bytes()
    assert "Wrote new:1 to standard output" in result.err


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_a_transport_may_name_standard_output(transport: str, tmp_path: Path) -> None:
    """`docker-archive:-` and `oci-archive:-` write an archive of their form to standard output, with
    the summary elsewhere."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP, BASE])
    result = squash(f"{source}:app:1", *KEEP_BASE, "-o", f"{transport}:-")
    read_image(result.out)
    assert ("manifest.json" in read_files(result.out)) == (transport == "docker-archive")
    assert "Wrote new:1 to standard output" in result.err


def test_a_layout_cannot_go_to_standard_output(tmp_path: Path) -> None:
    """`oci:-` is no folder and no archive: a usage error."""
    docker_archive_old(tmp_path / "source.tar", [APP])
    result = run("squash", tmp_path / "source.tar", *KEEP_2, "-o", "oci:-")
    assert_fails(result, 2)
    assert result.out == b""


# --- layers as tools leave them --------------------------------------------------------------

HALF = len(APP.layers[2]) // 2
SKIPPABLE = b"\x5f\x2a\x4d\x18\x03\0\0\0abc"
ODD_LAYERS = {
    "gzip of several members": gzip.compress(APP.layers[2][:HALF])
    + gzip.compress(b"")
    + gzip.compress(APP.layers[2][HALF:]),
    "gzip with padding": gzip.compress(APP.layers[2]) + bytes(512),
    "gzip with a name": b"\x1f\x8b\x08\x08\0\0\0\0\0\x03layer.tar\0" + gzip.compress(APP.layers[2])[10:],
    "zstd of several frames": zstd.compress(APP.layers[2][:HALF]) + zstd.compress(APP.layers[2][HALF:]),
    "zstd after a skippable frame": SKIPPABLE + zstd.compress(APP.layers[2]),
    "zstd before a skippable frame": zstd.compress(APP.layers[2]) + SKIPPABLE,
    "plain, whatever is said": APP.layers[2],
}


@pytest.mark.parametrize("name", ODD_LAYERS)
def test_magic_bytes_tell_a_compression(name: str, tmp_path: Path) -> None:
    """A layer is what its first bytes say, squashed or kept, whatever its media type or name says."""
    blob = ODD_LAYERS[name]
    layout, archive = tmp_path / "layout", tmp_path / "archive.tar"
    oci_layout(layout, [APP])
    lie = f"{OCI}layer.v1.tar+gzip" if "zstd" in name or "plain" in name else f"{OCI}layer.v1.tar"

    def change(manifest: Json) -> None:
        manifest["layers"][2] = {"mediaType": lie, **put_blob(layout, blob)}

    change_manifest(layout, change)
    write_archive(archive, {**docker_files(), "2.tar": blob})
    for source in (layout, archive):
        for keep in (2, 3):
            output = tmp_path / "out.tar"
            squash(
                source, "--keep-layers", str(keep), "-o", output, "-t", "new:1", "--force",
                "--format", "oci",
            )  # fmt: skip
            image = read_image(output)  # the media type is put right, or this fails
            assert_same_rootfs(APP.layers, image.layers, keep)
            if keep == 3:
                assert image.blobs[2] == blob


def test_links_between_members_are_followed(tmp_path: Path) -> None:
    """A layer may be a symlink or a hard link to another member, also over several hops, and its name
    may be absolute, begin with ./ or stand in a folder."""
    files = docker_files(TWICE, Layers=["x/1.tar", "/1.tar", "./hop", "3.tar", "./y/../4.tar"])
    data = files.pop("0.tar")
    assert isinstance(data, bytes)
    links = {"hop": "x/more", "x/more": "../deep/last", "deep/last": "../x/1.tar"}
    files |= {"./x/1.tar": data}
    files |= {name: Member(name.encode(), b"2", linkname=to.encode()) for name, to in links.items()}
    files["4.tar"] = Member(b"4.tar", b"1", linkname=b"./3.tar")
    del files["2.tar"]
    source, output = write_archive(tmp_path / "source.tar", files), tmp_path / "out.tar"
    squash(source, *KEEP_2, "-o", output)
    assert_same_rootfs(TWICE.layers, read_image(output).layers, 2)


def test_the_last_member_of_a_name_counts(tmp_path: Path) -> None:
    """A member that comes again replaces the earlier one, as it would on disk."""
    source = tmp_path / "source.tar"
    write_archive(source, docker_files())
    first = layer(file("0.tar", b"not a layer"), file("manifest.json", b"[]"), end=False)
    source.write_bytes(first + source.read_bytes())
    squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)


def test_annotations_of_kept_layers_stay(tmp_path: Path) -> None:
    """A kept descriptor keeps its annotations and unknown fields; a new one gets none."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(layout, [APP])
    toc = {"containerd.io/snapshot/stargz/toc.digest": digest(b"toc")}

    def change(manifest: Json) -> None:
        for one in manifest["layers"]:
            one.update(annotations=toc, note="kept")

    change_manifest(layout, change)
    squash(layout, *KEEP_2, "-o", output)
    *kept, new = read_image(output).manifest["layers"]
    assert all(one["annotations"] == toc and one["note"] == "kept" for one in kept)
    assert set(new) == {"mediaType", "digest", "size"}


# --- names -----------------------------------------------------------------------------------


def test_tags_become_names_that_every_tool_reads(tmp_path: Path) -> None:
    """Each -t gets a descriptor with its platform, its full name and its tag, sorted; RepoTags has the
    familiar form, always with a tag."""
    source, output = tmp_path / "source.tar", tmp_path / "out.tar"
    docker_archive_old(source, [APP])
    wanted = ["new", "team/app:2", "localhost/x:3", "host:5000/deep/er/x", "docker.io/library/y:4"]
    tags = [word for name in wanted for word in ("-t", name)]
    squash(source, "--keep-layers", "2", *tags, "-o", output)
    read_image(output)
    files = read_files(output)
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == [
        "y:4", "host:5000/deep/er/x:latest", "localhost/x:3", "new:latest", "team/app:2",
    ]  # fmt: skip
    descriptors = json.loads(files["index.json"])["manifests"]
    assert [one["annotations"] for one in descriptors] == [
        {FULL_NAME: "docker.io/library/y:4", REF_NAME: "4"},
        {FULL_NAME: "host:5000/deep/er/x:latest", REF_NAME: "latest"},
        {FULL_NAME: "localhost/x:3", REF_NAME: "3"},
        {FULL_NAME: "docker.io/library/new:latest", REF_NAME: "latest"},
        {FULL_NAME: "docker.io/team/app:2", REF_NAME: "2"},
    ]
    assert [one["platform"] for one in descriptors] == [{"architecture": "amd64", "os": "linux"}] * 5


@pytest.mark.parametrize(
    ("output", "tags"),
    [
        ("out.tar", ["x:1", "x:1"]),
        ("out.tar", ["x", "x:latest", "docker.io/library/x"]),
        ("docker-archive:{}/out.tar:x:1", ["x:1"]),
    ],
)
def test_a_name_given_twice_is_written_once(output: str, tags: list[str], tmp_path: Path) -> None:
    """Names that mean the same make one descriptor."""
    docker_archive_old(tmp_path / "source.tar", [APP])
    place = output.format(tmp_path) if ":" in output else str(tmp_path / output)
    words = [word for name in tags for word in ("-t", name)]
    squash(tmp_path / "source.tar", "--keep-layers", "2", *words, "-o", place)
    assert len(read_image(tmp_path / "out.tar").descriptors) == 1


@pytest.mark.parametrize("name", FORMS)
def test_without_a_tag_the_source_keeps_its_names(name: str, tmp_path: Path) -> None:
    """Without -t the result has all of the source's own tags, and says so."""
    source, output = tmp_path / "source", tmp_path / "out.tar"
    image = ImageSpec(APP.layers, ["app:1", "app:2"])
    FORMS[name].write(source, [image])
    result = squash(source, "--keep-layers", "2", "-o", output)
    assert "No -t was given" in result.text
    prefix = "localhost/" if name == "podman" else "docker.io/library/"
    names = [one["annotations"][FULL_NAME] for one in read_image(output).descriptors]
    assert sorted(names) == [f"{prefix}app:1", f"{prefix}app:2"]


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_an_image_may_have_no_name(form: str, tmp_path: Path) -> None:
    """A source without names and no -t gives a result without names: RepoTags null, no annotations."""
    source, output = tmp_path / "source.tar", tmp_path / "out.tar"
    docker_archive_old(source, [ImageSpec(APP.layers)])
    squash(source, "--keep-layers", "2", "-o", output, "--format", form)
    image = read_image(output)
    assert image.names == ()
    assert "annotations" not in image.descriptors[0]
    if form == "docker":
        assert json.loads(read_files(output)["manifest.json"])[0]["RepoTags"] is None


@pytest.mark.parametrize("ref", ["v2", "MyApp:V1", "v1.0+build-3", "a/b", "app:1"])
def test_oci_writes_the_reference_verbatim(ref: str, tmp_path: Path) -> None:
    """`-o oci:DIR:REF` sets ref.name to REF as it stands, and the image is found by it again."""
    source, layout = tmp_path / "source.tar", tmp_path / "layout"
    docker_archive_old(source, [APP])
    squash(source, "--keep-layers", "2", "-o", f"oci:{layout}:{ref}")
    image = read_image(layout)
    assert [one["annotations"][REF_NAME] for one in image.descriptors] == [ref]
    again = tmp_path / "again.tar"
    squash(f"oci:{layout}:{ref}", "--keep-layers", "3", "-o", again, "-t", "x:1")
    assert read_image(again).image_id == image.image_id


REFERENCES = {
    "docker save before 25": ["app:1", "docker.io/library/app:1", "library/app:1", image_id(APP)],
    "podman": ["app:1", "localhost/app:1", image_id(APP)],
    "layout": ["app:1", "docker.io/library/app:1", image_id(APP), "manifest"],
    "ctr": ["app:1", "docker.io/library/app:1", image_id(APP), "manifest"],
}


@pytest.mark.parametrize(
    ("form", "ref"), [(form, ref) for form, refs in REFERENCES.items() for ref in refs]
)
def test_a_reference_finds_its_image(form: str, ref: str, tmp_path: Path) -> None:
    """An image is found by each of its names after normalising, by its image_id, and by the digest of
    its manifest."""
    source, output = tmp_path / "source", tmp_path / "out.tar"
    FORMS[form].write(source, [BASE, APP])
    if ref == "manifest":
        (tmp_path / "alone").mkdir()
        ref = oci_layout(tmp_path / "alone", [APP])[0]
    squash(f"{source}:{ref}", *KEEP_2, "-o", output)
    assert_same_rootfs(APP.layers, read_image(output).layers, 2)


def test_a_reference_that_fits_two_images_lists_them(tmp_path: Path) -> None:
    """A tag that two images share is an error that names both, and a reference to none lists all."""
    source = tmp_path / "layout"
    oci_layout(source, [BASE, APP])
    both = run("squash", f"oci:{source}:1", *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(both, 2, "several images", "\n  app:1", "\n  base:1")
    none = run("squash", f"oci:{source}:nope", *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(none, 5, "nope", "\n  app:1", "\n  base:1")
    assert not (tmp_path / "out.tar").exists()


def test_a_path_may_hold_a_colon(tmp_path: Path) -> None:
    """A file whose name has a colon is that file, in and out."""
    source, output = tmp_path / "a:b.tar", tmp_path / "c:d.tar"
    docker_archive_old(source, [APP])
    squash(source, *KEEP_2, "-o", output)
    read_image(output)


# --- layouts that are there already ----------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["the input's own", "another"])
@pytest.mark.parametrize("prefix", ["oci:", ""], ids=["oci:DIR", "DIR"])
def test_an_existing_layout_is_added_to(own: bool, prefix: str, tmp_path: Path) -> None:
    """Blobs and a tag are added; what was there keeps its bytes, its inode and its time, and the index
    its other fields."""
    layout = tmp_path / "layout"
    oci_layout(layout, [APP, BASE] if own else [BASE])
    change_index(layout, lambda index: index.update(annotations={"k": "v"}, note=[1]))
    source = layout
    if not own:
        source = tmp_path / "source"
        oci_layout(source, [APP, BASE])
    before = snapshot(layout)
    squash(f"oci:{source}:app:1", *KEEP_BASE, "-o", f"{prefix}{layout}")
    after = snapshot(layout)
    old, new = json.loads(before.pop("index.json")[2]), json.loads(after.pop("index.json")[2])
    assert {name: after[name] for name in before} == before
    assert new | {"manifests": old["manifests"]} == old
    assert new["manifests"][:-1] == old["manifests"]
    assert len(after) == len(before) + 3, "one layer, one config, one manifest"
    made = validate(layout)[-1]
    assert made.names[0] == "docker.io/library/new:1"
    assert_same_rootfs(APP.layers, made.layers, KEPT)


def test_a_tag_that_is_there_needs_force(tmp_path: Path) -> None:
    """Without --force an existing tag stops the run and nothing changes; with it only that tag moves."""
    layout = tmp_path / "layout"
    oci_layout(layout, [ImageSpec(APP.layers, ["app:1", "new:1"]), BASE])
    before = snapshot(layout)
    result = run("squash", f"oci:{layout}:app:1", *KEEP_BASE, "-o", f"oci:{layout}")
    assert_fails(result, 2, "new:1", "--force")
    assert snapshot(layout) == before
    squash(f"oci:{layout}:app:1", *KEEP_BASE, "-o", f"oci:{layout}", "--force")
    images = {name: image for image in validate(layout) for name in image.names}
    assert images["docker.io/library/app:1"].image_id == image_id(APP)
    assert images["docker.io/library/base:1"].image_id == image_id(BASE)
    assert_same_rootfs(APP.layers, images["docker.io/library/new:1"].layers, KEPT)
    after = snapshot(layout)
    assert all(after[name] == before[name] for name in before if name != "index.json")


def test_a_new_layout_is_made_with_its_folders(tmp_path: Path) -> None:
    """`oci:DIR` makes DIR and what is above it; `-o DIR` of an empty folder says how to."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP])
    squash(source, *KEEP_2, "-o", f"oci:{tmp_path}/a/b/c")
    read_image(tmp_path / "a/b/c")
    (tmp_path / "empty").mkdir()
    assert_fails(run("squash", source, *KEEP_2, "-o", tmp_path / "empty"), 2, f"oci:{tmp_path}/empty")
    squash(source, *KEEP_2, "-o", f"oci:{tmp_path}/empty")
    read_image(tmp_path / "empty")


def test_the_same_squash_twice_changes_nothing(tmp_path: Path) -> None:
    """Into a layout that has the result already, --force leaves every byte as it is."""
    layout = tmp_path / "layout"
    oci_layout(layout, [APP, BASE])
    squash(f"oci:{layout}:app:1", *KEEP_BASE, "-o", f"oci:{layout}")
    before = {name: data for name, (_, _, data) in snapshot(layout).items()}
    squash(f"oci:{layout}:app:1", *KEEP_BASE, "-o", f"oci:{layout}", "--force")
    assert {name: data for name, (_, _, data) in snapshot(layout).items()} == before


@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_runs_into_one_layout_do_not_lose_tags(there: bool, tmp_path: Path) -> None:
    """Runs that write into one layout at the same time, one that is there or one that they make, all
    find their tag in it afterwards."""
    source, layout = tmp_path / "source.tar", tmp_path / "layout"
    docker_archive_old(source, [APP, BASE])
    if there:
        squash(f"{source}:app:1", "--keep-base", "base:1", "-t", "new:0", "-o", f"oci:{layout}")
    processes = [
        spawn("squash", f"{source}:app:1", "--keep-base", "base:1", "-t", f"new:{n}", "-o", f"oci:{layout}")
        for n in range(1, 4)
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert {f"docker.io/library/new:{n}" for n in range(1, 4)} <= set(read_image(layout).names)


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    """The next run removes hidden files that a killed one left, but none that a process locks."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP])
    layout = tmp_path / "layout"
    oci_layout(layout, [BASE])
    left = [tmp_path / ".out.tar.squashkit-0a", layout / "blobs/sha256/.new.squashkit-0a"]
    locked = [tmp_path / ".out.tar.squashkit-0b", layout / "blobs/sha256/.new.squashkit-0b"]
    other = [tmp_path / ".other.tar.squashkit-0a", tmp_path / ".out.tar"]
    for path in left + locked + other:
        path.write_bytes(b"part")
    with locked[0].open() as one, locked[1].open() as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(two, fcntl.LOCK_EX)
        squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
        squash(source, *KEEP_2, "-o", f"oci:{layout}")
    assert [path.exists() for path in left + locked + other] == [False] * 2 + [True] * 4


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_an_archive_is_no_folder(transport: str, tmp_path: Path) -> None:
    """An archive asked for where a layout lies is an error; the layout stays as it is."""
    source, layout = tmp_path / "source.tar", tmp_path / "layout"
    docker_archive_old(source, [APP])
    oci_layout(layout, [BASE])
    before = snapshot(layout)
    result = run("squash", source, *KEEP_2, "-o", f"{transport}:{layout}", "--force")
    assert_fails(result, 2, "folder")
    assert snapshot(layout) == before


# --- compression -----------------------------------------------------------------------------

RANDOM = random.Random(7)
WORDS = [bytes(RANDOM.choices(b"abcdefgh ", k=9)) for _ in range(200)]
TEXT = b"".join(RANDOM.choices(WORDS, k=400_000))  # over several chunks, and worth compressing
LARGE = on_base(
    BASE, layer(file("text", TEXT), file("gone", b"gone")), layer(whiteout("gone")), tags=["app:1"]
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker archive of an image with megabytes in its new layer."""
    path = tmp_path_factory.mktemp("large") / "large.tar"
    docker_archive_old(path, [LARGE])
    return path


@pytest.mark.parametrize("codec", ["none", "gzip", "gzip:1", "gzip:9", "zstd", "zstd:1", "zstd:7"])
def test_compression_is_the_same_for_all_numbers_of_threads(
    codec: str, large: Path, tmp_path: Path
) -> None:
    """--compress stores the new layer so and touches no kept one; the same input gives the same bytes
    from one thread, two or five, and again."""
    made = []
    for number, jobs in enumerate((1, 2, 5, 5)):
        output = tmp_path / f"{number}.tar"
        squash(large, *KEEP_2, "--compress", codec, "--format", "oci", "--jobs", str(jobs), "-o", output)
        made.append(output.read_bytes())
    assert len(set(made)) == 1
    image = read_image(made[0])
    assert image.blobs[:2] == tuple(BASE.layers)
    assert codec_of(image.blobs[2]) == codec.partition(":")[0]
    assert_same_rootfs(LARGE.layers, image.layers, 2)


def test_levels_make_a_difference(large: Path) -> None:
    """Levels are obeyed; gzip is one member without a time or a name, about as small as zlib makes it."""
    sizes: dict[str, int] = {}
    for codec in ("gzip:1", "gzip:6", "gzip", "gzip:9", "zstd:1", "zstd:9"):
        result = squash(large, *KEEP_2, "--compress", codec, "--format", "oci", "-o", "-")
        image = read_image(result.out)
        blob = image.blobs[2]
        sizes[codec] = len(blob)
        if codec.startswith("gzip"):
            assert blob[:9] == b"\x1f\x8b\x08\0\0\0\0\0\0"
            assert int.from_bytes(blob[-4:], "little") == len(image.layers[2])
    assert sizes["gzip:1"] > sizes["gzip"] >= sizes["gzip:9"]
    assert sizes["gzip"] == sizes["gzip:6"]
    assert sizes["zstd:1"] != sizes["zstd:9"]
    assert sizes["gzip"] < 1.02 * len(gzip.compress(LARGE.layers[2], 6))


def test_docker_archives_hold_no_zstd(tmp_path: Path) -> None:
    """A kept zstd layer goes into a docker archive plain, said so, its diff_id unchanged; asking for
    new ones in zstd is a usage error that names --format oci."""
    source, output = tmp_path / "layout", tmp_path / "out.tar"
    oci_layout(source, [APP], compress="zstd")
    result = squash(source, *KEEP_2, "--format", "docker", "-o", output)
    image = read_image(output)
    assert image.blobs[:2] == tuple(APP.layers[:2])
    assert "zstd" in result.text
    report = squash(source, *KEEP_2, "--format", "docker", "-o", output, "--force", "--json").json
    assert report["shared_bytes"]["registry"] == 0
    assert report["shared_bytes"]["host"] == sum(len(one) for one in APP.layers[:2])
    for words in (("--format", "docker"), ()):
        place = tmp_path / "z.tar" if words else f"docker-archive:{tmp_path}/z.tar"
        result = run("squash", source, *KEEP_2, *words, "--compress", "zstd", "-o", place)
        assert_fails(result, 2, "--format oci")
    assert not (tmp_path / "z.tar").exists()


def test_docker_manifests_hold_no_zstd(tmp_path: Path) -> None:
    """zstd is not legal under docker's schema 2: a layout with such manifests refuses it and names
    --format oci, which can hold it."""
    source = tmp_path / "layout"
    docker_schema_2(source, [APP])
    result = run("squash", source, *KEEP_2, "--compress", "zstd", "-o", tmp_path / "out.tar")
    assert_fails(result, 2, "--format oci")
    squash(source, *KEEP_2, "--compress", "zstd", "--format", "oci", "-o", tmp_path / "out.tar")
    assert codec_of(read_image(tmp_path / "out.tar").blobs[2]) == "zstd"


@pytest.mark.parametrize("kept", ["gzip", "zstd", None])
@pytest.mark.parametrize("keep", ["0", "2"])
def test_new_layers_are_stored_as_the_kept_ones(kept: Compress, keep: str, tmp_path: Path) -> None:
    """Without --compress a new layer is stored as the topmost kept layer is, or as the squashed ones
    were where none is kept."""
    source = tmp_path / "layout"
    oci_layout(source, [APP], compress=kept)
    squash(source, "--keep-layers", keep, "-t", "new:1", "-o", tmp_path / "out.tar")
    assert codec_of(read_image(tmp_path / "out.tar").blobs[-1]) == (kept or "none")


# --- what no longer fits ---------------------------------------------------------------------


def test_attestations_are_left_out_and_told(tmp_path: Path) -> None:
    """An attestation describes the image before the squash: it is not carried over, and that is said."""
    for nested in (True, False):
        source, output = tmp_path / f"layout{nested}", tmp_path / "out.tar"
        oci_layout(source, [APP], nested=nested, attestations=True)
        result = squash(f"{source}:app:1", *KEEP_2, "-o", output, "--force")
        assert "Attestations" in result.text
        assert len(read_images(output)) == 1
        read_image(output)


def test_an_old_docker_is_told_of(tmp_path: Path) -> None:
    """Where a person chooses an OCI archive from a docker one, the summary says that docker before 25
    cannot load it."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP])
    for words in (("--format", "oci", "-o", tmp_path / "a.tar"), ("-o", f"oci-archive:{tmp_path}/b.tar")):
        assert "docker before 25" in squash(source, *KEEP_2, *words).text
    assert "docker before 25" not in squash(source, *KEEP_2, "-o", tmp_path / "c.tar").text


def test_one_image_among_many_is_all_that_is_written(tmp_path: Path) -> None:
    """Other images of the archive, and blobs that only they have, are not in the result."""
    source, output = tmp_path / "source.tar", tmp_path / "out.tar"
    other = ImageSpec([layer(file("secret", b"s" * 9999))], ["other:1"])
    for write in (docker_archive_old, docker_archive_25):
        write(source, [APP, BASE, other])
        squash(f"{source}:app:1", *KEEP_BASE, "-o", output, "--force")
        read_image(output)
        assert b"s" * 9999 not in output.read_bytes()


def test_symlinked_paths_are_read(tmp_path: Path) -> None:
    """An archive or a layout behind a symlink is read like any other."""
    docker_archive_old(tmp_path / "source.tar", [APP])
    oci_layout(tmp_path / "layout", [APP])
    (tmp_path / "one").symlink_to("source.tar")
    (tmp_path / "two").symlink_to("layout")
    for name in ("one", "two"):
        squash(tmp_path / name, *KEEP_2, "-o", tmp_path / f"{name}.tar")
        assert_same_rootfs(APP.layers, read_image(tmp_path / f"{name}.tar").layers, 2)


def test_a_layout_may_be_read_only(tmp_path: Path) -> None:
    """A source is only read: its files keep their bytes and times, and its folder gets no file."""
    source = tmp_path / "layout"
    oci_layout(source, [APP])
    shutil.copytree(source, tmp_path / "copy")
    before = snapshot(source)
    squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
    assert snapshot(source) == before
