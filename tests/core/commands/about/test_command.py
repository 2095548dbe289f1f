"""COMMAND and the manual: what the registry tells of itself is what stock servers tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicator.core.commands.about.manual import manual
from replicator.core.commands.about.synopsis import Argument, parse
from tests.support import transcripts
from tests.support.nodes import LocalNode
from tests.support.stock import Wire, running

LATER = {b"client|setinfo", b"client|no-touch", b"waitaof"}

ANSWERS = """
    a> COMMAND COUNT x
    a> COMMAND INFO nosuch get config|get
    a> COMMAND INFO client|nosuch
    a> COMMAND INFO sort migrate-not del
    a> COMMAND LIST FILTERBY MODULE foo
    a> COMMAND LIST FILTERBY ACLCAT nosuch
    a> COMMAND LIST FILTERBY PATTERN xad*
    a> COMMAND LIST FILTERBY PATTERN client|l*
    a> COMMAND LIST FILTERBY FOO bar
    a> COMMAND LIST FILTERBY
    a> COMMAND LIST FOO
    a> COMMAND GETKEYS get
    a> COMMAND GETKEYS
    a> COMMAND GETKEYS nosuch bar
    a> COMMAND GETKEYS get a
    a> COMMAND GETKEYS get a b
    a> COMMAND GETKEYS ping a
    a> COMMAND GETKEYS eval "x" 3 a
    a> COMMAND GETKEYS eval "x" 0
    a> COMMAND GETKEYS eval "x" a b
    a> COMMAND GETKEYS eval "x" 2 a b c
    a> COMMAND GETKEYS zunionstore d 5 a b
    a> COMMAND GETKEYS zunionstore d 2 a b
    a> COMMAND GETKEYS sort a by b store c
    a> COMMAND GETKEYS xread a b
    a> COMMAND GETKEYS client list
    a> COMMAND GETKEYS object encoding x
    a> COMMAND GETKEYSANDFLAGS lmove a b left right
    a> COMMAND GETKEYSANDFLAGS set k v
    a> COMMAND GETKEYSANDFLAGS set k v GET
    a> COMMAND GETKEYSANDFLAGS bitfield k GET u8 0
    a> COMMAND GETKEYSANDFLAGS bitfield k GET u8 0 INCRBY u8 0 1
    a> COMMAND GETKEYSANDFLAGS sort a BY x GET y STORE d STORE e
    a> COMMAND GETKEYSANDFLAGS xread COUNT 1 STREAMS a b 1 2
    a> COMMAND GETKEYSANDFLAGS xreadgroup GROUP g c STREAMS a 1
    a> COMMAND GETKEYSANDFLAGS georadius k 1 2 3 m STORE a STOREDIST b
    a> COMMAND GETKEYSANDFLAGS mset a b c d
    a> COMMAND GETKEYSANDFLAGS blpop a b c 0
    a> COMMAND GETKEYSANDFLAGS bitop AND a b c
    a> COMMAND GETKEYSANDFLAGS blmpop 0 2 a b LEFT
    a> COMMAND GETKEYSANDFLAGS xgroup create a b c
    a> COMMAND GETKEYSANDFLAGS ssubscribe a
    a> COMMAND DOCS nosuch
    a> COMMAND DOCS client|nosuch
    a> COMMAND NOSUCH
    a> COMMAND HELP
"""


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


def unordered(argv: list[bytes], answer: Any) -> Any:
    """Flags and categories are sets."""
    if argv[1:2] == [b"INFO"]:
        return [None if row is None else comparable(row) for row in answer]
    return answer


def comparable(row: list[Any]) -> list[Any]:
    """One command's row of COMMAND INFO: sets sorted, without subcommands."""
    return [row[0], row[1], sorted(row[2]), *row[3:6], row[6], sorted(row[7]), row[8]]


def test_command_answers_as_stock_does(node: LocalNode) -> None:
    with running("redis7") as port:
        transcripts.compare(ANSWERS, port, node, unordered)


def rows(answer: list[Any]) -> dict[bytes, list[Any]]:
    """COMMAND's rows by name, subcommands too."""
    found = {}
    for row in answer:
        found[row[0]] = comparable(row)
        found.update(rows(row[9]))
    return found


def test_every_command_has_stocks_arity_flags_keys_categories_tips_and_key_specifications(node: LocalNode) -> None:
    ours = rows(node.open().send("COMMAND"))
    with running("redis7") as port:
        wire = Wire(port)
        theirs = rows(wire.call("COMMAND"))
        wire.close()
    assert set(ours) - set(theirs) == LATER
    differing = {name: (row, theirs[name]) for name, row in ours.items() if name in theirs and row != theirs[name]}
    assert set(differing) <= {b"pfdebug"}, differing


def test_count_and_list_agree(node: LocalNode) -> None:
    client = node.open()
    names = client.send("COMMAND", "LIST")
    assert client.send("COMMAND", "COUNT") == sum(b"|" not in name for name in names)
    assert len(names) == len(set(names))


