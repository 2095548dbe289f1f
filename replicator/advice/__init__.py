"""Advice for a topology that runs, ours or stock: what it would lose, why, and what would change it. It only reads."""
