"""A play in the terminal: what happens while it happens, and at the end what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from replicator.scenario.play.observe import Happening
from replicator.scenario.report.summary import (
    backlog_advice,
    failover_sentence,
    finding,
    flowing,
    loss_groups,
    silence_ms,
)
from replicator.scenario.script.directives import without_effect
from replicator.scenario.script.script import Script
from replicator.scenario.script.units import human_ms
from replicator.scenario.verdict.outcome import Outcome

_MARKS: tuple[tuple[str, str, str], ...] = (
    ("fault.kill", "✗", "bold red"),
    ("fault.power-loss", "✗", "bold red"),
    ("fault.cut", "✂", "bold red"),
    ("fault.stop", "‖", "bold red"),
    ("fault.", "»", "yellow"),
    ("heal", "+", "green"),
    ("promote", "★", "bold cyan"),
    ("writable", "✓", "bold green"),
    ("sync.full", "◆", "magenta"),
    ("sync.partial", "◇", "magenta"),
    ("node.down", "▼", "red"),
    ("node.ended", "▼", "dim"),
    ("node.up", "▲", "green"),
    ("link.down", "↯", "red"),
    ("link.up", "↔", "green"),
    ("role", "♦", "cyan"),
    ("step.", "!", "bold red"),
    ("play.un", "!", "bold red"),
    ("play.stopped", "!", "bold red"),
    ("play.converged", "=", "green"),
)


class Terminal:
    """console: where to print (plain when it is no terminal). quiet: only the verdicts."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._told = ""

    def opening(self, script: Script, variant: str, about: str, on: str, engine: str, seed: int) -> None:
        self.console.print()
        self.console.print(
            f"[bold]{escape(script.title)}[/bold]" + (f"  [cyan]{escape(variant)}[/cyan]" if variant else "")
        )
        self.console.print(f"[dim]{escape(engine)} · {on} · seed {seed}[/dim]")
        if on != "stock" and (idle := without_effect(script)):
            self.console.print(f"[yellow]without effect in our nodes: {escape(', '.join(idle))}[/yellow]")
        if not self.quiet:
            text = flowing(about) if about else flowing(script.about) if script.title != self._told else ""
            self._told = script.title
            for paragraph in text.split("\n\n"):
                filled = fill(paragraph, min(self.console.width, 110), initial_indent="  ", subsequent_indent="  ")
                self.console.print(f"[dim]{escape(filled)}[/dim]", highlight=False, soft_wrap=True)
            self.console.print()

    def watch(self, event: Happening) -> None:
        """One line of the timeline, as it happens."""
        if self.quiet or event.level == 0:
            return
        mark, style = next(((m, s) for kind, m, s in _MARKS if event.kind.startswith(kind)), ("·", ""))
        when = "  set up" if event.at_ms < 0 else f"{event.at_ms / 1000:7.3f}s"
        text = escape(event.text)
        shown = f"[{style}]{mark} {text}[/{style}]" if style else f"{mark} {text}"
        self.console.print(f"  [dim]{when}[/dim] {shown}", soft_wrap=True, highlight=False)

    def closing(self, outcome: Outcome) -> None:
        """What the play cost."""
        writes = outcome.verdict.writes()
        lost = writes["lost"]
        table = Table.grid(padding=(0, 3))
        for _ in range(7):
            table.add_column(justify="right")
        table.add_row(*(f"[dim]{name}[/dim]" for name in (*(n.replace("_", " ") for n in writes), "longest silence")))
        style = "bold red" if lost else "green"
        figures = [f"[{style}]{value}[/{style}]" if name == "lost" else str(value) for name, value in writes.items()]
        table.add_row(*figures, human_ms(silence_ms(outcome)))
        self.console.print()
        self.console.print(f"  [{style}]{escape(finding(outcome))}[/{style}]", highlight=False, soft_wrap=True)
        self.console.print(Padding(table, (0, 0, 0, 2)), highlight=False, soft_wrap=True)
        for index in range(len(outcome.failovers)):
            self.console.print(
                f"  [dim]failover[/dim] {escape(failover_sentence(outcome, index))}", highlight=False, soft_wrap=True
            )
        full, partial = len(outcome.synced("full")), len(outcome.synced("partial"))
        pairs = f"{len(outcome.pairs)} pairs compared"
        same = f"same id and offset, same data: {'yes' if outcome.consistent else '[bold red]NO[/bold red]'} ({pairs})"
        self.console.print(
            f"  [dim]resynchronizations[/dim] {full} full, {partial} partial   [dim]{same}[/dim]", highlight=False
        )
        for advice in backlog_advice(outcome):
            self.console.print(f"  [yellow]backlog[/yellow] {escape(advice)}", highlight=False, soft_wrap=True)
        for name, found in outcome.verdict.anomalies().items():
            if found:
                self.console.print(f"  [bold red]{name.replace('_', ' ')}[/bold red] {len(found)}: {escape(found[0])}")
        for group in loss_groups(outcome):
            self.console.print(f"  [red]lost[/red] {escape(group.sentence(outcome))}", highlight=False, soft_wrap=True)
            self.console.print(f"       {escape(group.cause())}", highlight=False, soft_wrap=True)
            if group.first.would_have_prevented:
                prevented = escape(group.first.would_have_prevented)
                self.console.print(
                    f"       would have prevented it: [green]{prevented}[/green]", highlight=False, soft_wrap=True
                )
        if outcome.unjudged:
            self.console.print(f"  [bold red]not judged:[/bold red] {escape(outcome.unjudged)}")

    def verdicts(self, outcomes: Sequence[Outcome]) -> None:
        """The expectations of all variants of one scenario."""
        self.console.print()
        if len(outcomes) > 1:
            self._side_by_side(outcomes)
        for outcome in outcomes:
            for one in outcome.expectations:
                mark = "[green]✓[/green]" if one.ok else "[bold red]✗[/bold red]"
                variant = f"[cyan]{escape(one.variant)}[/cyan] " if one.variant else ""
                text = f"{escape(one.name)}: expected {escape(one.expected)}, actual {escape(one.actual)}"
                self.console.print(f"  {mark} {variant}{text}", highlight=False, soft_wrap=True)
        ok = all(one.ok for one in outcomes)
        word = "[bold green]every expectation held[/bold green]" if ok else "[bold red]an expectation failed[/bold red]"
        self.console.print(f"  {word}")

    def _side_by_side(self, outcomes: Sequence[Outcome]) -> None:
        """What each variant has cost, a line each."""
        titles = ("acknowledged", "lost", "refused", "unknown", "longest silence", "full copies")
        wide = max(len(one.variant) for one in outcomes)
        self.console.print(f"  [dim]{'':<{wide}}  {'  '.join(titles)}[/dim]", highlight=False, soft_wrap=True)
        for one in outcomes:
            writes = one.verdict.writes()
            values = [writes["acknowledged"], writes["lost"], writes["failed"], writes["unknown"]]
            words = [*map(str, values), human_ms(silence_ms(one)), str(len(one.synced("full")))]
            cells = [f"{word:>{len(title)}}" for word, title in zip(words, titles, strict=True)]
            cells[1] = f"[{'bold red' if writes['lost'] else 'green'}]{cells[1]}[/]"
            line = f"  {escape(f'{one.variant:<{wide}}')}  {'  '.join(cells)}"
            self.console.print(line, highlight=False, soft_wrap=True)
        self.console.print()
