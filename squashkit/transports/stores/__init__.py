"""The stores of docker and podman."""
