"""Where the bytes of an image went, why, and what to write in the Dockerfile instead."""
