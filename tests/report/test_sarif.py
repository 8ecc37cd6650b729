"""Waste as SARIF: what the schema wants, where the results stand, and what stays from build to build.

The schema here has the part of SARIF 2.1.0 that squashkit writes. `SARIF_SCHEMA` may name a file with the
whole one, which then counts too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import squashkit
from squashkit.errors import UsageError
from tests.support.builders import (
    ImageSpec,
    docker_archive_old,
    file,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import Arg, assert_fails, run

SCHEMAS = [Path(__file__).parents[1] / "support/sarif_schema.json"]
if "SARIF_SCHEMA" in os.environ:
    SCHEMAS.append(Path(os.environ["SARIF_SCHEMA"]))
EVIL = "[a](b) {0} ${x} \\ `<b>` \u202e"
DOCKERFILE = f"""\
FROM fedora:28
COPY cache big /
RUN chmod 755 /big && \\
  rm /cache
RUN make {EVIL}
RUN rm /left
"""
BASE = ImageSpec([layer(file("etc/os-release", b"ID=fedora\n"), file("lib", bytes(5000)))], ["fedora:28"])
STEPS = [
    "COPY cache big / # buildkit",
    "RUN /bin/sh -c chmod 755 /big &&   rm /cache # buildkit",
    f"RUN /bin/sh -c make {EVIL} # buildkit",
    "RUN /bin/sh -c rm /left # buildkit",
]


def app(size: int = 30_000, before: Sequence[str] = (), steps: Sequence[str] = STEPS) -> ImageSpec:
    """A build: sizes, and the steps before, differ from one to the next."""
    above = [
        layer(file("cache", noise(size, "c")), file("big", noise(size, "b"))),
        layer(whiteout("cache"), file("big", noise(size, "b"), mode=0o755), file("lib", b"x")),
        layer(file("left", noise(size, "l")), file("root/.cache/pip/http/a", noise(size, "p"))),
        layer(whiteout("left")),
    ]
    extra = [layer(file(f"extra{number}", b"x")) for number in range(len(before))]
    image = on_base(BASE, *extra, *above, tags=["app:1"])
    return replace(image, history=[{"created_by": one} for one in ("ADD file:1 in /", *before, *steps)])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the image, its base and its Dockerfile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    docker_archive_old(tmp_path / "app.tar", [app(), BASE])
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def sarif(*words: Arg, code: int = 0, dockerfile: Arg = "Dockerfile") -> dict[str, Any]:
    """The document of a run, which fits every schema."""
    jsonschema = pytest.importorskip("jsonschema")
    result = run("waste", *(words or ("app.tar:app:1",)), "--sarif", "--dockerfile", dockerfile)
    assert result.code == code, result.err
    document: dict[str, Any] = json.loads(result.out)
    for schema in SCHEMAS:
        jsonschema.Draft4Validator(json.loads(schema.read_text())).validate(document)
    return document


def results(document: dict[str, Any]) -> list[dict[str, Any]]:
    (made,) = document["runs"]
    return list(made["results"])


def lines(result: dict[str, Any]) -> tuple[int, int]:
    region = result["locations"][0]["physicalLocation"]["region"]
    return region["startLine"], region["endLine"]


def test_results_stand_at_the_lines_to_change(place: Path) -> None:
    """Dead files are warnings at the step that made them, what lives is a note at its step, and what only
    another base avoids stands where it is killed."""
    found = {(one["ruleId"], *lines(one), one["level"]) for one in results(sarif())}
    assert found == {
        ("dead/chmod", 2, 2, "warning"),
        ("dead/multi-stage", 2, 2, "warning"),
        ("dead/multi-stage", 3, 4, "warning"),
        ("dead/join", 5, 5, "warning"),
        ("live/pip", 5, 5, "note"),
    }


def test_each_result_has_its_rule(place: Path) -> None:
    """A rule a kind, each with its words and its usual level, and the number of each is right."""
    document = sarif()
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    assert len({one["id"] for one in rules}) == len(rules)
    for one in results(document):
        rule = rules[one["ruleIndex"]]
        assert rule["id"] == one["ruleId"]
        assert rule["defaultConfiguration"]["level"] == one["level"]


def test_a_failed_gate_is_an_error(place: Path) -> None:
    """Where a gate failed it is an error itself, dead files above the base are, those of the base are not,
    and the exit code is 3."""
    found = results(sarif("app.tar:app:1", "--max-wasted", "1KB", "--max-layers", "99", code=3))
    levels = {(one["ruleId"], lines(one)[0]): one["level"] for one in found}
    assert levels == {
        ("gate/max-wasted", 1): "error",
        ("dead/chmod", 2): "error",
        ("dead/multi-stage", 2): "error",
        ("dead/multi-stage", 3): "warning",
        ("dead/join", 5): "error",
        ("live/pip", 5): "note",
    }


def test_sizes_are_in_properties(place: Path) -> None:
    """Each result about files says how many bytes, and of which layers; a run says what is wasted."""
    document = sarif()
    by_rule = {one["ruleId"]: one["properties"] for one in results(document)}
    assert by_rule["live/pip"]["bytes"] == 30_000
    assert by_rule["live/pip"]["paths"] == ["/root/.cache/pip/http/a"]
    assert by_rule["dead/join"]["layers"] == [3, 4]
    assert by_rule["dead/join"]["bytes"] == 30_000
    assert by_rule["dead/join"]["savedBytes"] > 30_000
    assert by_rule["dead/join"]["patch"].startswith("--- ")
    assert document["runs"][0]["properties"]["deadBytes"] == 90_000


def test_fingerprints_stay_from_build_to_build(place: Path) -> None:
    """Other sizes, more steps before, moved lines and new hashes of what was copied change no fingerprint;
    no two results of a run share one."""

    def marks() -> dict[str, str]:
        found = results(sarif())
        by_text = {f"{one['ruleId']} {lines(one)[1] - lines(one)[0]}": one for one in found}
        assert len(by_text) == len(found)
        return {text: one["partialFingerprints"]["squashkitWaste/v1"] for text, one in by_text.items()}

    first = marks()
    assert len(set(first.values())) == len(first)
    docker_archive_old(place / "app.tar", [app(50_000, ["RUN /bin/sh -c true # buildkit"] * 2), BASE])
    (place / "Dockerfile").write_text(DOCKERFILE.replace("COPY", "# moved\nRUN true\nRUN true\n\nCOPY", 1))
    assert marks() == first


def test_hashes_are_not_in_fingerprints(place: Path) -> None:
    """A step that the history tells by a hash of its files has the fingerprint of its destination."""
    found = []
    for number in (1, 2):
        copy = f"/bin/sh -c #(nop) COPY multi:{str(number) * 64} in / "
        docker_archive_old(place / "app.tar", [app(steps=[copy, *STEPS[1:]]), BASE])
        found.append([one["partialFingerprints"] for one in results(sarif())])
    assert found[0] == found[1]


def test_equal_steps_have_different_fingerprints(place: Path) -> None:
    """Two results of one rule about steps of the same words are two results."""
    steps = ["RUN /bin/sh -c make # buildkit", "RUN /bin/sh -c clean # buildkit"] * 2
    above = [layer(file("a", b"a" * 9000)), layer(whiteout("a"))] * 2
    image = replace(
        on_base(BASE, *above, tags=["app:1"]),
        history=[{"created_by": one} for one in ("ADD file:1 in /", *steps)],
    )
    docker_archive_old(place / "app.tar", [image, BASE])
    (place / "Dockerfile").write_text("FROM fedora:28\n" + "RUN make\nRUN clean\n" * 2)
    marks = [one["partialFingerprints"]["squashkitWaste/v1"] for one in results(sarif())]
    assert len(marks) == len(set(marks)) >= 2


def test_messages_hold_no_link_and_no_placeholder(place: Path) -> None:
    """Brackets of a command are escaped, a placeholder is doubled, and every sign is a visible one."""
    (join,) = (one for one in results(sarif()) if one["ruleId"] == "dead/join")
    text = join["message"]["text"]
    assert "\\[a\\](b) {{0}} ${x} \\\\ `<b>`" in text
    assert text.isprintable()
    assert not re.search(r"(?<!\\)\[", text)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("Dockerfile", "Dockerfile"),
        ("./a b/D[1].x#y", "a%20b/D%5B1%5D.x%23y"),
        ("c:d/Dockerfile", "c%3Ad/Dockerfile"),
    ],
)
def test_a_path_is_relative_to_the_sources(path: str, uri: str, place: Path) -> None:
    """The Dockerfile's path is a URI below the folder that squashkit runs in, however it was named."""
    (place / path).parent.mkdir(exist_ok=True)
    (place / path).write_text(DOCKERFILE)
    for given in (path, place / path):
        location = results(sarif(dockerfile=given))[0]["locations"][0]["physicalLocation"]
        assert location["artifactLocation"] == {"uri": uri, "uriBaseId": "%SRCROOT%"}


