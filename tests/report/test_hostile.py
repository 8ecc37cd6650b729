"""Text of images that would steer a terminal or a Markdown table; and passwords, which nobody is told."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    symlink,
    whiteout,
)
from tests.support.runner import BASE_NAME, Arg, Json, Result, change_index, change_manifest, run

EVIL = "\x1b[31m\x9b2J\x7f\u202e\u2066\u200f\u061c\u2028|`<b>\rX\nINJECTED"
"""A colour, a C1 control that clears the screen, DEL, marks of direction, Markdown, HTML, ends of lines."""
NAME = f"x{EVIL}"
STEP = f"RUN {EVIL}"


def image(tag: str, *more: bytes) -> ImageSpec:
    """An image that says nothing but evil things."""
    base = layer(directory(NAME), file(f"{NAME}/f", b"one", xattrs={f"user.{EVIL}": EVIL.encode()}))
    layers = [base, *more]
    settings = {"Env": [f"A={EVIL}"], "Labels": {EVIL: EVIL, BASE_NAME: EVIL}, "User": EVIL, "Cmd": [EVIL]}
    config: Json = {"config": settings, "author": EVIL, EVIL: EVIL}
    history: list[Json] = [{"created_by": STEP, "comment": EVIL, "author": EVIL} for _ in layers]
    return ImageSpec(layers, [tag], config, history)


ABOVE = (
    layer(symlink(f"{NAME}s", EVIL), file(f"{NAME}2", b"two"), hardlink(f"{NAME}h", f"{NAME}2")),
    layer(whiteout(f"{NAME}2"), file(f"{NAME}/f", b"other"), file(f"{NAME}/f", b"twice")),
)
APP, BASE = image(f"app{EVIL}:1", *ABOVE), image(f"base{EVIL}:1")
NEW = ImageSpec([layer(file("new"))], [f"new{EVIL}:1"], platform=f"linux/{EVIL}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a docker archive of the app and its base, a layout of the app, each named as badly, and
    a home of its own."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    folder = tmp_path / f"in{EVIL.replace('/', '')}"
    folder.mkdir()
    docker_archive_old(folder / "both.tar", [APP, BASE])
    docker_archive_old(folder / "new.tar", [NEW])
    oci_layout(folder / "layout", [APP])
    monkeypatch.chdir(folder)

    def rename(index: Json) -> None:
        for one in index["manifests"]:
            one["annotations"] = dict.fromkeys(one["annotations"], f"app{EVIL}")

    change_index(folder / "layout", rename)
    change_manifest(folder / "layout", lambda manifest: manifest.update(annotations={EVIL: EVIL}))
    return folder


def assert_harmless(result: Result) -> None:
    """Every sign on both streams is a visible one or ends a line, and no line is the image's."""
    for text in (result.out.decode(), result.err):
        assert [c for c in text if not c.isprintable() and c != "\n"] == []
        assert not re.search(r"(?m)^INJECTED", text)


KEEP = ("--keep-layers", "1")
COMMANDS: list[tuple[Arg, ...]] = [
    ("inspect", "both.tar"),
    ("inspect", "both.tar", "--dot"),
    ("inspect", "layout", "-v"),
    ("inspect", "layout", "--verify"),
    ("ls", "layout", "-R"),
    ("ls", "layout", "-R", "-l"),
    ("ls", "layout", "--layer", "2", "--whiteouts"),
    ("which", "layout", f"/{NAME}2"),
    ("which", "layout", f"/{NAME}/f"),
    ("cat", "layout", f"/{NAME}/f"),
    ("cat", "layout", f"/{NAME}"),
    ("diff", "layout", "new.tar"),
    ("verify", "layout", "--absent", "x*", "--absent", EVIL, "--limit", "0"),
    ("verify", "both.tar", "--absent", "*"),
    ("waste", "layout"),
    ("waste", "layout", "-v", "--markdown"),
    ("report", "layout", "-o", "page.html"),
    ("squash", "layout", *KEEP, "-n", "--markdown"),
    ("export", "layout", "-o", f"o{EVIL.replace('/', '')}.tar"),
    ("squash", "layout", *KEEP, "-n", "-v"),
    ("squash", "layout", *KEEP, "-o", "oci:out:x", "-v"),
    ("squash", "layout", *KEEP, "-o", "oci:out"),
    ("squash", "layout", "--from-step", EVIL, "-n"),
    ("rebase", "layout", "--old-base", "both.tar:base" + EVIL + ":1", "--new-base", "new.tar", "-n", "-v"),
    ("base", "find", "layout"),
    ("base", "check", "layout"),
    ("base", "check", "layout", "--base", "new.tar"),
    ("base", "add", "new.tar", "layout"),
    ("base", "list"),
    ("base", "remove", EVIL),
    ("fleet", "storage", "layout", "both.tar"),
    ("fleet", "advise", "layout", "both.tar"),
    ("fleet", "pull", "layout", "--have", "both.tar"),
    ("fleet", "freed", "layout", "both.tar"),
    ("fleet", "report", "layout", "both.tar", "-o", "fleet.html"),
    ("fleet", "squash", "layout", "--into", "oci:fleet", "--strategy", "all"),
]
MISTAKES: list[tuple[Arg, ...]] = [
    ("inspect", f"layout:{EVIL}"),
    ("inspect", EVIL),
    ("inspect", "layout", "--platform", EVIL),
    ("ls", "layout", EVIL),
    ("squash", "layout", "-n"),
    ("squash", "layout", "--keep-layers", "9", "-n"),
    ("squash", "layout", "--keep-base", EVIL, "-n"),
    ("squash", "layout", "--keep-base", "new.tar", "-n"),
    ("squash", "layout", "--from-step", "nowhere", "-n"),
    ("squash", "both.tar", *KEEP, "-n"),
    ("squash", "layout", "--segments", EVIL, "-n"),
    ("squash", "layout", *KEEP, "-o", "oci:out:x", "-t", EVIL),
    ("squash", "layout", *KEEP, "-o", f"{EVIL}/nowhere"),
    ("squash", "layout", *KEEP, "-o", f"docker://{EVIL}"),
    ("fleet", "storage", EVIL),
    (EVIL,),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(map(ascii, words)))
