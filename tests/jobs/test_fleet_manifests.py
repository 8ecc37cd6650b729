"""`squashkit fleet storage --manifests`: what images share is counted by their manifests alone."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import squashkit
from tests.support.runner import (
    DOCKER,
    DOCKER_MANIFEST,
    OCI,
    OCI_INDEX,
    OCI_MANIFEST,
    Json,
    assert_fails,
    run,
    run_process,
)

GZIP_OF_NOTHING = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
GZIP_OF_ZEROS = "sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1"
EMPTY = {GZIP_OF_NOTHING: 32, GZIP_OF_ZEROS: 32}
NAMES = ("p10", "p25", "p50", "p75", "p90", "p99", "max")
NOBODY = 65534
Layer = tuple[str, int]


def blob(number: int, size: int = 0) -> Layer:
    """A layer's digest and size."""
    return f"sha256:{number:064x}", size or number


def manifest(*layers: Layer, kind: str | None = OCI_MANIFEST, layer_type: str = "") -> Json:
    """A manifest; without a kind it has no mediaType."""
    docker = kind == DOCKER_MANIFEST
    of_layers = layer_type or (
        f"{DOCKER}image.rootfs.diff.tar.gzip" if docker else f"{OCI}layer.v1.tar+gzip"
    )
    document: Json = {
        "schemaVersion": 2,
        "config": {"mediaType": f"{OCI}config.v1+json", "digest": blob(9999)[0], "size": 5},
        "layers": [{"mediaType": of_layers, "digest": d, "size": size} for d, size in layers],
    }
    return document | ({"mediaType": kind} if kind else {})


