"""What several commands share: options, and the image that they look at."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import click
from click.core import ParameterSource

from squashkit.cli import complete
from squashkit.cli.help import KEEP, MESSAGES, OPTIONS, READING, REGISTRIES, RESOURCES, Section, option
from squashkit.cli.hints import flagged
from squashkit.cli.output import say, show_json, terminal_width
from squashkit.errors import UsageError, show_text
from squashkit.oci.documents import ALL, Platform, PlatformChoice, parse_platform_choice
from squashkit.options import Access, Merge, Run, Which, parse_size
from squashkit.progress import Note, shown
from squashkit.values import frozen

if TYPE_CHECKING:
    from squashkit.jobs.look import Opened

Function = Callable[..., Any]
R = TypeVar("R")


class Printable(Protocol):
    """What a command found, for programs and for people."""

    def json(self) -> Any: ...

    def lines(self) -> Iterable[str]: ...


@runtime_checkable
class Fitting(Printable, Protocol):
    """The same with tables that fit a terminal."""

    def fitted(self, width: int | None) -> Iterable[str]: ...


_AT_ONCE = 1000
"""Lines of a report that are printed together: each time costs a write."""


def show_report(report: Printable, *, as_json: bool, as_markdown: bool = False) -> None:
    """Print what was found."""
    if as_markdown:
        show_markdown(report)
        return
    report = flagged(report)
    if as_json:
        show_json(report.json())
        return
    lines = report.fitted(terminal_width()) if isinstance(report, Fitting) else report.lines()
    shown = (show_text(flagged(line)) for line in lines)
    while some := list(islice(shown, _AT_ONCE)):
        say("\n".join(some))


def show_markdown(*reports: Any) -> None:
    """Print reports as Markdown."""
    # It knows all reports, and few runs have a use for it.
    from squashkit.report.markdown.report import markdown

    say(markdown(*map(flagged, reports)))


def check_forms(**forms: bool) -> None:
    """Raises UsageError where a report is asked for in two forms."""
    asked = [f"--{name.removeprefix('as_')}" for name, is_asked in forms.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other: a report is printed in one form")


def check_alone(name: str, *fitting: str) -> None:
    """Raises UsageError where the command that runs was given more beside an option than what fits it."""
    ctx = click.get_current_context()
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in (name.replace("-", "_"), *fitting, "debug"):
            other = parameter.opts[-1] if isinstance(parameter, click.Option) else "IMAGE"
            raise UsageError(f"--{name} stands alone: {other} means nothing beside it")


def parsed(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback that reports a ValueError as a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from error

    return callback


def platform_options(section: Section) -> Callable[[Function], Function]:
    """`--platform`, in this section, and `--skip-missing`."""

    def options(command: Function) -> Function:
        command = option(
            "--skip-missing",
            section=READING,
            is_flag=True,
            help="With --platform all: leave out platforms whose blobs are not there.",
        )(command)
        return option(
            "--platform",
            section=section,
            metavar="OS/ARCH",
            callback=parsed(parse_platform_choice),
            shell_complete=complete.platforms,
            help="The platform to take from an index, or all. Default: this machine's.",
        )(command)

    return options


def have_option(section: Section, what: str) -> Callable[[Function], Function]:
    """`--have`, with what it means to the command."""
    return option(
        "--have",
        section=section,
        multiple=True,
        metavar="OLD",
        shell_complete=complete.images,
        help=what,
    )


def tmp_dir_option(default: str) -> Callable[[Function], Function]:
    return option(
        "--tmp-dir",
        section=RESOURCES,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"Folder for temporary files. Default: {default}.",
    )


def jobs_option(what: str, more: str = "") -> Callable[[Function], Function]:
    """The help begins with what there are so many of, and ends with `more`."""
    return option(
        "--jobs",
        section=RESOURCES,
        type=click.IntRange(1, 64),
        metavar="N",
        help=f"{what}. Default: one a processor.{more}",
    )


def max_size_option(command: Function) -> Function:
    return option(
        "--max-size",
        section=RESOURCES,
        metavar="SIZE",
        callback=parsed(parse_size),
        help="The most that temporary files and output may take together, and that compressed layers may"
        " inflate to. Default: what is free, less 5 %; no limit for what is not kept.",
    )(command)


def access_options(command: Function) -> Function:
    """How registries are reached; the command gets it as one `access`."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        authfile: Path | None,
        tls_verify: bool | None,
        cert_dir: Path | None,
        **kwargs: Any,
    ) -> Any:
        return command(*args, access=Access(authfile, tls_verify, cert_dir), **kwargs)

    for add in (
        option(
            "--cert-dir",
            section=REGISTRIES,
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder with CAs (*.crt) and client certificates (*.cert, *.key) for a registry.",
        ),
        option(
            "--tls-verify",
            section=REGISTRIES,
            type=bool,
            metavar="BOOL",
            help="Whether a registry must prove who it is. Default: yes, but not on localhost.",
        ),
        option(
            "--authfile",
            section=REGISTRIES,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Credentials for registries. Default: REGISTRY_AUTH_FILE, else docker's and podman's own.",
        ),
    ):
        collected = add(collected)
    return collected


