"""Fuzzing that lasts: `make fuzz SECONDS=600`, outside `make test`. tests/fuzz/test_targets.py holds the
targets to a few inputs each, and to every input that was once a fault."""
