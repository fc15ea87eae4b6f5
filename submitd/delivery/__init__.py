"""From the spool to the next host, and reports about what came of it."""
