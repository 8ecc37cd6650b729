"""`squashkit completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from squashkit.cli.help import Command
from squashkit.cli.output import telling


@click.command(
    cls=Command,
    short_help="Print a completion script for a shell.",
    epilog="""\b
Examples:
  squashkit completion bash > ~/.local/share/bash-completion/completions/squashkit
  squashkit completion zsh > "${fpath[1]}/_squashkit"
  squashkit completion fish > ~/.config/fish/completions/squashkit.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for SHELL."""
    from squashkit.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None
    with telling():
        click.echo(made(cli, {}, "squashkit", "_SQUASHKIT_COMPLETE").source())
