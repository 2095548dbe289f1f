"""From a TOML file to a Script, with errors that a person can act on: file, key, and what is allowed there."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from replicator.scenario.script import bounds, directives
from replicator.scenario.script.script import (
    ACTION_KEYS,
    ACTIONS,
    CHECKS,
    LINK_FAULTS,
    Condition,
    Expect,
    Faults,
    Scalar,
    Script,
    Step,
    action_of,
)
from replicator.scenario.script.units import Bytes, Milliseconds, human_bytes, human_ms

_COUNTED = (
    "acknowledged", "kept", "lost", "failed", "unknown", "unknown_kept", "duplicated", "reordered", "phantom",
    "resurrected", "stale_reads", "failovers", "full_syncs", "partial_syncs",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
RESERVED = ("best", "primary", "none", "others", "clients", "everyone", "all", "replicas")
MAX_NODES = 49
MAX_SENTINELS = 9
MAX_CLIENTS = 100
MAX_FAULTS = 60_000  # a minute
MAX_PLAY_MS = 24 * 3600 * 1000
MAX_VALUE_BYTES = 16 << 20


class ScriptError(Exception):
    """The file is wrong. file: as given; key: the path inside it ("steps[2].kill"), "" for the whole; problem: a
    sentence."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")
        self.file, self.key, self.problem = file, key, problem


class _Wrong(Exception):
    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key, self.problem = key, problem


