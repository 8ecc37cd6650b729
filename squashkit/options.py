"""How to squash: one value with the command line's defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from squashkit.jobs.selection import Keep
from squashkit.oci.documents import PlatformChoice
from squashkit.plan.documents import HistoryOptions
from squashkit.transports.codecs import Compression
from squashkit.transports.registry.access import Access
from squashkit.transports.target import Format


@dataclass(frozen=True, slots=True)
class MinSaving:
    """The least that a squash must save: bytes, and a share of the stored bytes to be squashed."""

    size: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to squash. The defaults are the command line's."""

    keep: Keep = field(default_factory=Keep)
    tags: tuple[str, ...] = ()
    format: Format | None = None
    compress: Compression | None = None
    platform: PlatformChoice | None = None
    """One of an index, or all of them; None for this machine's."""
    skip_missing: bool = False
    """With all platforms: leave out those whose blobs are not there."""
    whiteouts: Literal["explicit", "opaque"] = "explicit"
    symlink_parents: Literal["overlay", "follow"] = "overlay"
    """How a squash reads paths through symlinks of lower layers; a rebase reads as overlay file systems
    do."""
    blind: bool = False
    min_saving: MinSaving | None = None
    history: HistoryOptions = field(default_factory=HistoryOptions)
    force: bool = False
    replace: bool = False
    """Move the source's own tag, in a daemon or a registry, to the result."""
    push_by_digest: bool = False
    """Give the result no tag in a registry."""
    access: Access = field(default_factory=Access)
    fetch_base: bool = True
    """Whether a base that lies in a registry may be read where the plan needs its entries."""
    verify: bool = True
    check: bool = False
    """Read back what was written and compare it with the source before it gets its name."""
    dry_run: bool = False
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    tmp_dir: Path | None = None
    max_size: int | None = None
    """The most bytes that may be kept, temporary files and the result together, and the most that may come
    out of compressed layers. None: what is free, less 5 %, and no limit for what is not kept."""
