"""What a rebase merges: package databases, accounts and caches, by what the result holds.

Small images go through the command line; the result's layers are read with tarfile alone. What a
distribution's tools make of such databases is tested on real images (tests/compat).
"""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest

from tests.support.builders import Member, directory, file, hardlink, symlink, whiteout
from tests.support.model import apply_layers
from tests.support.moves import NOTHING, STATUS, Place, dpkg, passes, passwd, place, stops, within
from tests.support.runner import Result, read_image, run

INFO = "var/lib/dpkg/info"


def stanza(name: str, version: str, **fields: str) -> str:
    """A package of dpkg's status file; other fields by their names, with _ for -."""
    state = fields.pop("Status", "install ok installed")
    more = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in fields.items())
    return f"Package: {name}\nStatus: {state}\nArchitecture: all\nVersion: {version}\n{more}"


def status(*stanzas: str) -> bytes:
    """dpkg's status file."""
    return "".join(one + "\n" for one in stanzas).encode()


def texts(moved: Place) -> dict[str, bytes | None]:
    """What the result's files hold, by path; None for directories and the like."""
    tree = apply_layers(read_image(moved.out).layers)
    nodes = tree.nodes.items()
    return {path.decode(): node.content if node.kind == "file" else None for path, node in nodes}


def merged(
    path: str, old: bytes, app: bytes, new: bytes, folder: Path, *words: str
) -> tuple[bytes | None, Result]:
    """What a file holds after a rebase, of which all three sides have a version."""
    moved = place(folder, within(path, old), within(path, new), [file(path, app)])
    result = passes(moved, *words)
    return texts(moved).get(path), result


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of a layer, by name."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


# --- dpkg's status ---------------------------------------------------------------------------

A1, A2, A3 = stanza("a", "1"), stanza("a", "2"), stanza("a", "3")
B1, APP = stanza("b", "1"), stanza("app", "1")
HOLD1, HOLD2 = (stanza("a", version, Status="hold ok installed") for version in ("1", "2"))


@pytest.mark.parametrize(
    ("old", "app", "new", "expected"),
    [
        ([A1], [A1, APP], [A2], [A2, APP]),
        ([A1], [A2, APP], [A1], [A2, APP]),
        ([A1], [A3, APP], [A2], [A3, APP]),
        ([A1], [A2, APP], [A2], [A2, APP]),
        ([A1, B1], [A1, APP], [A2, B1], [A2, APP]),
        ([A1, B1], [A1, B1, APP], [A2], [A2, APP]),
        ([A1], [A1, APP], [A2, B1], [A2, APP, B1]),
        ([A1], [HOLD1, APP], [A2], [HOLD2, APP]),
        ([A1], [APP], [A1], [APP]),
    ],
    ids=[
        "new base's", "image's", "both, image's later", "both alike", "removed", "dropped", "added", "held",
        "nothing of it",
    ],
)  # fmt: skip
def test_of_each_package_the_stanza_of_the_side_that_changed_it(
    old: list[str], app: list[str], new: list[str], expected: list[str], tmp_path: Path
) -> None:
    """Stanzas are what their side has, byte for byte, sorted by name; the list is in one last layer."""
    wanted = b"".join(sorted(one.encode() + b"\n" for one in expected))
    text, result = merged(STATUS, status(*old), status(*app), status(*new), tmp_path)
    assert text == wanted
    assert result.json["risks"] == []


def test_a_lower_version_hides_the_patch(tmp_path: Path) -> None:
    """The image brought a version that the new base has left behind: an error with both versions."""
    moved = place(
        tmp_path, within(STATUS, status(A1)), within(STATUS, status(A3)), [file(STATUS, status(A2))]
    )
    (risk,) = stops(moved, "packages").json["risks"]
    assert (risk["old"], risk["new"], risk["package"]) == ("a 2", "a 3", "a")
    result = passes(moved, "--allow", "packages")
    assert texts(moved)[STATUS] == status(A2)
    (conflict,) = result.json["conflicts"]
    assert conflict == {
        "kind": "packages", "key": "a", "image": "a 2", "new_base": "a 3", "paths": [STATUS],
        "stops": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "relation", "is_met"),
    [
        ("Depends", "a (= 1)", False),
        ("Depends", "a (= 1) | a (>= 2)", True),
        ("Depends", "a (>= 1~), a (<< 3)", True),
        ("Pre_Depends", "a (<= 1)", False),
        ("Depends", "a:any (= 1)", False),
        ("Depends", "virtual (= 5)", True),
        ("Depends", "virtual (= 6) | a (= 1)", False),
        ("Breaks", "a (<< 2)", True),
        ("Breaks", "a (>> 1)", False),
        ("Conflicts", "a (>= 2)", False),
        ("Recommends", "a (= 1)", True),
    ],
)
def test_relations_that_the_new_base_does_not_meet(
    field: str, relation: str, is_met: bool, tmp_path: Path
) -> None:
    """What apt would refuse is an error with both versions."""
    b = stanza("b", "1", Provides="virtual (= 5)")
    app = stanza("app", "1", **{field: relation})
    lists = status(A1, b), status(A1, b, app), status(A2, b)
    moved = place(tmp_path, within(STATUS, lists[0]), within(STATUS, lists[2]), [file(STATUS, lists[1])])
    if is_met:
        assert passes(moved).json["risks"] == []
        return
    (risk,) = stops(moved, "depends").json["risks"]
    assert risk["old"].startswith("app 1 ")
    assert relation.split("|")[0].strip() in risk["old"]
    assert risk["package"] == "app"
    passes(moved, "--allow", "depends")


def test_architectures_of_one_package_have_one_version(tmp_path: Path) -> None:
    """apt refuses siblings of two versions, though none says so (Multi-Arch: same)."""

    def of(version: str, architecture: str) -> str:
        return stanza("a", version, Multi_Arch="same").replace(": all", f": {architecture}")

    both = status(of("1", "amd64"), of("1", "i386"))
    moved = place(
        tmp_path, within(STATUS, status(of("1", "amd64"))), within(STATUS, status(of("2", "amd64"))),
        [file(STATUS, both)],
    )  # fmt: skip
    (risk,) = stops(moved, "depends").json["risks"]
    assert (risk["old"], risk["new"]) == ("a 1 needs a:amd64 (= 1)", "a 2")


def test_what_was_not_met_before_is_no_news(tmp_path: Path) -> None:
    """An image that apt refused already is not worse for that."""
    app = stanza("app", "1", Depends="nowhere")
    text, result = merged(STATUS, status(A1), status(A1, app), status(A2), tmp_path)
    assert text == status(A2, app)
    assert result.json["risks"] == []


