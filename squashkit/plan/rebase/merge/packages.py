"""What lies beside dpkg's status file: lists and scripts of packages, and the files that they list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from squashkit.layers.entry import REGULAR, SYMLINK
from squashkit.layers.rootfs import Directory, Inode
from squashkit.plan.packages.owners import INFO, one_place
from squashkit.plan.packages.paragraphs import lines_of
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.dpkg import Choice, Winner
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind


@dataclass(slots=True)
class PackageFiles:
    """The files of packages in one merge."""

    sides: Sides
    changes: Changes
    choices: Sequence[Choice]
    diverted: Mapping[bytes, tuple[bytes, bytes]]
    """Where dpkg was told to put a file, and for which package, by where it would lie."""
    _info: dict[bytes, set[bytes]] = field(init=False)
    """The suffixes of the files that any tree has for a package, by the package's name in the folder."""
    _listed: set[bytes] | None = None

    def __post_init__(self) -> None:
        self._info = defaultdict(set)
        for tree in (self.sides.old, self.sides.app, self.sides.new):
            for name in tree.names(INFO):
                package, dot, suffix = name.rpartition(b".")
                if dot:
                    self._info[package].add(suffix)

    def settle(self) -> None:
        """Have the folder hold what the packages of the result have there, hide files of the new base that
        no package of the result lists, and put back what the image removed with another package."""
        if any(self.sides.app.names(INFO)):
            for choice in self.choices:
                for package in self._names(choice):
                    for suffix in sorted(self._info[package]):
                        self._info_file(choice, INFO + b"/" + package + b"." + suffix, suffix)
        else:  # a folder that the image emptied stays empty
            for name in self.sides.new.names(INFO):
                self.changes.hide(INFO + b"/" + name, Kind.PACKAGES)
        for choice in self.choices:
            if choice.is_removed and self._is_gone(choice):
                self._remove_files(choice, without=())
            elif choice.winner is Winner.APP and choice.new is not None:
                self._remove_files(choice, without=self._paths(self.sides.app, choice))
                self._keep_conffiles(choice)
        self._put_back()
        self._divert()
        self._remove_links()

    def _is_gone(self, choice: Choice) -> bool:
        """Whether the image has no longer most files of a package: a status that was cut to save bytes
        removes nothing."""
        return is_gone(self.sides, self._paths(self.sides.old, choice))

    def _put_back(self) -> None:
        """Files that the old base had in a package which the image removed or upgraded, and that are in
        another one of the new base: the image's layers hide them, and meant the first."""
        owners = {
            one_place(path): choice.key[0]
            for choice in self.choices
            if choice.was_removed or choice.winner is Winner.APP
            for path in self._paths(self.sides.old, choice)
        }
        for choice in self.choices if owners else ():
            is_theirs = (
                choice.text is not None and choice.winner is not Winner.APP and not choice.is_removed
            )
            if is_theirs and choice.new is not None:
                paths = self._paths(self.sides.new, choice)
                put_back(self.sides, self.changes, paths, owners, choice.key[0])

    def _divert(self) -> None:
        """Files that only the new base has, and for which the image keeps the place free."""
        sides = self.sides
        for path, (target, _) in sorted(self.diverted.items()):
            real, place = sides.new.real(path), sides.result.real(target)
            node = sides.new.node(real)
            is_file = isinstance(node, Inode) and node.entry.typeflag == REGULAR
            if not is_file or sides.old.node(real) is not None or sides.result.node(place) is not None:
                continue
            self.changes.take(place, real, Kind.PACKAGES)
            if sides.is_new_base(real):
                self.changes.hide(real, Kind.PACKAGES)

    def _names(self, choice: Choice) -> list[bytes]:
        """By which names a package's files are in the folder: with an architecture where several of it may
        be there (Multi-Arch: same)."""
        name, architecture = choice.key
        known = {one.architecture for one in (choice.old, choice.app, choice.new) if one is not None}
        names = [name + b":" + one for one in sorted({architecture} if architecture else known)]
        if not architecture or all(one not in self._info for one in names):
            names.append(name)
        return [one for one in names if one in self._info]

    def _info_file(self, choice: Choice, path: bytes, suffix: bytes) -> None:
        old, app, new = (tree.node(path) for tree in (self.sides.old, self.sides.app, self.sides.new))
        tell = (choice.name,)
        if choice.text is None:
            self.changes.hide(path, Kind.PACKAGES, tell)
        elif choice.winner is Winner.APP:
            self.changes.copy(path, self.sides.app, Kind.PACKAGES, tell)
        elif old is not None and app is None:  # what the image took away stays away
            self.changes.hide(path, Kind.PACKAGES, tell)
        elif choice.app is not None and not choice.app.is_installed:
            # Of a removed package dpkg keeps a list of what was left, and what it runs to purge that.
            is_kept = app is None or new is None or suffix == b"list"
            self.changes.copy(path, self.sides.app if is_kept else self.sides.new, Kind.PACKAGES, tell)
        else:
            self.changes.copy(path, self.sides.new, Kind.PACKAGES, tell)

    def _paths(self, tree: Tree, choice: Choice) -> list[bytes]:
        """What a package's list in a tree names, without slashes at the start."""
        for package in self._names(choice):
            text = tree.text(INFO + b"/" + package + b".list")
            if text is not None:
                paths = (line.strip(b"/") for line in text.splitlines())
                return [path for path in paths if path not in (b"", b".")]
        return []

    def _remove_files(self, choice: Choice, without: Iterable[bytes]) -> None:
        """Hide what the new base has of a package, but for these."""
        kept = {one_place(path) for path in without} | self._owned()
        paths = []
        for path in self._paths(self.sides.new, choice):
            target, owner = self.diverted.get(path, (path, choice.key[0]))
            paths.append(target if owner != choice.key[0] else path)
        hide_files(self.sides, self.changes, paths, kept, choice.name)

    def _owned(self) -> set[bytes]:
        """What the packages of the result list, in one place."""
        if self._listed is None:
            self._listed = set()
            for choice in self.choices:
                if choice.text is None or (choice.app is None and choice.new is None):
                    continue
                if choice.is_removed:
                    continue
                tree = self.sides.app if choice.winner is Winner.APP else self.sides.new
                self._listed |= {one_place(path) for path in self._paths(tree, choice)}
        return self._listed

    def _keep_conffiles(self, choice: Choice) -> None:
        """Configuration files of a package that the image upgraded, and that dpkg left as the old base had
        them: the new base's are for another version."""
        assert choice.app is not None
        for line in lines_of(choice.app.text, b"Conffiles"):
            path = self.sides.app.real(line.split(b" ")[0].strip(b"/"))
            if self.sides.app.node(path) is not None and self.sides.is_new_base(path):
                self.changes.copy(path, self.sides.app, Kind.PACKAGES, (choice.name,))

    def _remove_links(self) -> None:
        """The new base's symlinks below /etc that lead nowhere in the result alone: to what the image
        removed, or what was hidden now."""
        if not any(choice.is_removed or choice.winner is Winner.APP for choice in self.choices):
            return
        links = self._links()
        while lost := [link for link, target in links.items() if not self.changes.leads(target)]:
            for link in lost:
                del links[link]
                self.changes.hide(link, Kind.PACKAGES)

    def _links(self) -> dict[bytes, bytes]:
        """Those that lead to something in the new base, and where."""
        sides, found = self.sides, {}
        for path, directory in sides.result.rootfs.directories.items():
            if not (path + b"/").startswith(b"etc/"):
                continue
            for name, node in directory.children.items():
                link = directory.child_path(name)
                if not isinstance(node, Inode) or node.entry.typeflag != SYMLINK:
                    continue
                is_theirs = node.layer < sides.bottom and sides.app.node(link) is None
                if is_theirs and link not in self.changes.made and sides.new.leads(link):
                    found[link] = _target(sides.result, path, node.entry.linkname)
        return found


