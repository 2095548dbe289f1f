"""sentinel.conf: the lines that begin with "sentinel", read into settings and primaries, and written back.

All other lines are a server's configuration (core/config). A rewrite keeps comments, the order and foreign lines;
what a Sentinel has learnt stands behind them. Lines may stand in any order: the settings are read first, then the
primaries, then what speaks of a primary.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/ and what Redis 7.0.15 writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from replicator.core.config.config import Config, ConfigFileError, Directive, argv_lines, parse_lines
from replicator.core.config.kinds import quoted
from replicator.core.sentinel.belief import Primary, Timing
from replicator.core.sentinel.roster import Roster, RosterError
from replicator.core.sentinel.settings import Settings

WRONG = "Unrecognized sentinel configuration statement."
NO_PRIMARY = "No such master with specified name."
DEFAULT_PORT = 26379
_MOST = 2**63 - 1


class Refused(Exception):
    """A value that does not hold; the text is stock's."""


def separate(text: str, argv: Sequence[str], path: str) -> tuple[str, list[str], list[Directive]]:
    """A file's text and the command line without Sentinel's lines, and these. Raises ConfigFileError."""
    lines = text.split("\n")
    own = [one for one in _readable(lines, path, 1) if one.name == "sentinel"]
    for one in own:
        lines[one.line_number - 1] = ""
    rest: list[str] = []
    first = text.count("\n") + 2
    for at, line in enumerate(argv_lines(argv)):
        found = [one for one in _readable([line], "", first + at) if one.name == "sentinel"]
        own += found
        if not found:
            rest.append(line)
    return "\n".join(lines), rest, own


def _readable(lines: Iterable[str], path: str, first: int) -> list[Directive]:
    found = []
    for at, line in enumerate(lines, first):
        if line.strip().lower().startswith("sentinel"):
            found += parse_lines([line], path, at)
    return found


def number(text: str, least: int, most: int = _MOST) -> int:
    """A whole number within bounds. Raises Refused."""
    try:
        value = int(text) if len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise Refused("Invalid argument")
    return value


