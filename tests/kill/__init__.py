"""Runs that are killed, and places that fail: `make kill`, outside `make test`. The modules are not named
as tests are, so that only who names them runs them."""
