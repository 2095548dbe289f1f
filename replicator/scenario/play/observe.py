"""What the player knows of the nodes: from INFO, asked again and again, and from the lines that they log.

Every change becomes an event of the timeline, once: node.up, node.down, role, link.up, link.down, sync.full,
sync.partial.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from replicator.scenario.verdict.history import History, Sample

# A node that has not answered for so long counts as down (a refused connection counts at once).
SILENT_MS = 200


@dataclass(slots=True)
class Happening:
    """One line of the timeline. kind: dotted ("fault.kill", "sync.full"). level: 0 background, 1 told, 2 important."""

    at_ms: int
    kind: str
    node: str
    text: str
    level: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {"at_ms": self.at_ms, "kind": self.kind, "node": self.node, "text": self.text, **self.fields}


@dataclass(slots=True)
class Sync:
    """One (re)synchronization that a primary granted.

    requested: the first byte that a partial one was refused for, where a larger backlog would have held it.
    sufficient: how large (repl-backlog-size, bytes): our nodes tell it; for others it follows from offsets that were
    seen, and may be a little more than was needed.
    """

    at_ms: int
    kind: str
    primary: str
    replica: str
    reason: str
    requested: int | None = None
    sufficient: int | None = None

    def plain(self) -> dict[str, Any]:
        return {
            "at_ms": self.at_ms, "primary": self.primary, "replica": self.replica, "reason": self.reason,
            "sufficient_backlog": self.sufficient,
        }  # fmt: skip


class Seen(NamedTuple):
    """What one look at a node shows, of the sections replication and stats of INFO.

    role: "master" or "slave". upstream: "host:port" that a replica is to follow; link: "up" or "down"; both "" for a
    primary. online_replicas: how many stream from it; lag_s: the least seconds since one of them was heard of.
    """

    role: str = ""
    replid: str = ""
    offset: int = 0
    upstream: str = ""
    link: str = ""
    syncing: bool = False
    online_replicas: int = 0
    lag_s: int | None = None
    sync_full: int = 0
    sync_partial_ok: int = 0
    sync_partial_err: int = 0


_NOTHING = Seen()
_ROLES = {"master": "primary", "slave": "replica"}
COUNTERS = ("sync_full", "sync_partial_ok", "sync_partial_err")


@dataclass(slots=True)
class View:
    """What is known of one node. seen: at the last look that it answered; sent_ms: when that was asked for."""

    node: str
    running: bool = False
    stopped: bool = False
    dark: bool = False
    ended: bool = True
    seen: Seen = _NOTHING
    sent_ms: int = -1
    unanswered_since: int | None = None
    refused: bool = False
    answers: bool = False
    before_restart: dict[str, int] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """ "primary", "replica" or "" while unknown."""
        return _ROLES.get(self.seen.role, "")

    @property
    def offset(self) -> int:
        return self.seen.offset

    @property
    def replid(self) -> str:
        return self.seen.replid

    @property
    def link_up(self) -> bool:
        return self.seen.link == "up"

    def down_since(self, now_ms: int) -> int | None:
        """Since when the node gives no answer; None while it does, or when it may still come."""
        if self.unanswered_since is None:
            return None
        if self.refused or now_ms - self.unanswered_since >= SILENT_MS:
            return self.unanswered_since
        return None


def parse_info(text: bytes) -> dict[str, str]:
    """The fields of an INFO reply."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            found[name] = value
    return found


def seen_by(info: dict[str, str]) -> Seen:
    """What the fields of both sections tell."""
    follows = "master_host" in info
    lags = [
        _lag(value)
        for name, value in info.items()
        if name.startswith("slave") and name[5:].isdigit() and "state=online" in value
    ]
    return Seen(
        info.get("role", ""),
        info.get("master_replid", ""),
        int(info.get("master_repl_offset", "0")),
        f"{info['master_host']}:{info.get('master_port')}" if follows else "",
        info.get("master_link_status", ""),
        info.get("master_sync_in_progress", "0") != "0",
        len(lags),
        min((lag for lag in lags if lag is not None), default=None),
        *(int(info.get(name, 0)) for name in COUNTERS),
    )


