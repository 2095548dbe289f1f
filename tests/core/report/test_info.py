"""INFO beside stock: what exporters read of a node."""

from __future__ import annotations

import pytest

from tests.support import transcripts
from tests.support.nodes import LocalNode
from tests.support.stock import Wire, running


@pytest.fixture
def node() -> LocalNode:
    return LocalNode("--enable-debug-command", "yes")


def fields(answer: bytes) -> dict[str, str]:
    """INFO as a dictionary."""
    return dict(line.split(":", 1) for line in answer.decode().split("\r\n") if ":" in line)


def one_by_one(text: str) -> list[str]:
    """The commands of a text, which stand on lines and between bars."""
    return [command.strip() for command in text.strip().replace("\n", " | ").split(" | ")]


CHANGES = r"""
    XADD m 1-1 a b | XADD m 2-1 a b | XADD m 3-1 a b | XADD m 4-1 a b | XADD m 5-1 a b | XADD m 6-1 a b
    XGROUP CREATE m g 0 | XREADGROUP GROUP g c STREAMS m > | XACK m g 1-1 2-1 | XCLAIM m g d 0 3-1 4-1
    XAUTOCLAIM m g e 0 0 | XDEL m 1-1 2-1 | XTRIM m MAXLEN 1 | XADD m MAXLEN 1 9-1 a b | XGROUP DELCONSUMER m g e
    LPUSH r x x x y | LREM r 0 x | LPUSH r a b c | LTRIM r 5 6 | SADD ss a b | SPOP ss 2 | SADD ss 1 2 3 | SPOP ss 5
    ZADD zz 1 a 2 b 3 c | ZREMRANGEBYRANK zz 0 1 | PFADD pp | PFADD pp a b | PFADD pp a b | PFMERGE p2 pp | FLUSHDB
    FLUSHDB | BITFIELD q SET u8 0 5 SET u8 0 5 | SETBIT q 100 0 | SETRANGE q 0 ab | APPEND q z | SINTERSTORE nn a b
    SUNIONSTORE uu nokey | XADD m2 * a b | XGROUP CREATE m3 g $ MKSTREAM | HSET hh a 1 a 2 | SADD dd a a a
    ZADD dz 1 a 2 a | MSET a 1 a 2 | DEL a a | GEOADD ge 1 2 x 1 2 y | GEORADIUS ge 1 2 1 km STORE gq
    GEORADIUS ge 50 50 1 km STORE gq | ZUNIONSTORE zo 1 zz | ZUNIONSTORE zo 1 nokey | EXPIRE hh 100 | EXPIRE hh -1
    GETEX q EX 100 | GETEX q EXAT 1 | LPUSH l 1 2 3 | RPUSH l 4 | RENAME l l2 | LMOVE l2 l2 LEFT RIGHT
    SORT l2 STORE d | RPOPLPUSH l2 l3 | SADD s a b c | SREM s a b | SPOP s | SADD s a b c d e | SPOP s 3
    ZADD z 1 a 2 b | ZADD z 1 a 3 b | ZINCRBY z 1 a | ZREM z a b | ZADD z 1 a 2 b 3 c | ZPOPMIN z 2
    ZREMRANGEBYRANK z 0 -1 | HSET h a 1 b 2 | HSET h a 1 | HDEL h a b | HMSET h a 1 b 2 | HINCRBY h a 1 | SET k v
    SET k v EX 100 | SETEX k 10 v | PERSIST k | EXPIRE k 100 | EXPIRE k 0 | MSET a 1 b 2 c 3 | MSETNX x 1 y 2
    DEL a b c | UNLINK x y | APPEND st x | SETRANGE st 0 y | SETBIT bm 1 1 | SETBIT bm 1 1
    BITFIELD bf SET u8 0 1 INCRBY u8 8 1 | BITFIELD bf GET u8 0 | BITOP AND bo bm bm | PFADD hl a b c | PFADD hl a
    PFCOUNT hl | PFMERGE hm hl | XADD xs 1-1 a b | XADD xs 2-1 a b | XADD xs 3-1 a b | XADD xs MAXLEN 2 4-1 a b
    XTRIM xs MAXLEN 1 | XDEL xs 4-1 | XADD xs 5-1 a b | XGROUP CREATE xs g 0 | XREADGROUP GROUP g c STREAMS xs >
    XACK xs g 5-1 | XADD xs 6-1 a b | XREADGROUP GROUP g c STREAMS xs > | XCLAIM xs g c2 0 6-1
    XAUTOCLAIM xs g c3 0 0 | XGROUP CREATECONSUMER xs g n | XGROUP DELCONSUMER xs g c3 | XGROUP SETID xs g 0
    XSETID xs 9-9 | XGROUP DESTROY xs g | LPUSH q 1 2 3 4 5 | LTRIM q 1 3 | LREM q 0 3 | LSET q 0 z
    LINSERT q BEFORE z y | LPOP q 2 | LMPOP 1 q LEFT COUNT 2 | LTRIM q 0 -1 | GEOADD g 1 2 a 3 4 b
    GEOSEARCHSTORE gs g FROMLONLAT 1 2 BYRADIUS 10000 km | GEORADIUS g 1 2 10000 km STORE gs2 | ZADD za 1 a 2 b 3 c
    ZRANGESTORE zr za 0 -1 | ZUNIONSTORE zu 2 za zr | ZDIFFSTORE zdd 2 za zr | ZINTERSTORE zi 2 za zr
    SADD s1 a b c | SADD s2 b c d | SINTERSTORE si s1 s2 | SUNIONSTORE su s1 s2 | SDIFFSTORE sd s1 s2
    SMOVE s1 s2 a | COPY za zc | MOVE zc 1 | GETSET st z | GETDEL st | SET st v | GETEX st EX 10 | GETEX st PERSIST
    INCR n | DECR n | INCRBYFLOAT n 1.5 | SWAPDB 0 1 | SWAPDB 0 1 | FLUSHDB | LPUSH l 1 2
    EVAL "redis.call('lpush','l',1,2,3)" 0 | PUBLISH c m
    FUNCTION LOAD "#!lua name=l\\nredis.register_function('f', function() return 1 end)" | FUNCTION DELETE l
    RESTORE rr 0 "\\x00\\x01a\\x09\\x00\\x00\\x00" | ZADD z2 1 a 2 b | ZMPOP 1 z2 MIN COUNT 2 | ZADD z2 1 a 2 b
    ZREMRANGEBYSCORE z2 -inf +inf | ZADD z2 0 a 0 b | ZREMRANGEBYLEX z2 - + | HINCRBYFLOAT h f 1.5 | HSETNX h g 1
    LPUSHX nol 1 | RPUSHX l 1 2 | SUNIONSTORE nn nx | SORT nx STORE l | FLUSHALL | FLUSHALL | MULTI | LPUSH l a b
    SET x y | EXEC | BLPOP l 0 | BLMOVE l l3 LEFT LEFT 0 | DEBUG POPULATE 3 | SPOP none | ZADD z2 XX 1 q
    ZADD z2 1 q | ZADD z2 GT 0 q | ZADD z2 CH 5 q | EXPIRE nokey 10 | SETNX x z | SET x 1 NX | LPUSH w 1
    LMOVE w w2 LEFT LEFT | RENAMENX w2 w3 | RENAME w3 w3
"""


