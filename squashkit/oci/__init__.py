"""What the specifications say: digests, media types, documents, names, images over layers. Pure."""
