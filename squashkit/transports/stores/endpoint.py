"""Where the docker client finds its daemon: what the environment and the client's own files say of it.

The rules are those of docker/cli (`resolveContextName`, its store of contexts, `opts.ParseHost`). A context
that is named and is not there is an error, as it is for docker: another daemon is never taken instead.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from squashkit.errors import show_text, without_secrets
from squashkit.values import frozen

_DEFAULT_SOCKET = "/var/run/docker.sock"
_DEFAULT_HOST = "localhost"
_DEFAULT_PORT = 2375
_DEFAULT_TLS_PORT = 2376
_DEFAULT_CONTEXT = "default"


class NoEndpoint(Exception):
    """What is set names no place where a daemon could be; the text says what is wrong with it."""


@frozen
class TLS:
    """The files by which the two sides know each other, below one folder."""

    folder: Path
    ca: Path | None
    """Who signs the daemon's certificate; None: whoever the system trusts."""
    cert: Path | None
    key: Path | None
    verify: bool = True
    """Whether the daemon has to prove who it is."""


@frozen
class Unix:
    """A socket of this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@frozen
class TCP:
    """A host and its port, and what all paths of the API begin with."""

    host: str
    port: int
    path: str = ""

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{self.path}"

    def __str__(self) -> str:
        return f"tcp://{self.origin}"


@frozen
class SSH:
    """A machine that ssh leads to, and the daemon's socket there. What is empty, ssh and docker know."""

    host: str
    user: str = ""
    port: int | None = None
    path: str = ""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        return f"ssh://{user}{host}{port}{self.path}"


Address = Unix | TCP | SSH


@frozen
class Endpoint:
    """Where a daemon is to be, and what says so."""

    address: Address
    by: str
    """DOCKER_HOST, a context, or nothing but docker's default."""
    tls: TLS | None = None
    """How to speak TLS over TCP; None: in plain text."""

    def __str__(self) -> str:
        return show_text(f"{self.address} by {self.by}")


def find_endpoint() -> Endpoint:
    """Where the docker client would go: by DOCKER_HOST, else by the context that DOCKER_CONTEXT or
    config.json names, else to docker's default. Raises NoEndpoint where these name no place."""
    host = os.environ.get("DOCKER_HOST", "")
    if host:
        return _by_environment(host)
    name, by = os.environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not name:
        config = _config_dir() / "config.json"
        name, by = _current_context(config), str(config)
    return _by_context(name, by) if name not in ("", _DEFAULT_CONTEXT) else _by_environment("")


def _config_dir() -> Path:
    given = os.environ.get("DOCKER_CONFIG")
    return Path(given) if given else Path.home() / ".docker"


# --- the variables ---------------------------------------------------------------------------


def _by_environment(host: str) -> Endpoint:
    tls = _tls_of_environment()
    if host.strip():
        return Endpoint(_parse(host, "DOCKER_HOST"), "DOCKER_HOST", tls)
    default = TCP(_DEFAULT_HOST, _DEFAULT_TLS_PORT) if tls else Unix(_DEFAULT_SOCKET)
    return Endpoint(default, "default", tls)


def _tls_of_environment() -> TLS | None:
    """TLS where one of its variables is not empty, whatever it says. A client without a certificate goes
    without one; ca.pem has to be there."""
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not os.environ.get("DOCKER_TLS"):
        return None
    given = os.environ.get("DOCKER_CERT_PATH")
    folder = Path(given) if given else _config_dir()
    return TLS(folder, folder / "ca.pem", _found(folder, "cert.pem"), _found(folder, "key.pem"), verify)


def _found(folder: Path, name: str) -> Path | None:
    return path if (path := folder / name).exists() else None


# --- contexts --------------------------------------------------------------------------------


def _current_context(config: Path) -> str:
    """docker goes on without a config.json that it cannot read, with a warning, perhaps to another daemon
    than the one that is meant there. That is not done here."""
    name = _field(_read_object(config), "currentContext") if config.exists() else None
    if not isinstance(name, str | None):
        raise NoEndpoint(f"{config}: currentContext is no name")
    return name or ""


def _by_context(name: str, by: str) -> Endpoint:
    shown = f"the context {name!r} of {by}"
    store, folder = _config_dir() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    meta = store / "meta" / folder / "meta.json"
    if not meta.exists():
        raise NoEndpoint(f"there is no context {name!r}, which {by} names (`docker context ls` lists them)")
    endpoints = _field(_read_object(meta), "Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    if not isinstance(endpoint, dict):
        raise NoEndpoint(f"{shown} names no docker daemon")
    host = _field(endpoint, "Host") or f"unix://{_DEFAULT_SOCKET}"
    skips = bool(_field(endpoint, "SkipTLSVerify"))
    tls = _tls_of_context(store / "tls" / folder / "docker", skips)
    return Endpoint(_parse(str(host), shown), shown, tls)


def _tls_of_context(folder: Path, skips: bool) -> TLS | None:
    if not folder.exists() and not skips:
        return None
    ca, cert, key = (_found(folder, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    return TLS(folder, ca, cert, key, verify=not skips)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise NoEndpoint(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise NoEndpoint(f"{path} is no JSON") from error
    if not isinstance(found, dict):
        raise NoEndpoint(f"{path} is no JSON object")
    return found


def _field(value: dict[str, Any], name: str) -> Any:
    """A field as Go's decoder finds it: without regard to case, the last of several."""
    return next((value[key] for key in reversed(value) if key.lower() == name.lower()), None)


# --- addresses -------------------------------------------------------------------------------


def _parse(text: str, by: str) -> Address:
    """An address as docker reads it: one without a scheme is a host's."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "tcp", scheme
    try:
        if scheme == "unix" and "://" not in rest:
            return Unix(rest or _DEFAULT_SOCKET)
        if scheme == "tcp" and "://" not in rest:
            return _parse_tcp(rest)
        if scheme == "ssh":
            return _parse_ssh(urlsplit(text.strip()))
        wrong = "docker knows unix://PATH, tcp://HOST:PORT and ssh://HOST"
    except ValueError as error:
        wrong = str(error)
    raise NoEndpoint(show_text(f"{by} is {without_secrets(text)!r}: {wrong}"))


def _parse_tcp(rest: str) -> TCP:
    parts = urlsplit(f"tcp://{rest}")
    port = _DEFAULT_PORT if parts.port is None else parts.port
    return TCP(parts.hostname or _DEFAULT_HOST, port, parts.path.rstrip("/"))


def _parse_ssh(parts: SplitResult) -> SSH:
    if parts.password is not None:
        raise ValueError("a password does not belong there")
    if parts.query or parts.fragment:
        raise ValueError("nothing may follow the path of the socket")
    if not parts.hostname:
        raise ValueError("it names no host")
    # urlsplit has the host in small letters, and for ssh it may be a name of its own config.
    host = parts.netloc.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    path = unquote(parts.path) if parts.path.strip("/") else ""
    return SSH(unquote(host), unquote(parts.username or ""), parts.port, path)
