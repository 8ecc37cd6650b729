"""Layers on another base: what must be made anew, what may break, which settings follow."""
