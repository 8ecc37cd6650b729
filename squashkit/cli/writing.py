"""What the commands share that write an image: options, where it comes from and goes to, what is told."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Protocol

import click

from squashkit.cli import complete
from squashkit.cli.help import MESSAGES, NAMES, READING, RESULT, option
from squashkit.cli.hints import flagged
from squashkit.cli.output import STREAMS, say, sending, show_json, write_file, written
from squashkit.cli.shared import (
    Function,
    access_options,
    check_forms,
    debug_option,
    have_option,
    jobs_option,
    markdown_option,
    max_size_option,
    parsed,
    platform_options,
    show_markdown,
    tmp_dir_option,
)
from squashkit.errors import UsageError, show_text, without_secrets
from squashkit.jobs.ends import default_output, is_stream, would_harm
from squashkit.oci.compression import Compression
from squashkit.oci.documents import PlatformChoice
from squashkit.options import Access, MinSaving, Read, Run, Write
from squashkit.progress import Note, Notify, Progress, shown
from squashkit.report.provenance import Provenance
from squashkit.report.text import json_text
from squashkit.values import frozen


class WriteReport(Protocol):
    """What a command that writes has to tell."""

    @property
    def manifest_digest(self) -> str:
        """Of the result's manifest, or its index; empty in a dry run."""

    @property
    def store_id(self) -> str:
        """By which a store knows the result; empty where it went elsewhere."""

    @property
    def provenance(self) -> Provenance | None:
        """How the result was made; None where nobody asked, and in a dry run."""

    def json(self) -> dict[str, Any]: ...

    def text(self, *, verbose: bool = False) -> str: ...


