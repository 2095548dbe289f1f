"""Bytes to values and back, incrementally both ways: RESP, RDB and whatever else crosses a wire or a disk."""
