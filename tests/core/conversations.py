"""Conversations whose every byte is the same on every server: sessions, transactions, subscriptions, waiting, ends."""

from __future__ import annotations

from tests.core.sessions import CLOSE, Late, Step, command, commands


def _a(*what: object) -> list[Step]:
    return [("a", one) for one in what]


TRANSACTIONS: dict[str, list[Step]] = {
    "an empty transaction": _a("MULTI", "EXEC"),
    "MULTI twice": _a("MULTI", "MULTI", "SET k 1", "EXEC", "GET k"),
    "MULTI twice, then one more error": _a("MULTI", "SET k 1", "MULTI", "NOSUCH", "EXEC", "GET k"),
    "EXEC, DISCARD without MULTI": _a("EXEC", "DISCARD", "UNWATCH", "MULTI", "DISCARD", "DISCARD", "EXEC"),
    "WATCH inside MULTI": _a("SET k 0", "MULTI", "WATCH k", "SET k 1", "EXEC", "GET k"),
    "WATCH without key inside MULTI": _a("MULTI", "WATCH", "SET k 1", "EXEC"),
    "UNWATCH inside MULTI": _a("WATCH k", "MULTI", "UNWATCH", "SET k 1", "EXEC"),
    "arity errors of the transaction commands": _a("MULTI x", "EXEC x", "DISCARD x", "WATCH", "UNWATCH x"),
    "arity errors inside": _a("MULTI", "MULTI x", "EXEC x", "EXEC"),
    "arity error of EXEC inside": _a("MULTI", "SET k 1", "EXEC x", "EXEC", "GET k"),
    "arity error of DISCARD inside": _a("MULTI", "SET k 1", "DISCARD x", "EXEC", "GET k"),
    "arity error of UNWATCH inside": _a("MULTI", "UNWATCH x", "EXEC", "DISCARD"),
    "an unknown command inside": _a("MULTI", "SET k 1", "NOSUCH a b", "SET k 2", "EXEC", "GET k"),
    "an unknown command, then DISCARD": _a("MULTI", "NOSUCH", "DISCARD", "MULTI", "SET k 1", "EXEC"),
    "an unknown subcommand inside": _a("MULTI", "OBJECT NOSUCH k", "EXEC"),
    "a container alone inside": _a("MULTI", "OBJECT", "EXEC"),
    "a wrong arity inside": _a("MULTI", "GET", "EXEC"),
    "errors while running do not stop it": _a(
        "SET s x", "MULTI", "INCR s", "LPUSH s 1", "SET t 1", "INCRBY t x", "SET u 1 PX 0", "EXEC", "GET t"
    ),
    "blocking commands inside answer at once": _a(
        "MULTI",
        "BLPOP l 0",
        "BRPOP l 0",
        "BLMOVE l m LEFT RIGHT 0",
        "BRPOPLPUSH l m 0",
        "BLMPOP 0 1 l LEFT",
        "BZPOPMIN z 0",
        "BZPOPMAX z 0",
        "BZMPOP 0 1 z MIN",
        "XREAD BLOCK 0 STREAMS x $",
        "WAIT 1 0",
        "EXEC",
    ),
    "blocking commands inside with data": _a(
        "RPUSH l 1 2 3 4", "ZADD z 1 a 2 b", "MULTI", "BLPOP l 0", "BLMOVE l m LEFT RIGHT 0", "BZPOPMIN z 0", "LPUSH n 1", "BLPOP n 0", "EXEC"
    ),
    "blocking commands inside with bad timeouts": _a("MULTI", "BLPOP l x", "BLPOP l -1", "EXEC"),
    "SELECT inside": _a("MULTI", "SELECT 3", "SET k 3", "EXEC", "GET k", "SELECT 0", "GET k"),
    "SELECT out of range inside": _a("MULTI", "SELECT 99", "SELECT x", "SET k 3", "EXEC", "GET k"),
    "SELECT does not stay after DISCARD": _a("MULTI", "SELECT 3", "DISCARD", "SET k 0", "GET k"),
    "MOVE and SWAPDB inside": _a("SET k 1", "MULTI", "MOVE k 1", "SWAPDB 0 1", "GET k", "EXEC"),
    "SUBSCRIBE inside RESP2": _a("MULTI", "SUBSCRIBE c", "EXEC", "PING", "UNSUBSCRIBE c"),
    "SUBSCRIBE to many inside": _a("MULTI", "SUBSCRIBE c d", "PSUBSCRIBE *x", "PING", "UNSUBSCRIBE c d", "EXEC", "GET k"),
    "SUBSCRIBE inside RESP3": _a("HELLO 3", "MULTI", "SUBSCRIBE c d", "GET k", "EXEC", "GET k", "UNSUBSCRIBE c d"),
    "PUBLISH inside": [
        ("s", "SUBSCRIBE c"),
        *_a("MULTI", "PUBLISH c 1", "SET k 1", "PUBLISH c 2", "EXEC"),
        ("s", "UNSUBSCRIBE"),
    ],
    "SAVE and friends inside": _a("MULTI", "SHUTDOWN", "SYNC", "PSYNC ? -1", "SAVE", "EXEC"),
    "RESET inside": _a("MULTI", "SET k 1", "RESET", "EXEC", "GET k"),
    "QUIT inside": _a("MULTI", "SET k 1", "QUIT", "EXEC"),
    "HELLO inside": _a("MULTI", "HELLO 9", "HELLO x", "EXEC", "MULTI", "GET k", "HELLO 3", "GET k", "HGETALL h", "EXEC", "GET k", "MULTI", "HELLO 2", "GET k", "EXEC"),
    "AUTH inside": _a("MULTI", "AUTH x", "AUTH a b c", "EXEC", "MULTI", "AUTH a b c d", "EXEC"),
    "CLIENT inside": _a("MULTI", "CLIENT GETNAME", "CLIENT SETNAME x", "CLIENT GETNAME", "EXEC"),
    "EVAL inside": _a("MULTI", "EVAL 'return redis.call(\"set\",KEYS[1],1)' 1 k", "EVAL 'error(1' 0", "EXEC", "GET k"),
    "MULTI in a script": _a("EVAL 'return redis.call(\"multi\")' 0", "EVAL 'return redis.pcall(\"watch\",KEYS[1])' 1 k"),
    "WAIT inside": _a("MULTI", "SET k 1", "WAIT 0 0", "WAIT 3 10", "EXEC"),
    "EXPIRE 0 inside": _a("SET k 1", "MULTI", "EXPIRE k 0", "GET k", "PEXPIREAT k 1", "SET k 2", "PEXPIRE k -1", "EXISTS k", "EXEC"),
    "COMMAND, INFO with wrong forms inside": _a("MULTI", "CONFIG NOSUCH", "CONFIG", "CONFIG GET", "EXEC"),
    "CONFIG SET inside": _a("MULTI", "CONFIG SET maxmemory-samples 6", "CONFIG SET nosuch 1", "EXEC"),
    "FLUSHALL inside": _a("SET k 1", "MULTI", "SET l 1", "FLUSHALL", "DBSIZE", "EXEC"),
    "a dirty watch by another client": [
        *_a("SET k 1", "WATCH k"),
        ("b", "SET k 2"),
        *_a("MULTI", "SET k 3", "EXEC", "GET k", "MULTI", "SET k 4", "EXEC", "GET k"),
    ],
    "a watch on a key that is not there": [*_a("WATCH k"), ("b", "SET k 2"), *_a("MULTI", "EXEC")],
    "a watch that is dirty although the value is the same": [*_a("SET k 1", "WATCH k"), ("b", "SET k 1"), *_a("MULTI", "EXEC")],
    "set and deleted under the watch": [*_a("WATCH k"), ("b", "SET k 1"), ("b", "DEL k"), *_a("MULTI", "EXEC")],
    "DEL of nothing is no change": [*_a("WATCH k"), ("b", "DEL k"), *_a("MULTI", "EXEC")],
    "a command that changes nothing is no change": [
        *_a("SADD s a", "HSET h f 1", "ZADD z 1 a", "SET str 1", "RPUSH l 1", "WATCH s h z str l"),
        ("b", commands("SADD s a", "SREM s b", "HDEL h g", "ZREM z b", "PERSIST str", "LREM l 0 x", "EXPIRE nokey 1", "LPUSHX no 1", "SETNX str 2")),
        *_a("MULTI", "EXEC"),
    ],
    "HSET and ZADD of the same value": [
        *_a("HSET h f 1", "WATCH h"),
        ("b", "HSET h f 1"),
        *_a("MULTI", "EXEC", "ZADD z 1 a", "WATCH z"),
        ("b", "ZADD z 1 a"),
        *_a("MULTI", "EXEC"),
    ],
    "SETRANGE, APPEND, SETBIT of nothing": [
        *_a("SET k abc", "WATCH k"),
        ("b", commands("SETRANGE k 0 ''", "APPEND k ''")),
        *_a("MULTI", "EXEC"),
    ],
    "a failed write is no change": [*_a("SET k x", "WATCH k"), ("b", commands("INCR k", "LPUSH k 1")), *_a("MULTI", "EXEC")],
    "GETEX, TOUCH, EXPIRE and PERSIST under the watch": [
        *_a("SET k x", "WATCH k"),
        ("b", commands("TOUCH k", "GETEX k")),
        *_a("MULTI", "EXEC", "WATCH k"),
        ("b", "EXPIRE k 100"),
        *_a("MULTI", "EXEC", "WATCH k"),
        ("b", "PERSIST k"),
        *_a("MULTI", "EXEC"),
        *_a("WATCH k"),
        ("b", "GETEX k PX 100000"),
        *_a("MULTI", "EXEC"),
    ],
    "a dirty watch by own write": _a("WATCH k", "SET k 1", "MULTI", "SET k 2", "EXEC", "GET k"),
    "a dirty watch by a script": [*_a("WATCH k"), ("b", "EVAL 'return redis.call(\"set\",KEYS[1],1)' 1 k"), *_a("MULTI", "EXEC")],
    "a dirty watch by a transaction": [*_a("WATCH k"), ("b", commands("MULTI", "SET k 1", "EXEC")), *_a("MULTI", "EXEC")],
    "a dirty watch by FLUSHALL": [*_a("SET k 1", "WATCH k"), ("b", "FLUSHALL"), *_a("MULTI", "EXEC")],
    "FLUSHALL without the key": [*_a("WATCH k"), ("b", "FLUSHALL"), *_a("MULTI", "EXEC")],
    "FLUSHALL of other keys": [*_a("SET l 1", "WATCH k"), ("b", "FLUSHALL"), *_a("MULTI", "EXEC")],
    "FLUSHDB of another database": [*_a("SET k 1", "WATCH k"), ("b", commands("SELECT 1", "FLUSHDB")), *_a("MULTI", "EXEC")],
    "SWAPDB, the key here": [*_a("SET k 1", "WATCH k"), ("b", "SWAPDB 0 1"), *_a("MULTI", "EXEC")],
    "SWAPDB, the key there": [*_a("WATCH k"), ("b", commands("SELECT 1", "SET k 1", "SWAPDB 0 1")), *_a("MULTI", "EXEC")],
    "SWAPDB, the key in both": [
        *_a("SET k 1", "WATCH k"),
        ("b", commands("SELECT 1", "SET k 1", "SWAPDB 0 1")),
        *_a("MULTI", "EXEC"),
    ],
    "SWAPDB, the key in neither": [*_a("WATCH k"), ("b", "SWAPDB 0 1"), *_a("MULTI", "EXEC")],
    "SWAPDB, then a change in the new database": [
        *_a("WATCH k"),
        ("b", commands("SWAPDB 0 1", "SET k 1")),
        *_a("MULTI", "EXEC"),
    ],
    "SWAPDB, then a change in the old database": [
        *_a("WATCH k"),
        ("b", commands("SWAPDB 0 1", "SELECT 1", "SET k 1")),
        *_a("MULTI", "EXEC"),
    ],
    "SWAPDB of two others": [*_a("SET k 1", "WATCH k"), ("b", "SWAPDB 1 2"), *_a("MULTI", "EXEC")],
    "SWAPDB of a database with itself": [*_a("SET k 1", "WATCH k"), ("b", "SWAPDB 0 0"), *_a("MULTI", "EXEC")],
    "RENAME from and to the watched": [
        *_a("SET k 1", "WATCH k"),
        ("b", "RENAME k l"),
        *_a("MULTI", "EXEC", "WATCH m"),
        ("b", "RENAME l m"),
        *_a("MULTI", "EXEC"),
    ],
    "COPY, MOVE, RESTORE, SORT STORE to the watched": [
        *_a("RPUSH k 1", "WATCH l"),
        ("b", "COPY k l"),
        *_a("MULTI", "EXEC", "WATCH l"),
        ("b", "SORT k STORE l"),
        *_a("MULTI", "EXEC", "WATCH k"),
        ("b", "MOVE k 4"),
        *_a("MULTI", "EXEC"),
    ],
    "watches of several databases": [
        *_a("WATCH k", "SELECT 1", "WATCH k", "WATCH k"),
        ("b", "SET k 1"),
        *_a("MULTI", "EXEC", "SELECT 0", "WATCH k", "SELECT 1", "WATCH k", "SELECT 0"),
        ("b", commands("SELECT 2", "SET k 1", "SELECT 1", "SET k 1")),
        *_a("MULTI", "EXEC"),
    ],
    "UNWATCH makes clean": [*_a("WATCH k"), ("b", "SET k 1"), *_a("UNWATCH", "MULTI", "SET k 2", "EXEC", "GET k")],
    "DISCARD makes clean": [*_a("WATCH k"), ("b", "SET k 1"), *_a("MULTI", "DISCARD", "MULTI", "EXEC")],
    "a second WATCH does not make clean": [*_a("WATCH k"), ("b", "SET k 1"), *_a("WATCH k l", "MULTI", "EXEC")],
    "EXECABORT wins over a dirty watch": [*_a("WATCH k"), ("b", "SET k 1"), *_a("MULTI", "NOSUCH", "EXEC")],
    "watched and changed between MULTI and EXEC": [*_a("WATCH k", "MULTI", "SET k 1"), ("b", "SET k 2"), *_a("EXEC", "GET k")],
    "RESP3's null for a dirty watch": [*_a("HELLO 3", "WATCH k"), ("b", "SET k 1"), *_a("MULTI", "EXEC")],
    "an expired key that is watched": [
        *_a("DEBUG SET-ACTIVE-EXPIRE 0", commands("SET k 1 PX 30", "WATCH k"), "DEBUG SLEEP 0.04", "MULTI", "SET k 2", "EXEC"),
        *_a("GET k", "DEBUG SET-ACTIVE-EXPIRE 1"),
    ],
    "a key that had expired before it was watched": _a(
        "DEBUG SET-ACTIVE-EXPIRE 0", "SET k 1 PX 1", "DEBUG SLEEP 0.005", "WATCH k", "MULTI", "GET k", "EXEC", "DEBUG SET-ACTIVE-EXPIRE 1"
    ),
    "a key that had expired before it was watched, deleted then": [
        *_a("DEBUG SET-ACTIVE-EXPIRE 0", "SET k 1 PX 1", "DEBUG SLEEP 0.005", "WATCH k"),
        ("b", "GET k"),
        *_a("MULTI", "SET l 1", "EXEC", "DEBUG SET-ACTIVE-EXPIRE 1"),
    ],
    "a key that had expired before it was watched, and is made anew": [
        *_a("DEBUG SET-ACTIVE-EXPIRE 0", "SET k 1 PX 1", "DEBUG SLEEP 0.005", "WATCH k"),
        ("b", "SET k 2"),
        *_a("MULTI", "SET l 1", "EXEC", "DEBUG SET-ACTIVE-EXPIRE 1"),
    ],
    "a watched key that expires by the cycle": _a(commands("SET k 1 PX 30", "WATCH k"), "DEBUG SLEEP 0.2", "PING", "MULTI", "SET l 1", "EXEC"),
    "a pipeline with it all": _a(
        commands("WATCH a", "MULTI", "SET a 1", "EXEC", "EXEC", "MULTI", "DISCARD", "MULTI", "INCR a", "EXEC")
    ),
    "the reply of a transaction keeps its place": [
        ("b", "BLPOP l 0"),
        *_a(commands("MULTI", "RPUSH l 1 2", "LLEN l", "EXEC", "LLEN l")),
        ("b", "LLEN l"),
    ],
}

