"""What is to become of images: which one is meant, its base, what stays, what is merged. Pure."""
