"""A squashed fleet back where it was read. Results go to their repositories by their digests; once all of
them are there, the tags move that still mean what was read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import InitVar, dataclass, field

from squashkit.errors import SquashkitError, UsageError, first_line, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.rollback import SQUASH, Moved, Rollback
from squashkit.oci.digests import ChainID, DiffID, Digest, sha256
from squashkit.oci.names import ImageName
from squashkit.plan.segments import Segment
from squashkit.progress import Note, Notify
from squashkit.report.patch import Outcome, PatchedTag, PatchReport
from squashkit.transports.registry.repository import Repository
from squashkit.transports.registry.sink import index_platforms
from squashkit.transports.registry.tags import meaning_of
from squashkit.transports.session import Session
from squashkit.transports.tags import TagGuard
from squashkit.wording import Option, Words

_MEANWHILE = "it was moved meanwhile"


def _own_tags(members: Sequence[Member]) -> list[ImageName]:
    """The tags by which images were read. Raises UsageError for an image that has none in a registry."""
    names = []
    for member in members:
        name = member.source.reference.in_registry
        if name is None or member.meaning is None or "@" in member.name:
            raise UsageError(
                f"{show_text(member.reference)} is no tag of a registry, and stays as it is; ",
                Option("into"),
                " writes elsewhere",
            )
        names.append(ImageName.parse(member.name))
    return names


@dataclass(slots=True)
class OwnTags:
    """The tags of a fleet's images, and what becomes of each. Raises UsageError where an image has none."""

    session: Session
    members: Sequence[Member]
    rollback: Rollback
    notify: Notify
    chosen: InitVar[bool]
    """Whether one platform was asked for by name."""
    names: Sequence[ImageName] = field(init=False)
    guard: TagGuard = field(init=False)
    """What no tag is to lose in silence."""
    lost: list[str] = field(default_factory=list)
    """What tags lose since somebody chose that."""
    rows: dict[int, PatchedTag] = field(default_factory=dict)
    """Of tags of which it is known, by their place in the fleet."""
    results: dict[int, Digest] = field(default_factory=dict)
    """What the others are to mean."""
    is_interrupted: bool = False

    def __post_init__(self, chosen: bool) -> None:
        self.names = _own_tags(self.members)
        self.guard = TagGuard(
            {str(n): [one.image.platform] for n, one in zip(self.names, self.members, strict=True)},
            chosen=chosen,
            elsewhere=(Option("FleetOptions.exclude"), " leaves it out"),
        )

    def stays(self, number: int, segments: Sequence[Segment], bases: Collection[ChainID]) -> bool:
        """Whether a tag stays as it is: images stand on it, nothing of it would change, or something
        speaks against it. Raises what looking at the tag raises."""
        layers, now = self.members[number].image.layers, self.members[number].meaning
        if layers and layers[-1].chain_id in bases:
            return self._stays(number, Outcome.BASE)
        if all(segment.is_kept for segment in segments) and self.members[number].source.root == now:
            return self._stays(number, Outcome.UNCHANGED)
        name, registries = self.names[number], self.session.registries
        repository = Repository(registries.get(name), name.repository)
        meaning = repository.meaning(name.tag)
        if meaning is None or sha256(meaning) != now:
            return self._stays(number, Outcome.LEFT, _MEANWHILE, 1)
        platforms = index_platforms(meaning, name, repository, registries, self.session.room)
        try:
            lost = self.guard.check(str(name), platforms)
        except UsageError as error:
            return self._stays(number, Outcome.LEFT, Words(*error.parts), error.exit_code)
        self.lost += [lost] if lost is not None else []
        return False

    def has_layers(self, number: int, layers: Sequence[DiffID]) -> bool:
        """Whether a tag means an image of just these layers, as one that was carved: then it stays."""
        member = self.members[number]
        is_same = list(member.image.diff_ids) == layers and member.source.root == member.meaning
        return is_same and self._stays(number, Outcome.UNCHANGED)

    def _stays(self, number: int, outcome: Outcome, why: str = "", code: int = 0) -> bool:
        now = self.members[number].meaning
        self.rows[number] = PatchedTag(str(self.names[number]), outcome, why, now, now, code)
        return True

    def move(self) -> None:
        """Have the tags mean the results, one after another. What stops one stops no other, but where the
        registry does not say what a tag means now, and where somebody interrupts it."""
        if self.results:
            self.notify(Note(f"tags move now; what they meant is written to {self.rollback.path}"))
        is_over = False
        for number, result in self.results.items():
            if is_over:
                self._stays(number, Outcome.LEFT, "it was not reached")
                continue
            try:
                self._move(number, result)
            except (SquashkitError, OSError, KeyboardInterrupt) as error:
                is_over = not self._tell(number, result, error)

    def _move(self, number: int, result: Digest) -> None:
        """Move one tag. Raises what that raises."""
        member, name = self.members[number], self.names[number]
        assert member.source.root is not None and member.meaning is not None
        moved = Moved(name, member.source.root, result, SQUASH)
        if result == moved.before == member.meaning:
            self._stays(number, Outcome.UNCHANGED)
        elif self.rollback.move(self.session.registries, moved, member.meaning):
            self.rows[number] = PatchedTag(str(name), Outcome.MOVED, "", moved.before, result)
        else:
            self._stays(number, Outcome.LEFT, f"{_MEANWHILE}; the result is @{result}", 1)

    def _tell(self, number: int, result: Digest, error: BaseException) -> bool:
        """What became of a tag whose move ended so. Whether others can be moved: nobody interrupts it, and
        the registry answers."""
        name, before = self.names[number], self.members[number].meaning
        is_interrupt = isinstance(error, KeyboardInterrupt)
        self.is_interrupted |= is_interrupt
        said, code = ("interrupted", 0) if is_interrupt else (first_line(error), 1)
        if isinstance(error, SquashkitError):
            code = error.exit_code
        try:
            meaning = meaning_of(self.session.registries, name)
        except (SquashkitError, KeyboardInterrupt):
            why = f"{said}; what it means now is not known"
            self.rows[number] = PatchedTag(str(name), Outcome.FAILED, why, before, None, code)
            return False
        if meaning is not None and sha256(meaning) == result:
            self.rows[number] = PatchedTag(str(name), Outcome.MOVED, "", before, result)
        else:
            self._stays(number, Outcome.FAILED, said, code)
        return not is_interrupt

    def report(self) -> PatchReport:
        """What became of each tag, in the order of the fleet."""
        rows = tuple(self.rows[number] for number in range(len(self.names)))
        rollback = str(self.rollback.path) if self.rollback.is_begun else ""
        return PatchReport(
            "", "", rows, dry_run=False, rollback=rollback, is_interrupted=self.is_interrupted
        )
