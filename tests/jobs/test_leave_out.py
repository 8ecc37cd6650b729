"""`squash --drop-caches` and `--exclude`: what goes, what stays, what is refused; `diff` with the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from squashkit import Merge, squash
from squashkit.plan.leave_out import cache_names
from squashkit.plan.waste.live import own_rules
from tests.support.builders import (
    ImageSpec,
    Member,
    directory,
    docker_archive_25,
    file,
    hardlink,
    layer,
    noise,
    on_base,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers
from tests.support.runner import Json, assert_fails, read_images, run

LISTS = [directory(name) for name in ("var", "var/lib", "var/lib/apt", "var/lib/apt/lists")]
PIP = [directory(name) for name in ("root", "root/.cache", "root/.cache/pip", "root/.cache/pip/http")]
BASE = ImageSpec(
    [
        layer(
            *LISTS,
            file("var/lib/apt/lists/base", b"b" * 300),
            directory("etc"),
            file("etc/conf", b"base"),
            file("etc/linked", b"linked"),
            hardlink("etc/other", "etc/linked"),
        )
    ],
    ["base:1"],
)


def write(folder: Path, *layers: bytes, base: ImageSpec = BASE) -> str:
    """An archive with the image app:1 of these layers on a base, and what to call it."""
    path = folder / "app.tar"
    docker_archive_25(path, [on_base(base, *layers, tags=["app:1"])])
    return str(path)


def lean(image: str, output: Path, *options: str, keep: str = "1") -> tuple[Json, set[str]]:
    """The report of a squash above a base, checked as it is written, and the paths of the result."""
    words = (
        "--keep-layers",
        keep,
        *options,
        "-t",
        "app:2",
        "-o",
        str(output),
        "--check",
        "--json",
        "--force",
    )
    done = run("squash", image, *words)
    assert done.code == 0, done.err
    (result,) = read_images(output)
    return done.json, {path.decode() for path in apply_layers(result.layers).nodes}


def test_caches_go_and_the_bases_own_stay(tmp_path: Path) -> None:
    """Lists of apt and the folder of pip are missing, each told with its bytes and its rule; a directory
    that the base has stays, and so does its own file in it, which is told."""
    image = write(
        tmp_path,
        layer(*LISTS, file("var/lib/apt/lists/new", b"n" * 1000), file("var/lib/apt/lists/empty")),
        layer(*PIP, file("root/.cache/pip/http/x", b"x" * 5000), file("root/app", b"app")),
    )
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "apt,pip")
    assert report["left_out"] == [
        {"path": "root/.cache/pip", "bytes": 0, "rule": "pip"},
        {"path": "root/.cache/pip/http", "bytes": 0, "rule": "pip"},
        {"path": "root/.cache/pip/http/x", "bytes": 5000, "rule": "pip"},
        {"path": "var/lib/apt/lists/empty", "bytes": 0, "rule": "apt-lists"},
        {"path": "var/lib/apt/lists/new", "bytes": 1000, "rule": "apt-lists"},
    ]
    assert "root/app" in paths
    assert "root/.cache" in paths
    assert "var/lib/apt/lists/base" in paths
    assert not any("pip" in path for path in paths)
    told = run("squash", image, "--keep-layers", "1", "--drop-caches", "all", "-n").text
    assert "Caches that kept layers have stay: apt-lists (1, 300 B)" in told


def test_only_the_caches_that_are_named_go(tmp_path: Path) -> None:
    """pip's stays where apt's is asked for."""
    image = write(
        tmp_path,
        layer(*LISTS, *PIP, file("var/lib/apt/lists/n", b"n"), file("root/.cache/pip/http/x", b"x")),
    )
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "apt")
    assert [one["path"] for one in report["left_out"]] == ["var/lib/apt/lists/n"]
    assert "root/.cache/pip/http/x" in paths


KEPT = {
    "app/.git/objects/x": "version-control",
    "var/log/dpkg.log": "logs",
    "usr/include/stdio.h": "headers",
    "app/__pycache__/a.pyc": "python-bytecode",
    "usr/lib/python3/site-packages/p/tests/test_p.py": "python-tests",
    "root/.cargo/registry/x": "cargo",
    "root/.m2/repository/x": "maven",
    "root/.cache/node-gyp/include/node.h": "node-gyp",
    "app/vendor/cache/rack-3.gem": "vendored-gems",
}


def test_all_means_caches_of_package_managers_alone(tmp_path: Path) -> None:
    """History, logs, headers, tests, bytecode, sources and what builds need stay with `all`."""
    image = write(tmp_path, layer(*(file(path, b"1") for path in KEPT)))
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "all")
    assert report["left_out"] == []
    assert paths >= KEPT.keys()
    assert set(KEPT.values()) <= {rule.name for rule in own_rules() if not rule.cache}


def test_a_name_that_is_none(tmp_path: Path) -> None:
    """An unknown name, a digest and an empty glob are exit code 2, with what there is to choose from."""
    image = write(tmp_path, layer(file("a")), layer(file("b")))
    wrong = run("squash", image, "--all", "--drop-caches", "apt,cargo", "-n")
    assert_fails(wrong, 2, "--drop-caches cargo: there are apk, apt,", f"{cache_names()[-1]}, all")
    digest = "sha256:" + "0" * 64
    assert_fails(run("squash", image, "--all", "--exclude", digest, "-n"), 2, "names no path")
    assert_fails(run("diff", image, image, "--exclude", "/"), 2, "names nothing")
    with pytest.raises(TypeError):
        squash(image, None, merge=Merge(exclude=5))  # type: ignore[arg-type]


def test_what_the_base_shows_is_refused(tmp_path: Path) -> None:
    """Files of the base that a glob means, and one that the run replaced, are listed and nothing is
    written; with --also-base they are hidden. One that the run deleted stays hidden."""
    image = write(
        tmp_path,
        layer(directory("etc"), file("etc/conf", b"mine" * 10), whiteout("etc/other")),
        layer(file("etc/new", b"new")),
    )
    output = tmp_path / "out.tar"
    words = ("squash", image, "--keep-layers", "1", "--exclude", "/etc/*", "-t", "x:1", "-o", str(output))
    refused = run(*words)
    assert_fails(refused, 2, "/etc/conf replaces what the base has there", "/etc/linked is the base's")
    assert_fails(refused, 2, "--also-base")
    assert "/etc/other" not in refused.err
    assert "/etc/new" not in refused.err
    assert not output.exists()
    report, paths = lean(image, output, "--exclude", "/etc/*", "--also-base")
    assert [(one["path"], one["bytes"]) for one in report["left_out"]] == [
        ("etc/conf", 40),
        ("etc/linked", 0),
        ("etc/new", 3),
    ]
    assert {path for path in paths if path.startswith("etc")} == {"etc"}


def test_a_replaced_cache_of_the_base_is_refused(tmp_path: Path) -> None:
    """A list of the base that the run fetched anew cannot be left out: the base's would come back."""
    image = write(tmp_path, layer(*LISTS, file("var/lib/apt/lists/base", b"newer")))
    words = ("squash", image, "--keep-layers", "1", "--drop-caches", "apt")
    assert_fails(run(*words, "-n"), 2, "/var/lib/apt/lists/base replaces")
    _, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "apt", "--also-base")
    assert "var/lib/apt/lists/base" not in paths


