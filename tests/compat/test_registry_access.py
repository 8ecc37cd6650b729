"""Who may read and write in a registry: credentials, tokens, certificates and proxies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compat import registries
from tests.compat.conftest import Person, available
from tests.compat.registries import (
    BLOB,
    HOST,
    Authority,
    Fault,
    Registry,
    TokenServer,
    mounted,
    new_layer,
    uploaded,
)
from tests.support.runner import assert_fails

USER, PASSWORD = "ada", "pa:ss-word"
NAMES = (HOST, "localhost", "registry.test")


# --- who may -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token_server(authority: Authority) -> Iterator[TokenServer]:
    """A server of tokens that knows one user."""
    with registries.token_server(authority, {USER: PASSWORD, "reader": PASSWORD}) as tokens:
        tokens.grants = lambda user, repository, actions: (
            [one for one in actions if one == "pull"] if user == "reader" else actions if user else []
        )
        yield tokens


@pytest.fixture(scope="module")
def guarded(
    state: Path, images_registry: Registry, token_server: TokenServer
) -> Iterator[dict[str, Registry]]:
    """Registries that ask who is there: by password, and by token."""
    with ExitStack() as stack:
        basic = registries.registry(state, users={USER: PASSWORD}, like=images_registry)
        bearer = registries.registry(state, tokens=token_server, like=images_registry)
        yield {
            "basic": available(lambda: stack.enter_context(basic)),
            "bearer": available(lambda: stack.enter_context(bearer)),
        }


def auth_file(folder: Path, host: str, name: str, password: str) -> Path:
    """A file of credentials, as podman and skopeo keep it."""
    Person(folder).log_in(host, name, password)
    return folder / "docker" / "config.json"


def credential_helper(person: Person, folder: Path, host: str, password: str = PASSWORD) -> None:
    """A program that knows one password, on the PATH."""
    folder.mkdir()
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": password})
    script = folder / "docker-credential-squashkit-test"
    script.write_text(
        f"#!/bin/sh\nread server\n"
        f'if [ "$1" = get ] && [ "$server" = "{host}" ]; then echo \'{answer}\'\n'
        f"else echo 'credentials not found in native keychain'; exit 1; fi\n"
    )
    script.chmod(0o755)
    person.env["PATH"] = f"{folder}:{os.environ['PATH']}"


Way = Callable[[Person, str, Path], list[str | Path]]


def _docker_config(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, PASSWORD)
    return []


def _authfile(person: Person, host: str, folder: Path) -> list[str | Path]:
    return ["--authfile", auth_file(folder / "auth", host, USER, PASSWORD)]


def _authfile_first(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, "an old one")
    return _authfile(person, host, folder)


def _variable(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.env["REGISTRY_AUTH_FILE"] = str(auth_file(folder / "auth", host, USER, PASSWORD))
    return []


def _helper(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", host)
    config = {"credHelpers": {host: "squashkit-test"}}
    (person.config / "config.json").write_text(json.dumps(config))
    return []


def _store(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", host)
    config = {"credsStore": "squashkit-test", "auths": {host: {}}}
    (person.config / "config.json").write_text(json.dumps(config))
    return []


WAYS: dict[str, Way] = {
    "DOCKER_CONFIG": _docker_config,
    "--authfile": _authfile,
    "--authfile before DOCKER_CONFIG": _authfile_first,
    "REGISTRY_AUTH_FILE": _variable,
    "credHelpers": _helper,
    "credsStore": _store,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_credentials_are_found(
    kind: str, way: str, guarded: dict[str, Registry], person: Person, tmp_path: Path
) -> None:
    """Credentials come from where docker, podman and skopeo keep them, for both kinds of registries."""
    registry = guarded[kind]
    place, tag = f"docker://{registry.host}/", re.sub(r"\W", "_", way)
    options = WAYS[way](person, registry.host, tmp_path)
    mark = registry.mark()
    arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}{kind}:{tag}"]
    person.squash(f"{place}app:1", *arguments, *options)
    new_layer(registry, kind, tag)
    assert not uploaded(registry.log(mark)) & set(registry.layers("base", "1"))


def _nothing(person: Person, host: str, folder: Path) -> list[str | Path]:
    return []


def _wrong(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, "wrong-" + PASSWORD)
    return []


def _for_another_host(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in("other.test", USER, PASSWORD)
    return []


def _empty_store(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", "other.test")
    (person.config / "config.json").write_text('{"credsStore": "squashkit-test"}')
    return []


NO_WAYS: dict[str, Way] = {
    "nothing": _nothing,
    "wrong password": _wrong,
    "for another host": _for_another_host,
    "empty store": _empty_store,
}


@pytest.mark.parametrize("way", NO_WAYS)
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_without_credentials_nothing_is_done(
    kind: str, way: str, guarded: dict[str, Registry], person: Person, tmp_path: Path
) -> None:
    """A refusal is told in one line that names the registry, shows no password, and changes nothing."""
    registry = guarded[kind]
    options = NO_WAYS[way](person, registry.host, tmp_path)
    place, before = f"docker://{registry.host}/", registry.blobs()
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}no:1", *options]
    done = person.run("squash", *arguments)
    assert_fails(done, 5, registry.host)
    assert PASSWORD not in person.run("squash", *arguments, "--debug").err
    assert registry.tags("no") == {}
    assert registry.blobs() == before


def test_who_may_only_read_writes_nothing(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """Without the right to push reading goes on and a squash fails, with nothing tagged."""
    registry = guarded["bearer"]
    place = f"docker://{registry.host}/"
    person.log_in(registry.host, "reader", PASSWORD)
    assert person.run("cat", f"{place}app:1", "/etc/changed").out == b"new\n"
    done = person.run("squash", f"{place}app:1", "--keep-layers", "2", "-o", f"{place}no:1")
    assert_fails(done, 5, registry.host)
    assert registry.tags("no") == {}


def test_public_images_need_no_credentials(
    guarded: dict[str, Registry],
    token_server: TokenServer,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Where anybody may read, nobody has to say who he is: to read, not to write."""
    registry = guarded["bearer"]
    monkeypatch.setattr(
        token_server, "grants", lambda user, repository, actions: [one for one in actions if one == "pull"]
    )
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o"]
    person.squash(*arguments, tmp_path / "out.tar")
    assert {one.user for one in token_server.asked[asked:]} == {""}
    assert_fails(person.run("squash", *arguments, f"{place}no:1"), 5, registry.host)
    assert registry.tags("no") == {}


