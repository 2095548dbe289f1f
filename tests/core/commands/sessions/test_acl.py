"""ACL: rules, users, what is refused and how it is told, files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replicator.config_file import FileStore
from replicator.core.clients.users import MemoryFile
from replicator.core.surroundings import Surroundings
from tests.support import transcripts
from tests.support.nodes import LocalNode
from tests.support.servers import servers, until
from tests.support.stock import Wire, binary, free_port, running


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


RULES = r"""
    a> ACL WHOAMI
    a> ACL LIST
    a> ACL USERS
    a> ACL CAT
    a> ACL CAT foo
    a> ACL CAT string x
    a> ACL GETUSER default
    a> ACL GETUSER nobody
    a> ACL SETUSER alice
    a> ACL GETUSER alice
    a> ACL SETUSER alice foo
    a> ACL SETUSER alice +foo
    a> ACL SETUSER alice +@foo
    a> ACL SETUSER alice +get|foo
    a> ACL SETUSER alice +client|foo
    a> ACL SETUSER alice +client|list|x
    a> ACL SETUSER alice -client|foo
    a> ACL SETUSER alice -get|foo
    a> ACL SETUSER alice +get|a|b
    a> ACL SETUSER alice +|x
    a> ACL SETUSER alice #abc
    a> ACL SETUSER alice <nopw
    a> ACL SETUSER alice !0000000000000000000000000000000000000000000000000000000000000000
    a> ACL SETUSER alice reset on >pw +get +client|list ~foo* &ch* %R~ro* %W~wo* %RW~rw*
    a> ACL GETUSER alice
    a> ACL SETUSER alice ~*
    a> ACL SETUSER alice ~x
    a> ACL SETUSER alice %~x
    a> ACL SETUSER alice %X~x
    a> ACL SETUSER alice resetkeys %X~x
    a> ACL SETUSER alice %RRW~x
    a> ACL SETUSER alice allkeys
    a> ACL SETUSER alice &x allchannels
    a> ACL SETUSER alice &y
    a> ACL SETUSER alice resetchannels &y
    a> ACL SETUSER alice "(+get"
    a> ACL SETUSER alice "(+get ~a)" "(%R~b +set -@all)"
    a> ACL SETUSER alice "(on)"
    a> ACL SETUSER alice "(+foo)"
    a> ACL SETUSER alice )
    a> ACL SETUSER alice "()"
    a> ACL SETUSER alice (+get ~c)
    a> ACL SETUSER alice (+get ~d )
    a> ACL LIST
    a> ACL GETUSER alice
    a> ACL SETUSER alice clearselectors
    a> ACL SETUSER bob reset on nopass +@all ~* &*
    a> ACL SETUSER bob -client|kill
    a> ACL SETUSER bob +config|get -config
    a> ACL SETUSER bob +config|get +config
    a> ACL LIST
    a> ACL SETUSER bob -@all +@all -@dangerous
    a> ACL LIST
    a> ACL SETUSER bob -@all +get +set -get
    a> ACL LIST
    a> ACL SETUSER bob allcommands nocommands
    a> ACL SETUSER bob -@read
    a> ACL LIST
    a> ACL SETUSER bob sanitize-payload
    a> ACL GETUSER bob
    a> ACL SETUSER bob skip-sanitize-payload resetkeys resetpass >a >b >a <a off
    a> ACL GETUSER bob
    a> ACL SETUSER t +SELECT|2 +GeT -@ALL +@Fast ON
    a> ACL GETUSER t
    a> ACL SETUSER t "~a b"
    a> ACL SETUSER t "&a b"
    a> ACL SETUSER "a b"
    a> ACL DELUSER default
    a> ACL DELUSER nobody
    a> ACL DELUSER bob nobody
    a> ACL GENPASS 0
    a> ACL GENPASS 5000
    a> ACL GENPASS a
    a> ACL GENPASS 1 2
    a> ACL LOAD
    a> ACL SAVE
    a> ACL LOG
    a> ACL LOG x
    a> ACL LOG RESET
    a> ACL LOG -1
    a> ACL FOO
    a> ACL WHOAMI x
    a> AUTH alice x
    a> AUTH nobody x
    a> AUTH x
    a> AUTH x y z
    a> ACL SETUSER default >y
    a> AUTH y
    a> AUTH default z
    a> ACL GETUSER default
    a> ACL SETUSER default nopass
    a> CONFIG SET requirepass foo
    a> ACL LIST
    b> PING
    b> AUTH bar
    b> AUTH foo
    a> CONFIG SET requirepass ""
    a> ACL GETUSER default
    a> HELLO 2 AUTH nobody x
    a> HELLO 2 AUTH nobody x SETNAME "a b"