@pytest.mark.parametrize("why", ["half installed", "updates", "format"])
def test_what_dpkg_has_not_finished_is_not_merged(why: str, tmp_path: Path) -> None:
    """It is told, with what scanners will see, and the layer's list stays."""
    half = stanza("b", "1", Status="install ok half-installed")
    own = status(A1, half) if why == "half installed" else status(A1, APP)
    more = {
        "updates": [directory("var/lib/dpkg/updates"), file("var/lib/dpkg/updates/0001", own)],
        "format": [directory(INFO), file(f"{INFO}/format", b"2\n")],
    }.get(why, [])
    moved = place(
        tmp_path, within(STATUS, status(A1)), within(STATUS, status(A2)), [file(STATUS, own), *more]
    )
    result = passes(moved)
    assert result.json["merged"] == []
    assert {(risk["kind"], risk["severity"]) for risk in result.json["risks"]} == {("packages", "warning")}
    assert texts(moved)[STATUS] == own


# --- lists, scripts and files of packages -----------------------------------------------------


def base(version: str, files: dict[str, bytes], **info: bytes) -> list[Member]:
    """A base with package `a` of these files, and with these files of dpkg's about it."""
    listed = "/.\n/usr\n/usr/bin\n" + "".join(f"/{path}\n" for path in files)
    found = [
        *(directory(one) for one in ("usr", "usr/bin", "var", "var/lib", "var/lib/dpkg", INFO)),
        *(file(path, data) for path, data in files.items()),
        file(STATUS, status(stanza("a", version))),
        file(f"{INFO}/a.list", listed.encode()),
    ]
    return [*found, *(file(f"{INFO}/a.{suffix}", data) for suffix, data in info.items())]


OLD = base("1", {"usr/bin/a": b"1"}, postinst=b"1", md5sums=b"1")
NEW = base("2", {"usr/bin/a": b"2", "usr/bin/more": b"2"}, postinst=b"2", prerm=b"2", md5sums=b"2")


def test_scripts_and_lists_follow_the_stanza(tmp_path: Path) -> None:
    """What the layers hold of a package that follows the new base gives way; what the image deleted stays
    away."""
    above = [
        file(STATUS, status(A1, APP)),
        file(f"{INFO}/app.list", b"/.\n"),
        file(f"{INFO}/a.postinst", b"1", mode=0o700),
        whiteout(f"{INFO}/a.md5sums"),
    ]
    moved = place(tmp_path, OLD, NEW, above)
    assert passes(moved).json["risks"] == []
    found = texts(moved)
    names = {path.rpartition("/")[2]: data for path, data in found.items() if path.startswith(INFO + "/")}
    assert names.keys() == {"a.list", "a.postinst", "a.prerm", "app.list"}
    assert (names["a.postinst"], names["a.prerm"]) == (b"2", b"2")
    assert found["usr/bin/more"] == b"2"


def test_a_later_version_of_the_image_has_its_files_alone(tmp_path: Path) -> None:
    """Files and scripts that only the new base's version has are hidden."""
    above = [
        file(STATUS, status(A3)),
        file(f"{INFO}/a.list", b"/.\n/usr\n/usr/bin\n/usr/bin/a\n"),
        file(f"{INFO}/a.postinst", b"3"),
        file(f"{INFO}/a.md5sums", b"3"),
        file("usr/bin/a", b"3"),
    ]
    moved = place(tmp_path, OLD, NEW, above)
    assert passes(moved).json["risks"] == []
    found = texts(moved)
    assert found["usr/bin/a"] == b"3"
    assert "usr/bin/more" not in found
    assert f"{INFO}/a.prerm" not in found


@pytest.mark.parametrize("state", ["purged", "config-files"])
def test_a_package_that_the_image_removed_stays_removed(state: str, tmp_path: Path) -> None:
    """With all that the new base has of it, folders too; another package's files are left."""
    removed = [
        whiteout("usr/bin/a"),
        *(whiteout(f"{INFO}/a.{suffix}") for suffix in ("postinst", "md5sums")),
    ]
    left = stanza("a", "1", Status="deinstall ok config-files")
    if state == "purged":
        above = [*removed, file(STATUS, status(B1)), whiteout(f"{INFO}/a.list")]
    else:
        above = [*removed, file(STATUS, status(left, B1)), file(f"{INFO}/a.list", b"/.\n")]
    own = [*NEW, directory("usr/share"), directory("usr/share/a"), file("usr/share/a/x")]
    more = b"/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/bin/more\n/usr/share/a\n/usr/share/a/x\n"
    own = [file(f"{INFO}/a.list", more) if one.name == f"{INFO}/a.list".encode() else one for one in own]
    moved = place(tmp_path, OLD, own, above)
    assert passes(moved).json["risks"] == []
    found = texts(moved)
    assert not {"usr/bin/a", "usr/bin/more", "usr/share/a", "usr/share/a/x"} & found.keys()
    assert f"{INFO}/a.prerm" not in found
    if state == "config-files":
        again = stanza("a", "2", Status="deinstall ok config-files")
        assert found[STATUS] == status(again, B1)


@pytest.mark.parametrize("own", [b"", status(APP)], ids=["emptied", "cut"])
def test_a_status_that_was_cut_removes_nothing(own: bytes, tmp_path: Path) -> None:
    """The image made its list of packages smaller, and has all files still: so has the result."""
    moved = place(tmp_path, OLD, NEW, [file(STATUS, own)])
    passes(moved)
    found = texts(moved)
    assert (found["usr/bin/a"], found["usr/bin/more"]) == (b"2", b"2")
    assert found[STATUS] == own


def test_a_file_that_went_from_a_removed_package_to_another(tmp_path: Path) -> None:
    """The image's layers hide it, and meant the old package: it is put back."""
    b2 = file(f"{INFO}/b.list", b"/usr/bin/a\n/usr/bin/b\n")
    lists = status(A1), status(stanza("b", "2"))
    old = [*OLD, symlink("usr/bin/b", "a")]
    old = [
        file(f"{INFO}/a.list", b"/usr/bin/a\n/usr/bin/b\n") if m.name == f"{INFO}/a.list".encode() else m
        for m in old
    ]
    new = [*within(STATUS, lists[1]), directory(INFO), b2, directory("usr"), directory("usr/bin")]
    new += [file("usr/bin/a", b"2", mode=0o755), symlink("usr/bin/b", "a")]
    above = [
        whiteout("usr/bin/a"),
        whiteout("usr/bin/b"),
        whiteout(f"{INFO}/a.list"),
        file(STATUS, status(APP)),
    ]
    moved = place(tmp_path, old, new, above)
    passes(moved)
    tree = apply_layers(read_image(moved.out).layers)
    assert (tree.nodes[b"usr/bin/a"].content, tree.nodes[b"usr/bin/b"].linkname) == (b"2", b"a")


def test_the_files_of_distroless_follow_the_new_base(tmp_path: Path) -> None:
    """What a layer holds of them as the old base had it."""
    path = "var/lib/dpkg/status.d/a"
    moved = place(tmp_path, within(path, b"1"), within(path, b"2"), [file(path, b"1", mode=0o600)])
    assert passes(moved).json["risks"] == []
    assert texts(moved)[path] == b"2"


