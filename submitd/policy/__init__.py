"""May they send this: facts in, verdicts out."""
