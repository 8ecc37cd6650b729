"""The entry point: finds the command, and turns every failure into one clear line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from squashkit.cli.front import ABOUT, DEBUG, EXAMPLE, NAME, SECTIONS, front_page
from squashkit.cli.help import HELP, Group, option, options_of
from squashkit.cli.hints import output_of, told
from squashkit.cli.output import STREAMS, ReaderGone, outcome, telling, written
from squashkit.errors import SquashkitError, is_full, show_lines, show_text, why, without_secrets
from squashkit.version import __version__

FAILED = 1
INTERRUPTED = 130
UNREAD = 141
"""Where the reader of a listing or a report went away: what a shell shows of other tools in a pipe, which
SIGPIPE (13) ends: 128 + 13. That signal itself is not used: it would leave temporary files behind."""
_COMMANDS = {name for section in SECTIONS.values() for name in section}


class _Interrupted(Exception):
    """Ctrl-C."""


class _SystemFault(SquashkitError):
    """An error of the system, in words."""


class LazyGroup(Group):
    """Commands whose modules are imported when they are run, not when `--help` lists them."""

    running = ""
    """The one that is run."""
    options: frozenset[str] = frozenset()
    """Those that this, or what is run below it, has."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"squashkit.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """click has ways of its own with these two, which say too little or too much."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, ReaderGone):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                import traceback  # most runs have no use for it

                print(_harmless(traceback.format_exc().rstrip("\n")), file=sys.stderr)
            self.running = ctx.invoked_subcommand or ""
            self.options = options_of(ctx)
            if isinstance(error, OSError):
                raise _SystemFault(explain(error, self.options)) from error
            raise

    def get_help(self, ctx: click.Context) -> str:
        """The commands in sections, and the options: of these there are few."""
        return front_page(ctx.command_path)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=ABOUT,
    epilog=EXAMPLE,
)
@click.version_option(__version__, prog_name=NAME)
@option("--debug", section=HELP, is_flag=True, help=DEBUG)
def cli(debug: bool) -> None:
    """What stands before a command."""


def main() -> NoReturn:
    """Run the command line and exit."""
    # Copying threads need the interpreter for an instant a block; they must not wait 5 ms for it.
    sys.setswitchinterval(0.0001)
    written.clear()
    if "_SQUASHKIT_COMPLETE" in os.environ:
        from squashkit.cli.shells import use_shells

        use_shells()
    try:
        returned = cli.main(standalone_mode=False)
        if sys.stdout is not None:
            with telling():
                sys.stdout.flush()
        code = returned if isinstance(returned, int) else 0  # what a command passes to Exit comes back
    except click.exceptions.Exit as error:
        code = error.exit_code
    except ReaderGone:
        code = UNREAD
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        print(_harmless(said.getvalue().rstrip("\n")), file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, _Interrupted, click.Abort):
        print(f"squashkit: interrupted; {outcome()}", file=sys.stderr)
        code = INTERRUPTED
    except SquashkitError as error:
        words = str(error)
        if not isinstance(error, _SystemFault):
            words = _with_outcome(told(error, cli.running, cli.options), error)
        print(f"squashkit: {_harmless(words)}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        print(f"squashkit: {_harmless(explain(error))}", file=sys.stderr)
        code = FAILED
    except Exception as error:
        what = _harmless(f"{type(error).__name__}: {error}"[:500])
        print(f"squashkit: this is a fault of squashkit, please report it: {what}", file=sys.stderr)
        code = FAILED
    # Everything is written, closed and said. Taking 100,000 values apart one by one would only cost time,
    # and a reader that went away must not make the interpreter complain.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _harmless(text: str) -> str:
    """A message for a terminal: others' words in it must not steer that, nor tell a password."""
    for word in sys.argv[1:]:
        for part in re.split("[:=/]", word):  # names and paths are made of these, and have no lines
            if "\n" in part.strip():
                text = text.replace(part, show_text(part))
    return show_lines(without_secrets(text))


def explain(error: OSError, options: Collection[str] = ()) -> str:
    """An error of the system as one line that says what to do, with a command that has these options."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    where = f" ({name})" if name else ""
    if error.errno == errno.EPIPE:
        name = name if name in STREAMS else STREAMS[0]
        return _with_outcome(f"the reader of {name} went away; what it got is not whole", error)
    if name in STREAMS:
        return _with_outcome(f"{name}: {why(error)}; what it got is not whole", error)
    if is_full(error):
        stands = "; ".join(getattr(error, "__notes__", [])) or outcome()
        output = output_of(options)
        ways = " or ".join(["--tmp-dir"] + [f"another {output}"] * bool(output))
        return f"no space left{where}; {stands}. Free some, or pass {ways}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _with_outcome(f"no permission{where}: {error.strerror}", error)
    return _with_outcome(f"{why(error)}{where}", error)


def _with_outcome(text: str, error: BaseException) -> str:
    """A message, and what was written before it came to that."""
    return "; ".join([text, *getattr(error, "__notes__", []), *written])
