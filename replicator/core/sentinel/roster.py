"""Who is known: primaries come and go, each with its replicas and Sentinels."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from replicator.core import limits
from replicator.core.sentinel.belief import Address, FailoverState, Instance, Peer, Primary, Reconf, Replica
from replicator.core.sentinel.bulletin import NOTICE, WARNING, Bulletin
from replicator.core.sentinel.link import Link
from replicator.core.sentinel.links import Links
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn


class RosterError(Exception):
    """Someone cannot be made known; the text says why."""


NO_HOST = "Invalid IP address or hostname specified"
NO_PORT = "Invalid port number."


class Roster:
    """All monitored primaries. resolve: a host name's address, or None."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        links: Links,
        bulletin: Bulletin,
        store: Store,
        resolve: Callable[[str], str | None],
    ) -> None:
        self.primaries: dict[str, Primary] = {}
        self._turn = turn
        self._settings = settings
        self._links = links
        self._bulletin = bulletin
        self._store = store
        self._resolve = resolve

    # -- addresses ---------------------------------------------------------------------------------------------------

    def address(self, host: str, port: int, *, keep_unresolved: bool = False) -> Address:
        """The address of a host and port. keep_unresolved: a name that nobody knows now may be known later (from the
        file). Raises RosterError."""
        if not 0 <= port < 65536:
            raise RosterError(NO_PORT)
        ip = numeric(host)
        if ip is None and self._settings.resolve_hostnames and plain(host):
            ip = self._resolve(host)
            if ip is None and keep_unresolved:
                ip = ""
        if ip is None:
            raise RosterError(NO_HOST)
        return Address(host, ip, port)

    def shown(self, address: Address) -> str:
        """The host as others are told of it."""
        if self._settings.announce_hostnames or not address.ip:
            return address.host
        return address.ip

    # -- primaries ---------------------------------------------------------------------------------------------------

    def monitor(self, name: str, host: str, port: int, quorum: int, *, from_file: bool = False) -> Primary:
        """Watch a primary from now on. Raises RosterError."""
        if quorum <= 0:
            raise RosterError("Quorum must be 1 or greater.")
        if name in self.primaries:
            raise RosterError("Duplicate master name.")
        address = self.address(host, port, keep_unresolved=from_file)
        now_ms = self._turn.now.mono_ms
        primary = Primary(name, address, Link(now_ms), quorum, self._settings.timing, now_ms)
        self.primaries[name] = primary
        return primary

    def remove(self, primary: Primary) -> None:
        """Watch it no more."""
        self._bulletin.tell(WARNING, "-monitor", primary)
        for instance in primary.everybody():
            self._forget(instance)
        del self.primaries[primary.name]
        self._store.changed()

    def _forget(self, instance: Instance) -> None:
        instance.gone = True
        self._links.release(instance)

    def reset(self, primary: Primary, *, keep_sentinels: bool = False, say: bool = True) -> None:
        """Forget what is known of the primary but its name and address; a failover under way is given up."""
        for replica in list(primary.replicas.values()):
            self._forget(replica)
        primary.replicas.clear()
        if not keep_sentinels:
            for peer in list(primary.sentinels.values()):
                self._forget(peer)
            primary.sentinels.clear()
        self._links.close(primary.link)
        now_ms = self._turn.now.mono_ms
        link = primary.link
        link.owed_since_ms = link.available_ms = link.pong_ms = now_ms
        link.ping_sent_ms = link.reconnect_ms = None
        primary.leader = "" if not keep_sentinels else primary.leader
        primary.failover_state = FailoverState.NONE
        primary.state_changed_ms = now_ms
        primary.failover_start_ms = None
        primary.promoted = None
        primary.forced = primary.coordinated = False
        primary.run_id = ""
        primary.sdown = primary.odown = False
        primary.sdown_ms = primary.odown_ms = None
        primary.script_kill_sent = False
        primary.reboot_since_ms = None
        primary.info_asked_ms = None
        primary.role, primary.role_since_ms = "master", now_ms
        primary.wake_ms = 0
        if say:
            self._bulletin.tell(WARNING, "+reset-master", primary)

    def move(self, primary: Primary, address: Address) -> None:
        """The primary is at another address from now on; the old one is remembered as a replica's."""
        kept = [one.address for one in primary.replicas.values() if one.address != address]
        if primary.address != address:
            kept.append(primary.address)
        self.reset(primary, keep_sentinels=True, say=False)
        primary.address = address
        for known in kept:
            self.add_replica(primary, known)
        self._store.changed()

    # -- replicas and Sentinels --------------------------------------------------------------------------------------

    def replica(self, primary: Primary, ip: str, port: int) -> Replica | None:
        """The replica at that address."""
        found = primary.replicas.get(replica_name(ip, port))
        if found is not None:
            return found
        return next((one for one in primary.replicas.values() if one.address.same(ip, port)), None)

    def add_replica(self, primary: Primary, address: Address, *, say: bool = True) -> Replica | None:
        """Remember a replica; None: it is known, or there are too many."""
        name = replica_name(self.shown(address), address.port)
        if name in primary.replicas or len(primary.replicas) >= limits.MAX_SENTINEL_KNOWN:
            return None
        now_ms = self._turn.now.mono_ms
        replica = Replica(name, address, Link(now_ms), now_ms)
        replica.owner = primary
        replica.down_after_ms = primary.down_after_ms
        primary.replicas[name] = replica
        if say:
            self._bulletin.tell(NOTICE, "+slave", replica)
        return replica

    def add_peer(self, primary: Primary, address: Address, run_id: str) -> Peer | None:
        """Remember another Sentinel; None: it is known, it is us, or there are too many."""
        known = run_id in primary.sentinels or run_id == self._settings.my_id
        if known or len(primary.sentinels) >= limits.MAX_SENTINEL_KNOWN:
            return None
        peer = Peer(run_id, address, self._links.for_peer(run_id), self._turn.now.mono_ms)
        peer.owner = primary
        peer.down_after_ms = primary.down_after_ms
        primary.sentinels[run_id] = peer
        return peer

    def forget_peer(self, peer: Peer) -> None:
        """The other Sentinel is no longer one of this primary's."""
        self._forget(peer)
        del peer.owner.sentinels[peer.run_id]

    def reconnect_sentinels(self) -> None:
        """How to log in at other Sentinels has changed."""
        for primary in self.primaries.values():
            for peer in primary.sentinels.values():
                self._links.close(peer.link)
                peer.wake_ms = 0

    def set_down_after(self, primary: Primary, milliseconds: int) -> None:
        """down-after-milliseconds holds for the primary's replicas and Sentinels too."""
        for instance in primary.everybody():
            instance.down_after_ms = milliseconds
            instance.wake_ms = 0

    def clear_failover(self, primary: Primary) -> None:
        """A failover was given up: nobody is chosen, nobody is half way."""
        primary.failover_state = FailoverState.NONE
        primary.forced = primary.coordinated = False
        primary.state_changed_ms = self._turn.now.mono_ms
        if primary.promoted is not None:
            primary.promoted.promoted = False
            primary.promoted = None
        for replica in primary.replicas.values():
            replica.reconf = Reconf.NOT_SENT


def replica_name(host: str, port: int) -> str:
    """How a replica is called: its address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def numeric(host: str) -> str | None:
    """The host if it is an address in digits; None: it is a name."""
    try:
        ip_address(host)
    except ValueError:
        return None
    return host


def plain(host: str) -> bool:
    """Whether it can be a host name at all: what comes from the wire may hold anything."""
    return 0 < len(host) <= 255 and all(char.isalnum() or char in "-._" for char in host) and host.isascii()
