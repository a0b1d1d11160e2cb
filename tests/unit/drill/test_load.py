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
from collections.abc import Iterator, Sequence
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


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def authority(stack: Stack, tmp_path: Path) -> str:
    """Write the site's certificate for a server, and return the authority that a client trusts."""
    pairs = pki.ensure(stack.stack, inventories.needed(stack).certificates, {}, datetime.now(UTC))
    (tmp_path / "chain").write_text(pairs[pki.SITE]["chain"], encoding="ascii")
    (tmp_path / "key").write_text(pairs[pki.SITE]["key"], encoding="ascii")
    return pairs[pki.AUTHORITY]["chain"]


@contextlib.contextmanager
def serving(
    stack: Stack, folder: Path, authority: str, connections: Sequence[Sequence[bytes]]
) -> Iterator[tuple[Site, queue.Queue[str]]]:
    """Yield a client of a site that gives these responses on each connection, one for a request, and then closes it.

    The queue has an item for each closed connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain", folder / "key")
    closed: queue.Queue[str] = queue.Queue()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            for responses in connections:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as secure:
                    for response in responses:
                        secure.recv(65536)
                        secure.sendall(response)
                closed.put("closed")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    name = str(stack.settings(Balancer).virtual_address)
    client = ssl.create_default_context(cadata=authority)
    try:
        yield Site("127.0.0.1", name, client, "/", port=listener.getsockname()[1]), closed
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def test_a_connection_closed_by_the_site_is_not_reused(stack: Stack, tmp_path: Path, authority: str) -> None:
    with serving(stack, tmp_path, authority, [[OK]] * 3) as (client, closed):
        for number in range(3):
            assert client.get(number) == "ok"
            closed.get(timeout=PATIENCE)


# A server that reads a request and closes the connection without a response looks like one that closes it meanwhile.
@pytest.mark.parametrize(
    ("method", "connections", "outcomes"),
    [
        ("get", [[OK, b""], [OK]], ["ok", "ok"]),
        # The request on the new connection is not sent a third time.
        ("get", [[OK, b""], [b""]], ["ok", "connection reset"]),
        ("get", [[b""]], ["connection reset"]),
        # A response that breaks off is a failure of the site.
        ("get", [[OK, OK.replace(b"0", b"9")]], ["ok", "connection reset"]),
        # A POST may have been carried out. It never waits for a connection that the site may be about to close.
        ("post", [[b""], [OK]], ["connection reset", "ok"]),
        ("post", [[OK], [OK]], ["ok", "ok"]),
    ],
)
def test_a_get_is_sent_again_only_if_the_site_closes_an_idle_connection_meanwhile(
    stack: Stack,
    tmp_path: Path,
    authority: str,
    method: str,
    connections: list[list[bytes]],
    outcomes: list[str],
) -> None:
    with serving(stack, tmp_path, authority, connections) as (client, _):
        send = getattr(client, method)
        assert [send(number) for number in range(len(outcomes))] == outcomes


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
