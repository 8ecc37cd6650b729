"""Dockerfiles by their lines, which of them made an image's layers, and adjacent RUNs joined."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squashkit.errors import UsageError
from squashkit.plan.waste.dockerfile import Dockerfile, DockerInstruction, command_of, parse_dockerfile
from squashkit.plan.waste.join import join_diff, join_lines
from squashkit.plan.waste.match import match_steps
from squashkit.plan.waste.model import Step

HASH = "7b9b37f6caed4b6959ff545d7725f82a3667be488aed403e3a940fe8bd49a743"


def outline(text: str) -> list[tuple[str, int, int, str]]:
    """The instructions, their lines and what they are given, with single spaces."""
    found = parse_dockerfile(text).instructions
    return [(one.keyword, one.first, one.last, " ".join(one.text.split())) for one in found]


def runs(dockerfile: Dockerfile) -> list[DockerInstruction]:
    return [one for one in dockerfile.instructions if one.keyword == "RUN"]


# --- instructions ------------------------------------------------------------------------------


def test_lines_go_on() -> None:
    """Comments and empty lines between continued ones are passed over; keywords may be small."""
    text = "from debian as Build\nrun a && \\\n  # why\n\n  b \\  \n  c\n# end\nCMD\n"
    assert outline(text) == [
        ("FROM", 1, 1, "debian as Build"), ("RUN", 2, 6, "a && b c"), ("CMD", 8, 8, ""),
    ]  # fmt: skip
    assert parse_dockerfile(text).stages == (("debian", "build"),)


def test_line_ends_and_marks_are_kept() -> None:
    """A file of Windows, with the mark that editors put in front."""
    text = "\ufeff# escape=`\r\nFROM x\r\nRUN a `\r\n  b\\\r\n"
    found = parse_dockerfile(text)
    assert found.escape == "`"
    assert "".join(found.lines) == text
    assert outline(text)[1] == ("RUN", 3, 4, "a b\\")


def test_a_doubled_escape_does_not_go_on() -> None:
    """An escape before the escape at a line's end is a sign of the command."""
    assert outline("FROM x\nRUN a \\\\\nRUN b\n")[1:] == [("RUN", 2, 2, "a \\\\"), ("RUN", 3, 3, "b")]


def test_directives_end_with_the_first_other_line() -> None:
    """What looks like one after a comment is a comment."""
    assert parse_dockerfile("# syntax=docker/dockerfile:1\n#escape = `\nFROM x\n").escape == "`"
    assert parse_dockerfile("# a comment\n# escape=`\nFROM x\n").escape == "\\"


def test_flags_and_forms_are_told() -> None:
    """Flags of RUN, the exec form, and arguments before the first FROM."""
    text = "ARG V=1\nFROM --platform=linux/amd64 x:$V\n"
    text += 'RUN --mount=type=cache,target="/a b" --network=none a --b\n'
    text += 'RUN ["a", "b c"]\nSHELL ["/bin/bash", "-c"]\nRUN [ -e x ]\n'
    found = parse_dockerfile(text)
    assert found.stages == (("x:$V", ""),)
    one, two, three = runs(found)
    assert one.flags == ('--mount=type=cache,target="/a b"', "--network=none")
    assert (one.text, one.words, one.shell) == ("a --b", None, ("/bin/sh", "-c"))
    assert (two.words, three.words) == (("a", "b c"), None)
    assert three.shell == ("/bin/bash", "-c")


def test_here_documents_belong_to_their_instruction() -> None:
    """Several of one line, with `<<-`, with quoted names, and behind ONBUILD."""
    text = "FROM x\nRUN <<EOF\na\n RUN b\nEOF\nCOPY <<'A' <<-\"B\" /x\n1\nA\n\t2\n\tB\n"
    text += "ONBUILD RUN <<C cat\n3\nC\nRUN cat <<<x\n"
    found = parse_dockerfile(text)
    assert [(one.keyword, one.first, one.last) for one in found.instructions[1:]] == [
        ("RUN", 2, 5), ("COPY", 6, 10), ("ONBUILD", 11, 13), ("RUN", 14, 14),
    ]  # fmt: skip
    assert found.instructions[2].heredocs == (("A", "1\n"), ("B", "2\n"))
    assert command_of(found.instructions[1]) == "a\n RUN b\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM x\nRUNN a\n", "line 2: there is no instruction RUNN"),
        ("RUN a\n", "line 1: RUN stands before the first FROM"),
        ("FROM x\n\nRUN \\\n\n", "line 3: RUN takes an argument"),
        ("FROM x\nRUN <<E\na\n", "line 2: the here-document E has no end"),
        ("# escape=x\nFROM x\n", "line 1: the escape character is \\ or `"),
        ("# escape=`\n# escape=`\nFROM x\n", "line 2: the directive escape stands twice"),
        ("FROM x y\n", "line 1: FROM takes an image, and a name after AS"),
        ("FROM x\nSHELL sh -c\n", "line 2: SHELL takes a JSON list of words"),
        ("", "line 1: there is no FROM"),
    ],
)
def test_faults_are_told_with_their_line(text: str, said: str) -> None:
    """One clear line each."""
    with pytest.raises(UsageError) as error:
        parse_dockerfile(text, "app/Dockerfile")
    assert str(error.value) == f"app/Dockerfile, {said}"


