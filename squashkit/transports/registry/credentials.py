"""Credentials for registries, from where the docker client keeps them: its config and its helpers."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from squashkit.errors import Unauthorized, UsageError


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, or a token by which a registry's token server knows the user."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def find_credentials(host: str, repository: str, authfile: Path | None) -> Credentials | None:
    """What is known for a repository on a host: from `authfile`, REGISTRY_AUTH_FILE, or the docker client's
    config and helpers. None where nothing is.

    An entry may be for a host or for a path on it, the longest counts (containers-auth.json(5)). Raises
    UsageError where a file that was asked for cannot be read, Unauthorized where a helper fails.
    """
    import docker.auth
    import docker.errors

    given = authfile or (Path(text) if (text := os.environ.get("REGISTRY_AUTH_FILE")) else None)
    if given is not None:
        _check_file(given)
    try:
        config = docker.auth.load_config(str(given) if given else None)
        parts = repository.split("/")
        for count in range(len(parts), 0, -1):
            key = "/".join((host, *parts[:count]))
            if config.auths.get(key):
                return _credentials(config.auths[key])
        # The SDK takes a key with any path for its host; but such a key is for that path alone.
        whole = {key: value for key, value in config.auths.items() if _names_a_host(key)}
        return _credentials(docker.auth.AuthConfig({**config, "auths": whole}).resolve_authconfig(host))
    except (docker.errors.DockerException, ValueError, KeyError, TypeError, AttributeError) as error:
        # What a helper said may hold secrets, so it is not repeated.
        raise Unauthorized(
            f"credentials for {host} cannot be read: the file with them, or a helper that it names, is not"
            " in order",
            reference=host,
        ) from error


_MAX_FILE = 16 << 20


def _check_file(path: Path) -> None:
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode) or there.st_size > _MAX_FILE:  # a device may have no end
            raise UsageError(f"the file with credentials {path} is no file with JSON")
        json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the file with credentials {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the file with credentials {path} is no JSON") from error


def _names_a_host(key: str) -> bool:
    """Whether a key stands for a whole registry, also as a URL as docker once wrote them."""
    path = key.removeprefix("https://").removeprefix("http://").partition("/")[2]
    return path.strip("/") in ("", "v1", "v2")


def _credentials(found: Mapping[str, Any] | None) -> Credentials | None:
    """The SDK spells its keys in two ways."""
    lowered = {key.lower(): str(value) for key, value in (found or {}).items() if value}
    credentials = Credentials(
        lowered.get("username", ""), lowered.get("password", ""), lowered.get("identitytoken", "")
    )
    return credentials if credentials != Credentials() else None
