"""Why a write is lost and what would have prevented it, by histories made by hand."""

from __future__ import annotations

import pytest

from replicator.scenario.verdict.history import Promotion, Sample
from tests.support.made_histories import Made


def lost_with(made: Made, **limits: int) -> tuple[str, str, int | None]:
    verdict = made.verdict(**limits)
    assert len(verdict.lost) == 1
    one = verdict.lost[0]
    return one.why, one.would_have_prevented, one.promoted_offset


def test_a_write_beyond_the_promoted_offset_is_explained_by_both_offsets() -> None:
    made = Made()
    made.did("set", "k", "v", at=(100, 110), offset=1500)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    why, prevented, offset = lost_with(made)
    assert "300 bytes beyond offset 1200, where b stood" in why
    assert (prevented, offset) == ("WAIT 1", 1200)


def test_a_write_behind_the_promotion_is_explained_by_two_primaries() -> None:
    made = Made()
    made.did("set", "k", "v", at=(500, 510), offset=1500)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    why, _, offset = lost_with(made)
    assert "110 ms after b had been promoted" in why and "two primaries" in why and offset == 1200


@pytest.mark.parametrize(
    ("online", "lag", "limits", "prevented"),
    [
        (0, None, {}, "min-replicas-to-write 1"),
        (1, 12, {}, "min-replicas-to-write 1"),
        (1, 3, {"max_lag_s": 2}, "min-replicas-to-write 1"),
        (1, 3, {}, "WAIT 1, or min-replicas-to-write 1 with min-replicas-max-lag 2"),
        (1, 0, {}, "WAIT 1"),
        (0, None, {"min_replicas": 1}, "WAIT 1"),
    ],
)
def test_what_would_have_prevented_it_follows_from_what_the_primary_knew_of_its_replicas(
    online: int, lag: int | None, limits: dict[str, int], prevented: str
) -> None:
    made = Made()
    made.history.sample(Sample("a", 90, 91, "master", "id", 1400, online, lag))
    made.did("set", "k", "v", at=(100, 110), offset=1500)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    assert lost_with(made, **limits)[1] == prevented


def test_a_replica_that_had_the_write_and_was_passed_over_is_named() -> None:
    made = Made()
    made.did("set", "k", "v", offset=1500)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id", {"c": 1500, "d": 1100}))
    why, prevented, _ = lost_with(made)
    assert why.startswith("c had it (offset 1500), but b was promoted") and prevented.startswith("promoting c")


def test_a_write_that_replicas_had_confirmed_is_not_told_to_wait_for_one() -> None:
    made = Made()
    made.did("set", "k", "v", offset=1500).acked = 1
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    why, prevented, _ = lost_with(made)
    assert "1 replica had confirmed it to a" in why and prevented == "WAIT for more replicas than can be lost at once"


def test_without_role_the_offset_lies_between_two_samples() -> None:
    made = Made()
    for sent, offset in ((10, 1000), (60, 1300), (160, 1700), (200, 2000)):
        made.history.sample(Sample("a", sent, sent + 5, "master", "id", offset, 1, 0))
    made.did("set", "k", "v", at=(100, 110))
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    (one,) = made.verdict().lost
    assert one.offset_at_ack is None and one.offset_bounds == (1300, 1700)
    assert "100 to 500 bytes beyond offset 1200" in one.why


def test_a_primary_that_came_back_empty_is_the_reason_without_a_promotion() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v")
    made.history.milestone(300, "kill", "a")
    made.history.milestone(400, "wipe", "a")
    made.back.registers["k"] = None
    why, prevented, offset = lost_with(made)
    assert "came back without it after a restart" in why and "promoting a replica" in prevented and offset is None


def test_a_loss_that_nothing_explains_is_called_a_fault_of_the_server() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v", offset=10)
    made.back.registers["k"] = None
    assert "fault of the server" in lost_with(made)[0]


def test_a_loss_that_the_promoted_node_held_is_not_blamed_on_the_promotion() -> None:
    made = Made()
    made.did("set", "k", "v", offset=1000)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    assert "fault of the server" in lost_with(made)[0]


def test_a_write_that_the_first_promoted_one_held_is_explained_by_the_second_promotion() -> None:
    made = Made(primary="c")
    made.history.sample(Sample("a", 0, 1, "master", "id", 900, 2, 0))
    made.did("set", "k", "v", at=(100, 110), offset=1000)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id2"))
    made.history.promoted(Promotion(800, "c", "b", 700, "id3"))
    why, prevented, offset = lost_with(made)
    assert "300 bytes beyond offset 700, where c stood" in why and "b had it and could not take over" in why
    assert (prevented, offset) == ("WAIT 2", 700)


