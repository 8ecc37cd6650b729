"""Bases as the user's catalogue has them: which layers a base had when it was seen."""

from __future__ import annotations

from dataclasses import dataclass

from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ImageConfig, Platform
from squashkit.oci.graph import Image, stack_layers


@dataclass(frozen=True, slots=True)
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
