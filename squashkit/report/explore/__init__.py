"""What `squashkit explore` shows, as values: no terminal is needed to make them, nor to test them."""
