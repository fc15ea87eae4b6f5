"""The admin socket."""
