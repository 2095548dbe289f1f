"""Directives: what each takes, its default, its text."""
