"""INFO: what tools read about a node, section by section, in stock's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from replicator import __version__
from replicator.core.clients.listing import Clients
from replicator.core.clients.pubsub import PubSub
from replicator.core.clients.roll import Roll
from replicator.core.clients.tracking import Tracker
from replicator.core.clients.waiting import Waiting
from replicator.core.command_table.statistics import Statistics
from replicator.core.command_table.table import Table
from replicator.core.config.config import Config
from replicator.core.execution.calling import Calling
from replicator.core.execution.connections import Connections
from replicator.core.execution.transfers import Transfers
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.eviction import Evictor
from replicator.core.now import Now
from replicator.core.persistence.append_only import AppendOnly
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.snapshots import Snapshots
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Link, LinkState, Primary
from replicator.core.replication.replica import Replica
from replicator.core.report.counters import Counters
from replicator.core.roles.applying import Applying
from replicator.core.roles.failover import Failover
from replicator.core.roles.shutdown import Shutdown
from replicator.core.scripting.state import Scripting
from replicator.core.surroundings import REDIS_VERSION, Surroundings
from replicator.core.turn import Turn

_FIRST = ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules")
_DEFAULT = (*_FIRST, "errorstats", "cluster", "keyspace")
_ALL = (*_FIRST, "commandstats", "errorstats", "latencystats", "cluster", "keyspace")

Fields = list[tuple[str, object]]


class Cluster(Protocol):
    """The cluster that the node is a member of (membership.py)."""

    def connections(self) -> int:
        """How many there are to and from its other nodes."""


@dataclass(slots=True)
class Sources:
    """The parts of a node of which INFO tells."""

    turn: Turn
    config: Config
    surroundings: Surroundings
    started: Now
    run_id: str
    keyspace: Keyspace
    evictor: Evictor
    table: Table
    statistics: Statistics
    calling: Calling
    counters: Counters
    roll: Roll
    waiting: Waiting
    connections: Connections
    pubsub: PubSub
    tracker: Tracker
    scripting: Scripting
    history: History
    outgoing: Outgoing
    primary: Primary
    replica: Replica
    clients: Clients
    snapshots: Snapshots
    append_only: AppendOnly
    loads: Loads
    applying: Applying
    failover: Failover
    shutdown: Shutdown
    transfers: Transfers
    cluster: Cluster | None = None

    def info(self, sections: list[str]) -> bytes:
        """INFO's text."""
        return render(self, sections)

    def overheads(self) -> dict[str, int]:
        """Bytes in buffers outside the keyspace, as MEMORY STATS names them."""
        links = self.primary.links
        clients = [session for session in self.roll.sessions.values() if session.conn not in links]
        return {
            "replication.backlog": self.primary.buffer_memory,
            "clients.slaves": sum(link.pending for link in links.values()),
            "clients.normal": sum(session.pending_output + session.decoder.pending for session in clients),
            "cluster.links": 0,
            "aof.buffer": 0,
            "lua.caches": self.scripting.memory_used,
            "functions.caches": sum(map(len, self.scripting.library_codes())),
        }


def render(of: Sources, sections: list[str]) -> bytes:
    """The text of these sections (none: the default ones)."""
    wanted: list[str] = []
    for name in sections or ["default"]:
        wanted += {"default": _DEFAULT, "all": _ALL, "everything": _ALL}.get(name, (name,))
    parts = []
    for name in dict.fromkeys(wanted):
        section = _SECTIONS.get(name)
        if section is not None:
            title, fields = section
            lines = [f"{key}:{value}" for key, value in fields(of)]
            parts.append("\r\n".join([f"# {title}", *lines, ""]))
    return "\r\n".join(parts).encode("utf-8", "surrogateescape")


def human(size: int) -> str:
    """1536 -> 1.50K, as stock shows bytes."""
    if size < 1024:
        return f"{size}B"
    value = float(size)
    for unit in ("K", "M", "G", "T"):
        value /= 1024
        if value < 1024:
            return f"{value:.2f}{unit}"
    return f"{value:.2f}P"


