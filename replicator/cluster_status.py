"""A cluster as one of its nodes tells it: shards, slots, epochs, who follows whom, and how the links stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

    from replicator.status import Client

Ask = Callable[[tuple[str, int]], "Client"]


@dataclass(slots=True)
class Member:
    """One node. offset: None where it does not answer us. link: as the asked node sees its own connection to it."""

    id: str
    address: str
    host_name: str
    role: str  # "primary" or "replica"
    flags: list[str]
    primary_id: str
    config_epoch: int
    link: str
    slots: list[str] = field(default_factory=list)
    slot_count: int = 0
    offset: int | None = None
    keys: int | None = None
    replication_link: str = ""  # of a replica: "up", "down"
    error: str = ""


@dataclass(slots=True)
class ClusterView:
    """The whole cluster."""

    state: str
    slots_assigned: int
    slots_failing: int
    current_epoch: int
    size: int
    members: list[Member]

    def shards(self) -> Iterator[tuple[Member, list[Member]]]:
        """Primaries, in the order of their slots, each with its replicas."""
        primaries = [one for one in self.members if one.role == "primary"]
        for primary in sorted(primaries, key=lambda one: (not one.slots, _first_slot(one), one.address)):
            yield primary, [one for one in self.members if one.primary_id == primary.id]


def _first_slot(member: Member) -> int:
    return int(member.slots[0].split("-")[0]) if member.slots else 0


def look_at_cluster(client: Client, ask: Ask, unreachable: type[Exception]) -> ClusterView | None:
    """What the node at the other end of `client` tells of its cluster; None if it tells nothing. ask: opens a
    connection to another node, or raises `unreachable`."""
    text, info_text = client.call("CLUSTER", "NODES"), client.call("CLUSTER", "INFO")
    if not isinstance(text, str) or not isinstance(info_text, str):
        return None
    info = dict(line.split(":", 1) for line in info_text.split() if ":" in line)
    members = [_member(line.split()) for line in text.splitlines() if len(line.split()) >= 8]
    for member in members:
        _ask_member(member, ask, unreachable)
    return ClusterView(
        state=info.get("cluster_state", ""),
        slots_assigned=int(info.get("cluster_slots_assigned", 0)),
        slots_failing=int(info.get("cluster_slots_pfail", 0)) + int(info.get("cluster_slots_fail", 0)),
        current_epoch=int(info.get("cluster_current_epoch", 0)),
        size=int(info.get("cluster_size", 0)),
        members=members,
    )


def _member(words: list[str]) -> Member:
    """One line of CLUSTER NODES."""
    address, _, host_name = words[1].partition(",")
    flags = words[2].split(",")
    slots = words[8:]
    count = 0
    for word in slots:
        if not word.startswith("["):
            first, _, last = word.partition("-")
            count += int(last or first) - int(first) + 1
    return Member(
        id=words[0],
        address=address.partition("@")[0],
        host_name=host_name.partition(",")[0],
        role="replica" if "slave" in flags else "primary",
        flags=flags,
        primary_id="" if words[3] == "-" else words[3],
        config_epoch=int(words[6]),
        link=words[7],
        slots=slots,
        slot_count=count,
    )


def _ask_member(member: Member, ask: Ask, unreachable: type[Exception]) -> None:
    host, _, port = member.address.rpartition(":")
    try:
        client = ask((host.strip("[]") or "127.0.0.1", int(port)))
    except unreachable as problem:
        member.error = str(problem)
        return
    try:
        info = client.info()
        replica = info.get("role") == "slave"
        member.offset = int(info.get("slave_repl_offset" if replica else "master_repl_offset", 0))
        member.replication_link = info.get("master_link_status", "") if replica else ""
        keys = client.call("DBSIZE")
        member.keys = keys if isinstance(keys, int) else None
    except unreachable as problem:
        member.error = str(problem)
    finally:
        client.close()


def plain(view: ClusterView) -> dict[str, Any]:
    """The same as plain data."""
    return asdict(view)


def render(view: ClusterView) -> Group:
    """The cluster as a table: a shard a block, its primary first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("node", "role", "link", "epoch", "slots"):
        table.add_column(title, no_wrap=title != "slots")
    for title in ("keys", "offset", "behind"):
        table.add_column(title, justify="right", no_wrap=True)
    for primary, replicas in view.shards():
        for at, member in enumerate((primary, *replicas)):
            stem = "" if member is primary else "└─ " if at == len(replicas) else "├─ "
            behind = ""
            if member is not primary and member.offset is not None and primary.offset is not None:
                behind = str(max(0, primary.offset - member.offset))
            state = _state(member)
            table.add_row(
                stem + member.address + (" *" if "myself" in member.flags else ""),
                member.role,
                Text(state, style="" if state in ("", "up", "connected") else "red"),
                str(member.config_epoch),
                " ".join(member.slots) + (f" ({member.slot_count})" if member.slot_count else ""),
                "" if member.keys is None else str(member.keys),
                "" if member.offset is None else str(member.offset),
                behind,
            )
    lines = [
        f"cluster {view.state}: {view.slots_assigned} of 16384 slots assigned, {view.slots_failing} of them failing; "
        f"{view.size} primaries with slots, current epoch {view.current_epoch}",
        "* was asked",
    ]
    lines += [f"{one.address}: {one.error}" for one in view.members if one.error]
    return Group(table, *(Text(line, style="dim") for line in lines))


def _state(member: Member) -> str:
    """How it is with a node, in one word."""
    for flag, word in (("fail", "failed"), ("fail?", "failing?"), ("handshake", "handshake"), ("noaddr", "no address")):
        if flag in member.flags:
            return word
    if member.role == "replica" and member.replication_link:
        return member.replication_link
    return member.link
