"""Components of a node that are not replication: access, limits, pub/sub, statistics, scripts. Node asks, commands
use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from replicator.core.clients.session import Session
from replicator.core.command_table.registry import DENY_OOM
from replicator.core.effects import Level
from replicator.core.keyspace.database import Keyspace
from replicator.core.keyspace.encoding import encoding
from replicator.core.keyspace.notifications import configure
from replicator.core.keyspace.serialize import neutral_value
from replicator.core.keyspace.values import Hash, Set
from replicator.core.limits import WEIGHED_BYTES, WEIGHED_COMMANDS
from replicator.core.persistence.rdb import KeyspaceLoader
from replicator.core.report.info import render
from replicator.core.report.traffic import Traffic
from replicator.core.scripting.state import ScriptError
from replicator.core.wire import reply
from replicator.core.wire.rdb import RdbError, RdbReader, dump_payload

if TYPE_CHECKING:
    from replicator.core.node import Node


_COMPACT = (
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "set-max-intset-entries",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
)


class Services:
    """Everything else that a node offers; its attributes are visible to commands as attributes of the server."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.active_expire = True  # DEBUG SET-ACTIVE-EXPIRE
        self.lenient_scripts = False  # DEBUG SET-DISABLE-DENY-SCRIPTS
        self.skip_checksum = False  # DEBUG SET-SKIP-CHECKSUM-VALIDATION
        self._ops_sample = (0, 0)
        self.ops_per_second = 0
        self._ticked_ms = 0
        self._thresholds: dict[str, int] = {}
        self.traffic = Traffic(node.sessions, node.primary, node.replica)
        self.over_soft: dict[Session, None] = {}  # clients with more output than a soft limit allows for long

    def install(self) -> None:
        """Called once all parts of the node stand: hook into configuration and keyspace."""
        node = self.node
        config = node.config
        self.node.evictor.reconfigure()
        self.node.users.install()
        self.node.statistics.install()
        self.node.memory.reconfigured(self.node.turn.now)
        for name in (
            "min-replicas-to-write",
            "min-replicas-max-lag",
            "replica-read-only",
            "replica-serve-stale-data",
            "requirepass",
            "stop-writes-on-bgsave-error",
            "maxmemory",
            "maxmemory-policy",
            "replica-ignore-maxmemory",
            "notify-keyspace-events",
        ):
            config.on_change(name, lambda _value: self._reconfigured())
        config.on_change("repl-backlog-size", self._resize_window)
        config.on_change("proto-max-bulk-len", self._bound_bulks)
        config.on_change("client-output-buffer-limit", self._bound_output)
        self._bound_output(config["client-output-buffer-limit"])
        for name in _COMPACT:
            config.on_change(name, lambda _value: self._compact())
        self._compact()
        self._set_notifications()
        for old, new in config.renames:
            if not node.executor.rename(old.lower(), new):
                raise ValueError(f"No such command in rename-command: {old}")

    def _reconfigured(self) -> None:
        self.node.evictor.reconfigure()
        self._set_notifications()
        self.node.regate()
        self.node.memory.reconfigured(self.node.turn.now)
        for session in self.node.sessions.values():
            self.node.executor.regate(session)

    def _set_notifications(self) -> None:
        configure(self.node.keyspace, self.node.pubsub.publish, str(self.node.config["notify-keyspace-events"]))

    def _bound_bulks(self, size: Any) -> None:
        for session in self.node.sessions.values():
            session.decoder.max_bulk = size

    def _compact(self) -> None:
        """The thresholds of compact encodings: what has outgrown the old ones stays large under higher ones."""
        config, keyspace = self.node.config, self.node.keyspace
        before, self._thresholds = self._thresholds, {name: config[name] for name in _COMPACT}
        keyspace.flat_bounds = (config["zset-max-listpack-entries"], config["zset-max-listpack-value"])
        if any(before and before[name] < self._thresholds[name] for name in _COMPACT):
            for database in keyspace.databases:
                for value in database.values.values():
                    if isinstance(value, (Hash, Set)):
                        encoding(keyspace, value, before)

    def _bound_output(self, limits: Any) -> None:
        """Replies are weighed one by one where ordinary clients have a limit, and messages at the least of all."""
        executor = self.node.executor
        executor.weighed_commands = 0 if any(limits["normal"][:2]) else WEIGHED_COMMANDS
        bounds = [bound for kind in ("normal", "pubsub") for bound in limits[kind][:2] if bound]
        executor.weighed_bytes = min([WEIGHED_BYTES, *bounds])

    def _resize_window(self, size: Any) -> None:
        if self.node.history.window is not None:
            self.node.history.window.resize(size)

    def started(self) -> None:
        """The node begins to run."""
        names = self.node.config.ineffective()
        if names:
            self.node.turn.log(Level.NOTICE, f"Accepted and kept, but without effect here: {', '.join(names)}")

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT: what INFO counts begins at zero again."""
        node = self.node
        keyspace, executor = node.keyspace, node.executor
        keyspace.hits = keyspace.misses = keyspace.expired = keyspace.evicted = 0
        node.connections.received_total = node.connections.rejected_total = 0
        node.primary.sync_full = node.primary.sync_partial_ok = node.primary.sync_partial_err = 0
        node.snapshots.last_fork_us = node.snapshots.total_forks = 0
        self.traffic.reset()
        node.connections.reads = executor.writes = 0
        self._ops_sample = (self._ops_sample[0], 0)
        executor.total_commands = 0
        executor.errors.clear()
        self.node.statistics.reset()
        for one in self.node.statistics.measured.values():
            one.entry.calls = one.entry.rejected = one.entry.failed = 0
        reset = executor.resolve([b"CONFIG", b"RESETSTAT"])
        if reset is not None:
            reset.calls = 1  # this very call

    # -- connections -------------------------------------------------------------------------------------------------

    def admit_connection(self, session: Session) -> str:
        """The error that a new connection gets, or "" if it is welcome."""
        node = self.node
        if len(node.sessions) > node.config["maxclients"]:
            return "ERR max number of clients reached"
        if node.config["protected-mode"] and self.node.users.default.no_password and not session.comes_from_here:
            return (
                "DENIED Redis is running in protected mode because protected mode is enabled and no password is "
                "set for the default user. In this mode connections are only accepted from the loopback interface."
            )
        return ""

    def forget(self, session: Session) -> None:
        """The session is gone."""
        self.node.pubsub.drop(session)
        self.over_soft.pop(session, None)
        self.node.tracker.disable(session)
        self.node.watchers.remove(session)
        self.traffic.forget(session)

    def reset(self, session: Session) -> None:
        """RESET: subscriptions, tracking and the login end."""
        self.node.pubsub.drop(session)
        self.node.tracker.disable(session)
        self.node.watchers.remove(session)
        self.node.users.greet(session)

    def check_output_limit(self, session: Session) -> None:
        """client-output-buffer-limit for ordinary and subscribed clients."""
        node = self.node
        kind = "pubsub" if session.channels or session.patterns or session.shard_channels else "normal"
        hard, soft, seconds = node.config["client-output-buffer-limit"][kind]
        waiting = session.pending_output + sum(map(len, session.out))
        if not soft or waiting <= soft:
            session.soft_since_ms = -1
            self.over_soft.pop(session, None)
        elif session.soft_since_ms < 0:
            session.soft_since_ms = node.turn.now.mono_ms
            self.over_soft[session] = None
        too_long = session.soft_since_ms >= 0 and node.turn.now.mono_ms - session.soft_since_ms > 1000 * seconds
        if (hard and waiting > hard) or too_long:
            how = "closed" if too_long else "scheduled to be closed ASAP"
            node.turn.log(
                Level.WARNING,
                f"Client {self.node.clients.line(session)} {how} for overcoming of output buffer limits.",
            )
            session.out = []  # another one: what the command that runs answers is not sent either
            session.close("output buffer limit", after_reply=False)

    def close_idle(self) -> None:
        """Close clients that have been over a soft output limit for too long, and (timeout) those that are silent."""
        node = self.node
        for session in list(self.over_soft):
            self.check_output_limit(session)
        seconds = node.config["timeout"]
        if not seconds:
            return
        for session in list(node.sessions.values()):
            if (
                node.turn.now.mono_ms - session.last_ms > 1000 * seconds
                and session.conn not in node.primary.links
                and session.blocked is None
                and not (session.channels or session.patterns)
            ):
                node.turn.log(Level.VERBOSE, f"Closing idle client id={session.id} addr={session.peer}")
                session.close("idle", after_reply=False)

    def unblock_for_role_change(self) -> None:
        """Writes that wait cannot be served by a replica."""
        node = self.node
        for session in list(node.executor.blocked):
            if session.blocked is not None and session.blocked.kind in ("keys", "replicas", "durable"):
                node.executor.unblock(
                    session,
                    reply.error(
                        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
                    ),
                )
                session.close("role changed")

    # -- gates -------------------------------------------------------------------------------------------------------

    def gate(self) -> int:
        """Command flags that need the careful path because of a service's state."""
        return DENY_OOM if self.node.config["maxmemory"] else 0

    def memory_is_free(self) -> bool:
        """Whether maxmemory does not hold now."""
        node = self.node
        if node.loading is not None or node.handover.pausing_writes:
            return True
        return node.replica.active and bool(node.config["replica-ignore-maxmemory"])

    def commit_evictions(self) -> None:
        """Deletions to make room, each an effect of its own."""
        if self.node.keyspace.recorded:
            self.node.outgoing.commit(together=False)

    # -- functions ---------------------------------------------------------------------------------------------------

    def built_functions(self, codes: list[bytes], offset: int) -> Callable[[], None]:
        """Build the libraries of a snapshot; what puts them in place of ours. Raises RdbError, which names the one that
        does not load. offset: where the snapshot ends.
        """
        scripting = self.node.scripting
        try:
            built = scripting.built_libraries(codes)
        except ScriptError as problem:
            raise RdbError(f"functions cannot be loaded: {problem}", offset) from None
        return lambda: scripting.adopt_libraries(built)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def cron(self) -> None:
        """Once a tick."""
        node = self.node
        then, count = self._ops_sample
        now, total = node.turn.now.mono_ms, node.executor.total_commands
        if now > then:
            self.ops_per_second = (total - count) * 1000 // (now - then)
        self._ops_sample = (now, total)
        if now - self._ticked_ms >= 1000:
            self._ticked_ms = now
            self.traffic.sample(now)
            self.node.statistics.tick()

    def peak_memory(self, used: int) -> int:
        """The most memory seen."""
        self.node.evictor.peak = max(self.node.evictor.peak, used)
        return self.node.evictor.peak

    def memory_overheads(self) -> dict[str, int]:
        """Bytes in buffers outside the keyspace, as MEMORY STATS names them."""
        node = self.node
        links = node.primary.links
        clients = [session for session in node.sessions.values() if session.conn not in links]
        return {
            "replication.backlog": node.primary.buffer_memory,
            "clients.slaves": sum(link.pending for link in links.values()),
            "clients.normal": sum(session.pending_output + session.decoder.pending for session in clients),
            "cluster.links": 0,
            "aof.buffer": 0,
            "lua.caches": self.node.scripting.memory_used,
            "functions.caches": sum(map(len, self.node.scripting.library_codes())),
        }

    def subscription_fields(self) -> list[tuple[str, object]]:
        """INFO stats: pub/sub."""
        return [
            ("pubsub_channels", len(self.node.pubsub.channels)),
            ("pubsub_patterns", len(self.node.pubsub.patterns)),
            ("pubsubshard_channels", len(self.node.pubsub.shard_channels)),
        ]

    def tracking_fields(self) -> list[tuple[str, object]]:
        """INFO stats: client-side caching."""
        tracker = self.node.tracker
        return [
            ("tracking_total_keys", len(tracker.readers)),
            ("tracking_total_items", tracker.items),
            ("tracking_total_prefixes", len(tracker.prefixes)),
        ]

    def info(self, sections: list[str]) -> bytes:
        """INFO's text."""
        return render(self.node, sections)

    # -- DEBUG ------------------------------------------------------------------------------------------------------

    def serialized_length(self, value: Any) -> int:
        """How long the value is in a snapshot."""
        kind, neutral = neutral_value(value)
        return len(dump_payload(kind, neutral)) - 11

    def reload(self, *, save: bool, flush: bool, merge: bool) -> None:
        """DEBUG RELOAD: the data through a snapshot and back, in memory. Raises RdbError."""
        node = self.node
        if not save:
            raise RdbError("nothing was saved in this process to load from", 0)
        data = b"".join(chunk if isinstance(chunk, bytes) else chunk[0] for chunk in node.snapshots.chunks())
        keyspace = Keyspace(len(node.keyspace.databases))
        keyspace.now_ms = node.turn.now.unix_ms
        keyspace.flat_bounds = node.keyspace.flat_bounds
        loader = KeyspaceLoader(keyspace, keep_expired=node.replica.active)
        reader = RdbReader(loader, check_crc=not self.skip_checksum)
        reader.feed(data)
        reader.close()
        node.keyspace.adopt(keyspace)
        node.evictor.adopt_uses(loader.uses)
        delete = node.keyspace.delete_name
        node.keyspace.recorded += [(index, [delete, key]) for index, key in loader.dropped]
        node.outgoing.commit(together=False)
        node.turn.log(Level.WARNING, "DB reloaded by DEBUG RELOAD")