def docs(answer: Any) -> dict[bytes, dict[bytes, Any]]:
    """COMMAND DOCS by name, subcommands too."""
    found = {}
    for name, body in zip(answer[::2], answer[1::2], strict=True):
        found[name] = dict(zip(body[::2], body[1::2], strict=True))
        found.update(docs(found[name].get(b"subcommands", [])))
    return found


def shape(arguments: list[Any]) -> list[Any]:
    """Types, tokens and flags, names aside."""
    found = []
    for argument in arguments:
        fields = dict(zip(argument[::2], argument[1::2], strict=True))
        flags = sorted(flag for flag in fields.get(b"flags", []) if flag != b"multiple_token")
        found.append((fields[b"type"], fields.get(b"token"), flags, shape(fields.get(b"arguments", []))))
    return found


def test_the_documentation_has_stocks_shape(node: LocalNode) -> None:
    ours = docs(node.open().send("COMMAND", "DOCS"))
    with running("redis7") as port:
        wire = Wire(port)
        theirs = docs(wire.call("COMMAND", "DOCS"))
        wire.close()
    both = [name for name in ours if name in theirs]
    for name in both:
        for title in (b"group", b"doc_flags", b"deprecated_since", b"replaced_by"):
            assert ours[name].get(title) == theirs[name].get(title), (name, title)
        assert ours[name][b"summary"] and ours[name][b"since"]
    equal = [
        name
        for name in both
        if shape(ours[name].get(b"arguments", [])) == shape(theirs[name].get(b"arguments", []))
    ]
    assert len(equal) >= 0.8 * len(both), sorted(set(both) - set(equal))


def test_resp3_gets_maps_and_sets(node: LocalNode) -> None:
    client = node.open()
    client.send("HELLO", 3)
    answer = client.send("COMMAND", "DOCS", "get")
    assert answer[b"get"][b"arguments"] == [{b"name": b"key", b"type": b"key", b"key_spec_index": 0}]


def names(arguments: list[Argument]) -> list[Any]:
    return [
        (one.name, one.type, one.token, one.optional, one.multiple, names(one.parts))
        if one.parts
        else (one.name, one.type, one.token, one.optional, one.multiple)
        for one in arguments
    ]


@pytest.mark.parametrize(
    ("synopsis", "expected"),
    [
        ("key [key ...]", [("key", "key", "", False, True)]),
        ("[REPLACE]", [("replace", "pure-token", "REPLACE", True, False)]),
        ("[COUNT count]", [("count", "integer", "COUNT", True, False)]),
        (
            "key field value [field value ...]",
            [
                ("key", "key", "", False, False),
                (
                    "field_value",
                    "block",
                    "",
                    False,
                    True,
                    [("field", "string", "", False, False), ("value", "string", "", False, False)],
                ),
            ],
        ),
        (
            "LEFT | RIGHT",
            [
                (
                    "left_right",
                    "oneof",
                    "",
                    False,
                    False,
                    [("left", "pure-token", "LEFT", False, False), ("right", "pure-token", "RIGHT", False, False)],
                )
            ],
        ),
        ("[GET pattern [GET pattern ...]]", [("pattern", "pattern", "GET", True, True)]),
    ],
)
def test_a_synopsis_becomes_a_tree(synopsis: str, expected: list[Any]) -> None:
    assert names(parse(synopsis)) == expected


def test_the_manual_is_what_the_registry_says() -> None:
    path = Path(__file__).parents[4] / "docs" / "commands.md"
    again = "make it anew: python -m replicator.core.commands.about.manual > docs/commands.md"
    assert path.read_text() == manual(), again


ABSENT = """
    a> READONLY
    a> READWRITE
    a> ASKING
    a> CLUSTER INFO
    a> CLUSTER KEYSLOT a
    a> CLUSTER RESET X
    a> CLUSTER HELP
    a> CLUSTER HELP X
    a> CLUSTER NOSUCH
    a> CLUSTER
    a> CLUSTER KEYSLOT
    a> MODULE LIST
    a> MODULE LOAD /x
    a> MODULE LOADEX /x CONFIG a b
    a> MODULE UNLOAD x
    a> MODULE HELP
    a> MULTI
    a> CLUSTER SLOTS
    a> READONLY
    a> EXEC
    a> EVAL "return redis.call('cluster', 'reset')" 0
    a> EVAL "return redis.call('cluster', 'info')" 0
    a> EVAL "return redis.call('readonly')" 0
    a> EVAL "return redis.call('module', 'list')" 0
    a> ACL SETUSER u +cluster -module +readonly -readwrite +asking +cluster|info -module|load
    a> ACL GETUSER u
    a> ACL CAT connection
"""


def test_what_needs_a_cluster_or_modules_is_refused_in_stocks_words(node: LocalNode) -> None:
    def ordered(argv: list[bytes], answer: Any) -> Any:
        if argv[:2] == [b"ACL", b"CAT"]:
            return sorted(name for name in answer if name not in LATER)
        return sorted(answer[5].split()) if argv[:2] == [b"ACL", b"GETUSER"] else answer

    with running("redis7") as port:
        transcripts.compare(ABSENT, port, node, ordered)
