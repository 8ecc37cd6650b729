"""Seeded fleets with the shape of public registries, in one OCI layout each: the same bytes everywhere.

The shape is that of 36,218 images whose manifests are published (container-chonks, MIT; docs/fleet.md
counts them): how many layers images have, how large layers are, how many images and repositories have the
same one. Stored once they take 1.76 times less than each image by itself, and once in each repository 1.47
times less. One byte stands for a thousand, but no layer is smaller than a small tar, of 140 bytes.

What manifests do not tell was chosen: about half the bytes of larger layers are packages, which other
layers install, too; caches are deleted by layers above; files are edited there, or written again.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, count
from pathlib import Path
from statistics import NormalDist

from benchmarks.fleets import Files, Fleet, Stack

SEED = 87
"""With it fleets of 100, 300 and 1,000 images all come near. With most others one of them does not, as a
single large layer that many images have weighs much."""
Quantiles = Sequence[tuple[float, float]]
"""Shares of all values, ascending, and up to which value they are. In between its logarithm grows evenly.
"""
DEPTHS: Quantiles = ((0, 1), (0.1, 1), (0.25, 2), (0.5, 5), (0.75, 10), (0.9, 15), (0.99, 53), (1, 80))
"""Layers an image."""
SIZES: Quantiles = (
    *((0, 100), (0.1, 236), (0.25, 772), (0.5, 994e3)),
    *((0.75, 28.575e6), (0.9, 132.6e6), (0.99, 1.159e9), (1, 2.5e9)),
)
"""Bytes a layer, compressed."""
MOST_BELOW = 20
"""The most layers of an image that others are built FROM."""
GOLDEN = (math.sqrt(5) - 1) / 2
Numbers = tuple[int, ...]
"""An image: its layers, base first. A layer always lies on the same ones."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What is planned of a layer."""

    number: int
    size: int
    """Bytes, compressed, in a public registry."""


@dataclass(frozen=True, slots=True)
class Image:
    """What is planned of an image."""

    repository: int
    release: int
    layers: tuple[Layer, ...]


def plan(images: int, seed: int = SEED) -> list[Image]:
    """The images of a fleet, bases before what is built FROM them.

    They are in the order of their depths, which are spread as evenly as can be: so a repository's releases
    grow.
    """
    chance = random.Random(seed)
    depths = [round(_at(DEPTHS, (place + 0.5) / images)) for place in range(images)]
    numbers = count()
    repositories: list[list[Numbers]] = []
    place = 0
    for releases in _repositories(images, chance):
        repositories.append(_releases(depths[place : place + releases], repositories, numbers, chance))
        place += releases
    sizes = _sizes(repositories, chance)
    return [
        Image(repository, release, tuple(Layer(number, sizes[number]) for number in stack))
        for repository, stacks in enumerate(repositories)
        for release, stack in enumerate(stacks, 1)
    ]


def _repositories(images: int, chance: random.Random) -> list[int]:
    """How many images each repository has: most a few, some very many."""
    sizes: list[int] = []
    for share in _evenly(chance.random()):
        if (left := images - sum(sizes)) == 0:
            break
        sizes.append(min(left, max(1, round(math.exp(1.3 + 1.2 * NormalDist().inv_cdf(share))))))
    chance.shuffle(sizes)
    return sizes


def _releases(
    depths: Sequence[int], others: Sequence[list[Numbers]], numbers: Iterator[int], chance: random.Random
) -> list[Numbers]:
    """The images of one more repository. It is built FROM another one's: those that came first, and have
    many layers, are liked best."""
    below_it = [
        [stack for stack in other if len(stack) < min(depths[0], MOST_BELOW + 1)] for other in others
    ]
    homes = [stacks for stacks in below_it if stacks]
    liked = [len(stacks[-1]) ** 2 / (place + 1) ** 0.8 for place, stacks in enumerate(homes)]
    home = chance.choices(homes, liked)[0] if homes else []
    base: Numbers = ()
    if home:
        base = home[-1] if chance.random() < 0.7 else chance.choice(home)
    made: list[Numbers] = []
    for depth in depths:
        below = base
        if made and home and chance.random() < 0.1:  # on another release of its base
            below = base = chance.choice(home)
        elif made and depth > 1 and not base:  # what begins as a base goes on upon itself
            below = base = made[-1]
        elif (
            made and chance.random() < 0.45
        ):  # what was built before is not built anew, but its last layer is
            most = min(depth, len(made[-1])) - 1
            below = made[-1][: chance.randint(len(base), max(len(base), most))]
        made.append((*below, *(next(numbers) for _ in range(depth - len(below)))))
    return made


def _sizes(repositories: Sequence[Sequence[Numbers]], chance: random.Random) -> dict[int, int]:
    """The size of each layer. They are spread evenly over those that few have and those that many have; but
    what very many have is never among the largest."""
    used = Counter(number for stacks in repositories for stack in stacks for number in stack)
    shares = _evenly(chance.random())
    return {
        number: round(_at(SIZES, next(shares) * (0.97 if used[number] > 10 else 1)))
        for number in sorted(used, key=lambda number: (used[number], number))
    }