def test_a_token_for_a_mount_covers_both_repositories(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """A mount is asked for with a token that lets read there and write here, and is granted."""
    registry = guarded["bearer"]
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    person.log_in(registry.host, USER, PASSWORD)
    mark = registry.mark()
    arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}for-mount:1"]
    person.squash(f"{place}app:1", *arguments)
    assert mounted(registry.log(mark)) == set(registry.layers("base", "1"))
    scopes = [" ".join(one.scopes) for one in token_server.asked[asked:]]
    assert any(re.search(r"for-mount:\S*push", one) and one.count("repository:") > 1 for one in scopes)
    assert all(one.user == USER for one in token_server.asked[asked:])
    assert len(scopes) <= 8, "a token is asked for once, and used again"


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_token_that_is_refused_midway_is_asked_for_again(
    kind: str, guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """A 401 in the middle of the work is answered with new credentials, not with an error."""
    registry = guarded[kind]
    challenge = {
        "basic": 'Basic realm="tests"',
        "bearer": f'Bearer realm="{token_server.url}/token",service="{registries.SERVICE}"',
    }[kind]
    with registries.proxy((HOST, registry.port)) as proxy:
        layer = registry.layers("app", "1")[-1]
        headers = {"WWW-Authenticate": challenge}
        fault = proxy.add(Fault("GET", f"/blobs/{layer}", 1, answer=401, headers=headers))
        place = f"docker://{proxy.host}/"
        person.log_in(proxy.host, USER, PASSWORD)
        person.squash(f"{place}app:1", "--keep-layers", "2", "-o", f"{place}midway:1")
        assert fault.hits == 1


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_redirect_gets_no_credentials(kind: str, guarded: dict[str, Registry], person: Person) -> None:
    """Blobs that the registry has elsewhere are fetched there, without a word of who is asking."""
    registry = guarded[kind]
    with (
        registries.store(registry) as elsewhere,
        registries.proxy((HOST, registry.port)) as proxy,
    ):
        fault = proxy.add(Fault("GET", BLOB, redirect=f"http://localhost:{elsewhere.port}"))
        place = f"docker://{proxy.host}/"
        person.log_in(proxy.host, USER, PASSWORD)
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}redirected:1")
        assert fault.hits
        assert {one.status for one in elsewhere.requests} == {200}
        assert not any("authorization" in one.headers for one in elsewhere.requests)
        assert all("authorization" in one.headers for one in proxy.seen("GET", BLOB))
    new_layer(registry, "redirected", "1")


# --- TLS and proxies -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(state: Path, images_registry: Registry, authority: Authority) -> Iterator[Registry]:
    """A registry behind TLS, with a certificate that no machine trusts by itself."""
    with registries.registry(state, authority=authority, hosts=NAMES, like=images_registry) as registry:
        yield registry


@pytest.fixture(scope="module")
def strict(state: Path, images_registry: Registry, authority: Authority) -> Iterator[Registry]:
    """A registry that knows its clients by their certificates."""
    with registries.registry(
        state, authority=authority, clients=True, hosts=NAMES, like=images_registry
    ) as registry:
        yield registry


