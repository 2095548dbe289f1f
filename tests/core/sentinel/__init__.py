"""Tests of core/sentinel."""
