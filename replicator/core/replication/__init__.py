"""Replication: ids and offsets, the window, links to replicas, the link to a primary."""