def test_the_next_name_of_a_file_takes_its_place(tmp_path: Path) -> None:
    """Where the name goes that the content came with, the file is whole by its others, which stay linked;
    its bytes are not told as saved until the last name goes."""
    big = noise(3000, "big")
    image = write(
        tmp_path,
        layer(
            *PIP,
            file("root/.cache/pip/http/x", big, mode=0o755),
            hardlink("root/y", "root/.cache/pip/http/x", mode=0o755),
        ),
        layer(hardlink("root/z", "root/y", mode=0o755)),
    )
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "pip")
    assert report["left_out"][-1] == {"path": "root/.cache/pip/http/x", "bytes": 0, "rule": "pip"}
    (result,) = read_images(tmp_path / "out.tar")
    node = apply_layers(result.layers).nodes[b"root/y"]
    assert (node.content, node.mode, set(node.names)) == (big, 0o755, {b"root/y", b"root/z"})
    report, paths = lean(
        image, tmp_path / "out.tar", "--drop-caches", "pip", "--exclude", "y", "--exclude", "z"
    )
    assert sum(one["bytes"] for one in report["left_out"]) == 3000
    assert not {"root/y", "root/z"} & paths


def test_what_a_symlink_leads_to_stays(tmp_path: Path) -> None:
    """A cache out of which the image runs stays, with what lies below and what is led to from there."""
    folders = [directory(f"root/.cache/{name}") for name in ("uv", "uv/a", "uv/b", "uv/c")]
    image = write(
        tmp_path,
        layer(
            *PIP[:2],
            *folders,
            file("root/.cache/uv/a/lib.py", b"a"),
            symlink("root/.cache/uv/a/next", "../b/lib.py"),
            file("root/.cache/uv/b/lib.py", b"b"),
            file("root/.cache/uv/c/lib.py", b"c"),
            symlink("root/pkg", "/root/.cache/uv/a"),
        ),
    )
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "uv")
    assert [one["path"] for one in report["left_out"]] == ["root/.cache/uv/c", "root/.cache/uv/c/lib.py"]
    assert {"root/.cache/uv/a/lib.py", "root/.cache/uv/b/lib.py"} <= paths


