"""Tags that were moved, put back: a file has a line for each, written before it moves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from squashkit.arguments import checked
from squashkit.errors import InvalidReference, SquashkitError, UsageError
from squashkit.oci.digests import Digest, is_digest
from squashkit.oci.names import ImageName
from squashkit.options import Run
from squashkit.progress import Notify, Progress, Silent, ignore
from squashkit.report.patch import Outcome, PatchedTag, PatchReport
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.tags import move_tag
from squashkit.transports.session import Session

SQUASH = "fleet squash"
"""As what moved a tag."""


class Moved(NamedTuple):
    """A tag, what it meant, and what it was to mean."""

    name: ImageName
    before: Digest
    after: Digest
    by: str = ""
    """What moved it; empty for a rebase."""


class Rollback:
    """A file that is made with its first line, or one of an earlier run that is written on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier = list(_read(path)) if path.exists() else []
        """What earlier runs wrote there."""
        self.is_begun = False

    @classmethod
    def named(cls, name: str, folder: Path = Path()) -> Rollback:
        """The file of this name, else one in a folder with the time in its name. Raises UsageError where no
        such file can be written."""
        path = Path(name)
        if name and ((path.exists() and not path.is_file()) or not path.absolute().parent.is_dir()):
            raise UsageError(f"{name}: no file can be written there")
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return cls(Path(name) if name else folder / f"squashkit-rollback-{at}.jsonl")

    def move(self, registries: Registries, moved: Moved, expected: Digest) -> bool:
        """Note what a tag meant, and have it mean something else, if it still means what is expected.
        Whether it does now. Raises what `move_tag` raises."""
        self._note(moved)
        return move_tag(registries, moved.name, moved.after, expected)

    def _note(self, moved: Moved) -> None:
        """Note a tag on the disk, once."""
        self.is_begun = True
        if moved in self.earlier:
            return
        fields = {"name": str(moved.name), "before": moved.before, "after": moved.after}
        line = json.dumps({**fields, **({"by": moved.by} if moved.by else {})})
        with self.path.open("ab") as file:
            file.truncate(_whole_lines(self.path))
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def meaning_before(self, name: ImageName, now: Digest, by: str) -> Digest | None:
        """What a tag meant before earlier runs of this kind moved it to what it means now; None where they
        did not."""
        first = None
        for moved in reversed(self.earlier):
            if moved.name == name and moved.by == by and moved.after == (first or now):
                first = moved.before
        return first


@checked
def put_back(
    file: str, *, run: Run = Run(), progress: Progress | None = None, notify: Notify = ignore
) -> PatchReport:
    """Have tags mean again what they meant before a run that moved many of them: those that nobody has
    moved since. Raises UsageError where the file is no such list."""
    rows = []
    with Session(run, progress or Silent(), notify) as session:
        for name, before, after, _ in reversed(list(_read(Path(file)))):
            try:
                is_back = move_tag(session.registries, name, before, after)
            except SquashkitError as error:
                rows.append(PatchedTag(str(name), Outcome.FAILED, str(error), after, None, error.exit_code))
                continue
            if is_back:
                rows.append(PatchedTag(str(name), Outcome.BACK, "", after, before))
            else:
                rows.append(PatchedTag(str(name), Outcome.LEFT, "it was moved since", after, None, 1))
    return PatchReport("", "", tuple(rows), dry_run=False)


def _whole_lines(path: Path) -> int:
    """Bytes of a file up to its last line end: a line that was cut off is of a tag that has not moved."""
    return path.read_bytes().rfind(b"\n") + 1


def _read(path: Path) -> Iterator[Moved]:
    whole = _whole_lines(path)
    try:
        for line in filter(None, path.read_bytes()[:whole].decode().split("\n")):
            value: Any = json.loads(line)
            before, after = value["before"], value["after"]
            if not is_digest(before) or not is_digest(after):
                raise ValueError
            name, by = ImageName.parse(value["name"]), str(value.get("by", ""))
            yield Moved(name, Digest(before), Digest(after), by)
    except (InvalidReference, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no list of tags that were moved") from error
    if path.stat().st_size and not whole:
        raise UsageError(f"{path} is no list of tags that were moved")
