"""A failover that this Sentinel leads, or wants to lead.

    NONE --odown, or SENTINEL FAILOVER--> WAIT_START --elected--> SELECT_REPLICA --> SEND_NO_ONE --> WAIT_PROMOTION
      ^                                       |not elected            |none is fit     |no link         |timeout
      +---------------------------------------+-----------------------+----------------+----------------+
    WAIT_PROMOTION --the replica says it is a primary--> RECONFIGURE --all follow it, or timeout--> UPDATE_CONFIG
    UPDATE_CONFIG --the promoted one is the primary here, too--> NONE

From RECONFIGURE on there is no way back: the new configuration has the failover's epoch and is spread by hello
messages.
COORDINATED (as Valkey 9 has it) asks the primary itself to hand over (FAILOVER TO) where SEND_NO_ONE promotes.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.sentinel.belief import (
    Address,
    FailoverState,
    Instance,
    Primary,
    Reconf,
    Replica,
    choose_replica,
    objectively_down,
)
from replicator.core.sentinel.bulletin import NOTICE, WARNING, Bulletin
from replicator.core.sentinel.election import Election
from replicator.core.sentinel.links import Links
from replicator.core.sentinel.roster import Roster
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn
from replicator.core.wire.answers import Refusal

S = FailoverState
# Which states may follow which; NONE may follow all of them but those from which there is no way back.
TRANSITIONS: dict[FailoverState, frozenset[FailoverState]] = {
    S.NONE: frozenset((S.WAIT_START,)),
    S.WAIT_START: frozenset((S.SELECT_REPLICA, S.NONE)),
    S.SELECT_REPLICA: frozenset((S.SEND_NO_ONE, S.NONE)),
    S.SEND_NO_ONE: frozenset((S.WAIT_PROMOTION, S.NONE)),
    S.WAIT_PROMOTION: frozenset((S.RECONFIGURE, S.NONE)),
    S.RECONFIGURE: frozenset((S.UPDATE_CONFIG,)),
    S.UPDATE_CONFIG: frozenset((S.NONE,)),
}
# Scripts are told the role in which we saw the configuration change.
LEADER, OBSERVER = "leader", "observer"


class Failover:
    """The failovers of all primaries.

    reconfigured: runs the client-reconfig-script: (primary, our role, from, to). crash: ends the process (SENTINEL
    SIMULATE-FAILURE). calendar: a wall-clock second as stock prints it.
    """

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        roster: Roster,
        links: Links,
        election: Election,
        bulletin: Bulletin,
        store: Store,
        *,
        reconfigured: Callable[[Primary, str, Address, Address], None],
        crash: Callable[[str], None],
        calendar: Callable[[int], str],
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._roster = roster
        self._links = links
        self._election = election
        self._bulletin = bulletin
        self._store = store
        self._reconfigured = reconfigured
        self._crash = crash
        self._calendar = calendar
        self._steps: dict[FailoverState, Callable[[Primary], None]] = {
            S.WAIT_START: self._wait_start,
            S.SELECT_REPLICA: self._select_replica,
            S.SEND_NO_ONE: self._send_no_one,
            S.WAIT_PROMOTION: self._wait_promotion,
            S.RECONFIGURE: self._reconfigure,
            S.UPDATE_CONFIG: self._update_config,
        }

    def _become(self, primary: Primary, state: FailoverState) -> None:
        assert state in TRANSITIONS[primary.failover_state], (primary.failover_state, state)
        primary.failover_state = state
        primary.state_changed_ms = self._turn.now.mono_ms
        primary.wake_ms = 0
        for replica in primary.replicas.values():
            replica.wake_ms = 0  # INFO comes faster now

    def _abort(self, primary: Primary, event: str) -> None:
        assert S.NONE in TRANSITIONS[primary.failover_state], primary.failover_state
        self._bulletin.tell(WARNING, event, primary)
        self._roster.clear_failover(primary)

    # -- beginning ---------------------------------------------------------------------------------------------------

    def step(self, primary: Primary) -> None:
        """What is to be done for a primary now."""
        self._check_objectively_down(primary)
        if self._may_start(primary):
            self.start(primary)
            self._election.hurry(primary)
        before = None
        while primary.failover_state is not before:  # what needs no waiting is done at once
            before = primary.failover_state
            step = self._steps.get(before)
            if step is not None:
                step(primary)
        self._election.ask(primary)

    def _check_objectively_down(self, primary: Primary) -> None:
        down, count = objectively_down(primary)
        if down and not primary.odown:
            primary.odown = True
            primary.odown_ms = self._turn.now.mono_ms
            self._bulletin.tell(WARNING, "+odown", primary, f"#quorum {count}/{primary.quorum}")
            for replica in primary.replicas.values():
                replica.wake_ms = 0
        elif primary.odown and not down:
            primary.odown = False
            self._bulletin.tell(WARNING, "-odown", primary)

    def _may_start(self, primary: Primary) -> bool:
        if not primary.odown or primary.failing_over:
            return False
        start = primary.failover_start_ms
        now = self._turn.now
        if start is not None and now.mono_ms - start < 2 * primary.failover_timeout_ms:
            if primary.failover_delay_logged_ms != start:
                primary.failover_delay_logged_ms = start
                wall_s = (now.unix_ms + start - now.mono_ms + 2 * primary.failover_timeout_ms) // 1000
                self._turn.log(
                    WARNING, f"Next failover delay: I will not start a failover before {self._calendar(wall_s)}"
                )
            return False
        return True

    def start(self, primary: Primary) -> None:
        """Try to lead a failover, in an epoch of our own."""
        self._become(primary, S.WAIT_START)
        primary.failover_epoch = self._election.begin_epoch(primary)
        self._bulletin.tell(WARNING, "+try-failover", primary)
        primary.failover_start_ms = self._turn.now.mono_ms + self._election.desync()

    def force(self, primary: Primary, *, coordinated: bool = False) -> None:
        """SENTINEL FAILOVER: no election is needed."""
        self._turn.log(WARNING, f"Executing user requested FAILOVER of '{primary.name}'")
        self.start(primary)
        primary.forced = True
        primary.coordinated = coordinated

    # -- states ------------------------------------------------------------------------------------------------------

    def _wait_start(self, primary: Primary) -> None:
        leader = self._election.leader(primary, primary.failover_epoch)
        if not self._store.may_speak:
            return
        if leader != self._settings.my_id and not primary.forced:
            start = primary.failover_start_ms
            assert start is not None
            limit = min(self._settings.timing.election_timeout, primary.failover_timeout_ms)
            if self._turn.now.mono_ms - start > limit:
                self._abort(primary, "-failover-abort-not-elected")
            return
        self._bulletin.tell(WARNING, "+elected-leader", primary)
        if self._settings.crash_after_election:
            self._crash("election")
            return
        self._become(primary, S.SELECT_REPLICA)
        self._bulletin.tell(WARNING, "+failover-state-select-slave", primary)

    def _select_replica(self, primary: Primary) -> None:
        replica = choose_replica(primary, self._settings.timing, self._turn.now.mono_ms)
        if replica is None:
            self._abort(primary, "-failover-abort-no-good-slave")
            return
        self._bulletin.tell(WARNING, "+selected-slave", replica)
        replica.promoted = True
        primary.promoted = replica
        self._become(primary, S.SEND_NO_ONE)
        self._bulletin.tell(NOTICE, "+failover-state-send-slaveof-noone", replica)

    def _send_no_one(self, primary: Primary) -> None:
        promoted = primary.promoted
        assert promoted is not None
        sent = self._hand_over(primary, promoted) if primary.coordinated else self.make_follow(promoted, None)
        if not sent:
            if self._overdue(primary):
                self._abort(primary, "-failover-abort-slave-timeout")
            return
        self._bulletin.tell(NOTICE, "+failover-state-wait-promotion", promoted)
        self._become(primary, S.WAIT_PROMOTION)

    def _hand_over(self, primary: Primary, promoted: Replica) -> bool:
        epoch = primary.failover_epoch

        def refused(answer: object) -> None:
            waits = primary.failover_state is S.WAIT_PROMOTION and primary.failover_epoch == epoch
            if isinstance(answer, Refusal) and waits and not primary.gone:
                self._turn.log(WARNING, f"The primary refuses to hand over: {answer.text}")
                self._abort(primary, "-failover-abort-slave-timeout")

        host = self._bulletin.shown(promoted.address).encode("utf-8", "surrogateescape")
        argv = (
            b"FAILOVER", b"TO", host, b"%d" % promoted.address.port, b"TIMEOUT", b"%d" % primary.failover_timeout_ms
        )  # fmt: skip
        return self._links.ask(primary, argv, refused)

    def _overdue(self, primary: Primary) -> bool:
        return self._turn.now.mono_ms - primary.state_changed_ms > primary.failover_timeout_ms

    def _wait_promotion(self, primary: Primary) -> None:
        if self._overdue(primary):
            self._abort(primary, "-failover-abort-slave-timeout")

    def promoted(self, replica: Replica) -> None:
        """The chosen replica says that it is a primary."""
        primary = replica.owner
        primary.config_epoch = primary.failover_epoch
        self._become(primary, S.RECONFIGURE)
        self._store.changed(spoken_of=True)
        self._bulletin.tell(WARNING, "+promoted-slave", replica)
        if self._settings.crash_after_promotion:
            self._crash("promotion")
            return
        self._bulletin.tell(WARNING, "+failover-state-reconf-slaves", primary)
        self._reconfigured(primary, LEADER, primary.address, replica.address)
        self.hurry_hello(primary)

    def hurry_hello(self, primary: Primary) -> None:
        """Others hear of the new configuration with the next tick."""
        for instance in primary.everybody():
            instance.hello_sent_ms = None
            instance.wake_ms = 0

    def _reconfigure(self, primary: Primary) -> None:
        """Let the other replicas follow the promoted one, a few at a time."""
        promoted, now = primary.promoted, self._turn.now.mono_ms
        assert promoted is not None
        others = list(primary.replicas.values())
        moving = sum(replica.reconf in (Reconf.SENT, Reconf.IN_PROGRESS) for replica in others)
        for replica in others:
            if moving >= primary.parallel_syncs:
                break
            if replica.promoted or replica.reconf is Reconf.DONE:
                continue
            if replica.reconf is Reconf.SENT:
                if now - replica.reconf_sent_ms > self._settings.timing.slave_reconf_timeout:
                    self._bulletin.tell(NOTICE, "-slave-reconf-sent-timeout", replica)
                    replica.reconf = Reconf.DONE
                continue
            if replica.reconf is Reconf.IN_PROGRESS or replica.link.down:
                continue
            if self.make_follow(replica, promoted.address):
                replica.reconf = Reconf.SENT
                replica.reconf_sent_ms = now
                self._bulletin.tell(NOTICE, "+slave-reconf-sent", replica)
                moving += 1
        self._detect_end(primary)

    def _detect_end(self, primary: Primary) -> None:
        promoted = primary.promoted
        assert promoted is not None
        if promoted.sdown:
            return
        others = [replica for replica in primary.replicas.values() if not replica.promoted]
        missing = [one for one in others if one.reconf is not Reconf.DONE and not one.sdown]
        late = self._overdue(primary)
        if late:
            self._bulletin.tell(WARNING, "+failover-end-for-timeout", primary)
        elif missing:
            return
        self._bulletin.tell(WARNING, "+failover-end", primary)
        self._become(primary, S.UPDATE_CONFIG)
        if late:
            for replica in others:
                if replica.reconf is Reconf.NOT_SENT and self.make_follow(replica, promoted.address):
                    self._bulletin.tell(NOTICE, "+slave-reconf-sent-be", replica)
                    replica.reconf = Reconf.SENT
        self._update_config(primary)

    def _update_config(self, primary: Primary) -> None:
        promoted = primary.promoted
        assert promoted is not None
        self.switch(primary, promoted.address)

    # -- what others need too ----------------------------------------------------------------------------------------

    def switch(self, primary: Primary, address: Address) -> None:
        """Believe from now on that the primary is at this address."""
        old = primary.address
        words = (primary.name, self._bulletin.shown(old), old.port, self._bulletin.shown(address), address.port)
        self._bulletin.say(WARNING, "+switch-master", " ".join(map(str, words)), primary)
        self._roster.move(primary, address)

    def make_follow(self, instance: Instance, address: Address | None) -> bool:
        """Tell an instance whom to follow (None: nobody), all or nothing; it writes its configuration and drops its
        clients, so that these look for the primary again. False: its link is down."""
        host, port = "NO", "ONE"
        if address is not None:
            host, port = self._bulletin.shown(address), str(address.port)
        words = [
            (b"MULTI",),
            (b"SLAVEOF", host.encode("utf-8", "surrogateescape"), port.encode()),
            (b"CONFIG", b"REWRITE"),
            (b"CLIENT", b"KILL", b"TYPE", b"normal"),
            (b"CLIENT", b"KILL", b"TYPE", b"pubsub"),
            (b"EXEC",),
        ]
        if instance.link.down:
            return False
        for argv in words:
            self._links.ask(instance, argv)
        instance.info_asked_ms = None  # what has come of it is asked behind it
        instance.wake_ms = 0
        return True