@pytest.mark.parametrize("form", ["", "--json"])
def test_no_text_of_an_image_steers_a_terminal(form: str, words: tuple[Arg, ...], place: Path) -> None:
    """Whatever an image is called and says, each command prints visible signs alone; as JSON too, which
    says it all to programs."""
    added = run("base", "add", "layout", "new.tar")
    assert added.code == 0, added.err
    assert_harmless(added)
    if form and (
        words[:2] in (("base", "add"), ("base", "remove"), ("report", "layout"), ("fleet", "report"))
        or {"--dot", "--markdown"} & set(words)
    ):
        pytest.skip("it has no JSON")
    result = run(*words, *([form] if form else []))
    assert "this is a fault" not in result.err, result.err
    assert_harmless(result)
    if form and result.out:
        json.loads(result.out)


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: " ".join(map(ascii, words)))
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_no_error_steers_a_terminal(debug: tuple[str, ...], words: tuple[Arg, ...], place: Path) -> None:
    """What is told of a mistake, the choices and the traceback included, are visible signs alone."""
    result = run(*debug, *words)
    assert result.code
    assert "this is a fault" not in result.err, result.err
    assert_harmless(result)


def test_json_says_what_images_say(place: Path) -> None:
    """What is escaped in JSON is the same text to whoever reads it, in a report's file too."""
    found = run("inspect", "layout", "--json").json
    assert found["layers"][0]["created_by"] == STEP
    result = run("squash", "layout", *KEEP, "-n", "--report", "report.json")
    assert result.code == 0, result.err
    text = (place / "report.json").read_text()
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_a_name_marks_up_nothing_in_markdown(place: Path) -> None:
    """In the table of `fleet advise` a name is code in one cell: no `|`, backtick or tag of it counts."""
    shutil.copy("both.tar", "other.tar")
    lines = run("fleet", "advise", "both.tar").text.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 6
    for row in rows[2:]:
        assert re.match(r"\| (`+) ?[^`]*`[^`]* ?\1 \|", row), row


@pytest.mark.parametrize("path", [f"{NAME}/../../x", f"{NAME}\0"])
def test_a_bad_layer_is_told_harmlessly(path: str, place: Path) -> None:
    """A path at fault in a layer is shown with its signs escaped."""
    bad = ImageSpec([layer(file("a")), layer(file(f"{NAME}/a"), file(f"{NAME}/.wh..wh.", b""))], ["bad:1"])
    docker_archive_old(place / "bad.tar", [bad])
    for words in (("verify", "bad.tar"), ("ls", "bad.tar"), ("squash", "bad.tar", "--all", "-o", "o.tar")):
        assert_harmless(run(*words))


# --- passwords -------------------------------------------------------------------------------

SECRET = "hunter2"


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "docker://ada:hunter2@127.0.0.1:9/app:1"),
        ("inspect", "docker://ada:hun/hunter2@127.0.0.1:9/app"),
        ("inspect", "docker://ada:h@hunter2@127.0.0.1:9/app"),
        ("inspect", f"docker://hunter2@127.0.0.1:9/app@sha256:{'0' * 64}"),
        ("inspect", "docker-daemon:ada:hunter2@127.0.0.1:9/app"),
        ("inspect", "ada:hunter2@127.0.0.1:9/app"),
        ("inspect", "https://ada:hunter2@127.0.0.1:9/app"),
        ("squash", "layout", *KEEP, "-o", "docker://ada:hunter2@127.0.0.1:9/app"),
        ("squash", "layout", *KEEP, "-o", "oci:out:x", "-t", "ada:hunter2@127.0.0.1:9/app"),
        ("squash", "layout", "--keep-base", "docker://ada:hunter2@127.0.0.1:9/app", "-n"),
        ("rebase", "layout", "--new-base", "docker://ada:hunter2@127.0.0.1:9/app", *["-n"]),
        ("base", "add", "docker://ada:hunter2@127.0.0.1:9/app"),
        ("fleet", "pull", "layout", "--have", "docker://ada:hunter2@127.0.0.1:9/app"),
        ("fleet", "freed", "docker://ada:hunter2@127.0.0.1:9/team/"),
        ("fleet", "squash", "layout", "--into", "docker://ada:hunter2@127.0.0.1:9/team"),
        ("fleet", "storage", "docker://ada:hunter2@127.0.0.1:9/team/"),
        ("inspect", "app:1"),
        ("inspect", "docker://registry.example/app:1"),
    ],
    ids=" ".join,
)
def test_a_password_is_never_told(
    words: tuple[Arg, ...], debug: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a message nor a traceback holds a password that stands in a reference, in the address of a
    proxy or of a daemon."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://ada:hunter2@127.0.0.1:9")
    for port in (9, 99999):  # nobody there, and no address
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:hunter2@127.0.0.1:{port}")
        result = run(*debug, *words)
        assert result.code
        assert "this is a fault" not in result.err, result.err
        assert SECRET not in result.err + result.out.decode()
