"""Documents that are odd and legal are read, those that readers understand differently are refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from squashkit.errors import InvalidImage
from squashkit.oci.media import Codec
from squashkit.transports.codecs import decompress
from tests.support.builders import (
    ImageSpec,
    compress,
    config_of,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    sparse,
    symlink,
)
from tests.support.runner import (
    APP,
    BASE,
    OCI,
    Change,
    Json,
    assert_fails,
    assert_same_rootfs,
    blob_path,
    change_config,
    change_index,
    change_manifest,
    docker_files,
    read_image,
    run,
    squash,
    write_archive,
)

KEEP_2 = ("--keep-layers", "2")
SHA512 = "sha512:" + "0" * 128
TOTAL = len(APP.layers)


def bytes_changed(old: bytes, new: bytes) -> Change:
    """Change a document's bytes, since JSON in Python has no key twice."""

    def change(value: Json) -> bytes:
        data = json.dumps(value).encode()
        assert old in data
        return data.replace(old, new, 1)

    return change


def verdict(*args: str | Path, code: int) -> Json:
    """What `verify --json` found."""
    result = run("verify", *args, "--json")
    assert result.code == code, result.err or result.out
    return result.json


def told(found: list[Json]) -> str:
    return "\n".join(f"{one['where'] or ''} {one['message']}" for one in found)


# --- as Go reads it --------------------------------------------------------------------------

FOLDED: dict[str, tuple[Callable[..., None], Change, str]] = {
    "index": (change_index, bytes_changed(b'"manifests"', b'"Manifests": [], "manifests"'), "'Manifests'"),
    "index alone": (change_index, bytes_changed(b'"manifests"', b'"Manifests"'), "'Manifests'"),
    "index of a manifest's kind": (change_index, lambda i: i.update(layers=[]), "'layers' beside"),
    "entry": (change_index, bytes_changed(b'"digest"', b'"digest": "", "digest"'), "'digest' stands twice"),
    "manifest": (change_manifest, bytes_changed(b'"layers"', b'"Layers": [], "layers"'), "'Layers'"),
    "manifest alone": (change_manifest, bytes_changed(b'"layers"', b'"Layers"'), "'Layers'"),
    "manifest twice": (change_manifest, bytes_changed(b'"layers"', b'"layers": [], "layers"'), "twice"),
    "manifest of an index's kind": (
        change_manifest, lambda m: m.update(manifests=[]), "'manifests' beside 'layers'"),
    "manifest of schema 1": (change_manifest, lambda m: m.update(FsLayers=[]), "'FsLayers' beside"),
    "descriptor": (change_manifest, bytes_changed(b'"size"', b'"SIZE": 1, "size"'), "'SIZE'"),
    "config": (change_config, bytes_changed(b'"rootfs"', b'"Rootfs": {}, "rootfs"'), "'Rootfs'"),
    "config alone": (change_config, bytes_changed(b'"rootfs"', b'"RootFS"'), "'RootFS'"),
    "a sign that looks like s": (
        change_config, bytes_changed(b'"rootfs"', '"rootf\u017f": {}, "rootfs"'.encode()), "\\u017f"),
    "diff_ids": (change_config, bytes_changed(b'"diff_ids"', b'"DIFF_IDS": [], "diff_ids"'), "'DIFF_IDS'"),
    "history": (change_config, bytes_changed(b'"created_by"', b'"Empty_Layer": 1, "created_by"'), "Empty"),
    "settings": (
        change_config, lambda c: c.update(config={"Env": [], "ENV": ["A=1"]}), "'Env' and 'ENV'"),
    "a setting twice": (
        change_config, bytes_changed(b'"os"', b'"config": {"User": "a", "User": "a"}, "os"'), "twice"),
    "a label twice": (
        change_config,
        lambda c: json.dumps({**c, "config": "@"}).replace(
            '"@"', '{"Labels": {"a": "1", "a": "1"}}').encode(), "'a' stands twice"),
    "a size as no integer": (change_manifest, bytes_changed(b'"size": ', b'"size": 1e3, "x": '), "size"),
    "a flag as text": (
        change_config, lambda c: c["history"][0].update(empty_layer="true"), "history[0].empty_layer"),
    "a time that is a number": (change_config, lambda c: c.update(created=1), "config.created"),
    "something unknown twice": (change_config, bytes_changed(b'"os"', b'"x": {"a": 1, "a": 2}, "os"'), "x"),
}  # fmt: skip


