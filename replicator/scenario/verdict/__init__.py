"""What a play has come to: histories, lost writes and why, expectations."""