def test_a_folder_that_the_image_emptied_stays_empty(tmp_path: Path) -> None:
    """No script of the new base's comes back into it."""
    above = [
        file(STATUS, status(A1, APP)),
        *(whiteout(f"{INFO}/a.{s}") for s in ("list", "postinst", "md5sums")),
    ]
    moved = place(tmp_path, OLD, NEW, above)
    passes(moved)
    assert not [path for path in texts(moved) if path.startswith(f"{INFO}/")]


def test_a_place_that_the_image_keeps_free(tmp_path: Path) -> None:
    """The new base brings a file where the image diverts it: it lies where dpkg would have put it."""
    diverted = b"/usr/bin/more\n/usr/bin/more.distrib\nown\n"
    above = [file(STATUS, status(A1, APP)), file("var/lib/dpkg/diversions", diverted)]
    moved = place(tmp_path, OLD, NEW, above)
    passes(moved)
    found = texts(moved)
    assert found["usr/bin/more.distrib"] == b"2"
    assert "usr/bin/more" not in found


def test_links_to_what_was_removed_go(tmp_path: Path) -> None:
    """Links of the new base's below /etc that nothing lists, one to another, lead nowhere in the result;
    one that led nowhere before stays, and so does one that the image has left like that."""
    targets = {"etc/a": "../usr/bin/a", "etc/b": "a", "etc/c": "nowhere"}
    links = [directory("etc"), *(symlink(name, target) for name, target in targets.items())]
    above = [whiteout("usr/bin/a"), file(STATUS, status(APP)), whiteout(f"{INFO}/a.list")]
    kept = [directory("etc"), symlink("etc/d", "../usr/bin/a")]
    moved = place(tmp_path, [*OLD, *kept], [*NEW, *links, kept[1]], above)
    passes(moved)
    assert {path for path in texts(moved) if path.startswith("etc")} == {"etc", "etc/c", "etc/d"}


def test_of_a_version_that_both_have_the_new_base_s_stanza(tmp_path: Path) -> None:
    """The image upgraded a package to the new base's version: what it says of the old version's conffiles
    is a trace of the way there. That it holds the package stays."""
    obsolete = "Conffiles:\n /etc/a.conf 0123 obsolete\n"
    hold = stanza("a", "2", Status="hold ok installed")
    text, _ = merged(STATUS, status(A1), status(hold + obsolete, APP), status(A2), tmp_path)
    assert text == status(hold, APP)


def test_what_another_package_lists_is_not_hidden(tmp_path: Path) -> None:
    """A file that went from a removed package to one that stays."""
    b1, b2 = (stanza("b", version) for version in ("1", "2"))
    new = [*NEW, file(f"{INFO}/b.list", b"/usr/bin/more\n")]
    new = [file(STATUS, status(A2, b2)) if one.name == STATUS.encode() else one for one in new]
    old = [file(STATUS, status(A1, b1)) if one.name == STATUS.encode() else one for one in OLD]
    above = [whiteout("usr/bin/a"), file(STATUS, status(b1, APP)), whiteout(f"{INFO}/a.list")]
    moved = place(tmp_path, old, new, above)
    passes(moved)
    assert texts(moved)["usr/bin/more"] == b"2"


def test_a_conffile_that_dpkg_left_alone_stays(tmp_path: Path) -> None:
    """The image upgraded a package whose conffile is the same in both versions: the new base's is of
    another version."""
    conf = "Conffiles:\n /etc/a.conf 0123\n"

    def with_conf(members: list[Member], version: str, data: bytes) -> list[Member]:
        kept = [one for one in members if one.name != STATUS.encode()]
        listed = file(STATUS, status(stanza("a", version) + conf))
        return [*kept, listed, directory("etc"), file("etc/a.conf", data, mode=0o640)]

    above = [file(STATUS, status(stanza("a", "3") + conf))]
    moved = place(tmp_path, with_conf(OLD, "1", b"1"), with_conf(NEW, "2", b"2"), above)
    passes(moved)
    assert texts(moved)["etc/a.conf"] == b"1"
    (path,) = (one for one in members(read_image(moved.out).layers[-1]) if one == "etc/a.conf")
    assert members(read_image(moved.out).layers[-1])[path].mode == 0o640


# --- databases by lines and paragraphs --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "old", "app", "new", "expected"),
    [
        ("var/lib/dpkg/diversions", "/a\n/a.x\n:\n", "/a\n/a.x\n:\n/b\n/b.x\np\n", "/c\n/c.x\n:\n",
         "/c\n/c.x\n:\n/b\n/b.x\np\n"),
        ("var/lib/dpkg/statoverride", "a b 1 /x\n", "a b 1 /x\nc d 2 /y\n", "a b 3 /x\n",
         "a b 3 /x\nc d 2 /y\n"),
        ("var/lib/dpkg/arch", "amd64\n", "amd64\ni386\n", "amd64\narm64\n", "amd64\narm64\ni386\n"),
        ("etc/shells", "# s\n/bin/sh\n", "# s\n/bin/sh\n/bin/zsh\n", "# s\n/bin/sh\n/bin/dash\n",
         "# s\n/bin/sh\n/bin/dash\n/bin/zsh\n"),
        ("etc/ca-certificates.conf", "a.crt\nb.crt\n", "!a.crt\nb.crt\n", "a.crt\nc.crt\n",
         "!a.crt\nc.crt\n"),
        ("var/lib/apt/extended_states", "Package: a\nAuto-Installed: 1\n\n",
         "Package: a\nAuto-Installed: 1\n\nPackage: c\nAuto-Installed: 1\n\n",
         "Package: b\nAuto-Installed: 1\n\n",
         "Package: b\nAuto-Installed: 1\n\nPackage: c\nAuto-Installed: 1\n\n"),
        ("var/cache/debconf/config.dat", "Name: a/x\nValue: 1\n\nName: c/x\nOwners: c\n\n",
         "Name: a/x\nValue: 2\n\nName: b/x\nValue: 3\n\nName: c/x\nOwners: c\n\n",
         "Name: a/x\nValue: 1\n\nName: c/x\nOwners: c, d\n\n",
         "Name: a/x\nValue: 2\n\nName: b/x\nValue: 3\n\nName: c/x\nOwners: c, d\n\n"),
        ("var/lib/ucf/hashfile", "1  /etc/a\n", "1  /etc/a\n2  /etc/b\n", "3  /etc/a\n",
         "3  /etc/a\n2  /etc/b\n"),
    ],
    ids=["diversions", "statoverride", "arch", "shells", "certificates", "auto", "debconf", "ucf"],
)  # fmt: skip
def test_of_each_part_what_one_side_changed(
    path: str, old: str, app: str, new: str, expected: str, tmp_path: Path
) -> None:
    """Added, changed and removed by one of the two; in the new base's order, then the image's."""
    text, _ = merged(path, old.encode(), app.encode(), new.encode(), tmp_path)
    assert text is not None
    assert text.decode() == expected


