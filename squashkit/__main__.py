"""`python -m squashkit`."""

from squashkit.cli.main import main

if __name__ == "__main__":
    main()
