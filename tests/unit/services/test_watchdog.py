"""The watchdog of one host, run by a real sh with stand-ins for systemctl, curl and sleep; and its arguments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.engine.resources import File
from plainstack.roles import app
from plainstack.secrets.values import Secret, Vault
from plainstack.shipped import FILES
from tests import inventories
from tests.waiting import PATIENCE

pytestmark = pytest.mark.programs

PROGRAM = FILES / "app/usr/local/lib/plainstack/watchdog"
# The program sleeps once per round; the stand-in ends the program after nine rounds, or when no answer is left.
SLEEP = """#!/bin/sh
echo >>"$STATE/rounds"
[ -s "$STATE/answers" ] && [ "$(wc -l <"$STATE/rounds")" -lt 9 ]
"""
CURL = """#!/bin/sh
head -n 1 "$STATE/answers"
sed -i 1d "$STATE/answers"
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
*ActiveState*) cat "$STATE/active" ;;
*Timestamp*) cat "$STATE/since" ;;
restart*) echo "$2" >>"$STATE/restarts" ;;
esac
"""
INVENTORY = """
stack: small
hosts:
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
services:
  web:
    kind: binary
    source: Makefile
    processes:
      web:
        command: serve
        port: 8000
        health: /ping
        watchdog: {interval: 5, failures: 3, startup: 30}
"""


def restarts(folder: Path, answers: str, *, active: str = "active", up: float = 1000, statuses: str = "2??") -> int:
    """Return how often the unit is restarted while its health page gives these answers, one per round."""
    for name, text in (("sleep", SLEEP), ("curl", CURL), ("systemctl", SYSTEMCTL)):
        (folder / name).write_text(text, encoding="ascii")
        (folder / name).chmod(0o755)
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    (folder / "answers").write_text("".join(f"{answer}\n" for answer in answers.split()), encoding="ascii")
    (folder / "active").write_text(f"{active}\n", encoding="ascii")
    (folder / "since").write_text(f"{int((uptime - up) * 1e6)}\n", encoding="ascii")
    subprocess.run(
        ["sh", PROGRAM, "web.service", "5", "3", "30", statuses, "0", "http://127.0.0.1/ping", ""],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "STATE": str(folder)},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    done = folder / "restarts"
    return len(done.read_text(encoding="ascii").splitlines()) if done.exists() else 0


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ("200 200 200 200", 0),
        ("500 500 200 500 500 204", 0),
        ("500 500 500", 1),
        ("000 503 302", 1),
        ("500 500 500 500 500 500 500 500", 1),  # after a restart that did not help, twice as many must fail
        ("500 500 500 200 500 500 500", 2),
    ],
)
def test_a_unit_is_restarted_after_a_number_of_failures_in_a_row(tmp_path: Path, answers: str, count: int) -> None:
    assert restarts(tmp_path, answers) == count


def test_only_the_declared_statuses_count_as_healthy(tmp_path: Path) -> None:
    assert restarts(tmp_path, "204 503 204 204 200 204 204 204", statuses="200,503") == 1


@pytest.mark.parametrize(("active", "up"), [("active", 10), ("activating", 1000), ("failed", 1000)])
def test_a_unit_that_is_starting_or_stopped_is_not_checked(tmp_path: Path, active: str, up: float) -> None:
    assert restarts(tmp_path, "500 500 500 500", active=active, up=up) == 0


def test_each_host_asks_the_others_which_open_the_port_to_it() -> None:
    stack = inventories.parse(INVENTORY, "hosts.yaml", FILES.parent)
    vault = Vault({"x": Secret("x", "x")}, {}, "")
    pages = ["http://10.0.0.3:8000/ping", "http://10.0.0.4:8000/ping"]
    lines = []
    for host in ("app1", "app2"):
        (file,) = [
            item
            for item in inventories.wanted(app.ROLE, stack, host, vault)
            if isinstance(item, File) and item.path == "/etc/systemd/system/plainstack-watchdog-web.service"
        ]
        (line,) = [text for text in file.content.decode().splitlines() if text.startswith("ExecStart=")]
        lines.append([word.strip('"') for word in line.split()[2:9]])
        (opening,) = [each for each in app.opens(stack, stack.hosts[host]) if each.offer == "watched"]
        assert (opening.port, opening.sources) == (8000, ("10.0.0.4" if host == "app1" else "10.0.0.3",))
    assert lines == [["5", "3", "30", "2??", "0", *pages], ["5", "3", "30", "2??", "1", *reversed(pages)]]


def test_a_process_without_a_watchdog_or_on_one_host_opens_no_port() -> None:
    for without in (
        "        watchdog: {interval: 5, failures: 3, startup: 30}\n",
        "  app2: {address: 10.0.0.4, roles: [app]}\n",
    ):
        assert without in INVENTORY
        stack = inventories.parse(INVENTORY.replace(without, ""), "hosts.yaml", FILES.parent)
        assert {each.offer for each in app.opens(stack, stack.hosts["app1"])} == {"http"}, without
