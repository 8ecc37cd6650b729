"""Which fields each document has, of which type, and how the specifications spell their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from squashkit.errors import show_text
from squashkit.oci.gojson import TEXTS, JSONObject, Leaf, ListOf, MapOf, Shape, Struct

_TEXT, _MAP_OF_TEXT = Leaf.TEXT, MapOf(Leaf.TEXT)
PLATFORM_SHAPE = Struct(
    {
        "architecture": _TEXT,
        "os": _TEXT,
        "variant": _TEXT,
        "os.version": _TEXT,
        "os.features": TEXTS,
    }
)
DESCRIPTOR_SHAPE = Struct(
    {
        "mediaType": _TEXT,
        "digest": _TEXT,
        "size": Leaf.NUMBER,
        "annotations": _MAP_OF_TEXT,
        "platform": PLATFORM_SHAPE,
        "data": _TEXT,
        "urls": TEXTS,
        "artifactType": _TEXT,
    }
)
_COMMON: Mapping[str, Shape] = {
    "schemaVersion": Leaf.NUMBER,
    "mediaType": _TEXT,
    "annotations": _MAP_OF_TEXT,
    "subject": DESCRIPTOR_SHAPE,
    "artifactType": _TEXT,
}
MANIFEST_SHAPE = Struct({**_COMMON, "config": DESCRIPTOR_SHAPE, "layers": ListOf(DESCRIPTOR_SHAPE)})
INDEX_SHAPE = Struct({**_COMMON, "manifests": ListOf(DESCRIPTOR_SHAPE)})
LAYOUT_SHAPE = Struct({"imageLayoutVersion": _TEXT})
_HEALTHCHECK = Struct(
    {},
    {
        "Test": TEXTS,
        "Interval": Leaf.NUMBER,
        "Timeout": Leaf.NUMBER,
        "StartPeriod": Leaf.NUMBER,
        "StartInterval": Leaf.NUMBER,
        "Retries": Leaf.NUMBER,
    },
)
_SET = MapOf(Struct({}))
SETTINGS_SHAPE = Struct(
    {},
    {
        "Hostname": _TEXT,
        "Domainname": _TEXT,
        "User": _TEXT,
        "AttachStdin": Leaf.FLAG,
        "AttachStdout": Leaf.FLAG,
        "AttachStderr": Leaf.FLAG,
        "ExposedPorts": _SET,
        "Tty": Leaf.FLAG,
        "OpenStdin": Leaf.FLAG,
        "StdinOnce": Leaf.FLAG,
        "Env": TEXTS,
        "Cmd": Leaf.WORDS,
        "Healthcheck": _HEALTHCHECK,
        "ArgsEscaped": Leaf.FLAG,
        "Image": _TEXT,
        "Volumes": _SET,
        "WorkingDir": _TEXT,
        "Entrypoint": Leaf.WORDS,
        "NetworkDisabled": Leaf.FLAG,
        "MacAddress": _TEXT,
        "OnBuild": TEXTS,
        "Labels": _MAP_OF_TEXT,
        "StopSignal": _TEXT,
        "StopTimeout": Leaf.NUMBER,
        "Shell": Leaf.WORDS,
    },
)
"""The `config` of a config (image-spec, config.md; docker's container.Config)."""
_HISTORY_SHAPE = Struct(
    {"created": Leaf.TIME, "created_by": _TEXT, "comment": _TEXT, "empty_layer": Leaf.FLAG},
    {"author": _TEXT},
)
STALE = (
    "container",
    "container_config",
    "parent",
    "id",
    "moby.buildkit.cache.v0",
    "moby.buildkit.buildinfo.v1",
)
"""What in a config describes the layers of the very image, and is dropped when it gets others."""
CONFIG_SHAPE = Struct(
    {
        **PLATFORM_SHAPE.reads,
        "created": Leaf.TIME,
        "config": SETTINGS_SHAPE,
        "rootfs": Struct({"type": _TEXT, "diff_ids": TEXTS}),
        "history": ListOf(_HISTORY_SHAPE),
        **dict.fromkeys(STALE),
        "container_config": SETTINGS_SHAPE,
    },
    {"author": _TEXT, "comment": _TEXT, "docker_version": _TEXT, "Size": Leaf.NUMBER},
)


def odd_settings_told(keys: Sequence[str]) -> str:
    """What is odd about keys of settings, in words."""
    shown = ", ".join(show_text(f"{key} ({_exact_of(key)})") for key in keys)
    return f"Keys of the config's settings that the image-spec spells otherwise: {shown}"


def _exact_of(key: str) -> str:
    """How the image-spec spells the last part of a key of settings."""
    *above, last = key.split(".", 1)
    inner = SETTINGS_SHAPE.of(above[0]) if above else SETTINGS_SHAPE
    return inner.exact(last) if isinstance(inner, Struct) else last


def exact_settings(settings: JSONObject, shape: Struct = SETTINGS_SHAPE) -> dict[str, Any]:
    """Settings under the names by which docker and the image-spec know them; unknown ones as they are."""
    return {
        shape.exact(key): exact_settings(value, inner)
        if isinstance(inner := shape.of(key), Struct) and value
        else value
        for key, value in settings.items()
    }


def odd_settings(settings: JSONObject) -> list[str]:
    """The keys of settings that are spelled otherwise, as in `Healthcheck.test`."""
    return list(_odd_keys(settings, SETTINGS_SHAPE, ""))


def _odd_keys(settings: JSONObject, shape: Struct, above: str) -> Iterator[str]:
    for key, value in settings.items():
        if shape.exact(key) != key:
            yield above + key
        if isinstance(inner := shape.of(key), Struct) and value:
            yield from _odd_keys(value, inner, f"{above}{key}.")
