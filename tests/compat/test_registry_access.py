"""Who may read and write in a registry: credentials, tokens, certificates and proxies."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

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
    downloaded,
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


def credential_helper(
    person: Person, folder: Path, host: str, user: str = USER, password: str = PASSWORD
) -> None:
    """A program that knows one password, on the PATH. It counts its calls in a file beside it."""
    answer = json.dumps({"ServerURL": host, "Username": user, "Secret": password})
    program(
        person,
        folder,
        f"echo x >> {folder}/calls; read server\n"
        f'if [ "$1" = get ] && [ "$server" = "{host}" ]; then echo \'{answer}\'\n'
        f"else echo 'credentials not found in native keychain'; exit 1; fi",
    )


def program(person: Person, folder: Path, script: str) -> None:
    """A credential helper on the PATH, in sh."""
    folder.mkdir()
    path = folder / "docker-credential-squashkit-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
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


def _in_a_variable(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, "an old one")
    document = auth_file(folder / "auth", host, USER, PASSWORD).read_text()
    person.env["DOCKER_AUTH_CONFIG"] = document
    return []


def _podman(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in("other.test", USER, PASSWORD)
    path = folder / "run" / "containers" / "auth.json"
    path.parent.mkdir(parents=True)
    auth_file(folder / "auth", host, USER, PASSWORD).rename(path)
    person.env["XDG_RUNTIME_DIR"] = str(folder / "run")
    return []


def _in_clear(person: Person, host: str, folder: Path) -> list[str | Path]:
    entry = {"username": USER, "password": PASSWORD}
    (person.config / "config.json").write_text(json.dumps({"auths": {f"https://{host}/v1/": entry}}))
    return []


WAYS: dict[str, Way] = {
    "DOCKER_CONFIG": _docker_config,
    "in clear": _in_clear,
    "DOCKER_AUTH_CONFIG": _in_a_variable,
    "podman's": _podman,
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


def _absent(person: Person, folder: Path) -> str:
    (person.config / "config.json").write_text('{"credsStore": "squashkit-absent"}')
    return "the helper docker-credential-squashkit-absent is not on the PATH"


def _failing(person: Person, folder: Path) -> str:
    (person.config / "config.json").write_text('{"credsStore": "squashkit-test"}')
    program(person, folder, f"echo {PASSWORD}; echo {PASSWORD} >&2; exit 1")
    return "the helper docker-credential-squashkit-test failed (exit code 1)"


def _talking(person: Person, folder: Path) -> str:
    (person.config / "config.json").write_text('{"credsStore": "squashkit-test"}')
    program(person, folder, f"echo {PASSWORD}; echo {PASSWORD} >&2")
    return "the helper docker-credential-squashkit-test does not answer in docker's form"


def _broken_config(person: Person, folder: Path) -> str:
    (person.config / "config.json").write_text(f'{{"auths": "{PASSWORD}"}}')
    return f"{person.config}/config.json is not JSON in docker's form"


def _broken_variable(person: Person, folder: Path) -> str:
    person.env["DOCKER_AUTH_CONFIG"] = PASSWORD
    return "DOCKER_AUTH_CONFIG is not JSON in docker's form"


FAULTY: dict[str, Callable[[Person, Path], str]] = {
    "helper that is missing": _absent,
    "helper that fails": _failing,
    "helper that talks": _talking,
    "broken config.json": _broken_config,
    "broken DOCKER_AUTH_CONFIG": _broken_variable,
}


@pytest.mark.parametrize("way", FAULTY)
def test_faulty_credentials_stop_nobody_who_needs_none(
    way: str, images_registry: Registry, guarded: dict[str, Registry], person: Person, tmp_path: Path
) -> None:
    """A public image is read all the same, with a warning that names what is broken; the refusal of another
    registry names that too, with a way out. Nothing that a helper or a file holds is told."""
    fault = FAULTY[way](person, tmp_path / "bin")
    done = person.run("cat", f"docker://{images_registry.host}/app:1", "/etc/changed")
    assert (done.code, done.out) == (0, b"new\n")
    assert f"warning: {fault}" in done.err
    for registry in guarded.values():
        name = f"docker://{registry.host}/app:1"
        refused = person.run("cat", name, "/etc/changed")
        *warned, told = refused.err.strip().splitlines()
        assert refused.code == 5
        assert [fault in line for line in (*warned, told)] == [True, True]
        assert registry.host in told
        assert f"log in first (docker login {registry.host}), or pass --authfile" in told
        assert PASSWORD not in refused.err + person.run("cat", name, "/x", "--debug").err


def test_a_helper_is_asked_once_a_run(guarded: dict[str, Registry], person: Person, tmp_path: Path) -> None:
    """However many repositories of the registry a squash reads and writes."""
    registry = guarded["bearer"]
    _helper(person, registry.host, tmp_path)
    place = f"docker://{registry.host}/"
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}asked-once:1")
    assert (tmp_path / "bin" / "calls").read_text() == "x\n"


def test_an_identity_token_gets_tokens(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person, tmp_path: Path
) -> None:
    """A helper's user <token> has one in place of a password; the token server knows who that is."""
    registry = guarded["bearer"]
    token_server.identities["an-identity+/="] = USER
    credential_helper(person, tmp_path / "bin", registry.host, "<token>", "an-identity+/=")
    (person.config / "config.json").write_text('{"credsStore": "squashkit-test"}')
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}identity:1")
    assert {one.user for one in token_server.asked[asked:]} == {USER}
    new_layer(registry, "identity", "1")


