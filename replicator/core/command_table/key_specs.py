"""Where commands have their keys and what they do with them, and the tips for clients: facts told by COMMAND INFO.

Access control needs them too: a key that is read must be one that the user may read.

Source: https://redis.io/docs/latest/develop/reference/key-specs/ and what Redis 7.0.15 answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from replicator.core.command_table.registry import Command
from replicator.core.wire.numbers import c_int, parse_int

READ, WRITE = 1, 2

# One block a set of specifications: "= flags/begin/find  flags/begin/find", then the commands that have it.
# begin: index:position | keyword:WORD:start-from | unknown. find: range:last:step:limit | keynum:index:first:step |
# unknown.
_SPECS = """
= RO,access/index:1/range:0:1:0
bitcount bitfield_ro bitpos dump expiretime geodist geohash geopos georadius_ro georadiusbymember_ro geosearch get
getbit getrange hget hgetall hkeys hmget hrandfield hscan hvals lindex lpos lrange pexpiretime pttl smembers
smismember srandmember sscan substr ttl xpending xrange xrevrange zcount zlexcount zmscore zrandmember zrange
zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
= RW,update/index:1/range:0:1:0
expire expireat geoadd hmset hset lset persist pexpire pexpireat setrange xack xadd xclaim xsetid zadd
= RW,access,update/index:1/range:0:1:0
decr decrby getex getset hincrby hincrbyfloat incr incrby incrbyfloat move setbit zincrby
= RW,delete/index:1/range:0:1:0
hdel lrem ltrim srem xautoclaim xdel xtrim zrem zremrangebylex zremrangebyrank zremrangebyscore
= RO/index:1/range:0:1:0
hexists hlen hstrlen llen scard sismember strlen type xlen zcard
= RW,insert/index:1/range:0:1:0
append hsetnx linsert lpush lpushx pfadd rpush rpushx sadd
= RW,access,delete/index:1/range:0:1:0
getdel lpop rpop spop zpopmax zpopmin
= RO,access/index:1/keynum:0:1:1
sintercard zdiff zinter zintercard zunion
= RO/index:2/range:0:1:0
memory|usage object|encoding object|freq object|idletime object|refcount
= RW,access,delete/index:1/range:0:1:0  RW,insert/index:2/range:0:1:0
blmove brpoplpush lmove rpoplpush smove
= OW,update/index:1/range:0:1:0
psetex restore restore-asking setex
= RO,access/index:1/range:-1:1:0
mget sdiff sinter sunion
= RW,access,delete/index:1/range:-2:1:0
blpop brpop bzpopmax bzpopmin
= OW,update/index:1/range:0:1:0  RO,access/index:2/keynum:0:1:1
zdiffstore zinterstore zunionstore
= RO,access/index:2/keynum:0:1:1
eval_ro evalsha_ro fcall_ro
= RO,access/index:2/range:0:1:0
xinfo|consumers xinfo|groups xinfo|stream
= RO/index:1/range:-1:1:0
exists touch watch
= RW,access,update/index:2/keynum:0:1:1
eval evalsha fcall
= OW,update/index:1/range:0:1:0  RO,access/index:2/range:-1:1:0
sdiffstore sunionstore
= OW,update/index:1/range:0:1:0  RO,access/index:2/range:0:1:0
geosearchstore zrangestore
= RM,delete/index:1/range:-1:1:0
del unlink
= RW,access,delete/index:1/keynum:0:1:1
lmpop zmpop
= RW,access,delete/index:2/keynum:0:1:1
blmpop bzmpop
= RW,access,update,variable_flags/index:1/range:0:1:0
bitfield set
= RW,delete/index:2/range:0:1:0
xgroup|delconsumer xgroup|destroy
= RW,insert/index:2/range:0:1:0
xgroup|create xgroup|createconsumer
= not_key/index:1/range:-1:1:0
ssubscribe sunsubscribe
= OW,insert/index:1/range:-1:2:0
msetnx
= OW,insert/index:1/range:0:1:0
setnx
= OW,update/index:1/range:-1:2:0
mset
= OW,update/index:2/range:0:1:0  RO,access/index:3/range:-1:1:0
bitop
= RO,access/index:1/range:0:1:0  OW,update/index:2/range:0:1:0
copy
= RO,access/index:1/range:0:1:0  OW,update/keyword:STORE:5/range:0:1:0  OW,update/keyword:STOREDIST:5/range:0:1:0
georadiusbymember
= RO,access/index:1/range:0:1:0  OW,update/keyword:STORE:6/range:0:1:0  OW,update/keyword:STOREDIST:6/range:0:1:0
georadius
= RO,access/index:1/range:0:1:0  RO,access/unknown/unknown
sort_ro
= RO,access/index:1/range:0:1:0  RO,access/unknown/unknown  OW,update/unknown/unknown
sort
= RO,access/index:1/range:1:1:0
lcs
= RO,access/keyword:STREAMS:1/range:-1:1:2
xread
= RO,access/keyword:STREAMS:4/range:-1:1:2
xreadgroup
= RW,access,delete/index:1/range:0:1:0  OW,insert/index:2/range:0:1:0
renamenx
= RW,access,delete/index:1/range:0:1:0  OW,update/index:2/range:0:1:0
rename
= RW,access,delete/index:3/range:0:1:0  RW,access,delete,incomplete/keyword:KEYS:-2/range:-1:1:0
migrate
= RW,access,insert/index:1/range:0:1:0  RO,access/index:2/range:-1:1:0
pfmerge
= RW,access/index:1/range:-1:1:0
pfcount
= RW,access/index:2/range:0:1:0
pfdebug
= RW,update/index:1/range:0:1:0  RO,access/index:2/range:-1:1:0
sinterstore
= RW,update/index:2/range:0:1:0
xgroup|setid
= not_key/index:1/range:0:1:0
spublish
"""

_TIPS = """
= nondeterministic_output
client|info client|list dump hrandfield hscan lastsave migrate object|encoding object|freq object|idletime
object|refcount pttl spop srandmember sscan time ttl xadd xautoclaim xclaim xinfo|consumers xpending xtrim
zrandmember zscan cluster|bumpepoch cluster|count-failure-reports cluster|getkeysinslot cluster|info cluster|links
cluster|nodes cluster|replicas cluster|shards cluster|slaves cluster|slots
= nondeterministic_output request_policy:all_nodes response_policy:special
latency|doctor latency|graph latency|histogram latency|history latency|latest
= nondeterministic_output request_policy:all_shards response_policy:special
function|stats info memory|doctor memory|malloc-stats memory|stats
= nondeterministic_output request_policy:special
scan
= nondeterministic_output_order
command command|docs command|info command|list function|list hgetall hkeys hvals sdiff sinter smembers
sunion module|list
= request_policy:all_nodes nondeterministic_output
slowlog|get
= request_policy:all_nodes response_policy:agg_sum nondeterministic_output
slowlog|len
= request_policy:all_nodes response_policy:all_succeeded
config|set latency|reset script|flush script|load slowlog|reset
= request_policy:all_shards nondeterministic_output
randomkey
= request_policy:all_shards nondeterministic_output_order
keys
= request_policy:all_shards response_policy:agg_logical_and
script|exists
= request_policy:all_shards response_policy:agg_min
wait
= request_policy:all_shards response_policy:agg_sum
dbsize
= request_policy:all_shards response_policy:all_succeeded
flushall flushdb function|delete function|flush function|load function|restore memory|purge ping
= request_policy:all_shards response_policy:one_succeeded
function|kill script|kill
= request_policy:multi_shard
mget
= request_policy:multi_shard response_policy:agg_min
msetnx
= request_policy:multi_shard response_policy:agg_sum
del exists touch unlink
= request_policy:multi_shard response_policy:all_succeeded
mset
"""

_WORST = "We cannot tell how the keys will be used so we assume the worst, "
_UNKNOWN_BY = (
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key "
    "we sort"
)
NOTES = {
    ("xadd", 0): "UPDATE instead of INSERT because of the optional trimming feature",
    ("eval", 0): f"{_WORST}RW and UPDATE",
    ("fcall", 0): f"{_WORST}RW and UPDATE",
    ("eval_ro", 0): f"{_WORST}RO and ACCESS",
    ("fcall_ro", 0): f"{_WORST}RO and ACCESS",
    ("bitfield", 0): "This command allows both access and modification of the key",
    ("pfcount", 0): "RW because it may change the internal representation of the key, and propagate to replicas",
    ("sort", 1): _UNKNOWN_BY,
    ("sort_ro", 1): _UNKNOWN_BY,
    ("sort", 2): (
        "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the "
        "argument array"
    ),
    ("getex", 0): "RW and UPDATE because it changes the TTL",
    ("set", 0): "RW and ACCESS due to the optional `GET` argument",
}


class NoSuchKeys(Exception):
    """The arguments do not hold the keys that they announce."""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One specification: how to find some of a command's keys, and what the command does with them."""

    flags: tuple[str, ...]
    begin: tuple[str, ...]  # ("index", "1"), ("keyword", "STORE", "5") or ("unknown",)
    find: tuple[str, ...]  # ("range", last, step, limit), ("keynum", index, first, step) or ("unknown",)

    def positions(self, argv: Sequence[bytes]) -> range:
        """Where argv has the keys of this specification. Raises NoSuchKeys for a count of keys that makes no sense."""
        start = self._start(argv)
        if not 0 < start < len(argv) or self.find[0] == "unknown":
            return range(0)
        first, second, third = map(int, self.find[1:])
        if self.find[0] == "keynum":
            count = parse_int(argv[start + first]) if start + first < len(argv) else None
            if count is None or count < 0 or start + second + (count - 1) * third >= len(argv):
                raise NoSuchKeys
            return range(start + second, start + second + count * third, third)
        if first >= 0:
            last = start + first
        elif third > 1:
            last = start + (len(argv) - start) // third - 1
        else:
            last = len(argv) + first
        return range(start, min(last, len(argv) - 1) + 1, second)

    def _start(self, argv: Sequence[bytes]) -> int:
        if self.begin[0] == "index":
            return int(self.begin[1])
        if self.begin[0] == "keyword":
            word, start = self.begin[1].encode(), int(self.begin[2])
            places = range(start, len(argv)) if start > 0 else range(len(argv) + start, 0, -1)
            for at in places:
                if at < len(argv) and argv[at].upper() == word:
                    return at + 1
        return 0


