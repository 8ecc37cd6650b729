"""What docker, podman, containerd, umoci and skopeo make of squashed images."""

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from tests.compat import images, services
from tests.compat.conftest import SQUASH, Reading, available
from tests.compat.generated import Generated, common, modelled, squashed_tag
from tests.compat.rootfs import Snapshot, assert_same
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    hex_digest,
    layer,
    on_base,
    whiteout,
)

TOOLS = list(services.STARTERS)


def read_by(reading: Reading, tool: str) -> dict[str, Snapshot]:
    """What `tool` made of the archives, by tag."""
    return available(reading[tool].result)


def piped(*commands: list[str], env: dict[str, str] | None = None) -> str:
    """Run the commands in a shell's pipe, all of which must succeed; what the last one says."""
    line = " | ".join(map(shlex.join, commands))
    return services.run(["bash", "-o", "pipefail", "-c", line], env=env)


# --- a real image ----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_real_image_has_the_sources_rootfs(tool: str, nginx_read: Reading) -> None:
    """A real image that is squashed keeps its root file system, in every tool."""
    found = read_by(nginx_read, tool)
    source, squashed = found[images.NGINX], found[images.SQUASHED]
    assert b"usr/sbin/nginx" in source
    assert source[b"big"].mode == 0o744
    assert_same([(images.NGINX, source, squashed)])


def test_real_image_keeps_its_base_layers(nginx_archive: Path, nginx_squashed: Path) -> None:
    """The base's layers come out byte for byte as they went in, with one layer above them."""
    base = images.read_archive(nginx_archive)[images.BASE]
    squashed = images.read_archive(nginx_squashed)[images.SQUASHED]
    assert squashed.layers[:-1] == base.layers


def test_real_image_shrinks_by_its_waste(nginx_archive: Path, nginx_squashed: Path) -> None:
    """The big file that was stored twice is stored once."""
    saved = nginx_archive.stat().st_size - nginx_squashed.stat().st_size
    assert saved > 100 << 20


def test_real_image_runs(docker: services.Docker, nginx_squashed: Path) -> None:
    """A container of the squashed image starts, and its program works."""
    docker.run("load", "--quiet", "--input", nginx_squashed)
    command = ["sh", "-c", "nginx -v 2>&1 && nginx -t 2>&1 && test -x /big"]
    said = docker.run("run", "--rm", "--network", "none", images.SQUASHED, *command)
    assert "nginx version" in said
    assert "test is successful" in said


def test_skopeo_copies_real_image_both_ways(
    umoci: services.Umoci, nginx_squashed: Path, tmp_path: Path
) -> None:
    """Copied into an OCI layout and back, the layers are the same bytes again."""
    squashed, back = images.SQUASHED, tmp_path / "back.tar"
    umoci.copy(f"docker-archive:{nginx_squashed}:{squashed}", f"oci:{tmp_path}/layout:squashed")
    umoci.copy(f"oci:{tmp_path}/layout:squashed", f"docker-archive:{back}:{squashed}")
    before = images.read_archive(nginx_squashed)[squashed]
    after = images.read_archive(back)[f"docker.io/library/{squashed}"]
    assert after.layers == before.layers
    assert len(before.layers) == 2


# --- pipes -----------------------------------------------------------------------------------


def test_pipe_from_docker_to_docker(
    docker: services.Docker, nginx_archive: Path, nginx_squashed: Path
) -> None:
    """Between `docker save` and `docker load` the same image comes out as between files."""
    docker.run("load", "--quiet", "--input", nginx_archive)
    tag = "nginx:piped"
    said = piped(
        ["docker", "save", images.NGINX, images.BASE],
        [*SQUASH, "-", "--keep-base", images.BASE, "-t", tag],
        ["docker", "load"],
        env=docker.env,
    )
    assert tag in said
    image = json.loads(docker.run("image", "inspect", tag))[0]
    expected = images.read_archive(nginx_squashed)[images.SQUASHED]
    assert image["RootFS"]["Layers"] == [f"sha256:{layer}" for layer in expected.layers]
    assert image["Id"] == f"sha256:{expected.image_id}"