@given(st.text("FROMRUNCPY x\\\n#<E'\"[]&`\r", max_size=80))
def test_any_text_is_read_or_refused(rest: str) -> None:
    """Nothing but UsageError is raised, no line is lost, and instructions stand one after the other."""
    text = f"FROM x\n{rest}"
    try:
        found = parse_dockerfile(text)
    except UsageError:
        return
    assert "".join(found.lines) == text
    numbers = [number for one in found.instructions for number in (one.first, one.last)]
    assert numbers == sorted(numbers)


# --- whose layers they made --------------------------------------------------------------------

FILE = """\
FROM golang AS build
WORKDIR /src
COPY . .
RUN go build -o /out

FROM debian:12
ARG PLACE=/srv
RUN apt-get update && \\
    apt-get install -y nginx
WORKDIR /app
COPY --from=build /out bin/
COPY conf $PLACE/conf
RUN ["/bin/rm", "/x"]
RUN make
"""


def lines_of(
    created_by: Sequence[str], text: str = FILE, base: int = 1
) -> tuple[dict[int, int], tuple[int, ...], bool]:
    """The lines of the layers, those that have none, and whether the file is another image's."""
    steps = [Step(n, one, n < base) for n, one in enumerate(["ADD rootfs /"] * base + list(created_by))]
    found = match_steps(parse_dockerfile(text), steps)
    return {layer: one.first for layer, one in found.instructions.items()}, found.missing, found.is_other


BUILDKIT = [
    "RUN |1 PLACE=/srv /bin/sh -c apt-get update &&     apt-get install -y nginx # buildkit",
    "WORKDIR /app",
    "COPY /out bin/ # buildkit",
    "COPY conf /srv/conf # buildkit",
    "RUN |1 PLACE=/srv /bin/rm /x # buildkit",
    "RUN |1 PLACE=/srv /bin/sh -c make # buildkit",
]
CLASSIC = [
    "|1 PLACE=/srv /bin/sh -c apt-get update &&     apt-get install -y nginx",
    "/bin/sh -c #(nop) WORKDIR /app",
    f"/bin/sh -c #(nop) COPY file:{HASH} in bin/ ",
    f"/bin/sh -c #(nop) COPY dir:{HASH} in /srv/conf ",
    "/bin/rm /x",
    "/bin/sh -c make",
]
BUILDAH = [
    "/bin/sh -c apt-get update &&     apt-get install -y nginx",
    "/bin/sh -c #(nop) WORKDIR /app",
    f"/bin/sh -c #(nop) COPY dir:{HASH} in /app/bin/ ",
    f"/bin/sh -c #(nop) COPY dir:{HASH} in /srv/conf ",
    '/bin/sh -c ["/bin/rm", "/x"]',
    "/bin/sh -c make",
]
KANIKO = [
    "RUN apt-get update &&     apt-get install -y nginx",
    "WORKDIR /app",
    "COPY --from=build /out bin/",
    "COPY conf $PLACE/conf",
    "RUN /bin/rm /x",
    "RUN make",
]


@pytest.mark.parametrize(
    "created_by", [BUILDKIT, CLASSIC, BUILDAH, KANIKO], ids=["BuildKit", "docker", "buildah", "kaniko"]
)
def test_steps_are_found_in_the_last_stage(created_by: list[str]) -> None:
    """By command and destination, whatever the builder wrote around them, with and without a known base."""
    wanted = {1: 8, 2: 10, 3: 11, 4: 12, 5: 13, 6: 14}
    assert lines_of(created_by) == (wanted, (), False)
    found, _, is_other = lines_of(created_by, base=0)
    assert (found, is_other) == ({layer - 1: line for layer, line in wanted.items()}, False)


