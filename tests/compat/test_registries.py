"""The servers that the tests stand on: each does what it says, as curl, skopeo and openssl see it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat import registries, services
from tests.compat.conftest import available
from tests.compat.registries import BLOB, UPLOAD, Authority, Fault, Proxy, Registry
from tests.compat.services import CommandFailed, run

USERS = {"ada": "secret"}


def curl(*arguments: str | Path) -> str:
    """What curl says; the status of the answer stands in its last line."""
    return run(["curl", "--silent", "--show-error", "--noproxy", "*", "-w", "\n%{http_code}", *arguments])


def status(*arguments: str | Path) -> int:
    """The status of the answer alone."""
    return int(curl("-o", "/dev/null", *arguments).splitlines()[-1])


def some_blob(registry: Registry) -> str:
    return registry.layers("base", "1")[0]


def test_a_registry_tells_what_it_stores_and_what_it_saw(registry: Registry) -> None:
    """Storage and log say the same as the registry's answers."""
    mark, blob = registry.mark(), some_blob(registry)
    path = f"/v2/base/blobs/{blob}"
    assert status(f"http://{registry.host}{path}") == 200
    assert status(f"http://{registry.host}/v2/base/manifests/no") == 404
    assert (
        status("-X", "POST", f"http://{registry.host}/v2/new/blobs/uploads/?mount={blob}&from=base") == 201
    )
    seen = registry.log(mark)
    assert [(one.method, one.status) for one in seen] == [("GET", 200), ("GET", 404), ("POST", 201)]
    assert [one.blob for one in seen] == [blob, "", ""]
    assert seen[2].query == {"mount": blob, "from": "base"}
    assert [one.writes for one in seen] == [False, False, True]
    assert registry.tags("base").keys() == {"1"}
    assert registry.tags("base")["1"] in registry.digests("base")
    assert blob in registry.blobs()
    assert registry.log(registry.mark()) == []


def test_a_registry_asks_for_a_password(state: Path) -> None:
    """Basic authentication lets in who knows it, and others are in the log."""
    with registries.registry(state, users=USERS) as registry:
        mark, url = registry.mark(), f"http://{registry.host}/v2/"
        assert status(url) == status("-u", "ada:wrong", url) == 401
        assert status("-u", "ada:secret", url) == 200
        assert [one.status for one in registry.log(mark)] == [401, 401, 200]


def test_a_registry_behind_tls(state: Path, authority: Authority) -> None:
    """Its certificate is of our own authority, and it may want one of its clients."""
    certs = authority.folder_for_clients(client=True)
    client: list[str | Path] = ["--cert", certs / "client.cert", "--key", certs / "client.key"]
    trust: list[str | Path] = ["--cacert", certs / "ca.crt"]
    for clients in (False, True):
        with registries.registry(state, authority=authority, clients=clients) as registry:
            mark, url = registry.mark(), f"https://{registry.host}/v2/"
            with pytest.raises(CommandFailed):
                curl(url)
            if clients:
                with pytest.raises(CommandFailed):
                    curl(*trust, url)
            assert status(*trust, *client, url) == 200
            assert [one.status for one in registry.log(mark)] == [200]


def test_a_registry_takes_tokens(state: Path, authority: Authority) -> None:
    """A token opens what it was asked for, several repositories too, and nothing to a wrong password."""
    with (
        registries.token_server(authority, USERS) as tokens,
        registries.registry(state, tokens=tokens) as registry,
    ):
        said = run(["curl", "-si", "--noproxy", "*", f"http://{registry.host}/v2/a/tags/list"])
        assert f'Bearer realm="{tokens.url}/token",service="{registries.SERVICE}"' in said
        query = f"service={registries.SERVICE}&scope=repository:a:pull,push&scope=repository:b:pull"
        assert status("-u", "ada:wrong", f"{tokens.url}/token?{query}") == 401
        answer = curl("-u", "ada:secret", f"{tokens.url}/token?{query}").splitlines()[0]
        bearer = ["-H", f"Authorization: Bearer {json.loads(answer)['token']}"]
        for repository in ("a", "b"):
            assert status(*bearer, f"http://{registry.host}/v2/{repository}/tags/list") == 404
        upload = ["-X", "POST", *bearer]
        assert status(*upload, f"http://{registry.host}/v2/a/blobs/uploads/") == 202
        assert status(*upload, f"http://{registry.host}/v2/b/blobs/uploads/") == 401
        assert [(one.user, one.granted) for one in tokens.asked] == [("", False), ("ada", True)]
        assert tokens.asked[1].scopes == ("repository:a:pull,push", "repository:b:pull")


