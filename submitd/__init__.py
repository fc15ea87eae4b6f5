"""submitd: a mail submission server. docs/architecture.md is the way in."""
