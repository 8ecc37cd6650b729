"""`squashkit`, and `python -m squashkit`."""

import gc
import os
import sys

TYPE_CHECKING = False  # as in typing, which takes longer to import than to answer --help
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command line and exit. Ctrl-C is told in a line from the first moment on."""
    # A layer gives 100,000 small values without cycles, and modules as many: the collector only walks them
    # again and again.
    gc.disable()
    try:
        _answer()
        from squashkit.cli.interrupts import hear_interrupts
        from squashkit.cli.main import main as run

        hear_interrupts()
    except KeyboardInterrupt:
        print("squashkit: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    run()


def _answer() -> None:
    """Say what needs no command line, and exit. Whatever stops that is told by the command line."""
    from squashkit.cli.front import NAME, answer

    said = answer(sys.argv[1:]) if os.path.basename(sys.argv[0]) == NAME else None
    if said is not None and sys.stdout is not None:
        try:
            print(said, flush=True)
        except OSError:
            return
        sys.exit(0)


if __name__ == "__main__":
    main()
