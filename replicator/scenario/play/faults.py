"""Carries the faults of a plan out beside the steps of a simulated play, and mends everything at its end.

A fault goes through the player's own bookkeeping (who runs, who follows whom, where clients write), so that conditions,
checkers and reports know of it as of a step's. A fault that has no object any more (its node is down already) is
counted as skipped: a fault that never happened tested nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicator.scenario.play import actions
from replicator.scenario.play.observe import parse_info
from replicator.scenario.play.stage import PASS, Answer, Ask, ContinueNode, EndNode, KillNode, Rule, StopNode
from replicator.scenario.script.script import Fault
from replicator.scenario.verdict.history import Promotion

if TYPE_CHECKING:
    from replicator.scenario.play.player import Player
    from replicator.scenario.stages.simulated import Machine, SimulatedStage

ASK_MS = 3000
# What the kind "config" may set, by the fault's amount.
CONFIGS: tuple[tuple[str, str], ...] = (
    ("repl-diskless-sync", "no"), ("repl-diskless-sync", "yes"),
    ("repl-diskless-load", "disabled"), ("repl-diskless-load", "swapdb"), ("repl-diskless-load", "on-empty-db"),
    ("repl-timeout", "2"), ("repl-timeout", "60"), ("repl-backlog-ttl", "1"), ("repl-backlog-ttl", "3600"),
    ("repl-ping-replica-period", "1"), ("replica-serve-stale-data", "no"), ("replica-serve-stale-data", "yes"),
    ("min-replicas-to-write", "1"), ("min-replicas-to-write", "0"), ("rdb-key-save-delay", "300"),
    ("rdb-key-save-delay", "0"), ("client-output-buffer-limit", "replica 40kb 20kb 1"), ("save", "1 1"), ("save", ""),
)  # fmt: skip
# Settings that would keep nodes apart, put back when everything is mended.
CALM = (
    ("min-replicas-to-write", "0"), ("rdb-key-save-delay", "0"), ("replica-serve-stale-data", "yes"),
    ("client-output-buffer-limit", "replica 256mb 64mb 60"),
)  # fmt: skip


class Mischief:
    """One play's faults."""

    def __init__(self, stage: SimulatedStage, player: Player, plan: list[Fault]) -> None:
        self.stage, self.player = stage, player
        self.counts: dict[str, int] = {}
        self._over = False
        self._calmed: dict[str, None] = {}
        kernel = stage.kernel
        for fault in plan:
            kernel.after(fault.at * 1000, self._begin, fault)

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _begin(self, fault: Fault) -> None:
        if self._over or self.player.finished:
            return
        work: Callable[[Fault], bool] = getattr(self, "_" + fault.kind.replace("-", "_"))
        done = work(fault)
        self._count(fault.kind if done else f"{fault.kind} (skipped)")
        self.stage.go_on()

    def _later(self, lasts_ms: int, mend: Callable[[], None]) -> None:
        def run() -> None:
            if not self._over and not self.player.finished:
                mend()
                self.stage.go_on()

        self.stage.kernel.after(lasts_ms * 1000, run)

    # -- processes ---------------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> bool:
        return self._end(fault, "kill", power_loss=False)

    def _power_loss(self, fault: Fault) -> bool:
        return self._end(fault, "power-loss", power_loss=True)

    def _wipe(self, fault: Fault) -> bool:
        return self._end(fault, "kill", power_loss=False, wipe=True)

    def _end(self, fault: Fault, kind: str, *, power_loss: bool, wipe: bool = False) -> bool:
        player, node = self.player, fault.node
        view = player.view(node)
        if not view.running:
            return False
        player.fault(kind, node, f"{node}: {fault.kind} (drawn), for {int(fault.lasts)} ms")
        player.put(KillNode(node, power_loss))
        view.stopped, view.dark = False, power_loss
        self._later(fault.lasts, lambda: self._revive(node, wipe))
        return True

    def _restart(self, fault: Fault) -> bool:
        player, node = self.player, fault.node
        view = player.view(node)
        if not view.running or view.stopped:
            return False
        player.fault("shutdown", node, f"{node} is asked to shut down (drawn)")
        player.put(EndNode(node))
        self._later(fault.lasts, lambda: self._revive(node, False))
        return True

    def _revive(self, node: str, wipe: bool) -> None:
        """Start the node again, as a replica of the primary that the directory names (unless that is itself)."""
        player = self.player
        view = player.view(node)
        if view.running or not view.ended:
            if not view.ended:
                self._later(200, lambda: self._revive(node, wipe))
            return
        primary = player.directory.primary
        if player.watchers.names:
            pass  # it starts as its own configuration says, and Sentinels tell it the rest
        elif node == primary:
            player.upstream[node] = None
        elif player.upstream[node] is None:
            player.upstream[node] = primary
        player.fault("wipe" if wipe else "restart", node, f"{node} is started again (drawn)")
        player.start(node, wipe)

    def _stop(self, fault: Fault) -> bool:
        player, node = self.player, fault.node
        view = player.view(node)
        if not view.running or view.stopped:
            return False
        view.stopped = True
        player.fault("stop", node, f"{node} stands still (drawn), for {int(fault.lasts)} ms")
        player.put(StopNode(node))
        self._later(fault.lasts, lambda: self._continue(node))
        return True

    def _continue(self, node: str) -> None:
        view = self.player.view(node)
        if view.running and view.stopped:
            view.stopped = False
            self.player.fault("continue", node, f"{node} goes on")
            self.player.put(ContinueNode(node))

    # -- links -------------------------------------------------------------------------------------------------------

    def _rule(self, fault: Fault, rule: Rule, *, both: bool = True) -> bool:
        player = self.player
        others = player.script.client_names() if fault.other == "clients" else [fault.other]
        for other in others:
            pairs = [(fault.node, other), (other, fault.node)] if both else [(fault.node, other)]
            for source, target in pairs:
                if actions.rule_between(player, source, target) == PASS:
                    actions.set_rule(player, source, target, rule)
                    self._later(fault.lasts, lambda a=source, b=target: self._heal(a, b, rule))  # type: ignore[misc]
        arrow = "<->" if both else "->"
        kind = "cut" if rule.mode != "pass" else "slow"
        told = f"{fault.node} {arrow} {fault.other}: {fault.kind} (drawn), for {int(fault.lasts)} ms"
        player.fault(kind, f"{fault.node}|{fault.other}", told)
        return True

    def _heal(self, source: str, target: str, rule: Rule) -> None:
        if actions.rule_between(self.player, source, target) == rule:
            actions.set_rule(self.player, source, target, PASS)

    def _cut(self, fault: Fault) -> bool:
        return self._rule(fault, Rule("blackhole"))

    def _cut_one_way(self, fault: Fault) -> bool:
        return self._rule(fault, Rule("blackhole"), both=False)

    def _reset(self, fault: Fault) -> bool:
        return self._rule(fault, Rule("reset"))

    def _delay(self, fault: Fault) -> bool:
        return self._rule(fault, Rule("pass", fault.amount, fault.amount))

    def _throttle(self, fault: Fault) -> bool:
        return self._rule(fault, Rule("pass", 0, 0, max(1, fault.amount)))

    def _drop_links(self, fault: Fault) -> bool:
        kind = "replica" if fault.amount else "master"
        return self._ask(fault.node, ("CLIENT", "KILL", "TYPE", kind))

    # -- disks, children, clocks -------------------------------------------------------------------------------------

    def _slow_disk(self, fault: Fault) -> bool:
        disk = self.stage.machines[fault.node].disk
        usual, disk.sync_us = disk.sync_us, max(1, fault.amount) * 1000
        self._later(fault.lasts, lambda: setattr(disk, "sync_us", usual))
        return True

    def _disk_error(self, fault: Fault) -> bool:
        """amount 0: the next sync fails; 1: the next reading of a file does."""
        disk = self.stage.machines[fault.node].disk
        if fault.amount:
            disk.failing_reads += 1
        else:
            disk.failing_syncs += 1
        return True

    def _disk_full(self, fault: Fault) -> bool:
        disk = self.stage.machines[fault.node].disk
        disk.full = True
        self._later(fault.lasts, lambda: setattr(disk, "full", False))
        return True

    def _fork_error(self, fault: Fault) -> bool:
        process = self.stage.machines[fault.node].process
        if process is None or process.ended is not None:
            return False
        process.snapshots.fail_fork += 1
        return True

    def _child_kill(self, fault: Fault) -> bool:
        process = self.stage.machines[fault.node].process
        if process is None or process.ended is not None:
            return False
        if not process.snapshots.kill():
            process.snapshots.kill_next += 1
        return True

    def _clock_step(self, fault: Fault) -> bool:
        self.stage.machines[fault.node].clock.step_wall(fault.amount)
        return True

    # -- orders to nodes ---------------------------------------------------------------------------------------------

    def _ask(
        self, node: str, argv: tuple[str, ...], then: Callable[[Answer], None] | None = None, timeout_ms: int = ASK_MS
    ) -> bool:
        view = self.player.view(node)
        if not view.running or view.stopped:
            return False
        self.stage.command(Ask(0, node, argv, timeout_ms, self.player.directory.password), then)
        return True

    def _promote(self, fault: Fault) -> bool:
        """An operator's (or an orchestrator's) failover without any coordination, the old primary may well live."""
        player, node = self.player, fault.node
        before = player.directory.primary
        if node == before:
            return False

        def told(answer: Answer) -> None:
            if not answer.error:
                self._ask(node, ("INFO", "replication"), known)

        def known(answer: Answer) -> None:
            info = parse_info(answer.value) if isinstance(answer.value, bytes) else {}
            if info.get("role") != "master" or player.directory.primary == node:
                return
            offset = max(0, int(info.get("second_repl_offset", 0)) - 1)
            self._took_over(node, before, offset, info.get("master_replid", ""))
            for other in player.upstream:
                if other != node:
                    self._later(fault.amount, lambda one=other: void(self._follow(one, node)))  # type: ignore[misc]

        player.record("promote.drawn", node, f"{node} is told to become primary (drawn)", 1)
        return self._ask(node, ("REPLICAOF", "NO", "ONE"), told)

    def _took_over(self, node: str, before: str, offset: int, replid: str) -> None:
        player = self.player
        player.upstream[node] = None
        player.directory.primary = node
        player.record("promote", node, f"{node} is promoted (drawn)", 2, offset=offset, others={}, before=before)
        player.promoted(Promotion(player.at(), node, before, offset, replid, {}))
        player.load(player.directory.load)

    def _follow(self, node: str, target: str) -> bool:
        """REPLICAOF, unless that would make a circle."""
        player = self.player
        if self._circles(node, target):
            return False
        host, port = self.stage.address(target)

        def told(answer: Answer) -> None:
            if answer.error or node == player.directory.primary:
                return
            player.fault("repoint", node, f"{node} is told to replicate {target} (drawn)", to=target)
            primary = player.directory.primary
            if not self._circles(node, target):
                player.upstream[node] = target
            elif not self._circles(node, primary):
                # Two orders at once have made a circle: the operator notices, and breaks it.
                player.upstream[node] = primary
                self._ask(node, ("REPLICAOF", *map(str, self.stage.address(primary))))

        return self._ask(node, ("REPLICAOF", host, str(port)), told)

    def _circles(self, node: str, target: str) -> bool:
        """Whether `target` follows `node`, near or far (or a circle is there already)."""
        above: str | None = target
        for _ in range(len(self.player.upstream) + 1):
            if above is None:
                return False
            if above == node:
                return True
            above = self.player.upstream[above]
        return True

    def _repoint(self, fault: Fault) -> bool:
        if fault.node == self.player.directory.primary:
            return False
        return self._follow(fault.node, fault.other)

    def _failover(self, fault: Fault) -> bool:
        """FAILOVER of the present primary; amount 1: aborted soon after, 2: with a target and a timeout, 3: forced."""
        player = self.player
        primary = player.directory.primary
        argv: tuple[str, ...] = ("FAILOVER",)
        if fault.amount in (2, 3) and fault.node != primary:
            host, port = self.stage.address(fault.node)
            argv = ("FAILOVER", "TO", host, str(port), *(("FORCE",) if fault.amount == 3 else ()), "TIMEOUT", "700")
        if fault.amount == 1:
            self._later(max(1, fault.lasts % 300), lambda: void(self._ask(primary, ("FAILOVER", "ABORT"))))
        player.record("failover.drawn", primary, f"{primary}: {' '.join(argv)} (drawn)", 1)
        return self._ask(primary, argv)

    def took_over(self, node: str, identity: str, offset: int) -> None:
        """A node announced that a coordinated failover has made it the primary."""
        before = self.player.directory.primary
        if node == before or self._over:
            return
        self.player.upstream[before] = node
        self._took_over(node, before, offset, identity)

    def _save(self, fault: Fault) -> bool:
        return self._ask(fault.node, ("SAVE",) if fault.amount == 1 else ("BGSAVE",))

    def _resize(self, fault: Fault) -> bool:
        return self._ask(fault.node, ("CONFIG", "SET", "repl-backlog-size", str(max(16384, fault.amount))))

    def _config(self, fault: Fault) -> bool:
        return self._ask(fault.node, ("CONFIG", "SET", *CONFIGS[fault.amount % len(CONFIGS)]))

    # -- the end -----------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """The safe phase begins: every link, disk and process is whole again, and everybody follows the primary."""
        if self._over:
            return
        player = self.player
        player.heal_all()
        self._over = True
        for machine in self.stage.machines.values():
            self._count_unmet(machine)
            machine.disk.full = False
            machine.disk.failing_syncs = machine.disk.failing_reads = 0
            machine.disk.sync_us = 200
            if machine.process is not None:
                machine.process.snapshots.fail_fork = machine.process.snapshots.kill_next = 0
        for node in player.script.parties():
            self._continue(node)
        self.stage.go_on()
        self._gather()

    def _count_unmet(self, machine: Machine) -> None:
        """Faults that lay in wait for a sync, a read, a fork or a child that never came."""
        snapshots = machine.process.snapshots if machine.process is not None else None
        for kind, left in (
            ("disk-error", machine.disk.failing_syncs + machine.disk.failing_reads),
            ("fork-error", snapshots.fail_fork if snapshots is not None else 0),
            ("child-kill", snapshots.kill_next if snapshots is not None else 0),
        ):
            if left:
                name = f"{kind} (unmet)"
                self.counts[name] = self.counts.get(name, 0) + left

    def _gather(self) -> None:
        """Start who is down; tell who does not follow the primary to do so; look again until all is well."""
        player = self.player
        if player.finished:
            return
        primary = player.directory.primary
        for node in player.script.parties():
            view = player.view(node)
            if not view.running and view.ended:
                self._revive(node, False)
            elif player.watchers.names:
                continue
            elif view.answers and node == primary and view.role == "replica":
                player.upstream[node] = None
                self._ask(node, ("REPLICAOF", "NO", "ONE"))
            elif view.answers and node != primary and self._strays(node):
                player.upstream[node] = primary
                host, port = self.stage.address(primary)
                self._ask(node, ("REPLICAOF", host, str(port)))
            if view.answers and node not in self._calmed:
                self._calmed[node] = None
                # One without a timeout waits for its replica for ever, and lets nobody change its role.
                self._ask(node, ("FAILOVER", "ABORT"))
                for name, value in CALM:
                    self._ask(node, ("CONFIG", "SET", name, value))
        self.stage.go_on()
        self.stage.kernel.after(1_500_000, self._gather)

    def settled(self) -> bool:
        """Whether every node answers, and follows the primary over nodes that do."""
        player = self.player
        primary = player.directory.primary
        if not self._over or player.view(primary).role != "primary":
            return False
        views = [player.view(node) for node in player.upstream]
        return all(view.running and view.answers for view in views) and not any(
            self._strays(node) for node in player.upstream if node != primary
        )

    def _strays(self, node: str) -> bool:
        """Whether the node is its own primary, or follows another than it should."""
        player = self.player
        view, upstream = player.view(node), player.upstream[node]
        if view.role == "primary" or upstream is None or node not in player.followers():
            return True
        return view.seen.upstream != "{}:{}".format(*self.stage.address(upstream))


def void(_: object) -> None:
    """For calls whose answer nobody needs."""
