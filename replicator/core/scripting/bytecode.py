"""Keep the caller's line in errors: some tail calls of compiled scripts become plain calls.

Stock's API functions are C functions, and Lua keeps the calling frame while a C function runs, also for
``return redis.call(...)``. Ours are Lua functions: a tail call would replace the script's frame, and an error would no
longer know the line that stock reports ("script: <sha>, on @user_script:7."). So a compiled chunk is rewritten: OP_TAILCALL
becomes OP_CALL (the operands are the same, an OP_RETURN follows in any case)

- everywhere in the main function, which nothing can call again, and
- in nested functions where what is called is a field with the name of an API function (``redis.call``, ``cjson.decode``).

All other tail calls stay, so a script may still loop by tail recursion without growing its stack.

Source: the bytecode format of Lua 5.1 (``string.dump``), as "A No-Frills Introduction to Lua 5.1 VM Instructions" describes it.
"""

from __future__ import annotations

import struct

# What our sandbox implements in Lua: a tail call of these keeps its frame.
API_NAMES = frozenset(
    name.encode()
    for name in (
        "call pcall error_reply status_reply sha1hex log setresp set_repl acl_check_cmd register_function encode decode new "
        "pack unpack unpack_one unpack_limit size random randomseed insert foreach create wrap "
        "tobit bnot band bor bxor lshift rshift arshift rol ror bswap tohex encode_max_depth decode_max_depth "
        "encode_number_precision encode_keep_buffer encode_invalid_numbers decode_invalid_numbers encode_sparse_array"
    ).split()
)

_HEADER = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"
_GETTABLE, _CALL, _TAILCALL = 6, 28, 29
_CONSTANT_KEY = 0x100 << 14  # the key operand of GETTABLE is a constant, not a register
_STRING = 4
_CONSTANT_SIZES = {0: 0, 1: 1, 3: 8}


class _Reader:
    """A cursor over a dumped chunk."""

    def __init__(self, code: bytearray) -> None:
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
        return bytes(self.code[self.at - length : self.at - 1]) if length else b""


def keep_frames(dumped: bytes) -> bytes:
    """The chunk (of ``string.dump``) with the tail calls rewritten; unchanged if this build dumps another format."""
    if not dumped.startswith(_HEADER):
        return dumped
    code = bytearray(dumped)
    _function(_Reader(code), main=True)
    return bytes(code)


def _function(reader: _Reader, main: bool) -> None:
    reader.string()
    reader.at += 8 + 4  # the lines it spans; upvalues, parameters, varargs, stack size
    count = reader.integer()
    start = reader.at
    reader.at += 4 * count
    names: list[bytes | None] = []
    for _ in range(reader.integer()):
        kind = reader.byte()
        if kind == _STRING:
            names.append(reader.string())
        else:
            names.append(None)
            reader.at += _CONSTANT_SIZES[kind]
    _rewrite(reader.code, start, count, names, main)
    for _ in range(reader.integer()):
        _function(reader, main=False)
    lines = reader.integer()
    reader.at += 4 * lines
    for _ in range(reader.integer()):
        reader.string()
        reader.at += 8
    for _ in range(reader.integer()):
        reader.string()


def _rewrite(code: bytearray, start: int, count: int, names: list[bytes | None], main: bool) -> None:
    instructions = struct.unpack_from(f"<{count}I", code, start)
    for at, instruction in enumerate(instructions):
        if instruction & 0x3F == _TAILCALL and (main or _calls_api(instructions, at, names)):
            struct.pack_into("<I", code, start + 4 * at, instruction & ~0x3F | _CALL)


def _calls_api(instructions: tuple[int, ...], at: int, names: list[bytes | None]) -> bool:
    """Whether the function called here was loaded as a field that has an API function's name."""
    register = instructions[at] >> 6 & 0xFF
    for before in range(at - 1, -1, -1):
        instruction = instructions[before]
        if instruction >> 6 & 0xFF == register:  # the register's last load lies before the arguments
            if instruction & 0x3F != _GETTABLE or not instruction & _CONSTANT_KEY:
                return False
            return names[instruction >> 14 & 0xFF] in API_NAMES
    return False
