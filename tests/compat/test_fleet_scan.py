"""`squashkit fleet scan` of a real registry: each blob comes once, and what does not come is read later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat import registries, services
from tests.compat.conftest import Person
from tests.compat.registries import Registry, downloaded
from tests.support.builders import oci_layout
from tests.support.runner import Json
from tests.support.scans import contents, fleet, rows


@pytest.fixture
def mine(state: Path, tmp_path: Path) -> Iterator[Registry]:
    """A registry with three images, whose layers are more than a batch."""
    with registries.registry(state) as made:
        for number, image in enumerate(fleet(images=3, layers=25)):
            layout = tmp_path / f"layout{number}"
            oci_layout(layout, [image], compress="gzip")
            push(made, layout, number)
        yield made


def push(registry: Registry, layout: Path, number: int) -> None:
    target = f"docker://{registry.host}/team/app{number}:1"
    services.run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}", target])


def scan(person: Person, registry: Registry, *words: object, code: int = 0) -> Json:
    done = person.run("fleet", "scan", f"docker://{registry.host}/team/", "--json", "--into", *words)
    assert done.code == code, done.err
    return done.json


def layers_of(registry: Registry) -> set[str]:
    return {digest for number in range(3) for digest in registry.layers(f"team/app{number}", "1")}


def test_every_blob_comes_once(mine: Registry, tmp_path: Path, person: Person) -> None:
    """By one process, by several, and by shards, which together give the same files; a second scan asks for
    no layer."""
    layers = layers_of(mine)
    one = tmp_path / "one"
    for jobs in (1, 2):
        into = tmp_path / ("one" if jobs == 1 else "two")
        mark = mine.mark()
        told = scan(person, mine, into, "--jobs", jobs)
        assert told["layers"]["read"] == len(layers) == told["layers"]["different"]
        came = Counter(downloaded(mine.log(mark)))
        assert {digest: came[digest] for digest in layers} == dict.fromkeys(layers, 1)
    assert contents(tmp_path / "two") == contents(one)
    for shard in ("2/2", "1/2"):
        scan(person, mine, tmp_path / "shards", "--shard", shard)
    assert contents(tmp_path / "shards") == contents(one)
    assert {f"sha256:{row['digest'].hex()}" for row in rows(one, "layers")} == layers
    assert [row["in_registry"] for row in rows(one, "images")] == [True] * 3
    mark = mine.mark()
    assert scan(person, mine, one)["layers"]["known"] == len(layers)
    assert not layers & {*downloaded(mine.log(mark))}


def test_a_blob_that_does_not_come_is_read_later(mine: Registry, tmp_path: Path, person: Person) -> None:
    """Its row says why, the exit code is 5, and once it is there the next scan asks for it alone."""
    victim = mine.layers("team/app1", "1")[7]
    mine.forget("team/app1", victim)
    told = scan(person, mine, tmp_path / "scan", "--jobs", 2, code=5)
    (bad,) = told["bad_layers"]
    assert (bad["image"], bad["exit_code"]) == (f"docker://{mine.host}/team/app1:1", 5)
    assert victim in bad["error"]
    (row,) = [row for row in rows(tmp_path / "scan", "layers") if row["error"] is not None]
    assert (f"sha256:{row['digest'].hex()}", row["exit_code"]) == (victim, 5)
    push(mine, tmp_path / "layout1", 1)
    mark = mine.mark()
    assert scan(person, mine, tmp_path / "scan")["layers"]["read"] == 1
    assert {*downloaded(mine.log(mark))} & layers_of(mine) == {victim}
    assert not [row for row in rows(tmp_path / "scan", "layers") if row["error"] is not None]
