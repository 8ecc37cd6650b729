"""A fleet read once, into tables."""