def test_a_time_that_is_none_is_carried_and_told(tmp_path: Path) -> None:
    """What is no time as Go has it says nothing to a squash, which carries it; verify warns of it."""
    oci_layout(tmp_path / "in", [APP])
    change_config(tmp_path / "in", lambda c: c.update(created="today"))
    squash(f"oci:{tmp_path}/in", "--keep-layers", "2", "-o", f"oci:{tmp_path}/out")
    assert b"created` is no time" in run("verify", f"oci:{tmp_path}/in").out


@pytest.mark.parametrize("name", FOLDED)
def test_what_go_reads_otherwise_is_refused_and_listed(name: str, tmp_path: Path) -> None:
    """A key that Go takes for another, or merges with it, is invalid (4): the key is named, and verify
    lists it among the faults."""
    alter, change, word = FOLDED[name]
    oci_layout(tmp_path / "layout", [APP])
    alter(tmp_path / "layout", change)
    output = tmp_path / "out.tar"
    assert_fails(run("squash", tmp_path / "layout", *KEEP_2, "-o", output), 4, word)
    assert not output.exists()
    for reference in (str(tmp_path / "layout"), f"{tmp_path / 'layout'}:app:1"):
        found = verdict(reference, code=4)
        assert word in told(found["faults"])


@pytest.mark.parametrize(
    ("listed", "word"),
    [
        (b'[{"Config":"config.json","Layers":[],"layers":[],"RepoTags":null}]', "'Layers' and 'layers'"),
        (b'[{"config":"config.json","Layers":[]}]', "'config'"),
        (b'[{"Config":"config.json","Config":"config.json","Layers":[]}]', "'Config' stands twice"),
        (b'[{"Config":"config.json","Layers":"0.tar"}]', "manifest.json[0].Layers"),
        (b'{"Config":"config.json"}', "expected a list"),
    ],
)
def test_a_manifest_json_that_go_reads_otherwise_is_refused(
    listed: bytes, word: str, tmp_path: Path
) -> None:
    """What docker load reads is read in the same way, or refused."""
    source = write_archive(tmp_path / "source.tar", docker_files() | {"manifest.json": listed})
    assert_fails(run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar"), 4, word)
    assert word in told(verdict(source, code=4)["faults"])


def test_an_oci_layout_file_is_read_as_go_reads_it(tmp_path: Path) -> None:
    """The layout's version in two spellings is a fault."""
    oci_layout(tmp_path / "layout", [APP])
    odd = b'{"imageLayoutVersion":"1.0.0","ImageLayoutVersion":"2"}'
    (tmp_path / "layout" / "oci-layout").write_bytes(odd)
    assert "ImageLayoutVersion" in told(verdict(tmp_path / "layout", code=4)["faults"])


def test_keys_of_maps_differ_by_case(tmp_path: Path) -> None:
    """Labels, annotations, volumes and ports are data: keys that differ by case are two, and survive."""
    settings = {"Labels": {"a": "1", "A": "2"}, "Volumes": {"/V": {}, "/v": {}}, "ExposedPorts": {"1": {}}}
    oci_layout(tmp_path / "layout", [APP])
    change_config(tmp_path / "layout", lambda c: c.update(config=settings, unknown={"a": 1, "A": [2]}))
    change_manifest(tmp_path / "layout", lambda m: m.update(annotations={"k": "1", "K": "2"}))
    squash(tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar", "--format", "oci")
    image = read_image(tmp_path / "out.tar")
    assert image.config["config"] == settings
    assert image.config["unknown"] == {"a": 1, "A": [2]}
    assert image.annotations["k"] == "1"
    assert image.annotations["K"] == "2"


# --- settings in an odd spelling -------------------------------------------------------------

ODD: Json = {"EntryPoint": ["/app"], "env": ["A=1"], "healthCheck": {"test": ["CMD", "x"]}, "X-own": 1}


def test_settings_in_an_odd_spelling_are_carried_and_told(tmp_path: Path) -> None:
    """A squash leaves them as they are, with a note; verify warns."""
    docker_archive_25(tmp_path / "source.tar", [ImageSpec(APP.layers, ["app:1"], {"config": ODD})])
    result = squash(tmp_path / "source.tar", *KEEP_2, "-o", tmp_path / "out.tar")
    assert read_image(tmp_path / "out.tar").config["config"] == ODD
    assert "EntryPoint (Entrypoint), env (Env), healthCheck (Healthcheck)" in result.text
    assert "healthCheck.test (Test)" in result.text
    assert "EntryPoint (Entrypoint)" in told(verdict(tmp_path / "source.tar", code=0)["warnings"])


def test_a_rebase_reads_settings_by_their_exact_names(tmp_path: Path) -> None:
    """What an app has from its base follows the new one however it is spelled; two keys that are one to
    docker are never written."""
    old = ImageSpec(BASE.layers, ["base:1"], {"config": {"EntryPoint": ["/old"], "Env": ["A=1"], "odd": 1}})
    new = ImageSpec([*BASE.layers, layer(file("new", b"n"))], ["base:2"],
                    {"config": {"entrypoint": ["/new"], "ENV": ["A=2"], "Odd": 2}})  # fmt: skip
    app = on_base(old, layer(file("app", b"a")), tags=["app:1"])
    app = ImageSpec(
        app.layers, ["app:1"], {"config": {"Entrypoint": ["/old"], "env": ["A=1", "B=2"], "ODD": 1}}
    )
    docker_archive_old(tmp_path / "all.tar", [old, new, app])
    result = run(
        "rebase", f"{tmp_path / 'all.tar'}:app:1", "--old-base", "base:1", "--new-base", "base:2",
        "-o", tmp_path / "out.tar", "-t", "app:2",
    )  # fmt: skip
    assert result.code == 0, result.err
    settings = read_image(tmp_path / "out.tar").config["config"]
    assert settings["Entrypoint"] == ["/new"]
    assert settings["Env"] == ["A=2", "B=2"]
    assert len({key.lower() for key in settings}) == len(settings) == 3


# --- entries of an index ---------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A layout with an image and an entry that is named by another digest than sha256."""
    folder = tmp_path / "beside"
    oci_layout(folder, [APP])

    def add(index: Json) -> None:
        names = {"org.opencontainers.image.ref.name": "other"}
        one = {"mediaType": f"{OCI}manifest.v1+json", "digest": SHA512, "size": 9, "annotations": names}
        index["manifests"] += [one, {**one, "digest": "blake9+b64:ab=_-", "annotations": {}}]

    change_index(folder, add)
    return folder


def test_an_entry_by_another_digest_is_passed_over_and_told(beside: Path, tmp_path: Path) -> None:
    """The image beside it is squashed, with a note that names the entry and the algorithm; verify warns."""
    for source in (str(beside), f"{beside}:app:1"):
        result = squash(source, *KEEP_2, "-o", tmp_path / "out.tar", "--force")
        assert "Passed over other: the index names it by a sha512 digest" in result.text
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)
    warnings = told(verdict(beside, code=0)["warnings"])
    assert "sha512" in warnings
    assert "blake9+b64" in warnings
    assert "passed over other" in run("ls", beside).err


@pytest.mark.parametrize("reference", ["other", SHA512])
def test_an_entry_by_another_digest_that_is_chosen_is_unsupported(
    reference: str, beside: Path, tmp_path: Path
) -> None:
    """It is told what the image is named by."""
    result = run("squash", f"oci:{beside}:{reference}", *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "sha512 digests are not supported")


def test_a_platform_by_another_digest_is_not_left_out_in_silence(tmp_path: Path) -> None:
    """With all platforms it is unsupported unless what is missing may be skipped."""
    oci_layout(tmp_path / "layout", [APP])

    def add(index: Json) -> None:
        one = {**index["manifests"][0], "digest": SHA512}
        index["manifests"].append({**one, "platform": {"os": "linux", "architecture": "arm64"}})

    change_index(tmp_path / "layout", add)
    words = (tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar", "--format", "oci")
    assert_fails(run("squash", *words, "--platform", "all"), 4, "sha512")
    assert_fails(run("squash", *words, "--platform", "linux/arm64"), 4, "sha512")
    assert "Passed over app" in squash(*words, "--platform", "all", "--skip-missing").text
    squash(*words, "--platform", "linux/amd64", "--force")


def test_a_digest_that_breaks_the_grammar_is_invalid(tmp_path: Path) -> None:
    """Another algorithm is passed over; what is no digest at all is not."""
    for number, wrong in enumerate(["sha512", "sha512:", "sha256:ab", "SHA512:ab", "a b:c", "../x:y"]):
        layout = tmp_path / str(number)
        oci_layout(layout, [APP])

        def add(index: Json, wrong: str = wrong) -> None:
            index["manifests"].append({**index["manifests"][0], "digest": wrong})

        change_index(layout, add)
        assert_fails(run("squash", layout, *KEEP_2, "-o", tmp_path / "out.tar"), 4, "manifests[1].digest")


def test_an_image_that_is_called_an_artifact_is_an_image(tmp_path: Path) -> None:
    """artifactType beside an image's config changes nothing; it stays in the manifest."""
    oci_layout(tmp_path / "layout", [APP])
    change_manifest(tmp_path / "layout", lambda m: m.update(artifactType="application/x-model"))
    squash(tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar", "--format", "oci")
    image = read_image(tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, image.layers, 2)
    assert image.manifest["artifactType"] == "application/x-model"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: b"{}",
        lambda c: b"",
        lambda c: b"[]",
    ],
)
def test_an_artifact_with_the_config_of_none_is_no_image(change: Change, tmp_path: Path) -> None:
    """An artifact that only borrows the type of a config keeps nobody from the image beside it."""
    oci_layout(tmp_path / "layout", [APP, ImageSpec([layer()], ["thing:1"])])
    change_manifest(tmp_path / "layout", lambda m: m.update(artifactType="application/x-thing"), 1)
    change_config(tmp_path / "layout", change, 1)
    assert "artifacts" in squash(tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar").text


# --- descriptors -----------------------------------------------------------------------------


def nondistributable(index: int) -> Change:
    """Make a layer one that must not be distributed."""
    fields = {"mediaType": f"{OCI}layer.nondistributable.v1.tar+gzip", "urls": ["https://there.example/x"]}
    return lambda manifest: manifest["layers"][index].update(fields)


def test_a_foreign_layer_that_is_there_is_read(tmp_path: Path) -> None:
    """Kept it is an ordinary layer of the same bytes, which is told; squashed a part of the new layer. An
    image that is written unchanged keeps its manifest."""
    oci_layout(tmp_path / "layout", [APP])
    for index in (0, 3):
        change_manifest(tmp_path / "layout", nondistributable(index))
    result = squash(tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar", "--format", "oci")
    assert "must not be distributed" in result.text
    image = read_image(tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, image.layers, 2)
    for one in image.manifest["layers"]:
        assert one["mediaType"] == f"{OCI}layer.v1.tar+gzip"
        assert "urls" not in one
    keep_all = ("--keep-layers", str(TOTAL), "-o", f"oci:{tmp_path / 'same'}:app", "-t", "app:1")
    squash(tmp_path / "layout", *keep_all)
    before, after = ((tmp_path / name / "index.json").read_bytes() for name in ("layout", "same"))
    digests = [json.loads(index)["manifests"][0]["digest"] for index in (before, after)]
    assert digests[0] == digests[1]
    assert verdict(tmp_path / "layout", code=0)["faults"] == []


def test_a_foreign_layer_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It cannot be squashed (4), and is no fault of the image."""
    oci_layout(tmp_path / "layout", [APP])
    change_manifest(tmp_path / "layout", nondistributable(0))
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    data = (tmp_path / "layout" / blob_path(index["manifests"][0]["digest"])).read_bytes()
    (tmp_path / "layout" / blob_path(json.loads(data)["layers"][0]["digest"])).unlink()
    result = run("squash", tmp_path / "layout", *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "layer 0 is a foreign layer")
    assert "foreign" in told(verdict(tmp_path / "layout", code=0)["warnings"])


DATA: dict[str, tuple[Callable[[Json, bytes], object], str]] = {
    "other bytes": (lambda one, blob: base64.b64encode(bytes(len(blob))).decode(), "expected sha256:"),
    "bytes too few": (lambda one, blob: base64.b64encode(blob[:-1]).decode(), "bytes, found"),
    "no base64": (lambda one, blob: "*" + base64.b64encode(blob).decode(), "not base64"),
    "no text": (lambda one, blob: 1, "expected a string"),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("of", ["entry", "config", "layer"])
def test_data_that_is_not_the_blob_is_a_fault(of: str, name: str, tmp_path: Path) -> None:
    """A descriptor that embeds other content than its blob's is refused, and a fault to verify."""
    make, word = DATA[name]
    layout = tmp_path / "layout"
    oci_layout(layout, [APP])

    def change(one: Json) -> None:
        one["data"] = make(one, (layout / blob_path(one["digest"])).read_bytes())

    if of == "entry":
        change_index(layout, lambda i: change(i["manifests"][0]))
    else:
        change_manifest(layout, lambda m: change(m["config"] if of == "config" else m["layers"][3]))
    assert_fails(run("squash", layout, *KEEP_2, "-o", tmp_path / "out.tar"), 4, ".data", word)
    assert word in told(verdict(layout, code=4)["faults"])


def test_data_that_is_the_blob_is_carried(tmp_path: Path) -> None:
    """A right one is no fault; a kept layer's stays, a new config has none."""
    layout = tmp_path / "layout"
    oci_layout(layout, [APP])

    def embed(manifest: Json) -> None:
        for one in (manifest["config"], manifest["layers"][0]):
            one["data"] = base64.b64encode((layout / blob_path(one["digest"])).read_bytes()).decode()

    change_manifest(layout, embed)
    assert verdict(layout, code=0)["faults"] == []
    squash(layout, *KEEP_2, "-o", tmp_path / "out.tar", "--format", "oci")
    manifest = read_image(tmp_path / "out.tar").manifest
    assert manifest["layers"][0]["data"]
    assert "data" not in manifest["config"]
    assert run("verify", tmp_path / "out.tar").code == 0


# --- what verify tells -----------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(1, 0), (TOTAL - 1, 0), (TOTAL + 1, 4)])
def test_a_history_that_does_not_fit_is_told(number: int, code: int, tmp_path: Path) -> None:
    """Fewer entries than layers is a warning, since all tools take that; more, which docker refuses, is a
    fault."""
    history: list[Json] = [{"created": "2024-01-01T00:00:00Z", "created_by": "x"}] * number
    oci_layout(tmp_path / "layout", [ImageSpec(APP.layers, ["app:1"], history=history)])
    found = verdict(tmp_path / "layout", code=code)
    message = f"the history tells of {number} layers, there are {TOTAL}"
    assert message in told(found["faults" if code else "warnings"])


@pytest.mark.parametrize("write", [oci_archive, docker_archive_old, docker_archive_25])
def test_what_is_wrong_with_a_config_is_told_under_a_reference(write: Any, tmp_path: Path) -> None:
    """A corrupt config is a fault that says what it is, whether or not the image is named."""
    path = tmp_path / "source.tar"
    write(path, [APP])
    right = config_of(APP)
    wrong = right.replace(b'"architecture"', b'"ARCHITECTURE"')
    assert wrong != right
    path.write_bytes(path.read_bytes().replace(right, wrong))
    for reference in (str(path), f"{path}:app:1"):
        assert "expected sha256:" in told(verdict(reference, code=4)["faults"])


def test_an_image_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    """Where nothing is wrong a reference that names no image is not found (5)."""
    oci_layout(tmp_path / "layout", [APP])
    assert_fails(run("verify", f"{tmp_path / 'layout'}:nothing"), 5, "no image 'nothing'")


BEHIND = {
    "a zero": bytes(1), "zeros": bytes(700), "a lot": bytes(3 << 20),
    "an empty member": compress(b"", "gzip"), "junk": b"behind", "one byte": b"x",
    "a header cut off": b"\x1f\x8b", "zeros and junk": bytes(9) + b"x",
    "zeros and a member": bytes(9) + compress(b"more", "gzip"),
}  # fmt: skip


@pytest.mark.parametrize("name", BEHIND)
@pytest.mark.parametrize("layers", ["small", "empty", "large"])
def test_what_lies_behind_a_gzip_stream_is_told(layers: str, name: str, tmp_path: Path) -> None:
    """Zeros are read over, and warned of with their number; anything else but a member is a fault, and is
    not called damage."""
    data = {"small": APP.layers[3], "empty": b"", "large": layer(file("f", bytes(17 << 20)))}[layers]
    image = ImageSpec([*APP.layers[:3], data, *APP.layers[4:]], ["app:1"])
    behind = BEHIND[name]
    blob = compress(data, "gzip") + behind
    source = write_archive(tmp_path / "source.tar", docker_files(image) | {"3.tar": blob})
    bad = not name.startswith(("a zero", "zeros", "a lot", "an empty")) or " and " in name
    found = verdict(source, code=4 if bad else 0)
    if bad:
        assert "layer 3" in told(found["faults"])
        assert "behind the end of the gzip stream" in told(found["faults"])
        assert "damaged" not in told(found["faults"])
    else:
        padded = name != "an empty member"
        assert (f"{len(behind):,} zeros behind the gzip" in told(found["warnings"])) == padded


def test_padding_is_not_told_of_layers_without_it(tmp_path: Path) -> None:
    """Gzip as tools write it, of several members too, is warned of by nobody."""
    data = APP.layers[3]
    blob = compress(data[:512], "gzip") + compress(data[512:], "gzip")
    source = write_archive(tmp_path / "source.tar", docker_files() | {"3.tar": blob})
    assert "zeros" not in told(verdict(source, code=0)["warnings"])


# --- zstd's windows --------------------------------------------------------------------------


def with_window(data: bytes, log: int) -> bytes:
    """A zstd stream that wants to look back 2**log bytes."""
    parameter = zstd.CompressionParameter
    encoder = zstd.ZstdCompressor(options={parameter.window_log: log, parameter.compression_level: 1})
    return encoder.compress(data) + encoder.flush()


@pytest.mark.parametrize("log", [27, 28, 29])
def test_windows_up_to_512_mib_are_read(log: int) -> None:
    """As `zstd --long=29` writes them."""
    assert b"".join(decompress(Codec.ZSTD, [with_window(b"x" * 99_999, log)])) == b"x" * 99_999


@pytest.mark.parametrize("split", [1, 5, 1000])
def test_a_larger_window_is_told_by_its_size(split: int) -> None:
    """It is no damage: the message has the window and the limit, however the bytes arrive."""
    stream = compress(b"first", "zstd") + with_window(b"x" * 99_999, 30)
    pieces = [stream[at : at + split] for at in range(0, len(stream), split)]
    with pytest.raises(InvalidImage, match="needs a window of 1 GiB; the limit is 512 MiB"):
        list(decompress(Codec.ZSTD, pieces))


def test_a_window_that_is_no_power_of_two_is_told() -> None:
    """Headers have eighths of a power, and of a single segment the size of all that it holds."""
    for header, size in (
        (bytes([0x00, (20 << 3) + 1]), "1.125 GiB"),
        (bytes([0xA0]) + (600 << 20).to_bytes(4, "little"), "600 MiB"),
        (bytes([0xE1, 7]) + (3 << 30).to_bytes(8, "little"), "3 GiB"),
    ):
        stream = b"\x28\xb5\x2f\xfd" + header + bytes(20)
        with pytest.raises(InvalidImage, match=f"window of {size};"):
            list(decompress(Codec.ZSTD, [stream]))


# --- names in an archive ---------------------------------------------------------------------

LINKS = {
    "below": "x/../../3.tar", "absolute": "/3.tar", "beyond the root": "../../../3.tar",
    "absolute beyond the root": "/../3.tar",
}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_links_lead_where_docker_and_podman_follow_them(name: str, tmp_path: Path) -> None:
    """A symlink is followed from the archive's root, which nothing leads out of."""
    files = docker_files()
    files["manifest.json"] = bytes(files["manifest.json"]).replace(b'"3.tar"', b'"l/layer.tar"')  # type: ignore[arg-type]
    assert b"l/layer.tar" in files["manifest.json"]  # type: ignore[operator]
    files |= {"l/layer.tar": symlink("l/layer.tar", LINKS[name])}
    source = write_archive(tmp_path / "source.tar", files)
    squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)


@pytest.mark.parametrize("name", ["/0.tar", "x/../0.tar", "./x/.././0.tar", "/../0.tar", "//0.tar"])
def test_names_are_cleaned_below_the_root(name: str, tmp_path: Path) -> None:
    """A member has its name from the archive's root on, `..` within it and absolute ones included."""
    files: dict[str, Any] = {key: value for key, value in docker_files().items() if key != "0.tar"}
    source = write_archive(tmp_path / "source.tar", files | {name: APP.layers[0]})
    squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)


def test_a_hard_link_may_be_absolute_or_go_up(tmp_path: Path) -> None:
    """It means a member of the archive."""
    for number, target in enumerate(["/z", "y/../z"]):
        files = docker_files()
        members = [file(k, v) for k, v in files.items() if k != "3.tar" and isinstance(v, bytes)]
        members += [directory("y"), file("z", APP.layers[3]), hardlink("3.tar", target)]
        source = tmp_path / f"{number}.tar"
        source.write_bytes(layer(*members))
        assert verdict(source, code=0)["faults"] == []


def test_a_link_that_leads_nowhere_is_told_by_its_own_target(tmp_path: Path) -> None:
    """The message has the target as the link has it."""
    source = write_archive(tmp_path / "source.tar", docker_files() | {"3.tar": symlink("3.tar", "/x/../y")})
    assert "a link to /x/../y, which is not there" in told(verdict(source, code=4)["faults"])


def test_a_member_that_stands_twice_is_warned_of(tmp_path: Path) -> None:
    """docker reads the last one of a name, podman the first; where both are equal nobody minds."""
    whole = write_archive(tmp_path / "source.tar", docker_files()).read_bytes()
    for first, warned in ((b"other", True), (APP.layers[0], False)):
        source = tmp_path / "twice.tar"
        source.write_bytes(layer(file("0.tar", first), end=False) + whole)
        assert ("0.tar it stands there twice" in told(verdict(source, code=0)["warnings"])) == warned


# --- sparse members of an archive ------------------------------------------------------------


def in_pieces(data: bytes) -> list[tuple[int, bytes]]:
    """A file's blocks that are not zeros, as `tar -S` finds them."""
    pieces: list[tuple[int, bytes]] = []
    for at in range(0, len(data), 512):
        block = data[at : at + 512]
        if not any(block):
            continue
        if pieces and sum((pieces[-1][0], len(pieces[-1][1]))) == at:
            pieces[-1] = pieces[-1][0], pieces[-1][1] + block
        else:
            pieces.append((at, block))
    return pieces


@pytest.mark.parametrize("form", ["old", "1.0", "0.1", "0.0"])
@pytest.mark.parametrize("write", [docker_archive_old, docker_archive_25])
def test_sparse_members_are_read(write: Callable[..., object], form: Any, tmp_path: Path) -> None:
    """An archive made by `tar -S` of an unpacked one, in any of its forms: documents, kept and squashed
    layers are what they were, as skopeo and podman read them."""
    image = on_base(APP, layer(file("zeros", bytes(99_999)), file("end", b"x")), tags=["app:1"])
    write(tmp_path / "dense.tar", [image])
    members = []
    with tarfile.open(tmp_path / "dense.tar") as dense:
        for info in dense:
            content = dense.extractfile(info) if info.isreg() else None
            if content is None:
                members.append(symlink(info.name, info.linkname) if info.issym() else directory(info.name))
                continue
            data = content.read()
            members.append(sparse(info.name, len(data), in_pieces(data), form=form))
    (tmp_path / "source.tar").write_bytes(layer(*members))
    assert (tmp_path / "source.tar").stat().st_size < (tmp_path / "dense.tar").stat().st_size
    assert verdict(tmp_path / "source.tar", code=0)["faults"] == []
    for name in ("dense", "source"):
        words = ("-o", tmp_path / f"{name}-out.tar", "-t", "app:2", "--check")
        squash(tmp_path / f"{name}.tar", *KEEP_2, *words)
    assert (tmp_path / "dense-out.tar").read_bytes() == (tmp_path / "source-out.tar").read_bytes()


def test_a_real_sparse_archive_is_read(tmp_path: Path) -> None:
    """What GNU tar makes of an unpacked archive of sparse files is read."""
    image = on_base(APP, layer(file("zeros", bytes(1 << 20)), file("end", b"x")), tags=["app:1"])
    docker_archive_old(tmp_path / "dense.tar", [image])
    folder = tmp_path / "folder"
    folder.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "dense.tar", "-C", folder], check=True)
    (holed,) = [path for path in folder.glob("*/layer.tar") if path.stat().st_size > 1 << 20]
    subprocess.run(["cp", "--sparse=always", holed, folder / "holed"], check=True)
    (folder / "holed").rename(holed)
    subprocess.run(["tar", "-S", "-cf", tmp_path / "source.tar", "-C", folder, "."], check=True)
    assert (tmp_path / "source.tar").stat().st_size < 1 << 20
    assert verdict(tmp_path / "source.tar", code=0)["faults"] == []
    squash(tmp_path / "source.tar", *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(image.layers, read_image(tmp_path / "out.tar").layers, 2)


def test_a_sparse_member_that_no_file_may_be_is_told(tmp_path: Path) -> None:
    """A document is limited by its whole size, a layer by what a file may have; neither is a traceback."""
    for name, size in (("manifest.json", 1 << 40), ("3.tar", (1 << 63) - 1)):
        members = [file(k, v) for k, v in docker_files().items() if k != name and isinstance(v, bytes)]
        members.append(sparse(name, size, [(0, b"x" * 512)]))
        (tmp_path / "source.tar").write_bytes(layer(*members))
        result = run("squash", tmp_path / "source.tar", *KEEP_2, "-o", tmp_path / "out.tar")
        assert_fails(result, 4, name)
