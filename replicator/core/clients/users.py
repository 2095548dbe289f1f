"""The users of a node: who may log in, who is logged in as whom, and what was refused (see access.py for the rules)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from replicator.core.clients.access import (
    AccessDenied,
    CommandBits,
    Denial,
    Permissions,
    RuleError,
    User,
    merge_selectors,
)
from replicator.core.clients.failed_logins import FailedLogins
from replicator.core.clients.listing import Clients
from replicator.core.clients.roll import Roll
from replicator.core.clients.session import Asked, Caller, Session
from replicator.core.command_table.registry import Command
from replicator.core.command_table.table import Table
from replicator.core.config.config import Config, ConfigError
from replicator.core.effects import Level
from replicator.core.errors import CommandError
from replicator.core.surroundings import Surroundings, TextFile
from replicator.core.turn import Turn

_SAME_MS = 60_000  # refusals of one kind within so much time are one entry of the log
_CHANGED = (
    "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is "
    "no longer allowed for the following reason: "
)
_WHY = {
    "command": "no permission to execute the command or subcommand",
    "key": "no permission to touch the specified keys",
    "channel": "no permission to access one of the channels used as arguments",
}
NO_FILE = (
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL "
    "SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to "
    "store users in the Redis configuration."
)
_BOTH = (
    "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This "
    "setup is very likely to lead to configuration errors and security holes, please define either an ACL file or "
    "declare users directly in your redis.conf, but not both."
)


class MemoryFile:
    """A text file that lives in memory; None: it is not there."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def read(self) -> str:
        """All of it."""
        if self.text is None:
            raise ConfigError("No such file or directory")
        return self.text

    def write(self, text: str) -> None:
        """Replace it."""
        self.text = text


@dataclass(slots=True)
class Refusal:
    """One entry of ACL LOG."""

    reason: str
    context: str
    item: bytes
    user: bytes
    client: str
    at_ms: int  # unix
    count: int = 1


def user_name(ctx: Caller) -> bytes:
    """The ACL user of a caller."""
    return b"default" if ctx.user is None else ctx.user.name


