"""Supervisor, workers and the pipe between them."""
