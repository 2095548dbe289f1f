"""One Sentinel among two others: who is down, who votes for whom, and what a failover does step by step."""

from __future__ import annotations

import pytest

from replicator.core.sentinel.belief import FailoverState
from replicator.core.sentinel.failover import TRANSITIONS
from tests.support.sentinels import (
    CONF,
    FIRST,
    OTHERS,
    PRIMARY,
    SECOND,
    Servers,
    World,
    info,
    opinion,
    replica_info,
    watched,
)

PEERS = (("10.0.0.101", 26379), ("10.0.0.102", 26379))


def kill_primary(servers: Servers) -> None:
    servers.mute.add(PRIMARY)
    servers.world.lose(PRIMARY)


def follow_orders(servers: Servers) -> None:
    """Replicas become what they were told to be."""
    for address, told in list(servers.told.items()):
        for argv in told:
            if argv[0] == b"SLAVEOF":
                run_id = {FIRST: "2" * 40, SECOND: "3" * 40}.get(address, "1" * 40)
                if argv[1] == b"NO":
                    servers.infos[address] = info("master", run_id)
                else:
                    of = (argv[1].decode(), int(argv[2]))
                    servers.infos[address] = replica_info(run_id=run_id, of=of)
    servers.told.clear()


def elect(world: World, servers: Servers, votes: tuple[str, ...]) -> None:
    """The primary dies, everybody agrees that it is down, and votes so."""
    kill_primary(servers)
    for at, peer in enumerate(PEERS):
        servers.votes[peer] = opinion(1)
        if at < len(votes):
            servers.votes[peer] = opinion(1, votes[at], 1)
    servers.serve(2500)


def test_what_info_and_hello_tell_is_known_and_written_down() -> None:
    world, _ = watched()
    fields = world.fields("SENTINEL", "MASTER", "mymaster")
    assert (fields["num-slaves"], fields["num-other-sentinels"], fields["flags"]) == ("2", "2", "master")
    assert world.file is not None
    for line in (
        "sentinel known-replica mymaster 10.0.0.2 6379",
        "sentinel known-replica mymaster 10.0.0.3 6379",
        f"sentinel known-sentinel mymaster 10.0.0.101 26379 {OTHERS[0]}",
    ):
        assert line in world.file.split("\n")


def test_a_failover_promotes_one_replica_and_lets_the_other_follow_it() -> None:
    world, servers = watched()
    me = world.call("SENTINEL", "MYID").decode()
    elect(world, servers, (me,))
    assert world.logged("+elected-leader master mymaster 10.0.0.1 6379")
    assert servers.told[FIRST] == [
        [b"MULTI"], [b"SLAVEOF", b"NO", b"ONE"], [b"CONFIG", b"REWRITE"], [b"CLIENT", b"KILL", b"TYPE", b"normal"],
        [b"CLIENT", b"KILL", b"TYPE", b"pubsub"], [b"EXEC"],
    ]  # fmt: skip
    follow_orders(servers)
    servers.serve(1500)
    assert world.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"10.0.0.2", b"6379"]
    assert [b"SLAVEOF", b"10.0.0.2", b"6379"] in servers.told[SECOND]
    follow_orders(servers)
    servers.serve(1500)
    assert world.logged("+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379")
    names = [line.split(" ")[0] for line in world.logs if line[:1] in "+-" and "sentinel" not in line]
    expected = [
        "+monitor", "+slave", "+slave", "+sdown", "+odown", "+new-epoch", "+try-failover", "+vote-for-leader",
        "+elected-leader", "+failover-state-select-slave", "+selected-slave", "+failover-state-send-slaveof-noone",
        "+failover-state-wait-promotion", "-role-change", "+promoted-slave", "+failover-state-reconf-slaves",
        "+slave-reconf-sent", "+slave-reconf-inprog", "+slave-reconf-done", "+failover-end", "+switch-master",
        "+slave", "+slave",
    ]  # fmt: skip
    assert names[: len(expected)] == expected
    assert world.file is not None and "sentinel monitor mymaster 10.0.0.2 6379 2" in world.file


def test_one_that_says_so_is_not_enough_for_a_quorum_of_two() -> None:
    world, servers = watched()
    kill_primary(servers)
    servers.serve(4000)
    assert world.logged("+sdown master") and not world.logged("+odown")


def test_without_the_votes_of_a_majority_nothing_is_promoted() -> None:
    world, servers = watched(CONF + "sentinel failover-timeout mymaster 3000\n")
    elect(world, servers, ())
    servers.serve(5000)
    assert world.logged("-failover-abort-not-elected")
    assert not any(argv[0] == b"SLAVEOF" for argv in servers.told.get(FIRST, []))


