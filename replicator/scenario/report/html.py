"""The HTML report: one file without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from replicator.scenario.report.summary import (
    backlog_advice,
    clock,
    failover_sentence,
    finding,
    flowing,
    loss_groups,
    silence_ms,
)
from replicator.scenario.report.timeline import timeline
from replicator.scenario.script.units import human_ms
from replicator.scenario.verdict.durability import LostWrite
from replicator.scenario.verdict.outcome import Outcome

MOST_ROWS = 250

STYLE = """
:root{--bg:#f7f7f5;--card:#fff;--ink:#1c2024;--soft:#5f6870;--line:#e3e4e0;--primary:#0072b2;--replica:#bfe3d6;
  --replica-ink:#0b3d2e;--lag:#e69f00;--unlinked:#f3dda0;--down:#c9cdd0;--stopped:#cc79a7;--kept:#8d99a3;--lost:#d55e00;
  --ok:#00704f;--bad:#b3261e;--promote:#0072b2;--sync:#6a3d9a}
@media(prefers-color-scheme:dark){:root{--bg:#15181b;--card:#1d2125;--ink:#e6e8ea;--soft:#9aa4ac;--line:#31373c;
  --primary:#3a9bd9;--replica:#245a49;--replica-ink:#d9efe6;--lag:#f0b429;--unlinked:#6b5a24;--down:#4a5157;
  --stopped:#a8628a;--kept:#76828c;--lost:#f2782a;--ok:#4cc38a;--bad:#ef5350;--promote:#7ac1f0;--sync:#c5a3ea}
}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1240px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px}
h2{font-size:19px;margin:40px 0 12px}
h3{font-size:15px;margin:24px 0 8px}
.meta{color:var(--soft);font-size:13px}
.about{max-width:76ch;margin:14px 0 0;white-space:pre-line}
.chip{display:inline-block;padding:2px 10px;border-radius:99px;font-size:13px;font-weight:600;color:#fff;
  background:var(--ok);vertical-align:5px;margin-left:10px}
.chip.bad{background:var(--bad)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:14px 0;
  overflow-x:auto}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:18px 0}
