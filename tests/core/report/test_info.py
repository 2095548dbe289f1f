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


CHANGES = r"""
    XADD m 1-1 a b
    XADD m 2-1 a b
    XADD m 3-1 a b
    XADD m 4-1 a b
    XADD m 5-1 a b
    XADD m 6-1 a b
    XGROUP CREATE m g 0
    XREADGROUP GROUP g c STREAMS m >
    XACK m g 1-1 2-1
    XCLAIM m g d 0 3-1 4-1
    XAUTOCLAIM m g e 0 0
    XDEL m 1-1 2-1
    XTRIM m MAXLEN 1
    XADD m MAXLEN 1 9-1 a b
    XGROUP DELCONSUMER m g e
    LPUSH r x x x y
    LREM r 0 x
    LPUSH r a b c
    LTRIM r 5 6
    SADD ss a b
    SPOP ss 2
    SADD ss 1 2 3
    SPOP ss 5
    ZADD zz 1 a 2 b 3 c
    ZREMRANGEBYRANK zz 0 1
    PFADD pp
    PFADD pp a b
    PFADD pp a b
    PFMERGE p2 pp
    FLUSHDB
    FLUSHDB
    BITFIELD q SET u8 0 5 SET u8 0 5
    SETBIT q 100 0
    SETRANGE q 0 ab
    APPEND q z
    SINTERSTORE nn a b
    SUNIONSTORE uu nokey
    XADD m2 * a b
    XGROUP CREATE m3 g $ MKSTREAM
    HSET hh a 1 a 2
    SADD dd a a a
    ZADD dz 1 a 2 a
    MSET a 1 a 2
    DEL a a
    GEOADD ge 1 2 x 1 2 y
    GEORADIUS ge 1 2 1 km STORE gq
    GEORADIUS ge 50 50 1 km STORE gq
    ZUNIONSTORE zo 1 zz
    ZUNIONSTORE zo 1 nokey
    EXPIRE hh 100
    EXPIRE hh -1
    GETEX q EX 100
    GETEX q EXAT 1
    LPUSH l 1 2 3
    RPUSH l 4
    RENAME l l2
    LMOVE l2 l2 LEFT RIGHT
    SORT l2 STORE d
    RPOPLPUSH l2 l3
    SADD s a b c
    SREM s a b
    SPOP s
    SADD s a b c d e
    SPOP s 3
    ZADD z 1 a 2 b
    ZADD z 1 a 3 b
    ZINCRBY z 1 a
    ZREM z a b
    ZADD z 1 a 2 b 3 c
    ZPOPMIN z 2
    ZREMRANGEBYRANK z 0 -1
    HSET h a 1 b 2
    HSET h a 1
    HDEL h a b
    HMSET h a 1 b 2
    HINCRBY h a 1
    SET k v
    SET k v EX 100
    SETEX k 10 v
    PERSIST k
    EXPIRE k 100
    EXPIRE k 0
    MSET a 1 b 2 c 3
    MSETNX x 1 y 2
    DEL a b c
    UNLINK x y
    APPEND st x
    SETRANGE st 0 y
    SETBIT bm 1 1
    SETBIT bm 1 1
    BITFIELD bf SET u8 0 1 INCRBY u8 8 1
    BITFIELD bf GET u8 0
    BITOP AND bo bm bm
    PFADD hl a b c
    PFADD hl a
    PFCOUNT hl
    PFMERGE hm hl
    XADD xs 1-1 a b
    XADD xs 2-1 a b
    XADD xs 3-1 a b
    XADD xs MAXLEN 2 4-1 a b
    XTRIM xs MAXLEN 1
    XDEL xs 4-1
    XADD xs 5-1 a b
    XGROUP CREATE xs g 0
    XREADGROUP GROUP g c STREAMS xs >
    XACK xs g 5-1
    XADD xs 6-1 a b
    XREADGROUP GROUP g c STREAMS xs >
    XCLAIM xs g c2 0 6-1
    XAUTOCLAIM xs g c3 0 0
    XGROUP CREATECONSUMER xs g n
    XGROUP DELCONSUMER xs g c3
    XGROUP SETID xs g 0
    XSETID xs 9-9
    XGROUP DESTROY xs g
    LPUSH q 1 2 3 4 5
    LTRIM q 1 3
    LREM q 0 3
    LSET q 0 z
    LINSERT q BEFORE z y
    LPOP q 2
    LMPOP 1 q LEFT COUNT 2
    LTRIM q 0 -1
    GEOADD g 1 2 a 3 4 b
    GEOSEARCHSTORE gs g FROMLONLAT 1 2 BYRADIUS 10000 km
    GEORADIUS g 1 2 10000 km STORE gs2
    ZADD za 1 a 2 b 3 c
    ZRANGESTORE zr za 0 -1
    ZUNIONSTORE zu 2 za zr
    ZDIFFSTORE zdd 2 za zr
    ZINTERSTORE zi 2 za zr
    SADD s1 a b c
    SADD s2 b c d
    SINTERSTORE si s1 s2
    SUNIONSTORE su s1 s2
    SDIFFSTORE sd s1 s2
    SMOVE s1 s2 a
    COPY za zc
    MOVE zc 1
    GETSET st z
    GETDEL st
    SET st v
    GETEX st EX 10
    GETEX st PERSIST
    INCR n
    DECR n
    INCRBYFLOAT n 1.5
    SWAPDB 0 1
    SWAPDB 0 1
    FLUSHDB
    LPUSH l 1 2
    EVAL "redis.call('lpush','l',1,2,3)" 0
    PUBLISH c m
    FUNCTION LOAD "#!lua name=l\\nredis.register_function('f', function() return 1 end)"
    FUNCTION DELETE l
    RESTORE rr 0 "\\x00\\x01a\\x09\\x00\\x00\\x00"
    ZADD z2 1 a 2 b
    ZMPOP 1 z2 MIN COUNT 2
    ZADD z2 1 a 2 b
    ZREMRANGEBYSCORE z2 -inf +inf
    ZADD z2 0 a 0 b
    ZREMRANGEBYLEX z2 - +
    HINCRBYFLOAT h f 1.5
    HSETNX h g 1
    LPUSHX nol 1
    RPUSHX l 1 2
    SUNIONSTORE nn nx
    SORT nx STORE l
    FLUSHALL
    FLUSHALL
    MULTI
    LPUSH l a b
    SET x y
    EXEC
    BLPOP l 0
    BLMOVE l l3 LEFT LEFT 0
    DEBUG POPULATE 3
    SPOP none
    ZADD z2 XX 1 q
    ZADD z2 1 q
    ZADD z2 GT 0 q
    ZADD z2 CH 5 q
    EXPIRE nokey 10
    SETNX x z
    SET x 1 NX
    LPUSH w 1
    LMOVE w w2 LEFT LEFT
    RENAMENX w2 w3
    RENAME w3 w3
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
        for line in CHANGES.strip().splitlines():
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
