"""A scenario file: its keys as types. Reading one, and naming what is wrong with it, is in loading.py.

The structs below are the reference of the format: a key that is not here is refused. Nothing here decides how a step is
carried out (actions.py), when a condition holds (conditions.py) or what an expectation compares (expect.py).
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from replicator.scenario.script.units import Bytes, Milliseconds

Scalar = str | int | float | bool
Names = str | list[str]


class Topology(Struct, forbid_unknown_fields=True, frozen=True):
    """replicas = N gives the primary "a" and N replicas "b", "c" ... of it; further nodes are named under [nodes].

    tls: nodes and clients speak TLS alone, with certificates made for the run (simulated nodes speak plainly).
    sentinels = N gives N Sentinels "s1", "s2" ... that watch the primary and decide who it is. quorum: of them; 0 is
    the majority. down_after, failover_timeout, parallel_syncs: as sentinel.conf has them; sentinel: its other options.
    mixed: nodes and Sentinels that are of the other kind: stock's (Redis) in a live run, ours in a run on stock.
    """

    replicas: int | None = None
    tls: bool = False
    sentinels: int = 0
    quorum: int = 0
    down_after: Milliseconds = Milliseconds(1000)
    failover_timeout: Milliseconds = Milliseconds(10_000)
    parallel_syncs: int = 1
    sentinel: dict[str, Scalar] = field(default_factory=dict)
    mixed: list[str] = field(default_factory=list)


class NodePlan(Struct, forbid_unknown_fields=True, frozen=True):
    """One node by name: whose replica it is at the start ("" for the primary) and what it is configured with."""

    replica_of: str | None = None
    config: dict[str, Scalar] = field(default_factory=dict)


class Workload(Struct, forbid_unknown_fields=True, frozen=True):
    """What a group of clients does. Each client has one operation under way at a time."""

    name: str = "app"
    clients: int = 4
    rate: float = 100.0  # operations a second and client, at most
    kind: Literal["register", "append", "counter", "mixed"] = "register"
    keys: int = 0  # register: keys a client cycles through, 0 = a new key for every write; append: shared lists (0 = 4)
    value_size: Bytes = Bytes(64)
    reads: float = 0.0  # the share of operations that read, 0 to 1
    read_from: str = "primary"
    target: str = "primary"
    discovery: Literal["directory", "sentinel"] | None = None  # None: by Sentinel where there are any
    wait_replicas: int = 0  # WAIT for so many after each write; fewer: the write counts as unknown
    wait_timeout: Milliseconds = Milliseconds(500)
    timeout: Milliseconds = Milliseconds(1000)
    offsets: Literal["role", "sampled"] = "role"
    start: Milliseconds = Milliseconds(0)
    stop: Milliseconds | None = None


class LinkState(Struct, forbid_unknown_fields=True, frozen=True):
    node: str
    state: Literal["up", "down"] = field(name="is")


class RoleIs(Struct, forbid_unknown_fields=True, frozen=True):
    node: str
    role: Literal["primary", "replica"] = field(name="is")


class LogLine(Struct, forbid_unknown_fields=True, frozen=True):
    """A line that the node has logged since the step before was done. matches: a regular expression."""

    node: str
    contains: str | None = None
    matches: str | None = None


class HappenedEvent(Struct, forbid_unknown_fields=True, frozen=True):
    """An event of the timeline since the step before was done: "sync.full", "node.up", "link.down" ... (a prefix will
    do)."""

    kind: str
    node: str | None = None


class Behind(Struct, forbid_unknown_fields=True, frozen=True):
    """The replica's offset is at least so many bytes behind the primary's."""

    node: str
    by: Bytes


class Condition(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """All that is named must hold at once."""

    synced: Names | bool | None = None
    link: LinkState | None = None
    offsets_equal: list[str] | Literal["all"] | None = None
    role: RoleIs | None = None
    acknowledged: int | None = None
    down: str | None = None
    up: str | None = None
    lasting: Milliseconds | None = field(default=None, name="for")
    log: LogLine | None = None
    event: HappenedEvent | None = None
    behind: Behind | None = None
    writable: bool | None = None


class Kill(Struct, forbid_unknown_fields=True, frozen=True):
    """power_loss: what the machine had not yet sent is gone and its peers hear nothing, instead of a closed
    connection."""

    node: str
    power_loss: bool = False


class Restart(Struct, forbid_unknown_fields=True, frozen=True):
    """A running node is asked to end first (SIGTERM). replica_of: a node, "primary", or "none" to start as a
    primary."""

    node: str
    data: Literal["keep", "wipe"] = "keep"
    replica_of: str | None = None


class Between(Struct, forbid_unknown_fields=True, frozen=True):
    """Two parties: nodes, "clients", one client ("app1"), or as the second "others" (nodes) or "everyone".

    direction: "both", or "x->y" for the bytes from x to y alone.
    """

    between: tuple[str, str]
    direction: str = "both"


class Cut(Struct, forbid_unknown_fields=True, frozen=True):
    between: tuple[str, str]
    mode: Literal["blackhole", "reset", "refuse"] = "blackhole"
    direction: str = "both"


class Delay(Struct, forbid_unknown_fields=True, frozen=True):
    between: tuple[str, str]
    delay: Milliseconds
    jitter: Milliseconds = Milliseconds(0)
    direction: str = "both"


class Throttle(Struct, forbid_unknown_fields=True, frozen=True):
    """rate: bytes a second; 0 takes the limit away."""

    between: tuple[str, str]
    rate: Bytes
    direction: str = "both"


class Promote(Struct, forbid_unknown_fields=True, frozen=True):
    """node "best": the highest offset among the reachable replicas (of `among`, where given).

    announce: the directory names the new primary, so clients that ask it move there.
    """

    node: str
    among: list[str] | None = None
    announce: bool = True


class Repoint(Struct, forbid_unknown_fields=True, frozen=True):
    """nodes: names, or "others": all reachable nodes that do not follow the primary yet. to: a node, or "primary"."""

    nodes: Names
    to: str = "primary"


class SetConfig(Struct, forbid_unknown_fields=True, frozen=True):
    node: Names
    set: dict[str, Scalar]


class RunCommand(Struct, forbid_unknown_fields=True, frozen=True):
    """expect: the reply as text must contain it. background: go on without waiting for the reply."""

    node: str
    argv: list[Scalar]
    expect: str | None = None
    background: bool = False


class Step(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One thing that is done. Steps are played in the order of the file; at, after or when says what this one waits
    for."""

    name: str | None = None
    at: Milliseconds | None = None  # since the play began
    after: Milliseconds | None = None  # since the step before was done
    when: Condition | None = None
    within: Milliseconds = Milliseconds(10_000)  # how long `when` and `wait` may take
    kill: str | Kill | None = None
    stop: str | None = None
    go_on: str | None = field(default=None, name="continue")
    shutdown: str | None = None
    restart: str | Restart | None = None
    cut: Cut | None = None
    heal: Between | Literal["all"] | None = None
    delay: Delay | None = None
    throttle: Throttle | None = None
    promote: str | Promote | None = None
    repoint: Names | Repoint | None = None
    config: SetConfig | None = None
    command: RunCommand | None = None
    load: Literal["pause", "resume", "stop"] | None = None
    wait: Condition | None = None
    note: str | None = None


