"""What an error says at the command line: its options as flags, and of bases what to pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from squashkit.errors import (
    BaseAmbiguous,
    BaseNotFound,
    BaseUnknown,
    NotBasedOn,
    SquashkitError,
    layer_table,
)
from squashkit.wording import Option, Text, Words, shown

T = TypeVar("T")
FLAGS = {
    "Access.authfile": "--authfile",
    "Access.cert_dir": "--cert-dir",
    "Access.tls_verify": "--tls-verify",
    "Extract.from_entrypoint": "--from-entrypoint",
    "Extract.words": "--with",
    "FleetOptions.bases": "--base",
    "FleetOptions.exclude": "--exclude",
    "FleetOptions.strategies": "--strategies",
    "FleetOptions.clamp_mtime": "--clamp-mtime",
    "FleetOptions.max_layers": "--max-layers",
    "FleetOptions.stable_from": "--stable-from",
    "FleetOptions.platform": "--platform",
    "Gates.max_wasted_percent": "--max-wasted-percent",
    "Gates.min_efficiency": "--min-efficiency",
    "Keep.base": "--keep-base",
    "Keep.from_step": "--from-step",
    "Keep.layers": "--keep-layers",
    "Keep.nothing": "--all",
    "Keep.segments": "--segments",
    "Merge.also_base": "--also-base",
    "Merge.blind": "--blind",
    "Merge.drop_caches": "--drop-caches",
    "Merge.exclude": "--exclude",
    "Merge.symlink_parents": "--symlink-parents",
    "Read.fetch_base": "--no-fetch-base",
    "Read.have": "--have",
    "Read.verify": "--no-verify",
    "Rebase.allow": "--allow",
    "Rebase.stop_on": "--stop-on",
    "Rebase.take_new": "--take-new",
    "Patch.tag_suffix": "--tag-suffix",
    "Rebase.config": "--config",
    "Rebase.onto": "--new-base",
    "Run.max_size": "--max-size",
    "Run.tmp_dir": "--tmp-dir",
    "Spread.scheduler": "--scheduler",
    "Spread.shard": "--shard",
    "Spread.workers": "--workers",
    "Which.platform": "--platform",
    "Which.skip_missing": "--skip-missing",
    "Write.check": "--check",
    "Write.compress": "--compress",
    "Write.dry_run": "--dry-run",
    "Write.format": "--format",
    "Write.min_saving": "--min-saving",
    "Write.provenance": "--provenance",
    "Write.push_by_digest": "--push-by-digest",
    "Write.recipe": "--recipe",
    "Write.replace": "--replace",
    "Write.tags": "-t",
    "base": "--base",
    "chart": "--chart",
    "drop_caches": "--drop-caches",
    "error.report": "--json",
    "exclude": "--exclude",
    "force": "--force",
    "into": "--into",
    "layer": "--layer",
    "output": "-o",
    "clamp_mtime": "--clamp-mtime",
    "sources": "--source",
    "strategy": "--strategy",
    "whiteouts": "--whiteouts",
}
"""How the command line calls what a library's message calls an option."""


_OUTPUT = Option("output")


def told(error: SquashkitError, command: str, options: Collection[str] = ()) -> str:
    """An error of a command that has these options in words, with what to pass to that."""
    advise = _ADVICE.get(type(error))
    advised = advise(error, command) if advise is not None else None
    return error.within(advised or in_flags(_with_output(error.text, output_of(options))) + error.details)


def output_of(options: Collection[str]) -> str:
    """Of a command's options the one that says where its results go; nothing where it has none."""
    return next((one for one in ("-o", "--into") if one in options), "" if options else "-o")


def _with_output(text: Text, output: str) -> Text:
    """A message with the option for the output as a command has it. Without one a list begins with what
    stands behind it."""
    if _OUTPUT not in text:
        return text
    at = text.index(_OUTPUT)
    before, behind = text[:at], text[at + 1 :]
    return (*before, output, *behind) if output else (*before, *behind[1:])


def in_flags(text: Text) -> str:
    """A message with its options as flags."""
    return shown(text, flag)


def flag(option: Option) -> str:
    """An option as it is passed: `--force`, `-t NAME`, `--tls-verify=false`."""
    name = FLAGS[option.name]
    if option.value is False and not name.startswith("--no-"):
        return f"{name}=false"
    if option.example:
        return f"{name} {option.example}"
    plain = option.value is None or isinstance(option.value, bool)
    return name if plain else f"{name} {option.value}"


_TELLING = {
    *("notes", "unknown", "hint", "text", "faults", "places", "message", "what"),  # what is told
    *("base", "old", "new", "evidence"),  # how a base is known
    *("fleet", "job", "result", "reports", "outputs", "verdict"),  # reports within reports
    *("moves", "tags", "why"),  # what became of tags
}
"""The fields of reports and notes that may speak of options, or hold what does."""


def flagged(value: T) -> T:
    """A report or a note with flags in the place of options."""
    return cast("T", _flagged(value))


def _flagged(value: Any) -> Any:
    if isinstance(value, Words):
        return in_flags(value.parts)
    if isinstance(value, list | tuple):
        return type(value)(map(_flagged, value))
    if isinstance(value, Mapping):
        return {key: _flagged(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        told = {one.name for one in fields(value)} & _TELLING
        return replace(value, **{name: _flagged(getattr(value, name)) for name in told})
    return value


def _base_unknown(error: BaseUnknown, command: str) -> str | None:
    if not error.steps:
        return None
    old = command == "rebase"
    near = f"--old-base {error.near} names" if old else f"--keep-base {error.near} keeps"
    stands = f"\n{error.image} stands on {error.near}: {near} that." if error.near else ""
    what = (
        "nothing says what the old base is: pass --old-base REF"
        if old
        else "nothing says which layers are the base: pass --keep-base REF, --keep-layers N,"
        " --from-step TEXT, --segments, or --all to squash everything"
    )
    return f"{what}\n{layer_table(error.steps, counts=not old)}{stands}"


def _not_based_on(error: NotBasedOn, command: str) -> str:
    advice = {
        "squash": f"\n--keep-layers {error.shared} keeps what they share."
        if error.shared
        else "\nWas the image built on another version of it?",
        "rebase": "\nWas the image built on another version of it? Pass that: --old-base REF.",
    }.get(command, "")
    return f"{error.message}\n{layer_table(error.steps, counts=command == 'squash')}{advice}"


def _base_not_found(error: BaseNotFound, command: str) -> str | None:
    if not error.steps:
        return None
    squash = command == "squash"
    if error.way:
        others = (
            "a digest, or --keep-layers N"
            if squash
            else "or with --config keep the chain_id of its top layer; --old-base takes each of them"
        )
        advice = f".\n{error.way}, {others}"
    else:
        advice = (
            "; --keep-layers N keeps N layers" if squash else "; --old-base takes a name or a path, too"
        )
    return f"{in_flags(error.text)}{advice}:\n{layer_table(error.steps, counts=squash)}"


def _base_ambiguous(error: BaseAmbiguous, command: str) -> str:
    number = f", or --keep-layers {error.positions[0] + 1}" if command == "squash" else ""
    return f"{error.message}{number}"


_ADVICE: dict[type[SquashkitError], Callable[[Any, str], str | None]] = {
    BaseUnknown: _base_unknown,
    BaseNotFound: _base_not_found,
    BaseAmbiguous: _base_ambiguous,
    NotBasedOn: _not_based_on,
}
"""What to pass, by an error's type and fields; None where its message says all."""
