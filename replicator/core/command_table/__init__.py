"""The table of commands: what one is, where its keys stand, how often it ran."""
