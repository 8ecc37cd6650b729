"""The bases by themselves, without the layers above: what both hold, and whose the old one's files are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Self

from squashkit.layers.changeset import Changeset
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.plan.packages.apk import apk_packages
from squashkit.plan.packages.owners import APK, RPM, STATUS, Built, Owners, find_owners, installed
from squashkit.plan.packages.rpm.forms import rpm_packages
from squashkit.plan.packages.versions import is_later
from squashkit.plan.rebase.contents import Contents, is_file
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.model import Side
from squashkit.values import frozen

_CODE = (b"bin/", b"sbin/", b"lib", b"usr/")
"""Where a base has programs and libraries: they count as a package's where no list of packages can be
read."""
_DIVERSIONS = b"var/lib/dpkg/diversions"


@frozen
class Origin:
    """Both bases, and the packages of the old one."""

    old: Rootfs
    new: Rootfs
    owners: Owners
    before: Mapping[bytes, Built]
    """dpkg's packages of the old base."""
    there: Mapping[bytes, Built]
    """Those of the new base."""
    ours: Mapping[bytes, Built]
    """Those that a layer above lists; none where no layer has a list of its own."""
    own: Collection[bytes]
    """Packages that the image brought."""
    diverted: Mapping[bytes, bytes]
    """Where dpkg was told to put files of packages, in the result, by where these would lie."""

    @classmethod
    def read(cls, fitted: Fitted, contents: Contents, own: Collection[bytes] = ()) -> Self:
        """`own` are packages that the image brought, though the old base has them too. Linear in the
        entries of both bases and in the lists of packages."""
        old, new = _tree(fitted.old), _tree(fitted.new)

        def text(path: bytes, tree: Rootfs = old, side: Side = Side.OLD) -> bytes | None:
            node = node_at(tree, path)
            return contents.text(node, side) if isinstance(node, Inode) else None

        owners = find_owners(text, [path for path, _ in files_of(old)])
        is_own = _is_above(fitted, STATUS)

        def built(tree: Rootfs, side: Side) -> dict[bytes, Built]:
            found = installed(text(STATUS, tree, side) or b"")
            for path in (*APK, *RPM) if not found else ():
                data = text(path, tree, side)
                packages = (
                    (rpm_packages if path in RPM else apk_packages)(data) if data is not None else None
                )
                for name, one in (packages or {}).items():
                    found[name] = Built(one.version, name, one.version)
            return found

        is_own = is_own or any(_is_above(fitted, path) for path in (*APK, *RPM))
        return cls(
            old,
            new,
            owners,
            before=built(old, Side.OLD),
            there=built(new, Side.NEW),
            ours=built(fitted.tree, Side.NEW) if is_own else {},
            own=own,
            diverted=_diversions(text(_DIVERSIONS, fitted.tree, Side.NEW) or b""),
        )

    def package_of(self, path: bytes) -> str:
        """The package of the old base whose file this is; nothing where none is known."""
        return self.owners.of(path) or ""

    def is_own(self, path: bytes) -> bool:
        """Whether a file is of a package that the image brought itself."""
        return bool(self.own) and self.package_of(path).encode() in self.own

    def is_code(self, path: bytes) -> bool:
        """Whether a file is patched with a package: one lists it, or none can be read, and it lies where
        programs do."""
        if self.owners.packages:
            return self.owners.of(path) is not None and not self.is_own(path)
        return path.startswith(_CODE)

    def is_settings(self, path: bytes) -> bool:
        """Whether a changed file is the image's own: package managers leave such alone."""
        return path.startswith(b"etc/") or self.owners.is_conffile(path)

    def is_removed(self, package: str) -> bool:
        """Whether the layers removed a package of the old base."""
        name = package.encode()
        return bool(self.ours) and name in self.before and name not in self.ours

    def is_ahead(self, package: str) -> bool:
        """Whether the layers brought a package in a version that is no lower than the new base's."""
        name = package.encode()
        before, there, ours = (versions.get(name) for versions in (self.before, self.there, self.ours))
        if before is None or there is None or ours is None or ours.version == before.version:
            return False
        return not is_later(there.version, ours.version)


def _is_above(fitted: Fitted, path: bytes) -> bool:
    """Whether a layer above the base has something at a path."""
    node = node_at(fitted.tree, path)
    return isinstance(node, Inode) and node.layer >= fitted.bottom


def files_of(tree: Rootfs) -> Iterator[tuple[bytes, Inode]]:
    """The regular files of a tree, by their paths."""
    for directory in tree.directories.values():
        for name, node in directory.children.items():
            if is_file(node):
                yield directory.child_path(name), node


def _tree(layers: Sequence[Changeset]) -> Rootfs:
    tree = Rootfs()
    for index, changeset in enumerate(layers):
        tree.apply(changeset, index)
    return tree


def _diversions(text: bytes) -> dict[bytes, bytes]:
    """dpkg's diversions: three lines each, the path, where it is put, and who asked for that."""
    lines = text.splitlines()
    return {lines[n].strip(b"/"): lines[n + 1].strip(b"/") for n in range(0, len(lines) - 2, 3)}
