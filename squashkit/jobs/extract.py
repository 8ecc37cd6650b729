"""An image of some paths of another and what they need: nothing is run, and nothing else comes along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from squashkit.arguments import checked
from squashkit.engine.carry_out import Task
from squashkit.engine.contents import FileContents
from squashkit.engine.deliver import deliver
from squashkit.engine.layers import LayerStore
from squashkit.engine.view import View
from squashkit.engine.write import Stock
from squashkit.errors import Incomplete, InvalidImage, UsageError, show_path, show_text
from squashkit.jobs.base.lookup import open_new_base
from squashkit.jobs.choose import choose
from squashkit.jobs.decide import Bases, base_beside
from squashkit.jobs.ends import decide_targets, guard_tags, open_ends
from squashkit.jobs.provenance import parameters_of, with_provenance
from squashkit.jobs.reports import notes_on, reports_of, transferred
from squashkit.layers.compare import is_same_content
from squashkit.layers.entry import directories_above, normalise
from squashkit.layers.lookup import node_at, resolve
from squashkit.layers.rootfs import Directory, Inode, Rootfs
from squashkit.oci.documents import ALL, ImageConfig, dump_json
from squashkit.oci.graph import Image, restack
from squashkit.options import Extract, History, Keep, Read, Run, Write
from squashkit.plan.base import Base
from squashkit.plan.extract.accounts import UnknownUser, accounts_of
from squashkit.plan.extract.needs import Needs
from squashkit.plan.extract.packages import Package, apk_database, find_packages, status_files
from squashkit.plan.extract.selection import Fitted, MadeFile, Selection, fit_on_base, plan_extract
from squashkit.plan.packages.owners import APK, STATUS_D
from squashkit.plan.segments import Decision, Segment
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.extract import ExtractReport
from squashkit.transports.sinks import claim
from squashkit.transports.stored import is_here
from squashkit.values import frozen
from squashkit.wording import Option

_MOST = 20
"""How many lines an error lists."""
_MAX_TEXT = 256 << 20
"""Bytes of the largest database of packages that is read."""


@checked
def extract(
    image: str,
    output: str | None,
    what: Extract | Sequence[str] | str,
    *,
    history: History = History(),
    read: Read = Read(),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> ExtractReport:
    """Write an image of some paths of another and what they need: symlinks and what they lead to, loaders
    and libraries, interpreters of scripts, the metadata of the packages that they are from. The config is
    carried over. With a base they lie on that, and only what it lacks is new.

    Nothing is run. Raises Incomplete where something is missing, or lies on the base otherwise; else as
    `squash`.
    """
    how = Extract.of(what)
    if read.choice == ALL:
        raise UsageError("extract works on one platform; name it")
    if write.recipe is not None:
        raise UsageError(Option("Write.recipe"), " is for a squash or a rebase; leave it out")
    if write.check or write.least is not None:
        raise UsageError(
            "extract makes another image than its source: it takes neither check nor min_saving"
        )
    images = [image] if how.base is None else [image, how.base]
    with (
        open_ends(images, output, read, run, progress, notify) as (session, source),
        LayerStore(session, verify=read.verify) as layers,
    ):
        bases = Bases(session, read.choice)
        _, candidates = base_beside(source, Keep(base=how.base))
        chosen = choose(source, read.choice, candidates=candidates)
        (app,) = chosen.images
        base = None
        if how.base is not None:
            (base,) = open_new_base(how.base, source, [app], bases.open_whole)
        work = _Work(app, base, how, layers)
        result = work.image
        whole = Segment(0, len(result.layers), keep=True)
        kept = base if base is not None else Base(0, "no base")
        targets = decide_targets(output, source, [Decision(result, kept, [whole])], bases, read, write)
        guard = guard_tags(source, [Decision(app, kept, [whole])], targets[0], read)
        claim(session, targets[0])
        session.progress.stage("Reading", None)
        found = work.find()
        segments = [Segment(0, work.base_layers, keep=True)] if work.base_layers else []
        segments.append(Segment(work.base_layers, len(result.layers), keep=False, remake=True))

        def recheck() -> None:
            if work.find().selection != found.selection:
                raise InvalidImage("it was changed while it was read", where=source.title)

        task = Task(
            Decision(result, kept, segments),
            lambda changesets, header_of: plan_extract(
                changesets, work.base_layers, found.selection, header_of, work.step
            ),
            replace(history, drop=True),
            needs_all=True,
            recheck=recheck,
        )
        notes = [notes_on(source, task.decision, targets[0], chosen, replace(history, drop=False))]
        asked = parameters_of("extract", image, output, how, history, read, write)
        delivery = deliver(layers, [task], targets, guard, Stock())
        moved = transferred(session, [delivery], delivery.output)
        made_from = {"source": app, "base": base.image if base is not None else None}
        (job,) = with_provenance(
            reports_of(source, delivery, targets, notes, moved),
            targets,
            asked,
            [made_from],
            [source, *bases.sources],
        )
        return ExtractReport(
            job=job,
            app=app,
            why=found.why,
            sizes=found.sizes,
            in_base=tuple(found.in_base),
            packages=tuple(found.packages),
            warnings=tuple(found.warnings),
            lacking=tuple(found.lacking),
        )


@frozen
class _Found:
    """What is to be in the new layer, and what people should know of it."""

    selection: Selection
    why: Mapping[bytes, str]
    sizes: Mapping[bytes, int]
    in_base: Sequence[bytes]
    packages: Sequence[Package]
    warnings: Sequence[str]
    lacking: Sequence[str]


@dataclass(slots=True)
class _Work:
    """One extraction: the image, the base if there is one, and what is wanted."""

    app: Image
    base: Base | None
    how: Extract
    layers: LayerStore

    @property
    def base_layers(self) -> int:
        return self.base.layers if self.base is not None else 0

    @property
    def step(self) -> str:
        """What the history says."""
        words = ["squashkit extract", *self.how.names]
        words += ["--from-entrypoint"] * self.how.from_entrypoint
        words += [f"--with {','.join(self.how.kinds)}"] * bool(self.how.kinds)
        return " ".join(words)

    @property
    def image(self) -> Image:
        """The base's layers below the image's, with the image's config."""
        lower = self.base.image if self.base is not None else None
        below = lower.layers if lower is not None else ()
        raw: dict[str, Any] = dict(self.app.config.raw)
        diff_ids = [layer.diff_id for layer in (*below, *self.app.layers)]
        raw["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
        raw.pop("history", None)
        history = lower.config.history if lower is not None and lower.config.layer_history else ()
        if lower is None or lower.config.layer_history is not None or not below:
            entries = [dict(entry.raw) for entry in history or ()]
            raw["history"] = entries + [{"created_by": self.step}] * len(self.app.layers)
        config = ImageConfig.parse(dump_json(raw))
        layers = restack(config, (*below, *self.app.layers))
        return replace(self.app, config=config, layers=layers)

    def find(self) -> _Found:
        """Search the image for what is wanted and needed."""
        view = self._view(self.app)
        contents = FileContents(view)
        needs = Needs(view.rootfs, contents, _environment(self.app), self._may_lack)
        for name in self.how.names:
            needs.name(name.encode("utf-8", "surrogateescape"))
        if self.how.from_entrypoint:
            folder = str(self.app.config.settings.get("WorkingDir") or "")
            needs.entrypoint(_words(self.app, "Entrypoint"), _words(self.app, "Cmd"), folder)
        for word in self.how.kinds:
            needs.word(word)
        if not needs.missing:
            needs.finish()
        start = [*_words(self.app, "Entrypoint"), *_words(self.app, "Cmd")][:1]
        if start and not needs.missing:
            needs.tell_start(start[0])
        tree = _Tree(view, contents, needs)
        lower = (
            self._view(self.base.image) if self.base is not None and self.base.image is not None else None
        )
        tree.add_folder(str(self.app.config.settings.get("WorkingDir") or ""))
        missing = [str(one) for one in needs.missing]
        missing += tree.add_user(str(self.app.config.settings.get("User") or ""), lower)
        if missing:
            raise _incomplete("not all that is needed is in the image; nothing was written", missing)
        packages = tree.add_packages(lower)
        fitted = Fitted()
        if lower is not None:
            base_view = lower

            def same(mine: Inode, theirs: Inode) -> bool:
                return is_same_content(view.pieces(mine), base_view.pieces(theirs))

            fitted = fit_on_base(view.rootfs, lower.rootfs, needs.why, same, needs.through)
            tree.leave_to_base(lower, fitted)
            if fitted.conflicts:
                raise _incomplete(
                    f"{self.app.title} does not fit {self.how.base}; nothing was written",
                    fitted.conflicts,
                )
        paths = frozenset(needs.why.keys() - set(fitted.there))
        return _Found(
            selection=Selection(paths | tree.folders, tree.made),
            why=needs.why,
            sizes={path: _size(node_at(view.rootfs, path)) for path in paths},
            in_base=[
                path for path in fitted.there if not isinstance(node_at(view.rootfs, path), Directory)
            ],
            packages=packages,
            warnings=needs.warnings,
            lacking=needs.lacking,
        )

    def _view(self, image: Image) -> View:
        changesets = self.layers.read(image.layers, is_here)
        return View(image.title, image, self.layers, dict(enumerate(changesets)))

    def _may_lack(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) or fnmatchcase(name, f"*/{glob}") for glob in self.how.missing)


