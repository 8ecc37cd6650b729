"""OCI layouts in folders."""
