"""The interpreter: one Lua 5.1 runtime for all scripts of a node. Imported when the first script is loaded.

Between Python and Lua go only byte strings, numbers and booleans (a number may be anything: NaN, an infinity, 1e300):
a command's encoded reply goes in as it is and is taken apart by Lua (sandbox.py), a script's result comes out as an
encoded reply. Python functions called by Lua never raise: an exception is kept and raised again when the script has
ended.

Memory: the runtime has a limit of its own (limits.MAX_SCRIPT_MEMORY). An allocation beyond it fails inside the
script, as "not enough memory". What Python pushes is not covered by Lua's error handling, so it is only pushed where
the limit is known to be far.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import lupa.lua51
from lupa.lua51 import LuaError, LuaRuntime

from replicator.core import limits
from replicator.core.scripting import api
from replicator.core.scripting.bytecode import keep_frames
from replicator.core.scripting.lua.libraries import LIBRARIES
from replicator.core.scripting.lua.sandbox import SANDBOX

# Instructions between two looks at the clock.
HOOK_EVERY = 100_000
# Kept free for what Python pushes into Lua.
_RESERVE = 4 * 1024 * 1024
# A function can take about this many arguments in one call; more go in as tables.
_MOST_ARGUMENTS = 200

_BAD_ARGUMENT = b"-ERR Lua redis lib command arguments must be strings or integers\r\n"
_ABORTED = b"-ERR internal error\r\n"
_NO_MEMORY = b"ERR not enough memory"
# What Calls.slow answers: go on, or why the script ends (their texts stand in lua_guards.py).
GO_ON, KILL, LOAD_TIMEOUT, _ABORT = range(4)


class CompileError(Exception):
    """The code is no Lua; the text is the compiler's."""


class Failure(Exception):
    """A script ended with an error. text: the reply's text without its dash; source, line: where, if that is known."""

    def __init__(self, text: bytes, source: bytes | None, line: int) -> None:
        super().__init__(text)
        self.text = text
        self.source = source
        self.line = line


class Calls:
    """What the engine needs done in Python; Scripting fills it in."""

    def __init__(
        self,
        command: Callable[[list[bytes]], bytes],
        may_run: Callable[[list[bytes]], bool | None],
        slow: Callable[[], int],
        log: Callable[[int, bytes], None],
        set_resp3: Callable[[bool], None],
        set_replication: Callable[[int], None],
    ) -> None:
        self.command = command
        self.may_run = may_run
        self.slow = slow
        self.log = log
        self.set_resp3 = set_resp3
        self.set_replication = set_replication


def _refuse_attributes(_object: Any, name: Any, _setting: bool) -> Any:
    raise AttributeError(name)


