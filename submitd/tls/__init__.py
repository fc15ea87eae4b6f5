"""TLS contexts and policies, for the server's and the client's side."""
