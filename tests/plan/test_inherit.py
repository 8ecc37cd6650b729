"""What of a config follows a new base, what stays, and what of it no byte may change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from squashkit.oci.digests import Digest, sha256
from squashkit.oci.documents import ImageConfig
from squashkit.oci.graph import Image, stack_layers
from squashkit.plan.evidence import run_image_of
from squashkit.plan.rebase.inherit import Inherited, inherit, rebased_history
from tests.support.builders import ImageSpec, Json, digest, docker_archive_old, file, layer
from tests.support.runner import BASE_DIGEST, BASE_NAME, run

BUILDPACKS = "io.buildpacks.lifecycle.metadata"
CREATED = "2021-02-03T04:05:06Z"
NEW_DIGEST = Digest(digest(b"the new base's manifest"))


def diff_ids(kind: str, count: int) -> list[str]:
    """Those of the layers of a base, by its kind."""
    return [digest(f"{kind} {index}".encode()) for index in range(count)]


def image(layers: Sequence[str], data: bytes | None = None, **fields: Any) -> Image:
    """An image of these diff_ids, with further top-level fields in its config, or with these very bytes."""
    value = {"os": "linux", "architecture": "amd64", **fields}
    value["rootfs"] = {"type": "layers", "diff_ids": list(layers)}
    config = ImageConfig.parse(data or json.dumps(value).encode())
    nowhere = [None] * len(config.diff_ids)
    stack = stack_layers(config, nowhere, nowhere, "config")
    return Image((), sha256(config.data), config, stack, None, None)


OLD_LAYERS, NEW_LAYERS = diff_ids("old", 2), diff_ids("new", 3)
APP_LAYERS = [*OLD_LAYERS, *diff_ids("app", 1)]


def moved(app: Json | None, old: Json | None, new: Json | None, **options: Any) -> Inherited:
    """What becomes of the settings of an app on an old base when they move to a new one."""
    bases = image(OLD_LAYERS, config=old), image(NEW_LAYERS, config=new)
    return inherit(image(APP_LAYERS, config=app), *bases, **options)


def settings(app: Json | None, old: Json | None, new: Json | None, **options: Any) -> Json:
    """The settings alone; that the layers are the right ones goes without saying."""
    raw = moved(app, old, new, **options).config.raw
    assert raw["rootfs"]["diff_ids"] == [*NEW_LAYERS, *APP_LAYERS[2:]]
    return dict(raw["config"] or {})


def told(app: Json, old: Json, new: Json) -> list[tuple[str, Any, Any]]:
    """What is said to follow the new base."""
    changes = moved(app, old, new).changes
    return [(change.field, change.before, change.after) for change in changes]


def env(app: list[str], old: list[str], new: list[str]) -> list[str]:
    """The variables of the result."""
    return list(settings({"Env": app}, {"Env": old}, {"Env": new}).get("Env", []))


# --- variables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "old", "new", "result"),
    [
        (["V=1"], ["V=1"], ["V=2"], ["V=2"]),
        (["V=mine"], ["V=1"], ["V=2"], ["V=mine"]),
        (["V=1", "A=1"], ["V=1"], [], ["A=1"]),
        (["A=1"], [], ["V=2"], ["V=2", "A=1"]),
        (["V=1", "A=1"], ["V=1"], ["V=1", "W=1"], ["V=1", "W=1", "A=1"]),
        (["V=", "A=1"], ["V="], ["V=x"], ["V=x", "A=1"]),
        (["V=1"], ["V=1"], ["V="], ["V="]),
        (["V=a=b"], ["V=a=b"], ["V=a=c=d"], ["V=a=c=d"]),
        ([], ["V=1"], ["V=2"], []),
        (["W=1"], [], ["W=2"], ["W=1"]),
    ],
    ids=[
        "inherited", "changed", "removed", "added", "added beside", "empty", "emptied", "equals sign",
        "unset by the app", "set by both",
    ],
)  # fmt: skip
def test_variables_follow_one_by_one(
    app: list[str], old: list[str], new: list[str], result: list[str]
) -> None:
    """A variable that equals the old base's becomes the new base's; one that the app set, or took out,
    stays so; what is added stands with what was inherited."""
    assert env(app, old, new) == result


@pytest.mark.parametrize(
    ("mine", "result"),
    [
        ("/usr/bin:/bin", "/opt/bin:/bin"),
        ("/app:/usr/bin:/bin", "/app:/opt/bin:/bin"),
        ("/usr/bin:/bin:/app", "/opt/bin:/bin:/app"),
        ("/a:/usr/bin:/bin:/b", "/a:/opt/bin:/bin:/b"),
        ("/app", "/app"),
        ("/usr/bin:/app:/bin", "/usr/bin:/app:/bin"),
        ("/bin:/usr/bin", "/bin:/usr/bin"),
        ("/x/usr/bin:/bin", "/x/usr/bin:/bin"),
    ],
    ids=["same", "front", "behind", "both", "own", "split", "turned", "longer name"],
)
def test_a_path_is_extended_as_it_was(mine: str, result: str) -> None:
    """A PATH that holds the old base's folders in a row has the new base's in their place; any other is the
    app's own."""
    found = env([f"PATH={mine}", "A=1"], ["PATH=/usr/bin:/bin"], ["PATH=/opt/bin:/bin"])
    assert found == [f"PATH={result}", "A=1"]