def test_a_trigger_is_its_package_s(tmp_path: Path) -> None:
    """A line goes with the stanza of its package."""
    path = "var/lib/dpkg/triggers/File"

    def with_triggers(stanzas: bytes, lines: bytes) -> list[Member]:
        return [*within(STATUS, stanzas), directory("var/lib/dpkg/triggers"), file(path, lines)]

    old, new = with_triggers(status(A1, B1), b"/x a\n/y b\n"), with_triggers(status(A2), b"/x a/noawait\n")
    above = [file(STATUS, status(A1, B1, APP)), file(path, b"/x a\n/y b\n/z app\n")]
    moved = place(tmp_path, old, new, above)
    passes(moved)
    assert texts(moved)[path] == b"/x a/noawait\n/z app\n"


# --- accounts ---------------------------------------------------------------------------------


def test_accounts_of_both_sides(tmp_path: Path) -> None:
    """Users of the new base and of the image; what one side changed is as that has it."""
    text, result = merged(
        "etc/passwd", passwd(a=1, gone=9), passwd(a=1, gone=9, app=500), passwd(a=1, b=2), tmp_path
    )
    assert text == passwd(a=1, b=2, app=500)
    assert result.json["risks"] == []


@pytest.mark.parametrize(
    ("path", "old", "app", "new", "expected"),
    [
        ("etc/group", "docker:x:5:\n", "docker:x:5:app\n", "docker:x:6:\n", "docker:x:6:app\n"),
        ("etc/passwd", "a:x:101:5::/:/bin/sh\n", "a:x:101:5::/:/bin/bash\n", "a:x:102:5::/:/bin/sh\n",
         "a:x:102:5::/:/bin/bash\n"),
    ],
)  # fmt: skip
def test_of_each_field_what_one_side_changed(
    path: str, old: str, app: str, new: str, expected: str, tmp_path: Path
) -> None:
    """The image gave a group a member, or an account a shell; the new base gave it another number, which
    its own files have."""
    text, result = merged(path, old.encode(), app.encode(), new.encode(), tmp_path)
    assert text == expected.encode()
    assert result.json["risks"] == []


def test_a_merged_file_has_the_new_base_s_owner(tmp_path: Path) -> None:
    """Unless the image changed it."""
    path = "etc/shadow"
    lines = [b"a:1:1\n", b"a:1:1\napp:1:1\n", b"a:1:1\nb:1:1\n"]
    old, app, new = (file(path, text, gid=gid) for text, gid in zip(lines, (42, 42, 43), strict=True))
    moved = place(tmp_path, [directory("etc"), old], [directory("etc"), new], [app])
    passes(moved)
    assert apply_layers(read_image(moved.out).layers).nodes[path.encode()].gid == 43


def test_every_range_of_a_name(tmp_path: Path) -> None:
    """A name has as many lines as it has ranges of subordinate ids."""
    own = b"a:1:1\napp:1:999\napp:1001:64535\n"
    text, result = merged("etc/subuid", b"a:1:1\n", own, b"a:1:1\nnew:200000:10\n", tmp_path)
    assert text == b"a:1:1\nnew:200000:10\napp:1:999\napp:1001:64535\n"
    assert [risk["kind"] for risk in result.json["risks"]] == []


def test_lines_of_one_name_and_of_a_network(tmp_path: Path) -> None:
    """None is lost; what stands for a network's accounts stays the last."""
    again, network = b"root:x:0:0::/:/bin/bash\n", b"+::::::\n"
    text, _ = merged(
        "etc/passwd", passwd() + network, passwd(app=500) + again + network, passwd(b=2) + network, tmp_path
    )
    assert text == passwd(b=2) + passwd(app=500).removeprefix(passwd()) + again + network


def test_members_of_a_group(tmp_path: Path) -> None:
    """Each side gave it some, and took some."""
    text, _ = merged("etc/group", b"g:x:5:a,b\n", b"g:x:5:a,b,app\n", b"g:x:5:a,c\n", tmp_path)
    assert text == b"g:x:5:a,c,app\n"


@pytest.mark.parametrize(
    ("path", "old", "app", "new", "files"),
    [
        ("etc/passwd", passwd(), passwd(app=500), passwd(b=500), []),
        ("etc/group", passwd(), passwd(app=500), passwd(b=500), []),
        ("etc/passwd", passwd(a=101), passwd(a=101, app=500), passwd(a=102), [file("own", b"x", uid=101)]),
        ("etc/passwd", passwd(), passwd(a=500), passwd(a=501), []),
        (
            "etc/group",
            b"staff:x:50:\n",
            b"staff:x:50:\napp:x:9:\n",
            b"staff:x:60:\n",
            within("etc/passwd", b"app:x:500:50::/:/bin/sh\n"),
        ),
        ("etc/subuid", b"", b"app:100000:65536\n", b"b:100000:65536\n", []),
        ("etc/subgid", b"", b"app:100000:65536\n", b"b:165535:10\n", []),
    ],
    ids=["user", "group", "moved", "both added it", "primary group", "subuid", "subgid"],
)
def test_accounts_that_exclude_one_another(
    path: str, old: bytes, app: bytes, new: bytes, files: list[Member], tmp_path: Path
) -> None:
    """One id for two names, or two for one, is an error: files would belong to somebody else."""
    moved = place(tmp_path, within(path, old), within(path, new), [file(path, app), *files])
    result = stops(moved, "accounts")
    assert {risk["path"] for risk in result.json["risks"]} == {path}
    passes(moved, "--allow", "accounts")


def test_a_name_may_move_where_nothing_carries_its_id(tmp_path: Path) -> None:
    """The new id stands."""
    text, result = merged("etc/passwd", passwd(a=101), passwd(a=101, app=500), passwd(a=102), tmp_path)
    assert text == passwd(a=102, app=500)
    assert result.json["risks"] == []


# --- alternatives -----------------------------------------------------------------------------

EDITOR = "var/lib/dpkg/alternatives/editor"


def group(*choices: tuple[str, int], state: str = "auto") -> bytes:
    """update-alternatives' file about `editor`, with a manual page beside it."""
    lines = [state, "/usr/bin/editor", "editor.1", "/usr/share/man/editor.1", ""]
    for name, priority in choices:
        lines += [f"/usr/bin/{name}", str(priority), f"/usr/share/man/{name}.1"]
    return "\n".join([*lines, "", ""]).encode()


def editors(text: bytes, *names: str, chosen: str) -> list[Member]:
    """Editors, and which of them is the one."""
    folders = ("etc", "etc/alternatives", "usr", "usr/bin", "usr/share", "usr/share/man")
    made = [*(directory(one) for one in folders), *within(EDITOR, text)]
    for name in names:
        made += [file(f"usr/bin/{name}", name.encode()), file(f"usr/share/man/{name}.1")]
    return [
        *made,
        symlink("etc/alternatives/editor", f"/usr/bin/{chosen}"),
        symlink("etc/alternatives/editor.1", f"/usr/share/man/{chosen}.1"),
        symlink("usr/bin/editor", "/etc/alternatives/editor"),
        symlink("usr/share/man/editor.1", "/etc/alternatives/editor.1"),
    ]