def put(path: Path, document: object) -> Path:
    """A file with a document, or with bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def lines(*entries: tuple[str, object]) -> bytes:
    """JSON lines of references and manifests."""
    return b"".join(json.dumps({"reference": r, "manifest": m}).encode() + b"\n" for r, m in entries)


def measured(*places: Path) -> Json:
    """What is counted."""
    done = run("fleet", "storage", *[word for place in places for word in ("--manifests", place)], "--json")
    assert done.code == 0, done.err
    return done.json


def left_out(*places: Path) -> str:
    """What is said on standard error of what is left out."""
    done = run("fleet", "storage", *[word for place in places for word in ("--manifests", place)], "--json")
    assert done.code == 0, done.err
    return done.err


# --- what is counted ---------------------------------------------------------------------------


def counted(repositories: dict[str, list[Sequence[Layer]]]) -> Json:
    """The same in the plainest way: sets of lists, and lists of their beginnings."""
    images = {tuple(image) for group in repositories.values() for image in group}
    plain = [tuple(layer for layer in image if layer[0] not in EMPTY) for image in images]
    blobs = {layer for image in images for layer in image}
    chains = {image[: n + 1] for image in plain for n in range(len(image))}

    def above(chain: tuple[Layer, ...]) -> int:
        return sum(other[:-1] == chain for other in chains)

    def percentiles(values: list[int]) -> Json:
        values = sorted(values)
        return {name: values[len(values) * int(name[1:]) // 100] for name in NAMES[:-1]} | {
            "max": values[-1]
        }

    by_image = [sum(size for _, size in set(image)) for image in images]
    total, once = sum(by_image), sum(size for _, size in blobs)
    in_repositories = sum(
        size for group in repositories.values() for _, size in {one for image in group for one in image}
    )
    return {
        "images": len(images),
        "repositories": len(repositories),
        "layers": {
            "references": sum(map(len, images)),
            "blobs": len(blobs),
            "chains": len(chains),
            "left_along_trie": sum(chain in plain or above(chain) > 1 for chain in chains),
        },
        "bytes": {"sum": total, "once_in_repositories": in_repositories, "once": once},
        "sharing": {"all": total / once, "in_repositories": total / in_repositories},
        "percentiles": {
            "layers_an_image": percentiles([len(image) for image in plain]),
            "bytes_an_image": percentiles(by_image),
            "bytes_a_layer": percentiles([size for digest, size in blobs if digest not in EMPTY]),
        },
    }


def random_fleet(rng: random.Random) -> dict[str, list[Sequence[Layer]]]:
    """Repositories of images that grow on one another, some with layers twice and with empty ones."""
    pool: list[tuple[Layer, ...]] = [()]
    fleet: dict[str, list[Sequence[Layer]]] = {}
    for repository in range(rng.randint(1, 6)):
        for _ in range(rng.randint(1, 5)):
            image = rng.choice(pool)[: rng.randint(0, 6)]
            for _ in range(rng.randint(1, 4)):
                image += (rng.choice([*EMPTY.items(), *(blob(n, 1 + n * 37 % 50) for n in range(1, 12))]),)
            pool.append(image)
            fleet.setdefault(f"r{repository}/app", []).append(image)
    return fleet


@pytest.mark.parametrize("seed", range(20))
def test_every_form_gives_what_a_plain_count_gives(tmp_path: Path, seed: int) -> None:
    """Manifests one by one, a dump a repository, and lines for all of them: one count."""
    fleet = random_fleet(random.Random(seed))
    for name, images in fleet.items():
        for number, image in enumerate(images):
            kind = (OCI_MANIFEST, DOCKER_MANIFEST, None)[number % 3]
            put(tmp_path / "one" / name / f"{number}", manifest(*image, kind=kind))
        dump = {"manifests": {f"v{n}": manifest(*image) for n, image in enumerate(images)}}
        put(tmp_path / "dumps" / name / "manifests-config-layers.json", dump)
    entries = [(f"{name}:{n}", manifest(*image)) for name in fleet for n, image in enumerate(fleet[name])]
    put(tmp_path / "lines.jsonl", lines(*entries))
    wanted = counted(fleet)
    for place in ("one", "dumps", "lines.jsonl"):
        assert measured(tmp_path / place) == wanted, place


def test_a_fleet_counted_on_paper(tmp_path: Path) -> None:
    """Three images of two repositories on one base of 100 bytes, by hand."""
    base, shared, one, two = blob(1, 100), blob(2, 20), blob(3, 3), blob(4, 4)
    put(tmp_path / "a/dump", {"manifests": {"1": manifest(base, shared, one), "2": manifest(base, shared)}})
    put(tmp_path / "b/2.json", manifest(base, two))
    put(tmp_path / "b/latest", manifest(base, two, kind=DOCKER_MANIFEST))
    found = measured(tmp_path)
    assert found["images"] == 3
    assert found["repositories"] == 2
    assert found["layers"] == {"references": 7, "blobs": 4, "chains": 4, "left_along_trie": 4}
    assert found["bytes"] == {"sum": 347, "once_in_repositories": 227, "once": 127}
    assert found["sharing"] == {"all": 347 / 127, "in_repositories": 347 / 227}
    assert list(found["percentiles"]["layers_an_image"].values()) == [2, 2, 2, 3, 3, 3, 3]
    assert list(found["percentiles"]["bytes_a_layer"].values()) == [3, 4, 20, 100, 100, 100, 100]


def test_empty_blobs_are_stored_and_are_no_layers(tmp_path: Path) -> None:
    """The two layers without an entry count as blobs, and not in chains, along the trie or by layer."""
    plain, between = (blob(1, 100), blob(2, 20)), (GZIP_OF_NOTHING, 32)
    put(tmp_path / "r/1", manifest(*plain))
    put(tmp_path / "r/2", manifest(plain[0], between, plain[1], (GZIP_OF_ZEROS, 32), between))
    found = measured(tmp_path)
    assert found["images"] == 2
    assert found["layers"] == {"references": 7, "blobs": 4, "chains": 2, "left_along_trie": 1}
    assert found["bytes"] == {"sum": 304, "once_in_repositories": 184, "once": 184}
    assert set(found["percentiles"]["layers_an_image"].values()) == {2}
    assert found["percentiles"]["bytes_an_image"]["max"] == 184
    assert found["percentiles"]["bytes_a_layer"]["p10"] == 20


def test_a_layer_that_an_image_has_twice(tmp_path: Path) -> None:
    """It is two references and two chains, and its bytes count once."""
    put(tmp_path / "1", manifest(blob(1, 100), blob(2, 20), blob(1, 100)))
    found = measured(tmp_path)
    assert found["layers"] == {"references": 3, "blobs": 2, "chains": 3, "left_along_trie": 1}
    assert found["bytes"] == {"sum": 120, "once_in_repositories": 120, "once": 120}


def test_one_list_is_one_image(tmp_path: Path) -> None:
    """Other configs, other platforms, signatures and names: each list once, in each repository."""
    other = manifest(blob(1, 100))
    other["config"]["digest"] = blob(777)[0]
    signature = manifest(blob(5, 200), layer_type="application/vnd.dev.cosign.simplesigning.v1+json")
    put(tmp_path / "a/1", manifest(blob(1, 100)))
    put(tmp_path / "a/2", other)
    put(tmp_path / "b/1", other)
    put(tmp_path / "b/sha256-x.sig", signature)
    found = measured(tmp_path)
    assert found["images"] == 2
    assert found["repositories"] == 2
    assert found["bytes"] == {"sum": 300, "once_in_repositories": 400, "once": 300}


def test_images_without_layers(tmp_path: Path) -> None:
    """An empty list is an image that takes nothing; what there is no value of is null."""
    put(tmp_path / "1", manifest())
    found = measured(tmp_path)
    assert found["images"] == 1
    assert found["layers"] == {"references": 0, "blobs": 0, "chains": 0, "left_along_trie": 0}
    assert found["sharing"] == {"all": None, "in_repositories": None}
    assert set(found["percentiles"]["layers_an_image"].values()) == {0}
    assert set(found["percentiles"]["bytes_a_layer"].values()) == {None}
    assert b"0 B" in run("fleet", "storage", "--manifests", tmp_path).out


# --- what is left out --------------------------------------------------------------------------

SCHEMA_1 = {
    "schemaVersion": 1,
    "name": "x",
    "tag": "1",
    "fsLayers": [{"blobSum": blob(8)[0]}],
    "history": [],
}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{"digest": blob(7)[0], "size": 7}]}
CONFIG = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [blob(6)[0]]}}
FOREIGN = f"{DOCKER}image.rootfs.foreign.diff.tar.gzip"
OTHERS: dict[str, tuple[object, str]] = {
    "index": (INDEX, "1 index"),
    "docker list": (INDEX | {"mediaType": f"{DOCKER}distribution.manifest.list.v2+json"}, "1 index"),
    "index without mediaType": ({k: v for k, v in INDEX.items() if k != "mediaType"}, "1 index"),
    "index of nothing": ({"schemaVersion": 2, "mediaType": OCI_INDEX}, "1 index"),
    "schema 1": (SCHEMA_1, "1 schema 1 image"),
    "foreign": (manifest(blob(2), blob(3), layer_type=FOREIGN), "1 image with foreign layers"),
    "non-distributable": (
        manifest(blob(2), layer_type=f"{OCI}layer.nondistributable.v1.tar+gzip"),
        "1 image with foreign layers",
    ),
    "config": (CONFIG, "1 config"),
    "list": ([manifest(blob(2))], "1 other document"),
    "skopeo inspect": ({"Name": "x", "Layers": [blob(2)[0]]}, "1 other document"),
    "text": (b"FROM debian:12\n", "1 other document"),
    "nothing": (b"", "1 other document"),
    "spaces": (b"\n \n" * 9000, "1 other document"),
    "tar": (bytes(10240), "1 other document"),
    "a number": (b"17", "1 other document"),
    "cut off": (json.dumps({"manifests": {"1": manifest(blob(2))}})[:-9].encode(), "1 file of broken JSON"),
    "Latin 1": (b'{"layers": [], "x": "\xe9"}', "1 file of broken JSON"),
    "NaN": (b'{"layers": [], "x": NaN}', "1 file of broken JSON"),
    "no comma": (b'{"layers": [] "x": 1}', "1 file of broken JSON"),
    "no colon": (b'{"layers"}', "1 file of broken JSON"),
    "a number as key": (b"{1: 2}", "1 file of broken JSON"),
    "two documents": (json.dumps(manifest(blob(2)), indent=1).encode() * 2, "1 file of broken JSON"),
    "very deep": (b'{"layers": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "1 file of broken JSON"),
    "deep in a dump": (b'{"a": {"b": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", "1 file of broken JSON"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_image_is_left_out_and_told(tmp_path: Path, name: str) -> None:
    """It changes no number, and one line tells it, beside the document and below the tables."""
    document, words = OTHERS[name]
    put(tmp_path / "r/good", manifest(blob(1, 100)))
    alone = measured(tmp_path)
    put(tmp_path / "r/other.txt", document)
    assert measured(tmp_path) == alone
    assert f"squashkit: Left out: {words}." in left_out(tmp_path)
    shown = run("fleet", "storage", "--manifests", tmp_path)
    assert f"Left out: {words}." in shown.text
    assert not shown.err


def broken(**changes: object) -> Json:
    """A manifest whose layer is not what it should be."""
    document = manifest(blob(2))
    document["layers"][0] |= changes
    return document


BROKEN: dict[str, tuple[object, str]] = {
    "layers is an object": (manifest() | {"layers": {}}, "manifest.layers: expected a list"),
    "layers is a text": (manifest() | {"layers": "none"}, "manifest.layers: expected a list, found 'none'"),
    "a layer is a text": (manifest() | {"layers": ["x"]}, "manifest.layers[0]: expected an object"),
    "a layer is null": (
        manifest() | {"layers": [None]},
        "manifest.layers[0]: expected an object, found null",
    ),
    "digest is a number": (broken(digest=5), "manifest.layers[0].digest: expected a string"),
    "digest is null": (broken(digest=None), "manifest.layers[0].digest: expected a digest"),
    "digest is none": (broken(digest="/etc/passwd"), "manifest.layers[0].digest: expected a digest"),
    "no digest": ({"layers": [{"size": 5}]}, "manifest.layers[0].digest: expected a digest"),
    "no size": ({"layers": [{"digest": blob(1)[0]}]}, "manifest.layers[0].size: expected a size"),
    "size is a text": (broken(size="5"), "manifest.layers[0].size: expected an integer"),
    "size is true": (broken(size=True), "manifest.layers[0].size: expected an integer"),
    "size is a fraction": (broken(size=5.5), "manifest.layers[0].size: expected an integer"),
    "size is negative": (broken(size=-1), "manifest.layers[0].size: expected a size, found -1"),
    "size is huge": (broken(size=2**63), "manifest.layers[0].size: expected an integer"),
    "mediaType is a list": (broken(mediaType=[]), "manifest.layers[0].mediaType: expected a string"),
    "its own mediaType is a list": (
        manifest(blob(2)) | {"mediaType": ["x"]},
        "manifest.mediaType: expected a string",
    ),
    "size is longer than Python reads": (
        json.dumps(broken(size=1)).replace('"size": 1}', f'"size": {"9" * 5000}}}').encode(),
        "manifest.layers[0].size: expected an integer",
    ),
    "a key twice": (
        b'{"layers": [{"digest": "sha256:aa", "size": 1, "size": 2}]}',
        "manifest.layers[0]: the key 'size' stands twice",
    ),
    "layers twice": (b'{"layers": [], "layers": []}', "manifest: the key 'layers' stands twice"),
    "layers in two spellings": (
        manifest(blob(1)) | {"Layers": []},
        "manifest: the keys 'layers' and 'Layers' are one to docker",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_manifests_are_left_out_with_their_fault(tmp_path: Path, name: str) -> None:
    """The others count, the file and the place in it are told; a place of nothing else is an error."""
    document, words = BROKEN[name]
    bad = put(tmp_path / "r/bad\x1b[1m", document)
    done = run("fleet", "storage", "--manifests", tmp_path)
    assert_fails(done, 4, words)
    assert r"r/bad\x1b[1m: " in done.err
    put(tmp_path / "r/good", manifest(blob(1, 100)))
    assert measured(tmp_path)["images"] == 1
    told = left_out(tmp_path)
    assert "squashkit: Left out: 1 broken manifest." in told
    assert words in told
    assert "\x1b" not in told
    assert_fails(run("fleet", "storage", "--manifests", bad, "--manifests", tmp_path / "r/good"), 4, words)


def test_only_the_first_faults_are_told(tmp_path: Path) -> None:
    """Of many broken manifests ten are shown, and how many there are more."""
    put(tmp_path / "dump", {"manifests": {f"v{n}": broken(size=-n) for n in range(1, 31)}})
    put(tmp_path / "good", manifest(blob(1)))
    said = left_out(tmp_path).splitlines()
    assert said[0] == "squashkit: Left out: 30 broken manifests."
    assert said[1].endswith("dump: tag v1: manifest.layers[0].size: expected a size, found -1")
    assert said[11:] == ["squashkit:   and 20 more that are broken"]


# --- lines -------------------------------------------------------------------------------------


def test_lines_are_of_repositories_by_their_references(tmp_path: Path) -> None:
    """Tag and digest go, a port and a path stay; the folder of the file counts nothing."""
    one = manifest(blob(1))
    references = ["a:1", "a@" + blob(5)[0], "a:2@" + blob(5)[0], "h:5000/a", "h:5000/a:1", "h/b/c:latest"]
    put(tmp_path / "x/lines", lines(*((reference, one) for reference in references)))
    put(tmp_path / "y/lines", lines(("a", one)))
    found = measured(tmp_path)
    assert found["images"] == 1
    assert found["repositories"] == 3


def test_lines_beside_manifests_and_dumps(tmp_path: Path) -> None:
    """All forms may lie in one folder; lines of indexes and schema 1 are left out, as elsewhere."""
    put(tmp_path / "a/lines.txt", lines(("x:list", INDEX), ("x:old", SCHEMA_1), ("x:1", manifest(blob(1)))))
    put(
        tmp_path / "a/dump",
        {"tags": ["1"], "manifests": {"1": manifest(blob(2)), "list": INDEX}, "configs": {}},
    )
    put(tmp_path / "a/manifest.json", manifest(blob(3)))
    assert (measured(tmp_path)["images"], measured(tmp_path)["repositories"]) == (3, 2)
    assert "Left out: 2 indexes, 1 schema 1 image." in left_out(tmp_path)


DUMP = {"manifests": {"1": manifest(blob(1)), "2": manifest(blob(2))}}
GOOD = lines(("x:1", manifest(blob(1))), ("x:2", manifest(blob(2))))
LINES: dict[str, tuple[bytes, str]] = {
    "the last is cut off": (GOOD + GOOD[:40], "line 3: expected an object with a reference and a manifest"),
    "the first is none": (b"{broken\n" + GOOD, "line 1: expected an object"),
    "a list": (GOOD + b"[]\n", "line 3: expected an object"),
    "no reference": (GOOD + b'{"manifest": {}}\n', "line 3: expected an object"),
    "reference is a number": (
        GOOD + b'{"reference": 7, "manifest": {"layers": []}}',
        "line 3: reference: expected the name",
    ),
    "reference is empty": (GOOD + lines(("", manifest())), "line 3: reference: expected the name"),
    "reference is a tag": (GOOD + lines((":1", manifest())), "line 3: reference: expected the name"),
    "reference is a digest": (GOOD + lines(("@" + blob(1)[0], manifest())), "line 3: reference: expected"),
    "very deep": (GOOD + b'{"reference": "x", "manifest": ' + b"[" * 200_000, "line 3: expected an object"),
    "no UTF-8": (GOOD + b'{"reference": "\xff", "manifest": {}}\n', "line 3: expected an object"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_broken_line_is_one_line_less(tmp_path: Path, name: str) -> None:
    """The others count, and its number is told."""
    data, words = LINES[name]
    place = put(tmp_path / "lines", data)
    assert measured(place)["images"] == 2
    said = left_out(place)
    assert "Left out: 1 broken line." in said
    assert words in said


@pytest.mark.parametrize(
    "data",
    [
        b"\n\n" + GOOD.replace(b"\n", b"\r\n\r\n"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD.rstrip(),
        json.dumps({"manifests": {"1": manifest(blob(1)), "2": manifest(blob(2))}}, indent=2).encode(),
        b"\xef\xbb\xbf"
        + json.dumps({"manifests": {"1": manifest(blob(1)), "2": manifest(blob(2))}}).encode(),
    ],
)
def test_spaces_and_marks_mean_nothing(tmp_path: Path, data: bytes) -> None:
    """Blank lines, ends of lines, a byte order mark, and indented documents."""
    assert measured(put(tmp_path / "file", data))["images"] == 2
    assert not left_out(tmp_path)


def test_a_manifest_of_a_line_in_several_lines(tmp_path: Path) -> None:
    """One object with a reference and a manifest may be indented, too."""
    entry = {"reference": "a/b:1", "manifest": manifest(blob(1))}
    place = put(tmp_path / "x/one", json.dumps(entry, indent=2).encode())
    put(tmp_path / "x/two", lines(("a/b:2", manifest(blob(2)))))
    assert measured(place)["images"] == 1
    assert measured(tmp_path)["repositories"] == 1


def test_of_two_entries_with_one_tag_the_last_counts(tmp_path: Path) -> None:
    """As Go and Python read JSON that has a key twice."""
    one, two = (json.dumps(manifest(blob(n))) for n in (1, 2))
    put(tmp_path / "dump", f'{{"manifests": {{"1": {one}, "1": {two}}}}}'.encode())
    assert measured(tmp_path)["bytes"]["sum"] == 2


def test_entries_of_a_dump_of_any_type(tmp_path: Path) -> None:
    """What is no object is left out, and a tag is shown on one line."""
    values: dict[str, object] = {
        "a": None,
        "b": [],
        "c": "x",
        "d": 5,
        "e": {},
        "\n\ud800": broken(size="x"),
    }
    put(tmp_path / "dump", {"manifests": {**values, "good": manifest(blob(1))}})
    assert measured(tmp_path)["images"] == 1
    assert "Left out: 5 other documents, 1 broken manifest." in left_out(tmp_path)
    assert r"tag \n\ud800: manifest.layers[0].size" in left_out(tmp_path)


def test_a_dump_may_hold_much_else(tmp_path: Path) -> None:
    """Configs of any form, before and after the manifests, are read over."""
    others = '"configs": {"1": {"x": [1, 2.5, {"y": null}], "n": ' + "9" * 5000 + '}}, "d": "sha256:aa"'
    dump = f'{{{others}, "manifests": {{"1": {json.dumps(manifest(blob(1)))}}}, "e": {{}}, "f": [{{}}]}}'
    assert measured(put(tmp_path / "dump", dump.encode()))["images"] == 1


def test_digests_of_other_algorithms_and_sizes_that_differ(tmp_path: Path) -> None:
    """Any digest names a blob. Where manifests differ on its size the greatest counts, which is told."""
    other = "sha512:" + "a" * 128
    put(tmp_path / "1", manifest((other, 10), blob(1, 5)))
    put(tmp_path / "2", manifest((other, 30)))
    put(tmp_path / "3", manifest((other, 20)))
    assert measured(tmp_path)["bytes"] == {"sum": 65, "once_in_repositories": 35, "once": 35}
    assert "Manifests differ on the size of 1 blob; the greatest counts." in left_out(tmp_path)


# --- files and folders -------------------------------------------------------------------------


def test_every_file_below_is_read_whatever_its_name(tmp_path: Path) -> None:
    """Hidden ones, without an ending, with bytes that are no text; each folder is a repository."""
    folders = [b"a", b"a/b", b".hidden", b"-x", b"sp ace\n", b"\xff\xfe", b"*", b"a.json"]
    for number, name in enumerate(folders):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, b".\xff" if number % 2 else b"-"), "wb") as file:
            file.write(json.dumps(manifest(blob(number + 1))).encode())
    found = measured(tmp_path)
    assert (found["images"], found["repositories"]) == (len(folders), len(folders))


def test_links_are_followed_and_no_folder_is_entered_twice(tmp_path: Path) -> None:
    """Loops end, a folder under two names is one repository, and what leads nowhere is left out."""
    put(tmp_path / "outside/1", manifest(blob(1)))
    put(tmp_path / "d/r/2", manifest(blob(2)))
    (tmp_path / "d/r/up").symlink_to("../..", target_is_directory=True)
    (tmp_path / "d/r/self").symlink_to("self")
    (tmp_path / "d/again").symlink_to("r", target_is_directory=True)
    (tmp_path / "d/nothing").symlink_to("nowhere")
    (tmp_path / "d/file").symlink_to("../outside/1")
    os.mkfifo(tmp_path / "d/pipe")
    found = measured(tmp_path / "d")
    assert found["images"] == 2
    assert found["repositories"] == 3, "r; d, by its link to a file; outside"
    assert "Left out: 3 links to nothing, pipes or devices." in left_out(tmp_path / "d")


def test_places_may_be_several_and_overlap(tmp_path: Path) -> None:
    """A file and the folder that it is in, by whatever paths, are one repository."""
    put(tmp_path / "r/1", manifest(blob(1)))
    put(tmp_path / "s/2", manifest(blob(2)))
    (tmp_path / "link").symlink_to("r", target_is_directory=True)
    found = measured(tmp_path / "r/1", tmp_path / "link", tmp_path / "s", tmp_path / "s" / ".." / "r")
    assert (found["images"], found["repositories"]) == (2, 2)


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    """As shells make it of another command's output."""
    done = run_process("fleet", "storage", "--manifests", "/dev/stdin", "--json", stdin=GOOD)
    assert done.code == 0, done.err
    assert done.json["images"] == 2


