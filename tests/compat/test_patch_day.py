"""All images of a registry on a newer base: which tags move, which stay and why, and how they go back."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from squashkit.oci.digests import Digest
from squashkit.oci.names import ImageName
from squashkit.options import Access
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.tags import move_tag
from tests.compat.conftest import Person, available
from tests.compat.quirks import memory_registry
from tests.compat.registries import Registry, downloaded, registry
from tests.support.builders import ImageSpec, digest, docker_archive_old, file, layer, noise
from tests.support.moves import STATUS, dpkg, within
from tests.support.runner import Result, assert_fails

DOCS = Path(__file__).parents[2] / "docs"
OLD, NEW = (layer(*within(STATUS, dpkg(a=version))) for version in "12")
OTHER = layer(file("other"))
LISTING = layer(file(STATUS, dpkg(a="1", app="1")))
"""A layer whose database must be merged."""


@pytest.fixture(scope="module")
def hub(state: Path) -> Iterator[Registry]:
    """A registry of our own."""
    with ExitStack() as stack:
        yield available(lambda: stack.enter_context(registry(state)))


class Fleet:
    """Images of a team in a registry, on two bases and on none."""

    def __init__(self, person: Person, hub: Registry, team: str, folder: Path) -> None:
        self.person, self.hub, self.team, self.folder = person, hub, team, folder
        self.push("base/old:1", [OLD])
        self.push("base/new:1", [NEW])
        self.push(f"{team}/a:1", [OLD, layer(file("a"))])
        self.push(f"{team}/a:2", [OLD, LISTING], form="docker")
        self.push(f"{team}/b:1", [NEW, layer(file("b"))], form="docker")
        self.push(f"{team}/c:1", [OTHER])

    def push(self, name: str, layers: list[bytes], form: str = "oci") -> None:
        """An image of these layers."""
        path = self.folder / "image.tar"
        docker_archive_old(path, [ImageSpec(layers, ["x:1"])])
        keep = ("--keep-layers", str(len(layers)), "--format", form)
        done = self.person.run("squash", path, *keep, "-o", f"docker://{self.hub.host}/{name}")
        assert done.code == 0, done.err

    def rebase(self, *options: str | Path) -> Result:
        """Rebase all of them."""
        place = f"docker://{self.hub.host}"
        bases = ("--old-base", f"{place}/base/old:1", "--new-base", f"{place}/base/new:1")
        return self.person.run("rebase", "--from", f"{place}/{self.team}/", *bases, *options)

    def outcomes(self, *options: str | Path) -> dict[str, str]:
        """What became of each tag."""
        done = self.rebase(*options, "--json")
        prefix = f"{self.hub.host}/{self.team}/"
        return {tag["name"].removeprefix(prefix): tag["outcome"] for tag in done.json["tags"]}

    def tags(self, name: str) -> dict[str, str]:
        """What the tags of a repository mean."""
        return dict(self.hub.tags(f"{self.team}/{name}"))


@pytest.fixture
def fleet(person: Person, hub: Registry, request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    """A team of its own for each test."""
    team = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_")).strip("-")
    return Fleet(person, hub, team, tmp_path)


def test_a_layer_that_the_new_base_has_too_is_not_fetched(fleet: Fleet, tmp_path: Path) -> None:
    """One that lies above the old base, and in a new one on this machine, is read there."""
    both = layer(file("both", noise(90_000, "both")))
    fleet.push("base/more:1", [NEW, both])
    fleet.push(f"{fleet.team}/x:1", [OLD, both, layer(file("x"))])
    place, more = f"docker://{fleet.hub.host}", f"oci:{tmp_path}/more"
    taken = fleet.person.run("squash", f"{place}/base/more:1", "--keep-layers", "2", "-o", more)
    assert taken.code == 0, taken.err
    mark = fleet.hub.mark()
    words = (
        "--old-base",
        f"{place}/base/old:1",
        "--new-base",
        more,
        "-t",
        "x:2",
        "-o",
        f"oci:{tmp_path}/out",
    )
    done = fleet.person.run("rebase", f"{place}/{fleet.team}/x:1", *words)
    assert done.code == 0, done.err
    fetched = downloaded(fleet.hub.log(mark))
    layers = fleet.hub.layers(f"{fleet.team}/x", "1")
    assert layers[1] not in fetched
    assert layers[2] in fetched


FIRST = {"a:1": "moved", "a:2": "moved", "b:1": "current", "c:1": "not based"}


def test_tags_beside_the_old_ones(fleet: Fleet) -> None:
    """The old tags stay, the new ones are on the new base; a second run moves nothing, and what was made is
    not made from again, whether a manifest takes annotations or not."""
    before = fleet.tags("a")
    dry = fleet.outcomes("--tag-suffix=-patched", "--dry-run")
    assert dry == {**FIRST, "a:1": "would move", "a:2": "would move"}
    assert fleet.tags("a") == before
    assert fleet.outcomes("--tag-suffix=-patched") == FIRST
    after = fleet.tags("a")
    assert after.keys() == {"1", "2", "1-patched", "2-patched"}
    assert {tag: after[tag] for tag in before} == before
    for tag in ("1-patched", "2-patched"):
        assert fleet.hub.layers(f"{fleet.team}/a", tag)[0] == fleet.hub.layers("base/new", "1")[0]
    mark = fleet.hub.mark()
    again = {**FIRST, "a:1": "current", "a:2": "current", "a:1-patched": "made", "a:2-patched": "made"}
    assert fleet.outcomes("--tag-suffix=-patched") == again
    assert not [request for request in fleet.hub.log(mark) if request.method == "PUT"]
    assert fleet.outcomes("--tag-suffix=-patched", "--select", "outdated") == {}


def test_a_tag_beside_that_is_made_of_an_older_image_moves(fleet: Fleet) -> None:
    """The image was built anew: so is the tag beside it. One that somebody else made is left."""
    assert fleet.outcomes("--tag-suffix=-new") == FIRST
    made = fleet.tags("a")["1-new"]
    fleet.push(f"{fleet.team}/a:1", [OLD, layer(file("later"))])
    fleet.push(f"{fleet.team}/a:2-new", [OTHER, layer(file("somebody's"))])
    theirs = fleet.tags("a")["2-new"]
    found = fleet.outcomes("--tag-suffix=-new")
    assert (found["a:1"], found["a:2"]) == ("moved", "left")
    assert fleet.tags("a")["1-new"] != made
    assert fleet.tags("a")["2-new"] == theirs


def test_tags_move_and_go_back(fleet: Fleet, tmp_path: Path) -> None:
    """What they meant is on the disk before; each goes back that nobody has moved since, and the other is
    told."""
    before = fleet.tags("a")
    notes, reports = tmp_path / "before.jsonl", tmp_path / "reports"
    done = fleet.rebase("--replace", "--rollback", notes, "--report", reports, "--json")
    assert done.code == 0, done.err
    after = fleet.tags("a")
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [(line["before"], line["after"]) for line in lines] == [(before[t], after[t]) for t in "12"]
    assert after["1"] != before["1"]
    assert after["2"] != before["2"]
    names = sorted(path.name for path in reports.iterdir())
    assert len(names) == 3
    assert json.loads((reports / "summary.json").read_text()) == done.json
    fleet.push(f"{fleet.team}/a:2", [OTHER])
    theirs = fleet.tags("a")["2"]
    back = fleet.person.run("rebase", "--rollback", notes, "--json")
    assert back.code == 1
    assert [tag["outcome"] for tag in back.json["tags"]] == ["left", "put back"]
    assert fleet.tags("a") == {"1": before["1"], "2": theirs}


def test_what_stops_one_tag_stops_no_other(fleet: Fleet) -> None:
    """A conflict is a row, with its exit code, which is the run's too."""
    fleet.push(f"{fleet.team}/a:0", [OLD, layer(file(STATUS, dpkg(a="1.5")))])
    done = fleet.rebase("--replace", "--json")
    rows = {tag["name"].rpartition("/")[2]: tag for tag in done.json["tags"]}
    assert (rows["a:0"]["outcome"], rows["a:0"]["exit_code"]) == ("refused", 3)
    assert rows["a:0"]["why"] == "packages (1)"
    assert rows["a:1"]["outcome"] == "moved"
    assert done.code == 3


