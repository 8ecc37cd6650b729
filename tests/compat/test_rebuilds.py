"""What a rebase makes of an app, held against a build of the same app on the new base: fact by fact.

`make test-rebase` tries all apps on both pairs of bases; of every other run three are part.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import Person, available
from tests.compat.facts import FACTS, Fact, differences, facts, mounted, packages_of, stanzas
from tests.compat.rebuilds import (
    MIDDLE,
    NEW,
    OLD,
    QUICK,
    RELEASED,
    REPACKED,
    App,
    Pair,
    rebuilds_archive,
    syft,
)
from tests.compat.services import run
from tests.support.runner import Json

ALL = bool(os.environ.get("SQUASHKIT_TEST_REBASE"))
pytestmark = pytest.mark.timeout(3600 if ALL else 600)
"""The first test waits for all builds."""

PAIRS = (RELEASED, REPACKED)
CASES = [(pair, name) for pair in PAIRS for name in (pair.apps if ALL else QUICK.get(pair.name, ()))]
TRIED = [pair for pair in PAIRS if ALL or pair.name in QUICK]
with_all = pytest.mark.skipif(not ALL, reason="`make test-rebase` has all apps")


@dataclass(frozen=True, slots=True)
class Stock:
    """A pair's bases and apps, in an archive and in a daemon."""

    pair: Pair
    archive: Path
    docker: services.Docker
    person: Person

    def given(self, name: str) -> str:
        return f"docker-archive:{self.archive}:{name}"

    def rebase(
        self,
        source: str,
        old: str,
        new: str,
        *options: str,
        output: str,
        allow: frozenset[str] = frozenset(),
    ) -> Json:
        """Rebase an image; first without what is to be allowed, which must then be refused for it."""
        words = ["rebase", source, "--old-base", self.given(old), "--new-base", self.given(new), *options]
        words += ["-o", output, "--json"]
        if allow:
            done = self.person.run(*words)
            assert done.code == 3, done.err
            words += [word for kind in sorted(allow) for word in ("--allow", kind)]
        done = self.person.run(*words)
        assert done.code == 0, done.err
        assert {risk["kind"] for risk in done.json["risks"] if risk["severity"] == "error"} == allow
        return done.json


@dataclass(frozen=True, slots=True)
class Outcome:
    """An app on the new base: what the rebase told, and all facts of both images."""

    app: App
    report: Json
    rebased: dict[str, Fact]
    rebuilt: dict[str, Fact]

    def unlike(self, fact: str) -> dict[str, str]:
        """In what the images differ, but for what the rebase told of and what the app may differ in."""
        told = {risk["path"] for risk in self.report["risks"] if risk["kind"] == "content"}
        may_differ = re.compile("|".join(self.app.may_differ) or "(?!)")

        def is_told(key: str) -> bool:
            # dpkg names files of /usr/lib by /lib, as its packages do.
            path = key.rpartition(" /")[2].lstrip("/")
            return key in told or (fact == "dpkg --verify" and any(one.endswith(path) for one in told))

        found = differences(self.rebased[fact], self.rebuilt[fact])
        return {
            key: text for key, text in found.items() if not may_differ.fullmatch(key) and not is_told(key)
        }


@pytest.fixture(scope="module")
def stocks(
    docker: services.Docker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Pair], Stock]]:
    """The stock of a pair, made when it is first asked for."""
    person = Person(tmp_path_factory.mktemp("somebody") / "home")
    person.use_daemon(docker)
    before = docker.tags().keys()

    @cache
    def stocked(pair: Pair) -> Stock:
        names = [name for one, name in CASES if one is pair]
        scratch = tmp_path_factory.mktemp(pair.name)
        archive = available(lambda: rebuilds_archive(lambda: docker, scratch, pair, names))
        docker.run("load", "--quiet", "--input", archive)
        return Stock(pair, archive, docker, person)

    yield stocked
    docker.run("rmi", "--force", *(docker.tags().keys() - before))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}")
def outcome(request: pytest.FixtureRequest, stocks: Callable[[Pair], Stock]) -> Outcome:
    """An app, rebased and rebuilt."""
    pair, name = request.param
    stock, app = stocks(pair), pair.apps[name]
    source, rebuilt, rebased = (pair.built(name, side) for side in (OLD, NEW, "rebased"))
    report = stock.rebase(
        stock.given(source),
        *(pair.base(side) for side in (OLD, NEW)),
        *app.options,
        output=f"docker-daemon:{rebased}",
        allow=app.errors,
    )
    with ThreadPoolExecutor(2) as executor:
        first, second = executor.map(lambda image: facts(stock.docker, image), (rebased, rebuilt))
    stock.docker.run("rmi", "--force", rebased)
    return Outcome(app, report, first, second)


@pytest.fixture
def stock(stocks: Callable[[Pair], Stock]) -> Stock:
    """The pair of which some apps are always there."""
    return stocks(REPACKED)


@pytest.mark.parametrize("fact", FACTS)
def test_a_rebase_gives_what_a_rebuild_gives(outcome: Outcome, fact: str) -> None:
    """Whoever asks the image gets the answer that a rebuild gives, but for what the rebase told of."""
    unlike = outcome.unlike(fact)
    shown = [f"{key}: {text}" for key, text in list(unlike.items())[:10]]
    assert not unlike, "\n".join([f"{len(unlike)} differences (rebased != rebuilt)", *shown])


def versions(found: Fact) -> dict[str, str]:
    """The versions of the packages of these stanzas."""
    pattern = re.compile(r"^Version: (.*)$", re.MULTILINE)
    return {name: match[1] for name, text in found.items() if (match := pattern.search(str(text)))}


