"""`squashkit waste --markdown` and `--sarif`: what others wrote marks nothing up, and all fits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.builders import ImageSpec, docker_archive_25, file, layer, whiteout
from tests.support.runner import Json, run

HOSTILE = [b"a|b`c`<img src=x>\n# d", b"</details>", b"```", b"[x](y)", b"\xff\xfe", b"*e*"]
STEP = "RUN echo `x` ```` | <script> && rm -rf /*"


def archive(folder: Path, members: int = 1) -> Path:
    """An image of hostile names and steps, all of whose files are dead."""
    names = [name + b"%d" % number for number in range(members) for name in HOSTILE]
    image = ImageSpec(
        [layer(*(file(name, b"x" * 2000) for name in names)), layer(*map(whiteout, names))],
        ["app:1"],
        history=[{"created_by": STEP}, {"created_by": STEP + " \n</details>"}],
    )
    docker_archive_25(folder / "app.tar", [image])
    return folder / "app.tar"


def test_nothing_marks_up(tmp_path: Path) -> None:
    """Folds are opened and closed as often, no tag stands outside of code, and no row has more columns."""
    said = run("waste", archive(tmp_path), "--markdown", "--max-wasted", "1KB").text
    assert said.startswith("### app:1: 12 KB dead\n")
    assert "**1 of 1 gate failed.**" in said
    lines = said.split("\n")
    assert lines.count("<details>") == lines.count("</details>") > 1
    tables = [line for line in lines if line.startswith("|")]
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", "\n".join(tables))
    assert {line.replace("\\|", "").count("|") for line in outside.split("\n")} <= {4, 5, 6}
    text = re.sub(r"(?m)^(<details>|</details>|<summary>.*</summary>)$", "", said)
    text = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)<", text)


def test_a_comment_has_at_most_60_000_characters(tmp_path: Path) -> None:
    """Rows are those of the largest, and it says how many more there are."""
    said = run("waste", archive(tmp_path, 300), "--markdown").text
    assert len(said) <= 60_000
    assert "... and 1,780 more" in said


def sarif(source: Path, *args: str | Path) -> Json:
    result = run("waste", source, "--sarif", *args)
    assert result.code in (0, 3), result.err
    value = json.loads(result.out)
    assert isinstance(value, dict)
    return value


def image_of(folder: Path, size: int) -> Path:
    """Built from a Dockerfile beside it."""
    folder.mkdir()
    (folder / "Docker file").write_text("FROM scratch\nRUN make\nRUN rm /a\nCOPY b /b\n")
    image = ImageSpec(
        [layer(file("a", b"x" * size)), layer(whiteout("a")), layer(file("b", b"b"))],
        ["app:1"],
        history=[
            {"created_by": "RUN /bin/sh -c make # buildkit"},
            {"created_by": "RUN /bin/sh -c rm /a # buildkit"},
            {"created_by": "COPY b /b # buildkit"},
        ],
    )
    docker_archive_25(folder / "app.tar", [image])
    return folder


def test_sarif_names_lines_rules_and_levels(tmp_path: Path) -> None:
    """A result for each mend at its line, an error for a gate that failed; the path is a URI."""
    folder = image_of(tmp_path / "one", 90_000)
    log = sarif(folder / "app.tar", "--dockerfile", folder / "Docker file", "--max-wasted", "1KB")
    assert log["version"] == "2.1.0"
    (done,) = log["runs"]
    rules = [rule["id"] for rule in done["tool"]["driver"]["rules"]]
    join, gate = done["results"]
    assert [(one["ruleId"], one["level"]) for one in done["results"]] == [
        ("join", "warning"),
        ("gate", "error"),
    ]
    assert all(rules[one["ruleIndex"]] == one["ruleId"] for one in done["results"])
    place = join["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 2}
    assert place["artifactLocation"]["uri"].endswith("/one/Docker%20file")
    assert join["properties"]["layers"] == [0, 1]
    assert "/a, 90 KB" in gate["message"]["text"]


def test_fingerprints_stay_from_build_to_build(tmp_path: Path) -> None:
    """Sizes change, steps do not."""
    marks = []
    for size in (5000, 90_000):
        folder = image_of(tmp_path / str(size), size)
        (done,) = sarif(folder / "app.tar", "--dockerfile", folder / "Docker file")["runs"]
        marks.append([one["partialFingerprints"] for one in done["results"]])
    assert marks[0] == marks[1] != []


@pytest.mark.parametrize("words", [["--json", "--markdown"], ["--markdown", "--sarif"]])
def test_one_form_at_a_time(words: list[str], tmp_path: Path) -> None:
    """A usage error, before anything is read."""
    assert run("waste", tmp_path / "none.tar", *words).code == 2


def test_sarif_needs_a_dockerfile(tmp_path: Path) -> None:
    """Without it there are no lines to name."""
    result = run("waste", archive(tmp_path), "--sarif")
    assert result.code == 2
    assert "--dockerfile" in result.err
