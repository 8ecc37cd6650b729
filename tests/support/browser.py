"""Pages as a person meets them: in Chromium, without a window, with all that it does kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Visit:
    """A page that is open, and what has come of it so far."""

    page: Any
    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for."""
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Faults of scripts, and what the console was told as an error or a warning."""

    def json(self, script: str) -> Any:
        """What an expression of the page's script gives."""
        return self.page.evaluate(script)

    def draw(self) -> None:
        """Look at every picture once: what is not seen is not drawn."""
        for place in self.page.locator("[data-chart]").all():
            place.scroll_into_view_if_needed()
        # The page's policy has no `eval`, with which other ways to wait are made.
        self.page.locator("[data-chart]:not([data-drawn])").first.wait_for(state="detached")


Open = Callable[..., Visit]
"""Opens a page, with a width and `dark` where that is preferred."""


def browser_program() -> str:
    """Chromium; a test without it, or without what drives it, is skipped, on CI it fails."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        import playwright.sync_api  # noqa: F401 (whether it is there)
    except ImportError:
        _without("playwright is not installed")
    if program is None:
        _without("no Chromium is installed")
    assert program is not None
    return program


def _without(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def browsing() -> Iterator[Open]:
    """A browser; what it opens is closed with it."""
    program = browser_program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])

        def visit(path: Path, *, width: int = 1280, dark: bool = False) -> Visit:
            context = browser.new_context(
                viewport={"width": width, "height": 844 if width < 600 else 900},
                color_scheme="dark" if dark else "light",
            )
            made = Visit(context.new_page())

            def told(message: Any) -> None:
                if message.type in ("error", "warning"):
                    made.errors.append(message.text)

            def asked(dialog: Any) -> None:
                made.dialogs.append(dialog.message)
                dialog.dismiss()

            made.page.on("request", lambda request: made.requests.append(request.url))
            made.page.on("dialog", asked)
            made.page.on("pageerror", lambda error: made.errors.append(str(error)))
            made.page.on("console", told)
            made.page.goto(path.as_uri())
            return made

        yield visit
        browser.close()
