"""A scenario file: its form, its loading, its units."""
