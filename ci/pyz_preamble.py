"""Run by squashkit.pyz before squashkit itself: says in one line where this file cannot run."""

import sys

try:
    import isal.isal_zlib  # noqa: F401
    import zlib_ng.zlib_ng  # noqa: F401

    if sys.version_info < (3, 14):
        import backports.zstd  # noqa: F401
except ImportError as error:
    sys.exit(
        "squashkit: this file was built for other versions of Python, or for another platform: "
        f"{error}. Installed with pip, squashkit runs there too."
    )