@pytest.mark.parametrize(
    ("above", "state", "new", "chosen"),
    [
        (60, "auto", ("nano", 40), "vim"),
        (60, "auto", ("nano", 70), "nano"),
        (30, "auto", ("nano", 41), "vim"),
        (30, "manual", ("nano", 40), "vim"),
        (60, "auto", ("joe", 70), "joe"),
    ],
    ids=["image's is best", "new base's is best", "link by hand", "by hand", "new base's another"],
)
def test_choices_of_both_sides(
    above: int, state: str, new: tuple[str, int], chosen: str, tmp_path: Path
) -> None:
    """Those whose files are there; the best of them, unless somebody chose."""
    name, priority = new
    own = [
        file(EDITOR, group(("nano", 40), ("vim", above), state=state)),
        file("usr/bin/vim"),
        file("usr/share/man/vim.1"),
        symlink("etc/alternatives/editor", "/usr/bin/vim"),
        symlink("etc/alternatives/editor.1", "/usr/share/man/vim.1"),
    ]
    moved = place(
        tmp_path,
        editors(group(("nano", 40)), "nano", chosen="nano"),
        editors(group((name, priority)), name, chosen=name),
        own,
    )
    assert passes(moved).json["risks"] == []
    tree = apply_layers(read_image(moved.out).layers)
    assert tree.nodes[b"etc/alternatives/editor"].linkname == f"/usr/bin/{chosen}".encode()
    assert tree.nodes[b"etc/alternatives/editor.1"].linkname == f"/usr/share/man/{chosen}.1".encode()
    wanted = sorted([(name, priority), ("vim", above)])
    assert texts(moved)[EDITOR] == group(*wanted, state=state)


def test_a_choice_that_was_away_already_stays(tmp_path: Path) -> None:
    """The image's program was diverted: its group is as the image has it, with links that lead nowhere."""
    away = [one for one in editors(group(("ed", -100)), chosen="ed") if one.name != b"usr/bin/ed"]
    above = [*away, file("usr/bin/ed.distrib", b"ed")]
    moved = place(tmp_path, [file("a")], [file("b")], above)
    result = passes(moved)
    assert result.json["merged"] == []
    assert texts(moved)[EDITOR] == group(("ed", -100))


def test_a_group_that_the_new_base_dropped(tmp_path: Path) -> None:
    """The image's own choice stays, with its links."""
    own = editors(group(("nano", 40), ("vim", 60)), "vim", chosen="vim")
    moved = place(tmp_path, editors(group(("nano", 40)), "nano", chosen="nano"), [NOTHING], own)
    passes(moved, "--allow", "parent")
    tree = apply_layers(read_image(moved.out).layers)
    assert texts(moved)[EDITOR] == group(("vim", 60))
    assert tree.nodes[b"usr/bin/editor"].linkname == b"/etc/alternatives/editor"
    assert tree.nodes[b"etc/alternatives/editor"].linkname == b"/usr/bin/vim"


def test_a_file_in_the_place_of_a_link_stays(tmp_path: Path) -> None:
    """update-alternatives replaces no file, and what the image put there was not its link."""
    own = [
        file(EDITOR, group(("nano", 40), ("vim", 60))), file("usr/bin/vim"),
        file("usr/bin/editor", b"mine"), symlink("etc/alternatives/editor", "/usr/bin/vim"),
    ]  # fmt: skip
    old, new = (editors(group(("nano", number)), "nano", chosen="nano") for number in (40, 41))
    moved = place(tmp_path, old, new, own)
    passes(moved)
    assert texts(moved)["usr/bin/editor"] == b"mine"


def test_a_priority_that_is_no_number_of_a_machine(tmp_path: Path) -> None:
    """Such a file is left as it is."""
    own = group(("nano", 40)).replace(b"40", b"4" * 5000)
    text, _ = merged(EDITOR, group(("nano", 40)), own, group(("nano", 41)), tmp_path)
    assert text == own


@pytest.mark.parametrize(
    ("was", "name"), [(b"editor.1\n", b"../../usr\n"), (b"/usr/bin/editor\n", b"/usr/../bin\n")]
)
def test_names_that_lead_elsewhere(was: bytes, name: bytes, tmp_path: Path) -> None:
    """Nothing is hidden for a name that is none."""
    own = group(("nano", 40)).replace(was, name)
    old, new = (editors(group(("nano", number)), "nano", chosen="nano") for number in (40, 41))
    moved = place(tmp_path, old, new, [file(EDITOR, own)])
    passes(moved)
    assert texts(moved)[EDITOR] == own
    assert texts(moved)["usr/bin/nano"] == b"nano"


def test_a_group_that_nobody_changed_stays(tmp_path: Path) -> None:
    """The image deleted the program as people delete manual pages: nobody ran update-alternatives."""
    old, new = (editors(group(("nano", 40)), "nano", chosen="nano") for _ in range(2))
    moved = place(tmp_path, old, [*new, NOTHING], [whiteout("usr/bin/nano")])
    assert passes(moved).json["merged"] == []
    assert texts(moved)[EDITOR] == group(("nano", 40))


def test_an_order_that_means_nothing_stays(tmp_path: Path) -> None:
    """dpkg writes its diversions as its hashes fall: where the image has them all, its bytes stand."""
    path = "var/lib/dpkg/diversions"
    one, own, two = (f"/{name}\n/{name}.x\n:\n".encode() for name in ("a", "own", "b"))
    text, _ = merged(path, one + two, one + own + two, one + two, tmp_path)
    assert text == one + own + two


# --- the loader's cache -----------------------------------------------------------------------

CACHE = "etc/ld.so.cache"


def cache(*paths: str) -> bytes:
    """ldconfig's cache of these libraries, by an own writer: strings behind one another."""
    start = 48 + 24 * len(paths)
    strings, rows = b"", b""
    for path in sorted(paths, reverse=True):
        places = []
        for text in (path.rpartition("/")[2], "/" + path):
            places.append(start + len(strings))
            strings += text.encode() + b"\0"
        rows += struct.pack("<iIIIQ", 0x303, *places, 0, 0)
    head = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(paths), len(strings), 2, 0)
    return head + rows + strings


def listed(data: bytes | None) -> list[tuple[str, str]]:
    """The libraries of a cache, with where they are, in order."""
    assert data is not None
    found = []
    for at in range(struct.unpack_from("<I", data, 20)[0]):
        _, key, value, _, _ = struct.unpack_from("<iIIIQ", data, 48 + 24 * at)
        name, path = (data[one : data.index(b"\0", one)].decode() for one in (key, value))
        found.append((name, path))
    return found


def test_libraries_of_both_sides(tmp_path: Path) -> None:
    """Those of the new base, less what the image removed, and the image's own; sorted as ldconfig sorts,
    the last first, runs of digits as numbers. What is not there is not listed."""
    names = ("libc.so.6", "libz.so.1", "libgone.so.1", "libx.so.9", "libx.so.10", "libapp.so.1")
    c, z, gone, x9, x10, own = (f"lib/{name}" for name in names)

    def libraries(*paths: str) -> list[Member]:
        made = [directory("lib"), directory("etc"), file(CACHE, cache(*paths))]
        return [*made, *(file(path, path.encode()) for path in paths)]

    above = [file(CACHE, cache(c, gone, own, "lib/missing.so")), file(own), whiteout(z)]
    moved = place(tmp_path, libraries(c, z, gone), libraries(c, z, x9, x10), above)
    assert passes(moved).json["risks"] == []
    expected = [(path.removeprefix("lib/"), f"/{path}") for path in (x10, x9, c, own)]
    assert listed(texts(moved)[CACHE]) == expected


