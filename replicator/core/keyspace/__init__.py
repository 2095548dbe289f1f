"""The data: types, databases, expiry, watched and awaited keys."""