class Engine:
    """Compiles and runs Lua code in the sandbox."""

    def __init__(self, calls: Calls, version: str) -> None:
        self._calls = calls
        self._failure: BaseException | None = None
        self._lua = LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse_attributes,
            unpack_returned_tuples=True,
            max_memory=limits.MAX_SCRIPT_MEMORY,
        )
        number = 0
        for part in version.split("."):
            number = number << 8 | int(part)
        host = self._lua.table_from(
            {
                b"hook_every": HOOK_EVERY,
                b"high_water_kib": (limits.MAX_SCRIPT_MEMORY - _RESERVE) // 1024,
                b"most_pattern_items": limits.MAX_PATTERN_ITEMS,
                b"most_bytes": limits.MAX_SCRIPT_MEMORY,
                b"version": version.encode(),
                b"version_number": number,
                b"command": self._command,
                b"command_of_many": self._command_of_many,
                b"may_run": self._may_run,
                b"slow": self._slow,
                b"log": self._log,
                b"setresp": self._set_resp3,
                b"set_repl": self._set_replication,
                b"sha1": _sha1,
                b"flag": _flag,
                b"float": _float,
                b"band": _and,
                b"bor": _or,
                b"bxor": _xor,
                b"pack_float": _pack_float,
                b"unpack_float": _unpack_float,
            }
        )
        entry = self._lua.table()
        load = self._lua.eval(b"function(code, ...) return assert(loadstring(code, '=sandbox'))(...) end")
        load(SANDBOX.encode(), host, entry)
        for name, code in LIBRARIES:
            entry[b"add_library"](name.encode(), load(code.encode(), host, entry))
        entry[b"start"]()
        self._compile = entry[b"compile"]
        self._dump = entry[b"dump"]
        self._adopt = entry[b"adopt"]
        self._eval = entry[b"eval"]
        self._eval_tables = entry[b"eval_tables"]
        self._fcall = entry[b"fcall"]
        self._fcall_tables = entry[b"fcall_tables"]
        self._load = entry[b"load"]

    @property
    def memory_used(self) -> int:
        """Bytes that the interpreter holds."""
        used: int = self._lua.get_memory_used() or 0
        return used

    # -- compiling and running ---------------------------------------------------------------------------------------

    def compile(self, code: bytes, name: bytes, *, functions: bool = False) -> Any:
        """The code as a callable in the sandbox. name: as errors call it ("@user_script"). Raises CompileError."""
        if not self._room(4 * len(code)):
            raise CompileError("not enough memory")
        if code[:1] == b"\x1b":
            raise CompileError("bytecode is not allowed")
        try:
            compiled = self._compile(code, name)
            if isinstance(compiled, tuple):
                raise CompileError(_text(compiled[1]))
            return self._adopt(keep_frames(self._dump(compiled)), functions)
        except LuaError as problem:
            raise CompileError(_text(_message(problem))) from None

    def eval(self, chunk: Any, resp3: bool, keys: list[bytes], arguments: list[bytes]) -> bytes:
        """Run a script; its encoded reply. Raises Failure."""
        return self._run(self._eval, self._eval_tables, chunk, resp3, keys, arguments)

    def fcall(self, function: Any, resp3: bool, keys: list[bytes], arguments: list[bytes]) -> bytes:
        """Run a registered function; its encoded reply. Raises Failure."""
        return self._run(self._fcall, self._fcall_tables, function, resp3, keys, arguments)

    def load(self, chunk: Any) -> list[tuple[bytes, Any, bytes | None, int]]:
        """Run a library's code; the functions that it registers: name, callable, description, flags. Raises Failure."""
        if not self._room(0):
            raise Failure(_NO_MEMORY, None, 0)
        try:
            made, last = self._load(chunk)
        except LuaError as problem:
            raise Failure(b"ERR " + _message(problem), None, 0) from None
        finally:
            self._reraise()
        if made is None:
            raise Failure(last, None, 0)
        return [(made[i], made[i + 1], made[i + 2] or None, made[i + 3]) for i in range(1, last, 4)]

    def _run(
        self, plain: Any, by_tables: Any, chunk: Any, resp3: bool, keys: list[bytes], arguments: list[bytes]
    ) -> bytes:
        count = len(keys) + len(arguments)
        size = 64 * count
        for argument in keys:
            size += len(argument)
        for argument in arguments:
            size += len(argument)
        if self._lua.get_memory_used() + size > _RESERVE and not self._room(size):
            raise Failure(_NO_MEMORY, None, 0)
        try:
            if count > _MOST_ARGUMENTS:
                table = self._lua.table_from
                outcome = by_tables(chunk, resp3, table(keys), table(arguments))
            else:
                outcome = plain(chunk, resp3, len(keys), *keys, *arguments)
        except LuaError as problem:
            outcome = (None, b"ERR " + _message(problem), None, 0)
        if self._failure is not None:
            self._reraise()
        if type(outcome) is bytes:
            return outcome
        _, text, source, line = (*outcome, None, None)[:4]
        raise Failure(text, source, line or 0)

    def _room(self, size: int) -> bool:
        """Whether so many bytes can be pushed without meeting the limit; collects garbage if it must."""
        limit = limits.MAX_SCRIPT_MEMORY - _RESERVE
        if self.memory_used + size > limit // 2:
            self._lua.gccollect()  # needs no memory itself, unlike any call
        return self.memory_used + size <= limit

    def _reraise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # -- called by Lua: must not raise -------------------------------------------------------------------------------

    def _command(self, *arguments: Any) -> bytes | bool:
        try:
            argv = _argv(arguments)
            if argv is None:
                return _BAD_ARGUMENT
            reply = self._calls.command(argv)
            if len(reply) > _RESERVE // 4 and not self._room(len(reply)):
                return False
            return reply
        except BaseException as problem:
            self._failure = problem
            return _ABORTED

    def _command_of_many(self, table: Any, count: int) -> bytes | bool:
        try:
            arguments = [table[at] for at in range(1, count + 1)]
        except BaseException as problem:
            self._failure = problem
            return _ABORTED
        return self._command(*arguments)

    def _may_run(self, *arguments: Any) -> bool | bytes:
        try:
            argv = _argv(arguments)
            if argv is None:
                return _BAD_ARGUMENT[1:-2]
            verdict = self._calls.may_run(argv)
            return b"ERR Invalid command passed to redis.acl_check_cmd()" if verdict is None else verdict
        except BaseException as problem:
            self._failure = problem
            return _ABORTED[1:-2]

    def _slow(self) -> int:
        if self._failure is not None:
            return _ABORT
        try:
            return self._calls.slow()
        except BaseException as problem:
            self._failure = problem
            return _ABORT

    def _log(self, level: Any, message: bytes) -> None:
        try:
            self._calls.log(_integer(level), message)
        except BaseException as problem:
            self._failure = problem

    def _set_resp3(self, resp3: Any) -> None:
        try:
            self._calls.set_resp3(bool(resp3))
        except BaseException as problem:
            self._failure = problem

    def _set_replication(self, mask: Any) -> None:
        try:
            self._calls.set_replication(_integer(mask))
        except BaseException as problem:
            self._failure = problem