def test_a_library_in_two_folders(tmp_path: Path) -> None:
    """Both are listed, the one first that the image's loader finds first."""
    own, z = "opt/libz.so.1", "lib/libz.so.1"
    bases = [[directory("lib"), file(z), *within(CACHE, cache(z)), file(name)] for name in ("a", "b")]
    above = [directory("opt"), file(own), file(CACHE, cache(own, z))]
    moved = place(tmp_path, *bases, above)
    assert passes(moved).json["risks"] == []
    both = [("libz.so.1", f"/{own}"), ("libz.so.1", f"/{z}")]
    assert listed(texts(moved)[CACHE]) == both


@pytest.mark.parametrize("data", [b"", b"ld.so-1.7.0" + bytes(40), cache("lib/x")[:60], bytes(48)])
def test_a_cache_of_another_form_is_left(data: bytes, tmp_path: Path) -> None:
    """Nothing is guessed: the layer's stays."""
    own = cache("lib/own")
    text, _ = merged(CACHE, cache("lib/a"), own, data, tmp_path)
    assert text == own


# --- certificates -----------------------------------------------------------------------------

BUNDLE, CONF = "etc/ssl/certs/ca-certificates.crt", "etc/ca-certificates.conf"


def authorities(*names: str) -> list[Member]:
    """Certificates as the package has them, and the bundle and links that update-ca-certificates makes."""
    folders = ("etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/share", "usr/share/ca-certificates")
    made: list[Member] = [directory(one) for one in folders]
    for name in names:
        made += [
            file(f"usr/share/ca-certificates/{name}.crt", f"cert {name}\n".encode()),
            symlink(f"etc/ssl/certs/{name}.pem", f"/usr/share/ca-certificates/{name}.crt"),
        ]
    conf = "".join(f"{name}.crt\n" for name in names).encode()
    bundle = "".join(f"cert {name}\n" for name in names).encode()
    return [*made, file(CONF, conf), file(BUNDLE, bundle)]


def test_a_bundle_of_both_sides(tmp_path: Path) -> None:
    """The new base's, the image's own at the end; the link to one that the new base dropped goes."""
    local = "usr/local/share/ca-certificates"
    above = [
        *(directory(one) for one in ("usr/local", "usr/local/share", local)),
        file(f"{local}/own.crt", b"own"),
        file(BUNDLE, b"cert a\ncert b\nown\n"),
        *(symlink(f"etc/ssl/certs/{name}.pem", f"/usr/share/ca-certificates/{name}.crt") for name in "ab"),
        symlink("etc/ssl/certs/own.pem", f"/{local}/own.crt"),
    ]
    moved = place(tmp_path, authorities("a", "b"), authorities("b", "c"), above)
    assert passes(moved).json["risks"] == []
    found = texts(moved)
    assert found[BUNDLE] == b"cert b\ncert c\nown\n"
    names = {path.rpartition("/")[2] for path in found if path.startswith("etc/ssl/certs/")}
    assert names == {"b.pem", "c.pem", "own.pem", "ca-certificates.crt"}


def test_a_certificate_that_the_image_does_not_want(tmp_path: Path) -> None:
    """It was in no old base, so the image upgraded to it, and then took it out: it stays out, with the link
    by its hash."""
    new = [*authorities("a", "c"), symlink("etc/ssl/certs/0123.0", "c.pem")]
    above = [
        file(CONF, b"a.crt\n!c.crt\n"),
        file("usr/share/ca-certificates/c.crt", b"cert c\n"),
        file("x"),
    ]
    moved = place(tmp_path, authorities("a"), new, [*above, file(BUNDLE, b"cert a\n", mode=0o600)])
    assert passes(moved).json["risks"] == []
    found = texts(moved)
    assert (found[BUNDLE], found[CONF]) == (b"cert a\n", b"a.crt\n!c.crt\n")
    names = {path.rpartition("/")[2] for path in found if path.startswith("etc/ssl/certs/")}
    assert names == {"a.pem", "ca-certificates.crt"}


def test_a_bundle_that_somebody_made_is_left(tmp_path: Path) -> None:
    """It is not what the configuration makes."""
    moved = place(tmp_path, authorities("a"), authorities("b"), [file(BUNDLE, b"mine")])
    assert passes(moved).json["merged"] == []
    assert texts(moved)[BUNDLE] == b"mine"


# --- old content ------------------------------------------------------------------------------

BUG, FIX = bytes(2000) + b"bug", bytes(3000) + b"fix"


def packaged(version: str, data: bytes, *names: str) -> list[Member]:
    """A base with a package of programs of this content, names of one file."""
    first, *others = names
    made = base(version, dict.fromkeys(names, data))
    links = {name.encode() for name in others}
    kept = [one for one in made if one.name not in links]
    return [*kept, *(hardlink(name, first) for name in others)]


def test_old_content_gives_way(tmp_path: Path) -> None:
    """The file has the new base's content and the image's mode and owner; no layer has the old content;
    both of two names are one file."""
    names = "usr/bin/a", "usr/bin/b"
    chmod = [file(names[0], BUG, mode=0o700, uid=7), hardlink(names[1], names[0], mode=0o700, uid=7)]
    moved = place(
        tmp_path, packaged("1", BUG, *names), packaged("2", FIX, *names), [*chmod, file("own")], [file("x")]
    )
    stops(moved, "content")
    result = passes(moved, "--take-new", "content")
    assert result.json["remade_layers"] == [0]
    assert [(one["path"], one["kind"], one["from"]) for one in result.json["merged"]] == [
        (name, "content", "new base") for name in names
    ]
    image = read_image(moved.out)
    assert not any(BUG in layer for layer in image.layers)
    tree = apply_layers(image.layers)
    nodes = [tree.nodes[name.encode()] for name in names]
    assert [(node.content, node.mode, node.uid) for node in nodes] == [(FIX, 0o700, 7)] * 2
    assert members(image.layers[-1])[names[1]].islnk()


def test_symlinks_of_the_old_base_give_way_too(tmp_path: Path) -> None:
    """A chown -R copies them: the loader would follow the old one to a file that is gone."""
    names = "usr/bin/l.so.1", "usr/bin/l.so"

    def with_link(version: str, data: bytes) -> list[Member]:
        made = base(version, {f"{names[0]}.{version}": data, names[1]: b""})
        return [*(m for m in made if m.name != names[1].encode()), symlink(names[1], f"l.so.1.{version}")]

    above = [symlink(names[1], "l.so.1.1", uid=7), file("own")]
    moved = place(tmp_path, with_link("1", BUG), with_link("2", FIX), above)
    (risk,) = stops(moved, "content").json["risks"]
    assert (risk["path"], risk["old"], risk["new"]) == (
        names[1],
        "a symlink to l.so.1.1",
        "a symlink to l.so.1.2",
    )
    passes(moved, "--take-new", "content")
    node = apply_layers(read_image(moved.out).layers).nodes[names[1].encode()]
    assert (node.linkname, node.uid) == (b"l.so.1.2", 7)


