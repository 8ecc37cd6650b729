"""podman's storage (containers-storage), which has no API but its own tools: podman is asked."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from squashkit.amounts import together
from squashkit.errors import Unavailable, show_text
from squashkit.oci.digests import DiffID, Digest, is_digest, parse_digest
from squashkit.oci.documents import Descriptor, Platform, parse_index
from squashkit.oci.gojson import Leaf, ListOf, Struct, load_json
from squashkit.oci.have import HeldLayer, Keeper
from squashkit.oci.media import OCI_LAYER
from squashkit.oci.names import ImageName
from squashkit.transports.archive.reader import Archive, open_stream
from squashkit.transports.blobs import read_stream
from squashkit.transports.contracts import Written
from squashkit.transports.layout.index import is_attestation
from squashkit.transports.room import Room
from squashkit.transports.stores.store import STORED_SHAPE, Count, StoredImage, by_chain, not_there

_STORAGE = "containers-storage"
_LAYER_SHAPE = Struct(
    {
        "diff-digest": Leaf.TEXT,
        "diff-size": Leaf.NUMBER,
        "compressed-diff-digest": Leaf.TEXT,
        "compressed-size": Leaf.NUMBER,
        "compression": Leaf.NUMBER,
    }
)
"""What podman's storage notes of a layer (containers/storage, layers.go)."""
_ENDINGS = {2: "+gzip", 4: "+zstd"}
"""How it was compressed, by the numbers that are noted."""


class Podman:
    """The podman command, with the storage that it is set up for (CONTAINERS_STORAGE_CONF)."""

    title = "podman"

    def inspect(self, name: str) -> StoredImage:
        done = self._run("image", "inspect", "--format", "json", name, check=False)
        if done.returncode:
            raise not_there(self.title, name, self.names())
        where = f"{name} as podman tells it"
        (found, *_) = load_json(done.stdout, where, ListOf(STORED_SHAPE))
        return StoredImage(
            asked=name,
            id=f"sha256:{found['Id']}",
            names=tuple(found.get("RepoTags") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
            diff_ids=tuple(
                DiffID(parse_digest(d, f"{where}: RootFS.Layers")) for d in found["RootFS"]["Layers"] or ()
            ),
            platform=Platform(found.get("Os", ""), found.get("Architecture", ""), found.get("Variant", "")),
            size=int(found.get("Size") or 0),
            settings=found.get("Config") or {},
        )

    def steps(self, image: StoredImage) -> list[str]:
        told = load_json(
            self._run("history", "--no-trunc", "--format", "json", image.id).stdout,
            f"the history of {image.asked} as podman tells it",
        )
        return [str(one.get("CreatedBy") or "") for one in reversed(told or ()) if isinstance(one, dict)]

    def names(self) -> list[str]:
        said = self._run("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode()
        return sorted(name for name in said.splitlines() if "<none>" not in name)

    def platforms(self, name: str) -> list[Platform]:
        """A name of podman's may mean a manifest list, whose images need not be there."""
        done = self._run("manifest", "exists", name, check=False)
        if done.returncode:
            return []
        listed = parse_index(
            self._run("manifest", "inspect", name).stdout, f"{name} as podman tells it"
        ).manifests
        there = []
        for one in listed:
            by_digest = ImageName.parse(name).with_digest(one.digest)
            known = self._run("image", "exists", str(by_digest), check=False).returncode == 0
            if known and one.platform is not None and not is_attestation(one):
                there.append(one.platform)
        return list(dict.fromkeys(there))

    def save(self, images: Sequence[StoredImage], tmp_dir: Room, progress: Count) -> Archive:
        def blocks() -> Iterator[bytes]:
            command = ["podman", "save", "--format", "docker-archive", "--multi-image-archive"]
            command += [image.name for image in images]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                assert process.stdout is not None and process.stderr is not None
                yield from read_stream(process.stdout.fileno(), progress)
                said = process.stderr.read()
            if process.returncode:
                raise self._refused("save", said)

        asked = together([image.asked for image in images])
        return open_stream(blocks(), tmp_dir, f"{_STORAGE}:{asked}")

    def is_classic(self) -> bool:
        return True

    def keeper(self) -> Keeper:
        return Keeper.PODMAN

    def held(self, images: Sequence[StoredImage], progress: Count) -> list[HeldLayer]:
        """With the blobs that podman's storage has noted: the plain tar, by which it knows every layer, and
        the compressed one that it came as. What it notes is not part of its commands' answers, and of a
        podman on another machine it is not to be had."""
        plain, packed = self._noted()
        return [*by_chain(images, plain.get), *(one for one in by_chain(images, packed.get) if one.blob)]

    def _noted(self) -> tuple[dict[DiffID, Descriptor], dict[DiffID, Descriptor]]:
        """The plain and the compressed blobs by their layers."""
        asked = "{{.Store.GraphRoot}}\n{{.Store.GraphDriverName}}"
        root, _, driver = self._run("info", "--format", asked).stdout.decode().strip().partition("\n")
        path = Path(root, f"{driver}-layers", "layers.json")
        plain: dict[DiffID, Descriptor] = {}
        packed: dict[DiffID, Descriptor] = {}
        listed = None
        with suppress(OSError):
            listed = load_json(path.read_bytes(), str(path), ListOf(_LAYER_SHAPE))
        for one in listed or ():
            diff_id, digest = str(one.get("diff-digest")), str(one.get("compressed-diff-digest"))
            size, packed_size = one.get("diff-size") or 0, one.get("compressed-size") or 0
            ending = _ENDINGS.get(one.get("compression"))
            if is_digest(diff_id) and size > 0:
                plain[DiffID(diff_id)] = Descriptor(OCI_LAYER, Digest(diff_id), size)
            if is_digest(diff_id) and is_digest(digest) and packed_size > 0 and ending:
                packed[DiffID(diff_id)] = Descriptor(OCI_LAYER + ending, Digest(digest), packed_size)
        return plain, packed

    def is_whole(
        self, there: StoredImage, written: Written, left_out: Collection[Digest], progress: Count
    ) -> bool:
        return there.diff_ids == tuple(written.images[0].diff_ids)

    def load(self, archive: BinaryIO, progress: Count) -> None:
        self._run("load", "--quiet", stdin=archive)

    def tag(self, image: str, name: str) -> None:
        self._run("tag", image.removeprefix("sha256:"), name)

    def untag(self, name: str) -> None:
        self._run("untag", name)

    def remove(self, image: str) -> None:
        self._run("rmi", image.removeprefix("sha256:"), check=False)

    def _run(
        self, *arguments: str, stdin: BinaryIO | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run(
                ["podman", *arguments],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise Unavailable(
                f"{_STORAGE} needs podman, which is not installed; `podman save NAME -o FILE` on a machine"
                " that has it writes an archive",
                reference=_STORAGE,
            ) from error
        if check and done.returncode:
            raise self._refused(arguments[0], done.stderr)
        return done

    def _refused(self, what: str, said: bytes) -> Unavailable:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        told = show_text(lines[-1]) if lines else "it does not say why"
        return Unavailable(f"podman {what} failed: {told}", reference=_STORAGE)
