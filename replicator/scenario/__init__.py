"""A failover as one file: scripted, played on any stage, every acknowledged write accounted for."""
