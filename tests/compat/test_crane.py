"""crane of Debian's testing reads what squashkit writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat.conftest import Person, available
from tests.compat.releases import FORKY, inside
from tests.compat.services import CommandFailed, run
from tests.support.builders import ImageSpec, file, layer, oci_layout, on_base, whiteout

pytestmark = pytest.mark.skipif(
    not os.environ.get("SQUASHKIT_TEST_NEW"), reason="testing moves daily: set SQUASHKIT_TEST_NEW"
)
BASE = ImageSpec([layer(file("a", b"a" * 9000))], ["base:1"])
APP = on_base(BASE, layer(file("x", b"x" * 9000)), layer(whiteout("x"), file("y", b"y")), tags=["app:1"])


def is_valid(archive: Path) -> bool:
    """Whether crane finds nothing wrong with a docker archive."""
    try:
        run([*available(lambda: inside(FORKY)), "crane", "validate", "--tarball", archive])
    except CommandFailed:
        return False
    return True


@pytest.mark.parametrize("stored", [None, "gzip", "zstd"])
def test_docker_archives_are_valid_unless_somebody_mixes(
    stored: str | None, person: Person, tmp_path: Path
) -> None:
    """New layers are stored as kept ones are, which crane needs. Where --compress makes it otherwise the
    summary says that crane reads it wrongly, and it does."""
    oci_layout(tmp_path / "in", [APP], compress=stored)  # type: ignore[arg-type]
    for compress in (None, "none", "gzip"):
        output = tmp_path / f"{compress}.tar"
        words = ["--compress", compress] if compress else []
        target = ["-o", f"docker-archive:{output}"]
        told = person.run("squash", tmp_path / "in", "--keep-layers", "1", *target, *words).text
        assert is_valid(output) == ("crane takes all" not in told)
        assert is_valid(output) == (compress in (None, "gzip" if stored == "gzip" else "none"))
