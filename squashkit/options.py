"""How to do a job: groups of options. A function takes those that it honours, and no others.

The defaults are the command line's. Where a person would write a text, a text will do: `Write(compress=
"gzip:9", min_saving="5%")`. A wrong one raises UsageError at once, which names the option; what is neither
a text nor the value that it stands for raises TypeError.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from squashkit.arguments import check_fields, texts
from squashkit.errors import UsageError
from squashkit.oci.compression import Compression
from squashkit.oci.documents import Platform, PlatformChoice, parse_platform_choice
from squashkit.values import frozen
from squashkit.wording import Option

if TYPE_CHECKING:
    from fractions import Fraction

Format = Literal["docker", "oci"]
T = TypeVar("T")


@frozen
class Keep:
    """What a squash leaves as it is. One of these is given, or none to go by what the image says of its
    base."""

    base: str | None = None
    """The base: an image's name, a reference, or a digest."""
    layers: int | None = None
    """How many layers, counted from the base."""
    from_step: str | None = None
    """Text of the one step from which to squash."""
    nothing: bool = False
    """Squash all layers into one."""
    segments: str | None = None
    """Runs of layers, as in `=2,3,=1`; those with `=` stay."""

    def __post_init__(self) -> None:
        check_fields(self)
        given = [
            self.base is not None,
            self.layers is not None,
            self.from_step is not None,
            self.nothing,
            self.segments is not None,
        ]
        if sum(given) > 1:
            raise UsageError(
                *(Option("Keep.base"), ", ", Option("Keep.layers"), ", ", Option("Keep.from_step"), ", "),
                *(Option("Keep.nothing"), " and ", Option("Keep.segments"), " exclude one another"),
            )

    @classmethod
    def of(cls, value: Keep | str | None) -> Keep:
        """A text names the base."""
        return value if isinstance(value, Keep) else cls(base=value)


@frozen
class Merge:
    """How layers become one, and what is left out of that."""

    whiteouts: Literal["explicit", "opaque"] = "explicit"
    """How a directory that was removed and made again hides what it had: by a whiteout for each name, or by
    one opaque marker."""
    symlink_parents: Literal["overlay", "follow"] = "overlay"
    """A path through a symlink of a lower layer: `overlay` puts a directory in its place, as overlay file
    systems do, `follow` follows it."""
    blind: bool = False
    """Go on where layers below are needed and not available. The result is not guaranteed then."""
    drop_caches: Sequence[str] | str = ()
    """Package managers whose caches are left out (`"apt,pip"`, or several texts), or `all`."""
    exclude: Sequence[str] | str = ()
    """Paths and globs that are left out, as what `verify` is told to be absent."""
    also_base: bool = False
    """Hide by whiteouts what the base has of both. That saves nothing."""

    def __post_init__(self) -> None:
        check_fields(self)


@frozen
class History:
    """How the job shows in the config."""

    created: str | None = None
    """When the result was made (RFC 3339, `2018-05-01T12:00:00Z`); None for the source's own time."""
    message: str | None = None
    """A comment for the new layer's history entry."""
    drop: bool = False
    """Leave out the history entries of the squashed layers."""

    def __post_init__(self) -> None:
        check_fields(self)
        _parsed("created", self.created, parse_created)


@frozen
class MinSaving:
    """The least that a squash must save: bytes, and a share of the stored bytes to be squashed."""

    size: int = 0
    """Bytes."""
    share: float = 0.0
    """0.05 for 5 %."""

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def parse(cls, text: str) -> MinSaving:
        """From `5%`, `10MB` or a number of bytes. Raises ValueError."""
        share = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*%", text.strip(), re.ASCII)
        if share is not None:
            return cls(share=float(share[1]) / 100)
        try:
            return cls(size=parse_size(text))
        except ValueError:
            raise ValueError(f"{text!r} is no share (5%) and no size (10MB)") from None

    def is_met(self, before: int, after: int) -> bool:
        """Whether bytes that become so many save enough."""
        saved = before - after
        return saved >= self.size and saved >= self.share * before


