"""A scenario played: steps, conditions, clients, what is observed."""
