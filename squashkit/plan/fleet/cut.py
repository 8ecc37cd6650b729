"""Where to cut a fleet so that it takes least: `best_cut`.

What a cut costs is the sum over the runs between cuts, of all images, where what is equal is paid for once:
in a registry a blob, on a host a layer for each stack that it lies on.

1. Dynamic programming over (node, last cut above it), children before parents. At a node one either cuts,
   and pays for the run that ends there, or goes on into every branch; where a node must be cut it is. Where
   an image then has more layers than are allowed, how many are left becomes part of the state; where these
   are too many numbers, each layer gets a price, the lowest that keeps to what is allowed: near the least,
   and not proven to be it.
2. That is exact as long as every run is paid for where it stands. Equal runs in several places make
   branches depend on one another: one of them pays for all. So step 1 is done for each set of such runs
   that may be taken as paid, each result is charged with all that it has, and the least is the least there
   is.
3. Of n such runs there are 2^n sets. Where that would look at too many runs, those are taken as paid that
   the last solution pays for anyway, until it pays for no others. Each such solution takes no more than the
   one before; none is proven to be the least.

Step 1 looks once at each run that a cut may have, and for each number of layers left where these count; no
run goes over a node that must be cut. An image of n layers above its base has n * (n + 1) / 2 runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from itertools import compress, product
from typing import NamedTuple

from squashkit.oci.digests import ChainID
from squashkit.oci.graph import MAX_LAYERS
from squashkit.plan.fleet.trie import LayerRun, Trie, TrieNode
from squashkit.values import frozen


class Priced(NamedTuple):
    """What a run would become."""

    key: str
    """Equal keys are equal blobs."""
    cost: int


Price = Callable[[LayerRun], Priced]


@frozen
class Cut:
    """A set of nodes to cut at, common to all images."""

    nodes: frozenset[ChainID]
    cost: int
    """What the fleet takes then."""
    is_least: bool
    """Whether it is proven that no other set takes less."""


def best_cut(trie: Trie, price: Price, *, by_blob: bool, max_layers: int = MAX_LAYERS) -> Cut:
    """Where to cut so that the fleet takes least, no image having more than `max_layers` layers.

    With `by_blob` a blob that several runs become is paid for once (a registry), else once for each stack
    that it lies on (a host).

    Images that are left as they were built may have more. Raises ValueError where another must be cut at
    more places than `max_layers`.
    """
    items: dict[_Ends, _Item] = {}
    costs: dict[_Item, int] = {}
    for run in _runs(trie):
        item, costs[item] = _bill(run, price(run), by_blob=by_blob)
        items[_ends(run)] = item
    times = Counter(items.values())
    shared = sorted(item for item, n in times.items() if n > 1 and costs[item])

    def solve(paid: Iterable[_Item]) -> _Solution:
        """The cuts that cost least where these items are paid for."""
        nodes, is_exact = _within(trie, items, {**costs, **dict.fromkeys(paid, 0)}, max_layers)
        runs = (run for number in range(len(trie.images)) for run in trie.runs(number, nodes))
        own = {items[_ends(run)] for run in runs}
        return _Solution(nodes, own, sum(costs[item] for item in own), is_exact)

    proven = not shared or len(items) << min(len(shared), 40) <= _MOST_RUNS
    if proven:
        choices = (compress(shared, bits) for bits in product((0, 1), repeat=len(shared)))
        best = reduce(_better, map(solve, choices))
    else:
        paid, best = set[_Item](), solve(())
        while not paid >= (pays := best.items.intersection(shared)):
            paid = pays
            best = solve(paid)
    return Cut(frozenset(best.nodes), best.cost, is_least=proven and best.is_exact)


_MOST_RUNS = 2_000_000
"""How many runs may be looked at, all in all, to prove that a cut is the best, and how many layers that are
left may be counted for them."""
_MOST_PRICES = 40
"""How often a price of a layer is looked for."""
_Ends = tuple[ChainID, ChainID | None]
"""A run's top, and the layer that it lies on."""
_Item = tuple[str, str]
"""What is paid for once: a blob by its key, on a host a layer by its key and what it lies on."""


