"""Tags of a registry that are read, and moved once their result lies there by its digest.

No registry compares and sets: between a look at a tag and its move somebody else may move it. That time is
as short as two requests.
"""

from __future__ import annotations

from contextlib import closing

from squashkit.oci.digests import Digest, sha256
from squashkit.oci.names import ImageName
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.repository import Repository


def meaning_of(registries: Registries, name: ImageName) -> bytes | None:
    """The manifest or index that a tag means, None where there is no such tag."""
    with closing(Repository(registries.get(name), name.repository)) as repository:
        return repository.meaning(name.tag)


def move_tag(registries: Registries, name: ImageName, to: Digest, expected: Digest | None) -> bool:
    """Have a tag mean a manifest of its repository, if it still means what is expected (None: nothing), or
    that manifest already. Whether it does now. Raises what reading and storing a manifest raises."""
    with closing(Repository(registries.get(name), name.repository, push=True)) as repository:
        meaning = repository.meaning(name.tag)
        now = None if meaning is None else sha256(meaning)
        if now == to:
            return True
        if now != expected:
            return False
        data, media_type = repository.manifest(to)
        repository.put_manifest(name.tag, media_type, data)
        return True
