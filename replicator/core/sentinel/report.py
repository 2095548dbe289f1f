"""How a Sentinel shows what it believes: the fields of SENTINEL MASTERS and its kin, INFO, CKQUORUM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from replicator.core.sentinel.belief import Instance, Peer, Primary, Replica
from replicator.core.sentinel.roster import Roster
from replicator.core.sentinel.scripts import Scripts
from replicator.core.sentinel.sessions import Room
from replicator.core.sentinel.settings import Settings
from replicator.core.turn import Turn

VERSION = "7.0.15"


def fields(instance: Instance, shown: str, now: int) -> list[tuple[str, str]]:
    """One instance, in stock's order; ages in milliseconds. shown: its host."""
    link = instance.link
    found: list[tuple[str, object]] = [
        ("name", instance.name),
        ("ip", shown),
        ("port", instance.address.port),
        ("runid", instance.run_id),
        ("flags", ",".join(instance.flags())),
        ("link-pending-commands", link.pending),
        ("link-refcount", link.owners),
    ]
    if isinstance(instance, Primary) and instance.failing_over:
        found.append(("failover-state", instance.failover_state.value))
    found += [
        ("last-ping-sent", 0 if link.owed_since_ms is None else now - link.owed_since_ms),
        ("last-ok-ping-reply", now - link.available_ms),
        ("last-ping-reply", now - link.pong_ms),
    ]
    if instance.sdown and instance.sdown_ms is not None:
        found.append(("s-down-time", now - instance.sdown_ms))
    if isinstance(instance, Primary) and instance.odown and instance.odown_ms is not None:
        found.append(("o-down-time", now - instance.odown_ms))
    found.append(("down-after-milliseconds", instance.down_after_ms))
    if isinstance(instance, Peer):
        found += [
            ("last-hello-message", now - instance.heard_ms),
            ("voted-leader", instance.leader or "?"),
            ("voted-leader-epoch", instance.leader_epoch),
        ]
        return [(name, str(value)) for name, value in found]
    found += [
        ("info-refresh", 0 if instance.info_ms is None else now - instance.info_ms),
        ("role-reported", instance.role),
        ("role-reported-time", now - instance.role_since_ms),
    ]
    found += _of_primary(instance) if isinstance(instance, Primary) else []
    found += _of_replica(instance) if isinstance(instance, Replica) else []
    return [(name, str(value)) for name, value in found]


def _of_primary(primary: Primary) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        ("config-epoch", primary.config_epoch),
        ("num-slaves", len(primary.replicas)),
        ("num-other-sentinels", len(primary.sentinels)),
        ("quorum", primary.quorum),
        ("failover-timeout", primary.failover_timeout_ms),
        ("parallel-syncs", primary.parallel_syncs),
    ]
    if primary.notification_script:
        found.append(("notification-script", primary.notification_script))
    if primary.client_script:
        found.append(("client-reconfig-script", primary.client_script))
    return found


def _of_replica(replica: Replica) -> list[tuple[str, object]]:
    return [
        ("master-link-down-time", replica.link_down_ms),
        ("master-link-status", "ok" if replica.link_ok else "err"),
        ("master-host", replica.following_host or "?"),
        ("master-port", replica.following_port),
        ("slave-priority", replica.priority),
        ("slave-repl-offset", replica.offset),
        ("replica-announced", int(replica.announced)),
    ]


def check_quorum(primary: Primary) -> str:
    """What SENTINEL CKQUORUM answers, with + for well and - for an error before it."""
    usable = 1 + sum(not peer.sdown for peer in primary.sentinels.values())
    voters = 1 + len(primary.sentinels)
    quorum, majority = usable >= primary.quorum, usable >= voters // 2 + 1
    if quorum and majority:
        return f"+OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
    text = f"-NOQUORUM {usable} usable Sentinels. "
    if not quorum:
        text += "Not enough available Sentinels to reach the specified quorum for this master"
    if not majority:
        if not quorum:
            text += ". "
        text += "Not enough available Sentinels to reach the majority and authorize a failover"
    return text


@dataclass(slots=True)
class Surroundings:
    """What a Sentinel cannot know by itself; the driver fills it in.

    config_file: absolute path of sentinel.conf. read_file: its text as it is now (None: nobody can say). resolve: a
    host name's address. may_run: whether a script is there and may be run. calendar: a second of the wall clock as
    "Wed Nov 25 21:50:23 2026".
    """

    pid: int = 1
    port: int = 26379
    executable: str = "replicator"
    config_file: str = ""
    system: str = ""
    resident: Callable[[], int] = field(default=lambda: 0)
    cpu_seconds: Callable[[], tuple[float, float, float, float]] = field(default=lambda: (0.0, 0.0, 0.0, 0.0))
    read_file: Callable[[], str | None] = field(default=lambda: None)
    resolve: Callable[[str], str | None] = field(default=lambda _name: None)
    may_run: Callable[[str], bool] = field(default=lambda _path: True)
    calendar: Callable[[int], str] = field(default=str)


