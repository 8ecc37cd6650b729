"""JSON means what Go's encoding/json makes of it, or is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest

from squashkit.errors import InvalidImage
from squashkit.oci.gojson import Leaf, ListOf, MapOf, Struct, fold, is_time, load_json
from squashkit.oci.shapes import CONFIG_SHAPE, MANIFEST_SHAPE
from tests.support.builders import compress, layer
from tests.support.go_documents import Go, Kind, Refused, by_go, by_squashkit, go

DIGESTS = [f"sha256:{digit * 64}" for digit in "abc"]
OCI = "application/vnd.oci.image."


def descriptor(kind: str, digest: str, **more: Any) -> dict[str, Any]:
    """A descriptor as tools write it."""
    return {"mediaType": f"{OCI}{kind}", "digest": digest, "size": 2, **more}


ANNOTATIONS = {"org.opencontainers.image.ref.name": "a", "A": "x", "a": "y"}
PLATFORM = {"architecture": "arm", "os": "linux", "variant": "v7", "os.features": ["f"]}
DOCUMENTS: dict[Kind, Any] = {
    "manifest": {
        "schemaVersion": 2,
        "mediaType": f"{OCI}manifest.v1+json",
        "config": descriptor("config.v1+json", DIGESTS[0], urls=["u"]),
        "layers": [
            descriptor("layer.v1.tar+gzip", DIGESTS[1], annotations=ANNOTATIONS),
            descriptor("layer.v1.tar", DIGESTS[2]),
        ],
        "annotations": ANNOTATIONS,
        "x-unknown": {"k": 1, "K": 2},
    },
    "index": {
        "schemaVersion": 2,
        "manifests": [
            descriptor("manifest.v1+json", DIGESTS[0], platform=PLATFORM, annotations=ANNOTATIONS),
            descriptor("manifest.v1+json", DIGESTS[1]),
        ],
    },
    "config": {
        **PLATFORM,
        "created": "2024-02-29T01:02:03.5Z",
        "author": "me",
        "config": {
            "User": "u", "Env": ["A=1", "B=2"], "Entrypoint": ["e"], "Cmd": ["c", "d"],
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/V": {}, "/v": {}}, "WorkingDir": "/w",
            "Labels": {"k": "v", "K": "V"}, "StopSignal": "TERM",
            "Healthcheck": {"Test": ["CMD", "t"], "Retries": 3, "Timeout": 1000},
        },
        "rootfs": {"type": "layers", "diff_ids": DIGESTS[:2]},
        "history": [
            {"created": "2024-01-01T00:00:00+01:00", "created_by": "RUN a", "comment": "c"},
            {"created_by": "ENV b", "empty_layer": True},
            {"created_by": "RUN c"},
        ],
    },
    "docker": [
        {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["a/layer.tar", "b/layer.tar"]},
        {"Config": "d.json", "RepoTags": None, "Layers": []},
    ],
}  # fmt: skip

# --- documents in which something was changed ------------------------------------------------


class Object(list[tuple[str, Any]]):
    """An object as the pairs that are written, in which keys may stand twice."""


def as_pairs(value: Any) -> Any:
    """A value with its objects as pairs."""
    if isinstance(value, dict):
        return Object((key, as_pairs(below)) for key, below in value.items())
    return [as_pairs(item) for item in value] if isinstance(value, list) else value


class Raw(str):
    """A text that stands in the document as it is."""

    __slots__ = ()


def written(value: Any) -> bytes:
    """The bytes of a value with its objects as pairs."""
    if isinstance(value, Raw):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Object):
        pairs = [
            (key.encode() if isinstance(key, Raw) else json.dumps(key, ensure_ascii=False).encode())
            + b":" + written(below)
            for key, below in value
        ]  # fmt: skip
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(written, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


def places(value: Any) -> Iterator[Any]:
    """Every object and list of a value that holds something."""
    if isinstance(value, list):
        if value:
            yield value
        for below in value:
            yield from places(below[1] if isinstance(value, Object) else below)


VALUES: Sequence[Any] = [
    None, True, False, 0, 1, -1, "", "x", [], Object(), [None], ["x"], Object([("a", "b")]), 3.5,
    DIGESTS[2],
    *map(Raw, ["1e3", "-0", "2.0", "9223372036854775807", "9223372036854775808", "1e999", "01", "NaN"]),
    *map(Raw, ['"\\ud800"', '"\udcff"', '"\\u0000"', '"\\ud83d\\ude00"', '"\t"', "nul"]),
    "2024-02-30T00:00:00Z", "2024-02-28T24:00:00Z", "2024-02-28t00:00:00z", "2023-02-29T00:00:00Z",
    "2024-02-28T00:00:00,5Z", "2024-02-28T00:00:00", "2024-02-28T00:00:00+25:00", "0000-01-01T00:00:00Z",
]  # fmt: skip


def any_value(rng: random.Random) -> Any:
    """One of the values, as an object of its own."""
    return deepcopy(rng.choice(VALUES))


def spelled(rng: random.Random, key: str) -> str:
    """A key as Go still takes it, or nearly."""
    ways: list[Callable[[str], str]] = [
        str.upper, str.lower, str.title, str.swapcase, lambda k: k.replace("s", "\u017f"),
        lambda k: k.replace("k", "\u212a"), lambda k: k + "x", lambda k: k.replace("_", ""),
        lambda k: k.replace("i", "\u0131"),
    ]  # fmt: skip
    return rng.choice(ways)(key)


def change(rng: random.Random, document: Any) -> None:
    """Change one thing in a document."""
    place = rng.choice(list(places(document)))
    at = rng.randrange(len(place))
    if not isinstance(place, Object):
        place[at] = any_value(rng)
        return
    key, value = place[at]
    match rng.randrange(7):
        case 0:
            place[at] = spelled(rng, key), value
        case 1:
            place.insert(rng.randrange(len(place) + 1), (spelled(rng, key), any_value(rng)))
        case 2:
            place.insert(rng.randrange(len(place) + 1), (key, rng.choice([value, any_value(rng)])))
        case 3:
            del place[at]
        case 4:
            other = rng.choice(["manifests", "FSLayers", "layers", "config", "new", "Env", "size", "data"])
            place.append((other, any_value(rng)))
        case 5:
            place[at] = Raw("".join(['"', *(f"\\u{ord(c):04x}" for c in key), '"'])), value
        case _:
            place[at] = key, any_value(rng)


def changed(rng: random.Random, kind: Kind) -> bytes:
    """A document in which one or two things were changed."""
    document = as_pairs(DOCUMENTS[kind])
    for _ in range(rng.choice([1, 1, 1, 2])):
        change(rng, document)
    data = written(document)
    match rng.randrange(40):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data + rng.choice([b"{}", b"x", b"\0", b" \n", b","])
        case 2:
            return data[: rng.randrange(len(data))]
    return data


# --- against Go ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    """Go's own reading; without Go its tests are skipped, on CI they fail."""
    if shutil.which("go") is None and os.environ.get("CI") != "true":
        pytest.skip("go is not installed")
    with go(tmp_path_factory.mktemp("go")) as running:
        yield running


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_as_tools_write_it_is_read_as_go_reads_it(kind: Kind, oracle: Go) -> None:
    """Keys of maps may differ by case alone, as may those of what nobody knows."""
    data = json.dumps(DOCUMENTS[kind]).encode()
    assert by_squashkit(kind, data) == by_go(oracle, kind, data)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_changed_document_is_refused_or_read_as_go_reads_it(kind: Kind, oracle: Go) -> None:
    """Whatever is changed, docker and squashkit see the same image, or squashkit sees none."""
    rng = random.Random(kind)
    seen: Counter[str] = Counter()
    for _ in range(4000):
        data = changed(rng, kind)
        try:
            ours = by_squashkit(kind, data)
        except Refused:
            seen["refused"] += 1
            continue
        try:
            theirs = by_go(oracle, kind, data)
        except Refused as error:
            if "parsing time" in str(error):  # carried, and told by verify
                seen["time"] += 1
                continue
            raise AssertionError(f"Go refuses {data!r}: {error}") from error
        assert ours == theirs, data
        seen["understood"] += 1
    seen.pop("time", None)
    assert min(seen.values()) > 400, seen


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("config", b'{"os":"linux","architecture":null,"variant":null,"rootfs":null,"history":null}'),
        ("config", b'{"os":"linux","architecture":"a","config":{"entryPoint":["e"],"eNV":["A=1"]}}'),
        ("config", b'{"os":"linux","architecture":"a","config":{"LABELS":{"a":"1","A":"2"}}}'),
        ("config", b'{"os":"linux","architecture":"a","config":{"healthcheck":{"test":["x"]}}}'),
        ("config", b'{"os":"linux","architecture":"a","config":{"Cmd":"sh"},"created":null}'),
        ("index", b'{"manifests":[]}'),
        ("docker", b'[{"Config":"c","Layers":[],"Parent":"","LayerSources":{"a":{"size":1},"A":{}}}]'),
    ],
)
def test_what_is_odd_and_legal_is_read_as_go_reads_it(kind: Kind, data: bytes, oracle: Go) -> None:
    """Nothing is refused that docker and squashkit understand in the same way."""
    assert by_squashkit(kind, data) == by_go(oracle, kind, data)