class Reader:
    """Applies Sentinel's lines. may_run: whether a script is there and may be run."""

    def __init__(self, settings: Settings, roster: Roster, may_run: Callable[[str], bool]) -> None:
        self.settings = settings
        self.roster = roster
        self.may_run = may_run

    def read(self, directives: Sequence[Directive]) -> None:
        """All lines, in the order in which they can be understood. Raises ConfigFileError."""
        early = [one for one in directives if one.args and one.args[0].lower() in _SETTINGS]
        monitors = [one for one in directives if one.args and one.args[0].lower() == "monitor"]
        rest = [one for one in directives if one not in early and one not in monitors]
        for one in (*early, *monitors, *rest):
            try:
                self._apply(one)
            except (Refused, RosterError) as problem:
                raise ConfigFileError(str(problem), one.file, one.line_number, one.text) from None

    def _apply(self, directive: Directive) -> None:
        words = directive.args
        name = words[0].lower() if words else ""
        if name in _SETTINGS and len(words) == 2:
            _SETTINGS[name](self.settings, words[1])
        elif name == "monitor" and len(words) == 5:
            self._monitor(words)
        elif name in OPTIONS and len(words) == 3:
            set_option(self._primary(words[1]), name, words[2], self.roster, self.may_run)
        elif name == "rename-command" and len(words) == 4:
            rename(self._primary(words[1]), words[2], words[3])
        elif name in ("config-epoch", "leader-epoch") and len(words) == 3:
            primary, epoch = self._primary(words[1]), number(words[2], 0)
            if name == "config-epoch":
                primary.config_epoch = epoch
            else:
                primary.leader_epoch = epoch
            self.settings.current_epoch = max(self.settings.current_epoch, epoch)
        elif name in ("known-replica", "known-slave") and len(words) == 4:
            primary = self._primary(words[1])
            address = self.roster.address(words[2], self._port(words[3]), keep_unresolved=True)
            if self.roster.add_replica(primary, address, say=False) is None:
                raise Refused("Wrong hostname or port for replica.")
        elif name == "known-sentinel" and len(words) in (4, 5):
            self._known_sentinel(words)
        else:
            raise Refused(WRONG)

    def _primary(self, name: str) -> Primary:
        primary = self.roster.primaries.get(name)
        if primary is None:
            raise Refused(NO_PRIMARY)
        return primary

    @staticmethod
    def _port(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            return -1

    def _monitor(self, words: Sequence[str]) -> None:
        quorum = self._port(words[4])
        primary = self.roster.monitor(words[1], words[2], self._port(words[3]), quorum, from_file=True)
        assert primary.quorum > 0

    def _known_sentinel(self, words: Sequence[str]) -> None:
        if len(words) < 5:
            return  # of servers before 3.2, which did not write the id: it introduces itself
        address = self.roster.address(words[2], self._port(words[3]), keep_unresolved=True)
        self.roster.add_peer(self._primary(words[1]), address, words[4])


# -- settings --------------------------------------------------------------------------------------------------------


def yes_no(text: str) -> bool:
    """yes or no."""
    if text.lower() not in ("yes", "no"):
        raise Refused("Please specify yes or no for the option.")
    return text.lower() == "yes"


def _set_id(settings: Settings, text: str) -> None:
    if len(text) != 40:
        raise Refused("Malformed Sentinel id in myid option.")
    settings.my_id = text


def _setter(name: str, convert: Callable[[str], object]) -> Callable[[Settings, str], None]:
    return lambda settings, text: setattr(settings, name, convert(text))


_SETTINGS: dict[str, Callable[[Settings, str], None]] = {
    "myid": _set_id,
    "current-epoch": lambda settings, text: setattr(
        settings, "current_epoch", max(settings.current_epoch, number(text, 0))
    ),
    "announce-ip": _setter("announce_ip", str),
    "announce-port": _setter("announce_port", lambda text: number(text, 0, 65535)),
    "deny-scripts-reconfig": _setter("deny_scripts_reconfig", yes_no),
    "sentinel-user": _setter("sentinel_user", str),
    "sentinel-pass": _setter("sentinel_pass", str),
    "resolve-hostnames": _setter("resolve_hostnames", yes_no),
    "announce-hostnames": _setter("announce_hostnames", yes_no),
}

# -- options of a primary --------------------------------------------------------------------------------------------


def _script(may_run: Callable[[str], bool], path: str, what: str) -> str:
    if path and not may_run(path):
        raise Refused(f"{what} script seems non existing or non executable.")
    return path


def set_option(
    primary: Primary, name: str, value: str, roster: Roster, may_run: Callable[[str], bool]
) -> None:
    """One option of a primary. Raises Refused."""
    if name == "down-after-milliseconds":
        milliseconds = number_or(value, 1, "negative or zero time parameter.")
        roster.set_down_after(primary, milliseconds)
    elif name == "failover-timeout":
        primary.failover_timeout_ms = number_or(value, 1, "negative or zero time parameter.")
    elif name == "parallel-syncs":
        primary.parallel_syncs = number_or(value, 1, "Invalid argument")
    elif name == "master-reboot-down-after-period":
        primary.reboot_down_after_ms = number_or(value, 0, "negative time parameter.")
    elif name == "notification-script":
        primary.notification_script = _script(may_run, value, "Notification")
    elif name == "client-reconfig-script":
        primary.client_script = _script(may_run, value, "Client reconfiguration")
    elif name == "auth-pass":
        primary.auth_pass = value
    elif name == "auth-user":
        primary.auth_user = value
    elif name == "refuse-empty-promotion":
        primary.safety.refuse_empty = yes_no(value)
    elif name == "promote-highest-offset":
        primary.safety.highest_offset = yes_no(value)
    else:
        assert name == "warn-on-fragile-configuration", name
        primary.safety.warn = yes_no(value)


OPTIONS = frozenset((
    "down-after-milliseconds", "failover-timeout", "parallel-syncs", "master-reboot-down-after-period",
    "notification-script", "client-reconfig-script", "auth-pass", "auth-user",
    "refuse-empty-promotion", "promote-highest-offset", "warn-on-fragile-configuration",
))  # fmt: skip


def number_or(text: str, least: int, why: str) -> int:
    """A whole number. Raises Refused with that text."""
    try:
        return number(text, least, 2**31 - 1 if least else _MOST)
    except Refused:
        raise Refused(why) from None


def rename(primary: Primary, old: str, new: str) -> None:
    """rename-command: how the command is called at the primary and its replicas."""
    if not old or not new:
        raise Refused("Same command renamed multiple times with rename-command.")
    if old.lower() == new.lower():
        primary.renames.pop(old.lower(), None)
    else:
        primary.renames[old.lower()] = new


# -- writing ---------------------------------------------------------------------------------------------------------


def _word(text: str) -> str:
    plain = text and all(0x20 < ord(char) < 0x7F and char not in "\"'\\#" for char in text)
    return text if plain else quoted(text)


def _of_primary(primary: Primary, roster: Roster, shown: Timing) -> list[tuple[str, str]]:
    name = primary.name
    current = primary.current
    found: list[tuple[str, str]] = [
        ("monitor", f"{name} {_host(roster, current)} {current.port} {primary.quorum}")
    ]
    default = Timing()
    for option, value, usual in (
        ("down-after-milliseconds", primary.down_after_ms, default.default_down_after),
        ("failover-timeout", primary.failover_timeout_ms, default.default_failover_timeout),
        ("parallel-syncs", primary.parallel_syncs, 1),
        ("notification-script", primary.notification_script, ""),
        ("client-reconfig-script", primary.client_script, ""),
        ("auth-pass", primary.auth_pass, ""),
        ("auth-user", primary.auth_user, ""),
        ("master-reboot-down-after-period", primary.reboot_down_after_ms, 0),
        ("refuse-empty-promotion", primary.safety.refuse_empty, False),
        ("promote-highest-offset", primary.safety.highest_offset, False),
        ("warn-on-fragile-configuration", primary.safety.warn, False),
    ):
        if value != usual:
            text = "yes" if value is True else _word(value) if isinstance(value, str) else str(value)
            found.append((option, f"{name} {text}"))
    found.append(("config-epoch", f"{name} {primary.config_epoch}"))
    found.append(("leader-epoch", f"{name} {primary.leader_epoch}"))
    for replica in primary.replicas.values():
        # Once another is the primary for clients, the old one is a replica in the file.
        address = primary.address if replica.address == current else replica.address
        found.append(("known-replica", f"{name} {_host(roster, address)} {address.port}"))
    for peer in primary.sentinels.values():
        if peer.run_id:
            host = _host(roster, peer.address)
            found.append(("known-sentinel", f"{name} {host} {peer.address.port} {peer.run_id}"))
    for old, new in primary.renames.items():
        found.append(("rename-command", f"{name} {_word(old)} {_word(new)}"))
    return found


def _host(roster: Roster, address: object) -> str:
    return roster.shown(address)  # type: ignore[arg-type]


def _of_settings(settings: Settings) -> list[tuple[str, str]]:
    found = [("current-epoch", str(settings.current_epoch))]
    for option, value in (
        ("announce-ip", quoted(settings.announce_ip) if settings.announce_ip else ""),
        ("announce-port", str(settings.announce_port or "")),
        ("sentinel-user", _word(settings.sentinel_user) if settings.sentinel_user else ""),
        ("sentinel-pass", _word(settings.sentinel_pass) if settings.sentinel_pass else ""),
    ):
        if value:
            found.append((option, value))
    for option, on, usual in (
        ("deny-scripts-reconfig", settings.deny_scripts_reconfig, True),
        ("resolve-hostnames", settings.resolve_hostnames, False),
        ("announce-hostnames", settings.announce_hostnames, False),
    ):
        if on != usual:
            found.append((option, "yes" if on else "no"))
    return found


_NAMES = (
    "myid", "monitor", *sorted(OPTIONS), "config-epoch", "leader-epoch", "known-replica", "known-sentinel",
    "rename-command", "current-epoch", "announce-ip", "announce-port", "sentinel-user", "sentinel-pass",
    "deny-scripts-reconfig", "resolve-hostnames", "announce-hostnames",
)  # fmt: skip
_MARK = "sentinel|"  # a line of ours as one directive of its own name, while the text is rewritten


def render(old_text: str, config: Config, settings: Settings, roster: Roster, users: Sequence[str]) -> str:
    """The file's new text."""
    lines: dict[str, list[str]] = {f"{_MARK}{name}": [] for name in _NAMES}
    pairs = [("myid", settings.my_id)]
    for primary in roster.primaries.values():
        pairs += _of_primary(primary, roster, settings.timing)
    pairs += _of_settings(settings)
    for name, value in pairs:
        lines[f"{_MARK}{name}"].append(f"{_MARK}{name} {value}")
    marked = "\n".join(_marked(line) for line in old_text.split("\n"))
    extra: dict[str, list[str]] = {"user": list(users), **lines}
    text = config.rewrite(marked, extra)
    return "\n".join(_unmarked(line) for line in text.split("\n"))


def _marked(line: str) -> str:
    """sentinel known-slave x ... -> sentinel|known-replica x ..."""
    words = line.split(None, 2)
    if len(words) < 2 or words[0].lower() != "sentinel":
        return line
    name = words[1].strip("\"'").lower()
    name = {"known-slave": "known-replica"}.get(name, name)
    return " ".join((f"{_MARK}{name}", *words[2:]))


def _unmarked(line: str) -> str:
    at = line.find(_MARK)
    if at < 0 or line[:at] not in ("", "# ??? "):
        return line
    return f"{line[:at]}sentinel {line[at + len(_MARK):]}"
