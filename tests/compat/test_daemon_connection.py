"""Which daemon is talked to, and how it is reached: as docker's own client does, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit.transports.stores.endpoint import SSH, NoEndpoint, find_endpoint
from squashkit.transports.stores.sockets import ssh_command
from tests.compat import registries, services
from tests.compat.conftest import Person, available
from tests.compat.registries import Authority, Fault
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, on_base
from tests.support.runner import assert_fails, spawn

SQUASHED = "app:squashed"
LOOK = ("ls", "docker-daemon:app:1", "/")
SAVE = r"/images/.*get"
SECONDS = 20


class Secured(services.Docker):
    """A daemon that answers on its socket, and to whom it knows over TLS."""

    port: int


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image and its base."""
    path = tmp_path_factory.mktemp("connection") / "images.tar"
    base = ImageSpec([layer(file("base", b"base"))], ["base:1"])
    noise = os.urandom(3 << 20)
    app = on_base(base, layer(file("one", noise)), layer(file("two", b"two")), tags=["app:1"])
    docker_archive_25(path, [base, app])
    return path


@pytest.fixture(scope="module")
def secured(state: Path, authority: Authority, archive: Path) -> Iterator[Secured]:
    """A daemon with both images; it asks for certificates of our authority."""
    certificate, key = authority.sign("daemon", "127.0.0.1", "localhost")
    port = services.free_port()
    options: list[str | Path] = [
        *("--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", authority.certificate),
        *("--tlscert", certificate, "--tlskey", key),
    ]
    with services.docker(state, "docker-tls", options=options) as made:
        made.run("load", "--quiet", "--input", archive)
        tool = Secured(made.folder, made.env["DOCKER_HOST"])
        tool.port = port
        yield tool


@pytest.fixture(scope="module")
def ssh(state: Path, secured: Secured) -> Iterator[services.SSHServer]:
    """A machine that ssh leads to, where docker finds the daemon by itself."""
    with services.ssh_server(state, f"DOCKER_HOST={secured.env['DOCKER_HOST']}") as made:
        yield made


def certificates(folder: Path, authority: Authority, *, by: Authority | None = None) -> Path:
    """A folder as DOCKER_CERT_PATH names one: a client of `authority`, which trusts `by`."""
    folder.mkdir()
    certificate, key = authority.sign(f"client-{folder.name}")
    shutil.copy((by or authority).certificate, folder / "ca.pem")
    shutil.copy(certificate, folder / "cert.pem")
    shutil.copy(key, folder / "key.pem")
    return folder


@pytest.fixture
def tls(secured: Secured, authority: Authority, person: Person, tmp_path: Path) -> Path:
    """The person's certificates for the daemon, and the variables that say so."""
    folder = certificates(tmp_path / "certs", authority)
    person.env |= {
        "DOCKER_HOST": f"tcp://127.0.0.1:{secured.port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(folder),
        "DOCKER_TLS": "",
    }
    return folder


def assert_looks(person: Person) -> None:
    """The daemon is found and read, and nothing is said on standard error."""
    done = person.run(*LOOK)
    assert (done.code, done.err) == (0, "")
    assert "two" in done.text


def create_context(person: Person, name: str, *settings: str) -> None:
    """As docker itself makes one; the person asks for it no more than for any daemon."""
    person.env["DOCKER_HOST"] = ""
    services.run(["docker", "context", "create", name, "--docker", ",".join(settings)], env=person.env)


def set_current_context(person: Person, name: str) -> None:
    (person.config / "config.json").write_text(json.dumps({"currentContext": name}))


# --- contexts --------------------------------------------------------------------------------


def test_the_current_context(secured: Secured, person: Person) -> None:
    """`docker context use` says where the daemon is."""
    create_context(person, "here", f"host={secured.env['DOCKER_HOST']}")
    services.run(["docker", "context", "use", "here"], env=person.env)
    assert_looks(person)


def test_a_context_by_its_variable(secured: Secured, person: Person) -> None:
    """DOCKER_CONTEXT goes before the current one, and DOCKER_HOST before DOCKER_CONTEXT."""
    create_context(person, "here", f"host={secured.env['DOCKER_HOST']}")
    create_context(person, "gone", f"host=unix://{person.home}/gone")
    set_current_context(person, "gone")
    assert_fails(person.run(*LOOK), 5, "'gone' of ", f"{person.config}/config.json")
    person.env["DOCKER_CONTEXT"] = "here"
    assert_looks(person)
    person.use_daemon(f"unix://{person.home}/nowhere")
    assert_fails(person.run(*LOOK), 5, f"{person.home}/nowhere by DOCKER_HOST")
    person.use_daemon(secured)
    person.env["DOCKER_CONTEXT"] = "gone"
    assert_looks(person)