def test_pipe_from_containerd_to_containerd(containerd: services.Containerd, tmp_path: Path) -> None:
    """Between `ctr images export` and `ctr images import` a squashed image comes out, too."""
    base = ImageSpec([layer(directory("d"), file("d/a", b"old"), file("b"))], ["small-base:1"])
    changes = [layer(directory("d"), file("d/a", b"new")), layer(whiteout("b"), file("c"))]
    docker_archive_25(tmp_path / "small.tar", [base, on_base(base, *changes, tags=["small:1"])])
    containerd.run("images", "import", "--no-unpack", tmp_path / "small.tar")
    hub = "docker.io/library/"
    names = [f"{hub}small:1", f"{hub}small-base:1"]
    piped(
        [*containerd.command, "images", "export", "-", *names],
        [*SQUASH, "-", "--keep-base", names[1], "-t", "small:piped"],
        [*containerd.command, "images", "import", "--no-unpack", "-"],
    )
    containerd.run("images", "export", tmp_path / "piped.tar", f"{hub}small:piped")
    (image,) = images.read_archive(tmp_path / "piped.tar").values()
    assert len(image.layers) == 2
    assert image.layers[0] == hex_digest(base.layers[0])
    found = containerd.rootfs(tmp_path / "piped.tar", ["small:piped"])["small:piped"]
    assert common(found) == common(modelled([*base.layers, *changes]))


# --- generated images ------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_generated_images_have_the_sources_rootfs(
    tool: str, uncontested: Generated, uncontested_read: Reading
) -> None:
    """Squashed with their bases kept, generated images keep their root file systems."""
    found = read_by(uncontested_read, tool)
    pairs = [(tag, found[tag], found[squashed_tag(tag)]) for tag in uncontested.layers]
    assert len(pairs) >= 80
    assert_same(pairs)


def test_generated_images_keep_their_base_layers(uncontested: Generated) -> None:
    """Each base comes out byte for byte as it went in, with one layer above it at most."""
    source, squashed = (images.read_archive(archive) for archive, _ in uncontested.archives)
    for tag in uncontested.layers:
        base = source[tag.replace("source", "base")].layers
        layers = squashed[squashed_tag(tag)].layers
        assert layers[: len(base)] == base, tag
        assert len(layers) <= len(base) + 1, tag


@pytest.mark.parametrize("tool", TOOLS)
def test_generated_images_are_uncontested(
    tool: str, uncontested: Generated, uncontested_read: Reading
) -> None:
    """Every tool reads the generated sources as the rules say: none of them is contested."""
    found = read_by(uncontested_read, tool)
    pairs = [
        (tag, common(modelled(layers)), common(found[tag])) for tag, layers in uncontested.layers.items()
    ]
    assert_same(pairs)


def test_skopeo_copies_generated_images_both_ways(
    umoci: services.Umoci, uncontested: Generated, uncontested_read: Reading, tmp_path: Path
) -> None:
    """Copied into an OCI layout and back, generated layers are the same bytes again."""
    read_by(uncontested_read, "umoci")
    archive, tags = uncontested.archives[1]
    before = images.read_archive(archive)
    for tag in tags:
        back = tmp_path / "back.tar"
        source = f"oci:{umoci.layout(archive)}:{services.layout_name(tag)}"
        umoci.copy(source, f"docker-archive:{back}:{tag}")
        after = images.read_archive(back)[f"docker.io/library/{tag}"]
        assert after.layers == before[tag].layers, tag
        back.unlink()


@pytest.mark.parametrize("tool", TOOLS)
def test_contested_images_are_read_as_the_rules_say(
    tool: str, contested: Generated, contested_read: Reading
) -> None:
    """Of a source that tools read differently, the squashed image is read by all as ruled."""
    found = read_by(contested_read, tool)
    pairs = [
        (tag, common(modelled(layers)), common(found[squashed_tag(tag)]))
        for tag, layers in contested.layers.items()
    ]
    assert_same(pairs)


@pytest.mark.parametrize(("one", "other"), list(pairwise(TOOLS)))
def test_tools_agree_on_contested_images(
    one: str, other: str, contested: Generated, contested_read: Reading
) -> None:
    """Whatever was contested in the source, all tools make the same of the squashed image."""
    first, second = read_by(contested_read, one), read_by(contested_read, other)
    tags = map(squashed_tag, contested.layers)
    assert_same((tag, common(first[tag]), common(second[tag])) for tag in tags)