def stanzas_of(docker: services.Docker, image: str) -> Fact:
    """The stanzas of an image of a daemon."""
    with mounted(docker, image) as root:
        return stanzas(root)


@pytest.mark.parametrize(
    "pair", [one for one in PAIRS if ALL or one.name in QUICK], ids=lambda one: one.name
)
def test_without_merging_it_is_another(pair: Pair, stocks: Callable[[Pair], Stock]) -> None:
    """The bases differ in their packages, and a rebase that merges nothing lists the old one's versions."""
    stock, app = stocks(pair), "alternatives"
    bases = [pair.base(side) for side in (OLD, NEW)]
    old, new = (versions(stanzas_of(stock.docker, base)) for base in bases)
    changed = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    assert len(changed) >= 8
    unmerged = pair.built(app, "unmerged")
    source = stock.given(pair.built(app, OLD))
    stock.rebase(source, *bases, "--merge", "none", output=f"docker-daemon:{unmerged}")
    listed = versions(stanzas_of(stock.docker, unmerged))
    rebuilt = versions(stanzas_of(stock.docker, pair.built(app, NEW)))
    assert {name for name in changed if listed[name] != rebuilt[name]}


def layers_of(archive: Path) -> list[dict[str, bytes]]:
    """dpkg's status, if there is one, of each layer of the one image of an archive."""
    with tarfile.open(archive) as outer:

        def member(name: str) -> bytes:
            content = outer.extractfile(name)
            assert content is not None
            return content.read()

        (image,) = json.loads(member("manifest.json"))
        found = []
        for name in image["Layers"]:
            content = outer.extractfile(name)
            with tarfile.open(fileobj=content) as layer:
                found.append(
                    {
                        one.name: file.read()
                        for one in layer
                        if one.name.removeprefix("./") == "var/lib/dpkg/status"
                        and (file := layer.extractfile(one))
                    }
                )
        return found


@pytest.mark.parametrize("app", ["alternatives", *(["upgrade-for", "compiled-in-two"] if ALL else [])])
def test_squashed_no_layer_has_a_stale_status(app: str, stock: Stock, tmp_path: Path) -> None:
    """With `--squash` whoever looks into single layers finds no version that the new base does not have."""
    pair, path = stock.pair, tmp_path / "squashed.tar"
    source = stock.given(pair.built(app, OLD))
    bases = [pair.base(side) for side in (OLD, NEW)]
    stock.rebase(source, *bases, "--squash", output=f"docker-archive:{path}:squashed:1")
    new = versions(stanzas_of(stock.docker, pair.base(NEW)))
    rebuilt = versions(stanzas_of(stock.docker, pair.built(app, NEW)))
    statuses = [status for layer in layers_of(path) for status in layer.values()]
    assert len(statuses) == 2
    for status, expected in zip(statuses, (new, rebuilt), strict=True):
        found = dict(re.findall(r"^Package: (.*)\n(?:.+\n)*?Version: (.*)$", status.decode(), re.MULTILINE))
        assert found == {name.split()[0]: version for name, version in expected.items()}


@pytest.mark.parametrize("app", ["certs", *(["upgrade-for", "users"] if ALL else [])])
def test_over_a_middle_base_it_is_the_same(app: str, stock: Stock, tmp_path: Path) -> None:
    """From the old base to a middle one and on to the new one gives the layers of the short way."""
    pair = stock.pair
    old, middle, new = (pair.base(side) for side in (OLD, MIDDLE, NEW))
    source = stock.given(pair.built(app, OLD))
    direct, there, onward = (pair.built(app, name) for name in ("direct", "there", "onward"))
    stock.rebase(source, old, new, output=f"docker-daemon:{direct}")
    stock.rebase(source, old, middle, output=f"docker-daemon:{there}")
    stock.rebase(f"docker-daemon:{there}", middle, new, output=f"docker-daemon:{onward}")
    assert stock.docker.layers(onward) == stock.docker.layers(direct)
    assert stock.docker.layers(there) != stock.docker.layers(direct)


@with_all
@pytest.mark.parametrize("app", ["alternatives", "nginx"])
def test_a_scanner_finds_what_it_finds_in_a_rebuild(app: str, stock: Stock, tmp_path: Path) -> None:
    """syft lists the same packages, of the whole and, once squashed, of all layers."""
    program, pair = available(syft), stock.pair

    def found(path: Path, scope: str) -> set[tuple[str, str]]:
        words = ["--scope", scope, "--output", "json", "--quiet"]
        environment = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "HOME": str(tmp_path)}
        report = run([program, f"docker-archive:{path}", *words], env=environment)
        return packages_of(report.encode())

    rebuilt, rebased, squashed = (tmp_path / f"{name}.tar" for name in ("rebuilt", "rebased", "squashed"))
    stock.docker.run("save", "--output", rebuilt, pair.built(app, NEW))
    source, bases = stock.given(pair.built(app, OLD)), [pair.base(side) for side in (OLD, NEW)]
    stock.rebase(source, *bases, output=f"docker-archive:{rebased}:rebased:1")
    stock.rebase(source, *bases, "--squash", output=f"docker-archive:{squashed}:squashed:1")
    assert len(found(rebuilt, "squashed")) > 90
    for path, scope in ((rebased, "squashed"), (squashed, "squashed"), (squashed, "all-layers")):
        assert found(path, scope) == found(rebuilt, scope), (path.name, scope)