def load(path: str | Path) -> tuple[Script, list[tuple[str, Script]]]:
    """The scenario as the file has it, and what is to be played: (variant's name, script), one with the name "" if it
    has none.

    Raises ScriptError.
    """
    file = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except OSError as problem:
        raise ScriptError(file, "", f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ScriptError(file, "", "is not UTF-8 text") from None
    return loads(text, file)


def loads(text: str, file: str = "scenario") -> tuple[Script, list[tuple[str, Script]]]:
    """load() for a text at hand."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ScriptError(file, "", f"is no valid TOML: {problem}") from None
    try:
        script = _typed(data)
        names = [variant.name for variant in script.variants]
        for index, name in enumerate(names):
            if name in names[:index] or not name:
                raise _Wrong(f"variants[{index}].name", f"{name!r} must be there, and only once")
        _check(script)
        if not script.variants:
            _check_start(script)
            return script, [("", script)]
        return script, [(names[index], _variant(data, index)) for index in range(len(names))]
    except _Wrong as wrong:
        raise ScriptError(file, wrong.key, wrong.problem) from None


def _variant(data: dict[str, Any], index: int) -> Script:
    """The scenario with one variant's tables laid over it."""
    own = {key: value for key, value in data["variants"][index].items() if key not in ("name", "about")}
    merged = {key: value for key, value in data.items() if key != "variants"}
    if "workload" in own and isinstance(merged.get("workload"), list):
        merged["workload"] = [_laid_over(group, own.pop("workload")) for group in merged["workload"]]
    merged = _laid_over(merged, own)
    merged["variants"] = [{"name": each["name"]} for each in data["variants"]]
    try:
        script = _typed(merged)
        _check(script)
        _check_start(script)
    except _Wrong as wrong:
        raise _Wrong(f"variants[{index}] -> {wrong.key}", wrong.problem) from None
    return script


def alone(script: Script, variant: str) -> Script:
    """One variant without what compares it with another: it is played without them."""
    own = [one for one in script.expect if one.variant in (None, variant) and not _compares(one)]
    return msgspec.structs.replace(script, expect=own)


def _compares(one: Expect) -> bool:
    """Whether an expectation holds a count against another variant's."""
    for name in CHECKS:
        check = getattr(one, name)
        if isinstance(check, str) and check[:1] in ("<", ">", "=", "!") and not check.lstrip("<>=! ").isdigit():
            return True
    return False


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _typed(data: dict[str, Any]) -> Script:
    _walk(data, inspect.type_info(Script), "")
    try:
        return msgspec.convert(data, Script, dec_hook=_custom)
    except msgspec.ValidationError as problem:
        message, _, path = str(problem).partition(" - at `$")
        key = path.rstrip("`").lstrip(".").replace("[...]", "")
        raise _Wrong(key or "(top)", message.replace("`", "").replace("Object contains", "has")) from None


def _custom(wanted: type, value: Any) -> Any:
    if wanted is Milliseconds or wanted is Bytes:
        return wanted.parse(value)
    raise NotImplementedError(wanted)


def _walk(value: Any, wanted: inspect.Type, key: str) -> None:
    """Refuses unknown keys and unknown words, deepest first named; plain type errors are left to msgspec."""
    if isinstance(wanted, inspect.UnionType):
        fitting = [one for one in wanted.types if _fits(value, one)]
        if len(fitting) == 1:
            _walk(value, fitting[0], key)
    elif isinstance(wanted, inspect.StructType) and isinstance(value, dict):
        fields = {one.encode_name: one for one in wanted.fields}
        for name in value:
            if name not in fields:
                raise _Wrong(_join(key, name), f"there is no such key; {_suggested(name, fields)}")
            _walk(value[name], fields[name].type, _join(key, name))
        for name, one in fields.items():
            if one.required and name not in value:
                raise _Wrong(_join(key, name), "is missing and must be given")
    elif isinstance(wanted, inspect.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, wanted.item_type, f"{key}[{index}]")
    elif isinstance(wanted, inspect.DictType) and isinstance(value, dict):
        for name, item in value.items():
            _walk(name, wanted.key_type, _join(key, name))
            _walk(item, wanted.value_type, _join(key, name))
    elif isinstance(wanted, inspect.LiteralType) and isinstance(value, str) and value not in wanted.values:
        raise _Wrong(key, f"{value!r} is not allowed; {_suggested(value, [str(one) for one in wanted.values])}")
    elif isinstance(wanted, inspect.CustomType) and wanted.cls in (Milliseconds, Bytes):
        try:
            wanted.cls.parse(value)
        except ValueError as problem:
            raise _Wrong(key, str(problem)) from None


def _fits(value: Any, wanted: inspect.Type) -> bool:
    if isinstance(value, dict):
        return isinstance(wanted, (inspect.StructType, inspect.DictType))
    if isinstance(value, list):
        return isinstance(wanted, inspect.ListType)
    return isinstance(wanted, (inspect.LiteralType, inspect.CustomType))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _suggested(word: str, allowed: Iterable[str]) -> str:
    """'did you mean "kill"? Allowed: ...'."""
    words = list(allowed)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return f"{hint}Allowed: {', '.join(words)}"


# What types alone do not say: names that must exist, keys that go together.


def _check(script: Script) -> None:
    nodes = script.upstreams()
    _check_topology(script, nodes)
    for name, values in [
        ("config", script.config),
        *((f"nodes.{n}.config", p.config) for n, p in script.nodes.items()),
    ]:
        _check_directives(values, name)
    _check_workloads(script, script.parties())
    _check_times(script)
    for index, step in enumerate(script.steps):
        _check_step(script, step, f"steps[{index}]", script.parties())
    variants = [variant.name for variant in script.variants]
    for index, expect in enumerate(script.expect):
        _check_expect(expect, f"expect[{index}]", script.parties(), variants)
    _check_faults(script.faults, script.parties())


def _check_directives(values: dict[str, Scalar], key: str, *, running: bool = False) -> None:
    for directive, value in values.items():
        wrong = directives.problem(directive, value, running=running)
        if wrong:
            raise _Wrong(f"{key}.{directive}", wrong)


def _check_times(script: Script) -> None:
    """Steps come one behind the other, within the play."""
    if script.duration is not None and not 0 < script.duration <= MAX_PLAY_MS:
        raise _Wrong("duration", f"must be above 0 and at most {human_ms(MAX_PLAY_MS)}")
    latest, named = 0, ""
    for index, step in enumerate(script.steps):
        if step.at is None:
            continue
        key = f"steps[{index}].at"
        if step.at < latest:
            raise _Wrong(key, f"{human_ms(step.at)} comes before {named}, which is at {human_ms(latest)}: steps are "
                         "written in the order of their times")  # fmt: skip
        end = MAX_PLAY_MS if script.duration is None else int(script.duration)
        if step.at > end:
            raise _Wrong(key, f"{human_ms(step.at)} is behind the end of the play at {human_ms(end)} (`duration`)")
        latest, named = int(step.at), f"steps[{index}]"


def _check_sentinels(script: Script, nodes: dict[str, str | None]) -> None:
    topology, names = script.topology, script.sentinels()
    if not 0 <= topology.sentinels <= MAX_SENTINELS:
        raise _Wrong("topology.sentinels", f"must be 0 to {MAX_SENTINELS}")
    if not 0 <= topology.quorum <= topology.sentinels:
        raise _Wrong("topology.quorum", f"must be 0 (the majority) to {topology.sentinels}, the number of Sentinels")
    for name, time_ms in (("down_after", topology.down_after), ("failover_timeout", topology.failover_timeout)):
        if not 0 < time_ms <= MAX_PLAY_MS:
            raise _Wrong(f"topology.{name}", "must be above 0")
    if topology.parallel_syncs < 1:
        raise _Wrong("topology.parallel_syncs", "must be at least 1")
    for name in names:
        if name in nodes:
            raise _Wrong(f"nodes.{name}", "is the name of a Sentinel")
    for name in topology.mixed:
        _known(name, script.parties(), "topology.mixed")
    for option, value in topology.sentinel.items():
        if not re.fullmatch(r"[a-z][a-z-]*", option) or "\n" in str(value):
            raise _Wrong(f"topology.sentinel.{option}", "is no option of a primary in sentinel.conf")
    for index, group in enumerate(script.workloads):
        if group.discovery == "sentinel" and not names:
            raise _Wrong(f"workload[{index}].discovery", 'is "sentinel", and there are none (topology.sentinels)')


def _check_topology(script: Script, nodes: dict[str, str | None]) -> None:
    _check_sentinels(script, nodes)
    replicas = script.topology.replicas
    if replicas is not None and not 0 <= replicas <= 20:
        raise _Wrong("topology.replicas", "must be 0 to 20")
    for name in nodes:
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise _Wrong(
                f"nodes.{name}", f"is no name for a node (letters, digits, - and _; not {', '.join(RESERVED)})"
            )
    if len(script.parties()) > MAX_NODES:
        raise _Wrong("nodes", f"{len(script.parties())} nodes and Sentinels are more than {MAX_NODES}")
    primaries = [name for name, upstream in nodes.items() if upstream is None]
    if len(primaries) != 1:
        many = ", ".join(primaries) or "none"
        raise _Wrong("nodes", f"exactly one node starts as the primary (no replica_of), here: {many}")
    for name, upstream in nodes.items():
        if upstream is not None:
            _known(upstream, list(nodes), f"nodes.{name}.replica_of")
        seen: list[str] = []
        above: str | None = name
        while above is not None:
            if above in seen:
                raise _Wrong(f"nodes.{name}.replica_of", f"goes in a circle: {' -> '.join([*seen, above])}")
            seen.append(above)
            above = nodes.get(above)


def _check_workloads(script: Script, nodes: list[str]) -> None:
    many = isinstance(script.workload, list)
    seen: list[str] = []
    for index, group in enumerate(script.workloads):
        key = f"workload[{index}]" if many else "workload"
        if group.name in seen or group.name in nodes or not _NAME.fullmatch(group.name) or group.name in RESERVED:
            raise _Wrong(f"{key}.name", f"{group.name!r} must be a plain name, and of one group alone (and no node's)")
        seen.append(group.name)
        for name, low, high in (("clients", 0, MAX_CLIENTS), ("keys", 0, 100_000), ("wait_replicas", 0, 20)):
            if not low <= getattr(group, name) <= high:
                raise _Wrong(f"{key}.{name}", f"must be {low} to {high}")
        if not 0 < group.rate <= 20_000:
            raise _Wrong(f"{key}.rate", "must be above 0 and at most 20000 a second")
        if group.value_size > MAX_VALUE_BYTES:
            raise _Wrong(f"{key}.value_size", f"must be at most {human_bytes(MAX_VALUE_BYTES)}")
        if not 0 < group.timeout <= MAX_PLAY_MS:
            raise _Wrong(f"{key}.timeout", "must be above 0")
        if group.stop is not None and group.stop <= group.start:
            raise _Wrong(f"{key}.stop", f"must come after start, which is at {human_ms(int(group.start))}")
        if not 0 <= group.reads <= 1:
            raise _Wrong(f"{key}.reads", "is a share: 0 to 1")
        for name in ("target", "read_from"):
            _known(getattr(group, name), ["primary", *nodes], f"{key}.{name}")
    if sum(group.clients for group in script.workloads) > MAX_CLIENTS:
        raise _Wrong("workload", f"all groups together may have {MAX_CLIENTS} clients")


def _check_faults(faults: Faults, nodes: list[str]) -> None:
    for kind, weight in faults.kinds.items():
        if not 0 <= weight < math.inf:
            raise _Wrong(f"faults.kinds.{kind}", f"is how often it is drawn: a number from 0, not {weight:g}")
    if faults.kinds and not any(faults.kinds.values()):
        raise _Wrong("faults.kinds", "give nothing to draw: each is 0")
    if not 0 < faults.per_minute <= MAX_FAULTS:
        raise _Wrong("faults.per_minute", f"must be above 0 and at most {MAX_FAULTS}")
    if faults.stop is not None and faults.stop <= (faults.start or 0):
        raise _Wrong("faults.stop", f"must come after faults.start, which is {int(faults.start or 0)} ms")
    for index, fault in enumerate(faults.plan):
        key = f"faults.plan[{index}]"
        _known(fault.node, nodes, f"{key}.node")
        others = [node for node in nodes if node != fault.node]
        if fault.kind in LINK_FAULTS:
            _known(fault.other, [*others, "clients"], f"{key}.other")
        elif fault.kind == "repoint":
            _known(fault.other, others or ["clients"], f"{key}.other")


def _check_start(script: Script) -> None:
    """Of what is played itself: variants may have other steps than the file. A plan needs no start, and with a stop
    and steps the play may go on behind its load."""
    faults = script.faults
    if faults.start is None or not faults.kinds or faults.plan or (faults.stop is not None and script.steps):
        return
    play = script.play_ms()
    if faults.start >= play:
        known = "" if script.duration is not None else " (by the last step's `at`: give a duration if it is longer)"
        raise _Wrong(
            "faults.start",
            f"{int(faults.start)} ms is too late to draw a fault: allowed is what comes before the end of the play at "
            f"{play} ms{known}",
        )


def _known(name: str, allowed: list[str], key: str) -> None:
    if name not in allowed:
        raise _Wrong(key, f"there is no {name!r}; {_suggested(name, allowed)}")


def _check_step(script: Script, step: Step, key: str, nodes: list[str]) -> None:
    given = [name for name in ACTIONS if getattr(step, name) is not None]
    if len(given) != 1:
        said = " and ".join(f'"{ACTION_KEYS[name]}"' for name in given) or "none"
        raise _Wrong(key, f"a step has exactly one action, this one {said}; allowed: {', '.join(ACTION_KEYS.values())}")
    starts = [name for name in ("at", "after", "when") if getattr(step, name) is not None]
    if len(starts) > 1:
        raise _Wrong(key, f"{' and '.join(starts)} exclude each other")
    if step.when is not None:
        _check_condition(step.when, f"{key}.when", nodes)
    name, action = action_of(step)
    key = f"{key}.{ACTION_KEYS[name]}"
    clients = [*(group.name for group in script.workloads), *script.client_names()]
    if name in ("promote", "repoint", "config"):
        nodes = list(script.upstreams())  # no Sentinel can do that
    match name:
        case "kill" | "stop" | "go_on" | "shutdown" | "restart":
            _known(action if isinstance(action, str) else action.node, nodes, key)
            if name == "restart" and not isinstance(action, str) and action.replica_of is not None:
                _known(action.replica_of, ["primary", "none", *nodes], f"{key}.replica_of")
        case "cut" | "heal" | "delay" | "throttle":
            if action != "all":
                _check_between(action.between, action.direction, key, nodes, clients)
        case "promote":
            wanted = action if isinstance(action, str) else action.node
            _known(wanted, ["best", *nodes], key)
            for one in [] if isinstance(action, str) else action.among or []:
                _known(one, nodes, f"{key}.among")
        case "repoint":
            whom = action.nodes if hasattr(action, "nodes") else action
            for one in [whom] if isinstance(whom, str) else whom:
                _known(one, ["others", *nodes], key)
            if hasattr(action, "to"):
                _known(action.to, ["primary", *nodes], f"{key}.to")
        case "config":
            for one in [action.node] if isinstance(action.node, str) else action.node:
                _known(one, ["all", "primary", *nodes], f"{key}.node")
            _check_directives(action.set, f"{key}.set", running=True)
        case "command":
            _known(action.node, ["primary", *nodes], f"{key}.node")
            if not action.argv:
                raise _Wrong(f"{key}.argv", "names no command")
        case "wait":
            _check_condition(action, key, nodes)
        case _:
            pass


def _check_between(between: tuple[str, str], direction: str, key: str, nodes: list[str], clients: list[str]) -> None:
    first, second = between
    _known(first, [*nodes, "clients", *clients], f"{key}.between[0]")
    _known(second, [*nodes, "clients", "others", "everyone", *clients], f"{key}.between[1]")
    if first == second or (first not in nodes and second not in nodes):
        raise _Wrong(f"{key}.between", "are a node and another party")
    if direction != "both":
        ends = [part.strip() for part in direction.split("->")]
        if sorted(ends) != sorted(between):
            raise _Wrong(f"{key}.direction", f'{direction!r} is not allowed; allowed: "both", "{first}->{second}", '
                         f'"{second}->{first}"')  # fmt: skip


def _check_condition(condition: Condition, key: str, nodes: list[str]) -> None:
    named: list[tuple[str, str | None]] = [
        ("down", condition.down),
        ("up", condition.up),
        ("link.node", condition.link.node if condition.link else None),
        ("role.node", condition.role.node if condition.role else None),
        ("log.node", condition.log.node if condition.log else None),
        ("behind.node", condition.behind.node if condition.behind else None),
        ("event.node", condition.event.node if condition.event else None),
    ]
    synced = condition.synced
    if isinstance(synced, str) and synced != "all":
        named.append(("synced", synced))
    if isinstance(synced, list):
        named.extend(("synced", one) for one in synced)
    if isinstance(condition.offsets_equal, list):
        named.extend(("offsets_equal", one) for one in condition.offsets_equal)
    for name, node in named:
        if node is not None:
            _known(node, [*nodes, "primary"] if name in ("down", "up") else nodes, f"{key}.{name}")
    if condition == Condition() or condition == Condition(lasting=condition.lasting):
        allowed = [one for one in Condition.__struct_encode_fields__ if one != "for"]
        raise _Wrong(key, f"names no condition; allowed: {', '.join(allowed)}")
    if condition.log is not None:
        _check_log(condition.log.contains, condition.log.matches, f"{key}.log")


def _check_log(contains: str | None, matches: str | None, key: str) -> None:
    if (contains is None) == (matches is None):
        raise _Wrong(key, "has either contains or matches")
    if matches is not None:
        try:
            re.compile(matches)
        except re.error as problem:
            raise _Wrong(f"{key}.matches", f"is no regular expression: {problem}") from None


def _check_expect(expect: Expect, key: str, nodes: list[str], variants: list[str]) -> None:
    given = [name for name in CHECKS if getattr(expect, name) is not None]
    if len(given) != 1:
        said = " and ".join(given) or "nothing"
        raise _Wrong(key, f"an expectation checks exactly one thing, this one {said}; allowed: {', '.join(CHECKS)}")
    if expect.variant is not None:
        _known(expect.variant, variants, f"{key}.variant")
    if expect.node is not None:
        _known(expect.node, nodes, f"{key}.node")
        if given[0] not in ("full_syncs", "partial_syncs", "lost"):
            raise _Wrong(f"{key}.node", "goes with full_syncs, partial_syncs and lost alone")
    if given[0] in _COUNTED:
        try:
            bounds.parse(getattr(expect, given[0]), variants)
        except ValueError as problem:
            raise _Wrong(f"{key}.{given[0]}", str(problem)) from None
    if expect.promoted is not None:
        _known(expect.promoted, nodes, f"{key}.promoted")
    for name, node in (("role", expect.role), ("log", expect.log)):
        if node is not None:
            _known(node.node, nodes, f"{key}.{name}.node")
    if expect.log is not None:
        _check_log(expect.log.contains, expect.log.matches, f"{key}.log")
    if isinstance(expect.equal_digests, list):
        for one in expect.equal_digests:
            _known(one, nodes, f"{key}.equal_digests")
