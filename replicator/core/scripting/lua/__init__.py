"""Lua itself: the sandbox and the libraries that scripts find in it."""
