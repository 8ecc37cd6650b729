"""squashkit from Python, as a person writes it: texts for options, clear errors, frozen results."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import squashkit
from squashkit import (
    Access,
    FleetOptions,
    History,
    Keep,
    Merge,
    MinSaving,
    Note,
    Read,
    Rebase,
    Run,
    Which,
    Write,
)
from squashkit.errors import BaseNotFound, BaseUnknown, PathNotFound, UsageError
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, on_base, whiteout
from tests.support.runner import read_images

BASE = ImageSpec([layer(file("etc/os", b"12"), file("b", b"B" * 900))], ["debian:12"])
PATCHED = ImageSpec([layer(file("etc/os", b"13"), file("b", b"B" * 900))], ["debian:13"])
APP = on_base(BASE, layer(file("cache", bytes(9000))), layer(whiteout("cache")), tags=["nginx:waste"])
LARGE = on_base(BASE, *[layer(file(f"{n}", b"x")) for n in range(499)], tags=["large:1"])
GROUPS = [Keep, Merge, History, Rebase, Which, Read, Write, Run, Access, FleetOptions, MinSaving]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with images in which a program runs, and a catalogue of its own."""
    enter(tmp_path, monkeypatch)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder, with images and without the user's catalogue."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    docker_archive_old(Path("nginx.tar"), [APP, BASE])
    docker_archive_old(Path("new.tar"), [PATCHED])


# --- as a person writes it ---------------------------------------------------------------------


def test_squash() -> None:
    """Texts stand for the base, the compression, a tag and the least saving."""
    write = Write(compress="gzip", tags="app:1", min_saving="5%")
    report = squashkit.squash("nginx.tar:nginx:waste", "out.tar", keep="debian:12", write=write)
    assert report.changed
    assert report.tags == ("app:1",)
    (image,) = read_images(Path("out.tar"))
    assert "app:1" in image.names
    assert report.saved == 12288


def test_squash_without_an_output() -> None:
    """Nothing is written, and the report tells what would be."""
    report = squashkit.squash("nginx.tar:nginx:waste", None, keep=Keep(layers=1))
    assert report.dry_run
    assert report.saved is not None
    assert report.saved > 9000
    assert not Path("out.tar").exists()


