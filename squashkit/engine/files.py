"""What the files of layers that lie elsewhere hold, kept from one run to the next beside their entries: a
digest of each file, and the texts that say what others are. No base is fetched again only to be compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from squashkit.errors import TransportError
from squashkit.oci.digests import DiffID
from squashkit.transports.atomic import AtomicFile
from squashkit.transports.blobs import write_all
from squashkit.values import frozen

_MAGIC = b"squashkit files 2\n"
_CHECKSUM = 32


@frozen
class KnownFiles:
    """What the files of a layer hold, by where their headers begin in its tar."""

    digests: Mapping[int, bytes]
    """Of all regular files, as `content_digest` makes them."""
    texts: Mapping[int, bytes]
    """Of some files all that they hold."""


@frozen
class FileCache:
    """Known files by diff_id, in the folder of entries, which is kept small. A folder that cannot be
    written keeps nothing, and that is no error."""

    folder: Path

    def _path(self, diff_id: DiffID) -> Path:
        return self.folder / f"{diff_id.removeprefix('sha256:')}.files"

    def get(self, diff_id: DiffID) -> KnownFiles | None:
        """None where a layer is not known, or what is there is not whole."""
        path = self._path(diff_id)
        if not os.path.isfile(path):  # a pipe would wait for ever
            return None
        with suppress(OSError, ValueError, zlib.error, AttributeError, TypeError):
            data = path.read_bytes()
            body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
            head = _MAGIC + diff_id.encode()
            if not body.startswith(head) or hashlib.sha256(body).digest() != checksum:
                return None
            value = json.loads(zlib.decompress(body[len(head) :]))
            digests = {int(start): bytes.fromhex(text) for start, text in value["digests"].items()}
            texts = {int(start): text.encode("latin-1") for start, text in value["texts"].items()}
            os.utime(path)  # what was used last goes last
            return KnownFiles(digests, texts)
        return None

    def put(self, diff_id: DiffID, files: KnownFiles) -> None:
        """Keep what was read of a layer that is what its diff_id says."""
        value = {
            "digests": {start: digest.hex() for start, digest in files.digests.items()},
            "texts": {start: text.decode("latin-1") for start, text in files.texts.items()},
        }
        body = _MAGIC + diff_id.encode() + zlib.compress(json.dumps(value).encode(), 6)
        with suppress(OSError, TransportError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = AtomicFile(self._path(diff_id))
            try:
                write_all(file.fd, body + hashlib.sha256(body).digest())
                file.publish(replace=True, sync=False)
            finally:
                file.close()