def test_a_registry_token_is_used_as_it_stands(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """No token server is asked for another one; one that does not suffice is refused in a line."""
    registry = guarded["bearer"]
    given = {"app": "pull", "base": "pull", "as-it-stands": "pull,push"}
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    scopes = [f"repository:{name}:{actions}" for name, actions in given.items()]
    entry = {"registrytoken": token_server.give(f"Basic {pair}", scopes)}
    (person.config / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o"]
    person.squash(*arguments, f"{place}as-it-stands:1")
    new_layer(registry, "as-it-stands", "1")
    done = person.run("squash", *arguments, f"{place}no:1")
    assert_fails(done, 5, registry.host, "its credentials do not suffice")
    assert len(token_server.asked) == asked


def test_who_may_only_read_writes_nothing(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """Without the right to push reading goes on and a squash fails, before any layer was read, with few
    tokens and nothing tagged."""
    registry = guarded["bearer"]
    place = f"docker://{registry.host}/"
    person.log_in(registry.host, "reader", PASSWORD)
    assert person.run("cat", f"{place}app:1", "/etc/changed").out == b"new\n"
    bases = ["--old-base", f"{place}base:1", "--new-base", f"{place}multi:1", "--platform", "linux/amd64"]
    for command in (["squash", "--keep-base", f"{place}base:1"], ["rebase", *bases]):
        person.forget()
        mark, asked = registry.mark(), len(token_server.asked)
        done = person.run(*command, f"{place}app:1", "-o", f"{place}no:1")
        assert_fails(done, 5, registry.host, "its credentials do not suffice")
        assert not set(downloaded(registry.log(mark))) & set(registry.layers("app", "1"))
        assert len(token_server.asked) - asked <= 5
    assert registry.tags("no") == {}


def test_a_token_for_several_repositories_may_be_refused(
    guarded: dict[str, Registry],
    token_server: TokenServer,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mount needs such a token and is a favour: where none is given, or too narrow a one, the layers are
    sent, with a token for the destination."""
    registry = guarded["bearer"]
    person.log_in(registry.host, USER, PASSWORD)
    place, give = f"docker://{registry.host}/", token_server.give
    monkeypatch.setattr(
        token_server, "give", lambda secret, scopes: give(secret, scopes) if len(scopes) == 1 else None
    )
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}refused:1")
    monkeypatch.setattr(token_server, "give", lambda secret, scopes: give(secret, scopes[:1]))
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}narrow:1")
    assert registry.tags("refused") == registry.tags("narrow")
    new_layer(registry, "narrow", "1")


def test_a_web_page_is_no_token(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """Some servers answer with a page to log in at; it is said to be none."""
    registry = guarded["bearer"]
    with (
        registries.proxy((HOST, registry.port)) as proxy,
        registries.proxy((HOST, urlsplit(token_server.url).port or 0)) as tokens,
    ):
        challenge = f'Bearer realm="http://{tokens.host}/token",service="{registries.SERVICE}"'
        proxy.add(Fault("GET", "/v2/", answer=401, headers={"WWW-Authenticate": challenge}))
        page = {"Content-Type": "text/html; charset=utf-8"}
        tokens.add(Fault("GET", "/token", answer=200, headers=page, body=b"<html>Log in</html>"))
        done = person.run("cat", f"docker://{proxy.host}/app:1", "/etc/changed")
        assert_fails(done, 5, proxy.host, "gives no token (status 200), but what is no JSON (text/html;")
        assert len(tokens.requests) == 1


def test_tls_with_a_plain_server_is_tried_once(
    registry: Registry, person: Person, waits: list[float]
) -> None:
    """It will not get better; --tls-verify=false allows plain HTTP."""
    done = person.run("cat", f"docker://{registry.host}/app:1", "/x", "--tls-verify=true")
    assert_fails(done, 5, "it speaks plain HTTP: --tls-verify=false allows that")
    assert waits == []


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
    assert len(scopes) <= 6, "a token is asked for once, and used again"


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


def test_uploads_elsewhere_get_no_credentials(guarded: dict[str, Registry], person: Person) -> None:
    """A registry may want a blob's bytes on another host, which is not told who sends them."""
    registry = guarded["basic"]
    with registries.proxy((HOST, registry.port)) as proxy, registries.proxy() as elsewhere:
        headers = {"Location": f"http://localhost:{elsewhere.port}/upload/1"}
        proxy.add(Fault("POST", r"/blobs/uploads/", answer=202, headers=headers))
        place = f"docker://{proxy.host}/"
        person.log_in(proxy.host, USER, PASSWORD)
        done = person.run("squash", f"{place}app:1", "--keep-layers", "2", "-o", f"{place}elsewhere:1")
        assert_fails(done, 5, proxy.host)
        assert elsewhere.writes()
        assert not any("authorization" in one.headers for one in elsewhere.requests)
        assert all("authorization" in one.headers for one in proxy.writes())
    assert registry.tags("elsewhere") == {}


def test_a_token_server_cannot_send_credentials_on(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """A token server that redirects gives no token; where it points to is not asked at all."""
    registry = guarded["bearer"]
    server = urlsplit(token_server.url)
    with (
        registries.proxy((HOST, registry.port)) as proxy,
        registries.proxy((HOST, server.port or 0)) as tokens,
        registries.proxy() as elsewhere,
    ):
        challenge = f'Bearer realm="http://{tokens.host}/token",service="{registries.SERVICE}"'
        proxy.add(Fault("GET", "/v2/", answer=401, headers={"WWW-Authenticate": challenge}))
        tokens.add(Fault("GET", "/token", redirect=f"http://localhost:{elsewhere.port}"))
        person.log_in(proxy.host, USER, PASSWORD)
        done = person.run("cat", f"docker://{proxy.host}/app:1", "/etc/changed")
        assert_fails(done, 5, proxy.host, "gives no token")
        assert tokens.seen("GET", "/token")
        assert elsewhere.requests == []


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
