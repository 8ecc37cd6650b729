"""The base of an image: who says which it is, whether it is current, which were seen."""
