"""A play as text, JSON and a page."""
