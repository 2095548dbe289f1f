"""The house's rule of who may import whom, held against every import that is there (docs/design.md has the table)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but none that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield child
        yield from runtime_nodes(child)


def imports(path: Path) -> list[Import]:
    """Every import of a file that happens when it runs, those inside functions too."""
    found = []
    for node in runtime_nodes(ast.parse(path.read_text())):
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


def test_every_import_goes_downward() -> None:
    wrong = []
    for path in SOURCES:
        own = room(module_name(path))
        assert own in ALLOWED, f"{path}: a room that the table does not know"
        for found in imports(path):
            if found.module.split(".")[0] != PACKAGE:
                continue
            other = room(target(found))
            if other != own and other not in ALLOWED[own]:
                where = f"{path.relative_to(ROOT)}:{found.line}"
                wrong.append(f"{where}: {own} imports {other} ({target(found)})")
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


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["time"]),
        ("from os.path import join", ["os.path"]),
        ("def late():\n    import socket", ["socket"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio", ["typing"]),
        ("if TYPE_CHECKING:\n    import trio\nelse:\n    import time", ["time"]),
    ],
)
def test_the_walk_sees_what_runs_and_not_what_only_types_need(tmp_path: Path, source: str, found: list[str]) -> None:
    file = tmp_path / "example.py"
    file.write_text(source)
    assert [entry.module for entry in imports(file)] == found


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
