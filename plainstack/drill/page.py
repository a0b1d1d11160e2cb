"""The report of a drill: a self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from plainstack.dataclass import dataclass
from plainstack.drill import chart
from plainstack.drill.figures import percentile
from plainstack.drill.history import WRITES, Attempt, Kind
from plainstack.drill.result import Result
from plainstack.drill.rules import CACHE_LOST
from plainstack.drill.verdict import Verdict

TEMPLATE = Path(__file__).with_name("page.html.j2")
NARROW, WIDE = 360, 1060
_NAMES: dict[Kind, str] = {"get": "GET", "post": "POST", "sql": "SQL insert", "cache": "cache SET"}


@dataclass(frozen=True)
class Card:
    """A number at the top of the page."""

    name: str
    value: str
    under: str
    tone: str = ""


def html(result: Result, attempts: Collection[Attempt]) -> str:
    """Return the report as an HTML page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    verdict = result.verdict
    return template.render(
        s=result.settings,
        verdict=verdict,
        cards=cards(verdict),
        events=result.events,
        marks=chart.marked(result.events),
        # The chart escapes its texts; everything else in it is numbers.
        narrow=Markup(chart.svg(result, attempts, NARROW)),  # noqa: S704 - our own SVG, its texts are escaped
        wide=Markup(chart.svg(result, attempts, WIDE)),  # noqa: S704 - our own SVG, its texts are escaped
        requests=[_row(kind, verdict, attempts) for kind in verdict.gaps],
        reasons=[
            (_NAMES[kind], why, count)
            for kind, reasons in verdict.failed.items()
            for why, count in sorted(reasons.items(), key=lambda item: -item[1])
        ],
        sets=_sets(verdict),
        tone=tone,
        data=json.dumps(result.as_data(), indent=2),
    )


def tone(held: bool | None) -> str:
    """Return the CSS class for a condition; `held` is None if it is unknown whether the condition held."""
    return {True: "good", False: "bad", None: "unknown"}[held]


def cards(verdict: Verdict) -> list[Card]:
    """Return the most important numbers of the verdict; a number with a condition has the condition's color."""
    held = {rule.name: rule.held for rule in verdict.rules}
    acknowledged = sum(each.acknowledged for each in verdict.writes.values())
    lost = sum(len(each.lost) for each in verdict.writes.values())
    unread = "final read" in held
    kept = all(held.get(name) is not False for name in ("acknowledged writes lost", CACHE_LOST))
    found = [
        Card(
            "acknowledged writes lost",
            "?" if unread else str(lost),
            f"of {acknowledged}",
            # A lost write is never shown in green, even if the budget allows it.
            "unknown" if unread or (lost and kept) else tone(kept),
        )
    ]
    groups: tuple[tuple[str, tuple[Kind, ...]], ...] = (("writes", WRITES), ("reads", ("get",)))
    for name, kinds in groups:
        gaps = [verdict.gaps[kind].seconds for kind in kinds if kind in verdict.gaps]
        if gaps:
            reacted = [verdict.gaps_from_reaction[kind].seconds for kind in kinds if kind in verdict.gaps_from_reaction]
            under = "from the fault" if reacted == gaps else f"from the fault; {max(reacted):.2f} s from the reaction"
            found.append(Card(f"time without {name}", f"{max(gaps):.2f} s", under, tone(held[f"time without {name}"])))
    labels: tuple[tuple[Kind, str], ...] = (("get", "failed GETs"), ("post", "failed POSTs"))
    if "restart" in verdict.seconds:
        held["failed GETs"] = held["failed GETs after that"]
    for kind, label in labels:
        if kind in verdict.failed:
            failed = sum(verdict.failed[kind].values())
            under = f"of {verdict.requests[kind]}"
            if kind == "post" and failed:
                under += f", {sum(post.stored is True for post in verdict.failed_posts)} of them stored"
            found.append(Card(label, str(failed), under, tone(held[label]) if label in held else ""))
    times = (
        ("restart", "from the fault, by the watchdog"),
        ("detect", "from the fault"),
        ("promote", "from the detection"),
        ("recover", "until whole"),
    )
    for name, under in times:
        seconds = verdict.seconds.get(name)
        if seconds is not None:
            found.append(Card(f"time to {name}", f"{seconds:.2f} s", under))
    return found


def _row(kind: Kind, verdict: Verdict, attempts: Collection[Attempt]) -> dict[str, Any]:
    mine = [a for a in attempts if a.kind == kind]
    latencies = sorted(a.latency for a in mine if a.ok and a.latency is not None)
    return {
        "name": _NAMES[kind],
        "sent": sum(a.sent is not None for a in mine),
        "failed": sum(not a.ok for a in mine),
        "p50": _milliseconds(percentile(latencies, 0.5)),
        "p99": _milliseconds(percentile(latencies, 0.99)),
        "gap": f"{verdict.gaps[kind].seconds:.2f} s",
    }


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _sets(verdict: Verdict) -> list[tuple[str, list[str]]]:
    def cell(kind: Kind, field: str) -> str:
        value = getattr(verdict.writes[kind], field)
        return str(value if isinstance(value, int) else len(value))

    fields = ("attempted", "acknowledged", "lost", "unacknowledged_stored", "duplicates", "never_attempted")
    names = {
        "lost": "acknowledged and lost",
        "unacknowledged_stored": "unacknowledged but stored",
        "duplicates": "stored twice",
        "never_attempted": "stored, never sent",
    }
    return [(names.get(field, field), [cell(kind, field) for kind in verdict.writes]) for field in fields]
