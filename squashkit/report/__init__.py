"""What a squash did, as a value, as JSON and as text for people."""