def _lag(value: str) -> int | None:
    match = re.search(r"lag=(\d+)", value)
    return int(match[1]) if match else None


_ADDRESS = r"(?P<address>\S+?)"
_REFUSALS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(rf"Unable to partial resync with replica {_ADDRESS} for lack of backlog \((?P<detail>.*)\)"),
        lambda match: f"the backlog does not reach back far enough ({match['detail'].rstrip('.')})",
    ),
    (
        re.compile(r"Partial resynchronization not accepted: Replication ID mismatch \((?P<detail>.*)\)"),
        lambda match: f"replication ID mismatch ({match['detail']})",
    ),
    (
        re.compile(r"Partial resynchronization not accepted: Requested offset for second ID was (?P<detail>.*)"),
        lambda match: f"the replica is ahead of where the histories part: it asked for {match['detail']}",
    ),
)
_OWN_REASON = re.compile(
    rf"Full resynchronization (?:of|with|for) (?:replica )?{_ADDRESS}[:,]? (?P<detail>.*)", re.IGNORECASE
)
_REQUESTED = re.compile(r"lack of backlog \(Replica request was: (?P<offset>\d+)\)")
_SUFFICIENT = re.compile(r"repl-backlog-size (?P<size>\d+) would have sufficed")
_FULL = re.compile(rf"Full resync requested by replica {_ADDRESS}\s*$")
_PARTIAL = re.compile(
    rf"Partial resynchronization request from {_ADDRESS} accepted\. Sending (?P<bytes>\d+) bytes of backlog "
    r"starting from offset (?P<offset>\d+)"
)
FIRST_SYNC = "the replica has no history to continue (first synchronization)"
_ASKS = re.compile(rf"Replica {_ADDRESS} asks for synchronization")


