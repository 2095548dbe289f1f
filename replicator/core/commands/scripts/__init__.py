"""Commands that run and keep scripts and functions."""
