"""The search over seeds: draws faults, plays in simulation, judges, shrinks what failed (`replicator simulate`)."""
