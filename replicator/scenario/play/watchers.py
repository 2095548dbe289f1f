"""The Sentinels of a play: started when the nodes are in sync, listened to, and followed when they promote somebody.

Where a play has Sentinels nobody else decides who the primary is: the directory follows what they announce, for the
reports and for those clients that ask it. Clients with discovery = "sentinel" ask the Sentinels themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from replicator.scenario.play.observe import parse_info
from replicator.scenario.play.stage import Answer, StartNode
from replicator.scenario.play.waiting import Wait
from replicator.scenario.script.script import shown
from replicator.scenario.verdict.history import Promotion

if TYPE_CHECKING:
    from replicator.scenario.play.player import Player

NAME = "mymaster"
# How long all of them may take to know each other and the replicas.
FOUND_MS = 20_000
_ASK_MS = 2000
# Events worth a line of the timeline.
_TOLD = re.compile(r"([+-](?:sdown|odown|tilt|try-failover|elected-leader|failover-abort-[a-z-]+|switch-master"
                   r"|convert-to-slave|fix-slave-config|failover-end)) (.*)")  # fmt: skip
_SWITCH = re.compile(r"\+switch-master \S+ \S+ \d+ (\S+) (\d+)")
_ADDRESS = re.compile(r"\+(promoted-slave|convert-to-slave|fix-slave-config) slave \S+ (\S+) (\d+) @ \S+ (\S+) (\d+)")


class Watchers:
    """What the player knows of the Sentinels of its script."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.names = player.script.sentinels()
        # Nodes that start as their own configuration says, although Sentinels will tell them otherwise.
        self.own: dict[str, str | None] = {}
        self._beliefs: dict[str, str] = {}
        self._measuring: tuple[list[Any], Callable[[], None]] = ([], lambda: None)

    # -- starting ----------------------------------------------------------------------------------------------------

    def directives(self, name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The lines of a Sentinel's file: what the stage needs, the primary, its options."""
        player, topology = self.player, self.player.script.topology
        host, port = player.stage.address(player.script.primary())
        quorum = topology.quorum or len(self.names) // 2 + 1
        lines = list(player.stage.directives(name))
        lines.append(("sentinel", ("monitor", NAME, host, str(port), str(quorum))))
        options = {
            "down-after-milliseconds": str(int(topology.down_after)),
            "failover-timeout": str(int(topology.failover_timeout)),
            "parallel-syncs": str(topology.parallel_syncs),
        }
        options |= {option: shown(value) for option, value in topology.sentinel.items()}
        if player.directory.password:
            options["auth-pass"] = player.directory.password
        lines += [("sentinel", (option, NAME, value)) for option, value in options.items()]
        return tuple(lines)

    def start(self, name: str, wipe: bool) -> None:
        """Start a Sentinel's process; its file is what it has made of it, unless wiped."""
        self.player.observer.restarted(name)
        self.player.put(StartNode(name, self.directives(name), wipe, sentinel=True))

    def set_up(self) -> Generator[Wait, bool, str]:
        """Start all of them and wait until they know each other and all replicas; what is wrong, or ""."""
        player = self.player
        if not self.names:
            return ""
        for name in self.names:
            self.start(name, wipe=True)
        until_ms = player.now_ms + FOUND_MS
        replicas, others = len(player.upstream) - 1, len(self.names) - 1
        missing = list(self.names)
        while missing:
            asked = {name: player.ask_later(name, ("SENTINEL", "MASTER", NAME), _ASK_MS) for name in missing}
            yield Wait(partial(_all_answered, list(asked.values())))
            missing = [name for name in missing if not _knows(asked[name].answer, replicas, others)]
            ended = [name for name in self.names if player.view(name).ended]
            if ended:
                return f"Sentinel {ended[0]} ended at once"
            if missing and player.now_ms >= until_ms:
                return f"Sentinel {missing[0]} does not know all replicas and Sentinels after {FOUND_MS} ms"
            if missing:
                yield player.pause(100)
        return ""

    # -- listening ---------------------------------------------------------------------------------------------------

    def heard(self, name: str, message: str) -> None:
        """A Sentinel has logged a line."""
        player = self.player
        told = _TOLD.match(message)
        if told:
            important = told[1] in ("+switch-master", "+elected-leader", "+tilt")
            player.record(f"sentinel.{told[1]}", name, f"{name}: {message}", 2 if important else 1)
        moved = _SWITCH.match(message)
        if moved:
            self._believes(name, player.node_at(moved[1], int(moved[2])))
        match = _ADDRESS.match(message)
        if match is None:
            return
        node = player.node_at(match[2], int(match[3]))
        if node is None:
            return
        if match[1] == "promoted-slave":
            self._promoted(node, name)
        else:
            self.own.pop(node, None)
            player.upstream[node] = player.node_at(match[4], int(match[5]))

    def _believes(self, name: str, node: str | None) -> None:
        """A Sentinel has moved to another primary: where most of them stand is where clients are sent."""
        if node is None:
            return
        self._beliefs[name] = node
        count = sum(believed == node for believed in self._beliefs.values())
        if count > len(self.names) // 2 and node != self.player.directory.primary:
            self._promoted(node, name)

    def _promoted(self, node: str, name: str) -> None:
        """A replica was made the primary: clients of the directory move there, and what was lost is measured."""
        player = self.player
        before = player.directory.primary
        if node == before:
            return
        player.directory.primary = node
        player.upstream[node] = None
        for other in player.upstream:
            if other != node:
                player.upstream[other] = node
        self.own.pop(node, None)
        self.own[before] = None
        player.load(player.directory.load)
        at_ms = player.at()
        others = [other for other in player.live() if other not in (node, before)]
        replies = {
            other: player.ask_later(other, ("INFO", "replication"), _ASK_MS, lambda: self._measured(node))
            for other in (node, *others)
        }

        def measure() -> None:
            info = {other: _info(reply.answer) for other, reply in replies.items()}
            own = info.pop(node)
            offset = max(0, int(own.get("second_repl_offset", 0)) - 1)
            standing = {
                other: int(fields["master_repl_offset"])
                for other, fields in info.items()
                if fields.get("role") == "slave"
            }
            reason = f"at offset {offset}, by Sentinel {name}"
            fields = {"offset": offset, "others": standing, "before": before}
            player.record("promote", node, f"{node} is promoted {reason}", 2, **fields)
            player.promoted(Promotion(at_ms, node, before, offset, own.get("master_replid", ""), standing))

        self._measuring = (list(replies.values()), measure)

    def _measured(self, node: str) -> None:
        replies, measure = self._measuring
        if all(reply.answer is not None for reply in replies):
            measure()


def _all_answered(replies: list[object]) -> bool:
    return all(getattr(reply, "answer", None) is not None for reply in replies)


def _info(answer: Answer | None) -> dict[str, str]:
    return parse_info(answer.value) if answer is not None and isinstance(answer.value, bytes) else {}


def _knows(answer: Answer | None, replicas: int, others: int) -> bool:
    if answer is None or not isinstance(answer.value, list):
        return False
    words = [word.decode("utf-8", "replace") for word in answer.value]
    fields = dict(zip(words[::2], words[1::2], strict=True))
    return fields.get("num-slaves") == str(replicas) and fields.get("num-other-sentinels") == str(others)