def is_gone(sides: Sides, paths: Sequence[bytes]) -> bool:
    """Whether the image has lost most files of a package, which the old base lists with these paths."""
    real = [sides.old.real(path) for path in paths]
    files = [path for path in real if isinstance(sides.old.node(path), Inode)]
    return 2 * sum(sides.app.node(path) is not None for path in files) < max(1, len(files))


def put_back(
    sides: Sides,
    changes: Changes,
    paths: Iterable[bytes],
    owners: Mapping[bytes, bytes],
    package: bytes,
) -> None:
    """Have the result hold files of a package of the new base that the image's layers hide, since another
    package had them: `owners` are such, by paths in one place."""
    for path in paths:
        if owners.get(one_place(path), package) == package:
            continue
        real = sides.new.real(path)
        is_lost = sides.result.node(real) is None and sides.app.node(real) is None
        if is_lost and real not in changes.made and isinstance(sides.new.node(real), Inode):
            changes.take(real, real, Kind.PACKAGES)


def hide_files(
    sides: Sides, changes: Changes, paths: Iterable[bytes], kept: Collection[bytes], package: str
) -> None:
    """Hide files of the new base that the image has not, but for those at the paths `kept` (in one place);
    and folders in which nothing is left."""
    folders = []
    for path in paths:
        real = sides.new.real(path)
        if one_place(path) in kept or sides.app.node(real) is not None:
            continue
        if isinstance(sides.new.node(real), Directory):
            folders.append(real)
        elif sides.is_new_base(real):
            changes.hide(real, Kind.PACKAGES, (package,))
    for folder in sorted(folders, reverse=True):
        directory = sides.result.node(folder)
        held = (
            [directory.child_path(n) for n in directory.children]
            if isinstance(directory, Directory)
            else []
        )
        if isinstance(directory, Directory) and all(changes.made.get(path, path) is None for path in held):
            for path in held:  # the folder's whiteout hides them
                changes.made.pop(path, None)
            changes.hide(folder, Kind.PACKAGES, (package,))


def _target(tree: Tree, folder: bytes, linkname: bytes) -> bytes:
    """Where a symlink of a folder leads, symlinks on the way followed."""
    parts: list[bytes] = [] if linkname.startswith(b"/") else folder.split(b"/")
    for part in linkname.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return tree.real(b"/".join(parts))
