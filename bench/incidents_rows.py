"""Stores a history of apps/incidents for bench/incidents.py: a fleet's rounds, polls, samples and incidents."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

MACHINES, A_DAY = 1120, 96
A_ROUND = MACHINES * 3
WEEK = 7 * A_DAY
INTERVAL = timedelta(minutes=15)
NOW = datetime.fromtimestamp(time.time() // 900 * 900, UTC)

CLEARED = "truncate incidents_machine, incidents_round restart identity cascade"
FLEET = """
    insert into incidents_machine (name, location, address)
    select 'm' || n, 'hall ' || n % 7, 'http://m' || n || '.example/' from generate_series(1, {machines}) n
"""
ROUNDS = """
    insert into incidents_round (at, sent_at, finished_at)
    select t, t, t from generate_series(1, {rounds}) n, lateral (select {now} - n * interval '15 minutes' as t) x
    order by t
"""
POLLED = """
    from incidents_round r cross join incidents_machine m
    {metrics} where r.at >= {now} - {whole} * interval '15 minutes'
    or m.name = 'm1' and r.at >= {now} - {week} * interval '15 minutes' order by r.at
"""
POLLS = f"""
    insert into incidents_poll (round_id, machine_id, taken_at, outcome, detail, milliseconds)
    select r.id, m.id, r.at + m.id % 50 * interval '1 second', 'ok', '', 20 {POLLED}
"""
SAMPLES = f"""
    insert into incidents_sample (machine_id, metric, value, taken_at, received_at)
    select m.id, k, round(random() * 80), r.at + m.id % 50 * interval '1 second', r.at + interval '1 minute' {POLLED}
"""
CLOSED = """
    insert into incidents_incident (machine_id, kind, severity, opened_at, closed_at, summary)
    select m.id, 'cpu', 'warning', t, t + interval '15 minutes', 'CPU is 90%, over 85%'
    from incidents_machine m cross join generate_series(1, {each}) n,
    lateral (select {now} - n * interval '8 hours' - m.id % 50 * interval '1 second' as t) x
"""
OPEN = """
    insert into incidents_incident (machine_id, kind, severity, opened_at, summary)
    select id, 'memory', 'warning', {now} - interval '1 hour', 'Memory is 95%, over 90% for 30 minutes'
    from incidents_machine where id % 30 = 0
"""


def span(rows: int) -> int:
    """Return how many rounds a history of about so many samples has; the first machine has a week in any case."""
    return max(WEEK, rows // A_ROUND)


def fill(rows: int) -> int:
    """Replace what is stored by a history of about so many samples, and return how many there are.

    One sample in a hundred has an incident.
    """
    from django.db import connection

    whole = max(1, (rows - 3 * WEEK) // A_ROUND)
    known = {"machines": MACHINES, "rounds": span(rows), "whole": whole, "week": WEEK, "now": f"timestamptz '{NOW}'"}
    known |= {"metrics": "", "each": max(1, rows // 100 // MACHINES)}
    with connection.cursor() as cursor:
        for statement in (CLEARED, FLEET, ROUNDS, POLLS, CLOSED, OPEN):
            cursor.execute(statement.format(**known))
        metrics = "cross join unnest(array['cpu', 'memory', 'disk']) k"
        cursor.execute(SAMPLES.format(**{**known, "metrics": metrics}))
        stored = int(cursor.rowcount)
        cursor.execute("vacuum analyze")
    return stored