def test_content_without_attributes_of_its_own_needs_nothing(tmp_path: Path) -> None:
    """Where a step wrote a file as it was, the new base's is seen, and no layer is added."""
    moved = place(
        tmp_path,
        packaged("1", BUG, "usr/bin/a"),
        packaged("2", FIX, "usr/bin/a"),
        [file("usr/bin/a", BUG), file("own")],
    )
    result = passes(moved, "--take-new", "content")
    assert result.json["merged"] == []
    assert texts(moved)["usr/bin/a"] == FIX


def test_content_that_the_new_base_has_no_more_goes(tmp_path: Path) -> None:
    """As a rebuild would not have it either."""
    moved = place(
        tmp_path,
        packaged("1", BUG, "usr/bin/a"),
        packaged("2", FIX, "usr/bin/c"),
        [file("usr/bin/a", BUG, mode=0o700), file("own")],
    )
    passes(moved, "--take-new", "content")
    assert "usr/bin/a" not in texts(moved)


@pytest.mark.parametrize("step", ["COPY bin /usr/bin", "/bin/sh -c #(nop) ADD file:0123 in /usr/bin"])
def test_what_was_copied_in_stays_an_error(step: str, tmp_path: Path) -> None:
    """A rebuild copies it again."""
    history = [{"created_by": "base"}, {"created_by": step}]
    moved = place(
        tmp_path,
        packaged("1", BUG, "usr/bin/a"),
        packaged("2", FIX, "usr/bin/a"),
        [file("usr/bin/a", BUG)],
        app_config={"history": history},
    )
    refused = moved.run("--take-new", "content")
    assert refused.code == 3
    assert [risk["kind"] for risk in refused.json["risks"] if risk["stops"]] == ["content"]


def test_what_was_copied_in_and_touched_by_a_later_step_stays(tmp_path: Path) -> None:
    """COPY x, RUN chmod x: a rebuild copies the same again."""
    history = [{"created_by": text} for text in ("base", "COPY a /usr/bin/a", "RUN chmod 700 /usr/bin/a")]
    moved = place(
        tmp_path, packaged("1", BUG, "usr/bin/a"), packaged("2", FIX, "usr/bin/a"),
        [file("usr/bin/a", BUG)], [file("usr/bin/a", BUG, mode=0o700)], app_config={"history": history},
    )  # fmt: skip
    assert moved.run("--take-new", "content").code == 3


def test_another_owner_takes_the_setuid_bit_away(tmp_path: Path) -> None:
    """The image changed the owner alone, and the new base made it setuid: chown(2) clears that."""
    new = [
        file("usr/bin/a", FIX, mode=0o4755) if one.name == b"usr/bin/a" else one
        for one in packaged("2", FIX, "usr/bin/a")
    ]
    moved = place(
        tmp_path, packaged("1", BUG, "usr/bin/a"), new, [file("usr/bin/a", BUG, uid=7), file("x")]
    )
    passes(moved, "--take-new", "content")
    node = apply_layers(read_image(moved.out).layers).nodes[b"usr/bin/a"]
    assert (node.content, oct(node.mode), node.uid) == (FIX, "0o755", 7)


def test_a_file_that_another_name_of_the_image_shares_stays(tmp_path: Path) -> None:
    """The other name links to it: without the file it could not be unpacked."""
    moved = place(
        tmp_path,
        packaged("1", BUG, "usr/bin/a"),
        packaged("2", FIX, "usr/bin/a"),
        [file("usr/bin/a", BUG, mode=0o700), hardlink("usr/bin/own", "usr/bin/a")],
    )
    assert moved.run("--take-new", "content").code == 3


# --- next month -------------------------------------------------------------------------------


def test_from_base_to_base_to_base(tmp_path: Path) -> None:
    """Two rebases give the layers of one: the layer of the first is made anew, not stacked upon."""
    names = ("old", "mid", "new")
    contents = dict(zip(names, (BUG, FIX, FIX + b"2"), strict=True))
    above = [
        file(STATUS, status(A1, APP)),
        file(f"{INFO}/app.list", b"/.\n"),
        file("usr/bin/a", BUG, mode=0o700),
        *within("etc/passwd", passwd(app=500)),
    ]
    bases = {
        name: [
            *base(str(number), {"usr/bin/a": contents[name]}, postinst=name.encode()),
            *within("etc/passwd", passwd(**{f"u{one}": one for one in range(1, number)})),
        ]
        for number, name in enumerate(names, 1)
    }
    first = place(tmp_path, bases["old"], bases["mid"], above)
    passes(first, "--take-new", "content")
    (tmp_path / "direct").mkdir()
    direct = place(tmp_path / "direct", bases["old"], bases["new"], above)
    passes(direct, "--take-new", "content")
    words = ("--old-base", tmp_path / "new.tar", "--new-base", tmp_path / "direct" / "new.tar")
    again = run("rebase", first.out, *words, "-t", "app:3", "-o", tmp_path / "again.tar", "--check")
    assert again.code == 0, again.err
    assert read_image(tmp_path / "again.tar").layers == read_image(direct.out).layers
    texts_now = texts(direct)
    assert texts_now["usr/bin/a"] == FIX + b"2"
    assert texts_now[STATUS] == status(A3, APP)


@pytest.mark.parametrize("squash", [(), ("--squash",)], ids=["", "squash"])
def test_what_the_image_removed_and_brought_is_remembered(squash: tuple[str, ...], tmp_path: Path) -> None:
    """The base between lacks what the image removed, and has what it brought: the last one has the one
    again, and no more the other. All is as in one step."""
    users = {"old": passwd(gone=9), "mid": passwd(app=500), "new": passwd(gone=9)}
    lists = {"old": status(A1, B1), "mid": status(A1, APP), "new": status(A2, stanza("b", "2"))}
    both = directory("usr"), directory("usr/bin")
    app = [directory(INFO), file(f"{INFO}/app.list", b"/usr/bin/app\n"), file("usr/bin/app", BUG)]
    bases = {}
    for name in lists:
        made = [*both, file("n", name.encode()), *within(STATUS, lists[name])]
        bases[name] = [*made, *within("etc/passwd", users[name]), *(app if name == "mid" else ())]
    above = [file(STATUS, status(A1, APP)), file("etc/passwd", passwd(app=500)), *both, *app]
    history = {"history": [{"created_by": "base"}, {"created_by": "RUN make"}]}
    first = place(tmp_path, bases["old"], bases["mid"], above, app_config=history)
    passed = first.run("--check", *squash)
    assert passed.code == 0, passed.err
    (tmp_path / "direct").mkdir()
    direct = place(tmp_path / "direct", bases["old"], bases["new"], above, app_config=history)
    assert direct.run("--check", *squash).code == 0
    words = ("--old-base", tmp_path / "new.tar", "--new-base", tmp_path / "direct" / "new.tar")
    again = run("rebase", first.out, *words, *squash, "-t", "app:3", "-o", tmp_path / "again.tar")
    assert again.code == 0, again.err
    found = apply_layers(read_image(tmp_path / "again.tar").layers)
    expected = apply_layers(read_image(direct.out).layers)
    for path in (STATUS, "etc/passwd", "usr/bin/app"):
        assert found.nodes[path.encode()].content == expected.nodes[path.encode()].content, path
    assert found.nodes[STATUS.encode()].content == status(A2, APP)
    assert found.nodes[b"etc/passwd"].content == passwd(app=500)


