"""What of the data set is on disk: written, read back, copied to replicas."""
