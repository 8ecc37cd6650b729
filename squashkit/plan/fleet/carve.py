"""The layers that a fleet should have had: what the same images have above their bases, each in its own.

An atom is the least that must lie in one layer: a file with all its names, a whiteout, a directory that
holds nothing new. Atoms are equal where a root file system cannot tell them apart. Those that the same
images have are an item (cover.py), which says in which layers they lie; all of them are in each image's
stack once it is whole, and nothing else, so that in which order they come decides nothing. Directories are
told again by every layer that holds something below them: the last one that an image has of them says what
they are there, and those below may say what they are in another image.

A layer depends on what it holds alone: its members are in the order of their paths. That keeps it the same
from one release of a fleet to the next.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from squashkit.layers import headers, tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import DISK_BLOCK, WHITEOUT, Changeset, HostSize, blocks_of, content_of
from squashkit.layers.entry import DIRECTORY, REGULAR, Entry, HeaderOf, directories_above
from squashkit.layers.merge import EMPTY, Folder, Part, RunParts, SquashedLayer
from squashkit.layers.pieces import Copy, Member, Piece, SafeSubset, join_pieces
from squashkit.layers.rootfs import BELOW, Attributes
from squashkit.options import Merge
from squashkit.plan.fleet.cover import ImageSet, choose_layers, images_of
from squashkit.plan.fleet.trie import MADE_BY
from squashkit.plan.segments import Segment
from squashkit.plan.squash import LayerPlan, Planner, squash_planner
from squashkit.values import frozen

A_LAYER = 4096
"""Bytes that a layer is held to cost each image that has it: a request, and its places in the manifest and
the config."""


class FleetFile(NamedTuple):
    """A file of one of the fleet's different layers."""

    layer: int
    """The number of the layer."""
    entry: Entry
    has_extension: bool
    """Whether its headers, which are written as they are, say more than one block can."""

    @property
    def place(self) -> tuple[int, int]:
        """Layer and offset: no other file has it."""
        return self.layer, self.entry.start


class Atom(NamedTuple):
    """What lies in one layer. The numbers of layers are those of the fleet's different ones."""

    members: tuple[Member, ...]
    content: int
    """Bytes of the file, as docker counts."""
    blocks: int
    """Of its blocks, as containerd does."""
    size: int
    """Bytes in the tar."""


@frozen
class CarvedLayer:
    """A layer that some images of a fleet share. Its pieces name the fleet's different layers by number."""

    images: ImageSet
    pieces: tuple[Piece, ...]
    entries: int
    host_size: HostSize
    sizes: tuple[tuple[int, int], ...]
    """Of each atom its number, and its bytes in the tar."""
    published: int | None = None
    """The number of the layer that it is, where that was there before."""

    def as_new(self, key: str) -> SquashedLayer:
        """The layer as plans have it, by its key."""
        return replace(EMPTY, pieces=self.pieces, entries=self.entries, host_size=self.host_size, key=key)


@frozen
class Carving:
    """The layers of a fleet, and which of them each image has on its base."""

    layers: tuple[CarvedLayer, ...]
    stacks: tuple[tuple[int, ...], ...]
    """For each image the numbers of its layers, the lowest first."""

    def least(self, stored: Sequence[int]) -> int:
        """What the layers would take if nothing lay in two of them, and a layer cost nothing, at the ratios
        at which these became so many stored bytes: no layers of the same atoms take less."""
        taken: dict[int, float] = {}
        for layer, size in zip(self.layers, stored, strict=True):
            whole = sum(plain for _, plain in layer.sizes) or 1
            for atom, plain in layer.sizes:
                share = size * plain / whole
                taken[atom] = min(share, taken.get(atom, share))
        return int(sum(taken.values()))


def in_place_of(run: SquashedLayer, layers: Sequence[SquashedLayer]) -> list[SquashedLayer]:
    """New layers as what a run becomes together: the first of them stands for its layers, the others for
    none. Where there is no new layer, one that holds nothing does."""
    first, *others = layers or [replace(EMPTY, pieces=())]
    first = replace(
        run, pieces=first.pieces, entries=first.entries, host_size=first.host_size, key=first.key
    )
    return [first, *(replace(one, start=run.stop, stop=run.stop) for one in others)]


