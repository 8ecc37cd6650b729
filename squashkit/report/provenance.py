"""How images were made, for others to check: a provenance predicate of SLSA v1, and the in-toto statement
around it. docs/provenance.md documents both.

They hold no times: the same run makes the same bytes, and a signature has a time of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from squashkit.oci.digests import Digest
from squashkit.values import frozen
from squashkit.version import __version__

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://squashkit.dev/provenance/v1"
BUILDER = "https://squashkit.dev/squashkit"
ROOTFS = "application/vnd.squashkit.rootfs.v1"
"""What the digest of a root file system is the digest of: its listing."""


@frozen
class Artifact:
    """Something that a digest names, as in-toto describes it."""

    name: str
    digest: Digest
    media_type: str = ""
    """Of the document whose digest that is: a manifest, an index or a config. Empty where only a daemon
    knows."""
    uri: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """A ResourceDescriptor of in-toto."""
        algorithm, _, value = self.digest.partition(":")
        described = {
            "name": self.name,
            "uri": self.uri,
            "digest": {algorithm: value},
            "mediaType": self.media_type,
            "annotations": dict(self.annotations),
        }
        return {key: value for key, value in described.items() if value}


@frozen
class Provenance:
    """What images were made from, how, and what they are."""

    parameters: Mapping[str, Any]
    """The command, and the options that decide what it makes."""
    dependencies: Sequence[Artifact]
    """The images that were read: the source, and bases."""
    subjects: Sequence[Artifact]
    """The images that were made."""
    rootfs: Sequence[Artifact]
    """Their root file systems."""

    def on(self, platform: str) -> Provenance:
        """The same with the platform of all artifacts."""
        marked = [
            [replace(one, annotations={**one.annotations, "platform": platform}) for one in artifacts]
            for artifacts in (self.dependencies, self.subjects, self.rootfs)
        ]
        return Provenance(self.parameters, *marked)

    def predicate(self) -> dict[str, Any]:
        """The provenance alone, for what puts it into a statement of its own (`cosign attest`)."""
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(self.parameters),
                "resolvedDependencies": [one.json() for one in self.dependencies],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"squashkit": __version__}},
                "byproducts": [one.json() for one in self.rootfs],
            },
        }

    def statement(self) -> dict[str, Any]:
        """The provenance with what it is about, to be signed as it is (`cosign attest-blob`)."""
        return {
            "_type": STATEMENT,
            "subject": [one.json() for one in self.subjects],
            "predicateType": PREDICATE,
            "predicate": self.predicate(),
        }


def of_platforms(parts: Mapping[str, Provenance], index: Artifact) -> Provenance:
    """The provenance of an index: its own images' together, each with its platform."""
    marked = [part.on(platform) for platform, part in parts.items()]
    return Provenance(
        marked[0].parameters,
        [one for part in marked for one in part.dependencies],
        [index, *(one for part in marked for one in part.subjects)],
        [one for part in marked for one in part.rootfs],
    )
