"""What a step of a build was, in every builder's spelling; no value of a build argument is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squashkit.oci.steps import Instruction, Parsed, hide_arguments, parse_step, shown

HASH = "7b9b37f6caed4b6959ff545d7725f82a3667be488aed403e3a940fe8bd49a743"
CLASSIC = "/bin/sh -c #(nop) "


def parts(created_by: str) -> tuple[str, ...]:
    """The instruction, and what else is told of it."""
    one = parse_step(created_by)
    return one.instruction.value, *filter(None, (one.command, " ".join(one.sources), one.destination))


@pytest.mark.parametrize(
    ("created_by", "told", "seen"),
    [
        ("/bin/sh -c apt-get update", ("RUN", "apt-get update"), "apt-get update"),
        ("/bin/bash -o pipefail -c a | b", ("RUN", "a | b"), "a | b"),
        ("RUN /bin/sh -c apt-get update # buildkit", ("RUN", "apt-get update"), "apt-get update"),
        ("RUN /bin/bash -euxo pipefail -c make # buildkit", ("RUN", "make"), "make"),
        ("RUN /bin/rm /x # buildkit", ("RUN", "/bin/rm /x"), "/bin/rm /x"),
        ("RUN /bin/sh -c a\nb\n # buildkit", ("RUN", "a\nb"), "a b"),
        ("RUN apt-get install -y nginx", ("RUN", "apt-get install -y nginx"), "apt-get install -y nginx"),
        ('/bin/sh -c ["/bin/rm", "/x"]', ("RUN", '["/bin/rm", "/x"]'), '["/bin/rm", "/x"]'),
        ("/bin/sh -c --mount=type=bind,source=a,target=/m cat /m", ("RUN", "cat /m"), "cat /m"),
        ("/bin/sh -c RUN make", ("RUN", "make"), "make"),
        ("/bin/sh -c COPY a.txt /srv", ("COPY", "a.txt", "/srv"), "COPY a.txt /srv"),
        (f"{CLASSIC}COPY file:{HASH} in /srv/ ", ("COPY", f"file:{HASH}", "/srv/"), None),
        (f"{CLASSIC}COPY multi:{HASH} in ./ ", ("COPY", f"multi:{HASH}", "./"), None),
        (f"{CLASSIC}ADD dir:{HASH} in / ", ("ADD", f"dir:{HASH}", "/"), None),
        ("COPY a.txt b.txt ./ # buildkit", ("COPY", "a.txt b.txt", "./"), "COPY a.txt b.txt ./"),
        ("ADD https://example.com/x /x # buildkit", ("ADD", "https://example.com/x", "/x"), None),
        ('COPY ["a b", "/c d"]', ("COPY", "a b", "/c d"), 'COPY ["a b", "/c d"]'),
        ("COPY --from=build /out /srv", ("COPY", "/out", "/srv"), "COPY --from=build /out /srv"),
        ("WORKDIR /x", ("WORKDIR", "/x"), "WORKDIR /x"),
        (f"{CLASSIC}WORKDIR /x", ("WORKDIR", "/x"), "WORKDIR /x"),
        (f'{CLASSIC} CMD ["/bin/sh"]', ("other",), 'CMD ["/bin/sh"]'),
        ('/bin/sh -ec #(nop)  CMD ["/bin/sh"]', ("other",), 'CMD ["/bin/sh"]'),
        ("bazel build //app:image", ("other",), "bazel build //app:image"),
        ("jib-maven-plugin:3.4.0", ("other",), "jib-maven-plugin:3.4.0"),
        ("ko build ko://example.com/app", ("other",), "ko build ko://example.com/app"),
        ("store paths: ['/nix/store/abc-hello']", ("other",), "store paths: ['/nix/store/abc-hello']"),
        ("git push -c x", ("other",), "git push -c x"),
        ("", ("other",), ""),
    ],
)  # fmt: skip
def test_every_builder_is_understood(created_by: str, told: tuple[str, ...], seen: str | None) -> None:
    """docker, podman, buildah, BuildKit, kaniko, and those that write text of their own."""
    assert parts(created_by) == told
    assert seen is None or shown(created_by) == seen


def test_flags_are_told() -> None:
    """docker 20.10 writes the owner and the hash without a space between them."""
    assert parse_step(f"{CLASSIC}COPY --chown=1:2file:{HASH} in /d ").flags == (("--chown", "1:2"),)
    assert parse_step("COPY --chown=a --chmod=755 x /d # buildkit").flags == (
        ("--chown", "a"),
        ("--chmod", "755"),
    )
    seen = shown(f"{CLASSIC}COPY --chown=1:2file:{HASH} in /d ")
    assert seen == "COPY --chown=1:2 file:7b9b37f6caed in /d"


@pytest.mark.parametrize(
    ("created_by", "hidden", "seen"),
    [
        ("|1 TOKEN=secret /bin/sh -c make", "|1 TOKEN=… /bin/sh -c make", "TOKEN=… make"),
        (
            "RUN |2 TOKEN=secret V=1 /bin/sh -c make # buildkit",
            "RUN |2 TOKEN=… V=… /bin/sh -c make # buildkit",
            "TOKEN=… V=… make",
        ),
        # docker, with a space in a value
        ("|2 A=x secret B=secret /bin/sh -c make", "|2 A=… B=… /bin/sh -c make", "A=… B=… make"),
        # buildah counts words
        ("|3 A=x secret B=secret /bin/sh -c make", "|3 A=… /bin/sh -c make", "A=… make"),
        ("|2 A=x secret= /bin/sh -c make", "|2 A=… /bin/sh -c make", "A=… make"),
        # the exec form: nothing says where the value ends
        ("RUN |1 A=secret /bin/rm /x # buildkit", "RUN |1 A=… … # buildkit", "A=… …"),
        ("|1 A=secret /bin/rm /x", "|1 A=… …", "A=… …"),
        # a shell in a value
        (
            "RUN |1 A=/bin/sh -c secret /bin/sh -c make # buildkit",
            "RUN |1 A=… /bin/sh -c make # buildkit",
            "A=… make",
        ),
        ("RUN |1 A=x B=secret /bin/sh -c m # buildkit", "RUN |1 A=… /bin/sh -c m # buildkit", "A=… m"),
        ("|1 secret /bin/sh -c make", "|1 … /bin/sh -c make", "make"),
        ("|1 A='secret\nsecret' /bin/bash -o pipefail -c a", "|1 A=… /bin/bash -o pipefail -c a", "A=… a"),
        (f"{CLASSIC} ARG TOKEN=secret", f"{CLASSIC} ARG TOKEN=…", "ARG TOKEN=…"),
        ("ARG TOKEN=secret", "ARG TOKEN=…", "ARG TOKEN=…"),
        ("/bin/sh -c make", "/bin/sh -c make", "make"),
    ],
)  # fmt: skip
def test_values_of_build_arguments_are_hidden(created_by: str, hidden: str, seen: str) -> None:
    """In the text for programs, in the one for people, and in every field."""
    assert hide_arguments(created_by) == hidden
    assert shown(created_by) == seen
    assert "secret" not in repr(parse_step(created_by))


VALUES = st.text("ab=\"' |&/-c\n1$", max_size=12).map(lambda text: f"SEC{text}RET")
ARGUMENTS = st.dictionaries(st.sampled_from(["TOKEN", "V", "a_b"]), VALUES, min_size=1)


@given(ARGUMENTS, st.sampled_from(["/bin/sh -c", "/bin/bash -o pipefail -c"]), st.booleans(), st.booleans())
def test_no_value_is_ever_shown(
    values: dict[str, str], shell: str, counts: bool, is_buildkit: bool
) -> None:
    """Whatever a value is, nothing of it is left, and the command is."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    number = len(values) if counts else len(words.split(" "))
    step = f"|{number} {words} {shell} make all"
    step = f"RUN {step} # buildkit" if is_buildkit else step
    for text in (hide_arguments(step), shown(step), repr(parse_step(step))):
        assert "SEC" not in text
        assert "RET" not in text
        assert "make all" in text


@given(st.text(max_size=60))
def test_any_text_is_a_step(text: str) -> None:
    """Nothing is raised, what is shown is one line for a terminal, and without arguments all stays."""
    assert isinstance(parse_step(text), Parsed)
    assert shown(text).isprintable()
    if "|" not in text and "ARG" not in text:
        assert hide_arguments(text) == text


def test_a_step_of_nothing_is_none() -> None:
    """A layer that no history tells of has no command."""
    assert parse_step("") == Parsed(Instruction.OTHER, "")
