"""Each stock server as primary and as replica of a node of ours: same offsets, same data, no unexplained full sync.

`make interop` runs the long form and writes docs/interop.md (tests/interop/__main__.py); `make test` a short one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.interop.mixture import every_type, mixture
from tests.support.servers import Server, converge, servers, until
from tests.support.stock import binary

Record = Callable[[str, object], None]

LONG = bool(os.environ.get("REPLICATOR_LONG"))
COMMANDS = 100_000 if LONG else 2_000
CUTS = 100 if LONG else 5
ENGINES = [
    pytest.param(
        engine,
        marks=pytest.mark.skipif(binary(engine) is None, reason=f"{engine}'s server is not installed on this machine"),
    )
    for engine in ("redis6", "redis7", "valkey9")
]
ROLES = ["stock is the primary", "ours is the primary"]


def ordered(engine: str, role: str) -> tuple[str, str]:
    return (engine, "ours") if role == ROLES[0] else ("ours", engine)


def write(server: Server, seed: int, count: int) -> None:
    """Random commands in pipelines; error replies are part of the mixture."""
    commands = list(mixture(seed, count))
    for at in range(0, len(commands), 200):
        server.wire.pipeline(commands[at : at + 200])
    server.call("SELECT", 0)


def cut(primary: Server) -> None:
    """Drop the links to replicas; they come again."""
    assert primary.call("CLIENT", "KILL", "TYPE", "replica") >= 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("diskless", ["yes", "no"])
@pytest.mark.parametrize("engine", ENGINES)
def test_full_synchronization_carries_every_type(tmp_path: Path, engine: str, role: str, diskless: str) -> None:
    with servers(tmp_path, *ordered(engine, role), directives=("--repl-diskless-sync", diskless)) as (primary, replica):
        for command in every_type(Random(1)):
            answer = primary.call(*command)
            assert not isinstance(answer, Exception), (command[:3], answer)
        write(primary, 7, COMMANDS // 4)
        replica.follow(primary)
        converge(primary, replica)
        assert primary.info("stats")["sync_full"] == "1"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_random_commands_stream_to_the_same_data_through_cuts(
    tmp_path: Path, engine: str, role: str, record_property: Record
) -> None:
    with servers(tmp_path, *ordered(engine, role)) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        for number in range(CUTS):
            write(primary, number, COMMANDS // CUTS)
            cut(primary)
            write(primary, 1000 + number, 50)
            until(lambda: int(primary.info("stats")["sync_partial_ok"]) > number, "the replica has resumed")  # noqa: B023
        converge(primary, replica)
        stats = primary.info("stats")
        record_property("commands", COMMANDS + CUTS * 50)
        record_property("full", int(stats["sync_full"]))
        record_property("partial", int(stats["sync_partial_ok"]))
        assert (stats["sync_full"], stats["sync_partial_ok"]) == ("1", str(CUTS))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chain_stock_ours_stock_shares_one_history(tmp_path: Path, engine: str) -> None:
    # A replica comes back within its time to connect, during which the stream goes on.
    directives = ("--repl-backlog-size", "100mb")
    with servers(tmp_path, engine, "ours", engine, directives=directives) as (top, middle, bottom):
        middle.follow(top)
        middle.wait_linked()
        bottom.follow(middle)
        bottom.wait_linked()
        write(top, 3, COMMANDS // 3)
        cut(middle)
        write(top, 4, COMMANDS // 10)
        converge(top, middle, bottom)
        assert len({server.info("replication")["master_replid"] for server in (top, middle, bottom)}) == 1
        assert middle.info("stats")["sync_partial_ok"] == "1"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chain_ours_stock_ours_shares_one_history(tmp_path: Path, engine: str) -> None:
    with servers(tmp_path, "ours", engine, "ours") as (top, middle, bottom):
        middle.follow(top)
        middle.wait_linked()
        bottom.follow(middle)
        bottom.wait_linked()
        write(top, 5, COMMANDS // 3)
        converge(top, middle, bottom)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_promotion_of_either_side_the_old_primary_and_the_sibling_resume_partially(
    tmp_path: Path, engine: str, role: str
) -> None:
    first, second = ordered(engine, role)
    with servers(tmp_path, first, second, "ours") as (old, new, sibling):
        new.follow(old)
        new.wait_linked()
        sibling.follow(old)
        sibling.wait_linked()
        write(old, 11, COMMANDS // 10)
        converge(old, new, sibling)
        new.call("REPLICAOF", "NO", "ONE")
        sibling.follow(new)
        old.follow(new)
        old.wait_linked()
        write(new, 12, COMMANDS // 10)
        converge(new, old, sibling)
        stats = new.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == ("0", "2")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_keys_expire_on_both_sides_by_the_primarys_word(tmp_path: Path, engine: str, role: str) -> None:
    with servers(tmp_path, *ordered(engine, role)) as (primary, replica):
        replica.follow(primary)
        replica.wait_linked()
        for number in range(200):
            primary.call("SET", f"k{number}", "v", "PX", 50 + number)
            primary.call("HSET", f"h{number}", "f", "v")
            primary.call("PEXPIRE", f"h{number}", 40 + number)
        primary.call("SET", "stays", "v", "EX", 10_000)
        until(lambda: primary.call("DBSIZE") == 1, "all keys but one have expired on the primary")
        converge(primary, replica)
        assert replica.call("DBSIZE") == 1
