"""The config of an image on another base: pure.

A Dockerfile's image begins with its base's settings. What still equals the old base's was inherited, and
follows the new base; what differs was set by the app, and stays. History is the new base's, then the app's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from squashkit.graph import Image
from squashkit.metadata import STALE
from squashkit.oci import BASE_DIGEST, BASE_NAME, DiffID, Digest, ImageConfig, dump_json, load_json

_MAPS = ("Labels", "ExposedPorts", "Volumes")
_PATH = "PATH"
_BUILDPACKS = "io.buildpacks.lifecycle.metadata"
_OF_THE_SYSTEM = ("os.version", "os.features")


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that follows the new base. None: not set."""

    field: str
    """As in `Env.PATH`."""
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Inherited:
    """A config for another base, and what of it follows that base. Its diff_ids are those of the new base
    and of the layers above."""

    config: ImageConfig
    changes: tuple[Change, ...]


def inherit(
    app: Image,
    old: Image,
    new: Image,
    *,
    keep: bool = False,
    base_name: str = "",
    base_digest: Digest | None = None,
) -> Inherited:
    """The app's config, as if it had been built on the new base. With `keep` its settings stay as they are.

    Labels that name the base (the OCI's base.name and base.digest, the buildpacks' topLayer) name the new
    one, where the image has them.
    """
    raw: dict[str, Any] = dict(app.config.raw)
    changes: list[Change] = []
    if not keep:
        before, after = _settings(old.config), _settings(new.config)
        settings = _merge(_settings(app.config), before, after, changes)
        labels = settings.get("Labels")
        if labels and old.diff_ids != new.diff_ids:
            own = {key for key, value in labels.items() if value != (before.get("Labels") or {}).get(key)}
            settings["Labels"] = _rename_base(labels, own, old, new, base_name, base_digest)
        if settings != _settings(app.config):
            raw["config"] = settings
        for name in _OF_THE_SYSTEM:
            _follow(raw, name, raw.get(name), old.config.raw.get(name), new.config.raw.get(name), changes)
    diff_ids = (*new.diff_ids, *app.diff_ids[len(old.diff_ids) :])
    if diff_ids != app.diff_ids:
        raw["rootfs"] = {**raw.get("rootfs", {"type": "layers"}), "diff_ids": list(diff_ids)}
    history = rebased_history(app, old, new)
    if history is not None and history != [entry.raw for entry in app.config.history or ()]:
        raw["history"] = history
    if raw == app.config.raw:
        return Inherited(app.config, ())
    data = dump_json({key: value for key, value in raw.items() if key not in STALE})
    return Inherited(ImageConfig.parse(data), tuple(changes))


def _settings(config: ImageConfig) -> dict[str, Any]:
    return dict(config.raw.get("config") or {})


def _merge(
    app: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], changes: list[Change]
) -> dict[str, Any]:
    """What is inherited follows the new base, in the app's order, then what only the new base has."""
    merged = dict(app)
    for name in dict.fromkeys((*app, *old, *new)):
        mine, before, after = (_value(settings, name) for settings in (app, old, new))
        if name == "Env":
            environment = _environment(mine or [], before or [], after or [], changes)
            if environment != (mine or []):
                merged[name] = environment
        elif name in _MAPS:
            combined = _mapping(name, mine or {}, before or {}, after or {}, changes)
            if combined != (mine or {}):
                merged[name] = combined
        elif name != "Image":  # the classic builder's note of what it was made from
            _follow(merged, name, mine, before, after, changes)
    return merged


def _value(settings: Mapping[str, Any], name: str) -> Any:
    """A setting; empty ones (null, "", [], {}) are as if they were not there."""
    return settings.get(name) or None


def _follow(
    target: dict[str, Any], name: str, mine: Any, before: Any, after: Any, changes: list[Change]
) -> None:
    if mine != before or before == after:
        return
    changes.append(Change(name, before, after))
    if after is None:
        target.pop(name, None)
    else:
        target[name] = after


def _mapping(
    name: str,
    mine: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    changes: list[Change],
) -> dict[str, Any]:
    merged = dict(mine)
    for key in dict.fromkeys((*mine, *after)):
        own, was, now = mine.get(key), before.get(key), after.get(key)
        if own != was or was == now:
            continue
        changes.append(Change(f"{name}.{key}", was, now))
        if key not in after:
            del merged[key]
        else:
            merged[key] = now
    return merged


