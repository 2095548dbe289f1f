"""Commands that speak of the connection that gives them."""
