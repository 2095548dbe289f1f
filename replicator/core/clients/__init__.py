"""Clients: who is connected, what each may and awaits, and what goes out to them."""
