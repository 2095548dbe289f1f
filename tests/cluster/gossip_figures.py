"""What gossip costs and how soon a failure is known, by the size of the cluster, in virtual time.

    python -m tests.cluster.gossip_figures [SIZE ...]

Half of the nodes are primaries. After ten seconds of quiet a primary dies; the figures are the bytes that a node sends
a second until then, and the times until the first and until the last of the others takes it for failed.
"""

from __future__ import annotations

import sys

from tests.support.bus_world import BusWorld

QUIET_MS = 10_000
TIMEOUT_MS = 15_000  # the default of cluster-node-timeout


def measure(size: int, seed: int = 1) -> tuple[int, int, int]:
    """(bytes a second a node, ms until the first knows, ms until all know)"""
    world = BusWorld(seed, size // 2, 1, met=True, cluster_node_timeout=TIMEOUT_MS)
    for member in world.members:
        member.bytes_sent = 0
    world.run(QUIET_MS)
    sent = sum(member.bytes_sent for member in world.members)
    name = world.members[0].topology.me.id
    world.kill(0)
    begun = world.now_ms
    others = world.members[1:]
    world.run_until(lambda: any(member.topology.nodes[name].failed for member in others), 120_000)
    first = world.now_ms - begun
    world.run_until(lambda: all(member.topology.nodes[name].failed or not member.up for member in others), 120_000)
    return sent * 1000 // QUIET_MS // size, first, world.now_ms - begun


def main(arguments: list[str]) -> None:
    """Print a line a size."""
    print("nodes  bytes/s a node  first knows  all know")
    for size in [int(word) for word in arguments] or [10, 50, 100, 200]:
        sent, first, last = measure(size)
        print(f"{size:5}  {sent:14}  {first / 1000:9.1f} s  {last / 1000:6.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