def test_changes_are_counted_as_stock_counts_them(node: LocalNode) -> None:
    client = node.open()
    with running("redis7") as port:
        wire = Wire(port)

        def counts() -> tuple[int, int]:
            ours, theirs = client.send("INFO", "persistence"), wire.call("INFO", "persistence")
            name = "rdb_changes_since_last_save"
            return int(fields(ours)[name]), int(fields(theirs)[name])

        before = counts()
        open_transaction = False
        for line in one_by_one(CHANGES):
            argv = transcripts.words(line)
            client.send(*argv)
            wire.call(*argv)
            open_transaction = argv[0] == b"MULTI" or (open_transaction and argv[0] != b"EXEC")
            if open_transaction:
                continue
            after = counts()
            assert after[0] - before[0] == after[1] - before[1], line
            before = after
        wire.close()


LOOKUPS = r"""
    SET st v | LPUSH l a b | SADD s a b | SADD s2 b c | ZADD z 1 a 2 b | HSET h f v | XADD x 1-1 a b
    XADD x 2-1 a b | PFADD p a | XGROUP CREATE x g 0 | XREADGROUP GROUP g c COUNT 1 STREAMS x >
    XREADGROUP GROUP g c STREAMS nox > | XREAD STREAMS x 0 | XREAD STREAMS nox 0 | XREAD STREAMS x nox 0 0
    XACK x g 1-1 | XACK nox g 1-1 | XACK x nog 1-1 | XCLAIM x g d 0 1-1 | XCLAIM nox g d 0 1-1
    XAUTOCLAIM x g d 0 0 | XAUTOCLAIM nox g d 0 0 | DUMP st | DUMP no | OBJECT ENCODING st | OBJECT ENCODING no
    OBJECT FREQ no | OBJECT IDLETIME st | OBJECT REFCOUNT st | OBJECT HELP | SCAN 0 TYPE string COUNT 100
    SINTER s s2 | SINTER s no | SINTER no s | SINTERCARD 2 s s2 | SINTERCARD 2 s no | SINTERSTORE d s s2
    SINTERSTORE d s no | SUNION s no | SUNIONSTORE d s no | SDIFF s no | SDIFFSTORE d s no | PFMERGE pm p
    PFMERGE pm no | PFCOUNT p | PFCOUNT no | PFCOUNT p no | GET st | GET no | MGET st no l | GETEX st | GETEX no
    GETDEL no | GETSET st v | GETSET no1 v | SET st v GET | SET no2 v GET | STRLEN st | STRLEN no | GETRANGE st 0 1
    GETRANGE no 0 1 | SUBSTR no 0 1 | APPEND st x | SETRANGE st 0 a | INCR no3 | EXISTS st no | TYPE st | TYPE no
    TTL st | TTL no | PTTL no | EXPIRETIME st | EXPIRETIME no | TOUCH st no | EXPIRE no 1 | PERSIST no
    RENAME st st2 | RENAME st2 st | RENAMENX st no | RENAME no st | COPY st c1 | COPY no c2 | MOVE no 1 | DEL no
    UNLINK no | KEYS * | RANDOMKEY | SORT l ALPHA | SORT no | SORT l BY w_* ALPHA | SORT l BY nosort GET # GET g_*
    SORT l ALPHA STORE sd | SORT_RO l ALPHA | LLEN l | LLEN no | LRANGE l 0 1 | LRANGE no 0 1 | LINDEX l 0
    LINDEX no 0 | LPOS l a | LPOS no a | LPOP no | LPUSHX no a | LSET l 0 a | LREM l 0 q | LTRIM l 0 5
    LINSERT no before a b | LMOVE no l left left | SCARD s | SCARD no | SISMEMBER s a | SISMEMBER no a
    SMISMEMBER s a | SMISMEMBER no a | SMEMBERS s | SMEMBERS no | SRANDMEMBER s | SRANDMEMBER no | SRANDMEMBER s 2
    SPOP no | SREM no a | SMOVE no s a | SSCAN s 0 | SSCAN no 0 | HGET h f | HGET h nof | HGET no f | HMGET h f g
    HMGET no f | HGETALL h | HGETALL no | HKEYS h | HVALS no | HLEN h | HLEN no | HEXISTS h f | HEXISTS no f
    HSTRLEN h f | HSTRLEN no f | HSCAN h 0 | HSCAN no 0 | HRANDFIELD h | HRANDFIELD no | HDEL no f | HINCRBY h n 1
    ZSCORE z a | ZSCORE no a | ZMSCORE z a | ZMSCORE no a | ZCARD z | ZCARD no | ZRANK z a | ZRANK no a
    ZCOUNT z 0 1 | ZCOUNT no 0 1 | ZLEXCOUNT z - + | ZRANGE z 0 1 | ZRANGE no 0 1 | ZRANGEBYSCORE z 0 1
    ZRANGEBYLEX no - + | ZREVRANGE z 0 1 | ZRANGESTORE d z 0 1 | ZRANGESTORE d no 0 1 | ZUNION 2 z no
    ZINTER 2 z no | ZDIFF 2 z no | ZINTERCARD 2 z no | ZUNIONSTORE d 2 z no | ZINTERSTORE d 2 z no
    ZDIFFSTORE d 2 z no | ZRANDMEMBER z | ZRANDMEMBER no | ZSCAN z 0 | ZSCAN no 0 | ZPOPMIN no | ZMPOP 1 no MIN
    ZREM no a | ZINCRBY z 1 a | GEOADD ge 1 2 m | GEOPOS ge m | GEOPOS no m | GEODIST ge m m | GEOHASH no m
    GEOSEARCH ge FROMMEMBER m BYRADIUS 1 km | GEOSEARCH no FROMLONLAT 1 2 BYRADIUS 1 km | GEORADIUS ge 1 2 1 km
    GEORADIUSBYMEMBER no m 1 km | GEORADIUS ge 1 2 1 km STORE d | GEOSEARCHSTORE d ge FROMLONLAT 1 2 BYRADIUS 1 km
    XLEN x | XLEN no | XRANGE x - + | XRANGE no - + | XREVRANGE x + - | XPENDING x g | XPENDING no g
    XINFO STREAM x | XINFO STREAM no | XINFO GROUPS x | XINFO CONSUMERS x g | XDEL no 1-1 | XTRIM no MAXLEN 1
    XSETID no 1-1 | XGROUP CREATECONSUMER x g n | XGROUP CREATE no g 0 | GETBIT st 0 | GETBIT no 0 | BITCOUNT st
    BITCOUNT no | BITPOS st 1 | BITPOS no 1 | BITFIELD st GET u8 0 | BITFIELD no GET u8 0 | BITFIELD_RO no GET u8 0
    BITFIELD bf SET u8 0 1 | BITOP AND d st no | SETBIT no5 0 1 | LCS st no | LCS st st | MEMORY USAGE st
    MEMORY USAGE no | DEBUG OBJECT st | WATCH st | UNWATCH | SCAN 0 | DBSIZE
    EVAL "return redis.call('get','no')" 0 | EVAL "return redis.call('get','st')" 0 | LMPOP 1 no LEFT
    RESTORE st 0 x | SETNX st v | SET st v NX | SET st v XX | MSETNX st v q v | GET l | HGET st f | TYPE l | DUMP l
"""