"""

REFUSALS = r"""
    a> ACL SETUSER k on nopass ~foo* %R~ro* %W~wo* +@all &ch* -dbsize +config|get -config|set
    k> AUTH k anything
    k> GET bar
    k> GET roo
    k> SET roo 1
    k> SET woo 1
    k> GET woo
    k> SET woo 1 GET
    k> GETDEL woo
    k> COPY roo woo
    k> COPY roo foo
    k> COPY woo foo
    k> MGET foo bar
    k> BITFIELD woo SET u8 0 1
    k> BITFIELD roo GET u8 0
    k> BITFIELD roo SET u8 0 1
    k> EXISTS woo
    k> TYPE woo
    k> STRLEN woo
    k> LPUSH woolist 1
    k> LPOP woolist
    k> DEL woolist
    k> RENAME foo woo
    k> ZUNIONSTORE woo 2 roo bar
    k> XREAD COUNT 1 STREAMS foo bar 0 0
    k> GEORADIUS foo 1 1 1 m STORE bar
    k> DBSIZE
    k> CONFIG SET save ""
    k> CONFIG GET maxclients
    k> PUBLISH ch1 x
    k> PUBLISH x x
    k> SUBSCRIBE x
    k> SUBSCRIBE ch1 x
    k> PSUBSCRIBE ch*1
    k> SPUBLISH x x
    k> SORT foo BY x* GET y
    k> SORT foo BY nosort
    k> SORT foo GET foo
    k> SORT foo GET #
    k> SORT foo STORE bar
    k> EVAL "return redis.call('get','bar')" 0
    k> EVAL "return redis.call('dbsize')" 0
    k> EVAL "return redis.pcall('publish','x','y')" 0
    k> EVAL "return redis.acl_check_cmd('get','bar')" 0
    k> EVAL "return redis.acl_check_cmd('get','foo')" 0
    k> EVAL "return 1" 1 bar
    k> KEYS *
    k> OBJECT ENCODING bar
    k> MULTI
    k> GET bar
    k> EXEC
    k> MULTI
    k> GET foo
    k> EXEC
    k> ACL LOG
    k> ACL LOG 1
    a> ACL DRYRUN k get bar
    a> ACL DRYRUN k publish x y
    a> ACL DRYRUN k dbsize
    a> ACL DRYRUN k get foo
    a> ACL DRYRUN k get
    a> ACL DRYRUN k nosuch
    a> ACL DRYRUN nobody get x
    a> ACL DRYRUN k client kill
    a> ACL DRYRUN k client foo
    a> ACL DELUSER k
    k> PING
    a> ACL SETUSER s on nopass (+get ~a) (+set ~b) +publish &x
    s> AUTH s x
    s> GET b
    s> SET a 1
    s> GET a
    s> SET b 1
    s> PUBLISH y 1
    s> INCR x
    s> PING
    s> MULTI
    s> EXEC
    a> ACL SETUSER u on nopass +@all ~* &*
    u> AUTH u x
    u> MULTI
    u> SET x 1
    u> GET x
    u> PUBLISH c d
    a> ACL SETUSER u -set resetkeys resetchannels
    u> EXEC
    a> ACL SETUSER u reset on nopass +@all ~* &fo*
    u> SUBSCRIBE foo
    a> ACL SETUSER u &more
    a> PUBLISH foo 1
    u?
    a> ACL SETUSER u resetchannels &b*
    u> PING
    a> ACL SETUSER u on nopass +@all ~* allchannels
    u> AUTH u x
    a> ACL SETUSER u off
    u> PING
    b> AUTH u x
