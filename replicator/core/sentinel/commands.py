"""What a Sentinel answers beside SENTINEL itself: connections, users, publish and subscribe, INFO, ROLE; no data.

The table holds registry Commands, so that arity, ACL categories and COMMAND come from one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from replicator.core.clients.access import AccessDenied
from replicator.core.command_table.categories import categories_of
from replicator.core.command_table.registry import (
    ADMIN,
    FAST,
    FLAG_NAMES,
    LOADING,
    NO_AUTH,
    NO_SCRIPT,
    PUBSUB,
    REGISTRY,
    STALE,
    Command,
)
from replicator.core.effects import Close
from replicator.core.errors import CommandError, unknown_command
from replicator.core.sentinel.accounts import NO_AUTH as LOG_IN_FIRST
from replicator.core.sentinel.accounts import Accounts
from replicator.core.sentinel.family import Family, Handler, text
from replicator.core.sentinel.report import VERSION, Information
from replicator.core.sentinel.roster import Roster
from replicator.core.sentinel.sessions import Room, Session
from replicator.core.wire import reply
from replicator.core.wire.numbers import parse_int

_QUICK = NO_SCRIPT | LOADING | STALE | FAST | NO_AUTH
_LISTEN = PUBSUB | NO_SCRIPT | LOADING | STALE
_ASK = NO_SCRIPT | LOADING | STALE
_ALLOWED_WHILE_SUBSCRIBED = frozenset(("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ping", "quit"))


def _entry(name: str, arity: int, flags: int, categories: str = "", parent: str = "") -> Command:
    """A command of the Sentinel's own table, with what the registry says about its namesake."""
    known = REGISTRY.get(parent or name)
    if known is not None and parent:
        known = known.subcommands.get(name)
    entry = Command(
        name=name, run=_unused, arity=arity, flags=flags, keys=(0, 0, 0), find_keys=None,
        group="sentinel" if known is None else known.group, since="2.8.4" if known is None else known.since,
        complexity="O(1)" if known is None else known.complexity,
        summary="A Sentinel command." if known is None else known.summary,
        categories=tuple(categories.split()) if known is None else known.categories, parent=parent,
        arguments="" if known is None else known.arguments,
    )  # fmt: skip
    entry.least = abs(arity)
    entry.most = arity if arity >= 0 else 1 << 40
    return entry


def _unused(ctx: Any, argv: list[bytes]) -> bytes:
    raise AssertionError("a Sentinel runs its own handlers")


