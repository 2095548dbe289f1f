"""Judges of histories: linearizability against all orders tried out, EDN, Jepsen's registers and appends, backward
reads."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.scenario import cli
from replicator.scenario.verdict import reads
from replicator.scenario.verdict.history import History, ReadBack, Status
from replicator.scenario.verdict.jepsen.edn import EdnError, read_all
from replicator.scenario.verdict.jepsen.jepsen import check_text
from replicator.scenario.verdict.linearizable import STEPS_A_CALL, Answer, Call, Verdict, judge, judge_keys
from replicator.scenario.verdict.reads import backward_reads, linearizability


def _tried_out(calls: list[Call]) -> bool:
    """The dumb twin: every subset of what may not have happened, in every order."""
    calls = [call for call in calls if not (call.kind == "read" and call.end is None)]
    open_ = [call for call in calls if call.end is None]
    ended = [call for call in calls if call.end is not None]
    for mask in range(1 << len(open_)):
        chosen = ended + [call for index, call in enumerate(open_) if mask >> index & 1]
        for order in permutations(chosen):
            if all(
                not (later.end is not None and later.end < sooner.begin)
                for at, sooner in enumerate(order)
                for later in order[at + 1 :]
            ) and _fits(order):
                return True
    return False


def _fits(order: tuple[Call, ...]) -> bool:
    state: object = None
    for call in order:
        if call.kind == "read" and call.value != state:
            return False
        if call.kind == "cas" and call.expected != state:
            return False
        if call.kind != "read":
            state = call.value
    return True


@st.composite
def _histories(draw: st.DrawFn) -> list[Call]:
    calls = []
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, 12))
        end = draw(st.one_of(st.none(), st.integers(begin, 14)))
        kind = draw(st.sampled_from(("write", "read", "cas")))
        value = draw(st.sampled_from((None, 1, 2))) if kind == "read" else draw(st.sampled_from((1, 2)))
        calls.append(Call(kind, value, begin, end, draw(st.sampled_from((None, 1, 2))) if kind == "cas" else None))
    return calls


@given(_histories())
@settings(max_examples=400, deadline=None)
def test_the_search_agrees_with_trying_all_orders(calls: list[Call]) -> None:
    assert (judge(calls).answer is Answer.YES) == _tried_out(calls)


def test_too_much_effort_is_answered_with_unknown() -> None:
    calls = [Call("write", number, 0, 1000) for number in range(30)]
    calls += [Call("read", 5, 1001, 1002), Call("read", 6, 1003, 1004)]
    assert judge(calls, effort=500).answer is Answer.UNKNOWN


def test_a_value_that_nobody_wrote_needs_no_search() -> None:
    calls = [Call("write", number, 0, 1000) for number in range(30)]
    for strange in (Call("read", 99, 1001, 1002), Call("cas", 1, 1001, 1002, 99)):
        verdict = judge([*calls, strange], effort=500)
        assert verdict.answer is Answer.NO and verdict.stuck is strange
    assert judge([*calls[:2], Call("cas", 99, 5, None, 1), Call("read", 99, 1001, 1002)]).answer is Answer.YES


def test_a_lost_write_is_not_linearizable_and_an_unknown_one_may_be_missing() -> None:
    lost = [Call("write", "x", 0, 1), Call("read", None, 2, 3)]
    verdict = judge(lost)
    assert verdict.answer is Answer.NO and verdict.stuck == lost[1]
    assert judge([Call("write", "x", 0, None), Call("read", None, 2, 3)]).answer is Answer.YES


@given(st.lists(st.tuples(st.sampled_from(["write", "read", "cas"]), st.integers(0, 2), st.integers(0, 2)), max_size=6))
def test_operations_one_after_the_other_are_judged_in_their_turn(steps: list[tuple[str, int, int]]) -> None:
    calls = [Call(kind, value, 3 * place, 3 * place + 1, old) for place, (kind, value, old) in enumerate(steps)]
    state: object = None
    fits = True
    for call in calls:
        fits = fits and (call.kind == "write" or state == (call.value if call.kind == "read" else call.expected))
        state = state if call.kind == "read" else call.value
    assert (judge(calls).answer is Answer.YES) == fits
    assert (judge([*calls[::-1], Call("write", 9, 0, None)], effort=10**6).answer is not Answer.NO) >= fits


def test_edn_is_read() -> None:
    text = '{:type :ok, :value [1 "a\\nb" nil true -2.5], :s #{1 2}} ; a comment\n#jepsen.Op{:f :read} #_ gone (x y)'
    assert read_all(text) == [
        {":type": ":ok", ":value": [1, "a\nb", None, True, -2.5], ":s": [1, 2]},
        {":f": ":read"},
        ["x", "y"],
    ]


def test_edn_keeps_escapes_and_takes_any_value_for_a_key() -> None:
    assert read_all('"a\\u0041\\"\\\\n\\n"') == ['aA"\\n\n']
    ((found,),) = [read_all("{{:a [1]} 2 [3 {:b 4}] 5}")]
    assert sorted(found.values()) == [2, 5]


@pytest.mark.parametrize("text", ["[1", "]", "[1)", "{1}", '"open', "[" * 300])
def test_broken_edn_is_refused(text: str) -> None:
    with pytest.raises(EdnError):
        read_all(text)


REGISTER = """
{:type :invoke, :f :write, :value 1, :process 0, :index 0}
{:type :ok, :f :write, :value 1, :process 0, :index 1}
{:type :invoke, :f :cas, :value [1 2], :process 1, :index 2}
{:type :info, :f :kill, :process :nemesis}
{:type :info, :f :cas, :value [1 2], :process 1, :index 3}
{:type :invoke, :f :read, :value nil, :process 0, :index 4}
{:type :ok, :f :read, :value %s, :process 0, :index 5}
"""


def test_jepsens_registers_are_judged() -> None:
    assert check_text(REGISTER % "1").problems == []
    assert check_text(REGISTER % "2").problems == []
    (problem,) = check_text(REGISTER % "3").problems
    assert "not linearizable" in problem and "read of 3" in problem


def test_independent_keys_are_judged_alone() -> None:
    text = "".join(
        f"{{:type :invoke, :f :write, :value [{key} 1], :process {key}}} "
        f"{{:type :ok, :f :write, :value [{key} 1], :process {key}}}"
        f"{{:type :invoke, :f :read, :value [{key} nil], :process {key}}} "
        f"{{:type :ok, :f :read, :value [{key} {value}], :process {key}}}"
        for key, value in ((7, 1), (8, 2))
    )
    judged = check_text(text)
    assert judged.keys == 2 and len(judged.problems) == 1 and "key 8" in judged.problems[0]


APPEND = """
[{:type :invoke, :f :txn, :value [[:append 5 1]], :process 0} {:type :ok, :f :txn, :value [[:append 5 1]], :process 0}
 {:type :invoke, :f :txn, :value [[:append 5 2]], :process 1} {:type :info, :f :txn, :value [[:append 5 2]], :process 1}
 {:type :invoke, :f :txn, :value [[:r 5 nil]], :process 0} {:type :ok, :f :txn, :value [[:r 5 %s]], :process 0}]