def test_what_is_no_image_is_a_row(fleet: Fleet) -> None:
    """A registry holds charts, too, and indexes of nothing."""
    fleet.push(f"{fleet.team}/a:3", [OLD])
    place = f"http://{fleet.hub.host}/v2/{fleet.team}/chart"
    config, kind = b"{}", "application/vnd.oci.image.manifest.v1+json"
    begun = requests.post(f"{place}/blobs/uploads/", timeout=30).headers["Location"]
    put = requests.put(f"{begun}&digest={digest(config)}", data=config, timeout=30)
    assert put.status_code == 201
    chart = "application/vnd.cncf.helm.config.v1+json"
    described = {"mediaType": chart, "digest": digest(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}
    headers = {"Content-Type": kind}
    put = requests.put(f"{place}/manifests/1", json.dumps(manifest), headers=headers, timeout=30)
    assert put.status_code == 201
    found = fleet.outcomes("--replace")
    assert found["a:1"] == "moved"
    assert found["chart:1"] == "not based"


def test_a_rollback_file_of_a_run_that_broke_off(fleet: Fleet, tmp_path: Path) -> None:
    """A next run goes on in the same file; a last line that was cut is of a tag that did not move."""
    notes, before = tmp_path / "before.jsonl", fleet.tags("a")
    assert fleet.rebase("--replace", "--rollback", notes).code == 0
    fleet.push(f"{fleet.team}/a:3", [OLD, layer(file("later"))])
    third = fleet.tags("a")["3"]
    assert fleet.rebase("--replace", "--rollback", notes).code == 0
    assert len(notes.read_text().splitlines()) == 3
    notes.write_text(notes.read_text() + '{"name": "x/')
    back = fleet.person.run("rebase", "--rollback", notes, "--json")
    assert back.code == 0, back.err
    assert fleet.tags("a") == {**before, "3": third}


def test_the_old_base_itself_does_not_move(fleet: Fleet) -> None:
    """Below a place lie its own tags, too."""
    fleet.push(f"{fleet.team}/base:1", [OLD])
    assert fleet.outcomes("--replace")["base:1"] == "not based"


def test_what_people_see(fleet: Fleet) -> None:
    """A table with names below the place, then what it comes to and how to go back."""
    done = fleet.rebase("--replace")
    assert done.code == 0
    lines = done.text.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["a:1", "moved"],
        ["a:2", "moved"],
        ["b:1", "current"],
    ]
    assert (
        f"4 tags below docker://{fleet.hub.host}/{fleet.team}/: 2 moved, 1 current, 1 not based." in lines
    )
    (way,) = (line for line in lines if line.startswith("To put them back: squashkit rebase --rollback "))
    back = fleet.person.run("rebase", "--rollback", way.rpartition(" ")[2])
    assert "2 tags: 2 put back." in back.text
    page = fleet.rebase("--replace", "--dry-run", "--markdown")
    assert "| `a:1` | would move |" in page.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "PLACE", "--new-base", "b"], "which tags are to move?"),
        (["--from", "PLACE", "--new-base", "b", "--replace", "--tag-suffix=-x"], "exclude one another"),
        (["--from", "PLACE", "--new-base", "b", "--tag-suffix=:x"], "tags have letters"),
        (["--from", "PLACE", "--new-base", "b", "--replace", "-o", "x"], "leave IMAGE, --output"),
        (["--from", "PLACE", "--replace"], "no new base was given"),
        (
            ["--from", "docker://localhost/team/a:1", "--new-base", "b", "--replace"],
            "is no place in a registry",
        ),
        (["app.tar", "--new-base", "b", "--select", "outdated"], "name their place"),
        (["--rollback", "FILE"], "is no list of tags that were moved"),
    ],
)
def test_words_that_do_not_fit(words: list[str], said: str, fleet: Fleet, tmp_path: Path) -> None:
    """They are told before anything is asked for."""
    (tmp_path / "file").write_text("{}\n")
    known = {"PLACE": f"docker://{fleet.hub.host}/{fleet.team}/", "FILE": str(tmp_path / "file")}
    assert_fails(fleet.person.run("rebase", *(known.get(word, word) for word in words)), 2, said)