def test_a_vote_of_an_older_epoch_counts_no_more() -> None:
    world, servers = watched(CONF + "sentinel failover-timeout mymaster 3000\n")
    me = world.call("SENTINEL", "MYID").decode()
    kill_primary(servers)
    for peer in PEERS:
        servers.votes[peer] = opinion(1, me, 0)
    servers.serve(2500)
    assert not world.logged("+elected-leader")


def test_in_one_epoch_a_sentinel_votes_once() -> None:
    world, _ = watched()
    ask = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", 6379, 7)
    assert world.call(*ask, OTHERS[0]) == [0, OTHERS[0].encode(), 7]
    assert world.call(*ask, OTHERS[1]) == [0, OTHERS[0].encode(), 7]
    assert world.call(*ask[:-1], 6, OTHERS[1]) == [0, OTHERS[0].encode(), 7]
    assert world.call(*ask[:-1], 8, OTHERS[1]) == [0, OTHERS[1].encode(), 8]


def test_a_vote_leaves_only_when_it_is_durable() -> None:
    world, _ = watched()
    world.disk = "slow"
    conn = world.client()
    assert world.ask(conn, "SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", 6379, 7, OTHERS[0]) is False
    assert world.ask(conn, "PING") is False, "replies keep their order"
    assert world.call("PING") == b"PONG", "other connections do not wait"
    world.commit()
    world.disk = "well"
    reader = world.readers[conn]
    assert (reader.gets(), reader.gets()) == ([0, OTHERS[0].encode(), 7], b"PONG")
    assert world.file is not None and "sentinel leader-epoch mymaster 7" in world.file


def test_a_vote_that_cannot_be_written_is_not_given_and_not_given_to_another_either() -> None:
    world, _ = watched()
    world.disk = "fails"
    ask = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", 6379, 7)
    assert world.call(*ask, OTHERS[0]) == [0, b"*", 0]
    assert world.logged("was not able to save the new configuration on disk!!!: No space left on device")
    world.disk = "well"
    world.pass_time(1500)
    assert world.call(*ask, OTHERS[1]) == [0, OTHERS[0].encode(), 7]


def test_after_a_restart_a_sentinel_does_not_vote_again_in_the_epoch() -> None:
    world, _ = watched()
    ask = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", 6379, 7)
    world.call(*ask, OTHERS[0])
    assert world.file is not None
    again = World(world.file, seed=1)
    assert again.call("SENTINEL", "MYID") == world.call("SENTINEL", "MYID")
    assert again.call(*ask, OTHERS[1]) == [0, b"*", 7]


def test_nobody_hears_of_an_epoch_that_is_not_durable() -> None:
    world, servers = watched()
    world.disk = "slow"
    kill_primary(servers)
    for peer in PEERS:
        servers.votes[peer] = opinion(1)
    servers.serve(4000)
    assert world.logged("+try-failover")
    asked = [argv for peer in PEERS for argv in servers.told.get(peer, []) if argv[0] == b"SENTINEL"]
    assert asked and all(argv[5] == b"*" for argv in asked)
    world.disk = "well"
    world.commit()
    servers.serve(1500)
    me = world.call("SENTINEL", "MYID")
    assert any(argv[4:] == [b"1", me] for peer in PEERS for argv in servers.told[peer] if argv[0] == b"SENTINEL")


def test_the_replica_with_the_best_priority_then_the_most_data_is_chosen() -> None:
    for first, second, chosen in (
        ({"offset": 5}, {"offset": 9}, SECOND),
        ({"offset": 5, "priority": 10}, {"offset": 9, "priority": 20}, FIRST),
        ({"offset": 5}, {"offset": 5}, FIRST),  # by run id
        ({"offset": 9, "priority": 0}, {"offset": 5}, SECOND),  # 0: never
    ):
        world, servers = watched()
        servers.infos[FIRST] = replica_info(run_id="2" * 40, **first)
        servers.infos[SECOND] = replica_info(run_id="3" * 40, **second)
        servers.serve(11_000)
        me = world.call("SENTINEL", "MYID").decode()
        elect(world, servers, (me,))
        assert world.logged(f"+selected-slave slave {chosen[0]}:6379"), (first, second)


