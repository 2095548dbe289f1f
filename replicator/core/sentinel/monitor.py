"""Who is asked what and when, and who is down.

Each instance has its clocks: PING once a second (or down-after-milliseconds, if that is less), INFO every ten seconds
(every second where a failover is near), a hello message every two. `step` does what is due for one of them and sets
when it has to be looked at again (wake_ms), so that a tick over hundreds of them costs next to nothing.

TILT: when the clock has stepped, or this process has stood still, nothing that was measured can be trusted; then for
thirty seconds a Sentinel watches on but acts no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replicator.core.sentinel.belief import FailoverState, Instance, Peer, Primary, Replica
from replicator.core.sentinel.bulletin import WARNING, Bulletin
from replicator.core.sentinel.discovery import Discovery
from replicator.core.sentinel.failover import Failover
from replicator.core.sentinel.links import HELLO_CHANNEL, Links
from replicator.core.sentinel.reports import Hello
from replicator.core.sentinel.roster import Roster
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn

# How often the replica that is to become the primary is asked whether it has.
PROMOTION_INFO_MS = 100


class Monitor:
    """Looks after all instances. listening: our own address as others should use it, given the local end of a link."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        roster: Roster,
        links: Links,
        store: Store,
        failover: Failover,
        bulletin: Bulletin,
        listening: Callable[[str], tuple[str, int]],
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._roster = roster
        self._links = links
        self._store = store
        self._failover = failover
        self._bulletin = bulletin
        self._listening = listening
        self.discovery: Discovery
        self.tilt_since_ms: int | None = None
        self._wall_ms: int | None = None  # of the last tick
        self.total_tilts = 0

    # -- ticks -------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at everybody for whom something is due."""
        self._check_tilt()
        now = self._turn.now.mono_ms
        for primary in list(self._roster.primaries.values()):
            if primary.wake_ms <= now:
                self._step(primary)
            for replica in list(primary.replicas.values()):
                if replica.wake_ms <= now:
                    self._step(replica)
            for peer in list(primary.sentinels.values()):
                if peer.wake_ms <= now:
                    self._step(peer)

    def _check_tilt(self) -> None:
        now = self._turn.now
        timing = self._settings.timing
        before, self._wall_ms = self._wall_ms, now.unix_ms
        if before is not None and not 0 <= now.unix_ms - before <= timing.tilt_trigger:
            if self.tilt_since_ms is None:
                self.total_tilts += 1
            self.tilt_since_ms = now.mono_ms
            self._bulletin.say(WARNING, "+tilt", "#tilt mode entered")
        elif self.tilt_since_ms is not None and now.mono_ms - self.tilt_since_ms >= timing.tilt_period:
            self.tilt_since_ms = None
            self._bulletin.say(WARNING, "-tilt", "#tilt mode exited")
            for primary in self._roster.primaries.values():
                for instance in primary.everybody():
                    instance.wake_ms = 0

    def _step(self, instance: Instance) -> None:
        if instance.gone:
            return
        link, now = instance.link, self._turn.now.mono_ms
        self._links.reconnect(instance)
        wake = self._ask_what_is_due(instance, now)
        if self.tilt_since_ms is None:
            self._links.revalidate(instance)
            self._check_subjectively_down(instance, now)
            if isinstance(instance, Primary):
                self._failover.step(instance)
                if instance.sdown or instance.failing_over:
                    wake = now
        if link.down or (link.channel is None and not isinstance(instance, Peer)):
            wake = min(wake, (link.reconnect_ms or 0) + self._settings.timing.ping_period)
        if link.owed_since_ms is not None and not instance.sdown:
            wake = min(wake, link.owed_since_ms + instance.down_after_ms // 2 + 1)
            if now - link.owed_since_ms > instance.down_after_ms // 2:
                wake = now  # it is about to be called down: look closely
        instance.wake_ms = wake

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask_what_is_due(self, instance: Instance, now: int) -> int:
        """Ask what is due; when something will be due next."""
        link, timing = instance.link, self._settings.timing
        ping_period = min(instance.down_after_ms, timing.ping_period)
        if link.down or self._links.crowded(link):
            return now + ping_period
        wake = now + timing.publish_period
        if not isinstance(instance, Peer):
            period = self._info_period(instance)
            asked = instance.info_asked_ms
            if asked is None or now - asked >= period or (instance.info_ms is None and now - asked > ping_period):
                instance.info_asked_ms = asked = now
                self._links.ask(instance, (b"INFO",), self._info_listener(instance))
            wake = min(wake, asked + period)
        sent = link.ping_sent_ms
        if now - link.pong_ms > ping_period and (sent is None or now - sent > ping_period // 2):
            self._links.ping(instance)
            sent = now
        wake = min(wake, max(link.pong_ms + ping_period, (sent or 0) + ping_period // 2) + 1)
        said = instance.hello_sent_ms
        if (said is None or now - said > timing.publish_period) and self._send_hello(instance):
            instance.hello_sent_ms = now
        return min(wake, (instance.hello_sent_ms or now) + timing.publish_period + 1)

    def _info_period(self, instance: Instance) -> int:
        timing = self._settings.timing
        if isinstance(instance, Replica):
            primary = instance.owner
            if instance.promoted and primary.failover_state is FailoverState.WAIT_PROMOTION:
                return min(PROMOTION_INFO_MS, timing.info_period)
            if primary.odown or primary.failing_over or instance.link_down_ms:
                return min(1000, timing.info_period)
        return timing.info_period

    def _info_listener(self, instance: Instance) -> Callable[[Any], None]:
        def answered(answer: Any) -> None:
            if isinstance(answer, bytes) and not instance.gone:
                self.discovery.info(instance, answer.decode("utf-8", "surrogateescape"))
                instance.wake_ms = 0

        return answered

    def _send_hello(self, instance: Instance) -> bool:
        local = self._links.local_host(instance.link)
        if not local or not self._store.may_speak:
            return False
        primary = instance.owner
        host, port = self._listening(local)
        current = primary.current
        hello = Hello(
            host, port, self._settings.my_id, self._settings.current_epoch,
            primary.name, self._bulletin.shown(current), current.port, primary.config_epoch,
        )  # fmt: skip
        return self._links.ask(instance, (b"PUBLISH", HELLO_CHANNEL, hello.encode()))

    # -- down or up --------------------------------------------------------------------------------------------------

    def _check_subjectively_down(self, instance: Instance, now: int) -> None:
        down = instance.silent_for(now) > instance.down_after_ms
        if isinstance(instance, Primary):
            patience = instance.down_after_ms + 2 * self._settings.timing.info_period
            demoted = instance.role == "slave" and now - instance.role_since_ms > patience
            since = instance.reboot_since_ms
            rebooted = since is not None and now - since > instance.reboot_down_after_ms
            down = down or demoted or rebooted or instance.emptied
        if down and not instance.sdown:
            instance.sdown = True
            instance.sdown_ms = now
            self._bulletin.tell(WARNING, "+sdown", instance)
        elif not down and instance.sdown:
            instance.sdown = False
            instance.script_kill_sent = False
            self._bulletin.tell(WARNING, "-sdown", instance)
