"""Commands that tell of commands."""