"""


@pytest.mark.parametrize(
    ("read", "problem"),
    [("[1]", ""), ("[1 2]", ""), ("[2]", "is lost"), ("[1 1]", "2 times"), ("[1 9]", "by nobody")],
)
def test_jepsens_appends_are_judged(read: str, problem: str) -> None:
    problems = check_text(APPEND % read).problems
    assert (not problems) if not problem else any(problem in one for one in problems), problems


def _operations(*steps: str) -> str:
    """ "0 invoke write 1" -> an operation of process 0."""
    return "\n".join(
        "{{:process {}, :type :{}, :f :{}, :value {}}}".format(*step.split(" ", 3)) for step in steps
    )


def _ran(process: int, f: str, value: str, told: str | None = None, how: str = "ok") -> tuple[str, str]:
    return f"{process} invoke {f} {value}", f"{process} {how} {f} {told or value}"


def _transactions(*steps: tuple[int, str, str]) -> str:
    return _operations(*(line for process, asked, told in steps for line in _ran(process, "txn", asked, told)))


def _list_history(*steps: tuple[str, str, int]) -> str:
    """(type, step, process) in a row."""
    return "".join(f"{{:type :{kind}, :f :txn, :value [{step}], :process {process}}}" for kind, step, process in steps)


_FIRST = (("invoke", "[:append 5 1]", 0), ("ok", "[:append 5 1]", 0))
_SECOND = (("invoke", "[:append 5 2]", 0), ("ok", "[:append 5 2]", 0))


def _read(shown: str, process: int = 1) -> tuple[tuple[str, str, int], ...]:
    return ("invoke", "[:r 5 nil]", process), ("ok", f"[:r 5 {shown}]", process)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([(0, "[[:append 5 1]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 nil]]")], "1 was acknowledged and is lost"),
        (
            [(0, "[[:append 5 1]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 [1]]]"), (2, "[[:r 5 nil]]", "[[:r 5 []]]")],
            "misses 1, acknowledged before it",
        ),
        (
            [(0, "[[:append 5 1]]", ""), (0, "[[:append 5 2]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 [2 1]]]")],
            "1 was appended before 2, and stands behind it",
        ),
        (
            [(0, "[[:append 5 1] [:append 5 2]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 [2 1]]]")],
            "1 was appended before 2 in one transaction, and stands behind it",
        ),
        (
            [
                (0, "[[:append 5 1]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 [1]]]"),
                (1, "[[:r 5 nil]]", "[[:r 5 nil]]"), (2, "[[:r 5 nil]]", "[[:r 5 [1]]]"),
            ],
            "misses 1, acknowledged before it",
        ),
        (
            [
                (0, "[[:append 5 1]]", ""), (0, "[[:r 5 nil]]", "[[:r 5 nil]]"),
                (2, "[[:r 5 nil]]", "[[:r 5 [1]]]"),
            ],
            "misses 1, acknowledged before it",
        ),
        ([(0, "[[:append 5 [1 2]]]", ""), (0, "[[:r 5 nil]]", "[[:r 5 [[1 2]]]]")], ""),
        ([(0, "[[:append 5 1] [:r 6 nil]]", ""), (1, "[[:r 5 nil]]", "[[:r 5 [1]]]")], ""),
    ],
)  # fmt: skip
def test_lists_lose_and_reorder_nothing(steps: list[tuple[int, str, str]], problem: str) -> None:
    problems = check_text(_transactions(*((process, asked, told or asked) for process, asked, told in steps))).problems
    assert any(problem in one for one in problems) if problem else problems == []


def test_appends_without_transactions_are_judged_alike() -> None:
    lost = _operations(*_ran(0, "append", "1"), *_ran(1, "read", "nil", "[]"))
    assert check_text(lost).problems == ["the list: 1 was acknowledged and is lost"]
    keyed = _operations(*_ran(0, "append", "[7 1]"), *_ran(1, "read", "[7 nil]", "[7 [1]]"))
    judged = check_text(keyed)
    assert judged.kind == "append" and judged.keys == 1 and not judged.problems


def test_elles_examples_without_processes_are_judged_by_what_was_read() -> None:
    text = "{:type :ok, :value [[:append :x 1]]} {:type :fail, :value [[:append :x 2]]}"
    text += "{:type :ok, :value [[:r :x %s]]}"
    assert check_text(text % "[1]").problems == [] == check_text(text % "[]").problems
    assert "was refused" in check_text(text % "[1 2]").problems[0]


def test_a_plain_cas_is_not_taken_for_one_of_a_key() -> None:
    assert check_text(_operations(*_ran(0, "cas", "[nil 2]"), *_ran(0, "cas", "[2 4]"))).problems == []
    judged = check_text(_operations(*_ran(0, "cas", "[8 [nil 2]]"), *_ran(0, "cas", "[9 [nil 4]]")))
    assert judged.keys == 2 and judged.ok


def test_values_of_a_register_may_be_collections() -> None:
    assert check_text(_operations(*_ran(0, "write", "{:a [1]}"), *_ran(0, "read", "nil", "{:a [1]}"))).ok
    assert not check_text(_operations(*_ran(0, "write", "{:a [1]}"), *_ran(0, "read", "nil", "{:a [2]}"))).ok


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no operation of a client"),
        ("{:type :info, :process :nemesis, :f :kill}", "no operation of a client"),
        ("{:type :sometimes, :process 0, :f :write, :value 1}", "none of :invoke, :ok, :fail, :info"),
        ("{:type :ok, :process 0, :f :write, :value 1}", "has not begun"),
        ("{:type :invoke, :f :write, :value 1}", "has no :process"),
        ("{:type :ok, :f :write, :value 1}", "need :process"),
        (_operations("0 invoke write 1", "0 invoke write 2"), "begins anew"),
        (_operations(*_ran(0, "txn", "[[:w :x 1]]")), "a transaction's step is"),
        (_operations(*_ran(0, "txn", "5")), "a transaction is a list of steps"),
        (_operations(*_ran(0, "txn", "[[:r 5 7]]")), "is no list"),
        (_operations(*_ran(0, "append", "5"), *_ran(0, "write", "5")), "none of :append, :read"),
        (_operations(*_ran(0, "add", "5")), "operation :add"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_not_called_sound(text: str, words: str) -> None:
    with pytest.raises(EdnError, match=words):
        check_text(text)


def test_what_took_too_much_effort_is_called_neither_sound_nor_wrong() -> None:
    open_ = [f"{process} invoke write {process}" for process in range(30)]
    closed = [f"{process} ok write {process}" for process in range(30)]
    reads = [*_ran(40, "read", "nil", "5"), *_ran(40, "read", "nil", "6")]
    plain = check_text(_operations(*open_, *closed, *reads), effort=500).plain()
    assert plain["ok"] is None and plain["unknown"] == ["the register"] and plain["problems"] == []


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((*_FIRST, *_read("nil")), "1 was acknowledged and is lost"),
        ((*_FIRST, *_SECOND, *_read("[2 1]")), "1 was appended before 2, and stands behind it"),
        ((*_FIRST, *_read("[]"), *_read("[1]")), "misses 1, acknowledged before it"),
        ((*_FIRST, *_read("[1]"), *_read("[]")), "misses 1, acknowledged before it"),
        ((*_read("[1]"), *_FIRST, *_read("[1]")), "shows 1, appended after it"),
        ((_FIRST[0], *_read("[1]"), *_read("[]"), _FIRST[1]), "shows 0 elements, one before it 1"),
        ((_read("[2]", 2)[0], *_FIRST, *_SECOND, _read("[2]", 2)[1]), "1 was acknowledged and is lost"),
        ((("invoke", "[:append 5 1]", 0), ("fail", "[:append 5 1]", 0), *_FIRST, *_read("[1]")), ""),
        ((*_FIRST, ("invoke", "[:append 5 1]", 0), ("fail", "[:append 5 1]", 0), *_read("[1]")), ""),
        ((*_FIRST, *_FIRST, *_read("[1 1]")), ""),
    ],
)
def test_a_list_is_held_to_the_order_of_time(steps: tuple[tuple[str, str, int], ...], problem: str) -> None:
    problems = check_text(_list_history(*steps)).problems
    assert any(problem in one for one in problems) if problem else problems == []


@pytest.mark.parametrize("value", ["[1 2 3]", "{:a [1]}", "#{1 2}"])
def test_a_registers_value_may_be_a_collection(value: str) -> None:
    assert (
        check_text(REGISTER.replace(":value 1", f":value {value}").replace("[1 2]", f"[{value} 2]") % "2").problems
        == []
    )


def test_many_riddles_together_are_bounded_and_quiet_keys_are_judged_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("replicator.scenario.verdict.linearizable.EFFORT_IN_ALL", 3000)
    riddle = [Call("write", number, 0, 1000) for number in range(12)]
    riddle += [Call("read", 5, 1001, 1002), Call("read", 6, 1003, 1004)]
    quiet = [Call("write", 1, 0, 1), Call("read", 1, 2, 3)]
    keyed = [(f"riddle{number}", call) for number in range(20) for call in riddle]
    found = judge_keys([*keyed, *(("quiet", call) for call in quiet)], effort=1000)
    assert sum(one.steps for one in found.values()) < 3000 + 20 * (STEPS_A_CALL * len(riddle) + 1)
    assert found["quiet"].answer is Answer.YES and found["riddle19"].answer is Answer.UNKNOWN


def test_a_long_quiet_register_is_judged_and_takes_little_memory() -> None:
    calls = [Call("write", number, 2 * number, 2 * number + 2) for number in range(25_000)]
    tracemalloc.start()
    verdict = judge(calls, effort=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.answer is Answer.YES and peak < 1000 * len(calls)


def test_unknown_writes_that_nobody_read_cost_no_effort() -> None:
    calls = [Call("write", number, number, None) for number in range(2000)]
    assert judge([*calls, Call("read", -1, 3000, 3001)], effort=500).answer is Answer.NO
    assert judge([*calls, Call("read", 77, 3000, 3001)], effort=500).answer is Answer.YES


def _history(reads: list[str]) -> History:
    history = History()
    for number in range(3):
        history.end(history.invoke("w", "set", "k", f"v{number}", "a", number * 10), Status.OK, number * 10 + 5)
    for place, value in enumerate(reads):
        operation = history.invoke("r", "get", "k", "", "b", 100 + place * 10)
        operation.value = value
        history.end(operation, Status.OK, 105 + place * 10)
    history.close(500, [ReadBack("a", {"k": "v2"})], "a")
    return history


def test_a_read_that_goes_back_is_told() -> None:
    assert backward_reads(_history(["v0", "v1", "v2", "v2"])) == []
    (told,) = backward_reads(_history(["v1", "v0"]))
    assert "v0, after it had read v1" in told


def test_a_client_that_reads_less_than_it_has_written_is_told_where_the_history_does_not_say_what_it_expected() -> None:
    history = _history([])
    history.invoke("w", "get", "k", "", "b", 300)
    read = history.operations[-1]
    read.value, read.status, read.end_ms = "v1", Status.OK, 305
    (told,) = backward_reads(history)
    assert "v1, after it had written v2" in told
    read.expected = "v2"  # then it is a stale read already
    assert backward_reads(history) == []


def test_reads_of_a_key_that_was_given_one_value_twice_are_not_judged_by_their_order() -> None:
    history = _history(["v1", "v0"])
    history.operations[2].value = "v0"
    assert backward_reads(history) == []


def test_an_unknown_write_may_be_read_late_but_only_in_one_place() -> None:
    def told(reads: list[str]) -> int:
        history = _history(reads)
        history.operations[0].status = Status.INFO
        return len(backward_reads(history))

    assert told(["v1", "v0", "v2"]) == 0
    assert told(["v1", "v0", "v1"]) == told(["v0", "v1", "v0"]) == 1


def test_a_value_written_again_may_be_read_again() -> None:
    history = History()
    for place, value in enumerate(("x", "", "x")):
        history.end(history.invoke("w", "set", "k", value, "a", 100 * place), Status.OK, 100 * place + 10)
        read = history.invoke("r", "get", "k", "", "a", 100 * place + 20)
        read.value = value
        history.end(read, Status.OK, 100 * place + 30)
    history.close(500, [ReadBack("a", {"k": "x"})], "a")
    assert backward_reads(history) == []
    assert linearizability(history)["k"].answer is Answer.YES


_STATUSES = st.sampled_from([Status.OK] * 6 + [Status.FAIL, Status.INFO, Status.OPEN])
_VALUES = st.sampled_from(["", "x", "y", "z"])


@st.composite
def _registers(draw: st.DrawFn) -> History:
    """Operations on two registers that often come one after the other, and then fit more often than not."""
    history, held, at = History(), {"k": "", "l": ""}, 0
    crowded = draw(st.booleans())
    for _ in range(draw(st.integers(0, 7))):
        at += draw(st.integers(-2 if crowded else 1, 3))
        kind, key = draw(st.sampled_from(["set", "get"])), draw(st.sampled_from("kl"))
        seen = held[key] if draw(st.integers(0, 5)) else draw(_VALUES)
        operation = history.invoke("c", kind, key, draw(_VALUES) if kind == "set" else seen, "a", at)
        operation.status = draw(_STATUSES)
        if operation.status is not Status.OPEN:
            operation.end_ms = at + draw(st.integers(-1 if crowded else 0, 2))
        if not crowded:
            at += 2
        if kind == "set" and operation.status is Status.OK:
            held[key] = operation.value
    registers: dict[str, str | None] = dict(held)
    if not draw(st.integers(0, 3)):
        registers[draw(st.sampled_from("klm"))] = draw(st.one_of(st.none(), _VALUES))
    history.read_backs = [ReadBack("a", registers)] * draw(st.integers(0, 2)) + [ReadBack("b", {"k": "other"})]
    history.primary = "a"
    return history


@given(_registers())
@settings(max_examples=400, deadline=None)
def test_registers_judged_without_a_search_are_judged_as_the_search_judges_them(history: History) -> None:
    last = max((one.end_ms or one.invoke_ms for one in history.operations), default=0) + 1
    keyed = [
        (one.key, Call("write" if one.kind == "set" else "read", one.value, one.invoke_ms,
                       one.end_ms if one.status is Status.OK else None))
        for one in history.operations if one.status is not Status.FAIL
    ]  # fmt: skip
    for back in history.read_backs[:-1]:
        keyed += [(key, Call("read", value or "", last, last + 1)) for key, value in back.registers.items()]
    searched = judge_keys(keyed, initial="")
    found = linearizability(history)
    assert list(found) == list(searched)
    assert [one.answer for one in found.values()] == [one.answer for one in searched.values()]
    stuck = [one.stuck for one in searched.values()]
    assert [one.stuck for one in found.values()] == stuck


def test_registers_whose_operations_follow_each_other_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(keyed: list[tuple[str, Call]], effort: int, initial: object) -> dict[str, Verdict]:
        searched.extend(key for key, _ in keyed)
        return judge_keys(keyed, effort, initial)

    monkeypatch.setattr(reads, "judge_keys", search)
    assert linearizability(_history(["v2", "v2"]))["k"].answer is Answer.YES
    assert searched == []
    assert linearizability(_history(["v0"]))["k"].answer is Answer.NO
    assert set(searched) == {"k"}


def test_registers_of_a_history_are_held_to_linearizability() -> None:
    assert linearizability(_history(["v2"]))["k"].answer is Answer.YES
    assert linearizability(_history(["v1"]))["k"].answer is Answer.NO


def test_the_command_judges_an_edn_file(tmp_path: Path) -> None:
    file = tmp_path / "history.edn"
    file.write_text(REGISTER % "3")
    result = CliRunner().invoke(cli.history, ["check", str(file)])
    assert result.exit_code == 1 and "not linearizable" in result.output
    file.write_text(REGISTER % "1")
    assert CliRunner().invoke(cli.history, ["check", str(file), "--json"]).exit_code == 0
    file.write_text("[")
    assert CliRunner().invoke(cli.history, ["check", str(file)]).exit_code == 2