Get = Callable[[], int]

FAULTS: dict[str, tuple[Fault, list[object]]] = {
    "none": (Fault("PUT", "/"), [200, 200]),
    "answer": (Fault("GET", BLOB, 1, answer=429, headers={"Retry-After": "1"}), [429, 200]),
    "twice": (Fault("GET", BLOB, 2, answer=500), [500, 500, 200]),
    "cut": (Fault("GET", BLOB, 1, cut_down=1000), ["cut", 200]),
    "cut always": (Fault("GET", BLOB, cut_down=1000), ["cut", "cut"]),
    "flipped": (Fault("GET", BLOB, 1, flip=70_000), ["other bytes", 200]),
    "slow": (Fault("GET", BLOB, 1, pause=0.01), [200]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_proxy_breaks_what_it_is_told_to(name: str, images_registry: Registry, tmp_path: Path) -> None:
    """Each fault strikes as often as it was told, and everything else comes through as it is."""
    fault, expected = FAULTS[name]
    blob = some_blob(images_registry)
    with registries.proxy((registries.HOST, images_registry.port)) as proxy:
        proxy.add(fault)
        found: list[object] = []
        for _ in expected:
            try:
                said = curl(f"http://{proxy.host}/v2/base/blobs/{blob}", "-o", tmp_path / "blob")
            except CommandFailed:
                found.append("cut")
                continue
            code = int(said)
            same = (tmp_path / "blob").read_bytes() == images_registry.blob(blob)
            found.append("other bytes" if code == 200 and not same else code)
        assert found == expected
        assert fault.hits == sum(one != 200 for one in expected) or name == "slow"
        assert len(proxy.seen("GET", BLOB)) == len(expected)


def copied(umoci: services.Umoci, proxy: Proxy, registry: Registry) -> bool:
    """Whether skopeo gets an image through this proxy into another repository, blob by blob."""
    options = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    try:
        umoci.copy(f"docker://{registry.host}/app:1", f"docker://{proxy.host}/copy:1", *options)
    except CommandFailed:
        return False
    return True


def test_a_proxy_cuts_an_upload(umoci: services.Umoci, registry: Registry) -> None:
    """An upload that is cut leaves no tag, and without a fault all is counted that goes up."""
    with registries.proxy((registries.HOST, registry.port)) as proxy:
        fault = proxy.add(Fault("PATCH", UPLOAD, cut_up=50_000))
        # skopeo remembers blobs by host and port, and would mount one where a port comes a second time
        proxy.add(Fault("POST", UPLOAD, no_query=True))
        assert not copied(umoci, proxy, registry)
        assert fault.hits
        assert registry.tags("copy") == {}
        fault.times = 0
        proxy.requests.clear()
        assert copied(umoci, proxy, registry)
        assert registry.tags("copy").keys() == {"1"}
        up = sum(one.up for one in proxy.seen("PATCH"))
        assert up >= registry.size(registry.layers("copy", "1"))


def test_a_proxy_sends_a_blob_elsewhere(registry: Registry) -> None:
    """A redirect leads to another host name, where the blob is, and which sees what was sent along."""
    blob = some_blob(registry)
    basic = "Basic " + base64.b64encode(b"ada:secret").decode()
    with (
        registries.store(registry) as elsewhere,
        registries.proxy((registries.HOST, registry.port)) as proxy,
    ):
        proxy.add(Fault("GET", BLOB, redirect=f"http://localhost:{elsewhere.port}"))
        url = f"http://{proxy.host}/v2/base/blobs/{blob}"
        assert status("-L", "-u", "ada:secret", url) == 200
        assert status("-L", "--location-trusted", "-u", "ada:secret", url) == 400
        assert [one.headers.get("authorization") for one in elsewhere.requests] == [None, basic]


def test_a_proxy_leads_to_servers_by_name(registry: Registry, state: Path, authority: Authority) -> None:
    """As HTTP_PROXY it finds hosts that nobody else knows, plain and through a tunnel."""
    with registries.registry(state, authority=authority, hosts=["tls.test"]) as secure:
        names: dict[str, registries.Address] = {
            "plain.test:5000": (registries.HOST, registry.port),
            "tls.test:443": (registries.HOST, secure.port),
        }
        with registries.proxy(names=names) as proxy:
            through = ["--noproxy", "", "-x", f"http://{proxy.host}"]
            trust: list[str | Path] = ["--cacert", authority.certificate]
            assert status(*through, "http://plain.test:5000/v2/") == 200
            assert status(*through, *trust, "https://tls.test/v2/") == 200
            assert [one.path for one in proxy.seen("CONNECT")] == ["tls.test:443"]
            assert status(*through, "http://other.test/v2/") == 502


def test_a_proxy_before_a_daemon(
    docker: services.Docker, images_registry: Registry, tmp_path: Path
) -> None:
    """On a unix socket it counts what docker sends to be loaded, and ends it where it is told."""
    archive, at = tmp_path / "app.tar", tmp_path / "sock"
    docker.run("save", "-o", archive, "app:1")
    with registries.proxy(docker.folder / "sock", socket_path=at) as proxy:
        env = {"DOCKER_HOST": f"unix://{at}"}
        run(["docker", "load", "--quiet", "-i", archive], env=env)
        (load,) = proxy.seen("POST", "/images/load")
        assert load.up == archive.stat().st_size
        called: list[int] = []
        fault = proxy.add(Fault("POST", "/images/load", call=lambda: called.append(load.up), cut_up=9999))
        with pytest.raises(CommandFailed):
            run(["docker", "load", "--quiet", "-i", archive], env=env)
        assert (fault.hits, len(called)) == (1, 1)
        assert proxy.seen("POST", "/images/load")[1].up == 9999


def test_a_daemon_that_was_killed_comes_back(
    docker: services.Docker, images_registry: Registry, state: Path, tmp_path: Path
) -> None:
    """After a kill it starts again on what it had."""
    docker.run("save", "-o", tmp_path / "base.tar", "base:1")
    with services.docker(state, "killed") as other:
        other.run("load", "--quiet", "-i", tmp_path / "base.tar")
        other.kill()
        with pytest.raises(CommandFailed):
            other.run("version")
    with services.docker(state, "killed") as other:
        assert other.tags().keys() == {"base:1"}


def test_podman_speaks_dockers_dialect(
    docker: services.Docker, podman: services.Podman, images_registry: Registry, tmp_path: Path
) -> None:
    """Through its socket podman loads and shows what docker saved, and so it does by its storage.conf."""
    docker.run("save", "-o", tmp_path / "base.tar", "base:1")

    def through_the_socket() -> None:
        with podman.service() as host:
            env = {"DOCKER_HOST": host}
            run(["docker", "load", "--quiet", "-i", tmp_path / "base.tar"], env=env)
            assert "base" in run(["docker", "images"], env=env)

    available(through_the_socket)
    env = {"CONTAINERS_STORAGE_CONF": str(podman.storage_conf)}
    said = run(["skopeo", "inspect", "--config", "containers-storage:localhost/base:1"], env=env)
    assert json.loads(said)["rootfs"]["diff_ids"] == docker.layers("base:1")