def test_go_refuses_what_stands_behind_a_gzip_stream(oracle: Go) -> None:
    """Its reader takes several members, and neither zeros nor anything else behind the last."""
    blob = compress(layer(), "gzip")
    assert oracle.ask("gzip", blob + blob) == 2 * len(layer())
    for behind in (bytes(1), bytes(512), b"junk", b"\x1f"):
        with pytest.raises(Refused, match="gzip: invalid header|unexpected EOF"):
            oracle.ask("gzip", blob + behind)


# --- without Go ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{"layers":[],"Layers":[]}', "x", "'layers' and 'Layers'"),
        ('{"layers":[],"layer\\u017f":[]}', "x", "'layers' and 'layer\\u017f'"),
        ('{"layers":[],"layers":[]}', "x", "'layers' stands twice"),
        ('{"Layers":[]}', "x", "'Layers'"),
        ('{"confi\\u0067":{"Size":1}}', "x.config", "'Size'"),
        ('{"layers":[{},{"size":1,"SIZE":1}]}', "x.layers[1]", "'size' and 'SIZE'"),
        ('{"config":{"platform":{"Variant":"v7"}}}', "x.config.platform", "'Variant'"),
        ('{"x":[{"a":{"b":1,"b":1}}]}', "x.x[0].a", "'b' stands twice"),
        ('{"annotations":{"a":"1","a":"1"}}', "x.annotations", "'a' stands twice"),
        ('{"annotations":{"a":1}}', "x.annotations[a]", "expected a string"),
        ('{"layers":{}}', "x.layers", "expected a list"),
        ('{"config":{"size":1e3}}', "x.config.size", "expected an integer"),
        ('{"config":{"size":true}}', "x.config.size", "expected an integer"),
        ('{"config":{"size":9223372036854775808}}', "x.config.size", "expected an integer"),
        ('{"schemaVersion":"2"}', "x.schemaVersion", "expected an integer"),
        ('{"x-mine":1,"X-MINE":2}', "x", "'x-mine' and 'X-MINE'"),
    ],
)
def test_the_key_at_fault_and_its_place_are_named(text: str, place: str, words: str) -> None:
    """A message says which key of which object is meant."""
    with pytest.raises(InvalidImage) as raised:
        load_json(text.encode(), "x", MANIFEST_SHAPE)
    assert raised.value.where == place
    assert words in str(raised.value)


