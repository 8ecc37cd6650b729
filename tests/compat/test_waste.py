"""The images of the article "Building tiny container images", built for real: what `squashkit waste` says
of each, and that it is true. Every mend that has a number is carried out, and the image built again."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.compat import services
from tests.compat.conftest import available
from tests.compat.services import run as run_tool
from tests.compat.waste_images import (
    BIG_BYTES,
    CLEAN,
    FORGET,
    FROM,
    INSTALL,
    PACKAGE_BYTES,
    TREE,
    Builds,
)
from tests.support.builders import noise
from tests.support.runner import Json, run

CACHE_LEFT = f"{FROM}RUN {INSTALL}\n"
SAME_STEP = f"{FROM}RUN {INSTALL} && {CLEAN} && {FORGET}\n"
LATER_STEPS = f"{FROM}RUN {INSTALL}\nRUN {CLEAN}\nRUN {FORGET}\n"
CHMOD = f"{FROM}COPY big /srv/big\nRUN chmod u+x /srv/big\n"
CHOWN = f"{FROM}COPY tree /srv/tree\nRUN chown -R app:app /srv/tree\n"
MOVED = f"{FROM}RUN cat /repo/server.deb /repo/server.deb > /srv/a\nRUN cp /srv/a /srv/b && rm /srv/a\n"
OVERWRITTEN = f"{FROM}RUN cat /repo/server.deb /repo/server.deb > /srv/big\nCOPY big /srv/big\n"
IMAGES = {
    "cache left": CACHE_LEFT,
    "cleaned in the same step": SAME_STEP,
    "cleaned in later steps": LATER_STEPS,
    "chmod": CHMOD,
    "chown": CHOWN,
    "moved": MOVED,
    "a COPY over a RUN": OVERWRITTEN,
}


@pytest.fixture(scope="session")
def builds(docker: services.Docker, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """What builds the images; each is built when a test first asks for it."""
    return available(lambda: Builds(docker, tmp_path_factory.mktemp("waste")))


def waste(image: str, *options: object) -> Json:
    """What `squashkit waste --json` says."""
    done = run("waste", image, *map(str, options), "--json")
    assert done.code == 0, done.err
    return done.json


def uncompressed(told: Json) -> int:
    """The size of all layers' tars."""
    return sum(one["diff_size"] for one in told["layers"])


def causes(told: Json) -> Mapping[str, int]:
    """Dead bytes by cause, without the causes of none."""
    return {cause: size for cause, size in told["dead"]["causes"].items() if size}


def mends(told: Json, kind: str) -> list[Json]:
    return [one for one in told["mends"] if one["kind"] == kind]


def patched(dockerfile: str, diff: str, folder: Path) -> str:
    """The Dockerfile after a mend's patch."""
    path = folder / "Dockerfile"
    path.write_text(dockerfile)
    subprocess.run(["patch", "-p0", "--quiet", path], input=diff, text=True, check=True)
    return path.read_text()


def with_dockerfile(builds: Builds, dockerfile: str, folder: Path, *, buildkit: bool = False) -> Json:
    path = folder / "Dockerfile"
    path.write_text(dockerfile)
    return waste(builds.make(dockerfile, buildkit=buildkit), "--dockerfile", path)


def assert_saves(before: Json, after: Json, promised: int) -> None:
    """The image became smaller by as much as was promised, within a hundredth."""
    assert uncompressed(before) - uncompressed(after) == pytest.approx(promised, rel=0.01)


# --- what is said ------------------------------------------------------------------------------


def test_a_cache_that_is_left_lives(builds: Builds) -> None:
    """Nothing is dead, and the rules name apt's lists and packages."""
    told = waste(builds.make(CACHE_LEFT))
    assert told["base"]["name"] == "debian:own"
    assert told["dead"]["bytes"] == 0
    found = {one["rule"]: one["bytes"] for one in told["live"] if one["layer"] == 1}
    assert found["apt-archives"] > PACKAGE_BYTES
    assert found["apt-lists"] > 1_000_000


def test_what_is_cleaned_in_the_same_step_costs_nothing(builds: Builds) -> None:
    """No dead byte, no cache, and no mend with a number."""
    told = waste(builds.make(SAME_STEP))
    assert told["dead"]["bytes"] == 0
    assert {one["rule"] for one in told["live"]} <= {"logs"}
    assert [one for one in told["mends"] if one["bytes"] is not None] == []


def test_what_is_cleaned_in_later_steps_is_dead(builds: Builds) -> None:
    """As much as lived where it was left, and the layers that deleted it."""
    left = {one["rule"]: one["bytes"] for one in waste(builds.make(CACHE_LEFT))["live"]}
    told = waste(builds.make(LATER_STEPS))
    assert causes(told).keys() == {"deleted"}
    assert told["dead"]["bytes"] == pytest.approx(left["apt-archives"] + left["apt-lists"], rel=0.01)
    by_step: dict[int, int] = {}
    for one in told["dead"]["paths"]:
        assert one["layer"] == 1
        by_step[one["killed_by"]] = by_step.get(one["killed_by"], 0) + one["bytes"]
    assert by_step[2] == pytest.approx(left["apt-archives"], rel=0.01)
    assert by_step[3] == pytest.approx(left["apt-lists"], rel=0.01)
    assert [one["layers"] for one in mends(told, "join")] == [[1, 2], [1, 3]]


