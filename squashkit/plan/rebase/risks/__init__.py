"""What a rebase may break although every layer applies: detectors by path, and where they look."""