@pytest.mark.parametrize("by", ["DOCKER_CONTEXT", "config.json"])
def test_an_unknown_context_is_no_other_daemon(by: str, person: Person) -> None:
    """A context that is not there is an error that names it, as it is for docker."""
    person.env |= {"DOCKER_HOST": "", "DOCKER_CONTEXT": "nosuch" if by == "DOCKER_CONTEXT" else ""}
    set_current_context(person, "default" if by == "DOCKER_CONTEXT" else "nosuch")
    by = by.replace("config.json", f"{person.config}/config.json")
    assert_fails(person.run(*LOOK), 5, "no context 'nosuch'", by)
    assert_fails(person.run("ls", "app:1"), 5, "no context 'nosuch'", by)
    with pytest.raises(services.CommandFailed, match="nosuch"):
        services.run(["docker", "images"], env=person.env)


@pytest.mark.parametrize("said", ["{", "[]", '{"currentContext": 1}'])
def test_a_config_that_cannot_be_read_is_no_default(said: str, person: Person) -> None:
    """Where it is not known which context is meant, none is taken."""
    person.env |= {"DOCKER_HOST": "", "DOCKER_CONTEXT": ""}
    (person.config / "config.json").write_text(said)
    assert_fails(person.run(*LOOK), 5, f"{person.config}/config.json")


@pytest.mark.parametrize("said", ["{", "[]", "{}", '{"Endpoints": {"docker": {"Host": "http://x"}}}'])
def test_a_context_that_cannot_be_read(said: str, person: Person) -> None:
    """A context without an address that docker knows is one clear line."""
    create_context(person, "odd", "host=unix:///nowhere")
    (meta,) = person.config.glob("contexts/meta/*/meta.json")
    meta.write_text(said)
    person.env["DOCKER_CONTEXT"] = "odd"
    assert_fails(person.run(*LOOK), 5, "DOCKER_CONTEXT" if said.endswith("}") else str(meta))


