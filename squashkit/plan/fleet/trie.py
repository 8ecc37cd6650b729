"""What many images take together, and where to cut them: pure accounting over the trie of their layers.

Images that share layers form a trie: a node is a layer on its parents (a chain_id), an image ends at a
node. A strategy gives every image a stack of blobs; what these take in a registry, on a host and over the
wire is counted here in one way for all strategies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, pairwise, product
from typing import NamedTuple

from squashkit.oci.digests import ChainID, DiffID
from squashkit.oci.graph import MAX_LAYERS, Image
from squashkit.plan.squash import Segment


class Blob(NamedTuple):
    """One layer of a result. Equal keys are equal bytes."""

    key: str
    stored: int
    """Bytes in a registry."""
    content: int
    """Bytes of the files, as docker counts a layer."""
    diff_id: str = ""
    """Equal ones are equal tars, however they are compressed; the key where it is not given."""

    @property
    def tar(self) -> str:
        return self.diff_id or self.key


Stack = Sequence[Blob]
"""The layers of one image's result, base first."""


def registry_bytes(stacks: Iterable[Stack]) -> int:
    """What a registry stores: every blob once, whatever it lies on."""
    return sum({blob.key: blob.stored for stack in stacks for blob in stack}.values())


def host_bytes(stacks: Iterable[Stack]) -> int:
    """What a host stores: a layer once for each stack of layers that it lies on."""
    return sum(blob.content for layers in _layers(stacks) for blob, new in layers if new)


def _layers(stacks: Iterable[Stack]) -> Iterator[list[tuple[Blob, bool]]]:
    """Each image's layers, and whether each is new to a host that has the images before: it finds layers by
    what they lie on. Stacks of parents are numbered as they come."""
    numbers: dict[tuple[int, str], int] = {}
    for stack in stacks:
        at, layers = 0, []
        for blob in stack:
            place = at, blob.tar
            layers.append((blob, place not in numbers))
            at = numbers.setdefault(place, len(numbers) + 1)
        yield layers


def growth(stacks: Sequence[Stack]) -> list[tuple[int, int]]:
    """What the first 1, 2, 3... images take: in a registry, and on a host."""
    stored: set[str] = set()
    registry = host = 0
    grown = []
    for layers in _layers(stacks):
        for blob, new in layers:
            if blob.key not in stored:
                stored.add(blob.key)
                registry += blob.stored
            host += blob.content * new
        grown.append((registry, host))
    return grown


def pulled(stacks: Sequence[Stack]) -> list[int]:
    """Bytes that a host downloads for each image, one after another: layers that it has on the same parents
    are there (docker finds them by chain_id)."""
    return [sum(blob.stored for blob, new in layers if new) for layers in _layers(stacks)]


def pulled_blobs(stacks: Sequence[Stack]) -> list[int]:
    """The same for a host that keeps blobs by digest (containerd)."""
    have: set[str] = set()
    downs = []
    for stack in stacks:
        new = {blob.key: blob.stored for blob in stack if blob.key not in have}
        have |= new.keys()
        downs.append(sum(new.values()))
    return downs


class Loss(NamedTuple):
    """Layers of one image, [start, stop), that are in no image of a result."""

    image: int
    start: int
    stop: int
    stored: int
    """Bytes in a registry."""


def lost_layers(before: Sequence[Stack], after: Sequence[Stack]) -> list[Loss]:
    """The layers that a result does not have, each told of the first image that had it: a registry shares
    them no longer with whoever else has them."""
    have = {blob.key for stack in after for blob in stack}
    found: list[Loss] = []
    for number, stack in enumerate(before):
        for index, blob in enumerate(stack):
            if blob.key in have:
                continue
            have.add(blob.key)
            last = found[-1] if found else None
            if last is not None and (last.image, last.stop) == (number, index):
                found[-1] = last._replace(stop=index + 1, stored=last.stored + blob.stored)
            else:
                found.append(Loss(number, index, index + 1, blob.stored))
    return found


