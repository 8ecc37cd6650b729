"""The model and the linter, held to cases that a person can check by reading."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest

from tests.support.builders import (
    END_OF_ARCHIVE,
    SPARSE,
    Member,
    Sparse,
    block,
    char,
    directory,
    fifo,
    file,
    global_header,
    hardlink,
    layer,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.cases import BASE, BASE_TABLE, CASES, Case
from tests.support.linter import lint
from tests.support.model import (
    Illegal,
    apply_each,
    apply_layers,
    differences,
    read_members,
    same_rootfs,
    table,
)

Members = tuple[Member, ...]

D = directory("d", mode=0o711)
LOWER_LINK = (directory("t"), file("t/a", b"a"), symlink("l", "t"))
LOWER_LINK_TABLE = {"l": "link t", "t": "dir 755", "t/a": "file 644 a"}


def rootfs_table(*layers: Members) -> dict[str, str]:
    return table(apply_layers([layer(*members) for members in layers]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hard_merges(case: Case) -> None:
    """Each hard case makes the root file system that its table says."""
    assert table(apply_layers(case.tars())) == case.expected


# Base layer, the layer above it, and what they make; on each of these tools disagree.
CONTESTED: dict[str, tuple[Members, Members, dict[str, str]]] = {
    "a whiteout of d, then d/ and d/n": (
        BASE,
        (whiteout("d"), directory("d"), file("d/n", b"n")),
        {"d": "dir 755", "d/n": "file 644 n"},
    ),
    "d/ and d/n, then a whiteout of d": (
        BASE,
        (directory("d"), file("d/n", b"n"), whiteout("d")),
        {"d": "dir 755", "d/n": "file 644 n"},
    ),
    "a new f, then a whiteout of f": (
        BASE,
        (file("f", b"new"), whiteout("f")),
        {**BASE_TABLE, "f": "file 644 new"},
    ),
    "an opaque marker before the entries": (
        BASE,
        (D, opaque("d"), file("d/n", b"n")),
        {"d": "dir 711", "d/n": "file 644 n"},
    ),
    "an opaque marker after the entries": (
        BASE,
        (D, file("d/n", b"n"), opaque("d")),
        {"d": "dir 711", "d/n": "file 644 n"},
    ),
    "an opaque marker without its directory": (
        BASE,
        (opaque("d"),),
        {"d": "dir 711"},
    ),
    "an opaque root": (BASE, (opaque(""), file("n", b"n")), {"n": "file 644 n"}),
    "l/x only, l a symlink below": (
        LOWER_LINK,
        (file("l/x", b"x"),),
        {**LOWER_LINK_TABLE, "l": "dir 755", "l/x": "file 644 x"},
    ),
    "a/x only, a a file below": (
        (file("a", b"a"),),
        (file("a/x", b"x"),),
        {"a": "dir 755", "a/x": "file 644 x"},
    ),
    "a whiteout in a lower symlink": (LOWER_LINK, (whiteout("l/a"),), LOWER_LINK_TABLE),
    "an opaque marker in a lower symlink": (LOWER_LINK, (opaque("l"),), LOWER_LINK_TABLE),
    "a whiteout in a symlink of its own layer": (
        BASE,
        (symlink("l", "d"), whiteout("l/a")),
        {**{path: node for path, node in BASE_TABLE.items() if path != "d/a"}, "l": "link d"},
    ),
    "a whiteout in a directory that took a symlink's place": (
        BASE,
        (symlink("l", "d"), directory("l"), whiteout("l/a")),
        {**BASE_TABLE, "l": "dir 755"},
    ),
    "a whiteout below a directory that took a tree's place": (
        BASE,
        (symlink("t/l", "/d"), file("t"), directory("t"), whiteout("t/l/a")),
        {**BASE_TABLE, "t": "dir 755"},
    ),
    "a whiteout in what was a loop": (
        BASE,
        (symlink("l", "l"), directory("l"), whiteout("l/a")),
        {**BASE_TABLE, "l": "dir 755"},
    ),
    "a hard link to a lower file": (
        (file("a", b"a"),),
        (hardlink("b", "a"),),
        {"a": "file 644 a =a,b", "b": "file 644 a =a,b"},
    ),
    "a hard link with other attributes to a lower file": (
        (file("a", b"a"),),
        (hardlink("b", "a", mode=0o600),),
        {"a": "file 600 a =a,b", "b": "file 600 a =a,b"},
    ),
    "d/n without an entry d/": (
        BASE,
        (file("d/n", b"n"),),
        {**BASE_TABLE, "d/n": "file 644 n"},
    ),
    "a whiteout of d/a without an entry d/": (
        BASE,
        (whiteout("d/a"),),
        {"d": "dir 711", "d/b": "file 644 b"},
    ),
    "a whiteout of n/x, n nowhere": (BASE, (whiteout("n/x"),), BASE_TABLE),
    "whiteouts of d and of d/a": (BASE, (whiteout("d"), whiteout("d/a")), {}),
    "the same file twice": (
        BASE,
        (file("f", b"1"), file("f", b"2")),
        {**BASE_TABLE, "f": "file 644 2"},
    ),
    "a file, then a directory of that name": (
        (),
        (file("f", b"1"), directory("f"), file("f/x", b"x")),
        {"f": "dir 755", "f/x": "file 644 x"},
    ),
    "a link to a name that is written again later": (
        (),
        (file("a", b"1"), hardlink("b", "a"), file("a", b"2")),
        {"a": "file 644 2", "b": "file 644 1"},
    ),
    "an opaque marker and a whiteout in one directory": (
        BASE,
        (D, opaque("d"), whiteout("d/a")),
        {"d": "dir 711"},
    ),
    "a parent that is nowhere": (
        (),
        (file("n/m/x", b"x"),),
        {"n": "dir 755", "n/m": "dir 755", "n/m/x": "file 644 x"},
    ),
    "a whiteout that is a hard link, as AUFS has them": (
        BASE,
        (D, whiteout("d/a"), Member(b"d/.wh.b", b"1", linkname=b"d/.wh.a")),
        {"d": "dir 711"},
    ),
    "hard links into the AUFS folder": (
        (),
        (
            file(".wh..wh.plnk/1.2", b"p"),
            hardlink("a", ".wh..wh.plnk/1.2"),
            hardlink("b", ".wh..wh.plnk/1.2"),
        ),
        {"a": "file 644 p =a,b", "b": "file 644 p =a,b"},
    ),
    "leftovers of AUFS": (
        BASE,
        (file(".wh..wh.aufs"), directory(".wh..wh.orph"), directory(".wh..wh.plnk")),
        BASE_TABLE,
    ),
    "a symlink of the layer leads out of the root": (
        BASE,
        (symlink("l", "../../d"), file("l/n", b"n")),
        {**BASE_TABLE, "d/n": "file 644 n", "l": "link ../../d"},
    ),
    "an absolute symlink of the layer": (
        BASE,
        (directory("t"), symlink("t/l", "/d"), file("t/l/n", b"n")),
        {**BASE_TABLE, "d/n": "file 644 n", "t": "dir 755", "t/l": "link /d"},
    ),
    "absolute names and ./": (
        BASE,
        (file("/d/a", b"1"), file("./d/b", b"2"), hardlink("./c", "/d/a")),
        {
            "c": "file 644 1 =c,d/a",
            "d": "dir 711",
            "d/a": "file 644 1 =c,d/a",
            "d/b": "file 644 2",
        },
    ),
    "old tars mark a directory by its slash": (
        (),
        (Member(b"d/", b"\0", mode=0o711), Member(b"e/", b"0", mode=0o700)),
        {"d": "dir 711", "e": "dir 700"},
    ),
}


@pytest.mark.parametrize("name", CONTESTED)
def test_contested_layers(name: str) -> None:
    """Where tools disagree, the model does what the rules say, and follows no lower symlink."""
    base, above, expected = CONTESTED[name]
    assert rootfs_table(base, above) == expected


ILLEGAL: dict[str, tuple[Members, ...]] = {
    "a bare .wh.": (BASE, (file("d/.wh."),)),
    "a whiteout of .": (BASE, (file("d/.wh..", b""),)),
    "a whiteout of ..": (BASE, (file("d/.wh...", b""),)),
    "a member below a whiteout's name": ((file(".wh.d/a"),),),
    "a part ..": ((file("d/../a"),),),
    "a path through a file of the same layer": ((file("a"), file("a/x")),),
    "a hard link before its target": ((hardlink("b", "a"), file("a")),),
    "a hard link to nothing": ((hardlink("b", "a"),),),
    "a hard link to what its layer hides": ((file("a"),), (whiteout("a"), hardlink("b", "a"))),
    "a hard link to a directory": (BASE, (hardlink("b", "d"),)),
    "a hard link to itself": ((file("a"),), (hardlink("a", "a"),)),
    "a hard link through a lower symlink": (LOWER_LINK, (hardlink("b", "l/a"),)),
    "symlinks in a circle": ((symlink("l", "m"), symlink("m", "l"), file("l/x")),),
    "a root that is a file": ((file("./"), file(".")),),
    "an unknown type": ((Member(b"v", b"V"),),),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_layers(name: str) -> None:
    """What no root file system can be made of is refused."""
    with pytest.raises(Illegal):
        rootfs_table(*ILLEGAL[name])


def test_where_a_tar_may_end() -> None:
    """A tar may end at any record boundary, and what follows the end does not count."""
    members = (file("a", b"a"), file("b", b"b"))
    plain = layer(*members, end=False)
    for end in (b"", bytes(512), END_OF_ARCHIVE, bytes(10240), END_OF_ARCHIVE + b"junk" * 300):
        assert [r.name for r in read_members(plain + end)] == [b"a", b"b"]
    assert read_members(b"") == read_members(END_OF_ARCHIVE) == ()


@pytest.mark.parametrize("cut", [100, 512 + 3, 1024 + 100])
def test_where_a_tar_may_not_end(cut: int) -> None:
    """An end inside a header or inside data makes a layer invalid."""
    data = layer(file("a", b"0123456789"), file("b"), end=False)
    with pytest.raises(Illegal):
        read_members(data[:cut])


@pytest.mark.parametrize("format", ["pax", "gnu"])
def test_attributes_survive(format: str) -> None:
    """Whatever a member is given comes out of the model exactly, in either dialect."""
    name = b"\xff" + b"n" * 150
    members = (
        file(name, b"data", mode=0o4750, uid=3_000_000, gid=2_500_000, mtime=-5),
        symlink("l", b"\xfe" * 120),
        fifo("p"),
        char("c", 1, 3),
        block("b", 7, 200, mode=0o600),
    )
    nodes = apply_layers([layer(*members, format=format)]).nodes  # type: ignore[arg-type]
    node = nodes[name]
    assert (node.mode, node.uid, node.gid) == (0o4750, 3_000_000, 2_500_000)
    assert (node.mtime, node.content) == (Fraction(-5), b"data")
    assert nodes[b"l"].linkname == b"\xfe" * 120
    assert [nodes[path].kind for path in (b"p", b"c", b"b")] == ["fifo", "char", "block"]
    assert (nodes[b"c"].device, nodes[b"b"].device) == ((1, 3), (7, 200))


def test_times_are_exact() -> None:
    """Parts of a second count to the last digit, before 1970 too."""
    times = [Decimal("1.000000001"), Decimal("-0.25"), Decimal("1600000000.123456789")]
    members = [file(str(n), mtime=time) for n, time in enumerate(times)]
    nodes = apply_layers([layer(*members)]).nodes
    assert [node.mtime for node in nodes.values()] == [Fraction(str(time)) for time in times]


def test_xattrs_are_bytes() -> None:
    """An xattr's value may hold any byte, and a hard link's own come on top of the file's."""
    value = bytes(range(256))
    data = layer(
        file("a", xattrs={"user.k": value, "user.j": b"file"}, records={"LIBARCHIVE.x": b"y"}),
        hardlink("b", "a", xattrs={"user.j": b"link"}),
    )
    node = apply_layers([data]).nodes[b"a"]
    assert node.xattrs == {b"user.k": value, b"user.j": b"link"}
    assert node.foreign == {b"LIBARCHIVE.x": b"y"}