def test_nothing_is_set(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker's default is its own socket; with TLS it is the port for that; a variable that is empty says
    nothing, and the context `default` is the same."""
    monkeypatch.setenv("DOCKER_CONFIG", str(person.config))
    monkeypatch.setenv("DOCKER_HOST", "")
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY"):
        monkeypatch.setenv(name, "")
    assert str(find_endpoint()) == "unix:///var/run/docker.sock by default"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    set_current_context(person, "nosuch")
    assert str(find_endpoint()) == "unix:///var/run/docker.sock by default"
    monkeypatch.setenv("DOCKER_TLS", "1")
    assert str(find_endpoint()) == "tcp://localhost:2376 by default"


ADDRESSES = {
    "tcp://": "tcp://localhost:2375",
    "tcp://there": "tcp://there:2375",
    "tcp://:77/": "tcp://localhost:77",
    "there:77/v": "tcp://there:77/v",
    "tcp://[::1]:77": "tcp://[::1]:77",
    " unix://a/b ": "unix://a/b",
    "unix://": "unix:///var/run/docker.sock",
    "ssh://There": "ssh://There",
    "ssh://me@[::1]:77/a/b": "ssh://me@[::1]:77/a/b",
    "ssh://me:word@there": "",
    "ssh://": "",
    "ssh://there?a=b": "",
    "tcp://there:word": "",
    "tcp://unix://there": "",
    "http://there:77": "",
    "fd://": "",
}
"""What DOCKER_HOST may say, and what is meant; nothing where docker refuses it."""


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It means what it means to docker, and what docker does not take is refused."""
    monkeypatch.setenv("DOCKER_HOST", text)
    for name in ("DOCKER_TLS", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    if ADDRESSES[text]:
        assert str(find_endpoint()) == f"{ADDRESSES[text]} by DOCKER_HOST"
    else:
        with pytest.raises(NoEndpoint, match="DOCKER_HOST is") as told:
            find_endpoint()
        assert "word@" not in str(told.value)


# --- TLS -------------------------------------------------------------------------------------


def test_tls_by_the_variables(tls: Path, person: Person) -> None:
    """DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say whom to trust and who one is."""
    assert_looks(person)
    person.env["DOCKER_CERT_PATH"] = ""
    for path in tls.iterdir():
        shutil.copy(path, person.config)
    assert_looks(person)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_ca_beside_it_is_the_only_one(
    name: str, tls: Path, authority: Authority, state: Path, person: Person, tmp_path: Path
) -> None:
    """A bundle with the daemon's CA does not make up for another in DOCKER_CERT_PATH, and one that is not
    there, or knows others alone, does no harm."""
    other = Authority(tmp_path / "authority")
    for bundle in (tmp_path / "nosuch", other.certificate):
        person.env[name] = str(bundle)
        assert_looks(person)
    wrong = certificates(tmp_path / "wrong", authority, by=other)
    person.env |= {name: str(authority.certificate), "DOCKER_CERT_PATH": str(wrong)}
    assert_fails(person.run(*LOOK), 5, "certificate verify failed", "DOCKER_HOST")


def test_tls_that_trusts_anybody(tls: Path, authority: Authority, person: Person, tmp_path: Path) -> None:
    """DOCKER_TLS alone asks for no proof, as docker has it, and no library warns of that."""
    wrong = certificates(tmp_path / "wrong", authority, by=Authority(tmp_path / "authority"))
    person.env |= {"DOCKER_TLS_VERIFY": "", "DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(wrong)}
    process = spawn(*LOOK, env=person.env)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"two" in out


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_for_tls_that_is_not_in_order(
    name: str, content: str | None, tls: Path, person: Person
) -> None:
    """It is one clear line that names the file, missing or not what it should be."""
    (tls / name).unlink()
    if content:
        (tls / name).write_text(content)
    done = person.run(*LOOK)
    assert_fails(done, 5, str(tls))
    assert name in done.err


def test_tls_of_a_context(secured: Secured, authority: Authority, person: Person, tmp_path: Path) -> None:
    """A context has its own certificates, and no variable adds to them."""
    folder = certificates(tmp_path / "certs", authority)
    files = [f"{key}={folder}/{key}.pem" for key in ("ca", "cert", "key")]
    host = f"host=tcp://127.0.0.1:{secured.port}"
    wrong = f"ca={Authority(tmp_path / 'authority').certificate}"
    create_context(person, "good", host, *files)
    create_context(person, "wrong", host, wrong, *files[1:])
    create_context(person, "careless", host, wrong, *files[1:], "skip-tls-verify=true")
    person.env |= {"DOCKER_CERT_PATH": str(tmp_path / "nosuch"), "DOCKER_TLS_VERIFY": "1"}
    for name in ("good", "careless"):
        person.env["DOCKER_CONTEXT"] = name
        assert_looks(person)
    person.env["DOCKER_CONTEXT"] = "wrong"
    assert_fails(person.run(*LOOK), 5, "certificate verify failed", "'wrong' of DOCKER_CONTEXT")


def test_a_proxy_leads_to_other_machines_alone(secured: Secured, person: Person) -> None:
    """HTTP_PROXY counts for a host that is not this one and not in NO_PROXY, as for docker; ALL_PROXY and
    a socket's proxy do not."""
    names = {"daemon.test:2375": secured.folder / "sock"}
    with registries.proxy(names=names) as proxy, registries.proxy() as gone:
        person.use_daemon("tcp://daemon.test:2375")
        person.use_proxies(http_proxy=f"http://{proxy.host}")
        assert_looks(person)
        assert proxy.seen("GET", SAVE)
        assert "app" in services.run(["docker", "images"], env=person.env)
        person.use_proxies(no_proxy="daemon.test")
        assert_fails(person.run(*LOOK), 5, "daemon.test")
        person.use_proxies(http_proxy="", no_proxy="", all_proxy=f"http://{proxy.host}")
        assert_fails(person.run(*LOOK), 5, "daemon.test")
        person.use_proxies(http_proxy=f"http://{gone.host}", all_proxy=f"http://{gone.host}")
        person.use_daemon(secured)
        assert_looks(person)
        with registries.proxy(secured.folder / "sock") as local:
            person.use_daemon(f"tcp://{local.host}")
            assert_looks(person)
        assert not gone.requests


# --- ssh -------------------------------------------------------------------------------------


@pytest.fixture
def over_ssh(ssh: services.SSHServer, person: Person) -> Iterator[services.SSHServer]:
    """The person has a key for the machine. Nothing of it runs when the test has ended."""
    person.env["PATH"] = f"{ssh.commands}{os.pathsep}{os.environ['PATH']}"
    yield ssh
    assert_ended(ssh)


def assert_ended(ssh: services.SSHServer, word: str = "dial-stdio") -> None:
    """No ssh runs here, and nothing that it started there."""
    limit = time.monotonic() + SECONDS
    while ssh.clients() or services.processes(word):
        assert time.monotonic() < limit, [ssh.clients(), services.processes(word)]
        time.sleep(0.05)


def test_docker_over_ssh(over_ssh: services.SSHServer, secured: Secured, person: Person) -> None:
    """ssh://USER@HOST:PORT, a host of ssh's own config, and a path to the daemon's socket there."""
    for address in (
        f"root@127.0.0.1:{over_ssh.port}",
        "there",
        f"root@127.0.0.1:{over_ssh.port}{secured.folder}/sock",
    ):
        person.use_daemon(f"ssh://{address}")
        assert_looks(person)
        assert not over_ssh.clients()


def test_a_context_over_ssh(over_ssh: services.SSHServer, person: Person) -> None:
    """A context may be one that ssh leads to."""
    create_context(person, "remote", f"host=ssh://root@127.0.0.1:{over_ssh.port}")
    person.env["DOCKER_CONTEXT"] = "remote"
    assert_looks(person)


def test_a_squash_over_ssh(over_ssh: services.SSHServer, secured: Secured, person: Person) -> None:
    """An image is read, squashed and loaded through ssh, and is in that daemon then."""
    person.use_daemon(f"ssh://root@127.0.0.1:{over_ssh.port}")
    report = person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
    try:
        assert secured.tags()[SQUASHED] == report["image_id"]["after"]
        assert secured.layers(SQUASHED)[:-1] == secured.layers("base:1")
        before, after = (secured.snapshots(name)[name] for name in ("app:1", SQUASHED))
        assert before == after
    finally:
        secured.run("rmi", "--force", SQUASHED)


def test_ssh_that_does_not_get_there(over_ssh: services.SSHServer, person: Person) -> None:
    """What ssh says is told in one clear line: of a host that nobody knows, of a user, a port, and a
    machine without docker or without its daemon."""
    with registries.proxy() as gone:
        pass
    told = {
        f"localhost:{over_ssh.port}": "Host key verification failed",
        f"nosuch@127.0.0.1:{over_ssh.port}": "nosuch@127.0.0.1: Permission denied",
        f"root@127.0.0.1:{gone.port}": "Connection refused",
        f"root@127.0.0.1:{over_ssh.bare_port}": "docker: ",
        f"root@127.0.0.1:{over_ssh.port}/no/such/sock": "/no/such/sock",
    }
    for address, words in told.items():
        person.use_daemon(f"ssh://{address}")
        assert_fails(person.run(*LOOK), 5, "ssh: ", words, "by DOCKER_HOST")


def test_no_ssh_here(person: Person, tmp_path: Path) -> None:
    """Without the command it is one clear line that names it."""
    person.use_daemon("ssh://there")
    person.env["PATH"] = str(tmp_path)
    assert_fails(person.run(*LOOK), 5, "no command ssh")


def test_ssh_that_is_killed(over_ssh: services.SSHServer, secured: Secured, person: Person) -> None:
    """Where the connection dies in the middle it is one clear line, and nothing keeps running."""
    path = secured.folder / "ssh-proxy"

    def kill() -> None:
        for pid in over_ssh.clients():
            os.kill(pid, signal.SIGKILL)

    with registries.proxy(secured.folder / "sock", socket_path=path) as proxy:
        person.use_daemon(f"ssh://there{path}")
        fault = proxy.add(Fault("GET", SAVE, call=kill, pause=0.01))
        assert_fails(person.run("squash", "app:1", "--keep-base", "base:1", "-t", SQUASHED), 5)
        assert fault.hits
        assert_ended(over_ssh, str(path))
    assert SQUASHED not in secured.tags()


def test_a_run_that_is_killed_leaves_no_ssh(
    over_ssh: services.SSHServer, secured: Secured, person: Person
) -> None:
    """ssh ends with squashkit, however that ends."""
    path = secured.folder / "ssh-proxy-2"

    def end() -> None:
        process.kill()

    with registries.proxy(secured.folder / "sock", socket_path=path) as proxy:
        person.use_daemon(f"ssh://there{path}")
        fault = proxy.add(Fault("GET", SAVE, pause=0.2, call=end))
        process = spawn("squash", "app:1", "--keep-base", "base:1", "-t", SQUASHED, env=person.env)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert fault.hits
        assert_ended(over_ssh, str(path))


def test_what_ssh_is_told() -> None:
    """The command line is docker's own; nothing in an address is an option or a second command."""
    assert ssh_command(SSH("-oProxyCommand=x", "me", 77, "/a b;c")) == [
        *("ssh", "-l", "me", "-p", "77", "-o", "ConnectTimeout=30", "-T", "--", "-oProxyCommand=x"),
        "docker '--host=unix:///a b;c' system dial-stdio",
    ]


# --- podman ----------------------------------------------------------------------------------


def test_podman_is_called_podman(podman: services.Podman, person: Person) -> None:
    """Messages name whom DOCKER_HOST leads to."""

    def look() -> None:
        with podman.service() as host:
            person.use_daemon(host)
            done = person.run("ls", "docker-daemon:nosuch:1", "/")
        assert_fails(done, 5, "podman has no image")

    available(look)
