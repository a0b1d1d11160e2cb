"""The report of a drill is one self-contained page, legible on a phone and on a large screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

import pytest

from plainstack.drill import page, store
from plainstack.drill.history import Attempt, Kind
from plainstack.drill.measures import Budgets, Ending, Marks, Stored
from plainstack.drill.result import Event, Result, Settings
from plainstack.drill.verdict import judge
from plainstack.inventory.stack import Stack
from tests.waiting import PATIENCE

CHROMIUM = shutil.which("chromium")
LONG = "a" * 180
Drill = tuple[Result, list[Attempt]]


def drill(*, lose: bool) -> Drill:
    """Return a drill that killed the primary: 30 s of load, 4 s without answers, and with `lose` one row lost."""
    attempts = []
    rates: tuple[tuple[Kind, int], ...] = (("get", 20), ("post", 10), ("sql", 10))
    for kind, rate in rates:
        for number in range(30 * rate):
            due = number / rate
            dead = 5 < due < 9
            outcome = ("HTTP 503" if kind != "sql" else f"error {LONG} <b>") if dead and number % 2 else "ok"
            latency = 9.2 - due if dead else 0.01 + number % 7 / 200
            attempts.append(Attempt(kind, number, due, due, due + latency, outcome))
    stored: Stored = {
        "sql": {a.key: 1 for a in attempts if a.kind == "sql" and a.ok},
        "post": {a.key: 1 for a in attempts if a.kind == "post"},
    }
    if lose:
        stored = {**stored, "sql": {key: 1 for key in stored["sql"] if key != 0}}
    marks = Marks(load_end=30, fault=5, reaction=6.4, promoted=8.7, recovered=20)
    budgets = Budgets(lost=0, write_gap=5, read_gap=5)
    settings = Settings(
        "20260102T030405", "shop", "2026-01-02 03:04:05", "db", "kill", 40, 30, True, budgets, victim="db1"
    )
    events = [
        Event(0.0, "load begins"),
        Event(5.0, "kill -9 all of postgresql@17-main on db1", "fault: kill on db1"),
        Event(6.4, "no write for 1.0 s", "detected"),
        Event(8.7, "db2 is the primary", "db2 promoted"),
        Event(8.8, f"db1: <script>alert(1)</script> {LONG}"),
        Event(20.0, "db1 works again", "db1 recovered"),
    ]
    verdict = judge(attempts, stored, marks, Ending([], ["db2: " + LONG] if lose else []), budgets)
    return Result(settings, marks, events, verdict), attempts


@pytest.fixture(scope="module", params=[False, True], ids=["pass", "fail"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report file of a finished drill."""
    result, attempts = drill(lose=request.param)
    assert result.verdict.passed is not request.param
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page.html(result, attempts), encoding="utf-8")
    return path


def test_the_page_has_no_external_links_and_no_scripts(kept: Path) -> None:
    text = kept.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)[^"']*|url\(|@import|<script|https?://""", text)
    assert "&lt;script&gt;alert(1)" in text


def test_the_page_shows_the_whole_verdict() -> None:
    result, attempts = drill(lose=True)
    text = unescape(page.html(result, attempts))
    for rule in result.verdict.rules:
        assert rule.name in text
        assert rule.seen in text
    for event in result.events:
        assert event.text in text
        assert f"{event.at:.2f} s" in text
    for reason in ("HTTP 503", f"error {LONG} <b>"):
        assert reason in text
    assert "acknowledged and lost" in text
    rows = re.findall(r"<td>(yes|no|\?)</td></tr>", text)
    assert len(rows) == len(result.verdict.failed_posts) > 0


def test_a_drill_is_saved_with_its_numbers_and_listed(stack: Stack, tmp_path: Path) -> None:
    here = stack.model_copy(update={"folder": tmp_path})
    assert store.past(here) == []
    for lose in (False, True):
        result, attempts = drill(lose=lose)
        report = store.save(here, result, attempts)
        data = json.loads(report.with_name("drill.json").read_text(encoding="utf-8"))
        assert data["passed"] is not lose
        assert data["verdict"]["writes"]["sql"]["lost"] == ([0] if lose else [])
        (one,) = store.past(here)
        assert (one["target"], one["fault"], one["victim"], one["passed"]) == ("db", "kill", "db1", not lose)
        assert one["report"] == str(report)
    report.with_name("drill.json").write_text("{", encoding="utf-8")
    assert "cannot be read" in store.past(here)[0]["sentence"]


def test_chromium_shows_the_page_without_horizontal_scrolling_on_a_phone_and_a_desktop(kept: Path) -> None:
    """Frames have exactly these widths; a headless window is never narrower than 500 pixels."""
    widths = (390, 1160)
    frames = "".join(f"<iframe src='{kept.name}' style='width:{width}px;height:4000px'></iframe>" for width in widths)
    # A page of the test measures the report from outside, because the report itself contains no script.
    probe = kept.with_name("probe.html")
    probe.write_text(
        f"<style>iframe {{ border: 0 }}</style>{frames}"
        "<script>onload = () => { document.title = [...document.querySelectorAll('iframe')].map(frame => {"
        " const d = frame.contentDocument;"
        " const charts = [...d.querySelectorAll('svg')].filter(e => e.getClientRects().length);"
        " const scale = charts.map(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width);"
        " return [d.documentElement.scrollWidth, charts.length, Math.min(...scale),"
        " d.querySelectorAll('.card').length].join(' ') }).join(';') }</script>",
        encoding="utf-8",
    )
    found = re.search(
        r"<title>(.*?)</title>", _chromium("--allow-file-access-from-files", "--dump-dom", probe.as_uri())
    )
    assert found
    for width, measured in zip(widths, found.group(1).split(";"), strict=True):
        scroll, charts, scale, cards = (float(number) for number in measured.split())
        assert scroll <= width
        assert (charts, cards) == (1, 8)
        assert scale > 0.8, "the chart is shrunk, and its text with it"


def test_chromium_renders_the_page(tmp_path: Path) -> None:
    result, attempts = drill(lose=False)
    report, picture = tmp_path / "report.html", tmp_path / "report.png"
    report.write_text(page.html(result, attempts), encoding="utf-8")
    _chromium("--window-size=1160,1600", "--hide-scrollbars", f"--screenshot={picture}", report.as_uri())
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (1160, 1600)
    # A screenshot of a blank page of this size has only a few kilobytes.
    assert len(content) > 60_000


def _chromium(*words: str) -> str:
    assert CHROMIUM, "chromium is missing: run make commands, which installs it"
    # Chromium's helper processes still write to the profile after the browser has exited.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        quiet += ["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}"]
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", *quiet, *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    return done.stdout