def test_conditions_of_rules_hold(tmp_path: Path) -> None:
    """Plug'n'Play runs packages from Yarn's cache, and node_modules may lead into a part of pnpm's store:
    these stay."""
    members: list[Member] = [
        file("root/.yarn/berry/cache/x.zip", b"zip"),
        file("app/.pnp.cjs", b"pnp"),
        file("root/.local/share/pnpm/store/v10/files/x", b"x"),
        file("root/.local/share/pnpm/store/v10/links/y", b"y"),
    ]
    image = write(tmp_path, layer(*members))
    report, _ = lean(image, tmp_path / "out.tar", "--drop-caches", "yarn,pnpm")
    gone = [one["path"] for one in report["left_out"] if one["bytes"]]
    assert gone == ["root/.local/share/pnpm/store/v10/files/x"]
    image = write(tmp_path, layer(members[0], *members[2:]))
    report, _ = lean(image, tmp_path / "out.tar", "--drop-caches", "yarn")
    assert report["left_out"][-1]["path"] == "root/.yarn/berry/cache/x.zip"


def test_a_glob_means_what_it_means_to_verify(tmp_path: Path) -> None:
    """A path through a symlink of the image is followed, and of one that is gone it is not; afterwards
    verify says that it is absent."""
    image = write(
        tmp_path,
        layer(directory("usr"), directory("usr/bin"), symlink("bin", "usr/bin"), symlink("data", "usr")),
        layer(whiteout("data"), directory("data"), file("usr/bin/x", b"x"), file("data/secret", b"s")),
        layer(file("usr/secret", b"kept")),
    )
    report, paths = lean(image, tmp_path / "out.tar", "--exclude", "/bin/x", "--exclude", "/data/secret")
    assert [one["path"] for one in report["left_out"]] == ["data/secret", "usr/bin/x"]
    assert "usr/secret" in paths
    assert run("verify", tmp_path / "out.tar", "--absent", "/bin/x").code == 0


def test_one_layer_is_made_anew_and_only_then(tmp_path: Path) -> None:
    """A single layer above the base loses what is left out, and says so in its history; where there is
    nothing of it the image is written as it is."""
    members = (*PIP, file("root/.cache/pip/http/x", b"x" * 5000), file("root/app", b"app"))
    image = write(tmp_path, layer(*members))
    report, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "pip")
    assert report["changed"]
    assert "root/app" in paths
    (result,) = read_images(tmp_path / "out.tar")
    assert result.config["history"][-1]["created_by"] == "squashkit squash 1 layer"
    report, _ = lean(image, tmp_path / "out.tar", "--drop-caches", "npm")
    assert not report["changed"]
    assert "nothing to leave out" in report["notes"][-1]
    (result,) = read_images(tmp_path / "out.tar")
    assert result.layers[-1] == layer(*members)


def test_kept_layers_are_not_changed_for_it(tmp_path: Path) -> None:
    """What lies in a kept layer above the run is refused by name, or if it is a cache stays; a kept layer
    that needs what goes stops the squash."""
    secret = layer(directory("srv"), file("srv/secret", b"s"))
    image = write(tmp_path, layer(file("a")), layer(file("b")), secret)
    kept = "/srv/secret is in layer 3, which is kept"
    words = ("squash", image, "--segments", "=1,2,=1", "-n")
    assert_fails(run(*words, "--exclude", "secret"), 2, kept)
    assert_fails(run("squash", image, "--keep-layers", "4", "-n", "--exclude", "secret"), 2, kept)
    linked = layer(hardlink("y", "root/.cache/pip/x"))
    image = write(tmp_path, layer(*PIP), layer(file("root/.cache/pip/x", b"x")), linked)
    needed = run("squash", image, "--segments", "=1,2,=1", "-n", "--exclude", "/root/.cache/pip/x")
    assert_fails(needed, 2, "y is a hard link to root/.cache/pip/x")


