"""Safeguards of a node switched off one by one: each mutant must be caught by the simulation, and the sound node
must not.

    python -m tests.simulation.mutations          tries all, writes docs/mutations.md
    python -m tests.simulation.mutations NAME     tries one, tells what was objected to

A mutant replaces one piece of one method's text; a piece that is not there any more fails loudly. They live in tests
only.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replicator.core.keyspace.expiry import Expiry
from replicator.core.persistence.journal import Journal
from replicator.core.persistence.loads import Loads
from replicator.core.persistence.replay import Replay
from replicator.core.persistence.rewriting import Rewriter
from replicator.core.replication.backlog import Window
from replicator.core.replication.history import History
from replicator.core.replication.outgoing import Outgoing
from replicator.core.replication.primary import Primary
from replicator.core.replication.replica import Replica
from replicator.core.roles.acknowledgements import Acknowledgements
from replicator.core.roles.applying import Applying
from replicator.core.roles.failover import Failover
from replicator.core.roles.payload import Payload
from replicator.core.roles.role import Role
from replicator.search.run import Seed, prepared, try_seed
from tests.simulation.sentinel_mutants import SENTINEL_MUTANTS
from tests.support.arenas import ARENAS

# Seeds that are tried before a mutant counts as not caught.
SEEDS = 150


@dataclass(frozen=True)
class Mutant:
    """name, and what the node does wrong; the method, the piece of its text, and what stands there instead."""

    name: str
    wrong: str
    owner: Any  # a class, or a module for its function
    method: str
    old: str
    new: str
    arena: str = "storm"


MUTANTS: list[Mutant] = [
    Mutant("forget replid2", "a promoted node does not remember the id it continues", History, "branch",
           "self.id2 = self.id\n", "self.id2 = NO_ID\n", "chain"),
    Mutant("second offset one too low", "the second id is valid up to one byte less than the node has", History,
           "branch",
           "self.second_limit = self.end + 1", "self.second_limit = self.end", "chain"),
    Mutant("second id without a limit", "a replica that is ahead of the branch may continue", History, "judge",
           "asked_id != self.id and asked_position + 1 > self.second_limit", "False"),
    Mutant("partial from a foreign id", "PSYNC of an unknown id is continued", History, "judge",
           "asked_id not in (self.id, self.id2) or asked_id == NO_ID", "False"),
    Mutant("promotion keeps the id", "two primaries write different histories under one id", History, "branch",
           "self.id = new_id(chance)", "pass"),
    Mutant("offset before the backlog", "PSYNC of bytes that are gone is continued", History, "judge",
           "asked_position < first or asked_position < 0", "False"),
    Mutant("old backlog after a full sync", "the window of the old history is kept under the new one", History,
           "restart",
           "self.window = None\n", "size = None if self.window is not None else size\n"),
    Mutant("window trimmed under its readers", "bytes that a replica still needs are dropped", Window, "_trim",
           "if cursor.position < keep:", "if False:", "flood"),
    Mutant("no buffering during the snapshot", "what was written while the snapshot was made is not sent", Primary,
           "snapshot_done", "link.state = LinkState.SENDING\n",
           "link.state = LinkState.SENDING; link.cursor.position = self.history.end\n"),
    Mutant("backlog dropped, id kept", "after repl-backlog-ttl writes are not counted, yet the id goes on", Primary,
           "forget_backlog_if_alone", "self.history.forget(self.chance)\n", "pass\n", "ttl"),
    Mutant("stale acks count", "replicas that were not heard of for long count as good", Primary, "good_replicas",
           "link.state is LinkState.ONLINE and (now.mono_ms - link.acked_ms) // 1000 <= max_lag_s",
           "link.state is LinkState.ONLINE", "lag"),
    Mutant("WAIT counts what was sent", "bytes handed to the network count as acknowledged", Primary, "acked_by",
           "link.acked >= position", "(link.cursor is not None and link.cursor.position >= position)", "wait"),
    Mutant("WAIT looks at the write before", "a WAIT in its write's packet waits for the write before it",
           Acknowledgements, "position_of", "self.keyspace.dirty != outgoing.batch_dirty", "False", "wait"),
    Mutant("writes go on during FAILOVER", "the handing-over primary accepts writes", Failover, "begin",
           "self.pauses.hold(_REASON)\n", "pass\n", "handover"),
    Mutant("FAILOVER without catching up", "the target is taken before it has everything", Acknowledgements,
           "has_all", "end = self.outgoing.offset()", "return True", "handover"),
    Mutant("an unfinished MULTI is applied", "commands of a transaction are applied before its EXEC is there",
           Applying,
           "_apply", 'if name == "exec":\n                    for inner in queue[1:-1]:',
           'name == "exec" or self._run(session, argv)\n'
           '                if name == "exec":\n                    for inner in ():',
           "transactions"),
    Mutant("an open transaction is counted", "the offset runs into a transaction that is not applied", Applying,
           "apply_stream", "- session.decoder.pending - open_size", "- session.decoder.pending",
           "transactions"),
    Mutant("half a command is counted", "the offset runs into a command that is not applied", Applying, "apply_stream",
           "done = len(unapplied) - session.decoder.pending - open_size", "done = len(unapplied) - open_size",
           "transactions"),
    Mutant("ack before apply", "bytes are acknowledged that were received and not applied", Replica, "acknowledge",
           "self.history.end if position is None", "self.history.end + len(self.host.unapplied) if position is None",
           "transactions"),
    Mutant("resumed in the wrong database", "after a reconnect the stream goes on in database 0", Applying,
           "link_is_up",
           "session.db = self.keyspace.databases[self.replica.stream_db]", "session.db = self.keyspace.databases[0]"),
    Mutant("sub-replicas keep streaming", "a new history reaches sub-replicas of the old one", Payload,
           "_leave_history", 'self.primary.drop_all("our primary gives us another history")', "pass"),
    Mutant("the new id is not taken over", "a replica goes on under the id of the old primary", Replica, "_continue",
           "if new_id != history.id:", "if False:"),
    Mutant("offset before payload", "the offset of a payload counts as ours before it is loaded", Replica,
           "_begin_transfer",
           "self.payloads.full_sync_begins()",
           "self.payloads.full_sync_begins(); self.resumable = True; "
           "self.history.restart(self.full_id, self._full_offset, 1 << 20)", "swap"),
    Mutant("half a payload is data", "a load that broke off is taken for whole", Payload, "abandon_load",
           "self.loads.end()", "self._adopt()", "swap"),
    Mutant("expiry on a replica", "a replica deletes keys by its own clock", Expiry, "advance",
           "if not keyspace.scheduled or", 'if not [setattr(keyspace, "expires_keys", True)] or'),
    Mutant("a replica accepts writes", "clients may write to a replica", Role, "check_write",
           "if self.is_read_only():", "if False:"),
    Mutant("no SELECT in the stream", "replicas are not told which database a write went to", Outgoing, "select",
           'self.stream.append(encode((b"SELECT", b"%d" % index)))', "pass"),
    Mutant("the dump forgets newer bytes", "a restarted node claims more of the history than its dump holds", Loads,
           "_recover_history", "history.restart(identity, offset, size)",
           "history.restart(identity, offset + 300, size)"),
    Mutant("fsync skipped", "appendfsync always does not sync", Journal, "sync",
           "self._turn.emit(SyncFile(self.name))", "pass", "fsync always"),
    Mutant("reply before fsync", "replies do not wait for the end of the turn, where the sync is", Journal, "holds",
           "if may_wait:\n                return True", "if may_wait:\n                return False", "fsync always"),
    Mutant("everysec never syncs", "no sync begins beside the loop", Journal, "_sync_if_due",
           "self.begin_sync()", "self.last_sync_ms = self._turn.now.mono_ms", "fsync everysec"),
    Mutant("manifest before base", "the manifest names a base that the child is still writing", Rewriter, "_fork_now",
           "self.fork(self._chunks(self._rdb), self.path(self._base.name))",
           "self.fork(self._chunks(self._rdb), self.path(self._base.name))\n"
           "    early = self.manifest.rewritten(self._base, (self._increment,)) if self._increment else self.manifest\n"
           "    self._commit_manifest(early, lambda: None, lambda why: None)", "fsync always"),
    Mutant("old files go first", "the files that a rewrite replaces are removed before its manifest is durable",
           Rewriter, "done",
           "self.last_cow = cow_bytes\n",
           "self.last_cow = cow_bytes\n"
           "    for part in self.manifest.parts[:-1]:\n"
           "        self._turn.emit(RemoveFile(self.path(part.name)))\n"
           "    return\n", "fsync always"),
    Mutant("the new increment is nowhere", "writes go to an increment that no manifest names", Rewriter, "_switch",
           "self._commit_manifest(manifest, then, self._rewrite_failed)",
           "self._commit_manifest(self.manifest, then, self._rewrite_failed)", "fsync always"),
    Mutant("the fork comes too early", "the child is forked before the new increment is in use, and writes stay in the "
           "old one", Rewriter, "_fork_now",
           "journal.switch(self.path(self._increment.name), 0, State.ON)", "pass", "fsync always"),
    Mutant("tail not truncated", "a start leaves half a command where it stands, and writes behind it", Replay, "_cut",
           "self._turn.emit(TruncateFile(self._path(part.name), reader.sound))", "pass", "torn tail"),
    Mutant("a failed sync is believed", "what a failed sync was to bring to the disk counts as there", Journal,
           "_sync_failed",
           "if self.state is State.OFF:", "if True:", "bad disk, everysec"),
    Mutant("always goes on after a failure", "a failed write or sync does not end the process", Journal, "_end",
           "self._turn.crash()", "pass", "bad disk, always"),
]  # fmt: skip


MUTANTS += [Mutant(*fields) for fields in SENTINEL_MUTANTS]


@contextmanager
def at_work(mutant: Mutant) -> Iterator[None]:
    """While inside, every node has this fault."""
    original = inspect.getattr_static(mutant.owner, mutant.method)
    function = original.fget if isinstance(original, property) else original
    text = textwrap.dedent(inspect.getsource(function))
    old, new = mutant.old, mutant.new
    if old not in text:
        # Deeper lines lose four columns with the method's own indentation.
        old, new = old.replace("\n    ", "\n"), new.replace("\n    ", "\n")
    assert text.count(old) >= 1, f"{mutant.name}: {mutant.old!r} stands no more in {function.__qualname__}"
    scope: dict[str, Any] = {}
    whole = "from __future__ import annotations\n" + text.replace(old, new)
    code = compile(whole, function.__code__.co_filename, "exec")
    exec(code, function.__globals__, scope)
    setattr(mutant.owner, mutant.method, scope[mutant.method])
    try:
        yield
    finally:
        setattr(mutant.owner, mutant.method, original)


def hunt(mutant: Mutant, seeds: int = SEEDS) -> Seed | None:
    """The first seed that catches the mutant, or None."""
    script = ARENAS[mutant.arena]
    with at_work(mutant):
        for seed in range(seeds):
            found = try_seed(prepared(script, seed), mutant.arena, "", seed)
            if not found.ok:
                return found
    return None


def main() -> None:
    """See the module's head."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    lines = [
        "# Mutations", "",
        "Safeguards of a node switched off one by one, each in tests only, and the first seed of the simulation that",
        "catches it. Generated by `python -m tests.simulation.mutations`; the sound node passes the same seeds.", "",
        "| safeguard off | what the node does wrong | arena | caught by seed | objection |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    missed, most = [], dict.fromkeys(ARENAS, 0)
    for mutant in MUTANTS:
        if wanted not in (None, mutant.name):
            continue
        try:
            found = hunt(mutant)
        except AssertionError as stale:
            missed.append(mutant.name)
            print(f"STALE       {stale}", flush=True)
            continue
        if found is None:
            missed.append(mutant.name)
            print(f"NOT CAUGHT  {mutant.name}")
            continue
        most[mutant.arena] = max(most[mutant.arena], found.seed)
        group, text = found.objections[0]
        lines.append(f"| {mutant.name} | {mutant.wrong} | {mutant.arena} | {found.seed} | {group} |")
        print(f"{found.seed:4}  {mutant.name}: {group}", flush=True)
        if wanted:
            print(text)
    if wanted or missed:
        sys.exit(1 if missed else 0)
    sound = 0
    for name, last in most.items():
        for seed in range(last + 1):
            found = try_seed(prepared(ARENAS[name], seed), name, "", seed)
            assert found.ok, f"the sound node fails in {name}, seed {seed}: {found.objections}"
            sound += 1
    lines += [
        "", f"{len(MUTANTS)} mutants, all caught; the sound node passed {sound} runs: in each arena every seed up to",
        "the last one that a mutant needed.",
    ]  # fmt: skip
    target = Path(__file__).parents[2] / "docs" / "mutations.md"
    target.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(MUTANTS)} caught, sound in {sound} runs; {target} written")


if __name__ == "__main__":
    main()
