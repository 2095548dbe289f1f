"""Every directive of Redis 7.0, with the default and bounds that Redis 7.0.15 reports, and some of later servers.

`effect=False` marks a directive that is accepted, kept and reported, but changes nothing here; the log says so once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replicator.core.config.kinds import (
    INT,
    LONG,
    PORT,
    UINT,
    ULONG,
    Check,
    Choice,
    EventClasses,
    Flag,
    Kind,
    Number,
    Octal,
    OomScores,
    OutputBufferLimits,
    Percentiles,
    ReplicaOf,
    SavePoints,
    ShutdownOptions,
    Size,
    Text,
    Words,
    file_name,
    host_name,
    title_template,
)


class Spec:
    """One directive.

    alias: its old name, listed by CONFIG GET as well. immutable: only before the start. protected: at run time only
    where enable-protected-configs allows. hidden: CONFIG GET shows it to an exact name alone. effect: whether it does
    anything here. volatile: setting the value that it has is a change too (the file behind a name may be another).
    """

    __slots__ = ("alias", "default", "effect", "hidden", "immutable", "kind", "name", "protected", "volatile")

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: Any,
        *,
        alias: str = "",
        immutable: bool = False,
        protected: bool = False,
        hidden: bool = False,
        effect: bool = True,
        volatile: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.alias = alias
        self.immutable = immutable
        self.protected = protected
        self.hidden = hidden
        self.effect = effect
        self.volatile = volatile


def _maker(kind: Callable[..., Kind]) -> Callable[..., Spec]:
    def make(
        name: str, default: Any, *bounds: Any, check: Check | None = None, clamp: Any = None, **properties: Any
    ) -> Spec:
        options = {key: value for key, value in (("check", check), ("clamp", clamp)) if value is not None}
        return Spec(name, kind(*bounds, **options), default, **properties)

    return make


# The defaults' types follow from the kinds: flag -> bool, number and size -> int, choice and text -> str.
flag = _maker(Flag)
number = _maker(Number)
size = _maker(Size)
choice = _maker(Choice)
text = _maker(Text)

_BUFFER_LIMITS = {"normal": (0, 0, 0), "replica": (256 << 20, 64 << 20, 60), "pubsub": (32 << 20, 8 << 20, 60)}

DIRECTIVES = (
    choice("acl-pubsub-default", "resetchannels", "allchannels resetchannels"),
    text("aclfile", "", immutable=True),
    number("acllog-max-len", 128, 0, LONG),
    number("active-defrag-cycle-max", 25, 1, 99, effect=False),
    number("active-defrag-cycle-min", 1, 1, 99, effect=False),
    size("active-defrag-ignore-bytes", 100 << 20, 1, LONG, effect=False),
    number("active-defrag-max-scan-fields", 1000, 1, LONG, effect=False),
    number("active-defrag-threshold-lower", 10, 0, 1000, effect=False),
    number("active-defrag-threshold-upper", 100, 0, 1000, effect=False),
    number("active-expire-effort", 1, 1, 10, effect=False),
    flag("activedefrag", False, effect=False),
    flag("activerehashing", True, effect=False),
    flag("always-show-logo", False, immutable=True, effect=False),
    flag("aof-disable-auto-gc", False),
    flag("aof-load-truncated", True),
    flag("aof-rewrite-incremental-fsync", True, effect=False),
    flag("aof-timestamp-enabled", False),
    flag("aof-use-rdb-preamble", True),
    text("aof_rewrite_cpulist", "", immutable=True, effect=False),
    text("appenddirname", "appendonlydir", immutable=True, check=file_name("appenddirname")),
    text("appendfilename", "appendonly.aof", immutable=True, check=file_name("appendfilename")),
    choice("appendfsync", "everysec", "everysec always no"),
    flag("appendonly", False),
    size("auto-aof-rewrite-min-size", 64 << 20, 0, LONG),
    number("auto-aof-rewrite-percentage", 100, 0, INT),
    text("bgsave_cpulist", "", immutable=True, effect=False),
    Spec("bind", Words(16, "Too many bind addresses specified."), ("*", "-::*")),
    text("bind-source-addr", ""),
    text("bio_cpulist", "", immutable=True, effect=False),
    number("busy-reply-threshold", 5000, 0, LONG, alias="lua-time-limit"),
    Spec("client-output-buffer-limit", OutputBufferLimits(), _BUFFER_LIMITS),
    size("client-query-buffer-limit", 1 << 30, 1 << 20, LONG),
    flag("cluster-allow-pubsubshard-when-down", True),
    flag("cluster-allow-reads-when-down", False),
    flag("cluster-allow-replica-migration", True),
    number("cluster-announce-bus-port", 0, 0, PORT),
    text("cluster-announce-hostname", "", check=host_name),
    text("cluster-announce-ip", ""),
    number("cluster-announce-port", 0, 0, PORT),
    number("cluster-announce-tls-port", 0, 0, PORT, effect=False),
    text("cluster-config-file", "nodes.conf", immutable=True),
    flag("cluster-enabled", False, immutable=True),
    size("cluster-link-sendbuf-limit", 0, 0, ULONG),
    number("cluster-migration-barrier", 1, 0, INT),
    number("cluster-node-timeout", 15000, 0, LONG),
    number("cluster-port", 0, 0, PORT, immutable=True),
    choice("cluster-preferred-endpoint-type", "ip", "ip hostname unknown-endpoint"),
    flag("cluster-replica-no-failover", False, alias="cluster-slave-no-failover"),
    number("cluster-replica-validity-factor", 10, 0, INT, alias="cluster-slave-validity-factor"),
    flag("cluster-require-full-coverage", True),
    flag("crash-log-enabled", True, effect=False),
    flag("crash-memcheck-enabled", True, effect=False),
    flag("daemonize", False, immutable=True),
    number("databases", 16, 1, INT, immutable=True),
    text("dbfilename", "dump.rdb", protected=True, check=file_name("dbfilename", may_be_empty=True)),
    text("dir", "", protected=True),
    flag("disable-thp", True, immutable=True, effect=False),
    flag("dynamic-hz", True, effect=False),
    choice("enable-debug-command", "no", "no yes local", immutable=True),
    choice("enable-module-command", "no", "no yes local", immutable=True, effect=False),
    choice("enable-protected-configs", "no", "no yes local", immutable=True),
    number("hash-max-listpack-entries", 512, 0, LONG, alias="hash-max-ziplist-entries"),
    size("hash-max-listpack-value", 64, 0, LONG, alias="hash-max-ziplist-value"),
    size("hll-sparse-max-bytes", 3000, 0, LONG),
    number("hz", 10, 0, INT, clamp=(1, 500)),
    text("ignore-warnings", "", effect=False),
    number("io-threads", 1, 1, 128, immutable=True, effect=False),
    flag("io-threads-do-reads", False, immutable=True, effect=False),
    flag("jemalloc-bg-thread", True, effect=False),
    number("key-load-delay", 0, -INT - 1, INT, hidden=True),
    number("latency-monitor-threshold", 0, 0, LONG),
    flag("latency-tracking", True),
    Spec("latency-tracking-info-percentiles", Percentiles(), (50.0, 99.0, 99.9)),
    flag("lazyfree-lazy-eviction", False, effect=False),
    flag("lazyfree-lazy-expire", False, effect=False),
    flag("lazyfree-lazy-server-del", False, effect=False),
    flag("lazyfree-lazy-user-del", False, effect=False),
    flag("lazyfree-lazy-user-flush", False, effect=False),
    number("lfu-decay-time", 1, 0, INT),
    number("lfu-log-factor", 10, 0, INT),
    number("list-compress-depth", 0, 0, INT),
    number("list-max-listpack-size", -2, -INT - 1, INT, alias="list-max-ziplist-size"),
    number("loading-process-events-interval-bytes", 2 << 20, 1024, INT, hidden=True),
    text("logfile", "", immutable=True),
    choice("loglevel", "notice", "debug verbose notice warning"),
    text("masterauth", "", None, True),
    text("masteruser", ""),
    number("maxclients", 10000, 1, UINT),
    size("maxmemory", 0, 0, ULONG),
    Spec("maxmemory-clients", Size(0, LONG, percent=True), 0),
    number("maxmemory-eviction-tenacity", 10, 0, 100, effect=False),
    choice(
        "maxmemory-policy",
        "noeviction",
        "volatile-lru volatile-lfu volatile-random volatile-ttl allkeys-lru allkeys-lfu allkeys-random noeviction",
    ),
    number("maxmemory-samples", 5, 1, INT),
    number("min-replicas-max-lag", 10, 0, INT, alias="min-slaves-max-lag"),
    number("min-replicas-to-write", 0, 0, INT, alias="min-slaves-to-write"),
    flag("no-appendfsync-on-rewrite", False),
    Spec("notify-keyspace-events", EventClasses(), ""),
    choice("oom-score-adj", "no", "no yes relative absolute", effect=False),
    Spec("oom-score-adj-values", OomScores(), (0, 200, 800), effect=False),
    text("pidfile", "", immutable=True),
    number("port", 6379, 0, PORT),
    text("proc-title-template", "{title} {listen-addr} {server-mode}", check=title_template, effect=False),
    choice("propagation-error-behavior", "ignore", "ignore panic panic-on-replicas"),
    flag("protected-mode", True),
    size("proto-max-bulk-len", 512 << 20, 1 << 20, LONG),
    flag("rdb-del-sync-files", False),
    number("rdb-key-save-delay", 0, -INT - 1, INT, hidden=True),
    flag("rdb-save-incremental-fsync", True, effect=False),
    flag("rdbchecksum", True, immutable=True),
    flag("rdbcompression", True),
    size("repl-backlog-size", 1 << 20, 1, LONG, clamp=(16384, LONG)),
    number("repl-backlog-ttl", 3600, 0, LONG),
    flag("repl-disable-tcp-nodelay", False),
    choice("repl-diskless-load", "disabled", "disabled on-empty-db swapdb"),
    flag("repl-diskless-sync", True),
    number("repl-diskless-sync-delay", 5, 0, INT),
    number("repl-diskless-sync-max-replicas", 0, 0, INT),
    number("repl-ping-replica-period", 10, 1, INT, alias="repl-ping-slave-period"),
    number("repl-timeout", 60, 1, INT),
    text("replica-announce-ip", "", alias="slave-announce-ip"),
    number("replica-announce-port", 0, 0, PORT, alias="slave-announce-port"),
    flag("replica-announced", True),
    flag("replica-ignore-disk-write-errors", False, effect=False),
    flag("replica-ignore-maxmemory", True, alias="slave-ignore-maxmemory"),
    flag("replica-lazy-flush", False, alias="slave-lazy-flush", effect=False),
    number("replica-priority", 100, 0, INT, alias="slave-priority"),
    flag("replica-read-only", True, alias="slave-read-only"),
    flag("replica-serve-stale-data", True, alias="slave-serve-stale-data"),
    Spec("replicaof", ReplicaOf(), (), alias="slaveof", immutable=True),
    text("requirepass", "", None, True),
    choice("sanitize-dump-payload", "no", "no yes clients"),
    Spec("save", SavePoints(), ((3600, 1), (300, 100), (60, 10000))),
    text("server_cpulist", "", immutable=True, effect=False),
    number("set-max-intset-entries", 512, 0, LONG),
    flag("set-proc-title", True, immutable=True, effect=False),
    Spec("shutdown-on-sigint", ShutdownOptions("default save nosave now force"), ()),
    Spec("shutdown-on-sigterm", ShutdownOptions("default save nosave now force"), ()),
    number("shutdown-timeout", 10, 0, INT),
    number("slowlog-log-slower-than", 10000, -1, LONG),
    number("slowlog-max-len", 128, 0, LONG),
    number("socket-mark-id", 0, 0, UINT, immutable=True, effect=False),
    flag("stop-writes-on-bgsave-error", True),
    size("stream-node-max-bytes", 4096, 0, LONG),
    number("stream-node-max-entries", 100, 0, LONG),
    choice("supervised", "no", "upstart systemd auto no", immutable=True, effect=False),
    flag("syslog-enabled", False, immutable=True, effect=False),
    choice(
        "syslog-facility",
        "local0",
        "user local0 local1 local2 local3 local4 local5 local6 local7",
        immutable=True,
        effect=False,
    ),
    text("syslog-ident", "redis", immutable=True, effect=False),
    number("tcp-backlog", 511, 0, INT, immutable=True),
    number("tcp-keepalive", 300, 0, INT),
    number("timeout", 0, 0, INT),
    choice("tls-auth-clients", "yes", "no yes optional"),
    text("tls-ca-cert-dir", "", volatile=True),
    text("tls-ca-cert-file", "", volatile=True),
    text("tls-cert-file", "", volatile=True),
    text("tls-ciphers", ""),
    text("tls-ciphersuites", ""),
    text("tls-client-cert-file", "", volatile=True),
    text("tls-client-key-file", "", volatile=True),
    text("tls-client-key-file-pass", ""),
    flag("tls-cluster", False),
    text("tls-dh-params-file", "", volatile=True),
    text("tls-key-file", "", volatile=True),
    text("tls-key-file-pass", ""),
    number("tls-port", 0, 0, PORT),
    flag("tls-prefer-server-ciphers", False),
    text("tls-protocols", ""),
    flag("tls-replication", False),
    number("tls-session-cache-size", 20480, 0, INT),
    number("tls-session-cache-timeout", 300, 0, INT),
    flag("tls-session-caching", True),
    number("tracking-table-max-keys", 1000000, 0, LONG),
    text("unixsocket", "", immutable=True),
    Spec("unixsocketperm", Octal(0, 0o777), 0, immutable=True),
    flag("use-exit-on-panic", False, hidden=True, effect=False),
    number("watchdog-period", 0, 0, INT, hidden=True),
    number("zset-max-listpack-entries", 128, 0, LONG, alias="zset-max-ziplist-entries"),
    size("zset-max-listpack-value", 64, 0, LONG, alias="zset-max-ziplist-value"),
)

# Names of later servers that their files and tools set; hidden, so that CONFIG GET * is that of 7.0.
LATER = (
    text("availability-zone", "", hidden=True, effect=False),
    flag("dual-channel-replication-enabled", False, hidden=True, effect=False),
    flag("extended-redis-compatibility", False, hidden=True, effect=False),
    flag("hide-user-data-from-log", False, hidden=True, effect=False),
    flag("import-mode", False, hidden=True, effect=False),
    text("locale-collate", "", immutable=True, hidden=True, effect=False),
    choice("log-format", "legacy", "legacy logfmt", hidden=True, effect=False),
    choice("log-timestamp-format", "legacy", "legacy iso8601 milliseconds", hidden=True, effect=False),
    number("max-new-connections-per-cycle", 10, 1, 1000, hidden=True, effect=False),
    flag("mptcp", False, immutable=True, hidden=True, effect=False),
    choice("rdb-version-check", "strict", "strict relaxed", hidden=True, effect=False),
    flag("repl-mptcp", False, hidden=True, effect=False),
    number("set-max-listpack-entries", 128, 0, LONG, hidden=True, effect=False),
    size("set-max-listpack-value", 64, 0, LONG, hidden=True, effect=False),
)

# Names of later servers for directives that have an older one; accepted everywhere, listed nowhere.
LATER_NAMES = {
    "primaryauth": "masterauth",
    "primaryuser": "masteruser",
    "commandlog-execution-slower-than": "slowlog-log-slower-than",
    "commandlog-slow-execution-max-len": "slowlog-max-len",
}
