"""Image names: what a short one stands for, which are the same, and what is none."""

from __future__ import annotations

import pytest

from squashkit.errors import InvalidReference
from squashkit.oci.digests import Digest, sha256
from squashkit.oci.media import CONTAINERD_NAME, REF_NAME
from squashkit.oci.names import ImageName, fits, is_tag, name_annotations, names_of, same_name, split_tag

DIGEST = sha256(b"a manifest")
OTHER = sha256(b"another")
NAMES = {
    "nginx": ("docker.io", "library/nginx", "latest", "nginx:latest"),
    "nginx:1": ("docker.io", "library/nginx", "1", "nginx:1"),
    "docker.io/library/nginx:latest": ("docker.io", "library/nginx", "latest", "nginx:latest"),
    "docker.io/nginx": ("docker.io", "library/nginx", "latest", "nginx:latest"),
    "index.docker.io/library/nginx": ("docker.io", "library/nginx", "latest", "nginx:latest"),
    "Docker.io/nginx": ("docker.io", "library/nginx", "latest", "nginx:latest"),
    "me/app": ("docker.io", "me/app", "latest", "me/app:latest"),
    "library/a/b": ("docker.io", "library/a/b", "latest", "library/a/b:latest"),
    "localhost/app": ("localhost", "app", "latest", "localhost/app:latest"),
    "localhost:5000/app": ("localhost:5000", "app", "latest", "localhost:5000/app:latest"),
    "host:5000/a/b:t": ("host:5000", "a/b", "t", "host:5000/a/b:t"),
    "[::1]:5000/app": ("[::1]:5000", "app", "latest", "[::1]:5000/app:latest"),
    "registry.example/library/app": (
        "registry.example",
        "library/app",
        "latest",
        "registry.example/library/app:latest",
    ),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_short_name_stands_for_a_full_one(text: str) -> None:
    """A name has a host, a repository and a tag, those that docker adds where they are left out."""
    host, repository, tag, familiar = NAMES[text]
    name = ImageName.parse(text)
    assert (name.host, name.repository, name.tag, name.digest) == (host, repository, tag, None)
    assert str(name) == f"{host}/{repository}:{tag}"
    assert name.full_repository == f"{host}/{repository}"
    assert (name.familiar, name.reference) == (familiar, tag)


@pytest.mark.parametrize("text", NAMES)
def test_forms_of_a_name_mean_it(text: str) -> None:
    """A name's full form is that very name, and so is its familiar form."""
    name = ImageName.parse(text)
    assert ImageName.parse(str(name)) == name == ImageName.parse(name.familiar)


def test_equal_names_mean_the_same() -> None:
    """Names are equal where docker takes them for one, and not where a tag, a host or a digest differs."""
    same = ["nginx", "nginx:latest", "docker.io/nginx", "docker.io/library/nginx:latest"]
    others = ["nginx:1", "me/nginx", "registry.example/library/nginx", "localhost/nginx", f"nginx@{DIGEST}"]
    assert len(set(map(ImageName.parse, same))) == 1
    assert len(set(map(ImageName.parse, [*same, *others]))) == 1 + len(others)


def test_a_digest_alone_says_what_is_meant() -> None:
    """A name with a digest has no tag, whether one was written or not."""
    name = ImageName.parse(f"app:1@{DIGEST}")
    assert name == ImageName.parse(f"app@{DIGEST}") == ImageName.parse("app:2").with_digest(DIGEST)
    assert (name.tag, name.digest, name.reference) == ("", DIGEST, DIGEST)
    assert str(name) == f"docker.io/library/app@{DIGEST}"
    assert name.familiar == f"app@{DIGEST}"
    assert name != name.with_digest(Digest(OTHER))


def test_another_tag_of_a_repository() -> None:
    """With a tag a name means that of the same repository, and its digest no longer counts."""
    name = ImageName.parse(f"host:5000/team/app@{DIGEST}").with_tag("2")
    assert name == ImageName.parse("host:5000/team/app:2")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not an image name: ''"),
        ("App", "not an image name: 'App'"),
        ("a//b", "not an image name: 'a//b'"),
        ("-x", "not an image name: '-x'"),
        ("ä", "not an image name: 'ä'"),
        (":1", "not an image name: ':1'"),
        ("app:", "not an image name: 'app:' ends in a colon"),
        ("app:-", "not a tag: '-' in 'app:-'"),
        ("app:a b", "not a tag: 'a b' in 'app:a b'"),
        ("app:" + "1" * 129, "not a tag:"),
        ("a_b.c/app", "not a host: 'a_b.c' in 'a_b.c/app'"),
        ("host:/app", "not a host: 'host:' in 'host:/app'"),
        ("app@sha256:12", "not a sha256 digest: 'sha256:12' in 'app@sha256:12'"),
        ("user:secret@host/app", "a user's name and password do not belong before an image's name"),
        ("secret@host/app", "a user's name and password do not belong before an image's name"),
    ],
)
def test_what_is_no_name(text: str, told: str) -> None:
    """What docker would refuse is refused with the part that is wrong, and no password is repeated."""
    with pytest.raises(InvalidReference) as refused:
        ImageName.parse(text)
    assert str(refused.value).startswith(told)
    assert "secret" not in str(refused.value)
    assert ImageName.of(text) is None


