"""The change that each waste calls for: its kind, its number, its words, and where in the Dockerfile."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from squashkit.plan.waste.dockerfile import parse_dockerfile
from squashkit.plan.waste.mends import find_mends
from squashkit.plan.waste.model import Cause, DeadFile, Finding, Kind, Mend, Step

HASH = "7b9b37f6caed4b6959ff545d7725f82a3667be488aed403e3a940fe8bd49a743"
MB = 1_000_000
INSTALL, CLEAN = (
    "RUN /bin/sh -c dnf install -y nginx # buildkit",
    "RUN /bin/sh -c rm -rf /var/cache/dnf # buildkit",
)


def steps(*created_by: str, base: int = 0) -> list[Step]:
    """Steps of an image, of which the first are the base's."""
    return [Step(n, one, n < base) for n, one in enumerate(created_by)]


def dead(layer: int, by: int, cause: Cause = Cause.DELETED, path: bytes = b"srv/x") -> DeadFile:
    """A dead file of a megabyte, with its header."""
    moved_to = b"opt/y" if cause is Cause.MOVED else None
    return DeadFile(path, MB, MB + 512, layer, by, cause, (), moved_to)


def owned(layer: int, by: int, *changed: str) -> DeadFile:
    """One whose attributes were changed."""
    return dead(layer, by, Cause.ATTRIBUTES)._replace(changed=changed)


def found(kind: Kind, layer: int, path: bytes, mend: str = "Do it.") -> Finding:
    return Finding("rule", 5 * MB, layer, (path,), "It is not needed.", mend, kind)


def one_mend(history: Sequence[Step], *files: DeadFile, text: str | None = None) -> Mend:
    """The only mend of these dead files."""
    (mend,) = find_mends(history, files, [], None if text is None else parse_dockerfile(text))
    return mend


# --- joins -------------------------------------------------------------------------------------


def test_what_one_run_leaves_and_another_deletes() -> None:
    """Both steps by their whole commands, and the bytes of all files of the pair."""
    history = steps("ADD rootfs /", INSTALL, "RUN /bin/sh -c x # buildkit", CLEAN, base=1)
    mend = one_mend(history, dead(1, 3), dead(1, 3, Cause.OVERWRITTEN), dead(1, 3))
    assert mend == Mend(
        Kind.JOIN,
        (1, 3),
        3 * (MB + 512),
        "Join steps 1 and 3 (-3.0 MB): what `dnf install -y nginx` leaves,"
        " `rm -rf /var/cache/dnf` deletes too late.",
    )


