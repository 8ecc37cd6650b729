"""What Go makes of the documents of images, and what squashkit makes of them: both in one form.

docker, containerd, podman, skopeo and umoci read JSON by Go's encoding/json, so Go is the oracle: a small
program (tests/golang/documents) reads documents and says what it understood.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from squashkit.errors import InvalidImage, UnsupportedImage
from squashkit.oci.documents import Descriptor, ImageConfig, Manifest, Platform, parse_index
from squashkit.transports.archive.docker import Item, parse_manifest
from tests.support.go_programs import build

Kind = Literal["manifest", "index", "config", "docker"]


class Refused(Exception):
    """A document that a reader does not take; says why."""


class Go:
    """The running program, which answers one document at a time."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind: str, data: bytes) -> Any:
        """What Go understands. Raises Refused with its error."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(kind.encode() + b" " + base64.b64encode(data) + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["error"] is not None:
            raise Refused(answer["error"])
        return answer["found"]

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


@contextmanager
def go(folder: Path) -> Iterator[Go]:
    """Go, built in a folder with what it brings along: nothing is fetched."""
    running = Go(build("documents/main.go", folder))
    try:
        yield running
    finally:
        running.close()


# --- what was understood, in one form: what is not set is empty ---


def by_go(running: Go, kind: Kind, data: bytes) -> Any:
    """What Go understands of a document. Raises Refused."""
    found = running.ask(kind, data)
    if kind == "manifest":
        layers = [_go_descriptor(layer) for layer in found["layers"] or ()]
        config = _go_descriptor(found["config"])
        return found.get("mediaType", ""), config, layers, _map(found, "annotations")
    if kind == "index":
        return [_go_descriptor(entry) for entry in found["manifests"] or ()]
    if kind == "docker":
        items = found or []
        return [(item["Config"], item["RepoTags"] or [], item["Layers"] or []) for item in items]
    history = [
        (entry.get("created_by", ""), entry.get("comment", ""), entry.get("empty_layer", False))
        for entry in found.get("history") or ()
    ]
    platform = found["os"], found["architecture"], found.get("variant", "")
    return platform, found["rootfs"]["diff_ids"] or [], history, _settings(found["config"])


def by_squashkit(kind: Kind, data: bytes) -> Any:
    """What squashkit understands of a document. Raises Refused."""
    try:
        if kind == "manifest":
            manifest = Manifest.parse(data, "x")
            layers = [_descriptor(layer) for layer in manifest.layers]
            media_type = manifest.raw.get("mediaType") or ""
            return media_type, _descriptor(manifest.config), layers, dict(manifest.annotations)
        if kind == "index":
            return [_descriptor(entry) for entry in parse_index(data, "x").manifests]
        if kind == "docker":
            items = [Item.parse(entry, "x") for entry in parse_manifest(data)]
            return [(item.config, list(item.tags), list(item.layers)) for item in items]
        config = ImageConfig.parse(data, "x")
    except (InvalidImage, UnsupportedImage) as error:
        raise Refused(str(error)) from error
    history = [
        (entry.created_by, entry.raw.get("comment") or "", entry.empty_layer)
        for entry in config.history or ()
    ]
    return _platform(config.platform), list(config.diff_ids), history, _settings(config.settings)


def _go_descriptor(found: dict[str, Any]) -> Any:
    platform = found.get("platform") or {}
    return (
        found["mediaType"], found["digest"], found["size"], _map(found, "annotations"),
        (platform.get("os", ""), platform.get("architecture", ""), platform.get("variant", "")),
    )  # fmt: skip


def _descriptor(found: Descriptor) -> Any:
    platform = found.platform or Platform("", "")
    return found.media_type, found.digest, found.size, dict(found.annotations), _platform(platform)


def _platform(platform: Platform) -> tuple[str, str, str]:
    return platform.os, platform.architecture, platform.variant


def _map(found: dict[str, Any], key: str) -> dict[str, str]:
    return {key: value or "" for key, value in (found.get(key) or {}).items()}


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text or "" for text in value or ()]


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for key in ("User", "WorkingDir", "StopSignal"):
        told[key] = found.get(key) or ""
    for key in ("Entrypoint", "Cmd", "Env"):
        told[key] = _words(found.get(key))
    for key in ("ExposedPorts", "Volumes"):
        told[key] = sorted(found.get(key) or {})
    told["Labels"] = _map(found, "Labels")
    check = found.get("Healthcheck") or {}
    told["Healthcheck"] = _words(check.get("Test")), check.get("Retries") or 0, check.get("Timeout") or 0
    return told
