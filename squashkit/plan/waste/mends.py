"""What to change in a Dockerfile so that an image is built without its waste. Pure.

Dead files are told by the step that made them and the one that killed them, files that live and are not
needed by the step that left them. A mend has a number where a new build is sure to save that much.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from squashkit.amounts import size, some
from squashkit.errors import show_path, show_text
from squashkit.oci.steps import COPIES, HIDDEN, Instruction, Parsed, parse_step, show_parsed
from squashkit.plan.waste.dockerfile import Dockerfile, DockerInstruction
from squashkit.plan.waste.join import join_diff
from squashkit.plan.waste.match import match_steps
from squashkit.plan.waste.model import Cause, DeadFile, Finding, Kind, Mend, Step
from squashkit.values import frozen

_VERBS = {
    Cause.DELETED: "deletes",
    Cause.OVERWRITTEN: "overwrites",
    Cause.ATTRIBUTES: "changes",
    Cause.MOVED: "moves",
    Cause.IDENTICAL: "writes again",
}
_IGNORABLE = frozenset({b".git", b"node_modules", b"__pycache__"})
_ARCHIVE = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tar\.\w+)$")
_OWNER = re.compile(r"(?:^|[\s;&|(])chown\s+(?:-\S+\s+)*([\w.-]*:?[\w.-]+)(?=\s)")
_MODE = re.compile(r"(?:^|[\s;&|(])chmod\s+(?:-\S+\s+)*(0?[0-7]{3,4})(?=\s)")
_CACHES = re.compile(
    rb"(?:.*?/)?(?:var/cache/[^/]+|var/lib/apt/lists|\.cache/[^/]+|\.npm|\.yarn/berry/cache|\.m2/repository"
    rb"|\.gradle/caches|\.cargo/registry|cargo/registry|go/pkg/mod|\.nuget/packages|\.bun/install/cache)(?=/)"
)
_APT = ("/var/cache/apt", "/var/lib/apt/lists")
_FEW = 3


def find_mends(
    steps: Sequence[Step],
    dead: Sequence[DeadFile],
    live: Sequence[Finding],
    dockerfile: Dockerfile | None = None,
) -> list[Mend]:
    """The changes that avoid dead files and findings: the largest number first, then those without
    one, and of these those that are about files of the base last.

    Waste of a step that the history does not tell in words of a Dockerfile has none. With the Dockerfile,
    mends have the lines to change, if it is that of the image (`match_steps` says so).
    """
    told = _told(steps, dockerfile)
    pairs: dict[tuple[int, int], list[DeadFile]] = defaultdict(list)
    for one in dead:
        if one.layer != one.killed_by and one.layer in told and one.killed_by in told:
            pairs[one.layer, one.killed_by].append(one)
    mends = [*_of_the_base(told, pairs)]
    for (maker, killer), files in pairs.items():
        mends += _of_pair(told[maker], told[killer], files, dockerfile)
    findings = [(told[one.layer], one) for one in live if one.layer in told]
    mends += [_of_finding(step, one) for step, one in findings if not _is_done(step, one)]
    mends.sort(
        key=lambda one: (
            one.size is None, told[one.layers[0]].in_base, -(one.size or 0), one.layers, one.kind.value,
        )
    )  # fmt: skip
    return mends


@frozen
class _Told:
    """A step, as far as history and Dockerfile tell it."""

    layer: int
    in_base: bool
    parsed: Parsed
    instruction: Instruction
    written: DockerInstruction | None
    """In the Dockerfile."""

    @property
    def line(self) -> int | None:
        return None if self.written is None else self.written.first

    @property
    def is_run(self) -> bool:
        return self.instruction is Instruction.RUN

    @property
    def is_copy(self) -> bool:
        return self.instruction in COPIES

    @property
    def word(self) -> str:
        """COPY or ADD."""
        return self.instruction.value

    @property
    def stage(self) -> str | None:
        """The stage or image that it copies from; None where that is the context, or not told."""
        flags = dict(self.parsed.flags)
        if self.written is not None:
            flags |= dict(flag.partition("=")[::2] for flag in self.written.flags)
        return flags.get("--from")

    def show(self, paths: Sequence[bytes] = ()) -> str:
        """The step by its number and its whole command; with a file that it made where only a hash says
        what was copied."""
        return f"step {self.layer}, {self.quote(paths)}"

    def quote(self, paths: Sequence[bytes] = ()) -> str:
        """Its whole command."""
        if not self.parsed.is_hashed:
            return f"`{show_parsed(self.parsed)}`" if self.parsed.text else "which nothing tells of"
        if self.written is not None:
            given = " ".join([self.written.keyword, *self.written.flags, self.written.text])
            return f"`{show_text(' '.join(given.split()))}`"
        flags = [f"{name}={value}" for name, value in self.parsed.flags]
        shown = " ".join([self.word, *flags, HIDDEN, self.parsed.destination])
        return f"`{show_text(shown)}`" + (f" (/{show_path(paths[0])})" if paths else "")


def _told(steps: Sequence[Step], dockerfile: Dockerfile | None) -> dict[int, _Told]:
    written: Mapping[int, DockerInstruction] = {}
    if dockerfile is not None:
        written = match_steps(dockerfile, steps).instructions
    told = {}
    for one in steps:
        parsed, line = parse_step(one.created_by), written.get(one.layer)
        instruction = parsed.instruction if line is None else Instruction(line.keyword)
        told[one.layer] = _Told(one.layer, one.in_base, parsed, instruction, line)
    return told


# --- dead files --------------------------------------------------------------------------------

_Pairs = Mapping[tuple[int, int], Sequence[DeadFile]]


def _of_the_base(told: Mapping[int, _Told], pairs: _Pairs) -> Iterator[Mend]:
    """What no change to the Dockerfile can take out of the base: one mend for each step that kills files of
    it, one for all that the base kills itself."""
    inside: list[DeadFile] = []
    by_killer: dict[tuple[int, Kind], list[DeadFile]] = defaultdict(list)
    for (maker, killer), files in pairs.items():
        if told[killer].in_base:
            inside += files
        elif told[maker].in_base:
            for one in files:
                if one.cause is not Cause.IDENTICAL:
                    by_killer[killer, _kind_in_base(one)].append(one)
    if inside:
        text = f"{size(_length(inside))} are dead in the base itself: only another base is without them."
        layers = {layer for one in inside for layer in (one.layer, one.killed_by)}
        yield Mend(Kind.MULTI_STAGE, tuple(sorted(layers)), None, text)
    for (killer, kind), files in by_killer.items():
        step, amount = told[killer], size(_length(files))
        what = f"{step.show(_paths(files))}, {_verb(files)} {amount} of the base's files"
        if kind is Kind.MULTI_STAGE:
            text = f"{_capital(what)}. They stay in the base: only another base is without them."
        else:
            text = (
                f"{_capital(what)}, and so stores them again. Only a base that has their"
                f" {_attributes(files)} right avoids it."
            )
        layers = {killer, *(one.layer for one in files)}
        yield Mend(kind, tuple(sorted(layers)), None, text, step.line)


def _kind_in_base(one: DeadFile) -> Kind:
    if one.cause is Cause.ATTRIBUTES and "owner" in one.changed:
        return Kind.CHOWN
    if one.cause is Cause.ATTRIBUTES and "mode" in one.changed:
        return Kind.CHMOD
    return Kind.MULTI_STAGE


def _of_pair(
    maker: _Told, killer: _Told, files: Sequence[DeadFile], dockerfile: Dockerfile | None
) -> Iterator[Mend]:
    """The mends for what one step made and another killed."""
    if killer.in_base:
        return
    same = [one for one in files if one.cause is Cause.IDENTICAL]
    if same and (killer.is_run or killer.is_copy):
        yield _repeated(maker, killer, same)
    others = [one for one in files if one.cause is not Cause.IDENTICAL]
    if maker.in_base or not others:
        return
    if maker.is_run and killer.is_run:
        yield _join(maker, killer, others, dockerfile)
    elif maker.is_copy and (killer.is_run or killer.is_copy):
        yield from _copied(maker, killer, others)
    elif maker.is_run and killer.is_copy:
        it = "it" if len(others) == 1 else "them"
        text = (
            f"{_capital(maker.show())}, leaves {_some(others)} ({size(_length(others))}),"
            f" which {killer.show(_paths(others))}, {_verb(others)}. A RUN and a {killer.word} cannot be"
            f" joined: let the RUN not write {it}, or delete {it} at its end."
        )
        yield Mend(Kind.REMOVE, (maker.layer, killer.layer), None, text, maker.line)


def _join(maker: _Told, killer: _Told, files: Sequence[DeadFile], dockerfile: Dockerfile | None) -> Mend:
    saved = _length(files)
    text = (
        f"Join steps {maker.layer} and {killer.layer} (-{size(saved)}): what {maker.quote()} leaves,"
        f" {killer.quote()} {_verb(files)} too late."
    )
    diff = None
    if dockerfile is not None and maker.written is not None and killer.written is not None:
        diff = join_diff(dockerfile, maker.written, killer.written)
    line = maker.line if maker.line is not None else killer.line
    return Mend(Kind.JOIN, (maker.layer, killer.layer), saved, text, line, diff)


def _repeated(maker: _Told, killer: _Told, files: Sequence[DeadFile]) -> Mend:
    """A step that writes what is there. Which part of a RUN does cannot be told, so only copies have a
    number."""
    saved = _length(files) if killer.is_copy else None
    amount = f"-{size(saved)}" if saved is not None else size(_length(files))
    what = "it" if len(files) == 1 else "them"
    text = (
        f"Leave {_some(files)} out of {killer.show(_paths(files))} ({amount}):"
        f" {maker.show(_paths(files))}, has written {what} with the same content, mode and owner."
    )
    return Mend(Kind.REMOVE, (maker.layer, killer.layer), saved, text, killer.line)


def _copied(maker: _Told, killer: _Told, files: Sequence[DeadFile]) -> Iterator[Mend]:
    """Mends for what COPY or ADD made."""
    groups: dict[Kind | Cause, list[DeadFile]] = defaultdict(list)
    for one in files:
        groups[_group(maker, one)].append(one)
    layers = (maker.layer, killer.layer)
    for group, some_files in groups.items():
        paths, amount = _paths(some_files), size(_length(some_files))
        saved = None if _unpacks(maker) else _length(some_files)
        number = f" (-{amount})" if saved is not None else ""
        step, other = _capital(maker.show(paths)), killer.show(paths)
        if group in (Kind.CHOWN, Kind.CHMOD):
            kind = Kind(group.value)
            flags = _flags(killer, some_files)
            text = (
                f"{step}: write `{maker.word} {flags}` for {_some(some_files)}{number}."
                f" For another {_attributes(some_files)}, {other}, stores {amount} again."
            )
            if saved is None:
                text += " Of an archive that ADD unpacks, that has to be set where the archive is made."
        elif group is Cause.MOVED:
            kind = Kind.REMOVE
            to = some_files[0].moved_to or b""
            place = f"/{show_path(to)}" if len(some_files) == 1 else "the last place"
            text = f"{step}: copy to {place} at once{number}. {_capital(other)}, stores {amount} again."
        elif group is Kind.IGNORE:
            kind, saved = Kind.IGNORE, None
            text = (
                f"{step}: name {_ignored(paths)} in .dockerignore."
                f" {_capital(other)}, {_verb(some_files)} {amount} of that too late."
            )
        elif killer.is_copy:
            kind, saved = Kind.REMOVE, None
            text = f"{step}: leave out {_some(some_files)}. {_capital(other)}, replaces {amount} of it."
        else:
            kind, saved = Kind.MULTI_STAGE, None
            text = (
                f"{step}, stores {amount} that {other}, {_verb(some_files)} too late."
                f" {_instead(maker, killer, group, paths)}"
            )
        yield Mend(kind, layers, saved, text, maker.line)


def _group(maker: _Told, one: DeadFile) -> Kind | Cause:
    """What is to be said of a dead file that was copied."""
    if one.cause is Cause.ATTRIBUTES and {"owner", "mode"} & set(one.changed):
        return Kind.CHOWN if "owner" in one.changed else Kind.CHMOD
    if one.cause is Cause.DELETED and maker.stage is None and _ignorable(one.path):
        return Kind.IGNORE
    return one.cause


def _instead(maker: _Told, killer: _Told, group: Kind | Cause, paths: Sequence[bytes]) -> str:
    """What to do where a copy is only worked on."""
    if group is Cause.ATTRIBUTES:
        return "Set their attributes in a stage of its own: `COPY --from=…` keeps them."
    if group is not Cause.DELETED:
        return "Change it before it is copied, or in a stage of its own."
    if maker.instruction is Instruction.ADD:
        if any("://" in source for source in maker.parsed.sources):
            return f"Download it in step {killer.layer} itself."
        return "Unpack it in a stage of its own, and take what is needed by `COPY --from=…`."
    sources = maker.parsed.sources
    is_one = len(sources) == 1 and not maker.parsed.is_hashed
    source = show_text(sources[0]) if is_one else HIDDEN
    target = f"/{show_path(paths[0])}" if len(paths) == 1 else show_text(maker.parsed.destination)
    stage = f"from={show_text(maker.stage)}," if maker.stage is not None else ""
    return f"Mount it there instead: `RUN --mount=type=bind,{stage}source={source},target={target} …`."


def _unpacks(maker: _Told) -> bool:
    """Whether it may be an ADD of an archive."""
    if maker.instruction is not Instruction.ADD:
        return False
    sources = maker.parsed.sources
    return maker.parsed.is_hashed or not sources or any(map(_ARCHIVE.search, sources))


def _flags(killer: _Told, files: Sequence[DeadFile]) -> str:
    """The flags that give files the attributes which they have in the end."""
    changed = {name for one in files for name in one.changed}
    flags = []
    if "owner" in changed:
        flags.append(f"--chown={_owner(killer, files)}")
    if "mode" in changed:
        flags.append(f"--chmod={_mode(killer, files)}")
    return " ".join(flags)


def _owner(killer: _Told, files: Sequence[DeadFile]) -> str:
    """By the names that the command has for user and group, else by the numbers of the files."""
    named = _OWNER.search(killer.parsed.command)
    if named is not None and ":" in named[1]:
        return named[1]
    owners = {one.owner for one in files}
    owner = owners.pop() if len(owners) == 1 else None
    if owner is not None:
        return f"{owner[0]}:{owner[1]}"
    return HIDDEN if named is None else named[1]


def _mode(killer: _Told, files: Sequence[DeadFile]) -> str:
    """That of the files where they have the same one, else what the command says."""
    modes = {one.mode for one in files}
    mode = modes.pop() if len(modes) == 1 else None
    if mode is not None:
        return f"{mode:o}"
    written = _MODE.search(killer.parsed.command) if not modes else None
    return HIDDEN if written is None else written[1]


# --- files that live ---------------------------------------------------------------------------


def _is_done(step: _Told, finding: Finding) -> bool:
    """Whether the step does already what the mend says."""
    return finding.kind is Kind.NO_RECOMMENDS and "--no-install-recommends" in step.parsed.command


def _of_finding(step: _Told, finding: Finding) -> Mend:
    layers, shown = (step.layer,), step.show(finding.paths)
    if step.in_base:
        text = (
            f"{_capital(shown)}, is of the base: only another base is without {_found(finding)}"
            f" ({size(finding.size)}). {finding.reason}"
        )
        return Mend(finding.kind, layers, None, text)
    if step.is_copy and step.stage is None and _is_ignored(finding):
        what = f"name {_ignored(finding.paths)} in .dockerignore ({size(finding.size)})"
        text = f"{_capital(shown)}: {what}. {finding.reason}"
        return Mend(Kind.IGNORE, layers, None, text, step.line)
    if finding.kind is Kind.CACHE_MOUNT and step.is_run:
        targets = _caches(finding)
        mounts = " ".join(f"--mount=type=cache,target={one}{_locked(one)}" for one in targets[:_FEW])
        is_said = finding.mend.startswith("Mount a cache")
        text = (
            f"{_capital(shown)}: write `RUN {mounts} …` (-{size(finding.size)})."
            f" {finding.reason if is_said else finding.mend}"
        )
        if any(one.startswith(_APT) for one in targets):
            text += (
                " Where /etc/apt/apt.conf.d/docker-clean is there, as in Debian's images, delete it first:"
                " it empties the cache."
            )
        return Mend(Kind.CACHE_MOUNT, layers, finding.size, text, step.line)
    text = f"{_capital(shown)}, leaves {_found(finding)} ({size(finding.size)}). {finding.mend}"
    return Mend(finding.kind, layers, None, text, step.line)


def _found(finding: Finding) -> str:
    """What was found: its largest file, and how many more there are."""
    return some([f"/{show_path(path)}" for path in finding.paths], 1)


def _is_ignored(finding: Finding) -> bool:
    return finding.kind in (Kind.IGNORE, Kind.CACHE_MOUNT) or all(map(_ignorable, finding.paths))


def _caches(finding: Finding) -> list[str]:
    """The folders to mount caches on."""
    found: dict[str, None] = {}
    for path in finding.paths:
        known = _CACHES.match(path)
        found[f"/{show_path(known[0] if known is not None else path.rpartition(b'/')[0])}"] = None
    return [one for one in found if not any(one.startswith(f"{other}/") for other in found)]


def _locked(target: str) -> str:
    """apt takes no other beside it."""
    return ",sharing=locked" if target.startswith(_APT) else ""


# --- words -------------------------------------------------------------------------------------


def _length(files: Sequence[DeadFile]) -> int:
    return sum(one.length for one in files)


def _paths(files: Sequence[DeadFile]) -> list[bytes]:
    return [one.path for one in files]


def _some(files: Sequence[DeadFile]) -> str:
    return some([f"/{show_path(one.path)}" for one in files], _FEW)


def _verb(files: Sequence[DeadFile]) -> str:
    """What happens to most bytes of these files."""
    amounts: dict[Cause, int] = defaultdict(int)
    for one in files:
        amounts[one.cause] += one.length
    return _VERBS[max(amounts, key=lambda cause: amounts[cause])]


def _attributes(files: Sequence[DeadFile]) -> str:
    changed = {name for one in files for name in one.changed}
    return " and ".join(name for name in ("owner", "mode", "xattrs") if name in changed)


def _ignorable(path: bytes) -> bool:
    return not _IGNORABLE.isdisjoint(path.split(b"/"))


def _ignored(paths: Sequence[bytes]) -> str:
    """What to write in .dockerignore: the names of folders where these are of such."""
    names = {name.decode() for path in paths for name in path.split(b"/") if name in _IGNORABLE}
    return ", ".join(sorted(names)) or some([f"/{show_path(path)}" for path in paths], _FEW)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
