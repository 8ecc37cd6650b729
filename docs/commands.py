"""The commands as the documentation shows them: options and examples stand in the help text itself.

squashkit has a command's options in sections, and examples below them. What makes pages of commands reads
the help text, and knows no sections, so here are copies of the commands that have everything there and no
options beside it. `cli` is for Markdown, `manual` for man pages. The commands themselves stay as they are.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from typing import cast

import click

from squashkit.cli.help import sections, show_whole, write_options
from squashkit.cli.main import cli as original

Write = Callable[[click.Command, click.Context], str]
"""Makes a help text that has everything."""


WIDTH = 84
"""Columns of a block on a page."""


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


def markdown(command: click.Command, context: click.Context) -> str:
    """Options as `--help-all` prints them, and examples, as blocks of code."""
    formatter = click.HelpFormatter(width=WIDTH)
    write_options(command, context, formatter)
    options = "\n".join(["```text", formatter.getvalue().strip("\n"), "```"])
    lines = examples(command.epilog or "")
    code = "\n".join(["```sh", *lines, "```"])
    title = "**Examples:**" if len(lines) > 1 else "**Example:**"
    return "\n\n".join([*paragraphs(command.help or ""), options, title, code])


def roff(command: click.Command, context: click.Context) -> str:
    """Options in sections, and examples as lines that are not filled. Blank lines become paragraphs."""
    text = "\n\n".join(escaped(one) for one in paragraphs(command.help or ""))
    options = [".SH OPTIONS"]
    for section, rows in sections(command, context).items():
        options.append(f".SS {section.title}")
        for names, help_text in rows:
            first, _, rest = names.replace("-", r"\-").partition(" ")
            options += [".TP", rf"\fB{first}\fP {rest}".rstrip(), escaped(help_text)]
    lines = [escaped(line) for line in examples(command.epilog or "")]
    return "\n".join([text, *options, ".SH EXAMPLES", ".nf", *lines, ".fi"])


def escaped(text: str) -> str:
    """A text for roff: every character as it is typed, none at the start of a line with a meaning."""
    text = text.replace("\\", r"\(rs").replace("-", r"\-").replace("'", r"\(aq").replace("~", r"\(ti")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", text).replace("^", r"\(ha").replace("`", r"\(ga")
    return "\\&" + text if text.startswith(".") else text


def documented(command: click.Command, write: Write, parent: click.Context | None) -> click.Command:
    """A copy of a command with its options and examples in its help text, and arguments alone beside it."""
    context = click.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    show_whole(context)
    made = copy.copy(command)
    made.help = write(command, context)
    made.epilog = None
    made.params = [one for one in command.params if isinstance(one, click.Argument)]
    made.add_help_option = False
    if isinstance(command, click.Group) and isinstance(made, click.Group):
        below = click.Context(command, info_name=command.name, parent=context)
        made.commands = {name: documented(one, write, below) for name, one in command.commands.items()}
    if write is roff:
        made.short_help = escaped(command.get_short_help_str(100))
    return made


def every_command(write: Write) -> click.Group:
    """squashkit and all its commands, as copies, so that none is looked up."""
    source = cast(click.Group, original)
    context = click.Context(source, info_name="squashkit", **source.context_settings)
    top = documented(source, write, None)
    group = click.Group("squashkit", help=top.help, params=top.params, short_help=top.short_help)
    group.add_help_option = False
    group.context_settings = {
        **source.context_settings,
        "terminal_width": WIDTH,
        "max_content_width": WIDTH,
    }
    for name in source.list_commands(context):
        command = source.get_command(context, name)
        assert command is not None
        group.add_command(documented(command, write, context), name)
    return group


cli = every_command(markdown)
manual = every_command(roff)