@frozen
class Writing:
    """What `writing_options` were given."""

    output: str | None
    tags: tuple[str, ...]
    format: Any
    compress: Compression | None
    platform: PlatformChoice | None
    skip_missing: bool
    force: bool
    dry_run: bool
    no_verify: bool
    replace: bool
    push_by_digest: bool
    digest_file: Path | None
    provenance: Path | None
    statement: Path | None
    no_fetch_base: bool
    have: tuple[str, ...]
    check: bool
    jobs: int | None
    tmp_dir: Path | None
    max_size: int | None
    access: Access
    as_json: bool
    as_markdown: bool
    report: Path | None
    quiet: bool
    verbose: bool

    @property
    def reading(self) -> Read:
        return Read(self.platform, self.skip_missing, not self.no_verify, not self.no_fetch_base, self.have)

    def write(self, min_saving: MinSaving | None = None, recipe: Path | None = None) -> Write:
        return Write(
            tags=self.tags,
            format=self.format,
            compress=self.compress,
            force=self.force,
            replace=self.replace,
            push_by_digest=self.push_by_digest,
            min_saving=min_saving,
            check=self.check,
            provenance=bool(self.provenance or self.statement),
            dry_run=self.dry_run,
            recipe=recipe,
        )

    @property
    def resources(self) -> Run:
        return Run(self.jobs or os.cpu_count() or 1, self.tmp_dir, self.max_size, self.access)

    def run(
        self,
        image: str | None,
        bases: tuple[str | None, ...],
        work: Callable[[str, str | None, Progress, Notify], WriteReport],
        recipe: Path | None = None,
    ) -> None:
        """Do the work, from where the image is to where the result goes, and tell what it did.

        `bases` are read too, and so are not written to; `recipe` is written beside the result. Raises
        UsageError for ends that do not fit together.
        """
        check_forms(as_json=self.as_json, as_markdown=self.as_markdown)
        image, output = self._ends(image)
        piped_out = is_stream(output) and not self.dry_run
        if piped_out and self.as_json and self.report is None:
            raise UsageError("the image goes to standard output; write the report to a file: --report FILE")
        if piped_out and self.as_markdown:
            raise UsageError("the image goes to standard output, where Markdown would go; pass -o PATH")
        for name, path in self._files(recipe).items():
            check_writable(name, path, image, output, *bases, *self.have)
            if piped_out and path.exists() and os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno())):
                raise UsageError(f"{name} {path}: the image goes to standard output")

        def notify(note: Note) -> None:
            if (self.verbose or note.is_warning) and not self.quiet:
                say(without_secrets(str(flagged(note))), err=True)

        with shown(quiet=self.quiet) as progress, sending() if piped_out else nullcontext():
            done = work(image, output, progress, notify)
        if output is not None and not self.dry_run:
            written.append(f"the image was written to {STREAMS[0] if piped_out else show_text(output)}")
        with ExitStack() as rest:  # a file that cannot be written stops neither the other nor the summary
            rest.callback(self.show, done, piped_out=piped_out)
            if self.digest_file is not None and not self.dry_run:
                write_file("--digest-file", self.digest_file, f"{done.manifest_digest or done.store_id}\n")
            if self.statement is not None and done.provenance is not None:
                rest.callback(_write_whole, "--statement", self.statement, done.provenance.statement())
            if self.provenance is not None and done.provenance is not None:
                rest.callback(_write_whole, "--provenance", self.provenance, done.provenance.predicate())

    def _files(self, recipe: Path | None) -> dict[str, Path]:
        """The files beside the image that are to be written. Raises UsageError where two are one."""
        named = {
            "--report": self.report,
            "--digest-file": self.digest_file,
            "--provenance": self.provenance,
            "--statement": self.statement,
            "--recipe": recipe,
        }
        files = {name: path for name, path in named.items() if path is not None}
        first: dict[Path, str] = {}
        for name, path in files.items():
            other = first.setdefault(path.resolve(), name)
            if other != name and (path.is_file() or not path.exists()):
                raise UsageError(f"{other} and {name} name one file: {path}")
        return files

    def show(self, done: WriteReport, *, piped_out: bool = False) -> None:
        """Print the report, and write it to its file where one is named."""
        done = flagged(done)
        with ExitStack() as rest:
            if self.as_json and not piped_out:
                rest.callback(show_json, done.json())
            elif self.as_markdown and not piped_out:
                rest.callback(show_markdown, done)
            elif not self.quiet:
                rest.callback(say, done.text(verbose=self.verbose), err=piped_out)
            if self.report is not None:
                write_file("--report", self.report, json_text(done.json()) + "\n")

    def show_refused(self, done: WriteReport) -> None:
        """What stopped the work, for programs, and in a dry run for people. A pipe gets nothing."""
        piped = self.report is not None and (self.output is None or is_stream(self.output))
        if self.report is not None or self.as_json or self.as_markdown:
            self.show(done, piped_out=piped)
        elif self.dry_run and not self.quiet:
            say(flagged(done).text(verbose=self.verbose))

    def _ends(self, image: str | None) -> tuple[str, str | None]:
        """Where the image comes from and goes to, where that is left out."""
        output = self.output
        if image is None:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("no IMAGE was given; pass a path, or pipe an archive into squashkit")
            image = "-"
        if output is None:
            output = default_output(image, self.write())
        elif self.dry_run:
            return image, output
        if is_stream(output) and (sys.stdout is None or sys.stdout.isatty()):
            raise _no_stream()
        return image, output


def writing_options(command: Function) -> Function:
    """The options of every command that writes an image; it gets them as one `writing`."""

    @functools.wraps(command)
    def collected(*args: Any, **kwargs: Any) -> Any:
        own = {name: kwargs.pop(name) for name in Writing.__dataclass_fields__}
        return command(*args, writing=Writing(**own), **kwargs)

    made: Function = collected
    for add in reversed(_OPTIONS):
        made = add(made)
    return made


recipe_option = option(
    "--recipe",
    section=NAMES,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the new layers are made of, by which squashkit replay makes the same image of the"
    " old one.",
)


