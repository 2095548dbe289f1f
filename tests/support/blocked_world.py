"""Several clients that push, pop and wait: on a stock server and on a harness node, step by step."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis

from tests.support.harness import PENDING, Harness, HarnessContext
from tests.support.observed import ALL_EVENTS, Argv, Observed, TypedWire, assert_equal_lists, whole

KEYS = (b"a", b"b", b"c", b"d")
SIDES = (b"LEFT", b"RIGHT")


def plain(answer: Any) -> Any:
    """A reply without its types, errors as tuples."""
    if isinstance(answer, hiredis.ReplyError):
        return "error", str(answer)
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    if not isinstance(answer, tuple):
        return answer
    kind, value = answer
    if kind == b"-":
        return "error", value.decode()
    if kind == b":":
        return int(value)
    return [plain(item) for item in value] if isinstance(value, list) else value


class BlockedWorld:
    """`clients` callers on each side. A step is one command, or a transaction, of a caller that does not wait."""

    def __init__(self, watch: Observed, clients: int) -> None:
        self.watch = watch
        self.node = Harness()
        self.told: list[tuple[bytes, bytes]] = []
        self.node.keyspace.notify_flags = ALL_EVENTS
        self.node.keyspace.on_notify = lambda db, kind, event, key: self.told.append((event, key))
        watch.client.call(b"FLUSHALL")
        watch.mark()
        self.wires = [TypedWire(watch.port) for _ in range(clients)]
        self.contexts = [self.node.caller() for _ in range(clients)]

    def free(self) -> list[int]:
        """The callers that do not wait."""
        return [at for at, ctx in enumerate(self.contexts) if ctx.waiting is None]

    def step(self, at: int, *commands: Argv) -> None:
        """Run one command (several: a transaction) on both sides; all that anybody is answered must be equal."""
        ctx = self.contexts[at]
        if len(commands) == 1:
            self.wires[at].send(commands)
            answer = self.node.raw(*commands[0], ctx=ctx)
            if answer != PENDING:
                self.node.replies.setdefault(ctx, []).insert(0, whole(answer))
        else:
            self.wires[at].send([[b"MULTI"], *commands, [b"EXEC"]])
            queued = [b"OK", *[b"QUEUED"] * len(commands)]
            self.node.replies.setdefault(ctx, []).extend([*queued, self._transaction(ctx, commands)])
        # Two rounds: what the first turn of the server has written is there when the second has been answered.
        self.watch.client.call(b"PING")
        self.watch.client.call(b"PING")
        for who, (wire, context) in enumerate(zip(self.wires, self.contexts, strict=True)):
            theirs = [plain(answer) for answer in wire.waiting()]
            ours = [plain(answer) for answer in self.node.unblocked(context)]
            assert ours == theirs, f"client {who} after {at}: {commands!r}: ours {ours!r}, stock {theirs!r}"

    def _transaction(self, ctx: HarnessContext, commands: tuple[Argv, ...]) -> list[Any]:
        ctx.deny_blocking = True
        answers = [whole(self.node._run(ctx, argv)) for argv in commands]
        ctx.deny_blocking = False
        self.node._serve_ready()
        return answers

    def check_rest(self) -> None:
        """Events and effects of all steps must be equal, and those who still wait are as many on both sides."""
        events, effects = self.watch.mark()
        assert_equal_lists(self.told, events, "event")
        ours = [_in_capitals(argv) for _, argv in self.node.drain_effects()]
        assert_equal_lists(ours, list(map(_in_capitals, effects)), "effect")
        _, info = self.watch.client.call(b"INFO", b"clients")
        waiting = sum(ctx.waiting is not None for ctx in self.contexts)
        assert b"blocked_clients:%d\r\n" % waiting in info

    def close(self) -> None:
        """Let the clients go; the server has noticed when this returns."""
        for wire in self.wires:
            wire.close()
        while b"blocked_clients:0\r\n" not in self.watch.client.call(b"INFO", b"clients")[1]:
            pass


def _in_capitals(argv: Argv) -> Argv:
    """Names and sides in one case: a caller that has waited is told of in small letters by stock."""
    name = argv[0].upper()
    return [name, *argv[1:3], *(side.upper() for side in argv[3:])] if name == b"LMOVE" else [name, *argv[1:]]


class Steps:
    """Draws what the clients do."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.pick = chance.choice

    def waiting(self) -> Argv:
        key, side = self.pick, self.pick
        kind = self.chance.randrange(4)
        if kind == 0:
            return [self.pick((b"BLPOP", b"BRPOP")), *self.keys(), b"0"]
        if kind == 1:
            return [b"BLMOVE", key(KEYS), key(KEYS), side(SIDES), side(SIDES), b"0"]
        if kind == 2:
            return [b"BRPOPLPUSH", key(KEYS), key(KEYS), b"0"]
        keys = self.keys()
        return [b"BLMPOP", b"0", b"%d" % len(keys), *keys, side(SIDES), b"COUNT", b"%d" % self.chance.randint(1, 4)]

    def keys(self) -> list[bytes]:
        return [self.pick(KEYS) for _ in range(self.chance.randint(1, 3))]

    def acting(self) -> Argv:
        roll = self.chance.random()
        key = self.pick(KEYS)
        if roll < 0.55:
            words = [b"%d" % self.chance.randrange(100) for _ in range(self.chance.choice((1, 1, 2, 4)))]
            return [self.pick((b"LPUSH", b"RPUSH")), key, *words]
        if roll < 0.65:
            return [self.pick((b"LPOP", b"RPOP")), key]
        if roll < 0.75:
            return [b"LMOVE", key, self.pick(KEYS), self.pick(SIDES), self.pick(SIDES)]
        if roll < 0.85:
            return [b"DEL", key]
        if roll < 0.92:
            return [b"SET", key, b"text"]
        return [b"SADD", key, b"member"]

    def step(self, world: BlockedWorld) -> None:
        free = world.free()
        at = self.pick(free)
        roll = self.chance.random()
        if roll < 0.25:
            world.step(
                at, *[self.pick((self.acting, self.acting, self.waiting))() for _ in range(self.chance.randint(2, 5))]
            )
        elif roll < 0.6 and len(free) > 1:
            world.step(at, self.waiting())
        else:
            world.step(at, self.acting())
