"""`squashkit completion`."""

from __future__ import annotations

import click

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
    from squashkit.cli.shells import SHELLS, VARIABLE

    with telling():
        click.echo(SHELLS[shell](cli, {}, "squashkit", VARIABLE).source())
