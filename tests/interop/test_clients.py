"""Client libraries as people use them, redis-cli and redis-benchmark, against a real process."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coredis
import pytest
import redis
import redis.asyncio
import valkey

from tests.support.servers import Server, servers

MODULES = {"redis-py": redis, "valkey-py": valkey}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(tmp_path_factory.mktemp("clients"), "ours") as (one,):
        yield one


@pytest.fixture(params=[("redis-py", 2), ("redis-py", 3), ("valkey-py", 2), ("valkey-py", 3)], ids=str)
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    name, protocol = request.param
    module: Any = MODULES[name]
    made = (module.Redis if name == "redis-py" else module.Valkey)(
        port=server.port, decode_responses=True, protocol=protocol
    )
    made.flushall()
    yield made
    made.close()


def test_data_types(client: Any) -> None:
    assert client.ping() is True
    assert client.set("bike:1", "Process 134", ex=100) is True
    assert client.get("bike:1") == "Process 134" and 0 < client.ttl("bike:1") <= 100
    assert client.hset("user:1", mapping={"name": "John", "age": 29}) == 2
    assert client.hgetall("user:1") == {"name": "John", "age": "29"}
    assert client.rpush("list", "a", "b", "c") == 3 and client.lrange("list", 0, -1) == ["a", "b", "c"]
    assert client.sadd("set", 1, 2, 3) == 3 and set(client.smembers("set")) == {"1", "2", "3"}
    client.zadd("zset", {"one": 1, "two": 2})
    scored = [(name, float(score)) for name, score in client.zrange("zset", 0, -1, withscores=True)]
    assert scored == [("one", 1.0), ("two", 2.0)]
    assert client.geoadd("geo", (13.361389, 38.115556, "Palermo")) == 1
    assert client.pfadd("hll", "a", "b") == 1 and client.pfcount("hll") == 2
    assert client.setbit("bits", 7, 1) == 0 and client.bitcount("bits") == 1
    assert sorted(client.scan_iter("*s*")) == ["bits", "list", "set", "user:1", "zset"]


def test_pipelines_and_transactions(client: Any) -> None:
    with client.pipeline(transaction=False) as pipe:
        for n in range(100):
            pipe.set(f"k{n}", n)
        assert pipe.execute() == [True] * 100
    with client.pipeline() as pipe:
        pipe.watch("k1")
        value = int(pipe.get("k1"))
        pipe.multi()
        pipe.set("k1", value + 1)
        pipe.incr("k1")
        assert pipe.execute() == [True, 3]

    def increment(pipe: Any) -> None:
        value = int(pipe.get("k1"))
        pipe.multi()
        pipe.set("k1", value + 1)

    assert client.transaction(increment, "k1") == [True]
    assert client.get("k1") == "4"


def test_publish_and_subscribe(client: Any) -> None:
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("ev*")
    listener.get_message(timeout=5)
    listener.get_message(timeout=5)
    assert client.publish("news", "hello") == 1
    assert client.publish("event", "world") == 1
    found = [listener.get_message(timeout=5), listener.get_message(timeout=5)]
    assert [(message["type"], message["data"]) for message in found] == [("message", "hello"), ("pmessage", "world")]
    listener.close()


def test_locks_and_scripts(client: Any) -> None:
    with client.lock("resource", timeout=10) as lock:
        assert lock.owned()
        assert not client.lock("resource", blocking=False).acquire()
    multiply = client.register_script("return redis.call('GET', KEYS[1]) * ARGV[1]")
    client.set("number", 21)
    assert multiply(keys=["number"], args=[2]) == 42
    assert client.eval("return {KEYS[1], ARGV[1]}", 1, "k", "a") == ["k", "a"]
    client.function_load("#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)", True)
    assert client.fcall("f", 0, "x") == "x"


def test_streams(client: Any) -> None:
    first = client.xadd("race", {"rider": "Castilla", "speed": 30.2})
    client.xgroup_create("race", "group", id="0")
    assert client.xlen("race") == 1
    entries = client.xreadgroup("group", "one", {"race": ">"}, count=1, block=1000)
    entries = list(entries.items()) if isinstance(entries, dict) else entries
    assert entries[0][0] == "race"
    assert client.xack("race", "group", first) == 1
    assert client.xinfo_stream("race")["length"] == 1


def test_blocking_reads_are_woken(client: Any) -> None:
    thread = threading.Timer(0.05, lambda: client.rpush("queue", "job"))
    thread.start()
    assert tuple(client.blpop("queue", timeout=10)) == ("queue", "job")
    thread.join()


def test_administration(client: Any) -> None:
    client.client_setname("worker")
    assert client.client_getname() == "worker"
    me = client.client_info()
    assert me["name"] == "worker" and me["lib-name"]
    assert any(one["id"] == str(me["id"]) for one in client.client_list())
    assert client.client_id() == int(me["id"])
    client.config_set("maxmemory-samples", 7)
    assert client.config_get("maxmemory-samples") == {"maxmemory-samples": "7"}
    assert client.info("server")["redis_version"].startswith("7.0.")
    assert client.acl_whoami() == "default"
    client.acl_setuser("alice", enabled=True, passwords=["+pw"], commands=["+get", "-set"], keys=["x*"], channels=["c"])
    user = client.acl_getuser("alice")
    assert ("on" in user["flags"] and user["commands"] == ["+get"]) or "-@all" in str(user["commands"])
    assert client.acl_deluser("alice") == 1
    assert client.command_count() == len(client.command())
    assert client.command_getkeys("MSET", "a", "b", "c", "d") == ["a", "c"]
    assert client.slowlog_len() >= 0 and isinstance(client.slowlog_get(5), list)
    assert client.memory_usage("nothing") is None
    assert client.latency_latest() == []
    assert client.role()[0] in ("master", b"master")
    assert client.dbsize() == 0 and isinstance(client.time(), tuple)


def test_monitor(client: Any) -> None:
    with client.monitor() as watcher:
        client.set("seen", "x")
        lines = watcher.listen()
        seen = next(line for line in lines if "seen" in line["command"])
        assert seen["command"] == "SET seen x" and seen["db"] == 0


def test_redis_py_asyncio(server: Server) -> None:
    async def play() -> None:
        client = redis.asyncio.Redis(port=server.port, decode_responses=True)
        await client.flushall()
        assert await client.set("a", 1) is True
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.incr("a").incr("a").execute() == [2, 3]
        async with client.pubsub() as listener:
            await listener.subscribe("c")
            await client.publish("c", "m")
            while (message := await listener.get_message(ignore_subscribe_messages=True, timeout=5)) is None:
                pass
            assert message["data"] == "m"
        await client.aclose()

    asyncio.run(play())


async def test_coredis(server: Server) -> None:
    client = coredis.Redis(port=server.port, decode_responses=True)
    async with client:
        await client.flushall()
        assert await client.set("foo", "bar") is True
        assert await client.get("foo") == "bar"
        assert await client.hset("h", {"a": "1"}) == 1
        assert await client.hgetall("h") == {"a": "1"}
        assert await client.client_id() > 0
        info = await client.command_info("get")
        assert "get" in info
        docs = await client.command_docs("get", "xadd")
        assert set(docs) == {"get", "xadd"}
        users = await client.acl_list()
        assert users
        stream = await client.xadd("s", field_values={"a": "b"})
        assert stream


def run(server: Server, *command: str, bound: float = 60) -> str:
    """What a program says; it must succeed."""
    path = shutil.which(command[0])
    if path is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([path, "-p", str(server.port), *command[1:]], capture_output=True, timeout=bound, check=True)
    return done.stdout.decode()


def test_redis_cli(server: Server, tmp_path: Path) -> None:
    assert run(server, "redis-cli", "SET", "a", "b") == "OK\n"
    assert run(server, "redis-cli", "-3", "CONFIG", "GET", "port").strip().endswith(str(server.port))
    assert "bytes" in run(server, "redis-cli", "--rdb", str(tmp_path / "copy.rdb")) or (tmp_path / "copy.rdb").exists()
    assert "Sampled" in run(server, "redis-cli", "--bigkeys")
    assert "a" in run(server, "redis-cli", "--scan")


def test_the_whole_list_of_redis_benchmark_runs(server: Server) -> None:
    output = run(server, "redis-benchmark", "-n", "2000", "-q", bound=120)
    lines = output.replace("\r", "\n").splitlines()
    names = [line.split(":")[0].strip() for line in lines if "requests per second" in line]
    for wanted in ("PING_INLINE", "SET", "GET", "INCR", "LPUSH", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN"):
        assert wanted in names, output
    assert "MSET (10 keys)" in names, output
    assert "error" not in output.lower(), output
