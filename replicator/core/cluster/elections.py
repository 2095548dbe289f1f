"""How a replica takes its primary's place: votes given and votes asked for, and the failover that an operator orders.

    the primary is FAIL for us, our data is not too old
      -> wait 500 ms, up to 500 more, and 1000 for each replica of the same primary that has more data  (SCHEDULED)
      -> current epoch + 1, ask all primaries for their vote                                             (ASKED)
      -> a majority of the primaries with slots has voted: our configuration epoch is the election's, the slots are
         ours, everybody is told
      -> not enough votes in time: twice that time later anew

A primary votes once in an epoch, and writes that down before it speaks (Station.save): nobody can win an epoch twice,
not even if voters crash in between.

A manual failover loses nothing: the primary lets its clients wait (MFSTART), tells the offset where its stream ends,
and the replica asks for votes when it has come there. FORCE leaves the primary out, TAKEOVER the voters as well.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#replica-election-and-promotion
"""

from __future__ import annotations

from enum import Enum

from replicator.core.cluster.failures import Failures
from replicator.core.cluster.gossip import Gossip
from replicator.core.cluster.links import Link, Links
from replicator.core.cluster.slots import iterate
from replicator.core.cluster.station import Station
from replicator.core.cluster.topology import ClusterNode
from replicator.core.effects import Level
from replicator.core.wire.bus import (
    AUTH_ACK,
    AUTH_REQUEST,
    FORCE_ACK,
    MFSTART,
    NO_FAILOVER,
    PAUSED,
    Message,
)

_FIXED_DELAY_MS = 500
_RANDOM_DELAY_MS = 500
_RANK_DELAY_MS = 1000
_MANUAL_MS = 5000  # a manual failover that is not done by then is given up
_PAUSE_MS = 2 * _MANUAL_MS


class Wait(Enum):
    """Why a replica does not take over (yet); the value goes into the log."""

    NOTHING = ""
    DATA_AGE = (
        "Disconnected from master for longer than allowed. Please check the 'cluster-replica-validity-factor' "
        "configuration option."
    )
    DELAY = "Waiting the delay before I can start a new failover."
    EXPIRED = "Failover attempt expired."
    VOTES = "Waiting for votes, but majority still not reached."


