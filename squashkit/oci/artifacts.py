"""What lies beside images and is none: signatures, charts and other artifacts, by their tags and types.

Pure: a tag or a media type goes in, a noun for one such thing comes out.
"""

from __future__ import annotations

import re

from squashkit.oci.media import SCHEMA_1

_COSIGN = re.compile(r".*sha256-[0-9a-f]{64}\.(sig|att|sbom)")
"""Tags that cosign gives, some with a prefix of the user's."""
_REFERRERS = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}")
"""Tags of indexes of referrers, in registries without an API for them (distribution-spec, "Referrers Tag
Schema")."""
_BY_END = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}
_BY_TYPE = {
    "application/vnd.cncf.helm.config.v1+json": "chart",
    "application/vnd.cncf.notary.signature": "signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature",
    **dict.fromkeys(SCHEMA_1, "schema 1 image"),
}
OTHER = "other artifact"


def kind_by_tag(tag: str) -> str:
    """What a tag alone says it is; nothing where it may be an image."""
    if found := _COSIGN.fullmatch(tag):
        return _BY_END[found[1]]
    return "referrers index" if _REFERRERS.fullmatch(tag) else ""


def kind_by_type(media_type: str) -> str:
    """What the type of an artifact, or of its config, says it is."""
    return _BY_TYPE.get(media_type, OTHER)