class _Tree:
    """What an image needs beside files that are there: folders, its user, metadata of packages."""

    def __init__(self, view: View, contents: FileContents, needs: Needs) -> None:
        self.view, self.contents, self.needs = view, contents, needs
        self.made: dict[bytes, MadeFile] = {}
        self.added_to = {*APK}
        """Files that hold what the base has in them, with more."""
        self.folders: frozenset[bytes] = frozenset()

    def read(self, path: bytes) -> bytes | None:
        """A file's content; None where there is none."""
        node = resolve(self.view.rootfs, path, follow=True)
        return self.contents.head(node, _MAX_TEXT) if isinstance(node, Inode) else None

    def add_folder(self, path: str) -> None:
        """The folder that the image starts in."""
        parts = [
            part for part in normalise(b"/" + path.encode("utf-8", "surrogateescape")).split(b"/") if part
        ]
        name = b"/".join(parts)
        if not name:
            return
        node = resolve(self.view.rootfs, name, follow=True)
        if isinstance(node, Directory):
            if node.path:
                self.needs.why.setdefault(node.path, "WORKDIR")
        elif node is None:
            for end in range(1, len(parts) + 1):
                above = b"/".join(parts[:end])
                if node_at(self.view.rootfs, above) is None:
                    self.made[above] = MadeFile(None, 0o755)

    def add_user(self, user: str, lower: View | None) -> list[str]:
        """The lines of passwd and group for the user that the image runs as; what is missing for that."""
        files = {b"passwd": self.read(b"etc/passwd") or b"", b"group": self.read(b"etc/group") or b""}
        try:
            accounts = accounts_of(user, files[b"passwd"], files[b"group"])
        except UnknownUser as error:
            return [str(error)]
        for name, lines in ((b"passwd", accounts.passwd), (b"group", accounts.group)):
            path = b"etc/" + name
            if not lines or path in self.needs.why:
                continue
            below = _text(lower, path)
            missing = [line for line in lines.splitlines() if line not in below.splitlines()]
            if not missing:
                continue
            taken = {line.split(b":", 1)[0] for line in below.splitlines()}
            if taken & {line.split(b":", 1)[0] for line in missing}:
                return [f"/etc/{name.decode()} of the base has another line than {show_path(missing[0])}"]
            if below:
                self.made[path] = self._like(
                    path, _whole_lines(below) + _whole_lines(b"\n".join(missing)), lower
                )
                self.added_to.add(path)
                continue
            self.made[path] = self._like(path, lines)
        return []

    def add_packages(self, lower: View | None) -> list[Package]:
        """The metadata of the packages of which something stays."""
        rootfs = self.view.rootfs
        kept = {path for path in self.needs.why if not _is_folder(rootfs, path)}
        folder = rootfs.directories.get(STATUS_D)
        names = [STATUS_D + b"/" + name for name in folder.children] if folder is not None else []
        packages = find_packages(self.read, names, kept)
        for path, content in status_files(packages).items():
            self.made[path] = self._like(b"var/lib/dpkg/status", content)
        for database in APK:
            if node_at(rootfs, database) is not None and database not in self.needs.why:
                base = _text(lower, database)
                content = apk_database(packages, base)
                if content and content != base:
                    self.made[database] = self._like(database, content, lower if base else None)
        self.made = {path: one for path, one in self.made.items() if path not in self.needs.why}
        above = {above for path in self.made for above in directories_above(path)}
        self.folders = frozenset(path for path in above if path in rootfs.directories)
        for path in above - self.folders:
            self.made.setdefault(path, MadeFile(None, 0o755))
        return packages

    def leave_to_base(self, lower: View, fitted: Fitted) -> None:
        """Nothing new is made that the base has so; what it has otherwise, but for databases, conflicts."""
        for path, one in list(self.made.items()):
            there = node_at(lower.rootfs, path)
            if there is None or path in self.added_to:
                continue
            if (one.content is None and isinstance(there, Directory)) or (
                one.content is not None and _text(lower, path) == one.content
            ):
                del self.made[path]
            else:
                fitted.conflicts.append(f"/{show_path(path)}: the base has it with other content")

    def _like(self, path: bytes, content: bytes, lower: View | None = None) -> MadeFile:
        """A file with the attributes of one that is there, or that the base has."""
        node = node_at((lower or self.view).rootfs, path)
        if not isinstance(node, Inode):
            return MadeFile(content, 0o644)
        attributes = node.effective()
        return MadeFile(content, attributes.mode, attributes.uid, attributes.gid, attributes.mtime)


