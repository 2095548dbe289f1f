"""From bytes of a connection to commands that run."""
