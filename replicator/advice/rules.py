"""What can be said of a topology that runs: plain sentences with figures, each with its evidence and a scenario."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from replicator.advice.facts import Facts, Look
from replicator.status import duration_text, size_text

Severity = Literal["danger", "warning", "note", "good"]
# How long a replica should be able to be away without a full copy.
COVERED_S = 600
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Advice:
    """One sentence. evidence: where its figures come from. scenario: a file of the library that shows it ("": none)."""

    topic: str
    severity: Severity
    sentence: str
    evidence: str
    scenario: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def advice(look: Look) -> list[Advice]:
    """Everything that can be said, the most dangerous first."""
    order: list[Severity] = ["danger", "warning", "note", "good"]
    found = [one for rule in _RULES for one in rule(look)]
    return sorted(found, key=lambda one: order.index(one.severity))


def needed_backlog(bytes_per_second: float, seconds: float = COVERED_S) -> int:
    """The repl-backlog-size, in whole MiB, that covers an absence of so many seconds."""
    return max(1, math.ceil(bytes_per_second * seconds / _MIB)) * _MIB


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else duration_text(seconds)


def _unreachable(look: Look) -> Iterator[Advice]:
    for node in look.nodes:
        if not node.view.reachable or node.view.error:
            yield Advice(
                "reach",
                "warning",
                f"{node.name} could not be asked: {node.view.error or 'no answer'}; what follows leaves it out.",
                f"connection to {node.name}",
            )
    if look.primary is None:
        yield Advice("reach", "danger", "No primary answers: nothing can be written here.", "INFO replication, role")


def _links(look: Look) -> Iterator[Advice]:
    for node in look.replicas:
        if node.view.link == "down":
            since = node.view.link_down_seconds
            when = "" if since is None else f" for {duration_text(since)}"
            yield Advice(
                "links",
                "danger",
                f"{node.name} has had no link to its primary{when}: what it serves is old, "
                "and it saves nothing in a failover.",
                f"INFO master_link_status:down on {node.name}",
                "link-flap.toml",
            )
        elif node.view.link == "syncing":
            yield Advice(
                "links",
                "note",
                f"{node.name} is copying everything just now.",
                f"INFO master_sync_in_progress:1 on {node.name}",
                "small-backlog.toml",
            )


def _full_copies(look: Look) -> Iterator[Advice]:
    for node in look.nodes:
        full, refused, partial = (node.number(f"sync_{name}") for name in ("full", "partial_err", "partial_ok"))
        if not full:
            continue
        evidence = f"INFO sync_full:{full} sync_partial_ok:{partial} sync_partial_err:{refused} on {node.name}"
        first = max(0, full - refused)
        text = f"{node.name} has copied everything to replicas {_times(full)} in {duration_text(_uptime(node))}"
        if refused:
            text += (
                f": {_times(refused)} a replica asked to go on where it was and was refused (its history was another "
                "one, or its offset was no longer in the backlog)"
            )
        if first:
            text += f"{', and' if refused else ':'} {_times(first)} it had no history to go on with"
        told = node.info.get("replicator_last_full_sync_reason")
        if told:
            text += f". The last one: {told}"
        yield Advice("copies", "warning" if refused else "note", text + ".", evidence, "small-backlog.toml")


def _uptime(node: Facts) -> int:
    return max(1, node.number("uptime_in_seconds", 1))


def _backlog(look: Look) -> Iterator[Advice]:
    primary, rate = look.primary, look.bytes_per_second
    if primary is None:
        return
    if primary.info.get("repl_backlog_active") != "1":
        if look.replicas:
            yield Advice(
                "backlog",
                "warning",
                f"{primary.name} keeps no backlog: every replica that comes needs a full copy.",
                f"INFO repl_backlog_active:0 on {primary.name}",
                "small-backlog.toml",
            )
        return
    size = primary.number("repl_backlog_size")
    evidence = f"INFO repl_backlog_size:{size} on {primary.name}; its history grew by {size_text(rate)} a second over "
    evidence += duration_text(look.sampled_s)
    if rate < 1:
        yield Advice(
            "backlog",
            "note",
            f"Nothing was written while it was watched; a replica may miss {size_text(size)} "
            "of the stream before it needs a full copy.",
            evidence,
            "small-backlog.toml",
        )
        return
    covers, needed = size / rate, needed_backlog(rate)
    many = (
        f"At {size_text(rate)} a second the backlog of {size_text(size)} covers an absence of {_span(covers)}"
    )
    if covers < COVERED_S:
        severity: Severity = "danger" if covers < 60 else "warning"
        yield Advice(
            "backlog",
            severity,
            f"{many}: a replica that is away for longer copies everything. For ten minutes "
            f"set repl-backlog-size {needed} ({size_text(needed)}).",
            evidence,
            "small-backlog.toml",
        )
    else:
        yield Advice("backlog", "good", f"{many}.", evidence, "small-backlog.toml")


def _output_limits(look: Look) -> Iterator[Advice]:
    primary, rate = look.primary, look.bytes_per_second
    if primary is None or rate < 1:
        return
    words = primary.setting("client-output-buffer-limit").split()
    limits = {words[at]: words[at + 1 : at + 4] for at in range(0, len(words) - 3, 4)}
    found = limits.get("slave") or limits.get("replica")
    if not found or not all(word.isdigit() for word in found):
        return
    hard, soft, seconds = map(int, found)
    evidence = f"client-output-buffer-limit replica {hard} {soft} {seconds} on {primary.name}, {size_text(rate)}/s"
    parts = []
    if hard:
        parts.append((hard / rate, f"the hard limit of {size_text(hard)} is reached"))
    if soft:
        parts.append((soft / rate + seconds, f"the soft limit of {size_text(soft)} has held for {seconds} s"))
    if not parts:
        yield Advice(
            "output",
            "note",
            "No output limit cuts a slow replica off: what it lacks is kept in the primary's memory.",
            evidence,
            "slow-replica.toml",
        )
        return
    after, why = min(parts)
    copy_s = max(primary.number("rdb_last_bgsave_time_sec", 0), 0)
    severity: Severity = "danger" if after <= copy_s else "warning" if after < 120 else "note"
    text = f"A replica that takes nothing, or is being copied, is cut off after {_span(after)}: then {why}"
    if after <= copy_s:
        text += f"; a snapshot alone takes {copy_s} s, so a full copy would never end"
    yield Advice("output", severity, text + ".", evidence, "slow-replica.toml")


def _min_replicas(look: Look) -> Iterator[Advice]:
    primary = look.primary
    if primary is None:
        return
    wanted, lag = primary.sized("min-replicas-to-write"), primary.sized("min-replicas-max-lag", 10)
    online = sum(one.view.link == "up" for one in look.replicas if one.view.primary)
    evidence = (
        f"min-replicas-to-write {wanted}, min-replicas-max-lag {lag} on {primary.name}; {online} replicas in sync"
    )
    if not wanted or not lag:
        yield Advice(
            "min-replicas",
            "warning",
            "Nothing stops a primary that is cut off from its replicas from "
            "acknowledging writes that will be undone; min-replicas-to-write 1 with min-replicas-max-lag 1 would "
            "end that after one to three seconds.",
            evidence,
            "min-replicas.toml",
        )
        return
    if online - 1 < wanted:
        yield Advice(
            "min-replicas",
            "danger" if online < wanted else "warning",
            f"{online} replicas are there and {wanted} are wanted: "
            + ("writes are refused now." if online < wanted else "one replica less and every write is refused."),
            evidence,
            "min-replicas.toml",
        )
    yield Advice(
        "min-replicas",
        "note" if lag <= 2 else "warning",
        f"A primary that is cut off goes on acknowledging for "
        f"{lag} to {lag + 2} seconds before it refuses writes; those are lost when another is promoted.",
        evidence,
        "min-replicas.toml",
    )


def _persistence(look: Look) -> Iterator[Advice]:
    primary = look.primary
    if primary is None or not primary.config:
        return
    appended, saves = primary.setting("appendonly") == "yes", primary.setting("save")
    policy = primary.setting("appendfsync", "everysec")
    evidence = f'appendonly {primary.setting("appendonly")}, appendfsync {policy}, save "{saves}" on {primary.name}'
    if not appended and not saves:
        if look.replicas:
            yield Advice(
                "persistence",
                "danger",
                "The primary keeps nothing on disk: if it ends and is started again "
                "before another is promoted, it is empty, and its replicas copy the emptiness.",
                evidence,
                "power-loss.toml",
            )
        return
    if not appended:
        changes = primary.number("rdb_changes_since_last_save")
        yield Advice(
            "persistence",
            "warning",
            f"A restart of the primary goes back to its last snapshot: {changes} changes are newer than that.",
            f"{evidence}; INFO rdb_changes_since_last_save:{changes}",
            "power-loss-alone.toml",
        )
    elif policy != "always":
        bound = "up to two seconds" if policy == "everysec" else "whatever the system has not written yet (often 30 s)"
        yield Advice(
            "persistence",
            "note",
            f"With appendfsync {policy} a power loss of the primary alone loses {bound} of acknowledged writes.",
            evidence,
            "power-loss-alone.toml",
        )


def _crash(look: Look) -> Iterator[Advice]:
    primary, rate = look.primary, look.writes_per_second
    if primary is None:
        return
    if not look.replicas:
        yield Advice(
            "crash",
            "danger",
            "There is no replica: when the primary ends, service ends.",
            f"INFO connected_slaves:0 on {primary.name}",
            "primary-crash.toml",
        )
        return
    behind = [one.view.behind_bytes for one in look.replicas if one.view.behind_bytes is not None]
    if behind and rate > 0 and look.bytes_per_second > 0:
        nearest = min(behind)
        each = look.bytes_per_second / rate
        yield Advice(
            "crash",
            "note" if nearest < 10 * each else "warning",
            "A crash of the primary now loses what its "
            f"nearest replica lacks: {size_text(nearest)}, about {math.ceil(nearest / each)} writes. WAIT 1 behind "
            "a write tells that one replica has it.",
            f"offsets of {primary.name} and its replicas, read in that order",
            "primary-crash.toml",
        )
    if all(one.sized("replica-priority", 100) == 0 for one in look.replicas):
        yield Advice(
            "crash",
            "danger",
            "Every replica has replica-priority 0: Sentinel would promote none of them.",
            "CONFIG GET replica-priority",
            "sentinel-crash.toml",
        )


_SAME = (
    "maxmemory",
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "save",
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "repl-backlog-size",
    "repl-timeout",
    "client-output-buffer-limit",
    "hash-max-listpack-entries",
    "notify-keyspace-events",
)


def _differences(look: Look) -> Iterator[Advice]:
    asked = [one for one in look.nodes if one.config]
    for name in _SAME:
        values: dict[str, list[str]] = {}
        for node in asked:
            if name in node.config:
                values.setdefault(node.config[name], []).append(node.name)
        if len(values) > 1:
            told = "; ".join(f'"{value}" on {", ".join(nodes)}' for value, nodes in values.items())
            yield Advice(
                "differences",
                "warning",
                f"{name} is not the same everywhere ({told}): after a failover the service behaves differently.",
                f"CONFIG GET {name}",
            )
    versions = {one.view.version for one in asked}
    if len(versions) > 1:
        yield Advice(
            "differences",
            "note",
            f"Versions differ: {', '.join(sorted(versions))}. A newer primary may send what "
            "an older replica does not know.",
            "INFO server",
            "rolling-restart.toml",
        )
    for node in look.replicas:
        if node.setting("replica-read-only") == "no":
            yield Advice(
                "differences",
                "warning",
                f"{node.name} takes writes of its own: they are gone at its next full "
                "copy, and until then it differs from its primary.",
                f"replica-read-only no on {node.name}",
            )
        primary = look.primary
        if primary is not None and primary.setting("requirepass") and not node.setting("masterauth"):
            yield Advice(
                "differences",
                "warning",
                f"{node.name} has no masterauth, though its primary wants a password: "
                "as soon as the link breaks it stays broken.",
                f"masterauth on {node.name}",
            )


def _timeouts(look: Look) -> Iterator[Advice]:
    primary = look.primary
    if primary is None:
        return
    ping, limit = primary.sized("repl-ping-replica-period", 10), primary.sized("repl-timeout", 60)
    if limit and ping >= limit:
        yield Advice(
            "timeouts",
            "danger",
            f"repl-timeout {limit} is not longer than repl-ping-replica-period {ping}: idle "
            "links break again and again.",
            f"CONFIG GET repl-* on {primary.name}",
            "link-flap.toml",
        )


def _sentinels(look: Look) -> Iterator[Advice]:
    if not look.sentinels:
        return
    count, quorum = len(look.sentinels), look.sentinels[0].get("quorum", "")
    after = look.sentinels[0].get("down-after-milliseconds", "")
    evidence = f"SENTINEL MASTERS, SENTINELS: {count} Sentinels, quorum {quorum}, down-after-milliseconds {after}"
    majority = count // 2 + 1
    if count < 3:
        yield Advice(
            "sentinels",
            "danger",
            f"{count} Sentinels cannot elect a leader once one of them is gone: there have to be three at least.",
            evidence,
            "sentinel-crash.toml",
        )
    if quorum.isdigit() and int(quorum) > count - 1 >= 1:
        yield Advice(
            "sentinels",
            "warning",
            f"A quorum of {quorum} of {count} cannot be reached once one Sentinel is gone.",
            evidence,
            "sentinel-crash.toml",
        )
    if after.isdigit():
        yield Advice(
            "sentinels",
            "note",
            f"A crash is noticed after {int(after) / 1000:g} s, and {majority} of {count} "
            "Sentinels must agree on who acts: expect a second or two more without service.",
            evidence,
            "sentinel-crash.toml",
        )


_RULES = (
    _unreachable,
    _links,
    _full_copies,
    _backlog,
    _output_limits,
    _min_replicas,
    _persistence,
    _crash,
    _differences,
    _timeouts,
    _sentinels,
)
