"""What `squashkit` says of itself. Nothing is imported for that: it is there at once."""

from squashkit.version import __version__

NAME = "squashkit"
ABOUT = """Squash container images and keep their base layers, byte for byte.

Exit codes: 0 done, 1 failed, 2 usage, 3 a comparison says no, 4 invalid or
unsupported image, 5 not readable or writable, 6 not on that base, 130
interrupted, 141 nobody reads the output."""
SECTIONS = {
    "Images": {
        "squash": "Merge the layers of an image above its base.",
        "extract": "Make an image of some paths and what they need.",
        "rebase": "Put the layers of an image on another base.",
        "replay": "Make an image again by its recipe, of the old one alone.",
        "export": "Write the root file system of an image, or one layer, as a tar.",
    },
    "Bases and fleets": {
        "base": "Find an image's base, see if it is outdated, keep a catalogue.",
        "fleet": "Measure what many images take together, and squash them all.",
    },
    "Look": {
        "waste": "Tell where the bytes went, why, and what to write instead.",
        "report": "Show in a browser where the bytes went, as one HTML file.",
        "inspect": "Show an image's layers, its base, and what a squash would give.",
        "explore": "Walk through an image's layers and files in the terminal.",
        "ls": "List files of an image or of one layer.",
        "cat": "Print a file of an image.",
        "which": "Show which layers hold or hide a path.",
        "diff": "Compare the root file systems of two images.",
        "verify": "Check what an image promises; prove that something is not in it.",
    },
    "More": {
        "demo": "Show on small images what a squash does.",
        "completion": "Print a completion script for a shell.",
    },
}
"""The commands and what they do: what each says of itself."""
DEBUG = "Show a traceback when something fails."
_HELP = {
    "--version": "Show the version and exit.",
    "--debug": DEBUG,
    "-h, --help": "Show this message and exit.",
}
EXAMPLE = "Example: squashkit squash app.tar --keep-base fedora:28 -t app:1 -o 1.tar"


def front_page(program: str) -> str:
    """The help of the program as a whole, for 80 columns."""
    sections = {**SECTIONS, "Help": _HELP}
    width = max(len(name) for rows in sections.values() for name in rows)
    parts = [f"Usage: {program} [OPTIONS] COMMAND [ARGS]...", _indented(ABOUT)]
    for title, rows in sections.items():
        lines = [f"  {name:{width}}  {text}" for name, text in rows.items()]
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join([*parts, _indented(EXAMPLE)])


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.split("\n"))


def answer(words: list[str]) -> str | None:
    """What is said to the words behind `squashkit`; None where that needs the command line itself."""
    if words in (["-h"], ["--help"]):
        return front_page(NAME)
    return f"{NAME}, version {__version__}" if words == ["--version"] else None
