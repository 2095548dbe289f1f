"""Further judges of histories: linearizability of single keys, monotonic reads, Jepsen's EDN histories."""
