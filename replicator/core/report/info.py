"""INFO: what tools read about a node, section by section, in stock's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicator import __version__
from replicator.core.replication.primary import Link, LinkState

if TYPE_CHECKING:
    from replicator.core.node import Node

_FIRST = ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules")
_DEFAULT = (*_FIRST, "errorstats", "cluster", "keyspace")
_ALL = (*_FIRST, "commandstats", "errorstats", "latencystats", "cluster", "keyspace")

Fields = list[tuple[str, object]]


def render(node: Node, sections: list[str]) -> bytes:
    """The text of these sections (none: the default ones)."""
    wanted: list[str] = []
    for name in sections or ["default"]:
        wanted += {"default": _DEFAULT, "all": _ALL, "everything": _ALL}.get(name, (name,))
    parts = []
    for name in dict.fromkeys(wanted):
        section = _SECTIONS.get(name)
        if section is not None:
            title, fields = section
            lines = [f"{key}:{value}" for key, value in fields(node)]
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


def _server(node: Node) -> Fields:
    uptime = (node.turn.now.mono_ms - node.started.mono_ms) // 1000
    ends_ms = node.handover.shutdown_deadline
    ending = [] if ends_ms is None else [("shutdown_in_milliseconds", max(0, ends_ms - node.turn.now.mono_ms))]
    return [
        ("redis_version", node.redis_version),
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0),
        ("redis_build_id", "0"),
        ("redis_mode", "standalone" if node.cluster is None else "cluster"),
        ("replicator_version", __version__),
        ("os", node.surroundings.system),
        ("arch_bits", 64),
        ("monotonic_clock", "POSIX clock_gettime"),
        ("multiplexing_api", "epoll"),
        ("process_id", node.surroundings.pid),
        ("process_supervised", "no"),
        ("run_id", node.run_id),
        ("tcp_port", node.config["port"] or node.config["tls-port"]),
        ("server_time_usec", node.turn.now.unix_ms * 1000),
        ("uptime_in_seconds", uptime),
        ("uptime_in_days", uptime // 86400),
        ("hz", node.config["hz"]),
        ("configured_hz", node.config["hz"]),
        ("lru_clock", node.turn.now.unix_ms // 1000 & 0xFFFFFF),
        ("executable", node.surroundings.executable),
        ("config_file", node.surroundings.config_file),
        ("io_threads_active", 0),
        *ending,
    ]


def _clients(node: Node) -> Fields:
    links = len(node.primary.links)
    tracking = sum(session.tracking is not None for session in node.sessions.values())
    biggest_in, biggest_out = node.services.traffic.largest()
    return [
        ("connected_clients", len(node.sessions) - links + (node.following.session is not None)),
        ("cluster_connections", 0 if node.cluster is None else len(node.cluster.bus.links.by_conn)),
        ("maxclients", node.config["maxclients"]),
        ("client_recent_max_input_buffer", biggest_in),
        ("client_recent_max_output_buffer", biggest_out),
        ("blocked_clients", len(node.executor.blocked)),
        ("tracking_clients", tracking),
        ("clients_in_timeout_table", len(node.executor.timeouts)),
    ]


def _memory(node: Node) -> Fields:
    resident = node.surroundings.resident()
    used = node.used_memory()
    peak = node.services.peak_memory(used)
    startup = node.evictor.baseline
    window = node.history.window
    replication = 0 if window is None else min(window.memory, window.size)  # the rest is kept for the slowest replica
    links = node.primary.buffer_memory - replication + sum(link.pending for link in node.primary.links.values())
    normal = sum(node.clients.memory(one) for one in node.clients.all() if node.clients.kind(one) != "slave")
    overhead = startup + replication + links + normal + node.keyspace.tables_size()
    dataset = max(0, used - overhead)
    scripting = node.scripting
    code, libraries = scripting.scripts_size(), sum(map(len, scripting.library_codes()))
    machine = scripting.memory_used
    system = node.surroundings.memory
    maxmemory = node.config["maxmemory"]
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
        ("maxmemory_policy", node.config["maxmemory-policy"]),
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


def _persistence(node: Node) -> Fields:
    snapshots = node.snapshots
    running = snapshots.running
    loading = node.loading
    saving = running is not None and not running.diskless and not running.rewrite
    current = (node.turn.now.mono_ms - running.started_ms) // 1000 if running is not None and saving else -1
    fields: Fields = [
        ("loading", int(loading is not None and not loading.asynchronous)),
        ("async_loading", int(loading is not None and loading.asynchronous)),
        ("current_cow_peak", 0),
        ("current_cow_size", 0),
        ("current_cow_size_age", 0),
        ("current_fork_perc", "0.00"),
        ("current_save_keys_processed", 0),
        ("current_save_keys_total", 0 if running is None else sum(map(len, node.keyspace.databases))),
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
        *node.append_only.fields(),
        ("module_fork_in_progress", 0),
        ("module_fork_last_cow_size", 0),
        *node.append_only.size_fields(),
    ]
    if loading is not None:
        elapsed = max(1, node.turn.now.mono_ms - loading.started_ms)
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


def _stats(node: Node) -> Fields:
    keyspace = node.keyspace
    primary = node.primary
    totals = node.services.traffic.totals()
    rates = [f"{rate:.2f}" for rate in node.services.traffic.kbps]
    return [
        ("total_connections_received", node.connections.received_total),
        ("total_commands_processed", node.executor.total_commands),
        ("instantaneous_ops_per_sec", node.services.ops_per_second),
        ("total_net_input_bytes", totals.input),
        ("total_net_output_bytes", totals.output),
        ("total_net_repl_input_bytes", totals.replication_input),
        ("total_net_repl_output_bytes", totals.replication_output),
        ("instantaneous_input_kbps", rates[0]),
        ("instantaneous_output_kbps", rates[1]),
        ("instantaneous_input_repl_kbps", rates[2]),
        ("instantaneous_output_repl_kbps", rates[3]),
        ("rejected_connections", node.connections.rejected_total),
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
        *node.services.subscription_fields(),
        ("latest_fork_usec", node.snapshots.last_fork_us),
        ("total_forks", node.snapshots.total_forks),
        ("migrate_cached_sockets", len(node.transfers.lines)),
        ("slave_expires_tracked_keys", len(node.keyspace.own_volatile)),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        *node.services.tracking_fields(),
        ("unexpected_error_replies", 0),
        ("total_error_replies", sum(node.executor.errors.values())),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", node.connections.reads),
        ("total_writes_processed", node.executor.writes),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
    ]


def _link(node: Node, link: Link) -> str:
    lag = (node.turn.now.mono_ms - link.acked_ms) // 1000 if link.state is LinkState.ONLINE else 0
    return (
        f"ip={link.announced_host or link.host},port={link.announced_port},state={link.state.shown},"
        f"offset={link.acked},lag={lag}"
    )


def replication_fields(node: Node) -> Fields:
    """The fields of the section Replication."""
    offset = node.outgoing.offset()
    history, replica, primary = node.history, node.replica, node.primary
    fields: Fields = [("role", "slave" if replica.active else "master")]
    if replica.active:
        silent = -1 if not replica.up else (node.turn.now.mono_ms - replica.last_io_ms) // 1000
        fields += [
            ("master_host", replica.primary_host),
            ("master_port", replica.primary_port),
            ("master_link_status", "up" if replica.up else "down"),
            ("master_last_io_seconds_ago", silent),
            ("master_sync_in_progress", int(replica.syncing)),
            ("slave_read_repl_offset", offset + len(node.following.unapplied) if replica.resumable else 0),
            ("slave_repl_offset", offset if replica.resumable else 0),
        ]
        if replica.syncing:
            size, read = replica.transfer.size, replica.transfer.read
            fields += [
                ("master_sync_total_bytes", max(0, size)),
                ("master_sync_read_bytes", read),
                ("master_sync_left_bytes", size - read if size >= 0 else -1),
                ("master_sync_perc", f"{100 * read / size if size > 0 else 0:.2f}"),
                ("master_sync_last_io_seconds_ago", (node.turn.now.mono_ms - replica.transfer.io_ms) // 1000),
            ]
        if not replica.up:
            fields.append(("master_link_down_since_seconds", (node.turn.now.mono_ms - replica.down_since_ms) // 1000))
        fields += [
            ("slave_priority", node.config["replica-priority"]),
            ("slave_read_only", int(node.config["replica-read-only"])),
            ("replica_announced", int(node.config["replica-announced"])),
        ]
    fields.append(("connected_slaves", len(primary.links)))
    if node.config["min-replicas-to-write"] and node.config["min-replicas-max-lag"]:
        good = primary.good_replicas(node.turn.now, node.config["min-replicas-max-lag"])
        fields.append(("min_slaves_good_slaves", good))
    fields += [(f"slave{number}", _link(node, link)) for number, link in enumerate(primary.links.values())]
    window = history.window
    fields += [
        ("master_failover_state", node.handover.state.value),
        ("master_replid", history.id),
        ("master_replid2", history.id2),
        ("master_repl_offset", offset),
        ("second_repl_offset", history.second_limit),
        ("repl_backlog_active", int(window is not None)),
        ("repl_backlog_size", node.config["repl-backlog-size"]),
        ("repl_backlog_first_byte_offset", 0 if window is None else window.start + 1),
        ("repl_backlog_histlen", 0 if window is None else len(window)),
    ]
    if primary.refusals:
        unix_ms, verdict = primary.refusals[-1]
        fields.append(("replicator_last_full_sync_unix_ms", unix_ms))
        fields.append(("replicator_last_full_sync_reason", verdict.explain()))
    return fields


def _cpu(node: Node) -> Fields:
    system, user, child_system, child_user = node.surroundings.cpu_seconds()
    return [
        ("used_cpu_sys", f"{system:.6f}"),
        ("used_cpu_user", f"{user:.6f}"),
        ("used_cpu_sys_children", f"{child_system:.6f}"),
        ("used_cpu_user_children", f"{child_user:.6f}"),
        ("used_cpu_sys_main_thread", f"{system:.6f}"),
        ("used_cpu_user_main_thread", f"{user:.6f}"),
    ]


def _commandstats(node: Node) -> Fields:
    fields: Fields = []
    for command in node.executor.commands.values():
        for entry in (command, *command.subcommands.values()):
            calls = entry.calls - (entry.full_name == "info" and entry.calls > 0)  # a call counts when it is over
            if calls or entry.rejected or entry.failed:
                usec = node.statistics.measured[entry.full_name].total_usec
                per_call = usec / calls if calls else 0
                fields.append(
                    (
                        f"cmdstat_{entry.full_name}",
                        f"calls={calls},usec={usec},usec_per_call={per_call:.2f},"
                        f"rejected_calls={entry.rejected},failed_calls={entry.failed}",
                    )
                )
    return fields


def _latencystats(node: Node) -> Fields:
    if not node.config["latency-tracking"]:
        return []
    shares = node.config["latency-tracking-info-percentiles"]
    return [
        (
            f"latency_percentiles_usec_{name}",
            ",".join(f"p{share:g}={one.percentile(share):.3f}" for share in shares),
        )
        for name, one in node.statistics.ordered().items()
        if one.calls
    ]


def _errorstats(node: Node) -> Fields:
    return [(f"errorstat_{code}", f"count={count}") for code, count in sorted(node.executor.errors.items())]


def _keyspace(node: Node) -> Fields:
    fields: Fields = []
    now = node.keyspace.now_ms
    for db in node.keyspace.databases:
        if len(db):
            left = [when - now for when in db.expires.values()] if len(db.expires) < 10_000 else []
            average = max(0, sum(left) // len(left)) if left else 0
            fields.append((f"db{db.index}", f"keys={len(db)},expires={len(db.expires)},avg_ttl={average}"))
    return fields


def _nothing(node: Node) -> Fields:
    return []


_SECTIONS: dict[str, tuple[str, Callable[[Node], Fields]]] = {
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
    "cluster": ("Cluster", lambda node: [("cluster_enabled", int(node.cluster is not None))]),
    "keyspace": ("Keyspace", _keyspace),
}
