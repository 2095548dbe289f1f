"""A node's part in a cluster: the bus to the others, who owns which slot, elections, and where clients are sent."""
