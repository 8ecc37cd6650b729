"""A fleet squashed back where it was read: which tags move, which stay and why, and how they go back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from squashkit.jobs import rollback
from squashkit.transports.registry.tags import move_tag
from tests.compat import services
from tests.compat.conftest import Person, available
from tests.compat.registries import Fault, Registry, proxy, registry
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, oci_archive, on_base, whiteout
from tests.support.fleets import SYSTEM, blob, wasteful
from tests.support.runner import Json, Result, assert_fails, run

NAMES = ("a", "b", "c")
RUNTIME = on_base(
    SYSTEM, blob("cache", 9000), layer(whiteout("cache"), file("runtime", b"r")), tags=["runtime:1"]
)
"""What the apps have in common above their base."""


@pytest.fixture(scope="module")
def hub(state: Path) -> Iterator[Registry]:
    """A registry of our own."""
    with ExitStack() as stack:
        yield available(lambda: stack.enter_context(registry(state)))


class Team:
    """A base and three apps on it in a registry, each app with waste of its own and with some in common."""

    def __init__(self, person: Person, hub: Registry, name: str, folder: Path) -> None:
        self.person, self.hub, self.name, self.folder = person, hub, name, folder
        self.place = f"docker://{hub.host}/{name}/"
        self.notes = folder / "before.jsonl"
        self.push(SYSTEM, *(wasteful(RUNTIME, app) for app in NAMES))

    def push(self, *specs: ImageSpec) -> None:
        """Store images below the team's prefix as they are."""
        docker_archive_25(self.folder / "fleet.tar", specs, compress="gzip")
        words = ("--strategy", "built", "--into", self.place, "--force")
        done = self.person.run("fleet", "squash", self.folder / "fleet.tar", *words)
        assert done.code == 0, done.err

    def replace(self, *words: str | Path, host: str = "") -> Result:
        """Squash all of them along the trie, back to their tags; in this process."""
        place = self.place.replace(self.hub.host, host or self.hub.host)
        options = ("--strategy", "trie", "--replace", "--rollback", self.notes)
        return run("fleet", "squash", place, *options, *words, env=self.person.env)

    def outcomes(self, done: Result) -> dict[str, str]:
        """What became of each tag."""
        return {tag["name"].partition(f"{self.name}/")[2]: tag["outcome"] for tag in done.json["tags"]}

    def tags(self) -> dict[str, str]:
        """What all tags mean."""
        return {
            f"{app}:{tag}": digest
            for app in (*NAMES, "system")
            for tag, digest in self.hub.tags(f"{self.name}/{app}").items()
        }

    def noted(self) -> list[tuple[str, str]]:
        """The rollback file: tags, and what they meant."""
        lines: list[Json] = [json.loads(line) for line in self.notes.read_text().splitlines()]
        return [(line["name"].partition(f"{self.name}/")[2], line["before"]) for line in lines]

    def put_back(self) -> Result:
        """Have the tags mean again what they meant."""
        return self.person.run("rebase", "--rollback", self.notes, "--json")


@pytest.fixture
def team(person: Person, hub: Registry, request: pytest.FixtureRequest, tmp_path: Path) -> Team:
    """A team of its own for each test."""
    name = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_")).strip("-")
    return Team(person, hub, name, tmp_path)


MOVED = {"a:1": "moved", "b:1": "moved", "c:1": "moved", "system:1": "base"}


def test_tags_move_and_go_back(team: Team) -> None:
    """Apps share what they shared, the base keeps its tag, a second run writes nothing, and what the tags
    meant is in the file that `rebase --rollback` reads."""
    before = team.tags()
    done = team.replace("--json")
    assert done.code == 0, done.err
    assert team.outcomes(done) == MOVED
    assert str(team.notes) in done.err
    after = team.tags()
    assert after["system:1"] == before["system:1"]
    stacks = [team.hub.layers(f"{team.name}/{app}", "1") for app in NAMES]
    assert {len(stack) for stack in stacks} == {4}
    assert len({tuple(stack[:3]) for stack in stacks}) == 1
    assert team.noted() == [(f"{app}:1", before[f"{app}:1"]) for app in NAMES]
    assert done.json["images"].keys() == {f"{team.hub.host}/{team.name}/{app}:1" for app in NAMES}
    team.notes.rename(team.folder / "first.jsonl")
    mark = team.hub.mark()
    again = team.replace("--json")
    assert set(team.outcomes(again).values()) == {"unchanged", "base"}
    assert again.json["rollback"] is None
    assert not any(one.writes for one in team.hub.log(mark))
    (team.folder / "first.jsonl").rename(team.notes)
    assert team.put_back().code == 0
    assert team.tags() == before


