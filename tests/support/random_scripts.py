"""Small random scripts: conversions, libraries, arithmetic. The same seed gives the same scripts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

# Shows any value as text, table keys in order: what a script computes must not depend on the order of `next`.
SHOW = """
local function show(v, d)
  d = d or 0
  local t = type(v)
  if t == 'table' then
    if d > 20 then return '...' end
    local keys = {}
    for k in pairs(v) do keys[#keys + 1] = k end
    table.sort(keys, function(a, b) return show(a) < show(b) end)
    local out = {}
    for i, k in ipairs(keys) do out[i] = show(k, d + 1) .. '=' .. show(v[k], d + 1) end
    return '{' .. table.concat(out, ',') .. '}'
  elseif t == 'number' then return string.format('%.17g', v)
  elseif t == 'string' then return string.format('%q', v)
  elseif t == 'function' then return t end
  return tostring(v)
end
"""
_NUMBERS = (
    *(
        "0",
        "1",
        "-1",
        "2",
        "3.5",
        "-3.5",
        "0.1",
        "1e15",
        "1e16",
        "123456789012",
        "-2^31",
        "2^31",
        "2^32",
        "2^53",
        "2^63",
    ),
    *("-2^63", "1e300", "-1e300", "1/0", "-1/0", "127", "128", "255", "256", "65535", "65536", "-32", "-33", "-128"),
    *("-129", "-32769", "1e-10", "2^31-1", "-0.5", "0.5", "1.5", "2.5", "1e21", "4294967295"),
)


def literal(data: bytes) -> str:
    """A Lua string literal of these bytes."""
    return '"' + "".join(chr(b) if 32 < b < 127 and b not in b"\"\\'" else f"\\{b:03d}" for b in data) + '"'


def text(random: Random) -> str:
    """A string literal."""
    kind = random.randrange(5)
    if kind == 0:
        return literal(random.randbytes(random.choice((0, 1, 3, 8, 33))))
    return literal(random.choice((b"", b"a", b"abc", b"12", b"1.5", b"x y", b'q"\\/', b"\n\t", "é€".encode(), b"a\0b")))


def number(random: Random) -> str:
    """A numeric expression."""
    return random.choice(_NUMBERS) if random.random() < 0.8 else repr(random.uniform(-1e6, 1e6))


def value(random: Random, depth: int = 0) -> str:
    """Any value; tables have one key or are arrays, so that their order is defined."""
    kind = random.randrange(10 if depth < 4 else 5)
    if kind < 2:
        return number(random)
    if kind < 4:
        return text(random)
    if kind == 4:
        return random.choice(("true", "false", "nil", "cjson.null"))
    if kind < 8:
        return "{" + ",".join(value(random, depth + 1) for _ in range(random.randrange(5))) + "}"
    return f"{{[{random.choice((text, number))(random)}]={value(random, depth + 1)}}}"


def reply_value(random: Random, depth: int = 0) -> str:
    """A value whose tables carry what replies understand."""
    kind = random.randrange(12 if depth < 4 else 4)
    if kind < 4:
        return value(random, 9)
    if kind < 7:
        return "{" + ",".join(reply_value(random, depth + 1) for _ in range(random.randrange(4))) + "}"
    name = random.choice(("ok", "err", "double", "big_number", "map", "set", "verbatim_string"))
    inner = {
        "ok": text,
        "err": text,
        "double": number,
        "big_number": text,
        "map": lambda r: f"{{[{text(r)}]={reply_value(r, depth + 1)}}}",
        "set": lambda r: f"{{[{text(r)}]=true}}",
        "verbatim_string": lambda r: f"{{format={text(r)},string={text(r)}}}",
    }[name]
    content = inner(random) if random.random() < 0.9 else value(random, 3)
    return f"{{{name}={content}}}"


def _conversion(random: Random) -> str:
    prefix = random.choice(("", "", "redis.setresp(3) "))
    return f"{prefix}return {reply_value(random)}"


def _json(random: Random) -> str:
    def one(depth: int) -> str:
        kind = random.randrange(8 if depth < 4 else 5)
        if kind == 0:
            return random.choice(("true", "false", "null"))
        if kind < 3:
            return random.choice(("0", "-1", "1.5", "1e3", "12345678901234567890", "-0.25", "1E-2", "0x1f", "01", "1."))
        if kind < 5:
            return random.choice(
                ('""', '"a"', '"\\n\\t\\/"', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\x"', '"é"')
            )
        if kind < 7:
            return "[" + random.choice((",", " , ")).join(one(depth + 1) for _ in range(random.randrange(4))) + "]"
        keys = random.sample(("a", "b", "c"), random.randrange(3))
        return "{" + ",".join(f'"{key}":{one(depth + 1)}' for key in keys) + "}"

    document = one(0).encode()
    if random.random() < 0.4 and document:  # broken
        at = random.randrange(len(document))
        mark = random.choice((b"", b"]", b"}", b",", b":", b'"', b" ", b"\\", b"n", b"t", b"1", b"-", b"\x80", b"e"))
        document = document[:at] + mark + document[at + random.randrange(2) :]
    return f"{SHOW} return show(cjson.decode({literal(document)}))"


def _json_encode(random: Random) -> str:
    return f"return cjson.encode({value(random)})"


def _struct(random: Random) -> str:
    form, values = [], []
    for _ in range(random.randrange(1, 6)):
        option = random.choice(
            (
                "b",
                "B",
                "h",
                "H",
                "l",
                "L",
                "T",
                "i",
                "I",
                "i3",
                "I5",
                "i7",
                "I8",
                "f",
                "d",
                "s",
                "c2",
                "c0",
                "x",
                ">",
                "<",
                "!",
                "!4",
                " ",
            )
        )
        form.append(option)
        if option[0] in "bBhHlLTiIfd":
            values.append(number(random))
        elif option[0] in "sc":
            values.append(text(random))
    packed = f"struct.pack({literal(''.join(form).encode())}{''.join(',' + v for v in values)})"
    if random.random() < 0.5:
        return f"return {packed}"
    if random.random() < 0.5:
        data = literal(random.randbytes(random.randrange(40)))
        return f"{SHOW} return show({{struct.unpack({literal(''.join(form).encode())},{data})}})"
    return f"return struct.size({literal(''.join(form).encode())})"


def _bits(random: Random) -> str:
    name = random.choice(("tobit", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror", "bswap"))
    least = {"band": 1, "bor": 1, "bxor": 1, "tobit": 1, "bnot": 1, "bswap": 1}.get(name, 2)
    count = random.randrange(1, 4) if name in ("band", "bor", "bxor") else least
    # beyond 2^51 the library's result is not defined
    numbers = (
        "0",
        "1",
        "-1",
        "0.5",
        "1.5",
        "-1.5",
        "255",
        "2^31",
        "2^32-1",
        "-2^31",
        "2^40+5",
        "0xdeadbeef",
        "33",
        "7",
    )
    arguments = ",".join(random.choice(numbers) for _ in range(count))
    if random.random() < 0.2:
        return f"return bit.tohex({random.choice(numbers)},{random.choice(('8', '-8', '4', '-3', '0', '1', '2.5'))})"
    return f"return bit.{name}({arguments})"


def _pack(random: Random) -> str:
    return f"return cmsgpack.pack({','.join(value(random) for _ in range(random.randrange(1, 3)))})"


def _unpack(random: Random) -> str:
    if random.random() < 0.5:
        packed = f"cmsgpack.pack({value(random)})"
    else:
        head = bytes((random.choice((*range(0x80, 0xA3), *range(0xC0, 0xE0), 1, 255)),))
        packed = literal(head + random.randbytes(random.randrange(12)))
    call = random.choice(
        (
            f"cmsgpack.unpack({packed})",
            f"cmsgpack.unpack_one({packed},{random.randrange(3)})",
            f"cmsgpack.unpack_limit({packed},{random.randrange(4)},{random.randrange(3)})",
        )
    )
    return f"{SHOW} return show({{{call}}})"


def _arithmetic(random: Random) -> str:
    operator = random.choice(("+", "-", "*", "/", "%", "^", "..", "<", "==", "<="))
    left, right = (random.choice((number, number, text))(random) for _ in range(2))
    return f"{SHOW} return show(({left}) {operator} ({right}))"


def _format(random: Random) -> str:
    option = random.choice(
        ("%d", "%5.2f", "%s", "%q", "%x", "%g", "%.14g", "%c", "%5s", "%-5d|", "%%", "%i", "%u", "%e")
    )
    return f"return string.format({literal(option.encode())},{random.choice((number, text))(random)})"


def _command(random: Random) -> str:
    calls = (
        lambda: f"redis.call('set',KEYS[1],{random.choice((number, text))(random)})",
        lambda: "redis.call('get',KEYS[1])",
        lambda: f"redis.pcall('lpush',KEYS[1],{text(random)})",
        lambda: "redis.pcall('lrange',KEYS[1],0,-1)",
        lambda: "redis.pcall('incr',KEYS[1])",
        lambda: "redis.call('del',KEYS[1])",
        lambda: f"redis.pcall('hset','h',{text(random)},{text(random)})",
        lambda: "redis.pcall('zadd','z',1.5,'m')",
        lambda: "redis.pcall('zrange','z',0,-1,'withscores')",
        lambda: "redis.pcall('zscore','z','m')",
        lambda: "redis.pcall('smembers','nokey')",
        lambda: "redis.pcall('hgetall','nokey')",
        lambda: "redis.pcall('mget','nokey',KEYS[1])",
        lambda: f"redis.pcall({text(random)})",
        lambda: f"redis.call({value(random)},{value(random)})",
    )
    prefix = random.choice(("", "redis.setresp(3) "))
    steps = " ".join(f"local r{i} = {random.choice(calls)()}" for i in range(random.randrange(1, 4)))
    return (
        f"{prefix}{steps} return {{r0,r1,r2}}".replace("r1,r2", "r1 or 1,2")
        if " r1 " in steps
        else f"{prefix}{steps} return r0"
    )


_MAKERS: tuple[Callable[[Random], str], ...] = (
    *(_conversion, _conversion, _json, _json, _json_encode, _struct, _struct, _bits, _pack, _unpack, _unpack),
    *(_arithmetic, _format, _command, _command),
)


def scripts(seed: int, count: int) -> list[str]:
    """`count` scripts."""
    random = Random(seed)
    return [random.choice(_MAKERS)(random) for _ in range(count)]