def _server(of: Sources) -> Fields:
    uptime = (of.turn.now.mono_ms - of.started.mono_ms) // 1000
    ends_ms = of.shutdown.deadline_ms
    ending = [] if ends_ms is None else [("shutdown_in_milliseconds", max(0, ends_ms - of.turn.now.mono_ms))]
    return [
        ("redis_version", REDIS_VERSION),
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0),
        ("redis_build_id", "0"),
        ("redis_mode", "standalone" if of.cluster is None else "cluster"),
        ("replicator_version", __version__),
        ("os", of.surroundings.system),
        ("arch_bits", 64),
        ("monotonic_clock", "POSIX clock_gettime"),
        ("multiplexing_api", "epoll"),
        ("process_id", of.surroundings.pid),
        ("process_supervised", "no"),
        ("run_id", of.run_id),
        ("tcp_port", of.config["port"] or of.config["tls-port"]),
        ("server_time_usec", of.turn.now.unix_ms * 1000),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime // 86400),
        ("hz", of.config["hz"]),
        ("configured_hz", of.config["hz"]),
        ("lru_clock", of.turn.now.unix_ms // 1000 & 0xFFFFFF),
        ("executable", of.surroundings.executable),
        ("config_file", of.surroundings.config_file),
        ("io_threads_active", 0),
        *ending,
    ]


def _clients(of: Sources) -> Fields:
    links = len(of.primary.links)
    tracking = sum(session.tracking is not None for session in of.roll.sessions.values())
    biggest_in, biggest_out = of.counters.traffic.largest()
    return [
        ("connected_clients", len(of.roll.sessions) - links + (of.applying.session is not None)),
        ("cluster_connections", 0 if of.cluster is None else of.cluster.connections()),
        ("maxclients", of.config["maxclients"]),
        ("client_recent_max_input_buffer", biggest_in),
        ("client_recent_max_output_buffer", biggest_out),
        ("blocked_clients", len(of.waiting.blocked)),
        ("tracking_clients", tracking),
        ("clients_in_timeout_table", len(of.waiting.timeouts)),
    ]


def _memory(of: Sources) -> Fields:
    resident = of.surroundings.resident()
    used = of.evictor.used_memory()
    peak = of.evictor.peak = max(of.evictor.peak, used)
    startup = of.evictor.baseline
    replication = of.primary.buffer_memory
    links = sum(link.pending for link in of.primary.links.values())
    normal = sum(of.clients.memory(one) for one in of.clients.all() if of.clients.kind(one) != "slave")
    overhead = startup + replication + links + normal + of.keyspace.tables_size()
    dataset = max(0, used - overhead)
    scripting = of.scripting
    code, libraries = scripting.scripts_size(), sum(map(len, scripting.library_codes()))
    machine = scripting.memory_used
    system = of.surroundings.memory
    maxmemory = of.config["maxmemory"]
    # Of the allocator the process knows what the system counts as its memory, and its own estimate.
    return [
        ("used_memory", used),
        ("used_memory_human", human(used)),
        ("used_memory_rss", resident),
        ("used_memory_rss_human", human(resident)),
        ("used_memory_peak", peak),
        ("used_memory_peak_human", human(peak)),
        ("used_memory_peak_perc", f"{100 * used / peak if peak else 0:.2f}%"),
        ("used_memory_overhead", overhead),
        ("used_memory_startup", startup),
        ("used_memory_dataset", dataset),
        ("used_memory_dataset_perc", f"{100 * dataset / max(1, used - startup):.2f}%"),
        ("allocator_allocated", used),
        ("allocator_active", resident),
        ("allocator_resident", resident),
        ("total_system_memory", system),
        ("total_system_memory_human", human(system)),
        ("used_memory_lua", machine),
        ("used_memory_vm_eval", machine),
        ("used_memory_lua_human", human(machine)),
        ("used_memory_scripts_eval", code),
        ("number_of_cached_scripts", len(scripting.scripts)),
        ("number_of_functions", len(scripting.functions)),
        ("number_of_libraries", len(scripting.libraries)),
        ("used_memory_vm_functions", 0),  # scripts and functions share one machine
        ("used_memory_vm_total", machine),
        ("used_memory_vm_total_human", human(machine)),
        ("used_memory_functions", libraries),
        ("used_memory_scripts", code + libraries),
        ("used_memory_scripts_human", human(code + libraries)),
        ("maxmemory", maxmemory),
        ("maxmemory_human", human(maxmemory)),
        ("maxmemory_policy", of.config["maxmemory-policy"]),
        ("allocator_frag_ratio", f"{resident / used if used else 1:.2f}"),
        ("allocator_frag_bytes", resident - used),
        ("allocator_rss_ratio", "1.00"),
        ("allocator_rss_bytes", 0),
        ("rss_overhead_ratio", "1.00"),
        ("rss_overhead_bytes", 0),
        ("mem_fragmentation_ratio", f"{resident / used if used else 1:.2f}"),
        ("mem_fragmentation_bytes", resident - used),
        ("mem_not_counted_for_evict", 0),
        ("mem_replication_backlog", replication),
        ("mem_total_replication_buffers", replication + links),
        ("mem_clients_slaves", links),
        ("mem_clients_normal", normal),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
        ("mem_allocator", "python"),
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", 0),
        ("lazyfreed_objects", 0),
    ]


