"""Notifications: what a script and a web server get, and that a failing one neither fails nor delays the command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from plainstack.cli import notify
from plainstack.cli.command import load
from plainstack.deploy import notification
from plainstack.deploy.notification import Report
from plainstack.errors import InventoryError
from plainstack.inventory.notify import Notify
from plainstack.inventory.stack import Stack
from tests import inventories
from tests.waiting import PATIENCE

pytestmark = pytest.mark.programs

REPORT = Report(
    action="deploy",
    command="inv deploy",
    stack="shop",
    who="jane@laptop",
    commit="abc",
    result="failed",
    seconds=12.4,
    hosts=["app1", "app2"],
    failures={"app2": "app2: app: failed"},
    services={"web": {"before": "0123456789ab", "after": "ba9876543210", "hosts": {"app1": "ba9876543210"}}},
)
INVENTORY = "{stack: s, hosts: {a: {address: 10.0.0.1}}, notify: NOTIFY}"


class Server(BaseHTTPRequestHandler):
    """Keeps the requests that it gets."""

    got: ClassVar[list[tuple[dict[str, str], Any]]] = []
    status: ClassVar[int] = 200
    pause: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(({**self.headers, "path": self.path}, json.loads(body)))
        if self.path == "/slow":
            self.pause.wait(10 * PATIENCE)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Server, "got", [])
    monkeypatch.setattr(Server, "pause", threading.Event())
    listening = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    Server.pause.set()
    listening.shutdown()
    listening.server_close()


def stack_with(folder: Path, **keys: Any) -> Stack:
    stack = inventories.parse(INVENTORY.replace("NOTIFY", "{}"), "hosts.yaml", folder)
    return stack.model_copy(update={"notify": Notify.model_validate(keys)})


def sent(stack: Stack) -> list[str]:
    complaints: list[str] = []
    notification.send(stack, REPORT, complaints.append)
    return complaints


def test_a_command_gets_the_document_and_runs_in_the_folder_of_the_inventory(tmp_path: Path) -> None:
    assert sent(stack_with(tmp_path, command="cat >got.json")) == []
    got = json.loads((tmp_path / "got.json").read_text(encoding="utf-8"))
    assert got["version"] == 1
    assert (got["action"], got["result"], got["who"]) == ("deploy", "failed", "jane@laptop")
    assert got["services"]["web"]["before"] == "0123456789ab"
    assert got["failures"] == {"app2": "app2: app: failed"}
    assert got["text"] == ("shop: deploy by jane@laptop: failed in 12 s; web 0123456789ab -> ba9876543210; app2 failed")


def test_a_webhook_gets_the_document_with_its_secret(tmp_path: Path, server: str) -> None:
    stack = stack_with(
        tmp_path,
        webhook=f"{server}/${{secret.PLACE}}",
        headers={"Authorization": "Bearer ${secret.TOKEN}"},
        secrets={"PLACE": {"command": "echo a-place"}, "TOKEN": {"command": "echo a-token"}},
    )
    assert sent(stack) == []
    [(headers, got)] = Server.got
    assert (headers["path"], headers["Authorization"]) == ("/a-place", "Bearer a-token")
    assert headers["Content-Type"] == "application/json"
    assert got["hosts"] == ["app1", "app2"]


def test_a_failing_notification_is_reported_without_the_secret(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "status", 500)
    keys = {"command": "echo no room >&2; exit 3", "webhook": f"{server}/"}
    assert sent(stack_with(tmp_path, **keys)) == [
        "notify.command: ended with 3: no room; nothing else is affected",
        "notify.webhook: answered 500; nothing else is affected",
    ]
    gone = {"webhook": "http://127.0.0.1:9/${secret.KEY}", "secrets": {"KEY": {"command": "echo hidden"}}}
    [complaint] = sent(stack_with(tmp_path, **gone))
    assert complaint.startswith("notify.webhook: could not be reached")
    assert "hidden" not in complaint


def test_a_secret_that_is_not_set_is_named(tmp_path: Path, server: str) -> None:
    [complaint] = sent(stack_with(tmp_path, webhook=f"{server}/${{secret.KEY}}", secrets={"KEY": {}}))
    assert "inv secrets.set notify/KEY" in complaint
    assert Server.got == []


@pytest.mark.parametrize("keys", [{"command": "sleep 1000 & sleep 1000"}, {"webhook": "SERVER/slow"}])
def test_a_slow_notification_is_abandoned(tmp_path: Path, server: str, keys: dict[str, str]) -> None:
    began = time.monotonic()
    stack = stack_with(tmp_path, timeout=1, **{name: text.replace("SERVER", server) for name, text in keys.items()})
    assert len(sent(stack)) == 1
    assert time.monotonic() - began < PATIENCE


def test_no_notify_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(INVENTORY.replace("NOTIFY", "{command: cat}"), encoding="utf-8")
    assert notify.wanted(load(str(tmp_path / "hosts.yaml")))
    assert not notify.wanted(load(str(tmp_path / "hosts.yaml"), notify=False))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{webhook: 'ftp://example.com/'}", "notify.webhook: must be a URL that begins with https:// or http://"),
        ("{webhook: 'https://x/${secret.A}', secrets: {B: {}}}", "known: ${secret.B}"),
        ("{webhook: 'https://x/${database.url}'}", "only secrets in notify.secrets can be used"),
        ("{headers: {X: y}}", "notify.headers: only notify.webhook uses them"),
        ("{commando: x}", "notify.commando: unknown key, did you mean 'command'?"),
    ],
)
def test_an_error_is_reported_with_its_line(tmp_path: Path, keys: str, said: str) -> None:
    with pytest.raises(InventoryError, match=r"hosts\.yaml:1: ") as raised:
        inventories.parse(INVENTORY.replace("NOTIFY", keys), "hosts.yaml", tmp_path)
    assert said in str(raised.value)


def test_only_services_whose_release_changed_are_listed() -> None:
    before = {"web": {"app1": "old", "app2": "old"}, "api": {"app1": "same"}}
    after = {"web": {"app1": "new", "app2": "old"}, "api": {"app1": "same"}, "new": {"app1": "first"}}
    assert notify.changes(before, after) == {
        "web": {"before": "old", "after": "new,old", "hosts": {"app1": "new", "app2": "old"}},
        "new": {"before": None, "after": "first", "hosts": {"app1": "first"}},
    }
