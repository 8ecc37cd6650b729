"""A page for a browser: what an image's layers hold, what is dead of it, and what to write instead."""