def test_a_directory_takes_all_attributes_of_the_later_entry() -> None:
    """A directory over a directory keeps the children and nothing else, xattrs included."""
    above = layer(directory("d", mode=0o700, uid=1, mtime=5))
    below = layer(directory("d", xattrs={"user.k": b"v"}), file("d/a"))
    rootfs = apply_layers([below, above])
    node = rootfs.nodes[b"d"]
    assert (node.mode, node.uid, node.mtime, node.xattrs) == (0o700, 1, Fraction(5), {})
    assert b"d/a" in rootfs.nodes


@pytest.mark.parametrize("form", SPARSE)
def test_sparse_files_have_their_holes(form: Sparse) -> None:
    """A sparse file is as long as it says, with zeros where no piece is."""
    pieces = [(n * 2048, bytes([65 + n]) * 512) for n in range(30)]
    content = apply_layers([layer(sparse("d/s", 70_000, pieces, form=form))]).nodes[b"d/s"].content
    assert len(content) == 70_000
    assert all(content[offset : offset + 512] == data for offset, data in pieces)
    assert content.count(0) == 70_000 - 30 * 512


def test_global_headers_hold_for_later_members() -> None:
    """A record of a global header is a record of each member after it."""
    data = layer(file("a"), global_header({"uid": b"7"}), file("b"))
    nodes = apply_layers([data]).nodes
    assert (nodes[b"a"].uid, nodes[b"b"].uid) == (0, 7)


