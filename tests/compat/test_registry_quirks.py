"""Registries and proxies with manners of their own: what comes of it is what a plain registry gives, or one
line that says what is wrong. Bytes that were sent are counted where they came in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from squashkit.transports.registry import http, repository, upload
from squashkit.transports.registry.manners import Manners
from tests.compat.conftest import Person
from tests.compat.quirks import (
    BEGIN,
    BLOB,
    MANIFEST,
    UPLOAD,
    MemoryRegistry,
    Quirk,
    after,
    another_part,
    at_least,
    at_most,
    elsewhere,
    ends_with_a_second_chunk,
    error,
    from_then_on,
    having,
    loses_uploads,
    lost,
    memory_registry,
    no_places,
    one_stream,
    says,
    signs,
    takes_part,
    told,
    wants_session,
    whole_chunks_alone,
    winding,
    without,
)
from tests.support.builders import file, layer, noise
from tests.support.runner import Result, assert_fails

CHUNK = 256 << 10
"""What is sent at a time here; sixteen mebibytes would take their time."""
BASE = layer(file("base", noise(50_000, "base")))
ABOVE = [layer(file("a", noise(600_000, "a"))), layer(file("b", noise(500_000, "b")))]
LARGE = 1_100_000
"""Bytes of the new layer, about."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(http, "Manners", partial(Manners, chunk=CHUNK))
    monkeypatch.setattr(upload, "_STEP", CHUNK)