@frozen
class Which:
    """Which image of a source is meant, where it is an index."""

    platform: PlatformChoice | str | None = None
    """One platform (`linux/arm64`), or `all` of them; None for this machine's."""
    skip_missing: bool = False
    """With all platforms: leave out those whose blobs are not there."""

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.choice

    @property
    def choice(self) -> PlatformChoice | None:
        """The platform, of a text what it says."""
        return _parsed("platform", self.platform, parse_platform_choice)


@frozen
class Read(Which):
    """What is read to be written elsewhere, and how."""

    verify: bool = True
    """Check digests of what is read."""
    fetch_base: bool = True
    """Whether a base that lies in a registry may be read where the plan needs its entries."""
    have: Sequence[str] | str = ()
    """What the reader of an archive has already: have-lists, archives, layouts, references. These layers
    stay out of it: the result is a delta. An image that is a delta gets its layers from there, and the
    result is whole."""


@frozen
class Gates:
    """What an image may waste: each that is given is a gate of its own. Dead bytes are those of files that
    were made above the base."""

    max_wasted: int | str | None = None
    """The most dead bytes: `20MB`."""
    max_wasted_percent: float | None = None
    """The most of a hundred bytes above the base that may be dead."""
    min_efficiency: float | None = None
    """The least of a hundred bytes of the whole image that must not be dead."""
    max_layers: int | None = None
    """The most layers, the base's counted."""
    waste_floor: int | str = 0
    """Below so many dead bytes, percent and efficiency fail nobody."""
    count_live: bool = False
    """Count what rules find in the root file system with what is dead."""
    dive_ci: str | Path | None = None
    """A `.dive-ci` file: dive's own gates, judged by dive's numbers."""

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.most, self.floor
        shares = {
            Option("Gates.max_wasted_percent"): self.max_wasted_percent,
            Option("Gates.min_efficiency"): self.min_efficiency,
        }
        for option, share in shares.items():
            if share is not None and not 0 <= share <= 100:
                raise UsageError(option, f": {share:g} is no share of a hundred")

    @property
    def most(self) -> int | None:
        """The most dead bytes, of a text what it says."""
        return _parsed("max_wasted", self.max_wasted, parse_size)

    @property
    def floor(self) -> int:
        """The bytes below which shares fail nobody, of a text what it says."""
        return _parsed("waste_floor", self.waste_floor, parse_size) or 0


@frozen
class Write:
    """What is written, and where to."""

    tags: Sequence[str] | str = ()
    """Names for the result; none for the source's own."""
    format: Format | None = None
    """Form of the result; None for the source's."""
    compress: Compression | str | None = None
    """How new layers are stored: `none`, `gzip[:LEVEL]`, `zstd[:LEVEL]`; None: as the kept ones are."""
    force: bool = False
    """Replace what is there."""
    replace: bool = False
    """Move the source's own tag, in a daemon or a registry, to the result."""
    push_by_digest: bool = False
    """Give the result no tag in a registry."""
    min_saving: MinSaving | str | None = None
    """Write the image unchanged unless a squash saves this much: `5%`, `10MB`. Not for a rebase."""
    check: bool = False
    """Read back what was written and compare it with the source before it gets its name."""
    provenance: bool = False
    """Have the report say how the result was made, and what its root file system's digest is, for others to
    check. Every file of the result is hashed for that. Not with digests unchecked; a dry run has none."""
    dry_run: bool = False
    """Write nothing; say what would be."""
    recipe: Path | str | None = None
    """A file for the recipe: what the new layers are made of, so that others can make them again."""

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.compression, self.least

    @property
    def recipe_file(self) -> Path | None:
        """`recipe` as a path."""
        return _path(self.recipe)

    @property
    def names(self) -> list[str]:
        """The tags in an order of their own, each once: a set of names whose order changes no byte."""
        return sorted(set(texts(self.tags)))

    @property
    def compression(self) -> Compression | None:
        """How new layers are stored, of a text what it says."""
        return _parsed("compress", self.compress, Compression.parse)

    @property
    def least(self) -> MinSaving | None:
        """The least that a squash must save, of a text what it says."""
        return _parsed("min_saving", self.min_saving, MinSaving.parse)


