"""The health gate of a unit, with a real sh and a real curl: what it requests, accepts and reports."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plainstack import shipped
from plainstack.engine.resources import HOPELESS
from plainstack.services import health
from tests import inventories
from tests.unit.services.test_site import stack_with

# The functions that tell the operator something, from the frame of every script.
FRAME = (shipped.PACKAGE / "engine/transaction/sh/frame.sh").read_text(encoding="utf-8")
OUTPUT = FRAME[FRAME.index("emit()") : FRAME.index("\n}\n", FRAME.index("tail_of()")) + 2]


@dataclass
class Application:
    """A service on loopback: its responses, the last of which is repeated forever, and the headers of its requests."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def application() -> Iterator[tuple[Application, int]]:
    served = Application([(200, {}, b"ok")])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            status, headers, body = served.answers[0] if len(served.answers) == 1 else served.answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield served, server.server_address[1]
        server.shutdown()


def gate(folder: Path, port: int, release: str = "new") -> tuple[int, list[str]]:
    """Run the health gate of app1's service; return its code and lines. Connections to app1 lead to `port` here."""
    stack = stack_with("server_names: [shop.example]")
    real = subprocess.run(["sh", "-c", "command -v curl"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "curl").write_text(f'#!/bin/sh\nexec {shlex.quote(real)} --connect-to ::127.0.0.1:{port} "$@"\n')
    (folder / "curl").chmod(0o755)
    script = health.script(stack, stack.hosts["app1"], "web", "web", release)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C"}
    ran = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, env=environment, check=False)
    return ran.returncode, ran.stdout.decode(errors="replace").splitlines()


@pytest.mark.programs
def test_the_health_gate_sends_the_headers_of_a_balancer(application: tuple[Application, int], tmp_path: Path) -> None:
    served, port = application
    assert gate(tmp_path, port) == (0, [])
    (asked,) = served.asked
    assert asked["path"] == "/status/"
    assert (asked["host"], asked["x-forwarded-host"]) == ("shop.example", "shop.example")
    assert asked["x-forwarded-proto"] == "https"


DEBUG_PAGE = b"""<!DOCTYPE html><html><head><title>DisallowedHost at /status/</title>
<style>\nhtml * { padding:0; }\nbody * * { padding:0; }\n</style></head><body>
<h1>DisallowedHost</h1><pre>Invalid HTTP_HOST header</pre>\x00\xff</body>"""


@pytest.mark.programs
@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (400, {}, b"<h1>Bad Request (400)</h1>", ["ALLOWED_HOSTS", "shop.example answered 400: Bad Request (400)"]),
        (400, {}, DEBUG_PAGE, ["answered 400: DisallowedHost at /status/ DisallowedHost Invalid HTTP_HOST header"]),
        (301, {"Location": "https://x/"}, b"", ["services.web.health", "answered 301: redirect to https://x/"]),
        (301, {"Location": "https://shop.example/status/"}, b"", ["SECURE_PROXY_SSL_HEADER", "answered 301"]),
        (302, {"location": "/login"}, b"", ["services.web.health", "answered 302: redirect to /login"]),
        (401, {}, b"", ["services.web.health: must name a page that needs no login", "answered 401"]),
        (404, {}, b"Not Found", ["services.web.health: the application has no such page", "answered 404: Not Found"]),
        (500, {}, b"Server Error (500)", ["GET /status/ with Host: shop.example answered 500: Server Error (500)"]),
        (500, {}, rb"No file C:\temp\new\c", [r"answered 500: No file C:\temp\new\c"]),
        (503, {}, b'{"database": "failed"}', ['answered 503: {"database": "failed"}']),
        (200, {"X-Release": "old"}, b"ok", ["answered 200: as release old, and new was put in place"]),
    ],
)
def test_the_health_gate_shows_the_response(
    application: tuple[Application, int],
    tmp_path: Path,
    status: int,
    headers: dict[str, str],
    body: bytes,
    said: list[str],
) -> None:
    served, port = application
    served.answers = [(status, headers, body)]
    code, lines = gate(tmp_path, port)
    assert code == (HOPELESS if status == 404 else 1)
    assert said[-1] in lines[-1]
    assert all(word in "\n".join(lines) for word in said)


@pytest.mark.programs
@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("release", [{}, {"X-Release": "new"}, {"x-release": "new"}])
def test_the_health_gate_accepts_a_good_response_of_the_wanted_release(
    application: tuple[Application, int], tmp_path: Path, status: int, release: dict[str, str]
) -> None:
    served, port = application
    served.answers = [(status, release, b"" if status == 204 else b"ok")]
    assert gate(tmp_path, port) == (0, [])


@pytest.mark.programs
def test_the_health_gate_reports_why_no_process_answered(tmp_path: Path) -> None:
    code, lines = gate(tmp_path, 1)
    assert code == 1
    assert "curl: (7) Failed to connect" in lines[-1]


@pytest.mark.programs
def test_a_unit_whose_answer_will_not_change_is_not_waited_for(tmp_path: Path) -> None:
    units = shipped.PACKAGE / "engine/kinds/units.sh"
    (tmp_path / "health").write_text(f"echo hint; echo answered 404; exit {HOPELESS}\n")
    script = f"""
        RUN={tmp_path} STEP='restart web.service'
        {OUTPUT}
        systemctl() {{ case $1 in is-active) echo active ;; show) echo 0 ;; esac; }}
        sleep() {{ echo slept; }}
        . {units}
        healthy web.service 20 health
    """
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.splitlines() == [
        "@tail\thint",
        "@tail\tanswered 404",
        "@tail\tthis does not change by waiting",
    ]


def test_a_program_may_add_its_health_page_after_it_has_started(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    tool = "kind: binary, source: tool, processes: {web: {command: tool, port: 8000, health: /}}"
    text = f"stack: x\nhosts: {{a: {{address: 10.0.0.1, roles: [app]}}}}\nservices: {{tool: {{{tool}}}}}\n"
    stack = inventories.parse(text, "test.yaml", tmp_path)
    assert '[ "$status" != 404 ] || exit 1\n' in health.script(stack, stack.hosts["a"], "tool", "web", "r")


@pytest.mark.programs
def test_a_unit_that_is_not_healthy_yet_says_what_it_waits_for(tmp_path: Path) -> None:
    """Run the shell functions that wait for a healthy unit, with a simulated clock."""
    units = shipped.PACKAGE / "engine/kinds/units.sh"
    (tmp_path / "health").write_text("echo hint; echo answered 400; exit 1\n")
    ticks = tmp_path / "ticks"
    ticks.write_text("0\n")
    script = f"""
        RUN={tmp_path} STEP='restart web.service'
        {OUTPUT}
        systemctl() {{ case $1 in is-active) echo active ;; show) echo 0 ;; esac; }}
        sleep() {{ echo $(($(cat {ticks}) + 1)) >{ticks}; }}
        date() {{ cat {ticks}; }}
        . {units}
        healthy web.service 20 health
    """
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    lines = [line.split("\t") for line in ran.stdout.splitlines()]
    steps_told = [text for tag, text in lines if tag == "@step"]
    assert steps_told == ["restart web.service: answered 400"] * 4
    tail = [text for tag, text in lines if tag == "@tail"]
    assert tail == ["hint", "answered 400", "not healthy within 20 s (state: active)"]
    assert [tag for tag, _ in itertools.groupby(line[0] for line in lines)] == ["@step", "@tail"]
