"""The page as text: needs jinja2 for the template, and plotly for the script that draws."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.resources import files
from typing import Any

from squashkit.errors import UsageError
from squashkit.report.html.fleet import Pictured
from squashkit.report.html.fleet import page_of as fleet_page_of
from squashkit.report.html.page import Page, ReportedImage, Section, page_of
from squashkit.version import __version__


def page_html(images: Sequence[ReportedImage]) -> str:
    """One HTML page about images, with all that it needs in itself. The same images give the same text.
    Raises UsageError as `check_html` does."""
    return _rendered(page_of(images))


def check_html() -> None:
    """Raises UsageError where a library is not installed that makes the page."""
    _libraries()


def fleet_html(known: Pictured) -> str:
    """One HTML page about a fleet, with all that it needs in itself. The same images give the same text.
    Raises UsageError as `check_template` does."""
    page = fleet_page_of(known)
    css = _beside("page.css") + _beside("fleet.css")
    return _filled("fleet.jinja", page, css, [_beside("fleet.js")], page.data)


def check_template() -> None:
    """Raises UsageError where the library is not installed that fills the page in."""
    _jinja2()


def _rendered(page: Page) -> str:
    _, draw = _libraries()
    data = [_data(one) for one in page.sections]
    return _filled("page.jinja", page, _beside("page.css"), [draw, _beside("page.js")], data)


def _filled(template: str, page: Any, css: str, scripts: Sequence[str], data: Any) -> str:
    """A page's template filled in: what is no markup of ours is escaped."""
    jinja2 = _jinja2()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    safe = jinja2.utils.markupsafe.Markup
    harmless = list(map(_script, scripts))
    text: str = environment.from_string(_beside(template)).render(
        page=page,
        version=__version__,
        css=safe(css),
        scripts=list(map(safe, harmless)),
        allowed=" ".join(map(_hash, harmless)),
        data=safe(data_text(data)),
    )
    return text


def data_text(value: Any) -> str:
    """A value as JSON that ends no script and begins no comment, and has no sign that is not ASCII."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data(section: Section) -> dict[str, Any]:
    """What the script draws of an image."""
    return {
        "base": section.base_layers,
        "layers": [
            {
                "step": one.step,
                "shown": one.shown.bytes,
                "dead": one.dead.bytes,
                "texts": [one.shown.text, one.dead.text, one.content.text],
            }
            for one in section.layers
        ],
        "files": section.files.json() if section.files is not None else None,
        "dead": section.dead.json() if section.dead is not None else None,
    }


def _script(text: str) -> str:
    """A script that stands in HTML: nothing in it ends it."""
    return _ENDS.sub(r"<\\\1", text)


_ENDS = re.compile(r"<(/script|!--)", re.IGNORECASE)


def _hash(script: str) -> str:
    """By what the page's policy knows a script: no other is run."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


@cache
def _beside(name: str) -> str:
    return (files("squashkit.report.html") / name).read_text(encoding="utf-8")


def _jinja2() -> Any:
    try:
        return import_module("jinja2")
    except ImportError as error:
        raise UsageError("the page needs jinja2: pip install 'squashkit[report]'") from error


def _libraries() -> tuple[Any, str]:
    """jinja2, and the script of plotly."""
    try:
        jinja2: Any = import_module("jinja2")
        script: str = import_module("plotly.offline").get_plotlyjs()
    except ImportError as error:
        raise UsageError("the page needs jinja2 and plotly: pip install 'squashkit[report]'") from error
    return jinja2, script
