"""Every verdict, by histories made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from replicator.scenario import cli
from replicator.scenario.verdict import history as history_module
from replicator.scenario.verdict.durability import check
from replicator.scenario.verdict.history import (
    History,
    HistoryError,
    Operation,
    Promotion,
    Sample,
    Status,
    read_lines,
)
from tests.support.made_histories import FAIL, INFO, OK, Made


def test_a_confirmed_write_that_is_there_is_kept() -> None:
    made = Made()
    made.did("set", "k", "v1")
    made.back.registers["k"] = "v1"
    verdict = made.verdict()
    assert verdict.writes() == {
        "acknowledged": 1, "kept": 1, "lost": 0, "failed": 0, "unknown": 0, "unknown_kept": 0,
    }  # fmt: skip
    assert not any(verdict.anomalies().values())


def test_a_confirmed_write_that_is_not_there_is_lost() -> None:
    made = Made()
    made.did("set", "k", "v1")
    made.back.registers["k"] = None
    assert [one.value for one in made.verdict().lost] == ["v1"]


def test_of_a_register_the_writes_behind_the_final_value_are_lost_and_those_before_it_kept() -> None:
    made = Made()
    for value in ("v1", "v2", "v3", "v4"):
        made.did("set", "k", value)
    made.back.registers["k"] = "v2"
    verdict = made.verdict()
    assert [one.value for one in verdict.lost] == ["v3", "v4"] and verdict.kept == 2


def test_an_unknown_write_is_never_lost_and_counted_if_it_is_there() -> None:
    made = Made()
    made.did("set", "k", "v1", INFO)
    made.did("set", "other", "v2", INFO)
    made.back.registers.update({"k": "v1", "other": None})
    verdict = made.verdict()
    assert (verdict.unknown, verdict.unknown_kept, verdict.lost) == (2, 1, [])


def test_an_operation_still_open_at_the_end_is_unknown() -> None:
    made = Made()
    made.history.invoke("c1", "set", "k", "v", "a", 0)
    made.back.registers["k"] = None
    assert made.verdict().unknown == 1


def test_a_refused_write_that_is_there_is_resurrected() -> None:
    made = Made()
    made.did("set", "k", "v1", FAIL)
    made.did("rpush", "l", "e1", FAIL)
    made.back.registers["k"] = "v1"
    made.back.lists["l"] = ["e1"]
    verdict = made.verdict()
    assert verdict.resurrected == ["k = v1", "l: e1"] and verdict.failed == 2


def test_a_value_that_nobody_wrote_is_a_phantom() -> None:
    made = Made()
    made.did("set", "k", "v1")
    made.did("rpush", "l", "e1")
    made.back.registers.update({"k": "ghost", "unheard": "x"})
    made.back.lists["l"] = ["e1", "ghost"]
    made.back.counters["count:c1"] = 3
    verdict = made.verdict()
    assert sorted(verdict.phantom) == ["count:c1 = 3", "k = ghost", "l: ghost", "unheard = x"]
    assert [one.value for one in verdict.lost] == ["v1"]


def test_list_elements_are_kept_lost_and_duplicated() -> None:
    made = Made()
    for value in ("e1", "e2", "e3"):
        made.did("rpush", "l", value)
    made.back.lists["l"] = ["e1", "e3", "e3"]
    verdict = made.verdict()
    assert [one.value for one in verdict.lost] == ["e2"]
    assert verdict.duplicated == ["l: e3 (2 times)"] and verdict.reordered == []


def test_an_element_that_ended_before_another_began_must_stand_before_it() -> None:
    made = Made()
    made.did("rpush", "l", "first", at=(0, 10))
    made.did("rpush", "l", "second", at=(20, 30), client="c2")
    made.back.lists["l"] = ["second", "first"]
    assert made.verdict().reordered == ["l: second"]


def test_elements_written_at_the_same_time_may_stand_in_any_order() -> None:
    made = Made()
    made.did("rpush", "l", "first", at=(0, 25))
    made.did("rpush", "l", "second", at=(20, 30), client="c2")
    made.back.lists["l"] = ["second", "first"]
    assert made.verdict().reordered == []


def test_an_unknown_element_may_stand_anywhere_behind_its_begin() -> None:
    made = Made()
    made.did("rpush", "l", "late", INFO, at=(0, 10))
    made.did("rpush", "l", "quick", at=(20, 30))
    made.back.lists["l"] = ["quick", "late"]
    verdict = made.verdict()
    assert verdict.reordered == [] and verdict.unknown_kept == 1


def test_a_counter_that_went_back_lost_the_increments_above() -> None:
    made = Made()
    for result in (1, 2, 3, 4):
        made.did("incr", "count:c1", "", result=result)
    for result in (3, 4):
        made.did("incr", "count:c1", "", node="b", result=result)
    made.back.counters["count:c1"] = 4
    verdict = made.verdict()
    assert [(one.value, one.acknowledged_by) for one in verdict.lost] == [("3", "a"), ("4", "a")]
    assert verdict.kept == 4 and verdict.phantom == []


def test_a_final_value_below_an_answer_lost_increments_and_above_counts_the_unknown() -> None:
    made = Made()
    for result in (1, 2, 3):
        made.did("incr", "count:c1", "", result=result)
    made.back.counters["count:c1"] = 1
    assert len(made.verdict().lost) == 2
    made = Made()
    made.did("incr", "count:c1", "", result=1)
    made.did("incr", "count:c1", "", INFO)
    made.back.counters["count:c1"] = 2
    verdict = made.verdict()
    assert (verdict.unknown_kept, verdict.lost, verdict.phantom) == (1, [], [])


@pytest.mark.parametrize(("status", "name"), [(FAIL, "resurrected"), (OK, "phantom")])
def test_a_counter_above_all_that_was_written_is_noticed(status: Status, name: str) -> None:
    made = Made()
    made.did("incr", "count:c1", "", status, result=1 if status is OK else None)
    made.back.counters["count:c1"] = 2 if status is OK else 1
    assert len(made.verdict().anomalies()[name]) == 1


def test_a_read_of_something_older_is_stale() -> None:
    made = Made()
    made.did("set", "k", "v1")
    made.did("get", "k", "v0", node="b", expected="v1")
    made.did("get", "k", "v1", expected="v1")
    made.did("get", "k", "anything")
    made.back.registers["k"] = "v1"
    verdict = made.verdict()
    assert len(verdict.stale_reads) == 1 and "v0 instead of v1" in verdict.stale_reads[0] and verdict.reads == 3


def test_a_history_without_a_read_back_cannot_be_judged() -> None:
    history = History()
    history.close(10, [], "b")
    with pytest.raises(ValueError, match="no write can be judged"):
        check(history)


def test_an_unknown_write_that_took_effect_late_makes_no_loss_of_what_it_replaced() -> None:
    made = Made(primary="a")
    made.did("set", "k", "v1")
    made.did("set", "k", "late", INFO)
    for value in ("v3", "v4"):
        made.did("set", "k", value)
    made.back.registers["k"] = "late"
    verdict = made.verdict()
    assert (verdict.lost, verdict.kept, verdict.unknown_kept) == ([], 3, 1)


def test_an_unknown_write_hides_no_loss_that_offsets_prove() -> None:
    made = Made()
    made.did("set", "k", "unknown", INFO)
    made.did("set", "k", "v2", offset=1500)
    made.back.registers["k"] = "unknown"
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    verdict = made.verdict()
    assert [one.value for one in verdict.lost] == ["v2"] and verdict.kept == 0


def test_an_unknown_write_that_was_answered_had_taken_effect_by_then() -> None:
    made = Made(primary="a")
    made.did("set", "k", "too few replicas", INFO, offset=100)
    made.did("set", "k", "v2", offset=200)
    made.back.registers["k"] = "too few replicas"
    assert [one.value for one in made.verdict().lost] == ["v2"]


def test_a_value_written_again_is_that_of_its_last_write() -> None:
    made = Made()
    for value in ("v1", "v2", "v1"):
        made.did("set", "k", value)
    made.back.registers["k"] = "v1"
    verdict = made.verdict()
    assert (verdict.lost, verdict.kept) == ([], 3)


def test_of_two_concurrent_writers_of_a_register_either_may_be_last() -> None:
    made = Made()
    made.did("set", "k", "first", at=(0, 25), client="c1")
    made.did("set", "k", "second", at=(10, 30), client="c2")
    made.back.registers["k"] = "first"
    assert made.verdict().lost == []


@pytest.mark.parametrize(
    ("times", "lost", "duplicated"), [(1, 1, []), (2, 0, []), (3, 0, []), (4, 0, ["l: again (4 times)"])]
)
def test_an_element_that_was_pushed_again_may_be_there_as_often(times: int, lost: int, duplicated: list[str]) -> None:
    made = Made()
    for status in (OK, INFO, OK):
        made.did("rpush", "l", "again", status)
    made.back.lists["l"] = ["again"] * times
    verdict = made.verdict()
    assert (len(verdict.lost), verdict.duplicated, verdict.unknown_kept) == (lost, duplicated, int(times > 2))


def test_within_one_millisecond_a_clients_own_order_counts() -> None:
    made = Made()
    made.did("rpush", "l", "first", at=(0, 10))
    made.did("rpush", "l", "second", at=(10, 12))
    made.did("rpush", "l", "other", at=(12, 14), client="c2")
    made.back.lists["l"] = ["other", "second", "first"]
    assert made.verdict().reordered == ["l: second", "l: other"]


def test_an_answer_above_all_that_was_asked_for_until_then_is_noticed() -> None:
    made = Made()
    made.did("incr", "count:c1", "", result=1)
    made.did("incr", "count:c1", "", result=3)
    made.did("incr", "count:c1", "", INFO)
    made.back.counters["count:c1"] = 3
    assert made.verdict().phantom == ["count:c1 is 3, 1 more than was written"]


def test_increments_that_came_back_with_their_node_are_not_lost() -> None:
    made = Made(primary="a")
    for node, result in (("a", 1), ("a", 2), ("a", 3), ("b", 2), ("a", 4)):
        made.did("incr", "count:c1", "", node=node, result=result)
    made.back.counters["count:c1"] = 4
    verdict = made.verdict()
    assert [(one.value, one.acknowledged_by) for one in verdict.lost] == [("2", "b")] and verdict.phantom == []


def test_what_a_node_went_on_from_is_kept_even_if_more_answers_of_another_would_fit() -> None:
    made = Made(primary="c")
    answers = [*(("a", result) for result in range(1, 61)), ("a", 1), ("a", 2), ("c", 39), ("c", 40), ("c", None)]
    for node, result in (*answers, *(("c", result) for result in range(42, 75))):
        status = OK if result is not None else INFO
        made.did("incr", "count:c1", "", status, node=node, result=result)
    made.back.counters["count:c1"] = 74
    verdict = made.verdict()
    assert [int(one.value) for one in verdict.lost] == [*range(39, 61), 1, 2] and verdict.phantom == []


def test_increments_whose_answers_are_not_told_are_counted() -> None:
    made = Made()
    for _ in range(3):
        made.did("incr", "count:c1", "")
    made.back.counters["count:c1"] = 3
    assert made.verdict().plain()["phantom"] == []
    made.back.counters["count:c1"] = 2
    assert len(check(made.history).lost) == 1


def test_a_read_of_what_nobody_wrote_or_what_was_refused_is_told() -> None:
    made = Made()
    made.did("set", "k", "refused", FAIL)
    made.did("set", "k", "v1")
    for value in ("v1", "refused", "ghost", ""):
        made.did("get", "k", value)
    made.back.registers["k"] = "v1"
    verdict = made.verdict()
    assert [one.rpartition(" ")[2] for one in (*verdict.resurrected, *verdict.phantom)] == ["refused", "ghost"]


def test_a_read_of_an_unknown_value_is_not_called_stale() -> None:
    made = Made()
    made.did("set", "k", "late", INFO)
    made.did("set", "k", "v2")
    made.did("get", "k", "late", expected="v2")
    made.back.registers["k"] = "late"
    assert made.verdict().stale_reads == []
    made = Made()
    made.did("set", "k", "answered, and WAIT fell short", INFO, offset=10)
    made.did("set", "k", "v2", offset=20)
    made.did("get", "k", "answered, and WAIT fell short", expected="v2")
    made.back.registers["k"] = "v2"
    assert len(made.verdict().stale_reads) == 1


# The file.


def test_a_history_file_is_judged_like_the_history_itself() -> None:
    lines: list[str] = ['{"type":"run","scenario":"s"}']
    made = Made(sink=lines)
    made.history.sample(Sample("a", 1, 2, "master", "id", 900, 0, None))
    made.did("set", "k", "v", offset=1500)
    made.did("rpush", "l", "e", INFO)
    made.did("incr", "count:c1", "", result=1)
    made.history.promoted(Promotion(400, "b", "a", 1200, "id", {"c": 3}))
    made.history.milestone(410, "repoint", "c")
    made.back.registers["k"] = None
    made.back.lists["l"] = ["e"]
    made.back.counters["count:c1"] = 1
    own = made.verdict(max_lag_s=3)
    ((about, read),) = read_lines(lines)
    assert about == {"scenario": "s"} and check(read).plain() == own.plain()
    assert own.plain()["writes"]["lost"] == 1 and own.plain()["writes"]["unknown_kept"] == 1


_OP = '{"type":"op","id":0,"client":"c","kind":"set","key":"k","value":"v","node":"a","invoke_ms":1,"status":"ok"}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting"),
        ("[]", 'an object with its "type"'),
        ("null", 'an object with its "type"'),
        ('{"no":1}', 'an object with its "type"'),
        ('{"type":"guess"}', "there are: run, op, sample"),
        ('{"type":"op"}', "missing required field"),
        (_OP.replace('"ok"', '"maybe"'), "maybe"),
        (_OP.replace('"set"', '"mset"'), "there are: set, rpush, incr, get"),
        (_OP.replace('"k"', "[]"), r"Expected str, got array - at \$.key"),
        (_OP.replace(':1,"status"', ':"soon","status"'), "Expected int, got str"),
        (_OP.replace('"id"', '"sort":5,"id"'), "there is no field sort"),
        ('{"type":"read","node":"a","registers":[1]}', "Expected object, got array"),
        ('{"type":"read","node":"a","lists":{"k":5}}', "Expected array, got int"),
        ('{"type":"read","node":"a","counters":{"k":"5"}}', "Expected int, got str"),
        ('{"type":"end","at_ms":5}', "primary"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_broken_history_file_is_refused_with_its_line_and_what_is_wrong(line: str, words: str) -> None:
    with pytest.raises(HistoryError, match="line 2: .*" + words):
        read_lines(['{"type":"run"}', line])


def _told(line: str) -> object:
    """What comes of a line: an operation, or why it is refused."""
    try:
        runs = read_lines(['{"type":"run"}', line])
    except HistoryError as problem:
        return str(problem)
    return [(about, found.operations, found.acknowledged) for about, found in runs]


_ODD = st.sampled_from(
    [
        None, True, 0, -1, 1.0, 1.5, 10**25, "", "ok", "info", "set", "get", "incr", "mset", "op", "run", "ä\ud800", [],
        [1], ["b"], {},
    ]
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*Operation.__slots__, "type", "strange"]), _ODD, max_size=3),
       st.sets(st.sampled_from([*Operation.__slots__, "type"]), max_size=2), st.booleans())  # fmt: skip
def test_the_decoder_for_operations_takes_and_refuses_what_the_one_for_all_records_does(
    odd: dict[str, object], left_out: set[str], twice: bool
) -> None:
    record = {key: value for key, value in (json.loads(_OP) | odd).items() if key not in left_out}
    line = json.dumps(record)
    if twice:
        line = f'{line[:-1]}{", " * bool(record)}"type": "sample", "id": 7}}'
    quick = _told(line)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(history_module, "_written", _refuse_all)
        assert _told(line) == quick


def _refuse_all(line: str) -> None:
    raise ValueError(line)


def test_operations_are_read_by_a_decoder_of_their_own_and_share_the_names_of_clients_and_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history_module, "_decoded", _refuse_all)
    line = _OP.replace('"c"', '"client"')
    ((_, found),) = read_lines([line, line, line.replace('"set"', '"get"')])
    one, other, read = found.operations
    assert one == other and one.client is other.client and one.node is other.node and one.kind is other.kind
    assert read.kind == "get" and found.acknowledged == 2


def test_nodes_at_one_offset_of_one_history_must_hold_the_same_data(tmp_path: Path) -> None:
    places = [("a", "id", 100, "d1"), ("b", "id", 100, "d1"), ("c", "id", 90, "d2"), ("d", "other", 100, "d3")]
    lines: list[str] = ['{"type":"run","scenario":"s"}']
    for place in places:
        fields = dict(zip(("node", "replid", "offset", "digest"), place, strict=True))
        lines.append(json.dumps({"type": "digest", **fields}))
    end = ['{"type":"read","node":"a"}', '{"type":"end","primary":"a"}']
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join([*lines, *end]))
    sound = CliRunner().invoke(cli.history, ["check", str(file), "--json"])
    assert sound.exit_code == 0, sound.output
    assert json.loads(sound.stdout)["pairs_compared"] == 1 and json.loads(sound.stdout)["ok"] is True
    file.write_text("\n".join([*lines, lines[2].replace("d1", "d9"), *end]))
    torn = CliRunner().invoke(cli.history, ["check", str(file)])
    assert torn.exit_code == 1 and "a and b stood at offset 100 of id, and their data differ: d1 and d9" in torn.output


def test_each_lost_write_is_told_with_who_confirmed_it_where_and_why_it_is_gone(tmp_path: Path) -> None:
    lines: list[str] = ['{"type":"run","scenario":"s"}']
    made = Made(sink=lines)
    made.did("set", "k", "v", offset=1500).acked = 0
    made.history.promoted(Promotion(400, "b", "a", 1200, "id"))
    made.verdict()
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join(line.replace('"offset": 1500', '"offset":1500,"acked":0') for line in lines))
    told = CliRunner().invoke(cli.history, ["check", str(file)])
    assert told.exit_code == 1
    assert "acknowledged by a at offset 1500 at 5 ms, 0 replicas had confirmed that offset" in told.output
    assert "300 bytes beyond offset 1200, where b stood" in told.output
    assert "would have prevented it: WAIT 1" in told.output


def test_the_replicas_that_had_a_lost_write_are_named(tmp_path: Path) -> None:
    line = '{"type":"op","id":0,"client":"c1","kind":"set","key":"k","value":"v","node":"a","invoke_ms":0,"status":"ok"'
    file = tmp_path / "history.jsonl"
    file.write_text(
        f'{line},"end_ms":5,"offset":1500,"acked":1,"acked_by":["c"]}}\n'
        '{"type":"promotion","at_ms":400,"node":"b","before":"a","offset":1200,"replid":"id"}\n'
        '{"type":"read","node":"b"}\n{"type":"end","primary":"b"}\n'
    )
    told = CliRunner().invoke(cli.history, ["check", str(file), "--json"])
    (lost,) = json.loads(told.output)["lost"]
    assert (lost["replicas_acked"], lost["acked_by"]) == (1, ["c"])
    assert "1 replica (c) had confirmed that offset" in CliRunner().invoke(cli.history, ["check", str(file)]).output


def test_a_value_written_twice_is_not_lost_where_the_second_may_be_the_one_that_is_there() -> None:
    made = Made()
    for value in ("v", "w", "v"):
        made.did("set", "k", value)
    made.back.registers["k"] = "v"
    assert made.verdict().lost == []