def _argv(arguments: tuple[Any, ...]) -> list[bytes] | None:
    argv: list[bytes] = []
    for argument in arguments:
        kind = type(argument)
        if kind is bytes:
            argv.append(argument)
        elif kind is int and -(10**17) < argument < 10**17:
            argv.append(b"%d" % argument)
        elif kind is int or kind is float:
            argv.append(_number(float(argument)))
        else:
            return None
    return argv


def _number(value: float) -> bytes:
    if math.isnan(value):
        return b"-nan" if math.copysign(1.0, value) < 0 else b"nan"
    return b"%.17g" % value


def _message(problem: LuaError) -> bytes:
    if isinstance(problem, lupa.lua51.LuaMemoryError):
        return b"not enough memory"
    text = problem.args[0] if problem.args else b"unknown error"
    return text if isinstance(text, bytes) else str(text).encode()


def _text(message: bytes) -> str:
    return message.decode("utf-8", "surrogateescape")


def _integer(value: Any) -> int:
    """A number of Lua's as an int; 0 for NaN and the infinities."""
    return int(value) if type(value) is int or math.isfinite(value) else 0


# What follows is called by Lua and returns a value of the same kind whatever it is given: an exception would reach the
# script as an object of Python's.


def _sha1(data: Any) -> bytes:
    return sha1(data if type(data) is bytes else b"").hexdigest().encode()


def _flag(name: Any) -> int:
    return api.FLAGS.get(name, 0) if type(name) is bytes else 0


def _float(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _and(left: Any, right: Any) -> int:
    return left & right if type(left) is int is type(right) else _integer(left) & _integer(right)


def _or(left: Any, right: Any) -> int:
    return left | right if type(left) is int is type(right) else _integer(left) | _integer(right)


def _xor(left: Any, right: Any) -> int:
    return left ^ right if type(left) is int is type(right) else _integer(left) ^ _integer(right)


_FLOATS = {b">f": ">f", b"<f": "<f", b">d": ">d", b"<d": "<d"}


def _pack_float(form: bytes, value: Any) -> bytes:
    number = float(value) if type(value) in (int, float) else math.nan
    try:
        return struct.pack(_FLOATS[form], number)
    except OverflowError:
        return struct.pack(_FLOATS[form], math.copysign(math.inf, number))


def _unpack_float(form: bytes, data: bytes) -> float:
    try:
        value: float = struct.unpack(_FLOATS[form], data)[0]
    except struct.error:
        return math.nan
    return value
