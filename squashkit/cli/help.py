"""How help looks: options in sections, the few that matter on one screen, all of them with `--help-all`.

click has one list of options for each command. Sections are click's own means, used here: an option that
knows its section, and a command that writes one section after the other. (A library for them would take
longer to import than the whole `squashkit --help`.)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from squashkit.cli.output import telling
from squashkit.values import frozen

_OPTIONS_OF = "squashkit.options"
_WHOLE = "squashkit.whole"
"""Set in a context's `meta` where help is to show everything."""
_EXAMPLES = 3
"""How many examples the first screen has."""
_NAMES = 30
"""Columns for the names of options, as click has them; what is longer has a line of its own."""

F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Section:
    """A heading, and whether what is below it stands on the first screen."""

    title: str
    first: bool = False


OPTIONS = Section("Options", first=True)
KEEP = Section("What to keep", first=True)
LEAVE_OUT = Section("What to leave out", first=True)
BASES = Section("Bases", first=True)
MANY = Section("All images of a place")
GATES = Section("Gates: exit code 3 where one fails")
RESULT = Section("The result", first=True)
NAMES = Section("Form and names of the result")
MERGING = Section("How layers are merged")
CUT = Section("The best cut")
HISTORY = Section("History and times")
READING = Section("What is read")
REGISTRIES = Section("Registries")
RESOURCES = Section("Threads and disk")
MESSAGES = Section("Messages")
HELP = Section("Help", first=True)
_ORDER = (
    *(OPTIONS, KEEP, LEAVE_OUT, BASES, MANY, GATES, RESULT, NAMES),
    *(MERGING, CUT, HISTORY, READING, REGISTRIES, RESOURCES, MESSAGES, HELP),
)


class SectionedOption(click.Option):
    """An option that knows its section."""

    def __init__(self, *args: Any, section: Section = HELP, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its names and its help; on the first screen the first sentence of that."""
        record = super().get_help_record(ctx)
        if record is None or self.help is None or not is_brief(ctx):
            return record
        return record[0], record[1].replace(self.help, self.help.partition(". ")[0].rstrip(".") + ".", 1)


def option(*names: str, section: Section = OPTIONS, **settings: Any) -> Callable[[F], F]:
    """An option of a section, as a decorator; otherwise as `click.option`."""
    return click.option(*names, cls=SectionedOption, section=section, **settings)


class Command(click.Command):
    """A command whose `--help` fits one screen, and whose `--help-all` shows everything."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Takes the options, and prints help where that is one of them."""
        with telling():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Runs it; whoever tells of a failure knows which options it has."""
        ctx.meta[_OPTIONS_OF] = frozenset(name for one in self.params for name in one.opts)
        return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Those of the command, `--help`, and `--help-all` where that shows more."""
        params = super().get_params(ctx)
        return [*params, _help_all()] if self.has_more else params

    @property
    def has_more(self) -> bool:
        """Whether there are options that the first screen does not show."""
        return any(not section_of(parameter).first for parameter in self.params)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the command does; on the first screen the first paragraph of that."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join(paragraphs[:1] if is_brief(ctx) else paragraphs))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, section by section."""
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples; on the first screen the first few of them."""
        lines = inspect.cleandoc(self.epilog or "").splitlines()
        formatter.write_paragraph()
        with formatter.indentation():
            shown = lines[: 2 + _EXAMPLES] if is_brief(ctx) else lines  # \b and the title
            formatter.write_text("\n".join(shown))


class Group(click.Group):
    """Commands below a command. A name that is none is told with those that it is like."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As `Command` does."""
        with telling():
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names. Raises UsageError where it names none."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches  # only mistakes have a use for it

            like = get_close_matches(name, self.list_commands(ctx))
            ctx.fail(f"No such command {name!r}.{_did_you_mean(like)}")
        return super().resolve_command(ctx, args)


def _did_you_mean(names: Sequence[str]) -> str:
    """In click's words, which says the same of options."""
    if not names:
        return ""
    quoted = ", ".join(map(repr, sorted(names)))
    return f" Did you mean {quoted}?" if len(names) == 1 else f" (Did you mean one of: {quoted}?)"


def section_of(parameter: click.Parameter) -> Section:
    """Where a parameter stands; an option of click's own is help."""
    return parameter.section if isinstance(parameter, SectionedOption) else HELP


def options_of(ctx: click.Context) -> frozenset[str]:
    """The options of the command that ran in a context, or below it."""
    found: frozenset[str] = ctx.meta.get(_OPTIONS_OF, frozenset())
    return found


def is_brief(ctx: click.Context) -> bool:
    """Whether the help of a context's command leaves something out."""
    return isinstance(ctx.command, Command) and ctx.command.has_more and not ctx.meta.get(_WHOLE)


def show_whole(ctx: click.Context) -> None:
    """From now on help leaves nothing out, here and in the contexts below."""
    ctx.meta[_WHOLE] = True


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The options of a command, section by section, with all texts in one column."""
    found = sections(command, ctx)
    widths = [len(name) for rows in found.values() for name, _ in rows]
    width = max((one for one in widths if one <= _NAMES), default=0)
    for section, rows in found.items():
        with formatter.section(section.title):
            formatter.write_dl([(name.ljust(width), text) for name, text in rows], width)


def sections(command: click.Command, ctx: click.Context) -> dict[Section, list[tuple[str, str]]]:
    """The names and the help of a command's options by their sections, these in order."""
    found: dict[Section, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        section = section_of(parameter)
        if record is not None and (section.first or not is_brief(ctx)):
            found.setdefault(section, []).append(record)
    return {section: found[section] for section in _ORDER if section in found}


def _help_all() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            show_whole(ctx)
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return SectionedOption(
        ["--help-all"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show all options and examples, and exit.",
    )
