"""The shape of a fleet: what its images share, counted from the lists of their layers alone.

A list of layers is an image; several names of one list are one image. Layers are blobs here, told by their
digests, as registries share them, and chains of blobs are what hosts share by.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

from squashkit.oci.manifests import ListedLayer
from squashkit.values import frozen

EMPTY_BLOBS = frozenset(
    {
        "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4",
        "sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1",
    }
)
"""The layers without an entry that docker and BuildKit write for steps which change no file: a tar of
nothing, and one of two blocks of zeros, compressed."""
PERCENTS = (10, 25, 50, 75, 90, 99)


@frozen
class Percentiles:
    """Where values lie: each is one that occurs. All are None where there are no values."""

    values: tuple[int | None, ...]
    """At PERCENTS of the ascending values, and the greatest."""

    @classmethod
    def of(cls, values: Iterable[int]) -> Percentiles:
        """Of n values, pN is the one at position n * N // 100, counted from 0."""
        ascending = sorted(values)
        if not ascending:
            return cls((None,) * (len(PERCENTS) + 1))
        return cls((*(ascending[len(ascending) * n // 100] for n in PERCENTS), ascending[-1]))


@frozen
class Shape:
    """What images take and share. Sizes are bytes of blobs, as registries store them."""

    images: int
    """Different lists of layers."""
    repositories: int
    """Those that have an image."""
    references: int
    """Layers of all images, each as often as images have it."""
    blobs: int
    """Different ones."""
    chains: int
    """Different stacks of layers, from the bottom, without empty ones: what hosts store a layer for."""
    left_along_trie: int
    """Chains at which an image ends or the fleet branches: as many layers are left once all others are
    merged into these, and all that is shared stays shared."""
    sum: int
    """Of all images, each for itself."""
    once_in_repositories: int
    """Of all repositories, each for itself, with a blob once."""
    once: int
    """Of all blobs."""
    layers_an_image: Percentiles
    """Without empty ones."""
    bytes_an_image: Percentiles
    """A blob that an image has several times counts once."""
    bytes_a_layer: Percentiles
    """Of the different blobs, without empty ones."""
    contradicted: int
    """Blobs to which manifests give different sizes. The greatest counts."""

    @property
    def shared(self) -> float | None:
        """How many times less it takes to store each blob once; None where there are no bytes."""
        return self.sum / self.once if self.once else None

    @property
    def shared_in_repositories(self) -> float | None:
        """The same where each repository stores its own."""
        return self.sum / self.once_in_repositories if self.once_in_repositories else None


class Gathered:
    """Images as they are found. Blobs are numbered, since a digest takes as much memory as many numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._sizes: list[int] = []
        self._images: dict[tuple[int, ...], None] = {}
        self._repositories: dict[Hashable, set[int]] = {}
        self._contradicted: set[int] = set()

    def add(self, repository: Hashable, layers: Sequence[ListedLayer]) -> None:
        """An image of a repository, its layers base first."""
        image = tuple(map(self._blob, layers))
        self._images[image] = None
        self._repositories.setdefault(repository, set()).update(image)

    def _blob(self, layer: ListedLayer) -> int:
        """The number of a blob."""
        number = self._numbers.setdefault(layer.digest, len(self._sizes))
        if number == len(self._sizes):
            self._sizes.append(layer.size)
        elif self._sizes[number] != layer.size:
            self._contradicted.add(number)
            self._sizes[number] = max(self._sizes[number], layer.size)
        return number

    def shape(self) -> Shape:
        """What is known of all of them together."""
        sizes = self._sizes
        empty = {number for digest, number in self._numbers.items() if digest in EMPTY_BLOBS}
        stacks = [[blob for blob in image if blob not in empty] for image in self._images]
        chains, left = _count_chains(stacks)
        taken = [sum(sizes[blob] for blob in set(image)) for image in self._images]
        return Shape(
            images=len(self._images),
            repositories=len(self._repositories),
            references=sum(map(len, self._images)),
            blobs=len(sizes),
            chains=chains,
            left_along_trie=left,
            sum=sum(taken),
            once_in_repositories=sum(
                sizes[blob] for blob in chain.from_iterable(self._repositories.values())
            ),
            once=sum(sizes),
            layers_an_image=Percentiles.of(map(len, stacks)),
            bytes_an_image=Percentiles.of(taken),
            bytes_a_layer=Percentiles.of(size for blob, size in enumerate(sizes) if blob not in empty),
            contradicted=len(self._contradicted),
        )


def _count_chains(stacks: Iterable[Sequence[int]]) -> tuple[int, int]:
    """How many different chains stacks of blobs have, and at how many of these a stack ends or they
    branch. Chains are numbered as they come; 0 is the empty one, which is none."""
    numbers: dict[tuple[int, int], int] = {}
    branches = [0]
    ends = set()
    for stack in stacks:
        at = 0
        for blob in stack:
            number = numbers.setdefault((at, blob), len(branches))
            if number == len(branches):
                branches.append(0)
                branches[at] += 1
            at = number
        ends.add(at)
    left = sum(number in ends or branches[number] > 1 for number in range(1, len(branches)))
    return len(numbers), left