class Commands:
    """Runs what sessions send."""

    def __init__(
        self, room: Room, roster: Roster, family: Family, information: Information, *, shut_down: Callable[[], None]
    ) -> None:
        self._room = room
        self._roster = roster
        self._family = family
        self._information = information
        self._shut_down = shut_down
        self.accounts: Accounts
        self.table: dict[str, Command] = {}
        self._handlers: dict[str, Handler] = {}
        self._fill()

    def _fill(self) -> None:
        family = self._family
        plain: tuple[tuple[str, int, int, str, Handler], ...] = (
            ("ping", -1, FAST, "connection", self._ping),
            ("auth", -2, _QUICK, "connection", lambda session, argv: self.accounts.auth(session, argv)),
            ("hello", -1, _QUICK, "connection", self._hello),
            ("quit", -1, _QUICK, "connection", self._quit),
            ("info", -1, LOADING | STALE, "dangerous", self._info),
            ("role", 1, NO_SCRIPT | LOADING | STALE | FAST, "admin dangerous", self._role),
            ("publish", 3, PUBSUB | LOADING | STALE | FAST, "", lambda session, argv: family.published(argv)),
            ("subscribe", -2, _LISTEN, "", self._subscribe),
            ("unsubscribe", -1, _LISTEN, "", self._unsubscribe),
            ("psubscribe", -2, _LISTEN, "", self._subscribe),
            ("punsubscribe", -1, _LISTEN, "", self._unsubscribe),
            ("shutdown", -1, ADMIN | NO_SCRIPT | LOADING | STALE, "", self._shutdown),
        )
        for name, arity, flags, categories, handler in plain:
            self.table[name] = _entry(name, arity, flags, categories)
            self._handlers[name] = handler
        self._contain("sentinel", ADMIN, {name: (arity, ADMIN, run) for name, (arity, run) in family.table().items()})
        self._contain("client", 0, {
            "id": (2, _ASK, self._client_id), "getname": (2, _ASK, self._client_getname),
            "setname": (3, _ASK, self._client_setname), "setinfo": (4, _ASK, self._client_setinfo),
            "list": (-2, ADMIN | _ASK, self._client_list), "info": (2, _ASK, self._client_info),
            "kill": (-3, ADMIN | _ASK, self._client_kill), "reply": (3, _ASK, self._client_reply),
            "no-evict": (3, ADMIN | _ASK, self._client_no_evict),
        })  # fmt: skip
        self._contain("command", LOADING | STALE, {
            "count": (2, LOADING | STALE, self._command_count), "list": (-2, LOADING | STALE, self._command_list),
            "info": (-2, LOADING | STALE, self._command_info), "docs": (-2, LOADING | STALE, self._command_docs),
        })  # fmt: skip
        self._handlers["command"] = self._command_all
        accounts = self._of_accounts
        self._contain("acl", 0, {
            "whoami": (2, _ASK, accounts("whoami")), "list": (2, ADMIN | _ASK, accounts("list_")),
            "users": (2, ADMIN | _ASK, accounts("names")), "cat": (-2, _ASK, accounts("cat")),
            "setuser": (-3, ADMIN | _ASK, accounts("set_user")), "getuser": (3, ADMIN | _ASK, accounts("get_user")),
            "deluser": (-3, ADMIN | _ASK, accounts("delete_user")), "genpass": (-2, _ASK, accounts("generate")),
        })  # fmt: skip

    def _contain(self, name: str, flags: int, subcommands: dict[str, tuple[int, int, Handler]]) -> None:
        container = self.table[name] = _entry(name, -2 if name != "command" else -1, flags)
        for sub, (arity, sub_flags, handler) in subcommands.items():
            container.subcommands[sub] = _entry(sub, arity, sub_flags, parent=name)
            self._handlers[f"{name}|{sub}"] = handler

    def _of_accounts(self, name: str) -> Handler:
        def run(session: Session, argv: list[bytes]) -> bytes:
            answer: bytes = getattr(self.accounts, name)(session, argv)
            return answer

        return run

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, session: Session, argv: list[bytes]) -> None:
        """Run one command; its reply goes to the session, now or later."""
        counters = self._room.counters
        counters.commands += 1
        try:
            command = self._admit(session, argv)
            session.command = command.full_name
            answer = self._handlers[command.full_name](session, argv)
        except CommandError as problem:
            counters.errors += 1
            answer = reply.error(str(problem))
        if answer and not session.silent:
            session.push(answer)

    def _admit(self, session: Session, argv: list[bytes]) -> Command:
        """The command, or the reason why it is not run, in stock's order."""
        name = argv[0].lower().decode("utf-8", "replace")
        command = self.table.get(name)
        if command is None:
            raise CommandError(unknown_command(argv))
        if command.subcommands and (len(argv) > 1 or name not in self._handlers):
            if len(argv) < 2:
                raise CommandError(f"ERR wrong number of arguments for '{name}' command")
            sub = command.subcommands.get(argv[1].lower().decode("utf-8", "replace"))
            if sub is None:
                shown = argv[1][:128].decode("utf-8", "replace")
                raise CommandError(f"ERR unknown subcommand '{shown}'. Try {name.upper()} HELP.")
            command = sub
        if not command.least <= len(argv) <= command.most:
            raise CommandError(f"ERR wrong number of arguments for '{command.full_name}' command")
        if not session.authenticated and not command.flags & NO_AUTH:
            raise CommandError(LOG_IN_FIRST)
        if not command.flags & NO_AUTH:
            try:
                self.accounts.check(session, command, argv)
            except AccessDenied as problem:
                raise CommandError(str(problem)) from None
        if (session.channels or session.patterns) and not session.resp3 and name not in _ALLOWED_WHILE_SUBSCRIBED:
            raise CommandError(
                f"ERR Can't execute '{command.full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        return command

    # -- connections -------------------------------------------------------------------------------------------------

    def _ping(self, session: Session, argv: list[bytes]) -> bytes:
        if len(argv) > 2:
            raise CommandError("ERR wrong number of arguments for 'ping' command")
        if (session.channels or session.patterns) and not session.resp3:
            return reply.bulks([b"pong", argv[1] if len(argv) == 2 else b""])
        return reply.PONG if len(argv) == 1 else reply.bulk(argv[1])

    def _quit(self, session: Session, argv: list[bytes]) -> bytes:
        session.closing = "quit"
        return reply.OK

    def _hello(self, session: Session, argv: list[bytes]) -> bytes:
        version: int | None = None
        if len(argv) > 1:
            version = parse_int(argv[1])
            if version is None:
                raise CommandError("ERR Protocol version is not an integer or out of range")
            if version not in (2, 3):
                raise CommandError("NOPROTO unsupported protocol version")
        name: bytes | None = None
        at = 2
        while at < len(argv):
            word, left = argv[at].lower(), len(argv) - at - 1
            if word == b"auth" and left >= 2:
                self.accounts.log_in(session, argv[at + 1], argv[at + 2])
                at += 3
            elif word == b"setname" and left >= 1:
                name = argv[at + 1]
                at += 2
            else:
                raise CommandError(f"ERR Syntax error in HELLO option '{text(argv[at])}'")
        if not session.authenticated:
            raise CommandError(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
                "<pass> option can be used to authenticate the client and select the RESP protocol version at the same "
                "time"
            )
        if name is not None:
            _check_name(name)
            session.name = name
        if version is not None:
            session.resp3 = version == 3
        pairs: tuple[tuple[bytes, bytes], ...] = (
            (b"server", reply.bulk(b"redis")), (b"version", reply.bulk(VERSION.encode())),
            (b"proto", reply.integer(3 if session.resp3 else 2)), (b"id", reply.integer(session.id)),
            (b"mode", reply.bulk(b"sentinel")), (b"modules", reply.EMPTY_ARRAY),
        )  # fmt: skip
        return reply.mapping([one for key, value in pairs for one in (reply.bulk(key), value)], session.resp3)

    def _info(self, session: Session, argv: list[bytes]) -> bytes:
        wanted = [text(word).lower() for word in argv[1:]]
        return reply.verbatim(self._information.render(wanted).encode("utf-8", "surrogateescape"), session.resp3)

    def _role(self, session: Session, argv: list[bytes]) -> bytes:
        names = [name.encode("utf-8", "surrogateescape") for name in self._roster.primaries]
        return reply.array([reply.bulk(b"sentinel"), reply.bulks(names)])

    def _shutdown(self, session: Session, argv: list[bytes]) -> bytes:
        for word in argv[1:]:
            if word.lower() not in (b"nosave", b"save", b"now", b"force", b"abort"):
                raise CommandError("ERR syntax error")
        self._shut_down()
        return b""

    # -- publish and subscribe ---------------------------------------------------------------------------------------

    def _confirm(self, session: Session, kind: str, name: bytes | None) -> None:
        count = len(session.channels) + len(session.patterns)
        shown = session.null if name is None else reply.bulk(name)
        session.push(reply.push([reply.bulk(kind.encode()), shown, reply.integer(count)], session.resp3))

    def _subscribe(self, session: Session, argv: list[bytes]) -> bytes:
        kind = argv[0].lower().decode()
        for name in argv[1:]:
            self._room.subscriptions.subscribe(session, name, pattern=kind == "psubscribe")
            self._confirm(session, kind, name)
        return b""

    def _unsubscribe(self, session: Session, argv: list[bytes]) -> bytes:
        kind = argv[0].lower().decode()
        pattern = kind == "punsubscribe"
        names = argv[1:] or list(session.patterns if pattern else session.channels)
        for name in names:
            self._room.subscriptions.unsubscribe(session, name, pattern=pattern)
            self._confirm(session, kind, name)
        if not names:
            self._confirm(session, kind, None)
        return b""

    # -- CLIENT ------------------------------------------------------------------------------------------------------

    def _client_id(self, session: Session, argv: list[bytes]) -> bytes:
        return reply.integer(session.id)

    def _client_getname(self, session: Session, argv: list[bytes]) -> bytes:
        return reply.bulk(session.name) if session.name else session.null

    def _client_setname(self, session: Session, argv: list[bytes]) -> bytes:
        _check_name(argv[2])
        session.name = argv[2]
        return reply.OK

    def _client_setinfo(self, session: Session, argv: list[bytes]) -> bytes:
        option = argv[2].lower()
        if option not in (b"lib-name", b"lib-ver"):
            raise CommandError(f"ERR Unrecognized option '{text(argv[2])}'")
        if any(not 0x21 <= byte <= 0x7E for byte in argv[3]):
            raise CommandError(f"ERR {text(option)} cannot contain spaces, newlines or special characters.")
        if option == b"lib-name":
            session.lib_name = argv[3]
        else:
            session.lib_ver = argv[3]
        return reply.OK

    def _client_line(self, session: Session) -> str:
        now = self._room.turn.now.mono_ms
        listens = bool(session.channels or session.patterns)
        pending, spare, out = session.decoder.pending, session.decoder.spare, session.pending_output
        pairs = (
            ("id", session.id), ("addr", session.peer), ("laddr", session.local), ("fd", session.conn),
            ("name", text(session.name)), ("age", (now - session.created_ms) // 1000),
            ("idle", (now - session.last_ms) // 1000), ("flags", "P" if listens else "N"), ("db", 0),
            ("sub", len(session.channels)), ("psub", len(session.patterns)), ("ssub", 0), ("multi", -1),
            ("qbuf", pending), ("qbuf-free", spare), ("argv-mem", 0), ("multi-mem", 0), ("rbs", 0),
            ("rbp", 0), ("obl", 0), ("oll", int(out > 0)), ("omem", out), ("tot-mem", pending + spare + out),
            ("events", "r"), ("cmd", session.command), ("user", text(session.user.name)), ("redir", -1),
            ("resp", 3 if session.resp3 else 2),
        )  # fmt: skip
        return " ".join(f"{name}={value}" for name, value in pairs)

    def _client_info(self, session: Session, argv: list[bytes]) -> bytes:
        return reply.bulk(f"{self._client_line(session)}\n".encode("utf-8", "surrogateescape"))

    def _client_list(self, session: Session, argv: list[bytes]) -> bytes:
        found = list(self._room.sessions.values())
        words = [word.lower() for word in argv[2:]]
        if words[:1] == [b"id"] and len(words) > 1:
            wanted = {parse_int(word) for word in words[1:]}
            if None in wanted:
                raise CommandError("ERR Invalid client ID")
            found = [one for one in found if one.id in wanted]
        elif words[:1] == [b"type"] and len(words) == 2:
            if words[1] not in (b"normal", b"pubsub", b"master", b"slave", b"replica"):
                raise CommandError(f"ERR Unknown client type '{text(argv[3])}'")
            found = [one for one in found if _kind(one) == words[1]]
        elif words:
            raise CommandError("ERR syntax error")
        lines = "".join(f"{self._client_line(one)}\n" for one in found)
        return reply.verbatim(lines.encode("utf-8", "surrogateescape"), session.resp3)

    def _client_kill(self, session: Session, argv: list[bytes]) -> bytes:
        if len(argv) == 3:
            victim = next((one for one in self._room.sessions.values() if one.peer.encode() == argv[2]), None)
            if victim is None:
                raise CommandError("ERR No such client")
            self._kill(victim, session)
            return reply.OK
        skip = True
        found = list(self._room.sessions.values())
        if len(argv) % 2:
            raise CommandError("ERR syntax error")
        for word, value in zip(argv[2::2], argv[3::2], strict=True):
            option = word.lower()
            if option == b"id":
                wanted = parse_int(value)
                if wanted is None or wanted < 1:
                    raise CommandError("ERR client-id should be greater than 0")
                found = [one for one in found if one.id == wanted]
            elif option == b"type":
                found = [one for one in found if _kind(one) == value.lower()]
            elif option == b"addr":
                found = [one for one in found if one.peer.encode() == value]
            elif option == b"laddr":
                found = [one for one in found if one.local.encode() == value]
            elif option == b"user":
                found = [one for one in found if one.user.name == value]
            elif option == b"skipme" and value.lower() in (b"yes", b"no"):
                skip = value.lower() == b"yes"
            else:
                raise CommandError("ERR syntax error")
        victims = [one for one in found if not (skip and one is session)]
        for victim in victims:
            self._kill(victim, session)
        return reply.integer(len(victims))

    def _kill(self, victim: Session, caller: Session) -> None:
        if victim is caller:
            victim.closing = "killed"
        else:
            self._room.turn.emit(Close(victim.conn, "killed by a client"))

    def _client_reply(self, session: Session, argv: list[bytes]) -> bytes:
        mode = argv[2].lower()
        if mode not in (b"on", b"off"):
            raise CommandError("ERR syntax error")
        session.silent = mode == b"off"
        return b"" if session.silent else reply.OK

    def _client_no_evict(self, session: Session, argv: list[bytes]) -> bytes:
        if argv[2].lower() not in (b"on", b"off"):
            raise CommandError("ERR syntax error")
        return reply.OK

    # -- COMMAND -----------------------------------------------------------------------------------------------------

    def _command_count(self, session: Session, argv: list[bytes]) -> bytes:
        return reply.integer(len(self.table))

    def _command_list(self, session: Session, argv: list[bytes]) -> bytes:
        names = []
        for entry in self.table.values():
            names += [entry.name, *(sub.full_name for sub in entry.subcommands.values())]
        return reply.bulks([name.encode() for name in names])

    def _described(self, session: Session, entry: Command) -> bytes:
        flags = [reply.simple(name) for flag, name in FLAG_NAMES if entry.flags & flag]
        categories = [reply.simple(f"@{name}") for name in categories_of(entry)]
        subs = [self._described(session, sub) for sub in entry.subcommands.values()]
        parts = [
            reply.bulk(entry.full_name.encode()), reply.integer(entry.arity), reply.set_of(flags, session.resp3),
            reply.ZERO, reply.ZERO, reply.ZERO, reply.set_of(categories, session.resp3), reply.EMPTY_ARRAY,
            reply.EMPTY_ARRAY, reply.array(subs),
        ]  # fmt: skip
        return reply.array(parts)

    def _found(self, names: Sequence[bytes]) -> list[Command | None]:
        found = []
        for name in names:
            first, _, sub = name.lower().decode("utf-8", "replace").partition("|")
            entry = self.table.get(first)
            found.append(entry.subcommands.get(sub) if entry is not None and sub else entry)
        return found

    def _command_all(self, session: Session, argv: list[bytes]) -> bytes:
        return reply.array([self._described(session, entry) for entry in self.table.values()])

    def _command_info(self, session: Session, argv: list[bytes]) -> bytes:
        found = self._found(argv[2:]) if len(argv) > 2 else list(self.table.values())
        absent = reply.null_array(session.resp3)
        return reply.array([absent if one is None else self._described(session, one) for one in found])

    def _command_docs(self, session: Session, argv: list[bytes]) -> bytes:
        found = self._found(argv[2:]) if len(argv) > 2 else list(self.table.values())
        items: list[bytes] = []
        for entry in found:
            if entry is not None:
                items += [reply.bulk(entry.full_name.encode()), self._documented(session, entry)]
        return reply.mapping(items, session.resp3)

    def _documented(self, session: Session, entry: Command) -> bytes:
        items = []
        for name in ("summary", "since", "group", "complexity"):
            items += [reply.bulk(name.encode()), reply.bulk(getattr(entry, name).encode())]
        if entry.subcommands:
            subs: list[bytes] = []
            for sub in entry.subcommands.values():
                subs += [reply.bulk(sub.full_name.encode()), self._documented(session, sub)]
            items += [reply.bulk(b"subcommands"), reply.mapping(subs, session.resp3)]
        return reply.mapping(items, session.resp3)


def _kind(session: Session) -> bytes:
    return b"pubsub" if session.channels or session.patterns else b"normal"


def _check_name(name: bytes) -> None:
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")


