"""Fuzzing that lasts: `make fuzz SECONDS=600`, outside `make test`. tests/test_fuzz.py holds the targets to
a few inputs each, and to every input that was once a fault."""
