"""The merges that squashers get wrong, each as a table of members.

A case has layers, the run of them to squash, the whole root file system that they make (as
`tests.support.model.table` shows it), and the members of the squashed layer in their order. An empty row of
members means that nothing is left of the run; None, that the run is too short to be squashed.
"""

from dataclasses import dataclass

from tests.support.builders import (
    Member,
    directory,
    file,
    hardlink,
    layer,
    opaque,
    symlink,
    whiteout,
)
from tests.support.model import read_members

Members = tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One hard merge."""

    name: str
    layers: tuple[Members, ...]
    run: tuple[int, int]
    expected: dict[str, str]
    squashed: tuple[str, ...] | None

    def tars(self) -> list[bytes]:
        """The layers as bytes, base first."""
        return [layer(*members) for members in self.layers]


def member_names(data: bytes) -> tuple[str, ...]:
    """The members of a layer in their order, directories with a slash."""
    return tuple(
        record.name.decode("utf-8", "backslashreplace") + "/" * (record.kind == "directory")
        for record in read_members(data)
    )


D = directory("d", mode=0o711)
BASE = (D, file("d/a", b"a"), file("d/b", b"b"))
BASE_TABLE = {"d": "dir 711", "d/a": "file 644 a", "d/b": "file 644 b"}
TREE = (*BASE, directory("d/e"), file("d/e/x", b"x"), file("d/e/y", b"y"))
LINKS = (D, file("d/a", b"one"), hardlink("d/b", "d/a"), hardlink("c", "d/a"))

CASES = (
    Case(
        "a base file deleted, then made again",
        ((file("a", b"old"),), (whiteout("a"),), (file("a", b"new"),)),
        (1, 3),
        {"a": "file 644 new"},
        ("a",),
    ),
    Case(
        "a base file made anew, then deleted",
        ((file("a", b"old"),), (file("a", b"new"),), (whiteout("a"),)),
        (1, 3),
        {},
        (".wh.a",),
    ),
    Case(
        "a base directory removed, then made again",
        (BASE, (whiteout("d"),), (directory("d"), file("d/n", b"n"))),
        (1, 3),
        {"d": "dir 755", "d/n": "file 644 n"},
        ("d/", "d/.wh.a", "d/.wh.b", "d/n"),
    ),
    Case(
        "a base directory removed, then made again with a base child's name",
        (BASE, (whiteout("d"),), (D, file("d/a", b"again"))),
        (1, 3),
        {"d": "dir 711", "d/a": "file 644 again"},
        ("d/", "d/.wh.b", "d/a"),
    ),
    Case(
        "a base directory removed, then made again with a directory inside",
        (TREE, (whiteout("d"),), (D, directory("d/e", mode=0o700), file("d/e/x", b"again"))),
        (1, 3),
        {"d": "dir 711", "d/e": "dir 700", "d/e/x": "file 644 again"},
        ("d/", "d/.wh.a", "d/.wh.b", "d/e/", "d/e/.wh.y", "d/e/x"),
    ),
    Case(
        "deleted inside, then deleted whole: only the topmost whiteout stays",
        (TREE, (D, directory("d/e"), whiteout("d/e/x")), (whiteout("d"),)),
        (1, 3),
        {},
        (".wh.d",),
    ),
    Case(
        "opaque below, removal above",
        (
            BASE,
            (D, opaque("d"), file("d/n", b"n"), file("d/m", b"m")),
            (D, whiteout("d/n")),
        ),
        (1, 3),
        {"d": "dir 711", "d/m": "file 644 m"},
        ("d/", "d/.wh.a", "d/.wh.b", "d/m"),
    ),
    Case(
        "opaque below, the directory itself removed above",
        (BASE, (D, opaque("d"), file("d/n", b"n")), (whiteout("d"),)),
        (1, 3),
        {},
        (".wh.d",),
    ),
    Case(
        "opaque above, whiteouts below",
        (
            TREE,
            (D, whiteout("d/a"), directory("d/e"), whiteout("d/e/x")),
            (D, opaque("d"), file("d/n", b"n")),
        ),
        (1, 3),
        {"d": "dir 711", "d/n": "file 644 n"},
        ("d/", "d/.wh.a", "d/.wh.b", "d/.wh.e", "d/n"),
    ),
    Case(
        "a whiteout of what only the run had",
        (BASE, (file("n", b"n"), D, file("d/n", b"n")), (whiteout("n"), D, whiteout("d/n"))),
        (1, 3),
        BASE_TABLE,
        ("d/",),
    ),
    Case(
        "made and removed in the run, nothing left",
        (BASE, (file("n", b"n"),), (whiteout("n"),)),
        (1, 3),
        BASE_TABLE,
        (),
    ),
    Case(
        "made and removed in the run, with a twin in the base",
        (BASE, (D, file("d/a", b"new")), (D, whiteout("d/a"))),
        (1, 3),
        {"d": "dir 711", "d/b": "file 644 b"},
        ("d/", "d/.wh.a"),
    ),
    Case(
        "made and removed in a directory that the base lacks",
        (BASE, (directory("n"), file("n/x", b"x")), (directory("n"), whiteout("n/x"))),
        (1, 3),
        {**BASE_TABLE, "n": "dir 755"},
        ("n/",),
    ),
    Case(
        "directory, file, directory, all in the run",
        (
            (file("a", b"a"),),
            (directory("n"), file("n/x", b"x")),
            (file("n", b"file"),),
            (directory("n", mode=0o700), file("n/y", b"y")),
        ),
        (1, 4),
        {"a": "file 644 a", "n": "dir 700", "n/y": "file 644 y"},
        ("n/", "n/y"),
    ),
    Case(
        "directory, file, directory over a base directory with children, nested",
        (
            TREE,
            (D, file("d/e", b"file")),
            (D, directory("d/e", mode=0o750), file("d/e/y", b"new")),
        ),
        (1, 3),
        {**BASE_TABLE, "d/e": "dir 750", "d/e/y": "file 644 new"},
        ("d/", "d/e/", "d/e/.wh.x", "d/e/y"),
    ),
    Case(
        "file, directory, file over a base file",
        (
            (file("a", b"old"),),
            (directory("a"), file("a/x", b"x")),
            (file("a", b"new"),),
        ),
        (1, 3),
        {"a": "file 644 new"},
        ("a",),
    ),
    Case(
        "a base symlink becomes a directory",
        (
            (directory("t"), file("t/a", b"a"), symlink("l", "t")),
            (directory("l"), file("l/x", b"x")),
            (directory("l"), file("l/y", b"y")),
        ),
        (1, 3),
        {
            "l": "dir 755",
            "l/x": "file 644 x",
            "l/y": "file 644 y",
            "t": "dir 755",
            "t/a": "file 644 a",
        },
        ("l/", "l/x", "l/y"),
    ),
    Case(
        "a base directory becomes a symlink",
        (BASE, (directory("t"), symlink("d", "t")), (file("n", b"n"),)),
        (1, 3),
        {"d": "link t", "n": "file 644 n", "t": "dir 755"},
        ("t/", "d", "n"),
    ),
    Case(
        "a symlink of the run becomes a directory",
        (
            (directory("t"), file("t/a", b"a")),
            (symlink("l", "t"),),
            (directory("l"), file("l/x", b"x")),
        ),
        (1, 3),
        {"l": "dir 755", "l/x": "file 644 x", "t": "dir 755", "t/a": "file 644 a"},
        ("l/", "l/x"),
    ),
    Case(
        "a directory of the run becomes a symlink",
        (
            (directory("t"), file("t/a", b"a")),
            (directory("l"), file("l/x", b"x")),
            (symlink("l", "t"),),
        ),
        (1, 3),
        {"l": "link t", "t": "dir 755", "t/a": "file 644 a"},
        ("l",),
    ),
    Case(
        "a base directory becomes a symlink and a directory again",
        (BASE, (symlink("d", "t"),), (directory("d"), file("d/n", b"n"))),
        (1, 3),
        {"d": "dir 755", "d/n": "file 644 n"},
        ("d/", "d/.wh.a", "d/.wh.b", "d/n"),
    ),
    Case(
        "a path through a lower symlink makes a directory there",
        (
            (directory("t"), file("t/a", b"a"), symlink("l", "t")),
            (file("l/x", b"x"),),
            (file("n", b"n"),),
        ),
        (1, 3),
        {
            "l": "dir 755",
            "l/x": "file 644 x",
            "n": "file 644 n",
            "t": "dir 755",
            "t/a": "file 644 a",
        },
        ("l/", "l/x", "n"),
    ),
    Case(
        "a path through a symlink of its own layer follows it",
        (
            (file("a", b"a"),),
            (directory("t"), symlink("l", "t"), file("l/x", b"x")),
            (file("n", b"n"),),
        ),
        (1, 3),
        {
            "a": "file 644 a",
            "l": "link t",
            "n": "file 644 n",
            "t": "dir 755",
            "t/x": "file 644 x",
        },
        ("t/", "l", "t/x", "n"),
    ),
    Case(
        "a dangling symlink stays",
        ((file("a", b"a"),), (symlink("l", "a"),), (whiteout("a"), symlink("m", "nowhere"))),
        (1, 3),
        {"l": "link a", "m": "link nowhere"},
        (".wh.a", "l", "m"),
    ),
    Case(
        "a hard-link group split by overwriting its first name",
        ((file("z", b"z"),), LINKS, (D, file("d/a", b"two"))),
        (1, 3),
        {
            "c": "file 644 one =c,d/b",
            "d": "dir 711",
            "d/a": "file 644 two",
            "d/b": "file 644 one =c,d/b",
            "z": "file 644 z",
        },
        ("d/", "d/b", "c", "d/a"),
    ),
    Case(
        "a hard-link group split by deleting its first name",
        ((file("z", b"z"),), LINKS, (D, whiteout("d/a"))),
        (1, 3),
        {
            "c": "file 644 one =c,d/b",
            "d": "dir 711",
            "d/b": "file 644 one =c,d/b",
            "z": "file 644 z",
        },
        ("d/", "d/b", "c"),
    ),
    Case(
        "a hard-link group split by changing the mode of one name",
        ((file("z", b"z"),), LINKS, (D, file("d/b", b"one", mode=0o600))),
        (1, 3),
        {
            "c": "file 644 one =c,d/a",
            "d": "dir 711",
            "d/a": "file 644 one =c,d/a",
            "d/b": "file 600 one",
            "z": "file 644 z",
        },
        ("d/", "d/a", "c", "d/b"),
    ),
    Case(
        "a hard-link group split by removing the parent of its first name",
        ((file("z", b"z"),), LINKS, (whiteout("d"),)),
        (1, 3),
        {"c": "file 644 one", "z": "file 644 z"},
        ("c",),
    ),
    Case(
        "a hard-link group of the base split by overwriting one name",
        (LINKS, (D, file("d/a", b"two")), (file("n", b"n"),)),
        (1, 3),
        {
            "c": "file 644 one =c,d/b",
            "d": "dir 711",
            "d/a": "file 644 two",
            "d/b": "file 644 one =c,d/b",
            "n": "file 644 n",
        },
        ("d/", "d/a", "n"),
    ),
    Case(
        "the last link's header sets the inode's attributes, the first name is gone",
        (
            (file("z", b"z"),),
            (file("a", b"one"), hardlink("b", "a", mode=0o600)),
            (whiteout("a"),),
        ),
        (1, 3),
        {"b": "file 600 one", "z": "file 644 z"},
        ("b",),
    ),
    Case(
        "a hard link to a symlink, whose first name is gone",
        (
            (file("z", b"z"),),
            (symlink("a", "nowhere"), hardlink("b", "a", mode=0o777)),
            (whiteout("a"),),
        ),
        (1, 3),
        {"b": "link nowhere", "z": "file 644 z"},
        ("b",),
    ),
    Case(
        "hard links to a base file become one copy",
        (
            (file("a", b"one"),),
            (hardlink("b", "a"),),
            (hardlink("c", "b"),),
        ),
        (1, 3),
        {
            "a": "file 644 one =a,b,c",
            "b": "file 644 one =a,b,c",
            "c": "file 644 one =a,b,c",
        },
        ("b", "c"),
    ),
    Case(
        "a hard link to a base file that is deleted later",
        ((file("a", b"one"),), (hardlink("b", "a"),), (whiteout("a"),)),
        (1, 3),
        {"b": "file 644 one"},
        (".wh.a", "b"),
    ),
    Case(
        "opaque over a lower symlink: what it points to stays",
        (
            (directory("t"), file("t/a", b"a"), symlink("l", "t")),
            (directory("l"), opaque("l"), file("l/x", b"x")),
            (file("n", b"n"),),
        ),
        (1, 3),
        {
            "l": "dir 755",
            "l/x": "file 644 x",
            "n": "file 644 n",
            "t": "dir 755",
            "t/a": "file 644 a",
        },
        ("l/", "l/x", "n"),
    ),
    Case(
        "d/ab is deleted, d/abc stays",
        (
            (D, directory("d/ab"), file("d/ab/x", b"x"), file("d/abc", b"abc")),
            (D, whiteout("d/ab")),
            (file("n", b"n"),),
        ),
        (1, 3),
        {"d": "dir 711", "d/abc": "file 644 abc", "n": "file 644 n"},
        ("d/", "d/.wh.ab", "n"),
    ),
    Case(
        ".wh. inside a name is a part of the name",
        (
            (file("a", b"a"), file("x.wh.a", b"old")),
            (file("x.wh.a", b"new"),),
            (file("y.wh.a", b"y"),),
        ),
        (1, 3),
        {"a": "file 644 a", "x.wh.a": "file 644 new", "y.wh.a": "file 644 y"},
        ("x.wh.a", "y.wh.a"),
    ),
    Case(
        "./ in one layer and not in the next",
        (
            BASE,
            (directory("./", mode=0o700), directory("./d", mode=0o711), file("./d/a", b"new")),
            (D, file("d/a", b"newer"), whiteout("d/b")),
        ),
        (1, 3),
        {"d": "dir 711", "d/a": "file 644 newer"},
        ("./", "d/", "d/.wh.b", "d/a"),
    ),
    Case(
        "only a directory's mode changes",
        (BASE, (directory("d", mode=0o700),), (directory("d", mode=0o750),)),
        (1, 3),
        {**BASE_TABLE, "d": "dir 750"},
        ("d/",),
    ),
    Case(
        "a parent that no layer of the run lists comes from the base",
        (BASE, (file("d/n", b"n"),), (file("d/m", b"m"), whiteout("d/a"))),
        (1, 3),
        {
            "d": "dir 711",
            "d/b": "file 644 b",
            "d/m": "file 644 m",
            "d/n": "file 644 n",
        },
        ("d/", "d/.wh.a", "d/n", "d/m"),
    ),
    Case(
        "a middle run, and a kept layer above that hides what it made",
        (
            BASE,
            (directory("n"), file("n/x", b"x")),
            (directory("n"), file("n/y", b"y"), D, whiteout("d/a")),
            (directory("n"), whiteout("n/x"), D, file("d/a", b"back")),
        ),
        (1, 3),
        {
            "d": "dir 711",
            "d/a": "file 644 back",
            "d/b": "file 644 b",
            "n": "dir 755",
            "n/y": "file 644 y",
        },
        ("d/", "d/.wh.a", "n/", "n/x", "n/y"),
    ),
    Case(
        "files replaced by identical files",
        (BASE, (D, file("d/a", b"a")), (D, file("d/a", b"a"))),
        (1, 3),
        BASE_TABLE,
        ("d/", "d/a"),
    ),
    Case(
        "empty layers",
        (BASE, (), ()),
        (1, 3),
        BASE_TABLE,
        (),
    ),
    Case(
        "the same layer twice",
        (BASE, (D, file("d/n", b"n")), (D, file("d/n", b"n"))),
        (1, 3),
        {**BASE_TABLE, "d/n": "file 644 n"},
        ("d/", "d/n"),
    ),
    Case(
        "one layer to squash",
        (BASE, (D, whiteout("d/a"))),
        (1, 2),
        {"d": "dir 711", "d/b": "file 644 b"},
        None,
    ),
    Case(
        "an image that is its base: nothing to squash",
        (BASE,),
        (1, 1),
        BASE_TABLE,
        None,
    ),
    Case(
        "all layers into one: no whiteouts are left",
        (TREE, (D, whiteout("d/a"), directory("d/e"), opaque("d/e")), (file("d/n", b"n"),)),
        (0, 3),
        {"d": "dir 711", "d/b": "file 644 b", "d/e": "dir 755", "d/n": "file 644 n"},
        ("d/", "d/e/", "d/b", "d/n"),
    ),
)
