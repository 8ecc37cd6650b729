"""Whether what must be absent is in an image, hidden or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import field
from functools import partial

from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, TooLarge, show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.rootfs import Rootfs
from squashkit.layers.search import (
    Pattern,
    Sighting,
    describe,
    find_applied,
    find_paths,
    find_text,
    links_in_layers,
    with_aliases,
)
from squashkit.oci.gojson import load_json
from squashkit.oci.graph import Image, Layer
from squashkit.transports.blobs import WINDOW, Blob, jumping_window
from squashkit.transports.session import Session
from squashkit.transports.stored import nearest
from squashkit.values import mutable
from squashkit.wording import Option, Words

_HOLES = 16 << 30
"""Bytes of one file's holes that are looked through where nobody says how many: some ten seconds."""


@mutable
class AbsenceSearch:
    """A search for patterns through images that share layers: the contents of each are compared once."""

    patterns: Sequence[Pattern]
    session: Session
    _searched: set[Blob] = field(default_factory=set)
    """Layers whose files' contents were compared."""

    def image(
        self, layers: LayerStore, image: Image, changesets: dict[int, Changeset | None], rootfs: Rootfs
    ) -> list[Sighting]:
        """In an image: in its tree, in every layer, in its config and manifest. Layers that could not be
        read are None, and so may hold it."""
        places: list[Sighting] = []
        there = [changeset for changeset in changesets.values() if changeset is not None]
        patterns: list[Pattern] = []
        links = links_in_layers(there)
        for pattern in self.patterns:
            aliases, complete = with_aliases(pattern, links)
            patterns += aliases
            if not complete:
                message = "more symlinks than can be followed lead there"
                places.append(Sighting(pattern.text, image.title, message))
        names = [layer.where for layer in image.layers]
        places += find_applied(patterns, rootfs, names)
        dead = {id(dropped.entry) for dropped in rootfs.dropped}
        contents: dict[int, Future[list[Sighting]]] = {}
        for index, changeset in changesets.items():
            if changeset is not None and any(pattern.is_content for pattern in self.patterns):
                layer = image.layers[index]
                blob = nearest(layer).open()
                if blob not in self._searched:
                    self._searched.add(blob)
                    call = partial(self._contents, layers, layer, changeset, dead)
                    contents[index] = layers.pool.submit(call, size=blob.size)
        layers.pool.finish(contents.values())
        for index, changeset in changesets.items():
            where = image.layers[index].where
            if changeset is None:
                message = "this layer could not be read"
                places += [Sighting(pattern.text, where, message) for pattern in self.patterns]
                continue
            if changeset.junk:
                message = "bytes behind the end of the tar, which are not looked into"
                places += [Sighting(pattern.text, where, message) for pattern in self.patterns]
            places += find_paths(patterns, changeset, where, dead)
            if index in contents:
                places += contents[index].result()
        places += find_text(self.patterns, image.config.raw, f"{image.title} config")
        if image.manifest is not None:
            places += find_text(self.patterns, image.manifest.raw, f"{image.title} manifest")
        return places

    def _contents(
        self, layers: LayerStore, layer: Layer, changeset: Changeset, dead: set[int]
    ) -> list[Sighting]:
        """Files of a layer whose content is one that must be absent."""
        places: list[Sighting] = []
        where = layer.where
        texts = [pattern.text for pattern in self.patterns if pattern.is_content]
        wanted = {bytes.fromhex(text.removeprefix("sha256:")): text for text in texts}
        sha256 = hashlib.sha256
        window = jumping_window(layers.bytes_of(layer))
        buffer, base = window(0)
        end = base + len(buffer)
        for entry in changeset.members:
            traits = entry.traits
            for name, value in (traits.xattrs or {}).items():
                if (found := wanted.get(sha256(value).digest())) is not None:
                    places.append(Sighting(found, where, f"the xattr {show_path(name)}", entry.path))
            if traits.typeflag != REGULAR:
                continue
            content: bytes | None
            at = entry.start + entry.headers
            stop = at + entry.size
            if end < stop <= at + WINDOW:
                buffer, base = window(at)
                end = base + len(buffer)
            if traits.sparse is None and stop <= end:  # one reading is for many small files
                content = sha256(buffer[at - base : stop - base]).digest()
            else:
                content = self._digest(layers, layer, entry)
            if content is None:
                message = Words(
                    "a sparse file of more bytes than ",
                    Option("Run.max_size"),
                    " allows, which is not looked into",
                )
                places += (Sighting(text, where, message, entry.path) for text in sorted({*texts}))
            elif content in wanted:
                places.append(Sighting(wanted[content], where, describe(entry, dead), entry.path))
        return places

    def _digest(self, layers: LayerStore, layer: Layer, entry: Entry) -> bytes | None:
        """The digest of a file's content; None where its holes are more than is looked through: of a few
        bytes they may make any number."""
        holes = entry.realsize - entry.size
        if self.session.room.limit is None and holes > _HOLES:
            return None
        digest = hashlib.sha256()
        try:
            for piece in layers.content(layer, entry):
                digest.update(piece)
        except TooLarge:
            return None
        return digest.digest()

    def stray(self, name: str, digest: str, data: bytes) -> list[Sighting]:
        """In a file of the archive that belongs to no image, and is shipped with it all the same."""
        patterns = self.patterns
        places = []
        for pattern in patterns:
            named = pattern.paths is not None and pattern.paths.search(name)
            if named or pattern.text == f"sha256:{digest}":
                places.append(Sighting(pattern.text, name, "a file of the archive itself"))
        try:
            document = load_json(data, name)
        except InvalidImage:
            message = "a blob of no image, which is not looked into"
            return places + [Sighting(pattern.text, name, message) for pattern in patterns]
        return [*places, *find_text(patterns, document, name)]