ACTIONS: tuple[str, ...] = (
    "kill", "stop", "go_on", "shutdown", "restart", "cut", "heal", "delay", "throttle",
    "promote", "repoint", "config", "command", "load", "wait", "note",
)  # fmt: skip
# How the fields above are spelled in a file.
ACTION_KEYS: dict[str, str] = {name: "continue" if name == "go_on" else name for name in ACTIONS}


class Expect(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One expectation. Counts are compared with a number or a text: 0, "<= 20", "> 0", "10..50", or "< NAME" where
    NAME is another variant of the scenario."""

    name: str | None = None
    variant: str | None = None
    node: str | None = None
    acknowledged: int | str | None = None
    kept: int | str | None = None
    lost: int | str | None = None
    lost_within: Milliseconds | None = None
    failed: int | str | None = None
    unknown: int | str | None = None
    unknown_kept: int | str | None = None
    duplicated: int | str | None = None
    reordered: int | str | None = None
    phantom: int | str | None = None
    resurrected: int | str | None = None
    stale_reads: int | str | None = None
    failovers: int | str | None = None
    full_syncs: int | str | None = None
    partial_syncs: int | str | None = None
    writable_within: Milliseconds | None = None
    detected_within: Milliseconds | None = None
    promoted: str | None = None
    consistent: bool | None = None
    converged: bool | None = None
    equal_digests: bool | list[str] | None = None
    role: RoleIs | None = None
    log: LogLine | None = None


CHECKS: tuple[str, ...] = tuple(name for name in Expect.__struct_fields__ if name not in ("name", "variant", "node"))


FaultKind = Literal[
    "kill", "power-loss", "wipe", "restart", "stop",
    "cut", "cut-one-way", "reset", "delay", "throttle", "drop-links",
    "slow-disk", "disk-error", "disk-full", "fork-error", "child-kill", "clock-step",
    "promote", "failover", "repoint", "save", "resize", "config",
]  # fmt: skip


# Those that need the second party of a link.
LINK_FAULTS: tuple[FaultKind, ...] = ("cut", "cut-one-way", "reset", "delay", "throttle")


class Fault(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One thing that goes wrong, or is done, beside the steps; drawn by `replicator simulate`, or written by hand.

    node: to whom. other: the second party of a link ("clients" for all of them), or whom to follow. lasts: until it is
    mended. amount: of what the kind has (milliseconds of delay or clock step, bytes of a rate or a backlog, a choice).
    """

    at: Milliseconds
    kind: FaultKind
    node: str = ""
    other: str = ""
    lasts: Milliseconds = Milliseconds(0)
    amount: int = 0


class Faults(Struct, forbid_unknown_fields=True, frozen=True):
    """What `replicator simulate` adds to the steps: faults drawn from the seed. A live run ignores it.

    kinds: how often one kind is drawn compared with the others. per_minute: faults in a minute of the play's time.
    start, stop: when the first and the last may begin; by themselves 1 s (of a shorter play a quarter) and the play's
    end. vary: draw configuration and load, too. plan: exactly these faults, in every simulated run of the file; none is
    drawn.
    """

    kinds: dict[FaultKind, float] = field(default_factory=dict)
    per_minute: float = 6.0
    start: Milliseconds | None = None
    stop: Milliseconds | None = None
    longest: Milliseconds = Milliseconds(5000)
    vary: bool = False
    plan: list[Fault] = field(default_factory=list)


class End(Struct, forbid_unknown_fields=True, frozen=True):
    """After the last step: heal every link, wait until all replicas have caught up, read everything back."""

    heal: bool = True
    converge: Milliseconds = Milliseconds(10_000)


class Variant(Struct, forbid_unknown_fields=True, frozen=True):
    """The same scenario with other settings; each table is laid over the scenario's own."""

    name: str
    about: str = ""
    config: dict[str, Scalar] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    workload: dict[str, Any] = field(default_factory=dict)
    topology: dict[str, Any] = field(default_factory=dict)
    steps: list[Any] | None = None


class Script(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    title: str
    about: str = ""
    steps: list[Step] = field(default_factory=list)
    duration: Milliseconds | None = None  # how long the load goes on; without it: to the end of the last step
    topology: Topology = field(default_factory=Topology)
    config: dict[str, Scalar] = field(default_factory=dict)
    nodes: dict[str, NodePlan] = field(default_factory=dict)
    workload: Workload | list[Workload] = field(default_factory=Workload)
    expect: list[Expect] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    end: End = field(default_factory=End)

    @property
    def workloads(self) -> list[Workload]:
        return self.workload if isinstance(self.workload, list) else [self.workload]

    def upstreams(self) -> dict[str, str | None]:
        """Every node in its order of start, with the node that it replicates at first (None: the primary)."""
        named = {name: plan.replica_of for name, plan in self.nodes.items() if plan.replica_of is not None}
        replicas = self.topology.replicas
        if replicas is None:
            replicas = 0 if self.nodes.keys() - {"a"} else 2
        found: dict[str, str | None] = {}
        for index in range(replicas + 1):
            found[chr(ord("a") + index)] = "a" if index else None
        for name in self.nodes:
            found.setdefault(name, None)
        for name, upstream in named.items():
            found[name] = upstream or None
        return found

    def sentinels(self) -> list[str]:
        """The Sentinels by name: s1, s2 ..."""
        return [f"s{number + 1}" for number in range(self.topology.sentinels)]

    def parties(self) -> list[str]:
        """All that is started: nodes, then Sentinels."""
        return [*self.upstreams(), *self.sentinels()]

    def play_ms(self) -> int:
        """About how long the load goes on."""
        if self.duration is not None:
            return int(self.duration)
        return max([int(step.at) for step in self.steps if step.at is not None], default=5000) + 1000

    def primary(self) -> str:
        return next(name for name, upstream in self.upstreams().items() if upstream is None)

    def client_names(self) -> list[str]:
        return [f"{group.name}{number + 1}" for group in self.workloads for number in range(group.clients)]

    def configured(self, *names: str) -> list[str]:
        """All values that one of these directives is given: for all nodes, for one of them, or by a step."""
        configs = [self.config, *(plan.config for plan in self.nodes.values())]
        configs += [step.config.set for step in self.steps if step.config is not None]
        return [shown(config[name]) for config in configs for name in names if name in config]


def shown(value: Scalar) -> str:
    """A configuration value as a directive has it: true -> "yes"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def action_of(step: Step) -> tuple[str, Any]:
    """The one action of a step: its field's name and value."""
    for name in ACTIONS:
        value = getattr(step, name)
        if value is not None:
            return name, value
    raise AssertionError("loading refuses a step without an action")
