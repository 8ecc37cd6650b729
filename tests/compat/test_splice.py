"""New gzip layers made of old deflate blocks, as real tools read them, and made from a real registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import Person, available
from tests.compat.images import merge_archives
from tests.compat.registries import Registry
from tests.compat.rootfs import assert_same
from tests.support.gzip_layers import MAKES, layout, shared
from tests.support.runner import read_image, squash

TAGS = {f"{name}:1": make for name, make in MAKES.items() if "zeros" not in name}
"""podman and umoci refuse zeros behind gzip, and kept layers keep them."""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image for each maker as it is, and squashed, in two archives with the same tags."""
    folder = tmp_path_factory.mktemp("spliced")
    sources, results = [], []
    for tag, function in TAGS.items():
        source = layout(folder / tag, function)
        kept, squashed = folder / f"{tag}-kept.tar", folder / f"{tag}-squashed.tar"
        words = ["--format", "docker", "--compress", "gzip", "-t", tag]
        squash(source, "--keep-layers", "3", "-o", kept, *words)
        squash(source, "--keep-layers", "1", "-o", squashed, *words)
        assert shared(read_image(squashed).blobs[1], read_image(source).blobs) > 0.7
        sources.append(kept)
        results.append(squashed)
    for name, parts in {"sources": sources, "results": results}.items():
        merge_archives(parts, folder / f"{name}.tar")
    return folder / "sources.tar", folder / "results.tar"


@pytest.mark.parametrize("tool", services.STARTERS)
def test_tools_read_source_and_spliced_result_alike(
    tool: str, tools: services.Services, archives: tuple[Path, Path]
) -> None:
    """Whoever compressed the source, each tool makes the same root file system of both."""
    reader = available(lambda: tools.get(tool))
    before, after = (reader.rootfs(archive, list(TAGS)) for archive in archives)
    assert_same([(tag, before[tag], after[tag]) for tag in TAGS])


def test_a_registry_gives_the_same_blob_as_a_layout(
    registry: Registry, umoci: services.Umoci, person: Person, tmp_path: Path
) -> None:
    """Of layers that lie elsewhere the compressed bytes are kept while they are inflated."""
    source = layout(tmp_path / "app")
    there = f"docker://{registry.host}/spliced:1"
    umoci.copy(f"oci:{source}:1", there, "--dest-tls-verify=false")
    report = person.squash(
        there, "--keep-layers", "1", "-o", f"docker://{registry.host}/spliced:2", "--check"
    )
    assert report["checked"]
    squash(source, "--keep-layers", "1", "-o", f"oci:{tmp_path}/here:x")
    assert registry.layers("spliced", "2") == [
        one["digest"] for one in read_image(tmp_path / "here").manifest["layers"]
    ]
