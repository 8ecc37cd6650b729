"""Real Debian images on another release of their base: what goes over, what follows, what is at risk.

Every risk that squashkit tells of is there to be seen: the image is rebased all the same, and what a
container of it does shows the fault.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compat import images, services
from tests.compat.conftest import Person, available
from tests.compat.debian_bases import (
    APP,
    APP_ID,
    BUILT,
    CHMODED,
    CLEAN,
    COPIED,
    FIXED,
    FOREIGN,
    HIDDEN,
    LEGACY,
    LIBRARY,
    LISTED,
    LOGGER,
    LOGGER_FOLDER,
    NEW,
    NUMBERED,
    OLD,
    OWNED,
    PATCHED,
    PLAIN,
    PLUGIN,
    PLUGINS,
    PRUNED,
    SERVICE,
    SERVICE_FOLDER,
    SLIM,
    TOOL,
    UNPATCHED,
    WORKER,
    debian_archive,
    foreign_architecture,
)
from tests.compat.quirks import memory_registry
from tests.compat.registries import Registry, downloaded, mounted, registry, uploaded
from tests.compat.rootfs import PHANTOM, ROOT, Snapshot, assert_same
from tests.compat.services import CommandFailed
from tests.support.builders import ImageSpec, directory, docker_archive_25, file, layer
from tests.support.runner import Json, Result, assert_fails, read_image

RESULT = "rebased:1"
UNMERGED = ("--merge", "none")
"""As the layers are: for what shows why databases are merged."""


@pytest.fixture(scope="module")
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bases and images, as `docker save` wrote them."""

    def docker() -> services.Docker:
        tool = request.getfixturevalue("docker")
        assert isinstance(tool, services.Docker)
        return tool

    return available(lambda: debian_archive(docker, tmp_path_factory.mktemp("debian")))


@pytest.fixture(scope="module")
def stocked(docker: services.Docker, archive: Path) -> services.Docker:
    """A daemon that has all of them."""
    docker.run("load", "--quiet", "--input", archive)
    return docker