def _text(view: View | None, path: bytes) -> bytes:
    node = resolve(view.rootfs, path, follow=True) if view is not None else None
    return view.read_at(node, 0, _MAX_TEXT) if view is not None and isinstance(node, Inode) else b""


def _whole_lines(text: bytes) -> bytes:
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _is_folder(rootfs: Rootfs, path: bytes) -> bool:
    """Whether a path is a directory, or one of the root that is one with another: `lib` leads to
    `usr/lib`, and packages list it as the directory that it was."""
    return isinstance(resolve(rootfs, path, follow=b"/" not in path), Directory)


def _size(node: object) -> int:
    return node.entry.size if isinstance(node, Inode) else 0


def _environment(image: Image) -> dict[str, str]:
    values = image.config.settings.get("Env") or []
    return {name: value for name, sign, value in (str(one).partition("=") for one in values) if sign}


def _words(image: Image, name: str) -> list[str]:
    """A setting that holds the words of a command."""
    value = image.config.settings.get(name) or []
    words = [value] if isinstance(value, str) else [str(word) for word in value if word is not None]
    return [word for word in words if word]


def _incomplete(message: str, lines: Sequence[str]) -> Incomplete:
    shown = [show_text(line) for line in dict.fromkeys(lines)]
    more = [f"and {len(shown) - _MOST:,} more"] if len(shown) > _MOST else []
    return Incomplete(message, details="".join(f"\n  {line}" for line in [*shown[:_MOST], *more]))