.figure{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}
.figure b{display:block;font-size:26px;line-height:1.2;font-variant-numeric:tabular-nums}
.figure span{color:var(--soft);font-size:13px}
.figure.lost b{color:var(--lost)}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;color:var(--soft);font-weight:500;font-size:13px}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.mark{font-weight:700;width:1.6em}
.held{color:var(--ok)}
.failed{color:var(--bad)}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
details{margin:8px 0}
summary{cursor:pointer;color:var(--soft)}
.cause{border-left:4px solid var(--lost);padding:4px 0 4px 14px;margin:12px 0}
.cause p{margin:2px 0}
.finding{font-size:19px;line-height:1.4;max-width:70ch;margin:8px 0;border-left:5px solid var(--lost);padding-left:14px}
.finding.fine{border-color:var(--ok)}
.prevent{color:var(--ok);font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;color:var(--soft);font-size:13px;margin-top:8px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.bar{height:10px;border-radius:5px;background:var(--lost);min-width:2px}
svg.timeline{width:100%;min-width:720px;height:auto;display:block;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)}
svg .tick{fill:var(--soft);font-size:11px}
svg .grid{stroke:var(--line)}
svg .axis{stroke:var(--soft)}
svg .kept{fill:var(--kept)}
svg .lost{fill:var(--lost)}
svg .node{font-weight:700;font-size:15px}
svg .span.primary{fill:var(--primary)}
svg .span.replica{fill:var(--replica)}
svg .span.unlinked{fill:var(--unlinked)}
svg .span.down{fill:var(--down)}
svg .span.stopped{fill:var(--stopped)}
svg .lag{fill:var(--lag);opacity:.85}
svg .behind{font-size:11px;fill:var(--ink)}
svg .state{font-size:12px}
svg .state.primary{fill:#fff}
svg .state.replica{fill:var(--replica-ink)}
svg .state.unlinked{fill:var(--ink)}
svg .loss{stroke:var(--lost);stroke-width:1.6}
svg .sync{stroke:var(--sync);stroke-width:2;fill:var(--card)}
svg .sync.full{fill:var(--sync)}
svg line.flag{stroke-width:1.4;stroke-dasharray:4 3}
svg line.fault{stroke:var(--lost)}
svg text.fault{fill:var(--lost);font-weight:600}
svg line.heal{stroke:var(--soft)}
svg text.heal{fill:var(--soft)}
svg line.promote{stroke:var(--promote)}
svg text.promote{fill:var(--promote);font-weight:600}
svg line.writable{stroke:var(--ok)}
svg text.writable{fill:var(--ok);font-weight:600}
"""

_LEGEND = (
    ("var(--primary)", "primary"),
    ("var(--replica)", "replica"),
    ("var(--lag)", "how far it is behind (bytes)"),
    ("var(--unlinked)", "replica without link"),
    ("var(--stopped)", "stopped (SIGSTOP)"),
    ("var(--down)", "down"),
    ("var(--kept)", "writes kept"),
    ("var(--lost)", "acknowledged, then lost"),
)


def page(scenarios: Sequence[Sequence[Outcome]]) -> str:
    """The whole report. scenarios: for each scenario the outcomes of its variants (one, if it has none)."""
    body = "".join(_scenario(outcomes) for outcomes in scenarios)
    title = escape(", ".join(outcomes[0].script.title for outcomes in scenarios))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _scenario(outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0]
    ok = all(one.ok for one in outcomes)
    chip = (
        f'<span class="chip{"" if ok else " bad"}">{"every expectation held" if ok else "an expectation failed"}</span>'
    )
    parts = [
        f"<header><h1>{escape(first.script.title)}{chip}</h1>",
        f'<div class="meta">{escape(first.engine)} · {escape(first.on)} · seed {first.seed}</div>',
        f'<p class="about">{escape(flowing(first.script.about))}</p></header>',
    ]
    if len(outcomes) > 1:
        parts.append(_side_by_side(outcomes))
    parts.extend(_play(outcome, len(outcomes) > 1) for outcome in outcomes)
    parts.append(_expectations(outcomes))
    return "".join(parts)


def _side_by_side(outcomes: Sequence[Outcome]) -> str:
    most = max([1, *(len(one.verdict.lost) for one in outcomes)])
    rows = []
    for one in outcomes:
        writes = one.verdict.writes()
        width = round(220 * writes["lost"] / most)
        about = one.abouts.get(one.variant, "")
        rows.append(
            f"<tr><td><b>{escape(one.variant)}</b><br><span class=meta>{escape(about)}</span></td>"
            f'<td class="n">{writes["acknowledged"]}</td><td class="n">{writes["lost"]}</td>'
            f'<td><div class="bar" style="width:{width}px"></div></td><td class="n">{writes["failed"]}</td>'
            f'<td class="n">{writes["unknown"]}</td><td class="n">{human_ms(silence_ms(one))}</td></tr>'
        )
    head = "<tr><th>variant</th><th class=n>acknowledged</th><th class=n>lost</th><th></th><th class=n>refused</th>"
    head += "<th class=n>unknown</th><th class=n>longest silence</th></tr>"
    return f'<h2>Side by side</h2><div class="card"><table>{head}{"".join(rows)}</table></div>'


def _expectations(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        for one in outcome.expectations:
            mark = '<td class="mark held">✓</td>' if one.ok else '<td class="mark failed">✗</td>'
            variant = f"<span class=meta>{escape(one.variant)}</span> " if one.variant else ""
            rows.append(
                f"<tr>{mark}<td>{variant}{escape(one.name)}</td><td>{escape(one.expected)}</td><td>{escape(one.actual)}</td></tr>"
            )
    if not rows:
        return ""
    head = "<tr><th></th><th>expectation</th><th>expected</th><th>actual</th></tr>"
    return f'<h2>Expectations</h2><div class="card"><table>{head}{"".join(rows)}</table></div>'


def _play(outcome: Outcome, named: bool) -> str:
    kind = "" if outcome.verdict.lost or outcome.unjudged else " fine"
    parts = [
        f"<h2>{escape(outcome.variant) if named else 'What it cost'}</h2>",
        f'<p class="finding{kind}">{escape(finding(outcome))}</p>',
        _figures(outcome),
        _causes(outcome),
    ]
    legend = "".join(f'<span><i style="background:{colour}"></i>{word}</span>' for colour, word in _LEGEND)
    syncs = "<span>◆ full resynchronization</span><span>◇ partial</span>"
    parts.append(f'<div class="card">{timeline(outcome)}<div class="legend">{legend}{syncs}</div></div>')
    for index in range(len(outcome.failovers)):
        parts.append(f"<p><b>Failover.</b> {escape(failover_sentence(outcome, index))}.</p>")
    parts.append(_losses(outcome))
    parts.append(_anomalies(outcome))
    parts.append(_syncs(outcome))
    parts.append(_digests(outcome))
    parts.append(_events(outcome))
    return "".join(parts)


def _figures(outcome: Outcome) -> str:
    writes = outcome.verdict.writes()
    figures = [
        ("", writes["acknowledged"], "acknowledged writes"),
        ("", writes["kept"], "kept"),
        ("lost" if writes["lost"] else "", writes["lost"], "lost"),
        ("", writes["failed"], "refused"),
        ("", f"{writes['unknown']}", f"unknown ({writes['unknown_kept']} of them kept)"),
        ("", human_ms(silence_ms(outcome)), "longest time without an acknowledged write"),
    ]
    cells = "".join(
        f'<div class="figure {kind}"><b>{value}</b><span>{word}</span></div>' for kind, value, word in figures
    )
    return f'<div class="figures">{cells}</div>'


def _causes(outcome: Outcome) -> str:
    """Why writes are lost, a paragraph for each cause; and what a larger backlog would have saved."""
    parts = []
    for group in loss_groups(outcome):
        prevented = escape(group.first.would_have_prevented)
        means = f'<p>Would have prevented it: <span class="prevent">{prevented}</span></p>' if prevented else ""
        parts.append(
            f'<div class="cause"><p><b>{escape(group.sentence(outcome))}</b></p>'
            f"<p>{escape(group.cause())}</p>{means}</div>"
        )
    parts += [f"<p><b>Backlog.</b> {escape(advice)}.</p>" for advice in backlog_advice(outcome)]
    return "".join(parts)


def _losses(outcome: Outcome) -> str:
    """Each lost write."""
    lost = outcome.verdict.lost
    if not lost:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(one.key)}</code></td><td><code>{escape(one.value)}</code></td><td>{escape(one.client)}</td>"
        f'<td>{escape(one.acknowledged_by)}</td><td class="n">{clock(one.acknowledged_at_ms)}</td>'
        f'<td class="n">{_offset(one.offset_at_ack, one.offset_bounds)}</td>'
        f'<td class="n">{"–" if one.promoted_offset is None else one.promoted_offset}</td>'
        f'<td class="n">{_acked(one)}</td><td>{escape(one.why)}</td>'
        f"<td>{escape(one.would_have_prevented)}</td></tr>"
        for one in lost[:MOST_ROWS]
    )
    head = "".join(
        f"<th{kind}>{word}</th>"
        for word, kind in (
            ("key", ""), ("value", ""), ("client", ""), ("acknowledged by", ""), ("at", " class=n"),
            ("offset", " class=n"),
            ("promoted at", " class=n"), ("replicas acked", " class=n"), ("why", ""), ("would have prevented it", ""),
        )
    )  # fmt: skip
    more = f"<p class=meta>and {len(lost) - MOST_ROWS} more; the JSON has them all</p>" if len(lost) > MOST_ROWS else ""
    opened = " open" if len(lost) <= 25 else ""
    return (
        f'<details{opened}><summary>every lost write ({len(lost)})</summary><div class="card"><table><tr>{head}</tr>'
        f"{rows}"
        f"</table>{more}</div></details>"
    )


def _acked(one: LostWrite) -> str:
    if one.replicas_acked is None:
        return "–"
    return f"{one.replicas_acked} ({escape(', '.join(one.acked_by))})" if one.acked_by else str(one.replicas_acked)


def _offset(exact: int | None, bounds: tuple[int | None, int | None]) -> str:
    if exact is not None:
        return str(exact)
    low, high = bounds
    if low is None and high is None:
        return "–"
    return f"{'?' if low is None else low} … {'?' if high is None else high}"


def _anomalies(outcome: Outcome) -> str:
    found = [(name, texts) for name, texts in outcome.verdict.anomalies().items() if texts]
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td class=n>{len(texts)}</td><td>"
        f"{'<br>'.join(escape(text) for text in texts[:5])}{' …' if len(texts) > 5 else ''}</td></tr>"
        for name, texts in found
    )
    return f'<h3>Anomalies</h3><div class="card"><table>{rows}</table></div>'


def _syncs(outcome: Outcome) -> str:
    rows = "".join(
        f"<tr><td class=n>{clock(sync.at_ms)}</td><td>{sync.kind}</td>"
        f"<td>{escape(sync.replica)} from {escape(sync.primary)}</td>"
        f"<td>{escape(sync.reason)}</td></tr>"
        for sync in outcome.syncs
        if sync.at_ms >= 0
    )
    if not rows:
        return ""
    return f'<h3>Resynchronizations</h3><div class="card"><table>{rows}</table></div>'


def _digests(outcome: Outcome) -> str:
    rows = "".join(
        f"<tr><td><b>{escape(one.node)}</b></td><td><code>{escape(one.replid)}</code></td><td class=n>{one.offset}</td>"
        f"<td><code>{escape(one.digest)}</code></td></tr>"
        for one in outcome.digests
    )
    verdict = "the data are the same" if outcome.consistent else "THE DATA DIFFER"
    text = f"{len(outcome.pairs)} pairs of nodes stood at the same offset of the same history: {verdict}."
    if not outcome.pairs:
        text = "No two nodes stood at the same offset of the same history, so nothing could be compared."
    head = "<tr><th>node</th><th>replication id</th><th class=n>offset</th><th>digest of all data</th></tr>"
    kind = "" if outcome.consistent else ' class="failed"'
    table = f'<div class="card"><table>{head}{rows}</table></div>'
    return f"<h3>Same history, same offset, same data</h3><p{kind}>{text}</p>{table}"


def _events(outcome: Outcome) -> str:
    rows = "".join(
        f"<tr><td class=n>{'set up' if event.at_ms < 0 else clock(event.at_ms)}</td><td>{escape(event.node)}</td>"
        f"<td class=meta>{escape(event.kind)}</td><td>{escape(event.text)}</td></tr>"
        for event in outcome.events
    )
    return (
        f"<details><summary>all events ({len(outcome.events)})</summary>"
        f'<div class="card"><table>{rows}</table></div></details>'
    )