def test_diff_accepts_the_same_paths_and_nothing_else(tmp_path: Path) -> None:
    """With the options of the squash there is no difference, without them or with others there is; a path
    that both have and that differs is told all the same."""
    big = noise(3000, "big")
    image = write(
        tmp_path,
        layer(*PIP, file("root/.cache/pip/http/x", big), hardlink("root/y", "root/.cache/pip/http/x")),
        layer(hardlink("root/z", "root/y"), file("root/app", b"app"), file("root/log", b"log")),
    )
    output = tmp_path / "out.tar"
    options = ("--drop-caches", "pip", "--exclude", "log")
    lean(image, output, *options)
    whole = f"{image}:app:1"
    same = run("diff", whole, output, *options, "--json")
    assert same.code == 0, same.text
    assert {one["path"] for one in same.json["left_out"]} == {
        "root/.cache/pip",
        "root/.cache/pip/http",
        "root/.cache/pip/http/x",
        "root/log",
    }
    assert run("diff", output, whole, *options).code == 0
    assert run("diff", whole, output, "--drop-caches", "pip").code == 3
    assert run("diff", whole, output, "--exclude", "log", "--exclude", "app").code == 3
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", layer(*PIP, file("root/.cache/pip/http/x", b"other")))
    assert run("diff", f"{other}:app:1", whole, *options).code == 3


def test_a_saving_too_small_leaves_nothing_out(tmp_path: Path) -> None:
    """With --min-saving the image is written as it is, and nothing is told as left out."""
    image = write(tmp_path, layer(file("a", noise(9000, "a"))), layer(file("c", b"c")))
    report, paths = lean(image, tmp_path / "out.tar", "--exclude", "c", "--min-saving", "1GB")
    assert not report["changed"]
    assert report["left_out"] == []
    assert "c" in paths


def test_a_layer_that_loses_all(tmp_path: Path) -> None:
    """A run of which nothing is left becomes no layer."""
    image = write(tmp_path, layer(file("a", b"a")), layer(file("b", b"b")))
    report, _ = lean(image, tmp_path / "out.tar", "--exclude", "a", "--exclude", "b")
    assert report["layers"] == {"before": 3, "after": 1}


def test_a_layer_that_stands_in_the_image_twice_is_written_once(tmp_path: Path) -> None:
    """Kept as the base and kept since nothing is left out of it: one blob, the same bytes each time."""
    same = layer(symlink("d", "/d"))
    image = write(tmp_path, same, base=ImageSpec([same], ["base:1"]))
    words = ("squash", image, "--keep-layers", "1", "--exclude", "/none", "-t", "app:2", "--force", "-q")
    made = set()
    for _ in range(20):
        assert run(*words, "-o", tmp_path / "out.tar").code == 0
        made.add((tmp_path / "out.tar").read_bytes())
    assert len(made) == 1