def test_a_tag_that_moved_meanwhile_stays(team: Team) -> None:
    """Somebody pushes while results are written: that tag is left, the others move, and it is told."""
    newer: list[str] = []

    def push() -> None:
        if not newer:
            team.push(wasteful(SYSTEM, "b"))
            newer.append(team.tags()["b:1"])

    with proxy(("127.0.0.1", team.hub.port)) as between:
        between.add(Fault("PUT", f"{team.name}/c/manifests/sha256:", call=push))
        done = team.replace("--json", host=between.host)
    assert done.code == 1, done.err
    assert team.outcomes(done) == {**MOVED, "b:1": "left"}
    assert [team.tags()["b:1"]] == newer
    (why,) = {tag["why"] for tag in done.json["tags"]} - {None}
    assert "moved meanwhile" in why


def test_a_tag_that_nobody_may_move_stops_no_other(team: Team) -> None:
    """As one that a registry holds immutable."""
    before = team.tags()
    with proxy(("127.0.0.1", team.hub.port)) as between:
        body = b'{"errors":[{"code":"DENIED","message":"b is immutable"}]}'
        between.add(Fault("PUT", f"{team.name}/b/manifests/1", answer=412, body=body))
        done = team.replace("--json", host=between.host)
    assert done.code == 5
    assert team.outcomes(done) == {**MOVED, "b:1": "failed"}
    assert "b is immutable" in done.text
    assert team.tags()["b:1"] == before["b:1"]


def raising(error: BaseException) -> Callable[..., Any]:
    """Moves a tag, and fails at the second one."""
    moves: list[object] = []

    def moved(*words: Any) -> bool:
        moves.append(words)
        if len(moves) == 2:
            raise error
        return move_tag(*words)

    return moved


