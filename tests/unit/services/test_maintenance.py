"""Maintenance: the program that closes services on a balancer, in a real sh, and what the balancers' answers mean."""

from __future__ import annotations

import html
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plainstack import shipped
from plainstack.services import maintenance
from plainstack.services.maintenance import PAGES, PROGRAM, Closed, Survey

pytestmark = pytest.mark.programs

PAGE = "usr/local/share/plainstack/plainstack-maintenance.html"
SOME = Closed("2026-01-31T14:00:00Z", "jane@laptop", "Back at 15:00 UTC.")
MESSAGES = st.text(max_size=60).filter(lambda text: not maintenance.problem_of(text))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the tree of a balancer."""
    for path in (PROGRAM[1:], PAGE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((shipped.FILES / "balancer" / path).read_bytes())
    (tmp_path / PROGRAM[1:]).chmod(0o755)
    (tmp_path / PAGES[1:]).mkdir(parents=True)
    return tmp_path


def run(root: Path, script: str) -> str:
    script = re.sub(rf"^{PROGRAM}", f"{root}{PROGRAM}", script)
    done = subprocess.run(
        ["sh", "-eu"], input=script, env={**os.environ, "ROOT": str(root)}, capture_output=True, text=True, check=True
    )
    return done.stdout


def told(root: Path) -> dict[str, Closed]:
    facts = dict(line.split("=", 1) for line in run(root, maintenance.FACTS).splitlines())
    assert facts.pop("maintenance") == "known"
    return maintenance.closed(facts)


def shown(root: Path, service: str = "web") -> str:
    return (root / PAGES[1:] / f"{service}.html").read_text(encoding="utf-8")


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(message=MESSAGES)
def test_visitors_read_the_message_as_it_was_typed(root: Path, message: str) -> None:
    state = Closed(SOME.since, SOME.who, message)
    run(root, maintenance.close("web", state))
    [text] = re.findall("<p>(.*)</p>", shown(root))
    assert html.unescape(text) == message
    assert "<" not in text
    assert told(root) == {"web": state}


def test_reopening_a_service_removes_its_page(root: Path) -> None:
    run(root, maintenance.close("web", SOME))
    run(root, maintenance.close("api", SOME))
    run(root, maintenance.open_again("web"))
    assert list(told(root)) == ["api"]
    assert sorted(path.name for path in (root / PAGES[1:]).iterdir()) == ["api.html", "api.state"]
    run(root, maintenance.open_again("web"))


def test_a_balancer_without_the_program_is_distinguished_from_one_with_nothing_closed(root: Path) -> None:
    (root / PROGRAM[1:]).unlink()
    assert run(root, maintenance.FACTS) == ""


def test_visitors_do_not_learn_who_closed_the_service(root: Path) -> None:
    run(root, maintenance.close("web", SOME))
    assert "jane" not in shown(root)


@pytest.mark.parametrize("message", ["two\nlines", "a\ttab", "x" * 501, "\x1b[1m"])
def test_a_message_that_is_not_one_line_of_text_is_refused(message: str) -> None:
    assert maintenance.problem_of(message)


def facts(**closed: Closed) -> dict[str, str]:
    return {f"maintenance.{name}": f"{one.since}\t{one.who}\t{one.message}" for name, one in closed.items()}


def test_if_balancers_differ_the_open_one_is_reported() -> None:
    survey = Survey.of({"lb1": facts(web=SOME), "lb2": {}, "lb3": None})
    assert list(survey.notes()) == [
        ("lb1", "web: in maintenance since 2026-01-31T14:00:00Z by jane@laptop: Back at 15:00 UTC.")
    ]
    [(host, sentence)] = survey.problems()
    assert host == "lb2"
    assert "inv maintenance on (or off) --service=web" in sentence


def test_balancers_that_agree_are_not_reported() -> None:
    assert list(Survey.of({"lb1": facts(web=SOME), "lb2": facts(web=SOME)}).problems()) == []
    assert list(Survey.of({"lb1": {}, "lb2": None}).problems()) == []


def test_the_earliest_closing_time_is_shown() -> None:
    later = Closed("2026-02-01T00:00:00Z", "joe@laptop", "")
    assert Survey.of({"lb1": facts(web=later), "lb2": facts(web=SOME)}).first("web") == SOME
