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
from squashkit.report.html.page import Page, ReportedImage, Section, page_of
from squashkit.version import __version__


def page_html(images: Sequence[ReportedImage]) -> str:
    """One HTML page about images, with all that it needs in itself. The same images give the same text.
    Raises UsageError as `check_html` does."""
    return _rendered(page_of(images))


def check_html() -> None:
    """Raises UsageError where a library is not installed that makes the page."""
    _libraries()


def _rendered(page: Page) -> str:
    jinja2, draw = _libraries()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    scripts = [_script(draw), _script(_beside("page.js"))]
    text: str = environment.from_string(_beside("page.jinja")).render(
        page=page,
        version=__version__,
        css=jinja2.utils.markupsafe.Markup(_beside("page.css")),
        scripts=[jinja2.utils.markupsafe.Markup(one) for one in scripts],
        allowed=" ".join(map(_hash, scripts)),
        data=jinja2.utils.markupsafe.Markup(data_text([_data(one) for one in page.sections])),
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


def _libraries() -> tuple[Any, str]:
    """jinja2, and the script of plotly."""
    try:
        jinja2: Any = import_module("jinja2")
        script: str = import_module("plotly.offline").get_plotlyjs()
    except ImportError as error:
        raise UsageError("the page needs jinja2 and plotly: pip install 'squashkit[report]'") from error
    return jinja2, script
