"""How the shells ask for completions, and get them.

click has scripts for these shells, whose ways do not fit references: bash parts a word at `:` and `=`, and
click takes the parts for words; no script leaves the space out behind `oci:` or a folder, zsh loses the
option in `--option=value`, and fish all behind a comma. Here a script hands on the line up to the cursor,
and prints what the last word may become: a value a line, with a tab before its description.
"""

from __future__ import annotations

import os
import re
from typing import ClassVar

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from squashkit.cli.complete import paths

VARIABLE = "_SQUASHKIT_COMPLETE"
"""By which a script asks: `bash_complete` and the like."""

_BASH = """\
%(complete_func)s() {
    local value
    COMPREPLY=()
    while IFS= read -r value; do
        [[ $value == *[/:,=] ]] && compopt -o nospace
        COMPREPLY+=("$value")
    done < <(env SQUASHKIT_LINE="${COMP_LINE:0:COMP_POINT}" SQUASHKIT_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local line value
    local -a plain open described
    (( ! $+commands[%(prog_name)s] )) && return 1
    for line in "${(@f)$(env SQUASHKIT_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" \\
        %(complete_var)s=zsh_complete %(prog_name)s)}"; do
        value=${line%%%%$'\\t'*}
        if [[ $line == *$'\\t'* ]]; then
            described+=("${value//:/\\\\:}:${line#*$'\\t'}")
        elif [[ $value == *[/:,=] ]]; then
            open+=("$value")
        elif [[ -n $value ]]; then
            plain+=("$value")
        fi
    done
    (( $#described )) && _describe -V unsorted described
    (( $#open )) && compadd -V open -S '' -a open
    (( $#plain )) && compadd -V plain -a plain
    (( $#described + $#open + $#plain ))
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    env SQUASHKIT_LINE=(commandline -cp | string collect) %(complete_var)s=fish_complete %(prog_name)s
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Shell(ShellComplete):
    """What is the same for all of them."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that."""
        line = os.environ.get("SQUASHKIT_LINE", "")
        words = split_arg_string(line)[1:]
        last = words.pop() if words and not line[-1:].isspace() else ""
        return words, last

    def complete(self) -> str:
        """What the last word may become, a line each."""
        words, last = self.get_completion_args()
        option = re.match(r"--[\w-]+=", last)
        head = option[0] if option else ""
        lines = []
        for item in self.get_completions(words, last):
            values = [item.value]
            if item.type != "plain":
                values = list(paths(last.removeprefix(head), only_folders=item.type == "dir"))
            lines += [self.format_completion(CompletionItem(head + one, help=item.help)) for one in values]
        return "\n".join(lines)

    def format_completion(self, item: CompletionItem) -> str:
        """A line: the value, and the description where there is one."""
        return f"{item.value}\t{item.help}" if item.help else str(item.value)


class Bash(_Shell):
    """bash, which puts in what it takes for the last word, without quotes, and shows no descriptions."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def format_completion(self, item: CompletionItem) -> str:
        """What stands behind the last sign that parts words, as it is typed."""
        _, last = self.get_completion_args()
        breaks = set(os.environ.get("SQUASHKIT_BREAKS", "")) & set(":=")
        known = max((last.rfind(sign) for sign in breaks), default=-1) + 1
        return re.sub(r"""([\s'"\\$`*?\[\]{}()<>|&;#!])""", r"\\\1", item.value[known:])


class Zsh(_Shell):
    """zsh."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class Fish(_Shell):
    """fish."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH


SHELLS: dict[str, type[_Shell]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}


def use_shells() -> None:
    """Let click answer the scripts by these classes in place of its own."""
    for shell in SHELLS.values():
        add_completion_class(shell)
