"""The topology as any of its nodes tells it: up to the primary, then down to every replica, chains included.

`Walk` asks over plain blocking connections; `render` draws what it found; `plain` is the same for machines. Works
with any server that speaks RESP and answers INFO, stock ones included.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from rich.console import Console, Group

    from replicator.cluster_status import ClusterView

Address = tuple[str, int]

# A chain of primaries longer than this is a loop of nodes that follow each other.
MAX_DEPTH = 16
# More nodes than this are not asked: the answer of one node must not make us connect everywhere.
MAX_NODES = 256
CONNECT_SECONDS = 2.0


class Unreachable(Exception):
    """The node does not answer; the text says why."""


class Refused(Unreachable):
    """The node answers, and does not tell: it wants a password, or another user. The text is its reply."""


class Client:
    """One blocking connection to a node."""

    def __init__(
        self,
        address: Address,
        *,
        user: str = "",
        password: str = "",
        secure: ssl.SSLContext | None = None,
        sni: str = "",
    ) -> None:
        """secure: the connection is encrypted. sni: the name to ask for."""
        try:
            self._socket = socket.create_connection(address, timeout=CONNECT_SECONDS)
        except OSError as problem:
            raise Unreachable(problem.strerror or str(problem) or "no answer") from None
        if secure is not None:
            self._encrypt(secure, sni)
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        if password:
            answer = self.call("AUTH", *([user] if user else []), password)
            if isinstance(answer, hiredis.ReplyError):
                self.close()
                raise Refused(str(answer))

    def _encrypt(self, secure: ssl.SSLContext, sni: str) -> None:
        plain = self._socket
        try:
            self._socket = secure.wrap_socket(plain, server_hostname=sni or None)
        except OSError as problem:
            plain.close()
            raise Unreachable(_why(problem)) from None

    def call(self, *argv: str) -> Any:
        """The decoded reply; errors are hiredis.ReplyError values. Raises Unreachable."""
        request: Any = argv  # the stubs of hiredis know tuples of one word only
        try:
            self._socket.sendall(hiredis.pack_command(request))
            while (answer := self._reader.gets()) is False:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise Unreachable("closed the connection")
                self._reader.feed(data)
        except OSError as problem:
            raise Unreachable(_why(problem)) from None
        except hiredis.ProtocolError:
            raise Unreachable("does not speak the protocol") from None
        return answer

    def info(self) -> dict[str, str]:
        """The fields of INFO. Raises Refused for an error reply (no permission, no password)."""
        answer = self.call("INFO", "everything")
        if not isinstance(answer, str):
            raise Refused(str(answer))
        return {line.partition(":")[0]: line.partition(":")[2] for line in answer.splitlines() if ":" in line}

    def setting(self, name: str, default: int) -> int:
        """A number of the configuration; the default where the node does not tell it."""
        answer = self.call("CONFIG", "GET", name)
        if isinstance(answer, list) and len(answer) == 2 and str(answer[1]).isdigit():
            return int(answer[1])
        return default

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _why(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError):
        from replicator.runtime.tls.texts import text_of

        return f"TLS: {text_of(problem)}"
    return problem.strerror or str(problem) or "no answer"


@dataclass(slots=True)
class Backlog:
    """How far a replica may fall behind and still catch up without a full copy.

    size, held: bytes of the window, and how many of them are filled. bytes_per_second: how fast the history grew while
    we looked (None: not measured). covers_seconds: how long an absence the whole window lasts at that pace (None: for
    ever).
    """

    size: int
    held: int
    first_byte_offset: int
    bytes_per_second: float | None = None
    covers_seconds: float | None = None


@dataclass(slots=True)
class NodeView:
    """What is known of one node."""

    address: str
    reachable: bool
    error: str = ""
    role: str = ""  # "primary", "replica", "sentinel"; "" where it was not told
    version: str = ""
    run_id: str = ""
    replication_id: str = ""
    second_replication_id: str = ""
    offset: int = 0
    primary: str = ""  # the address it follows
    link: str = ""  # "up", "down", "syncing"; of a replica
    link_down_seconds: int | None = None
    behind_bytes: int | None = None  # behind the node it follows
    lag_seconds: int | None = None  # since its last acknowledgement, as its primary counts
    read_only: bool | None = None
    priority: int | None = None
    good_replicas: int | None = None
    wanted_replicas: int | None = None  # min-replicas-to-write
    backlog: Backlog | None = None
    full_syncs: int | None = None  # that it has served since its start
    partial_syncs: int | None = None
    refused_partial_syncs: int | None = None
    last_full_sync_unix_ms: int | None = None  # where the node tells it
    last_full_sync_reason: str = ""
    monitored: list[str] = field(default_factory=list)  # of a Sentinel: "name host:port status"
    replicas: list[NodeView] = field(default_factory=list)


def address_text(address: Address) -> str:
    """host:port, with brackets around an IPv6 address."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Walk:
    """One look at a topology, beginning at `start`."""

    def __init__(
        self,
        start: Address,
        *,
        user: str = "",
        password: str = "",
        sample_seconds: float = 0.5,
        secure: ssl.SSLContext | None = None,
        sni: str = "",
    ) -> None:
        """user, password, secure, sni: of every node's Client."""
        self._start = start
        self._user = user
        self._password = password
        self._secure = secure
        self._sni = sni
        self._sample_seconds = sample_seconds
        self._count = 0
        self.cluster: ClusterView | None = None  # where the asked node is a member of one
        self.asked: NodeView  # the node that was asked
        self.root: NodeView  # the top of the tree: the primary, or the highest node that could be found

    def run(self) -> Walk:
        """Ask everybody; self, for chaining."""
        address, info = self._start, self._info(self._start)
        met: set[str] = set()  # run ids on the way up
        self.asked = _untold(address, info) if isinstance(info, Unreachable) else node_view(address, info)
        if isinstance(info, dict) and info.get("cluster_enabled") == "1":
            self.cluster = self._look_at_cluster()
        lost: NodeView | None = None
        while isinstance(info, dict) and info.get("role") == "slave" and info.get("run_id", "") not in met:
            met.add(info.get("run_id", ""))
            above = (info["master_host"], int(info["master_port"]))
            found = self._info(above)
            if isinstance(found, Unreachable):
                lost = _untold(above, found)
                lost.role = "primary"
                break
            address, info = above, found
        tree = self._tree(address, {}, 0)
        self.root = tree if lost is None else lost
        if lost is not None:
            lost.replicas.append(tree)
        self._find_asked()
        return self

    def _look_at_cluster(self) -> ClusterView | None:
        from replicator.cluster_status import look_at_cluster

        try:
            client = self._connect(self._start)
        except Unreachable:
            return None
        try:
            return look_at_cluster(client, self._connect, Unreachable)
        except Unreachable:
            return None
        finally:
            client.close()

    def _find_asked(self) -> None:
        """Let `asked` be the node of the tree; a replica that its primary does not list is put there."""
        if not self.asked.reachable:
            return
        for node in walk_nodes(self.root):
            if node.run_id == self.asked.run_id:
                self.asked = node
                return
        self.root.replicas.append(self.asked)

    def _connect(self, address: Address) -> Client:
        return Client(address, user=self._user, password=self._password, secure=self._secure, sni=self._sni)

    def _info(self, address: Address) -> dict[str, str] | Unreachable:
        """INFO of the node, or why there is none."""
        try:
            client = self._connect(address)
            try:
                return client.info()
            finally:
                client.close()
        except Unreachable as problem:
            return problem

    def _tree(self, address: Address, seen: dict[str, None], depth: int) -> NodeView:
        """The node and all below it. seen: run ids above and beside it, against loops."""
        self._count += 1
        try:
            client = self._connect(address)
        except Unreachable as problem:
            return _untold(address, problem)
        try:
            info = client.info()
            node = node_view(address, info)
            if node.run_id in seen:
                node.error = "listed twice"
                return node
            seen[node.run_id] = None
            if node.role == "sentinel":
                return node
            since = time.monotonic()
            self._look_at_replicas(client, info, node, seen, depth)
            if depth == 0:
                self._measure(client, node, int(info.get("master_repl_offset", 0)), since)
        except Unreachable as problem:
            return _untold(address, problem)
        finally:
            client.close()
        return node

    def _look_at_replicas(
        self, client: Client, info: dict[str, str], node: NodeView, seen: dict[str, None], depth: int
    ) -> None:
        wanted = client.setting("min-replicas-to-write", 0)
        most_lag = client.setting("min-replicas-max-lag", 10)
        good = 0
        acknowledged: dict[str, int] = {}
        for fields in _numbered(info, "slave"):
            address = (fields["ip"], int(fields["port"]))
            online = fields.get("state") == "online"
            lag = int(fields.get("lag", -1))
            good += online and 0 <= lag <= most_lag
            if depth >= MAX_DEPTH or self._count >= MAX_NODES:
                break
            replica = self._tree(address, seen, depth + 1)
            replica.role = replica.role or "replica"
            replica.lag_seconds = lag if online else None
            acknowledged[replica.address] = int(fields.get("offset", 0))
            if not online:
                replica.link = "syncing"
            node.replicas.append(replica)
        node.good_replicas = good
        node.wanted_replicas = wanted
        if node.replicas:
            # Asked again after its replicas: what was read later cannot be behind what was read before.
            node.offset = _offset(client.info())
        for replica in node.replicas:
            same_history = not replica.reachable or replica.replication_id == node.replication_id
            held = max(acknowledged.get(replica.address, 0), replica.offset)
            if replica.link != "syncing" and same_history and held:
                replica.behind_bytes = max(0, node.offset - held)

    def _measure(self, client: Client, node: NodeView, offset: int, since: float) -> None:
        """How fast the history grows, from two looks at its offset."""
        if node.backlog is None or self._sample_seconds <= 0:
            return
        time.sleep(max(0.0, since + self._sample_seconds - time.monotonic()))
        grown = int(client.info().get("master_repl_offset", offset)) - offset
        pace = grown / (time.monotonic() - since)
        node.backlog.bytes_per_second = round(pace, 1)
        node.backlog.covers_seconds = round(node.backlog.size / pace, 1) if pace > 0 else None