def _environment(
    mine: Sequence[str], before: Sequence[str], after: Sequence[str], changes: list[Change]
) -> list[str]:
    """Variables as `_mapping` has them; in a PATH that holds the old base's stands the new base's."""
    known = len(changes)
    own, was, now = (dict(_variable(text) for text in texts) for texts in (mine, before, after))
    path, base, new_base = own.get(_PATH), was.get(_PATH), now.get(_PATH)
    if path and base and new_base and path != base and new_base != base:
        extended = _replace_path(path, base, new_base)
        if extended is not None:
            changes.append(Change(f"Env.{_PATH}", path, extended))
            own[_PATH] = extended
    merged: dict[str, str] = dict(own)
    added: dict[str, str] = {}
    for key in dict.fromkeys((*own, *now)):
        if own.get(key) != was.get(key) or was.get(key) == now.get(key):
            continue
        changes.append(Change(f"Env.{key}", was.get(key), now.get(key)))
        if key not in now:
            del merged[key]
        elif key in merged:
            merged[key] = now[key]
        else:
            added[key] = now[key]
    if len(changes) == known:
        return list(mine)
    result: list[tuple[str, str]] = []
    inherited = [key for key in merged if key in was]
    for key, value in merged.items():
        result.append((key, value))
        if inherited and key == inherited[-1]:
            result += added.items()
    if not inherited:
        result = [*added.items(), *result]
    return [f"{key}={value}" for key, value in result]


def _variable(text: str) -> tuple[str, str]:
    key, _, value = str(text).partition("=")
    return key, value


def _replace_path(path: str, base: str, new: str) -> str | None:
    """A PATH with the old base's folders, in one run, replaced; None where it does not hold them so."""
    parts, run = path.split(":"), base.split(":")
    for at in range(len(parts) - len(run) + 1):
        if parts[at : at + len(run)] == run:
            return ":".join([*parts[:at], *new.split(":"), *parts[at + len(run) :]])
    return None


def _rename_base(
    labels: Mapping[str, Any],
    own: Collection[str],
    old: Image,
    new: Image,
    name: str,
    digest: Digest | None,
) -> dict[str, Any]:
    """The labels by which the app itself names its base name the new one."""
    renamed = dict(labels)
    if BASE_DIGEST in own or BASE_NAME in own:
        for key, value in ((BASE_NAME, name), (BASE_DIGEST, digest)):
            renamed.pop(key, None)
            if value:
                renamed[key] = value
    text = labels.get(_BUILDPACKS)
    if isinstance(text, str) and old.diff_ids and new.diff_ids and old.diff_ids[-1] in text:
        metadata = load_json(text.encode(), _BUILDPACKS)
        run_image = metadata.get("runImage") if isinstance(metadata, dict) else None
        if isinstance(run_image, dict) and run_image.get("topLayer") == old.diff_ids[-1]:
            run_image["topLayer"] = new.diff_ids[-1]
            if digest and name and "reference" in run_image:
                run_image["reference"] = f"{name.rpartition(':')[0] or name}@{digest}"
            renamed[_BUILDPACKS] = json.dumps(metadata, separators=(",", ":"))
    return renamed


def run_image_of(config: ImageConfig) -> tuple[DiffID | None, str]:
    """What buildpacks noted of their base: its top layer's diff_id, and its name."""
    text = (_settings(config).get("Labels") or {}).get(_BUILDPACKS)
    try:
        run_image = json.loads(text or "")["runImage"]
        return DiffID(str(run_image["topLayer"])), str(run_image.get("reference") or "")
    except (TypeError, ValueError, KeyError, AttributeError):
        return None, ""


def rebased_history(app: Image, old: Image, new: Image) -> list[dict[str, Any]] | None:
    """The new base's entries, then the app's own. None where the app has no history, or a broken one: that
    says nothing of its layers."""
    if app.config.layer_history is None:
        return None
    entries = [dict(entry.raw) for entry in app.config.history or ()]
    below = [dict(entry.raw) for entry in old.config.history or ()]
    if new.config.layer_history is not None:
        base = [dict(entry.raw) for entry in new.config.history or ()]
    else:
        created = new.config.created or app.config.created or "1970-01-01T00:00:00Z"
        base = [{"created": created, "created_by": f"layer {i}"} for i in range(len(new.diff_ids))]
    if below and entries[: len(below)] == below:
        return [*base, *entries[len(below) :]]
    count = len(old.diff_ids)
    at = 0
    while count and at < len(entries):
        count -= entries[at].get("empty_layer") is not True
        at += 1
    return [*base, *entries[at:]]
