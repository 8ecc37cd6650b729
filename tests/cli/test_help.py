"""Help fits a screen and leaves nothing out where all is asked for; a mistyped word gets an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from tests.support.runner import assert_fails, commands, run

SCREEN = {"COLUMNS": "80"}


def paths() -> Iterator[tuple[str, ...]]:
    """Every command, and those below commands, as one types them."""
    for command in commands():
        assert command.name is not None
        yield (command.name,)
        if isinstance(command, click.Group):
            yield from ((command.name, name) for name in command.commands)


def options(words: tuple[str, ...]) -> list[str]:
    """The long names of a command's options."""
    command = next(one for one in commands() if one.name == words[0])
    for word in words[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return [one.opts[-1] for one in command.params if isinstance(one, click.Option)]


def shown(text: str) -> list[str]:
    """The options that a help lists."""
    return re.findall(r"(?m)^  (?:-\w, )?(--[\w-]+)", text)


@pytest.mark.parametrize("words", list(paths()), ids=" ".join)
def test_help_fits_one_screen(words: tuple[str, ...]) -> None:
    """--help has at most 40 lines, each option that it lists is the command's, and none stands twice."""
    text = run(*words, "--help", env=SCREEN).text
    assert len(text.splitlines()) <= 40
    listed = shown(text)
    assert len(set(listed)) == len(listed)
    assert set(listed) <= {*options(words), "--help", "--help-all"}


@pytest.mark.parametrize("words", list(paths()), ids=" ".join)
def test_all_options_are_in_the_whole_help(words: tuple[str, ...]) -> None:
    """--help-all has every option and example; a command without it has them in --help."""
    first = run(*words, "--help", env=SCREEN).text
    has_more = "--help-all" in shown(first)
    text = run(*words, "--help-all", env=SCREEN).text if has_more else first
    assert set(shown(text)) >= {*options(words), "--help"}
    assert set(shown(text)) > set(shown(first)) or not has_more


def test_the_first_screen_of_squash_has_what_matters() -> None:
    """What is kept, where the result goes and how it is checked are there, in sections; the rest is not."""
    text = run("squash", "--help", env=SCREEN).text
    assert 24 <= len(text.splitlines()) <= 40
    assert text.index("What to keep:") < text.index("--keep-base") < text.index("The result:")
    assert {"--keep-layers", "--all", "--output", "--tag", "--platform", "--check", "--dry-run"} <= set(
        shown(text)
    )
    assert not {"--symlink-parents", "--authfile", "--max-size", "--debug"} & set(shown(text))


def test_commands_stand_in_sections() -> None:
    """`squashkit --help` lists every command, what works on images first, with what it says of itself."""
    text = run("--help", env=SCREEN).text
    titles = re.findall(r"(?m)^(\w.*):$", text)
    assert titles == ["Images", "Bases and fleets", "Look", "More", "Help"]
    for command in commands():
        assert re.search(rf"(?m)^  {command.name} +{re.escape(command.short_help or '')}$", text), (
            command.name
        )
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("squish", "app.tar"), "'squash'"),
        (("base", "chek", "app.tar"), "'check'"),
        (("fleet", "storge"), "'storage'"),
        (("squash", "--keep-bas=x"), "'--keep-base'"),
        (("inspect", "--verfy"), "'--verify'"),
    ],
)
def test_a_mistyped_word_is_answered(words: tuple[str, ...], meant: str) -> None:
    """A command or an option that is like one is a usage error (2) that names that one."""
    assert_fails(run(*words), 2, "Did you mean", meant)


def test_a_word_like_none_is_not_answered() -> None:
    """Where nothing is like it, nothing is proposed."""
    result = run("xyzzy")
    assert_fails(result, 2, "No such command 'xyzzy'.")
    assert "Did you mean" not in result.err
