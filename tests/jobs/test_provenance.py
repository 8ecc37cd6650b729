"""How an image was made, written down for others to check: `--provenance` and `--statement`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

import squashkit
from squashkit import History, Keep, Merge, Read, Rebase, Write
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    hardlink,
    hex_digest,
    image_id,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import (
    DOCKER,
    OCI_INDEX,
    OCI_MANIFEST,
    Arg,
    Json,
    assert_fails,
    read_files,
    read_image,
    run,
    run_process,
    squash,
)

OLD = ImageSpec([layer(directory("d"), file("d/a", b"a" * 3000)), layer(file("b", b"b"))], ["old:1"])
NEW = ImageSpec([layer(directory("d"), file("d/a", b"A" * 3000))], ["new:1"])
APP = on_base(OLD, layer(file("x", b"x" * 5000)), layer(file("y", b"y"), whiteout("x")), tags=["app:1"])
CONFIG = f"{DOCKER}container.image.v1+json"
KEEP_2 = ("--keep-layers", "2")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The image and its base, in a docker archive without manifests."""
    path = tmp_path / "secret-folder/app.tar"
    path.parent.mkdir()
    docker_archive_old(path, [APP, OLD])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    return path


def read_back(statement: Path) -> Json:
    """A statement, after in-toto's own library took every field of it and found nothing wrong."""
    json_format = pytest.importorskip("google.protobuf.json_format")
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    text = statement.read_text()
    made = json_format.Parse(text, Message())
    Statement.copy_from_pb(made).validate()
    value: Json = json.loads(text)
    predicate = json_format.ParseDict(value["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type
    assert predicate.run_details.builder.id
    for one in (
        *made.subject,
        *predicate.build_definition.resolved_dependencies,
        *predicate.run_details.byproducts,
    ):
        ResourceDescriptor.copy_from_pb(one).validate()
        assert [*one.digest] == ["sha256"]
        assert len(bytes.fromhex(one.digest["sha256"])) == 32
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    assert json_format.MessageToDict(made)["predicate"] == value["predicate"]
    return value


def named(artifacts: list[Json]) -> dict[str, tuple[str, str]]:
    """Of each artifact by its name the digest, and what that is of."""
    return {
        one["name"]: (f"sha256:{one['digest']['sha256']}", one.get("mediaType", "")) for one in artifacts
    }


def rootfs_of(image: Arg) -> str:
    """The digest of an image's root file system, as squashkit tells it of the image itself."""
    return squashkit.inspect(str(image), rootfs_digest=True).rootfs_digest


# --- what is told ----------------------------------------------------------------------------


def test_a_docker_archive_goes_by_its_image_id(app: Path, tmp_path: Path) -> None:
    """Source, base and result; the root file system of the result is the source's."""
    words = ("-t", "app:new", "-o", tmp_path / "out.tar", "--statement", tmp_path / "s", "--json")
    report = squash(f"{app}:app:1", "--keep-base", "old:1", *words).json
    told = read_back(tmp_path / "s")
    definition, details = told["predicate"]["buildDefinition"], told["predicate"]["runDetails"]
    assert named(told["subject"]) == {"app:new": (read_image(tmp_path / "out.tar").image_id, CONFIG)}
    assert named(definition["resolvedDependencies"]) == {
        "source": (image_id(APP), CONFIG),
        "base": (image_id(OLD), CONFIG),
    }
    (rootfs,) = details["byproducts"]
    assert named([rootfs])["rootfs"][0] == report["rootfs_digest"] == rootfs_of(tmp_path / "out.tar")
    assert report["rootfs_digest"] == rootfs_of(f"{app}:app:1")
    assert details["builder"]["version"] == {"squashkit": squashkit.__version__}
    assert definition["externalParameters"] == {
        "command": "squash",
        "image": "app.tar:app:1",
        "output": "out.tar",
        "keep": {"base": "old:1"},
        "write": {"tags": ["app:new"]},
    }


@pytest.mark.parametrize("form", ["oci:{}/out", "oci-archive:{}/out", "{}/out.tar"])
def test_manifests_go_by_their_digests(form: str, tmp_path: Path) -> None:
    """Of layouts and OCI archives, as `--json` tells it."""
    oci_layout(tmp_path / "app", [APP], compress="gzip")
    output = form.format(tmp_path)
    words = (*KEEP_2, "--format", "oci", "-o", output, "--statement", tmp_path / "s", "--json")
    report = squash(tmp_path / "app", *words).json
    told = read_back(tmp_path / "s")
    source = json.loads(read_files(tmp_path / "app")["index.json"])["manifests"][0]
    (subject,) = named(told["subject"]).values()
    assert subject == (report["manifest_digest"], OCI_MANIFEST)
    dependencies = named(told["predicate"]["buildDefinition"]["resolvedDependencies"])
    assert dependencies == {"source": (source["digest"], OCI_MANIFEST)}
    assert str(tmp_path) not in (tmp_path / "s").read_text()


def test_a_pipe(app: Path, tmp_path: Path) -> None:
    """The image goes to standard output, and the files beside it."""
    words = (*KEEP_2, "-t", "app:new", "--provenance", tmp_path / "p", "--statement", tmp_path / "s")
    docker_archive_old(tmp_path / "one.tar", [APP])
    data = (tmp_path / "one.tar").read_bytes()
    result = run_process("squash", "-", *words, "-o", "-", stdin=data)
    assert result.code == 0, result.err
    told = read_back(tmp_path / "s")
    assert named(told["subject"]) == {"app:new": (read_image(result.out).image_id, CONFIG)}
    assert json.loads((tmp_path / "p").read_text()) == told["predicate"]
    assert told["predicate"]["buildDefinition"]["externalParameters"]["image"] == "-"


def test_every_platform(tmp_path: Path) -> None:
    """One statement for the index and its images, each with its own source and root file system."""
    platforms = ("linux/amd64", "linux/arm64")
    apps = [
        ImageSpec([*APP.layers, layer(file("z", one.encode()))], ["app:1"], platform=one)
        for one in platforms
    ]
    oci_layout(tmp_path / "app", apps, nested=True)
    words = ("--platform", "all", *KEEP_2, "-o", f"oci:{tmp_path}/out", "--statement", tmp_path / "s")
    report = squash(tmp_path / "app", *words, "--json").json
    told = read_back(tmp_path / "s")
    index, *images = told["subject"]
    assert named([index]) == {"app:1": (report["index_digest"], OCI_INDEX)}
    of = {one["annotations"]["platform"]: f"sha256:{one['digest']['sha256']}" for one in images}
    assert of == {name: one["manifest_digest"] for name, one in report["platforms"].items()}
    byproducts = told["predicate"]["runDetails"]["byproducts"]
    of = {one["annotations"]["platform"]: f"sha256:{one['digest']['sha256']}" for one in byproducts}
    assert of == {
        name: squashkit.inspect(
            f"oci:{tmp_path}/app", rootfs_digest=True, which=squashkit.Which(platform=name)
        ).rootfs_digest
        for name in platforms
    }
    assert told["predicate"]["buildDefinition"]["externalParameters"]["read"] == {"platform": "all"}


@pytest.mark.parametrize("more", [(), ("--squash",)])
def test_a_rebase_names_both_bases(more: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """And the root file system that the layers make on the new one."""
    words: tuple[Arg, ...] = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar", *more)
    files: tuple[Arg, ...] = ("-o", tmp_path / "out.tar", "--statement", tmp_path / "s", "--json")
    result = run("rebase", f"{app}:app:1", *words, *files)
    assert result.code == 0, result.err
    told = read_back(tmp_path / "s")
    definition = told["predicate"]["buildDefinition"]
    assert named(definition["resolvedDependencies"]) == {
        "source": (image_id(APP), CONFIG),
        "old_base": (image_id(OLD), CONFIG),
        "new_base": (image_id(NEW), CONFIG),
    }
    assert definition["externalParameters"]["rebase"] == {
        "onto": "new.tar",
        "old_base": "old:1",
        **({"squash": True} if more else {}),
    }
    (rootfs,) = told["predicate"]["runDetails"]["byproducts"]
    assert named([rootfs])["rootfs"][0] == rootfs_of(tmp_path / "out.tar") == result.json["rootfs_digest"]
    assert rootfs_of(tmp_path / "out.tar") != rootfs_of(f"{app}:app:1")


@pytest.mark.parametrize("base", [(), ("--keep-base", "old:1")])
def test_an_extraction(base: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """What was taken, and the base that it was put on."""
    words: tuple[Arg, ...] = (
        "/d/a",
        *base,
        "-t",
        "small:1",
        "-o",
        tmp_path / "out.tar",
        "--statement",
        tmp_path / "s",
    )
    result = run("extract", f"{app}:app:1", *words)
    assert result.code == 0, result.err
    told = read_back(tmp_path / "s")
    definition = told["predicate"]["buildDefinition"]
    assert [*named(definition["resolvedDependencies"])] == ["source", *(["base"] if base else [])]
    assert definition["externalParameters"]["extract"]["paths"] == ["/d/a"]
    (rootfs,) = named(told["predicate"]["runDetails"]["byproducts"]).values()
    assert rootfs[0] == rootfs_of(tmp_path / "out.tar")


def test_files_that_are_written_anew_count(tmp_path: Path) -> None:
    """As the accounts of an extraction, which no layer of the source holds so."""
    accounts = [
        file("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/no\n"),
        file("etc/group", b"root:x:0:\nwww:x:34:\n"),
    ]
    image = ImageSpec([layer(*accounts, file("a"))], ["app:1"], {"config": {"User": "web"}})
    docker_archive_old(tmp_path / "app.tar", [image])
    words = ("-o", tmp_path / "out.tar", "--statement", tmp_path / "s")
    result = run("extract", tmp_path / "app.tar", "/a", *words)
    assert result.code == 0, result.err
    assert b"root" not in run("cat", tmp_path / "out.tar", "/etc/passwd").out
    (rootfs,) = named(read_back(tmp_path / "s")["predicate"]["runDetails"]["byproducts"]).values()
    assert rootfs[0] == rootfs_of(tmp_path / "out.tar")


def test_what_was_left_out(app: Path, tmp_path: Path) -> None:
    """The digest is the result's, people are told that it is not the source's, and others by what means."""
    words = (*KEEP_2, "--exclude", "/y", "-o", tmp_path / "out.tar", "--statement", tmp_path / "s")
    result = squash(f"{app}:app:1", *words)
    told = read_back(tmp_path / "s")
    (rootfs,) = named(told["predicate"]["runDetails"]["byproducts"]).values()
    assert rootfs[0] == rootfs_of(tmp_path / "out.tar") != rootfs_of(f"{app}:app:1")
    assert f"rootfs   {rootfs[0]}\n" in result.text
    assert "The source's root file system has another digest" in result.text
    assert told["predicate"]["buildDefinition"]["externalParameters"]["merge"] == {"exclude": ["/y"]}


def test_a_hard_link_that_became_a_copy(tmp_path: Path) -> None:
    """No layer can link into another: the result has two files, and people are told."""
    image = ImageSpec([layer(file("a", b"1")), layer(hardlink("b", "a")), layer(file("c"))], ["app:1"])
    docker_archive_old(tmp_path / "app.tar", [image])
    words = ("--keep-layers", "1", "-o", tmp_path / "out.tar", "--statement", tmp_path / "s")
    result = squash(tmp_path / "app.tar", *words)
    (rootfs,) = named(read_back(tmp_path / "s")["predicate"]["runDetails"]["byproducts"]).values()
    assert rootfs[0] == rootfs_of(tmp_path / "out.tar") != rootfs_of(tmp_path / "app.tar")
    assert "has another digest: hard links became copies" in result.text


def test_an_image_that_is_written_unchanged(tmp_path: Path) -> None:
    """It is its own source."""
    oci_archive(tmp_path / "app.tar", [APP])
    squash(tmp_path / "app.tar", "--keep-layers", "4", "-o", f"oci:{tmp_path}/out",
           "--statement", tmp_path / "s")  # fmt: skip
    told = read_back(tmp_path / "s")
    (subject,) = named(told["subject"]).values()
    dependencies = named(told["predicate"]["buildDefinition"]["resolvedDependencies"])
    assert dependencies == {"source": subject}


# --- the options -----------------------------------------------------------------------------

TOLD: dict[str, tuple[Any, Any, Any]] = {
    "keep.layers": (Keep(layers=2), "layers", 2),
    "keep.nothing": (Keep(nothing=True), "nothing", True),
    "keep.segments": (Keep(segments="=2,2"), "segments", "=2,2"),
    "keep.from_step": (Keep(from_step="step 2"), "from_step", "step 2"),
    "keep.base": (Keep(base="{app}:old:1"), "base", "app.tar:old:1"),
    "merge.whiteouts": (Merge(whiteouts="opaque"), "whiteouts", "opaque"),
    "merge.symlink_parents": (Merge(symlink_parents="follow"), "symlink_parents", "follow"),
    "merge.blind": (Merge(blind=True), "blind", True),
    "merge.drop_caches": (Merge(drop_caches=("apt", "pip")), "drop_caches", ["apt", "pip"]),
    "merge.exclude": (Merge(exclude=["/y\udcff"]), "exclude", ["/y\\udcff"]),
    "merge.also_base": (Merge(also_base=True), "also_base", True),
    "history.created": (History(created="2018-05-01T12:00:00Z"), "created", "2018-05-01T12:00:00Z"),
    "history.message": (History(message="two\nlines"), "message", "two\nlines"),
    "history.drop": (History(drop=True), "drop", True),
    "read.platform": (Read(platform="linux/amd64"), "platform", "linux/amd64"),
    "read.skip_missing": (Read(skip_missing=True), "skip_missing", True),
    "read.have": (Read(have=["{app}:old:1"]), "have", ["app.tar:old:1"]),
    "write.tags": (Write(tags=["b:1", "a:1"]), "tags", ["b:1", "a:1"]),
    "write.format": (Write(format="oci"), "format", "oci"),
    "write.compress": (Write(compress=squashkit.Compression.parse("gzip:9")), "compress", "gzip:9"),
    "write.min_saving": (Write(min_saving=squashkit.MinSaving.parse("0.5%")), "min_saving", "0.5%"),
}
UNTOLD = {
    "read.verify", "read.fetch_base", "write.force", "write.replace", "write.push_by_digest", "write.check",
    "write.provenance", "write.dry_run", "write.recipe",
}  # fmt: skip
"""What decides nothing of the image."""


def test_every_option_is_told_or_decides_nothing() -> None:
    """A new one must be thought of."""
    groups = (Keep, Merge, History, Read, Write)
    known = {f"{one.__name__.lower()}.{field.name}" for one in groups for field in dataclasses.fields(one)}
    assert known == {*TOLD, *UNTOLD}


@pytest.mark.parametrize("option", TOLD)
def test_options_that_decide_are_told(option: str, app: Path, tmp_path: Path) -> None:
    """By their names in Python; the others are left out, and so are folders."""
    group, name, expected = TOLD[option]
    if option == "keep.base":
        group = Keep(base=f"{app}:old:1")
    if option == "read.have":
        group = Read(have=[f"{app}:old:1"])
    groups = {
        "keep": Keep(layers=2),
        "merge": Merge(),
        "history": History(),
        "read": Read(),
        "write": Write(),
    }
    kind = option.partition(".")[0]
    groups[kind] = group
    groups["write"] = dataclasses.replace(groups["write"], provenance=True, force=True)  # type: ignore[type-var]
    report = squashkit.squash(f"{app}:app:1", str(tmp_path / "out.tar"), **groups)  # type: ignore[arg-type]
    assert report.provenance is not None
    told = report.provenance.predicate()["buildDefinition"]["externalParameters"]
    assert told[kind][name] == expected
    assert "force" not in json.dumps(told)
    assert "secret-folder" not in json.dumps(told)


def test_the_same_run_writes_the_same_bytes(app: Path, tmp_path: Path) -> None:
    """Whenever and wherever it runs."""
    texts = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        words = ("-o", tmp_path / folder / "out.tar", "--statement", tmp_path / folder / "s")
        squash(f"{app}:app:1", *KEEP_2, *words, "--jobs", "1" if folder == "a" else "4")
        texts.add((tmp_path / folder / "s").read_bytes())
    assert len(texts) == 1


# --- the files -------------------------------------------------------------------------------


def test_a_dry_run_writes_none(app: Path, tmp_path: Path) -> None:
    """There is nothing to tell of."""
    words = ("--provenance", tmp_path / "p", "--statement", tmp_path / "s")
    assert "rootfs" not in squash(f"{app}:app:1", *KEEP_2, "-n", *words).text
    report = squashkit.squash(
        f"{app}:app:1", None, keep=Keep(layers=2), write=Write(provenance=True, dry_run=True)
    )
    assert report.provenance is None
    assert not {"p", "s"} & {path.name for path in tmp_path.iterdir()}


def test_nothing_is_written_where_the_image_is_not(app: Path, tmp_path: Path) -> None:
    """A run that fails leaves an old file as it was."""
    (tmp_path / "s").write_text("old")
    (tmp_path / "out.tar").write_text("there")
    result = run(
        "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", "--statement", tmp_path / "s"
    )
    assert_fails(result, 2, "exists; --force")
    assert (tmp_path / "s").read_text() == "old"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--provenance", "{}/none/p"), "no file can be written there"),
        (("--statement", "{}"), "no file can be written there"),
        (("--provenance", "{}/secret-folder/app.tar"), "is an input or the output"),
        (("--statement", "{}/out.tar"), "is an input or the output"),
        (("--provenance", "{}/f", "--statement", "{}/secret-folder/../f"), "name one file"),
        (("--digest-file", "{}/f", "--provenance", "{}/f"), "name one file"),
        (("--provenance", "{}/p", "--no-verify"), "--no-verify leaves them unchecked"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(
    words: tuple[str, ...], told: str, app: Path, tmp_path: Path
) -> None:
    """And nothing is written, neither the files nor the image."""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    output = ("-o", tmp_path / "out.tar")
    result = run("squash", f"{app}:app:1", *KEEP_2, *output, *(one.format(tmp_path) for one in words))
    assert_fails(result, 2, told)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_many_images_have_no_one_provenance(tmp_path: Path) -> None:
    """`rebase --from` tells of none."""
    words = ("--from", "docker://registry.example/team/", "--new-base", "new.tar", "--replace")
    result = run("rebase", *words, "--provenance", tmp_path / "p")
    assert_fails(result, 2, "--provenance and --statement are of one image")


def test_a_pipe_takes_either_the_image_or_the_file(app: Path, tmp_path: Path) -> None:
    """Both would spoil one another."""
    result = run_process("squash", f"{app}:app:1", *KEEP_2, "-o", "-", "--statement", "/dev/stdout")
    assert_fails(result, 2, "the image goes to standard output")
    words = (*KEEP_2, "-o", tmp_path / "out.tar", "-q", "--statement", "/dev/stdout")
    result = run_process("squash", f"{app}:app:1", *words)
    assert result.code == 0, result.err
    assert json.loads(result.out)["_type"] == "https://in-toto.io/Statement/v1"


def test_a_link_stays_a_link(app: Path, tmp_path: Path) -> None:
    """The file that it leads to is replaced as a whole, and the link is not."""
    (tmp_path / "real").write_text("old" * 10_000)
    os.symlink("real", tmp_path / "s")
    squash(f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", "--statement", tmp_path / "s")
    assert (tmp_path / "s").is_symlink()
    read_back(tmp_path / "real")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_layer_that_only_the_destination_has(tmp_path: Path) -> None:
    """What is in it is not known, so that provenance would not be true: that is said before the work."""
    oci_layout(tmp_path / "app", [APP], compress=None)
    oci_layout(tmp_path / "there", [OLD], compress=None)
    blobs = tmp_path / "app/blobs/sha256"
    for one in OLD.layers:
        (blobs / hex_digest(one)).unlink()
    words = ("--keep-layers", "4", "-t", "new:1", "-o", f"oci:{tmp_path}/there")
    result = run("squash", tmp_path / "app", *words, "--provenance", tmp_path / "p")
    assert_fails(result, 1, "layer 0", "are not available", "--provenance")
    assert squash(tmp_path / "app", *words)


def test_a_rebase_from_python_has_it_too(app: Path, tmp_path: Path) -> None:
    """In the report, as the command writes it."""
    report = squashkit.rebase(
        f"{app}:app:1",
        str(tmp_path / "out.tar"),
        Rebase(str(tmp_path / "new.tar"), "old:1"),
        write=Write(provenance=True),
    )
    words = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar")
    files = ("-o", tmp_path / "out.tar", "--force", "--statement", tmp_path / "s")
    assert run("rebase", f"{app}:app:1", *words, *files).code == 0
    assert report.provenance is not None
    assert report.provenance.statement() == json.loads((tmp_path / "s").read_text())


def test_a_result_without_a_name_has_its_digest(tmp_path: Path) -> None:
    """In a file that gives the name, in a pipe nothing does."""
    docker_archive_old(tmp_path / "app.tar", [dataclasses.replace(APP, tags=[])])
    for output, expected in ((f"{tmp_path}/out.tar", ["out.tar"]), ("-", [None])):
        result = run_process(
            "squash", tmp_path / "app.tar", *KEEP_2, "-o", output, "--statement", tmp_path / "s"
        )
        assert result.code == 0, result.err
        assert [one.get("name") for one in read_back(tmp_path / "s")["subject"]] == expected


def test_a_recipe_and_a_statement_are_two_files(app: Path, tmp_path: Path) -> None:
    """A replay writes neither: those of the squash are of the same image."""
    words = (*KEEP_2, "-o", tmp_path / "out.tar", "--recipe", tmp_path / "r")
    assert_fails(run("squash", f"{app}:app:1", *words, "--statement", tmp_path / "r"), 2, "name one file")
    squash(f"{app}:app:1", *words, "--statement", tmp_path / "s")
    again = ("-o", tmp_path / "again.tar", "--statement", tmp_path / "t")
    assert_fails(run("replay", tmp_path / "r", f"{app}:app:1", *again), 2, "no provenance")
    assert not (tmp_path / "again.tar").exists()
