"""Who is this, and which mailboxes are theirs: cred checkers, realm, avatar."""
