"""Small images, and what dive 0.13.1 says of each: its own numbers, from `dive --json`."""

from typing import NamedTuple

from tests.support.builders import (
    directory,
    file,
    hardlink,
    layer,
    opaque,
    sparse,
    symlink,
    whiteout,
)

KB = bytes(1000)


class Case(NamedTuple):
    """Layers, base first, and dive's numbers of them."""

    layers: list[bytes]
    efficiency: float
    wasted: int
    user: int
    """Bytes of all layers but the first."""


TREE = layer(directory("d"), file("d/a", KB), directory("d/e"), file("d/e/b", KB * 2), file("f", KB))

CASES = {
    "one layer": Case([TREE], 1.0, 0, 0),
    "no files": Case([layer(directory("d")), layer(symlink("d/a", "b"))], 1.0, 0, 0),
    "empty layers": Case([layer(), TREE, layer(), layer(file("f", KB))], 0.8, 2000, 5000),
    "deleted file": Case([TREE, layer(whiteout("f"))], 0.75, 1000, 0),
    "deleted twice": Case(
        [TREE, layer(whiteout("f")), layer(file("f", KB * 3)), layer(whiteout("f"))],
        0.42857142857142855,
        4000,
        3000,
    ),
    "deleted directory": Case([TREE, layer(whiteout("d"))], 1.0, 0, 0),
    "directory deleted by its files": Case(
        [TREE, layer(whiteout("d/a"), whiteout("d/e"))], 0.8333333333333334, 1000, 0
    ),
    "directory deleted twice": Case(
        [TREE, layer(whiteout("d")), TREE, layer(whiteout("d"))], 0.5, 14000, 4000
    ),
    "deleted directory that was empty before": Case(
        [layer(directory("d")), TREE, layer(whiteout("d"))], 0.5714285714285714, 3000, 4000
    ),
    "deleted directory that nobody listed": Case(
        [layer(file("d/a", KB)), TREE, layer(whiteout("d"))], 0.875, 2000, 4000
    ),
    "deleted directory that the last layer does not list": Case(
        [
            layer(directory("d")),
            layer(directory("d"), file("d/a", KB)),
            layer(file("d/b", KB)),
            layer(whiteout("d")),
        ],
        1.0,
        0,
        2000,
    ),
    "directory made anew": Case(
        [TREE, layer(whiteout("d"), directory("d"), file("d/a", KB))], 0.875, 2000, 1000
    ),
    "hidden name that sorts before its whiteout": Case(
        [
            layer(directory(".c"), file(".c/a", KB)),
            layer(whiteout(".c"), directory(".c"), file(".c/b", KB * 2)),
            layer(whiteout(".c/b")),
        ],
        1.0,
        0,
        2000,
    ),
    "emptied directory": Case([TREE, layer(directory("d"), opaque("d"))], 1.0, 0, 0),
    "emptied directory with a file": Case([TREE, layer(opaque("d"), file("d/a", KB * 4))], 0.5, 5000, 4000),
    "emptied directory that is not listed": Case(
        [TREE, layer(opaque("d")), layer(whiteout("d"))], 1.0, 0, 0
    ),
    "chmod twice": Case(
        [TREE, layer(file("f", KB, mode=0o600)), layer(file("f", KB, mode=0o640))],
        0.6666666666666666,
        3000,
        2000,
    ),
    "chmod of a directory": Case(
        [TREE, layer(directory("d", mode=0o700)), layer(directory("d", mode=0o750))], 1.0, 0, 0
    ),
    "three times": Case(
        [layer(file("f", KB * 3)), layer(file("f", KB)), layer(file("f", KB * 2))],
        0.16666666666666666,
        6000,
        3000,
    ),
    "twice in a layer": Case(
        [layer(file("f", KB * 3), file("f", KB)), layer(file("g", KB), file("g", KB))], 1.0, 0, 2000
    ),
    "deleted and written in a layer": Case(
        [TREE, layer(whiteout("f"), file("f", KB * 2))], 0.5, 3000, 2000
    ),
    "deleted and written in the only layer": Case([layer(file("f", KB), whiteout("f"))], 0.0, 1000, 0),
    "hard links": Case([layer(file("a", KB), hardlink("b", "a")), layer(whiteout("a"))], 0.0, 1000, 0),
    "hard link anew": Case(
        [layer(file("a", KB), hardlink("b", "a")), layer(hardlink("b", "a"), file("a", KB))],
        0.5,
        2000,
        1000,
    ),
    "symlinks": Case(
        [layer(symlink("l", "f" * 90)), TREE, layer(symlink("l", "d")), layer(whiteout("l"))], 1.0, 0, 4000
    ),
    "file through a symlink": Case(
        [
            layer(directory("d"), file("d/a", KB), symlink("l", "d")),
            layer(file("l/a", KB)),
        ],
        1.0,
        0,
        1000,
    ),
    "file becomes a directory": Case([TREE, layer(directory("f"), file("f/a", KB))], 1.0, 0, 1000),
    "directory becomes a file": Case([TREE, layer(file("d", KB)), layer(whiteout("d"))], 0.8, 1000, 1000),
    "sparse file": Case([layer(sparse("s", 90_000, [(8192, KB)])), layer(whiteout("s"))], 0.0, 90000, 0),
    "whiteout of nothing": Case(
        [TREE, layer(file("a", KB), file("f", KB), whiteout("e")), layer(file("a", KB))], 0.9998, 0, 3000
    ),
    "whiteout of nothing, made later": Case(
        [layer(whiteout("e")), layer(file("e", KB)), layer(file("e", KB))], 0.5, 2000, 2000
    ),
    "whiteout of nothing, more than there is": Case(
        [
            layer(whiteout("x")),
            layer(file("!", b"1"), whiteout("y")),
        ],
        -1.0,
        0,
        1,
    ),
    "same layer twice": Case([TREE, TREE], 0.5, 8000, 4000),
}
"""By what is particular about them."""