def test_a_stage_that_fits_better_is_taken() -> None:
    """An image may be one of an earlier stage, or stand on one."""
    built = ["WORKDIR /src", "COPY . . # buildkit", "RUN /bin/sh -c go build -o /out # buildkit"]
    assert lines_of(built) == ({1: 2, 2: 3, 3: 4}, (), False)
    text = FILE.replace("FROM debian:12", "FROM Build")
    assert lines_of([*built, *BUILDKIT], text)[0] == dict(
        zip(range(1, 10), [2, 3, 4, 8, 10, 11, 12, 13, 14], strict=True)
    )


def test_steps_without_a_line_are_told() -> None:
    """A step that the file does not have, and a file of another image."""
    found, missing, is_other = lines_of([*BUILDKIT, "RUN /bin/sh -c other # buildkit"])
    assert (len(found), missing, is_other) == (6, (7,), False)
    other = ["RUN /bin/sh -c make # buildkit", "RUN /bin/sh -c b # buildkit", "COPY x /y # buildkit"]
    assert lines_of(other) == ({}, (1, 2, 3), True)
    assert lines_of(["bazel build"]) == ({}, (), True)


# --- joined ------------------------------------------------------------------------------------


def joined(text: str) -> str | None:
    """The file in which its first RUN and its last are one."""
    found = parse_dockerfile(text)
    made = join_lines(found, runs(found)[0], runs(found)[-1])
    return None if made is None else "".join(made)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("RUN a\nRUN b\n", "RUN a && \\\n    b\n"),
        ("RUN a\nRUN b", "RUN a && \\\n    b"),
        ("RUN a\n\n# why\nRUN b\n", "RUN a && \\\n# why\n    b\n"),
        ("RUN a && \\\n  b  \nRUN c && \\\n  d\n", "RUN a && \\\n  b && \\\n  c && \\\n  d\n"),
        ("RUN --network=none \\\n  a\nRUN --network=none b\n", "RUN --network=none \\\n  a && \\\n  b\n"),
        ("RUN a\nRUN \\\n  # why\n  b\n", "RUN a && \\\n  # why\n    b\n"),
        ("RUN a\r\nRUN b\r\n", "RUN a && \\\r\n    b\r\n"),
        ("RUN cd /x && a\nRUN b\n", "RUN ( cd /x && a ) && \\\n    b\n"),
        ("RUN X=1 a\nRUN X=1\nRUN b\n", "RUN X=1 a && \\\n    ( X=1 ) && \\\n    b\n"),
        ("RUN a\nRUN cd /x\n", "RUN a && \\\n    cd /x\n"),
        ("RUN a; b\nRUN c || d\n", "RUN { a; b; } && \\\n    { c || d; }\n"),
        ("RUN a &\nRUN b;\n", "RUN { a & } && \\\n    { b; }\n"),
        ("RUN set -e; a; b\nRUN c\n", "RUN ( set -e; a; b ); [ $? = 0 ] && \\\n    c\n"),
        ("RUN a > x 2>&1\nRUN echo 'a; b'\n", "RUN a > x 2>&1 && \\\n    echo 'a; b'\n"),
        ("RUN a | b\nRUN c\n", "RUN a | b && \\\n    c\n"),
    ],
)  # fmt: skip
def test_runs_are_joined(text: str, wanted: str) -> None:
    """Comments, line ends and what stands in front stay; what binds otherwise or leaks is enclosed."""
    assert joined(f"FROM x\n{text}") == f"FROM x\n{wanted}"


@pytest.mark.parametrize(
    "text",
    [
        *(f"RUN a\n{one}\nRUN b\n" for one in ("ENV A=1", "WORKDIR /x", "USER x", "COPY a b", "ARG A")),
        *(f"RUN a\n{one}\nRUN b\n" for one in ('SHELL ["sh", "-c"]', "CMD a", "ONBUILD RUN c", "FROM y")),
        "RUN --network=none a\nRUN b\n",
        'RUN ["a"]\nRUN b\n',
        "RUN <<E\na\nE\nRUN b\n",
        "RUN a # b\nRUN c\n",
        "RUN a 'b\nRUN c\n",
        "RUN a &&\nRUN c\n",
        "RUN a\nRUN b \\\n",
        'SHELL ["powershell", "-command"]\nRUN a\nRUN b\n',
        "RUN a\n",
    ],
)  # fmt: skip
def test_others_are_not_joined(text: str) -> None:
    """Something between them, other flags, other forms, or a command that cannot be looked through."""
    assert joined(f"FROM x\n{text}") is None


