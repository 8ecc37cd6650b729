"""A store to write into: a docker daemon, or podman's storage.

The archive is made in a file without a name, less the layers that the store has. Its image is loaded
without a name, so that a load that breaks off leaves none. Once the store says that it has the very layers,
the image gets its names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace

from squashkit.errors import ImageNotFound, InvalidImage, SquashkitError, Unavailable, UsageError
from squashkit.oci.digests import ChainID, Digest, chain_ids
from squashkit.oci.graph import Layer
from squashkit.transports.archive.reader import Archive
from squashkit.transports.archive.sink import ArchiveWriter
from squashkit.transports.blobs import Blob, open_unnamed
from squashkit.transports.contracts import Check, Loading, Written
from squashkit.transports.layout.index import blob_name
from squashkit.transports.room import Room
from squashkit.transports.source import Source
from squashkit.transports.stored import digest_of, nearest
from squashkit.transports.stores.store import Store, StoredImage
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target

_PIECE = 2 << 20


def lost_in_store(store: Store, guard: TagGuard) -> list[str]:
    """What tags of a store would lose. Raises UsageError where nobody chose that."""
    lost = (guard.check(name, store.platforms(name)) for name in guard.results)
    return [one for one in lost if one is not None]


def refuse_platforms(store: Store, target: Target) -> None:
    """Raises UsageError where several platforms are to go into a store that has one of each image."""
    if target.several and store.is_classic():
        raise UsageError(
            f"{store.title} keeps one platform of an image here (docker keeps more in containerd's image"
            " store); write all of them to a registry or a layout (oci:DIR)"
        )


def held_blobs(
    sources: Sequence[Source], transport: str, kept: Sequence[Layer], *, by_chain: bool
) -> dict[Digest, Callable[[], Blob]]:
    """Blobs of kept layers that the store of a transport was seen to have in what was read, and how to get
    them all the same."""
    own = [one for one in sources if one.in_store and one.reference.transport == transport]
    if by_chain:
        stored = [one.in_store.diff_ids for one in own if one.in_store is not None]
        return _held_by_chain({chain_id for ids in stored for chain_id in chain_ids(ids)}, kept)
    return {
        digest: nearest(layer).open
        for layer in kept
        if (digest := digest_of(layer)) and any(one.container.has(blob_name(digest)) for one in own)
    }


def _held_by_chain(known: Collection[ChainID], kept: Sequence[Layer]) -> dict[Digest, Callable[[], Blob]]:
    """Those of an image's lowest kept layers. One that stands in the image again, on others, must be
    sent."""
    held: dict[Digest, Callable[[], Blob]] = {}
    for number, layer in enumerate(kept):
        if layer.index != number or layer.chain_id not in known:
            break
        digest = digest_of(layer)
        if digest and all(other.diff_id != layer.diff_id for other in kept[number + 1 :]):
            held[digest] = nearest(layer).open
    return held


class StoreSink(ArchiveWriter):
    """An archive on its way into a store. `held` are blobs of layers that the store has, and where to get
    them should it want them all the same."""

    def __init__(
        self,
        store: Store,
        tmp_dir: Room,
        held: Mapping[Digest, Callable[[], Blob]],
        progress: Callable[[int], None],
        guard: TagGuard,
    ) -> None:
        self.notes = lost_in_store(store, guard)
        super().__init__(open_unnamed(tmp_dir.folder), tmp_dir, docker=store.is_classic())
        self.title = store.title
        self.loading: Loading = Loading()
        self._store = store
        self._held = held
        self._left_out: dict[Digest, int] = {}
        self._progress = progress

    def has(self, digest: Digest, size: int) -> bool:
        if digest in self._held:
            self._left_out[digest] = size
            return True
        return super().has(digest, size)

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        (one,) = written
        nameless = [replace(one, tags=[], repo_tags=[])]
        size = self.end(nameless)
        if check is not None:
            held = {digest: blob() for digest, blob in self._held.items()}
            with closing(_WithHeld(os.dup(self.fd), size, held)) as archive:
                check(archive)
        there = self._load(one)
        if there is None and self._held:
            self._add_held()
            self.end(nameless)
            there = self._load(one, last=True)
        if there is None:
            raise Unavailable(
                f"{self.title} took the image and does not have its layers; it got no name",
                reference=self.title,
            )
        self._name(there, one.repo_tags)
        self.loading.id = there.id

    def _load(self, written: Written, *, last: bool = False) -> StoredImage | None:
        """Load the archive. None where the store, afterwards, does not have these very layers: with layers
        left out it may refuse, and does not say so in one way."""
        before = self._find(written)
        if before is not None and self._store.is_classic():  # known by its config, which names the layers
            self.loading.left_out = self._size_of(written)
            return before
        try:
            with open(os.dup(self.fd), "rb") as archive:
                archive.seek(0)
                self._store.load(archive, self._progress)
                self.loading.sent += archive.tell()
                self.loading.left_out = sum(self._left_out.values())
        except Unavailable:
            if last or not self._held:
                raise
            return None
        there = self._find(written)
        if there is None or self._store.is_whole(there, written, self._left_out, self._count_proof):
            return there
        if before is None:
            self._store.remove(there.id)
        return None

    def _size_of(self, written: Written) -> int:
        """Bytes of an image's layers."""
        (image,) = written.images
        with closing(_WithHeld(os.dup(self.fd), os.fstat(self.fd).st_size, {})) as archive:
            blobs = [archive.get(blob_name(digest)) for digest in {*image.layers} - self._left_out.keys()]
        return sum(self._left_out.values()) + sum(blob.size for blob in blobs if blob is not None)

    def _find(self, written: Written) -> StoredImage | None:
        is_classic = self._store.is_classic()
        with suppress(ImageNotFound):
            return self._store.inspect(written.images[0].config if is_classic else written.root.digest)
        return None

    def _count_proof(self, count: int) -> None:
        self.loading.proof += count
        self._progress(count)

    def _add_held(self) -> None:
        held, self._held, self._left_out = self._held, {}, {}
        for digest, get in held.items():
            blob = get()
            slot = self.slot(blob.size)
            at = 0
            while at < blob.size:
                piece = blob.read_at(at, _PIECE)
                if not piece:
                    raise InvalidImage("a layer's file ends early", where=self.title)
                slot.write(piece)
                at += len(piece)
            slot.seal()
            slot.finish(digest)

    def _name(self, image: StoredImage, names: Sequence[str]) -> None:
        """Give all names or none: what they meant before they mean again where one cannot be given."""
        before: dict[str, str | None] = {}
        try:
            for name in names:
                try:
                    before[name] = self._store.inspect(name).id
                except ImageNotFound:
                    before[name] = None
                self._store.tag(image.id, name)
        except BaseException:
            for name, old in before.items():
                with suppress(SquashkitError):
                    if old is None:
                        self._store.untag(name)
                    else:
                        self._store.tag(old, name)
            raise

    def close(self) -> None:
        os.close(self.fd)


class _WithHeld(Archive):
    """The archive with the layers that were left out of it."""

    def __init__(self, fd: int, size: int, held: Mapping[Digest, Blob]) -> None:
        super().__init__(fd, size)
        self._held = {blob_name(digest): blob for digest, blob in held.items()}

    def _find(self, name: str) -> Blob | None:
        return self._held.get(name) or super()._find(name)
