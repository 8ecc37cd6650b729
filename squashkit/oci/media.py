"""The words by which documents say what a blob is: media types, annotation keys, compression."""

from __future__ import annotations

from enum import Enum

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

REF_NAME = "org.opencontainers.image.ref.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
CONTAINERD_NAME = "io.containerd.image.name"
SOURCE_DIGEST = "dev.squashkit.source.digest"
BASE_CHAIN = "dev.squashkit.base.chain-id"
"""The uppermost layer of the base, with all below it: known without the base's manifest."""
DELTA_NEEDS = "dev.squashkit.delta.needs"
"""In an index: the digests of layers that were left out of the archive, since its reader has them."""


def distributable(media_type: str) -> str:
    """The media type of a layer; of one that must not be distributed the one that it would have else."""
    found = media_type.replace("rootfs.foreign.", "rootfs.")
    return found.replace("layer.nondistributable.", "layer.")


class Codec(Enum):
    """How a blob is compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"