def carve_planner(segments: Sequence[Segment], layers: Sequence[SquashedLayer]) -> Planner:
    """Plans an image whose last segment becomes these layers. What the report says of that run is what a
    squash of it would say."""
    squash = squash_planner(segments, Merge())

    def plan(changesets: Mapping[int, Changeset], header_of: HeaderOf) -> LayerPlan:
        planned = squash(changesets, header_of)
        *kept, run = planned.layers
        assert isinstance(run, SquashedLayer)
        return replace(planned, layers=(*kept, *in_place_of(run, layers)), made_by=MADE_BY)

    return plan


@dataclass(slots=True)
class _Image:
    """What one image has above its base."""

    atoms: array[int] = field(default_factory=lambda: array("L"))
    folders: dict[bytes, int] = field(default_factory=dict)
    """All directories that its layers may have to list, by their numbers."""


@frozen
class _Published:
    """A layer that is there already."""

    layer: int
    changeset: Changeset
    atoms: frozenset[int]
    folder_atoms: frozenset[int]
    """Directories in which it has nothing: atoms of images that have nothing more there."""
    folders: Mapping[bytes, Folder]


class Carver:
    """Takes what images hold, one after another, and layers that are there already; then carves it."""

    def __init__(self, images: int, names: Sequence[str]) -> None:
        """`names` are the fleet's different layers', by number: of equal atoms in several of them one is
        taken by these, so that nothing depends on the order of images. What an image has is taken from the
        images' layers, never from one that is there already: new layers depend on the images alone."""
        self._names = names
        self._images = [_Image() for _ in range(images)]
        self._atoms: list[Atom] = []
        self._shapes: list[object] = []
        """Of each atom what tells it from others, but for its content."""
        self._files: list[FleetFile | None] = []
        """Of each atom where its content lies."""
        self._numbers: dict[object, int] = {}
        self._folders: list[Folder] = []
        self._folder_numbers: dict[object, int] = {}
        self._published: list[_Published] = []
        self._own: int | None = None
        """How many atoms images have, which are the first ones; None as long as images come."""

    # What images hold

    def add(self, number: int, parts: RunParts, different: Sequence[int]) -> None:
        """What an image holds above its base. `different` are the numbers of its layers among the fleet's
        different ones."""
        image = self._images[number]
        image.folders = {path: self._folder(path, folder) for path, folder in parts.folders.items()}
        image.atoms.extend(self._folder_atoms(parts))
        image.atoms.extend(self._other_atoms(parts, different, number))

    def add_published(self, layer: int, changeset: Changeset, parts: RunParts) -> None:
        """A layer that is there already, by its number among the fleet's different ones and those that are
        there: images get it that have all of it, which are all known by now. `parts` are what it makes of
        nothing; of whiteouts it has its own. One that this could not have written is passed over."""
        if self._own is None:
            self._own = len(self._atoms)
        whiteouts = [
            Member(BELOW, 0, one.path, REGULAR, None, (headers.header(one.path, REGULAR, mode=0o644),))
            for one in changeset.markers
        ]
        parts = parts._replace(whiteouts=whiteouts)
        above = (parent for path in _paths_of(parts) for parent in directories_above(path))
        listed = all(parent in parts.folders for parent in above)
        is_plain = changeset.diff_size == changeset.end + len(tar.END_OF_ARCHIVE) and not changeset.junk
        if listed and is_plain and not changeset.opaques and not changeset.odd:
            atoms, folders = self._other_atoms(parts, [layer], -1), self._folder_atoms(parts)
            self._published.append(
                _Published(layer, changeset, frozenset(atoms), frozenset(folders), parts.folders)
            )

    def _folder_atoms(self, parts: RunParts) -> list[int]:
        """The directories that were changed and have nothing else in them."""
        parents = {path.rpartition(b"/")[0] for path in _paths_of(parts)}
        found = []
        for path, folder in parts.folders.items():
            if folder.changed and path and path not in parents:
                member = Member(BELOW, 0, path, DIRECTORY, None, (folder.header,))
                found.append(self._atom(("folder", path, _key(folder.attributes)), None, (member,)))
        return found

    def _other_atoms(self, parts: RunParts, different: Sequence[int], owner: int) -> list[int]:
        found = [self._atom(("whiteout", one.path), None, (one,)) for one in parts.whiteouts]
        for part in parts.others:
            members = tuple(_renumbered(member, different) for member in part.members)
            shape = _shape(part)
            if part.entry.sparse is not None:
                # Nobody shares it: podman unpacks a layer wrongly that has one, and that it has already on
                # other layers (seen with 4.3).
                shape = shape, owner
            file = None
            extends = part.entry.headers > BLOCK and isinstance(part.members[0].pieces[0], Copy)
            if extends or (part.entry.typeflag == REGULAR and part.entry.size):
                file = FleetFile(different[part.layer], part.entry, extends)
            found.append(self._atom(shape, file, members, part.entry))
        return found

    def _folder(self, path: bytes, folder: Folder) -> int:
        key = path, _key(folder.attributes), folder.changed
        if key not in self._folder_numbers:
            self._folder_numbers[key] = len(self._folders)
            self._folders.append(folder)
        number = self._folder_numbers[key]
        if folder.header < self._folders[number].header:
            self._folders[number] = folder
        return number

    def _atom(
        self,
        shape: object,
        file: FleetFile | None,
        members: tuple[Member, ...],
        entry: Entry | None = None,
    ) -> int:
        key = shape, file.place if file is not None else None
        size = sum(_length(piece) for member in members for piece in member.pieces)
        number = self._numbers.setdefault(key, len(self._atoms))
        is_new = number == len(self._atoms)
        is_theirs = self._own is not None
        if not is_new and not is_theirs and self._place(members) < self._place(self._atoms[number].members):
            self._atoms[number] = self._atoms[number]._replace(members=members, size=size)
        if is_new:
            content, blocks = (content_of(entry), blocks_of(entry)) if entry is not None else (0, 0)
            self._atoms.append(Atom(members, content, blocks, size))
            self._shapes.append(shape)
            self._files.append(file)
        return number

    def _place(self, members: Sequence[Member]) -> tuple[str, int, bytes]:
        """Where the first bytes of an atom come from, as something to sort by."""
        piece = members[0].pieces[0]
        if isinstance(piece, bytes):
            return "", 0, piece
        return self._names[piece.layer], piece.start, b""

    def _order(self, number: int) -> tuple[bool, tuple[str, int, bytes]]:
        """Of equal atoms the least one is taken: what images have comes first."""
        is_own = self._own is None or number < self._own
        return not is_own, self._place(self._atoms[number].members)

    # What is equal

    def doubtful(self) -> list[FleetFile]:
        """The files whose contents say what is equal: all else is, and they lie in several places."""
        alike: dict[object, list[FleetFile]] = defaultdict(list)
        for shape, file in zip(self._shapes, self._files, strict=True):
            if file is not None:
                alike[shape].append(file)
        return [file for files in alike.values() if len(files) > 1 for file in files]

    def unite(self, digests: Mapping[tuple[int, int], bytes]) -> None:
        """Take atoms for one that are equal. `digests` tell the contents of the doubtful files, by their
        places."""
        keys = [
            (shape, digests.get(file.place, b"") if file is not None else b"")
            for shape, file in zip(self._shapes, self._files, strict=True)
        ]
        first: dict[object, int] = {}
        for number in sorted(range(len(keys)), key=self._order):
            first.setdefault(keys[number], number)
        numbers = [first[key] for key in keys]
        for image in self._images:
            image.atoms = array("L", sorted({numbers[atom] for atom in image.atoms}))
        self._published = [
            replace(
                one,
                atoms=frozenset(numbers[atom] for atom in one.atoms),
                folder_atoms=frozenset(numbers[atom] for atom in one.folder_atoms),
            )
            for one in self._published
        ]

    # Layers

    def carve(self, room: Sequence[int], weigh: Callable[[Atom], int]) -> Carving:
        """The layers of the fleet. `room` says how many each image may have, at least one; `weigh` what an
        atom takes, about.

        Each image's layers hold what it has, no more and no less. The same fleet is carved alike each time.
        """
        present = {atom for image in self._images for atom in image.atoms}
        sizes = {atom: weigh(self._atoms[atom]) for atom in present}
        taken = self._take_published(room, sizes)
        sets = self._sets(taken)
        room = [
            max(1, most - sum(one.images >> number & 1 for one in taken))
            for number, most in enumerate(room)
        ]
        weights: dict[ImageSet, int] = defaultdict(int)
        for atom, images in sets.items():
            weights[images] += sizes[atom]
        limits = [*room]
        alone: ImageSet = 0
        while True:
            homes = _choose(weights, limits, alone)
            drafts = self._drafts(sets, homes, taken)
            new = [draft for draft in drafts if draft.published is None]
            crowded = [n for n, most in enumerate(room) if sum(d.images >> n & 1 for d in new) > most]
            if not crowded:
                return self._carving(drafts)
            for number in crowded:  # it needs a layer of its own, for directories
                limits[number] -= 1
                if not limits[number]:
                    limits[number] = 1
                    alone |= 1 << number

    def _take_published(self, room: Sequence[int], sizes: Mapping[int, int]) -> list[_Draft]:
        """The layers that are there already and that images get: each one that has all of it, where it
        saves more than a layer costs, those first that save most. One place is left for what is new."""
        takers: dict[int, ImageSet] = defaultdict(int)
        for number, image in enumerate(self._images):
            missing = set(image.atoms)
            able = [
                (place, one)
                for place, one in enumerate(self._published)
                if one.atoms <= missing and one.folders.keys() <= image.folders.keys()
            ]
            for _ in range(room[number] - 1):
                worth = [
                    (sum(sizes[atom] for atom in one.atoms & missing), -place, one) for place, one in able
                ]
                best = max(worth, key=lambda each: each[:2], default=None)
                if best is None or best[0] <= A_LAYER:
                    break
                takers[-best[1]] |= 1 << number
                missing -= best[2].atoms | best[2].folder_atoms
        return [
            _Draft(
                images,
                sorted(self._published[place].atoms),
                dict(self._published[place].folders),
                self._published[place],
            )
            for place, images in sorted(takers.items())
        ]

    def _sets(self, taken: Sequence[_Draft]) -> dict[int, ImageSet]:
        """For each atom the images that have it, but for those that get it with a layer that is there."""
        found: dict[int, ImageSet] = defaultdict(int)
        for number, image in enumerate(self._images):
            there = {atom for draft in taken if draft.images >> number & 1 for atom in draft.holds}
            for atom in image.atoms:
                if atom not in there:
                    found[atom] |= 1 << number
        return found

    def _drafts(
        self,
        sets: Mapping[int, ImageSet],
        homes: Mapping[ImageSet, Sequence[ImageSet]],
        taken: Sequence[_Draft],
    ) -> list[_Draft]:
        """The layers, the widest first, with the directories that they must list."""
        drafts: dict[ImageSet, _Draft] = {}
        for atom, images in sets.items():
            for home in homes[images]:
                drafts.setdefault(home, _Draft(home)).atoms.append(atom)
        for draft in drafts.values():
            self._list_ancestors(draft)
        for number in range(len(self._images)):
            self._correct(number, drafts, taken)
        return sorted([*taken, *drafts.values()], key=_Draft.order)

    def _list_ancestors(self, draft: _Draft) -> None:
        for atom in draft.atoms:
            for member in self._atoms[atom].members:
                if member.typeflag == DIRECTORY:
                    number = self._agreed(draft, member.path)
                    assert number is not None
                    draft.folders[member.path] = self._folders[number]
                for path in directories_above(member.path):
                    if path not in draft.folders:
                        draft.folders[path] = self._common(draft, path)

    def _agreed(self, draft: _Draft, path: bytes) -> int | None:
        """What a directory is in all images of a layer; None where it is not the same."""
        found = {self._images[number].folders.get(path) for number in images_of(draft.images)}
        if len(found) == 1:
            return found.pop()
        known = [self._folders[number] for number in found if number is not None]
        if len(known) == len(found) and len({_key(folder.attributes) for folder in known}) == 1:
            numbers = [number for number in found if number is not None]
            return min(numbers, key=lambda number: self._folders[number].header)
        return None

    def _common(self, draft: _Draft, path: bytes) -> Folder:
        """What a directory is in most images of a layer. Where they do not agree on its xattrs, one without
        any: who unpacks a layer onto those below may leave xattrs that the next one does not have."""
        images = [self._images[number] for number in images_of(draft.images)]
        times = Counter(image.folders[path] for image in images)
        folders = [self._folders[number] for number in times]
        if len({_key(folder.attributes)[-1] for folder in folders}) > 1:
            plain = headers.header(path + b"/", DIRECTORY, mode=0o755)
            return Folder(plain, Attributes(0o755, 0, 0, 0, {}), changed=False)
        most = min(
            times,
            key=lambda one: (-times[one], _key(self._folders[one].attributes), self._folders[one].header),
        )
        return self._folders[most]

    def _correct(self, number: int, drafts: dict[ImageSet, _Draft], taken: Sequence[_Draft]) -> None:
        """List directories once more that an image's layers do not tell as they are in it: in the uppermost
        of them whose images agree on it, else in one of its own."""
        image = self._images[number]
        of_image = (one for one in (*taken, *drafts.values()) if one.images >> number & 1)
        stack = sorted(of_image, key=_Draft.order)
        last: dict[bytes, int] = {}
        for place, draft in enumerate(stack):
            last.update(dict.fromkeys(draft.folders, place))
        for path in sorted(image.folders):
            folder = self._folders[image.folders[path]]
            at = last.get(path, -1)
            if at >= 0 and _key(stack[at].folders[path].attributes) == _key(folder.attributes):
                continue
            if at < 0 and not folder.changed:
                continue
            home = next(
                (one for one in reversed(stack[at + 1 :]) if self._can_list(one, path)),
                None,
            )
            if home is None:
                home = drafts.setdefault(1 << number, _Draft(1 << number))
                if home not in stack:
                    stack.append(home)
            for one in (*directories_above(path), path):
                if one not in home.folders:
                    home.folders[one] = self._folders[image.folders[one]]
                    last[one] = max(last.get(one, -1), stack.index(home))

    def _can_list(self, draft: _Draft, path: bytes) -> bool:
        """Whether all images of a layer agree on a directory, and on those above it that it lacks."""
        if draft.published is not None:
            return False
        missing = (one for one in (*directories_above(path), path) if one not in draft.folders)
        return path not in draft.folders and all(self._agreed(draft, one) is not None for one in missing)

    def _carving(self, drafts: Sequence[_Draft]) -> Carving:
        layers = tuple(self._layer(draft) for draft in drafts)
        stacks = []
        for number in range(len(self._images)):
            stack = [place for place, draft in enumerate(drafts) if draft.images >> number & 1]
            self._verify(number, [drafts[place] for place in stack])
            stacks.append(tuple(stack))
        return Carving(layers, tuple(stacks))

    def _layer(self, draft: _Draft) -> CarvedLayer:
        """A layer's members in order: each directory followed at once by its whiteouts, then all else."""
        atoms = [self._atoms[atom] for atom in draft.atoms]
        sizes = tuple((number, atom.size) for number, atom in zip(draft.atoms, atoms, strict=True))
        if (there := draft.published) is not None:
            whole = (Copy(there.layer, 0, there.changeset.end),)
            host, entries = there.changeset.host_size, there.changeset.count
            return CarvedLayer(draft.images, whole, entries, host, sizes, there.layer)
        whiteouts: dict[bytes, list[Member]] = defaultdict(list)
        others: list[tuple[Member, ...]] = []
        for atom in draft.atoms:
            members = self._atoms[atom].members
            if members[0].path.rpartition(b"/")[2].startswith(WHITEOUT):
                whiteouts[members[0].path.rpartition(b"/")[0]].append(members[0])
            elif members[0].typeflag != DIRECTORY:
                others.append(members)

        def in_order() -> Iterator[Member]:
            paths = {*draft.folders, *whiteouts}
            for path in sorted(paths):
                if path in draft.folders:
                    header = draft.folders[path].header
                    yield Member(BELOW, 0, path, DIRECTORY, None, (header,))
                yield from sorted(whiteouts.get(path, ()), key=lambda one: one.path)
            for members in sorted(others, key=lambda one: one[0].path.split(b"/")):
                yield from members

        safe = SafeSubset(listed=True)
        pieces, entries = join_pieces([(BELOW, safe.verified(in_order()))])
        safe.finish()
        folders = len(draft.folders.keys() | {b""})
        host = HostSize(
            sum(atom.content for atom in atoms), sum(atom.blocks for atom in atoms) + DISK_BLOCK * folders
        )
        return CarvedLayer(draft.images, pieces, entries, host, sizes)

    def _verify(self, number: int, stack: Sequence[_Draft]) -> None:
        """Hold an image's layers against what it has: a fault here is squashkit's own, and nothing is
        written."""
        image = self._images[number]
        held = {atom for draft in stack for atom in draft.atoms}
        also = {atom for draft in stack for atom in draft.holds}
        if not held.issubset(image.atoms) or not (held | also).issuperset(image.atoms):
            raise AssertionError(f"the layers of image {number} do not hold what it holds")
        told: dict[bytes, Folder] = {}
        for draft in stack:
            told |= draft.folders
        if told.keys() - image.folders.keys():
            raise AssertionError(f"the layers of image {number} have directories that it has not")
        for path, at in image.folders.items():
            folder = self._folders[at]
            if path in told and _key(told[path].attributes) != _key(folder.attributes):
                raise AssertionError(f"the layers of image {number} change {path!r}")
            if path not in told and folder.changed:
                raise AssertionError(f"the layers of image {number} lack {path!r}")