@pytest.fixture(scope="module")
def other_authority(state: Path) -> Authority:
    """One that signed nothing here."""
    return available(lambda: Authority(state / "other-authority"))


@pytest.mark.parametrize(
    ("which", "options", "code"),
    [
        ("secure", ["--cert-dir", "own"], 0),
        ("secure", ["--tls-verify=false"], 0),
        ("secure", ["--cert-dir", "other"], 5),
        ("secure", ["--tls-verify=true"], 5),
        ("secure", [], 5),
        ("strict", ["--cert-dir", "client"], 0),
        ("strict", ["--cert-dir", "own"], 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
@pytest.mark.parametrize("host", [HOST, "localhost", "registry.test"])
def test_tls(
    which: str,
    options: list[str],
    code: int,
    host: str,
    secure: Registry,
    strict: Registry,
    authority: Authority,
    other_authority: Authority,
    person: Person,
) -> None:
    """A certificate is trusted where --cert-dir or --tls-verify=false says so, else there is a hint; on
    this very machine too."""
    registry = {"secure": secure, "strict": strict}[which]
    folders = {
        "own": authority.folder_for_clients(),
        "client": authority.folder_for_clients(client=True),
        "other": other_authority.folder_for_clients(),
    }
    said = [str(folders.get(word, word)) for word in options]
    name = f"{host}:{registry.port}"
    place, tag = f"docker://{name}/", re.sub(r"\W", "_", "-".join(["t", host, *options]))
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}tls:{tag}", *said]
    with registries.proxy(names={name: (HOST, registry.port)}) as proxy:
        person.use_proxies(https_proxy=f"http://{proxy.host}")
        done = person.run("squash", *arguments)
    if code:
        assert_fails(done, code, name, "--cert-dir DIR adds a CA, --tls-verify=false trusts anybody")
        assert tag not in registry.tags("tls")
    else:
        assert done.code == 0, done.err
        new_layer(registry, "tls", tag)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_options_go_before_other_programs_variables(
    variable: str, secure: Registry, authority: Authority, other_authority: Authority, person: Person
) -> None:
    """--tls-verify=false and --cert-dir hold, whatever variables of other programs say of certificates."""
    name = f"registry.test:{secure.port}"
    person.env[variable] = str(other_authority.certificate)
    with registries.proxy(names={name: (HOST, secure.port)}) as proxy:
        person.use_proxies(https_proxy=f"http://{proxy.host}")
        for options in (["--tls-verify=false"], ["--cert-dir", authority.folder_for_clients()]):
            place = f"docker://{name}/"
            tag = variable + str(options[0]).strip("-").replace("=", "-")
            arguments = ["--keep-layers", "2", "-o", f"{place}tls:{tag}"]
            done = person.run("squash", f"{place}app:1", *arguments, *options)
            assert done.code == 0, (options, done.err)


def test_a_tunnel_through_a_proxy(secure: Registry, authority: Authority, person: Person) -> None:
    """HTTPS_PROXY leads to a registry that nobody but the proxy can find."""
    with registries.proxy(names={"registry.test:443": (HOST, secure.port)}) as proxy:
        person.use_proxies(https_proxy=f"http://{proxy.host}")
        options = ["--cert-dir", authority.folder_for_clients()]
        place = "docker://registry.test/"
        arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}tunnel:1"]
        person.squash(f"{place}app:1", *arguments, *options)
        assert {one.path for one in proxy.seen("CONNECT")} == {"registry.test:443"}
    new_layer(secure, "tunnel", "1")


def test_plain_requests_through_a_proxy(registry: Registry, person: Person) -> None:
    """HTTP_PROXY leads to a registry without TLS, where --tls-verify=false allows that."""
    with registries.proxy(names={"registry.test:5000": (HOST, registry.port)}) as proxy:
        person.use_proxies(http_proxy=f"http://{proxy.host}", https_proxy=f"http://{proxy.host}")
        place = "docker://registry.test:5000/"
        arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}plain:1", "--tls-verify=false"]
        person.squash(f"{place}app:1", *arguments)
        assert proxy.seen("GET", "^http://registry.test:5000/v2/")
    new_layer(registry, "plain", "1")


def test_some_hosts_need_no_proxy(registry: Registry, person: Person) -> None:
    """What NO_PROXY lists is asked directly."""
    with registries.proxy() as proxy:
        address = f"http://{proxy.host}"
        person.use_proxies(http_proxy=address, https_proxy=address, no_proxy="127.0.0.1,localhost")
        place = f"docker://{registry.host}/"
        person.squash(f"{place}app:1", "--keep-layers", "2", "-o", f"{place}app:new")
        assert proxy.requests == []
