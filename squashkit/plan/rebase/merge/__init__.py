"""What the old base, the new base and the image each say in one file, put together as a rebuild would."""