@pytest.fixture(scope="module")
def somebody(stocked: services.Docker, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A person whose daemon this is."""
    person = Person(tmp_path_factory.mktemp("somebody") / "home")
    person.use_daemon(stocked)
    return person


Rebase = Callable[..., Result]


@pytest.fixture
def rebase(somebody: Person, stocked: services.Docker, archive: Path) -> Iterator[Rebase]:
    """Rebases an image of the archive, or without a source of the daemon, into the daemon.

    The result is `RESULT` there, and gone after the test.
    """

    def run(
        name: str, *options: str, old: str = OLD, new: str = NEW, source: Path | None = archive
    ) -> Result:
        image = f"docker-archive:{source}:{name}" if source else f"docker-daemon:{name}"
        bases = ["--old-base", old, "--new-base", new]
        return somebody.run("rebase", image, *bases, *options, "-o", f"docker-daemon:{RESULT}", "--json")

    yield run
    if RESULT in stocked.tags():
        stocked.run("rmi", "--force", RESULT)


@pytest.fixture(scope="module")
def app(somebody: Person, stocked: services.Docker) -> Iterator[Json]:
    """The report of the app's rebase from daemon to daemon, where the result is `APP_REBASED`."""
    yield report_of(
        somebody.run("rebase", APP, "--old-base", OLD, "--new-base", NEW, "-t", APP_REBASED, "--json")
    )
    stocked.run("rmi", "--force", APP_REBASED)


APP_REBASED = "greeter:rebased"


def report_of(done: Result) -> Json:
    """The report of a rebase that must have gone through."""
    assert done.code == 0, done.err
    return done.json


def kinds(report: Json) -> set[str]:
    """The kinds of the risks that a report has."""
    return {risk["kind"] for risk in report["risks"]}


def risk_at(report: Json, kind: str, path: str, severity: str = "warning") -> Json:
    """The one risk of this kind at a path."""
    found = [risk for risk in report["risks"] if (risk["kind"], risk["path"]) == (kind, path.lstrip("/"))]
    assert len(found) == 1, json.dumps(report["risks"], indent=1)
    (risk,) = found
    assert isinstance(risk, dict)
    assert risk["severity"] == severity
    assert risk["effect"]
    return risk


def said(docker: services.Docker, image: str, *command: str) -> str:
    """What a container of the image says, without any network and as root."""
    return docker.run("run", "--rm", "--network", "none", "--user", "0", image, *command)


def stack(archive: Path, base: str, app: str | None = None) -> ImageSpec:
    """The layers of a base and, above them, all of an app's but the lowest: no more than that."""
    with tarfile.open(archive) as container:

        def read(name: str) -> bytes:
            content = container.extractfile(name)
            assert content is not None
            return content.read()

        listed = json.loads(read("manifest.json"))
        by_name = {tag: image["Layers"] for image in listed for tag in image["RepoTags"]}
        wanted = [*by_name[base], *(by_name[app][1:] if app else ())]
        return ImageSpec([read(name) for name in wanted], ["stack:1"])


def config_of_image(archive: Path, name: str) -> Json:
    """The config of an image of an archive."""
    with tarfile.open(archive) as container:
        listed = container.extractfile("manifest.json")
        assert listed is not None
        (path,) = [one["Config"] for one in json.load(listed) if name in one["RepoTags"]]
        content = container.extractfile(path)
        assert content is not None
        value = json.load(content)
        assert isinstance(value, dict)
        return value


def without_times(found: Snapshot) -> Snapshot:
    """The same root file system, whenever its files were written."""
    return {path: replace(node, mtime_ns=0) for path, node in found.items()}


# --- what an app is on another base ----------------------------------------------------------


def test_the_app_runs_on_the_new_base(stocked: services.Docker, app: Json) -> None:
    """Its user, folder, program and files are the app's; the library and the locale are the new base's."""
    run = ["run", "--rm", "--network", "none"]
    assert stocked.run(*run, APP) == f"app\n/srv/app\n{UNPATCHED}\nof the app\nC\n"
    assert stocked.run(*run, APP_REBASED) == f"app\n/srv/app\n{PATCHED}\nof the app\nC.UTF-8\n"


def test_the_app_keeps_what_it_made(stocked: services.Docker, app: Json) -> None:
    """Packages, an installed Python package, the user and the mode of a base's file are the app's."""
    listed = said(stocked, APP_REBASED, "dpkg", "-l").splitlines()
    assert [line.split()[:3] for line in listed if "greet-app" in line] == [["ii", "greet-app", "3-1"]]
    installed = "/usr/local/lib/python3.11/site-packages/greeter-3.dist-info/INSTALLER"
    assert said(stocked, APP_REBASED, "cat", installed) == "pip\n"
    assert said(stocked, APP_REBASED, "stat", "-c", "%a", CHMODED) == "700\n"
    assert said(stocked, APP_REBASED, "stat", "-c", "%u %U", "/srv/app") == f"{APP_ID} app\n"
    for path in ("/usr/sbin/greetd", "/etc/greet-release"):
        assert said(stocked, APP_REBASED, "cat", path) == said(stocked, NEW, "cat", path)


def test_layers_go_over_byte_for_byte(stocked: services.Docker, app: Json) -> None:
    """The result's layers are the new base's and the app's own, each as it was, and what was merged."""
    above = stocked.layers(APP)[1:]
    assert stocked.layers(APP_REBASED)[:-1] == [*stocked.layers(NEW), *above]
    assert app["layers"] == {"before": 1 + len(above), "after": 3 + len(above)}
    assert app["remade_layers"] == []
    assert app["changed"] is True
    assert app["image_id"]["after"] == stocked.tags()[APP_REBASED]


def test_risks_of_the_app(rebase: Rebase, app: Json) -> None:
    """An app that installs packages and adds a user would hide three things of the new base, and no other:
    all of them are merged."""
    assert app["risks"] == []
    assert {one["kind"] for one in app["merged"]} == {"packages", "accounts", "caches"}
    unmerged = report_of(rebase(APP, *UNMERGED))
    assert kinds(unmerged) == {"packages", "accounts", "caches"}
    assert {risk["severity"] for risk in unmerged["risks"]} == {"warning"}
    risk = risk_at(unmerged, "packages", "/var/lib/dpkg/status")
    assert FIXED in risk["old"]
    assert "+fix1" in risk["new"]
    assert "+fix1" not in risk["old"]
    copied = {one["path"]: (one["same_content"], one["changed_below"]) for one in app["copied_up"]}
    assert copied[CHMODED.lstrip("/")] == (True, False)
    assert copied["etc/issue"] == (False, False)


def settings_of(docker: services.Docker, name: str) -> Json:
    """An image's settings but for what a builder notes of its own work; the order of variables is none."""
    settings = dict(docker.inspect(name)["Config"])
    settings["Env"] = sorted(settings["Env"])
    for own in ("Image", "Hostname", "Domainname"):
        settings.pop(own, None)
    return settings


@pytest.mark.parametrize("name", list(BUILT))
def test_settings_are_those_of_a_build(rebase: Rebase, stocked: services.Docker, name: str) -> None:
    """Settings and history are those that docker makes of the same Dockerfile on the new base."""
    report_of(rebase(name))
    assert settings_of(stocked, RESULT) == settings_of(stocked, BUILT[name])
    history = ["history", "--no-trunc", "--format", "{{.CreatedBy}}"]
    # A step that extends the PATH is noted with what it was at that time.
    after, built = (
        stocked.run(*history, image).replace("/usr/local/greet/bin:", "") for image in (RESULT, BUILT[name])
    )
    merged = [line for line in after.splitlines() if line.startswith("squashkit rebase: merged ")]
    assert len(merged) == (name == APP)
    assert after.removeprefix("".join(f"{line}\n" for line in merged)) == built


def built_differences(found: dict[str, Snapshot], one: str, other: str) -> set[str]:
    """The paths in which two images differ, but for times and for what every build writes anew."""
    ours, theirs = (without_times(found[name]) for name in (one, other))
    return {
        path.decode()
        for path in {*ours, *theirs}
        if ours.get(path) != theirs.get(path) and not path.startswith((b"var/log/", b"var/cache/"))
    }


def test_the_app_is_as_if_built(rebase: Rebase, stocked: services.Docker) -> None:
    """Databases, accounts and caches have the bytes that the tools of the distribution wrote when docker
    built the same Dockerfile on the new base; backups of them alone have not."""
    report_of(rebase(APP))
    backups = {f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow")}
    found = stocked.snapshots(RESULT, BUILT[APP])
    assert built_differences(found, RESULT, BUILT[APP]) <= {*backups, "var/lib/dpkg/status-old"}


def test_settings_can_be_kept(rebase: Rebase, stocked: services.Docker) -> None:
    """With `--config keep` every setting stays as it was, what was inherited too."""
    report = report_of(rebase(APP, "--config", "keep"))
    assert report["config"] == []
    assert stocked.inspect(RESULT)["Config"] == stocked.inspect(APP)["Config"]


def test_changed_settings_are_listed(app: Json) -> None:
    """The report has each setting that followed, and a PATH that the app extended is extended again."""
    changes = {change["field"]: (change["before"], change["after"]) for change in app["config"]}
    assert set(changes) == {"Env.PATH", "Env.LANG", "Env.RELEASE", "Labels.release"}
    assert changes["Env.LANG"] == ("C", "C.UTF-8")
    before, after = changes["Env.PATH"]
    assert after == before.replace("/opt/app/bin:", "/opt/app/bin:/usr/local/greet/bin:")


def test_there_and_back(somebody: Person, archive: Path, tmp_path: Path) -> None:
    """An image that goes to the new base and back to the old one is the same again."""
    there, back = tmp_path / "there.tar", tmp_path / "back.tar"
    old, new = (f"docker-archive:{archive}:{name}" for name in (OLD, NEW))
    image = f"docker-archive:{archive}:{APP}"
    for source, bases, target in (
        (image, ("--old-base", old, "--new-base", new), there),
        (f"docker-archive:{there}:{RESULT}", ("--old-base", new, "--new-base", old), back),
    ):
        done = somebody.run("rebase", source, *bases, "-t", RESULT, "-o", f"docker-archive:{target}")
        assert done.code == 0, done.err
    there.unlink()
    before, after = config_of_image(archive, APP), config_of_image(back, RESULT)
    back.unlink()
    for name in ("config", "rootfs", "history", "created"):
        assert after[name] == before[name], name


def test_onto_its_own_base(rebase: Rebase, stocked: services.Docker) -> None:
    """An image that has the new base already is written as it is, and the report says so."""
    report = report_of(rebase(APP, new=OLD))
    assert report["changed"] is False
    assert report["risks"] == report["config"] == []
    assert stocked.tags()[RESULT] == stocked.tags()[APP]


# --- where nothing is at risk ----------------------------------------------------------------


def test_nothing_is_told_of_an_app_of_its_own_files(rebase: Rebase, stocked: services.Docker) -> None:
    """An app that only adds runs as before, and no risk is told."""
    report = report_of(rebase(CLEAN))
    assert report["risks"] == []
    assert report["copied_up"] == []
    assert stocked.run("run", "--rm", "--network", "none", RESULT) == "a tool\n"


@pytest.mark.parametrize("place", ["archive", "daemon"])
def test_an_app_of_its_own_files_is_as_if_built(
    rebase: Rebase, stocked: services.Docker, archive: Path, place: str
) -> None:
    """The root file system is the one that docker makes of the same Dockerfile on the new base."""
    report_of(rebase(CLEAN, source=archive if place == "archive" else None))
    found = stocked.snapshots(RESULT, BUILT[CLEAN])
    assert b"opt/clean/tool" in found[RESULT]
    assert_same([(CLEAN, without_times(found[BUILT[CLEAN]]), without_times(found[RESULT]))])


def test_a_dry_run_tells_all_and_writes_nothing(
    rebase: Rebase, stocked: services.Docker, app: Json
) -> None:
    """A dry run has the risks, settings and layers of the rebase, and the daemon has nothing new."""
    before = stocked.tags()
    report = report_of(rebase(APP, "--dry-run"))
    for name in ("risks", "copied_up", "config", "layers", "remade_layers", "changed"):
        assert report[name] == app[name], name
    assert stocked.tags() == before


def test_a_dry_run_does_not_say_that_nothing_changes(somebody: Person, archive: Path) -> None:
    """What a person reads does not call a rebase unchanged."""
    image = f"docker-archive:{archive}:{CLEAN}"
    done = somebody.run("rebase", image, "--old-base", OLD, "--new-base", NEW, "--dry-run")
    assert done.code == 0, done.err
    assert "unchanged" not in done.text
    assert "squash" not in done.text


# --- what is at risk, and how it shows -------------------------------------------------------


def test_a_copied_up_library_stays_unpatched(rebase: Rebase, stocked: services.Docker) -> None:
    """A library whose mode the app changed is the old base's: programs go on without the patch. So nothing
    is written unless somebody allows it."""
    assert_fails(
        rebase(COPIED), 3, f"content   {LIBRARY} (libgreet1): ", "--allow content goes on all the same"
    )
    report = report_of(rebase(COPIED, "--allow", "content"))
    assert kinds(report) == {"content"}
    risk = risk_at(report, "content", LIBRARY, "error")
    assert (risk["layer"], risk["package"]) == (0, "libgreet1")
    (copied,) = report["copied_up"]
    assert copied == {"path": LIBRARY[1:], "layer": 0, "same_content": True, "changed_below": True}
    assert said(stocked, NEW, "greet") == f"{PATCHED}\n"
    assert said(stocked, RESULT, "greet") == f"{UNPATCHED}\n"


def test_a_package_database_hides_a_patch(rebase: Rebase, stocked: services.Docker) -> None:
    """dpkg says the old version of a library whose patched file is there."""
    risk = risk_at(report_of(rebase(HIDDEN, *UNMERGED)), "packages", "/var/lib/dpkg/status")
    assert "greet 1.0-1 and 3 more" in risk["old"]  # of which one is libgreet1
    assert said(stocked, RESULT, "greet") == f"{PATCHED}\n"
    assert "\nVersion: 1.0-1\n" in said(stocked, RESULT, "dpkg", "-s", "libgreet1")
    assert "\nVersion: 1.0-2\n" in said(stocked, NEW, "dpkg", "-s", "libgreet1")
    assert report_of(rebase(HIDDEN, "--force"))["risks"] == []
    assert "\nVersion: 1.0-2\n" in said(stocked, RESULT, "dpkg", "-s", "libgreet1")
    assert said(stocked, RESULT, "dpkg", "--audit") == ""


def test_a_linker_cache_hides_a_library(rebase: Rebase, stocked: services.Docker) -> None:
    """A program of the new base does not start: the app's list of libraries lacks what it needs."""
    risk = risk_at(report_of(rebase(HIDDEN, *UNMERGED)), "caches", "/etc/ld.so.cache")
    assert risk["new"] == "libfarewell.so.1"
    assert said(stocked, NEW, "farewell") == "farewell\n"
    with pytest.raises(CommandFailed, match="cannot open shared object file"):
        said(stocked, RESULT, "farewell")
    report_of(rebase(HIDDEN, "--force"))
    assert said(stocked, RESULT, "farewell") == "farewell\n"


def test_a_linker_cache_that_lists_more_hides_nothing(rebase: Rebase, stocked: services.Docker) -> None:
    """Where the app's cache has all libraries of the new base and more, it is no risk."""
    report = report_of(rebase(LISTED, new=SLIM))
    names = "ldconfig -p | sed -n 's/.* => //p'"
    theirs, ours = (set(said(stocked, name, "sh", "-c", names).split()) for name in (SLIM, RESULT))
    assert theirs < ours
    assert "caches" not in kinds(report), report["risks"]


def test_the_new_bases_users_are_others_in_the_app(rebase: Rebase, stocked: services.Docker) -> None:
    """An app with a user of its own, who has the number of one of the new base's, stops; unmerged it hides
    the new base's users, whose folders are somebody else's."""
    done = rebase(WORKER)
    assert_fails(done, 3, "accounts  /etc/passwd: user worker -> user ", "--allow accounts")
    report = report_of(rebase(WORKER, *UNMERGED))
    assert kinds(report) == {"accounts"}
    assert "worker" in json.dumps(report["risks"])
    show = ("stat", "-c", "%U", SERVICE_FOLDER, LOGGER_FOLDER)
    assert said(stocked, NEW, *show).split() == [SERVICE, LOGGER]
    assert said(stocked, RESULT, *show).split() == [LEGACY, "worker"]


@pytest.mark.parametrize(
    ("name", "before", "after"), [(OWNED, LEGACY, SERVICE), (NUMBERED, "UNKNOWN", LOGGER)]
)
def test_the_apps_files_become_anothers(
    rebase: Rebase, stocked: services.Docker, name: str, before: str, after: str
) -> None:
    """Files of a user whom the old base had, or of a number alone, belong to a user of the new base."""
    report = report_of(rebase(name))
    show = ("stat", "-c", "%U", "/srv/data/banner")
    assert said(stocked, name, *show).strip() == before
    assert said(stocked, RESULT, *show).strip() == after
    assert kinds(report) == {"accounts"}
    assert any(after in risk["new"] for risk in report["risks"])


def test_a_plugin_whose_folder_is_gone_is_not_found(rebase: Rebase, stocked: services.Docker) -> None:
    """The folder that the app put a plugin into is gone from the new base: nobody looks there."""
    report = report_of(rebase(PLUGIN))
    assert kinds(report) == {"parent"}
    risk_at(report, "parent", str(Path(PLUGINS).parent))
    assert said(stocked, PLUGIN, "greet-plugins") == "extra\nhello\n"
    assert said(stocked, RESULT, "greet-plugins") == "hello\n"


def test_a_removal_whose_folder_is_gone_is_left_out(rebase: Rebase, stocked: services.Docker) -> None:
    """A layer that deletes in a folder which is gone is made anew without that; what it meant is lost."""
    report = report_of(rebase(PRUNED))
    assert report["remade_layers"] == [0]
    assert kinds(report) == {"parent"}
    assert stocked.layers(RESULT)[:-1] == stocked.layers(NEW)
    found = stocked.snapshots(RESULT)[RESULT]
    assert not [path for path, node in found.items() if node.type == PHANTOM]
    assert said(stocked, PRUNED, "greet-plugins") == ""
    assert said(stocked, RESULT, "greet-plugins") == "hello\n"


@pytest.fixture
def unlisted(archive: Path, tmp_path: Path) -> Iterator[Path]:
    """An archive with an app that puts a file into a folder which the old base alone lists."""
    spec = stack(archive, OLD)
    data = file("var/lib/legacy/data", b"data\n")
    app = replace(spec, layers=[*spec.layers, layer(data)], tags=["unlisted:1"])
    path = tmp_path / "unlisted.tar"
    docker_archive_25(path, [replace(spec, tags=[OLD]), app])
    yield path
    path.unlink()


def test_a_folder_that_only_the_old_base_listed_stops(
    rebase: Rebase, stocked: services.Docker, archive: Path, unlisted: Path
) -> None:
    """A file whose folder is gone stops the rebase; allowed, its layer gets the old base's folder, whose
    number is somebody else's now."""
    new = f"docker-archive:{archive}:{NEW}"
    done = rebase("unlisted:1", source=unlisted, new=new)
    assert_fails(done, 3, "parent", "/var/lib/legacy", "--allow parent")
    risk_at(done.json, "parent", "/var/lib/legacy", "error")
    assert RESULT not in stocked.tags()
    report = report_of(rebase("unlisted:1", "--allow", "parent", source=unlisted, new=new))
    assert report["remade_layers"] == [0]
    folder = b"var/lib/legacy"
    found = stocked.snapshots(OLD, RESULT)
    assert found[RESULT][folder] == found[OLD][folder]
    assert said(stocked, OLD, "stat", "-c", "%U", "/var/lib/legacy") == f"{LEGACY}\n"
    assert said(stocked, RESULT, "stat", "-c", "%U", "/var/lib/legacy") == f"{SERVICE}\n"


@pytest.mark.parametrize("allow", [("--allow", "type"), ("--no-strict",)])
def test_a_folder_against_a_symlink_stops(
    rebase: Rebase, stocked: services.Docker, allow: tuple[str, ...], tmp_path: Path
) -> None:
    """A /bin that is a folder does not go onto one that is a symlink; where it is allowed to, the new
    base's programs are gone from there."""
    before = stocked.tags()
    for other in ((), ("--allow", "parent", "--allow", "platform")):
        done = rebase(TOOL, *other, old=PLAIN)
        assert_fails(done, 3, "type", "/bin", "--allow type")
        risk = risk_at(done.json, "type", "/bin", "error")
        assert risk["old"] == "a directory"
        assert "symlink" in risk["new"]
    assert stocked.tags() == before
    report = report_of(rebase(TOOL, *allow, old=PLAIN))
    risk_at(report, "type", "/bin", "error")
    assert said(stocked, TOOL, "/bin/sh", "-c", "echo here") == "here\n"
    assert said(stocked, NEW, "/bin/sh", "-c", "echo here") == "here\n"
    with pytest.raises(CommandFailed, match="/bin/sh: no such file"):
        said(stocked, RESULT, "/bin/sh", "-c", "echo here")


def test_a_base_of_another_kind_of_machine_stops(rebase: Rebase, stocked: services.Docker) -> None:
    """Programs for one kind of machine do not go onto a base for another; where they are allowed to,
    neither they nor the base's own run."""
    before = stocked.tags()
    done = rebase(CLEAN, "--allow", "parent", new=FOREIGN)
    assert_fails(done, 3, "platform", foreign_architecture(), "--allow platform")
    risk_at(done.json, "platform", "", "error")
    assert stocked.tags() == before
    risk_at(report_of(rebase(CLEAN, "--no-strict", new=FOREIGN)), "platform", "", "error")
    assert said(stocked, CLEAN) == "a tool\n"
    with pytest.raises(CommandFailed, match="no such file or directory|exec format error"):
        said(stocked, RESULT)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_a_rebase_that_stops_leaves_no_file(
    somebody: Person, archive: Path, form: str, tmp_path: Path
) -> None:
    """Where a rebase stops, the output is not begun."""
    report = tmp_path / "report.json"
    (tmp_path / "out").mkdir()
    done = somebody.run(
        *("rebase", f"docker-archive:{archive}:{TOOL}", "--old-base", PLAIN, "--new-base", NEW),
        *("-o", f"{form}:{tmp_path}/out/result:1", "--report", report),
    )
    assert_fails(done, 3, "nothing was written")
    assert list((tmp_path / "out").iterdir()) == []
    risk_at(json.loads(report.read_text()), "type", "/bin", "error")


# --- places ----------------------------------------------------------------------------------


def test_squashed_layers_make_the_same_root(
    somebody: Person, stocked: services.Docker, archive: Path, tmp_path: Path
) -> None:
    """From archive to archive with `--squash`: one layer above the new base makes what all of them make."""
    output = tmp_path / "rebased.tar"
    bases = ["--old-base", OLD, "--new-base", NEW]
    image, options = f"docker-archive:{archive}:{APP}", ["--squash", "--check", "-t", RESULT, "--json"]
    report = report_of(somebody.run("rebase", image, *bases, *UNMERGED, *options, "-o", output))
    assert report["layers"]["after"] == 3
    plain = stack(archive, NEW, APP)
    docker_archive_25(tmp_path / "stack.tar", [plain])
    for path in (output, tmp_path / "stack.tar"):
        stocked.run("load", "--quiet", "--input", path)
        path.unlink()
    try:
        assert stocked.layers(RESULT)[:-1] == stocked.layers(NEW)
        found = stocked.snapshots(RESULT, "stack:1")
        assert_same([(APP, found["stack:1"], found[RESULT])])
        assert stocked.run("run", "--rm", "--network", "none", RESULT).splitlines()[2] == PATCHED
    finally:
        stocked.run("rmi", "--force", RESULT, "stack:1")


def test_from_archive_to_archive(somebody: Person, archive: Path, tmp_path: Path) -> None:
    """The archive is valid, and has the layers of the new base and of the app, byte for byte."""
    output = tmp_path / "rebased.tar"
    image = f"docker-archive:{archive}:{CLEAN}"
    done = somebody.run("rebase", image, "--old-base", OLD, "--new-base", NEW, "-t", RESULT, "-o", output)
    assert done.code == 0, done.err
    result = read_image(output)
    assert RESULT in result.names
    assert list(result.layers) == list(stack(archive, NEW, CLEAN).layers)
    output.unlink()


@pytest.fixture(scope="module")
def layout(umoci: services.Umoci, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout of both bases and an app; old-again is the old base, compressed in another way."""
    folder = tmp_path_factory.mktemp("layout")
    for name, target in ((CLEAN, "clean"), (OLD, "old"), (NEW, "new"), (APP, "app")):
        umoci.copy(f"docker-archive:{archive}:{name}", f"oci:{folder}/images:{target}")
    again = ("--dest-compress-level", "3")
    umoci.copy(f"docker-archive:{archive}:{OLD}", f"oci:{folder}/again:old", *again)
    return folder


def layout_manifest(folder: Path, name: str) -> Json:
    """The manifest of an image in a layout."""
    index = json.loads((folder / "index.json").read_text())
    for one in index["manifests"]:
        if one.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
            blob = folder / "blobs" / one["digest"].replace(":", "/")
            value = json.loads(blob.read_text())
            assert isinstance(value, dict)
            return value
    raise AssertionError(f"no {name} in {index}")


def test_from_layout_to_layout(
    somebody: Person, umoci: services.Umoci, layout: Path, archive: Path, tmp_path: Path
) -> None:
    """umoci makes of the result what it makes of the layers one above the other."""
    where = f"oci:{layout}/images"
    bases = ["--old-base", f"{where}:old", "--new-base", f"{where}:new"]
    rebase = ("rebase", f"{where}:app", *bases, *UNMERGED)
    report = report_of(somebody.run(*rebase, "-o", f"{where}:rebased", "--json"))
    docker_archive_25(tmp_path / "stack.tar", [stack(archive, NEW, APP)])
    expected = umoci.snapshot(f"docker-archive:{tmp_path}/stack.tar:stack:1")
    found = umoci.snapshot(f"{where}:rebased")
    (tmp_path / "stack.tar").unlink()
    assert found[ROOT].type == "directory"
    assert_same([(APP, expected, found)])
    app, new, after = (layout_manifest(layout / "images", name) for name in ("app", "new", "rebased"))
    assert after["layers"] == [*new["layers"], *app["layers"][1:]]
    assert report["layers"]["after"] == len(after["layers"])


def test_a_recompressed_base_is_the_same_base(somebody: Person, layout: Path, tmp_path: Path) -> None:
    """An old base whose blobs have other digests is known by the diff_ids of its layers."""
    one, other = layout_manifest(layout / "images", "old"), layout_manifest(layout / "again", "old")
    assert one["layers"][0]["digest"] != other["layers"][0]["digest"]
    where = f"oci:{layout}/images"
    bases = ["--old-base", f"oci:{layout}/again:old", "--new-base", f"{where}:new"]
    report = report_of(somebody.run("rebase", f"{where}:clean", *bases, "-o", f"{where}:moved", "--json"))
    app, new, after = (layout_manifest(layout / "images", name) for name in ("clean", "new", "moved"))
    assert after["layers"] == [*new["layers"], *app["layers"][1:]]
    assert report["risks"] == []


def test_an_image_takes_its_sources_place(somebody: Person, stocked: services.Docker) -> None:
    """With `--replace` the source's own tag in the daemon is the result's."""
    stocked.run("tag", CLEAN, RESULT)
    try:
        options = ["--old-base", OLD, "--new-base", NEW, "--replace", "--json"]
        report = report_of(somebody.run("rebase", RESULT, *options))
        assert stocked.tags()[RESULT] == report["image_id"]["after"]
        assert stocked.layers(RESULT) == [*stocked.layers(NEW), *stocked.layers(CLEAN)[1:]]
    finally:
        stocked.run("rmi", "--force", RESULT)


def test_another_images_base_is_not_the_old_one(rebase: Rebase, stocked: services.Docker) -> None:
    """A base that the image was not built on is refused, and nothing is written."""
    done = rebase(CLEAN, old=PLAIN)
    assert_fails(done, 1, PLAIN)
    assert RESULT not in stocked.tags()


# --- registries ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(state: Path, stocked: services.Docker) -> Iterator[Registry]:
    """A registry that has both bases and two images, each in a repository of its own."""
    with ExitStack() as stack:
        made = available(lambda: stack.enter_context(registry(state)))
        for name, target in ((OLD, "old:1"), (NEW, "new:1"), (APP, "app:1"), (OWNED, "owned:1")):
            stocked.run("tag", name, f"{made.host}/{target}")
            stocked.run("push", "--quiet", f"{made.host}/{target}")
            stocked.run("rmi", f"{made.host}/{target}")
        yield made


@pytest.fixture
def other(state: Path, tmp_path: Path) -> Iterator[services.Docker]:
    """A daemon that has nothing."""
    with services.docker(state, f"docker-{tmp_path.name}") as made:
        yield made


def test_in_a_registry_no_base_moves(person: Person, hub: Registry, other: services.Docker) -> None:
    """Once both bases were read, all layers are mounted into the result's repository, no blob moves but
    what was merged, the tag comes last, and docker pulls and runs the result."""
    names = {name: f"docker://{hub.host}/{name}:1" for name in ("old", "new", "app")}
    bases = ["--old-base", names["old"], "--new-base", names["new"]]
    assert person.run("rebase", names["app"], *bases, "--dry-run").code == 0
    mark = hub.mark()
    target = f"docker://{hub.host}/result:1"
    report = report_of(person.run("rebase", names["app"], *bases, "-o", target, "--json"))
    log = hub.log(mark)
    old, new, app = (hub.layers(name, "1") for name in ("old", "new", "app"))
    *layers, merged = hub.layers("result", "1")
    assert layers == [*new, *app[1:]]
    assert not {*old, *new, *app} & {*downloaded(log), *uploaded(log)}
    assert {*new, *app[1:]} <= mounted(log)
    assert uploaded(log) == {hub.manifest("result", "1")["config"]["digest"], merged}
    last = [request for request in log if request.writes][-1]
    assert (last.method, last.path, last.status) == ("PUT", "/v2/result/manifests/1", 201)
    assert report["manifest_digest"] == hub.tags("result")["1"]
    assert report["risks"] == []
    image = f"{hub.host}/result:1"
    other.run("pull", "--quiet", image)
    assert other.run("run", "--rm", "--network", "none", image).splitlines()[2] == PATCHED


def test_in_a_registry_other_owners_are_told(person: Person, hub: Registry) -> None:
    """That files may be another user's is told where the layers lie in a registry, too."""
    names = {name: f"docker://{hub.host}/{name}:1" for name in ("old", "new", "owned")}
    bases = ["--old-base", names["old"], "--new-base", names["new"]]
    report = report_of(person.run("rebase", names["owned"], *bases, "--dry-run", "--json"))
    assert kinds(report) == {"accounts"}


def test_in_a_registry_contents_are_compared(person: Person) -> None:
    """Neither equal sizes and times nor different times tell anything. What both bases hold is fetched once
    and remembered; where it may not be fetched that is an error."""

    def base(changed: bytes, touched: int) -> bytes:
        files = [file("usr/lib/changed", changed, mtime=1), file("usr/lib/same", b"same", mtime=touched)]
        return layer(directory("usr"), directory("usr/lib"), *files)

    above = [
        file(f"usr/lib/{name}", text, mode=0o600) for name, text in (("changed", b"bug"), ("same", b"same"))
    ]
    with memory_registry() as hub:
        hub.add("old", "1", [base(b"bug", 1)])
        hub.add("new", "1", [base(b"fix", 2)])
        hub.add("app", "1", [base(b"bug", 1), layer(*above)])
        place = f"docker://{hub.host}/"
        bases = ["--old-base", f"{place}old:1", "--new-base", f"{place}new:1"]
        rebase = ["rebase", f"{place}app:1", *bases, "--dry-run", "--json"]
        for name in ("old", "new", "app"):
            person.run("ls", f"{place}{name}:1")
        refused = person.run(*rebase, "--no-fetch-base")
        assert_fails(refused, 1, "must be read to compare it, which --no-fetch-base forbids")
        for options in ([], ["--no-fetch-base"]):
            done = person.run(*rebase, *options)
            assert done.code == 3
            assert [risk["path"] for risk in done.json["risks"]] == ["usr/lib/changed"]
        hub.asked.clear()
        assert person.run(*rebase, "--allow", "content").code == 0
        assert len(hub.seen("GET", "/blobs/")) == 3, "the configs alone"


def test_a_base_is_the_same_whoever_tells_of_it(
    person: Person, stocked: services.Docker, archive: Path, tmp_path: Path
) -> None:
    """Of an old base in a daemon no layer is read; its settings and its history are known all the same,
    from the catalogue too: the result is that of a base in an archive."""
    person.use_daemon(stocked)
    image, new = (f"docker-archive:{archive}:{name}" for name in (APP, NEW))
    results = []
    for told in (f"docker-archive:{archive}:{OLD}", f"docker-daemon:{OLD}", "catalogue"):
        old = ["--old-base", told]
        if told == "catalogue":
            assert person.run("base", "add", f"docker-daemon:{OLD}").code == 0
            old = []
        target = ["-o", tmp_path / "out.tar", "--force", "--json"]
        results.append(report_of(person.run("rebase", image, *old, "--new-base", new, *target)))
    first, *others = ((report["image_id"]["after"], report["config"]) for report in results)
    assert all(first)
    assert others == [first, first]


def test_from_a_daemon_into_a_registry_the_base_goes_as_that_has_it(
    person: Person, hub: Registry, stocked: services.Docker
) -> None:
    """docker pushed the new base there: its blobs are mounted, and no layer of it is sent."""
    person.use_daemon(stocked)
    names = [f"{hub.host}/new:1"]
    stocked.run("pull", "--quiet", *names)
    try:
        mark = hub.mark()
        bases = ["--old-base", OLD, "--new-base", NEW]
        target = f"docker://{hub.host}/from-daemon:1"
        report_of(person.run("rebase", APP, *bases, "-o", target, "--json"))
        assert hub.layers("from-daemon", "1")[:2] == hub.layers("new", "1")
        assert not set(hub.layers("new", "1")) & uploaded(hub.log(mark))
    finally:
        stocked.run("rmi", *names)


def test_a_zstd_base_needs_an_oci_manifest(person: Person) -> None:
    """docker's manifests have no media type for its layers: said before anything is written, in a dry run
    too, with the form that holds them."""
    old, new = layer(file("a")), layer(file("b"))
    with memory_registry() as hub:
        hub.add("old", "1", [old], how="gzip", docker=True)
        hub.add("app", "1", [old, layer(file("x"))], how="gzip", docker=True)
        hub.add("new", "1", [new], how="zstd")
        place = f"docker://{hub.host}/"
        bases = ["--old-base", f"{place}old:1", "--new-base", f"{place}new:1"]
        rebase = ["rebase", f"{place}app:1", *bases, "-o", f"{place}result:1"]
        why = "new:1 is a zstd layer, which docker's manifests do not know; pass --format oci"
        for options in ([], ["--dry-run"]):
            assert_fails(person.run(*rebase, *options), 2, why)
        assert "result" not in hub.blobs
        assert person.run(*rebase, "--format", "oci").code == 0
        endings = [one["mediaType"].rpartition(".")[2] for one in hub.layers("result", "1")]
        assert endings == ["tar+zstd", "tar+gzip"]


# --- a real image ----------------------------------------------------------------------------


def test_a_real_image_has_no_risks(
    somebody: Person, stocked: services.Docker, nginx_archives: images.NginxArchives, archive: Path
) -> None:
    """nginx from Debian's packages, on a base with packages upgraded and added, runs; dpkg says what is
    there, and the new base's programs start."""
    image = f"docker-archive:{nginx_archives.with_base}:{images.NGINX}"
    bases = ["--old-base", images.BASE, "--new-base", f"docker-archive:{archive}:{NEW}"]
    report = report_of(somebody.run("rebase", image, *bases, "-o", "docker-daemon:nginx:rebased", "--json"))
    try:
        assert report["risks"] == []
        assert "+fix1" in said(stocked, "nginx:rebased", "dpkg", "-s", FIXED)
        assert said(stocked, "nginx:rebased", "dpkg", "--audit") == ""
        assert "test is successful" in said(stocked, "nginx:rebased", "sh", "-c", "nginx -t 2>&1")
        assert said(stocked, "nginx:rebased", "greet") == f"{PATCHED}\n"
        assert said(stocked, "nginx:rebased", "farewell") == "farewell\n"
    finally:
        stocked.run("rmi", "--force", "nginx:rebased")
