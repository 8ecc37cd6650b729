"""Credentials: where they are looked for, which form they may have, and what a helper may do to people."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from squashkit.errors import Cancelled, UsageError
from squashkit.progress import Note
from squashkit.transports.registry import credentials
from squashkit.transports.registry.credentials import Credentials, CredentialSources, Found
from squashkit.transports.registry.helper import Patience
from tests.support.runner import spawn

HOST = "registry.example:5000"
SECRET = "not-to-be-told"
LONG = 30.0
"""Seconds after which what should have ended has not."""


class Machine:
    """Somebody's machine, with nothing on it yet: what they keep where, and what they are told."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.docker = folder / "docker" / "config.json"
        self.runtime = folder / "run" / "containers" / "auth.json"
        self.config = folder / "config" / "containers" / "auth.json"
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.notes: list[Note] = []
        self.patience = Patience()
        self.authfile: Path | None = None
        for name in ("REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("DOCKER_CONFIG", str(folder / "docker"))
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setattr(credentials, "RUN", folder / "run-of-all")
        patch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")

    def write(self, path: Path, document: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def helper(self, name: str, script: str) -> None:
        """A credential helper, in sh."""
        path = self.programs / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def sources(self) -> CredentialSources:
        return CredentialSources(self.authfile, self.notes.append, self.patience)

    def find(self, host: str = HOST, repository: str = "team/app") -> Found:
        return self.sources().find(host, repository)

    def who(self, host: str = HOST, repository: str = "team/app") -> str:
        """The user that is found; the empty name where nobody is."""
        credentials = self.find(host, repository).credentials
        return credentials.username if credentials else ""

    @property
    def warnings(self) -> list[str]:
        return [note.text for note in self.notes if note.is_warning]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def auth(pair: str | bytes) -> dict[str, str]:
    data = pair.encode() if isinstance(pair, str) else pair
    return {"auth": base64.b64encode(data).decode()}


def of(user: str, host: str = HOST) -> dict[str, Any]:
    """A document that knows one user of one host."""
    return {"auths": {host: auth(f"{user}:{SECRET}")}}


def answer(user: str, secret: str = SECRET) -> str:
    """What a helper prints, as a line of sh."""
    return f"echo {shlex.quote(json.dumps({'ServerURL': '', 'Username': user, 'Secret': secret}))}"


# --- where they are --------------------------------------------------------------------------


def test_places_are_asked_in_their_order(machine: Machine) -> None:
    """A file that was named, by option or variable; DOCKER_AUTH_CONFIG; docker's config; podman's files."""
    assert machine.find() == Found()
    machine.write(machine.config, of("podman's, kept"))
    assert machine.who() == "podman's, kept"
    machine.write(machine.runtime, of("podman's"))
    assert machine.who() == "podman's"
    machine.write(machine.docker, of("docker's"))
    assert machine.who() == "docker's"
    machine.patch.setenv("DOCKER_AUTH_CONFIG", json.dumps(of("the variable's")))
    assert machine.who() == "the variable's"
    named = machine.write(machine.folder / "named.json", of("the named file's"))
    machine.patch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert machine.who() == "the named file's"
    machine.authfile = machine.write(machine.folder / "option.json", of("the option's"))
    assert machine.who() == "the option's"
    assert machine.notes == []


def test_a_place_that_does_not_know_the_host_leaves_it_to_the_next(machine: Machine) -> None:
    """Of DOCKER_AUTH_CONFIG and docker's config too, whose helpers are asked then, as docker has it."""
    machine.patch.setenv("DOCKER_AUTH_CONFIG", json.dumps(of("else", "other.example")))
    machine.write(machine.docker, {"credHelpers": {HOST: "one"}, **of("else", "other.example")})
    machine.write(machine.runtime, of("podman's"))
    machine.helper("one", answer("the helper's"))
    assert machine.who() == "the helper's"
    machine.helper("one", "echo credentials not found in native keychain; exit 1")
    assert machine.who() == "podman's"
    assert machine.notes == []


def test_a_file_that_was_named_is_the_only_one(machine: Machine) -> None:
    """Where it does not know a host nobody does."""
    machine.write(machine.docker, of("docker's"))
    machine.authfile = machine.write(machine.folder / "option.json", of("else", "other.example"))
    assert machine.find() == Found()


def test_without_variables_files_lie_below_the_home(machine: Machine) -> None:
    """Docker's in ~/.docker, podman's in the user's folder of /run/containers and in ~/.config, where no
    variable says otherwise."""
    for name in ("DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        machine.patch.setenv(name, "")
    home = machine.folder / "home"
    machine.write(home / ".config" / "containers" / "auth.json", of("podman's, kept"))
    machine.write(credentials.RUN / "another" / "auth.json", of("another user's"))
    assert machine.who() == "podman's, kept"
    machine.write(credentials.RUN / str(os.getuid()) / "auth.json", of("podman's"))
    assert machine.who() == "podman's"
    machine.patch.setenv("XDG_RUNTIME_DIR", str(machine.folder / "run"))
    assert machine.who() == "podman's, kept"
    machine.write(home / ".docker" / "config.json", of("docker's"))
    assert machine.who() == "docker's"


# --- which form they have --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "credentials"),
    [
        (auth("ada:pa:ss"), Credentials("ada", "pa:ss")),
        (auth("ada:pass\0\0"), Credentials("ada", "pass")),
        (auth("ada:"), Credentials("ada", "")),
        ({"username": "ada", "password": "pass"}, Credentials("ada", "pass")),
        ({"Username": "ada", "PASSWORD": "pass"}, Credentials("ada", "pass")),
        ({"identitytoken": "t"}, Credentials(identity_token="t")),
        ({"identitytoken": "t", **auth("0000:")}, Credentials(identity_token="t")),
        ({"registrytoken": "t"}, Credentials(registry_token="t")),
        ({}, None),
        ({"email": "ada@example"}, None),
        (None, None),
    ],
    ids=str,
)
def test_forms_of_entries(machine: Machine, entry: object, credentials: Credentials | None) -> None:
    """A pair in base64 or in clear, or a token; an empty entry, as docker has beside a helper, is none."""
    machine.write(machine.docker, {"auths": {HOST: entry}})
    assert machine.find() == Found(credentials)


def test_a_password_is_sent_as_it_was_kept(machine: Machine) -> None:
    """Also one that is no UTF-8."""
    pair = b"ada:p\xe4ss\xff"
    machine.write(machine.docker, {"auths": {HOST: auth(pair)}})
    found = machine.find().credentials
    assert found is not None
    assert base64.b64decode(found.basic.removeprefix("Basic ")) == pair


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": f"{SECRET}!"},
        {"auth": "\u00e4"},
        auth("no colon"),
        auth(":no user"),
        {"registrytoken": f"{SECRET}\nX: y"},
        {"registrytoken": f"{SECRET}\ud800"},
    ],
    ids=str,
)
def test_an_entry_that_gives_nothing_is_named(machine: Machine, entry: object) -> None:
    """What is no pair, or could stand in no header, is a warning that repeats nothing of it."""
    machine.write(machine.docker, {"auths": {f"{HOST}/team": entry, HOST: auth("ada:pass")}})
    found = machine.find()
    assert found.credentials == Credentials("ada", "pass")
    fault = f"the entry {HOST}/team in {machine.docker} is not in docker's form"
    assert found.faults == (fault,)
    assert machine.warnings == [f"{fault}; going on without credentials from there"]


