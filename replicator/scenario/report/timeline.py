"""The picture of one play: the rate of acknowledged writes above, a lane for each node below, faults across both."""

from __future__ import annotations

from html import escape

from replicator.scenario.play.observe import Happening
from replicator.scenario.report.summary import clock, distances, spans
from replicator.scenario.script.units import human_bytes
from replicator.scenario.verdict.outcome import RATE_BUCKET_MS, Outcome

WIDTH, LEFT, RIGHT = 1160, 64, 16
LABELS_TOP, LABEL_ROWS, LABEL_HEIGHT = 14, 4, 15
CHART_HEIGHT, LANE_HEIGHT, LANE_GAP = 110, 30, 26
# Below so many bytes a distance is what was under way when the two were asked, and is not drawn.
LEAST_DISTANCE = 2048
_WORDS = {
    "primary": "primary",
    "replica": "replica",
    "unlinked": "no link",
    "down": "down",
    "stopped": "stopped",
}
_FLAGS = {
    "fault.kill": ("fault", "kill {node}"),
    "fault.power-loss": ("fault", "power loss {node}"),
    "fault.stop": ("fault", "stop {node}"),
    "fault.continue": ("heal", "continue {node}"),
    "fault.shutdown": ("fault", "shutdown {node}"),
    "fault.restart": ("heal", "start {node}"),
    "fault.wipe": ("heal", "start {node}, empty"),
    "fault.cut": ("fault", "cut {between}"),
    "heal": ("heal", "heal {between}"),
    "promote": ("promote", "promote {node}"),
    "writable": ("writable", "writable"),
}


