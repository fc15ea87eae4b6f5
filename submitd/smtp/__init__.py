"""SMTP without IO: grammar, replies, and the conversation from both ends."""
