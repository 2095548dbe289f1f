"""Safeguards of a Sentinel, to be switched off one by one (see mutations.py)."""

from __future__ import annotations

from typing import Any

from replicator.core.sentinel import belief, failover, file
from replicator.core.sentinel.discovery import Discovery
from replicator.core.sentinel.election import Election
from replicator.core.sentinel.family import Family
from replicator.core.sentinel.monitor import Monitor

# name, what a Sentinel does wrong, whose method, the piece of its text, what stands there instead, the arena.
SENTINEL_MUTANTS: tuple[tuple[str, str, Any, str, str, str, str], ...] = (
    ("vote twice", "a Sentinel votes for whoever asks last", Election, "vote",
     "primary.leader_epoch < epoch and", "(primary.leader_epoch < epoch or primary.leader != candidate) and",
     "rivals"),
    ("forget the vote at restart", "the file does not keep in which epoch a Sentinel has voted", file, "_of_primary",
     "{name} {primary.leader_epoch}", "{name} 0", "council"),
    ("speak before it is durable", "a vote leaves before the file holds it", Family, "is_down",
     "self._store.when_durable(lambda: give(voted), lambda: give(self._opinion(down, \"\", 0)))", "give(voted)",
     "council"),
    ("the epoch goes back", "an older epoch is taken over from a hello", Election, "raise_epoch",
     "if epoch <= self._settings.current_epoch:", "if epoch == self._settings.current_epoch:", "council"),
    ("believe older configurations", "a hello with an older configuration is believed", Discovery, "_new_hello",
     "hello.config_epoch > primary.config_epoch", "hello.config_epoch != primary.config_epoch", "council"),
    ("ODOWN by one", "one Sentinel's opinion is enough to begin a failover", failover, "objectively_down",
     "count >= primary.quorum, count", "count >= 1, count", "lonely"),
    ("a quorum without a majority", "the quorum elects a leader, however many Sentinels there are", Election, "leader",
     "majority = (len(primary.sentinels) + 1) // 2 + 1", "majority = 1", "minority"),
    ("promote by run id", "of two replicas the one with the smaller run id is promoted", belief, "rank",
     "replica.priority, -replica.offset, not replica.run_id, replica.run_id.lower()",
     "replica.priority, 0, not replica.run_id, replica.run_id.lower()", "crash"),
    ("no demotion", "an old primary that comes back is left alone", Discovery, "_claims_to_be_primary",
     "not replica.promoted\n", "False\n", "crash"),
    ("epoch not raised", "a failover is tried in an epoch that is over", Election, "begin_epoch",
     "self._settings.current_epoch + 1", "self._settings.current_epoch", "crash"),
    ("silence is no sign", "a primary that does not answer is never called down", Monitor, "_check_subjectively_down",
     "down = instance.silent_for(now) > instance.down_after_ms", "down = False", "crash"),
)  # fmt: skip
