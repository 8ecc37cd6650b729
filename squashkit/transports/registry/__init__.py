"""Registries that speak the distribution protocol."""
