"""The commands: one a function, one family a file."""