def test_the_root_stands_apart() -> None:
    """The root's entry is compared where both sides list it, and is no path."""
    plain, listed, other = (
        apply_layers([layer(*members, file("a"))])
        for members in ((), (directory("./"),), (directory("./", mode=0o700),))
    )
    assert list(listed.nodes) == [b"a"]
    assert listed.root
    assert not plain.root
    assert same_rootfs(plain, listed)
    assert not same_rootfs(listed, other)


def test_the_other_reading_follows_lower_symlinks() -> None:
    """With symlink_parents="follow" a path through a lower symlink lands in its target."""
    layers = [layer(*LOWER_LINK), layer(file("l/x", b"x"))]
    rootfs = apply_layers(layers, symlink_parents="follow")
    assert table(rootfs) == {**LOWER_LINK_TABLE, "t/x": "file 644 x"}


def differing(a: list[bytes], b: list[bytes], run: tuple[int, int] | None = None) -> list[str]:
    split = apply_layers(a, split_runs=[run]) if run else None
    return differences(apply_layers(a), apply_layers(b), split=split)


def test_every_fact_makes_a_difference() -> None:
    """Two root file systems that differ in one fact are never called equal."""
    plain = [layer(file("a", b"x"), directory("d"))]
    others: list[Members] = [
        (file("a", b"y"), directory("d")),
        (file("a", b"x", mode=0o600), directory("d")),
        (file("a", b"x", uid=1), directory("d")),
        (file("a", b"x", gid=1), directory("d")),
        (file("a", b"x", mtime=Decimal("0.000000001")), directory("d")),
        (file("a", b"x", xattrs={"user.k": b"v"}), directory("d")),
        (file("a", b"x", records={"MSWINDOWS.x": b"y"}), directory("d")),
        (file("a", b"x"), symlink("d", "e")),
        (file("a", b"x"),),
        (file("a", b"x"), directory("d"), file("n")),
        (file("a", b"x"), directory("d"), hardlink("n", "a")),
    ]
    assert differing(plain, plain) == []
    assert all(differing(plain, [layer(*members)]) for members in others)
    assert differing([layer(symlink("l", "a"))], [layer(symlink("l", "b"))])
    assert differing([layer(char("c", 1, 3))], [layer(char("c", 1, 5))])