def test_of_no_good_replica_the_failover_is_given_up() -> None:
    world, servers = watched()
    for at, address in enumerate((FIRST, SECOND)):
        servers.infos[address] = replica_info(run_id=str(at + 2) * 40, priority=0)
    servers.serve(11_000)
    elect(world, servers, (world.call("SENTINEL", "MYID").decode(),))
    assert world.logged("-failover-abort-no-good-slave master mymaster")
    assert world.fields("SENTINEL", "MASTER", "mymaster")["flags"] == "s_down,o_down,master"


def test_a_newer_configuration_of_another_sentinel_is_believed_and_an_older_one_not() -> None:
    world, _ = watched()
    world.hello(OTHERS[0], "10.0.0.101", epoch=3, config_epoch=3, at=FIRST[0])
    assert world.logged("+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379")
    world.hello(OTHERS[1], "10.0.0.102", epoch=3, config_epoch=2, at=SECOND[0])
    assert world.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"10.0.0.2", b"6379"]
    assert world.fields("SENTINEL", "MASTER", "mymaster")["config-epoch"] == "3"


def test_an_old_primary_that_comes_back_is_made_a_replica() -> None:
    world, servers = watched()
    servers.infos[FIRST] = info("master", "2" * 40)
    world.hello(OTHERS[0], "10.0.0.101", epoch=3, config_epoch=3, at=FIRST[0])
    servers.serve(25_000)
    assert world.logged("+convert-to-slave slave 10.0.0.1:6379 10.0.0.1 6379 @ mymaster 10.0.0.2 6379")
    assert [b"SLAVEOF", b"10.0.0.2", b"6379"] in servers.told[PRIMARY]


def test_a_replica_that_follows_somebody_else_is_put_right() -> None:
    world, servers = watched(CONF + "sentinel failover-timeout mymaster 3000\n")
    servers.infos[SECOND] = replica_info(run_id="3" * 40, of=("10.0.0.77", 1))
    servers.serve(25_000)
    assert world.logged("+fix-slave-config slave 10.0.0.3:6379")
    assert [b"SLAVEOF", b"10.0.0.1", b"6379"] in servers.told[SECOND]


def test_after_a_step_of_the_clock_nothing_is_done_for_thirty_seconds() -> None:
    world, servers = watched()
    world.wall_off_ms -= 60_000
    servers.serve(200)
    assert world.logged("+tilt #tilt mode entered")
    kill_primary(servers)
    servers.serve(20_000)
    assert not world.logged("+sdown")
    assert b"sentinel_tilt:1" in world.call("INFO", "sentinel")
    servers.serve(15_000)
    assert world.logged("-tilt #tilt mode exited") and world.logged("+sdown master")


def test_a_forced_failover_needs_no_votes_and_no_sdown() -> None:
    world, servers = watched()
    assert world.call("SENTINEL", "FAILOVER", "mymaster") == b"OK"
    assert str(world.call("SENTINEL", "FAILOVER", "mymaster")).startswith("INPROG")
    servers.serve(500)
    assert world.fields("SENTINEL", "MASTER", "mymaster")["failover-state"] == "wait_promotion"
    follow_orders(servers)
    servers.serve(3000)
    follow_orders(servers)
    servers.serve(3000)
    assert world.logged("+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379")


def test_a_coordinated_failover_lets_the_primary_hand_over() -> None:
    world, servers = watched()
    assert world.call("SENTINEL", "FAILOVER", "mymaster", "COORDINATED") == b"OK"
    servers.serve(500)
    assert [b"FAILOVER", b"TO", b"10.0.0.2", b"6379", b"TIMEOUT", b"180000"] in servers.told[PRIMARY]
    assert not any(argv[0] == b"SLAVEOF" for argv in servers.told.get(FIRST, []))


def test_a_promotion_that_does_not_come_about_is_given_up() -> None:
    world, servers = watched(CONF + "sentinel failover-timeout mymaster 3000\n")
    assert world.call("SENTINEL", "FAILOVER", "mymaster") == b"OK"
    servers.serve(5000)
    assert world.logged("-failover-abort-slave-timeout master mymaster")
    assert world.fields("SENTINEL", "MASTER", "mymaster")["flags"] == "master"


def test_a_script_that_keeps_a_primary_busy_is_killed() -> None:
    world, servers = watched()
    servers.mute.add(PRIMARY)
    for _ in range(60):
        world.pass_time(50)
        for conn, argv in world.take(PRIMARY):
            answer = b"-BUSY Redis is busy running a script.\r\n" if argv[0] == b"PING" else b"+OK\r\n"
            if argv[0] == b"SCRIPT":
                assert world.logged("+sdown master")
                return
            world.say(conn, answer)
    pytest.fail("SCRIPT KILL was not sent")


