"""What INFO and hello messages tell: replicas and other Sentinels that were not known, roles that have changed, a newer
configuration; and what follows from it."""

from __future__ import annotations

from collections.abc import Callable

from replicator.core import limits
from replicator.core.sentinel.belief import (
    Address,
    FailoverState,
    Instance,
    Peer,
    Primary,
    Reconf,
    Replica,
    answering_for,
    fragility,
    looks_sane,
)
from replicator.core.sentinel.bulletin import NOTICE, VERBOSE, WARNING, Bulletin
from replicator.core.sentinel.election import Election
from replicator.core.sentinel.failover import OBSERVER, Failover
from replicator.core.sentinel.reports import Hello, InfoReport, parse_hello, parse_info
from replicator.core.sentinel.roster import Roster, RosterError
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn

_ID_LENGTH = 40


class Discovery:
    """Turns reports and hellos into beliefs.

    tilted: whether clocks cannot be trusted: then nothing is done. reconfigured: runs the client-reconfig-script.
    """

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        roster: Roster,
        election: Election,
        failover: Failover,
        bulletin: Bulletin,
        store: Store,
        *,
        tilted: Callable[[], bool],
        reconfigured: Callable[[Primary, str, Address, Address], None],
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._roster = roster
        self._election = election
        self._failover = failover
        self._bulletin = bulletin
        self._store = store
        self._tilted = tilted
        self._reconfigured = reconfigured
        self._heard: dict[bytes, Peer] = {}  # hellos that have been acted on, each with its Sentinel
        self._ours: dict[bytes, None] = {}  # our own, which come back

    # -- INFO --------------------------------------------------------------------------------------------------------

    def info(self, instance: Instance, text: str) -> None:
        """An instance has answered INFO."""
        now = self._turn.now.mono_ms
        report = parse_info(text)
        instance.info = text
        instance.info_ms = now
        self._note_data(instance, report)
        self._note_run_id(instance, report)
        if isinstance(instance, Primary):
            for host, port in report.replicas:
                self._found_replica(instance, host, port)
        else:
            assert isinstance(instance, Replica)
            instance.link_down_ms = 1000 * max(0, report.link_down_s or 0)
        if report.role and report.role != instance.role:
            self._note_role(instance, report.role)
        if isinstance(instance, Replica) and report.role == "slave":
            self._note_following(instance, report)
        if self._tilted() or not isinstance(instance, Replica):
            return
        if report.role == "master":
            self._claims_to_be_primary(instance)
        elif report.role == "slave":
            self._check_following(instance)
            self._check_reconfiguration(instance)

    def _note_run_id(self, instance: Instance, report: InfoReport) -> None:
        if not report.run_id:
            return
        if instance.run_id and instance.run_id != report.run_id:
            self._bulletin.tell(NOTICE, "+reboot", instance)
            if instance.owner.reboot_down_after_ms:
                instance.reboot_since_ms = self._turn.now.mono_ms
        instance.run_id = report.run_id

    def _note_data(self, instance: Instance, report: InfoReport) -> None:
        """Whether the primary has keys, and whether it has come back without them."""
        if isinstance(instance, Replica):
            instance.keys = report.keys
            return
        if not isinstance(instance, Primary) or report.keys is None or report.role != "master":
            return
        restarted = bool(instance.run_id and report.run_id and instance.run_id != report.run_id)
        if restarted and instance.had_data and report.keys == 0 and instance.safety.refuse_empty:
            instance.emptied = True
            self._bulletin.tell(WARNING, "+restarted-empty", instance)
        elif not instance.emptied:
            instance.had_data = report.keys > 0
        if instance.safety.warn and (why := fragility(instance)) != instance.fragile:
            instance.fragile = why
            sign, text = ("+", f"#{why}") if why else ("-", "")
            self._bulletin.tell(WARNING, f"{sign}fragile-configuration", instance, text)

    def _found_replica(self, primary: Primary, host: str, port: int) -> None:
        try:
            address = self._roster.address(host, port)
        except RosterError:
            return
        if self._roster.replica(primary, address.ip, port) is None and self._roster.add_replica(primary, address):
            self._store.changed()

    def _note_role(self, instance: Instance, role: str) -> None:
        instance.role = role
        instance.role_since_ms = self._turn.now.mono_ms
        if role == "slave" and isinstance(instance, Replica):
            instance.conf_change_ms = self._turn.now.mono_ms
        sign = "+" if role == instance.kind else "-"
        self._bulletin.tell(VERBOSE, f"{sign}role-change", instance, f"new reported role is {role}")

    def _note_following(self, replica: Replica, report: InfoReport) -> None:
        following = (report.primary_host, report.primary_port or 0)
        if following != (replica.following_host, replica.following_port):
            replica.following_host, replica.following_port = following
            replica.conf_change_ms = self._turn.now.mono_ms
        replica.link_ok = report.link_status == "up"
        if report.priority is not None:
            replica.priority = report.priority
        if report.offset is not None:
            replica.offset = report.offset
        if report.announced is not None:
            replica.announced = report.announced != 0

    def _claims_to_be_primary(self, replica: Replica) -> None:
        primary = replica.owner
        if replica.promoted and primary.failover_state is FailoverState.WAIT_PROMOTION:
            self._failover.promoted(replica)
            return
        # An old primary that came back, or one that somebody else promotes: then a hello will tell soon.
        wait_ms = 4 * self._settings.timing.publish_period
        now = self._turn.now.mono_ms
        if (
            not replica.promoted
            and looks_sane(primary, self._settings.timing, now)
            and answering_for(replica, wait_ms, now)
            and now - replica.role_since_ms > wait_ms
            and self._failover.make_follow(replica, primary.address)
        ):
            self._bulletin.tell(NOTICE, "+convert-to-slave", replica)

    def _follows(self, replica: Replica, address: Address) -> bool:
        if replica.following_port != address.port:
            return False
        host = replica.following_host
        return host in (address.ip, address.host) or self._resolved(host) == address.ip

    def _resolved(self, host: str) -> str:
        try:
            return self._roster.address(host, 1).ip
        except RosterError:
            return ""

    def _check_following(self, replica: Replica) -> None:
        primary, now = replica.owner, self._turn.now.mono_ms
        if self._follows(replica, primary.address):
            return
        wait_ms = primary.failover_timeout_ms
        if (
            looks_sane(primary, self._settings.timing, now)
            and answering_for(replica, wait_ms, now)
            and now - replica.conf_change_ms > wait_ms
            and self._failover.make_follow(replica, primary.address)
        ):
            self._bulletin.tell(NOTICE, "+fix-slave-config", replica)

    def _check_reconfiguration(self, replica: Replica) -> None:
        promoted = replica.owner.promoted
        if replica.reconf is Reconf.SENT and promoted is not None and self._follows(replica, promoted.address):
            replica.reconf = Reconf.IN_PROGRESS
            self._bulletin.tell(NOTICE, "+slave-reconf-inprog", replica)
        if replica.reconf is Reconf.IN_PROGRESS and replica.link_ok:
            replica.reconf = Reconf.DONE
            self._bulletin.tell(NOTICE, "+slave-reconf-done", replica)
            replica.owner.wake_ms = 0

    # -- hello -------------------------------------------------------------------------------------------------------

    def hello(self, data: bytes) -> None:
        """A message of the hello channel, from anybody.

        Nearly all repeat what was said before: of such a one nothing is to be learnt as long as its Sentinel is known.
        """
        peer = self._heard.get(data)
        if peer is not None and not peer.gone:
            peer.heard_ms = self._turn.now.mono_ms
        elif data not in self._ours:
            self._new_hello(data)

    def _new_hello(self, data: bytes) -> None:
        hello = parse_hello(data)
        if hello is None or not _is_id(hello.run_id):
            return
        if hello.run_id == self._settings.my_id:
            if len(self._ours) >= limits.MAX_SENTINEL_HELLOS:
                self._ours.clear()
            self._ours[data] = None
            return
        primary = self._roster.primaries.get(hello.primary_name)
        if primary is None:
            return
        try:
            address = self._roster.address(hello.ip, hello.port)
        except RosterError:
            return
        self._found_sentinel(primary, hello, address)
        peer = primary.sentinels.get(hello.run_id)
        self._election.raise_epoch(hello.current_epoch, primary)
        if hello.config_epoch > primary.config_epoch:
            self._newer_configuration(primary, hello)
        if peer is not None:
            peer.heard_ms = self._turn.now.mono_ms
            if len(self._heard) >= limits.MAX_SENTINEL_HELLOS:
                self._heard.clear()
            self._heard[data] = peer

    def _found_sentinel(self, primary: Primary, hello: Hello, address: Address) -> None:
        known = primary.sentinels.get(hello.run_id)
        if known is not None and known.address.same(address.ip, address.port):
            return
        if known is not None:
            # It has moved: everything about it begins anew, on all primaries that share its link.
            self._bulletin.tell(
                NOTICE, "+sentinel-address-switch", primary,
                f"ip {self._bulletin.shown(address)} port {address.port} for {hello.run_id}",
            )  # fmt: skip
            for other in self._roster.primaries.values():
                moved = other.sentinels.get(hello.run_id)
                if moved is not None:
                    self._forget_peer(moved)
                    self._roster.add_peer(other, address, hello.run_id)
            self._store.changed()
            return
        taken = next((one for one in primary.sentinels.values() if one.address.same(address.ip, address.port)), None)
        if taken is not None and address.port:
            # Two Sentinels cannot listen there: the one that was known has another address by now, or is no more.
            self._bulletin.tell(NOTICE, "+sentinel-invalid-addr", taken)
            self._heard.clear()
            for other in self._roster.primaries.values():
                stale = other.sentinels.get(taken.run_id)
                if stale is not None:
                    stale.address = Address(stale.address.host, stale.address.ip, 0)
        peer = self._roster.add_peer(primary, address, hello.run_id)
        if peer is not None:
            self._bulletin.tell(NOTICE, "+sentinel", peer)
            self._store.changed()

    def _forget_peer(self, peer: Instance) -> None:
        primary = peer.owner
        known = primary.sentinels[peer.run_id]
        self._election.forget(known)
        self._roster.forget_peer(known)

    def _newer_configuration(self, primary: Primary, hello: Hello) -> None:
        try:
            address = self._roster.address(hello.primary_ip, hello.primary_port)
        except RosterError:
            return
        primary.config_epoch = hello.config_epoch
        self._store.changed(spoken_of=True)
        if primary.address.same(address.ip, address.port):
            return
        peer = primary.sentinels.get(hello.run_id)
        if peer is not None:
            self._bulletin.tell(WARNING, "+config-update-from", peer)
        old = primary.address
        self._failover.switch(primary, address)
        self._reconfigured(primary, OBSERVER, old, address)


def _is_id(text: str) -> bool:
    """Whether it can be a Sentinel's id; anybody may publish anything, and ids are written into our file."""
    return 0 < len(text) <= _ID_LENGTH and text.isascii() and text.isalnum()