def test_paths_may_be_texts(tmp_path: Path) -> None:
    """Folders and files of options are named by texts, too, and sizes as people write them."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "auth.json").write_text("{}")
    access = Access(authfile="auth.json", cert_dir="scratch", tls_verify=True)
    run = Run(jobs=1, tmp_dir="scratch", max_size="1GB", access=access)
    report = squashkit.squash(
        "nginx.tar:nginx:waste", "out.tar", keep="debian:12", read=Read("linux/amd64"), run=run
    )
    assert report.changed
    assert run.folder == Path("scratch")
    assert (access.credentials, access.certificates) == (Path("auth.json"), Path("scratch"))
    assert run.limit == 1_000_000_000


def test_squash_platforms() -> None:
    """Every platform of an index is squashed into a new one, with a report for each."""
    write = Write(format="oci")
    done = squashkit.squash_platforms("nginx.tar:nginx:waste", "oci:out", keep="debian:12", write=write)
    assert [*done.reports] == ["linux/amd64"]
    assert done.manifest_digest.startswith("sha256:")


def test_rebase() -> None:
    """A text is the new base; what else is to be said is one group."""
    app = "nginx.tar:nginx:waste"
    how = Rebase("new.tar", old_base="debian:12", allow="platform")
    report = squashkit.rebase(app, "out.tar", how, write=Write(tags="nginx:13"))
    assert report.new.name == "debian:13"
    assert squashkit.cat("out.tar", "/etc/os") == b"13"
    with pytest.raises(BaseUnknown):
        squashkit.rebase(app, "other.tar", "new.tar")


def test_rebase_platforms() -> None:
    """Each platform goes onto the new base for it."""
    how = Rebase("new.tar", old_base="debian:12")
    done = squashkit.rebase_platforms("nginx.tar:nginx:waste", "oci:out", how, write=Write(format="oci"))
    assert {platform: one.stopping for platform, one in done.reports.items()} == {"linux/amd64": []}


def test_fleets() -> None:
    """One reference is a text, several are a sequence; the same fleet is measured, advised and squashed."""
    measured = squashkit.measure_fleet("nginx.tar", fleet=FleetOptions(bases="nginx.tar:debian:12"))
    assert measured.names == ("nginx:waste", "debian:12")
    advice = squashkit.fleet_advise(["nginx.tar"])
    assert [one.name for one in advice.advice] == ["nginx:waste", "debian:12"]
    told: list[Note] = []
    done = squashkit.squash_fleet(("nginx.tar",), "fleet.tar", "best", notify=told.append)
    names = {name for image in read_images(Path("fleet.tar")) for name in image.names}
    assert {"nginx:waste", "debian:12"} <= names
    assert [(output.rpartition("fleet.tar:")[2], report.changed) for output, report in done.outputs] == [
        ("nginx:waste", True),
        ("debian:12", False),
    ]


def test_looking() -> None:
    """What an image holds, layer by layer and path by path."""
    image = "nginx.tar:nginx:waste"
    assert len(squashkit.inspect(image, verify=True).layers) == 3
    assert [one.name for one in squashkit.ls(image, recursive=True).listed] == ["/b", "/etc", "/etc/os"]
    assert squashkit.ls(image, layer=2, whiteouts=True).hidden == (b".wh.cache",)
    assert squashkit.cat(image, "/etc/os") == b"12"
    assert [one.layer for one in squashkit.which(image, "/cache").traces] == [1, 2]
    exported = squashkit.export(image, "rootfs.tar")
    assert Path(exported.output).stat().st_size == exported.size
    verdict = squashkit.verify(image, absent="/cache")
    assert verdict.faults == ()
    assert {place.path for place in verdict.places} == {b"cache"}
    assert verdict.json()["absent"]["/cache"]


def test_comparing() -> None:
    """Two images differ in what they differ in; kinds to ignore are one text or several."""
    report = squashkit.diff("nginx.tar:nginx:waste", "new.tar")
    assert report.counts == {"content": 1}
    for ignoring in ("content,mtime", ["content", "mtime"]):
        assert squashkit.diff("nginx.tar:debian:12", "new.tar", ignoring=ignoring).same


def test_bases() -> None:
    """A base is added, found, checked, listed and removed."""
    (known,) = squashkit.base_add("nginx.tar:debian:12")
    docker_archive_old(Path("alone.tar"), [APP])
    found = squashkit.find_base("alone.tar")
    assert found.base is not None
    assert (found.base.name, found.sure) == (known.reference, "matched")
    assert squashkit.check_base("alone.tar", "nginx.tar:debian:12").status == "current"
    assert squashkit.base_list().bases == (known,)
    assert squashkit.base_remove(known.reference) == 1
    with pytest.raises(BaseNotFound):
        squashkit.base_remove(known.reference)


class Bytes:
    """Counts the work that it is told of."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str, total: int | None) -> None:
        self.stages.append(title)

    def advance(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "job",
    [
        lambda progress: squashkit.squash(
            "nginx.tar:nginx:waste", "o", keep="debian:12", progress=progress
        ),
        lambda progress: squashkit.inspect("nginx.tar:nginx:waste", verify=True, progress=progress),
        lambda progress: squashkit.export("nginx.tar:nginx:waste", "o", progress=progress),
        lambda progress: squashkit.verify("nginx.tar", progress=progress),
        lambda progress: squashkit.measure_fleet("nginx.tar", progress=progress),
    ],
    ids=["squash", "inspect", "export", "verify", "measure_fleet"],
)
def test_long_work_reports_itself(job: Callable[[Bytes], object]) -> None:
    """What takes long tells its stages to whoever is given as `progress`."""
    progress = Bytes()
    job(progress)
    assert progress.stages