class Observer:
    """Collects views, events and synchronizations. party_at: the node announced at "host:port", or None."""

    def __init__(self, nodes: list[str], history: History, party_at: Callable[[str], str | None]) -> None:
        self.views = {node: View(node) for node in nodes}
        self.history = history
        self.events: list[Happening] = []
        self.syncs: list[Sync] = []
        self.lines: list[tuple[int, str, str]] = []
        self.watch: Callable[[Happening], None] | None = None
        self._party_at = party_at
        self._asking: dict[str, str] = {}
        self._granted: dict[str, tuple[Sync, Happening]] = {}
        self._unmeasured: list[Sync] = []  # refused for lack of backlog; how far the primary was is not yet seen

    def record(self, at_ms: int, kind: str, node: str, text: str, level: int = 1, **fields: Any) -> Happening:
        happening = Happening(at_ms, kind, node, text, level, fields)
        self.events.append(happening)
        if self.watch is not None:
            self.watch(happening)
        return happening

    # INFO.

    def asked(self, node: str, at_ms: int) -> None:
        view = self.views[node]
        if view.unanswered_since is None:
            view.unanswered_since = at_ms

    def answered(self, node: str, seen: Seen, sent_ms: int, at_ms: int) -> None:
        """A look at the node, asked for at sent_ms, has shown this."""
        view = self.views[node]
        before, was_answering = view.seen, view.answers
        view.seen, view.sent_ms, view.unanswered_since, view.refused, view.answers = seen, sent_ms, None, False, True
        if not was_answering:
            self.record(at_ms, "node.up", node, f"{node} answers as a {view.role}", 1, role=view.role)
            before = _NOTHING
        if seen.role != before.role or seen.link != before.link:
            self._changes(view, before, at_ms)
        if self._unmeasured:
            self._measure(node, seen, sent_ms)
        if sent_ms < 0:
            return  # the play has not begun
        self.history.sample(
            Sample(node, sent_ms, at_ms, seen.role, seen.replid, seen.offset, seen.online_replicas, seen.lag_s)
        )

    def _measure(self, node: str, seen: Seen, sent_ms: int) -> None:
        """What backlog would have sufficed: from the byte that was asked for to where the primary was seen to be."""
        for sync in [one for one in self._unmeasured if one.primary == node and one.at_ms <= sent_ms]:
            self._unmeasured.remove(sync)
            if sync.requested is not None and sync.sufficient is None and seen.offset >= sync.requested:
                sync.sufficient = seen.offset - sync.requested + 1

    def _changes(self, view: View, before: Seen, at_ms: int) -> None:
        node, seen = view.node, view.seen
        if before is not _NOTHING and before.role != seen.role:
            self.record(at_ms, "role", node, f"{node} is a {view.role} now", 1, role=view.role)
        if seen.link and seen.link != before.link:
            upstream = self._party_at(seen.upstream) or "its primary"
            if seen.link == "up":
                self.record(at_ms, "link.up", node, f"{node} replicates {upstream}", 1, upstream=upstream)
            elif before.link == "up":
                self.record(at_ms, "link.down", node, f"{node} has lost its link to {upstream}", 1, upstream=upstream)

    def reachable(self, node: str, sent_ms: int) -> None:
        """A Sentinel has answered."""
        view = self.views[node]
        view.sent_ms, view.unanswered_since, view.refused, view.answers = sent_ms, None, False, True

    def silent(self, node: str, error: str, at_ms: int) -> None:
        """No answer came. error: in words; a refused connection tells that nobody is there."""
        view = self.views[node]
        if view.unanswered_since is None:
            view.unanswered_since = at_ms
        view.refused = "refused" in error or "closed" in error or "reset" in error
        if view.answers and view.down_since(at_ms) is not None:
            view.answers = False
            self.record(at_ms, "node.down", node, f"{node} does not answer ({error})", 1)

    def restarted(self, node: str) -> None:
        """A new process begins: its counters start at zero, nothing is known of it."""
        self.views[node] = View(node, running=True, ended=False, before_restart=self.counters(node))

    def counters(self, node: str) -> dict[str, int]:
        """sync_full, sync_partial_ok and sync_partial_err of INFO over all lives of the node."""
        view = self.views[node]
        return {name: getattr(view.seen, name) + view.before_restart.get(name, 0) for name in COUNTERS}

    # Log lines.

    def logged(self, node: str, line: str, at_ms: int) -> None:
        self.lines.append((at_ms, node, line))
        asks = _ASKS.match(line)
        if asks:
            self._asking[node] = asks["address"]
            self._granted.pop(node, None)
            return
        for pattern, reason in _REFUSALS:
            match = pattern.match(line)
            if match:
                # Stock says "Full resync requested" only where no history was asked for: the refusal itself is the
                # grant.
                sync = self._full(node, self._asking.get(node, ""), reason(match), at_ms)
                if asked := _REQUESTED.search(line):
                    sync.requested = int(asked["offset"])
                    self._unmeasured.append(sync)
                return
        full = _FULL.match(line)
        if full:
            self._full(node, full["address"], FIRST_SYNC, at_ms)
            return
        partial = _PARTIAL.match(line)
        if partial:
            told = f"{partial['bytes']} bytes of backlog from offset {partial['offset']}"
            self._sync("partial", node, partial["address"], told, at_ms)
            return
        own = _OWN_REASON.match(line)
        if own:
            sync = self._full(node, own["address"].rstrip(":,"), own["detail"].removeprefix("because of "), at_ms)
            if enough := _SUFFICIENT.search(line):
                sync.sufficient = int(enough["size"])

    def _full(self, primary: str, address: str, reason: str, at_ms: int) -> Sync:
        """A full resynchronization was granted; several lines may say so, and each may know more of its reason."""
        granted = self._granted.get(primary)
        if granted is None:
            granted = self._granted[primary] = self._sync("full", primary, address, reason, at_ms)
        elif reason != FIRST_SYNC:
            sync, event = granted
            sync.reason = reason
            event.fields["reason"] = reason
            event.text = _sync_text(sync)
        return granted[0]

    def _sync(self, kind: str, primary: str, address: str, reason: str, at_ms: int) -> tuple[Sync, Happening]:
        replica = self._party_at(address) or address
        sync = Sync(at_ms, kind, primary, replica, reason)
        self.syncs.append(sync)
        fields = {"primary": primary, "reason": reason}
        return sync, self.record(at_ms, f"sync.{kind}", replica, _sync_text(sync), 1, **fields)


def _sync_text(sync: Sync) -> str:
    return f"{sync.kind} resynchronization of {sync.replica} from {sync.primary}: {sync.reason}"