def lost_on_hosts(before: Sequence[Stack], after: Sequence[Stack]) -> int:
    """Bytes of layers that a host shares no longer with others: those above a new layer, too."""
    return host_bytes([*after, *before]) - host_bytes(after)


@dataclass(slots=True, eq=False)
class Node:
    """A layer on its parents."""

    chain_id: ChainID
    parent: Node | None
    image: Image
    """One that holds it."""
    depth: int
    """How many layers lie below it."""
    children: list[Node] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Images that end here, by their place in the fleet."""
    must_cut: bool = False
    """Whether no run goes over it: an image ends here, the layer belongs to a base or to an image that is
    left as it was built, or it or one on it cannot be merged."""
    is_fixed: bool = False
    """Whether it cannot be merged."""
    is_left: bool = False
    """Whether only images that are left as they were built have it: no limit of layers counts it."""

    @property
    def diff_id(self) -> DiffID:
        return self.image.layers[self.depth].diff_id

    @property
    def is_cut(self) -> bool:
        """Whether the fleet branches here, or must be cut."""
        return len(self.children) != 1 or self.must_cut


class Run(NamedTuple):
    """Layers that lie on one another: those above `above` up to `top`."""

    above: Node | None
    top: Node

    @property
    def start(self) -> int:
        return self.above.depth + 1 if self.above is not None else 0

    @property
    def stop(self) -> int:
        return self.top.depth + 1

    def __len__(self) -> int:
        return self.stop - self.start


class Trie:
    """The layers of a fleet. `bases` are the uppermost layers of bases that are known; an image on which
    others stand is one of them. All layers of a base stay as they are."""

    def __init__(self, images: Sequence[Image], bases: Collection[ChainID] = ()) -> None:
        self.images = images
        self.left: frozenset[int] = frozenset()
        """Images that are left as they were built, by their place in the fleet."""
        self.nodes: dict[ChainID, Node] = {}
        self.roots: list[Node] = []
        for number, image in enumerate(images):
            parent: Node | None = None
            for layer in image.layers:
                node = self.nodes.get(layer.chain_id)
                if node is None:
                    node = Node(layer.chain_id, parent, image, layer.index)
                    self.nodes[layer.chain_id] = node
                    (self.roots if parent is None else parent.children).append(node)
                parent = node
            if parent is not None:
                parent.ends.append(number)
                parent.must_cut = True
        grounds = {node.chain_id for node in self.nodes.values() if node.ends and node.children}
        self.bases = grounds.union(bases).intersection(self.nodes)
        for top in self.bases:
            self._keep(self.nodes[top])

    @staticmethod
    def _keep(top: Node) -> None:
        """Merge neither a layer nor any below it."""
        at: Node | None = top
        while at is not None:
            at.must_cut = True
            at = at.parent

    def fix(self, layers: Collection[DiffID]) -> None:
        """Keep these layers as they are, whatever else is merged."""
        for node in self.nodes.values():
            if node.diff_id in layers:
                node.is_fixed = node.must_cut = True
                if node.parent is not None:
                    node.parent.must_cut = True

    @cached_property
    def unknown(self) -> list[int]:
        """Images with layers to merge of which no base is known: any of their layers may be a base's, which
        others share that are not in this fleet."""
        return [
            number
            for number, image in enumerate(self.images)
            if len(image.layers) > 1 and not self.base_layers(number)
        ]

    def leave_unknown(self) -> None:
        """Leave images of which no base is known as they were built, whatever the limit of layers."""
        self.left = frozenset(self.unknown)
        for number in self.left:
            self._keep(self.path(number)[-1])
        others = (number for number in range(len(self.images)) if number not in self.left)
        counted = {node.chain_id for number in others for node in self.path(number)}
        for node in self.nodes.values():
            node.is_left = node.chain_id not in counted

    def kept_layers(self, number: int) -> int:
        """How many layers of an image stay as they are, counted from the base."""
        return len(self.images[number].layers) if number in self.left else self.base_layers(number)

    def merged(self, number: int, start: int) -> list[Segment]:
        """An image's layers from one on as one segment, around those that are fixed."""
        segments: list[Segment] = []
        for node in self.path(number)[start:]:
            at = node.depth
            if not node.is_fixed and segments and not segments[-1].keep:
                segments[-1] = Segment(segments[-1].start, at + 1, False)
            else:
                segments.append(Segment(at, at + 1, node.is_fixed))
        return segments

    @property
    def references(self) -> int:
        """Layers of all images, those that they share counted for each."""
        return sum(len(image.layers) for image in self.images)

    @cached_property
    def order(self) -> list[Node]:
        """Parents before children."""
        found = []
        stack = self.roots[::-1]
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(node.children[::-1])
        return found

    def path(self, number: int) -> list[Node]:
        """The nodes of an image, base first."""
        return [self.nodes[layer.chain_id] for layer in self.images[number].layers]

    def base_layers(self, number: int) -> int:
        """How many layers of an image are its base's: of a base that is known, or of another image of the
        fleet; 0 where there is none. What others stand on is a base itself, as a whole."""
        tops = (node for node in self.path(number) if node.chain_id in self.bases)
        return max((node.depth + 1 for node in tops), default=0)

    @property
    def natural_cuts(self) -> set[ChainID]:
        """Where images branch or end, and where known bases are."""
        return {node.chain_id for node in self.order if node.is_cut}

    def runs(self, number: int, cuts: Set[ChainID]) -> list[Run]:
        """An image's runs between cuts; its end is one."""
        path = self.path(number)
        marks = [node for node in path if node.chain_id in cuts or node is path[-1]]
        return [Run(above, top) for above, top in pairwise([None, *marks]) if top is not None]

    def segments(self, number: int, cuts: Set[ChainID]) -> list[Segment]:
        """The same as the planner takes them."""
        return [Segment(run.start, run.stop, len(run) == 1) for run in self.runs(number, cuts)]


