"""Credentials for registries, from where docker and podman keep them: a variable, files, and the helpers
that these name.

What cannot be used is a warning, since an image may be public. The registry's refusal then tells it.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from squashkit.errors import UsageError, show_text
from squashkit.progress import Note, Notify, ignore
from squashkit.transports.registry.helper import Answer, HelperFailed, Patience, ask_helper
from squashkit.values import frozen

_HUB = "docker.io"
_HUB_NAMES = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_SERVER = "https://index.docker.io/v1/"
"""What docker's own registry is called to a helper."""
_IDENTITY = "<token>"
"""The user of whom a helper keeps an identity token in place of a password."""
_VARIABLE = "DOCKER_AUTH_CONFIG"
RUN = Path("/run/containers")
"""Where podman keeps credentials of users who have no folder of their own for what runs
(containers-auth.json(5))."""
_MAX_FILE = 16 << 20


@frozen
class Credentials:
    """A user's name and password, or a token by which a registry's token server knows the user, or one that
    the registry itself takes."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
        return f"Basic {base64.b64encode(pair).decode()}"


@frozen
class Found:
    """What is known for a repository, and what could not be used on the way, each as a message."""

    credentials: Credentials | None = None
    faults: tuple[str, ...] = ()


@frozen
class Config:
    """A file with credentials in docker's form, which podman's auth.json has too. Keys are a host
    (`registry.example:5000`), a path on it (`registry.example/team`), or a host's URL as docker once wrote
    it (`https://registry.example/v1/`)."""

    name: str
    """Where it was read, for messages."""
    entries: Mapping[str, Mapping[str, str]]
    """By key, the fields that are texts; their names in lower case, as Go takes them in any."""
    helpers: Mapping[str, str]
    """The helpers of some hosts, by key; an empty one means none."""
    store: str
    """The helper of all other hosts; none where it is empty."""

    @classmethod
    def parse(cls, data: bytes, name: str) -> Config:
        """Raises ValueError for what is not in docker's form."""
        try:
            fields = _object(json.loads(data) if data.strip() else None)
        except RecursionError:
            raise ValueError from None
        store, helpers = fields.get("credsStore"), _object(fields.get("credHelpers"))
        if not all(isinstance(one, str | None) for one in (store, *helpers.values())):
            raise ValueError
        entries = {
            key: {name.lower(): one for name, one in _object(entry).items() if isinstance(one, str)}
            for key, entry in _object(fields.get("auths")).items()
        }
        return cls(name, entries, {key: one or "" for key, one in helpers.items()}, store or "")

    def keys(self, host: str, repository: str) -> list[tuple[str, str]]:
        """The keys of entries for a repository, and which path on the host each is for: the longest first
        (containers-auth.json(5)), and a plain host before a URL."""
        found = []
        for key in self.entries:
            of, path = _place(key)
            if of == host and (not path or f"{repository}/".startswith(f"{path}/")):
                found.append((key, path))
        return sorted(found, key=lambda one: (-len(one[1]), one[0] != host))

    def helper(self, host: str) -> str:
        """The helper that keeps a host's credentials; empty where none does."""
        named = [key for key in self.helpers if _place(key) == (host, "")]
        return self.helpers[min(named, key=lambda key: key != host)] if named else self.store


def _object(value: Any) -> dict[str, Any]:
    """`null` is taken for an empty one, as Go has it."""
    if not isinstance(value, dict | None):
        raise ValueError
    return value or {}


def _place(key: str) -> tuple[str, str]:
    """The host that a key is for, and the path on it."""
    host, _, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    host = host.lower()
    return _HUB if host in _HUB_NAMES else host, "" if path in ("v1", "v2") else path


def parse_entry(entry: Mapping[str, str]) -> Credentials | None:
    """The credentials of an entry; None for an empty one, as docker keeps it beside a helper. Raises
    ValueError for what gives none."""
    identity, registry = entry.get("identitytoken", ""), entry.get("registrytoken", "")
    if not (registry.isascii() and registry.isprintable()):  # no header could hold it
        raise ValueError
    username, password = _whole(entry.get("username", "")), _whole(entry.get("password", ""))
    if (auth := entry.get("auth", "")) and not identity and not registry:
        pair = base64.b64decode("".join(auth.split()), validate=True)
        username, colon, password = pair.decode("utf-8", "surrogateescape").partition(":")
        if not colon or not username:
            raise ValueError
        password = password.rstrip("\0")  # docker once wrote some there, and cuts them off as well
    credentials = Credentials(username, password, _whole(identity), registry)
    return credentials if credentials != Credentials() else None


def _whole(text: str) -> str:
    """A text of JSON without halves of signs, which cannot be sent."""
    return text.encode("utf-8", "replace").decode()