def test_a_tag_that_somebody_moved_stays() -> None:
    """It moves only from what is expected; that it is there already is as good."""
    with memory_registry() as hub:
        for tag, data in (("1", b"1"), ("2", b"2"), ("3", b"3")):
            hub.add("app", tag, [layer(file("f", data))])
        first, second, third = (Digest(hub.tags["app"][tag]) for tag in "123")
        name = ImageName.parse(f"{hub.host}/app:1")
        registries = Registries(Access(tls_verify=False), print)
        assert not move_tag(registries, name, third, second)
        assert not move_tag(registries, name, third, None)
        assert hub.tags["app"]["1"] == first
        assert move_tag(registries, name, third, first)
        assert move_tag(registries, name, third, second)
        assert hub.tags["app"]["1"] == third
        assert move_tag(registries, name.with_tag("new"), first, None)
        assert hub.tags["app"]["new"] == first


def test_the_recipe_of_the_docs(fleet: Fleet) -> None:
    """Its commands, as they stand there, on a registry with these names."""
    page = (DOCS / "rebase.md").read_text().partition("## Patch day")[2].partition("\n## ")[0]
    commands = [
        shlex.split(command.replace("\\\n", " "))
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for command in re.split(r"\n(?=squashkit )", block.strip())
    ]
    assert len(commands) >= 4
    names = {"registry.example/debian:12": "base/new:1", "registry.example/team/": f"{fleet.team}/"}
    for place in ("old", "new"):  # as the base's name meant first, and means now
        done = fleet.person.run("base", "add", f"docker://{fleet.hub.host}/base/{place}:1")
        assert done.code == 0, done.err
    for _, *words in commands:
        if ">" in words:
            words = words[: words.index(">")]
        for name, real in names.items():
            words = [word.replace(name, f"{fleet.hub.host}/{real}") for word in words]
        done = fleet.person.run(*words)
        assert done.code == 0, (words, done.err)
    assert fleet.tags("a").keys() == {"1", "2", "1-patched", "2-patched"}


def test_many_bases_are_checked_at_once(fleet: Fleet, tmp_path: Path) -> None:
    """A line for each tag below a place, and for each image of a list; one that fails is a row, and the
    worst exit code is the run's."""
    place = f"docker://{fleet.hub.host}"
    fleet.push("moving/base:1", [OLD])
    base = ("--base", f"{place}/moving/base:1")
    assert fleet.person.run("base", "add", base[1]).code == 0
    fleet.push("moving/base:1", [NEW])
    done = fleet.person.run("base", "check", f"{place}/{fleet.team}/", *base, "--json")
    found = {one["reference"].rpartition("/")[2]: one["status"] for one in done.json["images"]}
    assert found == {"a:1": "outdated", "a:2": "outdated", "b:1": "current", "c:1": "not based"}
    assert done.code == 3
    listed = tmp_path / "list"
    listed.write_text(f"{place}/{fleet.team}/b:1\n{place}/{fleet.team}/none:1 # gone\n")
    done = fleet.person.run("base", "check", "--from", listed, *base)
    assert done.code == 5
    assert [line.split()[1] for line in done.text.splitlines()[1:]] == ["current", "failed"]
