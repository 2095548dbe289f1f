"""A wrong scenario file is refused with its file, the key and what is allowed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.scenario.script import bounds
from replicator.scenario.script.load import ScriptError, load, loads
from replicator.scenario.script.units import Bytes, Milliseconds

BASE = """
title = "t"
about = "a"
[topology]
replicas = 2
[config]
repl-timeout = 3
[workload]
clients = 2
[[steps]]
at = "1s"
kill = "a"
[[steps]]
when = { down = "a", for = "300ms" }
promote = "best"
[[steps]]
cut = { between = ["a", "b"], mode = "reset" }
[[expect]]
lost = 0
"""

# (what is replaced, by what, the key that is named, words that the message must have)
WRONG = [
    ('title = "t"', "", "title", ["missing"]),
    ('about = "a"', 'abot = "a"', "abot", ['did you mean "about"', "Allowed:"]),
    ("replicas = 2", "replcas = 2", "topology.replcas", ['"replicas"']),
    ("replicas = 2", "replicas = 99", "topology.replicas", ["0 to 20"]),
    ("replicas = 2", "replicas = 'two'", "topology.replicas", ["int", "str"]),
    ("repl-timeout = 3", "Repl_Timeout = 3", "config.Repl_Timeout", ["no such directive", '"repl-timeout"']),
    ("repl-timeout = 3", "repl-timeot = 3", "config.repl-timeot", ["no such directive", '"repl-timeout"']),
    ("repl-timeout = 3", "repl-timeout = 'soon'", "config.repl-timeout", ["'soon'", "parsed into an integer"]),
    ("repl-timeout = 3", "repl-timeout = -1", "config.repl-timeout", ["between 1 and"]),
    ("repl-timeout = 3", "appendfsync = 'often'", "config.appendfsync", ["always", "everysec"]),
    ("repl-timeout = 3", "port = 7000", "config.port", ["set by the stage"]),
    ("lost = 0", "lost = 0\n[nodes.b]\nconfig = { hz = 'x' }", "nodes.b.config.hz", ["integer"]),
    ('kill = "a"', "config = { node = 'a', set = { hzz = 5 } }", "steps[0].config.set.hzz", ['"hz"']),
    ('kill = "a"', "config = { node = 'a', set = { databases = 5 } }", "steps[0].config.set.databases",
     ["running node"]),
    ("clients = 2", "value_size = '1tb'", "workload.value_size", ["size"]),
    ("clients = 2", "value_size = '10gb'", "workload.value_size", ["at most 16"]),
    ("clients = 2", "timeout = 0", "workload.timeout", ["above 0"]),
    ("clients = 2", "start = '2s'\nstop = '1s'", "workload.stop", ["after start"]),
    ('title = "t"', 'title = "t"\nduration = 0', "duration", ["above 0"]),
    ('title = "t"', 'title = "t"\nduration = "90000m"', "duration", ["at most"]),
    ('title = "t"', 'title = "t"\nduration = "999ms"', "steps[0].at", ["behind the end", "999 ms"]),
    ('promote = "best"', 'promote = "best"\n[[steps]]\nat = "999ms"\nkill = "b"', "steps[2].at",
     ["order of their times", "steps[0]"]),
    ("lost = 0", 'lost = ">> 3"', "expect[0].lost", ["10..50", "'>> 3'"]),
    ("lost = 0", 'lost = "> -3"', "expect[0].lost", ["10..50"]),
    ("lost = 0", 'lost = "50..10"', "expect[0].lost", ["50..10"]),
    ("repl-timeout = 3", "repl-timeout = [3]", "config", ["Expected"]),
    ("clients = 2", "clents = 2", "workload.clents", ['"clients"', "wait_replicas"]),
    ("clients = 2", "clients = 1000", "workload.clients", ["0 to 100"]),
    ("clients = 2", "kind = 'registre'", "workload.kind", ['"register"', "append", "counter", "mixed"]),
    ("clients = 2", "rate = 0", "workload.rate", ["above 0"]),
    ("clients = 2", "reads = 1.5", "workload.reads", ["0 to 1"]),
    ("clients = 2", "target = 'z'", "workload.target", ["'z'", "primary, a, b, c"]),
    ("clients = 2", "read_from = 'z'", "workload.read_from", ["primary, a, b, c"]),
    ("clients = 2", "name = 'a'", "workload.name", ["plain name"]),
    ("clients = 2", "value_size = '3 bananas'", "workload.value_size", ["64kb"]),
    ("clients = 2", "timeout = 5", "workload.timeout", ["250ms"]),
    ("clients = 2", "discovery = 'sentinels'", "workload.discovery", ["directory"]),
    ('at = "1s"', 'at = "1"', "steps[0].at", ["unit", "2s"]),
    ('at = "1s"', 'at = "1s"\nafter = "2s"', "steps[0]", ["at and after"]),
    ('kill = "a"', 'kil = "a"', "steps[0].kil", ['did you mean "kill"', "promote"]),
    ('kill = "a"', 'kill = "x"', "steps[0].kill", ["Allowed: a, b, c"]),
    ('kill = "a"', 'kill = { nod = "a" }', "steps[0].kill.nod", ['"node"', "power_loss"]),
    ('kill = "a"', 'kill = "a"\nstop = "b"', "steps[0]", ["exactly one action", '"kill" and "stop"']),
    ('kill = "a"', "", "steps[0]", ["exactly one action", "none", "continue"]),
    ('kill = "a"', 'continue = "q"', "steps[0].continue", ["Allowed: a, b, c"]),
    ('kill = "a"', 'restart = { node = "a", data = "lose" }', "steps[0].restart.data", ["keep", "wipe"]),
    ('kill = "a"', 'restart = { node = "a", replica_of = "x" }', "steps[0].restart.replica_of", ["primary", "none"]),
    ('kill = "a"', 'repoint = { nodes = ["x"] }', "steps[0].repoint", ["others"]),
    ('kill = "a"', 'heal = "some"', "steps[0].heal", ["all"]),
    ('kill = "a"', 'load = "more"', "steps[0].load", ["pause", "resume", "stop"]),
    ('kill = "a"', "command = { node = 'a', argv = [] }", "steps[0].command.argv", ["no command"]),
    ('kill = "a"', "config = { node = 'x', set = { hz = 5 } }", "steps[0].config.node", ["all"]),
    ('kill = "a"', "wait = {}", "steps[0].wait", ["synced", "behind"]),
    ('kill = "a"', "wait = { log = { node = 'a' } }", "steps[0].wait.log", ["contains or matches"]),
    ('kill = "a"', "wait = { log = { node = 'a', matches = '(' } }", "steps[0].wait.log.matches", ["regular"]),
    ('kill = "a"', "wait = { behind = { node = 'a', by = 'far' } }", "steps[0].wait.behind.by", ["size"]),
    ('kill = "a"', "delay = { between = ['a', 'b'], delay = 'x' }", "steps[0].delay.delay", ["250ms"]),
    ('kill = "a"', "throttle = { between = ['a', 'b'], rate = -1 }", "steps[0].throttle.rate", ["size"]),
    ("{ down", "{ dwn", "steps[1].when.dwn", ['"down"', "synced"]),
    ('"300ms"', '"300"', "steps[1].when.for", ["unit"]),
    ('down = "a"', 'link = { node = "b", is = "broken" }', "steps[1].when.link.is", ["up", "down"]),
    ('promote = "best"', 'promote = "bst"', "steps[1].promote", ['did you mean "best"']),
    ('promote = "best"', 'promote = { node = "best", among = ["x"] }', "steps[1].promote.among", ["a, b, c"]),
    ('mode = "reset"', 'mode = "rset"', "steps[2].cut.mode", ['"reset"', "blackhole", "refuse"]),
    ('["a", "b"]', '["a", "x"]', "steps[2].cut.between[1]", ["others", "everyone"]),
    ('["a", "b"]', '["a", "a"]', "steps[2].cut.between", ["another party"]),
    ('mode = "reset"', 'direction = "a->c"', "steps[2].cut.direction", ['"a->b"', '"both"']),
    ("lost = 0", "los = 0", "expect[0].los", ['did you mean "lost"']),
    ("lost = 0", 'lost = "few"', "expect[0].lost", ["10..50"]),
    ("lost = 0", 'lost = "< other"', "expect[0].lost", ["variant"]),
    ("lost = 0", "", "expect[0]", ["exactly one thing", "nothing"]),
    ("lost = 0", "lost = 0\nkept = 1", "expect[0]", ["kept and lost"]),
    ("lost = 0", "lost = 0\nvariant = 'x'", "expect[0].variant", ["'x'"]),
    ("lost = 0", "kept = 0\nnode = 'a'", "expect[0].node", ["full_syncs"]),
    ("lost = 0", "promoted = 'x'", "expect[0].promoted", ["a, b, c"]),
    ("lost = 0", "role = { node = 'a', is = 'king' }", "expect[0].role.is", ["primary", "replica"]),
    ("lost = 0", "writable_within = 5", "expect[0].writable_within", ["250ms"]),
    ("lost = 0", "kept = 0\n[nodes.b]\nreplica_of='c'\n[nodes.c]\nreplica_of='b'", "nodes.b.replica_of", ["circle"]),
    ("lost = 0", "lost = 0\n[nodes.x]\n", "nodes", ["exactly one node", "a, x"]),
    ("lost = 0", "lost = 0\n[nodes.best]\nreplica_of = 'a'", "nodes.best", ["no name for a node"]),
    ("lost = 0", "lost = 0\n[faults]\nkinds = { explode = 1 }", "faults.kinds.explode", ["power-loss"]),
    ("lost = 0", "lost = 0\n[faults]\nkinds = { kill = -1 }", "faults.kinds.kill", ["from 0"]),
    ("lost = 0", "lost = 0\n[faults]\nkinds = { kill = nan }", "faults.kinds.kill", ["from 0"]),
    ("lost = 0", "lost = 0\n[faults]\nkinds = { kill = 0 }", "faults.kinds", ["nothing to draw"]),
    ("lost = 0", "lost = 0\n[faults]\nper_minute = -3", "faults.per_minute", ["above 0"]),
    ("lost = 0", "lost = 0\n[faults]\nper_minute = nan", "faults.per_minute", ["above 0"]),
    ("lost = 0", "lost = 0\n[faults]\nstart = '1s'\nstop = '1s'", "faults.stop", ["after faults.start", "1000 ms"]),
    ("lost = 0", "lost = 0\n[faults]\nstop = 0", "faults.stop", ["after faults.start", "0 ms"]),
    ("lost = 0", "lost = 0\n[[faults.plan]]\nat = '1s'\nkind = 'kill'\nnode = 'x'", "faults.plan[0].node", ["a, b, c"]),
    ("lost = 0", "lost = 0\n[[faults.plan]]\nat = '1s'\nkind = 'kill'", "faults.plan[0].node", ["a, b, c"]),
    ("lost = 0", "lost = 0\n[[faults.plan]]\nat = '1s'\nkind = 'cut'\nnode = 'a'", "faults.plan[0].other",
     ["b, c, clients"]),
    ("lost = 0", "lost = 0\n[[faults.plan]]\nat = '1s'\nkind = 'repoint'\nnode = 'b'\nother = 'b'",
     "faults.plan[0].other", ["a, c"]),
    ("lost = 0", "lost = 0\n[end]\nheel = true", "end.heel", ['"heal"']),
    ("lost = 0", "lost = 0\n[[variants]]\nname = 'v'\n[[variants]]\nname = 'v'", "variants[1].name", ["once"]),
    ("lost = 0", "kept = 0\n[[variants]]\nname = 'v'\nworkload = { clents = 1 }", "variants[0] -> workload.clents",
     ["clients"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "words"), WRONG, ids=[f"{key}: {new}"[:60] for _, new, key, _ in WRONG])
def test_a_wrong_key_is_named_with_what_is_allowed(old: str, new: str, key: str, words: list[str]) -> None:
    assert old in BASE
    with pytest.raises(ScriptError) as caught:
        loads(BASE.replace(old, new, 1), "some.toml")
    assert caught.value.key == key, str(caught.value)
    assert str(caught.value).startswith("some.toml: ")
    for word in words:
        assert word in caught.value.problem, str(caught.value)


def test_the_base_of_these_tests_is_right() -> None:
    script, plays = loads(BASE)
    assert script.upstreams() == {"a": None, "b": "a", "c": "a"}
    assert [name for name, _ in plays] == [""]
    assert loads(BASE.replace('about = "a"', ""))[0].about == "", "a file need not explain itself"


KILLS = "[faults]\nkinds = { kill = 1 }\nstart = '%s'\n"


@pytest.mark.parametrize(
    ("top", "start", "words"),
    [
        ("duration = '1200ms'", "1200ms", ["1200 ms is too late", "before the end of the play at 1200 ms"]),
        ("duration = '1200ms'", "2s", ["2000 ms is too late", "at 1200 ms"]),
        ("", "2s", ["the play at 2000 ms", "give a duration"]),
    ],
)
def test_faults_that_would_start_behind_the_play_are_refused(top: str, start: str, words: list[str]) -> None:
    with pytest.raises(ScriptError) as caught:
        loads(top + BASE + KILLS % start)
    assert caught.value.key == "faults.start"
    for word in words:
        assert word in caught.value.problem


def test_a_start_within_the_play_is_taken_and_so_is_one_that_nothing_is_drawn_from() -> None:
    short = "duration = '1200ms'" + BASE
    assert loads(short + KILLS % "1199ms")[0].faults.start == 1199
    assert loads("duration = '3s'" + BASE + KILLS % "2s")[0].faults.start == 2000
    # Steps that wait may go on behind the load, and a plan has its own times.
    assert loads(short + KILLS % "2s" + "stop = '5s'")[0].faults.start == 2000
    assert loads(short + KILLS % "2s" + "[[faults.plan]]\nat = '1ms'\nkind = 'kill'\nnode = 'a'")[0].faults.plan
    assert loads(short + "[faults]\nstart = '2s'")[0].faults.start == 2000


def test_with_variants_only_what_is_played_must_outlast_the_start_of_the_faults() -> None:
    file = BASE + KILLS % "3s" + "[[variants]]\nname = 'v'\nsteps = [{ at = '%s', kill = 'a' }]"
    assert loads(file % "2500ms")[0].faults.start == 3000
    with pytest.raises(ScriptError) as caught:
        loads(file % "1500ms")
    assert caught.value.key == "variants[0] -> faults.start"


def test_a_file_that_is_not_toml_is_refused_with_its_position() -> None:
    with pytest.raises(ScriptError, match=r"no valid TOML.*line 2"):
        loads('title = "x"\nabout = = 3\n')


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScriptError, match="not UTF-8"):
        load(tmp_path / "binary.toml")


def test_a_variant_is_laid_over_the_scenario() -> None:
    text = BASE + (
        "[[variants]]\nname = 'one'\n[variants.config]\nmin-replicas-to-write = 1\n"
        "[[variants]]\nname = 'two'\nworkload = { rate = 7.0 }\nsteps = [{ note = 'nothing' }]\n"
        "[[expect]]\nkept = '> two'\n"
    )
    _, plays = loads(text)
    one, two = dict(plays)["one"], dict(plays)["two"]
    assert one.config == {"repl-timeout": 3, "min-replicas-to-write": 1} and len(one.steps) == 3
    assert two.workloads[0].rate == 7.0 and two.workloads[0].clients == 2 and two.steps[0].note == "nothing"
    assert two.config == {"repl-timeout": 3}


def test_a_chain_and_several_groups_of_clients_are_read() -> None:
    text = BASE.replace("[topology]\nreplicas = 2", "[nodes.b]\nreplica_of = 'a'\n[nodes.c]\nreplica_of = 'b'")
    text = text.replace("[workload]\nclients = 2", "[[workload]]\nclients = 2\n[[workload]]\nname = 'old'\nclients = 1")
    script, _ = loads(text)
    assert script.upstreams() == {"a": None, "b": "a", "c": "b"}
    assert script.client_names() == ["app1", "app2", "old1"]


def test_every_scenario_of_the_library_can_be_played() -> None:
    files = sorted(Path(__file__).parents[3].joinpath("scenarios").glob("*.toml"))
    assert len(files) >= 8
    for file in files:
        script, _ = load(file)
        assert script.expect, file


@pytest.mark.parametrize(("text", "ms"), [("250ms", 250), ("2s", 2000), ("1.5 s", 1500), ("1m", 60_000), (0, 0)])
def test_durations_have_units(text: object, ms: int) -> None:
    assert Milliseconds.parse(text) == ms


@pytest.mark.parametrize(("text", "count"), [(7, 7), ("7", 7), ("2kb", 2048), ("1.5MB", 1572864), ("64kb/s", 65536)])
def test_sizes_are_in_units_of_1024(text: object, count: int) -> None:
    assert Bytes.parse(text) == count


@pytest.mark.parametrize("text", ["2", "2 h", "-1s", 5, True, None, 1.5])
def test_other_durations_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        Milliseconds.parse(text)


@pytest.mark.parametrize(
    ("text", "holds", "not_holds"),
    [(0, 0, 1), ("3", 3, 4), ("<= 20", 20, 21), (">= 2", 2, 1), ("> 0", 1, 0), ("< 5", 4, 5), ("!= 1", 0, 1),
     ("== 4", 4, 3), ("10..50", 10, 51), ("< other", 41, 42), (">= other", 42, 41)],
)  # fmt: skip
def test_a_bound_holds_what_it_says(text: int | str, holds: int, not_holds: int) -> None:
    bound = bounds.parse(text, ["other"])
    assert bound.holds(holds, lambda name: {"other": 42}[name])
    assert not bound.holds(not_holds, lambda name: {"other": 42}[name])