CACHE = "root/.cache/pip"
WAYS: dict[str, tuple[list[Member], set[str]]] = {
    "through a symlink in the cache": (
        [
            directory("D"),
            file("D/x", b"x"),
            symlink("E", "D"),
            file("y", b"y"),
            symlink("/l", f"/{CACHE}/E/x"),
        ],
        {"D", "D/x", "E"},
    ),
    "up from a folder of the cache": (
        [directory("D"), file("D/x", b"x"), symlink("/l", f"{CACHE}/D/../../../app"), file("/root/app")],
        {"D"},
    ),
    "to the cache itself": ([file("m.py", b"m"), symlink("/l", f"/{CACHE}")], {"m.py"}),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("in_base", [False, True])
def test_nothing_that_a_symlink_passes_goes(name: str, in_base: bool, tmp_path: Path) -> None:
    """Every place on the way stays, whether or not the base has the folder; the rest goes."""
    members, stays = WAYS[name]
    named = [
        replace(one, name=one.name[1:] if one.name[:1] == b"/" else f"{CACHE}/".encode() + one.name)
        for one in members
    ]
    base = ImageSpec([layer(*PIP[:3])], ["base:1"]) if in_base else BASE
    image = write(tmp_path, layer(*PIP[:3], *named), base=base)
    _, paths = lean(image, tmp_path / "out.tar", "--drop-caches", "pip")
    left = {path.removeprefix(f"{CACHE}/") for path in paths if path.startswith(f"{CACHE}/")}
    assert left == stays


ABOVE: dict[str, tuple[str, list[bytes], set[str]]] = {
    "a symlink of a kept layer": ("=1,1,=1", [layer(symlink("l", f"{CACHE}/f"))], {"f"}),
    "a hard link of a kept layer": ("=1,1,=1", [layer(hardlink("l", f"{CACHE}/f"))], {"f"}),
    "a whiteout of a kept layer": ("=1,1,=1", [layer(whiteout(f"{CACHE}/f"))], set()),
    "a file of a kept layer": ("=1,1,=1", [layer(file(f"{CACHE}/n", b"n"))], {"n"}),
    "another run": ("=1,1,=1,1", [layer(file("mid")), layer(file(f"{CACHE}/h", b"h"))], set()),
}


@pytest.mark.parametrize("name", ABOVE)
def test_caches_refuse_nothing_and_break_nothing_above(name: str, tmp_path: Path) -> None:
    """What layers above rely on stays, and what they hide is there to be hidden."""
    segments, layers, stays = ABOVE[name]
    image = write(tmp_path, layer(*PIP[:3], file(f"{CACHE}/f", b"f"), file(f"{CACHE}/g", b"g")), *layers)
    output = tmp_path / "out.tar"
    words = ("squash", image, "--segments", segments, "--drop-caches", "pip", "-t", "app:2", "-o", output)
    done = run(*words, "--check")
    assert done.code == 0, done.err
    (result,) = read_images(output)
    paths = {path.decode() for path in apply_layers(result.layers).nodes}
    assert {path.removeprefix(f"{CACHE}/") for path in paths if path.startswith(f"{CACHE}/")} == stays
    if "whiteout" in name:
        assert f"{CACHE}/f".encode() in apply_layers(result.layers[:2]).nodes


def test_a_kept_layer_that_hides_what_is_named_is_refused(tmp_path: Path) -> None:
    """A whiteout of nothing is a broken name on overlay file systems."""
    image = write(tmp_path, layer(file("secret", b"s"), file("a")), layer(whiteout("secret")))
    words = ("squash", image, "--segments", "=1,1,=1", "--exclude", "secret", "-n")
    assert_fails(run(*words), 2, "layer 2 deletes secret", "merge that layer, too")


def test_what_is_named_goes_though_it_is_a_cache(tmp_path: Path) -> None:
    """A glob of somebody's own counts before the rules: it goes where a cache would stay, and is refused
    where a cache of the base would."""
    members = [*PIP[:3], file(f"{CACHE}/x", b"x"), symlink("l", f"{CACHE}/x")]
    image = write(tmp_path, layer(*members))
    named = ("--drop-caches", "all", "--exclude", f"/{CACHE}/x")
    assert f"{CACHE}/x" not in lean(image, tmp_path / "out.tar", *named)[1]
    image = write(tmp_path, layer(file("a")), base=ImageSpec([layer(*members)], ["base:1"]))
    assert_fails(run("squash", image, "--keep-layers", "1", *named, "-n"), 2, "is the base's")


def test_stars_go_through_no_symlinks(tmp_path: Path) -> None:
    """`*` and `**` mean folders, whatever symlinks an image has; one that is named is followed."""
    links = [symlink(f"usr/bin/l{number}", "prog") for number in range(1500)]
    members = [
        *map(directory, ("usr", "usr/bin", "usr/bin/sub")),
        *(file(f"usr/bin/{name}", b"x") for name in ("prog", "sub/prog")),
        symlink("usr/bin/X11", "."),
    ]
    image = write(tmp_path, layer(*members, *links))
    report, _ = lean(image, tmp_path / "out.tar", "--exclude", "/usr/bin/*/prog")
    assert [one["path"] for one in report["left_out"]] == ["usr/bin/sub/prog"]
    report, _ = lean(image, tmp_path / "out.tar", "--exclude", "/usr/bin/X11/pr*")
    assert [one["path"] for one in report["left_out"]] == ["usr/bin/prog"]
    report, _ = lean(image, tmp_path / "out.tar", "--exclude", "**/sub/**")
    assert [one["path"] for one in report["left_out"]] == ["usr/bin/sub/prog"]


def test_a_dry_run_says_what_a_run_does(tmp_path: Path) -> None:
    """Where too little is saved nothing is left out, and an image of nothing has one layer."""
    image = write(tmp_path, layer(file("a", noise(9000, "a"))), layer(file("c", b"c")))
    words = ("squash", image, "--keep-layers", "1", "--exclude", "c", "--min-saving", "1GB", "-n", "--json")
    assert run(*words).json["left_out"] == []
    nothing = run("squash", image, "--all", "--exclude", "/*", "-n", "--json")
    assert nothing.json["layers"]["after"] == 1
