"""New layers compressed by workers: a subtree of the fleet's trie is the whole task of one of them.

`price` is a function of plain values alone. It opens the layers by itself, with this process's own
credentials, and writes nothing: what a new layer is put together from is told, and it tells what it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from squashkit.engine.cluster import Cluster, check_dask, connected, made_here
from squashkit.engine.layers import LayerStore
from squashkit.engine.stream import gather
from squashkit.jobs.fleet.scan.batches import Place
from squashkit.jobs.fleet.scan.read import Opener
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import ChainID
from squashkit.options import Access, Limits, Run, Spread
from squashkit.plan.fleet.subtrees import subtrees
from squashkit.transports.codecs import Compressor
from squashkit.transports.session import Session
from squashkit.values import frozen

_TASKS = 4
"""How many tasks a worker has at least, as far as there are so many runs: so all of them end together."""
_LEAST = 8_000_000
"""Bytes of tars that are worth a task of their own."""


class Compressed(NamedTuple):
    """What a new layer is in a registry."""

    digest: str
    size: int
    diff_id: str


@frozen
class NewLayer:
    """A layer that is to be put together."""

    key: str
    pieces: tuple[Piece, ...]
    path: tuple[ChainID, ...] = ()
    """Where it lies in the trie: the layers up to the last one that it takes the place of."""

    @property
    def sources(self) -> set[int]:
        """The numbers of the layers that it is made of."""
        return {piece.layer for piece in self.pieces if isinstance(piece, Copy)}

    @property
    def size(self) -> int:
        """Bytes of its tar, but for the end."""
        return sum(one.end - one.start if isinstance(one, Copy) else len(one) for one in self.pieces)


@frozen
class Subtree:
    """New layers, the layers that they are made of, and what work on them may use."""

    places: tuple[Place, ...]
    """Pieces tell their layers by their places among these."""
    layers: tuple[NewLayer, ...]
    compression: Compression
    run: Run
    limits: Limits


def price(task: Subtree) -> dict[str, Compressed]:
    """What each new layer takes, by its key. Raises what reading the layers raises."""
    with (
        Session(task.run, limits=task.limits) as session,
        LayerStore(session, cached=False) as store,
    ):
        opener = Opener(session)
        sources = [opener.find(place) for place in task.places]
        return {
            one.key: compress(session, gather(store, sources, one.pieces), task.compression)
            for one in task.layers
        }


def compress(session: Session, blocks: Iterator[memoryview], compression: Compression) -> Compressed:
    """What a tar is in a registry."""
    size = 0
    stored, plain = hashlib.sha256(), hashlib.sha256()

    def write(data: bytes) -> None:
        nonlocal size
        size += len(data)
        stored.update(data)

    compressor = Compressor(compression, write, session.jobs, session.cancelled)
    for block in blocks:
        compressor.feed(block)
        plain.update(block)
        session.progress.advance(len(block))
    compressor.close()
    return Compressed(f"sha256:{stored.hexdigest()}", size, f"sha256:{plain.hexdigest()}")


@frozen
class Workers:
    """Who compresses new layers beside this process."""

    session: Session
    cluster: Cluster
    run: Run
    """What a task may use."""
    limits: Limits
    are_elsewhere: bool
    """Whether they may be on other machines, and read nothing but registries."""

    def reach(self, place: Place) -> bool:
        """Whether they can open a layer."""
        if not (place.is_there and place.is_portable):
            return False
        return not self.are_elsewhere or place.reference.in_registry is not None

    def compressed(
        self, places: Sequence[Place], layers: Sequence[NewLayer], compression: Compression
    ) -> dict[str, Compressed]:
        """What new layers take that are made of layers in these places, by their keys. Raises what
        `Cluster.results` does."""
        at_once = max(self.cluster.slots, 1)
        if self.limits != Limits():
            at_once = min(at_once, self.limits.connections or at_once)
        limits = self.limits.share(at_once)
        sizes = [one.size for one in layers]
        most = max(_LEAST, sum(sizes) // (_TASKS * at_once))
        groups = subtrees([one.path for one in layers], sizes, most)
        groups.sort(key=lambda group: -sum(sizes[number] for number in group))  # the longest work first
        self.session.registries.close()  # who works has connections of its own
        tasks = [self._task(places, [layers[n] for n in group], compression, limits) for group in groups]
        found: dict[str, Compressed] = {}
        for done in self.cluster.results(price, tasks, at_once if self.limits != Limits() else None):
            found |= done
            self.session.progress.advance(sum(one.size for one in layers if one.key in done))
        return found

    def _task(
        self, places: Sequence[Place], layers: Sequence[NewLayer], compression: Compression, limits: Limits
    ) -> Subtree:
        """One task, which is told only the places that it needs."""
        used = sorted(set().union(*(one.sources for one in layers)))
        at = {number: place for place, number in enumerate(used)}
        own = tuple(replace(one, pieces=moved(one.pieces, at.__getitem__), path=()) for one in layers)
        return Subtree(tuple(places[number] for number in used), own, compression, self.run, limits)


def moved(pieces: Sequence[Piece], number_of: Callable[[int], int]) -> tuple[Piece, ...]:
    """The same pieces, whose layers have other numbers."""
    return tuple(
        one._replace(layer=number_of(one.layer)) if isinstance(one, Copy) else one for one in pieces
    )


@contextmanager
def workers_of(spread: Spread, session: Session) -> Iterator[Workers | None]:
    """Those that are asked for, found or made before anything is read. Raises what reaching a cluster
    does."""
    if spread.workers is not None:
        check_dask()
        with made_here(spread.workers, session.run.folder) as cluster:
            run = replace(session.run, jobs=1)
            yield Workers(session, cluster, run, spread.limits, are_elsewhere=False)
    elif spread.scheduler is not None:
        with there(spread.scheduler, session.run.access) as cluster:
            run = replace(for_others(session.run), jobs=1)
            yield Workers(session, cluster, run, spread.limits, are_elsewhere=True)
    else:
        yield None


@contextmanager
def there(scheduler: str, access: Access) -> Iterator[Cluster]:
    """A cluster whose workers have the files that reaching registries takes."""
    files = [path for path in (access.credentials, access.certificates) if path is not None]
    with connected(scheduler, files) as cluster:
        yield cluster


def for_others(run: Run) -> Run:
    """What a worker on another machine may use: files by the same path, and its own temporary folder."""
    authfile, cert_dir = run.access.credentials, run.access.certificates
    access = replace(
        run.access,
        authfile=authfile and authfile.absolute(),
        cert_dir=cert_dir and cert_dir.absolute(),
    )
    return replace(run, tmp_dir=None, access=access)