def leave_out_options(section: Section, what: str) -> Callable[[Function], Function]:
    """`--drop-caches` and `--exclude`; `what` begins the sentences that explain them."""

    def options(command: Function) -> Function:
        made: Function = option(
            "--exclude",
            section=section,
            metavar="GLOB",
            multiple=True,
            help=f"{what} what lies at these paths. As in verify --absent; any number of times.",
        )(command)
        return option(
            "--drop-caches",
            section=section,
            metavar="NAMES",
            multiple=True,
            shell_complete=complete.caches,
            help=f"{what} the caches of package managers: apt,pip or all.",
        )(made)

    return options


def followed_options(section: Section) -> Callable[[Function], Function]:
    """What a recipe is let leave out and change: the command gets it as `merge` and `clamp_mtime`."""

    def options(command: Function) -> Function:
        @functools.wraps(command)
        def collected(
            *args: Any, drop_caches: Any, exclude: Any, also_base: bool, symlink_parents: Any, **others: Any
        ) -> Any:
            merge = Merge(
                symlink_parents=symlink_parents,
                drop_caches=drop_caches,
                exclude=exclude,
                also_base=also_base,
            )
            return command(*args, merge=merge, **others)

        made: Function = collected
        for add in (
            option(
                "--symlink-parents",
                section=section,
                type=click.Choice(["overlay", "follow"]),
                default="overlay",
                show_default=True,
                help="Which a path through a lower layer's symlink means, as of squash. The recipe must"
                " have the same.",
            ),
            option(
                "--clamp-mtime",
                section=section,
                metavar="TIME",
                help="Let it change times that are later to this.",
            ),
            option(
                "--also-base",
                section=section,
                is_flag=True,
                help="Let it hide what the base has of it, too.",
            ),
            leave_out_options(section, "Let the recipe leave out"),
        ):
            made = add(made)
        return made

    return options


def waste_options(command: Function) -> Function:
    """What the base is, what the image was built from, and rules of one's own."""
    for add in (
        option(
            "--rules",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Rules of your own for what lives and is not needed. They come before squashkit's.",
        ),
        option(
            "--dockerfile",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="What the image was built from. Mends name its lines, and joins come as a patch.",
        ),
        option("--keep-layers", section=KEEP, type=int, metavar="N", help="The base has N layers."),
        option(
            "--keep-base",
            section=KEEP,
            metavar="REF",
            shell_complete=complete.bases,
            help="The base, by name, path or digest. What is dead of it is told apart.",
        ),
    ):
        command = add(command)
    return command


listed_option = option(
    "--from",
    "listed",
    type=click.File("rb"),
    multiple=True,
    metavar="FILE",
    help="More images, a reference a line. # at its beginning or after a space begins a comment. -"
    " is standard input.",
)
_MAX_LIST = 16 << 20


