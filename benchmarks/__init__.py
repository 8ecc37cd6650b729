"""Measurements of squashkit beside other tools: they report, and nothing depends on them."""
