"""Where a squashed fleet goes, and under which names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from squashkit.errors import InvalidReference, UsageError, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.oci.digests import is_digest
from squashkit.oci.names import ImageName
from squashkit.transports.archive.sink import ArchiveFile
from squashkit.transports.atomic import FORCE
from squashkit.transports.contracts import Sink, Tag
from squashkit.transports.layout.sink import Layout
from squashkit.transports.reference import FILES, REGISTRY, Reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.tags import TagGuard
from squashkit.values import frozen
from squashkit.wording import Option


def _full(name: str) -> str:
    """A name in full, as far as it is one: two that mean the same are the same then."""
    return str(ImageName.of(name) or name)


def _below(name: ImageName) -> str:
    """A name without its host, and for one of docker's own images without `library/`."""
    return name.familiar.removeprefix(f"{name.host}/")


@frozen
class FleetTarget:
    """Where a squashed fleet goes."""

    text: str
    reference: Reference | None
    """An archive or a layout; None for a registry."""

    @classmethod
    def parse(cls, into: str) -> FleetTarget:
        """Raises UsageError for what cannot hold a fleet."""
        expected = "a fleet goes into an archive, a folder (oci:DIR), or below docker://HOST/PREFIX"
        if into.startswith("docker://"):
            if ImageName.of(into.removeprefix("docker://").rstrip("/") + "/any") is None:
                raise UsageError(Option("into", into), f": {expected}")
            return cls(into.rstrip("/") + "/", None)
        transport = into.partition(":")[0]
        if ":" not in into:
            reference = Reference("oci" if Path(into).is_dir() else "docker-archive", into)
        elif transport in FILES:
            reference = Reference(transport, into.removeprefix(f"{transport}:"))
        else:
            raise UsageError(Option("into", into), f": {expected}")
        if not reference.path or ":" in reference.path or reference.is_stdio:
            raise UsageError(Option("into", into), f": {expected}, without an image's name")
        return cls(f"{reference.transport}:{reference.path}:", reference)

    def output(self, name: str) -> str:
        """Where an image goes."""
        return self.text + name

    def names(self, members: Sequence[Member]) -> list[str]:
        """The names that the images get. Raises UsageError where they have none, or the same, or are named
        by what will not be theirs."""
        takers: dict[str, list[tuple[str, str]]] = {}
        names = []
        for member in members:
            if is_digest(member.name) or "@" in member.name:
                raise UsageError(
                    f"an image of {member.source.title} has no name and would get none"
                    f" ({show_text(member.name[:60])}); leave it out, or give it a name (docker tag)"
                )
            name = member.name
            if self.reference is None:
                name = member.below or self._name_below(member)
            names.append(name)
            takers.setdefault(_full(name), []).append((name, member.reference))
        for taken in takers.values():
            if len(taken) > 1:
                output = self.output(taken[0][0]) if self.reference is None else taken[0][0]
                raise UsageError(
                    f"several images of the fleet would be {show_text(output)}:"
                    f" {', '.join(show_text(reference) for _, reference in taken)}; squash them apart"
                )
        return names

    @staticmethod
    def _name_below(member: Member) -> str:
        """What a name of another place is in a registry."""
        try:
            return _below(ImageName.parse(member.name))
        except InvalidReference as error:
            raise UsageError(
                f"no registry takes the name of {show_text(member.reference)}; leave it out, or give it"
                f" another: {error}"
            ) from error

    def protect(self, sources: Sequence[Source], names: Sequence[str]) -> None:
        """Raises UsageError where an image or a base that is read would be overwritten."""
        for source in sources:
            if self.reference is not None:
                path = Path(self.reference.path)
                source.refuse_as_output(path)
                if source.folder is not None and path.is_dir() and path.samefile(source.folder):
                    raise UsageError(
                        f"the layout {path} is read, and its images have these names; ",
                        Option("into"),
                        " another folder",
                    )
            elif source.reference.transport == REGISTRY:
                read = _full(source.reference.path)
                if any(_full(self.output(name).removeprefix("docker://")) == read for name in names):
                    raise UsageError(
                        f"docker://{source.reference.path} is read, and is not overwritten; ",
                        Option("into"),
                        " another PREFIX keeps it",
                    )

    def open(
        self, session: Session, names: Sequence[str], guard: TagGuard, *, force: bool
    ) -> tuple[Sink | None, Sequence[str]]:
        """What takes all images, None for a registry; and what their names lose. Raises UsageError where a
        name is taken, or would lose platforms that nobody chose."""
        if self.reference is None:
            return None, self._lost(session, names, guard, force=force)
        path = Path(self.reference.path)
        room = session.room.at(path)
        sink: Sink
        if self.reference.transport == "oci":
            tags = [Tag(name, name) for name in names]
            sink = Layout(path, force=force, tags=tags, guard=guard, room=room)
        else:
            docker = self.reference.transport == "docker-archive"
            sink = ArchiveFile(path, docker=docker, force=force, room=room)
        session.keep(closing(sink))
        return sink, sink.notes

    def tag(self, name: str) -> str:
        """The name that the image of this name gets in full: in a registry, with its repository."""
        return name if self.reference is not None else _full(self.output(name).removeprefix("docker://"))

    def _lost(
        self, session: Session, names: Sequence[str], guard: TagGuard, *, force: bool
    ) -> Sequence[str]:
        from squashkit.transports.registry.repository import Repository
        from squashkit.transports.registry.sink import index_platforms

        lost = []
        for output, tag in zip(map(self.output, names), map(self.tag, names), strict=True):
            name = ImageName.parse(output.removeprefix("docker://"))
            there = Repository(session.registries.get(name), name.repository)
            means = there.meaning(name.reference)
            if means is None:
                continue
            if not force:
                raise UsageError(f"{output} is there already; ", FORCE, " moves the tags that are")
            platforms = index_platforms(means, name, there, session.registries, session.room)
            lost.append(guard.check(tag, platforms))
        return [one for one in lost if one is not None]
