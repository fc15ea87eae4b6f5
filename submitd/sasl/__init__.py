"""SASL mechanisms without IO, for the server's and the client's side."""
