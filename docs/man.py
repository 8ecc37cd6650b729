"""Write the man pages of squashkit and of all its commands: `python docs/man.py FOLDER`.

The date is SOURCE_DATE_EPOCH's, else what the changelog says of the newest version, so that the same
sources give the same bytes.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from click_man.core import write_man_pages
from commands import manual

from squashkit.version import __version__

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def date() -> str:
    """The day that the pages tell."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%d")
    found = re.search(r"^## \S+ \((.+)\)$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def main(folder: str) -> None:
    """Write all pages."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_man_pages("squashkit", manual, version=__version__, target_dir=folder, date=date())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: man.py FOLDER")
    main(sys.argv[1])
