"""Where mutants are put to the test: small scenarios, each played with many seeds.

"storm" draws faults, configuration, topology and load, and has transactions, expiring keys and a second database in its
stream; the others draw no faults and hold what happens to an exact expectation.
"""

from __future__ import annotations

from replicator.scenario.script.load import loads
from replicator.scenario.script.script import Script
from tests.support.sentinel_arenas import SENTINEL_ARENAS

_HEAD = 'title = "{0}"\nabout = "an arena for mutants"\n'


def _transactions() -> str:
    lines = [_HEAD.format("transactions"), 'duration = "2s"', "[topology]", "replicas = 2"]
    lines += ["[workload]", "clients = 1", "rate = 5"]
    script = "for i=1,6 do redis.call('incr', 'tx:'..i) end redis.call('rpush', 'txlist', ARGV[1])"
    for number in range(90):
        argv = f'["EVAL", "{script}", 0, "{number}"]'
        lines += ["[[steps]]", f'at = "{50 + 20 * number}ms"']
        lines += [f'command = {{ node = "a", argv = {argv}, background = true }}']
    return "\n".join(lines)


_BROKEN_LINKS = """
[end]
converge = "20s"
[faults]
per_minute = 500
start = "50ms"
longest = "200ms"
[faults.kinds]
drop-links = 6
throttle = 3
reset = 2
repoint = 1
"""

_LOADS = (
    _HEAD.format("loads")
    + """
duration = "4s"
steps = []
[topology]
replicas = 3
[config]
key-load-delay = 8000
repl-backlog-size = 16384
repl-timeout = 5
[workload]
clients = 3
rate = 40
value_size = 300
[end]
converge = "20s"
[faults]
per_minute = 250
start = "300ms"
longest = "700ms"
[faults.kinds]
cut = 3
reset = 2
drop-links = 3
promote = 4
repoint = 5
kill = 1
config = 4
throttle = 2
failover = 1
wipe = 4
disk-error = 8
"""
)
_SWAP = _LOADS.replace('"loads"', '"swap"').replace(
    "repl-backlog-size = 16384", 'repl-backlog-size = 16384\nrepl-diskless-load = "swapdb"'
).replace("drop-links = 3", "drop-links = 12").replace("disk-error = 8", "").replace("config = 4", "")


def _storm() -> str:
    lines = [_HEAD.format("storm"), 'duration = "3s"', "[topology]", "replicas = 2"]
    lines += ["[workload]", "clients = 2", "rate = 40"]
    script = "for i=1,4 do redis.call('incr', 'tx:'..i) end redis.call('rpush', 'txlist', ARGV[1])"
    for number in range(24):
        at = 100 + 110 * number
        commands = [
            f'["EVAL", "{script}", 0, "{number}"]',
            f'["SET", "short:{number % 3}", "{"x" * 40}", "PX", "{150 + 40 * number}"]',
            '["SELECT", "3"]' if number % 4 == 0 else f'["SET", "third:{number}", "{number}"]',
        ]
        for argv in commands:
            lines += ["[[steps]]", f'at = "{at}ms"', f'command = {{ node = "a", argv = {argv}, background = true }}']
    return "\n".join(lines)


_FAULTS = """
[end]
converge = "20s"
[faults]
vary = true
per_minute = 220
start = "50ms"
longest = "800ms"
[faults.kinds]
kill = 2
power-loss = 1
stop = 2
cut = 2
cut-one-way = 1
reset = 2
throttle = 3
drop-links = 5
child-kill = 1
promote = 2
failover = 3
repoint = 4
resize = 2
config = 2
save = 1
restart = 1
"""

_WAIT = (
    _HEAD.format("wait")
    + """
duration = "2500ms"
[topology]
replicas = 2
[workload]
clients = 4
rate = 60
wait_replicas = 1
timeout = "800ms"
value_size = 200
[[steps]]
at = "0s"
throttle = { between = ["a", "others"], rate = "30kb", direction = "a->others" }
[[steps]]
at = "1500ms"
kill = "a"
[[steps]]
when = { down = "a" }
promote = "best"
[[steps]]
repoint = "others"
[[expect]]
lost = 0
"""
)

_HANDOVER = (
    _HEAD.format("handover")
    + """
duration = "2s"
[topology]
replicas = 2
[workload]
clients = 4
rate = 100
value_size = 200
[[steps]]
at = "0s"
throttle = { between = ["a", "b"], rate = "40kb", direction = "a->b" }
[[steps]]
at = "700ms"
command = { node = "a", argv = ["FAILOVER", "TO", "10.0.0.2", "6379"] }
[[steps]]
wait = { role = { node = "a", is = "replica" } }
[[steps]]
after = "100ms"
promote = { node = "b", announce = true }
[[expect]]
lost = 0
"""
)

_CHAIN = (
    _HEAD.format("chain")
    + """
duration = "2500ms"
[nodes.b]
replica_of = "a"
[nodes.c]
replica_of = "a"
[nodes.d]
replica_of = "b"
[config]
repl-timeout = 5
[workload]
clients = 3
rate = 50
kind = "append"
[[steps]]
at = "800ms"
kill = "a"
[[steps]]
when = { down = "a" }
promote = "b"
[[steps]]
repoint = { nodes = "c", to = "b" }
[[steps]]
wait = { synced = ["c", "d"] }
[[expect]]
full_syncs = 0
[[expect]]
equal_digests = ["b", "c", "d"]
[[expect]]
consistent = true
"""
)

