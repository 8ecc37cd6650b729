"""The installed package: it is complete and imports from where it was installed."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from importlib.util import find_spec

import squashkit


def test_every_module_imports() -> None:
    """Every module of the package can be imported on its own; those of the extra `tui` where its library
    is."""
    names = [module.name for module in pkgutil.walk_packages(squashkit.__path__, "squashkit.")]
    assert "squashkit.plan.squash" in names
    has_extra = find_spec("textual") is not None
    for name in names:
        if not name.endswith("__main__") and (has_extra or not name.startswith("squashkit.cli.explore.")):
            importlib.import_module(name)


def test_every_public_name_is_there() -> None:
    """What the package promises to export can be had."""
    assert squashkit.__all__ == sorted(squashkit.__all__)
    for name in squashkit.__all__:
        assert getattr(squashkit, name) is not None


def test_the_versions_agree() -> None:
    """The distribution, the package and the command say the same version."""
    assert version("squashkit") == squashkit.__version__
    said = subprocess.run(
        [sys.executable, "-m", "squashkit", "--version"], capture_output=True, text=True, check=True
    )
    assert squashkit.__version__ in said.stdout


def test_the_command_is_installed() -> None:
    """Installing the package gives the command squashkit."""
    scripts = entry_points(group="console_scripts", name="squashkit")
    assert [script.value for script in scripts] == ["squashkit.__main__:main"]


def test_what_the_page_is_made_of_is_there() -> None:
    """The template of the report's page, its style and its script are shipped."""
    from importlib.resources import files

    for name in ("page.jinja", "page.css", "page.js"):
        assert (files("squashkit.report.html") / name).read_text(encoding="utf-8").strip(), name


def test_the_package_is_typed() -> None:
    """Type checkers are told that the package has types."""
    from importlib.resources import files

    assert (files("squashkit") / "py.typed").is_file()
