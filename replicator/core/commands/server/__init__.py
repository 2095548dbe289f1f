"""Commands that speak of the server itself."""
