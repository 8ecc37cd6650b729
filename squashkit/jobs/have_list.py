"""What the other side is asked for: which layers this place has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from squashkit.amounts import some
from squashkit.arguments import checked, texts
from squashkit.errors import ImageNotFound, UsageError, show_text
from squashkit.jobs.fleet.members import Fleet
from squashkit.jobs.have import held_by, keeper_of
from squashkit.oci.documents import ALL
from squashkit.oci.have import Have, HeldLayer, Keeper
from squashkit.options import Run, Which
from squashkit.progress import Note, Notify, Progress, Silent, ignore
from squashkit.transports.reference import DAEMON, STORES, Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.stores.open import open_store
from squashkit.transports.stores.store import Store, StoredImage

_NAMED = 20


@checked
def have_list(
    references: Sequence[str] | str = (),
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Have:
    """Which layers images have: what `Read(have=...)` takes, once its lines() are written to a file.

    References are those of `measure_fleet`: `docker-daemon:`, which counts where none is given, and
    `containers-storage:` mean all images with a name. Of stores and registries no layer is kept on disk.
    Raises UsageError where images are kept in different ways, and what opening them raises.
    """
    places = texts(references) or (f"{DAEMON}:",)
    if which.choice == ALL:
        raise UsageError(
            "a have-list is of one platform at a time; an archive or a store has all of its own"
        )
    with Session(run, progress or Silent(), notify) as session:
        found: dict[Keeper, list[HeldLayer]] = {}
        fleet = Fleet(session, which.choice)
        for text in places:
            for keeper, layers in _of_store(session, text) if _is_stored(text) else _elsewhere(fleet, text):
                found.setdefault(keeper, []).extend(layers)
        for note in fleet.notes:
            notify(Note(note, is_warning=True))
    if len(found) > 1:
        kept = " and ".join(keeper.value for keeper in found)
        raise UsageError(f"a have-list is of one place, and these images are kept by {kept}")
    ((keeper, layers),) = found.items()
    return Have(keeper, tuple(layers))


def _is_stored(text: str) -> bool:
    """Whether a reference means images of a store."""
    if text.removesuffix(":") in STORES:
        return True
    return not text.startswith("docker://") and parse_reference(text).transport in STORES


def _of_store(session: Session, text: str) -> Iterator[tuple[Keeper, list[HeldLayer]]]:
    whole = text.removesuffix(":")
    if whole not in STORES:
        reference = parse_reference(text)
        store = session.keep(open_store(reference))
        session.progress.stage(f"Reading from {store.title}", None)
        yield store.keeper(), store.held([store.inspect(reference.path)], session.progress.advance)
        return
    store = session.keep(open_store(Reference(whole, "any")))
    session.progress.stage(f"Reading from {store.title}", None)
    yield store.keeper(), _held_in_all(session, store)


def _held_in_all(session: Session, store: Store) -> list[HeldLayer]:
    """The layers of all images of a store that have a name. Those whose blobs are not all there are left
    out, which is told."""
    different: dict[str, StoredImage] = {}
    gone: list[str] = []
    for name in store.names():
        try:
            image = store.inspect(name)
            different.setdefault(image.id, image)
        except ImageNotFound:  # removed meanwhile, or an index without an image for this machine
            gone.append(show_text(name))
    held: list[HeldLayer] = []
    try:
        if different:
            held = store.held([*different.values()], session.progress.advance)
    except ImageNotFound:
        for image in different.values():
            try:
                held += store.held([image], session.progress.advance)
            except ImageNotFound:
                gone.append(show_text(image.asked))
    if gone:
        told = f"left out, since not all of their blobs are there: {some(gone, _NAMED)}"
        session.notify(Note(told, is_warning=True))
    return held


def _elsewhere(fleet: Fleet, text: str) -> Iterator[tuple[Keeper, list[HeldLayer]]]:
    """The images of a reference that means no store's."""
    for member in fleet.members([text]):
        yield keeper_of(member.source), held_by(fleet.session, member.image)
