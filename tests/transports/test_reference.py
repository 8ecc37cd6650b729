"""References: which medium a text names, and what of it, and what the disk has to say of a bare one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from squashkit.errors import InvalidReference
from squashkit.oci.digests import sha256
from squashkit.oci.names import ImageName
from squashkit.transports.reference import Reference, parse_reference

DIGEST = sha256(b"a manifest")


def test_references() -> None:
    """Transports, paths and images are told apart."""
    assert parse_reference("oci:dir:app:1") == Reference("oci", "dir", "app:1")
    assert parse_reference("docker-archive:x.tar") == Reference("docker-archive", "x.tar")
    assert parse_reference("-") == Reference("", "-")
    assert parse_reference("-:app") == Reference("", "-", "app")
    assert str(parse_reference("oci-archive:x.tar:app")) == "oci-archive:x.tar:app"
    assert parse_reference("docker-daemon:app:1") == Reference("docker-daemon", "app:1")
    assert parse_reference("app:1") == Reference("docker-daemon", "app:1", guessed=True)
    assert parse_reference("localhost:5000/app") == Reference(
        "docker-daemon", "localhost:5000/app", guessed=True
    )
    assert parse_reference("docker://host/app@sha256:" + "a" * 64).transport == "docker"
    assert str(parse_reference("docker://host/app:1")) == "docker://host/app:1"
    for path in ("./app", "app.tar", "dir/app.tar.gz", "App", "/app"):
        assert parse_reference(path) == Reference("", path)
    for bad in ("", "oci:", "docker-daemon:", "docker-daemon:App", "docker://", "docker:/app", "dir:app"):
        with pytest.raises(InvalidReference):
            parse_reference(bad)


def test_a_reference_has_the_name_that_its_path_is() -> None:
    """In a store and a registry the path is an image's name; a file and a mere digest have none."""
    app = ImageName.parse("host/app:1")
    assert parse_reference("docker://host/app:1").name == app
    assert parse_reference("docker-daemon:host/app:1").name == app
    assert parse_reference("host/app:1").name == app
    assert parse_reference(f"docker-daemon:{DIGEST}").name is None
    assert parse_reference("oci:dir:app:1").name is None
    assert parse_reference("./app").name is None


def test_only_a_registry_s_reference_is_in_a_registry() -> None:
    """The same name in a store lies in no registry, until the transport says so."""
    reference = parse_reference("docker-daemon:app")
    assert reference.in_registry is None
    assert replace(reference, transport="docker").in_registry == ImageName.parse("app")


def test_a_reference_says_whether_a_tag_was_written() -> None:
    """A port is no tag, and the tag that docker adds was not written."""
    assert parse_reference("docker://host:5000/app:1").has_tag
    assert parse_reference(f"docker://host/app@{DIGEST}").has_tag
    assert not parse_reference("docker://host:5000/app").has_tag


def test_a_name_that_is_none_is_refused_at_the_door() -> None:
    """What is no image name is no reference to a store or a registry, however it is made."""
    with pytest.raises(InvalidReference, match="lower case"):
        parse_reference("docker://host/App")
    with pytest.raises(InvalidReference, match="lower case"):
        Reference("docker", "host/App")


def test_a_bare_text_means_what_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the whole name goes before an image in one of its beginning, and both before a daemon's."""
    monkeypatch.chdir(tmp_path)
    assert parse_reference("app:1") == Reference("docker-daemon", "app:1", guessed=True)
    Path("app").touch()
    assert parse_reference("app:1") == Reference("", "app", "1")
    assert parse_reference("app:") == Reference("", "app")
    Path("app:1").touch()
    assert parse_reference("app:1") == Reference("", "app:1")


@pytest.mark.parametrize("text", ["dir:x", "ostree:x", "docker:/app"])
def test_foreign_transports_are_refused_where_they_are_no_files(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport of other tools is refused by its name, unless the text is a file's."""
    monkeypatch.chdir(tmp_path)
    transport = text.partition(":")[0]
    with pytest.raises(InvalidReference, match=f"the transport '{transport}' is not supported"):
        parse_reference(text)
    Path(transport).touch()
    assert parse_reference(text).path == transport