class Priced(NamedTuple):
    """What a run would become."""

    key: str
    """Equal keys are equal blobs."""
    cost: int


Price = Callable[[Run], Priced]


@dataclass(frozen=True, slots=True)
class Cut:
    """A set of nodes to cut at, common to all images."""

    nodes: frozenset[ChainID]
    cost: int
    """What the fleet takes then."""
    is_least: bool
    """Whether it is proven that no other set takes less."""


def best_cut(trie: Trie, price: Price, *, by_blob: bool, max_layers: int = MAX_LAYERS) -> Cut:
    """Where to cut so that the fleet takes least, no image having more than `max_layers` layers.

    Dynamic programming over (node, last cut above it): at a node one either cuts, and pays for the run that
    ends there, or goes on into every branch; where it must be cut it is. With `by_blob` a blob that several
    runs become is paid for once (a registry), else once for each stack that it lies on (a host).

    Blobs that stand in several places make branches depend on one another. For each set of them that is
    taken as paid, the rest is solved, and the least of all is the least there is. Where there are too many
    sets, those are taken as paid that the last solution pays for anyway, until it pays for no others: each
    takes no more than the one before.

    Images that are left as they were built may have more. Raises ValueError where another must be cut at
    more places than `max_layers`.
    """
    places: dict[_Ends, _Place] = {}
    costs: dict[_Place, int] = {}
    for run in _runs(trie):
        place, costs[place] = _bill(run, price(run), by_blob=by_blob)
        places[_ends(run)] = place
    times = Counter(places.values())
    shared = sorted(place for place, n in times.items() if n > 1 and costs[place])

    def solve(paid: Iterable[_Place]) -> tuple[set[ChainID], set[_Place]]:
        """The cuts, and all that is to be paid for with them."""
        nodes = _least(trie, places, {**costs, **dict.fromkeys(paid, 0)}, max_layers)
        runs = (run for number in range(len(trie.images)) for run in trie.runs(number, nodes))
        return nodes, {places[_ends(run)] for run in runs}

    def cost(solution: tuple[set[ChainID], set[_Place]]) -> int:
        return sum(costs[place] for place in solution[1])

    proven = not shared or len(places) << min(len(shared), 40) <= _MOST_RUNS
    if proven:
        choices = (compress(shared, bits) for bits in product((0, 1), repeat=len(shared)))
        best = min(map(solve, choices), key=cost)
    else:
        paid, best = set[_Place](), solve(())
        while not paid >= (pays := best[1].intersection(shared)):
            paid = pays
            best = solve(paid)
    return Cut(frozenset(best[0]), cost(best), is_least=proven)