@frozen
class Access:
    """How registries are reached."""

    authfile: Path | str | None = None
    """Where credentials are, in docker's form. None: where docker and podman have them."""
    tls_verify: bool | None = None
    """Whether a registry must prove who it is. None: yes, but not this very machine (localhost), as docker
    has it."""
    cert_dir: Path | str | None = None
    """A folder with CAs (*.crt) and client certificates (*.cert with *.key)."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def credentials(self) -> Path | None:
        """`authfile` as a path."""
        return _path(self.authfile)

    @property
    def certificates(self) -> Path | None:
        """`cert_dir` as a path."""
        return _path(self.cert_dir)


@frozen
class Run:
    """What a run of any job may use."""

    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads, one a processor. No result depends on it."""
    tmp_dir: Path | str | None = None
    """The folder for temporary files. None: the output's, else the system's."""
    max_size: int | str | None = None
    """The most that may be kept, temporary files and the result together, in bytes or as `10GB`, and the
    most that may come out of compressed layers. None: what is free, less 5 %, and no limit for what is not
    kept."""
    access: Access = field(default_factory=Access)
    """How registries are reached."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.jobs < 1:
            raise UsageError(f"jobs: {self.jobs} is less than one thread")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"max_size: {self.limit} is less than no byte")

    @property
    def folder(self) -> Path | None:
        """`tmp_dir` as a path."""
        return _path(self.tmp_dir)

    @property
    def limit(self) -> int | None:
        """`max_size` in bytes."""
        return (
            self.max_size
            if isinstance(self.max_size, int)
            else _parsed("max_size", self.max_size, parse_size)
        )


@frozen
class ByRecipe:
    """A recipe, and what it is to make its images of."""

    recipe: Path | str
    """Its file."""
    sources: Sequence[str] | str
    """References of the old images; of a rebase the image, its new base, and its old base where that was
    named."""
    merge: Merge = Merge()
    """What the recipe may leave out, and must, and how paths through symlinks are read."""
    clamp_mtime: str | None = None
    """The time that it may make of later ones, and must."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not texts(self.sources):
            raise UsageError(Option("sources"), ": the recipe is of an old image, which nobody named")

    @property
    def file(self) -> Path:
        """`recipe` as a path."""
        return Path(self.recipe)


MERGED = ("packages", "accounts", "caches")
"""What a rebase puts together unless told otherwise: dpkg's and apk's databases, accounts, and caches."""
MERGEABLE = (*MERGED, "rpm")
"""What it can put together: rpm's database, too, where that is SQLite."""


@frozen
class Rebase:
    """What to rebase, onto what, and what may break."""

    onto: str
    """The new base: an image's name in the same container, or a reference."""
    old_base: str | None = None
    """The base that the image has now; None: as the image says."""
    squash: bool = False
    """Merge the layers above the base into one."""
    config: Literal["follow", "keep"] = "follow"
    """Whether inherited settings follow the new base."""
    allow: Sequence[str] | str = ()
    """Kinds of errors that stop nothing: those in `ALLOWABLE`."""
    strict: bool = True
    """Stop at errors."""
    stop_on: Sequence[str] | str = ()
    """Kinds of warnings that stop it, too: those in `STOPPABLE`."""
    merge: Sequence[str] | str = MERGED
    """What is put together of databases that the layers above and the new base both have: those in
    `MERGEABLE`."""

    take_new: Sequence[str] | str = ()
    """What of the layers gives way to the new base's: `content`, files of the old base's packages that lie
    above with their old content."""

    @classmethod
    def of(cls, value: Rebase | str) -> Rebase:
        """A text names the new base."""
        return value if isinstance(value, Rebase) else cls(value)

    def __post_init__(self) -> None:
        check_fields(self)
        for name, kinds, known in (
            ("allow", self.allowed, ALLOWABLE),
            ("stop_on", self.stopping, STOPPABLE),
            ("merge", self.merging, MERGEABLE),
            ("take_new", self.taking, ("content",)),
        ):
            if unknown := sorted(kinds - {*known}):
                raise UsageError(f"{name}: {unknown[0]!r} is none of {', '.join(known)}")
        if both := sorted(self.allowed & self.stopping):
            raise UsageError(
                *(Option("Rebase.allow", both[0]), " and ", Option("Rebase.stop_on", both[0])),
                " exclude one another",
            )

    @property
    def allowed(self) -> frozenset[str]:
        """The kinds of errors that stop nothing."""
        return frozenset(texts(self.allow))

    @property
    def stopping(self) -> frozenset[str]:
        """The kinds of warnings that stop it."""
        return frozenset(texts(self.stop_on))

    @property
    def merging(self) -> frozenset[str]:
        """The kinds of databases that are put together."""
        return frozenset(texts(self.merge))

    @property
    def taking(self) -> frozenset[str]:
        """What gives way to the new base's."""
        return frozenset(texts(self.take_new))


