"""Scripts that hand every function of Lua's libraries and of ours the numbers at which C goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

NUMBERS = (
    *("0/0", "-(0/0)", "1/0", "-1/0", "1e300", "-1e300", "5e-324", "-0", "0.5", "-0.5", "2.5"),
    *("2^31", "2^31-1", "-2^31", "-2^31-1", "2^32", "2^32+1", "2^51", "2^52", "2^52+2^51", "-(2^52+2^51)"),
    *("2^53", "2^53+2^31", "2^63", "-2^63", "2^64", "2^40+3", "-1", "3.5e38", "2^128"),
)
OTHERS = ('"1"', '"0x10"', '"nan"', '""', '"x"', '"[("', "{}", "nil", "true", "cjson.null")
_NO_COUNT = ("2^31", "2^31-1", "-2^31-1", "1e300", "2^53+2^31")  # stock appends so many copies one by one

_BITS = ("tobit", "bnot", "bswap", "tohex")
_BITS2 = ("band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror", "tohex")
_FORMATS = ("i", "I", "b", "h", "H", "l", "L", "T", "f", "d", "i3", "i9", "i16", ">l", ">d", "s", "c0", "c1", "!8d")
_OPTIONS = (
    *("encode_max_depth", "decode_max_depth", "encode_number_precision", "encode_keep_buffer"),
    *("encode_invalid_numbers", "decode_invalid_numbers", "encode_sparse_array"),
)
# V stands for the value.
_EXPRESSIONS = (
    *(f"bit.{name}(V)" for name in _BITS),
    *(f"bit.{name}(V, 5)" for name in _BITS2),
    *(f"bit.{name}(12345, V)" for name in _BITS2),
    *(f'struct.pack("{form}", V)' for form in _FORMATS),
    *('struct.unpack("bb", "abcdef", V)', 'struct.unpack("dc0", struct.pack("d", V) .. "abcdef")', "struct.size(V)"),
    *("cmsgpack.pack(V)", "cmsgpack.pack({V})", "cmsgpack.unpack(V)", 'cmsgpack.unpack_limit("abcdef", V)'),
    *('cmsgpack.unpack_limit("abcdef", 2, V)', 'cmsgpack.unpack_one("abcdef", V)'),
    *("cjson.encode(V)", "cjson.encode({V})", "cjson.encode({V, x = V})", "tostring(cjson.decode(V))"),
    *(f"cjson.new().{name}(V)" for name in _OPTIONS),
    *("cjson.new().encode_sparse_array(true, V, 3)", "cjson.new().encode_sparse_array(true, 3, V)"),
    *("redis.setresp(V)", "redis.log(V, 'x')", "redis.log(1, V)", "redis.set_repl(V)"),
    *("redis.error_reply(V)", "redis.status_reply(V)", "redis.sha1hex(V)", "redis.pcall(V)", "redis.acl_check_cmd(V)"),
    *("redis.acl_check_cmd('get', V)", "V", "{double = V}", "{big_number = V}", "{map = {a = V}}", "{set = {x = V}}"),
    *("{err = V}", "{ok = V}", "{verbatim_string = V}", "{verbatim_string = {format = V, string = V}}"),
    *('string.sub("abcdef", V)', 'string.sub("abcdef", 1, V)', 'string.byte("abc", V)', 'string.byte("abc", 1, V)'),
    *("string.char(V)", 'string.format("%d", V)', 'string.format("%s", V)', 'string.format("%c", V)'),
    *('string.format("%5.2f", V)', 'string.format("%q", V)', 'string.find("abc", "b", V)', 'string.find("abc", V)'),
    *('string.find(V, "b")', 'string.match("abc", V)', 'string.match("abc", "b", V)', 'string.gsub("abc", "b", V)'),
    *('string.gsub("abc", "b", "x", V)', 'string.gsub("abc", V, "x")', 'string.gsub("abc", "b", {b = V})'),
    *('string.gsub("abc", "b", function() return V end)', 'string.gmatch("abc", V)', 'string.gmatch(V, "b")'),
    *("string.len(V)", "string.lower(V)", "string.reverse(V)", "string.dump(V)"),
    *("table.concat({1, 2}, V)", 'table.concat({1, 2}, "x", V)', 'table.concat({1, 2}, "x", 1, V)'),
    *("table.concat({1, V})", "table.remove({1, 2}, V)", "table.maxn(V)", "table.sort({3, V})", "table.getn(V)"),
    *("unpack(V)", "unpack({1, 2}, V)", "unpack({1, 2}, 1, V)", "select(V, 1, 2)", 'tonumber("10", V)'),
    *("tonumber(V, 10)", "ipairs(V)", "next(V)", "next({1}, V)", "rawget({}, V)", "rawset({}, V, 1)"),
    *("getmetatable(V)", "setmetatable({}, V)", "setmetatable(V, {})", "assert(V)", "assert(false, V)", "pcall(V)"),
    *("xpcall(V, error)", "collectgarbage(V)", "loadstring(V)", "load(V)", "coroutine.create(V)", "coroutine.wrap(V)"),
    *("coroutine.resume(V)", "coroutine.status(V)", "math.floor(V)", "math.ldexp(1, V)", "math.fmod(V, 3)"),
    *("math.frexp(V)", "math.modf(V)", "math.max(V)", "math.pow(V, 2)", 'error("x", V)'),
)
# Each with a generator seeded before, for one server's must not run ahead of the other's.
_CHANCE = ("math.randomseed(V)", "math.random(V)", "math.random(1, V)", "math.random(V, 5)", "math.random(V, V)")


def _script(expression: str, value: str) -> str:
    return f"local r = {{{expression.replace('V', value)}}} return {{#r, tostring(r[1]):gsub('0x%x+', ''), r[2]}}"


def boundary_scripts(chance: Random, count: int) -> Iterator[str]:
    """So many of them: each a return of what the function gives, or of its error."""
    for _ in range(count):
        value = chance.choice(NUMBERS) if chance.random() < 0.8 else chance.choice(OTHERS)
        kind = chance.random()
        if kind < 0.05:
            call = chance.choice(_CHANCE).replace("V", value)
            yield f"math.randomseed(7) {call} return tostring(math.random())"
        elif kind < 0.1 and value not in _NO_COUNT:
            yield f'return #string.rep("x", {value})'
        elif kind < 0.4:
            call = _script(chance.choice(_EXPRESSIONS), value)
            yield f"return {{pcall(function() {call} end)}}"
        else:
            yield _script(chance.choice(_EXPRESSIONS), value)
