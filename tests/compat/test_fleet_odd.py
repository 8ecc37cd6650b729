"""Odd fleets in real registries: names that stand there stay, and registries are not believed blindly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from squashkit.engine import deliver
from squashkit.engine.carry_out import carry_out as write_image
from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Fault, Registry, proxy
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, on_base, whiteout
from tests.support.fleets import blob
from tests.support.runner import assert_fails, run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An archive of a base and three apps on it; beside it lies base.tar with the base alone."""
    base = ImageSpec([blob("base", 5000)], ["base:1"])
    apps = [
        on_base(
            base, blob("x", 900), layer(whiteout("x"), file(f"y{n}", f"{n}".encode())), tags=[f"app:{n}"]
        )
        for n in range(3)
    ]
    docker_archive_25(tmp_path / "base.tar", [base])
    docker_archive_25(tmp_path / "a.tar", [base, *apps])
    return tmp_path / "a.tar"


def test_an_interrupt_says_what_was_written(
    source: Path, registry: Registry, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that have their tags already are told, when the third one is interrupted."""
    jobs = []

    def interrupted(*args: Any) -> Any:
        jobs.append(args)
        if len(jobs) == 3:
            raise KeyboardInterrupt
        return write_image(*args)

    monkeypatch.setattr(deliver, "carry_out", interrupted)
    into = f"docker://{registry.host}/odd"
    done = run("fleet", "squash", source, "--into", into, env=person.env)
    assert_fails(done, 130, "2 of 4 images", into)
    assert "nothing was written" not in done.err
    assert set(registry.tags("odd/base")) == {"1"}
    assert set(registry.tags("odd/app")) == {"0"}


def test_an_image_by_its_digest_is_refused_before_any_is_written(
    source: Path, registry: Registry, person: Person
) -> None:
    """An image that is named by its digest would get no tag, which is told before others get theirs."""
    into = f"docker://{registry.host}/odd"
    assert person.run("fleet", "squash", source, "--into", into).code == 0
    before = registry.blobs()
    one = f"{into}/app@{registry.tags('odd/app')['1']}"
    done = person.run("fleet", "squash", f"{source}:base:1", one, "--into", f"docker://{registry.host}/new")
    assert_fails(done, 2, "leave it out")
    assert registry.blobs() == before
    assert not registry.tags("new/base")


def test_a_bases_tag_is_not_moved(source: Path, registry: Registry, person: Person) -> None:
    """The image that --base names in a registry is read, and keeps its tag even with --force."""
    into = f"docker://{registry.host}/odd"
    assert person.run("fleet", "squash", source, "--into", into, "--strategy", "built").code == 0
    before = registry.tags("odd/app")
    words = ("--base", f"{into}/app:1", "--into", into, "--strategy", "all", "--force")
    assert_fails(person.run("fleet", "squash", f"{source}:app:1", *words), 2, "is not overwritten")
    assert registry.tags("odd/app") == before


def test_images_that_are_read_are_not_overwritten(source: Path, registry: Registry, person: Person) -> None:
    """A fleet does not go to the prefix that it comes from, and is told an option that `fleet` has."""
    into = f"docker://{registry.host}/odd"
    assert person.run("fleet", "squash", source, "--into", into).code == 0
    before = registry.blobs()
    done = person.run("fleet", "squash", f"{into}/", "--into", into, "--force")
    assert_fails(done, 2, "--into another PREFIX")
    assert registry.blobs() == before


def test_a_base_in_the_registry_keeps_its_blobs(source: Path, registry: Registry, person: Person) -> None:
    """Layers of a base that --base names in a registry are not stored a second time, as `storage` tells."""
    base = f"docker://{registry.host}/odd-base:1"
    copy = f"docker-archive:{source.parent}/base.tar", base
    services.run(["skopeo", "copy", "--dest-tls-verify=false", *copy])
    told = person.run("fleet", "storage", source, "--base", base, "--json").json["strategies"]
    (expected,) = [one["registry_bytes"] for one in told if one["strategy"] == "best cut"]
    into = f"docker://{registry.host}/odd"
    done = person.run("fleet", "squash", source, "--base", base, "--into", into, "--json")
    assert done.code == 0, done.err
    assert registry.layers("odd/app", "1")[0] == registry.layers("odd-base", "1")[0]
    assert done.json["written_bytes"] == expected


def test_blobs_that_a_registry_lacks_or_damages_leave_their_images_out(
    source: Path, registry: Registry, person: Person
) -> None:
    """A note names each image and its layer, and the others are measured; a host that is gone stays an
    error."""
    place = f"docker://{registry.host}/odd"
    words = ("--strategy", "built", "--into", place)
    assert person.run("fleet", "squash", source, *words).code == 0
    tops = [registry.layers("odd/app", str(number))[2] for number in range(3)]
    registry.forget("odd/app", tops[0])
    with proxy(("127.0.0.1", registry.port)) as between:
        between.add(Fault("GET", f"/odd/app/blobs/{tops[1]}", flip=9))
        done = person.run("fleet", "storage", f"docker://{between.host}/odd/", "--json")
        assert done.code == 0, done.err
        assert [name.rpartition("/")[2] for name in done.json["images"]] == ["app:2", "base:1"]
        left = {note.partition(": layer 2")[0] for note in done.json["notes"]}
        assert left == {f"Left out: {between.host}/odd/app:{number}" for number in range(2)}
        between.add(Fault("GET", f"/odd/app/blobs/{tops[2]}", answer=404))
        whole = person.run("fleet", "squash", f"docker://{between.host}/odd/", "--into", "out.tar")
        assert whole.code in (4, 5)
        assert not Path("out.tar").exists()
        between.add(Fault("GET", f"/odd/base/blobs/{registry.layers('odd/base', '1')[0]}", answer=400))
        gone = person.run("fleet", "storage", f"docker://{between.host}/odd/base:1")
        assert_fails(gone, 5, "status 400")


def test_images_are_opened_side_by_side_and_told_in_their_order(
    source: Path, registry: Registry, person: Person
) -> None:
    """Answers that come late change no order; of several images that are not there the first is told."""
    place = f"docker://{registry.host}/odd"
    assert person.run("fleet", "squash", source, "--into", place).code == 0
    with proxy(("127.0.0.1", registry.port)) as between:
        between.add(Fault("GET", "/odd/(app/manifests/0|base/tags)", pause=0.02))
        near = f"docker://{between.host}/odd"
        listed = person.run("fleet", "storage", f"{near}/", "--no-scan", "--json").json["images"]
        assert [name.rpartition("/")[2] for name in listed] == ["app:0", "app:1", "app:2", "base:1"]
        named = [f"{near}/app:{number}" for number in (2, 0, 1)]
        told = person.run("fleet", "storage", *named, "--no-scan", "--json").json["images"]
        assert told == [name.removeprefix("docker://") for name in named]
        done = person.run("fleet", "storage", named[1], f"{near}/app:8", f"{near}/app:9")
        assert_fails(done, 5, "app:8")


def test_names_below_several_places(source: Path, registry: Registry, person: Person) -> None:
    """One image of several places has its name below the widest; two that would have one name are an
    error."""
    hub = f"docker://{registry.host}"
    for team in ("a/x", "a/y"):
        words = ("--strategy", "built", "--into", f"{hub}/{team}")
        assert person.run("fleet", "squash", source, *words).code == 0
    places = (f"{hub}/a/x/app:1", f"{hub}/a/x/", f"{hub}/a/")
    done = person.run("fleet", "squash", *places, "--strategy", "built", "--into", f"{hub}/new/er")
    assert done.code == 0, done.err
    for team in ("x", "y"):
        assert set(registry.tags(f"new/er/{team}/app")) == {"0", "1", "2"}
        assert set(registry.tags(f"new/er/{team}/base")) == {"1"}
    assert not registry.tags("new/er/app")
    assert not registry.tags("new/er/a/x/app")
    clash = person.run("fleet", "squash", f"{hub}/a/x/", f"{hub}/a/y/", "--into", f"{hub}/other")
    assert_fails(clash, 2, f"several images of the fleet would be {hub}/other/", "squash them apart")
    odd = person.run("fleet", "squash", source, "--into", f"{hub}/other:1")
    assert_fails(odd, 2, "below docker://HOST/PREFIX")


# --- registries that answer oddly ------------------------------------------------------------


class Catalogue(ThreadingHTTPServer):
    """A registry that holds no image, and lists what a test wants."""

    daemon_threads = True
    page = b'{"repositories":[]}'
    repeats = 0
    """How often the page names itself as the one after it."""
    asked = 0

    @property
    def place(self) -> str:
        return f"docker://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers as a catalogue's server."""

    protocol_version = "HTTP/1.1"
    server: Catalogue

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked may go away, and has standard error in this process
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        lists = {"/v2/": b"{}", "/v2/_catalog": self.server.page}
        listed = b'{"tags":["1"]}' if path.endswith("/tags/list") else lists.get(path)
        body = listed or b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
        self.send_response(200 if listed else 404)
        if path == "/v2/_catalog":
            self.server.asked += 1
            if self.server.asked <= self.server.repeats:
                self.send_header("Link", '</v2/_catalog?last=a&n=1>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    """A server of the test's own."""
    with Catalogue(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_catalogue_that_never_ends(catalogue: Catalogue, person: Person) -> None:
    """A page that names itself as the next one is not read again and again."""
    catalogue.page, catalogue.repeats = b'{"repositories":["a"]}', 100
    assert_fails(person.run("fleet", "storage", catalogue.place), 5, "/a:1")
    assert catalogue.asked <= 2


def test_a_name_that_no_image_may_have_is_left_out(catalogue: Catalogue, person: Person) -> None:
    """One bad name in a registry's catalogue is not taken for a mistake of the person's."""
    catalogue.page = b'{"repositories":["UP"]}'
    assert_fails(person.run("fleet", "storage", catalogue.place), 5, "nothing below")
    catalogue.page = b'{"repositories":["UP","good"]}'
    assert_fails(person.run("fleet", "storage", catalogue.place), 5, "/good:1")