def _numbered(info: dict[str, str], name: str) -> Iterator[dict[str, str]]:
    """The fields of slave0, slave1 ... (or master0 ...) in their order."""
    number = 0
    while (line := info.get(f"{name}{number}")) is not None:
        yield dict(pair.split("=", 1) for pair in line.split(",") if "=" in pair)
        number += 1


def _untold(address: Address, problem: Unreachable) -> NodeView:
    """A node that told nothing of itself: out of reach, or unwilling."""
    return NodeView(address_text(address), isinstance(problem, Refused), str(problem))


def _offset(info: dict[str, str]) -> int:
    """How far the node's data are: a replica has applied less than it may have read."""
    replica = info.get("role") == "slave" and "slave_repl_offset" in info
    return int(info.get("slave_repl_offset" if replica else "master_repl_offset", 0))


def node_view(address: Address, info: dict[str, str]) -> NodeView:
    """A node as its own INFO describes it."""
    node = NodeView(address_text(address), True, role="replica" if info.get("role") == "slave" else "primary")
    node.version = (
        f"replicator {info['replicator_version']}"
        if "replicator_version" in info
        else f"valkey {info['valkey_version']}"
        if "valkey_version" in info
        else f"redis {info.get('redis_version', '?')}"
    )
    node.run_id = info.get("run_id", "")
    if info.get("redis_mode") == "sentinel":
        node.role = "sentinel"
        node.monitored = [
            f"{one.get('name')} {one.get('address')} {one.get('status')}" for one in _numbered(info, "master")
        ]
        return node
    node.replication_id = info.get("master_replid", "")
    second = info.get("master_replid2", "")
    node.second_replication_id = "" if set(second) <= {"0"} else second
    node.offset = _offset(info)
    _count_syncs(node, info)
    if node.role == "replica":
        node.primary = address_text((info["master_host"], int(info["master_port"])))
        syncing = info.get("master_sync_in_progress") == "1"
        node.link = "syncing" if syncing else info.get("master_link_status", "")
        down = info.get("master_link_down_since_seconds", "")
        node.link_down_seconds = int(down) if down.lstrip("-").isdigit() and int(down) >= 0 else None
        node.read_only = info.get("slave_read_only") == "1"
        node.priority = int(info.get("slave_priority", 100))
    if info.get("repl_backlog_active") == "1":
        node.backlog = Backlog(
            size=int(info["repl_backlog_size"]),
            held=int(info["repl_backlog_histlen"]),
            first_byte_offset=int(info["repl_backlog_first_byte_offset"]),
        )
    return node