def test_hits_and_misses_are_counted_as_stock_counts_them(node: LocalNode) -> None:
    client = node.open()
    with running("redis7") as port:
        wire = Wire(port)

        def counts() -> tuple[tuple[int, ...], tuple[int, ...]]:
            found = []
            for answer in (client.send("INFO", "stats"), wire.call("INFO", "stats")):
                stats = fields(answer)
                found.append((int(stats["keyspace_hits"]), int(stats["keyspace_misses"])))
            return found[0], found[1]

        before = counts()
        for line in one_by_one(LOOKUPS):
            argv = transcripts.words(line)
            client.send(*argv)
            wire.call(*argv)
            after = counts()
            ours, theirs = (
                [new - old for new, old in zip(*pair, strict=True)] for pair in zip(after, before, strict=True)
            )
            assert ours == theirs, line
            before = after
        wire.close()


# Each block begins at CONFIG RESETSTAT.
COUNTED = r"""
    GET
    NOSUCH a
    GET a
    SET a
    CLIENT NOSUCH
    CLIENT
    CLIENT LIST x y z
    CONFIG SET nosuch 1
    EVAL

    SET l x
    EVAL "return redis.error_reply('MYCODE foo')" 0
    EVAL "return redis.error_reply('foo bar')" 0
    EVAL "return {err='CODE2 x'}" 0
    EVAL "error('x')" 0
    EVAL "return redis.call('lpush','l','a')" 0
    EVAL "return redis.pcall('incr','l')" 0
    EVAL "redis.pcall('incr','l') return 1" 0
    EVAL "redis.pcall('incr','l') return redis.error_reply('WRONG x')" 0
    EVAL "return redis.call('nosuch')" 0
    EVAL "return redis.call('get')" 0
    EVAL "x" 0
    EVALSHA abc 0
    EVAL "return redis.error_reply('-BAD x')" 0
    EVAL "error({err='ERRT y'})" 0
    FCALL nof 0
    EVAL "return redis.call('set','a')" 0
    EVAL_RO "return redis.call('set','a','b')" 0

    MULTI
    GET
    EXEC
    MULTI
    INCR l
    SET a b
    WATCH x
    EXEC
    EXEC
    DISCARD
    MULTI
    NOSUCH
    DISCARD
    MULTI
    MONITOR
    PSYNC ? -1
    EXEC

    ACL SETUSER default -get -client|list
    GET a
    CLIENT LIST
    MULTI
    GET a
    EXEC
    EVAL "return redis.call('get','a')" 0
    ACL SETUSER default +get +client|list

    AUTH a
    AUTH a b
    HELLO 4
    SELECT 99

    CONFIG SET min-replicas-to-write 1
    SET a b
    EVAL "return redis.call('set','a','b')" 0
    MULTI
    SET a b
    EXEC
    CONFIG SET min-replicas-to-write 0

    BLPOP nokey 0.01
    XREAD BLOCK 10 STREAMS nokey $
    WAIT 0 10
    SUBSCRIBE c
    UNSUBSCRIBE c
"""