def test_the_longest_key_that_fits_wins(machine: Machine) -> None:
    """A key is for a host, or for a path on it and what lies below that; before a host's helper, too."""
    keys = [
        HOST,
        f"{HOST}/team",
        f"{HOST}/team/app",
        f"{HOST}/team/application",
        f"{HOST}/te",
        "other.example",
    ]
    machine.write(machine.docker, {"auths": {key: auth(f"{key.replace(':', '-')}:x") for key in keys}})
    for repository, key in {
        "team/app": f"{HOST}/team/app",
        "team/app/more": f"{HOST}/team/app",
        "team/apple": f"{HOST}/team",
        "team": f"{HOST}/team",
        "teams/app": HOST,
        "": HOST,
    }.items():
        assert machine.who(HOST, repository) == key.replace(":", "-")
    machine.helper("one", answer("the helper's"))
    document = json.loads(machine.docker.read_text())
    machine.write(machine.docker, {**document, "credsStore": "one"})
    assert machine.who(HOST, "team/app") == f"{HOST}/team/app".replace(":", "-")
    assert machine.who(HOST, "else") == "the helper's"


@pytest.mark.parametrize(
    ("key", "host", "fits"),
    [
        (f"https://{HOST}/v1/", HOST, True),
        (f"http://{HOST}/v2/", HOST, True),
        (f"https://{HOST}", HOST, True),
        (HOST.upper(), HOST, True),
        (f"https://{HOST}/team/", HOST, True),
        (f"https://{HOST}/other/", HOST, False),
        ("https://index.docker.io/v1/", "docker.io", True),
        ("index.docker.io", "docker.io", True),
        ("docker.io", "docker.io", True),
        ("registry.example", HOST, False),
        (f"{HOST}.evil.example", HOST, False),
        (f"evil.example/{HOST}", HOST, False),
        ("", HOST, False),
    ],
)
def test_keys_that_are_urls(machine: Machine, key: str, host: str, fits: bool) -> None:
    """Docker once wrote whole URLs, and calls its own registry by one; another host's key never fits."""
    machine.write(machine.docker, {"auths": {key: auth("ada:pass")}})
    assert machine.who(host) == ("ada" if fits else "")


