"""`squashkit fleet scan` asks a real registry no more than it may: connections, requests in a second."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compat import registries, services
from tests.compat.conftest import Person
from tests.compat.registries import Authority, Registry, TokenServer
from tests.support.builders import oci_layout
from tests.support.relay import Relay, relay
from tests.support.scans import contents, fleet

USER, PASSWORD = "reader", "a secret"


@dataclass(frozen=True, slots=True)
class Place:
    """A registry that wants tokens; it and the server of these are reached through a relay."""

    registry: Registry
    tokens: TokenServer
    host: str
    relay: Relay

    def mark(self) -> tuple[int, int]:
        """What was asked before."""
        return self.registry.mark(), len(self.tokens.asked)

    def asked(self, since: tuple[int, int]) -> int:
        """Requests of all kinds since then."""
        return len(self.registry.log(since[0])) + len(self.tokens.asked) - since[1]


@pytest.fixture(scope="module")
def place(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With three images in it, whose layers are more than a batch."""
    folder = tmp_path_factory.mktemp("limits")
    authority = Authority(folder / "authority")
    with relay() as wire, registries.token_server(authority, {USER: PASSWORD}) as tokens:
        tokens.url = f"http://127.0.0.1:{wire.port_to(int(tokens.url.rpartition(':')[2]))}"
        with registries.registry(state, tokens=tokens) as registry:
            for number, image in enumerate(fleet(images=3, layers=12)):
                layout = folder / f"layout{number}"
                oci_layout(layout, [image], compress="gzip")
                target = f"docker://{registry.host}/team/app{number}:1"
                words = ["skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}"]
                services.run([*words, f"oci:{layout}", target])
            port = wire.port_to(int(registry.host.rpartition(":")[2]))
            yield Place(registry, tokens, f"127.0.0.1:{port}", wire)


def scan(person: Person, place: Place, into: Path, *words: object) -> None:
    person.log_in(place.host, USER, PASSWORD)
    references = [f"docker://{place.host}/team/app{number}:1" for number in range(3)]
    done = person.run("fleet", "scan", *references, "--into", into, "--json", *words)
    assert done.code == 0, done.err
    assert done.json["layers"]["bad"] == 0


@pytest.mark.parametrize(("most", "jobs"), [(1, 1), (1, 3), (2, 3)])
def test_connections(place: Place, most: int, jobs: int, tmp_path: Path, person: Person) -> None:
    """There are never more at a time, idle ones included, of all processes together, to the registry and
    to the server of its tokens; and the scan is the same."""
    place.relay.most = place.relay.open
    since = place.mark()
    assert place.relay.open == 0
    scan(person, place, tmp_path / "scan", "--jobs", jobs, "--connections", most)
    assert place.relay.most == most
    assert len(place.tokens.asked) > since[1]
    scan(person, place, tmp_path / "other", "--jobs", 1)
    assert contents(tmp_path / "scan") == contents(tmp_path / "other")


def test_a_shard_has_a_connection_at_least(place: Place, tmp_path: Path, person: Person) -> None:
    """Of three connections, each of two shards takes one; of one, one."""
    for connections in (3, 1):
        place.relay.most = place.relay.open
        words = "--jobs", 3, "--shard", "1/2", "--connections", connections
        scan(person, place, tmp_path / f"scan{connections}", *words)
        assert place.relay.most == 1


@pytest.mark.parametrize(("words", "share"), [(("--jobs", 2), 1), (("--shard", "2/2"), 2)])
def test_requests(
    place: Place, words: tuple[object, ...], share: int, tmp_path: Path, person: Person
) -> None:
    """They take their time, as the access log of the registry has them: token, manifests and blobs alike,
    by several processes; a shard has its share of the rate."""
    rate = 15
    since = place.mark()
    began = time.monotonic()
    scan(person, place, tmp_path / "scan", "--requests-per-second", rate, *words)
    took = time.monotonic() - began
    asked = place.asked(since)
    assert asked > 15
    assert took >= asked * share / rate
    times = begun(place.registry.folder / "log", since[0])
    span = times[-1] - times[0]
    assert span >= (len(times) - 1) * share / rate - 0.3  # some of the first may come late


def begun(log: Path, since: int) -> list[float]:
    """When each request came to the registry, in seconds."""
    found: dict[str, float] = {}
    for line in log.read_bytes()[since:].splitlines():
        if b'"http.request.id"' in line and b"?mark=" not in line:
            entry = json.loads(line)
            found.setdefault(entry["http.request.id"], seconds(entry["time"]))
    return sorted(found.values())


def seconds(text: str) -> float:
    """A time of a log, within its hour."""
    _, minutes, rest = text.split(":", 2)
    return int(minutes) * 60 + float(rest.rstrip("Z").partition("+")[0])
