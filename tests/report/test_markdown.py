"""Pages of Markdown: what hosts make of them, however hostile an image is, and how long they get."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import squashkit
from squashkit import Gates, Keep, Rebase, Write
from squashkit.report.markdown.page import LIMIT, Part, fence, name, page, prose, step, told
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.pages import ELEMENTS, Page
from tests.support.runner import assert_fails, run

EVIL = "|`<b>x</b></details>\n\n`` @ada #12 ![a](http://x.example) <!-- \\| ~~~\n```\n# h\n/close \u202e"
"""Markdown, HTML, ends of lines and of folds, mentions, links, and a mark that turns the direction."""
NAME = EVIL.replace("/", "_")
BASE = ImageSpec([layer(file("etc/os-release", b"ID=fedora\n"), file("big", bytes(5000)))], ["fedora:28"])
STEPS = [
    "ADD file:1 in /",
    f"RUN make {EVIL}",
    f"RUN rm -rf `ls` {EVIL} # buildkit",
    "RUN pip install @ada/x",
]
APP = replace(
    on_base(
        BASE,
        layer(file(NAME, noise(30_000, "a")), file("data", noise(20_000, "b"))),
        layer(whiteout(NAME), file("data", noise(20_000, "b"), mode=0o755), file("big", b"x")),
        layer(directory("root/.cache/pip"), file(f"root/.cache/pip/{NAME}", noise(9000, "p"))),
        tags=["app:1"],
    ),
    history=[{"created_by": one} for one in STEPS],
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive of the app and its base, and a Dockerfile of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    docker_archive_old(tmp_path / "app.tar", [APP, BASE])
    docker_archive_old(tmp_path / "new.tar", [ImageSpec([layer(file("new"))], ["new:1"])])
    commands = [one.partition(" # ")[0].replace("\n", " ") for one in STEPS[1:]]
    (tmp_path / "Dockerfile").write_text("\n".join(["FROM fedora:28", *commands]) + "\n")
    return tmp_path


WASTE = ("waste", "app.tar:app:1", "--dockerfile", "Dockerfile", "--markdown")


def test_a_comment_tells_the_verdict_first(place: Path) -> None:
    """The heading says whether the gates were passed, then come gates, causes, changes and files; what is
    long is folded."""
    result = run(*WASTE, "--max-wasted", "1KB", "--max-layers", "9")
    assert result.code == 3
    shown = Page(result.text)
    assert result.text.startswith("### Failed: 50 KB wasted in `app:1`\n")
    gates, causes, dead, live, layers = shown.tables
    assert gates[1:] == [
        ["--max-wasted", "1.0 KB", "50 KB", "failed"],
        ["--max-layers", "9", "4", "passed"],
    ]
    assert [line[0] for line in causes[1:]] == ["attributes", "overwritten", "deleted"]
    assert [line[1] for line in dead[1:]] == ["30 KB", "20 KB", "5.0 KB"]
    assert [line[:2] for line in live[1:]] == [["pip", "9.0 KB"]]
    assert [line[0] for line in layers[1:]] == ["0 (base)", "1", "2", "3"]
    assert shown.folds == [
        "3 dead files, the largest first",
        "Lives, and is not needed: 9.0 KB",
        "4 layers",
    ]
    assert "What to write instead" in shown.plain
    passed = run(*WASTE, "--max-wasted", "1MB")
    assert passed.code == 0
    assert passed.text.startswith("### Passed: 50 KB wasted")
    assert run(*WASTE).text.startswith("### 50 KB wasted")


def test_an_image_without_waste_is_told_in_few_lines(place: Path) -> None:
    """Where nothing is dead the heading says so, and no table of files is there."""
    docker_archive_old(place / "base.tar", [BASE])
    result = run("waste", "base.tar", "--markdown")
    assert result.text.startswith("### Nothing is wasted in `fedora:28`\n")
    assert len(Page(result.text).tables) == 1


COMMANDS = [
    WASTE,
    (*WASTE, "-v", "--max-wasted", "0"),
    ("squash", "app.tar:app:1", "--keep-base", "fedora:28", "-n", "--markdown"),
    ("squash", "app.tar:app:1", "--keep-base", "fedora:28", "-o", f"{NAME}.tar", "--markdown", "--check"),
    ("rebase", "app.tar:app:1", "--old-base", "fedora:28", "--new-base", "new.tar", "-n", "--markdown"),
    (
        "rebase",
        "app.tar:app:1",
        "--old-base",
        "fedora:28",
        "--new-base",
        "new.tar",
        "-o",
        "o",
        "--markdown",
    ),
    ("extract", "app.tar:app:1", "/etc", "-n", "--markdown"),
    ("fleet", "storage", "app.tar", "new.tar", "--markdown"),
    ("fleet", "advise", "app.tar", "new.tar", "--markdown"),
    (
        "fleet",
        "squash",
        "app.tar",
        "new.tar",
        "--into",
        f"{NAME.replace(':', '')}.tar",
        "--strategy",
        "all",
        "--markdown",
    ),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(map(ascii, words)))
def test_nothing_of_an_image_marks_up(words: tuple[str, ...], place: Path) -> None:
    """Whatever paths and commands hold, a page has our elements alone, tables of even rows, folds that
    close, no mention and no link, and no line that begins with a command to a host."""
    result = run(*words)
    assert result.code in (0, 3), result.err
    assert result.text, result.err
    shown = Page(result.text)
    assert shown.elements <= ELEMENTS, shown.html
    assert shown.folds == re.findall(r"(?m)^<summary>(.*)</summary>$", result.text)
    assert result.text.count("<details>") == result.text.count("</details>\n")
    for table in shown.tables:
        assert {len(line) for line in table} == {len(table[0])}
    assert not re.search(r"@ada|#12|http://", re.sub("<(code|pre).*?</\\1>", "", shown.html))
    assert not re.search(r"(?m)^\s*(/close|#(?!##? ))", result.text)
    assert [sign for sign in result.text if not sign.isprintable() and sign != "\n"] == []


def test_paths_and_commands_can_be_read(place: Path) -> None:
    """Code shows what was there, but for what is no visible sign."""
    shown = Page(run(*WASTE).text)
    visible = NAME.replace("\n", "\\n").replace("\u202e", "\\u202e")
    assert any(f"/{visible}" == one for one in shown.code)
    assert any(one.startswith("rm -rf `ls` |`<b>x</b></details> `` @ada #12") for one in shown.code)


def test_every_platform_has_a_part(place: Path) -> None:
    """With `--platform all` each platform has its page, and all together keep to the limit."""
    specs = [replace(APP, platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    oci_layout(place / "layout", specs, nested=True)
    text = run("waste", "oci:layout", "--platform", "all", "--markdown").text
    assert re.findall(r"(?m)^linux/\w+", text) == ["linux/amd64", "linux/arm64"]
    squashed = squashkit.squash_platforms("oci:layout", None, keep=Keep(layers=1))
    assert squashkit.markdown(squashed).count("### To be squashed") == 2


def test_a_page_is_never_too_long(place: Path) -> None:
    """Of many dead files with long names, and all of them asked for, as many are there as fit; the verdict
    is whole, folds close, and the page says that it is shortened."""
    names = [f"{'é' * 90}{number}" for number in range(2000)]
    made = layer(*(file(one, b"x" * 99) for one in names))
    image = on_base(BASE, made, layer(*map(whiteout, names)), tags=["many:1"])
    docker_archive_old(place / "many.tar", [image])
    text = run("waste", "many.tar", "--markdown", "-v").text
    assert LIMIT * 0.9 < len(text.encode()) <= LIMIT
    shown = Page(text)
    assert shown.elements <= ELEMENTS
    assert re.search(r"… and [\d,]+ more", shown.plain)
    assert "This page is shortened" in shown.plain
    assert text.count("<details>") == text.count("</details>")
    assert len(run("waste", "many.tar", "--markdown").text) < 20_000


def test_two_forms_exclude_each_other(place: Path) -> None:
    """A report is printed in one form: two are a usage error, before anything is read or written."""
    for words in COMMANDS:
        assert_fails(run(*words, "--json"), 2, "--json and --markdown exclude each other")
    assert_fails(run(*WASTE, "--sarif"), 2, "--markdown and --sarif exclude each other")
    assert sorted(one.name for one in place.iterdir()) == ["Dockerfile", "app.tar", "new.tar"]


def test_markdown_does_not_go_where_an_image_goes(place: Path) -> None:
    """With the image on standard output there is no place for Markdown, and a usage error says so."""
    words = ("squash", "app.tar:app:1", "--keep-base", "fedora:28", "-o", "-", "--markdown")
    assert_fails(run(*words), 2, "-o")


def test_a_refused_rebase_is_told_in_markdown(place: Path) -> None:
    """What stops a rebase is in the comment, too."""
    arm = ImageSpec([layer(file("new"))], ["arm:1"], platform="linux/arm64")
    docker_archive_old(place / "arm.tar", [arm])
    result = run(
        *("rebase", "app.tar:app:1", "--old-base", "fedora:28", "--new-base", "arm.tar", "-o", "o.tar"),
        "--markdown",
    )
    assert result.code == 3
    assert result.text.startswith("### Not put on another base: `app:1`")
    assert "**stops it**" in result.text


def test_a_report_goes_to_a_file_beside_the_comment(place: Path) -> None:
    """One run of `waste` gives Markdown and JSON; a file that is read is not overwritten."""
    result = run(*WASTE, "--report", "report.json")
    assert result.code == 0, result.err
    assert (place / "report.json").read_text() == run("waste", "app.tar:app:1", *WASTE[2:4], "--json").text
    for path in ("app.tar", "Dockerfile", "nowhere/report.json"):
        assert_fails(run(*WASTE, "--report", path), 2, "--report")


def test_python_has_it_too(place: Path) -> None:
    """`markdown` takes what the functions give, several at once, and nothing else."""
    waste = squashkit.waste("app.tar:app:1", gates=Gates(max_wasted=0))
    squashed = squashkit.squash("app.tar:app:1", None, keep="fedora:28")
    rebased = squashkit.rebase(
        "app.tar:app:1", None, Rebase("new.tar", "fedora:28"), write=Write(dry_run=True)
    )
    text = squashkit.markdown(waste, squashed, rebased)
    assert len(re.findall("(?m)^### ", text)) == 3
    with pytest.raises(TypeError):
        squashkit.markdown("app.tar")  # type: ignore[arg-type]


# --- the pieces -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [EVIL, "`", "``", "a`b", "", " ", "\\", "\\|", "|", "@a@b", "`x` `y", "www.x"]
)
def test_pieces_are_one_cell(text: str) -> None:
    """Any text is one cell of one table, as a name, a command and a sentence."""
    for piece in (name(text), step(text), prose(text)):
        (table,) = Page(f"| a | b |\n| --- | --- |\n| {piece} | end |").tables
        assert len(table[1]) == 2
        assert table[1][1] == "end"


def test_quoted_commands_are_code() -> None:
    """Commands of a sentence are code, known ones with backticks in them, too."""
    commands = ["rm `ls`"]
    assert told("what `make` leaves, `rm `ls`` deletes", commands) == (
        "what `make` leaves, `` rm `ls` `` deletes"
    )
    assert Page(told("an odd ` stays")).plain.strip() == "an odd ` stays"


@pytest.mark.parametrize("text", ["```\nx", "````` a\n~~~\n</details>", "+ a\n- b", ""])
def test_a_fence_ends_where_it_ends(text: str) -> None:
    """No line of a block of code ends it."""
    shown = Page(fence(text, "diff"))
    assert shown.elements == {"pre", "code"}
    assert shown.code == [text + "\n" if text else ""]


def test_what_does_not_fit_is_left_out_whole() -> None:
    """Rows go from the end, a part without room for one row goes whole, later ones that fit stay."""
    parts = [
        Part(head="first"),
        Part(["x" * 300] * 2, "big"),
        Part(["a", "b" * 200], "list"),
        Part(head="last"),
    ]
    assert page(parts, 10_000).count("\n\n") == 3
    text = page(parts, 220)
    assert "big" not in text
    assert "list\na\n\n… and 1 more" in text
    assert "last" in text
    assert text.endswith("`--json` has all of it.")
    assert len(text) <= 220