def test_calls_refusals_failures_and_errors_are_counted_as_stock_counts_them(node: LocalNode) -> None:
    client = node.open()
    with running("redis7") as port:
        wire = Wire(port)
        for block in COUNTED.strip().split("\n\n"):
            told = []
            for send, advance in ((client.send, node.advance), (wire.call, None)):
                send("CONFIG", "RESETSTAT")
                for line in block.strip().splitlines():
                    send(*transcripts.words(line))
                    if advance is not None and line.split()[0] in ("BLPOP", "XREAD"):
                        advance(20)
                        client.read()
                told.append(counted(send("INFO", "everything")))
            assert told[0] == told[1], block
        wire.close()


def counted(answer: bytes) -> dict[str, str]:
    """The statistics without times."""
    found = {}
    for name, value in fields(answer).items():
        if name.startswith(("cmdstat_", "errorstat_")) or name in ("total_commands_processed", "total_error_replies"):
            found[name] = ",".join(part for part in value.split(",") if not part.startswith("usec"))
    return found


# Per waiting command how its waiting ends, and what Redis 7.0.15 counts then of the command: (calls, failed calls).
# Each counts as called from when it begins to wait, and as failed when CLIENT UNBLOCK ends its waiting, however.
WAITERS = (
    ("BLPOP k 0", "RPUSH k a", (1, 0)),
    ("BLPOP k 0.05", "its timeout", (1, 0)),
    ("BRPOP k 0", "hangs up", (1, 0)),
    ("BLMOVE k m LEFT LEFT 0", "RPUSH k a", (1, 0)),
    ("BLMOVE k m LEFT LEFT 0", "SET m x | RPUSH k a", (1, 1)),
    ("BZPOPMIN k 0", "CLIENT KILL ID {id}", (1, 0)),
    ("BZPOPMAX k 0", "CLIENT UNBLOCK {id}", (1, 1)),
    ("BLMPOP 0 1 k LEFT", "CLIENT UNBLOCK {id} ERROR", (1, 1)),
    ("BZMPOP 0 1 k MIN", "ZADD k 1 a", (1, 0)),
    ("XREAD BLOCK 0 STREAMS k $", "hangs up", (1, 0)),
    ("XREAD BLOCK 0 STREAMS k $", "XADD k 1-1 a b", (1, 0)),
    ("WAIT 3 0", "hangs up", (1, 0)),
    ("WAIT 3 0", "CLIENT UNBLOCK {id}", (1, 1)),
    ("WAIT 3 50", "its timeout", (1, 0)),
)


@pytest.mark.parametrize(("line", "end", "counted"), WAITERS)
def test_a_command_that_waits_counts_as_called_from_the_beginning(
    line: str, end: str, counted: tuple[int, int]
) -> None:
    node = LocalNode()
    client, waiter = node.open(), node.open()
    name = line.split()[0].lower()

    def counts() -> tuple[int, int]:
        entry = fields(client.send("INFO", "commandstats"))[f"cmdstat_{name}"]
        numbers = dict(part.split("=") for part in entry.split(","))
        return int(numbers["calls"]), int(numbers["failed_calls"])

    number = waiter.send("CLIENT", "ID")
    waiter.pipeline(line.split())
    assert waiter.session.blocked is not None
    assert counts() == (1, 0)
    if end == "hangs up":
        waiter.close()
    elif end == "its timeout":
        node.advance(60)
    else:
        for command in end.format(id=number).split(" | "):
            client.send(*command.split())
    assert counts() == counted