def test_each_pair_has_its_own() -> None:
    """The largest first."""
    history = steps(INSTALL, CLEAN, CLEAN)
    mends = find_mends(history, [dead(0, 1), dead(0, 2), dead(0, 2), dead(1, 2)], [])
    assert [one.layers for one in mends] == [(0, 2), (0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("file", "verb"),
    [
        (owned(0, 1, "owner"), "changes"),
        (owned(0, 1, "mode"), "changes"),
        (dead(0, 1, Cause.MOVED), "moves"),
        (dead(0, 1, Cause.OVERWRITTEN), "overwrites"),
    ],
)
def test_what_runs_do_to_each_other_is_a_join(file: DeadFile, verb: str) -> None:
    """Joined, a file is stored once, as it is in the end."""
    mend = one_mend(steps(INSTALL, CLEAN), file)
    assert (mend.kind, mend.size) == (Kind.JOIN, MB + 512)
    assert f"`rm -rf /var/cache/dnf` {verb} too late" in mend.text


FILE = """\
FROM fedora
# the server
RUN dnf install -y nginx

# nothing of it is needed again
RUN rm -rf /var/cache/dnf
COPY a b /srv
RUN chown -R 7:8 /srv
"""


def test_adjacent_runs_are_joined_by_a_diff(tmp_path: Path) -> None:
    """The real patch applies it; the line is that of the first."""
    history = steps("ADD rootfs /", INSTALL, CLEAN, "COPY a b /srv # buildkit", base=1)
    mend = one_mend(history, dead(1, 2), text=FILE)
    assert mend.line == 3
    assert mend.diff is not None
    (tmp_path / "Dockerfile").write_text(FILE)
    subprocess.run(["patch", "-p0", "-s"], input=mend.diff.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "Dockerfile").read_text() == (
        "FROM fedora\n# the server\nRUN dnf install -y nginx && \\\n# nothing of it is needed again\n"
        "    rm -rf /var/cache/dnf\nCOPY a b /srv\nRUN chown -R 7:8 /srv\n"
    )


def test_runs_with_others_between_them_have_lines_alone() -> None:
    """What stands between them may need the first or be needed by the second."""
    run = "RUN /bin/sh -c chown -R 7:8 /srv # buildkit"
    mend = one_mend(
        steps("x", INSTALL, CLEAN, "COPY a b /srv # buildkit", run, base=1), dead(2, 4), text=FILE
    )
    assert (mend.line, mend.diff) == (6, None)


def test_the_dockerfile_of_another_image_says_nothing() -> None:
    """The mend is the same as without it."""
    history, text = steps("x", INSTALL, CLEAN, base=1), "FROM x\nRUN a\nRUN b\nRUN c\n"
    assert one_mend(history, dead(1, 2), text=text) == one_mend(history, dead(1, 2))


# --- copies ------------------------------------------------------------------------------------

COPY, CHOWN = "COPY a b /srv # buildkit", "/bin/sh -c chown -R app:app /srv && chmod 750 /srv/x"


@pytest.mark.parametrize(
    ("changed", "kind", "flags"),
    [
        (("owner",), Kind.CHOWN, "`COPY --chown=app:app`"),
        (("mode",), Kind.CHMOD, "`COPY --chmod=750`"),
        (("mode", "owner"), Kind.CHOWN, "`COPY --chown=app:app --chmod=750`"),
        (("owner", "xattrs"), Kind.CHOWN, "`COPY --chown=app:app`"),
    ],
)
def test_attributes_belong_into_the_copy(changed: tuple[str, ...], kind: Kind, flags: str) -> None:
    """With the owner and mode that the later step gives, where it names them."""
    mend = one_mend(steps("x", COPY, CHOWN, base=1), owned(1, 2, *changed))
    assert (mend.kind, mend.size, mend.layers) == (kind, MB + 512, (1, 2))
    assert mend.text.startswith(f"Step 1, `COPY a b /srv`: write {flags} for /srv/x (-1.0 MB).")


@pytest.mark.parametrize(
    ("copy", "chmod"),
    [
        ("COPY model.bin /srv/", "RUN chmod 755 /srv/model.bin"),
        ("/bin/sh -c COPY model.bin /srv/", "/bin/sh -c RUN chmod 755 /srv/model.bin"),
        ("/bin/sh -c #(nop) COPY model.bin /srv/", "/bin/sh -c chmod 755 /srv/model.bin"),
    ],
)
def test_no_join_of_a_copy_however_the_history_spells_it(copy: str, chmod: str) -> None:
    """The mode belongs into the copy."""
    mend = one_mend(steps(copy, chmod), owned(0, 1, "mode"))
    assert (mend.kind, mend.size) == (Kind.CHMOD, MB + 512)
    assert mend.text.startswith("Step 0, `COPY model.bin /srv/`: write `COPY --chmod=755` for /srv/x")


def test_an_owner_that_the_history_does_not_name_is_left_open() -> None:
    """So is a mode that is no number."""
    mend = one_mend(steps(COPY, "RUN setup"), owned(0, 1, "owner", "mode"))
    assert "`COPY --chown=… --chmod=…`" in mend.text


def test_attributes_are_those_that_the_files_have_in_the_end() -> None:
    """A mode by letters becomes a number, a user alone gets the group; where files differ, it is open."""
    (copy, mode, owner) = (COPY, "RUN chmod u+x /srv/x", "RUN chown app /srv/x")
    one = owned(0, 1, "mode")._replace(mode=0o744, owner=(0, 0))
    assert "--chmod=744`" in one_mend(steps(copy, mode), one).text
    assert "--chmod=…`" in one_mend(steps(copy, mode), one, one._replace(mode=0o755)).text
    one = owned(0, 1, "owner")._replace(mode=0o644, owner=(1000, 0))
    assert "--chown=1000:0`" in one_mend(steps(copy, owner), one).text
    named = owned(0, 1, "owner")._replace(owner=(1000, 1000))
    assert "--chown=app:app`" in one_mend(steps(copy, "RUN chown -R app:app /srv"), named).text


def test_extended_attributes_are_set_elsewhere() -> None:
    """No flag of COPY gives them."""
    mend = one_mend(steps(COPY, "RUN setcap x /srv/x"), owned(0, 1, "xattrs"))
    assert (mend.kind, mend.size) == (Kind.MULTI_STAGE, None)


@pytest.mark.parametrize("add", [f"/bin/sh -c #(nop) ADD file:{HASH} in / ", "ADD x.tar.gz / # buildkit"])
def test_add_may_unpack_and_then_has_no_number(add: str) -> None:
    """An owner is not given to what an archive holds."""
    mend = one_mend(steps(add, CHOWN), owned(0, 1, "owner"))
    assert (mend.kind, mend.size) == (Kind.CHOWN, None)
    assert one_mend(steps("ADD x /srv/ # buildkit", CHOWN), owned(0, 1, "owner")).size == MB + 512


def test_what_is_moved_is_copied_to_its_place() -> None:
    """At once, with the number."""
    mend = one_mend(steps(COPY, "RUN mv /srv/x /opt/y"), dead(0, 1, Cause.MOVED))
    assert (mend.kind, mend.size) == (Kind.REMOVE, MB + 512)
    assert "copy to /opt/y at once (-1.0 MB)" in mend.text


def test_what_is_written_again_is_left_out() -> None:
    """A copy has a number; what part of a RUN writes is not known."""
    mend = one_mend(steps(INSTALL, COPY), dead(0, 1, Cause.IDENTICAL))
    assert (mend.kind, mend.size) == (Kind.REMOVE, MB + 512)
    assert mend.text.startswith("Leave /srv/x out of step 1, `COPY a b /srv` (-1.0 MB)")
    assert one_mend(steps(COPY, INSTALL), dead(0, 1, Cause.IDENTICAL)).size is None


@pytest.mark.parametrize(
    ("copy", "said"),
    [
        ("COPY app.tgz /tmp/ # buildkit", "`RUN --mount=type=bind,source=app.tgz,target=/tmp/app.tgz …`"),
        ("COPY --from=build /app.tgz /tmp/", "type=bind,from=build,source=/app.tgz,target=/tmp/app.tgz"),
        (f"/bin/sh -c #(nop) COPY file:{HASH} in /tmp/ ", "Step 0, `COPY … /tmp/` (/tmp/app.tgz), stores"),
        ("ADD https://example.com/app.tar.gz /tmp/ # buildkit", "Download it in step 1 itself."),
        ("ADD app.tar.gz /tmp/ # buildkit", "Unpack it in a stage of its own"),
    ],
)  # fmt: skip
def test_what_is_copied_to_be_deleted_is_mounted(copy: str, said: str) -> None:
    """Without a number: it depends on what else needs it."""
    history = steps(copy, "RUN tar xf /tmp/app.tgz && rm /tmp/app.tgz")
    mend = one_mend(history, dead(0, 1, path=b"tmp/app.tgz"))
    assert (mend.kind, mend.size) == (Kind.MULTI_STAGE, None)
    assert said in mend.text


def test_a_hash_gives_way_to_the_words_of_the_dockerfile() -> None:
    """Where it has the step."""
    history = steps(f"/bin/sh -c #(nop) COPY file:{HASH} in /tmp/ ", "/bin/sh -c rm /tmp/a")
    mend = one_mend(history, dead(0, 1, path=b"tmp/a"), text="FROM scratch\nCOPY a /tmp/\nRUN rm /tmp/a\n")
    assert "Step 0, `COPY a /tmp/`, stores" in mend.text
    assert mend.line == 2


def test_what_dockerignore_is_for() -> None:
    """Deleted later or still there; not where it was copied from a stage."""
    history = steps(COPY, "RUN rm -rf /srv/.git", "COPY --from=build /x /y")
    mend = one_mend(history, dead(0, 1, path=b"srv/.git/pack"))
    assert (mend.kind, mend.size) == (Kind.IGNORE, None)
    assert "name .git in .dockerignore" in mend.text
    live = [found(Kind.REMOVE, layer, b"y/__pycache__/a.pyc") for layer in (0, 2)]
    assert [one.kind for one in find_mends(history, [], live)] == [Kind.IGNORE, Kind.REMOVE]


def test_what_a_copy_replaces() -> None:
    """Of another copy, or of a RUN."""
    assert one_mend(steps(COPY, COPY), dead(0, 1, Cause.OVERWRITTEN)).kind is Kind.REMOVE
    mend = one_mend(steps(INSTALL, COPY), dead(0, 1, Cause.OVERWRITTEN))
    assert (mend.kind, mend.size) == (Kind.REMOVE, None)
    assert mend.text.startswith("Step 0, `dnf install -y nginx`, leaves /srv/x (1.0 MB), which step 1,")
    assert "overwrites. A RUN and a COPY cannot be joined: let the RUN not write it" in mend.text


# --- the base, and steps that nobody knows -----------------------------------------------------


def test_files_of_the_base_stay() -> None:
    """No number: only another base is without them."""
    history = steps("ADD rootfs /", INSTALL, CHOWN, base=2)
    deleted, changed = (one_mend(history, one) for one in (dead(0, 2), owned(0, 2, "owner")))
    assert (deleted.kind, deleted.size, deleted.layers) == (Kind.MULTI_STAGE, None, (0, 2))
    assert (changed.kind, changed.size) == (Kind.CHOWN, None)
    assert "Only a base that has their owner right avoids it" in changed.text
    assert "dead in the base itself" in one_mend(history, dead(0, 1)).text


def test_steps_that_are_not_told_have_no_mend() -> None:
    """A layer without a history, one by a builder without a Dockerfile, and a path twice in one layer."""
    history = steps("", "bazel build //x", INSTALL, CLEAN)
    assert find_mends(history, [dead(0, 3), dead(1, 3), dead(2, 2), dead(2, 1)], []) == []


# --- files that live ---------------------------------------------------------------------------


def test_a_cache_is_mounted() -> None:
    """With its folder and its number; apt's with a lock, and what Debian does to it."""
    history = steps("x", "RUN /bin/sh -c apt-get install -y nginx # buildkit", base=1)
    (mend,) = find_mends(history, [], [found(Kind.CACHE_MOUNT, 1, b"var/cache/apt/archives/nginx.deb")])
    assert (mend.kind, mend.layers, mend.size) == (Kind.CACHE_MOUNT, (1,), 5 * MB)
    assert mend.text.startswith(
        "Step 1, `apt-get install -y nginx`: write"
        " `RUN --mount=type=cache,target=/var/cache/apt,sharing=locked …` (-5.0 MB). Do it."
    )
    assert "docker-clean" in mend.text
    (mend,) = find_mends(history, [], [found(Kind.CACHE_MOUNT, 1, b"root/.cache/pip/http/x")])
    assert "`RUN --mount=type=cache,target=/root/.cache/pip …`" in mend.text
    assert "docker-clean" not in mend.text


def test_other_findings_say_their_sentence() -> None:
    """Without a number; of the base, that it is the base's; those with a number come first, the base's
    last."""
    history = steps("ADD rootfs /", INSTALL, base=1)
    live = [
        found(Kind.REMOVE, 0, b"a"),
        found(Kind.NO_RECOMMENDS, 1, b"b"),
        found(Kind.CACHE_MOUNT, 1, b"c/d"),
    ]
    mends = find_mends(history, [], live)
    assert [(one.kind, one.size) for one in mends] == [
        (Kind.CACHE_MOUNT, 5 * MB), (Kind.NO_RECOMMENDS, None), (Kind.REMOVE, None),
    ]  # fmt: skip
    assert mends[1].text == "Step 1, `dnf install -y nginx`, leaves /b (5.0 MB). Do it."
    assert mends[2].text.startswith(
        "Step 0, `ADD rootfs /`, is of the base: only another base is without /a"
    )
    assert mends[2].text.endswith("(5.0 MB). It is not needed.")


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("base", [0, 1])
def test_no_value_of_a_build_argument_is_told(cause: Cause, base: int) -> None:
    """In no field of any mend, with a Dockerfile and without."""
    history = steps(
        "|1 TOKEN=secret /bin/sh -c a",
        "RUN |1 TOKEN=secret two /bin/sh -c chown secret /x # buildkit".replace(
            "chown secret", "chown app"
        ),
        "RUN |1 TOKEN=secret /bin/rm /x # buildkit",
        COPY,
        "|1 TOKEN=secret /bin/sh -c b",
        base=base,
    )
    files = [DeadFile(b"x", 1, 1, a, b, cause, ("owner",), b"y") for a in range(5) for b in range(a + 1, 5)]
    live = [found(kind, layer, b"x/y") for kind in Kind for layer in range(5)]
    text = 'FROM x\nARG TOKEN\nRUN a\nRUN chown app /x\nRUN ["/bin/rm", "/x"]\nCOPY a b /srv\nRUN b\n'
    for dockerfile in (None, parse_dockerfile(text)):
        mends = find_mends(history, files, live, dockerfile)
        assert mends
        assert "secret" not in repr(mends)


def test_commands_are_safe_for_a_terminal() -> None:
    """Signs that a terminal obeys are escaped."""
    mend = one_mend(steps("/bin/sh -c a \x1b[31m\u202e", CLEAN), dead(0, 1, path=b"\x1b"))
    assert mend.text.isprintable()


def test_what_a_step_does_already_is_not_advised() -> None:
    """Packages that come without their recommendations may bring a manual all the same."""
    history = steps("RUN apt-get install -y --no-install-recommends nginx", "RUN apt-get install -y nginx")
    live = [found(Kind.NO_RECOMMENDS, 0, b"a"), found(Kind.NO_RECOMMENDS, 1, b"b")]
    assert [one.layers for one in find_mends(history, [], live)] == [(1,)]
