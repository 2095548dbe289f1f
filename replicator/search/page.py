"""What the runs of a search have cost, as one HTML page without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from replicator.scenario.report.html import STYLE
from replicator.scenario.script.units import human_ms
from replicator.search.spread import Costs, Histogram, Spread, histogram
from replicator.search.sweep import Sweep

_WIDTH, _HEIGHT = 560, 120
_MORE_STYLE = """
.costs{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:8px 28px}
svg.histogram{width:100%;max-width:560px;height:auto;display:block}
svg.histogram .many{fill:var(--kept)}
svg.histogram .worst{fill:var(--lost)}
"""


def page(sweep: Sweep) -> str:
    """The whole page: for each file and variant its figures, a histogram of each, and the command of the worst run."""
    runs = f"{sweep.runs} runs, {sweep.sums['writes']} writes acknowledged"
    failed = f"{sweep.failed} seeds failed" if sweep.failed else "no seed failed"
    chip = f'<span class="chip{" bad" if sweep.failed else ""}">{failed}</span>'
    body = "".join(_costs(sweep, costs) for costs in sweep.ledger.costs())
    failures = "".join(
        f'<div class="cause"><p><b>{escape(group.name)}</b>: {escape(group.told())}</p>'
        f"<p><code>{escape(group.command)}</code></p></div>"
        for group in sweep.groups.values()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>What a failover can cost</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}{_MORE_STYLE}</style></head>'
        f"<body><main><header><h1>What it can cost{chip}</h1>"
        f'<div class="meta">{escape(runs)}</div></header>'
        f"{failures}{body}</main></body></html>\n"
    )


def _costs(sweep: Sweep, costs: Costs) -> str:
    lost, silence = costs.spread(costs.lost), costs.spread(costs.silence_ms)
    losses = _figure("writes lost", lost, str) + _drawn(histogram(costs.lost), str)
    silences = _figure("without service", silence, human_ms) + _drawn(histogram(costs.silence_ms), human_ms)
    return (
        f'<section class="card"><h2>{escape(costs.name)}</h2><div class="meta">{len(costs.seeds)} runs</div>'
        f'<div class="costs"><div>{losses}</div><div>{silences}</div></div>'
        f"<p>the worst again: <code>{escape(sweep.worst(costs))}</code></p></section>"
    )


def _figure(name: str, spread: Spread, said: Callable[[int], str]) -> str:
    cells = "".join(
        f'<td class="n">{escape(said(value))}</td>' for value in (spread.min, spread.median, spread.p99, spread.max)
    )
    return (
        f"<h3>{name}</h3><table><tr><th class=n>least</th><th class=n>median</th><th class=n>99th</th>"
        f"<th class=n>worst (seed {spread.worst_seed})</th></tr><tr>{cells}</tr></table>"
    )


def _drawn(found: Histogram, said: Callable[[int], str]) -> str:
    """Columns whose heights are counts; the last one, which holds the worst run, in the colour of loss."""
    most, columns = max(found.counts), len(found.counts)
    wide = _WIDTH / columns
    bars = "".join(
        f'<rect class="{"worst" if index == columns - 1 and columns > 1 else "many"}" x="{index * wide + 1:.1f}" '
        f'y="{_HEIGHT - height:.1f}" width="{max(1.0, wide - 2):.1f}" height="{height:.1f}"><title>{count} runs</title>'
        "</rect>"
        for index, count in enumerate(found.counts)
        if (height := max(2.0, count / most * (_HEIGHT - 14)) if count else 0.0)
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT + 20}" role="img" aria-label="how many runs">{bars}'
        f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="currentColor"/>'
        f'<text class="tick" x="0" y="{_HEIGHT + 15}">{escape(said(found.low))}</text>'
        f'<text class="tick" x="{_WIDTH}" y="{_HEIGHT + 15}" text-anchor="end">{escape(said(found.high))}</text></svg>'
    )
