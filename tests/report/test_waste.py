"""What people read of an image's waste: patches, what the Dockerfile lacks, and gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builders import ImageSpec, docker_archive_25, file, layer, whiteout
from tests.support.runner import run

STEPS = ("RUN /bin/sh -c make # buildkit", "RUN /bin/sh -c rm /a # buildkit", "COPY b /b # buildkit")
MADE = "FROM scratch\nRUN make\nRUN rm /a\n"


@pytest.fixture
def image(tmp_path: Path) -> str:
    """Two RUNs, of which the second deletes what the first made, and a COPY."""
    layers = [layer(file("a", b"a" * 5000)), layer(whiteout("a")), layer(file("b", b"b"))]
    history = [{"created_by": step} for step in STEPS]
    docker_archive_25(tmp_path / "image.tar", [ImageSpec(layers, ["app:1"], history=history)])
    return str(tmp_path / "image.tar")


def told(image: str, *options: object, code: int = 0) -> str:
    done = run("waste", image, *map(str, options))
    assert done.code == code, done.err
    return done.out.decode()


def written(folder: Path, text: str) -> Path:
    path = folder / "Dockerfile"
    path.write_text(text)
    return path


def test_layers_are_named_as_mends_name_steps(image: str) -> None:
    """By the command of a RUN alone, and by the whole of a COPY."""
    lines = told(image).splitlines()
    assert [line.split()[-1] for line in lines[3:6]] == ["make", "/a", "/b"]
    assert "what `make` leaves, `rm /a` deletes too late." in told(image)


def test_patches_are_printed_where_all_is_asked_for(image: str, tmp_path: Path) -> None:
    """With -v alone."""
    path = written(tmp_path, MADE + "COPY b /b\n")
    assert "+RUN make && \\\n+    rm /a\n" in told(image, "-v", "--dockerfile", path)
    assert "+RUN make" not in told(image, "--dockerfile", path)


def test_what_the_dockerfile_lacks_is_said(image: str, tmp_path: Path) -> None:
    """Steps without a line, and a Dockerfile of another image; nothing where all are in it."""
    assert "The Dockerfile has no line for step 2." in told(image, "--dockerfile", written(tmp_path, MADE))
    other = written(tmp_path, "FROM scratch\nRUN x\nRUN y\n")
    assert "The Dockerfile is of another image, so no line of it is named." in told(
        image, "--dockerfile", other
    )
    whole = told(image, "--dockerfile", written(tmp_path, MADE + "COPY b /b\n"))
    assert "The Dockerfile" not in whole


def test_gates_name_the_worst_file(image: str, tmp_path: Path) -> None:
    """And dive's limits are amounts where they are bytes."""
    rules = tmp_path / ".dive-ci"
    rules.write_text("rules:\n  highestWastedBytes: 1KB\n")
    text = told(image, "--max-wasted", "1KB", "--dive-ci", rules, code=3)
    assert "failed: highestWastedBytes 1.0 KB, found 5.0 KB" in text
    assert text.endswith("The worst: /a, 5.0 KB, made by layer 0, deleted by layer 1\n")