# --- what is wrong is named ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Write(compress="bzip2"), "compress: 'bzip2' is not none, gzip[:LEVEL] or zstd[:LEVEL]"),
        (lambda: Write(compress="gzip:12"), "compress: the level of gzip is 1 to 9, not '12'"),
        (lambda: Write(min_saving="much"), "min_saving: 'much' is no share (5%) and no size (10MB)"),
        (lambda: Write(format="tar"), "format: 'tar' is none of docker, oci"),  # type: ignore[arg-type]
        (lambda: Which("amd64"), "platform: not a platform: 'amd64' (expected os/architecture[/variant])"),
        (lambda: Read("amd64"), "platform: not a platform: 'amd64' (expected os/architecture[/variant])"),
        (
            lambda: FleetOptions(platform="all"),
            "platform: not a platform: 'all' (expected os/architecture[/variant])",
        ),
        (lambda: FleetOptions(max_layers=0), "max_layers: 0 is less than one layer"),
        (lambda: FleetOptions(minimise="disk"), "minimise: 'disk' is none of registry, host, update"),  # type: ignore[arg-type]
        (lambda: Run(max_size="10XB"), "max_size: '10XB' is no size (10GB)"),
        (lambda: Run(max_size=-1), "max_size: -1 is less than no byte"),
        (lambda: Run(jobs=0), "jobs: 0 is less than one thread"),
        (lambda: History(created="today"), "created: 'today' is no time like 2018-05-01T12:00:00Z"),
        (lambda: Merge(whiteouts="none"), "whiteouts: 'none' is none of explicit, opaque"),  # type: ignore[arg-type]
        (
            lambda: Merge(symlink_parents="no"),  # type: ignore[arg-type]
            "symlink_parents: 'no' is none of overlay, follow",
        ),
        (
            lambda: Rebase("b", allow="link"),
            "allow: 'link' is none of platform, type, parent, content, packages, depends, accounts",
        ),
        (lambda: Rebase("b", merge="deb"), "merge: 'deb' is none of packages, accounts, caches, rpm"),
        (lambda: Rebase("b", config="new"), "config: 'new' is none of follow, keep"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_value_is_named_at_once(make: Callable[[], object], message: str) -> None:
    """A group with a value that is none raises UsageError, with the option's name and what there is."""
    with pytest.raises(UsageError) as told:
        make()
    assert str(told.value) == message


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: squashkit.diff("nginx.tar", "new.tar", ignoring="colour"), "ignoring: "),
        (lambda: squashkit.verify("new.tar", absent="sha256:x"), "absent: "),
        (
            lambda: squashkit.squash_fleet("nginx.tar", "o.tar", "worst"),
            "worst: built, all, base, trie, best",
        ),
        (lambda: squashkit.measure_fleet([]), "the fleet has no image"),
        (lambda: squashkit.ls("new.tar", layer=9), "9"),
        (lambda: squashkit.inspect("new.tar", which=Which("all")), "name one platform"),
        (lambda: squashkit.squash("new.tar", None, read=Read("all")), "squash_platforms"),
        (lambda: squashkit.rebase("new.tar", None, "new.tar", read=Read("all")), "rebase_platforms"),
        (
            lambda: squashkit.rebase("new.tar", None, "new.tar", write=Write(min_saving="5%")),
            "min_saving: a rebase changes the image",
        ),
        (lambda: squashkit.squash("new.tar", None, keep=Keep(layers=9)), "9"),
        (lambda: squashkit.squash("new.tar", None, keep=Keep(segments="x")), "segments"),
        (lambda: squashkit.squash("new.tar", None, run=Run(tmp_dir="nowhere")), "tmp_dir='nowhere'"),
    ],
)
def test_a_wrong_wish_is_named(call: Callable[[], object], named: str) -> None:
    """What does not fit the image, or the function, raises UsageError that says so."""
    with pytest.raises(UsageError) as told:
        call()
    assert named in str(told.value)


