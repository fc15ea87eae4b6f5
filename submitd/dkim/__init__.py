"""Signing: bytes and a key give a header field (RFC 6376)."""
