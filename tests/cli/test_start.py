"""Ctrl-C from the first moment on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INTERRUPTED = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from squashkit.__main__ import main
main()
"""


def test_ctrl_c_while_modules_load(tmp_path: Path) -> None:
    """It is told in a line, with the exit code that it has later."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "squashkit: interrupted; nothing was written\n"