class CredentialSources:
    """Where credentials are kept: each place is read once, each helper asked once for a host.

    A file that was asked for (`authfile`, else REGISTRY_AUTH_FILE) is the only one. Else they are looked
    for in the variable DOCKER_AUTH_CONFIG, in docker's config.json, and in podman's auth.json. Safe to use
    from several threads.
    """

    def __init__(
        self, authfile: Path | None, notify: Notify = ignore, patience: Patience | None = None
    ) -> None:
        self.stopped = False
        """Whether no helper is to be waited for any more."""
        self._authfile = authfile
        self._notify = notify
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._read: dict[str, Config | str | None] = {}
        """What was read from each place: a fault as a message, None where nothing is there."""
        self._asked: dict[tuple[str, str], Credentials | str | None] = {}
        """What each helper said of each server, likewise."""
        self._warned: set[str] = set()

    def find(self, host: str, repository: str) -> Found:
        """What is known for a repository on a host.

        Raises UsageError where a file that was asked for cannot be read, Cancelled once work is stopped.
        """
        faults: list[str] = []
        credentials = None
        with self._lock:
            for config in self._configs(faults):
                credentials = self._look_into(config, host, repository, faults)
                if credentials is not None:
                    break
            for fault in faults:
                if fault not in self._warned:
                    self._warned.add(fault)
                    text = f"{fault}; going on without credentials from there"
                    self._notify(Note(text, is_warning=True))
        return Found(credentials, tuple(faults))

    def _configs(self, faults: list[str]) -> Iterator[Config]:
        """What the places hold, one by one as they are asked for."""
        named = self._authfile or _path_in("REGISTRY_AUTH_FILE")
        for place in _places() if named is None else [named]:
            name = show_text(str(place)) if isinstance(place, Path) else _VARIABLE
            if name not in self._read:
                self._read[name] = _read(place, name) if named is None else _read_named(named)
            found = self._read[name]
            if isinstance(found, Config):
                yield found
            elif found is not None:
                faults.append(found)

    def _look_into(
        self, config: Config, host: str, repository: str, faults: list[str]
    ) -> Credentials | None:
        """An entry for a path goes before the host's helper, and that before the host's entry."""
        keys = config.keys(host, repository)
        for_paths = [key for key, path in keys if path]
        for_host = [key for key, path in keys if not path]
        return (
            _first(config, for_paths, faults)
            or self._ask(config, host, faults)
            or _first(config, for_host, faults)
        )

    def _ask(self, config: Config, host: str, faults: list[str]) -> Credentials | None:
        """What the helper of a host says, where it has one."""
        helper = config.helper(host)
        if not helper:
            return None
        if (helper, host) not in self._asked:
            server = _HUB_SERVER if host == _HUB else host
            try:
                answer = ask_helper(helper, server, self._notify, lambda: self.stopped, self._patience)
            except HelperFailed as failure:
                self._asked[helper, host] = str(failure)
            else:
                self._asked[helper, host] = _credentials(answer) if answer is not None else None
        found = self._asked[helper, host]
        if isinstance(found, str):
            faults.append(f"{found}; {config.name} names it")
            return None
        return found


def _first(config: Config, keys: Sequence[str], faults: list[str]) -> Credentials | None:
    """The credentials of the first entry that has some."""
    for key in keys:
        try:
            credentials = parse_entry(config.entries[key])
        except ValueError:
            faults.append(f"the entry {show_text(key)} in {config.name} is not in docker's form")
        else:
            if credentials is not None:
                return credentials
    return None


def _credentials(answer: Answer) -> Credentials:
    secret = _whole(answer.secret)
    if answer.username == _IDENTITY:
        return Credentials(identity_token=secret)
    return Credentials(_whole(answer.username), secret)


def _path_in(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return Path(text) if text else None


def _places() -> Iterator[Path | bytes]:
    """Where credentials are where nobody says where: a document, or files that may be there."""
    if text := os.environ.get(_VARIABLE):
        yield os.fsencode(text)
    home = Path(os.path.expanduser("~"))
    yield (_path_in("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = _path_in("XDG_RUNTIME_DIR")
    yield (runtime / "containers" if runtime else RUN / str(os.getuid())) / "auth.json"
    yield (_path_in("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"


def _read(place: Path | bytes, name: str) -> Config | str | None:
    """What a place holds; a fault as a message, None where nothing is there."""
    try:
        return Config.parse(place if isinstance(place, bytes) else _bytes_of(place), name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{name} is not JSON in docker's form"


def _read_named(path: Path) -> Config:
    """A file that was asked for. Raises UsageError where it cannot be read."""
    name = show_text(str(path))
    try:
        return Config.parse(_bytes_of(path), name)
    except OSError as error:
        raise UsageError(f"the file with credentials {name}: {error.strerror}") from error
    except ValueError:
        raise UsageError(f"the file with credentials {name} is not JSON in docker's form") from None


def _bytes_of(path: Path) -> bytes:
    """Raises ValueError for what is no file, as a device, which may have no end."""
    there = path.stat()
    if not stat.S_ISREG(there.st_mode) or there.st_size > _MAX_FILE:
        raise ValueError
    return path.read_bytes()
