"""Metrics and health over HTTP, on loopback."""