class _Solution(NamedTuple):
    """Cuts, and what they cost."""

    nodes: set[ChainID]
    items: set[_Item]
    """All that is to be paid for with them."""
    cost: int
    is_exact: bool
    """Whether it, and all that it was chosen from, cost least of what was asked for."""


def _better(one: _Solution, other: _Solution) -> _Solution:
    """The one that costs less, and the first of those that cost the same."""
    best = other if other.cost < one.cost else one
    return best._replace(is_exact=one.is_exact and other.is_exact)


def _ends(run: LayerRun) -> _Ends:
    return run.top.chain_id, run.above.chain_id if run.above is not None else None


def _bill(run: LayerRun, priced: Priced, *, by_blob: bool) -> tuple[_Item, int]:
    return (priced.key, "" if by_blob or run.above is None else run.above.chain_id), priced.cost


def _runs(trie: Trie) -> Iterable[LayerRun]:
    """Every run that a set of cuts may have: none goes over a node that must be cut."""
    for node in trie.order:
        for above in _last_cuts(node):
            yield LayerRun(above, node)


def _last_cuts(node: TrieNode) -> Iterator[TrieNode | None]:
    """The nodes above a node that may be the last that is cut, the nearest first."""
    above = node.parent
    while above is not None:
        yield above
        if above.must_cut:
            return
        above = above.parent
    yield None


_State = tuple[ChainID, ChainID | None, int]


def _within(
    trie: Trie, items: Mapping[_Ends, _Item], costs: Mapping[_Item, int], max_layers: int
) -> tuple[set[ChainID], bool]:
    """The cuts of least additive cost with which no image has more layers than it may, and whether they are
    proven to be. Where those of least cost at all do not keep to that, layers that are left are counted;
    where this would be too many numbers, each layer gets a price, as low as it may be."""
    cuts = _least(trie, items, costs, 0)
    most = _most_layers(trie, cuts)
    if most <= max_layers:
        return cuts, True
    if len(items) * max_layers <= _MOST_RUNS:
        return _least(trie, items, costs, max_layers), True
    low, high = 0, sum(costs.values()) + 1
    if _most_layers(trie, cuts := _least(trie, items, costs, 0, high)) > max_layers:
        raise ValueError(f"an image needs more than {max_layers} layers")
    for _ in range(_MOST_PRICES):
        if high - low <= 1 or most == max_layers:
            break
        price = (low + high) // 2
        found = _least(trie, items, costs, 0, price)
        most = _most_layers(trie, found)
        if most > max_layers:
            low = price
        else:
            cuts, high = found, price
    return cuts, False


def _most_layers(trie: Trie, cuts: set[ChainID]) -> int:
    """The most layers that an image has with these cuts, those that are left as they were built apart."""
    layers: dict[ChainID, int] = {}
    for node in trie.order:
        below = layers[node.parent.chain_id] if node.parent is not None else 0
        layers[node.chain_id] = below + (node.chain_id in cuts and not node.is_left)
    return max((layers[node.chain_id] for node in trie.order if not node.is_left), default=0)


def _least(
    trie: Trie,
    items: Mapping[_Ends, _Item],
    costs: Mapping[_Item, int],
    max_layers: int,
    a_layer: int = 0,
) -> set[ChainID]:
    """The cuts of least additive cost, in which each layer costs something, too. Bottom up: for each node,
    each last cut above it, and each number of layers that is still allowed there; 0 allows any number."""
    step = int(max_layers > 0)
    least: dict[_State, tuple[int, bool]] = {}
    for node in reversed(trie.order):
        for above in _last_cuts(node):
            key = above.chain_id if above is not None else None
            cost = costs[items[node.chain_id, key]] + a_layer
            fewest = max(0, max_layers - node.depth)
            for left in range(fewest, max_layers + 1) if step else (0,):
                least[node.chain_id, key, left] = _choose(node, key, left, step, cost, least)
    cuts: set[ChainID] = set()
    start = max_layers if step else 0
    stack: list[tuple[TrieNode, ChainID | None, int]] = [(root, None, start) for root in trie.roots]
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
    node: TrieNode,
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
