"""Many images: opened, priced, measured, squashed."""