@frozen
class Patch:
    """Which tags move when all tags below a place are rebased, and where that is noted."""

    replace: bool = False
    """The images' own."""
    tag_suffix: str = ""
    """Others beside them, with this at the end."""
    select: Literal["outdated"] | None = None
    """Tell of those alone that are not on the new base; None: of all."""
    rollback: str = ""
    """A new file that says what tags meant before they moved; empty: one with the time in its name."""
    reports: str = ""
    """A folder for the report of each rebase; empty for none."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.replace and self.tag_suffix:
            raise UsageError(
                *(Option("Write.replace", True), " and ", Option("Patch.tag_suffix", self.tag_suffix)),
                " exclude one another",
            )
        if self.tag_suffix and not re.fullmatch(r"[\w.-]{1,100}", self.tag_suffix, re.ASCII):
            raise UsageError(
                Option("Patch.tag_suffix", self.tag_suffix), ": tags have letters, digits, . _ and -"
            )


@frozen
class Extract:
    """What of an image becomes another one."""

    paths: Sequence[str] | str = ()
    """Paths, folders with all that they hold."""
    from_entrypoint: bool = False
    """What the image starts, too."""
    words: Sequence[str] | str = ()
    """What programs look for: `ca-certificates`, `tzdata`, `passwd`, `nsswitch`, `locale`."""
    allow_missing: Sequence[str] | str = ()
    """Globs of libraries and paths that may be missing."""
    base: str | None = None
    """The base to put it on; None for an image of nothing else."""

    def __post_init__(self) -> None:
        check_fields(self)
        if unknown := [word for word in self.kinds if word not in EXTRACT_WITH]:
            known = ", ".join(EXTRACT_WITH)
            raise UsageError(Option("Extract.words", unknown[0]), f": there are {known}")
        if "" in self.names:
            raise UsageError("a path is empty: / is the whole root file system")
        if not self.names and not self.from_entrypoint and not self.kinds:
            raise UsageError(
                "nothing is to be extracted: name paths, or pass ", Option("Extract.from_entrypoint", True)
            )

    @classmethod
    def of(cls, value: Extract | Sequence[str] | str) -> Extract:
        """Texts are paths."""
        return value if isinstance(value, Extract) else cls(value)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths."""
        return texts(self.paths)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What programs look for, each word once."""
        parts = (part.strip() for text in texts(self.words) for part in text.split(","))
        return tuple(dict.fromkeys(parts))

    @property
    def missing(self) -> tuple[str, ...]:
        """The globs."""
        return texts(self.allow_missing)


EXTRACT_WITH = ("ca-certificates", "tzdata", "passwd", "nsswitch", "locale")
"""What an extraction can be told to bring by a word."""


@frozen
class FleetOptions:
    """How to look at a fleet."""

    bases: Sequence[str] | str = ()
    """References of bases that images stand on, beside the catalogue's. They stay as they are."""
    minimise: Literal["registry", "host", "update"] = "registry"
    """What the best cut, and carving, are to make least: bytes in a registry, on a host, or what hosts
    download for the next release of each repository."""
    max_layers: int | None = None
    """The most layers that an image may have in the best cut, and carved; None for 125, carved for 40."""
    estimate: bool = False
    """Compress nothing: stored sizes by the ratios at which the layers are compressed."""
    platform: Platform | str | None = None
    """The one to take from indexes (`linux/arm64`); None for this machine's."""
    exclude: Sequence[str] | str = ()
    """Globs of names: images that have such a name, with its tag or without, are left out. `*` stands for
    any text, slashes included."""
    clamp_mtime: str | None = None
    """Files whose times are later get this one in carved layers: as RFC 3339, or in seconds since the
    epoch. Files that several builds made are the same then. None leaves all times as they are."""
    stable_from: Sequence[str] | str = ()
    """References of images that were carved before, or folders of scans of them: an image that has all of
    one of their layers gets it as it is."""
    strategies: Sequence[str] | str | None = None
    """What `measure_fleet` tells of: those in `STRATEGIES`; None for each, and `all` is estimated: it costs
    most to measure, and nobody should squash by it."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_layers is not None and self.max_layers < 1:
            raise UsageError(f"max_layers: {self.max_layers} is less than one layer")
        if unknown := [one for one in self.rows if one not in STRATEGIES]:
            known = ", ".join(STRATEGIES)
            raise UsageError(Option("FleetOptions.strategies"), f": {unknown[0]!r} is none of {known}")
        if not self.rows:
            raise UsageError(Option("FleetOptions.strategies"), " names none")
        _ = self.choice, self.latest

    @property
    def latest(self) -> int | None:
        """The time that later ones become, in nanoseconds since the epoch."""
        return None if self.clamp_mtime is None else _parsed("clamp_mtime", self.clamp_mtime, parse_time)

    @property
    def rows(self) -> tuple[str, ...]:
        """The strategies that are told."""
        return STRATEGIES if self.strategies is None else texts(self.strategies)

    @property
    def estimated(self) -> tuple[str, ...]:
        """Those of them that are not measured, though others are."""
        return ("all",) if self.strategies is None and not self.estimate else ()

    @property
    def published(self) -> tuple[str, ...]:
        """The references of images that were carved before."""
        return texts(self.stable_from)

    @property
    def named(self) -> tuple[str, ...]:
        """The bases' references."""
        return texts(self.bases)

    @property
    def choice(self) -> Platform | None:
        """The platform, of a text what it says."""
        return _parsed("platform", self.platform, Platform.parse)