def test_places_without_an_image(tmp_path: Path) -> None:
    """What is not there, an empty folder and one of other things are errors that say so."""

    def fails(place: Path | str, code: int, *words: str) -> None:
        assert_fails(run("fleet", "storage", "--manifests", place), code, *words)

    fails(tmp_path / "none", 5, "No such file or directory")
    fails("", 5, "'': No such file or directory")
    fails(put(tmp_path / "text", b"hello") / "x", 5, "Not a directory")
    fails(tmp_path / "text", 5, "holds no manifest of an image: only 1 other document")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", 5, "holds no manifest of an image")
    fails(put(tmp_path / "dump", {"manifests": {}}), 5, "holds no manifest of an image")
    put(tmp_path / "r/1", INDEX)
    put(tmp_path / "r/2", CONFIG)
    fails(tmp_path / "r", 5, "holds no manifest of an image: only 1 index, 1 config")
    fails(put(tmp_path / "cut", b'{"layers": ['), 4, "no manifest of an image can be read: ")
    put(tmp_path / "good", manifest(blob(1)))
    done = run("fleet", "storage", "--manifests", tmp_path / "good", "--manifests", tmp_path / "r")
    assert_fails(done, 5, "only 1 index, 1 config")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no file that fails when it is read")
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Numbers without it would be wrong."""
    put(tmp_path / "good", manifest(blob(1)))
    (tmp_path / "bad").symlink_to("/proc/self/mem")  # root may read all but this
    done = run("fleet", "storage", "--manifests", tmp_path)
    assert_fails(done, 5, "Input/output error")
    assert "/bad: " in done.err


@pytest.mark.parametrize("name", ["r/1", "r"])
def test_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file or a folder that is closed is an error, for whoever is not root."""
    put(tmp_path / "r/1", manifest(blob(1)))
    (tmp_path / name).chmod(0)
    monkeypatch.chdir(tmp_path)  # a path from here leads through no folder of root's
    tmp_path.chmod(0o755)
    user = os.geteuid()
    os.seteuid(user or NOBODY)
    try:
        done = run("fleet", "storage", "--manifests", ".")
    finally:
        os.seteuid(user)
        (tmp_path / name).chmod(0o700)
    assert_fails(done, 5, f"./{name}: Permission denied")


