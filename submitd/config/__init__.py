"""The configuration: read once, checked whole, handed down as plain values."""