def test_another_sentinel_that_moves_is_found_at_its_new_address() -> None:
    world, _ = watched()
    world.hello(OTHERS[0], "10.0.0.109")
    moved = f"ip 10.0.0.109 port 26379 for {OTHERS[0]}"
    assert world.logged(f"+sentinel-address-switch master mymaster 10.0.0.1 6379 {moved}")
    words = world.call("SENTINEL", "SENTINELS", "mymaster")
    assert sorted(entry[3] for entry in words) == [b"10.0.0.102", b"10.0.0.109"]


def test_what_is_published_by_anybody_cannot_spoil_the_file() -> None:
    world, _ = watched()
    for words in (
        "10.0.0.9,26379,x\nsentinel monitor evil 6.6.6.6 1 1,0,mymaster,10.0.0.1,6379,0",
        "evil host,26379,dddd,0,mymaster,10.0.0.1,6379,0",
        "10.0.0.9,99999,dddd,0,mymaster,10.0.0.1,6379,0",
        "10.0.0.9,26379,dddd,-1,mymaster,10.0.0.1,6379,0",
        "10.0.0.9,26379,dddd,99999999999999999999999,mymaster,10.0.0.1,6379,0",
        "10.0.0.9,26379,dddd,0,mymaster,not-an-ip,6379,77",
        ",,,,,,,", "", "a,b",
    ):  # fmt: skip
        world.call("PUBLISH", "__sentinel__:hello", words)
    assert world.call("SENTINEL", "FLUSHCONFIG") == b"OK"
    assert world.file is not None and "evil" not in world.file
    assert world.fields("SENTINEL", "MASTER", "mymaster")["ip"] == "10.0.0.1"


def with_keys(answer: bytes, keys: int) -> bytes:
    """The INFO answer with a section about keys."""
    text = answer.split(b"\r\n", 1)[1][:-2] + b"# Keyspace\r\n" + (b"db0:keys=%d,expires=0\r\n" % keys if keys else b"")
    return b"$%d\r\n%b\r\n" % (len(text), text)


def test_by_directive_an_empty_replica_is_not_promoted_over_a_set_that_had_data() -> None:
    for directive, chosen in (("", FIRST), ("sentinel refuse-empty-promotion mymaster yes\n", SECOND)):
        world, servers = watched(CONF + directive)
        servers.infos[PRIMARY] = with_keys(servers.infos[PRIMARY], 7)
        servers.infos[FIRST] = with_keys(servers.infos[FIRST], 0)
        servers.infos[SECOND] = with_keys(servers.infos[SECOND], 7)
        servers.serve(11_000)
        elect(world, servers, (world.call("SENTINEL", "MYID").decode(),))
        assert world.logged(f"+selected-slave slave {chosen[0]}:6379"), directive


def test_by_directive_a_primary_that_restarts_empty_counts_as_down() -> None:
    world, servers = watched(CONF + "sentinel refuse-empty-promotion mymaster yes\n")
    whole = servers.infos[PRIMARY]
    servers.infos[PRIMARY] = with_keys(whole, 7)
    servers.serve(11_000)
    servers.infos[PRIMARY] = with_keys(whole.replace(b"1" * 40, b"9" * 40), 0)
    world.lose(PRIMARY)
    servers.serve(1500)
    assert world.logged("+restarted-empty master mymaster") and world.logged("+sdown master mymaster")


def test_by_directive_a_higher_offset_goes_before_a_better_priority() -> None:
    world, servers = watched(CONF + "sentinel promote-highest-offset mymaster yes\n")
    servers.infos[FIRST] = replica_info(run_id="2" * 40, offset=5, priority=1)
    servers.infos[SECOND] = replica_info(run_id="3" * 40, offset=9, priority=100)
    servers.serve(11_000)
    elect(world, servers, (world.call("SENTINEL", "MYID").decode(),))
    assert world.logged(f"+selected-slave slave {SECOND[0]}:6379")


def test_by_directive_a_configuration_that_cannot_survive_one_failure_is_told() -> None:
    world, servers = watched(CONF.replace(" 2\n", " 3\n") + "sentinel warn-on-fragile-configuration mymaster yes\n")
    servers.infos[PRIMARY] = with_keys(servers.infos[PRIMARY], 1)
    servers.serve(11_000)
    why = "#a quorum of 3 above the majority of 3 (2)"
    assert world.logged(f"+fragile-configuration master mymaster 10.0.0.1 6379 {why}")


def test_no_state_is_left_without_a_way_out() -> None:
    assert set(TRANSITIONS) == set(FailoverState)
    for state, following in TRANSITIONS.items():
        assert following and state not in following