def test_a_path_of_the_app_stays_where_the_new_base_has_none() -> None:
    """What the app built its PATH from is not taken away from it."""
    assert sorted(env(["PATH=/app:/bin"], ["PATH=/bin"], ["V=1"])) == ["PATH=/app:/bin", "V=1"]


def test_variables_named_twice_mean_the_last() -> None:
    """Where others change, a name that stands twice keeps the value that it has for a process."""
    found = env(["A=1", "V=1", "A=2"], ["V=1"], ["V=2"])
    assert dict(text.split("=") for text in found) == {"A": "2", "V": "2"}


# --- other settings --------------------------------------------------------------------------

SINGLE = {
    "User": ("1", "2", "3"),
    "WorkingDir": ("/old", "/new", "/app"),
    "StopSignal": ("SIGTERM", "SIGQUIT", "SIGINT"),
    "StopTimeout": (1, 2, 3),
    "Shell": (["/bin/sh", "-c"], ["/bin/bash", "-c"], ["/bin/zsh", "-c"]),
    "Entrypoint": (["old"], ["new"], ["app"]),
    "Healthcheck": (
        {"Test": ["CMD", "old"], "Interval": 1},
        {"Test": ["CMD", "new"], "Retries": 3},
        {"Test": ["NONE"]},
    ),
    "x-unknown": ({"a": [1]}, {"b": [2]}, {"c": None}),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_setting_follows_as_a_whole(name: str) -> None:
    """What equals the old base's becomes the new base's, or goes with it; the app's own stays."""
    old, new, own = SINGLE[name]
    assert settings({name: old, "k": 1}, {name: old}, {name: new}) == {name: new, "k": 1}
    assert settings({name: own}, {name: old}, {name: new}) == {name: own}
    assert settings({name: old, "k": 1}, {name: old}, {}) == {"k": 1}
    assert settings({"k": 1}, {}, {name: new}) == {"k": 1, name: new}
    assert settings({name: own}, {}, {name: new}) == {name: own}
    assert settings({"k": 1}, {name: old}, {name: new}) == {"k": 1}
    assert told({name: old}, {name: old}, {name: new}) == [(name, old, new)]
    assert told({name: own}, {name: old}, {name: new}) == []


def test_a_command_of_the_app_meets_the_entrypoint_of_the_new_base() -> None:
    """As a build on it would give: the app's Cmd becomes what the new base's Entrypoint is run with."""
    app = {"Cmd": ["serve"], "Entrypoint": ["tini"]}
    found = settings(app, {"Entrypoint": ["tini"]}, {"Entrypoint": ["init"]})
    assert found == {"Cmd": ["serve"], "Entrypoint": ["init"]}


def test_a_command_and_its_entrypoint_follow_together() -> None:
    """What the app has not set is all the new base's."""
    old = {"Cmd": ["a"], "Entrypoint": ["e"]}
    assert settings(old, old, {"Cmd": ["b"]}) == {"Cmd": ["b"]}


def test_a_command_that_the_app_reset_stays_reset() -> None:
    """An Entrypoint of the app's own took the old base's Cmd away; the new base's does not come."""
    found = settings({"Entrypoint": ["app"]}, {"Cmd": ["bash"]}, {"Cmd": ["sh"]})
    assert found == {"Entrypoint": ["app"]}


@pytest.mark.parametrize("name", ["Labels", "ExposedPorts", "Volumes"])
def test_maps_follow_key_by_key(name: str) -> None:
    """Labels, ports and volumes are inherited one by one."""
    one: Any = "1" if name == "Labels" else {}
    app = {name: {"old": one, "both": one, "own": one}}
    bases = {name: {"old": one, "both": one}}, {name: {"both": one, "new": one}}
    assert settings(app, *bases) == {name: {"both": one, "own": one, "new": one}}
    assert told(app, *bases) == [(f"{name}.old", one, None), (f"{name}.new", None, one)]


def test_labels_that_the_app_changed_or_took_out_stay_so() -> None:
    """A label is the app's own as soon as its value is, and what it does not have it does not get back."""
    old, new = {"Labels": {"a": "1", "b": "1"}}, {"Labels": {"a": "2", "b": "2"}}
    assert settings({"Labels": {"a": "mine"}}, old, new) == {"Labels": {"a": "mine"}}


FILLED: dict[type, tuple[str, Any]] = {
    list: ("Entrypoint", ["x"]),
    dict: ("Labels", {"x": "1"}),
    str: ("User", "x"),
    type(None): ("Volumes", {"/x": {}}),
}
"""By the type of what stands for nothing: a setting, and what it may be."""


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_empty_settings_are_none(empty: Any) -> None:
    """Builders write a setting that is not there in several ways."""
    name, value = FILLED[type(empty)]
    assert settings({name: empty}, {}, {name: value}) == {name: value}
    assert settings({name: value}, {name: empty}, {}) == {name: value}
    found = settings({name: value}, {name: value}, {name: empty})
    assert not found.get(name)


def test_settings_keep_their_order() -> None:
    """Settings stand where they stood; what only the new base has comes last."""
    app = {"User": "1", "Env": ["A=1"], "Cmd": ["c"]}
    found = settings(app, {"User": "1"}, {"WorkingDir": "/w", "User": "2"})
    assert list(found) == ["User", "Env", "Cmd", "WorkingDir"]


@pytest.mark.parametrize("name", ["os.version", "os.features"])
def test_what_the_system_is_follows(name: str) -> None:
    """The base decides on it, unless the app says otherwise."""

    def told(value: str) -> dict[str, Any]:
        return {name: [value] if name == "os.features" else value}

    bases = image(OLD_LAYERS, **told("1")), image(NEW_LAYERS, **told("2"))
    assert inherit(image(APP_LAYERS, **told("1")), *bases).config.raw[name] == told("2")[name]
    assert inherit(image(APP_LAYERS, **told("own")), *bases).config.raw[name] == told("own")[name]


def test_other_fields_stay() -> None:
    """Author, creation time, platform and what is not known stay; what tells of a container that made the
    old image goes."""
    own: Json = {
        "author": "me",
        "created": CREATED,
        "variant": "v8",
        "x-new": [None],
        "config": {"Cmd": ["c"]},
    }
    stale: Json = {"container": "12ab", "container_config": {"Cmd": ["#(nop)"]}, "parent": digest(b"")}
    new: Json = {"x-new": 2, "x-base": 3}
    base = image(NEW_LAYERS, author="them", created="1999-01-01T00:00:00Z", **new)
    raw = inherit(image(APP_LAYERS, **own, **stale), image(OLD_LAYERS), base).config.raw
    assert {name: raw[name] for name in own} == own
    assert raw.keys() == {"os", "architecture", "rootfs", *own}


def test_what_a_step_was_made_from_is_no_setting() -> None:
    """The classic builder's note of it, `Image`, stays on whatever base."""
    assert settings({"Image": "a"}, {"Image": "a"}, {"Image": "b"}) == {"Image": "a"}


# --- keeping all -----------------------------------------------------------------------------


def test_keep_leaves_all_settings() -> None:
    """Nothing follows, and nothing is said to; the layers and the history are those of the new base."""
    app = {"Env": ["V=1", "V=1"], "Labels": {BASE_NAME: "old"}, "Cmd": None, "OnBuild": []}
    result = moved(app, app, {"Env": ["V=2"], "Cmd": ["b"], "User": "1"}, keep=True, base_name="new")
    assert result.config.raw["config"] == app
    assert result.changes == ()
    assert list(result.config.diff_ids) == [*NEW_LAYERS, *APP_LAYERS[2:]]


# --- what names the base ---------------------------------------------------------------------

NAMES = {"base_name": "docker.io/library/new:1", "base_digest": NEW_DIGEST}


def test_labels_by_which_the_app_names_its_base_name_the_new_one() -> None:
    """Both are set where one was, and stand beside the app's other labels."""
    for known in ({BASE_NAME: "old:1"}, {BASE_DIGEST: digest(b"old")}):
        found = settings({"Labels": {"a": "1", **known}}, {}, {}, **NAMES)
        assert found == {"Labels": {"a": "1", BASE_NAME: NAMES["base_name"], BASE_DIGEST: NEW_DIGEST}}


def test_a_base_without_a_manifest_has_no_digest_to_name() -> None:
    """The old digest does not stay beside the new name, and where there is no name neither does that."""
    labels = {"Labels": {BASE_NAME: "old:1", BASE_DIGEST: digest(b"old"), "a": "1"}}
    assert settings(labels, {}, {}, base_name="new:1") == {"Labels": {BASE_NAME: "new:1", "a": "1"}}
    assert settings(labels, {}, {}) == {"Labels": {"a": "1"}}


def test_an_app_that_names_no_base_gets_no_label() -> None:
    """Labels are not invented."""
    assert settings({"Labels": {"a": "1"}}, {}, {}, **NAMES) == {"Labels": {"a": "1"}}
    assert settings({}, {}, {}, **NAMES) == {}


def buildpacks(top: str, **fields: Any) -> str:
    """The label of an image that buildpacks made on a run image."""
    return json.dumps({"app": [1], "runImage": {"topLayer": top, **fields}, "stack": {"x": "é"}})


def test_buildpacks_know_their_new_run_image() -> None:
    """The label names the top layer of the new base, and its manifest where it named the old one's; all
    else in it stays."""
    label = buildpacks(OLD_LAYERS[-1], reference="index.docker.io/run@sha256:1", image="run")
    found = settings({"Labels": {BUILDPACKS: label, "a": "1"}}, {}, {}, **NAMES)["Labels"]
    value = json.loads(found[BUILDPACKS])
    assert value.pop("runImage") == {
        "topLayer": NEW_LAYERS[-1], "reference": f"docker.io/library/new@{NEW_DIGEST}", "image": "run",
    }  # fmt: skip
    assert value == {"app": [1], "stack": {"x": "é"}}
    assert found["a"] == "1"


def test_buildpacks_without_a_reference_get_none() -> None:
    """Only what was there is renamed."""
    found = settings({"Labels": {BUILDPACKS: buildpacks(OLD_LAYERS[-1])}}, {}, {}, **NAMES)["Labels"]
    assert json.loads(found[BUILDPACKS])["runImage"] == {"topLayer": NEW_LAYERS[-1]}


@pytest.mark.parametrize(
    "text",
    [
        buildpacks(digest(b"another")),
        buildpacks(OLD_LAYERS[0]),
        buildpacks(digest(b"another"), other=OLD_LAYERS[-1]),
        "{}",
        "no JSON",
    ],
)
def test_buildpacks_labels_of_another_layer_stay(text: str) -> None:
    """A label that does not name the old base's top layer says nothing of it."""
    assert settings({"Labels": {BUILDPACKS: text}}, {}, {}, **NAMES) == {"Labels": {BUILDPACKS: text}}


def test_the_run_image_is_read_back() -> None:
    """What was written is what the next rebase finds its base by."""
    label = buildpacks(OLD_LAYERS[-1], reference="index.docker.io/run@sha256:1")
    config = moved({"Labels": {BUILDPACKS: label}}, {}, {}, **NAMES).config
    assert run_image_of(config) == (NEW_LAYERS[-1], f"docker.io/library/new@{NEW_DIGEST}")


# --- history ---------------------------------------------------------------------------------


def steps(text: str) -> list[Json]:
    """History entries, as in `RUN-a ENV-b -` with a minus at the front of those without a layer."""
    return [
        {"created_by": word.lstrip("-"), **({"empty_layer": True} if word[0] == "-" else {})}
        for word in text.split()
    ]


def history(app: str | None, old: str | None, new: str | None, *, above: int = 1) -> str | None:
    """The history of an app with so many layers above two of the old base, on the three of the new one."""
    fields: list[Json] = [{} if text is None else {"history": steps(text)} for text in (app, old, new)]
    layers = [[*OLD_LAYERS, *diff_ids("app", above)], OLD_LAYERS, NEW_LAYERS]
    images = [image(stack, **field) for stack, field in zip(layers, fields, strict=True)]
    found = rebased_history(*images)
    if found is None:
        return None
    return " ".join("-" * bool(one.get("empty_layer")) + one["created_by"] for one in found)


NEW_STEPS = "n0 n1 -N n2 -C"


@pytest.mark.parametrize(
    ("app", "old", "new", "result"),
    [
        ("o0 o1 -O a -A", "o0 o1 -O", NEW_STEPS, f"{NEW_STEPS} a -A"),
        ("o0 o1 -O -A a", "o0 o1 -O", NEW_STEPS, f"{NEW_STEPS} -A a"),
        ("-L o0 o1 a", "-L o0 o1", NEW_STEPS, f"{NEW_STEPS} a"),
        ("o0 o1 -A a", None, NEW_STEPS, f"{NEW_STEPS} -A a"),
        ("o0 o1 -A a", "x0 x1 -X", NEW_STEPS, f"{NEW_STEPS} -A a"),
        ("o0 -O o1 -A a", "x0 x1 -X", NEW_STEPS, f"{NEW_STEPS} -A a"),
        ("o0 o1 a", "o0 o1 o2", NEW_STEPS, f"{NEW_STEPS} a"),
        ("o0 o1 a", "o0 o1", None, "layer 0 layer 1 layer 2 a"),
        ("o0 o1 a", "o0 o1", "n0 n1", "layer 0 layer 1 layer 2 a"),
        (None, "o0 o1", NEW_STEPS, None),
        ("o0 o1", "o0 o1", NEW_STEPS, None),
        ("o0 o1 a b", "o0 o1", NEW_STEPS, None),
    ],
    ids=[
        "same prefix", "empty steps of the app at the boundary", "empty steps first", "old base without",
        "old base otherwise", "empty steps in between", "old base broken", "new base without",
        "new base broken", "app without",
        "app too short", "app too long",
    ],
)  # fmt: skip
def test_history_begins_with_the_new_base(
    app: str | None, old: str | None, new: str | None, result: str | None
) -> None:
    """The app's entries are those above the old base's, or, where these are not the same, above its layers;
    a base without a history gets an entry a layer; an app without one, or with a broken one, gets none."""
    assert history(app, old, new) == result


def test_history_fits_the_layers() -> None:
    """There is an entry for each layer of the result, and entries that were there keep all their fields."""
    own = [{"created_by": "a", "comment": "c", "x": 1}]
    app = image(APP_LAYERS, history=[*steps("o0 o1 -O"), *own])
    old, new = image(OLD_LAYERS, history=steps("o0 o1 -O")), image(NEW_LAYERS, history=steps(NEW_STEPS))
    config = inherit(app, old, new).config
    assert config.raw["history"] == [*steps(NEW_STEPS), *own]
    assert config.layer_history is not None


def test_history_of_an_image_that_is_its_base() -> None:
    """Nothing of the old base is left."""
    assert history("o0 o1 -O", "o0 o1 -O", NEW_STEPS, above=0) == NEW_STEPS


def test_history_of_a_base_without_layers() -> None:
    """A base of nothing but settings has no layer that an entry could belong to."""
    app = image(diff_ids("app", 1), history=steps("-L a"))
    old, new = image([], history=steps("-L")), image([], history=steps("-M -N"))
    assert rebased_history(app, old, new) == steps("-M -N a")
    assert rebased_history(app, image([]), image(NEW_LAYERS, history=steps(NEW_STEPS))) == steps(
        f"{NEW_STEPS} -L a"
    )


# --- identity --------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("text", ["null", "{}", '{"Env": ["A=1", "A=2", "B"], "Labels": null, "zz": []}'])
def test_the_same_base_changes_no_byte(text: str, keep: bool) -> None:
    """Duplicate variables, unknown and stale fields, nulls, numbers and spaces of the config stay."""
    data = (
        b'{ "zz": 1.50, "architecture":"amd64","os":"linux", "container": "c", "history": null,'
        b'  "rootfs": {"diff_ids": ' + json.dumps(APP_LAYERS).encode() + b', "type": "layers"},'
        b' "config": ' + text.encode() + b', "y": "\\u00e9" }'
    )
    app = image(APP_LAYERS, data)
    for config in (None, {"Env": ["A=1", "B"], "Labels": {}, "Cmd": ["x"]}):
        base = image(OLD_LAYERS, config=config, history=steps("o0 o1 -O"))
        result = inherit(app, base, base, keep=keep, base_name="new:1", base_digest=NEW_DIGEST)
        assert result.config.data == data
        assert result.changes == ()


def test_labels_stay_where_the_base_does() -> None:
    """A base of the same layers is the same base, whatever it is called now."""
    labels = {BASE_NAME: "old:1", BASE_DIGEST: digest(b"old"), BUILDPACKS: buildpacks(OLD_LAYERS[-1])}
    app = image(APP_LAYERS, config={"Labels": labels})
    base = image(OLD_LAYERS)
    result = inherit(app, base, base, base_name="new:1", base_digest=NEW_DIGEST)
    assert result.config.data == app.config.data


def test_a_change_of_layers_alone_keeps_the_settings() -> None:
    """A patched base with the settings of the old one changes nothing but diff_ids and history."""
    app = {"Env": ["A=1", "A=2", "B"], "Labels": None, "Cmd": [], "Future": {"x": [1.5]}}
    base = {"Env": ["A=1"], "Labels": None}
    assert settings(app, base, base) == app
    assert told(app, base, base) == []


def test_a_base_whose_history_is_not_told_is_not_doubled() -> None:
    """A daemon tells an old base's layers and no history: steps without a layer at its end go with it,
    where the new base has them too."""
    app = image(APP_LAYERS, history=steps("o0 o1 -CMD -APP a"))
    old, new = image(OLD_LAYERS), image(NEW_LAYERS, history=steps("n0 n1 n2 -CMD"))
    assert rebased_history(app, old, new) == steps("n0 n1 n2 -CMD -APP a")


# --- what is not inherited, and what is odd -----------------------------------------------------


@pytest.mark.parametrize("old", [None, "o0", "o0 o1 o2"], ids=["none", "too short", "too long"])
def test_the_same_base_keeps_the_history_whatever_its_own(old: str | None) -> None:
    """A base without a history, or with a broken one, changes nothing of an app that stays on it."""
    fields: Json = {} if old is None else {"history": steps(old)}
    base = image(OLD_LAYERS, **fields)
    app = image(APP_LAYERS, history=steps("o0 o1 -O a"))
    assert inherit(app, base, base).config.data == app.config.data


def test_a_command_does_not_come_to_an_entrypoint_of_the_app() -> None:
    """An ENTRYPOINT takes the Cmd of its base away (Dockerfile reference): the new base's does not come."""
    assert settings({"Entrypoint": ["app"]}, {}, {"Cmd": ["bash"]}) == {"Entrypoint": ["app"]}


def test_a_command_beside_an_entrypoint_of_the_app_is_the_app_s() -> None:
    """Where the Entrypoint is the app's, so is the Cmd: none could have been inherited."""
    app = {"Entrypoint": ["app"], "Cmd": ["sh"]}
    assert settings(app, {"Cmd": ["sh"]}, {"Cmd": ["bash"]}) == app


def test_triggers_are_not_inherited() -> None:
    """ONBUILD triggers of a base run in the next build and are never handed on."""
    assert "OnBuild" not in settings({"User": "1"}, {}, {"OnBuild": ["RUN evil"]})


def test_a_base_name_that_was_inherited_is_the_new_base_s() -> None:
    """A label by which the old base named *its* base follows the new base, and that is told."""
    app, old, new = ({"Labels": {BASE_NAME: name}} for name in ("deb:1", "deb:1", "deb:2"))
    assert told(app, old, new) == [(f"Labels.{BASE_NAME}", "deb:1", "deb:2")]
    assert settings(app, old, new, **NAMES) == {"Labels": {BASE_NAME: "deb:2"}}


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("localhost:5000/run", "localhost:5000/run"),
        ("localhost:5000/run@" + NEW_DIGEST, "localhost:5000/run"),
        ("host/run:1@" + NEW_DIGEST, "host/run"),
    ],
)
def test_a_run_image_s_repository_is_its_own(name: str, repository: str) -> None:
    """A port is no tag, and a digest no part of the repository."""
    label = buildpacks(OLD_LAYERS[-1], reference="x@sha256:1")
    found = settings({"Labels": {BUILDPACKS: label}}, {}, {}, base_name=name, base_digest=NEW_DIGEST)
    reference = json.loads(found["Labels"][BUILDPACKS])["runImage"]["reference"]
    assert reference == f"{repository}@{NEW_DIGEST}"


