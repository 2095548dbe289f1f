"""Tests of replicator.core.report."""
