"""Journals: the arguments of journalctl, and how entries of its JSON are shown on a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.deploy.journal import Entry, Query, parse, parse_last
from plainstack.deploy.log_merge import Merger, merged
from plainstack.deploy.since import since
from plainstack.errors import Refused

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
AT = 1_772_368_215_250_000


def line(message: object, **fields: object) -> str:
    """Return a line of journalctl's JSON, as systemd 257 writes it."""
    known = {
        "__REALTIME_TIMESTAMP": str(AT),
        "__CURSOR": "s=1;i=2",
        "MESSAGE": message,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gunicorn",
        "_PID": "77",
        "_SYSTEMD_UNIT": "plainstack-web.service",
    }
    return json.dumps({**known, **fields}, ensure_ascii=False)


def entry(message: object, **fields: object) -> Entry:
    found = parse("app1", line(message, **fields))
    assert found
    return found


def test_a_line_shows_its_time_in_utc_and_its_unit() -> None:
    assert entry("GET /").lines() == ["2026-03-01T12:30:15.250Z web[77]: GET /"]


def test_a_message_from_systemd_about_a_unit_is_attributed_to_systemd() -> None:
    about = entry(
        "Started it.", SYSLOG_IDENTIFIER="systemd", _PID="1", UNIT="plainstack-web.service", _SYSTEMD_UNIT="init.scope"
    )
    assert about.lines() == ["2026-03-01T12:30:15.250Z systemd[1]: Started it."]
    assert about.unit == "plainstack-web.service"


def test_a_message_of_several_lines_stays_complete() -> None:
    first, *rest = entry("Traceback:\r\n  File x\n\tKeyError\n").lines()
    assert first.endswith(": Traceback:")
    assert [text.strip() for text in rest] == ["File x", "KeyError"]
    assert all(text.startswith(" " * 24) for text in rest)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\rb", r"a\rb"),
        ("left \u202eright", r"left \u202eright"),
        ("one\u2028two", r"one\u2028two"),
        ("\x9b2J", r"\x9b2J"),
        ("tab\tand größe ✓", "tab\tand größe ✓"),
        ([72, 105, 0, 255], r"Hi\x00\xff"),
        (list("größe\x1b[0m".encode()), r"größe\x1b[0m"),
        (["first", "second"], "first\nsecond"),
        (None, ""),
        ("", ""),
    ],
)
def test_control_characters_in_a_message_are_escaped(message: object, shown: str) -> None:
    assert entry(message).message == shown


@given(st.text() | st.lists(st.integers(0, 255)))
def test_no_message_can_move_the_cursor(message: object) -> None:
    for text in entry(message).lines():
        assert text.replace("\t", "").replace("\xa0", "").isprintable()


def test_control_characters_in_other_fields_are_escaped_too() -> None:
    odd = entry("x", SYSLOG_IDENTIFIER=["a\nb", "c"], _SYSTEMD_UNIT=None, _PID="\x1b")
    assert odd.lines() == [r"2026-03-01T12:30:15.250Z a b[\x1b]: x"]


@pytest.mark.parametrize("text", ["", "-- No entries --", "{}", "[]", '{"__REALTIME_TIMESTAMP": "x"}', "null"])
def test_lines_that_are_not_journal_entries_are_ignored(text: str) -> None:
    assert parse("app1", text) is None


def test_the_output_starts_with_the_end_of_the_journal() -> None:
    end = line(None, __CURSOR="end")
    assert parse_last("app1", f"{end}\n") == ("end", [])
    assert parse_last("app1", "\n") == ("", [])
    cursor, entries = parse_last("app1", f"{end}\n{line('a')}\n{line('b', __CURSOR='b')}\n")
    assert (cursor, [one.message for one in entries]) == ("b", ["a", "b"])


def test_matches_found_in_reverse_are_put_in_order() -> None:
    later = line("later", __REALTIME_TIMESTAMP=str(AT + 1), __CURSOR="later")
    cursor, entries = parse_last("app1", f"\n{later}\n{line('sooner')}\n", searched=True)
    assert (cursor, [one.message for one in entries]) == ("later", ["sooner", "later"])


def test_a_clock_that_was_set_back_does_not_reorder_the_entries_of_a_host() -> None:
    earlier = line("second", __REALTIME_TIMESTAMP=str(AT - 1))
    _, entries = parse_last("app1", f"\n{line('first')}\n{earlier}\n")
    assert [one.message for one in entries] == ["first", "second"]


def test_shell_words_are_quoted() -> None:
    asked = Query(("a b.service",), "-60s", "it's; rm -rf /").last(5)
    assert "'--unit=a b.service'" in asked
    assert """'--grep=it'"'"'s; rm -rf /'""" in asked
    assert "--lines=5" in asked
    assert "--lines=5" not in Query(("a.service",)).last(None)