def test_where_a_group_of_links_may_be_cut() -> None:
    """A hard-link group may be cut at the lower end of a squashed run, and nowhere else."""
    base = layer(file("a", b"x"), hardlink("b", "a"))
    source = [base, layer(hardlink("c", "a")), layer(hardlink("d", "c"))]
    cut = [base, layer(file("c", b"x"), hardlink("d", "c"))]
    apart = [base, layer(file("c", b"x"), file("d", b"x"))]
    base_cut = [layer(file("a", b"x"), file("b", b"x")), *source[1:]]
    assert differing(source, cut), "only when asked"
    assert differing(source, cut, (1, 3)) == []
    assert differing(source, source, (1, 3)) == []
    assert differing(source, apart, (1, 3)), "names of one run stay together"
    assert differing(source, base_cut, (1, 3)), "names of the base stay together"
    assert differing(source, cut, (0, 3)), "the inode was made in the run"


def test_a_name_that_was_cut_off_may_miss_later_attributes() -> None:
    """A kept link above a cut changes the names on its own side of it; both are right."""
    source = [
        layer(file("a")),
        layer(hardlink("b", "a")),
        layer(),
        layer(hardlink("c", "b", mode=0o600)),
    ]
    cut = [source[0], layer(file("b")), source[3]]
    assert differing(source, cut, (1, 3)) == []
    assert differing(
        source,
        [source[0], layer(file("b", mode=0o640)), layer(hardlink("c", "b", mode=0o640))],
        (1, 3),
    )


def test_each_state_is_kept_apart() -> None:
    """The states below and above each layer are values that later layers do not change."""
    states = apply_each([layer(file("a", b"1")), layer(file("a", b"2")), layer(whiteout("a"))])
    assert [table(state) for state in states] == [{}, {"a": "file 644 1"}, {"a": "file 644 2"}, {}]


# --- the linter ------------------------------------------------------------------------------