def _blocks(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    head = ""
    for line in text.strip().splitlines():
        if line.startswith("= "):
            head = line[2:]
        else:
            found.update(dict.fromkeys(line.split(), head))
    return found


@cache
def _all_specs() -> dict[str, tuple[KeySpec, ...]]:
    read: dict[str, tuple[KeySpec, ...]] = {}
    for name, text in _blocks(_SPECS).items():
        specs = []
        for part in text.split("  "):
            flags, begin, find = part.split("/")
            specs.append(KeySpec(tuple(flags.split(",")), tuple(begin.split(":")), tuple(find.split(":"))))
        read[name] = tuple(specs)
    return read


@cache
def _all_tips() -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split()) for name, text in _blocks(_TIPS).items()}


def specs_of(name: str) -> tuple[KeySpec, ...]:
    """The key specifications of a command (subcommands as "xinfo|stream")."""
    return _all_specs().get(name, ())


def tips_of(name: str) -> tuple[str, ...]:
    """The tips of a command."""
    return _all_tips().get(name, ())


def _flags_of_set(argv: Sequence[bytes]) -> tuple[str, ...]:
    if any(word.upper() == b"GET" for word in argv[3:]):
        return ("RW", "access", "update")
    return ("OW", "update")


def _flags_of_bitfield(argv: Sequence[bytes]) -> tuple[str, ...]:
    at = 2
    reads = True
    while at < len(argv):
        word = argv[at].upper()
        if word in (b"SET", b"INCRBY"):
            reads = False
            at += 4
        else:
            at += 3 if word == b"GET" else 2 if word == b"OVERFLOW" else 1
    return ("RO", "access") if reads else ("RW", "access", "update")


