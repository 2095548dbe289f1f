"""Keep the caller's line in errors: some tail calls of compiled scripts become plain calls.

Stock's API functions are C functions, and Lua keeps the calling frame while a C function runs, also for
``return redis.call(...)``. Ours are Lua functions: a tail call would replace the script's frame, and an error would no
longer know the line that stock reports ("script: <sha>, on @user_script:7."). So a compiled chunk is rewritten:
OP_TAILCALL becomes OP_CALL (the operands are the same, an OP_RETURN follows in any case)

- everywhere in the main function, which nothing can call again, and
- in nested functions where what is called is a field or method with the name of an API function (``redis.call``,
  ``text:find``), a global of that kind (``unpack``), or a variable that such a field or global was assigned to
  (``local call = redis.call``).

All other tail calls stay, so a script may still loop by tail recursion without growing its stack.

Source: the bytecode format of Lua 5.1 (``string.dump``), as "A No-Frills Introduction to Lua 5.1 VM Instructions" has
it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

# What our sandbox implements in Lua.
API_NAMES = frozenset(
    (
        *(b"call", b"pcall", b"error_reply", b"status_reply", b"sha1hex", b"log", b"setresp", b"set_repl"),
        *(b"acl_check_cmd", b"register_function", b"encode", b"decode", b"new", b"pack", b"unpack", b"unpack_one"),
        *(b"unpack_limit", b"size", b"random", b"randomseed", b"insert", b"foreach", b"create", b"wrap"),
        *(b"tobit", b"bnot", b"band", b"bor", b"bxor", b"lshift", b"rshift", b"arshift", b"rol", b"ror", b"bswap"),
        *(b"tohex", b"encode_max_depth", b"decode_max_depth", b"encode_number_precision", b"encode_keep_buffer"),
        *(b"encode_invalid_numbers", b"decode_invalid_numbers", b"encode_sparse_array"),
        *(b"find", b"match", b"gmatch", b"gfind", b"gsub", b"rep", b"dump"),
    )
)
# The same among the globals.
GLOBAL_NAMES = frozenset(
    (
        *(b"unpack", b"next", b"pairs", b"rawget", b"rawset", b"getmetatable", b"setmetatable", b"pcall", b"xpcall"),
        *(b"collectgarbage", b"loadstring", b"load"),
    )
)

_HEADER = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"
_GETUPVAL, _GETGLOBAL, _GETTABLE, _SELF, _CALL, _TAILCALL = 4, 5, 6, 11, 28, 29
_CONSTANT_KEY = 0x100 << 14  # the key operand of GETTABLE is a constant, not a register
_STRING = 4
_CONSTANT_SIZES = {0: 0, 1: 1, 3: 8}


@dataclass(slots=True)
class _Function:
    """One function of a chunk. start: where its instructions begin in the dump."""

    start: int
    instructions: tuple[int, ...]
    constants: list[bytes | None] = field(default_factory=list)
    nested: list[_Function] = field(default_factory=list)
    variables: list[tuple[bytes, int]] = field(default_factory=list)  # name, first instruction of its scope
    upvalues: list[bytes] = field(default_factory=list)

    def api_field(self, at: int) -> bool:
        """Whether the instruction loads a field, a method or a global that has an API function's name."""
        instruction = self.instructions[at]
        operation = instruction & 0x3F
        if operation == _GETGLOBAL:
            return self.constants[instruction >> 14] in GLOBAL_NAMES
        if operation not in (_GETTABLE, _SELF) or not instruction & _CONSTANT_KEY:
            return False
        return self.constants[instruction >> 14 & 0xFF] in API_NAMES


class _Reader:
    """A cursor over a dumped chunk."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.at = len(_HEADER)

    def integer(self) -> int:
        value: int = struct.unpack_from("<i", self.code, self.at)[0]
        self.at += 4
        return value

    def byte(self) -> int:
        self.at += 1
        return self.code[self.at - 1]

    def string(self) -> bytes:
        length: int = struct.unpack_from("<Q", self.code, self.at)[0]
        self.at += 8 + length
        return self.code[self.at - length : self.at - 1] if length else b""

    def function(self) -> _Function:
        self.string()
        self.at += 8 + 4  # the lines it spans; upvalues, parameters, varargs, stack size
        count = self.integer()
        function = _Function(self.at, struct.unpack_from(f"<{count}I", self.code, self.at))
        self.at += 4 * count
        for _ in range(self.integer()):
            kind = self.byte()
            function.constants.append(self.string() if kind == _STRING else None)
            self.at += _CONSTANT_SIZES.get(kind, 0)
        for _ in range(self.integer()):
            function.nested.append(self.function())
        lines = self.integer()
        self.at += 4 * lines
        for _ in range(self.integer()):
            function.variables.append((self.string(), self.integer()))
            self.at += 4
        for _ in range(self.integer()):
            function.upvalues.append(self.string())
        return function


def keep_frames(dumped: bytes) -> bytes:
    """The chunk (of ``string.dump``) with the tail calls rewritten; unchanged if this build dumps another format."""
    if not dumped.startswith(_HEADER):
        return dumped
    code = bytearray(dumped)
    _rewrite(code, _Reader(dumped).function(), None)
    return bytes(code)


def _rewrite(code: bytearray, function: _Function, aliases: frozenset[bytes] | None) -> None:
    """Rewrite a function and those in it. aliases: variables around it that hold API functions; None: the main one."""
    for at, instruction in enumerate(function.instructions):
        if instruction & 0x3F == _TAILCALL and (aliases is None or _calls_api(function, at, aliases)):
            struct.pack_into("<I", code, function.start + 4 * at, instruction & ~0x3F | _CALL)
    own = [name for name, scope in function.variables if scope and function.api_field(scope - 1)]
    for nested in function.nested:
        _rewrite(code, nested, (aliases or frozenset()).union(own))


def _calls_api(function: _Function, at: int, aliases: frozenset[bytes]) -> bool:
    """Whether the function called here was loaded as a field, or from a variable, that names an API function."""
    register = function.instructions[at] >> 6 & 0xFF
    for before in range(at - 1, -1, -1):
        instruction = function.instructions[before]
        if instruction >> 6 & 0xFF == register:  # the register's last load lies before the arguments
            if instruction & 0x3F == _GETUPVAL:
                return function.upvalues[instruction >> 23] in aliases
            return function.api_field(before)
    return False
