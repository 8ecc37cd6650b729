"""Many images: what they take together, and where to cut them."""