def test_a_path_that_is_not_there_is_named() -> None:
    """A file that an image lacks raises PathNotFound, with the path for programs."""
    with pytest.raises(PathNotFound, match="/nothing") as told:
        squashkit.cat("new.tar", "nothing")
    assert told.value.path == b"nothing"


class Odd:
    """No option is of this type."""

    def __repr__(self) -> str:
        return "Odd()"


FIELDS = [(group, one.name) for group in GROUPS for one in dataclasses.fields(group)]


@pytest.mark.parametrize(("group", "name"), FIELDS, ids=[f"{g.__name__}.{n}" for g, n in FIELDS])
def test_a_field_of_a_wrong_type_is_named(group: Callable[..., object], name: str) -> None:
    """Each field of each group holds its value against its type, and says which group, field and type."""
    needed = {"onto": "b"} if group is Rebase else {}
    with pytest.raises(TypeError, match=rf"^{group.__name__}\.{name} takes .+, not Odd\(\)$"):
        group(**{**needed, name: Odd()})


JOBS = {
    name: value
    for name in squashkit.__all__
    if inspect.isfunction(value := getattr(squashkit, name))
    and value.__module__.startswith("squashkit.jobs")
}
PARAMETERS = [(name, one) for name, job in JOBS.items() for one in inspect.signature(job).parameters]


@pytest.mark.parametrize(("name", "wrong"), PARAMETERS, ids=[f"{n}-{p}" for n, p in PARAMETERS])
def test_an_argument_of_a_wrong_type_is_named(name: str, wrong: str) -> None:
    """Each parameter of each function is held against its type before anything is done."""
    job = JOBS[name]
    parameters = inspect.signature(job).parameters
    given: dict[str, Any] = {
        one.name: "nginx.tar"
        for one in parameters.values()
        if one.default is inspect.Parameter.empty and one.kind is not inspect.Parameter.VAR_POSITIONAL
    }
    several = parameters[wrong].kind is inspect.Parameter.VAR_POSITIONAL
    with pytest.raises(TypeError, match=rf"^{name}: {wrong} takes .+, not Odd\(\)$"):
        job(Odd()) if several else job(**{**given, wrong: Odd()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Write(force="no"), "Write.force takes True or False, not 'no'"),  # type: ignore[arg-type]
        (lambda: Keep(layers="3"), "Keep.layers takes a whole number or None, not '3'"),  # type: ignore[arg-type]
        (lambda: Keep(layers=True), "Keep.layers takes a whole number or None, not True"),
        (lambda: Write(tags=["a", 5]), "Write.tags takes several texts or a text, not ['a', 5]"),  # type: ignore[list-item]
        (lambda: Run(tmp_dir=b"/tmp"), "Run.tmp_dir takes a path, a text or None, not b'/tmp'"),  # type: ignore[arg-type]
        (
            lambda: squashkit.squash(Path("nginx.tar"), None),  # type: ignore[arg-type]
            "squash: image takes a text, not PosixPath('nginx.tar'); str() makes a text of a path",
        ),
        (
            lambda: squashkit.squash("a", "b", write={"tags": "x" * 99}),  # type: ignore[arg-type]
            "squash: write takes Write, not {'tags': '" + "x" * 50 + "...",
        ),
        (lambda: squashkit.parse_reference(5), "parse_reference: text takes a text, not 5"),  # type: ignore[arg-type]
    ],
)
def test_messages_of_wrong_types(make: Callable[[], object], message: str) -> None:
    """They say what is taken in plain words, and show what came."""
    with pytest.raises(TypeError) as told:
        make()
    assert str(told.value) == message


def test_python_says_which_arguments_are_missing() -> None:
    """A call that lacks an argument, or has one too many, fails as every function's does."""
    with pytest.raises(TypeError, match=r"^squash\(\) missing 1 required positional argument: 'output'$"):
        squashkit.squash("nginx.tar")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'tags'"):
        squashkit.squash("nginx.tar", None, tags="x")  # type: ignore[call-arg]


