"""What is fuzzed. Each target takes bytes and judges what squashkit makes of them: it may refuse them with
an error of its own, and nothing else; what it takes is held to a law."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squashkit.engine.entries import EntryCache
from squashkit.errors import InvalidImage, InvalidRecipe, SquashkitError, UsageError
from squashkit.jobs.diff import parse_kinds
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import REGULAR, SYMLINK, Entry
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy
from squashkit.layers.rootfs import Attributes, Directory, Inode, Rootfs
from squashkit.layers.search import digests_of, links_in_layers, parse_pattern, with_aliases
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import (
    ImageConfig,
    Manifest,
    Platform,
    dump_json,
    parse_index,
    parse_platform_choice,
)
from squashkit.oci.gojson import load_json
from squashkit.oci.graph import Image, StoredLayer
from squashkit.oci.have import Keeper, parse_have
from squashkit.oci.media import OCI_MANIFEST, Codec
from squashkit.oci.names import ImageName, same_name
from squashkit.options import FleetOptions, History, Merge, MinSaving, Rebase, parse_created, parse_size
from squashkit.plan.documents import changed_annotations, image_manifest, squashed_config
from squashkit.plan.evidence import base_images
from squashkit.plan.rebase.inherit import inherit
from squashkit.plan.recipe.form import pack, unpack
from squashkit.plan.recipe.model import (
    FLEET,
    REBASE,
    SQUASH,
    BaseNote,
    BlobNote,
    ImageNote,
    MadeLayer,
    Recipe,
    SourceNote,
    fleet_options,
    merge_options,
    rebase_options,
)
from squashkit.plan.segments import Segment, parse_segments
from squashkit.plan.squash import KeptLayer, LayerPlan
from squashkit.transports.archive import docker as docker_archive
from squashkit.transports.blobs import Blob
from squashkit.transports.codecs import MAGIC_SIZE, decompress, detect
from squashkit.transports.layout import index as oci_layout
from squashkit.transports.reference import parse_reference
from squashkit.transports.registry.credentials import CredentialSources
from squashkit.transports.target import parse_output
from tests.fuzz.documents import ODD, changed
from tests.fuzz.tars import SEPARATOR, Change, mutate_stack
from tests.support.builders import ImageSpec, compress, config_of, file, layer, oci_files, symlink
from tests.support.cases import CASES
from tests.support.generate import random_image
from tests.support.harness import export_layers, read_changeset, squash_layers
from tests.support.linter import lint
from tests.support.model import Illegal, apply_layers, differences, meaning, read_members

Strategy = st.SearchStrategy[Any]


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises for a fault. `mutate` changes an input as its form asks for, else Atheris does."""

    name: str
    check: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[bytes, random.Random, Change, int], bytes] | None = None
    longest: int = 4096
    """Bytes of an input at most."""


TARGETS: dict[str, Target] = {}