_LAG = (
    _HEAD.format("lag")
    + """
duration = "5s"
[topology]
replicas = 1
[config]
min-replicas-to-write = 1
min-replicas-max-lag = 1
repl-timeout = 30
[workload]
clients = 2
rate = 30
[[steps]]
at = "500ms"
cut = { between = ["a", "b"] }
[[expect]]
failed = "> 0"
[end]
converge = "40s"
"""
)

_TTL = (
    _HEAD.format("ttl")
    + """
duration = "5s"
[topology]
replicas = 1
[config]
repl-backlog-ttl = 1
repl-timeout = 2
[workload]
clients = 2
rate = 30
[[steps]]
at = "300ms"
load = "pause"
[[steps]]
wait = { offsets_equal = ["a", "b"] }
[[steps]]
cut = { between = ["a", "b"], mode = "reset" }
[[steps]]
name = "the backlog is freed, and then a writes on, uncounted"
after = "3s"
load = "resume"
[[steps]]
after = "500ms"
load = "pause"
[[steps]]
heal = { between = ["a", "b"] }
[[steps]]
promote = "b"
[[steps]]
repoint = { nodes = "a" }
[[steps]]
wait = { synced = ["a"] }
[[expect]]
consistent = true
[[expect]]
equal_digests = true
"""
)

_FLOOD = (
    _HEAD.format("flood")
    + """
duration = "1200ms"
[topology]
replicas = 2
[config]
repl-backlog-size = 16384
[workload]
clients = 3
rate = 100
value_size = 2000
[[steps]]
at = "50ms"
throttle = { between = ["a", "b"], rate = "100kb", direction = "a->b" }
[[steps]]
at = "900ms"
throttle = { between = ["a", "b"], rate = 0, direction = "a->b" }
[[steps]]
wait = { offsets_equal = ["b", "c"] }
[[expect]]
full_syncs = 0
[[expect]]
equal_digests = true
"""
)


def _append_only(title: str, policy: str, kinds: str, expect: str, start_ms: int = 50, stop_ms: int = 3000) -> str:
    """A lone node, its append-only file, and a disk that does not deserve its name."""
    lines = [_HEAD.format(title), 'duration = "4s"', "[topology]", "replicas = 0", "[config]"]
    lines += ['appendonly = "yes"', f'appendfsync = "{policy}"', "auto-aof-rewrite-min-size = 9000"]
    if start_ms > 1000:  # a rewrite syncs what there is
        lines += ["auto-aof-rewrite-percentage = 0"]
    lines += ["[workload]", "clients = 3", "rate = 50", "value_size = 60", 'timeout = "400ms"']
    script = "for i=1,4 do redis.call('incr', 'tx:'..i) end redis.call('rpush', 'txlist', ARGV[1])"
    for number in range(20):
        at = 60 + 140 * number
        argv = '["BGREWRITEAOF"]' if number % 5 == 2 and start_ms < 1000 else f'["EVAL", "{script}", 0, "{number}"]'
        lines += ["[[steps]]", f'at = "{at}ms"', f'command = {{ node = "a", argv = {argv}, background = true }}']
    for at in range(3500, 4000, 60):  # a disk that fails to read lets no start through
        lines += ["[[steps]]", f'at = "{at}ms"', 'restart = "a"']
    lines += ["[[steps]]", 'within = "60s"', "wait = { writable = true }"]
    lines += ["[end]", 'converge = "20s"', "[[expect]]", expect]
    lines += ["[faults]", "per_minute = 200", f'start = "{start_ms}ms"', f'stop = "{stop_ms}ms"', 'longest = "400ms"']
    lines += ["[faults.kinds]", kinds]
    return "\n".join(lines)


_POWER = "power-loss = 5\nkill = 2\nrestart = 1\nchild-kill = 1"
_SYNCS = "power-loss = 4\ndisk-error = 9"
_DISK = _POWER + "\ndisk-full = 4"

ARENAS: dict[str, Script] = SENTINEL_ARENAS | {
    name: loads(text, name)[0]
    for name, text in {
        "storm": _storm() + _FAULTS, "transactions": _transactions() + _BROKEN_LINKS, "loads": _LOADS, "swap": _SWAP,
        "wait": _WAIT, "handover": _HANDOVER, "chain": _CHAIN, "lag": _LAG,
        "ttl": _TTL, "flood": _FLOOD,
        "fsync always": _append_only("fsync always", "always", _POWER + "\nslow-disk = 6", "lost = 0"),
        "fsync everysec": _append_only("fsync everysec", "everysec", "power-loss = 1", 'lost_within = "2s"', 2900),
        "torn tail": _append_only("torn tail", "everysec", "power-loss = 1", 'lost_within = "2s"', 50, 800),
        "bad disk, always": _append_only("bad disk, always", "always", _DISK, "lost = 0"),
        "bad disk, everysec": _append_only("bad disk, everysec", "everysec", _SYNCS, "phantom = 0"),
    }.items()
}  # fmt: skip