def test_groups_are_frozen() -> None:
    """No field of a group can be set: a function may hold on to what it was given."""
    for group in GROUPS:
        made = group("x") if group is Rebase else group()
        for one in dataclasses.fields(made):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(made, one.name, None)


# --- results ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A result of each function, of an image with 500 layers."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(tmp_path_factory.mktemp("results"), monkeypatch)
        return make_results()


def make_results() -> dict[str, Any]:
    """Each by the name of its function, and the parts that are in them."""
    docker_archive_old(Path("large.tar"), [LARGE, BASE])
    large, alone = "large.tar:large:1", "large.tar"
    squashed = squashkit.squash(large, "out.tar", keep="debian:12")
    platforms = squashkit.squash_platforms(large, "oci:out", keep="debian:12", write=Write(format="oci"))
    fleet = squashkit.measure_fleet(alone, scan=False)
    shorter = squashkit.squash_fleet("nginx.tar", "fleet.tar")
    (known,) = squashkit.base_add("large.tar:large:1")
    inspected = squashkit.inspect(large)
    changeset = squashkit.parse_changeset(squashkit.scan_bytes(LARGE.layers[0]), len(LARGE.layers[0]))
    rootfs = squashkit.Rootfs()
    rootfs.apply(changeset, 0)
    return {
        "squash": squashed,
        "squash_platforms": platforms,
        "rebase": squashkit.rebase(large, None, Rebase("new.tar", old_base="debian:12")),
        "measure_fleet": fleet,
        "fleet_advise": squashkit.fleet_advise("nginx.tar"),
        "squash_fleet": shorter,
        "strategy": shorter.strategy,
        "inspect": inspected,
        "verify": squashkit.verify(large),
        "diff": squashkit.diff(large, "nginx.tar:debian:12"),
        "find_base": squashkit.find_base(large),
        "check_base": squashkit.check_base(large, "new.tar"),
        "base_list": squashkit.base_list(),
        "base_add": known,
        "ls": squashkit.ls(large),
        "which": squashkit.which(large, "/b"),
        "export": squashkit.export(large, "rootfs.tar"),
        "image": inspected.image,
        "layer": inspected.image.layers[0],
        "plan": squashed.plan,
        "changeset": changeset,
        "rootfs": rootfs,
        "graph": squashkit.LayerGraph([inspected.image]),
    }


def test_reprs_are_short(results: dict[str, Any]) -> None:
    """What a prompt shows of a result is a line of under 200 characters that says what it is."""
    for made, result in results.items():
        shown = repr(result)
        assert len(shown) < 200, (made, shown)
        assert type(result).__name__ in shown, made
        assert "\n" not in shown


def test_results_are_frozen(results: dict[str, Any]) -> None:
    """No field of a result can be set, and none is a list or another value that changes."""
    for made, result in results.items():
        if made in ("rootfs", "graph"):  # trees that grow
            continue
        for one in dataclasses.fields(result):
            value = getattr(result, one.name)
            assert not isinstance(value, (list, set, dict, bytearray)), f"{made}.{one.name}"
            with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
                setattr(result, one.name, value)


def test_the_reports_of_platforms_cannot_be_exchanged(results: dict[str, Any]) -> None:
    """The reports by platform are a mapping that is read, not written."""
    reports: Any = results["squash_platforms"].reports
    with pytest.raises(TypeError, match="does not support item assignment"):
        reports["linux/arm64"] = None


def test_results_have_their_types(results: dict[str, Any]) -> None:
    """A function gives what its signature says."""
    for name, job in JOBS.items():
        if name in results and name != "base_add":
            kind = get_type_hints(job)["return"]
            assert isinstance(results[name], getattr(kind, "__origin__", kind)), name


def test_reports_are_documents_too(results: dict[str, Any]) -> None:
    """Each report gives the fields that `--json` prints."""
    for name in JOBS:
        if name in results and name not in ("export", "base_add"):
            assert results[name].json(), name
