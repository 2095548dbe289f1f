"""Failovers in tests: a topology of real nodes as a context manager or a pytest fixture.

from replicator.testing import topology

def test_my_application_survives_a_crash():
    with topology(replicas=2) as ha:
        client = ha.record(ha.client())
        client.set("order:1", "paid")
        ha.wait_synced()
        ha.primary.kill()
        ha.wait_for_failover()
        assert not ha.lost_writes()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replicator.testing.topologies import Node, Topology, TopologyError, topology

__all__ = ["Node", "Topology", "TopologyError", "topology"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: pytest loads this package in every session, also where nobody wants a topology."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from replicator.testing import topologies

    return getattr(topologies, name)
