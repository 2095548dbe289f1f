"""Looks over the Sentinels' shoulders after every turn: what must hold between all of them at every step.

- Nobody votes twice in an epoch, across restarts and disk faults too.
- One epoch has one leader.
- An epoch that others were told of never goes back, nor does a configuration's.
- In one configuration epoch a majority never believes in two primaries (of an elected failover; who forces one, by
  SENTINEL FAILOVER, has not asked the others).

Only what a Sentinel may speak of counts: what is not durable yet has been said to nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from replicator.core.now import Now
from replicator.core.sentinel.belief import FailoverState, Primary
from replicator.core.sentinel.machine import Sentinel

_LEADING = frozenset((
    FailoverState.SELECT_REPLICA, FailoverState.SEND_NO_ONE, FailoverState.WAIT_PROMOTION, FailoverState.RECONFIGURE,
    FailoverState.UPDATE_CONFIG,
))  # fmt: skip


class Council:
    """One run's memory of all Sentinels. object_to: takes each finding, in words."""

    def __init__(self, object_to: Callable[[str], None]) -> None:
        self.object_to = object_to
        self._epochs: dict[str, int] = {}
        self._config_epochs: dict[tuple[str, str], int] = {}
        self._votes: dict[tuple[str, str, int], str] = {}
        self._leaders: dict[tuple[str, int], str] = {}
        self._beliefs: dict[tuple[str, int], dict[str, str]] = {}
        self._forced: dict[tuple[str, int], None] = {}
        self._latest: dict[str, Sentinel] = {}

    def watch(self, name: str, sentinel: Sentinel) -> Callable[[Now], None]:
        """What is to be called after every turn of this life of the Sentinel."""
        self._latest[name] = sentinel
        seen: tuple[object, ...] = ()

        def stepped(now: Now) -> None:
            nonlocal seen
            if not sentinel.store.may_speak:
                return
            # Turns in which nothing of this changed are nearly all.
            present: list[object] = [sentinel.settings.current_epoch]
            for one in sentinel.roster.primaries.values():
                present += (one.leader, one.leader_epoch, one.config_epoch, one.failover_state, one.current)
                present += [(peer.leader, peer.leader_epoch) for peer in one.sentinels.values()]
            if (key := tuple(present)) == seen:
                return
            seen = key
            self._look(name, sentinel, now)

        return stepped

    def _look(self, name: str, sentinel: Sentinel, now: Now) -> None:
        epoch = sentinel.settings.current_epoch
        if epoch < self._epochs.get(name, 0):
            self.object_to(f"{name}: its epoch went back from {self._epochs[name]} to {epoch} at {now.mono_ms} ms")
        self._epochs[name] = epoch
        for primary in sentinel.roster.primaries.values():
            self._look_at(name, sentinel, primary)

    def _look_at(self, name: str, sentinel: Sentinel, primary: Primary) -> None:
        title = primary.name
        if primary.leader:
            self._voted(sentinel.settings.my_id, name, title, primary.leader_epoch, primary.leader)
        for peer in primary.sentinels.values():
            if peer.leader:  # what others have heard has been said, durable or not
                self._voted(peer.run_id, f"{peer.run_id} (heard by {name})", title, peer.leader_epoch, peer.leader)
        if primary.failover_state in _LEADING:
            place = (title, primary.failover_epoch)
            if primary.forced:
                self._forced[place] = None
            before = self._leaders.setdefault(place, name)
            if before != name and place not in self._forced:
                self.object_to(f"{name}: leads epoch {primary.failover_epoch}, which {before} leads")
        config_epoch = primary.config_epoch
        highest = self._config_epochs.get((name, title), 0)
        if config_epoch < highest:
            self.object_to(f"{name}: its configuration's epoch went back from {highest} to {config_epoch}")
        self._config_epochs[(name, title)] = config_epoch
        self._believe(name, title, config_epoch, f"{primary.current.ip}:{primary.current.port}")

    def _voted(self, run_id: str, who: str, title: str, epoch: int, leader: str) -> None:
        before = self._votes.setdefault((run_id, title, epoch), leader)
        if before != leader:
            self.object_to(f"{who}: voted for {before} and for {leader} in epoch {epoch}")

    def _believe(self, name: str, title: str, config_epoch: int, address: str) -> None:
        place = (title, config_epoch)
        beliefs = self._beliefs.setdefault(place, {})
        beliefs[name] = address
        if place in self._forced or config_epoch == 0:
            return
        counted: dict[str, int] = {}
        for believed in beliefs.values():
            counted[believed] = counted.get(believed, 0) + 1
        if len(counted) > 1:
            self.object_to(f"{name}: in configuration epoch {config_epoch} {' and '.join(counted)} are believed in")
