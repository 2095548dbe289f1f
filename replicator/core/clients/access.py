"""Access control lists: users, what each may do, and the log of what was refused.

A user has a root set of permissions and perhaps selectors; a command may run if one of these sets allows all of it: the
command, each key for what the command does with it, each channel. Which commands a set allows is a bit per command and
subcommand, so that categories and whole lists are single integers. Rules are kept too, in the order in which they were
given and without those that no longer matter: from them a user is described.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TypeAlias

from replicator.core.command_table.categories import CATEGORIES, categories_of
from replicator.core.command_table.key_specs import READ, WRITE, channels_of, keys_of
from replicator.core.command_table.registry import NO_AUTH, Command
from replicator.core.errors import CommandError
from replicator.core.wire.glob import Matcher, matcher

UNKNOWN = "Unknown command or category name in ACL"
_SYNTAX = "Syntax error"
_NO_PASSWORD = "The password you are trying to remove from the user does not exist"
_BAD_HASH = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
_FIRST_OF_SUB = "Allowing first-arg of a subcommand is not supported"


def _shadowed(what: str, flag: str, reset: str) -> str:
    return (
        f"Adding a pattern after the * pattern (or the '{flag}' flag) is not valid and does not have any effect. "
        f"Try '{reset}' to start with an empty list of {what}"
    )


class RuleError(Exception):
    """A rule that does not hold; the text says why."""


@dataclass(slots=True)
class Denial:
    """What an ACL forbade: reason is "command", "key" or "channel"; item what it was about."""

    reason: str
    item: bytes

    def text(self) -> str:
        """The error reply."""
        if self.reason == "command":
            return f"NOPERM this user has no permissions to run the '{_shown(self.item)}' command"
        return f"NOPERM this user has no permissions to access one of the {self.reason}s used as arguments"

    def dry_text(self) -> str:
        """What ACL DRYRUN says."""
        if self.reason == "command":
            return f"This user has no permissions to run the '{_shown(self.item)}' command"
        return f"This user has no permissions to access the '{_shown(self.item)}' {self.reason}"

    @property
    def depth(self) -> int:
        """How far the check came: of several selectors the one that came farthest is told of."""
        return ("command", "key", "channel").index(self.reason)


class AccessDenied(CommandError):
    """A command that the user may not run."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.text())
        self.denial = denial


# By the names of the commands (rename-command makes other ones); a simulation makes thousands of nodes with the same.
_Bits: TypeAlias = tuple[dict[str, int], dict[str, int], dict[str, int], int, list[str]]
_bits: dict[tuple[str, ...], _Bits] = {}
_BITS_MOST = 16


class CommandBits:
    """Every command and subcommand of a node as a bit, categories as masks."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self.commands = commands
        self.bit: dict[str, int]
        self.mask: dict[str, int]  # of a command: itself and its subcommands
        self.category: dict[str, int]
        self.names: list[str]
        known = _bits.get(tuple(commands))
        if known is not None:
            # Another node of this process has the same commands; nothing of this is changed afterwards.
            self.bit, self.mask, self.category, self.everything, self.names = known
            return
        self.bit = {}
        self.mask = {}
        self.category = dict.fromkeys(CATEGORIES, 0)
        self.everything = 0
        self.names = []
        for name, entry in commands.items():
            whole = 0
            for full, one in ((name, entry), *((f"{name}|{sub}", twin) for sub, twin in entry.subcommands.items())):
                bit = 1 << len(self.names)
                self.names.append(full)
                self.bit[full] = bit
                whole |= bit
                for category in categories_of(one):
                    self.category[category] |= bit
            self.mask[name] = whole
            self.everything |= whole
        if len(_bits) < _BITS_MOST:
            _bits[tuple(commands)] = (self.bit, self.mask, self.category, self.everything, self.names)

    def in_category(self, category: str) -> list[str]:
        """The commands of a category, in the table's order."""
        mask = self.category[category]
        return [name for name in self.names if self.bit[name] & mask]


