"""New gzip layers from the deflate blocks of old ones: what survives is copied, only the seams are new."""
