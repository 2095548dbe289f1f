"""Where a command belongs: here, or on which other node its client is sent.

    the keys are of different slots                        CROSSSLOT
    nobody serves the slot                                 CLUSTERDOWN
    the slot is ours                                       here
    it is ours and leaves, and keys are missing            ASK the one that gets it; TRYAGAIN if only some are missing
    it is another's and comes, and the client said ASKING  here; TRYAGAIN if keys of several are missing
    it is our primary's, the client said READONLY          reads: here
    anything else                                          MOVED

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#moved-redirection
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from replicator.core.cluster.slots import iterate, key_slot
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.cluster.views import preferred_endpoint
from replicator.core.command_table.registry import ASKING, PUBSUB, WRITE, Command
from replicator.core.errors import CommandError, Redirect
from replicator.core.wire.bus import SLOTS

Call = tuple[Command, Sequence[bytes]]


class Down(Enum):
    """Why nobody serves a command now; the value is the reply's text."""

    STATE = "CLUSTERDOWN The cluster is down"
    READ_ONLY = "CLUSTERDOWN The cluster is down and only accepts read commands"
    UNBOUND = "CLUSTERDOWN Hash slot not served"


class NotHere(Exception):
    """The outcome of `Redirects.judge` for a command that is not to be run here: why, or by whom."""

    def __init__(self, why: Down | None = None, text: str = "", node: ClusterNode | None = None, slot: int = 0) -> None:
        super().__init__(text)
        self.down = why
        self.text = text
        self.node = node  # MOVED or ASK there
        self.slot = slot


class Redirects:
    """Judges where commands belong. exists: whether there is a key of that name here."""

    def __init__(self, station: Station, exists: Callable[[bytes], bool]) -> None:
        self.station = station
        self.exists = exists
        # For each slot: a command whose only key lies in it runs here, whoever sends it. See Executor.run.
        self.served = bytearray(SLOTS)
        self.refresh()

    def refresh(self) -> None:
        """The topology has changed."""
        topology = self.station.topology
        served = bytearray(SLOTS)
        if topology.ok and topology.me.is_primary:
            for slot in iterate(topology.me.slots):
                served[slot] = 1
            for slot in topology.migrating:
                served[slot] = 0
        self.served[:] = served

    def check(self, calls: Sequence[Call], *, asking: bool, readonly: bool) -> int | None:
        """The slot of the keys of these commands (one, or those of a transaction), None without keys; raises Redirect
        if they do not belong here."""
        try:
            return self.judge(calls, asking=asking, readonly=readonly)
        except NotHere as found:
            raise Redirect(self._words(found)) from None

    def _words(self, found: NotHere) -> str:
        if found.down is not None:
            return found.down.value
        if found.node is None:
            return found.text
        host = preferred_endpoint(self.station, found.node)
        return f"{found.text} {found.slot} {host or ''}:{found.node.port}"

    def judge(self, calls: Sequence[Call], *, asking: bool, readonly: bool) -> int | None:
        """The slot of the keys, None if there are none; raises NotHere."""
        topology = self.station.topology
        me = topology.me
        slot = -1
        writes = shard_messages = False
        first = b""
        several = False
        missing = existing = 0
        for command, argv in calls:
            positions = command.key_positions(list(argv))
            writes = writes or bool(command.flags & WRITE)
            asking = asking or bool(command.flags & ASKING)
            for at in positions:
                key = argv[at]
                if slot < 0:
                    slot, first = key_slot(key), key
                    if topology.owners[slot] is None:
                        raise NotHere(Down.UNBOUND)
                elif key != first:
                    if key_slot(key) != slot:
                        raise NotHere(text="CROSSSLOT Keys in request don't hash to the same slot")
                    several = True
                if command.flags & PUBSUB:
                    shard_messages = True
                elif (slot in topology.migrating and topology.owners[slot] is me) or slot in topology.importing:
                    if self.exists(key):
                        existing += 1
                    else:
                        missing += 1
        if slot < 0:
            return None
        self._check_state(writes, shard_messages)
        self._check_owner(
            slot,
            asking=asking,
            reads_here=(readonly or shard_messages) and not writes,
            moving_keys=any(command.name == "migrate" for command, _ in calls),
            several=several,
            missing=missing,
            existing=existing,
        )
        return slot

    def _check_state(self, writes: bool, shard_messages: bool) -> None:
        settings = self.station.settings
        if self.station.topology.ok:
            return
        if shard_messages:
            if not settings["cluster-allow-pubsubshard-when-down"]:
                raise NotHere(Down.STATE)
        elif not settings["cluster-allow-reads-when-down"]:
            raise NotHere(Down.STATE)
        elif writes:
            raise NotHere(Down.READ_ONLY)

    def _check_owner(
        self,
        slot: int,
        *,
        asking: bool,
        reads_here: bool,
        moving_keys: bool,
        several: bool,
        missing: int,
        existing: int,
    ) -> None:
        topology = self.station.topology
        me = topology.me
        owner = topology.owners[slot]
        assert owner is not None
        leaves = topology.migrating.get(slot) if owner is me else None
        comes = slot in topology.importing
        if moving_keys and (leaves is not None or comes):
            return
        if leaves is not None and missing:
            if existing:
                raise NotHere(text="TRYAGAIN Multiple keys request during rehashing of slot")
            raise NotHere(text="ASK", node=leaves, slot=slot)
        if comes and asking:
            if several and missing:
                raise NotHere(text="TRYAGAIN Multiple keys request during rehashing of slot")
            return
        if owner is me or (reads_here and me.is_replica and me.primary is owner):
            return
        raise NotHere(text="MOVED", node=owner, slot=slot)

    # -- scripts -----------------------------------------------------------------------------------------------------

    def check_in_script(self, call: Call, own_slot: int | None, *, cross_slot: bool) -> int | None:
        """Raise CommandError if a script's command does not belong here. own_slot: of the keys that the script has
        named or used; returns it, or the first one that is used."""
        try:
            slot = self.judge((call,), asking=False, readonly=True)
        except NotHere as found:
            if found.down is Down.READ_ONLY:
                why = "Script attempted to execute a write command while the cluster is down and readonly"
            elif found.down is Down.STATE:
                why = "Script attempted to execute a command while the cluster is down"
            elif found.text.startswith("CROSSSLOT"):
                why = "Script attempted to access keys that do not hash to the same slot"
            else:
                why = "Script attempted to access a non local key in a cluster node"
            raise CommandError(f"ERR {why}") from None
        if slot is not None and own_slot is not None and slot != own_slot and not cross_slot:
            raise CommandError("ERR Script attempted to access keys that do not hash to the same slot")
        return slot if own_slot is None else own_slot