def read_list(file: IO[bytes]) -> list[str]:
    """The references that a file names. Raises UsageError where it is no text, or has no end."""
    data = file.read(_MAX_LIST + 1)
    if len(data) > _MAX_LIST:
        raise UsageError(f"--from {file.name}: over {_MAX_LIST >> 20} MB, which is no list of references")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"--from {file.name}: that is no list of references, one a line") from error
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return list(filter(None, lines))


def json_option(what: str) -> Callable[[Function], Function]:
    return option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def markdown_option(what: str, section: Section = OPTIONS) -> Callable[[Function], Function]:
    return option(
        "--markdown",
        "as_markdown",
        section=section,
        is_flag=True,
        help=f"Print {what} as Markdown, for a comment.",
    )


def debug_option(command: Function) -> Function:
    """`--debug`, which means the same before the command and after it."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().params["debug"] = True

    return option(
        "--debug",
        section=MESSAGES,
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show a traceback when something fails.",
    )(command)


@frozen
class Looking:
    """How a command that only looks finds its images: what `look_options` were given."""

    which: Which
    run: Run

    @property
    def all_platforms(self) -> bool:
        return self.which.choice == ALL

    def each(
        self, job: Callable[..., Iterable[tuple[Platform, R]]], *what: Any, **how: Any
    ) -> Iterator[tuple[Platform, R]]:
        """What a job finds in every image that is meant, with a progress bar meanwhile."""
        with shown() as progress:
            yield from job(*what, which=self.which, run=self.run, progress=progress, notify=notify, **how)

    @contextmanager
    def open(self, *references: str) -> Iterator[list[Opened]]:
        """Open what references name, with a progress bar meanwhile."""
        from squashkit.jobs.look import open_images  # commands that write have no use for it

        with shown() as progress, open_images(references, self.which, self.run, progress, notify) as opened:
            yield opened

    def show(self, reports: Iterable[tuple[Platform, Printable]], *, as_json: bool) -> None:
        """Print what was found. Of all platforms, each under its heading; in JSON each by its name."""
        documents: dict[str, Any] = {}
        for number, (platform, report) in enumerate(reports):
            if as_json:
                documents[str(platform)] = report.json()
                continue
            self.heading(number, platform)
            show_report(report, as_json=False)
        if as_json:
            self.show_json(documents)

    def show_json(self, documents: dict[str, Any]) -> None:
        """Print the document of the one image, or each platform's by its name."""
        show_json(self.document(documents))

    def document(self, documents: dict[str, Any]) -> Any:
        """The document of the one image, or each platform's by its name."""
        return documents if self.all_platforms else next(iter(documents.values()))

    def heading(self, number: int, platform: Platform) -> None:
        """Print what stands above a platform's part of the output, where there are several."""
        if self.all_platforms:
            say("\n" * bool(number) + f"==> {show_text(str(platform))} <==")


def notify(note: Note) -> None:
    say(f"squashkit: {flagged(note)}", err=True)


LOOKING = (
    *("platform", "skip_missing", "tmp_dir", "max_size"),
    *("authfile", "tls_verify", "cert_dir"),
)
"""The names of the options that `look_options` gives."""


def look_options(command: Function) -> Function:
    """The options of every command that only looks; it gets them as one `looking`."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        platform: PlatformChoice | None,
        skip_missing: bool,
        tmp_dir: Path | None,
        max_size: int | None,
        access: Access,
        **kwargs: Any,
    ) -> Any:
        looking = Looking(
            Which(platform, skip_missing), Run(tmp_dir=tmp_dir, max_size=max_size, access=access)
        )
        return command(*args, looking=looking, **kwargs)

    made: Function = debug_option(collected)
    for add in (max_size_option, tmp_dir_option("the system's"), access_options, platform_options(OPTIONS)):
        made = add(made)
    return made