def _sort_destination(argv: Sequence[bytes]) -> int:
    """Where SORT's destination stands, or 0."""
    found = 0
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if word == b"STORE" and at + 1 < len(argv):
            found = at + 1
        at += 3 if word == b"LIMIT" else 2 if word in (b"GET", b"BY", b"STORE") else 1
    return found


def key_uses(name: str, argv: Sequence[bytes]) -> list[tuple[int, tuple[str, ...]]]:
    """(position, flags) of every key in argv; a channel of a shard is no key. Raises NoSuchKeys."""
    try:
        return _specified(name, argv)
    except NoSuchKeys:
        return _counted_as_c_counts(name, argv)


def _counted_as_c_counts(name: str, argv: Sequence[bytes]) -> list[tuple[int, tuple[str, ...]]]:
    """The keys behind a count that is no number but begins with one, as stock's older way of finding keys has them: the
    destination last, and no flags.
    """
    for spec in specs_of(name):
        if spec.find[0] == "keynum":
            at = int(spec.begin[1])
            count = c_int(argv[at]) if at < len(argv) else 0
            if count < 0 or (not count and name in _NEED_SOURCES) or at + count >= len(argv):
                break
            places = list(range(at + 1, at + 1 + count))
            return [(place, ()) for place in ([*places, 1] if name in _NEED_SOURCES else places)]
    raise NoSuchKeys


