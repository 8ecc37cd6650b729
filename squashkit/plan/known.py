"""Bases as the user's catalogue has them: which layers a base had when it was seen."""

from __future__ import annotations

from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ImageConfig, Platform, dump_json
from squashkit.oci.graph import Image, stack_layers
from squashkit.values import frozen


@frozen
class KnownBase:
    """A base as it was seen once."""

    reference: str
    """By which it was added."""
    platform: Platform
    """What it runs on."""
    image_id: Digest
    """The digest of its config."""
    digest: str
    """Of its manifest or index, empty where it was read from where there are none."""
    diff_ids: tuple[DiffID, ...]
    """Of its layers, base first."""
    config: bytes
    """Empty where only its layers were told."""
    seen: str
    """When: RFC 3339, in UTC."""
    added: bool = True
    """Whether a person added it; else a squash or a rebase had it."""

    @classmethod
    def of(cls, image: Image, reference: str, digest: str, seen: str) -> KnownBase:
        """An image that was read, or of which a store told."""
        platform = image.platform
        said = {
            "os": platform.os,
            "architecture": platform.architecture,
            "rootfs": {"type": "layers", "diff_ids": list(image.diff_ids)},
        }
        config = image.config.data or dump_json({**image.config.raw, **said})
        return cls(reference, platform, image.image_id, digest, image.diff_ids, config, seen)

    def __repr__(self) -> str:
        return f"<KnownBase: {self.reference:.60}, {self.platform}, {len(self.diff_ids)} layers>"

    def image(self) -> Image:
        """As an image whose layers are not available."""
        config = (
            ImageConfig.parse(self.config, f"the catalogue's config of {self.reference}")
            if self.config
            else ImageConfig(self.diff_ids, None, self.platform, None, {}, b"")
        )
        nothing = [None] * len(self.diff_ids)
        layers = stack_layers(config, nothing, nothing, self.reference)
        return Image((self.reference,), self.image_id, config, layers, None, None)
