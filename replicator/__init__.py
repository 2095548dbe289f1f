"""Redis-compatible replication, and the instrument that shows what a failover costs."""

__version__ = "0.1.0"
