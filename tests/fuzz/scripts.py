"""Lua: numbers and counts at the borders of C, in scripts and in libraries."""

from __future__ import annotations

from random import Random

from tests.fuzz.commands import Room
from tests.fuzz.steps import Steps
from tests.fuzz.target import Target, mutated
from tests.support.lua_boundaries import boundary_scripts
from tests.support.random_scripts import scripts

_ROOM = Room("--busy-reply-threshold", "0")


def _script(chance: Random) -> bytes:
    if chance.random() < 0.7:
        code = next(iter(boundary_scripts(chance, 1))).encode()
    else:
        code = next(iter(scripts(chance.randrange(1 << 30), 1))).encode()
    return mutated(chance, code) if chance.random() < 0.3 else code


def _run(code: bytes) -> None:
    client = _ROOM.take().open()
    # what spoiled code may do for ever, a healthy one does in the tests of scripts that are killed
    if any(word in code for word in (b"while", b"repeat", b"for ", b"goto")) and b"end" not in code:
        return
    try:
        with Steps(len(code)):
            client.send("EVAL", code, "1", "k", "a1")
            client.send(
                "FUNCTION",
                "LOAD",
                "REPLACE",
                b"#!lua name=l\nredis.register_function('f', function() " + code + b" end)",
            )
            client.send("FCALL", "f", "1", "k", "a1")
    finally:
        client.close()


TARGETS = {"lua": Target(_script, _run)}