def test_a_label_that_is_no_json_stays() -> None:
    """A buildpacks label that cannot be read stops nothing, even where the layer's digest is in it."""
    label = "{" + OLD_LAYERS[-1]
    assert settings({"Labels": {BUILDPACKS: label}}, {}, {}, **NAMES) == {"Labels": {BUILDPACKS: label}}


def test_a_variable_without_a_value_stays_one() -> None:
    """`B` is not `B=`, whatever else changes."""
    assert env(["B", "V=1"], ["V=1"], ["V=2"]) == ["B", "V=2"]


@pytest.mark.parametrize(
    "config", ["x", {"Labels": ["a"]}, {"ExposedPorts": ["80/tcp"]}, {"Env": {"A": "1"}}, {"Env": [1]}]
)
def test_a_config_of_wrong_types_is_an_invalid_image(config: object, tmp_path: Path) -> None:
    """One clear line with exit code 4, no fault of squashkit."""
    base, new = layer(file("a")), layer(file("b"))
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([base, layer()], ["a:1"], {"config": config})])
    docker_archive_old(tmp_path / "old.tar", [ImageSpec([base], ["o:1"], {"config": config})])
    fresh = {"Labels": {"x": "y"}, "ExposedPorts": {"1/tcp": {}}, "Env": ["A=2"]}
    docker_archive_old(tmp_path / "new.tar", [ImageSpec([new], ["n:1"], {"config": fresh})])
    bases = ("--old-base", tmp_path / "old.tar", "--new-base", tmp_path / "new.tar")
    result = run("rebase", tmp_path / "app.tar", *bases, "-o", tmp_path / "out.tar")
    assert result.code == 4, (result.code, result.err)
