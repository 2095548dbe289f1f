"""What a Sentinel believes: the primaries it watches, their replicas, the other Sentinels. Data, and rules over data.

    Primary --replicas--> Replica          by "ip:port"
       |-----sentinels--> Peer             by the other Sentinel's id; peers of several primaries share one Link

An instance is *subjectively down* (SDOWN) when it has not answered for down-after-milliseconds; a primary is
*objectively down* (ODOWN) when as many Sentinels as its quorum say so. All times are monotonic milliseconds; None is
never.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from replicator.core.sentinel.link import Link


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance listens. host: as it was named (a host name only with resolve-hostnames); ip: resolved."""

    host: str
    ip: str
    port: int

    def same(self, ip: str, port: int) -> bool:
        """Whether it is this resolved address."""
        return self.port == port and self.ip == ip


@dataclass(slots=True)
class Timing:
    """The clocks of a Sentinel in milliseconds; SENTINEL DEBUG shows and sets them."""

    info_period: int = 10_000
    ping_period: int = 1_000
    ask_period: int = 1_000
    publish_period: int = 2_000
    default_down_after: int = 30_000
    default_failover_timeout: int = 180_000
    tilt_trigger: int = 2_000
    tilt_period: int = 30_000
    slave_reconf_timeout: int = 10_000
    min_link_reconnect_period: int = 15_000
    election_timeout: int = 10_000
    script_max_runtime: int = 60_000
    script_retry_delay: int = 30_000


class FailoverState(Enum):
    """Where a failover that this Sentinel leads (or wants to lead) stands; see failover.py."""

    NONE = "none"
    WAIT_START = "wait_start"
    SELECT_REPLICA = "select_slave"
    SEND_NO_ONE = "send_slaveof_noone"
    WAIT_PROMOTION = "wait_promotion"
    RECONFIGURE = "reconf_slaves"
    UPDATE_CONFIG = "update_config"


class Reconf(Enum):
    """How far a replica has been brought to follow the promoted one."""

    NOT_SENT = ""
    SENT = "reconf_sent"
    IN_PROGRESS = "reconf_inprog"
    DONE = "reconf_done"


class Instance:
    """What is common to all that a Sentinel watches."""

    __slots__ = (
        "address", "down_after_ms", "gone", "hello_sent_ms", "info", "info_asked_ms", "info_ms", "link", "name",
        "owner", "reboot_since_ms", "role", "role_since_ms", "run_id", "script_kill_sent", "sdown", "sdown_ms",
        "wake_ms",
    )  # fmt: skip

    kind = ""  # as events name it

    def __init__(self, name: str, address: Address, link: Link, now_ms: int) -> None:
        self.name = name
        self.address = address
        self.link = link
        self.run_id = ""
        self.down_after_ms = 0
        self.gone = False  # forgotten: late answers concern nobody
        self.owner: Primary
        self.sdown = False
        self.sdown_ms: int | None = None  # when it went down last
        self.hello_sent_ms: int | None = now_ms
        self.info = ""
        self.info_ms: int | None = None
        self.info_asked_ms: int | None = None
        self.role = self.kind  # last reported
        self.role_since_ms = now_ms
        self.script_kill_sent = False
        self.reboot_since_ms: int | None = None
        self.wake_ms = 0  # nothing is to be done before (see monitor.py)

    def flags(self) -> list[str]:
        """As SENTINEL MASTERS and its kin list them."""
        raise NotImplementedError

    def silent_for(self, now_ms: int) -> int:
        """For how long it has owed a valid answer."""
        link = self.link
        if link.owed_since_ms is not None:
            return now_ms - link.owed_since_ms
        if link.down:
            return now_ms - link.available_ms
        return 0


class Replica(Instance):
    """A replica of a primary."""

    __slots__ = (
        "announced", "conf_change_ms", "following_host", "following_port", "link_down_ms", "link_ok", "offset",
        "priority", "promoted", "reconf", "reconf_sent_ms",
    )  # fmt: skip

    kind = "slave"

    def __init__(self, name: str, address: Address, link: Link, now_ms: int) -> None:
        super().__init__(name, address, link, now_ms)
        self.priority = 100
        self.offset = 0
        self.announced = True
        self.following_host = ""
        self.following_port = 0
        self.link_ok = False
        self.link_down_ms = 0  # for how long its link to its primary has been down, as it says
        self.conf_change_ms = now_ms
        self.promoted = False
        self.reconf = Reconf.NOT_SENT
        self.reconf_sent_ms = 0

    def flags(self) -> list[str]:
        return _named(
            ("s_down", self.sdown),
            ("slave", True),
            ("disconnected", self.link.down),
            ("promoted", self.promoted),
            (self.reconf.value, self.reconf is not Reconf.NOT_SENT),
            ("script_kill_sent", self.script_kill_sent),
        )


class Peer(Instance):
    """Another Sentinel, as one primary's."""

    __slots__ = ("down_reply_ms", "heard_ms", "leader", "leader_epoch", "says_down")

    kind = "sentinel"

    def __init__(self, name: str, address: Address, link: Link, now_ms: int) -> None:
        super().__init__(name, address, link, now_ms)
        self.run_id = name
        self.heard_ms = now_ms  # its last hello
        self.down_reply_ms: int | None = None  # its last answer to "is it down?"
        self.says_down = False
        self.leader = ""  # whom it voted for
        self.leader_epoch = 0

    def flags(self) -> list[str]:
        return _named(
            ("s_down", self.sdown),
            ("sentinel", True),
            ("disconnected", self.link.down),
            ("master_down", self.says_down),
        )


