"""What a Sentinel is configured with as a whole, and what it must not forget: its id and its current epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.sentinel.belief import Timing


@dataclass(slots=True)
class Settings:
    """sentinel.conf apart from the primaries.

    current_epoch: the highest epoch that this Sentinel has heard of or begun; it only grows.
    """

    my_id: str = ""
    current_epoch: int = 0
    announce_ip: str = ""
    announce_port: int = 0
    resolve_hostnames: bool = False
    announce_hostnames: bool = False
    sentinel_user: str = ""
    sentinel_pass: str = ""
    deny_scripts_reconfig: bool = True
    crash_after_election: bool = False  # SENTINEL SIMULATE-FAILURE
    crash_after_promotion: bool = False
    timing: Timing = field(default_factory=Timing)
