"""The house's rule of who may import whom, held against every import that is there (docs/design.md has the table)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from replicator.core.node import Node
from tests.support.nodes import LocalNode

ROOT = Path(__file__).parent.parent
PACKAGE = "replicator"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))

# The rooms, each with the rooms that its modules may import from (their own always).
VOCABULARY = {"now", "limits", "events", "effects", "gates", "peers"}
TOLD = {*VOCABULARY, "turn", "surroundings", "machine"}
TABLE = {*TOLD, "wire", "errors", "keyspace", "command_table"}
CLIENTS = {*TABLE, "config", "replication", "clients"}
ALLOWED: dict[str, set[str]] = {
    "now": set(),
    "limits": set(),
    "events": {"now"},
    "effects": {"now"},
    "gates": set(),
    "peers": {"events", "now"},
    "turn": {"now", "effects"},
    "surroundings": {"events", "effects"},
    "machine": {"now", "events", "effects"},
    "wire": {"now", "limits"},
    "errors": {"wire"},
    "keyspace": {*VOCABULARY, "wire", "errors"},
    "config": {*VOCABULARY, "wire", "errors", "keyspace"},
    "replication": {*TOLD, "wire"},
    "command_table": TABLE,
    "scripting": {*TABLE},
    "clients": CLIENTS,
    "persistence": CLIENTS,
    # The families of commands on data, and the commands that see more of a node.
    "commands": TABLE,
    "commands.parts": {*CLIENTS, "persistence", "scripting"},
    "execution": {*CLIENTS, "scripting"},
    "roles": {*CLIENTS, "scripting", "persistence", "execution"},
    "report": {"package", *CLIENTS, "scripting", "persistence", "execution", "roles"},
    "cluster": TABLE,
    "sentinel": {*TABLE, "execution", "clients", "config"},
}
for _room in ("sessions", "server", "scripts", "about"):
    ALLOWED[f"commands.{_room}"] = {*ALLOWED["commands.parts"], "commands", "commands.parts"}
ALLOWED["commands.catalog"] = {"commands", *(room for room in ALLOWED if room.startswith("commands."))}
ALLOWED["commands.about"] |= {"commands.catalog"}  # the manual is of all commands
# The cluster's bus, joined to data, replication and clients.
ALLOWED["membership"] = {"cluster", "scripting", *CLIENTS}
ALLOWED["node"] = {*ALLOWED, "package"} - {"sentinel"}
CORE = set(ALLOWED)
ALLOWED |= {
    "package": set(),
    "runtime": {*CORE, "package"},
    "simulation": {*CORE, "package"},
    # A scenario knows bytes, and its clients are machines (events, effects); only its stages reach further.
    # What a file may set in its nodes' configuration is asked of the table of directives.
    "scenario": {*VOCABULARY, "wire", "config", "package"},
    "live stage": {*VOCABULARY, "wire", "scenario", "runtime", "package"},
    "simulated stage": {*CORE, "scenario", "simulation", "package"},
    "testing": {*CORE, "scenario", "live stage", "simulated stage", "runtime", "simulation", "package"},
    "top": {*CORE, "scenario", "live stage", "simulated stage", "runtime", "simulation", "testing", "package"},
}

# What a pure module may not touch: clocks, the world, chance of its own, other threads of control.
IMPURE = {"trio", "time", "socket", "os", "logging", "threading", "subprocess", "asyncio", "select", "signal"}
IMPURE |= {"multiprocessing", "tempfile", "shutil", "pathlib", "secrets", "uuid", "datetime", "io", "ssl", "concurrent"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where the import stands."""

    module: str
    name: str | None  # of `from module import name`
    line: int


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def nodes(tree: ast.AST, *, for_types: bool) -> Iterator[ast.AST]:
    """All nodes below; for_types: those too that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if not for_types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from nodes(child, for_types=for_types)


def imports(path: Path, *, for_types: bool = True) -> list[Import]:
    """Every import of a file, those inside functions as well."""
    found = []
    for node in nodes(ast.parse(path.read_text()), for_types=for_types):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, None, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [Import(node.module or "", alias.name, node.lineno) for alias in node.names]
    return found


MODULES = {module_name(path) for path in SOURCES}


def room(module: str) -> str:
    """The room a module of ours lies in."""
    parts = module.split(".")[1:]
    if not parts or module == f"{PACKAGE}.core":
        return "package"
    if parts[0] == "core":
        if parts[1] == "commands" and ".".join(parts[1:3]) in CORE:
            return ".".join(parts[1:3])
        return parts[1]
    if parts[:2] == ["scenario", "stages"] and parts[2:]:
        return "simulated stage" if parts[2].startswith("sim") else "live stage"
    if parts in (["scenario", "cli"], ["scenario", "running"]):
        return "top"  # the command, and what builds the stage that it asks for
    return parts[0] if parts[0] in ALLOWED and parts[0] not in CORE else "top"


def target(found: Import) -> str:
    """The module of ours that an import reaches: `from package import module` reaches the module."""
    whole = f"{found.module}.{found.name}"
    return whole if whole in MODULES else found.module


def upward(path: Path, own: str) -> list[tuple[str, str, int]]:
    """What a file in that room imports and may not: room, module, line."""
    wrong = []
    for found in imports(path, for_types=own in CORE):
        if found.module.split(".")[0] == PACKAGE:
            other = room(target(found))
            if other != own and other not in ALLOWED[own]:
                wrong.append((other, target(found), found.line))
    return wrong


def test_every_import_goes_downward() -> None:
    wrong = []
    for path in SOURCES:
        own = room(module_name(path))
        assert own in ALLOWED, f"{path}: a room that the table does not know"
        where = path.relative_to(ROOT)
        wrong += [f"{where}:{line}: {own} imports {other} ({module})" for other, module, line in upward(path, own)]
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_the_core_is_pure() -> None:
    wrong = []
    for path in sorted((ROOT / PACKAGE / "core").rglob("*.py")):
        for found in imports(path):
            top = found.module.split(".")[0]
            random = top == "random" and found.name != "Random"
            if top in IMPURE or random:
                wrong.append(f"{path.relative_to(ROOT)}:{found.line}: {found.module} {found.name or ''}")
    assert not wrong, "\n".join(wrong)


def test_the_core_is_never_async() -> None:
    wrong = []
    for path in sorted((ROOT / PACKAGE / "core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that reach each other and themselves (Tarjan's strongly connected components)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return found


def test_no_files_of_the_core_import_each_other_in_a_circle() -> None:
    core = {name: path for path in SOURCES if (name := module_name(path)).startswith(f"{PACKAGE}.core.")}
    graph = {name: {target(found) for found in imports(path)} & set(core) - {name} for name, path in core.items()}
    assert not circles(graph)


def test_a_circle_is_found_wherever_it_lies() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}, "e": set()}
    assert circles(graph) == [["b", "c"], ["d"]]


def test_no_part_of_a_node_holds_the_node() -> None:
    """With a client, a replica and a script: what its parts hold, and hold of each other, is never the Node."""
    node = LocalNode()
    client = node.open()
    client.send("EVAL", "return redis.call('set', 'k', '1')", "0")
    client.send("REPLCONF", "listening-port", "7")
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [(name, getattr(node.node, name)) for name in Node.__slots__]
    holders = []
    while waiting:
        where, part = waiting.pop()
        if id(part) in seen or not type(part).__module__.startswith("replicator.core"):
            continue
        seen.add(id(part))
        names = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
        for name in [*names, *getattr(part, "__dict__", ())]:
            held = getattr(part, name, None)
            if isinstance(held, Node):
                holders.append(f"{where}.{name}")
            waiting.append((f"{where}.{name}", held))
    assert not holders
    assert len(seen) > 40


def test_no_part_of_a_node_goes_untyped_in_commands_and_execution() -> None:
    """Any stands for values there (a directive's, a field's), never for a caller, a server or a part of the node."""
    wrong = []
    for path in [*(ROOT / PACKAGE / "core/commands").rglob("*.py"), *(ROOT / PACKAGE / "core/execution").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                said = ast.unparse(node.annotation)
                if said == "Any":
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["time"]),
        ("from os.path import join", ["os.path"]),
        ("def late():\n    import socket", ["socket"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio", ["typing", "trio"]),
    ],
)
def test_the_walk_sees_every_import(tmp_path: Path, source: str, found: list[str]) -> None:
    file = tmp_path / "example.py"
    file.write_text(source)
    assert [entry.module for entry in imports(file)] == found


def test_a_planted_import_upward_is_told_with_its_place(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("if TYPE_CHECKING:\n    from replicator.core.roles.role import Role\n")
    assert upward(planted, "clients") == [("roles", "replicator.core.roles.role", 2)]
    assert upward(planted, "node") == []


def test_rooms_are_told_apart() -> None:
    assert room("replicator.core.wire.rdb.reader") == "wire"
    assert room("replicator.core.config.table") == "config"
    assert room("replicator.core.commands.strings.strings") == "commands"
    assert room("replicator.core.commands.server.debug") == "commands.server"
    assert room("replicator.core.commands.parts") == "commands.parts"
    assert room("replicator.core.keyspace.digest") == "keyspace"
    assert room("replicator.runtime.hub") == "runtime"
    assert room("replicator.scenario.play.player") == "scenario"
    assert room("replicator.scenario.play.stage") == "scenario"
    assert room("replicator.scenario.stages.stock") == "live stage"
    assert room("replicator.scenario.stages.simulated") == "simulated stage"
    assert room("replicator.cli") == "top"
    assert room("replicator") == "package"
