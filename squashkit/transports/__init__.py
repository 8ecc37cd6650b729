"""Where images live: a folder a medium, with its source and its sink."""