def _count_syncs(node: NodeView, info: dict[str, str]) -> None:
    """The copies that it has served, and why the last full one was needed, which only our nodes tell."""
    if "sync_full" in info:
        node.full_syncs = int(info["sync_full"])
        node.partial_syncs = int(info.get("sync_partial_ok", 0))
        node.refused_partial_syncs = int(info.get("sync_partial_err", 0))
    if "replicator_last_full_sync_unix_ms" in info:
        node.last_full_sync_unix_ms = int(info["replicator_last_full_sync_unix_ms"])
        node.last_full_sync_reason = info.get("replicator_last_full_sync_reason", "")


def walk_nodes(root: NodeView) -> Iterator[NodeView]:
    """The node and all below it, in the order in which they are drawn."""
    yield root
    for replica in root.replicas:
        yield from walk_nodes(replica)


def plain(walk: Walk) -> dict[str, Any]:
    """The topology as plain data: the tree as a list, each node with the address it follows."""
    nodes = []
    for node in walk_nodes(walk.root):
        fields = asdict(node)
        fields["replicas"] = [replica.address for replica in node.replicas]
        nodes.append(fields)
    top = walk.root
    primary = top.address if top.role == "primary" else None
    told: dict[str, Any] = {"asked": walk.asked.address, "primary": primary, "nodes": nodes}
    if walk.cluster is not None:
        from replicator.cluster_status import plain as plain_cluster

        told["cluster"] = plain_cluster(walk.cluster)
    return told


