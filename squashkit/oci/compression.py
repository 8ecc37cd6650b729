"""How a layer is to be compressed."""

from __future__ import annotations

from squashkit.oci.media import Codec
from squashkit.values import frozen

GZIP_LEVEL = 6
ZSTD_LEVEL = 3


@frozen
class Compression:
    """How a new layer is stored: a codec and, where it has one, its level."""

    codec: Codec
    """How the bytes are compressed, or that they are not."""
    level: int = 0
    """1 to 9 of gzip, 1 to 19 of zstd; 0 where there is none."""
    splice: bool = False
    """For gzip: copy deflate blocks of the gzip layers that it is made of, and deflate only what is between
    them. The bytes depend on how those were compressed then."""

    @classmethod
    def of(cls, codec: Codec) -> Compression:
        """A codec at its usual level, with blocks copied where it is gzip."""
        level = {Codec.GZIP: GZIP_LEVEL, Codec.ZSTD: ZSTD_LEVEL}.get(codec, 0)
        return cls(codec, level, splice=codec is Codec.GZIP)

    @classmethod
    def parse(cls, text: str) -> Compression:
        """From `none`, `gzip[:LEVEL]` or `zstd[:LEVEL]`; with a level, gzip copies no blocks. Raises
        ValueError."""
        name, colon, level = text.partition(":")
        limits = {"none": (0, 0), "gzip": (1, 9), "zstd": (1, 19)}.get(name)
        if limits is None or (colon and name == "none"):
            raise ValueError(f"{text!r} is not none, gzip[:LEVEL] or zstd[:LEVEL]")
        if not colon:
            return cls.of(Codec(name))
        if not level.isdigit() or not limits[0] <= int(level) <= limits[1]:
            raise ValueError(f"the level of {name} is {limits[0]} to {limits[1]}, not {level!r}")
        return cls(Codec(name), int(level))

    def __str__(self) -> str:
        """As `parse` takes it."""
        return (
            self.codec.value if self == Compression.of(self.codec) else f"{self.codec.value}:{self.level}"
        )