_MOST_RUNS = 2_000_000
"""How many runs may be looked at, all in all, to prove that a cut is the best."""
_Ends = tuple[ChainID, ChainID | None]
"""A run's top, and the layer that it lies on."""
_Place = tuple[str, str]
"""What is paid for once: a blob by its key, on a host a layer by its key and what it lies on."""


def _ends(run: Run) -> _Ends:
    return run.top.chain_id, run.above.chain_id if run.above is not None else None


def _bill(run: Run, priced: Priced, *, by_blob: bool) -> tuple[_Place, int]:
    return (priced.key, "" if by_blob or run.above is None else run.above.chain_id), priced.cost


def _runs(trie: Trie) -> Iterable[Run]:
    """Every run that a set of cuts may have: none goes over a node that must be cut."""
    for node in trie.order:
        for above in _last_cuts(node):
            yield Run(above, node)


def _last_cuts(node: Node) -> Iterator[Node | None]:
    """The nodes above a node that may be the last that is cut, the nearest first."""
    above = node.parent
    while above is not None:
        yield above
        if above.must_cut:
            return
        above = above.parent
    yield None


_State = tuple[ChainID, ChainID | None, int]


def _least(
    trie: Trie, places: Mapping[_Ends, _Place], costs: Mapping[_Place, int], max_layers: int
) -> set[ChainID]:
    """The cuts of least additive cost. Bottom up: for each node, each last cut above it, and each number of
    layers that is still allowed there."""
    deepest = max((node.depth + 1 for node in trie.order if not node.is_left), default=0)
    step = int(deepest > max_layers)  # else nothing can exceed what is allowed, and nobody need count
    least: dict[_State, tuple[int, bool]] = {}
    for node in reversed(trie.order):
        for above in _last_cuts(node):
            key = above.chain_id if above is not None else None
            cost = costs[places[node.chain_id, key]]
            fewest = max(0, max_layers - node.depth)
            for left in range(fewest, max_layers + 1) if step else (0,):
                least[node.chain_id, key, left] = _choose(node, key, left, step, cost, least)
    cuts: set[ChainID] = set()
    start = max_layers if step else 0
    stack: list[tuple[Node, ChainID | None, int]] = [(root, None, start) for root in trie.roots]
    while stack:
        node, key, left = stack.pop()
        total, cut = least[node.chain_id, key, left]
        if total >= _NEVER:
            raise ValueError(f"an image needs more than {max_layers} layers")
        if cut:
            cuts.add(node.chain_id)
        below = (node.chain_id, left - step * (not node.is_left)) if cut else (key, left)
        stack.extend((child, *below) for child in node.children)
    return cuts


_NEVER = 1 << 100


def _choose(
    node: Node,
    key: ChainID | None,
    left: int,
    step: int,
    run_cost: int,
    costs: Mapping[_State, tuple[int, bool]],
) -> tuple[int, bool]:
    """The least cost of a node and all above it, and whether it is cut there."""

    def rest(last: ChainID | None, allowed: int) -> int:
        return sum(costs[child.chain_id, last, allowed][0] for child in node.children)

    step *= not node.is_left
    with_cut = run_cost + rest(node.chain_id, left - step) if left >= step else _NEVER
    if node.must_cut or not node.children:
        return with_cut, True
    without = rest(key, left)
    # Where both cost the same: fewer layers, but a cut where the fleet branches, which shares more.
    prefer_cut = with_cut < without or (with_cut == without and node.is_cut)
    return (with_cut, True) if prefer_cut else (without, False)