class Elections:
    """One node's part in elections."""

    def __init__(self, station: Station, links: Links, gossip: Gossip, failures: Failures) -> None:
        self.station = station
        self.links = links
        self.gossip = gossip
        self.failures = failures
        # as a candidate
        self.start_ms = -(1 << 40)  # when we ask, or asked, for votes
        self.asked = False
        self.epoch = 0
        self.votes: set[str] = set()
        self.rank = 0
        self.why_waiting = Wait.NOTHING
        # a manual failover, on the replica or on its primary
        self.manual_end_ms = 0
        self.manual_replica: ClusterNode | None = None  # on the primary: who takes over
        self.manual_offset = -1  # on the replica: where the primary's stream ends
        self.manual_ready = False  # on the replica: we have all

    # -- voting ------------------------------------------------------------------------------------------------------

    def asked_for_vote(self, message: Message, sender: ClusterNode) -> None:
        """A replica wants our vote."""
        station = self.station
        topology = station.topology
        me = topology.me
        if not me.is_primary or not me.slots:
            return  # our voice does not count
        refusal = self._refusal(message, sender)
        if refusal:
            if refusal != "-":
                station.log(Level.WARNING, f"Failover auth denied to {sender.id}: {refusal}")
            return
        assert sender.primary is not None
        sender.primary.voted_ms = station.now.mono_ms
        topology.last_vote_epoch = topology.current_epoch
        station.save()
        answer = self.gossip.compose(AUTH_ACK)
        self.links.send_to(sender, answer)
        station.log(Level.WARNING, f"Failover auth granted to {sender.id} for epoch {topology.current_epoch}")
        station.announce("cluster.vote", ("for", sender.id), ("epoch", topology.current_epoch))

    def _refusal(self, message: Message, sender: ClusterNode) -> str:
        """Why the sender does not get our vote ("" if it does)."""
        station = self.station
        topology = station.topology
        asked = message.current_epoch
        if asked < topology.current_epoch:
            return f"reqEpoch ({asked}) < curEpoch({topology.current_epoch})"
        if topology.last_vote_epoch == topology.current_epoch:
            return f"already voted for epoch {topology.current_epoch}"
        primary = sender.primary
        forced = bool(message.message_flags & FORCE_ACK)
        if sender.is_primary or primary is None:
            return "it is a master node" if sender.is_primary else "I don't know its master"
        if not primary.failed and not forced:
            return "its master is up"
        since = station.now.mono_ms - primary.voted_ms
        if primary.voted_ms and since < 2 * station.node_timeout_ms:
            return f"can't vote about this master before {2 * station.node_timeout_ms - since} milliseconds"
        for slot in iterate(message.slots & topology.owned):
            owner = topology.owners[slot]
            assert owner is not None
            if owner.config_epoch > message.config_epoch:
                return f"slot {slot} epoch ({owner.config_epoch}) > reqEpoch ({message.config_epoch})"
        return ""

    # -- being voted for ---------------------------------------------------------------------------------------------

    def got_vote(self, message: Message, sender: ClusterNode) -> None:
        """A primary has voted for us."""
        if sender.is_primary and sender.slots and self.asked and message.current_epoch >= self.epoch:
            self.votes.add(sender.id)
            self.go_on()

    def go_on(self) -> None:
        """As a replica: whatever is to be done next to take over from our primary."""
        station = self.station
        topology = station.topology
        me, primary = topology.me, topology.me.primary
        age = station.host.data_age_ms()  # asked while all is well, too: it is only told of a primary that we have seen
        manual = self.manual_ready and self.manual_end_ms != 0
        forbidden = bool(station.settings["cluster-replica-no-failover"]) and not manual
        if not me.is_replica or primary is None or not primary.slots or forbidden or not (primary.failed or manual):
            self.why_waiting = Wait.NOTHING
            return
        if not manual and self._too_old(age):
            self._wait(Wait.DATA_AGE)
            return
        now_ms = station.now.mono_ms
        since = now_ms - self.start_ms
        timeout = max(2 * station.node_timeout_ms, 2000)
        if since > 2 * timeout:
            self._schedule(now_ms, manual)
            return
        if not self.asked and not manual:
            self._look_at_rank()
        if now_ms < self.start_ms:
            self._wait(Wait.DELAY)
        elif since > timeout:
            self._wait(Wait.EXPIRED)
        elif not self.asked:
            self._ask()
        elif len(self.votes) >= topology.quorum:
            self._won()
        else:
            self._wait(Wait.VOTES)

    def _too_old(self, age: int | None) -> bool:
        station = self.station
        factor = station.number("cluster-replica-validity-factor")
        if not factor:
            return False
        allowed = 1000 * station.number("repl-ping-replica-period") + station.node_timeout_ms * factor
        return age is None or age - min(age, station.node_timeout_ms) > allowed

    def _wait(self, why: Wait) -> None:
        if why is not self.why_waiting:
            self.why_waiting = why
            self.station.log(Level.WARNING, f"Currently unable to failover: {why.value}")

    def _schedule(self, now_ms: int, manual: bool) -> None:
        station = self.station
        self.votes.clear()
        self.asked = False
        if manual:
            self.start_ms, self.rank = now_ms, 0
        else:
            self.rank = self._my_rank()
            delay = _FIXED_DELAY_MS + int(station.chance.random() * _RANDOM_DELAY_MS)
            self.start_ms = now_ms + delay + self.rank * _RANK_DELAY_MS
        offset = station.host.offset()
        station.log(
            Level.WARNING,
            f"Start of election delayed for {self.start_ms - now_ms} milliseconds "
            f"(rank #{self.rank}, offset {offset}).",
        )
        primary = station.topology.me.primary
        assert primary is not None
        # Those who follow the same primary learn our offset, and so their rank.
        self.gossip.pong_to(primary.replicas)
        if manual:
            self.go_on()

    def _my_rank(self) -> int:
        """How many replicas of our primary have more data."""
        me = self.station.topology.me
        assert me.primary is not None
        mine = self.station.host.offset()
        return sum(
            other is not me and other.offset > mine and not other.flags & NO_FAILOVER for other in me.primary.replicas
        )

    def _look_at_rank(self) -> None:
        rank = self._my_rank()
        if rank > self.rank:
            added = (rank - self.rank) * _RANK_DELAY_MS
            self.start_ms += added
            self.rank = rank
            self.station.log(
                Level.WARNING, f"Replica rank updated to #{rank}, added {added} milliseconds of delay."
            )

    def _ask(self) -> None:
        station = self.station
        topology = station.topology
        topology.current_epoch += 1
        self.epoch = topology.current_epoch
        self.asked = True
        station.log(Level.WARNING, f"Starting a failover election for epoch {self.epoch}.")
        station.announce("cluster.election", ("epoch", self.epoch))
        station.save()
        self.gossip.ask_vote(AUTH_REQUEST, force=self.manual_end_ms != 0)

    def _won(self) -> None:
        station = self.station
        me = station.topology.me
        station.log(Level.WARNING, "Failover election won: I'm the new master.")
        me.config_epoch = max(me.config_epoch, self.epoch)
        station.log(Level.WARNING, f"configEpoch set to {me.config_epoch} after successful failover")
        self.take_over()

    def take_over(self) -> None:
        """We are the primary of our old primary's slots from now on; the configuration epoch is new already."""
        station = self.station
        topology = station.topology
        me, old = topology.me, topology.me.primary
        if me.is_primary or old is None:
            return
        slots = old.slots
        topology.make_primary(me)
        station.host.lead()
        topology.assign(slots, me)
        self.failures.update_state()
        station.announce("cluster.promoted", ("epoch", me.config_epoch), ("old", old.id))
        station.save()
        self.reset_manual()
        self.gossip.pong_to(list(topology.nodes.values()))
        station.host.slots_changed()

    # -- manual failover ---------------------------------------------------------------------------------------------

    def begin_manual(self, how: str) -> None:
        """CLUSTER FAILOVER on a replica that may; how: "", "FORCE" or "TAKEOVER"."""
        station = self.station
        topology = station.topology
        primary = topology.me.primary
        assert primary is not None
        self.reset_manual()
        self.manual_end_ms = station.now.mono_ms + _MANUAL_MS
        if how == "TAKEOVER":
            station.log(Level.WARNING, "Taking over the master (user request).")
            topology.bump_epoch()
            self.take_over()
        elif how == "FORCE":
            station.log(Level.WARNING, "Forced failover user request accepted.")
            self.manual_ready = True
        else:
            station.log(Level.WARNING, "Manual failover user request accepted.")
            self.links.send_to(primary, self.gossip.compose(MFSTART))

    def asked_to_hand_over(self, sender: ClusterNode) -> None:
        """MFSTART: one of our replicas wants to take over."""
        station = self.station
        me = station.topology.me
        if not me.is_primary or sender.primary is not me:
            return
        self.reset_manual()
        self.manual_end_ms = station.now.mono_ms + _MANUAL_MS
        self.manual_replica = sender
        self.gossip.handing_over = True
        station.host.pause_writes(station.now.mono_ms + _PAUSE_MS)
        station.log(Level.WARNING, f"Manual failover requested by replica {sender.id}.")
        self.tell_offset()

    def tell_offset(self) -> None:
        """As the primary: tell the replica where our stream ends."""
        replica = self.manual_replica
        if replica is not None and replica.linked and not replica.ping_sent_ms:
            link: Link = self.links.by_conn[replica.link]
            self.gossip.ping(link, 0)

    def heard_of_primary(self, message: Message, sender: ClusterNode) -> None:
        """As the replica: our primary's word, while clients wait, about where its stream ends."""
        me = self.station.topology.me
        if (
            self.manual_end_ms
            and me.is_replica
            and me.primary is sender
            and message.message_flags & PAUSED
            and self.manual_offset < 0
        ):
            self.manual_offset = message.offset
            self.station.log(
                Level.WARNING, f"Received replication offset for paused master manual failover: {message.offset}"
            )
            self.check_manual()

    def check_manual(self) -> None:
        """Give up a manual failover that takes too long; go on with one whose replica has caught up."""
        if not self.manual_end_ms:
            return
        station = self.station
        if station.now.mono_ms > self.manual_end_ms:
            station.log(Level.WARNING, "Manual failover timed out.")
            self.reset_manual()
            return
        if self.manual_offset >= 0 and not self.manual_ready and station.host.offset() == self.manual_offset:
            self.manual_ready = True
            station.log(
                Level.WARNING,
                "All master replication stream processed, manual failover can start.",
            )
            # An attempt of before has nothing to do with this one.
            self.start_ms = -(1 << 40)
        if self.manual_ready:
            self.go_on()

    def reset_manual(self) -> None:
        """No manual failover is under way."""
        if self.gossip.handing_over:
            self.station.host.resume_writes()
        self.gossip.handing_over = False
        self.manual_end_ms = 0
        self.manual_replica = None
        self.manual_offset = -1
        self.manual_ready = False


