"""SENTINEL and its subcommands.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-api, and what Redis 7.0.15 and
Valkey 9.1 answer (COORDINATED, the aliases with PRIMARY).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as fields_of
from typing import TypeAlias

from replicator.core.errors import CommandError
from replicator.core.sentinel import report
from replicator.core.sentinel.belief import Instance, Primary, Timing, choose_replica
from replicator.core.sentinel.bulletin import WARNING, Bulletin
from replicator.core.sentinel.discovery import Discovery
from replicator.core.sentinel.election import Election
from replicator.core.sentinel.failover import Failover
from replicator.core.sentinel.file import OPTIONS, Refused, number, rename, set_option, yes_no
from replicator.core.sentinel.help import HELP
from replicator.core.sentinel.roster import Roster, RosterError
from replicator.core.sentinel.scripts import Scripts
from replicator.core.sentinel.sessions import Session
from replicator.core.sentinel.settings import Settings
from replicator.core.sentinel.store import Store
from replicator.core.turn import Turn
from replicator.core.wire import reply
from replicator.core.wire.glob import matcher
from replicator.core.wire.numbers import parse_int

NO_PRIMARY = "ERR No such master with that name"
DENIED = (
    "ERR Reconfiguration of scripts path is denied for security reasons. Check the deny-scripts-reconfig configuration "
    "directive in your Sentinel configuration"
)
Handler: TypeAlias = Callable[[Session, list[bytes]], bytes]
HELD = b""  # the reply comes later

# As SENTINEL DEBUG names them: of Timing's fields.
_CLOCKS = (
    "info-period", "ping-period", "ask-period", "publish-period", "default-down-after", "default-failover-timeout",
    "tilt-trigger", "tilt-period", "slave-reconf-timeout", "min-link-reconnect-period", "election-timeout",
    "script-max-runtime", "script-retry-delay",
)  # fmt: skip
assert {name.replace("-", "_") for name in _CLOCKS} == {one.name for one in fields_of(Timing)}
_CONFIG = (
    "resolve-hostnames", "announce-hostnames", "announce-ip", "announce-port", "sentinel-user", "sentinel-pass",
)  # fmt: skip


def text(data: bytes) -> str:
    """An argument as text; what is no text survives."""
    return data.decode("utf-8", "surrogateescape")


class Family:
    """The subcommands of SENTINEL.

    tilted: whether clocks cannot be trusted. may_run: whether a script may be run. log_level: takes a level's name.
    """

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        roster: Roster,
        election: Election,
        failover: Failover,
        discovery: Discovery,
        bulletin: Bulletin,
        store: Store,
        scripts: Scripts,
        *,
        tilted: Callable[[], bool],
        may_run: Callable[[str], bool],
        log_level: tuple[Callable[[], str], Callable[[str], None]],
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._roster = roster
        self._election = election
        self._failover = failover
        self._discovery = discovery
        self._bulletin = bulletin
        self._store = store
        self._scripts = scripts
        self._tilted = tilted
        self._may_run = may_run
        self._log_level = log_level

    def table(self) -> dict[str, tuple[int, Handler]]:
        """Arity (as COMMAND reports it) and handler, by name."""
        return {
            "ckquorum": (3, self.ckquorum),
            "config": (-3, self.config),
            "debug": (-2, self.debug),
            "failover": (-3, self.failover),
            "flushconfig": (2, self.flushconfig),
            "get-master-addr-by-name": (3, self.get_address),
            "get-primary-addr-by-name": (3, self.get_address),
            "help": (2, self.help),
            "info-cache": (-3, self.info_cache),
            "is-master-down-by-addr": (6, self.is_down),
            "is-primary-down-by-addr": (6, self.is_down),
            "master": (3, self.master),
            "primary": (3, self.master),
            "masters": (2, self.masters),
            "primaries": (2, self.masters),
            "monitor": (6, self.monitor),
            "myid": (2, self.myid),
            "pending-scripts": (2, self.pending_scripts),
            "remove": (3, self.remove),
            "replicas": (3, self.replicas),
            "slaves": (3, self.replicas),
            "reset": (3, self.reset),
            "sentinels": (3, self.sentinels),
            "set": (-5, self.set),
            "simulate-failure": (-3, self.simulate_failure),
        }

    def _primary(self, name: bytes) -> Primary:
        primary = self._roster.primaries.get(text(name))
        if primary is None:
            raise CommandError(NO_PRIMARY)
        return primary

    # -- asking ------------------------------------------------------------------------------------------------------

    def _fields(self, session: Session, instance: Instance) -> bytes:
        pairs = report.fields(instance, self._roster.shown(instance.address), self._turn.now.mono_ms)
        items = [reply.bulk(word.encode("utf-8", "surrogateescape")) for pair in pairs for word in pair]
        return reply.mapping(items, session.resp3)

    def masters(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL MASTERS"""
        return reply.array([self._fields(session, one) for one in self._roster.primaries.values()])

    def master(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL MASTER name"""
        return self._fields(session, self._primary(argv[2]))

    def replicas(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL REPLICAS name; those that want not to be announced are left out."""
        found = [one for one in self._primary(argv[2]).replicas.values() if one.announced]
        return reply.array([self._fields(session, one) for one in found])

    def sentinels(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL SENTINELS name"""
        return reply.array([self._fields(session, one) for one in self._primary(argv[2]).sentinels.values()])

    def get_address(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL GET-MASTER-ADDR-BY-NAME name"""
        primary = self._roster.primaries.get(text(argv[2]))
        if primary is None:
            return reply.null_array(session.resp3)
        address = primary.current
        host = self._roster.shown(address).encode("utf-8", "surrogateescape")
        return reply.bulks([host, b"%d" % address.port])

    def myid(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL MYID"""
        return reply.bulk(self._settings.my_id.encode())

    def ckquorum(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL CKQUORUM name"""
        return report.check_quorum(self._primary(argv[2])).encode() + b"\r\n"

    def info_cache(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL INFO-CACHE name [name ...]; of names that are not known nothing is said."""
        wanted = {text(name) for name in argv[2:]}
        now = self._turn.now.mono_ms
        items: list[bytes] = []
        for primary in self._roster.primaries.values():
            if primary.name not in wanted:
                continue
            entries = []
            for one in (primary, *primary.replicas.values()):
                if one.info_ms is None:
                    pair = [reply.ZERO, reply.null(session.resp3)]
                else:
                    info = reply.bulk(one.info.encode("utf-8", "surrogateescape"))
                    pair = [reply.integer(now - one.info_ms), info]
                entries.append(reply.array(pair))
            items += [reply.bulk(primary.name.encode("utf-8", "surrogateescape")), reply.array(entries)]
        return reply.mapping(items, session.resp3)

    def pending_scripts(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL PENDING-SCRIPTS"""
        now = self._turn.now.mono_ms
        found = []
        for job in self._scripts.jobs.values():
            age = ("run-time", now - job.start_ms) if job.running else ("run-delay", max(0, job.start_ms - now))
            words = [reply.bulk(b"argv"), reply.bulks([one.encode("utf-8", "surrogateescape") for one in job.argv])]
            pairs = (
                ("flags", "running" if job.running else "scheduled"), ("pid", job.pid), age, ("retry-num", job.retries)
            )  # fmt: skip
            words += [reply.bulk(str(word).encode()) for pair in pairs for word in pair]
            found.append(reply.mapping(words, session.resp3))
        return reply.array(found)

    def help(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL HELP"""
        return reply.array([reply.simple(line) for line in HELP])

    # -- what other Sentinels ask ------------------------------------------------------------------------------------

    def is_down(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL IS-MASTER-DOWN-BY-ADDR ip port current-epoch run-id: is it down for you; will you vote for me?"""
        port, epoch = parse_int(argv[3]), parse_int(argv[4])
        if port is None or epoch is None:
            raise CommandError("ERR value is not an integer or out of range")
        primary = self._at(text(argv[2]), port)
        down = primary is not None and primary.sdown and not self._tilted()
        if primary is None or argv[5] == b"*":
            return self._opinion(down, "", 0)
        leader, leader_epoch = self._election.vote(primary, epoch, text(argv[5]))
        voted = self._opinion(down, leader, leader_epoch)
        give = session.hold()
        self._store.when_durable(lambda: give(voted), lambda: give(self._opinion(down, "", 0)))
        return HELD

    def _at(self, host: str, port: int) -> Primary | None:
        try:
            address = self._roster.address(host, port)
        except RosterError:
            return None
        for primary in self._roster.primaries.values():
            if primary.address.same(address.ip, port):
                return primary
        return None

    @staticmethod
    def _opinion(down: bool, leader: str, epoch: int) -> bytes:
        voted = reply.bulk(leader.encode("utf-8", "surrogateescape") or b"*")
        return reply.array([reply.integer(int(down)), voted, reply.integer(epoch)])

    # -- changing what is watched ------------------------------------------------------------------------------------

    def _saved(self, session: Session) -> bytes:
        """OK once the file holds the change."""
        give = session.hold()

        def failed() -> None:
            give(reply.error(f"ERR Failed to save config file: {self._store.trouble}"))

        self._store.when_durable(lambda: give(reply.OK), failed)
        return HELD

    def monitor(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL MONITOR name ip port quorum"""
        quorum, port = parse_int(argv[5]), parse_int(argv[4])
        if quorum is None:
            raise CommandError("ERR Invalid quorum")
        if port is None:
            raise CommandError("ERR Invalid port")
        name = text(argv[2])
        if not name or any(char in " \t\r\n\0\"'\\," for char in name):
            raise CommandError("ERR Invalid master name")
        try:
            primary = self._roster.monitor(name, text(argv[3]), port, quorum)
        except RosterError as problem:
            raise CommandError(f"ERR {problem}") from None
        self._bulletin.tell(WARNING, "+monitor", primary, f"quorum {primary.quorum}")
        self._store.changed()
        return self._saved(session)

    def remove(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL REMOVE name"""
        self._roster.remove(self._primary(argv[2]))
        return self._saved(session)

    def reset(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL RESET pattern"""
        matches = matcher(argv[2])
        found = [one for one in self._roster.primaries.values() if matches(one.name.encode("utf-8", "surrogateescape"))]
        for primary in found:
            self._roster.reset(primary)
        return reply.integer(len(found))

    def flushconfig(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL FLUSHCONFIG"""
        self._store.changed()
        return self._saved(session)

    def failover(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL FAILOVER name [COORDINATED]"""
        if len(argv) > 4 or (len(argv) == 4 and argv[3].lower() != b"coordinated"):
            raise CommandError("ERR wrong number of arguments for 'sentinel|failover' command")
        primary = self._primary(argv[2])
        if primary.failing_over:
            raise CommandError("INPROG Failover already in progress")
        if choose_replica(primary, self._settings.timing, self._turn.now.mono_ms) is None:
            raise CommandError("NOGOODSLAVE No suitable replica to promote")
        self._failover.force(primary, coordinated=len(argv) == 4)
        return reply.OK

    def set(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL SET name option value [option value ...]"""
        primary = self._primary(argv[2])
        at = 3
        while at < len(argv):
            at += self._set_one(primary, [text(word) for word in argv[at:]])
        self._store.changed()
        return self._saved(session)

    def _set_one(self, primary: Primary, words: list[str]) -> int:
        """Set the option that words begin with; how many words it took."""
        option = words[0].lower()
        if option == "rename-command" and len(words) >= 3:
            try:
                rename(primary, words[1], words[2])
            except Refused:
                raise CommandError("ERR Invalid argument '' for SENTINEL SET 'rename-command'") from None
            self._bulletin.tell(WARNING, "+set", primary, f"rename-command {words[1]} {words[2]}")
            return 3
        if (option not in OPTIONS and option != "quorum") or len(words) < 2:
            raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL SET '{words[0]}'")
        value = words[1]
        if option.endswith("-script") and self._settings.deny_scripts_reconfig:
            raise CommandError(DENIED)
        try:
            if option == "quorum":
                primary.quorum = number(value, 1, 2**31 - 1)
            else:
                set_option(primary, option, value, self._roster, self._may_run)
        except Refused as problem:
            if option.endswith("-script"):
                raise CommandError(f"ERR {problem}") from None
            raise CommandError(f"ERR Invalid argument '{value}' for SENTINEL SET '{words[0]}'") from None
        primary.wake_ms = 0
        shown = "******" if option == "auth-pass" else value
        self._bulletin.tell(WARNING, "+set", primary, f"{words[0]} {shown}")
        return 2

    # -- the Sentinel itself -----------------------------------------------------------------------------------------

    def config(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL CONFIG GET|SET"""
        word = argv[2].lower()
        if word == b"get" and len(argv) >= 4:
            return self._config_get(session, argv[3:])
        if word == b"set" and len(argv) >= 5 and len(argv) % 2 == 1:
            return self._config_set(session, [text(one) for one in argv[3:]])
        raise CommandError("ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.")

    def _config_values(self) -> dict[str, str]:
        settings = self._settings
        return {
            "resolve-hostnames": "yes" if settings.resolve_hostnames else "no",
            "announce-hostnames": "yes" if settings.announce_hostnames else "no",
            "announce-ip": settings.announce_ip,
            "announce-port": str(settings.announce_port),
            "sentinel-user": settings.sentinel_user,
            "sentinel-pass": settings.sentinel_pass,
            "loglevel": self._log_level[0](),
        }

    def _config_get(self, session: Session, patterns: list[bytes]) -> bytes:
        found: dict[str, str] = {}
        for pattern in patterns:
            matches = matcher(pattern, ignore_case=True)
            found |= {name: value for name, value in self._config_values().items() if matches(name.encode())}
        items = [reply.bulk(one.encode("utf-8", "surrogateescape")) for pair in found.items() for one in pair]
        return reply.mapping(items, session.resp3)

    def _config_set(self, session: Session, words: list[str]) -> bytes:
        pairs = list(zip(words[::2], words[1::2], strict=True))
        seen: set[str] = set()
        for name, value in pairs:
            if name.lower() not in (*_CONFIG, "loglevel"):
                raise CommandError(f"ERR Invalid argument '{name}' to SENTINEL CONFIG SET")
            if name.lower() in seen:
                raise CommandError(f"ERR Duplicate argument '{name}' to SENTINEL CONFIG SET")
            seen.add(name.lower())
            try:
                self._config_value(name.lower(), value)
            except Refused:
                raise CommandError(f"ERR Invalid value '{value}' to SENTINEL CONFIG SET '{name}'") from None
        settings = self._settings
        reconnect = False
        for name, value in pairs:
            option = name.lower()
            if option == "loglevel":
                self._log_level[1](value.lower())
                continue
            setattr(settings, option.replace("-", "_"), self._config_value(option, value))
            reconnect = reconnect or option in ("sentinel-user", "sentinel-pass")
        if reconnect:
            self._roster.reconnect_sentinels()
        self._store.changed()
        return self._saved(session)

    @staticmethod
    def _config_value(option: str, value: str) -> object:
        if option.endswith("-hostnames"):
            return yes_no(value)
        if option == "announce-port":
            return number(value, 0, 65535)
        if option == "loglevel" and value.lower() not in ("debug", "verbose", "notice", "warning", "nothing"):
            raise Refused("no level")
        return value

    def debug(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL DEBUG [clock milliseconds ...]"""
        timing = self._settings.timing
        if len(argv) == 2:
            pairs = [(name.upper(), str(getattr(timing, name.replace("-", "_")))) for name in _CLOCKS]
            return reply.mapping([reply.bulk(one.encode()) for pair in pairs for one in pair], session.resp3)
        for at in range(2, len(argv), 2):
            name = text(argv[at])
            if name.lower() not in _CLOCKS or at + 1 == len(argv):
                raise CommandError(f"ERR Unknown option or number of arguments for SENTINEL DEBUG '{name}'")
            try:
                value = number(text(argv[at + 1]), 1, 2**31 - 1)
            except Refused:
                shown = text(argv[at + 1])
                raise CommandError(f"ERR Invalid argument '{shown}' for SENTINEL DEBUG '{name}'") from None
            setattr(timing, name.lower().replace("-", "_"), value)
        for primary in self._roster.primaries.values():
            for instance in primary.everybody():
                instance.wake_ms = 0
        return reply.OK

    def simulate_failure(self, session: Session, argv: list[bytes]) -> bytes:
        """SENTINEL SIMULATE-FAILURE crash-after-election|crash-after-promotion|help ..."""
        settings = self._settings
        settings.crash_after_election = settings.crash_after_promotion = False
        for word in argv[2:]:
            name = word.lower()
            if name == b"crash-after-election":
                settings.crash_after_election = True
                self._turn.log(
                    WARNING, "Failure simulation: this Sentinel will crash after being elected as failover leader"
                )
            elif name == b"crash-after-promotion":
                settings.crash_after_promotion = True
                self._turn.log(
                    WARNING,
                    "Failure simulation: this Sentinel will crash after promoting the selected replica to master",
                )
            elif name == b"help":
                return reply.bulks([b"crash-after-election", b"crash-after-promotion"])
            else:
                raise CommandError("ERR Unknown failure simulation specified")
        return reply.OK

    def published(self, argv: list[bytes]) -> bytes:
        """PUBLISH, by which Sentinels say hello to each other directly."""
        if argv[1] != b"__sentinel__:hello":
            raise CommandError("ERR Only HELLO messages are accepted by Sentinel instances.")
        self._discovery.hello(argv[2])
        return reply.ONE