"""


def comparable(argv: list[bytes], answer: Any) -> Any:
    """Without what is each server's own: times, clients' details, the order and extras of lists of commands."""
    name = argv[0].upper() if argv else b""
    if name == b"ACL" and argv[1].upper() == b"LOG" and isinstance(answer, list):
        return [entry[:10] for entry in answer]
    if name == b"ACL" and argv[1].upper() in (b"LIST", b"GETUSER") and isinstance(answer, list):
        return [sorted(word.split(b" ")) if isinstance(word, bytes) else word for word in answer]
    return answer


@pytest.mark.parametrize("dialogue", [RULES, REFUSALS], ids=["rules", "refusals"])
def test_acl_answers_as_stock_does(node: LocalNode, dialogue: str) -> None:
    with running("redis7") as port:
        transcripts.compare(dialogue, port, node, comparable)


def test_categories_hold_the_commands_that_stocks_hold(node: LocalNode) -> None:
    client = node.open()
    ours = set(node.node.users.table.bit)
    later = {b"client|setinfo", b"client|no-touch", b"waitaof"}
    with running("redis7") as port:
        wire = Wire(port)
        for category in client.send("ACL", "CAT"):
            expected = {name for name in wire.call("ACL", "CAT", category) if name.decode() in ours}
            assert set(client.send("ACL", "CAT", category)) - later == expected, category
        wire.close()


def test_what_an_acl_describes_is_what_it_is(node: LocalNode) -> None:
    client = node.open()
    rules = ["on", "#" + "0" * 64, "+@all", "-@admin", "+acl|whoami", "-get", "+select|0", "-select", "+select|1"]
    rules += ["~a", "%R~b", "&c", "(+get ~x)", "(+@read -@string +strlen &y)"]
    client.send("ACL", "SETUSER", "one", *rules)
    lines = {line.split()[1]: line for line in client.send("ACL", "LIST")}
    client.send("ACL", "SETUSER", "two", *transcripts.words(lines[b"one"].decode().partition("one ")[2]))
    lines = {line.split()[1]: line for line in client.send("ACL", "LIST")}
    assert lines[b"one"].replace(b"user one", b"") == lines[b"two"].replace(b"user two", b"")
    one, two = (node.node.users.users[name] for name in (b"one", b"two"))
    assert one.root.commands == two.root.commands and one.root.firsts == two.root.firsts
    assert [selector.commands for selector in one.selectors] == [selector.commands for selector in two.selectors]


def test_a_rule_that_fails_changes_nothing(node: LocalNode) -> None:
    client = node.open()
    client.send("ACL", "SETUSER", "u", "on", "+get")
    before = client.send("ACL", "LIST")
    assert "Syntax error" in str(client.send("ACL", "SETUSER", "u", "off", "+set", "nonsense"))
    assert client.send("ACL", "LIST") == before
    assert "Syntax error" in str(client.send("ACL", "SETUSER", "new", "nonsense"))
    assert client.send("ACL", "LIST") == before


def test_equal_refusals_within_a_minute_are_one_entry_of_the_log(node: LocalNode) -> None:
    client, other = node.open(), node.open()
    client.send("ACL", "SETUSER", "u", "on", "nopass", "+ping")
    other.send("AUTH", "u", "x")
    other.send("GET", "a")
    node.advance(30_000)
    other.send("GET", "b")
    log = client.send("ACL", "LOG")
    assert [(entry[1], entry[3], entry[7]) for entry in log] == [(2, b"command", b"get")]
    node.advance(61_000)
    other.send("GET", "b")
    assert [entry[1] for entry in client.send("ACL", "LOG")] == [1, 2]
    assert client.send("ACL", "LOG")[1][11] == b"61"
    client.send("CONFIG", "SET", "acllog-max-len", 1)
    other.send("SET", "b", "c")
    assert len(client.send("ACL", "LOG")) == 1


def test_a_password_that_is_made_has_as_many_bits_as_asked_for(node: LocalNode) -> None:
    client = node.open()
    first, second = client.send("ACL", "GENPASS"), client.send("ACL", "GENPASS")
    assert len(first) == 64 and first != second
    assert [len(client.send("ACL", "GENPASS", bits)) for bits in (1, 4, 5, 4096)] == [1, 1, 2, 1024]


def test_an_unrestricted_default_user_keeps_the_fast_path_and_a_restricted_one_loses_it(node: LocalNode) -> None:
    client = node.open()
    client.send("PING")
    assert client.session.gate == 0
    client.send("ACL", "SETUSER", "default", "-flushall")
    assert client.session.gate != 0
    assert str(client.send("FLUSHALL")).startswith("NOPERM")
    client.send("ACL", "SETUSER", "default", "+@all")
    assert client.session.gate == 0


FILE = "user default on nopass ~* &* +@all\nuser a on nopass ~* +@all\n\n# a comment\nuser b on nopass +ping\n"


def test_an_acl_file_is_loaded_and_saved_whole_or_not_at_all() -> None:
    file = MemoryFile(FILE)
    node = LocalNode("--aclfile", "/users.acl", surroundings=Surroundings(acl_file=file))
    client, a = node.open(), node.open()
    assert client.send("ACL", "USERS") == [b"a", b"b", b"default"]
    assert a.send("AUTH", "a", "x") == b"OK"
    file.text = "user a on +foo\nfoo\nuser a on\nuser c d ~x\nuser"
    assert str(client.send("ACL", "LOAD")) == (
        "ERR /users.acl:1: Error in applying operation '+foo': Unknown command or category name in ACL. /users.acl:2 "
        "should start with user keyword followed by the username. WARNING: Duplicate user 'a' found on line 3. "
        "/users.acl:4: Syntax error. /users.acl:5 should start with user keyword followed by the username. WARNING: "
        "ACL errors detected, no change to the previously active ACL rules was performed"
    )
    assert client.send("ACL", "USERS") == [b"a", b"b", b"default"] and not a.closed
    file.text = "user c on +get\n"
    assert client.send("ACL", "LOAD") == b"OK"
    assert client.send("ACL", "USERS") == [b"c", b"default"]
    assert a.closed and not client.closed
    client.send("ACL", "SETUSER", "d", "+set")
    assert client.send("ACL", "SAVE") == b"OK"
    assert file.text == (
        "user c on resetchannels -@all +get\nuser d off resetchannels -@all +set\nuser default on nopass ~* &* +@all\n"
    )
    file.text = None
    assert "No such file or directory" in str(client.send("ACL", "LOAD"))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("user a on +foo", "Error loading ACL rule '+foo' for the user named 'a': Unknown command or category name in"),
        ('user "a b" on', "Spaces not allowed in ACL usernames"),
        ("aclfile /nowhere/users.acl", "Error loading ACLs, opening file '/nowhere/users.acl': No such file or"),
        ("user a on\naclfile users.acl", "Configuring Redis with users defined in redis.conf and at the same setting"),
    ],
)
def test_bad_users_forbid_the_start(tmp_path: Path, lines: str, why: str) -> None:
    (tmp_path / "redis.conf").write_text(lines + "\n")
    command = [sys.executable, "-m", "replicator", "server", str(tmp_path / "redis.conf"), "--port", str(free_port())]
    done = subprocess.run([*command, "--dir", str(tmp_path)], capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert why in (done.stdout + done.stderr).decode()


def test_a_replica_logs_in_as_the_user_that_it_is_told(tmp_path: Path) -> None:
    with servers(tmp_path, "ours", "ours") as (primary, replica):
        primary.call("ACL", "SETUSER", "link", "on", ">secret", "+psync", "+replconf", "+ping")
        primary.call("ACL", "SETUSER", "default", ">door")
        replica.call("CONFIG", "SET", "masteruser", "link", "masterauth", "secret")
        replica.follow(primary)
        replica.wait_linked()
        assert b"user=link" in primary.call("CLIENT", "LIST", "TYPE", "replica")


def test_users_survive_config_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("# kept\nuser old on +get\n")
    node = LocalNode(store=FileStore(str(path)))
    client = node.open()
    assert client.send("ACL", "USERS") == [b"default", b"old"]
    client.send("ACL", "SETUSER", "new", "on", ">pw", "~x", "+@read", "(+set ~y)", "(~z)")
    assert client.send("CONFIG", "REWRITE") == b"OK"
    assert path.read_text().startswith("# kept\nuser ")
    again = LocalNode(store=FileStore(str(path))).open()
    listed = [
        line.replace(b"default on nopass", b"default on nopass sanitize-payload") for line in client.send("ACL", "LIST")
    ]
    assert again.send("ACL", "LIST") == listed  # stock's default user is shown so, too, once a line speaks of it


# The lines of a configuration file, and what stock 7.0 answers to ACL LIST of an administrator and to a newcomer.
@pytest.mark.parametrize(
    "line",
    [
        "user default on nopass +ping",
        "user default on nopass ~* +@all",
        "user default on >pw +get ~a*",
        "user default off",
        "user default",
        "user default on +@all ~*",
        "user default on nopass resetchannels &foo +@all ~*",
        "user default on nopass (~a +get) +ping",
        "acl-pubsub-default allchannels\nuser default on nopass ~* +@all",
        "user default on nopass ~* +@all\nacl-pubsub-default allchannels",
        "requirepass foo\nuser default on nopass +ping",
        "user default on >a ~* &* +@all\nrequirepass foo",
    ],
)
def test_a_line_for_the_default_user_says_all_that_it_may_do(tmp_path: Path, line: str) -> None:
    text = f"user root on >root ~* &* +@all\n{line}\n"
    (tmp_path / "redis.conf").write_text(text)
    asked = [("PING",), ("GET", "a1"), ("SET", "a", "1"), ("GET", "b"), ("PUBLISH", "foo", "x"), ("AUTH", "pw")]
    asked += [("GET", "a1"), ("AUTH", "foo"), ("PING",), ("AUTH", "root", "root"), ("ACL", "LIST"), ("GET", "a1")]
    stock = binary("redis7")
    if stock is None:
        pytest.skip("redis7's server is not installed on this machine")
    port = free_port()
    bound = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    process = subprocess.Popen([stock, str(tmp_path / "redis.conf"), *bound], stdout=subprocess.DEVNULL)
    try:
        wire = until(lambda: _connected(port), "the stock server listens")
        theirs = [transcripts.plain(wire.call(*argv)) for argv in asked]
        wire.close()
    finally:
        process.kill()
        process.wait()
    client = LocalNode(store=FileStore(str(tmp_path / "redis.conf"))).open()
    ours = [transcripts.plain(client.send(*argv)) for argv in asked]
    assert [comparable([b"ACL", b"LIST"], one) for one in ours] == [
        comparable([b"ACL", b"LIST"], one) for one in theirs
    ]


def _connected(port: int) -> Wire | None:
    try:
        return Wire(port)
    except OSError:
        return None


def test_acl_load_keeps_the_connections_of_users_that_remain() -> None:
    def user(name: str, rules: str) -> str:
        return f"user {name} on nopass ~* +@all {rules}\n"

    same, names = user("default", "&*") + user("same", "&*"), ("default", "same", "changed", "narrowed", "gone")
    file = MemoryFile(same + user("changed", "&*") + user("narrowed", "&a &b") + user("gone", "&*"))
    node = LocalNode("--aclfile", "/users.acl", surroundings=Surroundings(acl_file=file))
    clients = {name: node.open() for name in (*names, "hears a", "hears b")}
    for name, client in clients.items():
        assert client.send("AUTH", name if name in names else "narrowed", "x") == b"OK"
    for channel in ("a", "b"):
        clients[f"hears {channel}"].send("SUBSCRIBE", channel)
    file.text = same + user("changed", "&* -get") + user("narrowed", "&a")
    assert node.open().send("ACL", "LOAD") == b"OK"
    # What Valkey 9.1 does; 7.0 sends away all but the default user's.
    assert {name for name, client in clients.items() if client.closed} == {"gone", "hears b"}
    assert clients["same"].send("GET", "k") is None
    assert str(clients["changed"].send("GET", "k")).startswith("NOPERM")
    assert clients["changed"].send("ACL", "WHOAMI") == b"changed"
    clients["changed"].send("ACL", "SETUSER", "changed", "+get")  # it is the very user that is listed
    assert clients["changed"].send("GET", "k") is None