def size_text(count: float) -> str:
    """Bytes for people: 512 B, 1.5 KiB, 64 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count == int(count) else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration_text(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 5 min, 3.2 h, 2.0 days."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _rows(node: NodeView, stem: str = "", branch: str = "") -> Iterator[tuple[NodeView, str]]:
    yield node, f"{branch}{node.address}"
    for at, replica in enumerate(node.replicas):
        last = at == len(node.replicas) - 1
        yield from _rows(replica, stem + ("   " if last else "│  "), stem + ("└─ " if last else "├─ "))


def render(walk: Walk, *, wide: bool = True) -> Group:
    """The topology as a table that draws the tree in its first column. wide: there is room for replication ids."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if walk.cluster is not None:
        from replicator.cluster_status import render as render_cluster

        return render_cluster(walk.cluster)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("node", "role", "link", *(["id"] if wide else [])):
        table.add_column(title, no_wrap=True)
    for title in ("offset", "behind", "lag", "good replicas"):
        table.add_column(title, justify="right", no_wrap=True)
    for node, name in _rows(walk.root):
        mark = " *" if node is walk.asked else ""
        if not node.reachable or not node.role:
            state = "refuses to tell" if node.reachable else "unreachable"
            table.add_row(name + mark, node.role, Text(state, style="red"))
            continue
        table.add_row(
            name + mark,
            node.role,
            Text(_link_text(node), style="red" if node.link == "down" else "yellow" if node.link == "syncing" else ""),
            *([node.replication_id[:8]] if wide else []),
            "" if node.role == "sentinel" else str(node.offset),
            "" if node.behind_bytes is None else size_text(node.behind_bytes),
            "" if node.lag_seconds is None else f"{node.lag_seconds} s",
            _good_text(node),
        )
    return Group(table, *(Text(line, style="dim") for line in _notes(walk)))