def _persistence(of: Sources) -> Fields:
    snapshots = of.snapshots
    running = snapshots.running
    loading = of.loads.loading
    saving = running is not None and not running.diskless and not running.rewrite
    current = (of.turn.now.mono_ms - running.started_ms) // 1000 if running is not None and saving else -1
    fields: Fields = [
        ("loading", int(loading is not None and not loading.asynchronous)),
        ("async_loading", int(loading is not None and loading.asynchronous)),
        ("current_cow_peak", 0),
        ("current_cow_size", 0),
        ("current_cow_size_age", 0),
        ("current_fork_perc", "0.00"),
        ("current_save_keys_processed", 0),
        ("current_save_keys_total", 0 if running is None else sum(map(len, of.keyspace.databases))),
        ("rdb_changes_since_last_save", snapshots.changes),
        ("rdb_bgsave_in_progress", int(running is not None and not running.rewrite)),
        ("rdb_last_save_time", snapshots.last_save_s),
        ("rdb_last_bgsave_status", "ok" if snapshots.last_ok else "err"),
        ("rdb_last_bgsave_time_sec", snapshots.last_duration_s),
        ("rdb_current_bgsave_time_sec", current),
        ("rdb_saves", snapshots.saves),
        ("rdb_last_cow_size", snapshots.last_cow),
        ("rdb_last_load_keys_expired", snapshots.last_keys_expired),
        ("rdb_last_load_keys_loaded", snapshots.last_keys_loaded),
        *of.append_only.fields(),
        ("module_fork_in_progress", 0),
        ("module_fork_last_cow_size", 0),
        *of.append_only.size_fields(),
    ]
    if loading is not None:
        elapsed = max(1, of.turn.now.mono_ms - loading.started_ms)
        total = loading.size or loading.read
        left = max(0, total - loading.read)
        fields += [
            ("loading_start_time", loading.started_unix_ms // 1000),
            ("loading_total_bytes", total),
            ("loading_rdb_used_mem", 0),
            ("loading_loaded_bytes", loading.read),
            ("loading_loaded_perc", f"{100 * loading.read / total if total else 0:.2f}"),
            ("loading_eta_seconds", left * elapsed // max(1, loading.read) // 1000),
        ]
    return fields


def _stats(of: Sources) -> Fields:
    keyspace = of.keyspace
    primary = of.primary
    totals = of.counters.traffic.totals()
    rates = [f"{rate:.2f}" for rate in of.counters.traffic.kbps]
    return [
        ("total_connections_received", of.connections.received_total),
        ("total_commands_processed", of.calling.total),
        ("instantaneous_ops_per_sec", of.counters.ops_per_second),
        ("total_net_input_bytes", totals.input),
        ("total_net_output_bytes", totals.output),
        ("total_net_repl_input_bytes", totals.replication_input),
        ("total_net_repl_output_bytes", totals.replication_output),
        ("instantaneous_input_kbps", rates[0]),
        ("instantaneous_output_kbps", rates[1]),
        ("instantaneous_input_repl_kbps", rates[2]),
        ("instantaneous_output_repl_kbps", rates[3]),
        ("rejected_connections", of.connections.rejected_total),
        ("sync_full", primary.sync_full),
        ("sync_partial_ok", primary.sync_partial_ok),
        ("sync_partial_err", primary.sync_partial_err),
        ("expired_keys", keyspace.expired),
        ("expired_stale_perc", "0.00"),
        ("expired_time_cap_reached_count", 0),
        ("expire_cycle_cpu_milliseconds", 0),
        ("evicted_keys", keyspace.evicted),
        ("evicted_clients", 0),
        ("total_eviction_exceeded_time", 0),
        ("current_eviction_exceeded_time", 0),
        ("keyspace_hits", keyspace.hits),
        ("keyspace_misses", keyspace.misses),
        ("pubsub_channels", len(of.pubsub.channels)),
        ("pubsub_patterns", len(of.pubsub.patterns)),
        ("pubsubshard_channels", len(of.pubsub.shard_channels)),
        ("latest_fork_usec", of.snapshots.last_fork_us),
        ("total_forks", of.snapshots.total_forks),
        ("migrate_cached_sockets", len(of.transfers.lines)),
        ("slave_expires_tracked_keys", len(of.keyspace.own_volatile)),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", len(of.tracker.readers)),
        ("tracking_total_items", of.tracker.items),
        ("tracking_total_prefixes", len(of.tracker.prefixes)),
        ("unexpected_error_replies", 0),
        ("total_error_replies", sum(of.calling.errors.values())),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", of.connections.reads),
        ("total_writes_processed", of.roll.writes),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
    ]


def _link(of: Sources, link: Link) -> str:
    lag = (of.turn.now.mono_ms - link.acked_ms) // 1000 if link.state is LinkState.ONLINE else 0
    return (
        f"ip={link.announced_host or link.host},port={link.announced_port},state={link.state.shown},"
        f"offset={link.acked},lag={lag}"
    )


def replication_fields(of: Sources) -> Fields:
    """The fields of the section Replication."""
    offset = of.outgoing.offset()
    history, replica, primary = of.history, of.replica, of.primary
    fields: Fields = [("role", "slave" if replica.active else "master")]
    if replica.active:
        silent = -1 if not replica.up else (of.turn.now.mono_ms - replica.last_io_ms) // 1000
        fields += [
            ("master_host", replica.primary_host),
            ("master_port", replica.primary_port),
            ("master_link_status", "up" if replica.up else "down"),
            ("master_last_io_seconds_ago", silent),
            ("master_sync_in_progress", int(replica.syncing)),
            ("slave_read_repl_offset", offset + len(of.applying.unapplied) if replica.resumable else 0),
            ("slave_repl_offset", offset if replica.resumable else 0),
        ]
        if replica.syncing:
            size, read = replica.transfer.size, replica.transfer.read
            fields += [
                ("master_sync_total_bytes", max(0, size)),
                ("master_sync_read_bytes", read),
                ("master_sync_left_bytes", size - read if size >= 0 else -1),
                ("master_sync_perc", f"{100 * read / size if size > 0 else 0:.2f}"),
                ("master_sync_last_io_seconds_ago", (of.turn.now.mono_ms - replica.transfer.io_ms) // 1000),
            ]
        if not replica.up:
            fields.append(("master_link_down_since_seconds", (of.turn.now.mono_ms - replica.down_since_ms) // 1000))
        fields += [
            ("slave_priority", of.config["replica-priority"]),
            ("slave_read_only", int(of.config["replica-read-only"])),
            ("replica_announced", int(of.config["replica-announced"])),
        ]
    fields.append(("connected_slaves", len(primary.links)))
    if of.config["min-replicas-to-write"] and of.config["min-replicas-max-lag"]:
        good = primary.good_replicas(of.turn.now, of.config["min-replicas-max-lag"])
        fields.append(("min_slaves_good_slaves", good))
    fields += [(f"slave{number}", _link(of, link)) for number, link in enumerate(primary.links.values())]
    window = history.window
    fields += [
        ("master_failover_state", of.failover.state.value),
        ("master_replid", history.id),
        ("master_replid2", history.id2),
        ("master_repl_offset", offset),
        ("second_repl_offset", history.second_limit),
        ("repl_backlog_active", int(window is not None)),
        ("repl_backlog_size", of.config["repl-backlog-size"]),
        ("repl_backlog_first_byte_offset", 0 if window is None else window.start + 1),
        ("repl_backlog_histlen", 0 if window is None else len(window)),
    ]
    if primary.refusals:
        unix_ms, verdict = primary.refusals[-1]
        fields.append(("replicator_last_full_sync_unix_ms", unix_ms))
        fields.append(("replicator_last_full_sync_reason", verdict.explain()))
    return fields


def _cpu(of: Sources) -> Fields:
    system, user, child_system, child_user = of.surroundings.cpu_seconds()
    return [
        ("used_cpu_sys", f"{system:.6f}"),
        ("used_cpu_user", f"{user:.6f}"),
        ("used_cpu_sys_children", f"{child_system:.6f}"),
        ("used_cpu_user_children", f"{child_user:.6f}"),
        ("used_cpu_sys_main_thread", f"{system:.6f}"),
        ("used_cpu_user_main_thread", f"{user:.6f}"),
    ]


def _commandstats(of: Sources) -> Fields:
    fields: Fields = []
    for command in of.table.commands.values():
        for entry in (command, *command.subcommands.values()):
            calls = entry.calls - (entry.full_name == "info" and entry.calls > 0)  # a call counts when it is over
            if calls or entry.rejected or entry.failed:
                usec = of.statistics.measured[entry.full_name].total_usec
                per_call = usec / calls if calls else 0
                fields.append(
                    (
                        f"cmdstat_{entry.full_name}",
                        f"calls={calls},usec={usec},usec_per_call={per_call:.2f},"
                        f"rejected_calls={entry.rejected},failed_calls={entry.failed}",
                    )
                )
    return fields


def _latencystats(of: Sources) -> Fields:
    if not of.config["latency-tracking"]:
        return []
    shares = of.config["latency-tracking-info-percentiles"]
    return [
        (
            f"latency_percentiles_usec_{name}",
            ",".join(f"p{share:g}={one.percentile(share):.3f}" for share in shares),
        )
        for name, one in of.statistics.ordered().items()
        if one.calls
    ]


def _errorstats(of: Sources) -> Fields:
    return [(f"errorstat_{code}", f"count={count}") for code, count in sorted(of.calling.errors.items())]


def _keyspace(of: Sources) -> Fields:
    fields: Fields = []
    now = of.keyspace.now_ms
    for db in of.keyspace.databases:
        if len(db):
            left = [when - now for when in db.expires.values()] if len(db.expires) < 10_000 else []
            average = max(0, sum(left) // len(left)) if left else 0
            fields.append((f"db{db.index}", f"keys={len(db)},expires={len(db.expires)},avg_ttl={average}"))
    return fields


def _nothing(of: Sources) -> Fields:
    return []


_SECTIONS: dict[str, tuple[str, Callable[[Sources], Fields]]] = {
    "server": ("Server", _server),
    "clients": ("Clients", _clients),
    "memory": ("Memory", _memory),
    "persistence": ("Persistence", _persistence),
    "stats": ("Stats", _stats),
    "replication": ("Replication", replication_fields),
    "cpu": ("CPU", _cpu),
    "modules": ("Modules", _nothing),
    "commandstats": ("Commandstats", _commandstats),
    "errorstats": ("Errorstats", _errorstats),
    "latencystats": ("Latencystats", _latencystats),
    "cluster": ("Cluster", lambda of: [("cluster_enabled", int(of.cluster is not None))]),
    "keyspace": ("Keyspace", _keyspace),
}
