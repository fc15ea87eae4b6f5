"""The durable store: what was answered with 250 is in here until it is settled."""
