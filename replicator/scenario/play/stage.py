"""What a player asks of a stage, and what a stage tells a player.

The player (play.Player) is a machine: begin(), handle(report, now) and advance(now) return requests; the stage carries
them out in their order, hosts the workload clients (machines with events and effects of core) and reports. A stage
decides nothing, and a player touches neither clock nor socket, so one player plays live and in virtual time.

A stage's loop, whatever carries it (trio or an event heap):

    carry_out(player.begin(now))
    until player.finished:
        carry_out(player.handle(report, now))     for everything that is reported
        carry_out(player.advance(now))            when now >= player.deadline_ms()
        client.handle(event, now), client.advance(now) for each client, effects as of a node (Connect, Send, Close)
                                                  and player.advance(now) soon after, if player.watches_clients
    everything that was started is ended
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from replicator.scenario.play.observe import Seen
    from replicator.scenario.play.player import Player
    from replicator.scenario.play.workload import Client


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to bytes from one party to another.

    mode: "pass"; "blackhole" (held, as by a dead link: they come late or never, the connection does not break);
    "reset" (connections between the two break at once and new ones break too); "refuse" (new ones break, old ones
    live). delay_ms, jitter_ms: each chunk comes so much later (jitter: 0 to so much more), order kept. rate: bytes a
    second, 0 = any.
    """

    mode: str = "pass"
    delay_ms: int = 0
    jitter_ms: int = 0
    rate: int = 0


PASS = Rule()

# Requests.


@dataclass(frozen=True, slots=True)
class StartNode:
    """Start the node's process with these directives (name, arguments) beside the stage's own. wipe: with an empty
    folder. sentinel: a Sentinel, whose file is made of the directives if it is not there.

    It follows a NodeEnded if the node ran before. Whether the node serves is found out by asking it.
    """

    node: str
    directives: tuple[tuple[str, tuple[str, ...]], ...]
    wipe: bool
    sentinel: bool = False


@dataclass(frozen=True, slots=True)
class KillNode:
    """SIGKILL. power_loss: peers hear nothing, and what had not left the machine is gone. NodeEnded follows."""

    node: str
    power_loss: bool = False


@dataclass(frozen=True, slots=True)
class StopNode:
    """SIGSTOP: the process stands still, its sockets stay open."""

    node: str


@dataclass(frozen=True, slots=True)
class ContinueNode:
    """SIGCONT."""

    node: str


@dataclass(frozen=True, slots=True)
class EndNode:
    """SIGTERM: the node shuts down in good order. NodeEnded follows."""

    node: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a command to the node past all link rules; exactly one Answer with this tag follows.

    One asker's commands to one node are answered in order. password: AUTH with it first, where it is given.
    """

    tag: int
    node: str
    argv: tuple[str, ...]
    timeout_ms: int
    password: str = ""


@dataclass(frozen=True, slots=True)
class SetRule:
    """From now on this rule holds for the bytes from one party (node or client) to another."""

    source: str
    target: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class StartClient:
    """Host this client: it gets Started, then its events; its deadline counts from now on."""

    client: Client


@dataclass(frozen=True, slots=True)
class WakeClients:
    """The directory has changed: call advance() of every client."""


Request: TypeAlias = (
    StartNode | KillNode | StopNode | ContinueNode | EndNode | Ask | SetRule | StartClient | WakeClients
)

# Reports.


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to an Ask, decoded (bytes, int, list, None); or error: what went wrong, in words, with value None.

    refused: the node answered with this error; otherwise there was no answer.
    """

    tag: int
    value: Any
    error: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """The node's process is gone. how: "exit 0", "signal 9". unsynced_ms: its machine lost power, and what it had
    written to its append-only file for so long was not synced; None: nobody knows, or there is none."""

    node: str
    how: str
    unsynced_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """The node has logged this message (without the prefix of process id, date and level)."""

    node: str
    message: str


Report: TypeAlias = Answer | NodeEnded | LogLine


class StageError(Exception):
    """The stage cannot be set up (no such binary, no addresses left ...), in a sentence for the user."""


class Stage(Protocol):
    """One play on one stage: made, asked for addresses by the player, then play() once."""

    on: str  # "live", "stock" or "sim"
    engine: str  # "replicator", or a stock server's name or path
    seed: int
    sample_ms: int  # how often the player looks at all nodes

    def address(self, node: str) -> tuple[str, int]:
        """Where others reach the node: (host, port). Link rules act between whoever connects there and the node."""
        ...

    def source(self, client: str) -> str:
        """The address that this client connects from ("" for any)."""
        ...

    def directives(self, node: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The directives that this stage needs on the node (port, bind, announced address ...), before the script's
        own."""
        ...

    def now_ms(self) -> int:
        """The stage's mono_ms."""
        ...

    def look(self, node: str) -> Seen | None:
        """What INFO of the node would show, where the stage sees it at once; None: the node is to be asked."""
        ...

    def play(self, player: Player) -> None:
        """Runs until player.finished, then ends everything. Raises StageError."""
        ...

    def settled(self) -> bool:
        """Whether all that went wrong beside the steps has been mended; asked once the load has ended."""
        ...

    def details(self) -> dict[str, Any]:
        """What only this stage knows of a finished play: "trace_hash" of a simulation, the folder of kept data ..."""
        ...
