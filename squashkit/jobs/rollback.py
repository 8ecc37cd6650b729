"""Tags that were moved, put back: a file has a line for each, written before it moves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squashkit.arguments import checked
from squashkit.errors import SquashkitError, UsageError
from squashkit.oci.digests import Digest, is_digest
from squashkit.oci.names import ImageName
from squashkit.options import Run
from squashkit.progress import Notify, Progress, Silent, ignore
from squashkit.report.patch import Outcome, PatchedTag, PatchReport
from squashkit.transports.registry.tags import move_tag
from squashkit.transports.session import Session


class Rollback:
    """A file that is made with its first line, or written on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_begun = False

    def add(self, name: ImageName, before: Digest, after: Digest) -> None:
        """Note what a tag means before it moves, on the disk."""
        line = json.dumps({"name": str(name), "before": before, "after": after})
        with self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.is_begun = True


@checked
def put_back(
    file: str, *, run: Run = Run(), progress: Progress | None = None, notify: Notify = ignore
) -> PatchReport:
    """Have tags mean again what they meant before a rebase of all tags below a place, those that nobody has
    moved since. Raises UsageError where the file is no such list."""
    path = Path(file)
    moved = list(_read(path))
    rows = []
    with Session(run, progress or Silent(), notify) as session:
        for name, before, after in reversed(moved):
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


def _read(path: Path) -> Iterator[tuple[ImageName, Digest, Digest]]:
    *lines, rest = path.read_text().split("\n")  # the tag of a line that was cut off has not moved
    try:
        for line in filter(None, lines):
            value: Any = json.loads(line)
            before, after = value["before"], value["after"]
            if not is_digest(before) or not is_digest(after):
                raise ValueError
            yield ImageName.parse(value["name"]), Digest(before), Digest(after)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no list of tags that were moved") from error
    if rest and not lines:
        raise UsageError(f"{path} is no list of tags that were moved")