@dataclass(slots=True, eq=False)
class _Draft:
    """A layer in the making."""

    images: ImageSet
    atoms: list[int] = field(default_factory=list)
    folders: dict[bytes, Folder] = field(default_factory=dict)
    """The directories that it lists, those of its atoms included."""
    published: _Published | None = None
    """What it is, where it is there already."""

    @property
    def holds(self) -> frozenset[int]:
        """The atoms of a layer that is there already, with those of images that have its directories so."""
        return self.published.atoms | self.published.folder_atoms if self.published else frozenset()

    def order(self) -> tuple[bool, int, ImageSet, int]:
        """Layers that are there already are the lowest; others of more images lie below those of fewer."""
        there = self.published
        return there is None, -self.images.bit_count(), self.images, there.layer if there else 0


def _choose(
    weights: Mapping[ImageSet, int], room: Sequence[int], alone: ImageSet
) -> dict[ImageSet, tuple[ImageSet, ...]]:
    """As `choose_layers`, where some images share no layer with others."""
    shared: dict[ImageSet, int] = defaultdict(int)
    for images, weight in weights.items():
        if images & ~alone:
            shared[images & ~alone] += weight
    homes = choose_layers(shared, room, A_LAYER)
    return {
        images: (*homes.get(images & ~alone, ()), *(1 << number for number in images_of(images & alone)))
        for images in weights
    }


