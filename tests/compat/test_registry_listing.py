"""What a registry lists below a prefix: all its images and nothing else, however it gives its lists."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit.oci.media import OCI_CONFIG, OCI_MANIFEST
from tests.compat import registries, services
from tests.compat.conftest import Person
from tests.compat.registries import Authority, Fault, Proxy, Registry, downloaded
from tests.support.builders import ImageSpec, docker_archive_25, oci_layout
from tests.support.fleets import blob
from tests.support.runner import Json, assert_fails

EMPTY = "application/vnd.oci.empty.v1+json"
HELM = "application/vnd.cncf.helm.config.v1+json"


@pytest.fixture
def mine(state: Path) -> Iterator[Registry]:
    """A registry without anything in it."""
    with registries.registry(state) as made:
        yield made


def push(registry: Registry, folder: Path, *names: str, host: str = "") -> None:
    """Put a small image of its own under each of these names."""
    for name in names:
        place = folder / "pushed" / name.replace("/", "_").replace(":", "-")
        place.parent.mkdir(exist_ok=True)
        oci_layout(place, [ImageSpec([blob(name, 900)], ["app:1"])])
        target = f"docker://{host or registry.host}/{name}"
        services.run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{place}", target])


def send(registry: Registry, method: str, path: str, data: bytes, media_type: str) -> str:
    """One request, and the address that it is answered with."""
    url = path if "://" in path else f"http://{registry.host}/v2/{path}"
    request = urllib.request.Request(url, data, {"Content-Type": media_type}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.headers.get("Location", ""))


def put_blob(registry: Registry, repository: str, data: bytes, media_type: str) -> Json:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    where = send(registry, "POST", f"{repository}/blobs/uploads/", b"", media_type)
    send(registry, "PUT", f"{where}&digest={digest}", data, "application/octet-stream")
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def put_artifact(
    registry: Registry, repository: str, tag: str, *, config: str, kind: str = "", layer: str = "text/plain"
) -> None:
    """Put what is no image, with a layer of its own."""
    manifest: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if kind:
        manifest["artifactType"] = kind
    manifest["config"] = put_blob(registry, repository, b"{}", config)
    manifest["layers"] = [put_blob(registry, repository, tag.encode(), layer)]
    send(registry, "PUT", f"{repository}/manifests/{tag}", json.dumps(manifest).encode(), OCI_MANIFEST)


def listed(person: Person, place: str) -> Json:
    """What `fleet storage` says of a place."""
    done = person.run("fleet", "storage", place, "--no-scan", "--json")
    assert done.code == 0, done.err
    return done.json


def images(person: Person, proxy: Proxy | Registry, prefix: str) -> list[str]:
    found = listed(person, f"docker://{proxy.host}/{prefix}")["images"]
    return [name.removeprefix(f"{proxy.host}/") for name in found]


# --- images are images -----------------------------------------------------------------------


def test_what_is_no_image_is_counted_in_one_note(mine: Registry, tmp_path: Path, person: Person) -> None:
    """Signatures, charts and other artifacts are left out, and none of their layers is read."""
    push(mine, tmp_path, "team/app:1", "team/app:2")
    digest = mine.tags("team/app")["1"].removeprefix("sha256:")
    signed = "application/vnd.dev.cosign.simplesigning.v1+json"
    for end in ("sig", "att", "sbom"):
        put_artifact(mine, "team/app", f"sha256-{digest}.{end}", config=OCI_CONFIG, layer=signed)
    put_artifact(mine, "team/app", f"v1-sha256-{digest}.sig", config=OCI_CONFIG, layer=signed)
    put_artifact(mine, "team/app", f"sha256-{digest}", config=EMPTY, kind="text/x")
    for version in ("1.0.0", "1.1.0"):
        put_artifact(mine, "team/charts/web", version, config=HELM)
    put_artifact(mine, "team/notes", "1", config=EMPTY, kind="application/vnd.example.notes")
    put_artifact(mine, "team/model", "1", config="application/vnd.example.model+json")
    put_artifact(mine, "team/typed", "1", config=OCI_CONFIG, kind="application/vnd.example.typed")
    mark = mine.mark()
    said = listed(person, f"docker://{mine.host}/team/")
    assert said["images"] == [f"{mine.host}/team/app:{tag}" for tag in (1, 2)]
    (note,) = [note for note in said["notes"] if "Left out" in note]
    assert note == (
        "Left out: 2 charts, 2 signatures, 1 SBOM, 1 attestation, 1 referrers index, 3 other artifacts"
        f" below docker://{mine.host}/team/."
    )
    read = set(downloaded(mine.log(mark)))
    for repository in ("team/app", "team/charts/web", "team/notes", "team/model", "team/typed"):
        for tag in mine.tags(repository):
            assert not read & set(mine.layers(repository, tag))


def test_a_place_without_images_says_what_is_there(mine: Registry, person: Person) -> None:
    """Charts alone are no fleet."""
    put_artifact(mine, "charts/web", "1.0.0", config=HELM)
    done = person.run("fleet", "storage", f"docker://{mine.host}/charts/")
    assert_fails(done, 5, "nothing below", "1 chart")


# --- lists in pages --------------------------------------------------------------------------


def test_a_number_that_is_refused_is_left_out(state: Path, tmp_path: Path, person: Person) -> None:
    """A catalogue that gives two names at a time and refuses to give a thousand is read to its end."""
    with registries.registry(state, most=2) as small:
        push(small, tmp_path, *(f"team/{name}:1" for name in "abcde"))
        mark = small.mark()
        assert images(person, small, "team/") == [f"team/{name}:1" for name in "abcde"]
        asked = [one for one in small.log(mark) if "_catalog" in one.path]
        assert [one.status for one in asked] == [400, 200, 200, 200]


@pytest.mark.parametrize("status", [400, 405])
def test_tags_are_asked_for_without_a_number(
    status: int, mine: Registry, tmp_path: Path, person: Person
) -> None:
    """A registry that refuses `n` is asked again without."""
    push(mine, tmp_path, "team/a:1", "team/a:2")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        refused = proxy.add(Fault("GET", r"\?n=\d+$", answer=status, body=b'{"errors":[{"code":"X"}]}'))
        assert images(person, proxy, "team/") == ["team/a:1", "team/a:2"]
        assert refused.hits == 2


LINKS = [
    "http://other.invalid/v2/team/a/tags/list?last=1&n=1",
    "https://127.0.0.1:1/v2/team/a/tags/list?n=1&last=1",
    "//other.invalid/v2/team/a/tags/list?last=1",
    "/v2/team/a/tags/list?last=1&n=1",
    "/repository/proxied/v2/team/a/tags/list?last=1",
    "/v2/a/tags/list?n=1&last=1",
    "list?last=1",
    "?last=1",
]


@pytest.mark.parametrize("link", LINKS)
def test_of_a_link_path_and_query_count(link: str, mine: Registry, tmp_path: Path, person: Person) -> None:
    """The next page is asked for where the first one was, whatever host, scheme or folder its link has."""
    push(mine, tmp_path, "team/a:1", "team/a:2")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        headers = {"Link": f'<{link}>; rel="next"'}
        proxy.add(
            Fault("GET", r"/team/a/tags/list\?n=1000$", answer=200, headers=headers, body=b'{"tags":["1"]}')
        )
        proxy.add(Fault("GET", r"/v2/team/a/tags/list\?.*last=1", answer=200, body=b'{"tags":["2"]}'))
        assert images(person, proxy, "team/") == ["team/a:1", "team/a:2"]


def test_a_link_may_lead_to_another_path(mine: Registry, tmp_path: Path, person: Person) -> None:
    """A path of the registry's own is followed, on the registry's host."""
    push(mine, tmp_path, "team/a:1", "team/a:2")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        headers = {"Link": "<http://other.invalid//v2/_more/7?x=y>; rel=next"}
        proxy.add(Fault("GET", r"/team/a/tags/list", answer=200, headers=headers, body=b'{"tags":["1"]}'))
        proxy.add(Fault("GET", r"^/v2/_more/7\?x=y$", answer=200, body=b'{"tags":["2"]}'))
        assert images(person, proxy, "team/") == ["team/a:1", "team/a:2"]


def test_links_that_never_end(mine: Registry, tmp_path: Path, person: Person) -> None:
    """Pages that lead to each other are read once each."""
    push(mine, tmp_path, "team/a:1")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        for here, there in (("n=1000", "last=x"), ("last=x", "last=y"), ("last=y", "last=x")):
            headers = {"Link": f'</v2/team/a/tags/list?{there}>; rel="next"'}
            path = rf"/team/a/tags/list\?{here}$"
            proxy.add(Fault("GET", path, answer=200, headers=headers, body=b'{"tags":["1"]}'))
        assert images(person, proxy, "team/") == ["team/a:1"]
        assert len(proxy.seen("GET", "tags/list")) == 3


def test_a_list_that_breaks_off_is_asked_for_again(mine: Registry, tmp_path: Path, person: Person) -> None:
    """As documents are."""
    push(mine, tmp_path, "team/a:1")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        cut = proxy.add(Fault("GET", "tags/list|_catalog", times=2, cut_down=5))
        assert images(person, proxy, "team/") == ["team/a:1"]
        assert cut.hits == 2


# --- repositories that are listed and cannot be read -----------------------------------------


def test_no_tags_are_no_fault(mine: Registry, tmp_path: Path, person: Person) -> None:
    """`null` for tags, as of a repository that lost its last one, is none."""
    push(mine, tmp_path, "team/a:1", "team/b:1")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        proxy.add(Fault("GET", "team/b/tags/list", answer=200, body=b'{"name":"team/b","tags":null}'))
        assert images(person, proxy, "team/") == ["team/a:1"]


def test_deleted_and_closed_repositories_are_named(mine: Registry, tmp_path: Path, person: Person) -> None:
    """One that is listed and gone, and one that nobody may see, are left out, and notes name them."""
    push(mine, tmp_path, "team/a:1", "team/closed:1", "team/gone:1", "team/a:lost")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        proxy.add(Fault("GET", "team/closed/tags/list", answer=401, body=b"{}"))
        proxy.add(Fault("GET", "team/gone/tags/list", answer=404, body=b"{}"))
        proxy.add(Fault("GET", "team/a/manifests/lost", answer=404, body=b"{}"))
        said = listed(person, f"docker://{proxy.host}/team/")
        assert said["images"] == [f"{proxy.host}/team/a:1"]
        place, below = f"{proxy.host}/team", f"below docker://{proxy.host}/team/."
        assert said["notes"] == [
            f"Left out: 1 of 3 repositories without a list of tags ({place}/gone) {below}",
            f"Left out: 1 of 3 repositories without access ({place}/closed) {below}",
            f"Left out: 1 tag without a manifest ({place}/a:lost) {below}",
        ]


@pytest.mark.parametrize("body", [b"<html>", b'{"tags":"1"}'])
def test_a_fault_names_the_repository(body: bytes, mine: Registry, tmp_path: Path, person: Person) -> None:
    """What is no list is told with the repository that it was to be of."""
    push(mine, tmp_path, "team/a:1")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        proxy.add(Fault("GET", "team/a/tags/list", answer=200, body=body))
        done = person.run("fleet", "storage", f"docker://{proxy.host}/team/")
        assert_fails(done, 4, f"the tags of {proxy.host}/team/a")


# --- registries without a catalogue ----------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_registry_without_a_catalogue(
    status: int, mine: Registry, tmp_path: Path, person: Person
) -> None:
    """A prefix that is a repository means its tags; another is told with the way out."""
    push(mine, tmp_path, "team/a:1", "team/a:2")
    with registries.proxy((registries.HOST, mine.port)) as proxy:
        proxy.add(Fault("GET", "_catalog", answer=status, body=b"{}"))
        said = listed(person, f"docker://{proxy.host}/team/a/")
        assert said["images"] == [f"{proxy.host}/team/a:{tag}" for tag in (1, 2)]
        assert "does not list its repositories" in said["notes"][0]
        for place in ("team/", ""):
            done = person.run("fleet", "storage", f"docker://{proxy.host}/{place}")
            assert_fails(done, 5, f"the repositories of {proxy.host}", str(status), "/REPO/")
            assert len(done.err.splitlines()) == 1


def test_a_user_who_may_not_see_the_catalogue(
    state: Path, authority: Authority, mine: Registry, tmp_path: Path, person: Person
) -> None:
    """A real registry that gives a user his repositories and not its catalogue."""
    push(mine, tmp_path, "team/a:1")
    with registries.token_server(authority, {"me": "pass"}) as tokens:
        tokens.grants = lambda user, name, actions: actions if user and name != "catalog" else []
        with registries.registry(state, tokens=tokens, like=mine) as private:
            person.log_in(private.host, "me", "pass")
            assert images(person, private, "team/a/") == ["team/a:1"]
            done = person.run("fleet", "storage", f"docker://{private.host}/team/")
            assert_fails(done, 5, "credentials do not suffice", "/REPO/")


# --- names below a target --------------------------------------------------------------------


def test_paths_are_kept_below_a_prefix(mine: Registry, tmp_path: Path, person: Person) -> None:
    """Of what is listed all that stands after the place, of an image named alone its repository, of one in
    an archive its name without a host."""
    push(mine, tmp_path, "in/team-a/api:1", "in/team-b/api:1", "alone/api:1", "whole/api:1")
    names = ["registry.invalid/far/away:1", "docker.io/library/debian:12", "docker.io/user/app:1"]
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([blob(name, 900)], [name]) for name in names])
    place = f"docker://{mine.host}"
    sources = [f"{place}/in/", f"{place}/alone/api:1", f"{place}/whole/api/", tmp_path / "a.tar"]
    words = ("--strategy", "built")
    done = person.run("fleet", "squash", *sources, "--into", f"{place}/out", *words)
    assert done.code == 0, done.err
    expected = [
        "team-a/api:1",
        "team-b/api:1",
        "alone/api:1",
        "api:1",
        "far/away:1",
        "debian:12",
        "user/app:1",
    ]
    for name in expected:
        repository, _, tag = name.partition(":")
        assert set(mine.tags(f"out/{repository}")) == {tag}


def test_two_images_of_one_name_are_refused(mine: Registry, tmp_path: Path, person: Person) -> None:
    """Before anything is written, and both are named."""
    push(mine, tmp_path, "in/api:1", "api:1")
    before = mine.blobs()
    sources = [f"docker://{mine.host}/in/", f"docker://{mine.host}/api:1"]
    into = f"docker://{mine.host}/out"
    done = person.run("fleet", "squash", *sources, "--into", into, "--strategy", "built")
    assert_fails(done, 2, f"docker://{mine.host}/in/api:1", f"docker://{mine.host}/api:1", "apart")
    assert mine.blobs() == before


# --- blobs that are not there ----------------------------------------------------------------


def test_a_blob_that_is_not_there_is_named(mine: Registry, tmp_path: Path, person: Person) -> None:
    """With its host, repository and digest: a layer, and a config."""
    push(mine, tmp_path, "team/a:1")
    place = f"docker://{mine.host}/team/a:1"
    (layer,) = mine.layers("team/a", "1")
    config = mine.manifest("team/a", "1")["config"]["digest"]
    for digest, code in ((layer, 5), (config, 4)):
        mine.forget("team/a", digest)
        done = person.run("fleet", "storage", place)
        assert_fails(done, code, f"{mine.host}/team/a@{digest}")