Rule = tuple[str, str]  # sign, and "@category", "command", "command|subcommand" or "command|first-argument"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Keys (or channels) that a set of permissions reaches; access: READ, WRITE or both."""

    text: bytes
    access: int
    matches: Matcher

    def shown(self) -> bytes:
        """As rules spell it."""
        mark = {READ: b"%R~", WRITE: b"%W~"}.get(self.access, b"~")
        return mark + self.text


@dataclass(slots=True)
class Permissions:
    """One set of permissions: a user's root, or a selector."""

    table: CommandBits
    commands: int = 0  # bits
    by_default: bool = False  # +@all was the last word on all commands
    rules: list[Rule] = field(default_factory=list)
    firsts: dict[str, dict[bytes, None]] = field(default_factory=dict)  # command -> first arguments allowed as well
    all_keys: bool = False
    keys: list[Pattern] = field(default_factory=list)
    all_channels: bool = False
    channels: list[Pattern] = field(default_factory=list)

    def copy(self) -> Permissions:
        """A twin that shares nothing that changes."""
        return replace(
            self,
            rules=list(self.rules),
            firsts={name: dict(words) for name, words in self.firsts.items()},
            keys=list(self.keys),
            channels=list(self.channels),
        )

    @property
    def unlimited(self) -> bool:
        """Whether it allows everything there is."""
        return self.all_keys and self.all_channels and self.commands == self.table.everything

    # -- changing ----------------------------------------------------------------------------------------------------

    def apply(self, rule: bytes) -> bool:
        """One rule; whether it is one of those that a selector may hold. Raises RuleError."""
        word = rule.lower()
        if word in (b"allkeys", b"~*"):
            self.all_keys, self.keys = True, []
        elif word == b"resetkeys":
            self.all_keys, self.keys = False, []
        elif word in (b"allchannels", b"&*"):
            self.all_channels, self.channels = True, []
        elif word == b"resetchannels":
            self.all_channels, self.channels = False, []
        elif word in (b"allcommands", b"+@all", b"nocommands", b"-@all"):
            self._all_commands(word in (b"allcommands", b"+@all"))
        elif rule[:1] in (b"~", b"%"):
            self._add_keys(rule)
        elif rule[:1] == b"&":
            self._add_channel(rule[1:])
        elif rule[:1] in (b"+", b"-"):
            self._command_rule(chr(rule[0]), rule[1:])
        else:
            return False
        return True

    def _all_commands(self, allowed: bool) -> None:
        self.by_default = allowed
        self.rules.clear()
        self._fold()

    def _add_keys(self, rule: bytes) -> None:
        access, at = READ | WRITE, 1
        if rule[:1] == b"%":
            access = 0
            while at < len(rule) and rule[at : at + 1] != b"~":
                letter = rule[at : at + 1].upper()
                flag = READ if letter == b"R" else WRITE if letter == b"W" else 0
                if self.all_keys:
                    raise RuleError(_shadowed("patterns", "allkeys", "resetkeys"))
                if not flag or access & flag:
                    raise RuleError(_SYNTAX)
                access |= flag
                at += 1
            at += 1
        if self.all_keys:
            raise RuleError(_shadowed("patterns", "allkeys", "resetkeys"))
        if not access:
            raise RuleError(_SYNTAX)
        text = rule[at:]
        _check_pattern(text)
        for at, pattern in enumerate(self.keys):
            if pattern.text == text:
                self.keys[at] = replace(pattern, access=pattern.access | access)
                return
        self.keys.append(Pattern(text, access, bool if text == b"*" else matcher(text)))  # the empty key needs allkeys

    def _add_channel(self, text: bytes) -> None:
        if self.all_channels:
            raise RuleError(_shadowed("channels", "allchannels", "resetchannels"))
        _check_pattern(text)
        if all(pattern.text != text for pattern in self.channels):
            self.channels.append(Pattern(text, READ | WRITE, matcher(text)))

    def _command_rule(self, sign: str, name: bytes) -> None:
        text = name.lower().decode("utf-8", "surrogateescape")
        table = self.table
        if text.startswith("@"):
            if text[1:] not in table.category:
                raise RuleError(UNKNOWN)
        elif text not in table.bit:
            parent, _, rest = text.partition("|")
            entry = table.commands.get(parent)
            if entry is None or not rest or sign == "-":
                raise RuleError(UNKNOWN)
            if entry.subcommands:
                raise RuleError(_FIRST_OF_SUB if rest.partition("|")[0] in entry.subcommands else UNKNOWN)
            if "|" in rest:
                raise RuleError(UNKNOWN)
        if self._mask(text):
            self._add_rule(sign, text)
        else:
            self._add_first_argument(sign, text)

    def _mask(self, text: str) -> int:
        """The bits that a rule speaks of; 0: it is about a first argument."""
        if text.startswith("@"):
            return self.table.category[text[1:]]
        return self.table.bit.get(text, 0) if "|" in text else self.table.mask[text]

    def _speaks_of(self, text: str) -> int:
        """The bits of which a rule speaks, the command of a first argument among them."""
        return self._mask(text) or self.table.bit[text.partition("|")[0]]

    # Every rule without which the outcome is the same is dropped, the oldest first. A rule mattered when it was added;
    # it can only have ceased to if the new one speaks of the same bits. So only these are tried, and none that the new
    # one covers altogether: rules by the thousand (first arguments, mostly) cost no more than their number.

    def _add_first_argument(self, sign: str, text: str) -> None:
        before = self.commands, {name: len(words) for name, words in self.firsts.items()}
        known = (sign, text) in self.rules
        self._step(sign, text)
        if (self.commands, {name: len(words) for name, words in self.firsts.items()}) != before:
            self.rules.append((sign, text))
        elif known:  # the younger of the two stays
            self.rules.append((sign, text))
            self._drop_if_idle([self.rules.index((sign, text))])

    def _add_rule(self, sign: str, text: str) -> None:
        mask = self._mask(text)
        before = self.commands, set(self.firsts)
        self._step(sign, text)
        changed = (self.commands, set(self.firsts)) != before
        kept = [rule for rule in self.rules if self._speaks_of(rule[1]) & ~mask]
        alone = len(kept) == len(self.rules)
        self.rules = [*kept, (sign, text)]
        overlapping = [at for at, rule in enumerate(kept) if self._speaks_of(rule[1]) & mask]
        if alone and not overlapping:
            if not changed:
                self.rules.pop()
            return
        self._drop_if_idle([*overlapping, len(kept)])

    def _drop_if_idle(self, places: list[int]) -> None:
        """Drop those of these rules (places in rising order) without which the outcome is the same."""
        outcome = (self.commands, self.firsts)
        gone = 0
        for place in places:
            dropped = self.rules.pop(place - gone)
            self._fold()
            if (self.commands, self.firsts) == outcome:
                gone += 1
            else:
                self.rules.insert(place - gone, dropped)
        self.commands, self.firsts = outcome

    def _fold(self) -> None:
        """Compute bits and first arguments from the rules."""
        self.commands = self.table.everything if self.by_default else 0
        self.firsts = {}
        for sign, text in self.rules:
            self._step(sign, text)

    def _step(self, sign: str, text: str) -> None:
        """Let one more rule change bits and first arguments."""
        table = self.table
        mask = self._mask(text)
        if not mask:
            parent, _, word = text.partition("|")
            if not self.commands & table.bit[parent]:
                self.firsts.setdefault(parent, {})[word.encode("utf-8", "surrogateescape")] = None
            return
        self.commands = self.commands | mask if sign == "+" else self.commands & ~mask
        if self.firsts:
            self.firsts = {name: words for name, words in self.firsts.items() if not table.bit[name] & mask}

    # -- asking ------------------------------------------------------------------------------------------------------

    def allows_command(self, command: Command, argv: Sequence[bytes]) -> bool:
        """Whether the command itself is allowed."""
        if command.flags & NO_AUTH:
            return True
        name = command.full_name
        if self.commands & self.table.bit.get(name, 0):
            return True
        words = self.firsts.get(name)
        return words is not None and len(argv) > 1 and argv[1].lower() in words

    def allows_key(self, key: bytes, access: int) -> bool:
        """Whether one pattern reaches the key for all of this access (0: for anything at all)."""
        return self.all_keys or any(
            pattern.access & access == access and pattern.matches(key) for pattern in self.keys
        )

    def allows_channel(self, channel: bytes, *, is_pattern: bool) -> bool:
        """Whether the channel is reached; a pattern must be one of ours, letter by letter."""
        if self.all_channels:
            return True
        if is_pattern:
            return any(pattern.text == channel for pattern in self.channels)
        return any(pattern.matches(channel) for pattern in self.channels)

    def denial(self, command: Command, argv: Sequence[bytes]) -> Denial | None:
        """Why these permissions do not suffice for the command; None if they do."""
        if not self.allows_command(command, argv):
            return Denial("command", command.full_name.encode())
        if not self.all_keys:
            for key, access in keys_of(command, argv):
                if not self.allows_key(key, access):
                    return Denial("key", key)
        if not self.all_channels:
            for channel, is_pattern in channels_of(command, argv):
                if not self.allows_channel(channel, is_pattern=is_pattern):
                    return Denial("channel", channel)
        return None

    # -- showing -----------------------------------------------------------------------------------------------------

    def shown_commands(self) -> bytes:
        """The rules for commands."""
        words = ["+@all" if self.by_default else "-@all", *(sign + text for sign, text in self.rules)]
        return " ".join(words).encode("utf-8", "surrogateescape")

    def shown_keys(self) -> bytes:
        """The patterns for keys."""
        return b"~*" if self.all_keys else b" ".join(pattern.shown() for pattern in self.keys)

    def shown_channels(self) -> bytes:
        """The patterns for channels."""
        return b"&*" if self.all_channels else b" ".join(b"&" + pattern.text for pattern in self.channels)

    def described(self) -> bytes:
        """All of it, as rules."""
        channels = self.shown_channels()
        if not self.all_channels:
            channels = b"resetchannels " + channels if channels else b"resetchannels"
        return b" ".join(part for part in (self.shown_keys(), channels, self.shown_commands()) if part)