def test_a_plain_host_goes_before_its_url(machine: Machine) -> None:
    """Both may be there after an update of docker."""
    entries = {f"https://{HOST}/v1/": auth("old:x"), HOST: auth("new:x")}
    machine.write(machine.docker, {"auths": entries})
    assert machine.who() == "new"


# --- helpers ---------------------------------------------------------------------------------


def test_a_helper_gets_the_host_on_standard_input(machine: Machine) -> None:
    """It is called with `get`; docker's own registry is called what docker calls it."""
    said = machine.folder / "said"
    machine.helper("one", f'echo "$* $(cat)" >> {said}; {answer("ada")}')
    machine.write(machine.docker, {"credsStore": "one"})
    assert machine.who(HOST) == machine.who("docker.io") == "ada"
    assert said.read_text() == f"get {HOST}\nget https://index.docker.io/v1/\n"


def test_a_host_has_its_own_helper(machine: Machine) -> None:
    """credHelpers goes before credsStore, and an empty name there means none, as docker has it."""
    machine.helper("one", answer("one's"))
    machine.helper("two", answer("two's"))
    helpers = {HOST: "two", "https://index.docker.io/v1/": "two", "none.example": ""}
    machine.write(
        machine.docker, {"credsStore": "one", "credHelpers": helpers, **of("the file's", "none.example")}
    )
    assert machine.who() == machine.who("docker.io") == "two's"
    assert machine.who("other.example") == "one's"
    assert machine.who("none.example") == "the file's"


def test_a_helper_may_keep_an_identity_token(machine: Machine) -> None:
    """The user <token> says so."""
    machine.helper("one", answer("<token>"))
    machine.write(machine.docker, {"credsStore": "one"})
    assert machine.find() == Found(Credentials(identity_token=SECRET))


@pytest.mark.parametrize(
    "script",
    ["echo credentials not found in native keychain; exit 1", answer("", "")],
    ids=["docker", "pass"],
)
def test_a_helper_that_knows_nothing_is_no_fault(machine: Machine, script: str) -> None:
    """Both ways in which helpers say so are silent, and the file's own entry counts."""
    machine.helper("one", script)
    machine.write(machine.docker, {"credsStore": "one", **of("ada")})
    assert machine.who() == "ada"
    machine.write(machine.docker, {"credsStore": "one"})
    assert machine.find() == Found()
    assert machine.notes == []