class Users:
    """Access control of one node."""

    def __init__(
        self,
        turn: Turn,
        config: Config,
        chance: Random,
        surroundings: Surroundings,
        commands: Table,
        roll: Roll,
        clients: Clients,
    ) -> None:
        self.turn = turn
        self.config = config
        self.random = chance
        self.surroundings = surroundings
        self.commands = commands
        self.roll = roll
        self.clients = clients
        self.table = CommandBits({entry.name: entry for entry in commands.commands.values()})
        self.refusals: list[Refusal] = []  # the latest first
        self._failed = FailedLogins()
        self.users: dict[bytes, User] = {}
        self.default = self._default()
        self.users[b"default"] = self.default

    # -- making users ------------------------------------------------------------------------------------------------

    def _fresh(self) -> Permissions:
        """The permissions of a user that nobody has said anything about."""
        return Permissions(self.table, all_channels=self.config["acl-pubsub-default"] == "allchannels")

    def _default(self) -> User:
        user = User(b"default", self._fresh())
        for rule in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            user.apply(rule, self._fresh)
        return user

    def install(self) -> None:
        """Users of the configuration; raises ValueError for what forbids the start."""
        self.config.contribute("user", self._lines)
        self.config.on_change("requirepass", self._set_default_password)
        if self.config["requirepass"]:
            self._set_default_password(self.config["requirepass"])
        for name, *words in self.config.users:
            encoded = [word.encode("utf-8", "surrogateescape") for word in words]
            key = name.encode("utf-8", "surrogateescape")
            if any(byte in b" \0" for byte in key):
                raise ValueError("Spaces not allowed in ACL usernames")
            user = self.users[key] if key == b"default" else User(key, self._fresh())
            if user is self.default:  # a line for it says all: what it may do unsaid (everything) counts no more
                user.apply(b"reset", self._fresh)
            try:
                rules = merge_selectors(encoded)
            except RuleError as problem:
                raise ValueError(f"Error in user declaration '{name}': {problem}") from None
            for rule in rules:
                try:
                    user.apply(rule, self._fresh)
                except RuleError as problem:
                    shown = rule.decode("utf-8", "surrogateescape")
                    what = f"Error loading ACL rule '{shown}' for the user named '{name}'"
                    raise ValueError(f"{what}: {problem}") from None
            self.users[key] = user
            if not user.enabled:
                self.turn.log(
                    Level.NOTICE,
                    f"The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure "
                    "this is not a configuration error.",
                )
        if self.config["aclfile"]:
            if self.config.users:
                raise ValueError(_BOTH)
            try:
                self._adopt(self._read_file())
            except CommandError as problem:
                why = str(problem).removeprefix("ERR ")
                raise ValueError(f"Aborting Redis startup because of ACL errors: {why}") from None

    def _lines(self) -> list[str]:
        """For CONFIG REWRITE."""
        if self.config["aclfile"]:
            return []
        return [f"user {text.decode('utf-8', 'surrogateescape')}" for text in self.descriptions()]

    def _set_default_password(self, password: str) -> None:
        self.default.apply(b"resetpass" if password else b"nopass", self._fresh)
        if password:
            self.default.apply(b">" + password.encode("utf-8", "surrogateescape"), self._fresh)

    # -- changing ----------------------------------------------------------------------------------------------------

    def set_user(self, name: bytes, words: Sequence[bytes]) -> None:
        """ACL SETUSER: all rules or none."""
        if any(byte in b" \0" for byte in name):
            raise CommandError("ERR Usernames can't contain spaces or null characters")
        there = self.users.get(name)
        user = User(name, self._fresh()) if there is None else there.copy()
        try:
            rules = merge_selectors(words)
        except RuleError as problem:
            raise CommandError(f"ERR {problem}") from None
        for rule in rules:
            try:
                user.apply(rule, self._fresh)
            except RuleError as problem:
                shown = rule.decode("utf-8", "surrogateescape")
                raise CommandError(f"ERR Error in ACL SETUSER modifier '{shown}': {problem}") from None
        if there is None:
            self.users[name] = user
            return
        before = there.channel_reach()
        there.take(user)
        self._close_subscribers(there, before)
        self._changed()

    def _close_subscribers(self, user: User, before: tuple[bool, list[bytes]]) -> None:
        """Send those away who listen to what the user may listen to no more."""
        everything, patterns = user.channel_reach()
        if everything or (not before[0] and set(before[1]) <= set(patterns)):
            return
        sets = (user.root, *user.selectors)
        for session in list(self.roll.by_id.values()):
            if session.user is not user:
                continue
            heard = [(channel, False) for channel in (*session.channels, *session.shard_channels)]
            heard += [(pattern, True) for pattern in session.patterns]
            if not all(
                any(one.allows_channel(channel, is_pattern=is_pattern) for one in sets) for channel, is_pattern in heard
            ):
                self.clients.kill(session, session)

    def delete(self, name: bytes) -> bool:
        """ACL DELUSER; its clients are sent away."""
        user = self.users.get(name)
        if user is None:
            return False
        del self.users[name]
        self._send_away(user)
        return True

    def _send_away(self, user: User) -> None:
        for session in list(self.roll.by_id.values()):
            if session.user is user:
                session.authenticated = False
                self.clients.kill(session, session)

    def _changed(self) -> None:
        for session in self.roll.by_id.values():
            if not session.is_primary_link:
                session.regate()

    # -- files -------------------------------------------------------------------------------------------------------

    def _file(self) -> TextFile:
        if not self.config["aclfile"] or self.surroundings.acl_file is None:
            raise CommandError(NO_FILE)
        return self.surroundings.acl_file

    def load_file(self) -> None:
        """ACL LOAD: the users of the file, or none of them. Clients go on as the user of their name; those whose user
        is gone, and subscribers of what the user may no longer listen to, are sent away.
        """
        self._file()
        self._adopt(self._read_file())

    def _read_file(self) -> dict[bytes, User]:
        path = self.config["aclfile"]
        try:
            text = self._file().read()
        except ConfigError as problem:
            raise CommandError(f"ERR Error loading ACLs, opening file '{path}': {problem}") from None
        found: dict[bytes, User] = {}
        errors: list[str] = []
        for number, line in enumerate(text.split("\n"), 1):
            words = line.strip(" \t\r\n").encode("utf-8", "surrogateescape").split(b" ")
            if words == [b""] or words[0].startswith(b"#"):
                continue
            self._read_line(f"{path}:{number}", number, words, found, errors)
        if errors:
            told = "".join(f"{error}. " for error in errors)
            raise CommandError(
                f"ERR {told}WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            )
        return found

    def _read_line(
        self, where: str, number: int, words: list[bytes], found: dict[bytes, User], errors: list[str]
    ) -> None:
        if words[0] != b"user" or len(words) < 2:
            errors.append(f"{where} should start with user keyword followed by the username")
            return
        name = words[1]
        if name in found:
            errors.append(f"WARNING: Duplicate user '{name.decode('utf-8', 'replace')}' found on line {number}")
            return
        found[name] = user = User(name, self._fresh())
        try:
            rules = merge_selectors(word for word in words[2:] if word)
        except RuleError as problem:
            errors.append(f"{where}: {str(problem).rstrip('.')}")
            return
        for rule in rules:
            try:
                user.apply(rule, self._fresh)
            except RuleError as problem:
                if str(problem) == "Syntax error":
                    errors.append(f"{where}: Syntax error")
                else:
                    shown = rule.decode("utf-8", "replace")
                    errors.append(f"{where}: Error in applying operation '{shown}': {problem}")
                return

    def _adopt(self, found: dict[bytes, User]) -> None:
        found.setdefault(b"default", self._default())
        old, self.users = self.users, {}
        for name, user in found.items():
            there = old.pop(name, None)
            if there is None:
                self.users[name] = user
                continue
            before = there.channel_reach()
            there.take(user)
            self.users[name] = there
            self._close_subscribers(there, before)
        for user in old.values():
            self._send_away(user)
        self._changed()

    def save_file(self) -> None:
        """ACL SAVE."""
        file = self._file()
        text = b"".join(b"user %b\n" % line for line in self.descriptions())
        try:
            file.write(text.decode("utf-8", "surrogateescape"))
        except ConfigError as problem:
            self.turn.log(Level.WARNING, f"Opening temp ACL file for ACL SAVE: {problem}")
            raise CommandError(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
            ) from None

    def names(self) -> list[bytes]:
        """All names, in order."""
        return sorted(self.users)

    def descriptions(self) -> list[bytes]:
        """All users as lines of an ACL file, without the word `user`."""
        return [self.users[name].described() for name in self.names()]

    # -- logging in --------------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        """A new connection, or one that begins anew, belongs to the default user."""
        session.user = self.default
        session.authenticated = self.default.enabled and self.default.no_password

    def authenticate(self, session: Session, name: bytes, password: bytes) -> bool:
        """AUTH and HELLO AUTH; whether the login succeeded."""
        user = self.users.get(name)
        if user is None or not user.enabled or not user.check_password(password):
            command = session.argv[0] if session.argv else b"AUTH"
            self._record("auth", session, name, command[:64])
            line = self._failed.line(session.peer, name, self.turn.now.mono_ms)
            if line is not None:
                self.turn.log(Level.WARNING, line)
            return False
        session.user = user
        session.authenticated = True
        session.regate()
        return True

    # -- asking ------------------------------------------------------------------------------------------------------

    def is_unrestricted(self, session: Caller) -> bool:
        """Whether nothing needs to be asked for this caller."""
        return session.user is None or session.user.unlimited

    def denial(self, ctx: Caller, command: Command, argv: Sequence[bytes]) -> Denial | None:
        """Why the caller may not run this; None if it may. Leaves no trace."""
        user = ctx.user
        if user is None or user.unlimited:
            return None
        return user.denial(command, argv)

    def check(self, ctx: Caller, command: Command, argv: Sequence[bytes]) -> None:
        """Raise AccessDenied, and note it, if the caller may not run this."""
        denial = self.denial(ctx, command, argv)
        if denial is not None:
            self._record(denial.reason, ctx, user_name(ctx), denial.item)
            raise AccessDenied(denial)

    def admit(self, session: Session, asked: Asked) -> None:
        """Raise NOPERM if the session's user may not run this (execution.admission.Check)."""
        self.check(session, asked.command, asked.argv)

    def check_queued(self, session: Session, command: Command, argv: Sequence[bytes]) -> None:
        """The same for a command that MULTI had queued."""
        try:
            self.check(session, command, argv)
        except AccessDenied as problem:
            raise CommandError(_CHANGED + _WHY[problem.denial.reason]) from None

    def reads_all_keys(self, ctx: Caller, argv: Sequence[bytes]) -> bool:
        """Whether the caller may read every key by this command (SORT's BY and GET)."""
        user = ctx.user
        if user is None or user.unlimited:
            return True
        command = self.commands.resolve(list(argv))
        return command is not None and user.reads_all_keys(command, argv)

    # -- the log -----------------------------------------------------------------------------------------------------

    def _record(self, reason: str, ctx: Caller, user: bytes, item: bytes) -> None:
        session = self.roll.by_id.get(ctx.id)
        context = "toplevel"
        if ctx.script is not None:
            context = "lua"
        elif ctx.transaction is not None or ctx.deny_blocking:
            context = "multi"
        client = "" if session is None else self.clients.line(session, session)
        now = self.turn.now.unix_ms
        refusals = self.refusals
        for at, old in enumerate(refusals):
            if (old.reason, old.context, old.item, old.user) == (reason, context, item, user):
                if abs(now - old.at_ms) <= _SAME_MS:
                    refusals.insert(0, refusals.pop(at))
                    old.count += 1
                    old.at_ms, old.client = now, client
                    return
                break
        refusals.insert(0, Refusal(reason, context, item, user, client, now))
        del refusals[self.config["acllog-max-len"] :]

    def secret(self, count: int) -> bytes:
        """So many bytes that nobody can guess, where the driver has a source of such; else drawn by chance."""
        source: Callable[[int], bytes] | None = self.surroundings.entropy
        if source is not None:
            return source(count)
        seed = b"".join(self.random.getrandbits(8).to_bytes(1, "big") for _ in range(32))
        return b"".join(sha256(seed + bytes([n])).digest() for n in range(-(-count // 32)))[:count]