def raw(
    seeds: Callable[[], Sequence[bytes]],
    mutate: Callable[[bytes, random.Random, Change, int], bytes] | None = None,
    longest: int = 4096,
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """A target that takes the fuzzer's bytes as they are."""

    def add(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = check.__name__
        TARGETS[name] = Target(name, check, seeds, mutate, longest)
        return check

    return add


def drawn(strategy: Strategy) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """A target that takes a value; the fuzzer's bytes are hypothesis's choices. A fault tells the value."""

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        def judge(value: Any) -> None:
            try:
                check(value)
            except Exception as error:
                error.add_note(f"the input: {value!r}")
                raise

        name = check.__name__
        quiet = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
        test: Any = quiet(given(strategy)(judge))
        TARGETS[name] = Target(name, test.hypothesis.fuzz_one_input, _choices)
        return check

    return add


def _choices() -> list[bytes]:
    return [random.Random(seed).randbytes(64 << seed) for seed in range(6)]


# --- layers ----------------------------------------------------------------------------------


@cache
def _stacks() -> list[bytes]:
    cases = [SEPARATOR.join(case.tars()) for case in CASES]
    return sorted(stack for stack in cases if len(stack) <= 16_384)


@raw(_stacks, mutate_stack, 24_576)
def layers(data: bytes) -> None:
    """Layers that are no longer quite what a builder wrote.

    Whatever is planned, read back, makes the root file system that the layers made. Where the model reads
    the members as squashkit does, it is the judge of that, and the linter of what is written.
    """
    stack = data.split(SEPARATOR)[:6]
    with suppress(SquashkitError):
        changesets = [read_changeset(tar) for tar in stack]
        before = tree(changesets, stack)
        exported = export_layers(stack)
        assert tree([read_changeset(exported)], [exported]) == before, (
            "export makes another root file system"
        )
        for start in range(min(2, len(stack))):
            kept = [(0, start, True)] if start else []
            result = squash_layers(stack, [*kept, (start, len(stack), False)])
            if not start:
                made = tree([read_changeset(tar) for tar in result], result)
                assert made == before, "squash makes another root file system"
            _judge(stack, changesets, start, result)


def _judge(stack: list[bytes], changesets: list[Changeset], start: int, result: list[bytes]) -> None:
    """Hold a result to the model and the linter, as far as they read these layers as squashkit does."""
    try:
        if not all(map(_is_read_alike, stack, changesets)):
            return
        right = apply_layers(stack)
        cut = apply_layers(stack, split_runs=[(start, len(stack))])
    except Illegal:
        return
    faults = differences(right, apply_layers(result), split=cut)
    if len(stack) - start > 1 and len(result) > start:
        told = lint(stack[:start], result[start])
        # The linter looks at the header alone, and the root's name may be in an extended one.
        faults += [line for line in told if not line.startswith("b'./': the root's entry is written")]
    assert not faults, "\n".join(faults)


_WHOLE = 1 << 20


def _is_read_alike(tar: bytes, changeset: Changeset) -> bool:
    """Whether the model, that is Python's tarfile, reads these members as squashkit does."""
    records = changeset.members
    ends = [0, *(record.end for record in records)]
    if any(record.start != end for record, end in zip(records, ends, strict=False)):
        return False  # a global header, which tarfile takes for the members behind it
    if any(record.realsize > _WHOLE for record in records):
        return False  # the model would fill the holes
    if any(owner >> 32 for record in records for owner in (record.uid, record.gid)):
        return False  # the model knows no 32 bits
    try:
        members = read_members(tar)
        named = [meaning(member.name) for member in members]
        if [path for what, path in named if what == "whiteout"] != list(changeset.whiteouts):
            return False
        if [path for what, path in named if what == "opaque"] != list(changeset.opaques):
            return False
        theirs = [
            (
                path,
                m.kind,
                m.mode,
                m.uid,
                m.gid,
                m.mtime,
                m.linkname,
                m.device,
                m.start,
                m.end,
                dict(m.xattrs),
                len(m.content),
            )
            for m, (what, path) in zip(members, named, strict=True)
            if what in ("entry", "plnk")
        ]
    except Exception:  # tarfile has errors of many kinds
        return False
    if len(theirs) != len(changeset.entries):
        return False
    return all(
        (path, start, end, uid, gid) == (e.path, e.start, e.end, e.uid, e.gid)
        and kind == _KINDS[e.typeflag]
        and (kind == "symlink" or mode == e.mode & 0o7777)
        and mtime * 10**9 == e.mtime
        and linkname == e.linkname
        and device == (e.devmajor, e.devminor)
        and xattrs == (e.xattrs or {})
        and size == e.realsize
        for (path, kind, mode, uid, gid, mtime, linkname, device, start, end, xattrs, size), e in zip(
            theirs, changeset.entries, strict=True
        )
    )


_KINDS = {
    b"0": "file", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "directory",
    b"6": "fifo",
}  # fmt: skip


def tree(changesets: Sequence[Changeset], stack: Sequence[bytes]) -> dict[bytes, object]:
    """What layers make, path by path, to be compared with another: all that counts of every name."""
    rootfs = Rootfs()
    for index, changeset in enumerate(changesets):
        rootfs.apply(changeset, index)
    found: dict[bytes, object] = {}
    inodes: dict[int, set[bytes]] = {}
    todo = [rootfs.root]
    while todo:
        directory = todo.pop()
        for name, node in directory.children.items():
            path = directory.child_path(name)
            if isinstance(node, Directory):
                todo.append(node)
                own = node.entry
                found[path] = ("directory", Attributes.of(own) if own else _IMPLIED)
            else:
                inodes.setdefault(id(node), set()).add(path)
                found[path] = (*_inode(node, stack), frozenset(inodes[id(node)]))
                for other in inodes[id(node)]:
                    found[other] = (*_inode(node, stack), frozenset(inodes[id(node)]))
    return found


_IMPLIED = Attributes(0o755, 0, 0, 0, {})


def _inode(node: Inode, stack: Sequence[bytes]) -> tuple[object, ...]:
    record = node.entry
    content = _content(record, stack[node.layer]) if record.typeflag == REGULAR else ()
    linkname = record.linkname if record.typeflag == SYMLINK else b""
    device = record.devmajor, record.devminor
    attributes = node.effective()
    if record.typeflag == SYMLINK:
        attributes = attributes._replace(mode=0o777)
    return record.typeflag, attributes, linkname, device, record.realsize, content


def _content(record: Entry, tar: bytes) -> tuple[tuple[int, bytes], ...]:
    """The pieces of a file that are no holes, and where in it they lie; neighbours are one."""
    if record.sparse is None:
        return ((0, tar[record.data : record.data + record.size]),) if record.size else ()
    pieces: list[tuple[int, bytes]] = []
    at = record.sparse.at
    for start, size in record.sparse.extents:
        data = tar[at : at + size]
        at += size
        if pieces and pieces[-1][0] + len(pieces[-1][1]) == start:
            pieces[-1] = pieces[-1][0], pieces[-1][1] + data
        elif data:
            pieces.append((start, data))
    return tuple(pieces)


@drawn(st.tuples(st.randoms(use_true_random=False), st.booleans(), st.integers(0, 3)))
def images(value: tuple[random.Random, bool, int]) -> None:
    """Whole images of valid layers, in which hard merges turn up often; the model and the linter judge."""
    rng, contested, start = value
    stack = random_image(rng, contested=contested)
    start = min(start, len(stack) - 1)
    kept = [(0, start, True)] if start else []
    result = squash_layers(stack, [*kept, (start, len(stack), False)])
    cut = apply_layers(stack, split_runs=[(start, len(stack))])
    faults = differences(apply_layers(stack), apply_layers(result), split=cut)
    if len(stack) - start > 1 and len(result) > start:
        faults += lint(stack[:start], result[start])
    assert not faults, "\n".join(faults)


# --- documents -------------------------------------------------------------------------------


class Memory:
    """A container of images that lies in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def has(self, name: str) -> bool:
        return name in self.files

    def get(self, name: str) -> Blob | None:
        return None

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def names(self) -> Iterable[str]:
        return self.files

    def close(self) -> None:
        pass


_APP = ImageSpec([layer(file("a", b"a")), layer(file("b", b"b")), layer(symlink("l", "a"))], ("app:1",))


def _stated(files: Mapping[str, Any], media: str) -> Any:
    """The document of a layout that has this field."""
    return next(
        found for data in files.values() if isinstance(found := _json(data), dict) and media in found
    )


def _json(data: object) -> Any:
    with suppress(InvalidImage):
        return load_json(data, "") if isinstance(data, bytes) else None
    return None


_FILES = {name: data for name, data in oci_files([_APP]).items() if isinstance(data, bytes)}
_CONFIG = load_json(config_of(_APP), "") | {
    "config": {
        "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh"], "Entrypoint": None, "Labels": {"a": "b"}, "User": "0",
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "WorkingDir": "/", "OnBuild": [],
    },
    "os.version": "1", "variant": "v8", "created": "2020-01-01T00:00:00Z", "container": "x",
}  # fmt: skip
_MANIFEST = _stated(_FILES, "layers") | {"annotations": {"a": "b"}, "subject": None}
_INDEX = load_json(_FILES["index.json"], "")
_DOCKER = [
    {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["0/layer.tar", "1/layer.tar", "2/layer.tar"]}
]
_STATEMENT = {
    "predicate": {
        "materials": [{"uri": "pkg:docker/debian@12?platform=linux", "digest": {"sha256": "0" * 64}}]
    }
}


@drawn(st.tuples(changed(_CONFIG), changed(_MANIFEST), changed(_INDEX), changed(_DOCKER)))
def documents(texts: tuple[str, str, str, str]) -> None:
    """Layouts and docker archives of odd documents: read whole, and their configs and manifests written."""
    config, manifest, index, docker = (text.encode("utf-8", "surrogatepass") for text in texts)
    manifest = _relinked(manifest, ("config",), config)
    index = _relinked(index, ("manifests", 0), manifest)
    files = {
        **_FILES, _blob(config): config, _blob(manifest): manifest, "index.json": index,
        "manifest.json": docker,
        "c.json": config, "0/layer.tar": b"", "1/layer.tar": b"", "2/layer.tar": b"",
    }  # fmt: skip
    container = Memory(files)
    found: list[Image] = []
    for read in (_read_layout, docker_archive.list_images):
        with suppress(SquashkitError):
            found += read(container, "")
        faults: list[SquashkitError] = []
        with suppress(SquashkitError):
            read(container, "", faults)
        [str(fault) for fault in faults]
    for image in found:
        with suppress(SquashkitError):
            _write(image)
    if found:
        docker_archive.merge(found, oci_layout.Listing(images=found))


def _read_layout(container: Memory, source: str, faults: list[SquashkitError] | None = None) -> list[Image]:
    return oci_layout.list_images(container, source, faults).images


def _blob(data: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def _relinked(document: bytes, way: tuple[str | int, ...], blob: bytes) -> bytes:
    """A document whose descriptor names this blob, where there is still a descriptor."""
    try:
        value = there = load_json(document, "")
        for step in way:
            there = there[step]
        there |= {"digest": "sha256:" + hashlib.sha256(blob).hexdigest(), "size": len(blob)}
        return dump_json(value)
    except (InvalidImage, KeyError, IndexError, TypeError):
        return document


def _write(image: Image) -> None:
    """Put an image's config and manifest down anew, as a squash and a rebase do, and read them back."""
    oci_layout.refuse_unsupported(image)
    count = len(image.layers)
    plans: list[tuple[KeptLayer | SquashedLayer, ...]] = [tuple(KeptLayer(index) for index in range(count))]
    if count > 1:
        plans.append((KeptLayer(0), SquashedLayer(1, count, (b"x",), 1, 1, 1, (), ())))
        plans.append((SquashedLayer(0, count, (), 0, 0, 0, (), ()),))
    for planned in plans:
        plan = LayerPlan((), planned)
        stored = [StoredLayer(DiffID(_A), Digest(_A), 1, Codec.GZIP) for _ in planned]
        diff_ids = [layer.diff_id for layer in stored]
        for options in (History(), History(message="m", drop=True)):
            config = squashed_config(image, plan, diff_ids, options)
            ImageConfig.parse(config)
            annotations = changed_annotations(image, None, base_kept=True)
            data = image_manifest(image, OCI_MANIFEST, config, stored, annotations)
            Manifest.parse(data, "manifest")
    inherit(image, image, image, base_name="b")


_A = "sha256:" + "a" * 64
_STORES = [keeper.value for keeper in Keeper]


@raw(lambda: [dump_json(one) for one in (_CONFIG, _MANIFEST, _INDEX, _DOCKER, _STATEMENT)])
def json_bytes(data: bytes) -> None:
    """Any bytes as each kind of document. What is taken is written and read again as the same."""
    base_images(data)
    for parse in (Manifest.parse, ImageConfig.parse, parse_index, _load_docker):
        with suppress(SquashkitError):
            parse(data, "document")
    with suppress(SquashkitError):
        value = load_json(data, "document")
        assert load_json(dump_json(value), "document") == value


@raw(
    lambda: [f"store: {store}\n{_A} {_A} -\n{_A} {_A} {_A} 12 a/b.tar+gzip\n".encode() for store in _STORES]
)
def have_lists(data: bytes) -> None:
    """Any text as a have-list. What is taken is written and read again as the same."""
    with suppress(SquashkitError):
        have = parse_have(data.decode("utf-8", "surrogateescape"), "list")
        lines = list(have.lines())
        assert list(parse_have("".join(f"{line}\n" for line in lines), "list").lines()) == lines
        assert len(lines) <= 1 + len(have.layers)


def _load_docker(data: bytes, where: str) -> object:
    return docker_archive.list_images(Memory({"manifest.json": data}), "")


@drawn(changed(_STATEMENT) | ODD.map(str))
def statements(text: str) -> None:
    """Provenance of a build: what is not understood is passed over."""
    for name, digest in base_images(text.encode("utf-8", "surrogatepass")):
        assert isinstance(name, str)
        assert digest.startswith("sha256:")


_AUTHS = {
    "auths": {"registry.example": {"auth": "dXNlcjpwYXNz"},
    "https://index.docker.io/v1/": {"identitytoken": "t"}, "other.example/library": {"registrytoken": "r"}},
    "HttpHeaders": {"a": "b"}, "credsStore": "nowhere", "credHelpers": {"other.example": "nowhere"},
}  # fmt: skip


@drawn(st.tuples(changed(_AUTHS), st.sampled_from(["registry.example", "docker.io", "other.example"])))
def credentials(value: tuple[str, str]) -> None:
    """The docker client's config, as somebody left it. No helper is found: PATH is empty."""
    text, host = value
    path = Path(gettempdir()) / f"squashkit-fuzz-{os.getpid()}.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    before = os.environ["PATH"]
    os.environ["PATH"] = ""
    try:
        with suppress(UsageError):  # a file that was asked for, and is none
            found = CredentialSources(path).find(host, "library/app").credentials
            assert found is None or found.basic.isascii()
    finally:
        os.environ["PATH"] = before
        path.unlink()


# --- words -----------------------------------------------------------------------------------

_WORDS = st.lists(
    st.sampled_from(
        [
            "docker://", "docker-daemon:", "containers-storage:", "oci:", "oci-archive:",
            "docker-archive:", "dir:",
            "-", "app", "a", "library", "registry.example", "localhost", "[::1]", ":5000", ":", "/", "//",
            "@",
            "sha256:", "0" * 64, ".", "..", "~", ".tar", "_", "__", "A", "user:password@", "?", "#", "\0",
            "\n",
            "\x1b", "\u202e", "x" * 128, "y" * 300, "\ud800", "=", ",", "1", "2", "+", " ", "%", "5", "MB",
            "GiB",
        ]
    ) | st.text(max_size=4),
    max_size=8,
).map("".join)  # fmt: skip


@drawn(st.tuples(_WORDS, _WORDS))
def references(value: tuple[str, str]) -> None:
    """References and names. A name's full form is its own full form, and its familiar form means it."""
    text, other = value
    for parse in (parse_reference, parse_output):
        with suppress(SquashkitError):
            str(parse(text))
    same_name(text, other)
    if (name := ImageName.of(text)) is not None:
        assert ImageName.parse(str(name)) == name == ImageName.parse(name.familiar)
        assert str(name).startswith(name.full_repository)
        assert same_name(text, str(name), other)


@drawn(_WORDS)
def options(text: str) -> None:
    """What options take: it is read, or refused in the way that the option documents."""
    for parse in (
        Compression.parse, parse_platform_choice, parse_created, parse_kinds, MinSaving.parse, parse_size,
    ):  # fmt: skip
        with suppress(ValueError, SquashkitError):
            parse(text)
    for total in (1, 3):
        with suppress(SquashkitError):
            segments = parse_segments(text, total)
            assert sum(map(len, segments)) == total
            assert all(isinstance(one, Segment) for one in segments)


_GLOBS = st.lists(
    st.sampled_from(["*", "**", "?", "/", "a", "b.c", "[", "]", "[a-c]", "[!a]", "\\", "..", ".", "id_rsa",
    "\udcff"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)  # fmt: skip
_LINKS = st.lists(st.tuples(st.sampled_from(["a", "b", "a/b", "c"]), _GLOBS), max_size=6)


@drawn(st.tuples(_GLOBS, _GLOBS, _LINKS))
def patterns(value: tuple[str, str, list[tuple[str, str]]]) -> None:
    """Patterns of `--absent`, over names and symlinks; a path without signs finds itself."""
    text, name, links = value
    with suppress(ValueError):
        pattern = parse_pattern(text)
        assert pattern.is_content or pattern.paths is not None
        if pattern.paths is not None:
            for path in (name, name * 20, "a/" * 100 + name):
                pattern.paths.search(path)
        pattern.words.search(name * 50)
        members = [symlink(os.fsencode(a), os.fsencode(b)) for a, b in links if b and _is_encodable(b)]
        with suppress(SquashkitError):
            with_aliases(pattern, links_in_layers([read_changeset(layer(*members))]))
        if not set(text) & set("*?[\\") and pattern.paths is not None:
            assert pattern.paths.search(pattern.glob), "a path does not find itself"
    list(digests_of(name))


def _is_encodable(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


# --- streams and files -----------------------------------------------------------------------

_CONTENT = st.sampled_from([b"", b"a", b"data" * 300, bytes(70_000), random.Random(1).randbytes(3000)])


@st.composite
def _streams(draw: st.DrawFn) -> tuple[list[bytes], bytes | None, list[int]]:
    """Members of a stream, what they hold if it is in order, and where it is cut into blocks."""
    codec = draw(st.sampled_from(["gzip", "zstd", "xz", "bzip2"]))
    parts: list[bytes] = []
    right: bytes | None = b""
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 11))
        if kind < 6:
            content = draw(_CONTENT)
            parts.append(_packed(codec, content))
            right = None if right is None else right + content
        elif kind == 6 and codec == "zstd":
            payload = draw(st.binary(max_size=20))
            parts.append(b"\x50\x2a\x4d\x18" + len(payload).to_bytes(4, "little") + payload)
        elif kind == 7 and codec == "gzip" and parts:
            parts.append(bytes(draw(st.integers(1, 600))))
            break  # what stands behind padding is read by some, and not by others
        else:
            damaged = bytearray(
                _packed(draw(st.sampled_from(["gzip", "zstd", "xz", "bzip2"])), draw(_CONTENT))
            )
            for _ in range(draw(st.integers(0, 3))):
                damaged[draw(st.integers(0, len(damaged) - 1))] ^= 1 << draw(st.integers(0, 7))
            parts.append(bytes(damaged[: draw(st.integers(0, len(damaged)))]) + draw(st.binary(max_size=8)))
            right = None
    return parts, right, draw(st.lists(st.integers(0, 4000), max_size=4))


def _packed(codec: str, content: bytes) -> bytes:
    if codec == "gzip":
        return gzip.compress(content, mtime=0)
    if codec == "xz":
        return lzma.compress(content)
    return bz2.compress(content) if codec == "bzip2" else compress(content, "zstd")


@drawn(_streams())
def streams(value: tuple[list[bytes], bytes | None, list[int]]) -> None:
    """Compressed streams, whole, cut, joined and padded. How they come in blocks makes no difference."""
    parts, right, cuts = value
    data = b"".join(parts)
    whole = _inflated([data])
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert _inflated([data[a:b] for a, b in pairwise(edges)], data) == whole
    assert right is None or whole == right or not data


def _inflated(blocks: list[bytes], data: bytes | None = None) -> bytes | None:
    """The content of a stream, None where it is refused."""
    pieces = []
    try:
        for piece in decompress(detect((data or blocks[0])[:MAGIC_SIZE]), blocks):
            assert len(piece) <= 1 << 20 or len(piece) <= max(map(len, blocks))
            pieces.append(piece)
    except SquashkitError:
        return None
    return b"".join(pieces)


@raw(lambda: [_packed(codec, b"data" * 300) for codec in ("gzip", "zstd", "xz", "bzip2")])
def stream_bytes(data: bytes) -> None:
    """Any bytes as a stream, at once and byte by byte, up to 64 MiB of content."""
    got: list[tuple[int, str] | None] = []
    for blocks in ([data], [data[i : i + 1] for i in range(len(data))]):
        digest = hashlib.sha256()
        size = 0
        try:
            for piece in decompress(detect(data[:MAGIC_SIZE]), blocks):
                digest.update(piece)
                size += len(piece)
                if size > 64 << 20:
                    return
            got.append((size, digest.hexdigest()))
        except SquashkitError:
            got.append(None)
    assert got[0] == got[1], "blocks make a difference"


_CACHED = DiffID(_A)
_MAGIC = b"squashkit entries 1\n"


@st.composite
def _cache_files(draw: st.DrawFn) -> bytes:
    """Files of the entry cache: their parts odd, and their own digest mostly right."""
    spans = b""
    for _ in range(draw(st.integers(0, 4))):
        blocks = draw(st.sampled_from([layer(file("a", b"a"), end=False), bytes(512), b"", bytes(1024)]))
        blocks = blocks[: draw(st.sampled_from([512, 1024, 100]))]
        stated = draw(st.sampled_from([len(blocks)] * 5 + [0, 2**32 - 1]))
        at = draw(st.sampled_from([0, 512, 1024, 2**63, 2**64 - 1]))
        spans += at.to_bytes(8, "little") + stated.to_bytes(4, "little") + blocks
    if draw(st.integers(0, 4)):
        spans += (2**64 - 1).to_bytes(8, "little") + b"\x09\0\0\0" + draw(st.binary(min_size=9, max_size=9))
    packed = bytearray(compress(spans, "zstd"))
    if draw(st.integers(0, 9)) == 0:
        packed[draw(st.integers(0, len(packed) - 1))] ^= 1 << draw(st.integers(0, 7))
    body = _MAGIC + _CACHED.encode() + bytes(packed)
    digest = hashlib.sha256(body).digest() if draw(st.integers(0, 9)) else draw(st.binary(max_size=40))
    return body + digest


@drawn(_cache_files() | st.binary())
def cache_files(data: bytes) -> None:
    """Files of the entry cache, whatever is in them: known, or thrown away."""
    folder = Path(gettempdir()) / f"squashkit-fuzz-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    path = folder / _CACHED.removeprefix("sha256:")
    path.write_bytes(data)
    try:
        found = EntryCache(folder).get(_CACHED)
        assert (found is None) == (not path.exists()), "a bad file stays, or a good one went"
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()


@cache
def _recipes() -> list[bytes]:
    """Recipes whose pieces are not compressed: so what is changed in them is still read."""
    sources = (SourceNote(sha256(b"i"), "", Platform("linux", "amd64"), (0, 1)),)
    blobs = (BlobNote(DiffID(sha256(b"a")), "", 0), BlobNote(DiffID(sha256(b"b")), sha256(b"c"), 9))
    pieces = (bytes(512), Copy(0, 0, 1024), Copy(1, 4096, 8192), Copy(0, 512, 1024), bytes(1024))
    layers = (MadeLayer(pieces, DiffID(sha256(b"d")), sha256(b"e"), 7, "gzip:6", "zlib-ng 2"),)
    image = ImageNote(
        0, "=1,1", BaseNote(1), History(), (0, None), "oci", sha256(b"f"), sha256(b"g")
    )  # fmt: skip
    made = [
        Recipe(SQUASH, "squashkit", merge_options(Merge()), blobs, sources, layers, (image,)),
        Recipe(REBASE, "squashkit", rebase_options(Rebase("")), blobs, sources, (), (image,)),
        Recipe(FLEET, "squashkit", fleet_options("best", FleetOptions()), blobs, sources, (), (image,)),
    ]
    packed = [pack(recipe).partition(b"\n") for recipe in made]
    return [head + newline + zlib.decompress(body) for head, newline, body in packed]


@raw(_recipes)
def recipes(data: bytes) -> None:
    """A recipe of a stranger, whose body is what its head says. What is taken is written and read again as
    the same."""
    line, newline, body = data.partition(b"\n")
    with suppress(ValueError, RecursionError):
        head = json.loads(line)
        if isinstance(head, dict):
            head["body"] = {"size": len(body), "digest": sha256(body)}
            line = dump_json(head)
    with suppress(InvalidRecipe):
        recipe = unpack(line + newline + zlib.compress(body), "the recipe")
        assert unpack(pack(recipe), "the same") == recipe
