"""`squashkit`, and `python -m squashkit`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit. Ctrl-C is told in a line from the first moment on."""
    try:
        from squashkit.cli.interrupts import hear_interrupts
        from squashkit.cli.main import main as run

        hear_interrupts()
    except KeyboardInterrupt:
        print("squashkit: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
