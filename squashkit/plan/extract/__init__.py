"""An image of some paths and what they need: which files these are, and the layer that holds them. Pure,
with contents asked for where they are needed."""
