"""Who may ask a Sentinel what: its users, AUTH, and ACL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

from replicator.core.clients.access import AccessDenied, CommandBits, Permissions, RuleError, User, merge_selectors
from replicator.core.command_table.categories import CATEGORIES
from replicator.core.command_table.registry import Command
from replicator.core.config.config import Config
from replicator.core.errors import CommandError
from replicator.core.wire import reply

if TYPE_CHECKING:
    from replicator.core.sentinel.sessions import Session

NO_AUTH = "NOAUTH Authentication required."
WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration "
    "is correct?"
)


class Accounts:
    """The users of one Sentinel. Raises ValueError for users of the configuration that forbid the start."""

    def __init__(self, config: Config, commands: Mapping[str, Command], chance: Random) -> None:
        self._config = config
        self._chance = chance
        self._bits = CommandBits(commands)
        self.default = User(b"default", self._fresh())
        for rule in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            self.default.apply(rule, self._fresh)
        self.users: dict[bytes, User] = {b"default": self.default}
        if config["requirepass"]:
            self._apply(self.default, [b"resetpass", b">" + config["requirepass"].encode("utf-8", "surrogateescape")])
        for name, *words in config.users:
            key = name.encode("utf-8", "surrogateescape")
            user = self.default if key == b"default" else User(key, self._fresh())
            try:
                self._apply(user, [word.encode("utf-8", "surrogateescape") for word in words])
            except RuleError as problem:
                raise ValueError(f"Error in user declaration '{name}': {problem}") from None
            self.users[key] = user

    def _fresh(self) -> Permissions:
        return Permissions(self._bits, all_channels=self._config["acl-pubsub-default"] == "allchannels")

    def _apply(self, user: User, words: Sequence[bytes]) -> None:
        for rule in merge_selectors(words):
            user.apply(rule, self._fresh)

    def lines(self) -> list[str]:
        """The users as lines of the configuration."""
        return [f"user {line.decode('utf-8', 'surrogateescape')}" for line in self.descriptions()]

    def descriptions(self) -> list[bytes]:
        """The users as ACL LIST shows them."""
        return [self.users[name].described() for name in sorted(self.users)]

    # -- logging in --------------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        """A new connection is the default user's."""
        session.user = self.default
        session.authenticated = self.default.enabled and self.default.no_password
        session.decoder.trusted = session.authenticated

    def log_in(self, session: Session, name: bytes, password: bytes) -> None:
        """Raises CommandError."""
        user = self.users.get(name)
        if user is None or not user.enabled or not user.check_password(password):
            raise CommandError(WRONG_PASSWORD)
        session.user = user
        session.authenticated = session.decoder.trusted = True

    def auth(self, session: Session, argv: list[bytes]) -> bytes:
        """AUTH [user] password"""
        if len(argv) > 3:
            raise CommandError("ERR syntax error")
        if len(argv) == 2 and self.default.no_password:
            raise CommandError(NO_PASSWORD)
        self.log_in(session, argv[1] if len(argv) == 3 else b"default", argv[-1])
        return reply.OK

    def check(self, session: Session, command: Command, argv: list[bytes]) -> None:
        """Raise AccessDenied if the session's user may not run this."""
        user: User = session.user
        if not user.unlimited:
            denial = user.denial(command, argv)
            if denial is not None:
                raise AccessDenied(denial)

    # -- ACL ---------------------------------------------------------------------------------------------------------

    def whoami(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL WHOAMI"""
        return reply.bulk(session.user.name)

    def list_(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL LIST"""
        return reply.bulks([b"user " + line for line in self.descriptions()])

    def names(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL USERS"""
        return reply.bulks(sorted(self.users))

    def cat(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL CAT [category]"""
        if len(argv) == 2:
            return reply.bulks([name.encode() for name in CATEGORIES])
        if len(argv) > 3:
            raise CommandError("ERR wrong number of arguments for 'acl|cat' command")
        category = argv[2].lower().decode("utf-8", "replace")
        if category not in CATEGORIES:
            raise CommandError(f"ERR Unknown category '{argv[2].decode('utf-8', 'replace')}'")
        return reply.bulks([name.encode() for name in self._bits.in_category(category)])

    def set_user(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL SETUSER name [rule ...]"""
        name = argv[2]
        known = self.users.get(name)
        user = User(name, self._fresh()) if known is None else known.copy()
        try:
            rules = merge_selectors(argv[3:])
        except RuleError as problem:
            raise CommandError(f"ERR {problem}") from None
        for rule in rules:
            try:
                user.apply(rule, self._fresh)
            except RuleError as problem:
                shown = rule.decode("utf-8", "replace")
                raise CommandError(f"ERR Error in ACL SETUSER modifier '{shown}': {problem}") from None
        if known is None:
            self.users[name] = user
        else:
            known.take(user)
        return reply.OK

    def get_user(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL GETUSER name"""
        user = self.users.get(argv[2])
        if user is None:
            return reply.null(session.resp3)
        root = user.root
        items = [
            reply.bulk(b"flags"), reply.set_of([reply.bulk(flag) for flag in user.flags()], session.resp3),
            reply.bulk(b"passwords"), reply.bulks(user.hashes),
            reply.bulk(b"commands"), reply.bulk(root.shown_commands()),
            reply.bulk(b"keys"), reply.bulk(root.shown_keys()),
            reply.bulk(b"channels"), reply.bulk(root.shown_channels()),
            reply.bulk(b"selectors"), reply.EMPTY_ARRAY,
        ]  # fmt: skip
        return reply.mapping(items, session.resp3)

    def delete_user(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL DELUSER name [name ...]"""
        if b"default" in argv[2:]:
            raise CommandError("ERR The 'default' user cannot be removed")
        return reply.integer(sum(self.users.pop(name, None) is not None for name in argv[2:]))

    def generate(self, session: Session, argv: list[bytes]) -> bytes:
        """ACL GENPASS [bits]"""
        bits = int(argv[2]) if len(argv) > 2 and argv[2].isdigit() else 256 if len(argv) == 2 else 0
        if not 0 < bits <= 4096:
            raise CommandError(
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
                "4096"
            )
        seed = self._chance.getrandbits(256).to_bytes(32, "big")
        text = "".join(sha256(seed + bytes((n,))).hexdigest() for n in range(-(-bits // 256)))
        return reply.bulk(text[: -(-bits // 4)].encode())
