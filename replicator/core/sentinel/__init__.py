"""Sentinel: failure detection, quorum, election, promotion and discovery, as a machine of its own."""
