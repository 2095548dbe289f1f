"""Commands on strings, the numbers and bits in them included."""