def created_from_environment() -> str | None:
    """SOURCE_DATE_EPOCH, as reproducible builds set it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    from datetime import UTC, datetime

    if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 11):
        raise UsageError(f"SOURCE_DATE_EPOCH is no number of seconds: {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_stream() -> UsageError:
    """Why an image cannot go to standard output."""
    if sys.stdout is None:
        return UsageError("standard output is closed; pass -o PATH")
    return UsageError("standard output is a terminal; pass -o PATH, or pipe it into docker load")


def _write_whole(option: str, path: Path, document: dict[str, Any]) -> None:
    """Write a document to a file that has its name only when it is whole."""
    from squashkit.jobs.provenance import write_document  # most runs have no use for it

    write_file(option, path, json_text(document) + "\n", write_document)


def check_writable(option: str, target: Path, *references: str | None) -> None:
    """Raises UsageError where a file cannot be written, or would replace an input or the output."""
    place = target if target.exists() else target.parent
    if target.is_dir() or not target.parent.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(f"{option} {target}: no file can be written there")
    for text in references:
        if text is not None and would_harm(target, text):
            raise UsageError(f"{option} {target} is an input or the output, or lies within one")


_OPTIONS: list[Callable[[Function], Function]] = [
    option(
        "-o",
        "--output",
        section=RESULT,
        metavar="REF",
        shell_complete=complete.images,
        help="Where it goes: a path, - or a reference. That is docker-archive:PATH[:REF],"
        " oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME, containers-storage:NAME or"
        " docker://HOST/NAME. Default for an image of a daemon: that daemon.",
    ),
    option(
        "-t",
        "--tag",
        "tags",
        section=RESULT,
        multiple=True,
        metavar="NAME",
        help="A name for the result. Any number of times. Without it: the source's own.",
    ),
    option(
        "--format",
        section=NAMES,
        type=click.Choice(["docker", "oci"]),
        help="Form of the result. Default: the source's.",
    ),
    option(
        "--compress",
        section=RESULT,
        metavar="CODEC",
        shell_complete=complete.codecs,
        callback=parsed(Compression.parse),
        help="Store new layers as none, gzip[:LEVEL] or zstd[:LEVEL]. Default: as the kept ones are.",
    ),
    platform_options(RESULT),
    option(
        "--force",
        section=RESULT,
        is_flag=True,
        help="Replace an existing output. Of a layout: move an existing tag.",
    ),
    option(
        "-n", "--dry-run", section=RESULT, is_flag=True, help="Print what would be done; write nothing."
    ),
    option("--no-verify", section=READING, is_flag=True, help="Do not check digests of what is read."),
    option(
        "--replace",
        section=NAMES,
        is_flag=True,
        help="Move the source's own tag, in a daemon or a registry, to the result.",
    ),
    option("--push-by-digest", section=NAMES, is_flag=True, help="Give the result no tag in a registry."),
    option(
        "--digest-file",
        section=NAMES,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the digest of the result's manifest (or index; else its id in docker) to a file.",
    ),
    option(
        "--provenance",
        section=NAMES,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write how the result was made to a file, as SLSA provenance. Its root file system's digest is"
        " in it.",
    ),
    option(
        "--statement",
        section=NAMES,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write that to a file as an in-toto statement. It names the result by its digest, and can be"
        " signed as it is.",
    ),
    option(
        "--no-fetch-base",
        section=READING,
        is_flag=True,
        help="Do not read a base that lies in a registry; fail where its entries are needed and not"
        " remembered.",
    ),
    have_option(
        READING,
        "What the archive's reader has. A have-list, an archive, a layout or a reference: its layers stay"
        " out. A delta as IMAGE gets them from there and becomes whole. Any number of times.",
    ),
    option(
        "--check",
        section=RESULT,
        is_flag=True,
        help="Compare what was written with the source. It is read back, and compared at every kept"
        " layer, before it gets its name.",
    ),
    jobs_option("Threads", " The result does not depend on it."),
    tmp_dir_option("the output's"),
    max_size_option,
    access_options,
    option("--json", "as_json", section=RESULT, is_flag=True, help="Print the report as JSON."),
    markdown_option("the report", RESULT),
    option(
        "--report",
        section=MESSAGES,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the report as JSON to a file.",
    ),
    option("-q", "--quiet", section=MESSAGES, is_flag=True, help="Print nothing but errors."),
    option("-v", "--verbose", section=MESSAGES, is_flag=True, help="Print more: every contested path."),
    debug_option,
]