SUBSCRIPTIONS: dict[str, list[Step]] = {
    "what a subscriber may do in RESP2": _a(
        "SUBSCRIBE c",
        "PING",
        "PING hello",
        "PING a b",
        "GET k",
        "SET k",
        "NOSUCH",
        "MULTI",
        "EXEC",
        "HELLO 3",
        "CLIENT ID",
        "CLIENT NOSUCH",
        "OBJECT HELP",
        "PUBLISH c x",
        "ECHO x",
        "INFO",
        "PSUBSCRIBE p*",
        "SSUBSCRIBE s",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "GET k",
        "SUNSUBSCRIBE",
        "GET k",
        "PING",
        "PING x",
    ),
    "the last unsubscription ends the restriction": _a("SUBSCRIBE c d", "UNSUBSCRIBE c", "GET k", "UNSUBSCRIBE d", "GET k"),
    "unsubscribing from nothing": _a(
        "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE a b", "PUNSUBSCRIBE a b", "SUNSUBSCRIBE a b", "PING"
    ),
    "unsubscribing from nothing in RESP3": _a(
        "HELLO 3", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE a b", "PUNSUBSCRIBE a b", "SUNSUBSCRIBE a b"
    ),
    "unsubscribing from nothing while subscribed": _a("SUBSCRIBE c", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE x", "UNSUBSCRIBE"),
    "the same channel twice": _a("SUBSCRIBE c c", "SUBSCRIBE c", "UNSUBSCRIBE c c"),
    "arities": _a("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "PUBLISH c", "SPUBLISH c", "PUBSUB", "PUBSUB NOSUCH", "PUBSUB NUMPAT x"),
    "messages in order": [
        ("s", "SUBSCRIBE c"),
        ("s", "PSUBSCRIBE c*"),
        *_a("PUBLISH c 1", commands("PUBLISH c 2", "PUBLISH cc 3", "SET c 1", "PUBLISH d 4")),
        ("s", "UNSUBSCRIBE"),
        *_a("PUBLISH c 5"),
        ("s", "PUNSUBSCRIBE"),
        *_a("PUBLISH c 6"),
    ],
    "a message to oneself in RESP3": _a(
        "HELLO 3", "SUBSCRIBE c", "PUBLISH c 1", "PING", "PING x", "GET k", commands("PUBLISH c 1", "GET k", "PUBLISH c 2"), "HELLO 2", "PING", "GET k", "HELLO 3"
    ),
    "RESET ends subscriptions": [
        ("s", "SUBSCRIBE c"),
        ("s", "RESET"),
        *_a("PUBLISH c 1"),
        ("s", "GET k"),
        ("s", "PUBSUB CHANNELS"),
    ],
    "QUIT of a subscriber": [("s", "SUBSCRIBE c"), ("s", "QUIT"), *_a("PUBLISH c 1")],
    "a subscriber that hangs up": [("s", "SUBSCRIBE c"), ("s", "PSUBSCRIBE p"), ("s", CLOSE), *_a("PUBLISH c 1", "PUBSUB NUMPAT", "PUBSUB CHANNELS")],
    "shard channels": [
        ("s", "SSUBSCRIBE c"),
        ("s", "SUBSCRIBE c"),
        *_a("PUBLISH c 1", "SPUBLISH c 2", "PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB c d e", "PUBSUB NUMSUB c d"),
        ("s", "SUNSUBSCRIBE c"),
        ("s", "SUNSUBSCRIBE"),
        ("s", "GET k"),
        ("s", "UNSUBSCRIBE"),
    ],
    "a pipeline of a subscriber": _a(commands("SUBSCRIBE c", "PING", "GET k", "UNSUBSCRIBE", "GET k", "PING")),
    "messages from a script": [
        ("s", "SUBSCRIBE c"),
        *_a("EVAL 'redis.call(\"publish\",\"c\",1) redis.call(\"publish\",\"c\",2) return 3' 0"),
    ],
    "SUBSCRIBE in a script": _a("EVAL 'return redis.call(\"subscribe\",\"c\")' 0"),
    "WATCH and subscription": [("s", "WATCH k"), ("s", "SUBSCRIBE c"), *_a("SET k 1"), ("s", "UNSUBSCRIBE"), ("s", "MULTI"), ("s", "EXEC")],
    "notifications reach subscribers": [
        ("s", "PSUBSCRIBE __key*__:*"),
        *_a("CONFIG SET notify-keyspace-events KEA", "SET k 1", "EXPIRE k 0", "LPUSH l 1", "LPOP l", "CONFIG SET notify-keyspace-events ''"),
    ],
}

WAITING: dict[str, list[Step]] = {
    "a pipeline behind BLPOP waits": [
        *_a(commands("BLPOP l 0", "PING", "SET k 1")),
        ("b", "GET k"),
        ("b", "RPUSH l x"),
        ("b", "GET k"),
    ],
    "more bytes behind BLPOP wait": [
        *_a("BLPOP l 0", "PING", b"*1\r\n$4\r\nPI", b"NG\r\n"),
        ("b", "RPUSH l x"),
        *_a("PING"),
    ],
    "two BLPOPs in one pipeline": [
        *_a(commands("BLPOP l 0", "BLPOP l 0", "PING")),
        ("b", "RPUSH l x"),
        ("b", "RPUSH l y"),
    ],
    "two BLPOPs in one pipeline, both served": [*_a(commands("BLPOP l 0", "BLPOP l 0", "PING")), ("b", "RPUSH l x y z"), ("b", "LRANGE l 0 -1")],
    "served in the order of waiting": [
        *_a("BLPOP l 0"),
        ("b", "BRPOP l 0"),
        ("c", "BLPOP m l 0"),
        ("d", "RPUSH l 1 2 3 4"),
        ("d", "LRANGE l 0 -1"),
    ],
    "one push, one served": [*_a("BLPOP l 0"), ("b", "BLPOP l 0"), ("c", "RPUSH l 1"), ("c", "RPUSH l 2")],
    "a client that hung up is not served": [*_a("BLPOP l 0"), ("b", "BLPOP l 0"), ("a", CLOSE), ("c", "RPUSH l 1"), ("c", "LLEN l")],
    "the first key of those that wait": [
        *_a("BLPOP l m n 0"),
        ("b", commands("MULTI", "RPUSH n 1", "RPUSH l 2", "EXEC")),
        ("b", "LRANGE n 0 -1"),
    ],
    "the same key twice": [*_a("BLPOP l l 0"), ("b", "RPUSH l 1 2"), ("b", "LRANGE l 0 -1")],
    "pushed and gone within a transaction": [*_a("BLPOP l 0"), ("b", commands("MULTI", "RPUSH l 1", "DEL l", "EXEC")), ("b", "RPUSH l 2")],
    "pushed and gone within a script": [
        *_a("BLPOP l 0"),
        ("b", "EVAL 'redis.call(\"rpush\",KEYS[1],1) redis.call(\"del\",KEYS[1])' 1 l"),
        ("b", "EVAL 'redis.call(\"rpush\",KEYS[1],1,2) return redis.call(\"llen\",KEYS[1])' 1 l"),
        ("b", "LLEN l"),
    ],
    "the wrong type does not wake": [
        *_a("BLPOP l 0"),
        ("b", commands("SET l x", "DEL l", "ZADD l 1 a", "DEL l", "SADD l a", "DEL l", "RPUSH l 1")),
    ],
    "BLPOP and BZPOPMIN on one key": [
        *_a("BLPOP l 0"),
        ("b", "BZPOPMIN l 0"),
        ("c", "ZADD l 1 x 2 y"),
        ("c", "DEL l"),
        ("c", "RPUSH l 1"),
    ],
    "RENAME serves": [*_a("BLPOP l 0"), ("b", commands("RPUSH m 1 2", "RENAME m l", "LRANGE l 0 -1"))],
    "COPY, RESTORE, SORT STORE, MOVE serve": [
        *_a("BLPOP l 0"),
        ("b", commands("RPUSH m 1", "COPY m l", "EXISTS l")),
        *_a("BLPOP l 0"),
        ("b", commands("SORT m STORE l", "EXISTS l")),
        *_a("SELECT 1", "BLPOP m 0"),
        ("b", "MOVE m 1"),
    ],
    "SWAPDB serves": [*_a("BLPOP l 0"), ("b", commands("SELECT 1", "RPUSH l 1", "SWAPDB 0 1", "EXISTS l"))],
    "BLMOVE chains": [
        *_a("BLMOVE x y LEFT RIGHT 0"),
        ("b", "BLMOVE y z LEFT RIGHT 0"),
        ("c", "BLPOP z 0"),
        ("d", "RPUSH x 1 2"),
        ("d", "LRANGE x 0 -1"),
    ],
    "BLMOVE in a circle": [
        *_a("BLMOVE x y LEFT RIGHT 0"),
        ("b", "BLMOVE y x LEFT RIGHT 0"),
        ("d", "RPUSH x 1"),
        ("d", commands("LRANGE x 0 -1", "LRANGE y 0 -1")),
    ],
    "BRPOPLPUSH onto itself": [*_a("BRPOPLPUSH x x 0"), ("b", "RPUSH x 1 2"), ("b", "LRANGE x 0 -1")],
    "BLMOVE to a wrong type": [
        ("b", "SET y s"),
        *_a("BLMOVE x y LEFT RIGHT 0"),
        ("b", "RPUSH x 1"),
        ("b", "LRANGE x 0 -1"),
    ],
    "BLMPOP and BZMPOP": [
        *_a("BLMPOP 0 2 l m LEFT COUNT 2"),
        ("b", "RPUSH m 1 2 3"),
        *_a("BZMPOP 0 2 z y MAX COUNT 2"),
        ("b", "ZADD y 1 a 2 b 3 c"),
        ("b", commands("LRANGE m 0 -1", "ZRANGE y 0 -1")),
    ],
    "XREAD BLOCK": [
        *_a("XREAD BLOCK 0 STREAMS s t $ 0"),
        ("b", "XADD t 1-1 f v"),
        *_a("XREAD BLOCK 0 STREAMS s $"),
        ("b", "XADD s 1-1 f v"),
        ("b", "XADD s 1-2 f v"),
    ],
    "several readers of a stream": [*_a("XREAD BLOCK 0 STREAMS s $"), ("b", "XREAD BLOCK 0 STREAMS s 0"), ("c", commands("XADD s 1-1 a b", "XADD s 1-2 a b"))],
    "XREADGROUP BLOCK and a destroyed group": [
        ("b", "XGROUP CREATE s g $ MKSTREAM"),
        *_a("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        ("b", "XGROUP DESTROY s g"),
        ("b", "XGROUP CREATE s g $"),
        *_a("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        ("b", "DEL s"),
        ("b", "XGROUP CREATE s g $ MKSTREAM"),
        *_a("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        ("b", "SET s x"),
    ],
    "two consumers of a group": [
        ("c", "XGROUP CREATE s g $ MKSTREAM"),
        *_a("XREADGROUP GROUP g a BLOCK 0 STREAMS s >"),
        ("b", "XREADGROUP GROUP g b BLOCK 0 STREAMS s >"),
        ("c", "XADD s 1-1 f 1"),
        ("c", "XADD s 1-2 f 1"),
    ],
    "CLIENT UNBLOCK": [
        *_a(commands("BLPOP l 0", "PING")),
        ("b", "CLIENT UNBLOCK {id:a}"),
        ("b", "CLIENT UNBLOCK {id:a}"),
        *_a("BLPOP l 0", "PING"),
        ("b", "CLIENT UNBLOCK {id:a} ERROR"),
        *_a("BLMOVE l m LEFT RIGHT 0"),
        ("b", "CLIENT UNBLOCK {id:a} TIMEOUT"),
        *_a("XREAD BLOCK 0 STREAMS s $"),
        ("b", "CLIENT UNBLOCK {id:a} TIMEOUT"),
        *_a("WAIT 3 0"),
        ("b", "CLIENT UNBLOCK {id:a} TIMEOUT"),
        ("b", commands("CLIENT UNBLOCK 99999", "CLIENT UNBLOCK x", "CLIENT UNBLOCK {id:a} X".replace("{id:a}", "1"), "CLIENT UNBLOCK")),
    ],
    "CLIENT KILL of one that waits": [*_a("BLPOP l 0"), ("b", "CLIENT KILL ID {id:a}"), ("b", "RPUSH l 1"), ("b", "LLEN l")],
    "QUIT waits behind BLPOP": [*_a(commands("BLPOP l 0", "QUIT", "PING")), ("b", "RPUSH l 1")],
    "a protocol error waits behind BLPOP": [*_a(command("BLPOP l 0") + b"*1\r\n:1\r\n"), ("b", "RPUSH l 1")],
    "a protocol error in a read of its own waits behind BLPOP": [*_a("BLPOP l 0", b"*1\r\n:1\r\n"), ("b", "RPUSH l 1")],
    "short timeouts": _a(
        *map(Late, ("BLPOP l 0.001", "BLMOVE l m LEFT RIGHT 0.001", "BLMPOP 0.001 1 l LEFT", "BZPOPMIN z 0.001", "XREAD BLOCK 1 STREAMS s $"))
    ),
    "bad timeouts": _a(
        "BLPOP l -1", "BLPOP l x", "BLPOP l 1e30", "BLPOP l inf", "BLPOP l nan", "BLPOP l ''", "BLPOP l 0x10", "BLPOP l ' 1'",
        "XREAD BLOCK -1 STREAMS s $", "XREAD BLOCK x STREAMS s $", "WAIT x 0", "WAIT 1 x", "WAIT 1 -1", "WAIT -1 1", "WAIT 0 0",
        "BLPOP l 9223372036854775807", "XREAD BLOCK 9223372036854775807 STREAMS s $",
    ),
    "BLPOP of a wrong type": _a("SET k 1", "BLPOP k 0", "RPUSH l 1", "BLPOP k l 0", "BLPOP l k 0", "BLMOVE k l LEFT LEFT 0", "BLMOVE l k LEFT LEFT 0"),
    "WAIT without replicas": _a("SET k 1", "WAIT 0 0", Late("WAIT 1 1"), "PING"),
    "MULTI and EXEC serve behind the transaction": [
        *_a("BLPOP l 0"),
        ("b", commands("MULTI", "RPUSH l 1", "RPUSH l 2", "LLEN l", "LPOP l", "EXEC", "LLEN l")),
    ],
    "the reply to the pusher and to the woken in one connection's pipeline": [*_a("BLPOP l 0"), ("b", commands("RPUSH l 1", "LLEN l", "RPUSH l 2", "LLEN l"))],
    "a waiting client's watch": [*_a("WATCH k"), *_a("BLPOP l 0"), ("b", commands("SET k 1", "RPUSH l 1")), *_a("MULTI", "EXEC")],
    "waiting in another database": [*_a(commands("SELECT 2", "BLPOP l 0")), ("b", "RPUSH l 1"), ("b", commands("SELECT 2", "RPUSH l 2")), *_a("LLEN l")],
    "CLIENT REPLY OFF and waiting": [*_a(commands("CLIENT REPLY OFF", "BLPOP l 0", "CLIENT REPLY ON", "PING")), ("b", "RPUSH l 1")],
    "CLIENT REPLY SKIP and waiting": [*_a(commands("CLIENT REPLY SKIP", "BLPOP l 0", "PING")), ("b", "RPUSH l 1")],
    "RESP3 and waiting": [*_a("HELLO 3", Late("BLPOP l 0.001"), "BZPOPMIN z 0"), ("b", "ZADD z 1.5 x")],
    "an expiring key that is waited for": _a("DEBUG SET-ACTIVE-EXPIRE 1", "RPUSH l 1", "PEXPIRE l 1", "DEBUG SLEEP 0.005", Late("BLPOP l 0.001")),
    "DEL and FLUSHALL while waiting": [*_a("BLPOP l 0"), ("b", commands("RPUSH k 1", "FLUSHALL", "DEL l", "RPUSH l 1"))],
    "many BLPOPs of one client": [*_a(commands(*["BLPOP l 0"] * 5)), ("b", "RPUSH l 1 2 3"), ("b", "RPUSH l 4 5 6"), ("b", "LRANGE l 0 -1")],
    "waiting turns are fair": [
        *_a(commands("BLPOP l 0", "BLPOP l 0")),
        ("b", commands("BLPOP l 0", "BLPOP l 0")),
        ("c", "RPUSH l 1 2 3 4"),
    ],
    "the blocking commands in scripts": _a(
        "EVAL 'return redis.call(\"blpop\",KEYS[1],0)' 1 l", "RPUSH l 1", "EVAL 'return redis.call(\"blpop\",KEYS[1],0)' 1 l",
        "EVAL 'return redis.call(\"wait\",1,0)' 0",
    ),
}

CONNECTIONS: dict[str, list[Step]] = {
    "HELLO with errors": _a(
        "HELLO x", "HELLO 4", "HELLO 1", "HELLO -1", "HELLO 2 AUTH", "HELLO 2 AUTH default", "HELLO 2 AUTH default x y",
        "HELLO 2 SETNAME", "HELLO 2 NOSUCH", "HELLO 3 SETNAME 'a b'", "GET k", "HELLO 2 AUTH nosuch x", "HELLO 9999999999999999999",
        "HELLO '' x", "HELLO 2 ''",
    ),
    "AUTH without any password": _a("AUTH x", "AUTH default x", "AUTH default ''", "AUTH nosuch x", "AUTH", "AUTH a b c", "AUTH a b c d", "PING"),
    "PING, ECHO": _a("PING", "PING x", "PING x y", "ECHO", "ECHO x", "ECHO x y", "ping", "pInG", "PING ''", "ECHO ''"),
    "SELECT": _a("SELECT 0", "SELECT 15", "SELECT 16", "SELECT -1", "SELECT x", "SELECT ''", "SELECT 99999999999999999999", "SELECT", "SELECT 1 2", "SELECT 2147483648", "SELECT ' 1'", "SELECT 01"),
    "SWAPDB": _a("SWAPDB 0 16", "SWAPDB x 1", "SWAPDB 1 x", "SWAPDB 0", "SWAPDB -1 0", "SWAPDB 99999999999999999999 1"),
    "unknown commands": _a(
        "NOSUCH", "NOSUCH a", "NOSUCH a b c d", "nosuch 'with space' ''", "''", "'' x", "'\xff\xfe' \"\\x00\\x01\"", "NO|SUCH", "client|list",
        "CONFIG|GET x", "NOSUCH " + "x" * 200, "NOSUCH " + " ".join(["yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"] * 10), "Z" * 300 + " a", "NOSUCH \"a\\r\\nb\"",
        "\"NO\\r\\nSUCH\" x", "\"NO\\x00SUCH\" \"a\\x00b\" c", "NOSUCH " + "x" * 127, "NOSUCH " + "x" * 128 + " y", "NOSUCH " + "x" * 126 + " y z",
        "NOSUCH " + "x" * 120 + " yyyyyyyyyyyyy z",
    ),
    "unknown subcommands": _a(
        "CLIENT NOSUCH", "CLIENT", "CONFIG NOSUCH a", "OBJECT NOSUCH", "XGROUP NOSUCH", "SCRIPT NOSUCH", "MEMORY NOSUCH", "ACL NOSUCH",
        "FUNCTION NOSUCH", "PUBSUB ''", "CLIENT \"a\\r\\nb\"", "CLIENT " + "x" * 200, "XINFO NOSUCH", "OBJECT encoding",
        "object ENCODING a b", "CLIENT 'NO|SUCH'", "CLIENT 'ID|x'", "DEBUG NOSUCH",
    ),
    "arity": _a("GET", "GET a b", "SET a", "get", "gEt a b", "DEL", "MSET a", "MSET a 1 b", "HSET h a", "EXPIRE a", "LPUSH l", "TIME x", "DBSIZE x", "CLIENT ID x", "CLIENT SETNAME", "CONFIG GET", "OBJECT ENCODING", "RESET x", "QUIT x"),
    "QUIT with more behind": _a(commands("SET k 1", "QUIT", "SET k 2", "PING")),
    "QUIT, then another looks": [*_a(commands("SET k 1", "QUIT", "SET k 2", "PING")), ("b", "GET k")],
    "RESET": _a("SELECT 3", "CLIENT SETNAME x", "WATCH k", "MULTI", "RESET", "CLIENT GETNAME", "EXEC", "SET k 0", "SELECT 3", "GET k", "RESET", "GET k"),
    "RESET brings RESP2 back": _a("HELLO 3 SETNAME n", "RESET", "GET nokey"),
    "RESET in a transaction forgets its watches": [*_a("WATCH k"), ("b", "SET k 1"), *_a("RESET", "MULTI", "EXEC")],
    "RESET ends CLIENT REPLY OFF": _a(commands("CLIENT REPLY OFF", "PING", "RESET", "PING")),
    "CLIENT REPLY": _a(
        "CLIENT REPLY ON", commands("CLIENT REPLY SKIP", "PING", "PING x"), commands("CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING", "PING y"),
        commands("CLIENT REPLY OFF", "PING", "NOSUCH", "CLIENT REPLY SKIP", "PING", "CLIENT REPLY ON", "PING z"), "CLIENT REPLY X", "CLIENT REPLY",
        commands("CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING"), commands("CLIENT REPLY SKIP", "CLIENT REPLY OFF", "PING"), commands("CLIENT REPLY ON", "PING"),
        commands("CLIENT REPLY SKIP", "NOSUCH", "PING"),
        commands("CLIENT REPLY SKIP", "MULTI", "GET k", "EXEC"),
    ),
    "CLIENT REPLY OFF and messages": [*_a("SUBSCRIBE c"), ("b", "PUBLISH c 1"), *_a("UNSUBSCRIBE c", "CLIENT REPLY OFF", "SUBSCRIBE c"), ("b", "PUBLISH c 2")],
    "names": _a("CLIENT SETNAME a", "CLIENT GETNAME", "CLIENT SETNAME 'a b'", "CLIENT SETNAME ''", "CLIENT GETNAME", "CLIENT SETNAME '\xff'"),
    "CLIENT KILL of oneself": [("b", "CLIENT KILL ID {id:b} SKIPME no"), ("b", "PING"), ("b", "PING")],
    "DEBUG SLEEP keeps order": [*_a(commands("SET k 1", "DEBUG SLEEP 0.01", "GET k")), ("b", "GET k")],
    "DEBUG and friends, wrong": _a("DEBUG", "DEBUG SLEEP", "DEBUG SLEEP x y", "DEBUG NOSUCH"),
    "HELLO in the middle": _a(
        "HELLO 3", "HGETALL h", "SET k v", "CONFIG GET maxclients", "ZADD z 1.5 a", "ZSCORE z a", "ZRANGE z 0 -1 WITHSCORES", "SMEMBERS s",
        commands("HELLO 2", "ZSCORE z a", "GET no", "HELLO 3", "ZSCORE z a", "GET no", "HELLO"), "HELLO 2", "HELLO",
        "CLIENT TRACKINGINFO", "HELLO 3 SETNAME x", "CLIENT GETNAME", "DEBUG PROTOCOL double", "HELLO 2", "DEBUG PROTOCOL double",
    ),
}

_PING = b"*1\r\n$4\r\nPING\r\n"
_BIG = b"x" * 70_000


def _wrong(*what: bytes) -> list[Step]:
    """Each with a command before it, in one piece, and a command behind it, which is never answered."""
    return [(f"c{number}", _PING + one + _PING) for number, one in enumerate(what)]


FRAMES: dict[str, list[Step]] = {
    "inline commands": _a(
        b"PING\r\n", b"PING\n", b"\r\n", b"\n", b"  \r\n", b"\r\nPING\r\n", b" PING  hello  \r\n", b"SET k 'a b'\r\n", b"GET k\r\n",
        b'SET k "a\\x00\\n\\r\\t\\b\\a\\\\\\"\\z\\xZZ"\r\n', b"GET k\r\n", b"SET k 'a\\'b\\n'\r\n", b"GET k\r\n", b'SET k ""\r\n', b"GET k\r\n",
        b'SET k a"b"\r\n', b"GET k\r\n", b"SET\tk\tv\r\n", b"GET k\r\n", b"SET k \xff\xfe\r\n", b"GET k\r\n", b"ECHO a\rb\r\n", b"ECHO a\r\r\n",
        b"PING\r\nPING\nPING x\r\n" + _PING + b"PING\r\n", b"PI", b"NG\r", b"\n", b"ECHO \x0b\x0c\r\n",
        b"nosuch\r\n", b"GET\r\n", b'"PING"\r\n', b"'PING' x\r\n", b"$4\r\n", b":1\r\n", b"+PING\r\n", b"%1\r\n", b"~1\r\n", b"-ERR\r\n", b"_\r\n",
    ),
    "empty requests": _a(b"*0\r\n", b"*-1\r\n", b"*0\r\n" + _PING, b"*-1\r\n" + _PING, b"*-5\r\n" + _PING, b"*00\r\n" + _PING, b"*-0\r\n", b"PING\r\n"),
    "an empty name": _a(b"*1\r\n$0\r\n\r\n", b"*2\r\n$0\r\n\r\n$1\r\nx\r\n"),
    "unbalanced quotes": _wrong(b'SET k "a\r\n', b"SET k 'a\r\n", b'"\r\n', b'SET k "a"b\r\n', b"SET k 'a'b\r\n", b'SET k "a\\"\r\n', b"ECHO '\r\n'\r\n"),
    "invalid multibulk length": _wrong(
        b"*x\r\n", b"*1x\r\n", b"*\r\n", b"* 1\r\n", b"*1 \r\n", b"*+1\r\n", b"*2147483648\r\n", b"*9223372036854775807\r\n", b"*9223372036854775808\r\n",
        b"*99999999999999999999999\r\n", b"*-9223372036854775809\r\n", b"*1.0\r\n", b"**1\r\n", b"*01\r\n", b"*--1\r\n", b"*-\r\n", b"*1\n$4\r\nPING\r\n",
    ),
    "invalid bulk length": _wrong(
        *(b"*1\r\n" + line + b"\r\n" for line in (
            b"$x", b"$1x", b"$", b"$-1", b"$-2", b"$ 4", b"$+4", b"$04", b"$536870913", b"$2000000000", b"$9223372036854775808", b"$99999999999999999999999", b"$4.0", b"$-0",
        ))
    ),
    "expected '$'": _wrong(
        *(b"*1\r\n" + line + b"\r\n" for line in (
            b":1", b"+PING", b"*1\r\n$4\r\nPING", b"PING", b"", b" $4", b"%1", b"~1", b"_", b"#t", b",1.5", b"(1", b"=4\r\nPING", b">1", b"\xff", b"!4\r\nPING",
        ))
    ),
    "bulks whose end is wrong": _a(b"*1\r\n$4\r\nPINGxx", b"*2\r\n$4\r\nPINGxx$1\r\naxx", _PING),
    "a bulk longer than said": _wrong(b"*1\r\n$4\r\nPINGPING\r\n", b"*2\r\n$4\r\nECHO\r\n$1\r\nxxxx\r\n"),
    "too big": [
        ("c0", _PING + _BIG),
        ("c1", _PING + b"*" + b"1" * 70_000),
        ("c2", _PING + b"*1\r\n$" + b"1" * 70_000),
        ("c3", _PING + b"*1\r\n" + _BIG),
        ("c4", _PING + b'"' + _BIG),
        ("c5", _PING + b"ECHO " + b"x" * 60_000 + b"\r\n"),
    ],
    "a large inline command that ends": [("c0", b"ECHO " + b"x" * 100_000 + b"\r\n")],
    "large announcements": [
        ("c0", _PING + b"*1000000000\r\n"),
        ("c1", _PING + b"*2\r\n$4\r\nECHO\r\n$536870912\r\n"),
        ("c2", _PING + b"*2147483647\r\n$4\r\nPING\r\n"),
        ("c3", _PING + b"*1048577\r\n$4\r\nPING\r\n"),
    ],
    "a frame byte by byte": _a(*(bytes((byte,)) for byte in b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n")),
    "a wrong frame byte by byte": _a(*(bytes((byte,)) for byte in b"*1\r\n:")),
    "a frame not canonical": _a(b"*002\r\n$4\r\nECHO\r\n$1\r\nx\r\n"),
    "an HTTP request": _a(b"GET / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n"),
    "an HTTP POST": _a(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k 1\r\n", b"PING\r\n"),
    "a Host header alone": _a(b"Host: localhost\r\n", b"PING\r\n"),
    "host and post as RESP": _a("host: x", "PING"),
}

# With requirepass, whose password is "secret".
UNAUTHENTICATED: dict[str, list[Step]] = {
    "nothing without AUTH": _a("GET k", "NOSUCH", "GET", "PING", "MULTI", "EXEC", "CLIENT ID", "CLIENT NOSUCH", "HELLO 3", "SUBSCRIBE c", "RESET", "DISCARD", "WATCH k"),
    "AUTH": _a("AUTH x", "GET k", "AUTH secret x y", "AUTH default x", "AUTH nosuch secret", "AUTH secret", "GET k", "AUTH x", "GET k", "AUTH default secret", "RESET", "GET k"),
    "HELLO with AUTH": _a("HELLO 3 AUTH default x", "GET k", "HELLO 3 AUTH default secret SETNAME me", "GET k", "CLIENT GETNAME", "HELLO 2 AUTH default x", "GET k", "HELLO", "RESET", "HELLO"),
    "QUIT without AUTH": _a(commands("GET k", "QUIT", "PING")),
    "AUTH in the pipeline": _a(commands("GET k", "AUTH secret", "GET k", "SET k 1")),
    "AUTH, then a large argument, in one piece": _a(commands("AUTH secret", "SET k " + "x" * 20_000, "STRLEN k")),
    "AUTH, then many arguments, in one piece": _a(commands("AUTH secret", "DEL" + " k" * 100, "PING")),
    "a wrong AUTH, then a large argument": _a(commands("AUTH x", "SET k " + "x" * 20_000, "STRLEN k")),
    "too many arguments": [
        ("c0", _PING + b"*11\r\n"),
        ("c1", _PING + b"*10\r\n$1\r\nx\r\n"),
        ("c2", _PING + b"*1\r\n$16385\r\n"),
        ("c3", _PING + b"*1\r\n$16384\r\n"),
        ("c4", b"PING " + b"x " * 20 + b"\r\nGET k\r\n"),
        ("c5", b"*2147483648\r\n"),
        ("c6", b"*1\r\n$536870913\r\n"),
    ],
    "MULTI without AUTH": _a("MULTI", "SET k 1", "EXEC", "AUTH secret", "MULTI", "AUTH x", "SET k 1", "EXEC"),
    "the default user is not an open door": _a("CLIENT REPLY OFF", "CLIENT REPLY ON", "ECHO x", "TIME", "SELECT 1", "UNWATCH", "UNSUBSCRIBE"),
}