SAFE: dict[str, Members] = {
    "nothing": (),
    "the root first": (directory("./"), file("n")),
    "whiteouts after their directory": (whiteout("z"), D, whiteout("d/a"), whiteout("d/b")),
    "an opaque marker": (D, opaque("d"), file("d/n")),
    "a change of type": (file("d"),),
    "links after their target": (file("x"), hardlink("y", "x"), hardlink("zz", "y")),
    "names that sort in more than one way": (
        directory("n"),
        directory("n-m"),
        directory("n/x"),
    ),
}

UNSAFE: dict[str, tuple[Members, str]] = {
    "a path twice": ((file("n"), file("n")), "twice"),
    "a name with ./": ((file("./n"),), "written as"),
    "an absolute name": ((file("/n"),), "written as"),
    "a part ..": ((file("d/../n"),), "not a valid layer"),
    "a root without its dot": ((Member(b"/", b"5", mode=0o755),), "root's entry is written"),
    "a root that is not first": ((file("n"), directory("./")), "not the first"),
    "no parent": ((file("d/n"),), "not listed"),
    "a parent too late": ((file("d/n"), D), "not listed"),
    "a parent that is a symlink": ((symlink("l", "d"), file("l/n")), "not listed"),
    "a whiteout without its parent": ((whiteout("d/a"),), "not listed"),
    "a whiteout and an entry": ((whiteout("z"), file("z")), "a whiteout and an entry"),
    "an entry below a whiteout": ((whiteout("d"), D, file("d/n")), "below the whiteout"),
    "a whiteout below a whiteout": ((whiteout("d"), D, whiteout("d/a")), "below the whiteout"),
    "opaque and a whiteout": ((D, opaque("d"), whiteout("d/a")), "in or below the opaque"),
    "a whiteout of nothing": ((whiteout("n"),), "does not have"),
    "a whiteout in a new directory": ((directory("n"), whiteout("n/x")), "does not have"),
    "a whiteout in what was a file": ((directory("z"), whiteout("z/x")), "no directory below"),
    "an opaque new directory": ((directory("n"), opaque("n")), "no directory below"),
    "a whiteout away from its directory": ((D, directory("n"), whiteout("d/a")), "not follow"),
    "whiteouts out of order": ((D, whiteout("d/b"), whiteout("d/a")), "not in order"),
    "directories out of order": ((directory("n"), D), "not in order"),
    "a directory after a file": ((file("n"), D), "after entries"),
    "a link before its target": ((hardlink("y", "x"), file("x")), "not in the layer"),
    "a link out of the layer": ((hardlink("y", "z"),), "not in the layer"),
    "a link's target with ./": ((file("x"), hardlink("y", "./x")), "not in the layer"),
    "a whiteout with data": ((Member(b".wh.z", data=b"x"),), "no empty regular file"),
    "whiteouts that differ": (
        (whiteout("z"), D, Member(b"d/.wh.a", mode=0o600)),
        "differ in their attributes",
    ),
    "a whiteout that is a link": (
        (whiteout("z"), D, Member(b"d/.wh.a", b"1", linkname=b".wh.z")),
        "no empty regular",
    ),
    "a leftover of AUFS": ((file(".wh..wh.aufs"),), "AUFS"),
    "a global header": ((global_header({"comment": b"x"}), file("n")), "global header"),
    "a device that overlay takes for a whiteout": ((char("n", 0, 0),), "device 0:0"),
    "an xattr of overlay": (
        (file("n", xattrs={"trusted.overlay.opaque": b"y"}),),
        "the xattr",
    ),
}

LOWER = [layer(*BASE, file("z"))]


@pytest.mark.parametrize("name", SAFE)
def test_the_linter_passes_what_is_safe(name: str) -> None:
    """A layer within the safe subset has nothing wrong."""
    lower = LOWER if name != "a change of type" else [layer(*BASE)]
    assert lint(lower, layer(*SAFE[name])) == []


@pytest.mark.parametrize("name", UNSAFE)
def test_the_linter_names_what_is_not_safe(name: str) -> None:
    """Whatever leaves the safe subset is named, for its own reason."""
    members, why = UNSAFE[name]
    assert any(why in line for line in lint(LOWER, layer(*members)))


@pytest.mark.parametrize(
    "spoil",
    [lambda tar: tar[:-1024], lambda tar: tar + bytes(512), lambda tar: tar + b"junk"],
)
def test_the_linter_wants_a_proper_end(spoil: Callable[[bytes], bytes]) -> None:
    """A squashed tar ends with two blocks of zeros and nothing after them."""
    assert lint([], spoil(layer(file("n"))))
