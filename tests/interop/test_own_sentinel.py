"""Our Sentinels live: on our nodes and stock's, alone and in one quorum with stock's; clients follow them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import coredis
import coredis.connection
import pytest
import redis.exceptions
import redis.sentinel
import valkey.sentinel

from tests.support.sentinel_processes import quorum
from tests.support.servers import converge, servers, until
from tests.support.stock import binary


def needs(*engines: str) -> pytest.MarkDecorator:
    """Skip where one of them is not installed."""
    missing = [engine for engine in engines if engine != "ours" and binary(engine) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(
    ("nodes", "sentinels"),
    [
        ("ours", ("ours", "ours", "ours")),
        pytest.param("ours", ("redis7", "ours", "ours"), marks=[needs("redis7"), pytest.mark.interop]),
        pytest.param("ours", ("valkey9", "ours", "ours"), marks=[needs("valkey9"), pytest.mark.interop]),
        pytest.param("redis7", ("redis7", "redis7", "ours"), marks=[needs("redis7"), pytest.mark.interop]),
        pytest.param("valkey9", ("valkey9", "valkey9", "ours"), marks=[needs("valkey9"), pytest.mark.interop]),
    ],
)
def test_sentinels_agree_on_a_new_primary_and_clients_follow(
    tmp_path: Path, nodes: str, sentinels: tuple[str, ...]
) -> None:
    with servers(tmp_path, nodes, nodes, nodes, directives=("--repl-ping-replica-period", "1")) as (primary, *replicas):
        for replica in replicas:
            replica.follow(primary)
        for replica in replicas:
            replica.wait_linked()
        primary.call("SET", "acknowledged", "write")
        assert primary.call("WAIT", 2, 5000) == 2
        with quorum(tmp_path, primary, sentinels) as watching:
            for one in watching:
                until(lambda one=one: one.knows(2, 2), "each Sentinel knows the others and the replicas")
            client = redis.sentinel.Sentinel([("127.0.0.1", one.port) for one in watching]).master_for("ours")
            assert client.get("acknowledged") == b"write"
            primary.kill()
            until(lambda: {one.primary_port() for one in watching} & {r.port for r in replicas}, "somebody is promoted")
            until(lambda: len({one.primary_port() for one in watching}) == 1, "all Sentinels agree")
            promoted = next(one for one in replicas if one.port == watching[0].primary_port())
            other = next(one for one in replicas if one is not promoted)

            def served() -> bool:
                try:
                    return client.get("acknowledged") == b"write" and bool(client.set("after", "failover"))
                except redis.exceptions.RedisError:
                    return False

            until(served, "the client has found the new primary")
            until(lambda: all(one.fields()[b"flags"] == b"master" for one in watching), "the failover has ended")
            for replica in replicas:
                replica.reconnect()
            assert promoted.call("ROLE")[0] == b"master"
            until(lambda: other.info("replication")["master_port"] == str(promoted.port), "the other follows")
            converge(promoted, other)
            client.close()


@pytest.mark.interop
async def test_valkey_py_coredis_and_redis_cli_find_the_primary_through_our_sentinels(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        with quorum(tmp_path, primary, ("ours", "ours", "ours")) as watching:
            for one in watching:
                until(lambda one=one: one.knows(1, 2), "each Sentinel knows the others and the replica")
            primary.kill()
            until(lambda: {one.primary_port() for one in watching} == {replica.port}, "all Sentinels agree")
            addresses = [("127.0.0.1", one.port) for one in watching]
            assert valkey.sentinel.Sentinel(addresses).discover_master("ours") == ("127.0.0.1", replica.port)
            sentinel = coredis.Sentinel([coredis.connection.TCPLocation(*address) for address in addresses])
            async with sentinel:
                assert tuple(await sentinel.discover_primary("ours")) == ("127.0.0.1", replica.port)
            said = subprocess.run(
                ["redis-cli", "-p", str(watching[0].port), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ours"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert said.stdout.split() == ["127.0.0.1", str(replica.port)]


def test_a_sentinel_keeps_its_memory_in_its_file_and_ends_in_order(tmp_path: Path) -> None:
    with servers(tmp_path, "ours") as (primary,), quorum(tmp_path, primary, ("ours",)) as (one,):
        my_id = one.call("SENTINEL", "MYID")
        assert one.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", primary.port, 5, "b" * 40) == [
            0, b"b" * 40, 5
        ]  # fmt: skip
        assert one.end() == 0
        text = one.conf.read_text()
        assert text.startswith("# kept by rewrites\n") and "sentinel leader-epoch ours 5\n" in text
        one.start()
        assert one.call("SENTINEL", "MYID") == my_id
        assert one.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", primary.port, 5, "c" * 40) == [0, b"*", 5]
        assert "Sentinel is now ready to exit, bye bye..." in one.log()