def _specified(name: str, argv: Sequence[bytes]) -> list[tuple[int, tuple[str, ...]]]:
    uses: list[tuple[int, tuple[str, ...]]] = []
    if name in _NEED_SOURCES and len(argv) > 2 and parse_int(argv[2]) == 0:
        raise NoSuchKeys
    for spec in specs_of(name):
        flags = spec.flags
        if flags == ("not_key",):
            continue
        if "variable_flags" in flags:
            flags = _flags_of_set(argv) if name == "set" else _flags_of_bitfield(argv)
        uses += [(at, flags) for at in spec.positions(argv)]
    if name == "migrate":  # either the third argument is the key, or it is empty and the keys follow KEYS
        uses = [use for use in uses if (use[0] == 3) == bool(argv[3])]
    if name == "sort" and (at := _sort_destination(argv)):
        uses.append((at, ("OW", "update")))
    return uses


_NEED_SOURCES = frozenset(("zdiffstore", "zinterstore", "zunionstore"))
_WRITES = frozenset(("update", "insert", "delete"))


def keys_of(command: Command, argv: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """(key, READ and WRITE as the command needs them; 0 if it only looks whether it is there)."""
    try:
        uses = key_uses(command.full_name, argv)
    except NoSuchKeys:
        return []  # the command itself will complain
    return [
        (argv[at], (READ if "access" in flags else 0) | (0 if _WRITES.isdisjoint(flags) else WRITE))
        for at, flags in uses
    ]


_CHANNELS = {"publish": 2, "spublish": 2, "subscribe": 0, "ssubscribe": 0, "psubscribe": 0}


def channels_of(command: Command, argv: Sequence[bytes]) -> list[tuple[bytes, bool]]:
    """(channel, whether it is a pattern) of every channel that the command speaks to or begins to listen to."""
    end = _CHANNELS.get(command.name)
    if end is None or command.parent:
        return []
    return [(channel, command.name == "psubscribe") for channel in (argv[1:end] if end else argv[1:])]


_REDACTED = b"(redacted)"
_SECRET_DIRECTIVES = frozenset(
    (b"requirepass", b"masterauth", b"masteruser", b"tls-key-file-pass", b"tls-client-key-file-pass")
)


def redacted(name: str, argv: Sequence[bytes]) -> list[bytes]:
    """argv as it may be shown to others: passwords, and the rules of users, are not in it."""
    shown = list(argv)
    hidden: list[int] = []
    if name == "auth":
        hidden = list(range(1, len(shown)))
    elif name in ("acl|setuser", "acl|deluser", "acl|getuser"):
        hidden = list(range(2, len(shown)))
    elif name == "hello":
        for at in range(2, len(shown) - 2):
            if shown[at].lower() == b"auth":
                hidden = [at + 1, at + 2]
                break
    elif name == "migrate":
        for at in range(6, len(shown) - 1):
            word = shown[at].lower()
            if word in (b"auth", b"auth2"):
                hidden = [place for place in (at + 1, at + 2)[: 1 if word == b"auth" else 2] if place < len(shown)]
                break
    elif name == "config|set":
        hidden = [at + 1 for at in range(2, len(shown) - 1, 2) if shown[at].lower() in _SECRET_DIRECTIVES]
    for at in hidden:
        shown[at] = _REDACTED
    return shown
