"""The files that recipes are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squashkit.engine.carry_out import Task
from squashkit.engine.deliver import Delivery
from squashkit.errors import InvalidRecipe, TransportError, UsageError, why
from squashkit.oci.graph import Image
from squashkit.plan.recipe.form import MOST_BODY, MOST_HEAD, pack, unpack
from squashkit.plan.recipe.make import Form, RecipeNotes
from squashkit.plan.recipe.model import Recipe
from squashkit.transports.atomic import write_whole
from squashkit.transports.codecs import library_of
from squashkit.transports.target import Target


def refuse_file(path: Path | None) -> None:
    """Raises UsageError where a recipe is wanted, and no file can be written there."""
    if path is not None and (str(path) == "-" or path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"{path}: no file can be written there")


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe, which has its file's name only when it is whole. Raises TransportError."""
    try:
        write_whole(path, pack(recipe))
    except OSError as error:
        raise TransportError(
            f"cannot write {path}: {why(error)}; what it is the recipe of was written", reference=str(path)
        ) from error


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file. Raises TransportError where it cannot be read, InvalidRecipe."""
    try:
        if not path.is_file():
            raise TransportError(f"{path}: there is no such file", reference=str(path))
        if path.stat().st_size > MOST_HEAD + MOST_BODY:
            raise InvalidRecipe("it is too large for a recipe", where=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise TransportError(f"cannot read {path}: {why(error)}", reference=str(path)) from error
    return unpack(data, str(path))


def recipe_of(
    job: str,
    options: Mapping[str, Any],
    delivery: Delivery,
    tasks: Sequence[Task],
    targets: Sequence[Target],
    sources: Sequence[Sequence[Image]] | None = None,
) -> Recipe:
    """What was done. Each image was made of one that was read, or of the first of several `sources`."""
    notes = RecipeNotes()
    for number, (done, task, target) in enumerate(zip(delivery.done, tasks, targets, strict=True)):
        image, *others = sources[number] if sources is not None else [done.result.image]
        for other in (image, *others):
            notes.source(other)
        layers = done.result.image.layers if task.sources is None else task.sources
        compression = target.compression
        form = Form(target.format, compression, library_of(compression.codec))
        notes.image(done.result, image, layers, task.history, form)
    return notes.recipe(job, options, delivery.index or "")