@frozen
class Limits:
    """What all of a run together may ask of registries, their token servers and their storage."""

    connections: int | None = None
    """The most connections at a time; None for as many as there is work."""
    requests_per_second: float | str | None = None
    """The most requests in a second, in even time: a number, or a text as `0.5` or `1/3`. None for no
    limit."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.connections is not None and self.connections < 1:
            raise UsageError(f"connections: {self.connections} is less than one")
        _ = self.rate

    @property
    def rate(self) -> float | None:
        """Requests in a second, of a text what it says."""
        rate = _parsed("requests_per_second", self.requests_per_second, parse_rate)
        if rate is not None and not 0 < rate < math.inf:
            raise UsageError(f"requests_per_second: {rate} is no number of requests in a second (20, 0.5)")
        return rate

    def share(self, parts: int) -> Limits:
        """What each of so many parts may ask that are at work at the same time: one connection at least."""
        connections = None if self.connections is None else max(1, self.connections // parts)
        return Limits(connections, None if self.rate is None else self.rate / parts)


@frozen
class Spread:
    """Where the layers of a scan are read, and what that may ask of registries."""

    shard: str = "1/1"
    """The part that is read, as `2/8`: all of them, wherever they run, do what one run does. A part takes
    its share of the limits."""
    workers: int | None = None
    """So many processes of a Dask cluster that is made on this machine and ends with the scan."""
    scheduler: str | None = None
    """The address of a Dask cluster that is there, `tls://HOST:PORT`; `tcp://` on this machine alone."""
    limits: Limits = field(default_factory=Limits)
    """Of all processes and workers together."""

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.part
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers: {self.workers} is less than one process")
        if self.scheduler is not None:
            _parsed("scheduler", self.scheduler, parse_scheduler)
            if self.workers is not None:
                raise UsageError(
                    *(Option("Spread.workers"), " makes a cluster, and ", Option("Spread.scheduler")),
                    " names one: one of them is enough",
                )

    @property
    def part(self) -> tuple[int, int]:
        """The number of the part, from 1, and how many there are."""
        found = _parsed("shard", self.shard, parse_shard)
        assert found is not None
        return found

    @property
    def of_part(self) -> Limits:
        """The limits of this part."""
        return self.limits.share(self.part[1])


@frozen
class Replace:
    """A squashed fleet goes back where it was read: the tags of registries move to the results."""

    rollback: str = ""
    """The file that says what tags meant before they moved; empty: one with the time in its name. With that
    of a run that was stopped, its images are read as they were, and the run goes on."""

    def __post_init__(self) -> None:
        check_fields(self)


STRATEGIES = ("built", "all", "base", "trie", "best", "carve")
"""How a fleet may be kept: every layer as it is; every image as one layer, as far as its layers can be
merged; every base as it is and all above it as one layer, as built where no base is known; cut where the
fleet branches or an image ends; cut where that takes least; what the same images have above their bases in
layers of its own. In the order of the reports."""
ALLOWABLE = ("platform", "type", "parent", "content", "packages", "depends", "accounts")
"""Kinds of errors that a rebase may be told to let through."""
STOPPABLE = ("packages", "content", "stale", "parent", "accounts", "caches")
"""Kinds of warnings at which a rebase may be told to stop."""


_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


_SHARD = re.compile(r"0*([1-9]\d{0,8})/0*([1-9]\d{0,8})", re.ASCII)


def parse_shard(text: str) -> tuple[int, int]:
    """From `2/8`: the number of a part, which count from 1, and how many there are. Raises ValueError."""
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"{text!r} is no part of a whole: 1/8 to 8/8")
    return int(found[1]), int(found[2])


def parse_rate(text: str) -> float:
    """From `20`, `0.5` or `1/3`: how often in a second. Raises ValueError."""
    found = re.fullmatch(r"\d{1,9}(?:\.\d{1,9}|/0*[1-9]\d{0,8})?", text.strip(), re.ASCII)
    rate = float(_exact(found[0])) if found is not None else 0.0
    if not rate:
        raise ValueError(f"{text!r} is no number of requests in a second (20, 0.5)")
    return rate


_ADDRESS = re.compile(r"(?:([a-z]\w*)://)?(\[[0-9a-f:]+\]|[\w.-]+):(\d{1,5})/?", re.ASCII | re.IGNORECASE)


def parse_scheduler(text: str) -> str:
    """The address of a Dask scheduler, `tls://HOST:PORT`, as it is. Raises ValueError, too for plain tcp to
    another machine."""
    found = _ADDRESS.fullmatch(text)
    if found is None or (found[1] or "tcp").lower() not in ("tcp", "tls"):
        raise ValueError(f"{text!r} is no address of a Dask scheduler: tls://HOST:PORT")
    scheme, host, port = (found[1] or "tcp").lower(), found[2], found[3]
    if scheme == "tcp" and not is_loopback(host):
        raise ValueError(
            f"{scheme}://{host}:{port} is not encrypted, and a Dask worker runs whatever it is sent: tcp is"
            f" taken on this machine alone; a cluster with certificates has tls://{host}:{port}"
        )
    return f"{scheme}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine, by its name alone."""
    import ipaddress  # few runs have a use for it

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_size(text: str) -> int:
    """From `10GB`, `512MiB` or a number of bytes. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-zA-Z]*)", text.strip(), re.ASCII)
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is no size (10GB)")
    return int(_exact(found[1]) * _UNITS[found[2].lower()])


def _exact(text: str) -> Fraction:
    from fractions import Fraction  # few runs have a use for it

    return Fraction(text)


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_created(text: str) -> str:
    """A time as RFC 3339. Raises ValueError."""
    from datetime import datetime

    try:
        if _RFC3339.fullmatch(text):
            datetime.fromisoformat(text[:19])
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no time like 2018-05-01T12:00:00Z")


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch, from a time as RFC 3339 or in seconds. Raises ValueError."""
    from datetime import datetime

    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        return int(text) * 10**9
    try:
        utc = datetime.fromisoformat(parse_created(text)[:19] + "+00:00")
        return (round(utc.timestamp()) - _offset(text)) * 10**9
    except ValueError:
        raise ValueError(f"{text!r} is no time: 2018-05-01T12:00:00Z, or seconds since 1970") from None


def _offset(text: str) -> int:
    """By how many seconds the clocks of a time as RFC 3339 are ahead of UTC."""
    if text.endswith("Z"):
        return 0
    return (1 if text[-6] == "+" else -1) * (int(text[-5:-3]) * 60 + int(text[-2:])) * 60


def _path(value: Path | str | None) -> Path | None:
    return Path(value) if isinstance(value, str) else value


def _parsed(option: str, value: T | str | None, parse: Callable[[str], T]) -> T | None:
    """An option's value, of a text what it says. Raises UsageError that names the option."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