def test_a_helper_is_asked_once(machine: Machine) -> None:
    """For all repositories of a host, from however many threads, and whatever it says."""
    said = machine.folder / "said"
    machine.write(machine.docker, {"credsStore": "one"})
    for script in (answer("ada"), "exit 1", "exit 0"):
        machine.helper("one", f"echo x >> {said}; sleep 0.3; {script}")
        sources = machine.sources()
        threads = [threading.Thread(target=sources.find, args=(HOST, f"team/{i}")) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said.read_text() == "x\n"
        said.unlink()
    assert len(machine.warnings) == 2


FAULTS = {
    f"echo {SECRET}; echo {SECRET} >&2; exit 3": "failed (exit code 3)",
    f"echo {SECRET}; kill -9 $$": "was ended by signal 9",
    f"echo {SECRET}": "does not answer in docker's form",
    f"echo '\"{SECRET}\"'": "does not answer in docker's form",
    f"""echo '{{"Username": "{SECRET}"}}'""": "does not answer in docker's form",
    f"""echo '{{"Username": "{SECRET}", "Secret": 1}}'""": "does not answer in docker's form",
    f"{answer('ada')}; echo {SECRET}": "does not answer in docker's form",
    "head -c 100000 /dev/zero | tr '\\0' '['": "does not answer in docker's form",
    "printf '\\377'": "does not answer in docker's form",
    "cat /dev/zero": "does not answer in docker's form",
    "exec /nowhere/at-all": "failed (exit code 127)",
    "exec 0<&-; exec 1>&-; exit 1": "failed (exit code 1)",
}


@pytest.mark.parametrize("script", FAULTS)
def test_a_helper_that_fails_is_a_warning(machine: Machine, script: str) -> None:
    """The helper and the file that names it are told, and not a word of what it printed."""
    machine.helper("one", script)
    machine.write(machine.docker, {"credsStore": "one"})
    found = machine.find()
    fault = f"the helper docker-credential-one {FAULTS[script]}; {machine.docker} names it"
    assert found == Found(None, (fault,))
    assert machine.warnings == [f"{fault}; going on without credentials from there"]
    assert SECRET not in str(machine.notes)


@pytest.mark.parametrize("name", ["absent", "a/b", "\0", "\ud800", "x\ny", "../x"], ids=ascii)
def test_a_helper_that_is_not_there_is_a_warning(machine: Machine, name: str) -> None:
    """Whatever its name; the next place is asked."""
    machine.write(machine.docker, {"credsStore": name})
    machine.write(machine.runtime, of("podman's"))
    found = machine.find()
    assert found.credentials == Credentials("podman's", SECRET)
    (warning,) = machine.warnings
    assert "is not on the PATH" in warning
    assert warning.isprintable()


def test_a_helper_that_cannot_be_run_is_a_warning(machine: Machine) -> None:
    """One whose interpreter is missing, for example."""
    machine.helper("one", "")
    (machine.programs / "docker-credential-one").write_text("#!/nowhere/sh\n")
    machine.write(machine.docker, {"credsStore": "one"})
    (fault,) = machine.find().faults
    assert "docker-credential-one cannot be run (No such file or directory)" in fault


# --- helpers that take long ------------------------------------------------------------------


def gone(pid: int) -> bool:
    """Whether a process has ended, within a while."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # whose parent, that is no longer us, has not looked
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def pids(machine: Machine) -> Iterator[Callable[[], list[int]]]:
    """The processes that the helper `slow` and its children were; all are ended after the test."""
    path = machine.folder / "pids"
    machine.helper("slow", f"sleep 600 & echo $$ $! > {path}.new; mv {path}.new {path}; wait")
    machine.write(machine.docker, {"credsStore": "slow"})

    def read() -> list[int]:
        until = time.monotonic() + LONG
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        return [int(text) for text in path.read_text().split()]

    yield read
    if path.exists():
        for pid in read():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_people_get_time_to_unlock_a_keyring() -> None:
    """They are told after 20 seconds, and have two minutes."""
    assert Patience() == Patience(20, 120)


def test_a_slow_helper_is_told_and_given_up(machine: Machine, pids: Callable[[], list[int]]) -> None:
    """A note says what is waited for, then a warning that it was given up; what it started is gone."""
    machine.patience = Patience(0.1, 1)
    begun = time.monotonic()
    found = machine.find()
    assert 1 <= time.monotonic() - begun < LONG
    assert machine.notes[0] == Note("waiting for the helper docker-credential-slow ...")
    fault = f"the helper docker-credential-slow did not answer within 1 seconds; {machine.docker} names it"
    assert found == Found(None, (fault,))
    assert machine.warnings == [f"{fault}; going on without credentials from there"]
    assert len(machine.notes) == 2
    assert all(map(gone, pids()))


def test_a_helper_that_unlocks_a_keyring_is_waited_for(machine: Machine) -> None:
    """One that answers after people were told."""
    machine.patience = Patience(0.1, LONG)
    machine.helper("one", f"sleep 1; {answer('ada')}")
    machine.write(machine.docker, {"credsStore": "one"})
    assert machine.who() == "ada"
    assert machine.notes == [Note("waiting for the helper docker-credential-one ...")]


def test_what_a_helper_started_ends_with_it(machine: Machine) -> None:
    """A child that holds its output open is not waited for, and does not go on."""
    path = machine.folder / "pid"
    machine.helper("one", f"sleep 600 & echo $! > {path}; {answer('ada')}")
    machine.write(machine.docker, {"credsStore": "one"})
    begun = time.monotonic()
    assert machine.who() == "ada"
    assert time.monotonic() - begun < LONG
    assert gone(int(path.read_text()))


def test_work_that_stops_waits_for_no_helper(machine: Machine, pids: Callable[[], list[int]]) -> None:
    """What waits in another thread ends with Cancelled, and so do all that wait for it; work that begins
    anew asks anew."""
    sources = machine.sources()
    ends: list[str] = []

    def ask() -> None:
        try:
            sources.find(HOST, "team/app")
        except Cancelled:
            ends.append("cancelled")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    started = pids()
    sources.stopped = True
    for thread in threads:
        thread.join(LONG)
    assert ends == ["cancelled", "cancelled"]
    assert all(map(gone, started))
    assert machine.notes == []
    sources.stopped = False
    machine.helper("slow", answer("ada"))
    assert sources.find(HOST, "team/app") == Found(Credentials("ada", SECRET))


def test_an_interrupted_run_leaves_no_helper(machine: Machine, pids: Callable[[], list[int]]) -> None:
    """The program ends with 130 and without a word of the helper's."""
    process = spawn("inspect", f"docker://{HOST}/team/app", "--debug")
    started = pids()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert out == b""
    assert all(map(gone, started))


# --- what is broken --------------------------------------------------------------------------

NO_CONFIGS = [
    SECRET,
    "[]",
    "{",
    "[" * 100_000,
    '{"auths": []}',
    f'{{"auths": {{"{HOST}": "{SECRET}"}}}}',
    '{"credsStore": 0}',
    '{"credHelpers": []}',
    f'{{"credHelpers": {{"{HOST}": {{}}}}}}',
]


@pytest.mark.parametrize("text", NO_CONFIGS, ids=range(len(NO_CONFIGS)))
def test_a_broken_file_that_nobody_named_is_a_warning(machine: Machine, text: str) -> None:
    """It is named, once; the next place is asked."""
    machine.write(machine.docker, text)
    machine.write(machine.runtime, of("podman's"))
    sources = machine.sources()
    fault = f"{machine.docker} is not JSON in docker's form"
    for repository in ("team/app", "other"):
        found = sources.find(HOST, repository)
        assert found == Found(Credentials("podman's", SECRET), (fault,))
    assert machine.warnings == [f"{fault}; going on without credentials from there"]


@pytest.mark.parametrize("text", NO_CONFIGS, ids=range(len(NO_CONFIGS)))
def test_a_broken_variable_is_a_warning(machine: Machine, text: str) -> None:
    """DOCKER_AUTH_CONFIG is named, and nothing of what it holds; docker's config is looked at."""
    machine.patch.setenv("DOCKER_AUTH_CONFIG", text)
    machine.write(machine.docker, of("docker's"))
    fault = "DOCKER_AUTH_CONFIG is not JSON in docker's form"
    assert machine.find() == Found(Credentials("docker's", SECRET), (fault,))
    assert machine.warnings == [f"{fault}; going on without credentials from there"]


def test_an_empty_config_knows_nobody(machine: Machine) -> None:
    """Docker takes a file without a word in it, too."""
    for text in ("", "\n", "{}", '{"auths": null, "credsStore": null, "credHelpers": null}'):
        machine.write(machine.docker, text)
        assert machine.find() == Found()
    assert machine.notes == []


def test_a_config_that_is_no_file_is_a_warning(machine: Machine) -> None:
    """Nor is a pipe waited for, that nobody writes to."""
    machine.docker.parent.mkdir()
    os.mkfifo(machine.docker)
    assert machine.find().faults == (f"{machine.docker} is not JSON in docker's form",)
    machine.docker.unlink()
    machine.docker.symlink_to(machine.docker)
    (fault,) = machine.find().faults
    assert fault.startswith(f"{machine.docker} cannot be read (")


@pytest.mark.parametrize("text", [None, *NO_CONFIGS], ids=["absent", *map(str, range(len(NO_CONFIGS)))])
@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_named_file_that_cannot_be_read_is_a_usage_error(
    machine: Machine, how: str, text: str | None
) -> None:
    """It is named, and nothing of what it holds is told, in no traceback either."""
    path = machine.folder / "named.json"
    if text is not None:
        machine.write(path, text)
    if how == "option":
        machine.authfile = path
    else:
        machine.patch.setenv("REGISTRY_AUTH_FILE", str(path))
    with pytest.raises(UsageError, match=f"^the file with credentials {path}") as raised:
        machine.find()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_no_secret_is_shown(machine: Machine) -> None:
    """What is found says who, and no more, when it is printed."""
    for entry in (auth(f"ada:{SECRET}"), {"identitytoken": SECRET}, {"registrytoken": SECRET}):
        machine.write(machine.docker, {"auths": {HOST: entry}})
        found = machine.find()
        assert found.credentials is not None
        assert SECRET not in repr(found)
