"""The config of an image on another base: pure.

A Dockerfile's image begins with its base's settings. What still equals the old base's was inherited, and
follows the new base; what differs was set by the app, and stays. History is the new base's, then the app's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from squashkit.errors import InvalidImage
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Descriptor, ImageConfig, dump_json
from squashkit.oci.gojson import fold, load_json
from squashkit.oci.graph import Image
from squashkit.oci.media import BASE_DIGEST, BASE_NAME
from squashkit.oci.names import split_tag
from squashkit.oci.shapes import STALE
from squashkit.plan.documents import EPOCH
from squashkit.plan.evidence import BUILDPACKS, BUILDPACKS_SHAPE, run_image
from squashkit.values import frozen

_MAPS = ("Labels", "ExposedPorts", "Volumes")
_NOT_INHERITED = frozenset({"Image", "OnBuild"})
"""The classic builder's note of what an image was made from; triggers, which the next build uses up."""
_PATH = "PATH"
MADE_FROM = "squashkit rebase of "
"""With a manifest's digest, the comment of the last step in the history, where no annotation can say it."""
_OF_THE_SYSTEM = ("os.version", "os.features")


@frozen
class Change:
    """A setting that follows the new base. None: not set."""

    field: str
    """As in `Env.PATH`."""
    before: Any
    after: Any


@frozen
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
        spelled: dict[str, str] = {}
        own_settings, before, after = (_settings(one.config, spelled) for one in (app, old, new))
        settings = _merge(own_settings, before, after, changes)
        labels = settings.get("Labels")
        if labels and old.diff_ids != new.diff_ids:
            mine, theirs = own_settings.get("Labels") or {}, before.get("Labels") or {}
            own = {key for key, value in mine.items() if value != theirs.get(key)}
            settings["Labels"] = _rename_base(labels, own, old, new, base_name, base_digest)
        if settings != own_settings:
            raw["config"] = settings
        for name in _OF_THE_SYSTEM:
            _follow(raw, name, raw.get(name), old.config.raw.get(name), new.config.raw.get(name), changes)
    diff_ids = (*new.diff_ids, *app.diff_ids[len(old.diff_ids) :])
    if diff_ids != app.diff_ids:
        raw["rootfs"] = {**(raw.get("rootfs") or {"type": "layers"}), "diff_ids": list(diff_ids)}
    history = rebased_history(app, old, new)
    if history is not None and history != [entry.raw for entry in app.config.history or ()]:
        raw["history"] = history
    if raw == app.config.raw:
        return Inherited(app.config, ())
    data = dump_json({key: value for key, value in raw.items() if key not in STALE})
    return Inherited(ImageConfig.parse(data), tuple(changes))


def _settings(config: ImageConfig, spelled: dict[str, str]) -> dict[str, Any]:
    """The `config` of a config, its keys spelled as the image-spec has them, unknown ones as in the first
    config that has them: so no two that are one to docker meet. `spelled` remembers that."""
    settings = {spelled.setdefault(fold(key), key): value for key, value in config.settings.items()}
    if None in (settings.get("Env") or ()):
        raise InvalidImage("expected a list of strings", where="config.config.Env")
    return settings


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
        elif name == "Cmd" and _value(app, "Entrypoint") != _value(old, "Entrypoint"):
            continue  # who sets an ENTRYPOINT loses the base's CMD, so this one is the app's own
        elif name not in _NOT_INHERITED:
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
    own, was, now = ({_name(text): text for text in texts} for texts in (mine, before, after))
    path, base, new_base = (_path_of(texts) for texts in (own, was, now))
    if path and base and new_base and path != base and new_base != base:
        extended = _replace_path(path, base, new_base)
        if extended is not None:
            changes.append(Change(f"Env.{_PATH}", path, extended))
            own[_PATH] = f"{_PATH}={extended}"
    merged: dict[str, str] = dict(own)
    added: list[str] = []
    for key in dict.fromkeys((*own, *now)):
        if own.get(key) != was.get(key) or was.get(key) == now.get(key):
            continue
        changes.append(Change(f"Env.{key}", _value_of(was.get(key)), _value_of(now.get(key))))
        if key not in now:
            del merged[key]
        elif key in merged:
            merged[key] = now[key]
        else:
            added.append(now[key])
    if len(changes) == known:
        return list(mine)
    inherited = [key for key in merged if key in was]
    if not inherited:
        return [*added, *merged.values()]
    at = list(merged).index(inherited[-1]) + 1
    texts = list(merged.values())
    return [*texts[:at], *added, *texts[at:]]


def _name(text: str) -> str:
    return text.partition("=")[0]


def on_system(descriptor: Descriptor | None, config: ImageConfig) -> Descriptor | None:
    """The entry of an index, with what this config says of the system in its platform."""
    if descriptor is None or not isinstance(descriptor.raw.get("platform"), Mapping):
        return descriptor
    platform = {k: v for k, v in descriptor.raw["platform"].items() if k not in _OF_THE_SYSTEM}
    platform |= {k: config.raw[k] for k in _OF_THE_SYSTEM if k in config.raw}
    return replace(descriptor, raw={**descriptor.raw, "platform": platform})


def _value_of(text: str | None) -> str | None:
    return None if text is None else text.partition("=")[2]


def _path_of(texts: Mapping[str, str]) -> str | None:
    return _value_of(texts.get(_PATH))


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
    top, _ = run_image(labels)
    if old.diff_ids and new.diff_ids and top == old.diff_ids[-1]:
        metadata = load_json(labels[BUILDPACKS].encode(), BUILDPACKS, BUILDPACKS_SHAPE)
        metadata["runImage"]["topLayer"] = new.diff_ids[-1]
        if digest and name and "reference" in metadata["runImage"]:
            metadata["runImage"]["reference"] = f"{_repository(name)}@{digest}"
        renamed[BUILDPACKS] = json.dumps(metadata, separators=(",", ":"))
    return renamed


def _repository(name: str) -> str:
    """A name without its tag and its digest; a port is no tag."""
    bare = name.partition("@")[0]
    return split_tag(bare)[0] or bare


def rebased_history(app: Image, old: Image, new: Image) -> list[dict[str, Any]] | None:
    """The new base's entries, then the app's own. None where the app has no history, or a broken one: that
    says nothing of its layers."""
    if app.config.layer_history is None:
        return None
    entries = [dict(entry.raw) for entry in app.config.history or ()]
    if old.diff_ids and old.diff_ids == new.diff_ids:
        return entries
    below = [dict(entry.raw) for entry in old.config.history or ()]
    if new.config.layer_history is not None:
        base = [dict(entry.raw) for entry in new.config.history or ()]
    else:
        created = new.config.created or app.config.created or EPOCH
        base = [{"created": created, "created_by": f"layer {i}"} for i in range(len(new.diff_ids))]
    if below and _steps(entries[: len(below)]) == _steps(below):  # a daemon tells nothing else of them
        return [*base, *entries[len(below) :]]
    count = len(old.diff_ids)
    at = 0
    while count and at < len(entries):
        count -= entries[at].get("empty_layer") is not True
        at += 1
    if not below:  # nothing is known of it: what the new base says at its end, the old one said too
        said = [entry.get("created_by") for entry in base if entry.get("empty_layer") is True]
        for entry in entries[at:]:
            if entry.get("empty_layer") is not True or entry.get("created_by") not in said:
                break
            at += 1
    return [*base, *entries[at:]]


def _steps(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(entry.get("created_by") or "") for entry in entries]