def _key(attributes: Attributes) -> tuple[int, int, int, int, tuple[tuple[bytes, bytes], ...]]:
    """Attributes as something that can be a key."""
    return (*attributes[:4], tuple(sorted(attributes.xattrs.items())))


def _shape(part: Part) -> object:
    """What a root file system shows of a part, but for its content. Headers of several blocks say more than
    is understood here: those that are written anew are a part of it, of others their length, and they are
    looked at with the content."""
    entry = part.entry
    header = part.members[0].pieces[0]
    extension: object = max(entry.headers, BLOCK)
    if isinstance(header, bytes):
        extension = header if len(header) > BLOCK else BLOCK
    paths = tuple(member.path for member in part.members)
    kind = entry.typeflag, entry.devmajor, entry.devminor, entry.realsize, entry.sparse is not None
    return paths, kind, _key(part.attributes), entry.linkname, extension


def _renumbered(member: Member, different: Sequence[int]) -> Member:
    pieces = tuple(
        piece if isinstance(piece, bytes) else Copy(different[piece.layer], piece.start, piece.end)
        for piece in member.pieces
    )
    return member._replace(pieces=pieces)


def _paths_of(parts: RunParts) -> Iterator[bytes]:
    """Of all that a run lists but the root."""
    yield from filter(None, parts.folders)
    yield from (member.path for member in parts.whiteouts)
    yield from (member.path for part in parts.others for member in part.members)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.end - piece.start