@pytest.mark.parametrize("name", ["rootfs", "history", "config", "created", "os", "variant", "parent"])
def test_keys_of_a_config_have_one_spelling(name: str) -> None:
    """What squashkit reads or drops of a config counts in no other spelling."""
    with pytest.raises(InvalidImage, match=name):
        load_json(json.dumps({name.title(): None}).encode(), "x", CONFIG_SHAPE)


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("Layers", "layers"), ("layer\u017f", "layers"), ("\u212aey", "key"), ("\u00c9", "\u00c9"),
        ("\u0131", "\u0131"),
    ],
)  # fmt: skip
def test_keys_fold_as_go_folds_them(key: str, folded: str) -> None:
    """ASCII letters and the two signs that fold to one; nothing else."""
    assert fold(key) == folded


def test_maps_are_no_structs() -> None:
    """In a map every key but an equal one is another key; below it shapes go on."""
    shape = MapOf(ListOf(Struct({"a": Leaf.TEXT})))
    assert load_json(b'{"k":[{"a":"1"}],"K":[]}', "x", shape) == {"k": [{"a": "1"}], "K": []}
    with pytest.raises(InvalidImage, match=r"x\[k\]\[0\]"):
        load_json(b'{"k":[{"A":"1"}]}', "x", shape)


@pytest.mark.parametrize("text", ["2024-02-29T23:59:59Z", "2000-02-29T00:00:00.123456789-11:30"])
def test_times_are_those_of_rfc_3339(text: str) -> None:
    """With and without fractions and offsets, leap days in leap years."""
    assert is_time(text)
    assert not is_time(text.replace("02-29", "02-30"))
    assert not is_time(text.replace("20", "21", 1).replace("2124", "2100"))


def test_a_deep_document_takes_no_more_memory_than_it_has() -> None:
    """Long keys in deep nesting cost their own length; the place of a fault below them is still told."""
    levels = 800
    data = b'{"a":[' + b"".join(b'{"' + b"k" * 3000 + b'":' for _ in range(levels)) + b'{"x":1,"x":2}'
    tracemalloc.start()
    with pytest.raises(InvalidImage, match="'x' stands twice") as raised:
        load_json(data + b"}" * levels + b"]}", "place", MANIFEST_SHAPE)
    assert raised.value.where.startswith("place.a[0].kkk")
    assert tracemalloc.get_traced_memory()[1] < 10 * len(data)
    tracemalloc.stop()
