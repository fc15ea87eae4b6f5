"""What an operator sees: log events by name, metrics."""