# --- the command and the report ----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("image.tar",),
        ("--base", "x"),
        ("--from", os.devnull),
        ("--no-scan",),
        ("--minimise", "registry"),
        ("--csv", "x.csv"),
        ("--jobs", "1"),
    ],
)
def test_nothing_stands_beside_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Options and references that would mean nothing are refused, defaults in full, too."""
    put(tmp_path / "1", manifest(blob(1)))
    done = run("fleet", "storage", "--manifests", tmp_path, *words)
    assert_fails(done, 2, "--manifests stands alone", words[0] if words[0] != "image.tar" else "IMAGE")


def test_what_stands_beside_it(tmp_path: Path) -> None:
    """The forms of reports, one at a time, and --debug."""
    put(tmp_path / "1", manifest(blob(1, 1000)))
    assert run("fleet", "storage", "--manifests", tmp_path, "--debug").code == 0
    shown = run("fleet", "storage", "--manifests", tmp_path, "--markdown")
    assert "### 1 image in 1 repository" in shown.text
    assert "| once | 1.00 KB | 1.00 times |" in shown.text
    assert_fails(run("fleet", "storage", "--manifests", tmp_path, "--markdown", "--json"), 2, "exclude")


def test_the_table(tmp_path: Path) -> None:
    """What a person sees, whole."""
    base = blob(1, 30_000_000)
    put(tmp_path / "a/dump", {"manifests": {"1": manifest(base, blob(2, 500)), "2": manifest(base)}})
    put(tmp_path / "b/1", manifest(base, blob(3, 70_000_000)))
    put(tmp_path / "b/list", INDEX)
    assert run("fleet", "storage", "--manifests", tmp_path).text.splitlines() == [
        "3 images in 2 repositories",
        "",
        "stored                     size      shared",
        "each image by itself     160 MB",
        "once in each repository  130 MB  1.23 times",
        "once                     100 MB  1.60 times",
        "",
        "layers                         number    share",
        "of all images                       5",
        "different blobs                     3",
        "different chains                    3",
        "left if merged along the trie       3  100.0 %",
        "",
        "                   p10    p25    p50     p75     p90     p99     max",
        "layers an image      1      1      2       2       2       2       2",
        "bytes an image   30 MB  30 MB  30 MB  100 MB  100 MB  100 MB  100 MB",
        "bytes a layer    500 B  500 B  30 MB   70 MB   70 MB   70 MB   70 MB",
        "",
        "Left out: 1 index.",
    ]


def test_from_python(tmp_path: Path) -> None:
    """The same numbers; a place may stand alone, and there must be one."""
    put(tmp_path / "1", manifest(blob(1, 1000)))
    report = squashkit.measure_manifests(str(tmp_path))
    assert report.json() == measured(tmp_path)
    assert report.shape.once == 1000
    assert report.notes == []
    for width in (200, 80, 50, 40):
        assert max(map(len, report.fitted(width))) <= width
        assert sum("1.00 KB" in line for line in report.fitted(width)) == 3
    with pytest.raises(squashkit.SquashkitError, match="no file or folder"):
        squashkit.measure_manifests([])
