"""What the commands print. All that is for people goes through `say`, and every document through
`show_json`: text of images never steers a terminal."""

from __future__ import annotations

from typing import Any

import click

from squashkit.errors import show_lines
from squashkit.report.text import json_text


def say(text: str, *, err: bool = False) -> None:
    """Print lines for people, to standard output or standard error."""
    click.echo(show_lines(text), err=err)


def show_json(document: Any) -> None:
    """Print a document for programs."""
    click.echo(json_text(document))
