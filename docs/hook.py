"""Makes `commands` importable for mkdocs-click: mkdocs runs this file with its folder on the path."""

import commands

__all__ = ["commands"]