def test_a_run_that_was_interrupted_goes_on(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest has what it had. The next run reads all images as they were, so that they share what they
    would have shared."""
    before = team.tags()
    with monkeypatch.context() as patched:
        patched.setattr(rollback, "move_tag", raising(KeyboardInterrupt()))
        done = team.replace()
    assert done.code == 130, done.err
    assert "The same command with --rollback" in done.text
    assert "Interrupted: " in done.text
    some = team.tags()
    assert [name for name in before if some[name] != before[name]] == ["a:1"]
    assert team.noted()[0] == ("a:1", before["a:1"])
    assert team.outcomes(team.replace("--json")) == MOVED
    stacks = [team.hub.layers(f"{team.name}/{app}", "1") for app in NAMES]
    assert len({tuple(stack[:3]) for stack in stacks}) == 1
    assert team.tags()["a:1"] == some["a:1"]
    assert len(team.notes.read_text().splitlines()) == 3
    assert team.put_back().code == 0
    assert team.tags() == before


def test_what_is_written_before_a_failure_has_no_tag(team: Team) -> None:
    """Where one result cannot be written no tag moves, and no file says that one did."""
    before = team.tags()
    with proxy(("127.0.0.1", team.hub.port)) as between:
        between.add(Fault("PUT", f"{team.name}/c/manifests/sha256:", answer=403))
        done = team.replace(host=between.host)
    assert_fails(done, 5, "no tag was moved")
    assert team.tags() == before
    assert not team.notes.exists()


def test_no_platform_is_lost_in_silence(team: Team) -> None:
    """A tag that means two platforms stays, unless one is asked for by name."""
    parts = [
        ImageSpec([*wasteful(SYSTEM, "a").layers, layer(file(one))], ["a:1"], platform=f"linux/{one}")
        for one in ("amd64", "arm64")
    ]
    oci_archive(team.folder / "both.tar", parts, nested=True)
    target = f"docker://{team.hub.host}/{team.name}/a:1"
    services.run(
        *(
            [
                "skopeo",
                "copy",
                "--all",
                "--dest-tls-verify=false",
                f"oci-archive:{team.folder}/both.tar",
                target,
            ],
        )
    )
    before = team.tags()
    done = team.replace()
    assert done.code == 2, done.err
    told = " ".join(done.text.split())
    assert "means images for linux/amd64, linux/arm64, and would lose linux/arm64" in told
    assert "--exclude leaves it out; --platform linux/amd64 moves it all the same" in told
    assert team.tags()["a:1"] == before["a:1"]
    assert team.tags()["b:1"] != before["b:1"]
    chosen = team.replace("--platform", "linux/amd64")
    assert chosen.code == 0, chosen.err
    assert "meant images for linux/arm64, too, and no longer does" in chosen.text
    assert team.put_back().code == 0
    assert team.tags() == before


def test_bases_that_are_named_stay(team: Team) -> None:
    """--base names an image of the fleet, of which no other shows that it is one; even squashed whole."""
    both = (f"{team.place}runtime:1", "--base", f"{team.place}runtime:1")
    team.push(RUNTIME)
    done = run(
        *("fleet", "squash", *both, f"{team.place}a:1", "--strategy", "all", "--replace", "--json"),
        *("--rollback", team.notes),
        env=team.person.env,
    )
    assert done.code == 0, done.err
    assert team.outcomes(done) == {"runtime:1": "base", "a:1": "moved"}


def test_an_image_has_several_tags(team: Team) -> None:
    """All of them move, to one result; a name that is written in two ways counts once."""
    for tag in ("latest", "2"):
        place = f"docker://{team.hub.host}/{team.name}/a"
        tls = ("--dest-tls-verify=false", "--src-tls-verify=false")
        services.run(["skopeo", "copy", *tls, f"{place}:1", f"{place}:{tag}"])
    done = team.replace("--json", f"docker://{team.hub.host}/{team.name}/a")
    assert done.code == 0, done.err
    assert team.outcomes(done) == {**MOVED, "a:2": "moved", "a:latest": "moved"}
    found = team.hub.tags(f"{team.name}/a")
    assert found.keys() == {"1", "2", "latest"}
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["PLACE", "--replace", "--into", "x.tar"], "--into REF, or --replace"),
        (["PLACE"], "--into REF, or --replace"),
        (["PLACE", "--replace", "--force"], "--force is for --into"),
        (["PLACE", "--into", "x.tar", "--rollback", "x"], "--rollback is for --replace"),
        (["FILE", "--replace", "--strategy", "built"], "is no tag of a registry"),
        (["PLACE", "--replace", "--rollback", "FILE"], "is no list of tags that were moved"),
        (["PLACE", "--replace", "--rollback", "no/file"], "no file can be written there"),
        (["PLACEa@DIGEST", "--replace", "--strategy", "all"], "is no tag of a registry"),
    ],
)
def test_words_that_do_not_fit(words: list[str], said: str, team: Team) -> None:
    """They are told in a line, and nothing moves."""
    before = team.tags()
    known = {"PLACE": team.place, "FILE": f"{team.folder}/fleet.tar", "DIGEST": before["a:1"]}
    for word, meant in known.items():
        words = [one.replace(word, meant) for one in words]
    assert_fails(run("fleet", "squash", *words, env=team.person.env), 2, said)
    assert team.tags() == before


def test_carved_images_move_once(team: Team) -> None:
    """What is carved again has the same layers, and keeps its tags."""
    first = team.replace("--strategy", "carve", "--json")
    assert first.code == 0, first.err
    assert set(team.outcomes(first).values()) <= {"moved", "unchanged", "base"}
    after = team.tags()
    again = team.replace("--strategy", "carve", "--rollback", team.folder / "again.jsonl", "--json")
    assert again.code == 0, again.err
    assert "moved" not in team.outcomes(again).values()
    assert team.tags() == after


def test_what_a_rebase_moved_stays_moved(team: Team) -> None:
    """One file holds what both did: a squash goes on from the rebased images, and all goes back."""
    new = ImageSpec([*SYSTEM.layers, blob("patched", 300)], ["patched:1"])
    team.push(new)
    before = team.tags()
    bases = ("--old-base", f"{team.place}system:1", "--new-base", f"{team.place}patched:1")
    done = team.person.run("rebase", "--from", team.place, *bases, "--replace", "--rollback", team.notes)
    assert done.code == 0, done.err
    for _ in range(2):
        done = team.replace("--json")
        assert done.code == 0, done.err
        assert team.outcomes(done)["a:1"] == "moved"
        assert team.hub.layers(f"{team.name}/a", "1")[:3] == team.hub.layers(f"{team.name}/patched", "1")
    assert len(team.notes.read_text().splitlines()) == 6
    assert team.put_back().code == 0
    assert team.tags() == before