def test_replicas_seen_with_the_write_that_could_not_take_over_are_counted() -> None:
    made = Made()
    made.history.sample(Sample("a", 0, 1, "master", "id", 900, 1, 0))
    made.did("set", "k", "v", at=(100, 110), offset=1000)
    made.back.registers["k"] = None
    made.history.sample(Sample("c", 120, 121, "slave", "id", 1000))
    made.history.sample(Sample("d", 120, 121, "slave", "another", 1000))
    made.history.promoted(Promotion(400, "b", "a", 700, "id2"))
    why, prevented, _ = lost_with(made)
    assert why.endswith("c had it and could not take over")
    assert prevented == "WAIT 2, with more replicas directly behind a"


def test_replicas_that_stayed_with_the_old_primary_do_not_help_by_waiting_for_them() -> None:
    made = Made()
    made.did("set", "k", "v", at=(500, 510), offset=1500)
    made.back.registers["k"] = None
    made.history.sample(Sample("a", 480, 481, "master", "id", 1400, 1, 0))
    made.history.sample(Sample("c", 490, 491, "slave", "id", 1400))
    made.history.promoted(Promotion(400, "b", "a", 1200, "id2"))
    why, prevented, _ = lost_with(made)
    assert why.endswith("the history of b won; 1 of its replicas had stayed with a")
    assert prevented == "WAIT 2, with more replicas directly behind a, or min-replicas-to-write 2"


def test_a_promoted_one_that_stood_in_another_history_never_had_the_write() -> None:
    made = Made()
    made.history.milestone(50, "restart", "a")
    made.did("set", "k", "v", at=(100, 110), offset=80)
    made.back.registers["k"] = None
    made.history.sample(Sample("a", 120, 121, "master", "new", 80, 0, None))
    made.history.sample(Sample("b", 120, 121, "slave", "old", 1649))
    made.history.promoted(Promotion(400, "b", "a", 1649, "id2"))
    assert "had not followed a since that had begun another history" in lost_with(made)[0]


def test_an_answer_that_arrives_behind_a_restart_is_of_the_life_before() -> None:
    made = Made(primary="b")
    made.did("set", "k", "v", at=(100, 110), offset=1000, node="b")
    made.back.registers["k"] = None
    made.history.milestone(105, "restart", "b")
    assert lost_with(made)[0].startswith("b came back without it after a restart")


def test_a_primary_that_came_back_empty_before_a_promotion_is_the_reason() -> None:
    made = Made()
    made.history.sample(Sample("a", 0, 1, "master", "id", 900, 1, 0))
    made.did("set", "k", "v", at=(100, 110), offset=1000)
    made.back.registers["k"] = None
    made.history.sample(Sample("b", 150, 151, "slave", "id", 1000))
    made.history.milestone(200, "restart", "a")
    made.history.sample(Sample("a", 250, 251, "master", "new", 0, 0, None))
    made.history.promoted(Promotion(400, "b", "a", 14, "id2"))
    why, prevented, _ = lost_with(made)
    assert why.startswith("a came back without it after a restart")
    assert prevented.startswith(
        "promoting a replica, b for one, which had it, before the old primary returns; or an app"
    )


def test_no_file_is_said_to_help_against_a_disk_that_is_gone() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v", offset=1000)
    made.back.registers["k"] = None
    made.history.milestone(200, "wipe", "a")
    assert lost_with(made)[1] == "WAIT 1 and promoting a replica before the old primary returns"


def test_what_many_changes_hide_is_not_called_a_fault() -> None:
    made = Made()
    made.did("set", "k", "v", offset=1000)
    made.back.registers["k"] = None
    made.history.promoted(Promotion(400, "b", "a", 1200, "id2"))
    made.history.promoted(Promotion(800, "c", "b", 1300, "id3"))
    why, prevented, _ = lost_with(made)
    assert "does not tell what undid it" in why and prevented == ""


def test_what_came_first_is_the_reason() -> None:
    made = Made()
    made.did("set", "k", "v", offset=1000)
    made.back.registers["k"] = None
    made.history.milestone(200, "repoint", "a")
    made.history.sample(Sample("a", 250, 251, "slave", "other", 3))
    made.history.milestone(300, "restart", "a")
    assert "a was made a replica of a node that did not have it" in lost_with(made)[0]


def test_a_primary_that_was_seen_as_a_replica_afterwards_had_been_made_one() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v", at=(100, 110), offset=1000)
    made.back.registers["k"] = None
    made.history.sample(Sample("a", 250, 251, "slave", "other", 3))
    assert "a was made a replica of a node that did not have it" in lost_with(made)[0]


def test_a_command_of_the_scenario_that_takes_data_away_is_the_reason() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v", offset=1000)
    made.back.registers["k"] = None
    made.history.milestone(200, "FLUSHALL", "a")
    assert lost_with(made)[:2] == ("the scenario's own FLUSHALL on a came behind it", "leaving out that FLUSHALL")
