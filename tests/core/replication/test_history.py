"""May this PSYNC continue, and if not, why? One test a sentence."""

from __future__ import annotations

from random import Random

import pytest

from replicator.core.replication.history import NO_ID, History, Refusal


@pytest.fixture
def history() -> History:
    """1000 bytes of history, the last 400 of them in the window."""
    made = History(Random(1))
    made.open_window(400)
    made.append(b"x" * 1000)
    return made


def test_a_replica_inside_the_window_continues(history: History) -> None:
    for position in (600, 800, 1000):
        assert history.judge(history.id, position).refusal is None


def test_an_offset_before_the_backlog_is_refused_and_the_sufficient_size_is_told(history: History) -> None:
    verdict = history.judge(history.id, 599)
    assert verdict.refusal is Refusal.BEFORE_BACKLOG
    assert verdict.sufficient == 401
    assert "1 bytes too late" in verdict.explain()
    assert "repl-backlog-size 401 would have sufficed" in verdict.explain()
    history.window.resize(401)  # type: ignore[union-attr] # there is one
    assert verdict.first == 600


def test_an_offset_in_the_future_is_refused(history: History) -> None:
    verdict = history.judge(history.id, 1001)
    assert verdict.refusal is Refusal.FUTURE
    assert "no backlog size would have sufficed" in verdict.explain()


def test_an_unknown_id_is_refused(history: History) -> None:
    assert history.judge("f" * 40, 700).refusal is Refusal.UNKNOWN_ID


def test_the_empty_second_id_is_nobodys(history: History) -> None:
    assert history.id2 == NO_ID
    assert history.judge(NO_ID, 700).refusal is Refusal.UNKNOWN_ID


def test_a_question_mark_is_a_first_synchronization(history: History) -> None:
    assert history.judge("?", -2).refusal is Refusal.FIRST_TIME


def test_without_a_backlog_nobody_continues(history: History) -> None:
    history.drop_window()
    assert history.end == 1000
    assert history.judge(history.id, 1000).refusal is Refusal.NO_BACKLOG


def test_after_a_promotion_the_old_id_is_valid_up_to_the_take_over(history: History) -> None:
    old = history.id
    history.branch(Random(2))
    assert (history.id2, history.second_limit) == (old, 1001)
    assert history.judge(old, 1000).refusal is None
    history.append(b"y" * 10)
    assert history.judge(old, 1000).refusal is None
    verdict = history.judge(old, 1001)
    assert verdict.refusal is Refusal.SECOND_ID_PAST_LIMIT
    assert history.judge(history.id, 1010).refusal is None


def test_following_a_renamed_primary_keeps_the_old_name_for_our_own_replicas(history: History) -> None:
    old = history.id
    history.follow("a" * 40)
    assert history.id == "a" * 40
    assert history.judge(old, 900).refusal is None


def test_after_a_full_synchronization_nothing_of_the_old_history_is_left(history: History) -> None:
    old = history.id
    history.restart("b" * 40, 5000, 400)
    assert history.judge(old, 900).refusal is Refusal.UNKNOWN_ID
    assert (history.end, history.id2, history.second_limit) == (5000, NO_ID, -1)
    assert history.judge("b" * 40, 5000).refusal is None
    assert history.judge("b" * 40, 4999).refusal is Refusal.BEFORE_BACKLOG