def test_a_file_whose_mode_changes_is_there_twice(builds: Builds) -> None:
    """All its bytes are dead, for its mode alone."""
    told = waste(builds.make(CHMOD))
    assert causes(told) == {"attributes": BIG_BYTES}
    (one,) = told["dead"]["paths"]
    assert (one["path"], one["layer"], one["killed_by"]) == ("/srv/big", 1, 2)
    assert one["changed"] == ["mode"]
    (mend,) = told["mends"]
    assert (mend["kind"], mend["layers"]) == ("chmod", [1, 2])
    assert "`COPY --chmod=744`" in mend["text"]


def test_files_whose_owner_changes_are_there_twice(builds: Builds) -> None:
    """Each file below the folder, for its owner alone."""
    told = waste(builds.make(CHOWN))
    assert causes(told) == {"attributes": BIG_BYTES // 4 * len(TREE)}
    assert {tuple(one["changed"]) for one in told["dead"]["paths"]} == {("owner",)}
    (mend,) = told["mends"]
    assert mend["kind"] == "chown"
    assert "`COPY --chown=app:app`" in mend["text"]


def test_what_a_copy_puts_over_a_run_is_no_join(builds: Builds) -> None:
    """Such steps cannot be one: the RUN is told to leave the file out."""
    (mend,) = waste(builds.make(OVERWRITTEN))["mends"]
    assert (mend["kind"], mend["layers"], mend["bytes"]) == ("remove", [1, 2], None)
    assert "let the RUN not write it" in mend["text"]


def test_both_builders_tell_the_same(builds: Builds) -> None:
    """Their histories are spelled otherwise."""
    for dockerfile in (LATER_STEPS, CHMOD, CHOWN):
        classic, newer = (waste(builds.make(dockerfile, buildkit=each)) for each in (False, True))
        for told in (classic, newer):
            assert [one["kind"] for one in told["mends"] if one["bytes"]] == [
                one["kind"] for one in classic["mends"] if one["bytes"]
            ]
        assert newer["dead"]["bytes"] == pytest.approx(classic["dead"]["bytes"], rel=0.01)


def test_an_image_that_buildah_makes_from_nothing(state: Path, tmp_path: Path) -> None:
    """One layer that was put together in a mounted folder wastes nothing; a second that changes a mode
    does, and without the words of a Dockerfile nobody says what to write."""
    storage = state / "buildah-waste"
    storage.mkdir()
    roots = f'graphroot = "{storage}/root"\nrunroot = "{storage}/run"\n'
    (storage / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}')
    env = {"CONTAINERS_STORAGE_CONF": str(storage / "storage.conf"), "TMPDIR": str(tmp_path)}

    def buildah(*words: str | Path) -> str:
        return run_tool(["buildah", *words], env=env).strip()

    def changed(base: str, tag: str) -> Path:
        container = available(lambda: buildah("from", "--pull-never", base))
        mounted = Path(buildah("mount", container))
        (mounted / "srv").mkdir(exist_ok=True)
        big = mounted / "srv/big"
        if not big.exists():
            big.write_bytes(noise(BIG_BYTES, "big"))
        else:
            big.chmod(0o755)
        buildah("umount", container)
        buildah("commit", "--quiet", container, tag)
        archive = tmp_path / f"{tag.replace(':', '-')}.tar"
        buildah("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
        return archive

    once = waste(f"docker-archive:{changed('scratch', 'once:1')}")
    assert (once["dead"]["bytes"], once["mends"], len(once["layers"])) == (0, [], 1)
    twice = waste(f"docker-archive:{changed('once:1', 'twice:1')}")
    assert causes(twice) == {"attributes": BIG_BYTES}
    assert twice["mends"] == []
    assert twice["savings"][0]["bytes"] == pytest.approx(BIG_BYTES, rel=0.01)


# --- mends are true ----------------------------------------------------------------------------


@pytest.mark.parametrize("buildkit", [False, True], ids=["docker", "BuildKit"])
def test_joined_steps_save_what_is_promised(builds: Builds, tmp_path: Path, *, buildkit: bool) -> None:
    """The patch of the first join saves its number, that of the last joins all three and saves both."""
    before = with_dockerfile(builds, LATER_STEPS, tmp_path, buildkit=buildkit)
    first, last = mends(before, "join")
    assert (first["line"], last["line"]) == (2, 2)
    one = patched(LATER_STEPS, first["diff"], tmp_path)
    assert one.count("RUN") == 2
    assert_saves(before, waste(builds.make(one, buildkit=buildkit)), first["bytes"])
    both = patched(LATER_STEPS, last["diff"], tmp_path)
    assert both.count("RUN") == 1
    after = waste(builds.make(both, buildkit=buildkit))
    assert_saves(before, after, first["bytes"] + last["bytes"])
    assert after["dead"]["bytes"] == 0


def test_a_join_of_what_is_moved_saves_what_is_promised(builds: Builds, tmp_path: Path) -> None:
    """A file that a later step copies and deletes."""
    before = with_dockerfile(builds, MOVED, tmp_path)
    (mend,) = mends(before, "join")
    assert causes(before).keys() == {"moved"}
    after = waste(builds.make(patched(MOVED, mend["diff"], tmp_path)))
    assert_saves(before, after, mend["bytes"])


@pytest.mark.parametrize(
    ("dockerfile", "kind"), [(CHMOD, "chmod"), (CHOWN, "chown")], ids=["chmod", "chown"]
)
def test_flags_of_copy_save_what_is_promised(builds: Builds, dockerfile: str, kind: str) -> None:
    """The flag that the mend has, written into the COPY in place of the RUN."""
    before = waste(builds.make(dockerfile, buildkit=True))
    (mend,) = mends(before, kind)
    flag = re.search(r"`COPY (--\S+)`", mend["text"])
    assert flag is not None
    mended = re.sub(r"(?m)^RUN .*\n", "", dockerfile).replace("COPY", f"COPY {flag[1]}")
    after = waste(builds.make(mended, buildkit=True))
    assert_saves(before, after, mend["bytes"])
    assert_same_files(builds, dockerfile, mended)


def assert_same_files(builds: Builds, first: str, second: str) -> None:
    """What stands below /srv is the same in both, with modes and owners."""
    before, after = (files(builds.make(each, buildkit=True)) for each in (first, second))
    assert before == after
    assert before


def files(image: str) -> list[tuple[Any, ...]]:
    """The files below /srv."""
    done = run("ls", image, "/srv", "--recursive", "--json")
    assert done.code == 0, done.err
    facts = ("path", "mode", "uid", "gid", "size")
    return [tuple(one[fact] for fact in facts) for one in json.loads(done.out) if one["kind"] == "file"]


def test_mounted_caches_save_what_is_promised(builds: Builds) -> None:
    """apt's packages and indexes are in the image no more, and what was installed is."""
    before = waste(builds.make(CACHE_LEFT, buildkit=True))
    (mend,) = mends(before, "cache-mount")
    mount = re.search(r"`RUN (--mount=type=cache,\S+) …`", mend["text"])
    assert mount is not None
    mended = CACHE_LEFT.replace("RUN", f"RUN {mount[1]}")
    after = waste(builds.make(mended, buildkit=True))
    assert_saves(before, after, mend["bytes"])
    assert {one["rule"] for one in after["live"]} == {"apt-lists", "logs"}


# --- savings and gates -------------------------------------------------------------------------


@pytest.mark.parametrize("dockerfile", IMAGES.values(), ids=IMAGES.keys())
def test_a_squash_saves_what_is_said(builds: Builds, dockerfile: str, tmp_path: Path) -> None:
    """To the byte, whatever is kept."""
    image = builds.make(dockerfile)
    told = waste(image)
    for saving in told["savings"]:
        output = tmp_path / f"{saving['keep_layers']}.tar"
        kept = str(saving["keep_layers"])
        done = run("squash", image, "--keep-layers", kept, "-t", "app:squashed", "-o", str(output))
        assert done.code == 0, done.err
        after = waste(f"docker-archive:{output}:app:squashed")
        assert uncompressed(told) - uncompressed(after) == saving["bytes"]


def test_a_gate_fails_the_build_that_wastes(builds: Builds) -> None:
    """The same limit, before the mend and after it."""
    limits = ("--max-wasted-percent", "5", "--max-wasted", "1MB")
    failed = run("waste", builds.make(LATER_STEPS), *limits)
    assert failed.code == 3
    assert b"The worst: /var/cache/apt/archives/" in failed.out
    assert run("waste", builds.make(SAME_STEP), *limits).code == 0


# --- caches that are left out -----------------------------------------------------------------


def test_an_image_without_caches_is_the_one_that_cleaned_up(builds: Builds, tmp_path: Path) -> None:
    """Left out of the layer, apt's caches are missing as if the step had deleted them, and apt works on: it
    fetches lists and installs."""
    lean = tmp_path / "lean.tar"
    words = ("--keep-base", "debian:own", "--drop-caches", "all", "-t", "app:lean", "-o", lean, "--check")
    done = run("squash", builds.make(CACHE_LEFT), *map(str, words))
    assert done.code == 0, done.err
    same = run(
        "diff", str(lean), builds.make(SAME_STEP), "--drop-caches", "apt", "--ignore", "mtime", "--json"
    )
    assert {one["path"] for one in same.json["differences"] if one["what"] != "content"} == set()
    assert all(one["path"].startswith("var/log") for one in same.json["differences"])
    builds.docker.run("load", "--quiet", "--input", lean)
    again = f"apt-get -qq remove -y server && {INSTALL} && server=installed && echo $server"
    printed = builds.docker.run("run", "--rm", "--network", "none", "app:lean", "/bin/sh", "-c", again)
    assert printed.strip().endswith("installed")
