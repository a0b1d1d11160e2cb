"""The load of a drill: it keeps its rate, counts only failures of the site, and ends with its parent process."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.drill.history import Recorder
from plainstack.drill.load import Reporter, Site, explain, generate
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki
from plainstack.services.edge import Balancer
from plainstack.shipped import ROOT
from tests import inventories
from tests.waiting import PATIENCE


def test_the_load_keeps_its_rate_and_count_without_any_response(capsys: pytest.CaptureFixture[str]) -> None:
    all_sent = threading.Barrier(50, timeout=PATIENCE)

    def call(_key: int) -> str:
        all_sent.wait()
        return "timed out"

    generate(Reporter(), [("get", call), ("post", call)], rate=50, seconds=1)
    recorder = Recorder()
    for line in capsys.readouterr().out.splitlines()[1:]:
        recorder.feed(line, 0)
    attempts = recorder.history()
    assert len(attempts) == 50
    assert all(a.sent is not None and a.sent >= a.due for a in attempts)
    assert [round(a.due, 2) for a in attempts] == [round(number / 50, 2) for number in range(50)]
    # The load is an open loop: if a request waited for earlier responses, the barrier would break.
    assert {a.outcome for a in attempts} == {"timed out"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionRefusedError(), "connection refused"),
        (ConnectionResetError(), "connection reset"),
        (OSError(113, "no route"), "unreachable"),
    ],
)
def test_failures_are_reported_by_kind(error: Exception, kind: str) -> None:
    assert explain(error) == kind


POST = {"post_path": "/write", "body": "${key}", "headers": {}, "prefix": "drill-d-"}


@pytest.mark.programs
def test_the_load_generator_ends_with_its_parent() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "plainstack.drill.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    settings = {"address": "127.0.0.1", "name": "127.0.0.1", "authority": "", "path": "/"}
    process.stdin.write(json.dumps({**settings, "rate": 5, "seconds": 10 * PATIENCE, "post": POST}) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == '["hello"]\n'
    process.stdin.close()
    assert process.wait(PATIENCE) == 1


@pytest.fixture
def site(stack: Stack, tmp_path: Path) -> Iterator[tuple[Site, queue.Queue[str]]]:
    """Yield a site that silently closes each connection after one response, and a queue with an item for each."""
    pairs = pki.ensure(stack.stack, inventories.needed(stack).certificates, {}, datetime.now(UTC))
    (tmp_path / "chain").write_text(pairs[pki.SITE]["chain"], encoding="ascii")
    (tmp_path / "key").write_text(pairs[pki.SITE]["key"], encoding="ascii")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    closed: queue.Queue[str] = queue.Queue()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with server.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                closed.put("closed")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    name = str(stack.settings(Balancer).virtual_address)
    client = ssl.create_default_context(cadata=pairs[pki.AUTHORITY]["chain"])
    yield Site("127.0.0.1", name, client, "/", port=listener.getsockname()[1]), closed
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE)


def test_a_connection_closed_by_the_site_is_not_reused(
    site: tuple[Site, queue.Queue[str]],
) -> None:
    client, closed = site
    for number in range(3):
        assert client.get(number) == "ok"
        closed.get(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("answers", "outcomes"),
    [
        ([200, 302, 200], ["ok", "ok", "ok"]),
        # The front page requires a login (302 or 401), or the application has none (404).
        ([302, 302], ["ok", "ok"]),
        ([401, 401, 200], ["ok", "ok", "ok"]),
        ([404, 404, 502], ["ok", "ok", "HTTP 502"]),
        # A refusal with another status than the first response is a failure, and so is any error.
        ([200, 404], ["ok", "HTTP 404"]),
        ([302, 403], ["ok", "HTTP 403"]),
        ([400, 400], ["HTTP 400", "HTTP 400"]),
        ([503, 404], ["HTTP 503", "HTTP 404"]),
    ],
)
def test_a_get_succeeds_if_the_response_matches_the_one_without_a_fault(
    monkeypatch: pytest.MonkeyPatch, answers: list[int], outcomes: list[str]
) -> None:
    client = Site("127.0.0.1", "shop.example", ssl.create_default_context(), "/")
    given = iter(answers)
    monkeypatch.setattr(Site, "_request", lambda *_: next(given))
    assert [client.get(number) for number in range(len(answers))] == outcomes
