"""Archives of `docker save` and of OCI layouts, from files and pipes."""
