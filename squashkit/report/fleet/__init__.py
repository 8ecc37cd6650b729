"""What fleets take, what to do with their images, and what a squash of all of them wrote."""