def test_a_shell_that_stops_at_faults_is_minded() -> None:
    """On the left of `&&` shells do not stop there."""
    text = 'FROM x\nSHELL ["/bin/bash", "-ec"]\nRUN a; b\nRUN c\n'
    made = joined(text)
    assert made is not None
    assert "RUN ( a; b ); [ $? = 0 ] && \\\n" in made


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["Dockerfile", "my file", "sub/Dockerfile"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_patch_applies_what_is_told(tmp_path: Path, name: str, line_end: str, end: str) -> None:
    """The real `patch -p0`, from the folder that the path counts from; the result is what was meant."""
    text = f"FROM x\n\n# one\nRUN a; b\n# two\nRUN c && \\\n    d{end}".replace("\n", line_end)
    found = parse_dockerfile(text, name)
    diff = join_diff(found, *runs(found))
    assert diff is not None
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(text.encode())
    done = subprocess.run(
        ["patch", "-p0"], input=diff.encode(), cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stdout
    after = (tmp_path / name).read_bytes().decode()
    assert after == joined(text)
    assert [" ".join(one.text.split()) for one in runs(parse_dockerfile(after))] == ["{ a; b; } && c && d"]


COMMANDS = st.sampled_from(
    [
        "t 1", "t 2 && t 3", "t 4; t 5", "t 6 || t 7", "f 1", "f 2; t 8", "f 3 || t 9", "t 10 && f 4",
        "! f 5", "! t 11", "cd sub; t 12", "X=1; t 13$X", "t 14$X", 't "$PWD"', "t $(umask)",
        "set -e; f 6; t 15", "set -e; t 16", "(t 17; f 7)", "{ t 18; }", "if f 8; then t 19; fi",
        "for X in 1 2; do t $X; done", "exit 0; t 20", "exit 3", "t 21 | cat", "export X=9", "t 'a; b'",
        't "$(echo 23; echo 24)"', "t 25 \\\n  && t 26", "t 27;", "umask 077 && t 28", "g() { t 29; }; g",
        "t 30 > o 2>&1", "f 9 && t 31 || t 32", "set -u; t 33", "exec true", "t() { :; }",
        ": ${X:=7}; t $X",
    ]
)  # fmt: skip
PRELUDE = """\
t() { printf "t %s\\n" "$*" >> "$LOG"; }
f() { printf "f %s\\n" "$*" >> "$LOG"; return 1; }
"""


def ran(shell: list[str], commands: Sequence[str], folder: Path) -> tuple[str, bool]:
    """What a build of these RUNs does, each in a shell of its own, and whether it ends well."""
    log = folder / "log"
    log.write_text("")
    for command in commands:
        script = PRELUDE + command
        env = {"LOG": str(log), "PATH": "/usr/bin:/bin"}
        done = subprocess.run([*shell, script], cwd=folder, env=env, capture_output=True, check=False)
        if done.returncode:
            return log.read_text(), False
    return log.read_text(), True


@settings(max_examples=60, deadline=None)
@given(
    st.lists(COMMANDS, min_size=2, max_size=4), st.sampled_from([["/bin/sh", "-c"], ["/bin/bash", "-ec"]])
)
@example(["set -e; f 6; t 15", "t 1"], ["/bin/sh", "-c"])
@example(["f 1", "set -e; t 16", "t 1"], ["/bin/bash", "-ec"])
def test_joining_changes_nothing_that_runs(
    tmp_path_factory: pytest.TempPathFactory, commands: list[str], shell: list[str]
) -> None:
    """The same commands run in the same order, a fault stops at the same place, and nothing leaks."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "sub").mkdir()
    words = "[" + ", ".join(f'"{word}"' for word in shell) + "]"
    text = f"FROM x\nSHELL {words}\n" + "".join(f"RUN {one}\n" for one in commands)
    before = [one.text for one in runs(parse_dockerfile(text))]
    made = joined(text)
    assert made is not None
    (after,) = [one.text for one in runs(parse_dockerfile(made))]
    assert ran(shell, [after], folder) == ran(shell, before, folder)