def test_following_starts_exactly_after_the_cursor() -> None:
    query = Query(("a.service",), "-3600s")
    assert "'--after-cursor=s=1;i=2'" in query.follow("s=1;i=2")
    assert "--no-tail" in query.follow("s=1;i=2")
    assert "--lines=0" in query.follow("")
    assert "--since" not in query.follow("")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("90s", "-90s"),
        ("15m", "-900s"),
        ("1h", "-3600s"),
        ("2d", "-172800s"),
        ("1h30m", "-5400s"),
        ("2 hours ago", "-7200s"),
        ("-5min", "-300s"),
        ("now", "2026-03-01 12:30:15"),
        ("today", "2026-03-01 00:00:00"),
        ("yesterday", "2026-02-28 00:00:00"),
        ("09:15", "2026-03-01 09:15:00"),
        ("2026-02-01", "2026-02-01 00:00:00"),
        ("2026-02-01 14:30", "2026-02-01 14:30:00"),
        ("2026-02-01T14:30:05.250Z", "2026-02-01 14:30:05.250000"),
        ("2026-02-01 14:30:00+02:00", "2026-02-01 12:30:00"),
        ("2026-02-01 14:30:00 UTC", "2026-02-01 14:30:00"),
        ("@1000", "1970-01-01 00:16:40"),
    ],
)
def test_times_are_parsed_before_any_host_is_contacted(text: str, asked: str) -> None:
    wanted = asked
    if not asked.startswith("-"):
        moment = datetime.fromisoformat(asked).replace(tzinfo=UTC)
        wanted = f"@{moment.timestamp():.6f}"
    assert since(text, NOW) == wanted


@pytest.mark.parametrize(
    "text", ["", "1x", "h", "15", "1h later", "2026-13-01", "25:00", "tomorrow", "1:30", "--help", "@"]
)
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="not a time: write how long ago"):
        since(text, NOW)


def test_a_future_time_is_refused() -> None:
    with pytest.raises(Refused, match="still to come; it is 2026-03-01 12:30:15 UTC"):
        since("18:00", NOW)


def journal(host: int, times: list[int]) -> list[Entry]:
    return [Entry(f"h{host}", at, f"{place}", "", "p", "", 6, "") for place, at in enumerate(times)]


journals = st.lists(st.lists(st.integers(0, 30), max_size=8), min_size=1, max_size=4).map(
    lambda hosts: [journal(host, times) for host, times in enumerate(hosts)]
)


@given(journals)
def test_merging_keeps_all_entries_and_the_order_of_each_host(hosts: list[list[Entry]]) -> None:
    together = merged(hosts)
    for number, one in enumerate(hosts):
        assert [entry for entry in together if entry.host == f"h{number}"] == one
    if all(one == sorted(one, key=lambda entry: entry.at) for one in hosts):
        assert [entry.at for entry in together] == sorted(entry.at for entry in together)


@given(journals, st.randoms(use_true_random=False))
def test_entries_that_arrive_in_time_are_merged_in_order(hosts: list[list[Entry]], random: Random) -> None:
    queues = [list(one) for one in hosts]
    merger = Merger(patience=1)
    while left := [queue for queue in queues if queue]:
        merger.add(random.choice(left).pop(0), now=0.5)
        assert merger.due(now=0.9) == []
    shown = merger.due(now=2)
    for number, one in enumerate(hosts):
        assert [entry for entry in shown if entry.host == f"h{number}"] == one
    if all(one == sorted(one, key=lambda entry: entry.at) for one in hosts):
        assert [entry.at for entry in shown] == sorted(entry.at for entry in shown)


def test_an_entry_is_delayed_only_briefly() -> None:
    merger = Merger(patience=0.3)
    late, soon = (Entry("app1", 20, "", "", "p", "", 6, "late"), Entry("app2", 10, "", "", "p", "", 6, "soon"))
    assert merger.wait(now=0) is None
    merger.add(late, now=0)
    merger.add(soon, now=0.2)
    assert merger.due(now=0.2) == []
    assert merger.wait(now=0.2) == pytest.approx(0.1)
    assert merger.due(now=0.3) == [soon, late]
    assert merger.rest() == []


def test_delayed_entries_are_printed_at_the_end() -> None:
    merger = Merger(patience=9)
    one = Entry("app1", 20, "", "", "p", "", 6, "")
    merger.add(one, now=0)
    assert merger.rest() == [one]
    assert merger.wait(now=0) is None


def test_json_output_contains_every_field() -> None:
    data = entry("x").as_data()
    assert re.fullmatch(r"2026-.*Z", str(data.pop("at")))
    assert data == {
        "host": "app1",
        "unit": "plainstack-web.service",
        "program": "gunicorn",
        "pid": "77",
        "priority": 6,
        "message": "x",
    }