class Information:
    """INFO of a Sentinel."""

    def __init__(
        self, turn: Turn, settings: Settings, roster: Roster, scripts: Scripts, room: Room,
        surroundings: Surroundings, *, run_id: str, tilted_since: Callable[[], int | None], max_clients: int,
    ) -> None:  # fmt: skip
        self._turn = turn
        self._settings = settings
        self._roster = roster
        self._scripts = scripts
        self._room = room
        self._surroundings = surroundings
        self._run_id = run_id
        self._tilted_since = tilted_since
        self._max_clients = max_clients
        self.started_ms = 0
        self._sections: dict[str, Callable[[], list[tuple[str, object]]]] = {
            "server": self._server, "clients": self._clients, "stats": self._stats, "cpu": self._cpu,
            "sentinel": self._sentinel,
        }  # fmt: skip

    def render(self, wanted: list[str]) -> str:
        """The sections asked for (none: all)."""
        everything = not wanted or any(word in ("all", "default", "everything") for word in wanted)
        parts = []
        for name, section in self._sections.items():
            if everything or name in wanted:
                title = "CPU" if name == "cpu" else name.capitalize()
                lines = "".join(f"{key}:{value}\r\n" for key, value in section())
                parts.append(f"# {title}\r\n{lines}")
        return "\r\n".join(parts)

    def _server(self) -> list[tuple[str, object]]:
        about, now = self._surroundings, self._turn.now
        uptime = (now.mono_ms - self.started_ms) // 1000
        return [
            ("redis_version", VERSION), ("redis_git_sha1", "00000000"), ("redis_git_dirty", 0),
            ("redis_build_id", "0"), ("redis_mode", "sentinel"), ("os", about.system), ("arch_bits", 64),
            ("monotonic_clock", "POSIX clock_gettime"), ("multiplexing_api", "epoll"), ("process_id", about.pid),
            ("process_supervised", "no"), ("run_id", self._run_id), ("tcp_port", about.port),
            ("server_time_usec", now.unix_ms * 1000), ("uptime_in_seconds", uptime),
            ("uptime_in_days", uptime // 86400), ("hz", 10), ("configured_hz", 10),
            ("lru_clock", now.unix_ms // 1000 & 0xFFFFFF), ("executable", about.executable),
            ("config_file", about.config_file), ("io_threads_active", 0),
        ]  # fmt: skip

    def _clients(self) -> list[tuple[str, object]]:
        return [
            ("connected_clients", len(self._room.sessions)), ("cluster_connections", 0),
            ("maxclients", self._max_clients), ("client_recent_max_input_buffer", 0),
            ("client_recent_max_output_buffer", 0), ("blocked_clients", 0), ("tracking_clients", 0),
            ("clients_in_timeout_table", 0),
        ]  # fmt: skip

    def _stats(self) -> list[tuple[str, object]]:
        counters, subscriptions = self._room.counters, self._room.subscriptions
        return [
            ("total_connections_received", counters.connections), ("total_commands_processed", counters.commands),
            ("instantaneous_ops_per_sec", 0), ("total_net_input_bytes", counters.received),
            ("total_net_output_bytes", counters.sent), ("instantaneous_input_kbps", "0.00"),
            ("instantaneous_output_kbps", "0.00"), ("rejected_connections", counters.rejected),
            ("sync_full", 0), ("sync_partial_ok", 0), ("sync_partial_err", 0), ("expired_keys", 0),
            ("evicted_keys", 0), ("keyspace_hits", 0), ("keyspace_misses", 0),
            ("pubsub_channels", len(subscriptions.channels)), ("pubsub_patterns", len(subscriptions.patterns)),
            ("pubsubshard_channels", 0), ("latest_fork_usec", 0), ("total_forks", 0),
            ("total_error_replies", counters.errors), ("total_reads_processed", counters.reads),
            ("total_writes_processed", counters.writes),
        ]  # fmt: skip

    def _cpu(self) -> list[tuple[str, object]]:
        own_system, own_user, child_system, child_user = self._surroundings.cpu_seconds()
        named = (
            ("used_cpu_sys", own_system), ("used_cpu_user", own_user),
            ("used_cpu_sys_children", child_system), ("used_cpu_user_children", child_user),
        )  # fmt: skip
        return [(name, f"{seconds:.6f}") for name, seconds in named]

    def _sentinel(self) -> list[tuple[str, object]]:
        since, settings = self._tilted_since(), self._settings
        flags = settings.crash_after_election + 2 * settings.crash_after_promotion
        found: list[tuple[str, object]] = [
            ("sentinel_masters", len(self._roster.primaries)),
            ("sentinel_tilt", int(since is not None)),
            ("sentinel_tilt_since_seconds", -1 if since is None else (self._turn.now.mono_ms - since) // 1000),
            ("sentinel_running_scripts", self._scripts.running),
            ("sentinel_scripts_queue_length", len(self._scripts.jobs)),
            ("sentinel_simulate_failure_flags", flags),
        ]
        for at, primary in enumerate(self._roster.primaries.values()):
            status = "odown" if primary.odown else "sdown" if primary.sdown else "ok"
            found.append((
                f"master{at}",
                f"name={primary.name},status={status},"
                f"address={self._roster.shown(primary.address)}:{primary.address.port},"
                f"slaves={len(primary.replicas)},sentinels={len(primary.sentinels) + 1}",
            ))  # fmt: skip
        return found