def test_same_names() -> None:
    """Texts are the same name where they mean the same; podman's localhost/ stands for no host."""
    assert same_name("app", "other", "docker.io/library/app:latest")
    assert same_name("localhost/app:1", "app:1")
    assert not same_name("app:1", "app:2", "host:5000/app:1")
    assert not same_name("app")


def test_what_is_no_name_is_the_same_as_itself_alone() -> None:
    """A text that is no image name, as layouts may hold, is the same as that very text."""
    assert same_name("No Name", "No Name")
    assert not same_name("No Name", "no name", "no-name")


def test_tags_as_they_are_written() -> None:
    """A tag is split off as it stands; a port is none, and a tag alone is told from a name."""
    assert split_tag("host:5000/app:1") == ("host:5000/app", "1")
    assert split_tag("host:5000/app") == ("host:5000/app", "")
    assert split_tag("App:") == ("App", "")
    assert is_tag("v1.0_x-y")
    assert not [text for text in ("a/b", "", "1" * 129) if is_tag(text)]


def test_annotations_give_the_name_back() -> None:
    """By the annotations that an image's name becomes it is found again, in its familiar form."""
    name = ImageName.parse("nginx:1")
    annotations = name_annotations(name)
    assert annotations == {CONTAINERD_NAME: "docker.io/library/nginx:1", REF_NAME: "1"}
    assert names_of(annotations) == ("nginx:1", "1")
    assert names_of(name_annotations(name, "stable")) == ("nginx:1", "stable")


def test_annotations_that_are_no_names_stand_as_they_are() -> None:
    """A layout's words are carried as they are written, image names or not; an empty one is none."""
    assert names_of({CONTAINERD_NAME: "No Name", REF_NAME: "V 1"}) == ("No Name", "V 1")
    assert names_of({CONTAINERD_NAME: "", REF_NAME: ""}) == names_of({}) == ()


@pytest.mark.parametrize(
    ("glob", "name", "does"),
    [
        ("app", "app:1", True),
        ("app:1", "app:1", True),
        ("app:2", "app:1", False),
        ("*/app", "host:5000/team/app:1", True),
        ("host:5000/team/*", "host:5000/team/a/b", True),
        ("host:5000", "host:5000/app", False),
        ("team/app", f"team/app@sha256:{'0' * 64}", True),
        ("team/app", f"team/app:1@sha256:{'0' * 64}", True),
        ("APP", "app:1", False),
    ],
)
def test_a_glob_fits_a_name_with_its_tag_or_without(glob: str, name: str, does: bool) -> None:
    """A port is no tag, `*` stands for slashes, and cases differ."""
    assert fits(name, glob) is does
