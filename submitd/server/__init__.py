"""The doors: SMTP listeners, and a session's questions answered."""