def _evenly(start: float) -> Iterator[float]:
    """Numbers between 0 and 1 that are spread evenly, however many one takes."""
    return (0.000001 + (start + n * GOLDEN) % 1 * 0.999998 for n in count())


def _at(quantiles: Quantiles, share: float) -> float:
    """The value up to which a share of all are."""
    after = max(1, bisect_left(quantiles, share, key=lambda one: one[0]))
    (low, least), (high, most) = quantiles[after - 1 : after + 1]
    return math.exp(math.log(least) + math.log(most / least) * (share - low) / (high - low))


# --- files -----------------------------------------------------------------------------------

PACKAGES = 400
"""That layers may install. The first ones are liked best."""
LIKED = list(accumulate((number + 1) ** -0.8 for number in range(PACKAGES)))
LARGE = 2000
"""Bytes of a layer that may have packages and caches."""
MEMBER = 60
"""Bytes that a file's header and name take, compressed."""
OWN, CACHES = "srv/", "var/cache/"


def make(folder: Path, images: int, *, scale: int = 1000, seed: int = SEED) -> list[Image]:
    """Write a fleet of so many images, where one byte stands for `scale`; and tell what was planned."""
    (folder / "blobs/sha256").mkdir(parents=True)
    planned = plan(images, seed)
    fleet = Fleet(folder, seed)
    stacks: dict[int, Stack] = {}
    for image in planned:
        stack = Stack()
        for layer in image.layers:
            if layer.number not in stacks:
                stacks[layer.number] = _add(fleet, stack, layer.number, layer.size // scale)
            stack = stacks[layer.number]
        fleet.tag(stack, f"app{image.repository}:{image.release}")
    fleet.close()
    return planned


def _add(fleet: Fleet, below: Stack, number: int, size: int) -> Stack:
    """One more layer: a large one with packages and perhaps a cache, a small one perhaps with edits."""
    chance = random.Random(f"{fleet.seed} layer {number}")
    left, gone = below.files, set[str]()
    if chance.random() < 0.3:
        gone = {path.rpartition("/")[0] for path in left if path.startswith(CACHES)}
        left = {path: length for path, length in left.items() if not path.startswith(CACHES)}
    owners: dict[str, str] = {}
    if size < LARGE:
        files = _edits(left, size, chance)
    else:
        files = _packages(left, size, chance)
        files |= _again(left, size * 4 // 5 - _stored(files), chance)
        owners = {path: path.rpartition("/")[0] for path in files}
    rest = max(0, size - _stored(files))
    spare = rest // 4 if size >= LARGE and chance.random() < 0.4 else 0
    if spare:
        files |= _files(f"{CACHES}{number}", spare, chance)
    if not files or rest > 2 * MEMBER:
        files |= _files(f"{OWN}{number}", rest - spare, chance)
    return fleet.add(replace(below, files=left), f"{OWN}{number}", files, sorted(gone), owners)


def _edits(below: Files, size: int, chance: random.Random) -> dict[str, int]:
    """Files that get another content."""
    small = [path for path, length in below.items() if MEMBER < length < size - 2 * MEMBER]
    return {path: below[path] for path in chance.sample(small, min(len(small), 2)) if chance.random() < 0.3}


def _packages(below: Files, size: int, chance: random.Random) -> dict[str, int]:
    """Packages that are not there yet, for about half of the size."""
    files: dict[str, int] = {}
    for number in chance.choices(range(PACKAGES), cum_weights=LIKED, k=40):
        package = _package(number)
        if not package.keys() & below.keys() and _stored(files | package) < size * 0.6:
            files |= package
    return files


@cache
def _package(number: int) -> dict[str, int]:
    """A package's files, of a few hundred bytes up to a hundred thousand in all."""
    chance = random.Random(f"package {number}")
    return _files(f"usr/lib/{number}", round(10 ** chance.uniform(2.5, 5)), chance)


def _again(below: Files, size: int, chance: random.Random) -> dict[str, int]:
    """Files that are there already, as a chmod stores them once more."""
    own = [path for path in below if path.startswith(OWN)] if chance.random() < 0.2 else []
    files: dict[str, int] = {}
    for path in own[: len(own) // 4]:
        if _stored(files | {path: below[path]}) < size:
            files[path] = below[path]
    return files


def _files(folder: str, size: int, chance: random.Random) -> dict[str, int]:
    """Files that take so many bytes, compressed: one, up to two hundred."""
    parts = [chance.lognormvariate(-0.7, 1.2) for _ in range(min(200, 1 + size // 400))]
    room = max(0, size - 80 - MEMBER * len(parts))
    return {f"{folder}/{n:03}": round(2 * room * part / sum(parts)) for n, part in enumerate(parts)}


def _stored(files: Files) -> int:
    """What files take about, compressed: half of their bytes do not shrink."""
    return sum(files.values()) // 2 + MEMBER * len(files)
