"""Draws a machine's history as SVG: this module computes the points, templates/incidents/chart.svg draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from incidents.kinds import Point, longest_gap

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True)
class Chart:
    title: str
    unit: str
    lines: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    limit: float | None
    limit_y: float | None
    top: float
    lowest: float
    highest: float
    latest: float

    width, height = WIDTH, HEIGHT


def thinned(points: Sequence[Point], begin: datetime, end: datetime) -> list[Point]:
    """Return at most one point for each pixel: the highest, because peaks are what matters."""
    best: dict[int, Point] = {}
    for point in points:
        pixel = int((point.at - begin) / (end - begin) * WIDTH)
        if pixel not in best or point.value > best[pixel].value:
            best[pixel] = point
    return sorted(best.values(), key=lambda point: point.at)


def chart(
    title: str, unit: str, points: Sequence[Point], limit: float | None, begin: datetime, end: datetime
) -> Chart | None:
    """Return a chart of points, which are sorted by time; None if there are none."""
    if not points:
        return None
    values = [point.value for point in points]
    top = max(*values, *([100.0] if unit == "%" else []), *([limit] if limit is not None else []), 1e-9) * 1.05
    bottom = min(0.0, *values)

    def y(value: float) -> float:
        return round(HEIGHT - (value - bottom) / (top - bottom) * HEIGHT, 1)

    # Where samples are missing, the line is interrupted.
    gap = max(longest_gap(), timedelta(seconds=(end - begin).total_seconds() / WIDTH * 2))
    parts: list[list[tuple[float, float]]] = []
    before = None
    for point in thinned(points, begin, end):
        if before is None or point.at - before > gap:
            parts.append([])
        parts[-1].append((round((point.at - begin) / (end - begin) * WIDTH, 1), y(point.value)))
        before = point.at
    return Chart(
        title=title,
        unit=unit,
        lines=tuple(" ".join(f"{left},{down}" for left, down in part) for part in parts if len(part) > 1),
        dots=tuple(part[0] for part in parts if len(part) == 1),
        limit=limit,
        limit_y=None if limit is None else y(limit),
        top=round(top, 1),
        lowest=min(values),
        highest=max(values),
        latest=values[-1],
    )
