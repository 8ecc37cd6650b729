"""Package databases of an image, as dpkg and apk write them: pure, bytes in and values out."""
