"""What real tools make of layers that readers understand differently, before and after a squash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import available
from tests.compat.generated import common
from tests.compat.images import merge_archives
from tests.compat.rootfs import Snapshot, differences
from tests.support.builders import ImageSpec, directory, docker_archive_25, file, layer
from tests.support.odd import BASE, DELETING, KINDS, ODD
from tests.support.runner import run, squash

TAGS = {name: f"odd:{number}" for number, name in enumerate(ODD)}


@pytest.fixture(scope="module")
def squashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two archives: of all odd images, and of what squashes made of them, under the same tags."""
    folder = tmp_path_factory.mktemp("odd")
    results = []
    for name, tag in TAGS.items():
        docker_archive_25(folder / "one.tar", [ODD[name].image(tag)])
        results.append(folder / f"{tag}.tar")
        squash(folder / "one.tar", "--keep-layers", "1", "-o", results[-1])
    docker_archive_25(folder / "sources.tar", [ODD[name].image(tag) for name, tag in TAGS.items()])
    merge_archives(results, folder / "results.tar")
    return folder / "sources.tar", folder / "results.tar"


@pytest.mark.parametrize("tool", ["docker", "umoci"])
def test_tools_read_source_and_result_alike(
    tool: str, tools: services.Services, squashed: tuple[Path, Path], tmp_path: Path
) -> None:
    """What a tool makes of an odd image it makes of the squashed one; of one that it refuses it makes what
    the others do. A deleted file stays deleted."""
    reader = available(lambda: tools.get(tool))
    taken = [name for name in ODD if tool not in ODD[name].refused_by]
    docker_archive_25(tmp_path / "taken.tar", [ODD[name].image(TAGS[name]) for name in taken])
    before = read(reader, tmp_path / "taken.tar", [TAGS[name] for name in taken])
    after = read(reader, squashed[1], list(TAGS.values()))
    wrong = [
        f"{name}: {line}"
        for name in taken
        for line in differences(common(before[TAGS[name]]), common(after[TAGS[name]]))
    ]
    assert wrong == []
    for name, tag in TAGS.items():
        assert b"d/kept" in after[tag]
        assert (b"d/gone" not in after[tag]) == (name in DELETING)


def read(reader: services.Tool, archive: Path, tags: list[str]) -> dict[str, Snapshot]:
    return reader.rootfs(archive, tags)


def test_pairs_that_docker_refuses_are_told(docker: services.Docker, tmp_path: Path) -> None:
    """Of pairs of types at one path, verify warns of each that docker does not load."""
    silent = []
    refused = 0
    for first in KINDS:
        for second in ("file", "symlink", "directory"):
            members = [file("d/kept"), KINDS[first]("d/x"), KINDS[second]("d/x")]
            image = ImageSpec([BASE, layer(directory("d"), *members)], ["pair:1"])
            docker_archive_25(tmp_path / "pair.tar", [image])
            try:
                docker.run("load", "--quiet", "--input", tmp_path / "pair.tar")
            except services.CommandFailed:
                refused += 1
                if b"warning" not in run("verify", tmp_path / "pair.tar").out:
                    silent.append((first, second))
    assert silent == []
    assert refused > 9
