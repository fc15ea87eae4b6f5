"""submitctl: the operator's command."""
