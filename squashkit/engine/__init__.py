"""Layers read once, plans carried out once."""