def _link_text(node: NodeView) -> str:
    if node.link == "down" and node.link_down_seconds is not None:
        return f"down for {duration_text(node.link_down_seconds)}"
    return node.link


def _good_text(node: NodeView) -> str:
    if node.role == "sentinel" or (node.role != "primary" and not node.replicas):
        return ""
    wanted = f" (needs {node.wanted_replicas})" if node.wanted_replicas else ""
    return f"{node.good_replicas} of {len(node.replicas)}{wanted}"


def _notes(walk: Walk) -> Iterator[str]:
    """Sentences below the table."""
    top = walk.root
    for node in walk_nodes(top):
        if node.error:
            yield f"{node.address}: {node.error}"
    yield f"* was asked; {top.address} is {top.version}" if top.version else "* was asked"
    yield from _syncs_told(top)
    for text in top.monitored:
        yield f"{top.address} watches {text}"
    if top.backlog is not None:
        backlog = top.backlog
        text = f"backlog of {top.address}: {size_text(backlog.held)} of {size_text(backlog.size)} filled"
        if backlog.covers_seconds is not None and backlog.bytes_per_second:
            pace = size_text(backlog.bytes_per_second)
            text += f"; at {pace}/s a replica may be away for {duration_text(backlog.covers_seconds)}"
        elif backlog.bytes_per_second is not None:
            text += f"; no writes just now, a replica may miss {size_text(backlog.size)}"
        yield text
    elif top.role in ("primary", "replica") and top.reachable:
        yield f"{top.address} keeps no backlog: a replica that comes needs a full copy"
    if top.role == "replica":
        yield f"{top.address} follows {top.primary}, which leads in a circle or too far up"


def _syncs_told(node: NodeView) -> Iterator[str]:
    """How often replicas were copied, and the last reason."""
    if not node.full_syncs and not node.partial_syncs:
        return
    text = f"{node.address} has served {node.full_syncs} full and {node.partial_syncs} partial synchronizations"
    if node.last_full_sync_unix_ms is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(node.last_full_sync_unix_ms / 1000))
        text += f"; the last full one at {when}: {node.last_full_sync_reason}"
    yield text


def show(walk: Walk, *, as_json: bool) -> None:
    """Print one look."""
    if as_json:
        print(json.dumps(plain(walk)), flush=True)
    else:
        console = _console()
        console.print(render(walk, wide=console.width >= 100))


def _console() -> Console:
    """The terminal; what is not one (a pipe, a file) has room for whole lines."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def watch_forever(look: Callable[[], Walk], interval: float, *, as_json: bool) -> None:
    """Look again and again, in place on a terminal, until interrupted. interval: from one look to the next, in seconds;
    a look that takes longer is followed at once."""
    try:
        if as_json or not sys.stdout.isatty():
            for _ in _paced(interval):
                show(look(), as_json=as_json)
                sys.stdout.flush()
            return
        from rich.live import Live

        console = _console()
        wide = console.width >= 100
        with Live(console=console, auto_refresh=False) as live:
            for _ in _paced(interval):
                live.update(render(look(), wide=wide), refresh=True)
    except KeyboardInterrupt:
        return


def _paced(interval: float) -> Iterator[None]:
    """For ever, the begin of each turn an interval after the begin of the one before."""
    due = time.monotonic()
    while True:
        yield
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
