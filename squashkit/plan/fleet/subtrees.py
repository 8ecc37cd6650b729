"""Shares out the runs of a fleet by subtrees of its trie: runs that have layers in common stay together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence


def subtrees(paths: Sequence[Sequence[Hashable]], sizes: Sequence[int], most: int) -> list[list[int]]:
    """The numbers of runs in groups, each of which takes at most so much, or is one run alone. A run's path
    are the layers up to its top, from the ground up. Neighbours that are small are one group."""
    groups: list[list[int]] = []
    total = 0
    for group in _split(paths, sizes, most):
        size = sum(sizes[number] for number in group)
        if not groups or total + size > most:
            groups.append([])
            total = 0
        groups[-1] += group
        total += size
    return groups


def _split(paths: Sequence[Sequence[Hashable]], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Subtrees as large as may be; where one is too large its branches, and each run that ends there."""
    todo: list[tuple[int, list[int]]] = [(0, list(range(len(paths))))] if paths else []
    while todo:
        depth, numbers = todo.pop()
        if len(numbers) == 1 or sum(sizes[number] for number in numbers) <= most:
            yield numbers
            continue
        ending = [number for number in numbers if len(paths[number]) <= depth]
        yield from ([number] for number in ending)
        branches = _by_layer(paths, depth, (number for number in numbers if len(paths[number]) > depth))
        todo += ((depth + 1, branch) for branch in reversed(branches))


def _by_layer(paths: Sequence[Sequence[Hashable]], depth: int, numbers: Iterable[int]) -> list[list[int]]:
    branches: dict[Hashable, list[int]] = {}
    for number in numbers:
        branches.setdefault(paths[number][depth], []).append(number)
    return list(branches.values())