class User:
    """One user."""

    __slots__ = ("enabled", "hashes", "name", "no_password", "root", "sanitize", "selectors")

    def __init__(self, name: bytes, root: Permissions) -> None:
        self.name = name
        self.enabled = False
        self.no_password = False
        self.hashes: list[bytes] = []
        self.sanitize: bool | None = None  # sanitize-payload, skip-sanitize-payload, or neither said
        self.root = root
        self.selectors: list[Permissions] = []

    def copy(self) -> User:
        """A twin to try rules on."""
        twin = User(self.name, self.root.copy())
        twin.take(self)
        return twin

    def take(self, other: User) -> None:
        """Become as the other is."""
        self.enabled, self.no_password, self.sanitize = other.enabled, other.no_password, other.sanitize
        self.hashes = list(other.hashes)
        self.root = other.root.copy()
        self.selectors = [selector.copy() for selector in other.selectors]

    @property
    def unlimited(self) -> bool:
        """Whether the user may do everything."""
        return self.root.unlimited

    def denial(self, command: Command, argv: Sequence[bytes]) -> Denial | None:
        """Why the user may not run the command, or None."""
        worst = self.root.denial(command, argv)
        if worst is None:
            return None
        for selector in self.selectors:
            other = selector.denial(command, argv)
            if other is None:
                return None
            if other.depth > worst.depth:
                worst = other
        return worst

    def reads_all_keys(self, command: Command, argv: Sequence[bytes]) -> bool:
        """Whether a set of permissions that allows the command reaches every key for reading."""
        for permissions in (self.root, *self.selectors):
            wide = permissions.all_keys or any(p.text == b"*" and p.access & READ for p in permissions.keys)
            if wide and permissions.allows_command(command, argv):
                return True
        return False

    def channel_reach(self) -> tuple[bool, list[bytes]]:
        """All channels, and else which patterns, over root and selectors."""
        sets = (self.root, *self.selectors)
        return any(one.all_channels for one in sets), [p.text for one in sets for p in one.channels]

    def check_password(self, password: bytes) -> bool:
        """Whether that is a password of the user."""
        return self.no_password or sha256(password).hexdigest().encode() in self.hashes

    def flags(self) -> list[bytes]:
        """As ACL GETUSER shows them."""
        shown = [b"on" if self.enabled else b"off"]
        if self.no_password:
            shown.append(b"nopass")
        if self.sanitize is not None:
            shown.append(b"sanitize-payload" if self.sanitize else b"skip-sanitize-payload")
        return shown

    def described(self) -> bytes:
        """The user as a line of an ACL file, without the word `user`."""
        parts = [self.name, *self.flags(), *(b"#" + digest for digest in self.hashes), self.root.described()]
        parts += [b"(%b)" % selector.described() for selector in self.selectors]
        return b" ".join(parts)

    def apply(self, rule: bytes, fresh: Callable[[], Permissions]) -> None:
        """One rule; raises RuleError. fresh: makes an empty set of permissions."""
        word = rule.lower()
        if not word:
            return
        if word in (b"on", b"off"):
            self.enabled = word == b"on"
        elif word == b"nopass":
            self.no_password, self.hashes = True, []
        elif word == b"resetpass":
            self.no_password, self.hashes = False, []
        elif word in (b"sanitize-payload", b"skip-sanitize-payload"):
            self.sanitize = word == b"sanitize-payload"
        elif word == b"clearselectors":
            self.selectors = []
        elif word == b"reset":
            self.take(User(self.name, fresh()))
            self.sanitize = True
        elif rule[:1] in (b">", b"#", b"<", b"!"):
            self._password_rule(rule[:1], rule[1:])
        elif rule[:1] == b"(" and rule[-1:] == b")":
            selector = fresh()
            selector.all_channels = False
            for inner in rule[1:-1].split():
                if not selector.apply(inner):
                    raise RuleError(_SYNTAX)
            self.selectors.append(selector)
        elif not self.root.apply(rule):
            raise RuleError(_SYNTAX)

    def _password_rule(self, sign: bytes, text: bytes) -> None:
        digest = sha256(text).hexdigest().encode() if sign in (b">", b"<") else text
        if len(digest) != 64 or any(byte not in b"0123456789abcdef" for byte in digest):
            raise RuleError(_BAD_HASH)
        if sign in (b">", b"#"):
            if digest not in self.hashes:
                self.hashes.append(digest)
            self.no_password = False
        elif digest in self.hashes:
            self.hashes.remove(digest)
        else:
            raise RuleError(_NO_PASSWORD)


def _check_pattern(text: bytes) -> None:
    if any(byte in b" \t\n\v\f\r\0" for byte in text):
        raise RuleError(_SYNTAX)


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def merge_selectors(words: Iterable[bytes]) -> list[bytes]:
    """Rules, the words of each selector (it may hold spaces) joined. Raises RuleError for a selector without an end."""
    rules: list[bytes] = []
    opened: bytes | None = None
    for word in words:
        if opened is not None:
            opened += b" " + word
        elif word[:1] == b"(":
            opened = word
        else:
            rules.append(word)
        if opened is not None and opened.endswith(b")"):
            rules.append(opened)
            opened = None
    if opened is not None:
        raise RuleError(f"Unmatched parenthesis in acl selector starting at '{_shown(opened.split(b' ')[0])}'.")
    return rules
