"""Hundreds of generated images in one archive, and the same images squashed, in another."""

import io
import random
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from math import floor
from multiprocessing import get_context
from pathlib import Path

from click.testing import CliRunner

from squashkit.cli.main import cli
from tests.compat.images import merge_archives
from tests.compat.rootfs import ROOT, Node, Snapshot
from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    file,
    hardlink,
    layer,
    on_base,
    whiteout,
)
from tests.support.generate import constructs, random_image
from tests.support.model import Node as ModelNode
from tests.support.model import apply_layers

UNCONTESTED = 200
OF_EACH = 5
"""How often each construct is wanted among the uncontested images; one that adds to none is left out."""
CONTESTED = 60
PER_ARCHIVE = 20
MOST_LAYERS = 5
"""Of an image: tools take their time for every single layer."""


CAPABLE = {"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}
CAPABLE_LINKS = {
    "links-alike": [
        file("a", b"data", xattrs=CAPABLE),
        hardlink("b", "a", xattrs=CAPABLE),
        hardlink("c", "a", xattrs=CAPABLE),
    ],
    "links-of-another-owner": [
        file("a", b"data", xattrs=CAPABLE),
        hardlink("b", "a", mode=0o755, uid=3, xattrs=CAPABLE),
        hardlink("c", "a", mode=0o755, uid=3, xattrs=CAPABLE),
    ],
}
"""Hard-linked files with capabilities, which the kernel takes away where an owner is set: they hold
only if the header that comes last has them, too."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Archives to read with the tags in each, and by tag the layers that were generated."""

    archives: list[tuple[Path, list[str]]]
    layers: dict[str, list[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """An image to squash, with the images that its archive must hold, and how to squash it."""

    tag: str
    images: list[ImageSpec]
    options: list[str]


def uncontested_images(folder: Path) -> Generated:
    """Images `source:N` on their bases `base:N`, and `source-squashed:N`, which keep them."""
    rng = random.Random("uncontested")
    seen: Counter[str] = Counter()
    requests = []
    layers = {}
    for number in range(UNCONTESTED):
        tag, base_tag = f"source:{number}", f"base:{number}"
        image = _image(rng, contested=False)
        kept = rng.randint(1, len(image) - 1)
        held = set(constructs(image, kept, len(image)))
        if all(seen[one] >= OF_EACH for one in held):
            continue
        seen.update(held)
        layers[tag] = image
        base = ImageSpec(image[:kept], [base_tag])
        source = on_base(base, *image[kept:], tags=[tag])
        requests.append(Request(tag, [base, source], ["--keep-base", base_tag]))
    return Generated(_squash_each(requests, folder), layers)


def contested_images(folder: Path) -> Generated:
    """Images `contested-squashed:N`, of which no layer is the source's: one layer, or two where
    there are layers enough for two runs."""
    rng = random.Random("contested")
    requests = []
    layers = {}
    for number in range(CONTESTED):
        tag = f"contested:{number}"
        image = layers[tag] = _image(rng, contested=True)
        options = ["--all"]
        if len(image) >= 4:
            lower = rng.randint(2, len(image) - 2)
            options = ["--segments", f"{lower},{len(image) - lower}"]
        requests.append(Request(tag, [ImageSpec(image, [tag])], options))
    for name, links in CAPABLE_LINKS.items():
        tag = f"contested:{name}"
        image = layers[tag] = [layer(), layer(*links), layer(whiteout("a"))]
        requests.append(Request(tag, [ImageSpec(image, [tag])], ["--segments", "=1,2"]))
    _, squashed = _squash_each(requests, folder)
    return Generated([squashed], layers)


def _image(rng: random.Random, *, contested: bool) -> list[bytes]:
    """An image that tools can hold: none of them takes sparse files as GNU tar once stored them."""
    while True:
        image = random_image(rng, contested=contested)
        if len(image) <= MOST_LAYERS and not any(map(_has_old_sparse, image)):
            return image


def _has_old_sparse(data: bytes) -> bool:
    if not data:
        return False
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        return any(member.type == tarfile.GNUTYPE_SPARSE for member in members)


def squashed_tag(tag: str) -> str:
    """The tag that the squashed form of the image `tag` gets."""
    return f"{tag.partition(':')[0]}-squashed:{tag.partition(':')[2]}"


def _squash_each(requests: Sequence[Request], folder: Path) -> list[tuple[Path, list[str]]]:
    """The archive of all images, and that of all the squashed ones, each with the tags to read.

    They are squashed from archives of a few, as all of an archive's images are looked at for one.
    """
    sources, outputs, arguments = [], [], []
    for start in range(0, len(requests), PER_ARCHIVE):
        few = requests[start : start + PER_ARCHIVE]
        sources.append(folder / f"source-{start}.tar")
        docker_archive_25(sources[-1], [image for request in few for image in request.images])
        for number, request in enumerate(few, start):
            outputs.append(folder / f"squashed-{number}.tar")
            image = f"docker-archive:{sources[-1]}:{request.tag}"
            names = ["-t", squashed_tag(request.tag), "-o", str(outputs[-1])]
            arguments.append([image, *request.options, *names])
    # Spawned, as threads that wait for tools may be running here.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for error in processes.map(_squash, arguments, chunksize=10):
            assert not error, error
    source, squashed = folder / "source.tar", folder / "squashed.tar"
    merge_archives(sources, source)
    merge_archives(outputs, squashed)
    tags = [request.tag for request in requests]
    return [(source, tags), (squashed, [squashed_tag(tag) for tag in tags])]


def _squash(arguments: list[str]) -> str:
    """Run the command in this process, as starting one for every image would take much longer;
    what went wrong, if anything did."""
    done = CliRunner().invoke(cli, ["squash", *arguments])
    return f"{arguments}: {done.output}" if done.exit_code else ""


def modelled(layers: Sequence[bytes]) -> Snapshot:
    """The root file system of these layers by the rules alone, as a tool should show it."""
    return {path: _as_seen(node) for path, node in apply_layers(layers).nodes.items()}


def common(snapshot: Snapshot) -> Snapshot:
    """What is left of a root file system where tools are compared with each other.

    Of the root's own attributes most make their own. Most leave an extended attribute without a
    value out, as an empty value in a tar takes a record back. And for a time before 1970, most
    write 1970.
    """
    return {
        path: replace(
            node,
            mtime_ns=max(0, node.mtime_ns),
            xattrs=tuple((name, value) for name, value in node.xattrs if value),
        )
        for path, node in snapshot.items()
        if path != ROOT
    }


def _as_seen(node: ModelNode) -> Node:
    is_file = node.kind == "file"
    return Node(
        type=node.kind,
        mode=node.mode,
        uid=node.uid,
        gid=node.gid,
        mtime_ns=floor(node.mtime * 10**9),
        xattrs=tuple(sorted((name.decode(), value) for name, value in node.xattrs.items())),
        size=len(node.content),
        sha256=sha256(node.content).hexdigest() if is_file else "",
        linkname=node.linkname,
        device=node.device,
        links=node.names if len(node.names) > 1 else frozenset(),
    )
