"""What several commands share: options, and the image that they look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from squashkit.cli.output import say, show_json
from squashkit.errors import show_text
from squashkit.oci.documents import ALL, Platform, PlatformChoice, parse_platform_choice
from squashkit.options import Access, Run, Which, parse_size
from squashkit.progress import Note, shown

if TYPE_CHECKING:
    from squashkit.jobs.look import Opened

Command = Callable[..., Any]
R = TypeVar("R")


class Printable(Protocol):
    """What a command found, for programs and for people."""

    def json(self) -> Any: ...

    def lines(self) -> Iterable[str]: ...


def show_report(report: Printable, *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        show_json(report.json())
        return
    for line in report.lines():
        say(show_text(line))


def parsed(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback that reports a ValueError as a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from error

    return callback


def platform_options(command: Command) -> Command:
    """`--platform` and `--skip-missing`."""
    command = click.option(
        "--skip-missing",
        is_flag=True,
        help="With --platform all: leave out platforms whose blobs are not there.",
    )(command)
    return click.option(
        "--platform",
        metavar="OS/ARCH",
        callback=parsed(parse_platform_choice),
        help="The platform to take from an index, or all. Default: this machine's.",
    )(command)


def tmp_dir_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--tmp-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"Folder for temporary files. Default: {default}.",
    )


def max_size_option(command: Command) -> Command:
    return click.option(
        "--max-size",
        metavar="SIZE",
        callback=parsed(parse_size),
        help="The most that temporary files and output may take together, and that compressed layers may"
        " inflate to. Default: what is free, less 5 %; no limit for what is not kept.",
    )(command)


def access_options(command: Command) -> Command:
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

    for option in (
        click.option(
            "--cert-dir",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder with CAs (*.crt) and client certificates (*.cert, *.key) for a registry.",
        ),
        click.option(
            "--tls-verify",
            type=bool,
            metavar="BOOL",
            help="Whether a registry must prove who it is. Default: yes, but not on localhost.",
        ),
        click.option(
            "--authfile",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Credentials for registries. Default: REGISTRY_AUTH_FILE, else docker's own.",
        ),
    ):
        collected = option(collected)
    return collected


def json_option(what: str) -> Callable[[Command], Command]:
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def debug_option(command: Command) -> Command:
    """`--debug`, which means the same before the command and after it."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().params["debug"] = True

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show a traceback when something fails.",
    )(command)


@dataclass(frozen=True, slots=True)
class Looking:
    """How a command that only looks finds its images: what `look_options` were given."""

    which: Which
    run: Run

    @property
    def all_platforms(self) -> bool:
        return self.which.choice == ALL

    def each(
        self, job: Callable[..., Iterable[tuple[Platform, R]]], *what: Any
    ) -> Iterator[tuple[Platform, R]]:
        """What a job finds in every image that is meant, with a progress bar meanwhile."""
        with shown() as progress:
            yield from job(*what, which=self.which, run=self.run, progress=progress, notify=notify)

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
        document = documents if self.all_platforms else next(iter(documents.values()))
        show_json(document)

    def heading(self, number: int, platform: Platform) -> None:
        """Print what stands above a platform's part of the output, where there are several."""
        if self.all_platforms:
            say("\n" * bool(number) + f"==> {show_text(str(platform))} <==")


def notify(note: Note) -> None:
    say(f"squashkit: {note}", err=True)


def look_options(command: Command) -> Command:
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

    return platform_options(
        access_options(tmp_dir_option("the system's")(max_size_option(debug_option(collected))))
    )
