"""Where a scenario is played: on processes (ours or stock servers), or in the simulation."""