def test_a_merge_into_one_layer(tmp_path: Path) -> None:
    """With --squash no layer holds a stale database."""
    moved = place(
        tmp_path,
        within(STATUS, status(A1)),
        within(STATUS, status(A2)),
        [file(STATUS, status(A1, APP))],
        [NOTHING],
    )
    result = moved.run("--squash", "--check")
    assert result.code == 0, result.err
    image = read_image(moved.out)
    assert len(image.layers) == 2
    assert not any(A1.encode() in layer for layer in image.layers)
    assert texts(moved)[STATUS] == status(A2, APP)


def test_a_later_rebase_may_merge_nothing(tmp_path: Path) -> None:
    """Then what the first one merged is gone, and what the layers have is told."""
    above = [file(STATUS, status(A1, APP))]
    first = place(tmp_path, within(STATUS, status(A1)), within(STATUS, status(A2)), above)
    passes(first)
    (tmp_path / "next").mkdir()
    third = place(tmp_path / "next", [NOTHING], within(STATUS, status(A3)), [])
    words = ("--old-base", tmp_path / "new.tar", "--new-base", third.folder / "new.tar", "--merge", "none")
    done = run("rebase", first.out, *words, "-t", "app:3", "-o", tmp_path / "out3.tar", "--json")
    assert done.code == 0, done.err
    assert [risk["kind"] for risk in done.json["risks"]] == ["packages"]
    assert done.json["merged"] == []


def test_an_upgrade_that_was_removed_again_is_no_lower_version(tmp_path: Path) -> None:
    """Nothing of it is installed."""
    left = stanza("a", "2", Status="deinstall ok config-files")
    text, result = merged(STATUS, status(A1), status(left, APP), status(A3), tmp_path)
    assert text == status(left, APP)
    assert result.json["risks"] == []


def test_nothing_is_merged_that_nobody_touched(tmp_path: Path) -> None:
    """Layers without a database get no further layer; with --merge none no image does."""
    bases = within(STATUS, dpkg(a="1")), within(STATUS, dpkg(a="2"))
    assert passes(place(tmp_path, *bases, [NOTHING])).json["merged"] == []
    own = dpkg(a="1", b="1")
    moved = place(tmp_path, *bases, [file(STATUS, own)])
    assert passes(moved, "--force", "--merge", "none").json["merged"] == []
    assert texts(moved)[STATUS] == own


def test_a_folder_that_a_layer_lists_follows_the_new_base(tmp_path: Path) -> None:
    """Its mode, owner and xattrs, but for what the image changed; another rebase goes on from there."""
    old = [directory(name, mode=0o755) for name in "def"]
    new = [*(directory(name, mode=0o700, uid=3) for name in "de"), directory("f", mode=0o755)]
    own = [directory(name, mode=0o770) for name in "ef"]
    above = [directory("d", mode=0o755), file("d/y"), *own]
    moved = place(tmp_path, old, new, above)
    assert [(one["path"], one["kind"], one["from"]) for one in passes(moved).json["merged"]] == [
        ("d", "content", "new base"),
        ("e", "content", "both"),
    ]
    found = members(read_image(moved.out).layers[-1])
    assert {name: (one.isdir(), one.mode, one.uid) for name, one in found.items()} == {
        "d": (True, 0o700, 3),
        "e": (True, 0o770, 3),
    }
    assert passes(moved, "--force", "--merge", "none").json["merged"] == []
    passes(moved, "--force")
    (tmp_path / "back").mkdir()
    back = place(tmp_path / "back", old, [], [])
    words = ("--old-base", tmp_path / "new.tar", "--new-base", f"{back.folder}/app.tar:old:1")
    done = run("rebase", moved.out, *words, "-t", "app:3", "-o", tmp_path / "again.tar")
    assert done.code == 0, done.err
    assert list(read_image(tmp_path / "again.tar").layers) == moved.app.layers


def test_a_folder_that_the_layers_emptied(tmp_path: Path) -> None:
    """What the new base has more there is told; not where the layers left something, nor in folders of what
    is made anew."""
    folders = [directory(name) for name in ("etc", "etc/d", "etc/e", "tmp", "tmp/d")]
    files = [file(f"{name}/{one}") for name in ("etc/d", "etc/e", "tmp/d") for one in "ab"]
    more = [file(f"{name}/new") for name in ("etc/d", "etc/e", "tmp/d")]
    gone = [
        *(whiteout(f"{name}/{one}") for name in ("etc/d", "tmp/d") for one in "ab"),
        whiteout("etc/e/a"),
    ]
    moved = place(tmp_path, [*folders, *files], [*folders, *files, *more], [*gone, file("etc/d/own")])
    (risk,) = passes(moved).json["risks"]
    assert (risk["kind"], risk["severity"], risk["path"], risk["new"]) == (
        "parent",
        "warning",
        "etc/d",
        "/etc/d/new",
    )


def test_a_layer_that_only_its_step_calls_merged(tmp_path: Path) -> None:
    """What a rebase merged is known by the history and by the layer's diff_id: a layer of somebody's own
    under such a step stays, and what it has is merged."""
    step = {"created_by": "squashkit rebase: merged packages"}
    history = {"history": [{"created_by": "base"}, step]}
    bases = within(STATUS, dpkg(a="1")), within(STATUS, dpkg(a="2"))
    own = [file(STATUS, dpkg(a="1", b="1")), file("own", b"x")]
    moved = place(tmp_path, *bases, own, app_config=history)
    passes(moved)
    assert (texts(moved)[STATUS] or b"").split() == dpkg(a="2", b="1").split()
    assert texts(moved)["own"] == b"x"


def test_a_symlink_on_the_way_to_the_database(tmp_path: Path) -> None:
    """What lies behind it is not merged, and that is told."""
    bases = within(STATUS, dpkg(a="1")), within(STATUS, dpkg(a="2"))
    own = [whiteout("var/lib/dpkg"), *within("srv/dpkg/status", dpkg(a="1", b="1"))]
    moved = place(tmp_path, *bases, own, [symlink("var/lib/dpkg", "/srv/dpkg")])
    (risk,) = passes(moved).json["risks"]
    assert (risk["kind"], risk["severity"], risk["old"]) == ("packages", "warning", "/srv/dpkg/status")