class _Picture:
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.nodes = list(outcome.script.upstreams())
        self.end_ms = max(1, outcome.ended_at_ms)
        self.flags = [event for event in outcome.events if event.kind in _FLAGS and event.at_ms >= 0]
        self.chart_top = LABELS_TOP + LABEL_ROWS * LABEL_HEIGHT + 6
        self.lanes_top = self.chart_top + CHART_HEIGHT + 34
        self.distances = {node: distances(outcome, node) for node in self.nodes}
        self.furthest = max((one.behind for found in self.distances.values() for one in found), default=0)
        self.bottom = self.lanes_top + len(self.nodes) * (LANE_HEIGHT + LANE_GAP)
        self.parts: list[str] = []

    def x(self, at_ms: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(at_ms, 0), self.end_ms) / self.end_ms, 1)

    def lane(self, node: str) -> int:
        return self.lanes_top + self.nodes.index(node) * (LANE_HEIGHT + LANE_GAP)

    def draw(self) -> str:
        self._axis()
        self._rates()
        self._lanes()
        self._flags()
        height = self.bottom + 22
        return (
            f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="timeline of the play">{"".join(self.parts)}</svg>'
        )

    def _axis(self) -> None:
        step = next(
            step
            for step in (500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
            if self.end_ms / step <= 16 or step == 60_000
        )
        for at_ms in range(0, self.end_ms + 1, step):
            x = self.x(at_ms)
            text = f"{at_ms / 1000:g} s"
            self.parts.append(f'<line class="grid" x1="{x}" y1="{self.chart_top}" x2="{x}" y2="{self.bottom}"/>')
            self.parts.append(f'<text class="tick" x="{x}" y="{self.bottom + 14}" text-anchor="middle">{text}</text>')

    def _rates(self) -> None:
        rates = self.outcome.rates()
        lost = [0] * len(rates)
        for write in self.outcome.verdict.lost:
            index = write.acknowledged_at_ms // RATE_BUCKET_MS
            if 0 <= index < len(lost):
                lost[index] += 1
        most = max([1, *rates])
        base = self.chart_top + CHART_HEIGHT
        for index, (count, gone) in enumerate(zip(rates, lost, strict=True)):
            x, right = self.x(index * RATE_BUCKET_MS), self.x((index + 1) * RATE_BUCKET_MS)
            width = max(0.5, round(right - x - 0.6, 1))
            kept_height = round(CHART_HEIGHT * (count - gone) / most, 1)
            lost_height = round(CHART_HEIGHT * gone / most, 1)
            at = f"{clock(index * RATE_BUCKET_MS)}: {count} acknowledged, {gone} of them lost"
            if count:
                self.parts.append(
                    f"<g><title>{at}</title>"
                    f'<rect class="kept" x="{x}" y="{round(base - kept_height, 1)}" width="{width}" '
                    f'height="{kept_height}"/>'
                    f'<rect class="lost" x="{x}" y="{round(base - kept_height - lost_height, 1)}" width="{width}" '
                    f'height="{lost_height}"/></g>'
                )
        per_second = most * 1000 // RATE_BUCKET_MS
        self.parts.append(f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>')
        self.parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{self.chart_top + 9}" text-anchor="end">{per_second}/s</text>'
        )
        self.parts.append(f'<text class="tick" x="{LEFT - 8}" y="{base}" text-anchor="end">writes</text>')

    def _lanes(self) -> None:
        for node in self.nodes:
            top = self.lane(node)
            self.parts.append(
                f'<text class="node" x="{LEFT - 12}" y="{top + 20}" text-anchor="end">{escape(node)}</text>'
            )
            words: list[str] = []
            for span in spans(self.outcome, node):
                x, right = self.x(span.begin_ms), self.x(span.end_ms)
                width = max(1.0, round(right - x, 1))
                word = _WORDS[span.state]
                title = f"{node}: {word} from {clock(span.begin_ms)} to {clock(span.end_ms)}"
                self.parts.append(
                    f'<g><title>{escape(title)}</title><rect class="span {span.state}" x="{x}" y="{top}" '
                    f'width="{width}" height="{LANE_HEIGHT}" rx="3"/>'
                )
                self.parts.append("</g>")
                if width > 7.2 * len(word):
                    middle = round(x + 7, 1)
                    words.append(f'<text class="state {span.state}" x="{middle}" y="{top + 16}">{word}</text>')
            self._distance(node, top)
            self.parts += words
            self._losses(node, top)
        for sync in self.outcome.syncs:
            if sync.at_ms >= 0 and sync.replica in self.nodes:
                self._sync(sync.kind, self.x(sync.at_ms), self.lane(sync.replica), sync.reason, sync.primary)

    def _distance(self, node: str, top: int) -> None:
        """How far the replica is behind, as an area on its lane, all lanes to one scale; the greatest in words."""
        found = [one for one in self.distances[node] if 0 <= one.at_ms <= self.end_ms]
        if self.furthest < LEAST_DISTANCE or max((one.behind for one in found), default=0) < LEAST_DISTANCE:
            return
        base = top + LANE_HEIGHT
        tall = LANE_HEIGHT - 12  # the lane's word stays readable
        points = [f"{self.x(found[0].at_ms)},{base}"]
        for one in found:
            points.append(f"{self.x(one.at_ms)},{round(base - tall * one.behind / self.furthest, 1)}")
        points.append(f"{self.x(found[-1].at_ms)},{base}")
        most = max(found, key=lambda one: one.behind)
        title = f"{node} is {most.behind} bytes behind at {clock(most.at_ms)}"
        self.parts.append(f'<polygon class="lag" points="{" ".join(points)}"><title>{escape(title)}</title></polygon>')
        text = f"{human_bytes(most.behind)} behind"
        x, end = self.x(most.at_ms), WIDTH - RIGHT
        anchor = "end" if x > end - 90 else "start"
        self.parts.append(f'<text class="behind" x="{x}" y="{base + 13}" text-anchor="{anchor}">{text}</text>')

    def _losses(self, node: str, top: int) -> None:
        """Where this node confirmed writes that are lost: ticks along the lane's lower edge."""
        seen: dict[float, int] = {}
        for write in self.outcome.verdict.lost:
            if write.acknowledged_by == node:
                seen[self.x(write.acknowledged_at_ms)] = seen.get(self.x(write.acknowledged_at_ms), 0) + 1
        for x, count in seen.items():
            self.parts.append(
                f'<line class="loss" x1="{x}" y1="{top + LANE_HEIGHT - 7}" x2="{x}" y2="{top + LANE_HEIGHT + 4}">'
                f"<title>{count} lost</title></line>"
            )

    def _sync(self, kind: str, x: float, top: int, reason: str, primary: str) -> None:
        middle = top - 6  # above the lane, where it covers no word
        points = f"{x},{middle - 5} {x + 5},{middle} {x},{middle + 5} {x - 5},{middle}"
        title = escape(f"{kind} resynchronization from {primary}: {reason}")
        self.parts.append(f'<polygon class="sync {kind}" points="{points}"><title>{title}</title></polygon>')

    def _flags(self) -> None:
        """Vertical lines with their words above the chart, in rows so that they do not cover each other."""
        free = [0.0] * LABEL_ROWS
        for event in sorted(self.flags, key=lambda one: one.at_ms):
            kind, text = _label(event)
            x = self.x(event.at_ms)
            width = 6.4 * len(text) + 10
            start = min(x, WIDTH - RIGHT - width)
            row = next((index for index, right in enumerate(free) if right <= start), None)
            lines_top = self.chart_top - 4
            if row is not None:
                free[row] = start + width
                y = LABELS_TOP + row * LABEL_HEIGHT
                lines_top = y + 3
                self.parts.append(f'<text class="flag {kind}" x="{start + 4}" y="{y}">{escape(text)}</text>')
            self.parts.append(
                f'<line class="flag {kind}" x1="{x}" y1="{lines_top}" x2="{x}" y2="{self.bottom - 4}">'
                f"<title>{escape(f'{clock(event.at_ms)}: {event.text}')}</title></line>"
            )


def _label(event: Happening) -> tuple[str, str]:
    kind, pattern = _FLAGS[event.kind]
    between = str(event.fields.get("between", "")) or "all"
    return kind, pattern.format(node=event.node, between=between)


def timeline(outcome: Outcome) -> str:
    """An <svg> element; its colours come from the page's style sheet (html_report.STYLE)."""
    return _Picture(outcome).draw()