class Primary(Instance):
    """A monitored primary."""

    __slots__ = (
        "auth_pass", "auth_user", "client_script", "config_epoch", "coordinated", "failover_delay_logged_ms",
        "failover_epoch", "failover_start_ms", "failover_state", "failover_timeout_ms", "forced", "leader",
        "leader_epoch", "notification_script", "odown", "odown_ms", "parallel_syncs", "promoted", "quorum",
        "reboot_down_after_ms", "renames", "replicas", "safety", "sentinels", "state_changed_ms",
    )  # fmt: skip

    kind = "master"

    def __init__(self, name: str, address: Address, link: Link, quorum: int, timing: Timing, now_ms: int) -> None:
        super().__init__(name, address, link, now_ms)
        self.owner = self
        self.quorum = quorum
        self.down_after_ms = timing.default_down_after
        self.failover_timeout_ms = timing.default_failover_timeout
        self.parallel_syncs = 1
        self.reboot_down_after_ms = 0
        self.auth_user = ""
        self.auth_pass = ""
        self.notification_script = ""
        self.client_script = ""
        self.renames: dict[str, str] = {}
        self.safety = Safety()
        self.odown = False
        self.odown_ms: int | None = None
        self.replicas: dict[str, Replica] = {}
        self.sentinels: dict[str, Peer] = {}
        self.config_epoch = 0
        self.leader = ""
        self.leader_epoch = 0
        self.failover_state = FailoverState.NONE
        self.failover_epoch = 0
        self.failover_start_ms: int | None = None  # of the latest attempt, ours or one that we voted for
        self.failover_delay_logged_ms: int | None = None  # the attempt for which the delay was logged
        self.state_changed_ms = now_ms
        self.forced = False  # SENTINEL FAILOVER: no election needed
        self.coordinated = False
        self.promoted: Replica | None = None

    @property
    def failing_over(self) -> bool:
        """A failover is in progress here."""
        return self.failover_state is not FailoverState.NONE

    @property
    def current(self) -> Address:
        """Where clients find the primary: the promoted replica as soon as the failover has come so far."""
        beyond = self.failover_state in (FailoverState.RECONFIGURE, FailoverState.UPDATE_CONFIG)
        return self.promoted.address if beyond and self.promoted is not None else self.address

    def flags(self) -> list[str]:
        return _named(
            ("s_down", self.sdown),
            ("o_down", self.odown),
            ("master", True),
            ("disconnected", self.link.down),
            ("failover_in_progress", self.failing_over),
            ("force_failover", self.forced),
            ("script_kill_sent", self.script_kill_sent),
            ("master_reboot", self.reboot_since_ms is not None),
        )

    def everybody(self) -> list[Instance]:
        """The primary, its replicas and Sentinels."""
        return [self, *self.replicas.values(), *self.sentinels.values()]


@dataclass(slots=True)
class Safety:
    """What a primary's failover does beyond stock, each by a directive of its own; off unless it is given."""

    refuse_empty: bool = False  # promote no empty replica, and mend a primary that came back empty by a failover
    highest_offset: bool = False  # promote no replica while one that is reachable has a higher offset
    warn: bool = False  # say so when the configuration cannot survive one failure


def _named(*flags: tuple[str, bool]) -> list[str]:
    return [name for name, holds in flags if holds]


def answering_for(instance: Instance, for_ms: int, now_ms: int) -> bool:
    """Whether it has been well for at least so long."""
    last = instance.sdown_ms
    return not instance.sdown and (last is None or now_ms - last > for_ms)


def looks_sane(primary: Primary, timing: Timing, now_ms: int) -> bool:
    """Whether others may be told to follow it: it says it is a primary, is up, and has been heard of lately."""
    fresh = primary.info_ms is not None and now_ms - primary.info_ms < 2 * timing.info_period
    return primary.role == "master" and not primary.sdown and not primary.odown and fresh


def objectively_down(primary: Primary) -> tuple[bool, int]:
    """Whether a quorum says that it is down, and how many do (we among them)."""
    if not primary.sdown:
        return False, 0
    count = 1 + sum(peer.says_down for peer in primary.sentinels.values())
    return count >= primary.quorum, count


def choose_replica(primary: Primary, timing: Timing, now_ms: int) -> Replica | None:
    """The replica to promote: of those that are well and fresh, by priority, then offset, then run id."""
    ping = timing.ping_period
    down_for = now_ms - primary.sdown_ms if primary.sdown and primary.sdown_ms is not None else 0
    longest_down = 10 * primary.down_after_ms + down_for
    freshest = (5 * ping) if primary.sdown else 3 * timing.info_period
    fit = [
        replica
        for replica in primary.replicas.values()
        if not replica.sdown
        and not replica.link.down
        and now_ms - replica.link.available_ms <= 5 * ping
        and replica.priority != 0
        and replica.info_ms is not None
        and now_ms - replica.info_ms <= freshest
        and replica.link_down_ms <= longest_down
    ]
    if not fit:
        return None
    if primary.safety.highest_offset:
        most = max(replica.offset for replica in fit)
        fit = [replica for replica in fit if replica.offset == most]
    if primary.safety.refuse_empty:
        fit = [replica for replica in fit if replica.offset > 0]
    return min(fit, key=rank, default=None)


def rank(replica: Replica) -> tuple[int, int, bool, str]:
    """The order of promotion: smallest first."""
    return replica.priority, -replica.offset, not replica.run_id, replica.run_id.lower()