def squash(person: Person, registry: MemoryRegistry, *options: str) -> Result:
    """Merge two layers of an image there into an image of another repository of it."""
    place = f"docker://{registry.host}/"
    arguments = ["--keep-layers", "1", "--compress", "none", "-o", f"{place}new:1"]
    return person.run("squash", f"{place}app:1", *arguments, *options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a registry without quirks has of the result."""
    with memory_registry() as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        done = squash(Person(tmp_path_factory.mktemp("plain")), registry)
        assert done.code == 0, done.err
        assert registry.up < LARGE + 20_000
        return registry.blobs["new"]


GENEROUS = {
    "no body above 100 kB": 3,
    "no chunk above 100 kB": 3,
    "no chunk above 100 kB: 416": 3,
    "a part of each chunk is taken": 3,
    "uploads are forgotten": 3,
    "a second chunk is not found": 4,
}
"""How many chunks are sent in vain where that is more than one: they are halved, or the registry wants it
so."""
BUSY = (408, 425, 429, 499, 500, 502, 503, 504, 520, 524, 599)
NO_FAVOUR = (400, 401, 403, 405, 429, 500, 503)
QUIRKS: dict[str, list[Quirk]] = {
    # Favours
    **{f"{status} to a HEAD": [says(status, "HEAD", BLOB)] for status in NO_FAVOUR},
    "a HEAD is cut": [after("HEAD", BLOB, lost)],
    "another size in a HEAD": [says(200, "HEAD", BLOB, Content_Length="7")],
    **{f"{status} to a mount": [says(status, "POST", "mount=")] for status in NO_FAVOUR},
    "a mount is cut": [after("POST", "mount=", lost)],
    "200 to a mount": [says(200, "POST", "mount=")],
    "a mount begins an upload": [after("POST", "mount=", lambda answer: replace(answer, status=202))],
    "201 to a mount of something else": [
        says(201, "POST", "mount=", Docker_Content_Digest=f"sha256:{'0' * 64}")
    ],
    # State
    "cookies are an offence": [wants_session],
    "signed addresses": [signs],
    "a winding address": [winding],
    # Uploads
    "no chunks: 405": [says(405, "PATCH", UPLOAD)],
    "no chunks: 501": [says(501, "PATCH", UPLOAD)],
    "no chunks: 404": [says(404, "PATCH", UPLOAD)],
    "no chunks: 411": [says(411, "PATCH", UPLOAD)],
    "no chunks: 400": [says(400, "PATCH", UPLOAD)],
    "no chunk says its place": [no_places],
    "one stream alone": [one_stream],
    "no body above 100 kB": [at_most(100_000)],
    "no chunk above 100 kB": [at_most(100_000, "PATCH")],
    "a chunk has 400 kB": [at_least(400_000)],
    "a chunk has 40 MB": [at_least(40_000_000)],
    "a part of each chunk is taken": [takes_part(150_000)],
    "no chunk above 100 kB: 416": [whole_chunks_alone(100_000)],
    "answers to chunks are lost once": [after("PATCH", UPLOAD, lost, 1)],
    "an answer to the end is lost": [after("PUT", UPLOAD, lost, 1)],
    "uploads are forgotten": [loses_uploads(2)],
    "an upload is forgotten midway": [says(404, "PATCH|GET", r"/uploads/1$", 2)],
    "a second chunk is not found": [ends_with_a_second_chunk(404)],
    "no Location after a chunk": [after("PATCH", UPLOAD, without("Location"))],
    "502 once to an end": [says(502, "PUT", UPLOAD, 1)],
    # What passes
    **{f"{status} once to a blob": [says(status, "GET", BLOB, 1)] for status in BUSY},
    **{f"{status} once to an upload": [says(status, "POST", BEGIN, 1)] for status in BUSY},
    **{f"{status} once to a chunk": [says(status, "PATCH", UPLOAD, 1)] for status in BUSY},
    **{f"{status} once to the tag": [says(status, "PUT", MANIFEST, 1)] for status in BUSY},
    "a blob goes on from its beginning": [another_part(0)],
    "a blob goes on somewhere": [another_part(7)],
    "a blob goes on beyond": [another_part(10**12)],
    "429 for a time": [says(429, "GET", BLOB, 1, Retry_After="1")],
    # What is done though it does not seem so
    "the tag is stored, then 502": [after("PUT", MANIFEST, told(502))],
    "the tag is stored, then nothing": [after("PUT", MANIFEST, lost)],
    "the tag is stored once, and then may not change": [
        after("PUT", MANIFEST, told(502), 1),
        says(409, "PUT", MANIFEST),
    ],
    # Other words for success
    "200 to all writes": [after("POST|PATCH|PUT", "/blobs/uploads/[^?]*$|" + MANIFEST, told(200))],
    "204 to all writes": [after("PATCH|PUT", UPLOAD + "|" + MANIFEST, told(204))],
    "203 to all reads": [after("GET|HEAD", BLOB + "|" + MANIFEST, told(203))],
    "206 to whole blobs": [after("GET", BLOB, told(206))],
}


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_changes_nothing(name: str, person: Person, expected: dict[str, bytes]) -> None:
    """The same image comes of it, and little is sent in vain: a chunk, and what is halved or asked for."""
    with memory_registry(QUIRKS[name]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        done = squash(person, registry)
        assert done.code == 0, done.err
        assert registry.blobs["new"].items() >= expected.items()
        assert registry.tags["new"].keys() == {"1"}
        assert registry.tags["new"]["1"] in expected
        assert not registry.uploads or "forgotten" in name, "an upload was left"
        assert registry.up - LARGE - len(BASE) <= GENEROUS.get(name, 1) * CHUNK + 100_000


def test_what_one_upload_found_out_holds_for_all(person: Person) -> None:
    """Chunks that are refused are sent once to a host, however many blobs are large."""
    with memory_registry([says(405, "PATCH", UPLOAD), says(500, "POST", "mount=")]) as registry:
        registry.add("app", "1", [BASE, *ABOVE, layer(file("c", noise(700_000, "c")))])
        place = f"docker://{registry.host}/"
        arguments = ["--segments", "=1,=1,=1,=1", "--compress", "none", "-o", f"{place}new:1"]
        done = person.run("squash", f"{place}app:1", *arguments)
        assert done.code == 0, done.err
        assert len(registry.seen("PATCH", UPLOAD)) == 1
        sent = sum(len(one) for one in registry.blobs["new"].values())
        assert registry.up <= sent + CHUNK


HICCUPS: dict[str, list[Quirk]] = {
    "503 to a mount": [says(503, "POST", "mount=", 1)],
    "a mount is cut": [after("POST", "mount=", lost, 1)],
    "503 to a HEAD": [says(503, "HEAD", BLOB, 1), says(404, "POST", "mount=")],
    "a HEAD is cut": [after("HEAD", BLOB, lost, 1), says(404, "POST", "mount=")],
}


@pytest.mark.parametrize("name", HICCUPS)
def test_a_base_is_not_sent_for_a_moment_of_trouble(name: str, person: Person) -> None:
    """A favour that is not granted for a moment costs the one layer for which it was asked."""
    base = [layer(file(f"base{at}", noise(50_000, f"base {at}"))) for at in range(3)]
    with memory_registry(HICCUPS[name]) as registry:
        registry.add("app", "1", [*base, *ABOVE])
        if "HEAD" in name:
            registry.add("new", "base", base)
        done = squash(person, registry, "--keep-layers", "3")
        assert done.code == 0, done.err
        assert registry.up < LARGE + len(base[0]) + 20_000


@pytest.mark.parametrize("status", [400, 403, 410])
def test_an_upload_that_waited_too_long_is_begun_anew(
    status: int, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was begun before layers were read gets no bytes, and is given up."""
    monkeypatch.setattr(repository, "_FRESH", 0)
    with memory_registry([says(status, "PATCH|PUT|GET", r"/uploads/1$")]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        done = squash(person, registry)
        assert done.code == 0, done.err
        assert registry.up < LARGE + 20_000
        assert not registry.uploads


def test_a_time_that_is_over_is_no_time_to_wait_for(person: Person, waits: list[float]) -> None:
    """A registry whose clock is behind names one; waits grow all the same."""
    before = "Wed, 21 Oct 2015 07:28:00 GMT"
    with memory_registry([says(429, "GET", BLOB, 4, Retry_After=before)]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        assert squash(person, registry).code == 0
        assert max(waits) >= 1


REFUSED: dict[str, tuple[list[Quirk], str]] = {
    "no Location": (
        [after("POST", BEGIN, without("Location"))],
        "it does not say where an upload to new goes (no Location, status 202)",
    ),
    "a redirect to nowhere": (
        [says(307, "GET", MANIFEST)],
        "redirects and does not say where to (status 307)",
    ),
    "401 without a challenge": (
        [says(401, "GET", MANIFEST, body=error("who are you"))],
        "gives no access (401, who are you) and does not say how one logs in there",
    ),
    "an upload that is not allowed": (
        [says(403, "POST", BEGIN, body=error("read only"))],
        "gives no access (403, read only)",
    ),
    "a full registry": (
        [says(403, "PATCH|PUT", UPLOAD, body=error("quota exceeded"))],
        "gives no access (403, quota exceeded)",
    ),
    "no second chunk": (
        [ends_with_a_second_chunk(502)],
        "takes no upload to new: it broke off again and again (status 502)",
    ),
    "another host that gives nothing": (
        [elsewhere("/app" + BLOB)],
        "localhost, to which HOST leads, gives no access: reading the blob app@sha256:",
    ),
    "no bytes at all": ([at_most(0)], "an upload to new failed with status 413"),
    "a tag that may not move": (
        [says(403, "PUT", MANIFEST, body=error("immutable"))],
        "(403, immutable)",
    ),
    "schema 1": (
        [says(200, "GET", "/app/manifests/", body=b'{"schemaVersion":1,"fsLayers":[]}')],
        "schema 1",
    ),
    "another digest for a tag": (
        [after("PUT", MANIFEST, having(Docker_Content_Digest="sha256:" + "0" * 64))],
        "manifest 1 of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_pass_is_one_line(name: str, person: Person) -> None:
    """It says what the registry said, nothing is tagged, and no upload is left."""
    quirks, words = REFUSED[name]
    with memory_registry(quirks) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        done = squash(person, registry)
        assert_fails(done, done.code, words.replace("HOST", registry.host))
        assert done.code in (4, 5)
        assert "another digest" in name or not registry.tags.get("new")
        assert not registry.uploads or "Location" in name


TAGS: dict[str, list[Quirk]] = {
    "the tag 1 was not moved": [says(500, "PUT", MANIFEST)],
    "whether the tag 1 was moved is not known": [
        says(500, "PUT", MANIFEST),
        says(403, "GET", "/new/manifests/"),
    ],
}


@pytest.mark.parametrize("words", TAGS)
def test_whether_a_tag_moved_is_told_after_looking(words: str, person: Person) -> None:
    """Where nobody shows what it means now, that is not known."""
    with memory_registry([from_then_on("PUT", MANIFEST, TAGS[words])]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        registry.add("new", "1", [BASE])
        before = registry.tags["new"]["1"]
        assert_fails(squash(person, registry), 5, "failed with status 500", words)
        assert registry.tags["new"]["1"] == before


def test_who_may_not_write_is_told_before_layers_are_read(person: Person) -> None:
    """No blob but the config was fetched."""
    with memory_registry([says(401, "POST", BEGIN), says(403, "POST", BEGIN)]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        assert_fails(squash(person, registry), 5, registry.host)
        assert len(registry.seen("GET", BLOB)) == 1


def test_a_dry_run_begins_no_upload(person: Person) -> None:
    """It asks, and changes nothing."""
    with memory_registry() as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        assert squash(person, registry, "--dry-run").code == 0
        assert not [one for one in registry.asked if one.method not in ("GET", "HEAD")]


def test_long_waits_are_told(person: Person) -> None:
    """With the seconds, and with what they are for."""
    with memory_registry([says(503, "GET", BLOB, 1, Retry_After="7")]) as registry:
        registry.add("app", "1", [BASE, *ABOVE])
        done = squash(person, registry)
        assert done.code == 0
        assert f"warning: {registry.host}: status 503; waiting 7 s\n" in done.err
        assert (
            "waiting" not in squash(person, registry, "--quiet", "-o", f"docker://{registry.host}/q:1").err
        )
