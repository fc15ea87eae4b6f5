"""Answers about names, and what to make of MX records."""
