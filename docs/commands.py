"""The commands as the documentation shows them: the examples stand in the help text itself.

squashkit keeps a command's examples below its options, where `--help` prints them last. What makes pages
of commands reads only the help text, so here are copies of the commands that have everything there.
`cli` is for Markdown, `manual` for man pages. The commands themselves stay as they are.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from typing import cast

import click

from squashkit.cli.main import cli as original

Write = Callable[[list[str], list[str]], str]
"""Makes a help text of paragraphs and lines of examples."""


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text, each on one line, so that no word begins a line by chance."""
    return [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n") if part.strip()]


def examples(epilog: str) -> list[str]:
    """The lines of what stands below the options: all commands have `Example: ...` or `Examples:` there."""
    text = inspect.cleandoc(epilog.replace("\b", ""))
    found = re.fullmatch(r"Examples?:\s*(.*)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no examples: {epilog!r}")
    return [line.strip() for line in found[1].splitlines()]


def markdown(texts: list[str], lines: list[str]) -> str:
    """Examples as a block of code."""
    code = "\n".join(["```sh", *lines, "```"])
    return "\n\n".join([*texts, "**Examples:**" if len(lines) > 1 else "**Example:**", code])


def roff(texts: list[str], lines: list[str]) -> str:
    """Examples as lines that are not filled. A man page's own blank lines become paragraphs."""
    block = [".SH EXAMPLES", ".nf", *(escaped(line) for line in lines), ".fi"]
    return "\n".join(["\n\n".join(escaped(text) for text in texts), *block])


def escaped(text: str) -> str:
    """A text for roff: every character as it is typed, none at the start of a line with a meaning."""
    text = text.replace("\\", r"\(rs").replace("-", r"\-").replace("'", r"\(aq").replace("~", r"\(ti")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", text).replace("^", r"\(ha").replace("`", r"\(ga")
    return "\\&" + text if text.startswith(".") else text


def documented(command: click.Command, write: Write, parent: click.Context | None) -> click.Command:
    """A copy of a command with its examples in its help text, and with `--help` among its options."""
    context = click.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    made = copy.copy(command)
    made.help = write(paragraphs(command.help or ""), examples(command.epilog or ""))
    made.epilog = None
    made.params = [copy.copy(parameter) for parameter in command.get_params(context)]
    made.add_help_option = False
    if isinstance(command, click.Group) and isinstance(made, click.Group):
        below = click.Context(command, info_name=command.name, parent=context)
        made.commands = {name: documented(one, write, below) for name, one in command.commands.items()}
    if write is roff:
        made.short_help = escaped(command.get_short_help_str(100))
        for parameter in made.params:
            if isinstance(parameter, click.Option):
                parameter.help = escaped(parameter.help or "")
    return made


def every_command(write: Write) -> click.Group:
    """squashkit and all its commands, as copies that are at hand and not looked up."""
    source = cast(click.Group, original)
    context = click.Context(source, info_name="squashkit", **source.context_settings)
    top = documented(source, write, None)
    group = click.Group("squashkit", help=top.help, params=top.params, short_help=top.short_help)
    group.add_help_option = False
    group.context_settings = {**source.context_settings, "terminal_width": 84, "max_content_width": 84}
    for name in source.list_commands(context):
        command = source.get_command(context, name)
        assert command is not None
        group.add_command(documented(command, write, context), name)
    return group


cli = every_command(markdown)
manual = every_command(roff)
