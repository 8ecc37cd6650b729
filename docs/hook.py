"""What mkdocs runs: it finds `commands` for mkdocs-click, and takes sections of the README into pages.

mkdocs runs this file with its folder on the path, so that the import below makes `commands` known by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import commands

__all__ = ["commands", "on_page_markdown"]

README = Path(__file__).parent.parent / "README.md"


def section(title: str) -> str:
    """A third-level section of the README, one level up, as it has a page to itself."""
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"the README has no section {title!r}")
    return f"## {title}\n{found[1].rstrip()}"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put README sections in the place of `{{ README: title }}`."""
    return re.sub(r"(?m)^\{\{ README: (.+) \}\}$", lambda found: section(found[1]), markdown)
