"""The chart of a drill as SVG: rate, latency and outages on one time axis, with the events as vertical lines."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from html import escape

from plainstack.drill.figures import Step, steps, width
from plainstack.drill.history import Attempt, Kind
from plainstack.drill.measures import Gap
from plainstack.drill.result import Event, Result

LEFT, RIGHT, TOP = 46, 12, 48
RATE, LATENCY, LANE, BETWEEN = 150, 120, 20, 34
LANES: tuple[tuple[Kind, str], ...] = (("get", "GET"), ("post", "POST"), ("sql", "SQL"), ("cache", "cache"))
FASTEST, SLOWEST = 0.001, 10.0


class Axis:
    """The time axis, which converts seconds of the drill to pixels."""

    def __init__(self, pixels: int, seconds: float) -> None:
        self.left, self.right = LEFT, pixels - RIGHT
        self.seconds = max(seconds, 0.001)

    def x(self, at: float) -> float:
        """Return the x coordinate of a moment."""
        return self.left + (self.right - self.left) * min(max(at / self.seconds, 0.0), 1.0)


def marked(events: Collection[Event]) -> list[Event]:
    """Return the events that the chart shows as lines; their positions in this list, from 1, are their numbers."""
    return [event for event in events if event.mark]


def svg(result: Result, attempts: Collection[Attempt], pixels: int) -> str:
    """Return the chart, `pixels` wide. The size of text is fixed, so a phone gets a narrow chart, not small text."""
    marks = marked(result.events)
    seconds = max([result.marks.load_end, *(event.at for event in marks if event.at < result.marks.load_end + 30)])
    axis = Axis(pixels, seconds)
    points = steps([a for a in attempts if a.due <= result.marks.load_end], result.marks.load_end)
    lanes = [(kind, name) for kind, name in LANES if kind in result.verdict.gaps]
    rate_top, latency_top = TOP, TOP + RATE + BETWEEN
    lanes_top = latency_top + LATENCY + BETWEEN
    bottom = lanes_top + len(lanes) * (LANE + 6)
    parts = [
        f'<svg viewBox="0 0 {pixels} {bottom + 26}" role="img" aria-label="Requests, latency and outages over time">',
        *_time(axis, rate_top, bottom),
        *_rate(axis, points, rate_top, width(result.marks.load_end)),
        *_latency(axis, points, latency_top, width(result.marks.load_end)),
        *_outages(axis, lanes, attempts, result.verdict.gaps, lanes_top),
        *_events(axis, marks, bottom),
        "</svg>",
    ]
    return "\n".join(parts)


def _time(axis: Axis, top: float, bottom: float) -> Iterator[str]:
    room = (axis.right - axis.left) / 46
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120) if axis.seconds / s <= room), 300)
    for second in range(0, int(axis.seconds) + 1, step):
        x = axis.x(second)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{second} s</text>'


def _rate(axis: Axis, points: Sequence[Step], top: float, size: float) -> Iterator[str]:
    most = max([1.0, *(p.reads + p.writes + p.failed for p in points)])
    unit = next(u for u in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if most / u <= 4)
    highest = math.ceil(most / unit) * unit
    yield f'<text class="title" x="{LEFT}" y="{top - 8}">requests a second</text>'
    for value in range(0, highest + 1, unit):
        y = top + RATE * (1 - value / highest)
        yield f'<line class="grid" x1="{axis.left}" x2="{axis.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
    for point in points:
        x, after = axis.x(point.begin), axis.x(point.begin + size)
        floor = top + RATE
        for name, rate in (("read", point.reads), ("write", point.writes), ("failed", point.failed)):
            tall = RATE * rate / highest
            if tall:
                floor -= tall
                yield (
                    f'<rect class="{name}" x="{x + 0.5:.1f}" y="{floor:.1f}" width="{max(after - x - 1, 1):.1f}"'
                    f' height="{tall:.1f}"/>'
                )


def _latency(axis: Axis, points: Sequence[Step], top: float, size: float) -> Iterator[str]:
    span = math.log10(SLOWEST / FASTEST)

    def y(seconds: float) -> float:
        return top + LATENCY * (1 - math.log10(min(max(seconds, FASTEST), SLOWEST) / FASTEST) / span)

    yield f'<text class="title" x="{LEFT}" y="{top - 8}">latency of successes</text>'
    for seconds, label in ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")):
        at = y(seconds)
        yield f'<line class="grid" x1="{axis.left}" x2="{axis.right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
    for name in ("p99", "p50"):
        line: list[str] = []
        for point in points:
            value = point.p99 if name == "p99" else point.p50
            if value is None:
                yield from _line(name, line)
                line = []
            else:
                line.append(f"{axis.x(point.begin + size / 2):.1f},{y(value):.1f}")
        yield from _line(name, line)


def _line(name: str, points: Sequence[str]) -> Iterator[str]:
    if len(points) == 1:
        x, y = points[0].split(",")
        yield f'<circle class="dot {name}" cx="{x}" cy="{y}" r="2"/>'
    elif points:
        yield f'<polyline class="{name}" points="{" ".join(points)}"/>'


def _outages(
    axis: Axis,
    lanes: Sequence[tuple[Kind, str]],
    attempts: Collection[Attempt],
    gaps: Mapping[Kind, Gap],
    top: float,
) -> Iterator[str]:
    """Yield a lane for each kind of request: a stroke for every failure, and the longest time without a success."""
    yield f'<text class="title" x="{LEFT}" y="{top - 8}">failures and longest gap</text>'
    for number, (kind, name) in enumerate(lanes):
        y = top + number * (LANE + 6)
        gap = gaps[kind]
        x, after = axis.x(gap.begin), axis.x(gap.begin + gap.seconds)
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + LANE / 2 + 4}" text-anchor="end">{name}</text>'
        yield (
            f'<rect class="lane" x="{axis.left}" y="{y}" width="{axis.right - axis.left}" height="{LANE}" rx="3"/>'
            f'<rect class="gap" x="{x:.1f}" y="{y}" width="{max(after - x, 1):.1f}" height="{LANE}" rx="3"/>'
        )
        strokes = {round(axis.x(a.due), 1) for a in attempts if a.kind == kind and not a.ok}
        yield f'<path class="miss" d="{" ".join(f"M{s:.1f} {y + 4}v{LANE - 8}" for s in sorted(strokes))}"/>'
        # Write the length to the right of the gap if there is room, otherwise to its left: it would be unreadable on
        # top of the strokes.
        at, anchor = (after + 6, "start") if after < axis.right - 60 else (x - 6, "end")
        middle = y + LANE / 2 + 4
        yield f'<text class="length" x="{at:.1f}" y="{middle}" text-anchor="{anchor}">{gap.seconds:.2f} s</text>'


def _events(axis: Axis, marks: Sequence[Event], bottom: float) -> Iterator[str]:
    """Yield vertical lines for the events, with the same numbers as in the step log."""
    taken = -100.0
    for number, event in enumerate(marks, 1):
        x = axis.x(event.at)
        # Keep the numbers of two events readable even if they are almost at the same time.
        at = max(x, taken + 17)
        taken = at
        yield f'<g class="event"><title>{escape(event.mark)} at {event.at:.2f} s</title>'
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{bottom}"/>'
        yield f'<circle cx="{at:.1f}" cy="11" r="8"/><text x="{at:.1f}" y="15" text-anchor="middle">{number}</text></g>'
