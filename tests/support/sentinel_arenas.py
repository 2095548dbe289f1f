"""Where mutants of Sentinels are put to the test. "council" draws faults for nodes and Sentinels; the others hold what
happens to an exact expectation."""

from __future__ import annotations

from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script

_HEAD = 'title = "{0}"\nabout = "an arena for mutants"\n'
_LOAD = """
[workload]
clients = 1
rate = 10
"""

# All Sentinels see at the same moment that the primary is gone, and hear of each other late: several want to lead.
_RIVALS = (
    _HEAD.format("rivals")
    + """
duration = "8s"
[topology]
replicas = 2
sentinels = 5
down_after = "500ms"
failover_timeout = "2s"
"""
    + "\n".join(
        f'[[steps]]\nat = "1s"\ndelay = {{ between = ["s{one}", "s{other}"], delay = "150ms", jitter = "100ms" }}'
        for one in range(1, 6)
        for other in range(one + 1, 6)
    )
    + """
[[steps]]
at = "1500ms"
kill = "a"
[[expect]]
converged = true
"""
    + _LOAD
)

# The same while Sentinels lose their power and their disks are slow, just when they vote.
_COUNCIL = (
    _RIVALS
    + """
[faults]
kinds = { power-loss = 6, kill = 2, slow-disk = 1, disk-error = 3, disk-full = 6 }
per_minute = 600
start = "1800ms"
stop = "4s"
longest = "300ms"
"""
)

# Two replicas, of which c is behind; the primary dies and comes back.
_CRASH = (
    _HEAD.format("watched crash")
    + """
duration = "9s"
[topology]
replicas = 2
sentinels = 3
[workload]
clients = 2
rate = 100
value_size = 500
[[steps]]
at = "200ms"
throttle = { between = ["a", "c"], rate = "10kb", direction = "a->c" }
[[steps]]
when = { behind = { node = "c", by = "40kb" } }
kill = "a"
[[steps]]
at = "6s"
restart = "a"
[[expect]]
promoted = "b"
[[expect]]
failovers = 1
[[expect]]
writable_within = "4s"
[[expect]]
converged = true
"""
)

# One Sentinel cannot see the primary that all others see.
_LONELY = (
    _HEAD.format("one Sentinel cut off from the primary")
    + """
duration = "8s"
[topology]
replicas = 2
sentinels = 3
[[steps]]
at = "1s"
cut = { between = ["a", "s1"] }
[[expect]]
failovers = 0
[[expect]]
converged = true
"""
    + _LOAD
)

# Two of five Sentinels stand with the old primary, their quorum would be enough.
_MINORITY = (
    _HEAD.format("a quorum in the minority")
    + """
duration = "10s"
[topology]
replicas = 2
sentinels = 5
quorum = 2
failover_timeout = "2s"
"""
    + "\n".join(
        f'[[steps]]\nat = "1s"\ncut = {{ between = ["{one}", "{other}"] }}'
        for one in ("b", "s1", "s2")
        for other in ("a", "c", "s3", "s4", "s5")
    )
    + """
[[expect]]
failovers = 0
[[expect]]
converged = true
"""
    + _LOAD
)

SENTINEL_ARENAS: dict[str, Script] = {
    name: loads(text, name)[0]
    for name, text in {
        "rivals": _RIVALS, "council": _COUNCIL, "crash": _CRASH, "lonely": _LONELY, "minority": _MINORITY,
    }.items()
}  # fmt: skip
