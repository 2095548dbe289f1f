"""Epochs and votes: who may lead a failover.

An epoch is a number that only grows; each failover has one of its own, begun by the Sentinel that wants to lead it. In
one epoch a Sentinel votes once: for the first that asks. It leads who has the votes of the majority of all known
Sentinels, and of as many as the quorum. So that this holds across a crash, the epoch and the vote are durable before
anybody hears of them: a vote that could not be written down is not given, and our own does not count until it is.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#quorum
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from replicator.core.sentinel.belief import FailoverState, Peer, Primary
from replicator.core.sentinel.bulletin import WARNING, Bulletin
from replicator.core.sentinel.links import Links
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn

# A failover begins up to so many milliseconds late, so that not all Sentinels ask for votes at once.
MAX_DESYNC_MS = 1000
# An answer to "is it down?" that is older than so many ask periods counts no more.
STALE_ASKS = 5


class Election:
    """Votes given and gathered."""

    def __init__(
        self, turn: Turn, settings: Settings, links: Links, bulletin: Bulletin, store: Store, chance: Random
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._links = links
        self._bulletin = bulletin
        self._store = store
        self._chance = chance
        self._asked_ms: dict[Peer, int] = {}

    # -- epochs ------------------------------------------------------------------------------------------------------

    def raise_epoch(self, epoch: int, about: Primary | None) -> None:
        """Somebody is further than we are."""
        if epoch <= self._settings.current_epoch:
            return
        self._settings.current_epoch = epoch
        self._store.changed(spoken_of=True)
        self._bulletin.say(WARNING, "+new-epoch", str(epoch), about)

    def begin_epoch(self, about: Primary) -> int:
        """An epoch of our own."""
        self.raise_epoch(self._settings.current_epoch + 1, about)
        return self._settings.current_epoch

    def desync(self) -> int:
        """A random delay."""
        return self._chance.randrange(MAX_DESYNC_MS)

    # -- votes -------------------------------------------------------------------------------------------------------

    def vote(self, primary: Primary, epoch: int, candidate: str) -> tuple[str, int]:
        """Vote for the candidate, unless we have voted in this epoch or a later one; whom we voted for and when."""
        self.raise_epoch(epoch, primary)
        if primary.leader_epoch < epoch and self._settings.current_epoch <= epoch:
            primary.leader = candidate
            primary.leader_epoch = self._settings.current_epoch
            self._store.changed(spoken_of=True)
            self._bulletin.say(WARNING, "+vote-for-leader", f"{candidate} {primary.leader_epoch}", primary)
            if candidate != self._settings.my_id:
                # Somebody else tries: give them time before we do.
                primary.failover_start_ms = self._turn.now.mono_ms + self.desync()
        return primary.leader, primary.leader_epoch

    def leader(self, primary: Primary, epoch: int) -> str:
        """Who leads this epoch by the votes that we know of; "": nobody yet. Votes ourselves if we have not yet."""
        votes: dict[str, int] = {}
        current = self._settings.current_epoch
        for peer in primary.sentinels.values():
            if peer.leader and peer.leader_epoch == current:
                votes[peer.leader] = votes.get(peer.leader, 0) + 1
        ahead = max(votes, key=lambda run_id: votes[run_id], default=self._settings.my_id)
        mine, mine_epoch = self.vote(primary, epoch, ahead)
        if mine and mine_epoch == epoch and self._store.may_speak:
            votes[mine] = votes.get(mine, 0) + 1
        if not votes:
            return ""
        winner = max(votes, key=lambda run_id: votes[run_id])
        majority = (len(primary.sentinels) + 1) // 2 + 1
        return winner if votes[winner] >= max(majority, primary.quorum) else ""

    # -- asking others -----------------------------------------------------------------------------------------------

    def hurry(self, primary: Primary) -> None:
        """Ask for votes as soon as may be, whatever was asked before."""
        for peer in primary.sentinels.values():
            self._asked_ms.pop(peer, None)

    def ask(self, primary: Primary) -> None:
        """Ask the other Sentinels whether it is down for them too, and, if we want to lead, for their votes."""
        now = self._turn.now.mono_ms
        timing = self._settings.timing
        for peer in primary.sentinels.values():
            if peer.down_reply_ms is not None and now - peer.down_reply_ms > STALE_ASKS * timing.ask_period:
                peer.says_down = False
                peer.leader = ""
            if not primary.sdown and not primary.forced:
                continue
            if peer.link.down:
                continue
            asked = self._asked_ms.get(peer)
            if asked is not None and now - asked < timing.ask_period:
                continue
            wants = primary.failover_state is not FailoverState.NONE
            if wants and not self._store.may_speak:
                continue  # nobody hears of an epoch that we could forget
            self._asked_ms[peer] = now
            self._links.ask(peer, self._question(primary, wants), self._listener(peer))

    def _question(self, primary: Primary, wants: bool) -> tuple[bytes, ...]:
        candidate = self._settings.my_id if wants else "*"
        return (
            b"SENTINEL", b"is-master-down-by-addr",
            self._bulletin.shown(primary.address).encode("utf-8", "surrogateescape"),
            b"%d" % primary.address.port, b"%d" % self._settings.current_epoch, candidate.encode(),
        )  # fmt: skip

    def _listener(self, peer: Peer) -> Callable[[Any], None]:
        return lambda answer: self._answered(peer, answer)

    def _answered(self, peer: Peer, answer: Any) -> None:
        well = isinstance(answer, list) and len(answer) == 3
        if peer.gone or not well or type(answer[0]) is not int or type(answer[2]) is not int:
            return
        if not isinstance(answer[1], bytes):
            return
        peer.down_reply_ms = self._turn.now.mono_ms
        peer.says_down = answer[0] == 1
        voted = answer[1].decode("utf-8", "replace")
        if voted != "*":
            if peer.leader_epoch != answer[2]:
                self._turn.log(WARNING, f"{peer.name} voted for {voted} {answer[2]}")
            peer.leader = voted
            peer.leader_epoch = answer[2]
        peer.owner.wake_ms = 0

    def forget(self, peer: Peer) -> None:
        """The other Sentinel is no longer known."""
        self._asked_ms.pop(peer, None)
