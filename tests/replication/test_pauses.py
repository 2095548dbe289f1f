"""What CLIENT PAUSE holds back on a primary and a replica; FAILOVER while one runs; a full copy that comes to nothing.

The expected values were asked of Redis 7.0.15.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.replication_world import Member, World


def world_of(members: int) -> World:
    """So many nodes, each following the one before it."""
    world = World("pauses", members)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("enable-debug-command", "yes"))
    for primary, replica in zip(world.members, world.members[1:], strict=False):
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        world.settle(2000)
        assert replica.node.replica.up
    return world


def info(member: Member) -> dict[str, str]:
    text = member.call("INFO", "everything").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


# -- scripts ----------------------------------------------------------------------------------------------------------

READS = "#!lua flags=no-writes\nreturn 1"
LIBRARY = (
    "#!lua name=l\n"
    "redis.register_function{function_name='r', callback=function() return 1 end, flags={'no-writes'}}\n"
    "redis.register_function('w', function() return 1 end)"
)


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(
    ("command", "runs"),
    [
        (("EVAL", READS, 0), True),
        (("EVALSHA", "77f21361171213377cb083e2ffc2ae24ffdff8fb", 0), True),
        (("EVALSHA", "77F21361171213377CB083E2FFC2AE24FFDFF8FB", 0), True),
        (("FCALL", "r", 0), True),
        (("FCALL_RO", "r", 0), True),
        (("EVAL_RO", "return 1", 0), True),
        (("EVAL", "#!lua\nreturn 1", 0), False),
        (("EVAL", "return 1", 0), False),
        (("FCALL", "w", 0), False),
        (("FCALL_RO", "w", 0), False),
        (("FCALL", "unknown", 0), False),
    ],
)
def test_a_pause_of_writes_lets_scripts_run_that_declare_no_writes(
    command: tuple[Any, ...], runs: bool, queued: bool
) -> None:
    world = world_of(1)
    (node,) = world.members
    assert node.call("SCRIPT", "LOAD", READS) == b"77f21361171213377cb083e2ffc2ae24ffdff8fb"
    node.call("FUNCTION", "LOAD", LIBRARY)
    node.call("CLIENT", "PAUSE", 3000, "WRITE")
    client = node.client()
    if queued:
        client.call("MULTI")
        assert client.call(*command) == b"QUEUED" if runs else client.read() is False
        answer = client.call("EXEC") if runs else client.read()
    else:
        answer = client.call(*command)
    assert answer == (([1] if queued else 1) if runs else False)


# -- the link of a paused replica -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
def test_a_paused_replica_receives_the_stream_and_applies_it_afterwards(mode: str) -> None:
    world = world_of(2)
    primary, replica = world.members
    looker = replica.client()
    primary.call("SET", "warm", 1)
    world.settle()
    before = replica.node.history.end
    replica.call("CLIENT", "PAUSE", 3000, mode)
    for command in (("SET", "k", 1), ("MULTI",), ("SET", "l", 1), ("INCR", "l"), ("EXEC",), ("PUBLISH", "c", "m")):
        primary.call(*command)
    world.settle()
    end = primary.node.history.end
    assert end > before
    waiting = primary.client()
    waiting.call("SET", "m", 1)
    waiting.send("WAIT", 1, 100)
    world.settle(200)
    assert waiting.read() == 0
    assert replica.node.history.end == before
    if mode == "WRITE":
        seen = info(replica)
        assert int(seen["slave_repl_offset"]) == before
        assert int(seen["slave_read_repl_offset"]) >= end
        assert seen["blocked_clients"] == "1"
        assert looker.call("GET", "k") is None
        assert b"flags=Mb " in looker.call("CLIENT", "LIST", "TYPE", "master")
    world.settle(4000)
    assert [looker.call("GET", "k"), looker.call("GET", "l")] == [b"1", b"2"]
    assert replica.node.history.end == primary.node.history.end
    assert info(replica)["blocked_clients"] == "0"
    assert primary.node.primary.sync_full == 1


def test_the_end_of_a_pause_by_hand_lets_the_stream_go_on() -> None:
    world = world_of(3)
    primary, replica, last = world.members
    replica.call("CLIENT", "PAUSE", 60_000, "WRITE")
    primary.call("SET", "k", 1)
    world.settle()
    assert last.call("GET", "k") is None
    assert replica.call("CLIENT", "UNPAUSE") == b"OK"
    world.settle()
    assert [replica.call("GET", "k"), last.call("GET", "k")] == [b"1", b"1"]


@pytest.mark.parametrize("how", ["promoted", "cut"])
def test_what_a_paused_replica_has_not_applied_is_no_part_of_its_data(how: str) -> None:
    world = world_of(2)
    primary, replica = world.members
    replica.call("CLIENT", "PAUSE", 3000, "WRITE")
    primary.call("SET", "k", 1)
    world.settle()
    if how == "promoted":
        assert replica.call("REPLICAOF", "NO", "ONE") == b"OK"
        world.settle(4000)
        assert replica.call("DBSIZE") == 0
    else:
        assert world.cut()
        world.settle(5000)
        assert replica.call("GET", "k") == b"1"
    assert info(replica)["blocked_clients"] == "0"


# -- FAILOVER ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["waiting-for-sync", "failover-in-progress"])
def test_a_second_failover_is_told_that_one_runs(phase: str) -> None:
    world = world_of(2)
    primary, replica = world.members
    primary.call("SET", "k", 1)  # not acknowledged yet
    target = ("TO", "127.0.0.1", replica.port)
    assert primary.call("FAILOVER", *target, "FORCE", "TIMEOUT", 100) == b"OK"
    if phase == "failover-in-progress":
        world.pass_time(200)
    assert info(primary)["master_failover_state"] == phase
    for second in ((), target, (*target, "FORCE"), ("FORCE",)):
        assert str(primary.call("FAILOVER", *second)) == "ERR FAILOVER already in progress."
    assert str(primary.call("FAILOVER", "TIMEOUT", 0)) == "ERR FAILOVER timeout must be greater than 0"


# -- a full copy from elsewhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", ["disabled", "on-empty-db", "swapdb"])
def test_until_the_new_data_is_loaded_the_old_history_and_its_replicas_stay(load: str) -> None:
    world = World("copies", 4)
    world.start(("repl-diskless-sync-delay", "0"), ("save", '""'), ("repl-diskless-load", load))
    first, middle, last, other = world.members
    middle.call("REPLICAOF", "127.0.0.1", first.port)
    world.settle(2000)
    last.call("REPLICAOF", "127.0.0.1", middle.port)
    world.settle(2000)
    first.call("SET", "k", 1)
    other.call("SET", "o", "x" * 1000)
    world.settle(1000)
    middle.call("REPLICAOF", "127.0.0.1", other.port)
    for _ in range(10_000):
        if middle.node.replica.transfer.header_seen or middle.node.replica.syncing:
            break
        if not world.step():
            world.pass_time(10)
    assert middle.node.replica.syncing
    assert last.node.replica.up
    assert len(middle.node.primary.links) == 1
    other.stop()
    middle.call("REPLICAOF", "127.0.0.1", first.port)
    world.settle(3000)
    first.call("INCR", "k")
    world.settle(1000)
    assert last.call("GET", "k") == b"2"
    assert [first.node.primary.sync_full, first.node.primary.sync_partial_ok] == [1, 1]
    assert [middle.node.primary.sync_full, middle.node.primary.sync_partial_ok] == [1, 0]
    other.start()
    world.settle(2000)
    middle.call("REPLICAOF", "127.0.0.1", other.port)
    world.settle(5000)
    assert last.call("GET", "k") is None
    assert middle.node.primary.sync_full == 2