def test_a_path_elsewhere_is_absolute(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Dockerfile outside of that folder is named by a file URI."""
    (place / "in").mkdir()
    monkeypatch.chdir(place / "in")
    found = results(sarif("../app.tar:app:1", dockerfile=place / "Dockerfile"))
    location = found[0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": f"file://{place}/Dockerfile"}


def test_every_platform_is_a_run(place: Path) -> None:
    """With `--platform all` there is a run for each platform, under an id of its own."""
    specs = [replace(app(), platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    oci_layout(place / "layout", specs, nested=True)
    document = sarif("oci:layout", "--platform", "all", "--keep-layers", "1")
    ids = [one["automationDetails"]["id"] for one in document["runs"]]
    assert ids == ["squashkit-waste/linux-amd64/", "squashkit-waste/linux-arm64/"]


def test_an_image_without_waste_has_no_results(place: Path) -> None:
    """A document without results is one all the same."""
    docker_archive_old(place / "base.tar", [BASE])
    assert results(sarif("base.tar")) == []


def test_it_needs_a_dockerfile(place: Path) -> None:
    """Without --dockerfile there are no lines to tell, and a usage error says what to pass."""
    assert_fails(run("waste", "app.tar:app:1", "--sarif"), 2, "--dockerfile")
    with pytest.raises(UsageError, match="Dockerfile"):
        squashkit.sarif(squashkit.waste("app.tar:app:1"))
    report = squashkit.waste("app.tar:app:1", dockerfile="Dockerfile")
    assert len(squashkit.sarif(report, report)["runs"]) == 2
